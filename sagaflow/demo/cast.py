"""The orders of the demo: what is special about each, and how its saga must end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

from payment.orders.messages import Checkout
from sagaflow.core.state import SagaStatus

IN_STOCK: Final = "teapot"
SOLD_OUT: Final = "moon rock"

QUANTITY_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Part:
    """What can be special about an order. The mood of the bank is written on the card (gateway.py)."""

    title: str
    card: str
    sku: str
    ends: SagaStatus
    gets_stuck: bool = False


SMOOTH: Final = Part("all goes well", "good-4242", IN_STOCK, SagaStatus.COMPLETED)
FLAKY: Final = Part("gateway times out", "flaky-1881", IN_STOCK, SagaStatus.COMPLETED)
DECLINED: Final = Part("card is declined", "declined-0002", IN_STOCK, SagaStatus.COMPENSATED)
GONE: Final = Part("goods are sold out", "good-5556", SOLD_OUT, SagaStatus.COMPENSATED)
BANK_DOWN: Final = Part("refund fails", "norefunds-0341", SOLD_OUT, SagaStatus.COMPENSATED, gets_stuck=True)

OPENING: Final = (SMOOTH, DECLINED, BANK_DOWN, FLAKY, GONE, SMOOTH, SMOOTH, DECLINED, SMOOTH, FLAKY, SMOOTH, SMOOTH)
"""The first orders. There is one whose refund fails; after these it goes on with others, over and over."""

CROWD: Final = (SMOOTH, FLAKY, SMOOTH, DECLINED, SMOOTH, GONE)


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order of the demo."""

    part: Part
    input: Checkout

    @property
    def key(self) -> str:
        """The key of its saga."""
        return self.input.order_id


SHOW_MAX: Final = 50


def is_show(orders: Sequence[PlannedOrder]) -> bool:
    """Whether there are few enough orders to be played at a pace that people can watch."""
    return len(orders) <= SHOW_MAX


def plan_orders(count: int) -> Sequence[PlannedOrder]:
    """So many orders, the same ones each time."""
    parts = [*OPENING, *islice(cycle(CROWD), max(0, count - len(OPENING)))][:count]
    return [PlannedOrder(part, _order(number, part)) for number, part in enumerate(parts, start=1)]


def _order(number: int, part: Part) -> Checkout:
    quantity = 1 + number % QUANTITY_MAX
    return Checkout(
        order_id=f"order-{number:04}", sku=part.sku, quantity=quantity, card=part.card, cents=1990 * quantity
    )
