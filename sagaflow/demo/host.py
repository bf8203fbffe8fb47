"""One process that hosts everything: the coordinator and the three services, over SQLite files.

This is all that it takes to run sagas without a server. It may be killed at any moment; started again, it goes
on where it was.

    python -m sagaflow.demo.host DIRECTORY ORDERS
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from payment.inventory.steps import inventory
from payment.orders.checkout import checkout
from payment.orders.steps import orders
from payment.payments.steps import payments
from sagaflow import Coordinator, serve, until_stopped
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.demo.cast import PlannedOrder, is_show, plan_orders
from sagaflow.demo.stage import BETWEEN_ORDERS_SECONDS, LEASE_SECONDS, POLL_SECONDS


async def host(directory: Path, planned: Sequence[PlannedOrder]) -> None:
    """Run until told to stop."""
    transport = InProcessTransport()
    async with (
        SqliteTransactions(directory / "orders.sqlite") as orders_database,
        SqliteTransactions(directory / "payments.sqlite") as payments_database,
        SqliteTransactions(directory / "inventory.sqlite") as inventory_database,
        SqliteStore(directory / "orders.sqlite") as store,
        serve(orders, transport=transport, transactions=orders_database),
        serve(payments, transport=transport, transactions=payments_database),
        serve(inventory, transport=transport, transactions=inventory_database),
        Coordinator(
            [checkout], store=store, transport=transport, poll_seconds=POLL_SECONDS, lease_seconds=LEASE_SECONDS
        ) as sagas,
    ):
        await start(sagas, planned)
        await until_stopped()


async def start(sagas: Coordinator, planned: Sequence[PlannedOrder]) -> None:
    """Start a saga for each order. Those that a process before this one has started are not started twice."""
    if not is_show(planned):
        await sagas.start_many(checkout, {order.key: order.input for order in planned})
        return
    for order in planned:
        await sagas.start(checkout, order.input, key=order.key)
        await asyncio.sleep(BETWEEN_ORDERS_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(host(Path(sys.argv[1]), plan_orders(int(sys.argv[2]))))
