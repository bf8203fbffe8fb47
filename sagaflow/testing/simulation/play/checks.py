"""What must be true after every commit, after every acknowledgement, and at the end.

The checks see what is committed, in the store, in the databases of the participants and at the bank outside. What they
know of sagaflow is the plan, the machine that folds a journal, and the wire. Numbers as in docs/reliability.md:

    I1  every saga ends once the faults have stopped (or waits for a person, who then helps)
    I2  a saga that is COMPLETED has each of its effects, one that is COMPENSATED has none left
    I3  what is undone may have happened, and is undone in the reverse order
    I4  no operation has its effect twice
    I5  nothing is acknowledged before its transition is committed and what follows from it is safe at the broker
    I6  versions grow by one for each row of the journal, and folding the journal gives the state
    I7  in the end nothing waits: no message, no timer, no transaction
    I8  a saga that has ended never changes
    I9  a saga that was undone says why
    I10 whoever waits is told the truth
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from sagaflow.core import effects as machine_effects
from sagaflow.core.effects import Ignored, IgnoredBecause
from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    DeadlinePassed,
    Event,
    Failed,
    ReplyGiven,
    SkipRequested,
    Succeeded,
    Unserved,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import OnStuck, Operation, Plan, StepKind
from sagaflow.core.state import SETTLED, OpStatus, SagaState, SagaStatus, by_name, initial
from sagaflow.definitions.messages import Command, Reader, Reply, Unreadable, write
from sagaflow.definitions.ports import DELIVERY_LIMIT, Address, BarrierKey, Entered, Fenced, QueueKind, Recorded, Undo
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.definitions.remembering import Remembered
from sagaflow.runners.engine import event_of as event_of_reply
from sagaflow.testing.simulation.chronicle import Chronicle
from sagaflow.testing.simulation.database import Rows, RowsTx
from sagaflow.testing.simulation.play import coverage
from sagaflow.testing.simulation.play.cast import Bank, Effect, external_steps
from sagaflow.testing.simulation.store import SimulatedStore

ACTION: Final = Operation.ACTION
COMPENSATION: Final = Operation.COMPENSATION

BY_HAND: Final = (SkipRequested, ReplyGiven, AbandonRequested)
"""After these a person has taken over the responsibility for what is done and what is not."""

_COMMANDS: Final[Reader[Any]] = Reader(Command)
_READERS: Final[Mapping[QueueKind, Reader[Any]]] = {
    QueueKind.COMMANDS: _COMMANDS,
    QueueKind.COMPENSATIONS: _COMMANDS,
    QueueKind.REPLIES: Reader(Reply),
}

Attempt = tuple[UUID, str, Operation, int, int]


class Violation(AssertionError):
    """An invariant does not hold."""


class Ledger(Rows):
    """The business of a participant: its effects, counted as they are committed."""

    def __init__(self, checks: Checks) -> None:
        super().__init__()
        self._checks = checks

    def commit(self, tx: RowsTx) -> None:
        """The effects are there."""
        super().commit(tx)
        for row in tx.added:
            if isinstance(row, Effect):
                self._checks.effect(row)


class _Message:
    """A command or a reply, as it was read at the broker."""

    def __init__(self, message: Command | Reply) -> None:
        self.attempt: Attempt = _attempt_of(message)
        self.reply = message if isinstance(message, Reply) else None
        self.copy = write(message)


class Checks:
    """The witness of store, broker and databases."""

    def __init__(self, fail: Callable[[Violation], None]) -> None:
        self.met: coverage.Met = Counter()
        self.chronicle: Chronicle | None = None
        self._fail = fail
        self.plans: dict[str, Plan] = {}
        self.by_hand: set[UUID] = set()
        self._states: dict[UUID, SagaState] = {}
        self._plan_of: dict[UUID, Plan] = {}
        self._effects: Counter[tuple[UUID, str, Operation]] = Counter()
        self._copies: Counter[bytes] = Counter()
        self._asked_again: set[Attempt] = set()
        """Attempts that nobody served, and that are asked again as they were. What answered an earlier asking while
        they waited counts for nothing, and may be acknowledged when they have been asked again."""
        self._answered: set[Attempt] = set()
        self._commanded: dict[UUID, set[Attempt]] = defaultdict(set)
        self._bodies: dict[bytes, list[_Message]] = {}
        """What was read: each body is looked at when it is published, and when it is acknowledged."""
        self._moves: dict[str, Remembered[SagaState, tuple[SagaState, tuple[machine_effects.Effect, ...]]]] = {}
        """What the machine has said in this history, by the hash of the plan."""
        self._initial: dict[str, SagaState] = {}

    def broken(self, which: str, how: str) -> None:
        """Fail the run: an invariant does not hold."""
        self._fail(Violation(f"{which}: {how}"))

    # The store.

    def committed(self, before: SagaRecord | None, after: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """I6, I8: a saga was written."""
        saga_id = after.saga_id
        plan = self._plan_of[saga_id] = self.plans[after.plan_hash]
        version = 0 if before is None else before.version
        name = f"saga {after.saga} {after.key}"
        if before is not None and before.state.ended:
            same = (after.state, after.timers) == (before.state, before.timers)
            if not same:
                self.broken("I8", f"{name} had ended {before.status} and was changed")
        if self.chronicle is not None:
            self.chronicle.written(after, journal)
        numbers = [entry.seq for entry in journal]
        expected = list(range(version + 1, after.version + 1))
        if numbers != expected:
            self.broken("I6", f"{name} went from version {version} with the entries {numbers}")
        state = self._states.get(saga_id) or self._beginning(plan)
        for entry in journal:
            state = self._fold(plan, state, entry, name)
        self._states[saga_id] = state
        if state != after.state:
            self.broken("I6", f"{name}: the journal sums up to {state}, stored is {after.state}")
        if after.state.ended and after.timers:
            self.broken("I7", f"{name} has ended, and its timers have not")

    def _beginning(self, plan: Plan) -> SagaState:
        return self._initial.setdefault(plan.hash, initial(plan))

    def _advance(
        self, plan: Plan, state: SagaState, event: Event
    ) -> tuple[SagaState, tuple[machine_effects.Effect, ...]]:
        """`advance`, remembered: sagas of one plan pass through the same few states."""
        moves = self._moves.get(plan.hash)
        if moves is None:
            moves = self._moves[plan.hash] = Remembered(partial(advance, plan))
        return moves(state, event)

    def taken_over(self, sagas: int) -> None:
        """Take note that a lease has lapsed."""
        if sagas:
            self.met[coverage.TAKEN_OVER] += 1

    def overtaken(self) -> None:
        """Take note that two wrote one saga at the same time."""
        self.met[coverage.OVERTAKEN] += 1

    def _fold(self, plan: Plan, state: SagaState, entry: JournalEntry, name: str) -> SagaState:
        event = entry.event
        self._note_event(plan, state, event, entry)
        after, _ = self._advance(plan, state, event)
        if after.status is not entry.status:
            self.broken("I6", f"{name}: entry {entry.seq} says {entry.status}")
        if isinstance(event, Unserved):
            attempt = (entry.saga_id, event.step, event.operation, event.round, event.attempt)
            self._asked_again.add(attempt)
        if isinstance(event, BY_HAND) and entry.ignored is None:
            self.by_hand.add(entry.saga_id)
        for command in entry.commands:
            attempt = (entry.saga_id, command.step, command.operation, command.round, command.attempt)
            self._commanded[entry.saga_id].add(attempt)
        return after

    def _note_event(self, plan: Plan, state: SagaState, event: Event, entry: JournalEntry) -> None:
        if entry.ignored is None:
            step = getattr(event, "step", None)
            status = None if step is None else by_name(plan, state)[step].op(event.operation).status  # type: ignore[union-attr]
            self.met[coverage.of_event(event, status)] += 1
        elif entry.ignored == IgnoredBecause.ENDED and isinstance(event, Succeeded):
            self.met[coverage.LATE_SUCCESS_AFTER_END] += 1

    # The databases of the participants.

    def effect(self, effect: Effect) -> None:
        """I3, I4: an effect was committed."""
        key = (effect.saga_id, effect.step, effect.operation)
        self._effects[key] += 1
        name = f"the {effect.operation} of {effect.step}"
        if self.chronicle is not None:
            self.chronicle.note(f"   {name} is committed at its participant")
        if self._effects[key] != 1:
            self.broken("I4", f"{name} has its effect {self._effects[key]} times")
        plan = self._plan_of.get(effect.saga_id)
        if plan is None:
            self.broken("I5", f"{name} was done for a saga that is not stored")
            return
        if effect.saga_id in self.by_hand:
            return
        place = plan.index[effect.step]
        in_order = plan.on_stuck is not OnStuck.CONTINUE_OTHERS
        if effect.operation is ACTION:
            for before in plan.before[place]:
                there = self._net(effect.saga_id, plan.steps[before].name) == 1
                passed = not in_order and self._effects[effect.saga_id, plan.steps[before].name, COMPENSATION] == 1
                if not (there or passed):
                    self.broken("I3", f"{name} was done, and {plan.steps[before].name} before it is not")
        else:
            for later in plan.behind[place] if in_order else ():
                gone = self._net(effect.saga_id, plan.steps[later].name) <= 0
                if not gone:
                    self.broken("I3", f"{name} was done, and {plan.steps[later].name} behind it still is")
            happened = self._net(effect.saga_id, effect.step) == 0
            outside = effect.step in external_steps(plan)
            if not (happened or outside):
                self.broken("I3", f"{name} was done, and there was nothing to undo")

    def _net(self, saga_id: UUID, step: str) -> int:
        return self._effects[saga_id, step, ACTION] - self._effects[saga_id, step, COMPENSATION]

    def met_at_barrier(self, entered: Entered | Recorded | Fenced | Undo) -> None:
        """Take note of what the barrier is for."""
        match entered:
            case Recorded():
                self.met[coverage.DUPLICATE_COMMAND] += 1
            case Fenced():
                self.met[coverage.ACTION_AFTER_UNDO] += 1
            case Undo(action=None):
                self.met[coverage.UNDO_BEFORE_ACTION] += 1

    # The broker.

    def published(self, to: Address, body: bytes) -> None:
        """Take note of what is safe."""
        for message in self._read(to, body):
            self._copies[message.copy] += 1
            if message.reply is not None:
                self._answered.add(message.attempt)
            elif message.attempt not in self._commanded[message.attempt[0]]:
                self.broken("I5", f"{_told(message.attempt)} was sent, and nothing stored says so")

    def acked(self, address: Address, body: bytes) -> None:
        """I5: a body is dealt with."""
        for message in self._read(address, body):
            if self._is_on_its_way(message):
                continue
            if message.reply is not None:
                self._reply_acked(message.reply)
            elif message.attempt not in self._answered:
                self.broken("I5", f"{_told(message.attempt)} was acknowledged unanswered")

    def _is_on_its_way(self, acked: _Message) -> bool:
        """Whether another copy of what was acknowledged is at the broker: a body that comes again is taken apart, and
        each of its messages published alone."""
        self._copies[acked.copy] -= 1
        return self._copies[acked.copy] > 0

    def _reply_acked(self, reply: Reply) -> None:
        """A reply that is acknowledged can change nothing any more, and what follows from it is on its way."""
        plan, state = self._plan_of.get(reply.saga_id), self._states.get(reply.saga_id)
        told = f"the reply to {_told(_attempt_of(reply))}"
        if plan is None or state is None:
            self.broken("I5", f"{told} was acknowledged, and its saga is not stored")
            return
        event = event_of_reply(reply)
        _, effects = self._advance(plan, state, event)
        ignored = next((effect.because for effect in effects if isinstance(effect, Ignored)), None)
        of_earlier = isinstance(event, Unserved | Failed) and _attempt_of(reply) in self._asked_again
        taken = ignored is not None or of_earlier
        if not taken:
            self.broken("I5", f"{told} ({reply.outcome}) was acknowledged before it was taken")
        if state.ended:
            self.met[coverage.DUPLICATE_AFTER_END] += 1

    def _read(self, address: Address, body: bytes) -> Sequence[_Message]:
        """The commands or replies of a body; of other messages nothing is asked."""
        reader = _READERS.get(address.kind)
        if reader is None:
            return ()
        known = self._bodies.get(body)
        if known is None:
            known = self._bodies[body] = []
            for message in reader.read(body):
                if isinstance(message, Unreadable):
                    self.broken("I5", f"a message of our own cannot be read: {message!r}")
                else:
                    known.append(_Message(message))
        return known

    # Whoever waits.

    def told(self, saga_id: UUID, status: SagaStatus) -> None:
        """I10: somebody was told how a saga stands."""
        state = self._states.get(saga_id)
        if status not in SETTLED:
            self.broken("I10", f"somebody was told that a saga has ended, and it is {status}")
        if state is None:
            self.broken("I10", f"somebody was told of saga {saga_id}, which is not stored")
        elif status not in (state.status, SagaStatus.STUCK):  # what is stuck may have gone on meanwhile
            self.broken("I10", f"somebody was told {status}, and stored is {state.status}")

    # The end.

    def at_the_end(self, store: SimulatedStore, bank: Bank) -> None:
        """I1, I2, I7, I9: all is over."""
        tables = store.tables
        for saga_id, record in tables.sagas.items():
            name = f"saga {record.saga} {record.key}"
            if not record.state.ended:
                self.broken("I1", f"{name} is still {record.status}")
            if saga_id in tables.agenda:
                self.broken("I7", f"{name} has ended and is still on the agenda")
            self.met[f"ended {record.status}"] += 1
            if record.state.cause is not None:
                self.met[f"because {record.state.cause}"] += 1
                self._expect_reason(name, tables.journal[saga_id])
            if saga_id not in self.by_hand:
                self._expect_all_or_nothing(record, bank, name)
        reasons = [
            aside.reason for aside in tables.put_aside if not aside.reason.startswith(f"given up: {DELIVERY_LIMIT}")
        ]
        if reasons:
            self.broken("I5", f"messages of our own were put aside: {reasons[:1]}")

    def _expect_reason(self, name: str, journal: Sequence[JournalEntry]) -> None:
        told = any(
            entry.error is not None
            or entry.reason is not None
            or isinstance(entry.event, DeadlinePassed | CancelRequested)
            or type(entry.event).__name__ == "TimerFired"
            for entry in journal
        )
        if not told:
            self.broken("I9", f"{name} was undone, and nothing says why")

    def _expect_all_or_nothing(self, record: SagaRecord, bank: Bank, name: str) -> None:
        plan = self._plan_of[record.saga_id]
        wanted = 1 if record.status is SagaStatus.COMPLETED else 0
        for step, state in zip(plan.steps, record.state.steps, strict=True):
            net = self._net(record.saga_id, step.name)
            if step.name in external_steps(plan):
                left = bank.entries.get(f"{record.saga_id}/{step.name}", False)
                if left != bool(wanted):
                    self.broken("I2", f"{name} is {record.status}; {step.name} at the bank: {left}")
                net = min(max(net, 0), 1)  # what never came to our database may have been undone at the bank
            if net != wanted:
                self.broken("I2", f"{name} is {record.status}, and {step.name} has {net} effects")
            undone = state.compensation.status is OpStatus.SUCCEEDED
            if wanted and undone:
                self.broken("I2", f"{name} is {record.status}, and {step.name} is undone")
            if undone and step.kind is not StepKind.COMPENSATABLE:
                self.broken("I3", f"{name}: {step.name} can not be undone")


class DatabaseChecks:
    """The witness of one database."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks

    def settled(self, key: BarrierKey, operation: Operation, outcome: bytes) -> None:
        """An outcome is recorded."""

    def met(self, key: BarrierKey, entered: Entered | Recorded | Fenced | Undo, operation: Operation) -> None:
        """Take note of what the barrier is for."""
        self._checks.met_at_barrier(entered)


def _attempt_of(message: Command | Reply) -> Attempt:
    return message.saga_id, message.step, message.operation, message.round, message.attempt


def _told(attempt: Attempt) -> str:
    _, step, operation, round_, number = attempt
    return f"attempt {round_}.{number} of the {operation} of {step}"
