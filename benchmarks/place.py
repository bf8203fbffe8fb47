"""Where it runs: a PostgreSQL and a RabbitMQ of its own, and in them what one system needs, made afresh for it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final, Self

import asyncpg

from benchmarks.workloads import ACCOUNTS, SERVICES
from tests.servers import postgres_lookup, rabbitmq_lookup
from tests.servers.databases import create_database, drop_database
from tests.servers.handshake import run_apart

_VARIABLE: Final = "SAGAFLOW_BENCHMARK_PLACE"


@dataclass(frozen=True)
class Servers:
    """The URLs of the servers."""

    postgres: str
    broker: str


@dataclass(frozen=True)
class Place:
    """The databases of a coordinator and of each service, and a prefix for names at the broker."""

    broker: str
    namespace: str
    coordinator: str
    services: dict[str, str]

    def as_environment(self) -> dict[str, str]:
        """This place, for `from_environment` in another program."""
        return {_VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        """The place that this program was given."""
        return cls(**json.loads(os.environ[_VARIABLE]))


@contextmanager
def servers() -> Iterator[Servers]:
    """Both servers, found or started as the tests do it; those that were started are ended when left."""
    postgres = postgres_lookup().start()
    try:
        rabbitmq = rabbitmq_lookup().start()
        try:
            yield Servers(postgres.url, rabbitmq.url)
        finally:
            rabbitmq.close()
    finally:
        postgres.close()


@contextmanager
def place(at: Servers) -> Iterator[Place]:
    """Fresh databases, in which each service has its accounts; dropped when left."""
    made = []

    def make() -> str:
        made.append(create_database(at.postgres))
        return made[-1]

    try:
        found = Place(at.broker, f"bench{secrets.token_hex(3)}", make(), {service: make() for service in SERVICES})
        run_apart(_open_accounts(found))
        yield found
    finally:
        for database in made:
            drop_database(at.postgres, database)


async def balances(found: Place) -> dict[str, int]:
    """The sum of all balances of each service."""
    sums = {}
    for service, database in found.services.items():
        connection = await asyncpg.connect(database)
        sums[service] = int(await connection.fetchval("SELECT sum(balance) FROM account"))
        await connection.close()
    return sums


async def _open_accounts(found: Place) -> None:
    await asyncio.gather(*(_open_accounts_of(database) for database in found.services.values()))


async def _open_accounts_of(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE account (id integer PRIMARY KEY, balance bigint NOT NULL)")
    await connection.execute(f"INSERT INTO account SELECT number, 0 FROM generate_series(0, {ACCOUNTS - 1}) AS number")
    await connection.close()
