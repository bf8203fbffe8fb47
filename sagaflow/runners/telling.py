"""Telling the observer: what it raises harms nobody, and journals are read for it beside the work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from sagaflow.core.plan import Plan
from sagaflow.core.state import SETTLED
from sagaflow.definitions import ids, logs
from sagaflow.definitions.messages import Command
from sagaflow.definitions.observing import NOBODY, Answered, Moved, Observer
from sagaflow.definitions.ports import Address, SagaStore
from sagaflow.definitions.records import JournalEntry, OpenSagas, SagaRecord
from sagaflow.errors import Unavailable
from sagaflow.runners.batches import Batcher

R = TypeVar("R")

FAILURES_KNOWN_MAX: Final = 100

TALES_WAITING_MAX: Final = 5_000
"""How many sagas may wait for their journals to be read; the traces of others are left out."""

TALES_BATCH_MAX: Final = 50

_NOTHING: Final[AbstractContextManager[object]] = nullcontext()


class Guarded:
    """An observer that does not raise: what another one raises is logged."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._failures: set[str] = set()
        """Where it has failed. It is asked for every batch, and each place is worth one line."""

    @property
    def is_anybody(self) -> bool:
        """Whether there is any use in making records to tell."""
        return self._observer is not NOBODY

    @property
    def wants_journals(self) -> bool:
        """See `Observer`."""
        return self._try(lambda: self._observer.wants_journals, False)

    def current_traceparent(self) -> str | None:
        """See `Observer`."""
        return self._try(self._observer.current_traceparent, None)

    def is_sampled(self, saga: str, traceparent: str) -> bool:
        """See `Observer`."""
        return self._try(partial(self._observer.is_sampled, saga, traceparent), True)

    def sagas_moved(self, moves: Sequence[Moved]) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.sagas_moved, moves), None)

    def saga_told(self, record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.saga_told, record, plan, journal), None)

    def taken_over(self, sagas: int) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.taken_over, sagas), None)

    def open_sagas(self, counts: Sequence[OpenSagas]) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.open_sagas, counts), None)

    def handling(self, participant: str, command: Command) -> AbstractContextManager[object]:
        """See `Observer`."""
        if self._observer is NOBODY:
            return _NOTHING
        return self._guarded(partial(self._observer.handling, participant, command))

    def handling_group(self, participant: str, commands: Sequence[Command]) -> AbstractContextManager[object]:
        """See `Observer`."""
        if self._observer is NOBODY:
            return _NOTHING
        return self._guarded(partial(self._observer.handling_group, participant, commands))

    def commands_answered(self, participant: str, answered: Sequence[Answered]) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.commands_answered, participant, answered), None)

    def messages_repeated(self, where: str, messages: int) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.messages_repeated, where, messages), None)

    def messages_put_aside(self, address: Address, messages: int) -> None:
        """See `Observer`."""
        self._try(partial(self._observer.messages_put_aside, address, messages), None)

    def _try(self, tell: Callable[[], R], otherwise: R) -> R:
        try:
            return tell()
        except Exception as error:  # noqa: BLE001  # what observes must not harm what is observed
            where = logs.reason(error)
            logs.OBSERVER_FAILED.write(error=error, quietly=where in self._failures)
            if len(self._failures) < FAILURES_KNOWN_MAX:
                self._failures.add(where)
            return otherwise

    @contextmanager
    def _guarded(self, begin: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
        watch = self._try(begin, None)
        if watch is not None:
            self._try(watch.__enter__, None)
        try:
            yield
        except BaseException as error:
            if watch is not None:
                self._try(partial(watch.__exit__, type(error), error, error.__traceback__), None)
            raise
        else:
            if watch is not None:
                self._try(partial(watch.__exit__, None, None, None), None)


UNOBSERVED: Final = Guarded(NOBODY)


@dataclass(frozen=True, slots=True)
class Tale:
    """A traced saga that has ended or become stuck."""

    record: SagaRecord
    plan: Plan


class Tales:
    """Reads the journals of traced sagas when they end or become stuck, and tells them."""

    def __init__(self, store: SagaStore, observer: Guarded) -> None:
        self._store = store
        self._observer = observer
        self._waiting: Batcher[Tale] = Batcher("tales", self._tell_all, TALES_BATCH_MAX)
        self.left_out = 0
        """How many were not told, since too many waited."""

    def open(self) -> None:
        """Begin to work."""
        self._waiting.open()

    async def close(self) -> None:
        """Tell what waits, then stop."""
        await self._waiting.close()

    async def abort(self) -> None:
        """Stop at once."""
        await self._waiting.abort()

    def note(self, moves: Sequence[Moved]) -> None:
        """Have those told that are settled now."""
        for tale in tales_of(moves, self._observer):
            if len(self._waiting) < TALES_WAITING_MAX:
                self._waiting.put(tale)
            else:
                self.left_out += 1

    async def _tell_all(self, tales: Sequence[Tale]) -> None:
        await tell_tales(self._store, self._observer, tales)


async def tell_tales(store: SagaStore, observer: Guarded, tales: Sequence[Tale]) -> None:
    """Read the journals of sagas, in one query, and tell them."""
    try:
        entries = await store.journals([tale.record.saga_id for tale in tales])
    except Unavailable as error:
        for tale in tales:
            logs.TRACE_LEFT_OUT.write(tale.record, error=error)
        return
    journals: defaultdict[UUID, list[JournalEntry]] = defaultdict(list)
    for entry in entries:
        journals[entry.saga_id].append(entry)
    for tale in tales:
        until = [entry for entry in journals[tale.record.saga_id] if entry.seq <= tale.record.version]
        observer.saga_told(tale.record, tale.plan, until)


def tales_of(moves: Sequence[Moved], observer: Guarded) -> Sequence[Tale]:
    """The traced sagas that are settled now, if the observer wants to be told of them."""
    if not observer.wants_journals:
        return []
    return [
        Tale(moved.after, moved.plan)
        for moved in moves
        if moved.after.status in SETTLED
        and moved.after.status is not moved.before.status
        and ids.is_sampled(moved.after.traceparent)
    ]
