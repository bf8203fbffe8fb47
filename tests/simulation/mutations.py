"""Seeded bugs: what the simulator has to find. Each is a change of the code for as long as a context lasts.

python -m tests.simulation.mutations
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock
from uuid import UUID

from msgspec import structs

from sagaflow.core import machine
from sagaflow.core.plan import Operation
from sagaflow.core.state import OpStatus
from sagaflow.definitions.ports import Entered, Entry, Overtaken, Undo
from sagaflow.definitions.records import Change, Watcher
from sagaflow.runners import turns
from sagaflow.runners.engine import Engine, ReplyArrived
from sagaflow.runners.outbox import Outbox
from sagaflow.runners.receipts import Receipt
from sagaflow.runners.turns import Turn
from sagaflow.runners.upkeep import Upkeep
from sagaflow.testing.simulation.database import SimulatedParticipantTransaction
from sagaflow.testing.simulation.faults import Kind
from sagaflow.testing.simulation.locks import Locks
from sagaflow.testing.simulation.play.cast import PATIENT
from sagaflow.testing.simulation.play.history import SAGAS, play
from sagaflow.testing.simulation.play.setting import Setting
from sagaflow.testing.simulation.store import SimulatedLoneTransaction, SimulatedStoreTransaction

SEEDS_MAX = 5000


@dataclass(frozen=True)
class Mutation:
    """A bug, in words; what it changes; and which invariants may show it."""

    name: str
    change: Callable[[], Any]
    shown_by: Sequence[str]
    where: Callable[[Setting], bool] = lambda setting: True
    """Which histories can show it at all; the others are not played."""
    soonest: int = 0
    """Where the test begins to look: shortly before the first seed that shows it, if that comes late. Should histories
    be drawn in another way some day, it looks on from here."""

    @contextmanager
    def put(self) -> Iterator[None]:
        """Put it in. What the machine has said before is not remembered within, nor afterwards what it says with it."""
        with self.change(), mock.patch.dict(turns._MOVES, clear=True):
            yield


def find(mutation: Mutation, seeds: range = range(SEEDS_MAX)) -> tuple[int, str] | None:
    """The first seed that shows the bug, and what it shows."""
    with mutation.put():
        for seed in seeds:
            if not mutation.where(Setting.of(seed, SAGAS)):
                continue
            problem = play(seed).problem
            if problem is not None:
                return seed, problem
    return None


def patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], Any]:
    """Put something else in the place of a function; it is given the original."""
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


def _ack_before_commit(original: Any) -> Any:
    async def work(self: Engine, inputs: Sequence[Any], *, again: bool = False) -> None:
        for one in inputs:
            if isinstance(one, ReplyArrived):
                one.receipt.done()
        given = [replace(one, receipt=_Spent()) if isinstance(one, ReplyArrived) else one for one in inputs]
        await original(self, given, again=again)

    return work


class _Spent(Receipt):
    """A receipt that was given already."""

    def __init__(self) -> None:
        pass

    def done(self) -> None:
        """Nothing."""


def _ack_before_the_reply_is_safe(original: Any) -> Any:
    def put(self: Outbox, letters: Sequence[Any], receipts: Sequence[Receipt] = ()) -> None:
        for receipt in receipts:
            receipt.done()
        original(self, letters)

    return put


def _publish_before_commit(original: Any) -> Any:
    async def all_letters(self: Engine, tx: Any, turns: Any) -> Any:
        letters = await original(self, tx, turns)
        self._outbox.put(letters)
        return letters

    return all_letters


def _no_fence(original: Any) -> Any:
    return _entering_all_the_same(original, "Fenced", machine.ACTION)


def _no_memory(original: Any) -> Any:
    return _entering_all_the_same(original, "Recorded", machine.ACTION)


def _undo_again(original: Any) -> Any:
    return _entering_all_the_same(original, "Recorded", machine.COMPENSATION)


def _entering_all_the_same(original: Any, how: str, operation: Operation) -> Any:
    """An operation that the barrier has met so is entered nevertheless."""

    async def enter(self: Any, entries: Sequence[Entry]) -> Sequence[Any]:
        met = list(await original(self, entries))
        for place, entry in enumerate(entries):
            if type(met[place]).__name__ == how:
                self._entered[entry.key, operation] = entry.round
                action = self._of(entry.key, machine.ACTION)
                undo = Undo(None if action is None else action.outcome)
                met[place] = Entered() if operation is machine.ACTION else undo
        return met

    return enter


def _undo_in_any_order(original: Any) -> Any:
    return lambda self, place: self._owed(place)


def _undo_in_forward_order(original: Any) -> Any:
    def possible(self: Any, place: int) -> bool:
        before = [other for other in range(place) if place in self.plan.behind[other]]
        return self._owed(place) and not any(self._owed(other) for other in before)

    return possible


def _forget_the_unknown(original: Any) -> Any:
    def owed(self: Any, place: int) -> bool:
        return original(self, place) and self.steps[place].action.status is not OpStatus.UNKNOWN

    return owed


def _undo_the_pivot_too(original: Any) -> Any:
    def turn_round(self: Any, cause: Any) -> Any:
        if self.cause is not None:
            return original(self, cause)
        self._roll_back(cause)
        return None

    return turn_round


def _no_locks(original: Any) -> Any:
    async def take(self: Locks, key: Any, holder: object) -> None:
        return None

    return take


@contextmanager
def _no_locks_and_no_versions() -> Iterator[None]:
    """Rows are not locked, and a write does not look whether what it was made from is still there."""
    save = SimulatedStoreTransaction._save

    def blind(self: Any, changes: Sequence[Change], process: UUID) -> Any:
        seen = [
            structs.replace(change, expected_version=self._record(change.record.saga_id).version) for change in changes
        ]
        return save(self, seen, process)

    with (
        mock.patch.object(Locks, "take", _no_locks(Locks.take)),
        mock.patch.object(SimulatedStoreTransaction, "_save", blind),
    ):
        yield


def _deaf_to_who_was_faster(original: Any) -> Any:
    async def save(self: SimulatedLoneTransaction, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        try:
            return await original(self, changes, process)  # type: ignore[no-any-return]
        except Overtaken:
            return []

    return save


def _keys_count_for_nothing(original: Any) -> Any:
    def insert(self: Any, changes: Sequence[Change], process: UUID) -> Any:
        with mock.patch.object(self.store.tables, "keys", {}):
            return original(self, changes, process)

    return insert


def _one_entry_is_missing(original: Any) -> Any:
    def change(self: Turn) -> Change:
        whole: Change = original(self)
        return structs.replace(whole, journal=whole.journal[1:]) if len(whole.journal) > 1 else whole

    return change


def _deaf_to_time(original: Any) -> Any:
    def wake(self: Turn, origin: str) -> None:
        self.woken = True

    return wake


def _is_patient(setting: Setting) -> bool:
    return any(order.shape == PATIENT for order in setting.orders)


def _deaths(setting: Setting) -> set[Kind]:
    return {Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.KILL} & set(setting.kinds)


async def _slowly(self: Upkeep) -> None:
    await asyncio.sleep(1e6)


MUTATIONS = (
    Mutation("replies are acknowledged before the commit", patched(Engine, "_work", _ack_before_commit), ["I5"]),
    Mutation(
        "commands are acknowledged before their reply is safe",
        patched(Outbox, "put", _ack_before_the_reply_is_safe),
        ["I5"],
    ),
    Mutation(
        "commands are published before the commit",
        patched(Engine, "_all_letters", _publish_before_commit),
        ["I5", "I3"],
    ),
    Mutation(
        "an undo does not fence off its action",
        patched(SimulatedParticipantTransaction, "enter_actions", _no_fence),
        ["I2", "I3", "I4"],
    ),
    Mutation(
        "a duplicate of an action is done again",
        patched(SimulatedParticipantTransaction, "enter_actions", _no_memory),
        ["I4"],
    ),
    Mutation(
        "a duplicate of an undo is done again",
        patched(SimulatedParticipantTransaction, "enter_compensations", _undo_again),
        ["I4"],
    ),
    Mutation("undos come in any order", patched(machine._Turn, "_compensation_possible", _undo_in_any_order), ["I3"]),
    Mutation(
        "undos come in forward order", patched(machine._Turn, "_compensation_possible", _undo_in_forward_order), ["I3"]
    ),
    Mutation("what is unknown is not undone", patched(machine._Turn, "_owed", _forget_the_unknown), ["I2", "I3"]),
    Mutation("a cancel passes the pivot", patched(machine._Turn, "_turn_round", _undo_the_pivot_too), ["I2", "I3"]),
    Mutation("rows are not locked and versions not checked", _no_locks_and_no_versions, ["I6", "I8"]),
    Mutation(
        "who was overtaken goes on as if it had written",
        patched(SimulatedLoneTransaction, "save", _deaf_to_who_was_faster),
        ["I5", "I10"],
    ),
    Mutation("a key is taken twice", patched(SimulatedStoreTransaction, "_insert", _keys_count_for_nothing), ["I10"]),
    Mutation(
        "nothing is sent again",
        patched(Turn, "send_again", lambda original: lambda self: None),
        ["I1"],
        where=lambda setting: _is_patient(setting),
    ),
    Mutation(
        "nobody takes over from the dead",
        patched(Upkeep, "_look_after_others", lambda original: _slowly),
        ["I1"],
        where=lambda setting: _is_patient(setting) and len(_deaths(setting)) > 1 and setting.interval < 100,
        soonest=930,
    ),
    Mutation("the journal misses an entry", patched(Turn, "change", _one_entry_is_missing), ["I6"]),
    Mutation("timers are not heard", patched(Turn, "wake", _deaf_to_time), ["I1"]),
)
