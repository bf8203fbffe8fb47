"""One process of the shop, until it is told to stop or dies.

    python -m tests.chaos.shop coordinator | till | client | orders | stock | payments

The environment says where its servers are: CHAOS_DATABASE, CHAOS_BROKER, CHAOS_NAMESPACE, CHAOS_GATEWAY; and of a
client and a till who they are and what they order: CHAOS_MEMBER, CHAOS_LIFE, CHAOS_SEED, CHAOS_NOTEBOOK.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg

from sagaflow import Coordinator, SagaClient, SagaflowError, serve
from sagaflow.adapters.postgres import AsyncpgTransactions, PostgresStore
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.runners.signals import told_to_stop
from tests.chaos.notebook import Notebook
from tests.chaos.shop.client import Client
from tests.chaos.shop.saga import shop
from tests.chaos.shop.services import SERVICES
from tests.chaos.shop.till import SELLERS, Till, be_impatient

log = logging.getLogger("shop")

COORDINATOR: Final = "coordinator"
TILL: Final = "till"
CLIENT: Final = "client"
CLIENTS: Final = (TILL, CLIENT)
COORDINATOR_NAME: Final = "order"
"""That of its only saga."""
SERVES: Final = "serves"
"""What a process logs when it has begun, and heeds signals."""

LEASE_SECONDS: Final = 2.0
NO_SERVER: Final = 3
"""The exit code of a process that could not begin, since a server was away."""

PR_SET_PDEATHSIG: Final = 1

COMMAND_SECONDS: Final = 5.0
IMPATIENT: Final[dict[str, Any]] = {
    "command_timeout": COMMAND_SECONDS,
    "server_settings": {"idle_in_transaction_session_timeout": "6s"},
}
"""A run is short: what a connection that is half open holds has to be given up in seconds."""


def _transport() -> RabbitTransport:
    return RabbitTransport(
        os.environ["CHAOS_BROKER"],
        namespace=os.environ["CHAOS_NAMESPACE"],
        heartbeat_seconds=2,
        publish_timeout_seconds=5.0,
        check_seconds=1.0,
    )


@asynccontextmanager
async def _coordinator(database: str) -> AsyncIterator[Coordinator]:
    async with (
        PostgresStore.connect(database, **IMPATIENT) as store,
        Coordinator(
            [shop],
            store=store,
            transport=_transport(),
            poll_seconds=0.2,
            lease_seconds=LEASE_SECONDS,
            ask_seconds=1.0,
        ) as coordinator,
    ):
        yield coordinator


async def run(role: str) -> None:
    """Run until told to stop."""
    with told_to_stop() as told:
        async with AsyncExitStack() as stack:
            work = await _begin(role, os.environ["CHAOS_DATABASE"], stack)
            log.info(SERVES)
            ends: list[asyncio.Future[Any]] = [told, *work]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                if task.done():
                    await task
                task.cancel()


async def _begin(role: str, database: str, stack: AsyncExitStack) -> list[asyncio.Task[None]]:
    """Begin to serve; returns what this process does of its own accord."""
    if role in SERVICES:
        transactions = await stack.enter_async_context(AsyncpgTransactions.connect(database, **IMPATIENT))
        await stack.enter_async_context(
            serve(SERVICES[role], transport=_transport(), transactions=transactions, grace_seconds=5.0)
        )
        return []
    if role == COORDINATOR:
        await stack.enter_async_context(_coordinator(database))
        return []
    notebook, name = Notebook(Path(os.environ["CHAOS_NOTEBOOK"])), os.environ["CHAOS_MEMBER"]
    life, seed = int(os.environ["CHAOS_LIFE"]), int(os.environ["CHAOS_SEED"])
    write, unsettled = partial(notebook.write, name), notebook.unsettled(name)
    if role == TILL:
        coordinator = await stack.enter_async_context(_coordinator(database))
        pool = asyncpg.create_pool(
            database, min_size=0, max_size=SELLERS + len(unsettled), command_timeout=COMMAND_SECONDS, setup=be_impatient
        )
        await pool
        stack.callback(pool.terminate)
        till = Till(coordinator, pool, name=name, life=life, seed=seed, write=write)
        return [asyncio.create_task(till.sell(*unsettled), name="till")]
    client = await stack.enter_async_context(SagaClient(_transport(), coordinator=COORDINATOR_NAME))
    orders = Client(client, name=name, life=life, seed=seed, write=write)
    return [asyncio.create_task(orders.order(*unsettled), name="client")]


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it does not outlive who started it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(run(sys.argv[1]))
    except SagaflowError as error:
        log.warning("cannot serve: %s", error)
        sys.exit(NO_SERVER)
