"""One process of the shop, until it is told to stop or dies.

    python -m tests.chaos.shop coordinator | orders | stock | payments

The environment says where its servers are: CHAOS_DATABASE, CHAOS_BROKER, CHAOS_NAMESPACE, CHAOS_GATEWAY.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import Final

from sagaflow import Coordinator, SagaflowError, serve, until_stopped
from sagaflow.adapters.postgres import AsyncpgTransactions, PostgresStore
from sagaflow.adapters.rabbitmq import RabbitTransport
from tests.chaos.shop.saga import shop
from tests.chaos.shop.services import SERVICES

log = logging.getLogger("shop")

COORDINATOR: Final = "coordinator"
LEASE_SECONDS: Final = 2.0
NO_SERVER: Final = 3
"""The exit code of a process that could not begin, since a server was away."""

PR_SET_PDEATHSIG: Final = 1

IMPATIENT: Final = {"command_timeout": 5.0, "server_settings": {"idle_in_transaction_session_timeout": "6s"}}
"""A run is short: what a connection that is half open holds has to be given up in seconds."""


def _transport() -> RabbitTransport:
    return RabbitTransport(
        os.environ["CHAOS_BROKER"],
        namespace=os.environ["CHAOS_NAMESPACE"],
        heartbeat_seconds=2,
        publish_timeout_seconds=5.0,
        check_seconds=1.0,
    )


async def run(role: str) -> None:
    """Run until told to stop."""
    database = os.environ["CHAOS_DATABASE"]
    async with AsyncExitStack() as stack:
        if role == COORDINATOR:
            store = await stack.enter_async_context(PostgresStore.connect(database, **IMPATIENT))
            await stack.enter_async_context(
                Coordinator(
                    [shop],
                    store=store,
                    transport=_transport(),
                    poll_seconds=0.2,
                    lease_seconds=LEASE_SECONDS,
                    ask_seconds=1.0,
                )
            )
        else:
            transactions = await stack.enter_async_context(AsyncpgTransactions.connect(database, **IMPATIENT))
            await stack.enter_async_context(
                serve(SERVICES[role], transport=_transport(), transactions=transactions, grace_seconds=5.0)
            )
        log.info("serves")
        await until_stopped()


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it does not outlive who started it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(run(sys.argv[1]))
    except SagaflowError as error:
        log.warning("cannot serve: %s", error)
        sys.exit(NO_SERVER)
