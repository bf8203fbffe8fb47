"""A participant, as a service writes it: the steps that it can do, each with the way to undo it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload
from uuid import UUID

import msgspec

from sagaflow.core.plan import Operation, is_name
from sagaflow.definitions.payloads import PayloadType
from sagaflow.definitions.retry import DEFAULT_COMPENSATION_RETRY, DEFAULT_RETRY, Retry
from sagaflow.errors import DefinitionError

Tx = TypeVar("Tx")
C = TypeVar("C")
R = TypeVar("R")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class StepContext(Generic[Tx]):
    """What a handler may want to know beyond its command.

    `tx` is the service's own database with the transaction of this step open: what is written through it
    is committed together with the barrier and the reply, or not at all. `budget_seconds` is how long the handler
    may take, counted from its call; then it is cut off, and rolled back. Bound calls with it.
    """

    tx: Tx
    saga: str
    saga_id: UUID
    step: str
    attempt: int = 1
    traceparent: str = ""
    operation: Operation = Operation.ACTION
    budget_seconds: float = 30.0

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of this operation, and no other's: give it to systems outside the
        transaction, so that they know a repetition when they see one."""
        return self.action_key if self.operation is Operation.ACTION else f"{self.action_key}/undo"

    @property
    def action_key(self) -> str:
        """The idempotency key of the action. To a compensation it names what is to be undone, also when what
        the action returned is not known."""
        return f"{self.saga_id}/{self.step}"


class Handler:
    """A function of the user with the types of its arguments, called with as much as it wants."""

    def __init__(
        self, function: Callable[..., Coroutine[Any, Any, Any]], takes_result: bool, takes_context: bool
    ) -> None:
        self._function = function
        self._takes_result = takes_result
        self._takes_context = takes_context

    @property
    def can_write(self) -> bool:
        """Whether it is given the transaction at all. What is not cannot have written through it."""
        return self._takes_context

    def __call__(self, command: Any, result: Any, context: StepContext[Any]) -> Coroutine[Any, Any, Any]:
        """Call it; a result and a context that it does not take are left out."""
        arguments = [command]
        if self._takes_result:
            arguments.append(result)
        if self._takes_context:
            arguments.append(context)
        return self._function(*arguments)


class ParticipantStep(Generic[Tx, C, R, P]):
    """A step that a participant can do. Called, it is the function that it was made from.

    `external` says that its effect lies outside the transaction, so its outcome may be unknown.
    """

    external = False

    def __init__(
        self,
        name: str,
        participant: str,
        function: Callable[P, Coroutine[Any, Any, R]],
        retry: Retry,
        no_compensation: str | None,
    ) -> None:
        self.name = name
        self.participant = participant
        self.function = function
        self.retry = retry
        self.no_compensation = no_compensation
        """Why there is nothing to undo, if that was said."""
        self.__doc__ = function.__doc__
        types = _types_of(function, f"{participant}.{name}")
        self.command_type: PayloadType[C] = PayloadType(types.first)
        self.result_type: PayloadType[R] = PayloadType(types.result)
        self.action = Handler(function, takes_result=False, takes_context=types.takes_context)
        self.undo: Handler | None = None
        self.undo_retry = DEFAULT_COMPENSATION_RETRY
        _expect(types.extra == 0, f"{participant}.{name}: the action takes its command and, if it likes, a StepContext")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The action itself, for a unit test or a direct call."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<step {self.participant}.{self.name}>"

    @overload
    def compensation(
        self, function: Callable[[C, R, StepContext[Tx]], Coroutine[Any, Any, None]]
    ) -> Callable[[C, R, StepContext[Tx]], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(
        self, function: Callable[[C, R], Coroutine[Any, Any, None]]
    ) -> Callable[[C, R], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(
        self, function: Callable[[C, StepContext[Tx]], Coroutine[Any, Any, None]]
    ) -> Callable[[C, StepContext[Tx]], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(
        self, function: Callable[[C], Coroutine[Any, Any, None]]
    ) -> Callable[[C], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(self, *, retry: Retry) -> _CompensationDecorator[Tx, C, R]: ...
    def compensation(self, function: Any = None, *, retry: Retry = DEFAULT_COMPENSATION_RETRY) -> Any:
        """Say how the step is undone: given the command and, if it likes, what the action returned, and the
        context. It is called only if the action has committed, and exactly once to the end.

        Args:
            function: the compensation.
            retry: when a failed attempt is made again; `@reserve.compensation(retry=Retry(...))`. Left out, every
                exception is retried, with a random delay that grows to a minute.

        Raises:
            DefinitionError: the step has a compensation already, or the function cannot be one.
        """
        return self._undone_by(function, retry)

    def _undone_by(self, function: Any, retry: Retry) -> Any:
        if function is None:
            return _CompensationDecorator[Tx, C, R](self, retry)
        where = f"{self.participant}.{self.name}"
        _expect(self.undo is None, f"{where}: it has a compensation already")
        _expect(self.no_compensation is None, f"{where}: it says that it needs no compensation, and has one")
        types = _types_of(function, f"{where}, compensation")
        _expect(types.extra <= 1, f"{where}: a compensation takes the command, the result and a StepContext at most")
        if self.external and types.extra:
            _expect(
                _admits_none(types.second),
                f"{where}: the outcome of an external step may be unknown when it is undone; let the "
                "compensation take `Result | None`",
            )
        self.undo = Handler(function, takes_result=types.extra == 1, takes_context=types.takes_context)
        self.undo_retry = retry
        return function

    def retry_of(self, operation: Operation) -> Retry:
        """When a failed attempt of one of the two operations is made again."""
        return self.retry if operation is Operation.ACTION else self.undo_retry


class ExternalStep(ParticipantStep[Tx, C, R, P]):
    """A step whose effect lies outside the service's database."""

    external = True

    @overload  # type: ignore[override]  # stricter on purpose: the result may be unknown here
    def compensation(
        self, function: Callable[[C, R | None, StepContext[Tx]], Coroutine[Any, Any, None]]
    ) -> Callable[[C, R | None, StepContext[Tx]], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(
        self, function: Callable[[C, R | None], Coroutine[Any, Any, None]]
    ) -> Callable[[C, R | None], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(
        self, function: Callable[[C, StepContext[Tx]], Coroutine[Any, Any, None]]
    ) -> Callable[[C, StepContext[Tx]], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(
        self, function: Callable[[C], Coroutine[Any, Any, None]]
    ) -> Callable[[C], Coroutine[Any, Any, None]]: ...
    @overload
    def compensation(self, *, retry: Retry) -> _CompensationDecorator[Tx, C, R | None]: ...
    def compensation(self, function: Any = None, *, retry: Retry = DEFAULT_COMPENSATION_RETRY) -> Any:
        """Say how the step is undone. It is called whenever the action may have happened; the result is None
        if it is not known, and the context's `action_key` is what the action was known by. Arguments as for
        a step of the other kind."""
        return self._undone_by(function, retry)


class _CompensationDecorator(Generic[Tx, C, R]):
    """`@step.compensation(retry=...)`. `R` is what the compensation is told of the action's result."""

    def __init__(self, step: ParticipantStep[Any, Any, Any, ...], retry: Retry) -> None:
        self._step = step
        self._retry = retry

    @overload
    def __call__(
        self, function: Callable[[C, R, StepContext[Tx]], Coroutine[Any, Any, None]]
    ) -> Callable[[C, R, StepContext[Tx]], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, function: Callable[[C, R], Coroutine[Any, Any, None]]
    ) -> Callable[[C, R], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, function: Callable[[C, StepContext[Tx]], Coroutine[Any, Any, None]]
    ) -> Callable[[C, StepContext[Tx]], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, function: Callable[[C], Coroutine[Any, Any, None]]
    ) -> Callable[[C], Coroutine[Any, Any, None]]: ...
    def __call__(self, function: Any) -> Any:
        return self._step._undone_by(function, self._retry)


class _StepDecorator(Generic[Tx]):
    def __init__(self, participant: Participant[Tx], name: str, retry: Retry, no_compensation: str | None) -> None:
        _expect(isinstance(name, str), f'{participant.name}: give the decorator a name, such as step("reserve_stock")')
        self._participant = participant
        self._name = name
        self._retry = retry
        self._no_compensation = no_compensation

    @overload
    def __call__(
        self, function: Callable[[C, StepContext[Tx]], Coroutine[Any, Any, R]]
    ) -> ParticipantStep[Tx, C, R, [C, StepContext[Tx]]]: ...
    @overload
    def __call__(self, function: Callable[[C], Coroutine[Any, Any, R]]) -> ParticipantStep[Tx, C, R, [C]]: ...
    def __call__(self, function: Any) -> Any:
        return self._participant._add(ParticipantStep, self._name, function, self._retry, self._no_compensation)


class _ExternalStepDecorator(_StepDecorator[Tx]):
    @overload
    def __call__(
        self, function: Callable[[C, StepContext[Tx]], Coroutine[Any, Any, R]]
    ) -> ExternalStep[Tx, C, R, [C, StepContext[Tx]]]: ...
    @overload
    def __call__(self, function: Callable[[C], Coroutine[Any, Any, R]]) -> ExternalStep[Tx, C, R, [C]]: ...
    def __call__(self, function: Any) -> Any:
        return self._participant._add(ExternalStep, self._name, function, self._retry, self._no_compensation)


class Participant(Generic[Tx]):
    """The steps that one service can do. `Tx` is the kind of connection that its handlers are given.

    Example:
        >>> inventory: Participant[Any] = Participant("inventory")
        >>> @inventory.step("reserve_stock")
        ... async def reserve_stock(sku: str) -> int:
        ...     return 1
        >>> @reserve_stock.compensation
        ... async def release_stock(sku: str, reservation: int) -> None: ...
        >>> list(inventory.steps)
        ['reserve_stock']
    """

    def __init__(self, name: str) -> None:
        if not is_name(name):
            raise DefinitionError(
                f"{name!r} cannot name a participant; use lower case letters, digits, '_', '-' and '.'"
            )
        self.name = name
        self._steps: dict[str, ParticipantStep[Tx, Any, Any, ...]] = {}

    def __repr__(self) -> str:
        return f"<participant {self.name}>"

    @property
    def steps(self) -> Mapping[str, ParticipantStep[Tx, Any, Any, ...]]:
        """The steps by name."""
        return self._steps

    def step(
        self, name: str, *, retry: Retry = DEFAULT_RETRY, no_compensation: str | None = None
    ) -> _StepDecorator[Tx]:
        """Add a transactional step: all of its effect is in the service's own database.

        Its handler may be called more than once before one call is committed: what it wrote through `ctx.tx` in the
        others is rolled back. If it is quick, one transaction may hold the work of many commands, one after another;
        then what is set for the transaction (`SET LOCAL`, the time of `now()`) is shared with them. What has an effect
        outside of `ctx.tx` is an `external_step`.

        Args:
            name: the part of the address behind the participant's name.
            retry: when a failed attempt is made again. Left out, every exception is retried, with a random delay
                that grows to 30 s. How often is bounded by the saga's step (`attempts`).
            no_compensation: the reason, if there is nothing to undo (a step that only reads, say). A step
                without a compensation and without a reason can only stand behind the pivot.
        """
        return _StepDecorator(self, name, retry, no_compensation)

    def external_step(
        self, name: str, *, retry: Retry = DEFAULT_RETRY, no_compensation: str | None = None
    ) -> _ExternalStepDecorator[Tx]:
        """Add a step with an effect outside the service's database, such as a call to a card gateway.

        It may be called more than once for one step: `ctx.idempotency_key` lets the other side know. Its
        transaction stays open during the call, so that an undo waits for it. Arguments as for `step`.
        """
        return _ExternalStepDecorator(self, name, retry, no_compensation)

    def _add(self, kind: Any, name: str, function: Any, retry: Retry, no_compensation: str | None) -> Any:
        where = f"{self.name}.{name}"
        _expect(is_name(name) and "." not in name, f"{where}: {name!r} cannot name a step of a participant")
        _expect(name not in self._steps, f"{where}: there are two steps of this name; give one of them another")
        step = kind(name, self.name, function, retry, no_compensation)
        self._steps[name] = step
        return step


@dataclass(frozen=True, slots=True)
class _Types:
    """What the annotations of a handler say: the types of the first and second argument, how many there
    are beyond the first and the context, and the type of the result."""

    first: Any
    second: Any
    extra: int
    takes_context: bool
    result: Any


def _types_of(function: Callable[..., Any], where: str) -> _Types:
    _expect(inspect.iscoroutinefunction(function), f"{where}: its function must be `async def`")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise DefinitionError(
            f"{where}: its annotations cannot be read ({error}); import what they name at run time, not only "
            "under TYPE_CHECKING"
        ) from error
    parameters = inspect.signature(function).parameters
    _expect(
        all(parameter.kind in _BY_POSITION for parameter in parameters.values()),
        f"{where}: its arguments are given by position; do without `*` and `**`",
    )
    names = list(parameters)
    for name in [*names, "return"]:
        _expect(name in hints, f"{where}: annotate {'the result' if name == 'return' else repr(name)}")
    context = [name for name in names if _is_context(hints[name])]
    _expect(context in ([], names[-1:]), f"{where}: the StepContext comes last")
    others = [hints[name] for name in names if name not in context]
    _expect(bool(others), f"{where}: its function must take the command")
    return _Types(others[0], others[1] if len(others) > 1 else None, len(others) - 1, bool(context), hints["return"])


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _is_context(hint: Any) -> bool:
    return hint is StepContext or typing.get_origin(hint) is StepContext


def _admits_none(hint: Any) -> bool:
    try:
        msgspec.convert(None, hint)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def _expect(fine: bool, otherwise: str) -> None:
    if not fine:
        raise DefinitionError(otherwise)
