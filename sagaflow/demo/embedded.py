"""The stage on one machine: SQLite files in a directory, and one process that hosts all services."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Self

from sagaflow.adapters.sqlite import SqliteStore
from sagaflow.demo.audit import Books, Query, Row, read_books
from sagaflow.demo.cast import PlannedOrder
from sagaflow.demo.children import Children
from sagaflow.demo.stage import SERVICES, deliveries, gateway_environment, schema_of
from sagaflow.errors import ConflictError

HOST = "host"


class EmbeddedStage:
    """A `Stage` in a directory, which stays."""

    title = "sagaflow demo: three services in one process, over SQLite files"
    killed = "the process that hosts everything"

    def __init__(self, directory: Path, orders: Sequence[PlannedOrder]) -> None:
        self._directory = directory
        self._orders = orders
        self._exit = AsyncExitStack()
        self.gateway = directory / "card_gateway.sqlite"
        self.database = f"sqlite:///{directory / 'orders.sqlite'}"
        self.environment: Mapping[str, str] = {"SAGAFLOW_DATABASE": self.database}
        self.children = Children(directory)
        self.store = SqliteStore(directory / "orders.sqlite")

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._make_databases)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.store)
            await stack.enter_async_context(self.children)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._exit.aclose()

    async def raise_curtain(self) -> None:
        """Start the one process."""
        arguments = ["-m", "sagaflow.demo.host", str(self._directory), str(len(self._orders))]
        await self.children.start(HOST, *arguments, environment=gateway_environment(self.gateway, self._orders))

    async def start_orders(self) -> None:
        """The process does it."""

    async def crash(self) -> None:
        """Kill it."""
        await self.children.kill(HOST)

    async def recover(self) -> None:
        """Start it again; it finds everything in its files."""
        await self.raise_curtain()

    async def read_books(self) -> Books:
        """What the files of the services and of the gateway hold."""
        databases = {service: query(self._file(service)) for service in SERVICES}
        return await read_books(**databases, gateway=query(self.gateway))

    def _file(self, service: str) -> Path:
        return self._directory / f"{service}.sqlite"

    def _make_databases(self) -> None:
        for service in SERVICES:
            if self._file(service).exists():
                raise ConflictError(f"{self._directory} holds a demo already; give another --directory")
            with closing(sqlite3.connect(self._file(service))) as database:
                database.executescript(schema_of(service))
        with closing(sqlite3.connect(self._file("inventory"))) as database, database:
            rows = [(sku, count, count) for sku, count in deliveries(self._orders).items()]
            database.executemany("INSERT INTO stock VALUES (?, ?, ?, 0)", rows)


def query(file: Path) -> Query:
    """Asks a SQLite file."""

    def ask(sql: str) -> Sequence[Row]:
        with closing(sqlite3.connect(file)) as database:
            return database.execute(sql).fetchall()

    return lambda sql: asyncio.to_thread(ask, sql)
