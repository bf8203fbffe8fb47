"""What a person can do about sagas. Needs the store alone, so that it works from any place that reaches it.

Each repair is one event of the machine, in the journal with who and why. The commands that follow from it
are sent by a coordinator, as soon as one looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from uuid import UUID

from sagaflow.core.effects import IgnoredBecause
from sagaflow.core.events import Erased
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.limits import REASON_LENGTH_MAX
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.observing import NOBODY, Moved, Observer
from sagaflow.definitions.ports import SagaStore, StoreTransaction
from sagaflow.definitions.records import NO_PROCESS, SagaRecord, Watcher
from sagaflow.definitions.surroundings import current
from sagaflow.errors import Locked, NotPossible, SagaNotFound, Unavailable
from sagaflow.runners.repairs import (
    Abandon,
    Cancel,
    GiveReply,
    OfStep,
    OpenOperation,
    Prospect,
    Repair,
    Repaired,
    RepairFilter,
    RepairOutcome,
    RetryStep,
    SkipStep,
    event_of,
    is_unneeded,
    look,
    matches,
    open_operations,
    step_named,
    the_one,
    why_not,
)
from sagaflow.runners.reporting.making import report_on
from sagaflow.runners.reporting.reports import SagaReport
from sagaflow.runners.telling import Guarded, tales_of, tell_tales
from sagaflow.runners.turns import Turn

Tell = Callable[[UUID, SagaStatus, Sequence[Watcher]], None]

PAGE: Final = 100
"""Sagas that are looked at in one go; each is repaired in a transaction of its own."""

LOOKS_MAX: Final = 5
"""How often a saga is looked at again that goes on while it is to be repaired."""


class _SameInput:
    """No other input: the default, since None may be one."""


SAME_INPUT: Final = _SameInput()


@dataclass(frozen=True, slots=True)
class _Done:
    """What was done to a saga in a transaction, to be told when it is committed."""

    turn: Turn
    ignored: IgnoredBecause | None
    watchers: Sequence[Watcher]
    moved: Moved | None = None
    """None: nothing was changed."""

    @property
    def status(self) -> SagaStatus:
        """Where the saga stands now."""
        return self.turn.state.status


class Operator:
    """Repairs sagas: single ones, or all that match a filter.

    Args:
        store: where they are kept.
        actor: who asks; it is written to the journal with the reason.
        observer: who is told what was done, such as `OpenTelemetryObserver`. Left out: nobody.
        tell: told what has become of a saga, and who watches it. Without it, those who wait for the saga
            look again by themselves after a while.
    """

    def __init__(self, store: SagaStore, actor: str, *, tell: Tell | None = None, observer: Observer = NOBODY) -> None:
        self._store = store
        self._observer = Guarded(observer)
        self._actor = actor
        self._tell = tell
        self._origin = f"operator@{current().host()}"
        self._plans: dict[str, Plan] = {}

    # One saga.

    async def report(self, saga_id: UUID) -> SagaReport:
        """What happened to a saga, what is undone, what is owed, and what can be done about it; changes nothing.

        Raises:
            SagaNotFound: there is no such saga.
        """
        return await report_on(self._store, saga_id)

    async def cancel(self, saga_id: UUID, *, reason: str) -> SagaStatus:
        """Have the saga undone. One that is being undone already stays as it is.

        Raises:
            NotPossible: it has reached its pivot, or has ended.
            SagaNotFound: there is no such saga.
        """
        return await self.repair(saga_id, Cancel(), reason=reason)

    async def retry(
        self, saga_id: UUID, *, reason: str, step: str | None = None, other_input: object = SAME_INPUT
    ) -> SagaStatus:
        """Try a stuck or waiting operation again, now and with a fresh budget.

        Args:
            saga_id: which saga.
            reason: why it may work now.
            step: which step, with the name of its participant or without; left out, the only one that is stuck.
            other_input: what the participant is sent instead, from now on; only for what is stuck. Should the
                action have happened after all, with what was sent before, that is what counts.

        Raises:
            NotPossible: nothing there can be tried again, or more than one step could be meant.
            SagaNotFound: there is no such saga.
            PayloadError: the input cannot be encoded, or is over the limit of size or depth.
        """
        repair = RetryStep() if isinstance(other_input, _SameInput) else RetryStep.with_input(other_input)
        return await self.repair(saga_id, repair, reason=reason, step=step)

    async def skip(self, saga_id: UUID, *, reason: str, step: str | None = None) -> SagaStatus:
        """Go on as if a stuck operation were done: a person has settled it by other means. Raises as `retry`."""
        return await self.repair(saga_id, SkipStep(), reason=reason, step=step)

    async def give_reply(
        self, saga_id: UUID, *, reason: str, succeeded: bool, result: object = None, step: str | None = None
    ) -> SagaStatus:
        """Say by hand how an open operation ended: done, with its result, or (actions only) not done.

        A step that was said to be not done, and can be undone, is undone all the same: its command may still
        be on its way, and the undo, finding nothing, sees to it that it comes to nothing. Raises as `retry`.
        """
        repair = GiveReply.of_success(result) if succeeded else GiveReply.of_refusal()
        return await self.repair(saga_id, repair, reason=reason, step=step)

    async def abandon(self, saga_id: UUID, *, reason: str) -> SagaStatus:
        """End a stuck saga as it stands. What is owed stays in the record, and nobody will do it. Raises as
        `cancel`."""
        return await self.repair(saga_id, Abandon(), reason=reason)

    async def erase(self, saga_ids: Sequence[UUID], *, reason: str) -> None:
        """Erase what sagas that have ended were given, what they sent and what they were told: all or none.

        Their story stays, with who had it erased and why; so do their keys, the reasons that people gave and the texts
        of errors.

        Raises:
            NotPossible: one has not ended, and needs its payloads.
            SagaNotFound: there is no such saga.
        """
        _expect_reason(reason)
        plans = await self._plans_of(await self.expect_erasable(saga_ids))
        async with self._store.transaction() as tx:
            records = {record.saga_id: record for record in await tx.load(saga_ids)}
            turns = [
                Turn(record, plans[record.plan_hash], tx.now) for record in map(partial(_erasable, records), saga_ids)
            ]
            for turn in turns:
                turn.apply(Erased(), origin=self._origin, actor=self._actor, reason=reason[:REASON_LENGTH_MAX])
            await tx.save([turn.change() for turn in turns], NO_PROCESS)
            await tx.erase(saga_ids)

    async def expect_erasable(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas, if all of them have ended. Raises as `erase`."""
        records = {record.saga_id: record for record in await self._store.find(saga_ids)}
        return [_erasable(records, saga_id) for saga_id in saga_ids]

    async def repair(self, saga_id: UUID, repair: Repair, *, reason: str, step: str | None = None) -> SagaStatus:
        """Do one of the above, given as a value. `step` is for what is about a step."""
        _expect_reason(reason)
        plan = await self._plan_of(saga_id)
        async with self._store.transaction() as tx:
            (record,) = await tx.load([saga_id])
            about = _meant(record, plan, step) if isinstance(repair, OfStep) else None
            done = await self._do(tx, record, plan, repair, about, reason)
        await self._say(saga_id, done)
        if done.ignored is None or is_unneeded(repair, done.status, done.ignored):
            return done.status
        raise _not_possible(record, why_not(plan, repair, about, done.ignored))

    # Many sagas.

    async def preview(self, repair: Repair, matching: RepairFilter) -> AsyncIterator[Prospect]:
        """The sagas that a repair would touch, the latest first, and where it makes no sense; nothing is done."""
        async for page in self._pages(repair, matching):
            for prospect in page:
                yield prospect

    async def repair_all(self, repair: Repair, matching: RepairFilter, *, reason: str) -> AsyncIterator[Repaired]:
        """Repair all sagas that match, the latest first, each in a transaction of its own, and tell of each.

        What goes wrong with one harms no other. It may be stopped at any time and done again: those that are
        repaired do not match any more, or are left as they are.

        Raises:
            Unavailable: the store went away. What was told is done; of one more it is not known.

        Example:
            stuck = RepairFilter(saga="checkout", statuses=frozenset({SagaStatus.STUCK}), error="BankDown")
            async for one in operator.repair_all(RetryStep(), stuck, reason="the bank is back"):
                print(one.prospect.saga_id, one.outcome, one.why)
        """
        _expect_reason(reason)
        async for page in self._pages(repair, matching):
            for prospect in page:
                yield await self._repair_one(prospect, repair, matching, reason)

    async def _pages(self, repair: Repair, matching: RepairFilter) -> AsyncIterator[Sequence[Prospect]]:
        page = matching.of_sagas
        while records := await self._store.list(page, PAGE):
            yield await self._look(records, repair, matching)
            page = replace(page, before=records[-1].saga_id)

    async def _look(self, records: Sequence[SagaRecord], repair: Repair, matching: RepairFilter) -> Sequence[Prospect]:
        plans = await self._plans_of(records)
        errors: dict[UUID, dict[tuple[str, Operation], ErrorInfo]] = defaultdict(dict)
        for one in await self._store.latest_errors([record.saga_id for record in records]):
            errors[one.saga_id][one.step, one.operation] = one.error
        found = [look(one, plans[one.plan_hash], repair, matching, errors[one.saga_id]) for one in records]
        return [prospect for prospect in found if prospect is not None]

    async def _repair_one(self, prospect: Prospect, repair: Repair, matching: RepairFilter, reason: str) -> Repaired:
        try:
            return await self._repair_as_seen(prospect, repair, matching, reason)
        except Exception as error:  # whatever is wrong with one is told, and harms no other
            if isinstance(error, Unavailable) and not isinstance(error, Locked):
                raise
            why = f"{type(error).__qualname__}: {error}"
            return Repaired(prospect, RepairOutcome.FAILED, prospect.record.status, why)

    async def _repair_as_seen(
        self, prospect: Prospect, repair: Repair, matching: RepairFilter, reason: str
    ) -> Repaired:
        """Repair a saga if it still is as it was seen; if not, look again whether it matches."""
        saga_id = prospect.saga_id
        for _ in range(LOOKS_MAX):
            if prospect.why_not is not None:
                outcome = RepairOutcome.UNNEEDED if prospect.unneeded else RepairOutcome.REFUSED
                return Repaired(prospect, outcome, prospect.record.status, prospect.why_not)
            async with self._store.transaction() as tx:
                (record,) = await tx.load([saga_id])
                done = None
                if record.version == prospect.record.version:
                    plan = self._plans[record.plan_hash]
                    done = await self._do(tx, record, plan, repair, prospect.about, reason)
            if done is not None:
                await self._say(saga_id, done)
                return Repaired(prospect, RepairOutcome.DONE, done.status)
            again = await self._look([record], repair, matching) if matches(record, matching) else ()
            if not again:
                return Repaired(prospect, RepairOutcome.CHANGED, record.status, "it went on, and does not match now")
            prospect = again[0]
        return Repaired(prospect, RepairOutcome.FAILED, prospect.record.status, "it went on each time; try again")

    # How it is done.

    async def _do(
        self,
        tx: StoreTransaction,
        record: SagaRecord,
        plan: Plan,
        repair: Repair,
        about: OpenOperation | None,
        reason: str,
    ) -> _Done:
        """Let it happen to a saga that is locked."""
        turn = Turn(record, plan, tx.now)
        ignored = turn.apply(
            event_of(repair, about),
            origin=self._origin,
            result=_result(repair, about),
            other_input=repair.other_input if isinstance(repair, RetryStep) else None,
            actor=self._actor,
            reason=reason[:REASON_LENGTH_MAX],
        )
        watchers: Sequence[Watcher] = ()
        if turn.changed:
            turn.leave_sending_to_others()
            change = turn.change()
            watchers = await tx.save([change], NO_PROCESS)
            return _Done(turn, ignored, watchers, Moved(record, change.record, plan, change.journal, tx.now))
        return _Done(turn, ignored, watchers)

    async def _say(self, saga_id: UUID, done: _Done) -> None:
        if done.moved is None:
            return
        if self._tell is not None:
            self._tell(saga_id, done.status, done.watchers)
        if self._observer.is_anybody:
            self._observer.sagas_moved([done.moved])
            await tell_tales(self._store, self._observer, tales_of([done.moved], self._observer))

    async def _plan_of(self, saga_id: UUID) -> Plan:
        records = await self._store.find([saga_id])
        if not records:
            raise SagaNotFound(f"there is no saga {saga_id}")
        return (await self._plans_of(records))[records[0].plan_hash]

    async def _plans_of(self, records: Sequence[SagaRecord]) -> Mapping[str, Plan]:
        unknown = {record.plan_hash for record in records} - self._plans.keys()
        if unknown:
            self._plans.update((plan.hash, plan) for plan in await self._store.plans(sorted(unknown)))
        return self._plans


def _result(repair: Repair, about: OpenOperation | None) -> bytes | None:
    """What an action is said to have returned; compensations return nothing."""
    if isinstance(repair, GiveReply) and repair.succeeded and about is not None:
        return repair.result if about.operation is Operation.ACTION else None
    return None


def _erasable(records: Mapping[UUID, SagaRecord], saga_id: UUID) -> SagaRecord:
    record = records.get(saga_id)
    if record is None:
        raise SagaNotFound(f"there is no saga {saga_id}; nothing was erased")
    if not record.state.ended:
        raise NotPossible(
            f"saga {saga_id} is {record.status} and needs its payloads; erase it when it has ended. Nothing was erased"
        )
    return record


def _expect_reason(reason: str) -> None:
    if not reason.strip():
        raise NotPossible("give a reason; it is written to the journal of the saga")


def _meant(record: SagaRecord, plan: Plan, said: str | None) -> OpenOperation:
    try:
        step = None if said is None else step_named(plan, said)
        return the_one(open_operations(record, plan, step), said=step is not None)
    except NotPossible as error:
        raise _not_possible(record, str(error)) from None


def _not_possible(record: SagaRecord, why: str) -> NotPossible:
    return NotPossible(f"saga {record.saga_id} is {record.status}; {why}")
