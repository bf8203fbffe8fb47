"""The observer: who is told what runs, so that it can be traced and counted elsewhere.

It is told of batches, once they are committed, in plain records; it decides nothing. What it loses is lost to it alone,
since the truth is the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from sagaflow.core.plan import Plan
from sagaflow.definitions.messages import Command, Reply
from sagaflow.definitions.ports import Address
from sagaflow.definitions.records import JournalEntry, OpenSagas, SagaRecord


@dataclass(frozen=True, slots=True)
class Moved:
    """What one committed transaction has done to a saga. `before` has version 0 if it began in it."""

    before: SagaRecord
    after: SagaRecord
    plan: Plan
    journal: Sequence[JournalEntry]
    at: datetime
    """The time of the transaction, by the clock of the store."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A participant has carried out a command, or could not."""

    command: Command
    reply: Reply
    seconds: float
    """From its arrival in the process to its answer, waiting for its turn included."""


class Observer(Protocol):
    """What the runners tell. No method may wait: each is called on the way of every batch.

    What a method raises is logged, and goes no further. To write one that needs a few of the methods, inherit from
    `Unobserved`, which has all of them.
    """

    @property
    def wants_journals(self) -> bool:
        """Whether `saga_told` is to be called. The journal of each traced saga is read for it, once it has ended."""
        ...

    def current_traceparent(self) -> str | None:
        """The traceparent of what the running task is part of, so that a saga that it starts is in the same trace."""
        ...

    def is_sampled(self, saga: str, traceparent: str) -> bool:
        """Whether a saga that begins this new trace is to be traced. Asked once for each; all processes keep to it."""
        ...

    # Of coordinators.

    def sagas_moved(self, moves: Sequence[Moved]) -> None:
        """These sagas have moved, in one transaction that took so many."""

    def saga_told(self, record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> None:
        """A traced saga has ended or become stuck, and this is its whole journal until then."""

    def taken_over(self, sagas: int) -> None:
        """So many open sagas of processes that have died were put on the agenda, to be sent again."""

    def open_sagas(self, counts: Sequence[OpenSagas]) -> None:
        """What is open now, over all processes of the coordinator's name. Told now and then, by one of them."""

    # Of participants.

    def handling(self, participant: str, command: Command) -> AbstractContextManager[object]:
        """Entered while the handler of a command runs; sees what it raises."""
        ...

    def handling_group(self, participant: str, commands: Sequence[Command]) -> AbstractContextManager[object]:
        """Entered while several commands are carried out in one transaction."""
        ...

    def commands_answered(self, participant: str, answered: Sequence[Answered]) -> None:
        """These commands are committed, and their answers on their way."""

    # Of both.

    def messages_repeated(self, where: str, messages: int) -> None:
        """So many messages were known already, and had no effect again."""

    def messages_put_aside(self, address: Address, messages: int) -> None:
        """So many messages that came to this address could not be dealt with, and are kept for a person."""


class Unobserved:
    """Nobody is told."""

    wants_journals = False

    def current_traceparent(self) -> str | None:
        """The running task is part of nothing."""
        return None

    def is_sampled(self, saga: str, traceparent: str) -> bool:
        """Other services may want to trace it."""
        return True

    def sagas_moved(self, moves: Sequence[Moved]) -> None:
        """Nobody is told."""

    def saga_told(self, record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> None:
        """Nobody is told."""

    def taken_over(self, sagas: int) -> None:
        """Nobody is told."""

    def open_sagas(self, counts: Sequence[OpenSagas]) -> None:
        """Nobody is told."""

    def handling(self, participant: str, command: Command) -> AbstractContextManager[object]:
        """Nobody is told."""
        return _NOTHING

    def handling_group(self, participant: str, commands: Sequence[Command]) -> AbstractContextManager[object]:
        """Nobody is told."""
        return _NOTHING

    def commands_answered(self, participant: str, answered: Sequence[Answered]) -> None:
        """Nobody is told."""

    def messages_repeated(self, where: str, messages: int) -> None:
        """Nobody is told."""

    def messages_put_aside(self, address: Address, messages: int) -> None:
        """Nobody is told."""


_NOTHING: Final[AbstractContextManager[object]] = nullcontext()

NOBODY: Final = Unobserved()
