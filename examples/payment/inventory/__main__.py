"""Inventory as a process of its own. This is all that a service adds to itself to take part in sagas.

    DATABASE_URL=postgresql://... BROKER_URL=amqp://... python -m payment.inventory

Its database has its own tables (schema.sql) beside those of sagaflow (`sagaflow db upgrade participant`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from payment.inventory.steps import inventory
from sagaflow import SagaflowError, serve, until_stopped
from sagaflow.adapters.opentelemetry import observer_from_environment
from sagaflow.adapters.postgres import AsyncpgTransactions
from sagaflow.adapters.rabbitmq import RabbitTransport


async def main() -> None:
    """Serve until told to stop, then finish what was begun."""
    transport = RabbitTransport(os.environ["BROKER_URL"], namespace=os.environ.get("BROKER_NAMESPACE", "sagaflow"))
    observer = observer_from_environment("inventory")  # tells nobody, unless OTEL_EXPORTER_OTLP_ENDPOINT is set
    async with (
        AsyncpgTransactions.connect(os.environ["DATABASE_URL"]) as transactions,
        serve(inventory, transport=transport, transactions=transactions, observer=observer),
    ):
        await until_stopped()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        asyncio.run(main())
    except SagaflowError as error:
        sys.exit(f"inventory: {error}")
