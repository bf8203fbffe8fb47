"""The barrier: how one command becomes at most one effect, and an undo leaves none.

    action          entered: do it, record the outcome        commit
                    recorded before: answer the same          (duplicate)
                    fenced: answer so, do nothing             (its compensation was here first)

    compensation    recorded before: answer the same          (duplicate)
                    the action succeeded: undo it             commit, with the fence
                    the action never committed here: nothing to undo, unless its effect is external
                    the action was refused: nothing to undo

Everything happens in the participant's own transaction. A failure rolls all of it back, the barrier too, as
if the command had not come. An action that nobody waits for any more is such a failure: that is looked at once
the barrier is entered, for what was recorded before is the truth however late, and again before the commit.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from sagaflow.core.plan import Operation
from sagaflow.definitions import payloads
from sagaflow.definitions.crash_points import crash_point
from sagaflow.definitions.messages import Command, ErrorInfo, ReplyOutcome
from sagaflow.definitions.participant import Handler, ParticipantStep, StepContext
from sagaflow.definitions.payloads import NULL
from sagaflow.definitions.ports import (
    BarrierKey,
    Entered,
    Fenced,
    ParticipantTransaction,
    Recorded,
    Transactions,
    Undo,
)
from sagaflow.errors import PayloadError, StepRejected
from sagaflow.runners.allowance import Allowance

AnyStep = ParticipantStep[Any, Any, Any, ...]


class Verdict(msgspec.Struct, frozen=True):
    """What a participant says about an operation; it is what the barrier records."""

    outcome: ReplyOutcome
    result: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(NULL))
    error: ErrorInfo | None = None
    round: int | None = None
    """The round in which the action was done, which may have had other input than a later one. Verdicts that were
    recorded before this was kept have none."""


_VERDICT = msgspec.json.Decoder(Verdict)

FENCED = Verdict(ReplyOutcome.FENCED)
DONE = Verdict(ReplyOutcome.SUCCEEDED)


class _UnfitResult(Exception):
    """An external step has returned what cannot be recorded. Its effect may be there: it is to be undone."""


class Barrier:
    """Carries out commands of one participant, each in a transaction with its barrier."""

    def __init__(self, transactions: Transactions[Any]) -> None:
        self._transactions = transactions

    async def carry_out(self, step: AnyStep, command: Command, allowance: Allowance) -> Verdict:
        """Do the operation, or say what was recorded of it.

        Raises:
            Stale: the allowance is used up, and the action was rolled back or not begun.
            Unavailable: the database went away; whether it was committed, the next try tells.
            Exception: whatever the handler raises but `StepRejected`; the transaction was rolled back.
        """
        try:
            async with self._transactions.begin() as transaction:
                return await self._within(transaction, step, command, allowance)
        except _UnfitResult as error:
            return Verdict(ReplyOutcome.FAILED, error=ErrorInfo.of(error.__cause__ or error))
        except (StepRejected, PayloadError) as error:
            refusal = ErrorInfo.of(error)
        if _may_have_happened_before(step, command):
            return Verdict(ReplyOutcome.FAILED, error=refusal)
        return await self._record_refusal(command, refusal)

    async def _within(
        self, transaction: ParticipantTransaction[Any], step: AnyStep, command: Command, allowance: Allowance
    ) -> Verdict:
        key = BarrierKey(command.saga_id, command.step)
        if command.operation is Operation.ACTION:
            entered = await transaction.enter_action(key, command.round)
            match entered:
                case Recorded():
                    return _VERDICT.decode(entered.outcome)
                case Fenced():
                    return FENCED
                case Entered():
                    allowance.check()
                    verdict = await _act(step, command, transaction.tx, allowance)
        else:
            undo = await transaction.enter_compensation(key, command.round)
            match undo:
                case Recorded():
                    return _VERDICT.decode(undo.outcome)
                case Undo():
                    verdict = await _undo(step, command, transaction.tx, undo, allowance)
        await transaction.record(key, command.operation, msgspec.json.encode(verdict), refusal=False)
        if not step.external:  # a call that was made cannot be rolled back
            allowance.check()
        crash_point("barrier.before_commit")
        return verdict

    async def _record_refusal(self, command: Command, error: ErrorInfo) -> Verdict:
        """The work was rolled back; a transaction of its own makes the refusal final for this round."""
        verdict = Verdict(ReplyOutcome.REFUSED, error=error)
        if command.operation is Operation.COMPENSATION:
            return verdict  # an undo that was refused has not happened, and may be tried again
        key = BarrierKey(command.saga_id, command.step)
        async with self._transactions.begin() as transaction:
            entered = await transaction.enter_action(key, command.round)
            match entered:
                case Recorded():
                    return _VERDICT.decode(entered.outcome)
                case Fenced():
                    return FENCED
                case Entered():
                    await transaction.record(key, command.operation, msgspec.json.encode(verdict), refusal=True)
        crash_point("barrier.refusal_recorded")
        return verdict


async def _act(step: AnyStep, command: Command, tx: Any, allowance: Allowance) -> Verdict:
    payload = step.command_type.decode(command.payload)
    try:
        result = await _call(step.action, payload, None, command, tx, allowance)
    except PayloadError as error:
        if step.external:  # the effect may be there already: this is no refusal, its outcome is unknown
            raise RuntimeError(f"{step!r}: {error}") from error
        raise
    try:
        encoded = _recordable(step, result)
    except PayloadError as error:
        if step.external:  # likewise; to call again would give the same
            raise _UnfitResult from error
        raise
    return Verdict(ReplyOutcome.SUCCEEDED, msgspec.Raw(encoded), round=command.round)


def _recordable(step: AnyStep, result: object) -> bytes:
    """The result as it is recorded, once it is seen to be what the undo and the saga are promised."""
    encoded = payloads.encode(result)
    try:
        step.result_type.decode(encoded)
    except PayloadError as error:
        raise PayloadError(f"{step!r} has returned something else than it declares: {error}") from error
    return encoded


def _may_have_happened_before(step: AnyStep, command: Command) -> bool:
    """Whether a refusal may come too late: an earlier attempt may have had its effect outside the database.
    Then the outcome is unknown, and the step is undone too."""
    return (
        step.external
        and step.undo is not None
        and command.operation is Operation.ACTION
        and (command.round, command.attempt) > (1, 1)
    )


async def _undo(step: AnyStep, command: Command, tx: Any, undo: Undo, allowance: Allowance) -> Verdict:
    done = None if undo.action is None else _VERDICT.decode(undo.action)
    nothing_to_undo = done is not None and done.outcome is not ReplyOutcome.SUCCEEDED
    never_committed = done is None and not step.external
    if step.undo is None or nothing_to_undo or never_committed:
        return DONE
    result = None if done is None else step.result_type.decode(done.result)
    await _call(step.undo, step.command_type.decode(command.payload), result, command, tx, allowance)
    return DONE


async def _call(handler: Handler, payload: Any, result: Any, command: Command, tx: Any, allowance: Allowance) -> Any:
    budget_seconds = allowance.handler_seconds()
    async with asyncio.timeout(budget_seconds):
        return await handler(payload, result, _context(command, tx, budget_seconds))


def _context(command: Command, tx: Any, budget_seconds: float) -> StepContext[Any]:
    return StepContext(
        tx=tx,
        saga=command.saga,
        saga_id=command.saga_id,
        step=command.step,
        attempt=command.attempt,
        traceparent=command.traceparent,
        operation=command.operation,
        budget_seconds=budget_seconds,
    )
