"""Servers that are several: one of them dies under load, and the others go on.

    python -m tests.chaos.failover broker      three nodes of RabbitMQ, of which each is killed in turn
    python -m tests.chaos.failover database    PostgreSQL with a synchronous standby, which takes the place of the first

Before them stands a proxy, as a load balancer would: it connects to the first that takes the connection.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import asyncpg

from tests.chaos.customers import Customers
from tests.chaos.load import LOOK_SECONDS, PATIENCE_SECONDS, Load, judge
from tests.chaos.servers import control_broker
from tests.chaos.shop.__main__ import CLIENT, COORDINATOR, TILL
from tests.chaos.shop.services import SERVICES
from tests.chaos.stage import Stage
from tests.chaos.wire import Wire
from tests.servers import postgres, rabbitmq
from tests.servers.machine import LOOPBACK, free_port
from tests.servers.process import PrivateServer, Program

NODES: Final = 3
CUSTOMERS: Final = 12
ORDERS: Final = 30
"""So many orders have to end before and after each fault."""

TO_BE_SYNCHRONOUS: Final = (
    "ALTER SYSTEM SET synchronous_standby_names = '*'",
    "SELECT pg_reload_conf()",
)
SYNCHRONOUS: Final = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


class Cluster:
    """Nodes of RabbitMQ on this machine, which are one broker. Enter it to have it."""

    def __init__(self) -> None:
        self.nodes: list[PrivateServer] = []
        self.urls: list[str] = []
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            password, cookie, mapper_port = secrets.token_hex(8), secrets.token_hex(10), free_port()
            first = rabbitmq.local_binaries()
            mapper = PrivateServer(rabbitmq.epmd(first, mapper_port))
            stack.callback(mapper.close)
            mapper.start()
            for _ in range(NODES):
                binaries = replace(first, port=free_port())
                url = rabbitmq.rabbitmq_url(f"{LOOPBACK}:{binaries.port}", password)
                program = rabbitmq.broker(binaries, mapper_port, url, password)
                _share_cookie(program, cookie)
                node = PrivateServer(program)
                stack.callback(node.close)
                node.start()
                self.nodes.append(node)
                self.urls.append(url)
            head = self.nodes[0].main.environment["RABBITMQ_NODENAME"]
            for node in self.nodes[1:]:
                for command in (["stop_app"], ["join_cluster", head], ["start_app"]):
                    control_broker(node.main, *command)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()


def _share_cookie(program: Program, cookie: str) -> None:
    """Nodes talk to each other if they know the same secret."""
    file = program.directory / ".erlang.cookie"
    file.write_text(cookie)
    file.chmod(0o400)
    os.chown(file, program.account.user, program.account.group)


class Replicated:
    """A PostgreSQL, and a standby that has every commit before its client is told. Enter it to have them."""

    def __init__(self) -> None:
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            server = postgres.local_postgres().start()
            stack.callback(server.close)
            assert isinstance(server.control, PrivateServer)
            self.first, self.url = server.control, server.url
            port = str(free_port())
            self.standby = _standby_of(server.url, port)
            stack.callback(self.standby.close)
            self.standby.start()
            self.standby_url = _at_port(server.url, port)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    async def be_synchronous(self) -> None:
        """Have no commit answered before the standby has it."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in TO_BE_SYNCHRONOUS:
                await connection.execute(statement)

            give_up_at = time.monotonic() + PATIENCE_SECONDS
            while not await connection.fetchval(SYNCHRONOUS):
                if time.monotonic() > give_up_at:
                    raise TimeoutError("the standby has not become a synchronous one")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await connection.close()

    async def promote(self) -> None:
        """Make the standby a server that writes."""
        connection = await asyncpg.connect(self.standby_url)
        try:
            assert await connection.fetchval("SELECT pg_promote()")
        finally:
            await connection.close()


def _standby_of(url: str, port: str) -> PrivateServer:
    """A copy of the server, which follows it."""
    binaries = postgres.Binaries(Path(postgres.local_postgres().source), f"{LOOPBACK}:{port}")
    program = postgres.program(binaries, _at_port(url, port))
    subprocess.run(
        [
            str(binaries.folder / "pg_basebackup"),
            f"--dbname={url}",
            f"--pgdata={program.directory / 'data'}",
            "--write-recovery-conf",
            "--checkpoint=fast",
        ],
        cwd=program.directory,
        env=program.environment,
        user=program.account.user,
        group=program.account.group,
        check=True,
    )
    return PrivateServer(program)


def _at_port(url: str, port: str) -> str:
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@{LOOPBACK}:{port}").geturl()


async def lose_nodes(directory: Path, seed: int) -> list[str]:
    """Kill each node of a cluster in turn; returns what is wrong afterwards."""
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Cluster())
        database = postgres.local_postgres().start()
        stack.callback(database.close)
        wire = await stack.enter_async_context(Wire(*cluster.urls))

        def through(url: str) -> str:
            return wire.through(url) if url.startswith("amqp") else url

        stage = await stack.enter_async_context(_stage(directory, seed, database.url, cluster.urls[0], through))
        _raise_curtain(stage)
        async with stage.client() as client:
            customers = Customers(client, seed=seed, count=CUSTOMERS)
            customers.open()
            load = Load(customers, orders=ORDERS)
            await load.goes_on("three nodes")
            for number, node in enumerate(cluster.nodes, 1):
                await asyncio.to_thread(node.kill)
                await load.goes_on(f"node {number} is killed")
                await asyncio.to_thread(node.start)
                await load.goes_on(f"node {number} is back")
            return await judge(stage, customers)


async def lose_primary(directory: Path, seed: int) -> list[str]:
    """Kill a database server, and promote its standby; returns what is wrong afterwards."""
    async with AsyncExitStack() as stack:
        pair = stack.enter_context(Replicated())
        broker = rabbitmq.local_rabbitmq().start()
        stack.callback(broker.close)
        wire = await stack.enter_async_context(Wire(pair.url, pair.standby_url))

        def through(url: str) -> str:
            return wire.through(url) if url.startswith("postgresql") else url

        stage = await stack.enter_async_context(_stage(directory, seed, pair.url, broker.url, through))
        await pair.be_synchronous()
        _raise_curtain(stage)
        async with stage.client() as client:
            customers = Customers(client, seed=seed, count=CUSTOMERS)
            customers.open()
            load = Load(customers, orders=ORDERS)
            await load.goes_on("primary and standby")
            await asyncio.to_thread(pair.first.kill)
            await pair.promote()
            stage.databases = {
                role: _at_port(url, str(urlsplit(pair.standby_url).port)) for role, url in stage.databases.items()
            }
            await load.goes_on("the standby is promoted")
            return await judge(stage, customers)


def _stage(directory: Path, seed: int, database: str, broker: str, through: Callable[[str], str]) -> Stage:
    databases = dict.fromkeys((COORDINATOR, *SERVICES), database)
    return Stage(directory, postgres=databases, rabbitmq=broker, seed=seed, through=through, tidy=False)


def _raise_curtain(stage: Stage) -> None:
    for role in (COORDINATOR, *SERVICES):
        stage.add(role, 2)
    for role in (TILL, CLIENT):
        stage.add(role, 1)


def main() -> int:
    """Run one of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.failover", description="A server of several dies.")
    parser.add_argument("what", choices=("broker", "database"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sagaflow-failover-"))
    logging.basicConfig(filename=directory / "customers.log")
    print(f"failover of the {arguments.what}; logs in {directory}", flush=True)
    lose = lose_nodes if arguments.what == "broker" else lose_primary
    wrong = asyncio.run(lose(directory, arguments.seed))
    for problem in wrong:
        print(f"WRONG: {problem}")
    if wrong:
        return 1
    shutil.rmtree(directory)
    print("Nothing lost, nothing twice, nothing stranded.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
