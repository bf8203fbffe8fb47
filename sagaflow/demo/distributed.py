"""The stage on real servers: a database for each service, a namespace at the broker, four processes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import asyncpg

from payment.orders.checkout import checkout
from sagaflow.adapters.postgres import Line, PostgresStore, connect, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport, delete_namespace
from sagaflow.definitions.ports import SagaStore, addresses_of_coordinator, addresses_of_participant
from sagaflow.demo.audit import Books, Query, Row, read_books
from sagaflow.demo.cast import PlannedOrder, is_show
from sagaflow.demo.children import Children
from sagaflow.demo.embedded import query as ask_file
from sagaflow.demo.stage import (
    BETWEEN_ORDERS_SECONDS,
    LEASE_SECONDS,
    POLL_SECONDS,
    SERVICES,
    deliveries,
    gateway_environment,
    schema_of,
)
from sagaflow.errors import Unavailable
from sagaflow.runners.client import SagaClient

COORDINATOR: Final = "coordinator"
STARTS_AT_ONCE: Final = 50

QUEUES: Final = (
    *(address for service in SERVICES for address in addresses_of_participant(service)),
    *addresses_of_coordinator(checkout.name),
)
"""What the processes of the demo make at the broker."""


class DistributedStage:
    """A `Stage` on servers that are somebody's: what it makes there is its own, and goes when it is left."""

    title = "sagaflow demo: four processes, over PostgreSQL and RabbitMQ"
    killed = "the coordinator"

    def __init__(self, directory: Path, orders: Sequence[PlannedOrder], *, postgres: str, rabbitmq: str) -> None:
        self._orders = orders
        self._postgres = postgres
        self._rabbitmq = rabbitmq
        self._name = f"sagaflow_demo_{secrets.token_hex(4)}"
        self._client = SagaClient(RabbitTransport(rabbitmq, namespace=self._name), coordinator=checkout.name)
        self._exit = AsyncExitStack()
        self.gateway = directory / "card_gateway.sqlite"
        self.children = Children(directory)

    @property
    def database(self) -> str:
        """Where the sagas are kept, fit to be shown."""
        return without_password(self._url("orders"))

    @property
    def environment(self) -> Mapping[str, str]:
        """The same for a process: what is in the environment is not shown by `ps`, as arguments are."""
        return {"SAGAFLOW_DATABASE": self._url("orders")}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._namespace())
            await stack.enter_async_context(self._databases())
            self._store = await stack.enter_async_context(PostgresStore.connect(self._url("orders")))
            await stack.enter_async_context(self._client)
            await stack.enter_async_context(self.children)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._exit.aclose()

    @property
    def store(self) -> SagaStore:
        """The coordinator's; the director reads it directly, where others would ask."""
        return self._store

    async def raise_curtain(self) -> None:
        """Start the four processes."""
        await self._start_coordinator()
        for service in SERVICES:
            environment = {
                "DATABASE_URL": self._url(service),
                "BROKER_URL": self._rabbitmq,
                "BROKER_NAMESPACE": self._name,
                **gateway_environment(self.gateway, self._orders),
            }
            await self.children.start(service, "-m", f"payment.{service}", environment=environment)

    async def start_orders(self) -> None:
        """Ask the coordinator over the broker, as a service without its database does."""
        room = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(order: PlannedOrder) -> None:
            async with room:
                await self._client.start(checkout.name, order.input, key=order.key)

        first, *others = self._orders
        await start(first)  # which takes until the processes are up; the others then come one by one
        starting = []
        for order in others:
            starting.append(asyncio.ensure_future(start(order)))
            await asyncio.sleep(BETWEEN_ORDERS_SECONDS if is_show(self._orders) else 0)
        await asyncio.gather(*starting)

    async def crash(self) -> None:
        """Kill the coordinator."""
        await self.children.kill(COORDINATOR)

    async def recover(self) -> None:
        """Start the coordinator again; the services have never noticed."""
        await self._start_coordinator()

    async def read_books(self) -> Books:
        """What the databases of the services and the file of the gateway hold."""
        databases = {service: ask_database(self._url(service)) for service in SERVICES}
        return await read_books(**databases, gateway=ask_file(self.gateway))

    async def _start_coordinator(self) -> None:
        arguments = ["coordinator", "payment.orders.checkout:checkout", "--namespace", self._name]
        tuning = ["--poll-seconds", str(POLL_SECONDS), "--lease-seconds", str(LEASE_SECONDS)]
        environment = {**self.environment, "SAGAFLOW_BROKER": self._rabbitmq}
        await self.children.start(COORDINATOR, "-m", "sagaflow.cli", *arguments, *tuning, environment=environment)

    def _url(self, service: str) -> str:
        return at_database(self._postgres, f"{self._name}_{service}")

    @asynccontextmanager
    async def _namespace(self) -> AsyncIterator[None]:
        """The namespace at the broker, which the processes fill."""
        async with RabbitTransport(self._rabbitmq, namespace=self._name):
            pass  # so that a wrong URL is told before anything is made
        try:
            yield
        finally:
            await delete_namespace(self._rabbitmq, self._name, QUEUES)

    @asynccontextmanager
    async def _databases(self) -> AsyncIterator[None]:
        """The three databases, with their tables."""
        try:
            for service in SERVICES:
                await self._on_server(f"CREATE DATABASE {self._name}_{service}")
                await self._make_tables(service)
            yield
        finally:
            for service in SERVICES:
                await self._on_server(f"DROP DATABASE IF EXISTS {self._name}_{service} WITH (FORCE)")

    async def _on_server(self, statement: str) -> None:
        async with connect(self._postgres) as connection:
            try:
                await connection.execute(statement)
            except asyncpg.PostgresError as error:
                raise Unavailable(f"the demo makes databases of its own, and cannot: {error}") from error

    async def _make_tables(self, service: str) -> None:
        async with connect(self._url(service)) as connection:
            await connection.execute(schema_of(service))
            await upgrade(connection, Line.PARTICIPANT)
            if service == "orders":
                await upgrade(connection, Line.COORDINATOR)
            if service == "inventory":
                rows = [(sku, count) for sku, count in deliveries(self._orders).items()]
                await connection.executemany("INSERT INTO stock VALUES ($1, $2, $2, 0)", rows)


def ask_database(url: str) -> Query:
    """Asks a database of PostgreSQL."""

    async def ask(sql: str) -> Sequence[Row]:
        async with connect(url) as connection:
            return [tuple(row) for row in await connection.fetch(sql)]

    return ask


def at_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{name}{query}"


def without_password(url: str) -> str:
    """The URL as it may be shown: without its options too, for a password can be one of them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{parts.scheme}://{name}{colon and ':***'}{at}{host}{parts.path}"
