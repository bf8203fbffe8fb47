"""The saga: how an order is carried through three services, top to bottom.

    place_order ──┬── authorize_card ──┬── capture_card ══ approve_order
                  └── reserve_stock  ──┘        │
                                                └ the pivot: until here everything can be undone,
                                                  from here on everything is finished

If the card is declined or the goods are gone, whatever was done is undone: the hold on the goods is released,
the money is given back, the order is cancelled. Each step here is a pure function that says what to ask for;
how it is done, and how undone, is the business of the service that is asked.
"""

from __future__ import annotations

from payment.orders.messages import (
    ApproveOrder,
    AuthorizeCard,
    CaptureCard,
    CardAuthorized,
    Checkout,
    PlaceOrder,
    ReserveStock,
)
from sagaflow import Replies, Saga

checkout = Saga("checkout", Checkout)


@checkout.step("orders.place_order")
def place_order(order: Checkout, replies: Replies) -> PlaceOrder:
    """Record the order as PENDING: everybody else can see that it is not decided yet."""
    return PlaceOrder(order.order_id, order.sku, order.quantity, order.cents)


@checkout.step("payments.authorize_card", reply=CardAuthorized, after=place_order, compensation_attempts=3)
def authorize_card(order: Checkout, replies: Replies) -> AuthorizeCard:
    """Have the bank set the money aside. If it cannot be given back in three attempts, a person is called."""
    return AuthorizeCard(order.order_id, order.card, order.cents)


@checkout.step("inventory.reserve_stock", after=place_order)  # beside authorize_card, not after it
def reserve_stock(order: Checkout, replies: Replies) -> ReserveStock:
    """Hold the goods."""
    return ReserveStock(order.order_id, order.sku, order.quantity)


@checkout.pivot("payments.capture_card", after=[authorize_card, reserve_stock])
def capture_card(order: Checkout, replies: Replies) -> CaptureCard:
    """Take the money. From here on the saga only goes forward."""
    return CaptureCard(replies[authorize_card].authorization)


@checkout.step("orders.approve_order")
def approve_order(order: Checkout, replies: Replies) -> ApproveOrder:
    """Tell the world: the order is paid for, and its goods are held."""
    return ApproveOrder(order.order_id)
