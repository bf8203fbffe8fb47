"""A saga, as the service that owns it writes it: a list of steps, each a pure function from the input and
the replies so far to the next command. It reads top to bottom as the business process that it is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, overload

from sagaflow.core.plan import (
    DEFAULT_BUDGET,
    DEFAULT_COMPENSATION_BUDGET,
    Budget,
    OnStuck,
    Plan,
    PlannedStep,
    StepKind,
    is_name,
)
from sagaflow.definitions import payloads
from sagaflow.definitions.announcements import announcement_of, gaps
from sagaflow.definitions.participant import Participant
from sagaflow.definitions.payloads import PayloadType
from sagaflow.errors import DefinitionError, PayloadError, PlanError

InputT = TypeVar("InputT")
CommandT = TypeVar("CommandT")
ReplyT = TypeVar("ReplyT")
StepInputT = TypeVar("StepInputT")


class SagaStep(Generic[StepInputT, CommandT, ReplyT]):
    """A step of a saga. Called, it is the function that it was made from."""

    def __init__(
        self,
        name: str,
        function: Callable[[StepInputT, Replies], CommandT],
        reply_type: PayloadType[ReplyT],
        saga: str,
    ) -> None:
        self.name = name
        self.saga = saga
        self.reply_type = reply_type
        self.function = function
        self.__doc__ = function.__doc__

    def __call__(self, saga_input: StepInputT, replies: Replies) -> CommandT:
        """The command that the step sends."""
        return self.function(saga_input, replies)

    def __repr__(self) -> str:
        return f"<step {self.name} of saga {self.saga}>"


class Replies:
    """What the steps before have returned: `replies[authorize_card]` is typed as that step's reply.

    In a unit test of a step function, make one from values: `Replies({authorize_card: CardAuthorized(...)})`.
    """

    def __init__(self, replies: Mapping[SagaStep[Any, Any, Any], object] | None = None) -> None:
        self._encoded = {step.name: payloads.encode(reply) for step, reply in (replies or {}).items()}

    @classmethod
    def of_encoded(cls, encoded: Mapping[str, bytes]) -> Replies:
        """From stored replies, by the names of their steps; each is decoded when it is asked for."""
        replies = cls()
        replies._encoded = dict(encoded)
        return replies

    def __getitem__(self, step: SagaStep[Any, Any, ReplyT]) -> ReplyT:
        """What a step returned.

        Raises:
            KeyError: the step has not been done before this one; add it to `after`.
            PayloadError: what was returned is not of the declared `reply` type.
        """
        if step.name not in self._encoded:
            raise KeyError(f"there is no reply of {step.name} yet; is it among the steps that this one comes after?")
        try:
            return step.reply_type.decode(self._encoded[step.name])
        except PayloadError as error:
            raise PayloadError(f"the reply of {step.name} is not what `reply=` declares: {error}") from error

    def __contains__(self, step: SagaStep[Any, Any, Any]) -> bool:
        return step.name in self._encoded


After = SagaStep[Any, Any, Any] | Sequence[SagaStep[Any, Any, Any]] | None


class Saga(Generic[InputT]):
    """The definition of a saga.

    Args:
        name: a written name; it goes over the wire and into the database, so it stays when code moves.
        input_type: the type of its input: a msgspec struct, dataclass, TypedDict or pydantic model.
        version: counted from 1; raise it when steps change. Runs keep the version they began with.
        deadline_seconds: after this time a saga that has not reached its pivot is undone. The attempts of each step
            before the pivot must fit into it: written budgets are checked, and defaults are made to fit (see `step`).
        on_stuck: what a rollback does while one of its compensations is stuck: keep the order (what has to be
            undone after it waits, the rest goes on), halt, or continue with all others.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass
        ... class Trip:
        ...     city: str
        >>> trip = Saga("trip", Trip)
        >>> @trip.step("hotels.book_room")
        ... def book_room(trip: Trip, replies: Replies) -> str:
        ...     return trip.city
        >>> @trip.step("airline.book_flight")
        ... def book_flight(trip: Trip, replies: Replies) -> str:
        ...     return trip.city
        >>> [step.after for step in trip.plan.steps]
        [(), ('hotels.book_room',)]
    """

    def __init__(
        self,
        name: str,
        input_type: type[InputT],
        *,
        version: int = 1,
        deadline_seconds: float | None = None,
        on_stuck: OnStuck = OnStuck.KEEP_ORDER,
    ) -> None:
        if not is_name(name):
            raise DefinitionError(f"{name!r} cannot name a saga; use lower case letters, digits, '_', '-' and '.'")
        self.name = name
        self.version = version
        self.deadline_seconds = deadline_seconds
        self.on_stuck = on_stuck
        self.input_type = PayloadType(input_type)
        self._steps: dict[str, SagaStep[InputT, Any, Any]] = {}
        self._drafts: list[_Draft] = []

    def __repr__(self) -> str:
        return f"<saga {self.name} version {self.version}>"

    @overload
    def step(
        self,
        address: str,
        *,
        name: str | None = None,
        after: After = None,
        kind: StepKind | None = None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
        compensation_timeout_seconds: float | None = None,
        compensation_attempts: int | None = None,
    ) -> Callable[[Callable[[InputT, Replies], CommandT]], SagaStep[InputT, CommandT, None]]: ...

    @overload
    def step(
        self,
        address: str,
        *,
        reply: type[ReplyT],
        name: str | None = None,
        after: After = None,
        kind: StepKind | None = None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
        compensation_timeout_seconds: float | None = None,
        compensation_attempts: int | None = None,
    ) -> Callable[[Callable[[InputT, Replies], CommandT]], SagaStep[InputT, CommandT, ReplyT]]: ...

    def step(
        self,
        address: str,
        *,
        reply: Any = None,
        name: str | None = None,
        after: After = None,
        kind: StepKind | None = None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
        compensation_timeout_seconds: float | None = None,
        compensation_attempts: int | None = None,
    ) -> Any:
        """Add a step: the decorated function makes its command from the input and the replies so far.

        The function must be pure: it may be called again, and by any coordinator of this saga.

        Args:
            address: "participant.handler", as the participant declares it.
            reply: the type that the participant's handler returns; left out if it returns nothing.
            name: the name of the step in this saga, if the address is used twice.
            after: the steps that must be done before. Left out: the step above. `[]`: none, it begins
                with the saga. Steps that do not depend on each other run side by side.
            kind: compensatable before the pivot, retriable behind it; written out, it is checked.
            timeout_seconds: how long one attempt is waited for (60 by default). In a saga with a deadline all
                attempts of a step before the pivot must fit into it: what is left out of the two is then as much
                lower as it has to be.
            attempts: how many there are (5 by default, 20 from the pivot on).
            compensation_timeout_seconds: likewise for its compensation (60 by default).
            compensation_attempts: likewise (50 by default).

        Raises:
            DefinitionError: the function or the address cannot be used.
            PlanError: the step does not fit into the plan.
        """
        return self._decorator(
            address,
            reply,
            _Options(name, after, kind, timeout_seconds, attempts, compensation_timeout_seconds, compensation_attempts),
        )

    @overload
    def pivot(
        self,
        address: str,
        *,
        name: str | None = None,
        after: After = None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
    ) -> Callable[[Callable[[InputT, Replies], CommandT]], SagaStep[InputT, CommandT, None]]: ...

    @overload
    def pivot(
        self,
        address: str,
        *,
        reply: type[ReplyT],
        name: str | None = None,
        after: After = None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
    ) -> Callable[[Callable[[InputT, Replies], CommandT]], SagaStep[InputT, CommandT, ReplyT]]: ...

    def pivot(
        self,
        address: str,
        *,
        reply: Any = None,
        name: str | None = None,
        after: After = None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
    ) -> Any:
        """Add the point of no return: from it on, the saga only goes forward. Arguments as for `step`."""
        return self._decorator(address, reply, _Options(name, after, StepKind.PIVOT, timeout_seconds, attempts))

    @property
    def steps(self) -> Mapping[str, SagaStep[InputT, Any, Any]]:
        """The steps by name."""
        return self._steps

    @cached_property
    def plan(self) -> Plan:
        """The plan, checked. No step can be added afterwards.

        Raises:
            PlanError: the saga is unsound.
        """
        return self._plan_of(self._drafts)

    def check(self, participants: Sequence[Participant[Any]]) -> None:
        """Check that these participants serve what the saga asks of them, and can undo what it may have to undo.

        For a test of the user's own, without any server. A participant that is not given is not judged.

        Raises:
            DefinitionError: something is missing; a line for each, with the saga, the step and the mend.

        Example:
            def test_every_step_can_be_undone():
                checkout.check([orders, inventory, payments])
        """
        found = gaps(self.plan, [announcement_of(participant, "here") for participant in participants])
        if found:
            raise DefinitionError("\n".join(found))

    def command(self, step: str, saga_input: bytes, replies: Mapping[str, bytes]) -> bytes:
        """The encoded command of a step, from the encoded input and replies; calls the user's function.

        It is shown the replies of the steps that it comes after: others may or may not be there yet.
        """
        places, behind = self.plan.index, self.plan.behind
        before = {name: reply for name, reply in replies.items() if places[step] in behind[places[name]]}
        return payloads.encode(
            self._steps[step].function(self.input_type.decode(saga_input), Replies.of_encoded(before))
        )

    def secrets(self, saga_input: bytes, replies: Mapping[str, bytes]) -> frozenset[str]:
        """The texts of what is sensitive in what the functions of the saga are given: no error may repeat them."""
        secrets = self.input_type.secrets(saga_input)
        for name, reply in replies.items():
            if name in self._steps:
                secrets |= self._steps[name].reply_type.secrets(reply)
        return secrets

    def _decorator(self, address: str, reply: Any, options: _Options) -> Callable[[Any], SagaStep[InputT, Any, Any]]:
        if not isinstance(address, str):
            raise DefinitionError(
                f'saga {self.name}: give the decorator the address of the step, such as step("inventory.reserve_stock")'
            )

        def decorate(function: Callable[[InputT, Replies], Any]) -> SagaStep[InputT, Any, Any]:
            _check_function(self, address, function)
            draft = self._draft(address, options)
            step = SagaStep(draft.name, function, PayloadType(type(None) if reply is None else reply), self.name)
            if "plan" in self.__dict__:
                raise DefinitionError(
                    f"saga {self.name}, step {step.name}: the plan is in use already; add all steps when the "
                    "module is imported"
                )
            self._plan_of([*self._drafts, draft])
            self._drafts.append(draft)
            self._steps[step.name] = step
            return step

        return decorate

    def _draft(self, address: str, options: _Options) -> _Draft:
        participant, dot, handler = address.rpartition(".")
        if not dot:
            raise DefinitionError(
                f"saga {self.name}: {address!r} is no address of a step; write participant.handler, such as "
                "inventory.reserve_stock"
            )
        name = address if options.name is None else options.name
        return _Draft(name, participant, handler, self._after(address, options.after), options)

    def _after(self, address: str, after: After) -> tuple[str, ...]:
        if after is None:
            return (self._drafts[-1].name,) if self._drafts else ()
        names = set()
        for before in after if isinstance(after, list | tuple) else [after]:
            if not isinstance(before, SagaStep):
                raise DefinitionError(
                    f"saga {self.name}, step {address}: `after` holds {before!r}; name the decorated functions of "
                    "the steps before"
                )
            if before.saga != self.name:
                raise PlanError(
                    f"saga {self.name}, step {address}: it comes after {before.name}, which is a step of saga "
                    f"{before.saga}; name one of this saga, or drop it from `after`"
                )
            names.add(before.name)
        # In the order of the plan, each once: the order in which they are written must not tell plans apart.
        # What is no step of this saga stays in, for the plan to refuse.
        places = {draft.name: place for place, draft in enumerate(self._drafts)}
        return tuple(sorted(names, key=lambda name: places.get(name, len(places))))

    def _plan_of(self, drafts: Sequence[_Draft]) -> Plan:
        behind_pivot: set[str] = set()
        steps = []
        for draft in drafts:
            is_behind = any(name in behind_pivot for name in draft.after)
            kind = StepKind(draft.options.kind or (StepKind.RETRIABLE if is_behind else StepKind.COMPENSATABLE))
            if is_behind or kind is StepKind.PIVOT:
                behind_pivot.add(draft.name)
            step = draft.planned(kind, self.deadline_seconds)
            _check_budget(self, step)
            steps.append(step)
        return Plan(self.name, self.version, tuple(steps), self.deadline_seconds, OnStuck(self.on_stuck))


class _Options:
    """The keyword arguments of a step as they were given."""

    def __init__(
        self,
        name: str | None,
        after: After,
        kind: StepKind | None,
        timeout_seconds: float | None = None,
        attempts: int | None = None,
        compensation_timeout_seconds: float | None = None,
        compensation_attempts: int | None = None,
    ) -> None:
        self.name = name
        self.after = after
        self.kind = kind
        self.timeout_seconds = timeout_seconds
        self.attempts = attempts
        self.compensation_timeout_seconds = compensation_timeout_seconds
        self.compensation_attempts = compensation_attempts


class _Draft:
    """A step before its kind is known, which its place behind the pivot may decide."""

    def __init__(self, name: str, participant: str, handler: str, after: tuple[str, ...], options: _Options) -> None:
        self.name = name
        self.participant = participant
        self.handler = handler
        self.after = after
        self.options = options

    def planned(self, kind: StepKind, deadline_seconds: float | None) -> PlannedStep:
        """The step of the plan. What must come to an end before the deadline has a budget that does."""
        options = self.options
        bound = deadline_seconds if kind is StepKind.COMPENSATABLE else None
        return PlannedStep(
            self.name,
            self.participant,
            self.handler,
            kind,
            self.after,
            _budget(DEFAULT_BUDGET[kind], options.timeout_seconds, options.attempts, bound),
            _budget(DEFAULT_COMPENSATION_BUDGET, options.compensation_timeout_seconds, options.compensation_attempts),
        )


def _budget(
    default: Budget, timeout_seconds: float | None, attempts: int | None, bound_seconds: float | None = None
) -> Budget:
    """The budget as it was written; what was left out is the default, or less if it would be over the bound."""
    budget = Budget(
        default.timeout_seconds if timeout_seconds is None else timeout_seconds,
        default.attempts if attempts is None else attempts,
    )
    if bound_seconds is None or not 0 < bound_seconds < math.inf or budget.timeout_seconds <= 0 or budget.attempts < 1:
        return budget  # unbounded, or refused by the plan
    if timeout_seconds is None:
        return Budget(min(budget.timeout_seconds, bound_seconds / budget.attempts), budget.attempts)
    if attempts is None and budget.timeout_seconds <= bound_seconds:
        return Budget(budget.timeout_seconds, min(budget.attempts, int(bound_seconds // budget.timeout_seconds)))
    return budget


ROUNDING: Final = 1 + 1e-9
"""A deadline divided by the attempts, times the attempts, may be a little more than the deadline."""


def _check_budget(saga: Saga[Any], step: PlannedStep) -> None:
    """Checked here and not in `Plan`: plans that were stored before there was this rule must still be read."""
    if saga.deadline_seconds is None or step.kind is not StepKind.COMPENSATABLE:
        return
    worst_seconds = step.action.timeout_seconds * step.action.attempts
    if 0 < saga.deadline_seconds * ROUNDING < worst_seconds:
        raise PlanError(
            f"saga {saga.name}, step {step.name}: {step.action.attempts} attempts of {step.action.timeout_seconds:g} s "
            f"do not fit into the deadline of {saga.deadline_seconds:g} s; lower its attempts or its "
            "timeout_seconds, or raise deadline_seconds"
        )


def _check_function(saga: Saga[Any], address: str, function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"saga {saga.name}, step {address}: its function is async, but it must only compute the command from "
            "the input and the replies; what needs I/O belongs into a step of a participant"
        )
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):  # ValueError: a builtin that has no signature
        raise DefinitionError(
            f"saga {saga.name}, step {address}: its function must take two arguments, the input of the saga and "
            "the replies"
        ) from None
