"""`explore`: every single thing that can go wrong with a saga, and pairs of them."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sagaflow.core.state import SagaStatus
from sagaflow.definitions.ports import QueueKind
from sagaflow.definitions.saga import Saga
from sagaflow.errors import DefinitionError
from sagaflow.runners.readiness import UndoReady
from sagaflow.testing.exploring.history import Check, Told, play
from sagaflow.testing.exploring.services import Service
from sagaflow.testing.exploring.suspicions import suspicions
from sagaflow.testing.simulation.chronicle import in_words
from sagaflow.testing.simulation.faults import Fault, Kind
from sagaflow.testing.simulation.servers import NOBODY
from sagaflow.testing.simulation.shrinking import shrink

T = TypeVar("T")
InputT = TypeVar("InputT")

HANDLER_KINDS: Final[Mapping[str, Sequence[Kind]]] = {
    "handler.action": (
        Kind.REFUSE,
        Kind.FAIL,
        Kind.FAIL_AFTER,
        Kind.HANG,
        Kind.HANG_AFTER,
        Kind.CRASH_BEFORE,
        Kind.CRASH_AFTER,
        Kind.STOP_BEFORE,
        Kind.STOP_AFTER,
    ),
    "handler.compensation": (
        Kind.REFUSE,
        Kind.FAIL,
        Kind.FAIL_AFTER,
        Kind.HANG,
        Kind.HANG_AFTER,
        Kind.CRASH_BEFORE,
        Kind.CRASH_AFTER,
        Kind.STOP_BEFORE,
    ),
}
"""Each step refused, failed, timed out, killed, frozen: before and after its effect."""

WORLD_KINDS: Final[Mapping[str, Sequence[Kind]]] = {
    "broker.carry": (Kind.LOST, Kind.TWICE, Kind.LATE),
    "broker.publish": (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST_BEFORE, Kind.LOST_AFTER),
    "broker.ack": (Kind.CRASH_BEFORE, Kind.LOST_BEFORE),
    "store.commit": (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST_BEFORE, Kind.LOST_AFTER),
    "database.commit": (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST_BEFORE, Kind.LOST_AFTER),
}
"""Each message lost, doubled, late; each process killed at each point, before and after."""

KINDS: Final = {**HANDLER_KINDS, **WORLD_KINDS}

ORDER: Final = tuple(KINDS)
"""Which points come first."""

SECONDS: Final[Mapping[Kind, float]] = {
    Kind.LATE: 200.0,
    Kind.STOP_BEFORE: 400.0,
    Kind.STOP_AFTER: 400.0,
    Kind.CRASH_BEFORE: 2.0,
    Kind.CRASH_AFTER: 2.0,
}
"""Longer than the default timeout of a step; frozen long enough that all attempts are over."""

UNEXPLORED: Final = frozenset({str(QueueKind.INQUIRIES), str(QueueKind.ANSWERS), NOBODY})
"""Messages that change nothing of a saga, and the person who helps at the end, who cannot be killed."""

UNDO_FAILS_MAX: Final = 3
"""How often in a row an undo is made to fail, unless said otherwise."""


class CounterExample(AssertionError):
    """A history in which the saga did not do what it should.

    Args:
        story: all that is known about it.
        problem: what is wrong, in one line.
        faults: what goes wrong in it, to be given to `explore(replay=...)`.
    """

    def __init__(self, story: str, problem: str = "", faults: Sequence[str] = ()) -> None:
        super().__init__(story)
        self.problem = problem
        self.faults = faults


@dataclass
class Exploration:
    """What was explored."""

    singles: int = 0
    pairs: int = 0
    pairs_left_out: int = 0
    ended: Counter[SagaStatus] = field(default_factory=Counter)
    covered: Counter[str] = field(default_factory=Counter)
    """How often each kind of fault was met at each kind of point."""
    explored: list[Sequence[Fault]] = field(default_factory=list)
    """What was to go wrong in each history, in their order; first of all, nothing."""
    story: str = ""
    """What happened, of a history that was replayed."""

    @property
    def histories(self) -> int:
        """How many histories there were, with the one in which all goes well."""
        return len(self.explored)

    def figures(self) -> dict[str, Any]:
        """The same as plain values, as a report of a test carries them."""
        return {
            "histories": self.histories,
            "told": str(self).splitlines()[0],
            "covered": dict(self.covered),
            "story": self.story,
        }

    def __str__(self) -> str:
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        rest = f" ({self.pairs_left_out} pairs were left out)" if self.pairs_left_out else ""
        kinds = "\n".join(f"    {count:6} x {what}" for what, count in sorted(self.covered.items()))
        if self.story:
            return f"one history, replayed. It ended: {ended}.\n{kinds}"
        return (
            f"{self.histories} histories: one in which all goes well, {self.singles} in which one thing goes wrong, "
            f"{self.pairs} in which more do{rest}. They ended: {ended}.\n{kinds}"
        )


def explore(
    saga: Saga[InputT],
    saga_input: InputT,
    *,
    services: Sequence[Service[Any]],
    check: Check | None = None,
    begin: Callable[[], Any] | None = None,
    pairs: int = 400,
    undo_fails: int = UNDO_FAILS_MAX,
    histories: int | None = None,
    undo_ready: UndoReady = UndoReady.BEFORE_PIVOT,
    replay: Sequence[str] | None = None,
) -> Exploration:
    """Run a saga with its handlers through every single fault, and through pairs of them, in no real time.

    No server is needed. In each history the saga is started once, in a small world with one coordinator and two
    processes for each participant, and one thing (or two) goes wrong at one point: a step refuses, fails, hangs, before
    or after its effect; a message is lost, doubled or late; a process is killed or frozen at a commit, a publish, an
    acknowledgement; an undo fails some times in a row. What gets stuck is retried by a person. Every history must end
    COMPLETED or COMPENSATED, and satisfy `check`.

    Args:
        saga: which one.
        saga_input: its input.
        services: all participants that it speaks to, each with its tables.
        check: is given the `End` of each history, and raises AssertionError if it is not as it should be. It may be
            async.
        begin: called before each history, to put what lies outside (a gateway, say) into its first state; what it
            returns is given to `check` as `end.outside`.
        pairs: how many histories with two faults are tried at most.
        undo_fails: how often in a row an undo is made to fail, at most.
        histories: how many histories are played at most, instead of `pairs`; every single fault in any case.
        undo_ready: when the coordinator waits for a participant whose undo may be needed; as given to yours.
        replay: play only the history in which this goes wrong, as a counterexample names it; the result has its story.

    Returns:
        What was explored; printed, it says how much, and what was covered.

    Raises:
        CounterExample: with the smallest history that shows a problem, told as a story.
        DefinitionError: a participant of the saga is missing.

    Example:
        def nothing_is_lost(end: End) -> None:
            held = end.value("inventory", "SELECT held FROM stock")
            assert held == (2 if end.completed else 0)

        def test_checkout() -> None:
            explore(checkout, ORDER, services=[Service(inventory, schema=SCHEMA), ...], check=nothing_is_lost)
    """
    _expect_all_served(saga, services)

    def run(faults: Sequence[Fault], *, told: bool = False) -> Told:
        return play(saga, saga_input, services, faults, check=check, begin=begin, undo_ready=undo_ready, told=told)

    if replay is not None:
        faults = [Fault.parse(text) for text in replay]
        return _in_a_thread_of_its_own(lambda: _replay(run, faults))
    return _in_a_thread_of_its_own(lambda: _explore(run, pairs, undo_fails, histories))


Run = Callable[..., Told]


def _replay(run: Run, faults: Sequence[Fault]) -> Exploration:
    found = Exploration()
    told = run(faults, told=True)
    if told.problem is not None:
        raise _counter_example(told)
    _take(found, run, told)
    found.story = told.story
    return found


def _explore(run: Run, pairs: int, undo_fails: int, histories: int | None) -> Exploration:
    found = Exploration()
    calm = run([])
    _take(found, run, calm)
    reached: dict[tuple[Fault, ...], Counter[tuple[str, str]]] = {(): calm.visits}
    for fault in _faults_at(calm.visits, {}):
        told = run([fault])
        found.singles += 1
        _take(found, run, told)
        reached[fault,] = told.visits
    if histories is not None:
        pairs = histories - found.histories
    for faults in _together(reached, calm.visits, pairs, undo_fails, found):
        _take(found, run, run(faults))
        found.pairs += 1
    return found


def _take(found: Exploration, run: Run, told: Told) -> None:
    found.explored.append(told.faults)
    found.covered.update(f"{fault.kind} at {fault.point}" for fault in told.met)
    if told.problem is not None:
        raise _counter_example(_smallest(run, told))
    if told.status is not None:
        found.ended[told.status] += 1


def _faults_at(visits: Mapping[tuple[str, str], int], known: Mapping[tuple[str, str], int]) -> Iterable[Fault]:
    """Every fault at every visit that is not among those known: in handlers first, where most mistakes are."""
    for (point, who), count in sorted(visits.items(), key=_place_of_point):
        if point not in KINDS or who in UNEXPLORED:
            continue
        for nth in range(known.get((point, who), 0) + 1, count + 1):
            for kind in KINDS[point]:
                yield Fault(kind, point, who, nth, SECONDS.get(kind, 0.0))


def _place_of_point(visit: tuple[tuple[str, str], int]) -> int:
    (point, _), _ = visit
    return ORDER.index(point) if point in ORDER else len(ORDER)


def _together(
    reached: Mapping[tuple[Fault, ...], Counter[tuple[str, str]]],
    calm: Counter[tuple[str, str]],
    pairs: int,
    undo_fails: int,
    found: Exploration,
) -> Iterable[Sequence[Fault]]:
    """First whatever can befall an undo, its messages and its commits, since only a fault leads to one, each kind once;
    then one step that says no while something befalls another; then other pairs, up to the bound."""
    undos: list[Sequence[Fault]] = []
    others: list[Sequence[Fault]] = []
    for faults, visits in reached.items():
        if not faults:
            continue
        for (point, who), count in visits.items():
            if point != "handler.compensation":
                continue
            for kind in KINDS[point]:
                undos += [
                    [*faults, Fault(kind, point, who, nth, SECONDS.get(kind, 0.0))] for nth in range(1, count + 1)
                ]
            undos += [
                [*faults, *(Fault(Kind.FAIL, point, who, nth) for nth in range(1, times + 1))]
                for times in range(2, undo_fails + 1)
            ]
        later_on = [[*faults, later] for later in _faults_at(visits, calm) if later.point != "handler.compensation"]
        (undos if faults[0].kind is Kind.REFUSE else others).extend(later_on)
    firsts = [fault for (fault,) in (faults for faults in reached if faults)]
    others += [[one, other] for place, one in enumerate(firsts) for other in firsts[place + 1 :] if _differ(one, other)]
    chance = random.Random(0)  # noqa: S311  # the same pairs each time
    chance.shuffle(others)
    first, rest = _one_of_each_kind(undos)
    chance.shuffle(rest)
    rest += sorted(others, key=_how_remote)
    near = [faults for faults in rest if _how_remote(faults) == 0]
    far = [faults for faults in rest if _how_remote(faults) > 0]
    chosen = [*first, *near, *far][: max(pairs, 0)]
    found.pairs_left_out = len(undos) + len(others) - len(chosen)
    return chosen


def _how_remote(faults: Sequence[Fault]) -> int:
    """Pairs in which one step says no while something befalls another come first, then others of two steps."""
    if any(not fault.point.startswith("handler") for fault in faults):
        return 2
    return 0 if any(fault.kind is Kind.REFUSE for fault in faults) else 1


def _one_of_each_kind(undos: Sequence[Sequence[Fault]]) -> tuple[list[Sequence[Fault]], list[Sequence[Fault]]]:
    """Those that differ in how the undo came about and in what befell it; and the others."""
    seen: set[tuple[object, ...]] = set()
    first: list[Sequence[Fault]] = []
    rest: list[Sequence[Fault]] = []
    for faults in undos:
        rest_of = ((fault.point, fault.who, fault.kind, fault.nth) for fault in faults[1:])
        in_handler = faults[1].point.startswith("handler")
        kind = (faults[0].point, faults[0].kind, *rest_of) if in_handler else tuple(rest_of)
        (rest if kind in seen else first).append(faults)
        seen.add(kind)
    return first, rest


def _differ(one: Fault, other: Fault) -> bool:
    return (one.point, one.who, one.nth) != (other.point, other.who, other.nth)


def _smallest(run: Run, told: Told) -> Told:
    """The smallest history that shows a problem."""
    faults = shrink(told.faults, lambda some: run(some).problem is not None) if told.faults else []
    smallest: Told = run(faults, told=True)
    return smallest


def _counter_example(told: Told) -> CounterExample:
    """A history that shows a problem, as a story."""
    wrong = "\n".join(f"    {in_words(fault)}" for fault in told.faults) or "    nothing: it happens when all goes well"
    hints = "".join(f"\n    {hint}" for hint in suspicions(told))
    faults = [str(fault) for fault in told.faults]
    story = (
        f"{told.problem}\n\nWhat goes wrong in this history:\n{wrong}\n\nWhat happens:\n{told.story}\n\n"
        f"{told.problem}" + (f"\n\nSuspicious:{hints}" if hints else "") + f"\n\nReplay it with replay={faults}"
    )
    return CounterExample(story, told.problem or "", faults)


def _expect_all_served(saga: Saga[Any], services: Sequence[Service[Any]]) -> None:
    names = {service.participant.name for service in services}
    missing = sorted({step.participant for step in saga.plan.steps} - names)
    if missing:
        raise DefinitionError(f"saga {saga.name} speaks to {', '.join(missing)} too; add a Service for each")


def _in_a_thread_of_its_own(function: Callable[[], T]) -> T:
    """An async test has a loop running in its thread; a world has its own, and one thread has one at a time."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    result: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001  # it is raised again below
            errors.append(error)

    thread = threading.Thread(target=work, name="sagaflow explore")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
