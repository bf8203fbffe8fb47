"""The sagas and participants of the play. They do nothing but write down what they did, or fail as they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from uuid import UUID

from tenacity import retry_if_not_exception_type, wait_fixed

from sagaflow.core.plan import OnStuck, Operation, Plan, StepKind
from sagaflow.definitions.participant import Participant, StepContext
from sagaflow.definitions.retry import Retry
from sagaflow.definitions.saga import Replies, Saga
from sagaflow.errors import StepRejected
from sagaflow.testing.simulation.database import RowsTx
from sagaflow.testing.simulation.faults import Faults
from sagaflow.testing.simulation.handling import GaveUp, Mishaps
from sagaflow.testing.simulation.processes import CURRENT


class Bug(Exception):
    """What a function of a saga raises."""


RETRY: Final = Retry(wait=wait_fixed(0.8), on=retry_if_not_exception_type(GaveUp))


@dataclass(frozen=True, slots=True)
class Effect:
    """What a participant writes to its database: that it did an operation."""

    saga_id: UUID
    step: str
    operation: Operation


@dataclass
class Bank:
    """What lies outside of all transactions: one entry for each key, which can be voided for ever."""

    entries: dict[str, bool] = field(default_factory=dict)
    """Whether what was set aside under a key still is."""

    def authorize(self, key: str) -> None:
        """Set aside, once for each key.

        Raises:
            StepRejected: it was voided before.
        """
        if not self.entries.setdefault(key, True):
            raise StepRejected(f"{key} was voided")

    def void(self, key: str) -> None:
        """Give back what was, or ever will be, set aside under a key."""
        self.entries[key] = False


@dataclass
class Stage:
    """What the handlers of one run share."""

    faults: Faults
    mishaps: Mishaps
    bank: Bank = field(default_factory=Bank)


STAGE: Final[ContextVar[Stage]] = ContextVar("stage of the play")


@dataclass(frozen=True, slots=True)
class Part:
    """A step of a shape, in few words."""

    name: str
    participant: str
    after: Sequence[str] = ()
    kind: StepKind = StepKind.COMPENSATABLE
    external: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A saga of the play: its steps, how patient it is, and its deadline."""

    name: str
    parts: Sequence[Part]
    timeout_seconds: float = 1.5
    attempts: int = 3
    deadline_seconds: float | None = None
    on_stuck: OnStuck = OnStuck.KEEP_ORDER


P, R = StepKind.PIVOT, StepKind.RETRIABLE

SHAPES: Final = (
    Shape("single", [Part("a", "x")]),
    Shape("pair", [Part("a", "x"), Part("b", "y", "a")]),
    Shape("chain", [Part("a", "x"), Part("b", "y", "a"), Part("c", "x", "b")]),
    Shape("external", [Part("a", "x"), Part("b", "y", "a", external=True)], attempts=2),
    Shape("outside", [Part("a", "x", external=True), Part("b", "y", "a", external=True)], attempts=2),
    Shape(
        "fork", [Part("a", "x"), Part("b", "y", "a"), Part("c", "x", "a")], attempts=2, on_stuck=OnStuck.CONTINUE_OTHERS
    ),
    Shape(
        "diamond",
        [Part("a", "x"), Part("b", "y", "a"), Part("c", "x", "a"), Part("d", "y", "bc")],
        attempts=2,
        on_stuck=OnStuck.HALT,
    ),
    Shape("beside", [Part("a", "x"), Part("b", "y"), Part("c", "x", external=True)], attempts=1),
    Shape("pivot", [Part("a", "x"), Part("b", "y", "a", P), Part("c", "x", "b", R)], attempts=2),
    Shape(
        "checkout",
        [
            Part("a", "x"),
            Part("b", "y", "a", external=True),
            Part("c", "x", "a"),
            Part("d", "y", "bc", P, external=True),
            Part("e", "x", "d", R),
        ],
    ),
    Shape(
        "hurry",
        [Part("a", "x"), Part("b", "y", "a"), Part("c", "x", "b")],
        attempts=4,
        timeout_seconds=1.0,
        deadline_seconds=4.0,
    ),
    Shape("rush", [Part("a", "x"), Part("b", "y", "a", P), Part("c", "x", "b", R)], attempts=1, deadline_seconds=2.0),
    Shape("patient", [Part("a", "x"), Part("b", "y", "a"), Part("c", "x", "a", external=True)], timeout_seconds=5000.0),
)

PATIENT: Final = len(SHAPES) - 1
"""A shape whose steps are waited for longer than any history lasts: whatever it has in flight when a process dies must
be sent again by another, and not because its time was over."""

PARTICIPANTS: Final = ("x", "y")


@cache
def saga_of(place: int) -> Saga[str]:
    """The saga of a shape."""
    shape = SHAPES[place]
    saga = Saga(shape.name, str, deadline_seconds=shape.deadline_seconds, on_stuck=shape.on_stuck)
    steps: dict[str, Any] = {}
    for part in shape.parts:
        options: dict[str, Any] = {}
        if part.kind is StepKind.COMPENSATABLE:
            options = {"compensation_timeout_seconds": shape.timeout_seconds, "compensation_attempts": 3}
        decorate = saga.step(
            f"{part.participant}.{_handler(part)}",
            name=part.name,
            reply=str,
            after=[steps[name] for name in part.after],
            kind=part.kind,
            timeout_seconds=shape.timeout_seconds,
            attempts=shape.attempts,
            **options,
        )
        steps[part.name] = decorate(_command_of(part.name))
    assert saga.plan.steps, "it is sound"
    return saga


def external_steps(plan: Plan) -> frozenset[str]:
    """The steps of a plan whose effect lies outside."""
    return frozenset(step.name for step in plan.steps if step.handler.startswith("outside"))


def _handler(part: Part) -> str:
    place = "outside" if part.external else "inside"
    return place if part.kind is StepKind.COMPENSATABLE else f"{place}-for-good"


def _command_of(name: str) -> Callable[[str, Replies], str]:
    def command(saga_input: str, replies: Replies) -> str:
        process = CURRENT.get()
        if STAGE.get().faults.at("saga.command", "nobody" if process is None else process.name) is not None:
            raise Bug(f"the command of {name} cannot be made")
        return f"{saga_input} {name}"

    return command


@cache
def participant_of(name: str, *, complete: bool = True) -> Participant[RowsTx]:
    """A participant; one that is not complete does not serve external steps yet."""
    participant: Participant[RowsTx] = Participant(name)
    _add_inside(participant, "inside", undoable=True)
    _add_inside(participant, "inside-for-good", undoable=False)
    if complete:
        _add_outside(participant, "outside", undoable=True)
        _add_outside(participant, "outside-for-good", undoable=False)
    return participant


def _add_inside(participant: Participant[RowsTx], handler: str, *, undoable: bool) -> None:
    @participant.step(handler, retry=RETRY)
    async def action(command: str, ctx: StepContext[RowsTx]) -> str:
        return await _perform(participant.name, ctx, Operation.ACTION, lambda: None)

    if undoable:

        @action.compensation(retry=RETRY)
        async def compensation(command: str, result: str, ctx: StepContext[RowsTx]) -> None:
            await _perform(participant.name, ctx, Operation.COMPENSATION, lambda: None)


def _add_outside(participant: Participant[RowsTx], handler: str, *, undoable: bool) -> None:
    @participant.external_step(handler, retry=RETRY)
    async def action(command: str, ctx: StepContext[RowsTx]) -> str:
        bank, key = STAGE.get().bank, ctx.idempotency_key
        done_before = bank.entries.get(key, False)
        return await _perform(
            participant.name, ctx, Operation.ACTION, lambda: bank.authorize(key), done_before=done_before, key=key
        )

    if undoable:

        @action.compensation(retry=RETRY)
        async def compensation(command: str, result: str | None, ctx: StepContext[RowsTx]) -> None:
            bank = STAGE.get().bank
            await _perform(participant.name, ctx, Operation.COMPENSATION, lambda: bank.void(ctx.action_key))


async def _perform(
    participant: str,
    ctx: StepContext[RowsTx],
    operation: Operation,
    outside: Callable[[], None],
    *,
    done_before: bool = False,
    key: str | None = None,
) -> str:
    async def work() -> str:
        outside()
        ctx.tx.add(Effect(ctx.saga_id, ctx.step, operation))
        return f"{ctx.step} is done"

    mishaps = STAGE.get().mishaps
    return await mishaps.during(f"handler.{operation}", participant, work, done_before=done_before, key=key)
