"""What orders can do for a saga, and how it is undone. Each function runs inside a transaction of this
service's own database, and what it writes there counts exactly once, however often the message comes."""

from __future__ import annotations

from typing import Protocol

from payment.orders.messages import ApproveOrder, PlaceOrder
from sagaflow import Participant, StepContext


class Database(Protocol):
    """What is used of a database connection here: asyncpg and the embedded SQLite both have it."""

    async def execute(self, sql: str, /, *values: str | int) -> object:
        """Execute a statement."""


orders: Participant[Database] = Participant("orders")


@orders.step("place_order")
async def place_order(order: PlaceOrder, ctx: StepContext[Database]) -> None:
    """Record the order. PENDING is the semantic lock: whoever reads it knows that a saga is at work on it."""
    await ctx.tx.execute(
        "INSERT INTO orders (order_id, sku, quantity, cents, status) VALUES ($1, $2, $3, $4, 'PENDING')",
        order.order_id,
        order.sku,
        order.quantity,
        order.cents,
    )


@place_order.compensation
async def cancel_order(order: PlaceOrder, ctx: StepContext[Database]) -> None:
    """Undo it. The order stays in the books, as CANCELLED."""
    await ctx.tx.execute("UPDATE orders SET status = 'CANCELLED' WHERE order_id = $1", order.order_id)


@orders.step("approve_order")
async def approve_order(order: ApproveOrder, ctx: StepContext[Database]) -> None:
    """The order is paid for. This comes after the pivot, so there is nothing to undo it with."""
    await ctx.tx.execute("UPDATE orders SET status = 'APPROVED' WHERE order_id = $1", order.order_id)
