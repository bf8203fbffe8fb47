"""Programs of peers, run as the tests run their servers: under a guard, so that none outlives who started it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.place import Place
from tests.servers.handshake import ANSWER_SECONDS
from tests.servers.machine import Account, private_directory
from tests.servers.process import PrivateServer, Program

ROOT = Path(__file__).parents[2]

RESTATE = ROOT / ".venv" / "restate"
"""Where `make bench-setup` puts its server: in a folder that is not kept."""


def python(*arguments: str) -> Sequence[str]:
    """A command that runs this interpreter."""
    return [sys.executable, *arguments]


def own_directory(name: str) -> Path:
    """A temporary directory, removed with the program that is run in it."""
    return private_directory(name, _us())


@asynccontextmanager
async def program(
    name: str, command: Sequence[str], ask: Callable[[], object], *, directory: Path, place: Place, **environment: str
) -> AsyncIterator[None]:
    """Run a program from when `ask` has its answer until this is left. It finds `place` in its environment."""
    server = PrivateServer(
        Program(
            name=name,
            command=command,
            directory=directory,
            account=_us(),
            environment={**os.environ, "PYTHONPATH": str(ROOT), **place.as_environment(), **environment},
            ask=ask,
            stop_signal=signal.SIGTERM,
            last_signal=signal.SIGTERM,  # not SIGKILL, which would leave their workers behind
        )
    )
    try:
        await asyncio.to_thread(server.start)
        yield
        await asyncio.to_thread(server.stop)
    finally:
        await asyncio.to_thread(server.close)


def _us() -> Account:
    return Account(os.geteuid(), os.getegid())


def connects(address: str) -> Callable[[], object]:
    """Asks whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    return lambda: socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()


def restate_server() -> Path | None:
    """The server's binary, if it is installed. Not npm's script, which would be the binary's parent."""
    return next(RESTATE.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)
