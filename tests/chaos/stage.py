"""What the shop stands on: its databases and its namespace, on servers that are somebody's; and its crew."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import aio_pika
import asyncpg

from sagaflow import SagaClient
from sagaflow.adapters.postgres import Line, connect, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from tests.chaos.crew import Crew
from tests.chaos.customers import Customers
from tests.chaos.history import History, read_history
from tests.chaos.notebook import Notebook
from tests.chaos.scripts import moods_of
from tests.chaos.shop.__main__ import CLIENTS, COORDINATOR, COORDINATOR_NAME
from tests.chaos.shop.gateway import Gateway
from tests.chaos.shop.services import SCHEMA, SERVICES
from tests.chaos.shop.till import SCHEMA as TILL_SCHEMA
from tests.servers.databases import create_database, drop_database

LOOK_SECONDS: Final = 0.2

OPEN: Final = """
SELECT saga.id::text || ' ' || saga.status || ' ' || agenda.due_at::text || ' ' || saga.state::text
FROM sagaflow.agenda JOIN sagaflow.saga ON saga.id = agenda.saga_id
WHERE saga.status <> 'STUCK' OR agenda.due_at < 'infinity'
LIMIT 5
"""
"""Sagas that are on their way, or have something left to do although they are stuck."""


class NeverQuiet(Exception):
    """The sagas have not come to an end, though nothing disturbed them any more."""


class Stage:
    """Databases, a namespace and a crew. Leaving it leaves nothing behind but what a broker of others keeps.

    `postgres` has the URL of a server for the coordinator and for each service; `through` changes a URL into the one
    that the processes are given, so that a proxy can stand before the server. With `least_rights` processes log in with
    roles that have the rights of docs/operations.md and no others, on servers that are ours alone.
    """

    def __init__(
        self,
        directory: Path,
        *,
        postgres: Mapping[str, str],
        rabbitmq: str,
        seed: int,
        through: Callable[[str], str] = lambda url: url,
        tidy: bool = True,
        least_rights: bool = False,
    ) -> None:
        self.crew = Crew(directory)
        self.namespace = f"chaos{secrets.token_hex(3)}"
        self.gateway = directory / "gateway.sqlite"
        self.notebook = Notebook(directory / "notebook.sqlite")
        self._seed = seed
        self._directory = directory
        self.databases: dict[str, str] = {}
        self._postgres = postgres
        self._rabbitmq = rabbitmq
        self._through = through
        self._tidy = tidy
        self._least_rights = least_rights
        self.logins: dict[str, str] = {}
        """The roles of the databases that processes log in with, if they are not the servers' own."""
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            Gateway(self.gateway).open_books()
            self.notebook.open()
            for role, server in self._postgres.items():
                url = self.databases[role] = await asyncio.to_thread(create_database, server)
                if self._tidy:
                    stack.push_async_callback(asyncio.to_thread, drop_database, server, url)
                await _make_tables(role, url)
                if self._least_rights:
                    self.logins[role] = await _make_login(role, url, self.namespace)
            await stack.enter_async_context(self.crew)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._exit.aclose()

    def add(self, role: str, count: int) -> None:
        """Have so many processes of a role more."""
        first = len(self.crew.names(role)) + 1
        for number in range(first, first + count):
            self.crew.add(f"{role}-{number}", role, self._environment(role))

    def client(self) -> SagaClient:
        """A customer's way to the coordinators."""
        transport = RabbitTransport(self._through(self._rabbitmq), namespace=self.namespace, heartbeat_seconds=2)
        return SagaClient(transport, coordinator=COORDINATOR_NAME)

    @property
    def queues(self) -> list[str]:
        """The queues of the shop, but for those of answers."""
        of_services = [f"{kind}.{name}" for kind in ("commands", "compensations", "inquiries") for name in SERVICES]
        of_coordinators = [f"{kind}.{COORDINATOR_NAME}" for kind in ("replies", "requests")]
        return [f"{self.namespace}.{queue}" for queue in (*of_services, *of_coordinators)]

    async def until_quiet(self, seconds: float) -> None:
        """Wait until every saga has ended, or is stuck and has nothing left to do, and no message waits.

        Raises:
            NeverQuiet: it takes longer than that.
        """
        give_up_at = time.monotonic() + seconds
        connection = await asyncpg.connect(self.databases[COORDINATOR])
        try:
            while True:
                left = [row[0] for row in await connection.fetch(OPEN)] or await self._waiting()
                if not left:
                    return
                if time.monotonic() > give_up_at:
                    raise NeverQuiet(f"after {seconds:.0f} s without faults there are still: " + "; ".join(left))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await connection.close()

    async def history(self, customers: Customers) -> History:
        """What the databases hold, and what customers and clients were told."""
        return await read_history(
            self.databases[COORDINATOR],
            [self.databases[name] for name in SERVICES],
            self.gateway,
            notes=[*customers.notes, *self.notebook.read()],
            moods=lambda key: customers.moods.get(key, moods_of(self._seed, key)),
            promised=customers.promised,
        )

    async def put_aside(self) -> list[str]:
        """Why messages were put aside, anywhere."""
        found = []
        for role, url in self.databases.items():
            schema = "sagaflow" if role == COORDINATOR else "sagaflow_participant"
            async with connect(url) as connection:
                rows = await connection.fetch(f"SELECT source, reason FROM {schema}.put_aside")
            found += [f"{role}: {row['source']}: {row['reason']}" for row in rows]
        return found

    async def _waiting(self) -> list[str]:
        connection = await aio_pika.connect(self._through(self._rabbitmq))
        try:
            found = []
            for name in self.queues:
                channel = await connection.channel()
                queue = await channel.declare_queue(name, passive=True)
                if queue.declaration_result.message_count:
                    found.append(f"{queue.declaration_result.message_count} messages in {name}")
                await channel.close()
            return found
        finally:
            await connection.close()

    def _environment(self, role: str) -> dict[str, str]:
        home = COORDINATOR if role in CLIENTS else role
        url = self.databases[home]
        if home in self.logins:
            url = _as_user(url, self.logins[home])
        return {
            "CHAOS_DATABASE": self._through(url),
            "CHAOS_BROKER": self._through(self._rabbitmq),
            "CHAOS_NAMESPACE": self.namespace,
            "CHAOS_GATEWAY": str(self.gateway),
            "CHAOS_NOTEBOOK": str(self._directory / "notebook.sqlite"),
            "CHAOS_SEED": str(self._seed),
            "PYTHONUNBUFFERED": "1",
        }


async def _make_tables(role: str, url: str) -> None:
    async with connect(url) as connection:
        if role == COORDINATOR:
            await upgrade(connection, Line.COORDINATOR)
            await connection.execute(TILL_SCHEMA)
        else:
            await upgrade(connection, Line.PARTICIPANT)
            await connection.execute(SCHEMA)


RIGHTS: Final = """
GRANT USAGE ON SCHEMA {schema} TO {login};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {login};
"""
"""What docs/operations.md says that a process needs."""
OWN_RIGHTS: Final = {COORDINATOR: "GRANT USAGE ON SCHEMA till TO {login}; GRANT INSERT ON till.sale TO {login}"}
"""What the shop needs for tables of its own."""
OWN_RIGHTS_OF_SERVICES: Final = "GRANT INSERT ON effect TO {login}"


async def _make_login(role: str, url: str, namespace: str) -> str:
    login, schema = f"{namespace}_{role}", "sagaflow" if role == COORDINATOR else "sagaflow_participant"
    async with connect(url) as connection:
        await connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{login}'")
        for rights in (RIGHTS, OWN_RIGHTS.get(role, OWN_RIGHTS_OF_SERVICES)):
            await connection.execute(rights.format(login=login, schema=schema))
    return login


def _as_user(url: str, login: str) -> str:
    place = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{login}:{login}@{place}").geturl()
