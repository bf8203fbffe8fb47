"""A history told as a story: what happened, in the order of time, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sagaflow.core.events import Event
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.testing.simulation.faults import TIME, Fault, Kind

WORDS: dict[Kind, str] = {
    Kind.CRASH_BEFORE: "{who} is killed just before its {nth:g}th {what}",
    Kind.CRASH_AFTER: "{who} is killed just after its {nth:g}th {what}, before it knows that it was done",
    Kind.LOST_BEFORE: "{who} loses the connection before its {nth:g}th {what}: it is not done",
    Kind.LOST_AFTER: "{who} loses the connection after its {nth:g}th {what}: it is done, and nobody says so",
    Kind.LOST_PARTLY: "{who} loses the connection during its {nth:g}th {what}: some of it is done",
    Kind.STOP_BEFORE: "{who} stands still for {seconds:g} s before its {nth:g}th {what}",
    Kind.STOP_AFTER: "{who} stands still for {seconds:g} s after its {nth:g}th {what}",
    Kind.TWICE: "message {nth:g} to the {who} is delivered twice",
    Kind.LATE: "message {nth:g} to the {who} comes {seconds:g} s late",
    Kind.LOST: "message {nth:g} to the {who} is lost with the broker's data",
    Kind.REFUSE: "{what} {nth:g} of {who} says no",
    Kind.FAIL: "{what} {nth:g} of {who} fails before it has done anything",
    Kind.FAIL_AFTER: "{what} {nth:g} of {who} fails after it has done everything: what lies outside stays done",
    Kind.HANG: "{what} {nth:g} of {who} takes longer than anybody waits",
    Kind.HANG_AFTER: "{what} {nth:g} of {who} does everything and then takes longer than anybody waits",
    Kind.GIVE_UP: "{what} {nth:g} of {who} fails and gives up",
    Kind.LATER: "{what} {nth:g} of {who} asks to be called again after {seconds:g} s",
    Kind.BUG: "{who} cannot make command {nth:g}",
    Kind.STORE_DOWN: "the database of the coordinator is down for {seconds:g} s",
    Kind.BROKER_DOWN: "the broker is down for {seconds:g} s",
    Kind.DATABASE_DOWN: "the database of {who} is down for {seconds:g} s",
    Kind.BROKER_WIPED: "the broker loses all its data",
    Kind.CUT: "{who} loses its connections",
    Kind.KILL: "{who} is killed, and started again after {seconds:g} s",
    Kind.RESTART: "{who} is stopped in good order, and started again after {seconds:g} s",
    Kind.PAUSE: "{who} stands still for {seconds:g} s",
    Kind.CLOCK_JUMP: "the clock of the database jumps by {seconds:g} s",
    Kind.CANCEL: "somebody cancels {who}",
    Kind.PERSON: "somebody interferes with {who}",
}

POINT_WORDS = {
    "store.write": "write to the store",
    "store.commit": "commit in the store",
    "store.read": "look into the store",
    "store.claim": "look at the agenda",
    "store.lease": "note about its lease",
    "broker.enter": "connection to the broker",
    "broker.publish": "publish",
    "broker.ack": "acknowledgement",
    "broker.carry": "message",
    "database.enter": "entry to the barrier",
    "database.commit": "commit in its database",
    "handler.action": "action",
    "handler.compensation": "compensation",
    "saga.command": "command",
    TIME: "",
}


def in_words(fault: Fault) -> str:
    """A fault as a sentence."""
    what = POINT_WORDS.get(fault.point, fault.point)
    return WORDS[fault.kind].format(who=fault.who, nth=fault.nth, seconds=fault.seconds, what=what)


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened."""

    seconds: float
    text: str

    def __str__(self) -> str:
        return f"{self.seconds:9.3f} s  {self.text}"


class Chronicle:
    """Writes down what happens. `clock` says when."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.lines: list[Line] = []
        self._clock = clock

    def note(self, text: str) -> None:
        """Write a line."""
        self.lines.append(Line(self._clock(), text))

    def fault(self, fault: Fault) -> None:
        """Something goes wrong."""
        self.note(f"!! {in_words(fault)}")

    def written(self, record: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """A saga was written."""
        for entry in journal:
            sent = ", ".join(f"{_name(command.step, str(command.operation))}" for command in entry.commands)
            because = f" ({entry.ignored})" if entry.ignored else ""
            error = f": {entry.error.words}" if entry.error else ""
            asks = f"; asks for {sent}" if sent else ""
            self.note(f"{record.saga} {record.key} is {entry.status}: {_told(entry.event)}{because}{error}{asks}")

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


def _told(event: Event) -> str:
    words = _words(type(event).__name__)
    step = getattr(event, "step", None)
    if step is None:
        return words
    attempt = getattr(event, "attempt", None)
    number = "" if attempt is None else f", attempt {attempt}"
    return f"{_name(step, str(getattr(event, 'operation', '')))} {words}{number}"


def _words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _name(step: str, operation: str) -> str:
    return step if operation == "action" else f"the undo of {step}"
