"""The saga.

orders.place ─┬─ payments.authorize (external) ────────┬─ payments.capture ══ orders.approve, stock.ship
              └─ stock.reserve ── stock.label ─────────┘   (external, pivot)
"""

from __future__ import annotations

from sagaflow import Replies, Saga
from tests.chaos.shop.messages import Held, Order, Take, Task

FOR_EVER = 1_000
"""Attempts of what must succeed in the end, however long a server is away."""
ATTEMPTS = 6
TIMEOUT_SECONDS = 4.0

shop = Saga("order", Order)


def _task(order: Order, step: str) -> Task:
    return Task(order.key, order.moods.get(step, ""), order.moods.get(f"undo {step}", ""))


@shop.step(
    "orders.place",
    attempts=ATTEMPTS,
    timeout_seconds=TIMEOUT_SECONDS,
    compensation_attempts=FOR_EVER,
    compensation_timeout_seconds=TIMEOUT_SECONDS,
)
def place(order: Order, replies: Replies) -> Task:
    return _task(order, "orders.place")


@shop.step(
    "payments.authorize",
    reply=Held,
    after=place,
    attempts=ATTEMPTS,
    timeout_seconds=TIMEOUT_SECONDS,
    compensation_attempts=FOR_EVER,
    compensation_timeout_seconds=TIMEOUT_SECONDS,
)
def authorize(order: Order, replies: Replies) -> Task:
    return _task(order, "payments.authorize")


@shop.step(
    "stock.reserve",
    after=place,
    attempts=ATTEMPTS,
    timeout_seconds=TIMEOUT_SECONDS,
    compensation_attempts=FOR_EVER,
    compensation_timeout_seconds=TIMEOUT_SECONDS,
)
def reserve(order: Order, replies: Replies) -> Task:
    return _task(order, "stock.reserve")


@shop.step(
    "stock.label",
    after=reserve,
    attempts=ATTEMPTS,
    timeout_seconds=TIMEOUT_SECONDS,
    compensation_attempts=FOR_EVER,
    compensation_timeout_seconds=TIMEOUT_SECONDS,
)
def label(order: Order, replies: Replies) -> Task:
    return _task(order, "stock.label")


@shop.pivot("payments.capture", after=[authorize, label], attempts=FOR_EVER, timeout_seconds=TIMEOUT_SECONDS)
def capture(order: Order, replies: Replies) -> Take:
    return Take(_task(order, "payments.capture"), replies[authorize].key)


@shop.step("orders.approve", after=capture, attempts=FOR_EVER, timeout_seconds=TIMEOUT_SECONDS)
def approve(order: Order, replies: Replies) -> Task:
    return _task(order, "orders.approve")


@shop.step("stock.ship", after=capture, attempts=FOR_EVER, timeout_seconds=TIMEOUT_SECONDS)
def ship(order: Order, replies: Replies) -> Task:
    return _task(order, "stock.ship")
