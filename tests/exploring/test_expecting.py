"""One saga played by hand."""

from __future__ import annotations

import pytest

from payment.orders.checkout import approve_order, authorize_card, capture_card, checkout, place_order, reserve_stock
from payment.orders.messages import CaptureCard, CardAuthorized, PlaceOrder, ReserveStock
from sagaflow import PayloadError, Replies, Saga
from sagaflow.testing import Expected, expect
from tests.exploring.shop import ORDER

AUTHORIZED = CardAuthorized("auth-1")


def test_an_order_is_carried_through() -> None:
    (
        expect(checkout, ORDER)
        .action(place_order)
        .is_asked(PlaceOrder("order-1", "mug", 2, 4200))
        .succeeds()
        .only(authorize_card, reserve_stock)
        .action(authorize_card)
        .succeeds(AUTHORIZED)
        .is_running()
        .action(reserve_stock)
        .is_asked(ReserveStock("order-1", "mug", 2))
        .succeeds()
        .action(capture_card)
        .is_asked(CaptureCard("auth-1"))
        .succeeds()
        .action(approve_order)
        .succeeds()
        .is_completed()
    )


def test_what_was_done_is_undone_when_the_goods_are_gone() -> None:
    (
        until_both_are_asked()
        .action(authorize_card)
        .succeeds(AUTHORIZED)
        .action(reserve_stock)
        .is_rejected("out of stock")
        .is_compensating()
        .only(authorize_card)
        .compensation(authorize_card)
        .succeeds()
        .compensation(place_order)
        .succeeds()
        .is_compensated()
    )


def test_time_is_moved_by_hand() -> None:
    asked = until_both_are_asked().action(reserve_stock).succeeds()
    for _ in range(5):
        asked = asked.is_running().action(authorize_card).gives_no_answer()
    asked.is_compensating().time_passes(0).only(authorize_card, reserve_stock)


def test_a_failure_is_tried_again_after_its_delay() -> None:
    waiting = until_both_are_asked().action(authorize_card).fails("the line is dead", retry_after_seconds=3)
    waiting.only(reserve_stock).time_passes(2.9).only(reserve_stock).time_passes(0.2).only(
        authorize_card, reserve_stock
    )


def test_who_gives_up_has_the_step_undone_too() -> None:
    (
        until_both_are_asked()
        .action(reserve_stock)
        .succeeds()
        .action(authorize_card)
        .fails(retry_after_seconds=None)
        .only(authorize_card, reserve_stock)
    )


def test_a_saga_can_be_cancelled_until_its_pivot() -> None:
    until_both_are_asked().is_cancelled().is_compensating()
    beyond = until_both_are_asked().action(authorize_card).succeeds(AUTHORIZED).action(reserve_stock).succeeds()
    with pytest.raises(AssertionError, match="it cannot be cancelled: the pivot is reached"):
        beyond.is_cancelled()


def test_what_is_not_so_is_said() -> None:
    case = expect(checkout, ORDER)
    with pytest.raises(
        AssertionError, match=r"the action of inventory.reserve_stock is not under way: that is the act"
    ):
        case.action(reserve_stock)
    with pytest.raises(AssertionError, match="the saga is RUNNING, not COMPLETED; under way is the action of orders"):
        case.is_completed()
    with pytest.raises(AssertionError, match=r'was asked {"order_id":"order-1".*, not {"order_id":"order-2"'):
        case.action(place_order).is_asked(PlaceOrder("order-2", "mug", 1, 1))
    with pytest.raises(AssertionError, match=r"under way is orders.place_order, not payments.authorize_card"):
        case.only(authorize_card)


def test_a_reply_of_another_type_is_refused() -> None:
    with pytest.raises(PayloadError, match="CardAuthorized"):
        until_both_are_asked().action(authorize_card).succeeds("auth-1")


def test_a_function_that_raises_has_the_saga_stuck_and_says_why() -> None:
    trip = Saga("trip", str)

    @trip.step("hotels.book_room")
    def book_room(trip: str, replies: Replies) -> str:
        raise LookupError("no such city")

    case = expect(trip, "Atlantis").is_stuck()
    with pytest.raises(AssertionError, match="LookupError: no such city"):
        case.action(book_room)


def until_both_are_asked() -> Expected[object]:
    """A checkout whose order is placed."""
    return expect(checkout, ORDER).action(place_order).succeeds()  # type: ignore[return-value]
