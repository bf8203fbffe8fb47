"""pgbouncer between the processes and the common database server: of sessions, dying, and for a while of transactions.

It is optional: without it, the scenario says so.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.chaos.scenarios.scene import Scene
from tests.chaos.shop.__main__ import COORDINATOR
from tests.servers.handshake import ANSWER_SECONDS
from tests.servers.machine import LOOPBACK, account_for, free_port, private_directory
from tests.servers.process import PrivateServer, Program, plain_environment

PLACES: Final = (Path("/usr/sbin/pgbouncer"), Path("/usr/bin/pgbouncer"))
HOLD_SECONDS: Final = 3.0

CONFIGURATION: Final = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = {mode}
default_pool_size = 60
max_client_conn = 400
"""


class NoPooler(Exception):
    """It is not installed."""


class Pooler:
    """A pgbouncer before one server."""

    def __init__(self, program: Program, server_url: str, listen: int) -> None:
        self.control = PrivateServer(program)
        self._directory = program.directory
        self._server = urlsplit(server_url)
        self._listen = listen

    def through(self, url: str) -> str:
        """The URL by way of it, of a database of its server."""
        login = urlsplit(url).netloc.rpartition("@")[0]
        return urlsplit(url)._replace(netloc=f"{login}@{LOOPBACK}:{self._listen}").geturl()

    def is_before(self, url: str) -> bool:
        """Whether this is a database of its server."""
        return urlsplit(url).port == self._server.port

    def pool(self, mode: str) -> None:
        """What it pools when it is started next."""
        users = self._directory / "users.txt"
        users.write_text(f'"{self._server.username}" "{self._server.password}"\n')
        (self._directory / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                host=self._server.hostname, port=self._server.port, listen=self._listen, users=users, mode=mode
            )
        )


@contextmanager
def pooler_before(server_url: str) -> Iterator[Pooler]:
    """One that pools sessions, while it is entered.

    Raises:
        NoPooler: there is none on this machine.
    """
    found = shutil.which("pgbouncer") or next((str(place) for place in PLACES if place.exists()), None)
    if found is None:
        raise NoPooler("pgbouncer is not installed on this machine: apt-get install pgbouncer")
    account, listen = account_for("postgres"), free_port()
    directory = private_directory("pgbouncer", account)
    program = Program(
        name="pgbouncer",
        command=[found, str(directory / "pgbouncer.ini")],
        directory=directory,
        account=account,
        environment=plain_environment(directory),
        ask=partial(_ask, listen),
        stop_signal=signal.SIGTERM,
        last_signal=signal.SIGKILL,
    )
    pooler = Pooler(program, server_url, listen)
    try:
        pooler.pool("session")
        pooler.control.start()
        yield pooler
    finally:
        pooler.control.close()


def _ask(port: int) -> None:
    socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS).close()


async def pool(scene: Scene) -> None:
    """Sessions; it dies; transactions, which is refused and waited out; and sessions again."""
    pooler = scene.pooler
    assert pooler is not None, "it was made for this scenario"
    await scene.load.goes_on("by way of a pooler of sessions")
    await asyncio.to_thread(pooler.control.kill)
    await asyncio.to_thread(pooler.control.start)
    await scene.load.goes_on("the pooler was killed, and is back")
    await _restart(pooler, "transaction")
    ear = scene.listen()
    scene.load.tell(await ear.until_said("trying again", "have it pool sessions"))
    scene.stage.crew.kill(f"{COORDINATOR}-1")
    scene.load.tell(await ear.until_said("cannot serve: ", "have it pool sessions"))
    await asyncio.sleep(HOLD_SECONDS)
    await _restart(pooler, "session")
    await scene.load.goes_on("it had pooled transactions, and pools sessions again")


async def _restart(pooler: Pooler, mode: str) -> None:
    await asyncio.to_thread(pooler.control.kill)
    pooler.pool(mode)
    await asyncio.to_thread(pooler.control.start)
