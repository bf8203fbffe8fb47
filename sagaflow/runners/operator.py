"""What a person can do about a saga. Needs the store alone, so that it works from any place that reaches it.

Each verb is one event of the machine, in the journal with who and why. The commands that follow from it
are sent by a coordinator, as soon as one looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from sagaflow.core.effects import IgnoredBecause
from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    Event,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
)
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import OPEN, OpStatus, SagaStatus, by_name
from sagaflow.definitions import payloads
from sagaflow.definitions.limits import REASON_LENGTH_MAX
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import NO_PROCESS, SagaRecord, Watcher
from sagaflow.definitions.surroundings import current
from sagaflow.errors import NotPossible, SagaNotFound
from sagaflow.runners.turns import Turn

StepEvent = RetryRequested | SkipRequested | ReplyGiven

Tell = Callable[[UUID, SagaStatus, Sequence[Watcher]], None]

_DONE_TO_STEP = {RetryRequested: "retried", SkipRequested: "skipped", ReplyGiven: "given this reply"}


class Operator:
    """Steers single sagas.

    Args:
        store: where they are kept.
        actor: who asks; it is written to the journal with the reason.
        tell: told what has become of a saga, and who watches it. Without it, those who wait for the saga
            look again by themselves after a while.
    """

    def __init__(self, store: SagaStore, actor: str, *, tell: Tell | None = None) -> None:
        self._store = store
        self._actor = actor
        self._tell = tell
        self._origin = f"operator@{current().host()}"

    async def cancel(self, saga_id: UUID, *, reason: str) -> SagaStatus:
        """Have the saga undone. One that is being undone already stays as it is.

        Raises:
            NotPossible: it has reached its pivot, or has ended.
            SagaNotFound: there is no such saga.
        """
        turn_status, ignored = await self._apply(saga_id, CancelRequested(), reason)
        if ignored is None or ignored is IgnoredBecause.UNDOING or turn_status is SagaStatus.COMPENSATED:
            return turn_status
        raise NotPossible(f"saga {saga_id} is {turn_status} and cannot be cancelled: {ignored}")

    async def retry(self, saga_id: UUID, *, reason: str, step: str | None = None) -> SagaStatus:
        """Try a stuck or waiting operation again, now and with a fresh budget.

        Args:
            saga_id: which saga.
            reason: why it may work now.
            step: which step; left out, the only one that is stuck.

        Raises:
            NotPossible: nothing there can be tried again, or more than one step could be meant.
            SagaNotFound: there is no such saga.
        """
        return await self._about_step(saga_id, step, reason, lambda name, op: RetryRequested(name, op))

    async def skip(self, saga_id: UUID, *, reason: str, step: str | None = None) -> SagaStatus:
        """Go on as if a stuck operation were done: a person has settled it by other means."""
        return await self._about_step(saga_id, step, reason, lambda name, op: SkipRequested(name, op))

    async def give_reply(
        self, saga_id: UUID, *, reason: str, succeeded: bool, result: object = None, step: str | None = None
    ) -> SagaStatus:
        """Say by hand how an open operation ended: done, with its result, or (actions only) definitely not."""
        encoded = payloads.encode(result) if succeeded else None
        return await self._about_step(
            saga_id, step, reason, lambda name, op: ReplyGiven(name, op, succeeded), result=encoded
        )

    async def abandon(self, saga_id: UUID, *, reason: str) -> SagaStatus:
        """End a stuck saga as it stands. What is owed stays in the record, and nobody will do it."""
        status, ignored = await self._apply(saga_id, AbandonRequested(), reason)
        if ignored is not None:
            raise NotPossible(f"saga {saga_id} is {status}; only a stuck saga can be abandoned")
        return status

    async def _about_step(
        self,
        saga_id: UUID,
        step: str | None,
        reason: str,
        make: Callable[[str, Operation], StepEvent],
        result: bytes | None = None,
    ) -> SagaStatus:
        name, operation = await self._which(saga_id, step)
        keep = result if operation is Operation.ACTION else None
        event = make(name, operation)
        status, ignored = await self._apply(saga_id, event, reason, keep)
        if ignored is not None:
            done = _DONE_TO_STEP[type(event)]
            raise NotPossible(f"saga {saga_id} is {status}; the {operation} of {name} cannot be {done}: {ignored}")
        return status

    async def _which(self, saga_id: UUID, step: str | None) -> tuple[str, Operation]:
        record, plan = await self._find(saga_id)
        steps = by_name(plan, record.state)
        if step is not None and step not in steps:
            raise NotPossible(f"saga {record.saga} has no step {step!r}; it has {', '.join(steps)}")
        candidates = [
            (name, operation, state.op(operation).status)
            for name, state in steps.items()
            for operation in Operation
            if step in (None, name) and state.op(operation).status in OPEN
        ]
        stuck = [(name, operation) for name, operation, status in candidates if status is OpStatus.STUCK]
        if step is not None and candidates:
            return stuck[0] if stuck else candidates[0][:2]
        if len(stuck) == 1:
            return stuck[0]
        if stuck:
            raise NotPossible(f"more than one step is stuck: {', '.join(name for name, _ in stuck)}; say which")
        raise NotPossible(f"saga {saga_id} is {record.status}; nothing of it is stuck")

    async def _apply(
        self, saga_id: UUID, event: Event, reason: str, result: bytes | None = None
    ) -> tuple[SagaStatus, IgnoredBecause | None]:
        if not reason.strip():
            raise NotPossible("give a reason; it is written to the journal of the saga")
        _, plan = await self._find(saga_id)
        async with self._store.transaction() as tx:
            (record,) = await tx.load([saga_id])
            turn = Turn(record, plan, tx.now)
            ignored = turn.apply(
                event, origin=self._origin, result=result, actor=self._actor, reason=reason[:REASON_LENGTH_MAX]
            )
            if turn.changed:
                turn.leave_sending_to_others()
                watchers = await tx.save([turn.change()], NO_PROCESS)
        if turn.changed and self._tell is not None:
            self._tell(saga_id, turn.state.status, watchers)
        return turn.state.status, ignored

    async def _find(self, saga_id: UUID) -> tuple[SagaRecord, Plan]:
        records = await self._store.find([saga_id])
        if not records:
            raise SagaNotFound(f"there is no saga {saga_id}")
        (plan,) = await self._store.plans([records[0].plan_hash])
        return records[0], plan
