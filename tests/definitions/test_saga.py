"""Sagas: the plans that decorators build, what is refused and in which words, and the making of commands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest

from sagaflow import Budget, DefinitionError, Operation, Participant, PayloadError, PlanError, Replies, Saga, StepKind
from sagaflow.core.plan import DEFAULT_COMPENSATION_BUDGET, Plan, PlannedStep
from sagaflow.definitions.limits import PAYLOAD_BYTES_MAX
from sagaflow.definitions.payloads import encode
from sagaflow.definitions.records import decode_plan
from sagaflow.definitions.records import encode as encode_record

COMPENSATABLE, PIVOT, RETRIABLE = StepKind


@dataclass(frozen=True)
class Order:
    order_id: str


class Reserve(msgspec.Struct):
    sku: str


class Reserved(TypedDict):
    reservation: int


def step_function(order: Order, replies: Replies) -> str:
    """Say which order it is."""
    return order.order_id


def a_saga() -> Saga[Order]:
    """A saga without steps."""
    return Saga("checkout", Order)


def add(saga: Any, address: str, **options: Any) -> Any:
    """Add a step of which only the place matters."""
    return saga.step(address, **options)(step_function)


def after_of(saga: Saga[Order]) -> dict[str, tuple[str, ...]]:
    """Which steps come directly after which."""
    return {step.name: step.after for step in saga.plan.steps}


def kinds_of(saga: Saga[Order]) -> dict[str, StepKind]:
    """The kinds of the steps."""
    return {step.name: step.kind for step in saga.plan.steps}


# ------------------------------------------------------------------------------- the order of steps


def test_a_step_comes_after_the_one_above_it() -> None:
    saga = a_saga()
    for address in ("s.a", "s.b", "s.c"):
        add(saga, address)
    assert after_of(saga) == {"s.a": (), "s.b": ("s.a",), "s.c": ("s.b",)}


def test_a_step_after_nothing_begins_with_the_saga() -> None:
    saga = a_saga()
    add(saga, "s.a")
    add(saga, "s.b", after=[])
    add(saga, "s.c", after=())
    assert after_of(saga) == {"s.a": (), "s.b": (), "s.c": ()}


def test_steps_after_the_same_step_run_side_by_side() -> None:
    saga = a_saga()
    first = add(saga, "s.a")
    left, right = add(saga, "s.b", after=first), add(saga, "s.c", after=[first])
    add(saga, "s.d", after=(left, right))
    assert after_of(saga) == {"s.a": (), "s.b": ("s.a",), "s.c": ("s.a",), "s.d": ("s.b", "s.c")}


def test_the_step_above_is_the_last_one_written_and_not_the_last_one_named() -> None:
    saga = a_saga()
    first = add(saga, "s.a")
    add(saga, "s.b", after=first)
    add(saga, "s.c", after=first)
    add(saga, "s.d")
    assert after_of(saga)["s.d"] == ("s.c",)


def test_a_plan_has_the_name_the_version_and_the_deadline_of_its_saga() -> None:
    saga = Saga("checkout", Order, version=3, deadline_seconds=90.0)
    add(saga, "s.a")
    assert (saga.plan.saga, saga.plan.version, saga.plan.deadline_seconds) == ("checkout", 3, 90.0)


def test_the_plan_of_the_same_steps_has_the_same_hash_each_time_it_is_built() -> None:
    first, second = a_saga(), a_saga()
    for saga in (first, second):
        add(saga, "s.a")
        saga.pivot("s.b")(step_function)
    assert first.plan.hash == second.plan.hash
    assert first.plan is first.plan


# -------------------------------------------------------------------------------------- addresses


def test_an_address_says_who_does_the_step_and_by_which_handler() -> None:
    saga = a_saga()
    add(saga, "inventory.reserve")
    add(saga, "europe.inventory.reserve")
    assert [(step.participant, step.handler) for step in saga.plan.steps] == [
        ("inventory", "reserve"),
        ("europe.inventory", "reserve"),
    ]


def test_an_address_that_is_used_twice_is_told_apart_by_names() -> None:
    saga = a_saga()
    add(saga, "mail.send")
    add(saga, "mail.send", name="mail.send-again")
    assert [(step.name, step.participant, step.handler) for step in saga.plan.steps] == [
        ("mail.send", "mail", "send"),
        ("mail.send-again", "mail", "send"),
    ]


# ------------------------------------------------------------------------------------------ kinds


def test_without_a_pivot_all_steps_can_be_compensated() -> None:
    saga = a_saga()
    add(saga, "s.a")
    add(saga, "s.b")
    assert kinds_of(saga) == {"s.a": COMPENSATABLE, "s.b": COMPENSATABLE}


def test_what_comes_after_the_pivot_is_retriable() -> None:
    saga = a_saga()
    add(saga, "s.before")
    point = saga.pivot("s.pivot")(step_function)
    behind = add(saga, "s.behind")
    add(saga, "s.far", after=behind)
    add(saga, "s.both", after=[point, behind])
    assert kinds_of(saga) == {
        "s.before": COMPENSATABLE,
        "s.pivot": PIVOT,
        "s.behind": RETRIABLE,
        "s.far": RETRIABLE,
        "s.both": RETRIABLE,
    }


def test_a_pivot_may_come_first() -> None:
    saga = a_saga()
    saga.pivot("s.pivot")(step_function)
    add(saga, "s.behind")
    assert kinds_of(saga) == {"s.pivot": PIVOT, "s.behind": RETRIABLE}


@pytest.mark.parametrize(("before", "behind"), [(COMPENSATABLE, RETRIABLE), ("compensatable", "retriable")])
def test_a_kind_may_be_written_out(before: Any, behind: Any) -> None:
    saga = a_saga()
    add(saga, "s.before", kind=before)
    add(saga, "s.pivot", kind=PIVOT)
    add(saga, "s.behind", kind=behind)
    assert list(kinds_of(saga).values()) == [COMPENSATABLE, PIVOT, RETRIABLE]
    assert all(isinstance(kind, StepKind) for kind in kinds_of(saga).values())


# ---------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(("place", "attempts"), [(0, 5), (1, 20), (2, 20)])
def test_the_budget_of_an_action_goes_by_its_kind(place: int, attempts: int) -> None:
    saga = a_saga()
    add(saga, "s.before")
    saga.pivot("s.pivot")(step_function)
    add(saga, "s.behind")
    step = saga.plan.steps[place]
    assert step.budget(Operation.ACTION) == Budget(60.0, attempts)
    assert step.budget(Operation.COMPENSATION) == Budget(60.0, 50)


@pytest.mark.parametrize(
    ("options", "action", "compensation"),
    [
        ({"timeout_seconds": 2.5}, Budget(2.5, 5), Budget(60.0, 50)),
        ({"attempts": 1}, Budget(60.0, 1), Budget(60.0, 50)),
        ({"compensation_timeout_seconds": 3.5}, Budget(60.0, 5), Budget(3.5, 50)),
        ({"compensation_attempts": 2}, Budget(60.0, 5), Budget(60.0, 2)),
    ],
)
def test_each_part_of_a_budget_can_be_given(options: dict[str, Any], action: Budget, compensation: Budget) -> None:
    saga = a_saga()
    add(saga, "s.a", **options)
    (step,) = saga.plan.steps
    assert (step.action, step.compensation) == (action, compensation)


def test_the_budget_of_a_pivot_can_be_given() -> None:
    saga = a_saga()
    saga.pivot("s.pivot", timeout_seconds=5.0, attempts=3)(step_function)
    assert saga.plan.steps[0].action == Budget(5.0, 3)


# ---------------------------------------------------------------------------- decorated functions


def test_a_decorated_function_can_still_be_called() -> None:
    step = add(a_saga(), "s.a")
    assert step(Order("o-1"), Replies()) == "o-1"


def test_a_step_can_be_tested_with_replies_that_never_went_over_the_wire() -> None:
    saga = a_saga()
    reserve = saga.step("inventory.reserve", reply=Reserved)(step_function)

    @saga.step("mail.send")
    def send(order: Order, replies: Replies) -> str:
        return f"{order.order_id}: {replies[reserve]['reservation']}"

    assert send(Order("o-1"), Replies({reserve: Reserved(reservation=17)})) == "o-1: 17"


def test_a_step_keeps_the_docstring_of_its_function_and_says_where_it_belongs() -> None:
    step = add(a_saga(), "s.a", name="first")
    assert step.__doc__ == "Say which order it is."
    assert repr(step) == "<step first of saga checkout>"


def test_a_saga_says_which_version_it_is() -> None:
    assert repr(Saga("checkout", Order, version=2)) == "<saga checkout version 2>"


# -------------------------------------------------------------------------------- what is refused


async def an_async_function(order: Order, replies: Replies) -> str:
    return order.order_id


def without_replies(order: Order) -> str:
    return order.order_id


def with_a_third(order: Order, replies: Replies, more: int) -> str:
    return order.order_id


def by_keyword(order: Order, *, replies: Replies) -> str:
    return order.order_id


ASYNC = (
    "saga checkout, step s.a: its function is async, but it must only compute the command from the input and the "
    "replies; what needs I/O belongs into a step of a participant"
)
ARITY = "saga checkout, step s.a: its function must take two arguments, the input of the saga and the replies"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (an_async_function, ASYNC),
        (without_replies, ARITY),
        (with_a_third, ARITY),
        (by_keyword, ARITY),
        (lambda: "o-1", ARITY),
        (dict, ARITY),
        ("no function", ARITY),
    ],
)
def test_a_function_that_cannot_make_commands_is_refused(function: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        a_saga().step("s.a")(function)
    assert str(refused.value) == message


NAME_RULE = (
    "a name consists of lower case letters, digits, '_', '-' and single dots, begins with a letter or a digit, and has "
    "at most 128 characters"
)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "inventory",
            "saga checkout: 'inventory' is no address of a step; write participant.handler, such as "
            "inventory.reserve_stock",
        ),
        (
            "",
            "saga checkout: '' is no address of a step; write participant.handler, such as inventory.reserve_stock",
        ),
        ("Inventory.reserve", f"saga checkout, step Inventory.reserve: 'Inventory.reserve' is no name; {NAME_RULE}"),
        (".reserve", f"saga checkout, step .reserve: '.reserve' is no name; {NAME_RULE}"),
        ("inventory.", f"saga checkout, step inventory.: 'inventory.' is no name; {NAME_RULE}"),
        ("inventory..reserve", f"saga checkout, step inventory..reserve: 'inventory..reserve' is no name; {NAME_RULE}"),
        ("a.b c", f"saga checkout, step a.b c: 'a.b c' is no name; {NAME_RULE}"),
        ("a.b\n", f"saga checkout, step a.b\n: 'a.b\\n' is no name; {NAME_RULE}"),
    ],
)
def test_a_bad_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        add(a_saga(), address)
    assert str(refused.value) == message


@pytest.mark.parametrize("name", ["", "Send", "a/b", ".a", "a..b", "a" * 129, "größe"])
def test_a_bad_name_of_a_step_is_refused(name: str) -> None:
    with pytest.raises(PlanError) as refused:
        add(a_saga(), "s.a", name=name)
    assert str(refused.value) == f"saga checkout, step {name}: {name!r} is no name; {NAME_RULE}"


@pytest.mark.parametrize("name", ["", "Checkout", "check out", "_checkout", "a..b", "a.", "a" * 129])
def test_a_bad_name_of_a_saga_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Saga(name, Order)
    assert str(refused.value) == f"{name!r} cannot name a saga; use lower case letters, digits, '_', '-' and '.'"


@pytest.mark.parametrize("name", ["a", "0", "check-out_2", "shop.checkout", "a" * 128])
def test_a_good_name_of_a_saga_is_accepted(name: str) -> None:
    assert Saga(name, Order).name == name


def test_a_decorator_without_its_address_does_not_lose_the_step() -> None:
    saga: Any = a_saga()
    with pytest.raises(DefinitionError) as refused:
        saga.step(step_function)
    assert str(refused.value) == (
        'saga checkout: give the decorator the address of the step, such as step("inventory.reserve_stock")'
    )


a_participant: Participant[Any] = Participant("inventory")


@a_participant.step("reserve")
async def of_a_participant(command: str) -> None: ...


@pytest.mark.parametrize(
    ("after", "named"),
    [
        ("s.a", "'s.a'"),
        (["s.a"], "'s.a'"),
        (step_function, repr(step_function)),
        (of_a_participant, "<step inventory.reserve>"),
        ([of_a_participant], "<step inventory.reserve>"),
        ([None], "None"),
        ({1}, "{1}"),
    ],
)
def test_after_takes_decorated_functions_of_a_saga_alone(after: Any, named: str) -> None:
    saga = a_saga()
    add(saga, "s.a")
    with pytest.raises(DefinitionError) as refused:
        add(saga, "s.b", after=after)
    assert str(refused.value) == (
        f"saga checkout, step s.b: `after` holds {named}; name the decorated functions of the steps before"
    )


def test_the_order_in_which_after_is_written_does_not_tell_plans_apart() -> None:
    plans = []
    for order in ("ab", "ba", "bab"):
        saga = a_saga()
        before = {name: add(saga, f"s.{name}", after=[]) for name in "ba"}
        add(saga, "s.c", after=[before[name] for name in order])
        plans.append(saga.plan)
        assert after_of(saga)["s.c"] == ("s.b", "s.a")
    assert len({plan.hash for plan in plans}) == len({plan.shape for plan in plans}) == 1


def test_a_step_of_another_saga_is_refused_in_after() -> None:
    foreign = add(Saga("trip", Order), "s.a")
    saga = a_saga()
    add(saga, "s.a")
    with pytest.raises(PlanError) as refused:
        add(saga, "s.b", after=[foreign])
    assert str(refused.value) == (
        "saga checkout, step s.b: it comes after s.a, which is a step of saga trip; name one of this saga, or drop it "
        "from `after`"
    )


def test_a_step_of_another_version_that_this_one_has_not_is_refused_in_after() -> None:
    dropped = add(Saga("checkout", Order), "s.dropped")
    with pytest.raises(PlanError) as refused:
        add(Saga("checkout", Order, version=2), "s.a", after=dropped)
    assert str(refused.value) == (
        "saga checkout, step s.a: it comes after s.dropped, which is no step of this saga; name one that is, or drop "
        "it from `after`"
    )


def two_of_a_name(saga: Saga[Order]) -> None:
    add(saga, "s.a")
    add(saga, "s.a")


def two_of_a_given_name(saga: Saga[Order]) -> None:
    add(saga, "s.a")
    add(saga, "s.b", name="s.a")


def two_pivots(saga: Saga[Order]) -> None:
    saga.pivot("s.first")(step_function)
    saga.pivot("s.second")(step_function)


def a_step_beside_the_pivot(saga: Saga[Order]) -> None:
    first = add(saga, "s.first")
    saga.pivot("s.pivot")(step_function)
    add(saga, "s.beside", after=first)


def a_pivot_beside_a_step(saga: Saga[Order]) -> None:
    add(saga, "s.beside")
    saga.pivot("s.pivot", after=[])(step_function)


def compensatable_behind_the_pivot(saga: Saga[Order]) -> None:
    saga.pivot("s.pivot")(step_function)
    add(saga, "s.behind", kind=COMPENSATABLE)


def retriable_before_the_pivot(saga: Saga[Order]) -> None:
    add(saga, "s.before", kind=RETRIABLE)


def retriable_as_a_plain_string(saga: Saga[Order]) -> None:
    add(saga, "s.before", kind="retriable")


BESIDE = (
    "saga checkout, step s.beside: it runs beside the pivot s.pivot, so nobody could say whether it is to be undone; "
    "put it before or after the pivot with `after`"
)
SAME_NAME = "saga checkout, step s.a: there are two steps of this name; give one of them another with name=..."
TOO_EARLY = (
    "saga checkout, step s.before: it is retriable but does not come after a pivot, so it may have to be undone; put "
    "it after the pivot or make it compensatable"
)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (two_of_a_name, SAME_NAME),
        (two_of_a_given_name, SAME_NAME),
        (
            two_pivots,
            "saga checkout, step s.second: it is a second pivot beside s.first; a saga has one point of no return: "
            "make one of them a step",
        ),
        (a_step_beside_the_pivot, BESIDE),
        (a_pivot_beside_a_step, BESIDE),
        (
            compensatable_behind_the_pivot,
            "saga checkout, step s.behind: it is compensatable but comes after the pivot s.pivot, where nothing is "
            "undone; put it before the pivot or make it retriable",
        ),
        (retriable_before_the_pivot, TOO_EARLY),
        (retriable_as_a_plain_string, TOO_EARLY),
    ],
)
def test_an_unsound_plan_is_refused_where_it_is_written(write: Callable[[Saga[Order]], None], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        write(a_saga())
    assert str(refused.value) == message


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'undoable' is not a valid StepKind"):
        add(a_saga(), "s.a", kind="undoable")


TIMEOUT = "the timeout of its {} must be a positive number of seconds, not {}"
ATTEMPTS = "its {} needs at least 1 attempt, not {}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_seconds": 0}, TIMEOUT.format("action", 0)),
        ({"timeout_seconds": -1.5}, TIMEOUT.format("action", -1.5)),
        ({"timeout_seconds": float("inf")}, TIMEOUT.format("action", "inf")),
        ({"timeout_seconds": float("nan")}, TIMEOUT.format("action", "nan")),
        ({"attempts": 0}, ATTEMPTS.format("action", 0)),
        ({"attempts": -3}, ATTEMPTS.format("action", -3)),
        ({"compensation_timeout_seconds": 0.0}, TIMEOUT.format("compensation", 0.0)),
        ({"compensation_attempts": 0}, ATTEMPTS.format("compensation", 0)),
    ],
)
def test_a_bad_budget_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        add(a_saga(), "s.a", **options)
    assert str(refused.value) == f"saga checkout, step s.a: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 0}, "saga checkout: version is 0; count versions from 1"),
        ({"deadline_seconds": 0}, "saga checkout: the deadline must be a positive number of seconds"),
        ({"deadline_seconds": float("inf")}, "saga checkout: the deadline must be a positive number of seconds"),
    ],
)
def test_a_bad_version_or_deadline_is_refused_at_the_first_step(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        add(Saga("checkout", Order, **options), "s.a")
    assert str(refused.value) == message


def test_a_saga_without_steps_has_no_plan() -> None:
    with pytest.raises(PlanError, match=r"^saga checkout: it has no steps; add one with @checkout.step\(...\)$"):
        _ = a_saga().plan


class NoPayload:
    """A class that nobody made a dataclass."""


@pytest.mark.parametrize(
    "declare", [lambda: Saga("checkout", NoPayload), lambda: a_saga().step("s.a", reply=NoPayload)(step_function)]
)
def test_an_input_or_a_reply_that_cannot_be_json_is_refused(declare: Callable[[], object]) -> None:
    with pytest.raises(DefinitionError, match=r"NoPayload'> cannot be used as a payload type: .*make it a dataclass"):
        declare()


def test_a_refused_step_leaves_the_saga_as_it_was() -> None:
    saga = a_saga()
    add(saga, "s.a")
    with pytest.raises(PlanError):
        add(saga, "s.b", attempts=0)
    add(saga, "s.b")
    assert after_of(saga) == {"s.a": (), "s.b": ("s.a",)}


def test_no_step_is_added_once_the_plan_is_in_use() -> None:
    saga = a_saga()
    add(saga, "s.a")
    plan = saga.plan
    with pytest.raises(DefinitionError) as refused:
        add(saga, "s.b")
    assert str(refused.value) == (
        "saga checkout, step s.b: the plan is in use already; add all steps when the module is imported"
    )
    assert saga.plan is plan


def test_looking_at_an_empty_saga_does_not_close_it() -> None:
    saga = a_saga()
    with pytest.raises(PlanError):
        _ = saga.plan
    add(saga, "s.a")
    assert list(after_of(saga)) == ["s.a"]


# ---------------------------------------------------------------------------------------- replies


def test_a_reply_is_of_the_type_that_its_step_declares() -> None:
    saga = a_saga()
    reserve = saga.step("s.reserve", reply=Reserved)(step_function)
    price = saga.step("s.price", reply=int)(step_function)
    notify = saga.step("s.notify")(step_function)
    replies = Replies.of_encoded({"s.reserve": b'{"reservation":17}', "s.price": b"250", "s.notify": b"null"})
    assert replies[reserve] == {"reservation": 17}
    assert replies[price] == 250
    assert replies[notify] is None


def test_a_missing_reply_says_what_to_do_about_it() -> None:
    reserve = add(a_saga(), "s.reserve", reply=Reserved)
    with pytest.raises(KeyError) as missing:
        Replies()[reserve]
    assert missing.value.args == (
        "there is no reply of s.reserve yet; is it among the steps that this one comes after?",
    )


def test_a_reply_that_is_not_what_was_declared_says_so() -> None:
    reserve = add(a_saga(), "s.reserve", reply=Reserved)
    with pytest.raises(PayloadError) as unfit:
        Replies.of_encoded({"s.reserve": b'{"reservation":"17"}'})[reserve]
    assert str(unfit.value) == (
        "the reply of s.reserve is not what `reply=` declares: the payload is not a Reserved: "
        "Expected `int`, got `str` - at `$.reservation`"
    )


def test_a_reply_to_a_step_that_declares_none_says_so() -> None:
    reserve = add(a_saga(), "s.reserve")
    with pytest.raises(PayloadError, match=r"^the reply of s\.reserve is not what .* Expected `null`"):
        Replies.of_encoded({"s.reserve": b'{"reservation":17}'})[reserve]


def test_a_bad_reply_harms_only_those_who_ask_for_it() -> None:
    saga = a_saga()
    good, bad = add(saga, "s.good", reply=int), add(saga, "s.bad", reply=int)
    replies = Replies.of_encoded({"s.good": b"1", "s.bad": b"{"})
    assert replies[good] == 1
    with pytest.raises(PayloadError):
        replies[bad]


def test_it_can_be_asked_whether_there_is_a_reply() -> None:
    saga = a_saga()
    done, skipped = add(saga, "s.done", reply=int), add(saga, "s.skipped", reply=int)
    replies = Replies.of_encoded({"s.done": b"1"})
    assert done in replies
    assert skipped not in replies


def test_replies_made_by_hand_are_checked_like_those_that_were_sent() -> None:
    reserve = add(a_saga(), "s.reserve", reply=Reserved)
    with pytest.raises(PayloadError, match=r"^the reply of s\.reserve is not what `reply=` declares"):
        Replies({reserve: 17})[reserve]


# --------------------------------------------------------------------------------------- commands


def a_diamond() -> Saga[Order]:
    """A step, two beside each other, and one after both; each says whose replies it is shown."""
    saga = a_saga()

    def shown(order: Order, replies: Replies) -> list[str]:
        return [order.order_id, *(step.name for step in steps if step in replies)]

    first = saga.step("s.first", reply=int)(shown)
    left, right = (saga.step(f"s.{side}", reply=int, after=first)(shown) for side in ("left", "right"))
    last = saga.step("s.last", reply=int, after=[left, right])(shown)
    steps = (first, left, right, last)
    return saga


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        ("s.first", []),
        ("s.left", ["s.first"]),
        ("s.right", ["s.first"]),
        ("s.last", ["s.first", "s.left", "s.right"]),
    ],
)
def test_a_step_is_shown_the_replies_of_the_steps_that_it_comes_after(step: str, shown: list[str]) -> None:
    everything = dict.fromkeys(("s.first", "s.left", "s.right", "s.last"), b"1")
    assert a_diamond().command(step, encode(Order("o-1")), everything) == encode(["o-1", *shown])


def test_a_command_is_made_from_the_stored_input_and_replies() -> None:
    saga = a_saga()
    reserve = saga.step("s.reserve", reply=Reserved)(step_function)

    @saga.step("s.charge")
    def charge(order: Order, replies: Replies) -> Reserve:
        return Reserve(f"{order.order_id}/{replies[reserve]['reservation']}")

    assert saga.command("s.charge", b'{"order_id":"o-1"}', {"s.reserve": b'{"reservation":17}'}) == b'{"sku":"o-1/17"}'


def test_a_command_cannot_be_made_from_another_input() -> None:
    saga = a_saga()
    add(saga, "s.a")
    with pytest.raises(PayloadError, match="the payload is not a Order: Object missing required field `order_id`"):
        saga.command("s.a", b"{}", {})


def test_a_command_that_is_too_long_cannot_be_made() -> None:
    saga = a_saga()
    saga.step("s.a")(lambda order, replies: "x" * PAYLOAD_BYTES_MAX)
    with pytest.raises(PayloadError, match="is over the limit of 262144; keep the bulk elsewhere"):
        saga.command("s.a", encode(Order("o-1")), {})


def test_what_the_function_raises_is_not_hidden() -> None:
    saga = a_saga()
    saga.step("s.a")(lambda order, replies: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saga.command("s.a", encode(Order("o-1")), {})


# ------------------------------------------------------------------------------- budgets and the deadline


@pytest.mark.parametrize(
    ("deadline_seconds", "options", "budget"),
    [
        (None, {}, Budget(60.0, 5)),
        (300, {}, Budget(60.0, 5)),
        (1_000, {}, Budget(60.0, 5)),
        (30, {}, Budget(6.0, 5)),
        (0.3, {}, Budget(0.3 / 5, 5)),
        (30, {"attempts": 3}, Budget(10.0, 3)),
        (30, {"timeout_seconds": 10.0}, Budget(10.0, 3)),
        (30, {"timeout_seconds": 30.0}, Budget(30.0, 1)),
        (30, {"timeout_seconds": 1.0}, Budget(1.0, 5)),
        (30, {"timeout_seconds": 10.0, "attempts": 3}, Budget(10.0, 3)),
    ],
)
def test_the_attempts_of_a_step_before_the_pivot_fit_into_the_deadline(
    deadline_seconds: float | None, options: dict[str, Any], budget: Budget
) -> None:
    saga = Saga("checkout", Order, deadline_seconds=deadline_seconds)
    add(saga, "s.a", **options)
    assert saga.plan.steps[0].action == budget
    assert saga.plan.steps[0].compensation == DEFAULT_COMPENSATION_BUDGET, "a rollback has no deadline"


@pytest.mark.parametrize(
    ("options", "attempts", "seconds"),
    [
        ({"timeout_seconds": 10.5, "attempts": 3}, 3, "10.5"),
        ({"timeout_seconds": 31, "attempts": 1}, 1, "31"),
        ({"timeout_seconds": 31}, 5, "31"),
    ],
)
def test_written_budgets_that_do_not_fit_into_the_deadline_are_refused(
    options: dict[str, Any], attempts: int, seconds: str
) -> None:
    saga = Saga("checkout", Order, deadline_seconds=30)
    with pytest.raises(PlanError) as error:
        add(saga, "s.a", **options)
    assert str(error.value) == (
        f"saga checkout, step s.a: {attempts} attempts of {seconds} s do not fit into the deadline of 30 s; lower its "
        "attempts or its timeout_seconds, or raise deadline_seconds"
    )


def test_what_the_deadline_does_not_stop_may_take_longer() -> None:
    saga = Saga("checkout", Order, deadline_seconds=30)
    saga.pivot("s.pivot", timeout_seconds=60.0, attempts=20)(step_function)
    add(saga, "s.after")
    assert [step.action for step in saga.plan.steps] == [Budget(60.0, 20), Budget(60.0, 20)]


def test_a_stored_plan_of_the_time_before_this_rule_is_still_read() -> None:
    step = PlannedStep("s.a", "s", "a", StepKind.COMPENSATABLE, action=Budget(60.0, 5))
    plan = Plan("checkout", 1, (step,), deadline_seconds=30.0)
    assert decode_plan(encode_record(plan)) == plan
