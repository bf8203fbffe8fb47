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

A refusal leaves nothing of the handler behind and is recorded, in the same transaction where that can be: if the
handler cannot write, there is nothing to roll back; if the step has refused lately, a savepoint before the call is what
is rolled back to. Otherwise the transaction is rolled back, and another makes the refusal final.

Several commands may be carried out in one transaction, as a group. Then a failure rolls all of them back, and
whoever asked for it carries each out by itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any, Final

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
    Entry,
    Fenced,
    ParticipantTransaction,
    Recorded,
    Settled,
    Transactions,
    Undo,
)
from sagaflow.errors import PayloadError, StepRejected, Unavailable
from sagaflow.runners.allowance import Allowance
from sagaflow.runners.pace import Pace
from sagaflow.runners.telling import UNOBSERVED, Guarded

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
_ENCODER = msgspec.json.Encoder()

FENCED = Verdict(ReplyOutcome.FENCED)
DONE = Verdict(ReplyOutcome.SUCCEEDED)

GROUP_SECONDS_MAX: Final = 0.5
"""How long entering, the handlers and recording may take together in a group, before it is given up."""


class _UnfitResult(Exception):
    """An external step has returned what cannot be recorded. Its effect may be there: it is to be undone."""


class Order:
    """A command that has arrived, the step that it is for, and how long it may take."""

    __slots__ = ("allowance", "command", "key", "returned", "step")

    def __init__(self, step: AnyStep, command: Command, allowance: Allowance) -> None:
        self.step = step
        self.command = command
        self.allowance = allowance
        self.key = BarrierKey(command.saga_id, command.step)
        """Which step of which saga it is for."""
        self.returned: list[bytes | msgspec.Raw] = []
        """What the action has returned, as far as it is known here: an error may repeat a part of it."""


class Barrier:
    """Carries out commands of one participant, in transactions with their barrier."""

    def __init__(self, transactions: Transactions[Any], participant: str = "", observer: Guarded = UNOBSERVED) -> None:
        self._transactions = transactions
        self._participant = participant
        self._observer = observer
        self._action_paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._undo_paces: defaultdict[str, Pace] = defaultdict(Pace)

    def pace_of(self, order: Order) -> Pace:
        """How the handler of this order has done lately."""
        paces = self._action_paces if order.command.operation is Operation.ACTION else self._undo_paces
        return paces[order.command.handler]

    async def carry_out(self, order: Order) -> Verdict:
        """Do the operation, or say what was recorded of it.

        Raises:
            Stale: the allowance is used up, and the action was rolled back or not begun.
            Unavailable: the database went away; whether it was committed, the next try tells.
            Exception: whatever the handler raises but `StepRejected`; the transaction was rolled back.
        """
        try:
            async with self._transactions.begin() as transaction:
                (verdict,) = await self._within(transaction, [order], each_in_time=True)
                return verdict
        except _UnfitResult as error:
            return Verdict(ReplyOutcome.FAILED, error=told(order, error.__cause__ or error))
        except (StepRejected, PayloadError) as error:
            refusal = told(order, error)
        if _may_have_happened_before(order.step, order.command):
            return Verdict(ReplyOutcome.FAILED, error=refusal)
        return await self._record_refusal(order.command, refusal)

    async def carry_out_together(self, group: Sequence[Order]) -> Sequence[Verdict]:
        """Do the operations, all actions or all compensations of distinct steps, in one transaction; or say what
        was recorded of them. External steps cannot be in a group.

        Raises:
            Unavailable: the database went away; whether all or none was committed, the next try tells.
            Exception: one of them was refused, failed or is stale, or the group took too long. The transaction was
                rolled back, and each is to be carried out by itself.
        """
        with self._observer.handling_group(self._participant, [order.command for order in group]):
            async with self._transactions.begin() as transaction:
                async with asyncio.timeout(GROUP_SECONDS_MAX) as limit:
                    # Each has more time left than the group, or will be found stale.
                    verdicts = await self._within(transaction, group, each_in_time=False)
                if limit.expired():  # a handler has taken it for something of its own
                    raise TimeoutError
                return verdicts

    async def _within(
        self, transaction: ParticipantTransaction[Any], orders: Sequence[Order], *, each_in_time: bool
    ) -> Sequence[Verdict]:
        """Enter all, do one after another, record all. With `each_in_time`, a handler whose time is over is cut off."""
        entries = [Entry(order.key, order.command.round) for order in orders]
        enter = (
            transaction.enter_actions
            if orders[0].command.operation is Operation.ACTION
            else transaction.enter_compensations
        )
        verdicts, done = [], []
        for order, how in zip(orders, await enter(entries), strict=True):
            match how:
                case Recorded():
                    verdicts.append(_VERDICT.decode(how.outcome))
                case Fenced():
                    verdicts.append(FENCED)
                case Entered() | Undo():
                    order.allowance.check()
                    verdicts.append(await self._do(order, how, transaction, in_time=each_in_time))
                    done.append((order, verdicts[-1]))
        if len(done) < len(orders):
            self._observer.messages_repeated(self._participant, len(orders) - len(done))
        await self._record(transaction, done)
        for order, verdict in done:
            if verdict.outcome is ReplyOutcome.REFUSED:
                continue  # nothing of it is committed but that
            if not order.step.external:  # a call that was made cannot be rolled back
                order.allowance.check()
        crash_point("barrier.before_commit")
        return verdicts

    async def _do(
        self, order: Order, how: Entered | Undo, transaction: ParticipantTransaction[Any], *, in_time: bool
    ) -> Verdict:
        action = None
        if isinstance(how, Undo):
            action = None if how.action is None else _VERDICT.decode(how.action)
            if _nothing_to_undo(order.step, action):
                return DONE
        pace, began = self.pace_of(order), _now()
        is_guarded = isinstance(how, Entered) and _can_write(order) and not order.step.external and pace.refuses
        if is_guarded:
            await transaction.guard()
        try:
            with self._observer.handling(self._participant, order.command):
                verdict = await (
                    _undo(order, action, transaction, in_time)
                    if isinstance(how, Undo)
                    else _act(order, transaction, in_time)
                )
        except (StepRejected, PayloadError) as error:
            if isinstance(how, Undo):
                pace.failed()
                raise
            pace.refused()
            may_have_written = _can_write(order) and not is_guarded
            if may_have_written or _may_have_happened_before(order.step, order.command):
                raise
            if is_guarded:
                await transaction.take_back()
            verdict = Verdict(ReplyOutcome.REFUSED, error=told(order, error))
        except BaseException:
            pace.failed()
            raise
        pace.succeeded(_now() - began)
        return verdict

    async def _record(self, transaction: ParticipantTransaction[Any], done: Sequence[tuple[Order, Verdict]]) -> None:
        settled = [
            Settled(
                order.key,
                order.command.operation,
                _ENCODER.encode(verdict),
                refusal=verdict.outcome is ReplyOutcome.REFUSED,
            )
            for order, verdict in done
        ]
        try:
            await transaction.record(settled)
        except Unavailable:
            raise
        except Exception:  # a handler has left something behind that shows only now, and nobody knows which
            for order, _ in done:
                self.pace_of(order).failed()
            raise

    async def _record_refusal(self, command: Command, error: ErrorInfo) -> Verdict:
        """The work was rolled back; a transaction of its own makes the refusal final for this round."""
        verdict = Verdict(ReplyOutcome.REFUSED, error=error)
        if command.operation is Operation.COMPENSATION:
            return verdict  # an undo that was refused has not happened, and may be tried again
        key = BarrierKey(command.saga_id, command.step)
        async with self._transactions.begin() as transaction:
            (entered,) = await transaction.enter_actions([Entry(key, command.round)])
            match entered:
                case Recorded():
                    return _VERDICT.decode(entered.outcome)
                case Fenced():
                    return FENCED
                case Entered():
                    outcome = _ENCODER.encode(verdict)
                    await transaction.record([Settled(key, command.operation, outcome, refusal=True)])
        crash_point("barrier.refusal_recorded")
        return verdict


def told(order: Order, error: BaseException) -> ErrorInfo:
    """The error as the coordinator is told of it: without what is sensitive in the command and in the result."""
    secrets = order.step.command_type.secrets(order.command.payload)
    for returned in order.returned:
        secrets |= order.step.result_type.secrets(returned)
    return ErrorInfo.of(error, secrets)


async def _act(order: Order, transaction: ParticipantTransaction[Any], in_time: bool) -> Verdict:
    step, command = order.step, order.command
    payload = step.command_type.decode(command.payload)
    try:
        result = await _call(step.action, payload, None, order, transaction, in_time)
    except PayloadError as error:
        if step.external:  # the effect may be there already: this is no refusal, its outcome is unknown
            raise RuntimeError(f"{step!r}: {error}") from error
        raise
    try:
        encoded = _recordable(order, result)
    except PayloadError as error:
        if step.external:  # likewise; to call again would give the same
            raise _UnfitResult from error
        raise
    return Verdict(ReplyOutcome.SUCCEEDED, msgspec.Raw(encoded), round=command.round)


def _recordable(order: Order, result: object) -> bytes:
    """The result as it is recorded, once it is seen to be what the undo and the saga are promised."""
    encoded = payloads.encode(result)
    order.returned.append(encoded)
    try:
        order.step.result_type.decode(encoded)
    except PayloadError as error:
        raise PayloadError(f"{order.step!r} has returned something else than it declares: {error}") from error
    return encoded


def _can_write(order: Order) -> bool:
    return order.step.action.can_write


def _may_have_happened_before(step: AnyStep, command: Command) -> bool:
    """Whether a refusal may come too late: an earlier attempt may have had its effect outside the database.
    Then the outcome is unknown, and the step is undone too."""
    return (
        step.external
        and step.undo is not None
        and command.operation is Operation.ACTION
        and (command.round, command.attempt) > (1, 1)
    )


def _nothing_to_undo(step: AnyStep, action: Verdict | None) -> bool:
    """Whether an action with this outcome, None if it never committed here, has left nothing behind."""
    refused = action is not None and action.outcome is not ReplyOutcome.SUCCEEDED
    never_committed = action is None and not step.external
    return step.undo is None or refused or never_committed


async def _undo(
    order: Order, action: Verdict | None, transaction: ParticipantTransaction[Any], in_time: bool
) -> Verdict:
    step = order.step
    assert step.undo is not None, "`_nothing_to_undo` comes first"
    result = None
    if action is not None:
        order.returned.append(action.result)
        result = step.result_type.decode(action.result)
    await _call(step.undo, step.command_type.decode(order.command.payload), result, order, transaction, in_time)
    return DONE


def _call(
    handler: Handler,
    payload: Any,
    result: Any,
    order: Order,
    transaction: ParticipantTransaction[Any],
    in_time: bool,
) -> Coroutine[Any, Any, Any]:
    budget_seconds = order.allowance.handler_seconds()
    # Who has no use for the connection does not get it: so it is known whether anything was left behind on it.
    tx = transaction.tx if handler.can_write else None
    called = handler(payload, result, _context(order.command, tx, budget_seconds))
    return _in_time(called, budget_seconds) if in_time else called


async def _in_time(called: Coroutine[Any, Any, Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await called


def _now() -> float:
    return asyncio.get_running_loop().time()


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
