"""Making commands: from a saga's own functions, or from what was sent before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from sagaflow.core.effects import SendCommand
from sagaflow.core.events import CommandDeferred, CommandFailed
from sagaflow.core.plan import Operation, Plan, PlannedStep
from sagaflow.definitions import ids
from sagaflow.definitions.messages import Command, ErrorInfo, write
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.definitions.records import INPUT_STEP, Payload, PayloadKind
from sagaflow.definitions.saga import Saga
from sagaflow.runners.turns import Turn

CODE_MISSING: Final = "CodeMissing"
"""The type of the error with which an operation waits for a coordinator that has its code."""

NOT_READY: Final = "NotReady"
"""Likewise, for a participant that could undo it."""

CODE_MISSING_RETRY_SECONDS = 1.0
"""How long a command first waits that this process has no code to make; another may have it."""

HELD_RETRY_SECONDS = 1.0
"""How long a command waits at first whose step must not begin yet. The process that holds it is told when it may."""


class SagaCode:
    """The sagas that this process has the code of."""

    def __init__(self, sagas: Sequence[Saga[Any]]) -> None:
        self._sagas = sagas
        self._by_shape = {saga.plan.shape: saga for saga in sagas}
        self.plans: Mapping[str, Plan] = {saga.plan.hash: saga.plan for saga in sagas}

    def of(self, plan: Plan) -> Saga[Any] | None:
        """The saga whose steps are those of the plan."""
        return self._by_shape.get(plan.shape)

    def latest(self, name: str) -> Saga[Any] | None:
        """The newest version of the saga of this name."""
        return max((saga for saga in self._sagas if saga.name == name), key=lambda saga: saga.version, default=None)


class StoredPayloads:
    """The payloads of one saga: those loaded, and those that its turn adds."""

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self._of_place: dict[tuple[PayloadKind, str], dict[int, Payload]] = defaultdict(dict)
        for payload in payloads:
            self.add(payload)

    def add(self, payload: Payload) -> None:
        """Take note of one more."""
        self._of_place[payload.kind, payload.step][payload.round] = payload

    def body(self, kind: PayloadKind, step: str = INPUT_STEP) -> bytes | None:
        """One payload; of several rounds, the latest."""
        payload = self._latest(kind, step)
        return None if payload is None else payload.body

    def command(self, step: str, operation: Operation) -> bytes | None:
        """What is sent for an operation, if that was decided before: what a person gave last, or what was made.

        A compensation is given what its action was done with. That is the command of the round of which the
        participant has told the result, or else the latest.
        """
        if operation is Operation.ACTION:
            return self.body(PayloadKind.COMMAND, step)
        said = self.body(PayloadKind.UNDO, step)
        if said is not None:
            return said
        result = self._latest(PayloadKind.RESULT, step)
        done_with = None if result is None else self._latest(PayloadKind.COMMAND, step, up_to=result.round)
        return self.body(PayloadKind.COMMAND, step) if done_with is None else done_with.body

    def results(self) -> Mapping[str, bytes]:
        """What the steps have returned, by their names."""
        steps = [step for kind, step in self._of_place if kind is PayloadKind.RESULT]
        return {step: body for step in steps if (body := self.body(PayloadKind.RESULT, step)) is not None}

    def _latest(self, kind: PayloadKind, step: str, *, up_to: int | None = None) -> Payload | None:
        rounds = self._of_place.get((kind, step))
        if rounds is None:
            return None
        if up_to is None:
            return rounds[max(rounds)]
        chosen = max((round_ for round_ in rounds if round_ <= up_to), default=None)
        return None if chosen is None else rounds[chosen]


def make_letters(
    turn: Turn,
    payloads: StoredPayloads,
    code: SagaCode,
    *,
    hold: Callable[[Turn, PlannedStep], str | None],
    reply_to: str,
    origin: str,
) -> Sequence[Letter]:
    """The commands that a turn sends. One that cannot be made is told to the turn, which may send others. `hold` says
    why a step must not begin yet; it is asked before the first attempt only."""
    letters = []
    while turn.to_send:
        command = turn.to_send.pop(0)
        body = payloads.command(command.step, command.operation)
        if body is None:
            body = _make(turn, command, payloads, code, hold, origin)
        if body is not None:
            letters.append(_letter(turn, command, body, reply_to))
    return letters


def _make(
    turn: Turn,
    command: SendCommand,
    payloads: StoredPayloads,
    code: SagaCode,
    hold: Callable[[Turn, PlannedStep], str | None],
    origin: str,
) -> bytes | None:
    attempt = (command.step, command.operation, command.round, command.attempt)
    saga = code.of(turn.plan)
    if saga is None:
        missing = ErrorInfo(CODE_MISSING, f"{origin} has no code of {turn.plan.saga} version {turn.plan.version}")
        turn.apply(CommandDeferred(*attempt, CODE_MISSING_RETRY_SECONDS), origin=origin, error=missing)
        return None
    held = _why_held(turn, command, hold)
    if held is not None:
        not_ready = ErrorInfo(NOT_READY, held)
        turn.apply(CommandDeferred(*attempt, HELD_RETRY_SECONDS), origin=origin, error=not_ready)
        return None
    saga_input = payloads.body(PayloadKind.INPUT)
    assert saga_input is not None, "a saga is stored with its input"
    try:
        body = saga.command(command.step, saga_input, payloads.results())
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything; it is all told to the journal
        told = ErrorInfo.of(error, saga.secrets(saga_input, payloads.results()))
        turn.apply(CommandFailed(*attempt), origin=origin, error=told)
        return None
    made = Payload(turn.record.saga_id, command.step, PayloadKind.COMMAND, command.round, body)
    payloads.add(made)
    turn.keep(made)
    return body


def _why_held(turn: Turn, command: SendCommand, hold: Callable[[Turn, PlannedStep], str | None]) -> str | None:
    """Only what has never begun is held: after that, the damage may be done, and to go on may be what mends it."""
    if command.operation is not Operation.ACTION or (command.round, command.attempt) != (1, 1):
        return None
    return hold(turn, turn.plan.steps[turn.plan.index[command.step]])


def _letter(turn: Turn, command: SendCommand, payload: bytes, reply_to: str) -> Letter:
    record = turn.record
    step = turn.plan.steps[turn.plan.index[command.step]]
    is_action = command.operation is Operation.ACTION
    message = Command(
        saga_id=record.saga_id,
        saga=record.saga,
        step=command.step,
        handler=step.handler,
        operation=command.operation,
        round=command.round,
        attempt=command.attempt,
        token=ids.attempt_token(record.secret, command.step, command.operation, command.round, command.attempt),
        reply_to=reply_to,
        budget_seconds=turn.budget_seconds(command),
        traceparent=ids.child_traceparent(
            record.traceparent,
            ids.span_id_of(record.saga_id, command.step, command.operation, command.round, command.attempt),
        ),
        payload=msgspec.Raw(payload),
    )
    kind = QueueKind.COMMANDS if is_action else QueueKind.COMPENSATIONS
    return Letter(Address(kind, step.participant), write(message), message.expires_seconds)
