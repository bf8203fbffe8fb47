"""Participants: what a service may write, what is refused and in which words, and what a handler is called with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, NoReturn, Union
from uuid import UUID

import msgspec
import pytest
from tenacity import stop_after_attempt

from sagaflow import (
    DefinitionError,
    ExternalStep,
    Operation,
    Participant,
    ParticipantStep,
    PayloadError,
    Retry,
    StepContext,
)
from sagaflow.definitions.retry import DEFAULT_COMPENSATION_RETRY, DEFAULT_RETRY

Connection = list[str]
Context = StepContext[Connection]


@dataclass(frozen=True)
class Reserve:
    sku: str


@dataclass(frozen=True)
class Reserved:
    number: int


RESERVE, RESERVED = Reserve("shoe"), Reserved(17)
CONTEXT = StepContext(
    tx=["a connection"],
    saga="checkout",
    saga_id=UUID(int=1),
    step="inventory.reserve",
    attempt=1,
    traceparent="",
)


def inventory() -> Any:
    """A participant without steps; not typed, since most tests give it what the type checker refuses."""
    return Participant("inventory")


async def reserve(command: Reserve, ctx: Context) -> Reserved:
    """Put something aside."""
    ctx.tx.append(command.sku)
    return RESERVED


async def reserve_blindly(command: Reserve) -> Reserved:
    return RESERVED


def a_step(kind: str = "step") -> Any:
    """A step that waits for its compensation."""
    return getattr(inventory(), kind)("reserve")(reserve)


def refusal_of(write: Callable[[], object]) -> str:
    """In which words something is refused."""
    with pytest.raises(DefinitionError) as refused:
        write()
    return str(refused.value)


# ----------------------------------------------------------------------------------------- actions


async def everything(*arguments: Any) -> tuple[Any, ...]:
    """What a handler was called with."""
    return arguments


async def with_context(command: Reserve, ctx: Context) -> Any:
    return await everything(command, ctx)


async def with_a_bare_context(command: Reserve, ctx: StepContext) -> Any:  # type: ignore[type-arg]
    return await everything(command, ctx)


async def without_context(command: Reserve) -> Any:
    return await everything(command)


async def by_position_only(command: Reserve, ctx: Context, /) -> Any:
    return await everything(command, ctx)


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (with_context, (RESERVE, CONTEXT)),
        (with_a_bare_context, (RESERVE, CONTEXT)),
        (by_position_only, (RESERVE, CONTEXT)),
        (without_context, (RESERVE,)),
    ],
)
@pytest.mark.parametrize("kind", ["step", "external_step"])
async def test_an_action_is_given_what_it_takes(kind: str, function: Any, given: tuple[Any, ...]) -> None:
    step = getattr(inventory(), kind)("reserve")(function)
    assert await step.action(RESERVE, RESERVED, CONTEXT) == given


async def test_a_method_of_an_object_can_be_an_action() -> None:
    class Shop:
        async def reserve(self, command: Reserve) -> Any:
            return await everything(self, command)

    shop = Shop()
    step = inventory().step("reserve")(shop.reserve)
    assert await step.action(RESERVE, None, CONTEXT) == (shop, RESERVE)


def test_the_types_of_command_and_result_are_those_of_the_annotations() -> None:
    step = a_step()
    assert step.command_type.decode(b'{"sku":"shoe"}') == RESERVE
    assert step.result_type.decode(b'{"number":17}') == RESERVED


def test_an_action_that_returns_nothing_has_a_result_of_none() -> None:
    async def forget(command: Reserve) -> None: ...

    assert inventory().step("forget")(forget).result_type.decode(b"null") is None


def test_what_an_annotation_demands_is_checked() -> None:
    async def count(command: Annotated[int, msgspec.Meta(gt=0)]) -> None: ...

    with pytest.raises(PayloadError, match="Expected `int` >= 1"):
        inventory().step("count")(count).command_type.decode(b"0")


# ----------------------------------------------------------------------------------- compensations


async def undo_with_all(command: Reserve, reserved: Reserved, ctx: Context) -> None:
    ctx.tx.append(f"{command} {reserved}")


async def undo_with_result(command: Reserve, reserved: Reserved) -> None: ...


async def undo_with_context(command: Reserve, ctx: Context) -> None: ...


async def undo_with_command(command: Reserve) -> None: ...


async def undo_with_all_or_none(command: Reserve, reserved: Reserved | None, ctx: Context) -> None: ...


async def undo_with_result_or_none(command: Reserve, reserved: Reserved | None) -> None: ...


def noting(undo: Callable[..., Awaitable[None]], calls: list[tuple[Any, ...]]) -> Any:
    """A function with the same annotations that notes what it is called with."""

    async def noted(*arguments: Any) -> None:
        calls.append(arguments)

    noted.__wrapped__ = undo  # type: ignore[attr-defined]  # what `inspect` and `typing` look through
    noted.__annotations__ = undo.__annotations__
    return noted


UNDO_SHAPES = [
    (undo_with_result, (RESERVE, RESERVED)),
    (undo_with_all, (RESERVE, RESERVED, CONTEXT)),
    (undo_with_context, (RESERVE, CONTEXT)),
    (undo_with_command, (RESERVE,)),
]


@pytest.mark.parametrize(("undo", "given"), UNDO_SHAPES)
async def test_a_compensation_is_given_what_it_takes(undo: Any, given: tuple[Any, ...]) -> None:
    calls: list[tuple[Any, ...]] = []
    step = a_step()
    step.compensation(noting(undo, calls))
    await step.undo(RESERVE, RESERVED, CONTEXT)
    assert calls == [given]


EXTERNAL_UNDO_SHAPES = [
    (undo_with_result_or_none, (RESERVE, None)),
    (undo_with_all_or_none, (RESERVE, None, CONTEXT)),
    (undo_with_context, (RESERVE, CONTEXT)),
    (undo_with_command, (RESERVE,)),
]


@pytest.mark.parametrize(("undo", "given"), EXTERNAL_UNDO_SHAPES)
async def test_the_compensation_of_an_external_step_is_given_none_where_nothing_is_known(
    undo: Any, given: tuple[Any, ...]
) -> None:
    calls: list[tuple[Any, ...]] = []
    step = a_step("external_step")
    step.compensation(noting(undo, calls))
    await step.undo(RESERVE, None, CONTEXT)
    assert calls == [given]


def undo_taking(result: Any) -> Any:
    """A compensation that takes a result of this type."""

    async def undo(command: Reserve, reserved: Any) -> None: ...

    undo.__annotations__["reserved"] = result
    return undo


@pytest.mark.parametrize(
    "result",
    [
        Reserved | None,
        Union[Reserved, None],  # noqa: UP007  # as older code writes it
        int | str | None,
        None,
        Any,
        object,
        Annotated[Reserved | None, "of the shop"],
        "Reserved | None",
    ],
)
def test_the_compensation_of_an_external_step_may_say_in_any_way_that_it_takes_none(result: Any) -> None:
    step = a_step("external_step")
    step.compensation(undo_taking(result))
    assert step.undo is not None


@pytest.mark.parametrize(
    "result", [Reserved, int | str, str, Annotated[Reserved, "of the shop"], "Reserved", set[int] | frozenset[int]]
)
def test_the_compensation_of_an_external_step_must_take_none(result: Any) -> None:
    step = a_step("external_step")
    assert refusal_of(lambda: step.compensation(undo_taking(result))) == (
        "inventory.reserve: the outcome of an external step may be unknown when it is undone; let the compensation "
        "take `Result | None`"
    )
    assert step.undo is None


def test_the_compensation_of_a_step_may_take_none_too() -> None:
    step = a_step()
    step.compensation(undo_with_result_or_none)
    assert step.undo is not None


def test_a_step_without_a_compensation_has_none() -> None:
    assert a_step().undo is None


# ------------------------------------------------------------------ functions stay what they were


async def test_a_decorated_action_can_still_be_called() -> None:
    connection: Connection = []
    context = StepContext(connection, "checkout", UUID(int=1), "inventory.reserve")
    assert await a_step()(RESERVE, ctx=context) == RESERVED
    assert connection == ["shoe"]


def test_every_operation_has_an_idempotency_key_of_its_own_and_knows_that_of_the_action() -> None:
    undoing = replace(CONTEXT, operation=Operation.COMPENSATION)
    assert replace(CONTEXT, attempt=2).idempotency_key == CONTEXT.idempotency_key
    assert undoing.idempotency_key != CONTEXT.idempotency_key
    assert CONTEXT.action_key == undoing.action_key == CONTEXT.idempotency_key
    assert replace(CONTEXT, step="another").action_key != CONTEXT.action_key
    assert replace(CONTEXT, saga_id=UUID(int=2)).action_key != CONTEXT.action_key


def test_a_decorated_compensation_is_the_function_that_it_was() -> None:
    assert a_step().compensation(undo_with_all) is undo_with_all
    assert a_step("external_step").compensation(undo_with_all_or_none) is undo_with_all_or_none


def test_a_step_keeps_its_docstring_and_says_where_it_belongs() -> None:
    step = a_step()
    assert step.__doc__ == "Put something aside."
    assert repr(step) == "<step inventory.reserve>"
    assert repr(inventory()) == "<participant inventory>"


# -------------------------------------------------------------------------------- the participant


def test_a_participant_has_its_steps_by_name() -> None:
    participant = inventory()
    first = participant.step("reserve")(reserve)
    second = participant.external_step("order_more")(reserve_blindly)
    assert participant.steps == {"reserve": first, "order_more": second}


def test_an_external_step_says_that_it_is_one() -> None:
    assert isinstance(a_step(), ParticipantStep)
    assert not a_step().external
    assert isinstance(a_step("external_step"), ExternalStep)
    assert a_step("external_step").external


@pytest.mark.parametrize("kind", ["step", "external_step"])
def test_a_compensation_has_a_retry_policy_of_its_own(kind: str) -> None:
    of_action, of_undo = Retry(stop=stop_after_attempt(2)), Retry(stop=stop_after_attempt(3))
    plain = getattr(inventory(), kind)("look", retry=of_action)(reserve)
    plain.compensation(undo_with_all_or_none)
    assert plain.retry_of(Operation.ACTION) is of_action
    assert plain.retry_of(Operation.COMPENSATION) is DEFAULT_COMPENSATION_RETRY
    written = getattr(inventory(), kind)("look", retry=of_action)(reserve)
    assert written.compensation(retry=of_undo)(undo_with_all_or_none) is undo_with_all_or_none
    assert written.retry_of(Operation.COMPENSATION) is of_undo


@pytest.mark.parametrize("kind", ["step", "external_step"])
def test_a_step_has_the_retry_policy_and_the_reason_that_it_was_given(kind: str) -> None:
    retry = Retry(stop=stop_after_attempt(2))
    step = getattr(inventory(), kind)("look", retry=retry, no_compensation="it only looks")(reserve)
    assert (step.retry, step.no_compensation, step.undo) == (retry, "it only looks", None)


def test_by_default_a_step_is_retried_and_says_nothing_about_its_compensation() -> None:
    assert (a_step().retry, a_step().no_compensation) == (DEFAULT_RETRY, None)


# -------------------------------------------------------------------------------- what is refused


def not_async(command: Reserve) -> Reserved:
    return RESERVED


async def a_generator(command: Reserve) -> Any:
    yield RESERVED


async def without_annotation(command, ctx: Context) -> Reserved:  # type: ignore[no-untyped-def]
    return RESERVED


async def without_result(command: Reserve):  # type: ignore[no-untyped-def]
    return RESERVED


async def with_nothing() -> Reserved:
    return RESERVED


async def with_context_alone(ctx: Context) -> Reserved:
    return RESERVED


async def with_context_first(ctx: Context, command: Reserve) -> Reserved:
    return RESERVED


async def with_two_contexts(command: Reserve, ctx: Context, again: Context) -> Reserved:
    return RESERVED


async def with_an_optional_context(command: Reserve, ctx: Context | None) -> Reserved:
    return RESERVED


async def with_something_more(command: Reserve, quantity: int = 1) -> Reserved:
    return RESERVED


async def with_a_keyword(command: Reserve, *, ctx: Context) -> Reserved:
    return RESERVED


async def with_any_number(*commands: Reserve) -> Reserved:
    return RESERVED


async def with_any_keyword(command: Reserve, **options: Context) -> Reserved:
    return RESERVED


BY_POSITION = "inventory.reserve: its arguments are given by position; do without `*` and `**`"
TOO_MUCH = "inventory.reserve: the action takes its command and, if it likes, a StepContext"
NOT_ASYNC = "inventory.reserve: its function must be `async def`"
CONTEXT_LAST = "inventory.reserve: the StepContext comes last"
NO_COMMAND = "inventory.reserve: its function must take the command"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (not_async, NOT_ASYNC),
        (a_generator, NOT_ASYNC),
        ("no function", NOT_ASYNC),
        (without_annotation, "inventory.reserve: annotate 'command'"),
        (without_result, "inventory.reserve: annotate the result"),
        (with_nothing, NO_COMMAND),
        (with_context_alone, NO_COMMAND),
        (with_context_first, CONTEXT_LAST),
        (with_two_contexts, CONTEXT_LAST),
        (with_an_optional_context, TOO_MUCH),
        (with_something_more, TOO_MUCH),
        (with_a_keyword, BY_POSITION),
        (with_any_number, BY_POSITION),
        (with_any_keyword, BY_POSITION),
    ],
)
@pytest.mark.parametrize("kind", ["step", "external_step"])
def test_a_function_that_cannot_be_an_action_is_refused(kind: str, function: Any, message: str) -> None:
    participant = inventory()
    assert refusal_of(lambda: getattr(participant, kind)("reserve")(function)) == message
    assert not participant.steps


async def undo_with_too_much(command: Reserve, reserved: Reserved, more: int, ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (not_async, "inventory.reserve, compensation: its function must be `async def`"),
        (without_annotation, "inventory.reserve, compensation: annotate 'command'"),
        (without_result, "inventory.reserve, compensation: annotate the result"),
        (with_nothing, "inventory.reserve, compensation: its function must take the command"),
        (with_context_first, "inventory.reserve, compensation: the StepContext comes last"),
        (
            with_a_keyword,
            "inventory.reserve, compensation: its arguments are given by position; do without `*` and `**`",
        ),
        (
            undo_with_too_much,
            "inventory.reserve: a compensation takes the command, the result and a StepContext at most",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["step", "external_step"])
def test_a_function_that_cannot_be_a_compensation_is_refused(kind: str, function: Any, message: str) -> None:
    step = a_step(kind)
    assert refusal_of(lambda: step.compensation(function)) == message
    assert step.undo is None


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        ("Missing", "name 'Missing' is not defined"),
        ("msgspec.Missing", "module 'msgspec' has no attribute 'Missing'"),
        ("Reserve[", "Forward reference must be an expression -- got 'Reserve['"),
        ("Reserve[int]", "type 'Reserve' is not subscriptable"),
    ],
)
def test_annotations_that_cannot_be_read_are_refused(annotation: str, told: str) -> None:
    async def action(command: Any) -> None: ...

    action.__annotations__["command"] = annotation
    assert refusal_of(lambda: inventory().step("reserve")(action)) == (
        f"inventory.reserve: its annotations cannot be read ({told}); import what they name at run time, not only "
        "under TYPE_CHECKING"
    )


class NoPayload:
    """A class that nobody made a dataclass."""


async def with_an_unfit_command(command: NoPayload) -> None: ...


async def with_an_unfit_result(command: Reserve) -> NoPayload:
    return NoPayload()


async def with_no_result_ever(command: Reserve) -> NoReturn:
    raise NotImplementedError


@pytest.mark.parametrize("function", [with_an_unfit_command, with_an_unfit_result, with_no_result_ever])
def test_a_type_that_cannot_be_json_is_refused(function: Any) -> None:
    participant = inventory()
    assert "cannot be used as a payload type" in refusal_of(lambda: participant.step("reserve")(function))
    assert not participant.steps


def test_a_second_compensation_is_refused_and_the_first_one_stays() -> None:
    step = a_step()
    step.compensation(undo_with_all)
    first = step.undo
    assert refusal_of(lambda: step.compensation(undo_with_command)) == (
        "inventory.reserve: it has a compensation already"
    )
    assert step.undo is first


@pytest.mark.parametrize("kind", ["step", "external_step"])
def test_a_compensation_is_refused_where_none_is_needed(kind: str) -> None:
    step = getattr(inventory(), kind)("look", no_compensation="it only looks")(reserve)
    assert refusal_of(lambda: step.compensation(undo_with_command)) == (
        "inventory.look: it says that it needs no compensation, and has one"
    )


def test_two_steps_of_a_name_are_refused_and_the_first_one_stays() -> None:
    participant = inventory()
    first = participant.step("reserve")(reserve)
    assert refusal_of(lambda: participant.external_step("reserve")(reserve_blindly)) == (
        "inventory.reserve: there are two steps of this name; give one of them another"
    )
    assert participant.steps == {"reserve": first}


@pytest.mark.parametrize("name", ["", "Reserve", "re serve", "re.serve", "_reserve", "a" * 129, "größe"])
def test_a_bad_name_of_a_step_is_refused(name: str) -> None:
    assert refusal_of(lambda: inventory().step(name)(reserve)) == (
        f"inventory.{name}: {name!r} cannot name a step of a participant"
    )


@pytest.mark.parametrize("name", ["", "Inventory", "in ventory", "a..b", "-a", "a" * 129])
def test_a_bad_name_of_a_participant_is_refused(name: str) -> None:
    assert refusal_of(lambda: Participant(name)) == (
        f"{name!r} cannot name a participant; use lower case letters, digits, '_', '-' and '.'"
    )


def test_a_good_name_of_a_participant_is_accepted() -> None:
    assert Participant[Connection]("europe.inventory-2").name == "europe.inventory-2"


@pytest.mark.parametrize("kind", ["step", "external_step"])
def test_a_decorator_without_its_name_does_not_lose_the_step(kind: str) -> None:
    assert refusal_of(lambda: getattr(inventory(), kind)(reserve)) == (
        'inventory: give the decorator a name, such as step("reserve_stock")'
    )
