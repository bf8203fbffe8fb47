"""Participants whose handlers are watched, and made to fail."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sagaflow.core.plan import Operation
from sagaflow.definitions.participant import Handler, Participant, ParticipantStep, StepContext
from sagaflow.testing.simulation.handling import Mishaps, SimulatedFailure


@dataclass
class Call:
    """One call of a handler."""

    saga_id: UUID
    step: str
    """Its address: participant.handler."""
    operation: Operation
    external: bool
    result: Any
    """What an undo is given as the result of its action."""
    began: int
    """A number that grows with everything that happens."""
    ended: int | None = None
    """None: it did not return."""
    over: int | None = None
    """When it returned or raised; None: it never did."""
    error: BaseException | None = None

    def __str__(self) -> str:
        return self.step if self.operation is Operation.ACTION else f"the undo of {self.step}"


@dataclass
class Calls:
    """All calls of one history."""

    made: list[Call] = field(default_factory=list)
    note: Callable[[str], None] = lambda text: None
    _number: int = 0

    def next(self) -> int:
        """The next number."""
        self._number += 1
        return self._number


def observed(participant: Participant[Any], calls: Calls, mishaps: Mishaps) -> Participant[Any]:
    """The same participant, watched."""
    other: Participant[Any] = Participant(participant.name)
    for name, step in participant.steps.items():
        twin = copy.copy(step)
        twin.action = _Observed(step.action, step, Operation.ACTION, calls, mishaps)
        if step.undo is not None:
            twin.undo = _Observed(step.undo, step, Operation.COMPENSATION, calls, mishaps)
        other._steps[name] = twin
    return other


class _Observed(Handler):
    def __init__(
        self,
        handler: Handler,
        step: ParticipantStep[Any, Any, Any, ...],
        operation: Operation,
        calls: Calls,
        mishaps: Mishaps,
    ) -> None:
        self._handler = handler
        self._address = f"{step.participant}.{step.name}"
        self._operation = operation
        self._external = step.external
        self._calls = calls
        self._mishaps = mishaps

    @property
    def can_write(self) -> bool:
        """As the user's own handler."""
        return self._handler.can_write

    async def __call__(self, command: Any, result: Any, context: StepContext[Any]) -> Any:
        """The user's own handler, between what goes wrong before it and after it."""

        async def work() -> Any:
            call = Call(
                context.saga_id, self._address, self._operation, self._external, result, began=self._calls.next()
            )
            self._calls.made.append(call)
            try:
                value = await self._handler(command, result, context)
            except BaseException as error:
                call.error = error
                call.over = self._calls.next()
                self._calls.note(f"   {call} raises {type(error).__qualname__}: {error}")
                raise
            call.ended = call.over = self._calls.next()
            self._calls.note(f"   {call} is done{'' if self._external else ', if it is committed'}")
            return value

        return await self._mishaps.during(
            f"handler.{self._operation}",
            self._address,
            work,
            done_before=self._was_done_outside(context.saga_id),
            key=context.idempotency_key if self._external else None,
        )

    def _was_done_outside(self, saga_id: UUID) -> bool:
        return self._external and any(
            call.saga_id == saga_id and call.step == self._address and call.ended is not None
            for call in self._calls.made
            if call.operation is self._operation
        )


def is_simulated(error: BaseException) -> bool:
    """Whether an error is none of the user's."""
    return isinstance(error, SimulatedFailure)
