"""What inventory can do for a saga, and how it is undone. Each function runs inside a transaction of this
service's own database, and what it writes there counts exactly once, however often the message comes."""

from __future__ import annotations

from typing import Any, Protocol

from payment.inventory.messages import ReserveStock, StockReserved
from sagaflow import Participant, StepContext, StepRejected


class Database(Protocol):
    """What is used of a database connection here: asyncpg and the embedded SQLite both have it."""

    async def execute(self, sql: str, /, *values: str | int) -> object:
        """Execute a statement."""

    async def fetchval(self, sql: str, /, *values: str | int) -> Any:
        """The first value of the first row; None if there is no row."""


inventory: Participant[Database] = Participant("inventory")


@inventory.step("reserve_stock")
async def reserve_stock(order: ReserveStock, ctx: StepContext[Database]) -> StockReserved:
    """Hold the goods, if there are enough. A business no is raised, and undoes what was done before it."""
    left = await ctx.tx.fetchval(
        "UPDATE stock SET available = available - $1, held = held + $1"
        " WHERE sku = $2 AND available >= $1 RETURNING available",
        order.quantity,
        order.sku,
    )
    if left is None:
        raise StepRejected(f"{order.sku} is out of stock")
    reservation = f"hold-{order.order_id}"
    await ctx.tx.execute(
        "INSERT INTO reservations (reservation, order_id, sku, quantity, status) VALUES ($1, $2, $3, $4, 'HELD')",
        reservation,
        order.order_id,
        order.sku,
        order.quantity,
    )
    return StockReserved(reservation)


@reserve_stock.compensation
async def release_stock(order: ReserveStock, reserved: StockReserved, ctx: StepContext[Database]) -> None:
    """Undo it. It is called only if the action was committed, and is given what it returned."""
    await ctx.tx.execute("UPDATE reservations SET status = 'RELEASED' WHERE reservation = $1", reserved.reservation)
    await ctx.tx.execute(
        "UPDATE stock SET available = available + $1, held = held - $1 WHERE sku = $2", order.quantity, order.sku
    )
