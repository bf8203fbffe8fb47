"""`expect`: one saga played by hand, step by step, with no handler, no server, and time that you move yourself.

    saga = expect(checkout, ORDER)
    saga.action(place_order).succeeds()
    saga.action(reserve_stock).is_asked(ReserveStock("order-1", "mug", 2)).is_rejected("out of stock")
    saga.compensation(authorize_card).succeeds()
    saga.compensation(place_order).succeeds()
    saga.is_compensated()

Each call returns the saga (or the operation that it speaks of), so they can be chained too.

It plays the saga alone: what it asks for, in which order, with which commands. What participants make of it is for
their own tests, and for `explore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from sagaflow.core.effects import SendCommand
from sagaflow.core.events import CancelRequested, Event, Failed, Refused, Started, Succeeded
from sagaflow.core.plan import Operation, PlannedStep
from sagaflow.core.state import OpState, OpStatus, SagaStatus, by_name, initial
from sagaflow.definitions import payloads
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import INPUT_STEP, Payload, PayloadKind, SagaRecord
from sagaflow.definitions.saga import Saga, SagaStep
from sagaflow.runners.commands import SagaCode, StoredPayloads, make_letters
from sagaflow.runners.turns import Turn

InputT = TypeVar("InputT")

ORIGIN: Final = "expect"
BEGINNING: Final = datetime(2030, 1, 1, tzinfo=UTC)


class Expected(Generic[InputT]):
    """A saga under expectation; made by `expect`. Every method fails, with an AssertionError, if the saga is not where
    the test says it is."""

    def __init__(self, saga: Saga[InputT], saga_input: InputT) -> None:
        self._saga = saga
        self._code = SagaCode([saga])
        self._now = BEGINNING
        self._record = SagaRecord(
            saga_id=UUID(int=1),
            saga=saga.name,
            key="expected",
            coordinator="expect",
            plan_hash=saga.plan.hash,
            secret=bytes(16),
            traceparent=f"00-{1:032x}-{1:016x}-01",
            input_digest=bytes(32),
            version=0,
            state=initial(saga.plan),
        )
        self._payloads: list[Payload] = []
        self._commands: dict[tuple[str, Operation], bytes] = {}
        self._errors: list[str] = []
        encoded = Payload(self._record.saga_id, INPUT_STEP, PayloadKind.INPUT, 1, payloads.encode(saga_input))
        self._apply(Started(), keep=[encoded])

    @property
    def status(self) -> SagaStatus:
        """Where the saga stands."""
        return self._record.status

    def action(self, step: SagaStep[Any, Any, Any]) -> Asked[InputT]:
        """The action of a step is under way."""
        return self._asked(step, Operation.ACTION)

    def compensation(self, step: SagaStep[Any, Any, Any]) -> Asked[InputT]:
        """The compensation of a step is under way."""
        return self._asked(step, Operation.COMPENSATION)

    def only(self, *steps: SagaStep[Any, Any, Any]) -> Expected[InputT]:
        """Of these steps and no others an operation is under way."""
        expected = sorted(step.name for step in steps)
        found = sorted(name for name, _ in self._under_way())
        _expect(found == expected, f"under way is {_listed(found)}, not {_listed(expected)}")
        return self

    def time_passes(self, seconds: float) -> Expected[InputT]:
        """Let so much time go by; what is due in it happens: timeouts, retries, the deadline."""
        until = self._now + timedelta(seconds=seconds)
        while (due := self._next_due()) is not None and due <= until:
            self._now = max(self._now, due)
            self._wake()
        self._now = until
        return self

    def is_cancelled(self, reason: str = "the test wants it") -> Expected[InputT]:
        """Somebody cancels the saga."""
        ignored = self._apply(CancelRequested(), reason=reason)
        _expect(ignored is None, f"it cannot be cancelled: {ignored}")
        return self

    def is_completed(self) -> Expected[InputT]:
        """All of it has happened."""
        return self._is(SagaStatus.COMPLETED)

    def is_compensated(self) -> Expected[InputT]:
        """None of it remains."""
        return self._is(SagaStatus.COMPENSATED)

    def is_compensating(self) -> Expected[InputT]:
        """It is being undone."""
        return self._is(SagaStatus.COMPENSATING)

    def is_running(self) -> Expected[InputT]:
        """It goes forward."""
        return self._is(SagaStatus.RUNNING)

    def is_stuck(self) -> Expected[InputT]:
        """A person has to decide."""
        return self._is(SagaStatus.STUCK)

    def _is(self, status: SagaStatus) -> Expected[InputT]:
        errors = f" ({self._errors[-1]})" if self._errors else ""
        under_way = _listed([_name(name, operation) for name, operation in self._under_way()])
        _expect(self.status is status, f"the saga is {self.status}, not {status}; under way is {under_way}{errors}")
        return self

    def _asked(self, step: SagaStep[Any, Any, Any], operation: Operation) -> Asked[InputT]:
        under_way = self._under_way()
        told = _listed([_name(*each) for each in under_way])
        errors = f"; {self._errors[-1]}" if self._errors else ""
        _expect(
            (step.name, operation) in under_way,
            f"{_name(step.name, operation)} is not under way: that is {told}; the saga is {self.status}{errors}",
        )
        return Asked(self, step, operation)

    def _under_way(self) -> Sequence[tuple[str, Operation]]:
        if self._record.state.ended:
            return []
        return [
            (name, operation)
            for name, both in by_name(self._saga.plan, self._record.state).items()
            for operation in Operation
            if both.op(operation).status is OpStatus.SENT
        ]

    def _op(self, step: str, operation: Operation) -> OpState:
        return by_name(self._saga.plan, self._record.state)[step].op(operation)

    def _next_due(self) -> datetime | None:
        return min((timer.due_at for timer in self._record.timers), default=None)

    def _wake(self) -> None:
        turn = self._turn()
        turn.wake(ORIGIN)
        self._finish(turn)

    def _apply(
        self,
        event: Event,
        *,
        result: bytes | None = None,
        error: ErrorInfo | None = None,
        reason: str | None = None,
        keep: Sequence[Payload] = (),
    ) -> str | None:
        turn = self._turn()
        for payload in keep:
            turn.keep(payload)
        ignored = turn.apply(event, origin=ORIGIN, result=result, error=error, reason=reason)
        self._finish(turn)
        return ignored

    def _turn(self) -> Turn:
        return Turn(self._record, self._saga.plan, self._now)

    def _finish(self, turn: Turn) -> None:
        stored = StoredPayloads([*self._payloads, *turn.payloads])
        for letter in make_letters(turn, stored, self._code, hold=_never, reply_to="expect", origin=ORIGIN):
            message = msgspec.json.decode(letter.message)
            command = SendCommand(
                message["step"], Operation(message["operation"]), message["round"], message["attempt"]
            )
            self._commands[command.step, command.operation] = msgspec.json.encode(message["payload"])
        change = turn.change()
        self._payloads += change.payloads
        self._errors += [entry.error.words for entry in change.journal if entry.error]
        self._record = replace(change.record, wake_at=None)


class Asked(Generic[InputT]):
    """An operation that is under way: say what it was asked, and how it ends."""

    def __init__(self, expected: Expected[InputT], step: SagaStep[Any, Any, Any], operation: Operation) -> None:
        self._expected = expected
        self._step = step
        self._operation = operation

    def is_asked(self, command: object) -> Asked[InputT]:
        """The command is equal to this one, as it goes over the wire."""
        sent = self._expected._commands[self._step.name, self._operation]
        wanted = payloads.encode(command)
        same = msgspec.json.decode(sent) == msgspec.json.decode(wanted)
        _expect(same, f"{self._name} was asked {sent.decode()}, not {wanted.decode()}")
        return self

    def succeeds(self, result: object = None) -> Expected[InputT]:
        """It is done; for an action, with what it returns.

        Raises:
            PayloadError: that is not of the type that the step declares as its reply.
        """
        encoded = payloads.encode(result)
        if self._operation is Operation.COMPENSATION:
            return self._ends(Succeeded(*self._attempt))
        self._step.reply_type.decode(encoded)
        return self._ends(Succeeded(*self._attempt), result=encoded)

    def is_rejected(self, reason: str = "no") -> Expected[InputT]:
        """The participant says a business no (`StepRejected`)."""
        return self._ends(Refused(*self._attempt), error=ErrorInfo("StepRejected", reason))

    def fails(self, error: str = "it failed", *, retry_after_seconds: float | None = 1.0) -> Expected[InputT]:
        """It fails, to be tried again after some seconds; None: the participant gives up, the outcome is unknown."""
        return self._ends(Failed(*self._attempt, retry_after_seconds), error=ErrorInfo("Failure", error))

    def gives_no_answer(self) -> Expected[InputT]:
        """Nothing is heard of it until its time is over."""
        budget = self._expected._saga.plan.steps[self._expected._saga.plan.index[self._step.name]].budget(
            self._operation
        )
        return self._expected.time_passes(budget.timeout_seconds)

    @property
    def _attempt(self) -> tuple[str, Operation, int, int]:
        op = self._expected._op(self._step.name, self._operation)
        return self._step.name, self._operation, op.round, op.attempt

    @property
    def _name(self) -> str:
        return _name(self._step.name, self._operation)

    def _ends(self, event: Event, *, result: bytes | None = None, error: ErrorInfo | None = None) -> Expected[InputT]:
        ignored = self._expected._apply(event, result=result, error=error)
        _expect(ignored is None, f"the answer of {self._name} does not count: {ignored}")
        return self._expected


def expect(saga: Saga[InputT], saga_input: InputT) -> Expected[InputT]:
    """Begin a saga, to be played by hand."""
    return Expected(saga, saga_input)


def _never(turn: Turn, step: PlannedStep) -> None:
    """Nothing is held up: here everybody serves everything."""


def _name(step: str, operation: Operation) -> str:
    return f"the {operation} of {step}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _expect(fine: bool, otherwise: str) -> None:
    if not fine:
        raise AssertionError(otherwise)
