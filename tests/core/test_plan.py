"""A plan is checked when it is built, and known by its hash."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from sagaflow.core.plan import DEFAULT_BUDGET, Budget, OnStuck, Operation, Plan, PlannedStep, StepKind, is_name
from sagaflow.errors import DefinitionError, PlanError
from tests.core.plans import pivot, plan_of, retriable, step

NAME_RULE = (
    "a name consists of lower case letters, digits, '_', '-' and single dots, begins with a letter or a digit, "
    "and has at most 128 characters"
)

REFUSALS: list[tuple[Callable[[], Plan], str]] = [
    (lambda: Plan("Trip!", 1, (step("a"),)), f"saga 'Trip!': {NAME_RULE}"),
    (lambda: Plan("trip", 0, (step("a"),)), "saga trip: version is 0; count versions from 1"),
    (lambda: plan_of(), "saga trip: it has no steps; add one with @trip.step(...)"),
    (lambda: plan_of(step("a"), step("B")), f"saga trip, step B: 'B' is no name; {NAME_RULE}"),
    (
        lambda: plan_of(replace(step("a"), participant="My Shop")),
        f"saga trip, step a: 'My Shop' is no name; {NAME_RULE}",
    ),
    (lambda: plan_of(replace(step("a"), handler="")), f"saga trip, step a: '' is no name; {NAME_RULE}"),
    (
        lambda: plan_of(step("a"), step("b"), step("a")),
        "saga trip, step a: there are two steps of this name; give one of them another with name=...",
    ),
    (
        lambda: plan_of(step("a"), step("b", after=["hotel"])),
        "saga trip, step b: it comes after hotel, which is no step of this saga; name one that is, or drop it from "
        "`after`",
    ),
    (
        lambda: plan_of(step("a", after="b"), step("b")),
        "saga trip, step a: it comes after b, which is not before it; a cycle cannot be run: write each step below "
        "the steps that it comes after",
    ),
    (
        lambda: plan_of(step("a", after="a")),
        "saga trip, step a: it comes after a, which is not before it; a cycle cannot be run: write each step below "
        "the steps that it comes after",
    ),
    (
        lambda: plan_of(step("a", after="c"), step("b", after="a"), step("c", after="b")),
        "saga trip, step a: it comes after c, which is not before it; a cycle cannot be run: write each step below "
        "the steps that it comes after",
    ),
    (
        lambda: plan_of(step("a"), pivot("b", after="a"), pivot("c", after="b")),
        "saga trip, step c: it is a second pivot beside b; a saga has one point of no return: make one of them a step",
    ),
    (
        lambda: plan_of(step("a"), pivot("b"), retriable("c", after="b")),
        "saga trip, step a: it runs beside the pivot b, so nobody could say whether it is to be undone; put it before "
        "or after the pivot with `after`",
    ),
    (
        lambda: plan_of(step("a"), pivot("b", after="a"), retriable("c", after="a")),
        "saga trip, step c: it runs beside the pivot b, so nobody could say whether it is to be undone; put it before "
        "or after the pivot with `after`",
    ),
    (
        lambda: plan_of(pivot("a"), retriable("b", after="a"), step("c", after="b")),
        "saga trip, step c: it is compensatable but comes after the pivot a, where nothing is undone; put it before "
        "the pivot or make it retriable",
    ),
    (
        lambda: plan_of(retriable("a"), pivot("b", after="a")),
        "saga trip, step a: it is retriable but does not come after a pivot, so it may have to be undone; put it after "
        "the pivot or make it compensatable",
    ),
    (
        lambda: plan_of(step("a"), retriable("b", after="a")),
        "saga trip, step b: it is retriable but does not come after a pivot, so it may have to be undone; put it after "
        "the pivot or make it compensatable",
    ),
    (
        lambda: plan_of(replace(step("a"), action=Budget(60.0, 0))),
        "saga trip, step a: its action needs at least 1 attempt, not 0",
    ),
    (
        lambda: plan_of(replace(step("a"), compensation=Budget(60.0, -1))),
        "saga trip, step a: its compensation needs at least 1 attempt, not -1",
    ),
]


@pytest.mark.parametrize(("build", "message"), REFUSALS, ids=[message[:60] for _, message in REFUSALS])
def test_an_unsound_plan_is_refused_with_the_saga_the_step_and_the_mend(
    build: Callable[[], Plan], message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        build()
    assert str(caught.value) == message
    assert isinstance(caught.value, DefinitionError)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_time_must_be_a_positive_number_of_seconds(seconds: float) -> None:
    with pytest.raises(PlanError, match=r"^saga trip: the deadline must be a positive number of seconds$"):
        plan_of(step("a"), deadline_seconds=seconds)
    with pytest.raises(PlanError) as caught:
        plan_of(replace(step("a"), action=Budget(seconds, 1)))
    message = f"saga trip, step a: the timeout of its action must be a positive number of seconds, not {seconds}"
    assert str(caught.value) == message
    with pytest.raises(PlanError, match=r"^saga trip, step a: the timeout of its compensation must be a positive"):
        plan_of(replace(step("a"), compensation=Budget(seconds, 1)))


@pytest.mark.parametrize("name", ["a", "7", "book-hotel", "book_hotel", "travel.hotel.v2", "a.-", "x" * 128])
def test_a_name_may_have_letters_digits_dashes_and_single_dots(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", ".a", "a.", "a..b", "a b", "a\n", "é", "٣", "a/b", "x" * 129])
def test_nothing_else_is_a_name(name: str) -> None:
    assert not is_name(name)


def test_a_plan_knows_what_comes_after_what() -> None:
    plan = plan_of(
        step("a"), step("b", after="a"), step("c", after="a"), pivot("d", after="bc"), retriable("e", after="ad")
    )
    assert plan.index == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    assert plan.before == ((), (0,), (0,), (1, 2), (0, 3))
    assert plan.behind == tuple(map(frozenset, ({1, 2, 3, 4}, {3, 4}, {3, 4}, {4}, set[int]())))
    assert plan.pivot == 3


def test_a_plan_may_have_no_pivot() -> None:
    assert plan_of(step("a"), step("b")).pivot is None


# The hash.

UNDO = Budget(60.0, 20)

PAYMENT = Plan(
    saga="payment",
    version=2,
    steps=(
        PlannedStep("reserve", "stock", "reserve-goods", StepKind.COMPENSATABLE, (), Budget(60.0, 5), UNDO),
        PlannedStep("charge", "bank", "charge-card", StepKind.PIVOT, ("reserve",), Budget(30.0, 7), UNDO),
        PlannedStep("ship", "stock", "ship-goods", StepKind.RETRIABLE, ("charge",), Budget(60.0, 5), UNDO),
    ),
    deadline_seconds=900.0,
)


def _with(place: int, **changes: object) -> Plan:
    """The payment with one step changed."""
    steps = list(PAYMENT.steps)
    steps[place] = replace(steps[place], **changes)  # type: ignore[arg-type]
    return replace(PAYMENT, steps=tuple(steps))


def test_the_hash_and_the_shape_are_the_same_for_ever() -> None:
    """Runs that are stored are pinned to these: a change here loses them."""
    assert PAYMENT.hash == "6004643988f7ca82a41098faf7f048bdfb300744f3e474f5c90ddd0f2ff7ca06"
    assert PAYMENT.shape == "b29777e7a48d904b4bb58ba312ed11d167c688fd649047cc38dcbc9f36cbe340"


def test_equal_plans_have_the_same_hash() -> None:
    again = _with(1)
    assert again is not PAYMENT
    assert (again.hash, again.shape) == (PAYMENT.hash, PAYMENT.shape)


def test_whole_seconds_have_the_same_hash_as_an_integer_and_as_a_float() -> None:
    integers = replace(_with(1, action=Budget(30, 7)), deadline_seconds=900)
    assert integers == PAYMENT
    assert integers.hash == PAYMENT.hash


@pytest.mark.parametrize(
    "changed",
    [
        replace(PAYMENT, saga="payments"),
        replace(PAYMENT, version=3),
        replace(PAYMENT, steps=PAYMENT.steps[:2]),
        replace(PAYMENT, steps=(*PAYMENT.steps, replace(PAYMENT.steps[2], name="tell"))),
        _with(2, name="send"),
        _with(0, participant="shop"),
        _with(0, handler="reserve"),
        _with(2, after=("reserve", "charge")),
    ],
)
def test_another_step_or_another_order_changes_hash_and_shape(changed: Plan) -> None:
    assert changed.hash != PAYMENT.hash
    assert changed.shape != PAYMENT.shape


def test_another_kind_changes_hash_and_shape() -> None:
    as_step, as_pivot = plan_of(step("a")), plan_of(pivot("a"))
    assert as_step.hash != as_pivot.hash
    assert as_step.shape != as_pivot.shape


@pytest.mark.parametrize(
    "changed",
    [
        replace(PAYMENT, deadline_seconds=None),
        replace(PAYMENT, deadline_seconds=901.0),
        replace(PAYMENT, on_stuck=OnStuck.HALT),
        _with(0, action=Budget(61.0, 5)),
        _with(0, action=Budget(60.0, 6)),
        _with(0, compensation=Budget(61.0, 20)),
        _with(0, compensation=Budget(60.0, 21)),
    ],
)
def test_another_budget_or_deadline_changes_the_hash_and_not_the_shape(changed: Plan) -> None:
    assert changed.hash != PAYMENT.hash
    assert changed.shape == PAYMENT.shape


def test_what_can_be_undone_gives_up_early_what_must_succeed_later_and_an_undo_last() -> None:
    reserve, charge, ship = (PlannedStep("a", "shop", "a", kind) for kind in StepKind)
    assert reserve.budget(Operation.ACTION) == DEFAULT_BUDGET[StepKind.COMPENSATABLE] == Budget(60.0, 5)
    assert DEFAULT_BUDGET[charge.kind] == DEFAULT_BUDGET[ship.kind] == Budget(60.0, 20)
    assert reserve.budget(Operation.COMPENSATION) == Budget(60.0, 50)
