"""A private server's programs: they are stopped, started again, and never outlive the tests.

The program here stands for any server: it listens on a port, and has a child that ends a while after it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.servers.handshake import StartFailed
from tests.servers.machine import LOOPBACK, Account, free_port
from tests.servers.process import PrivateServer, Program, plain_environment

PATIENCE_SECONDS = 10.0

SERVER = """
import pathlib, signal, socket, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(0.5)"], stdin=subprocess.PIPE
)
pathlib.Path("child").write_text(str(child.pid))
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.sigwait([signal.SIGTERM])
"""

TESTS_THAT_ARE_KILLED = """
import os, pathlib, signal, sys
from tests.servers.test_process import program
from tests.servers.process import PrivateServer
PrivateServer(program(pathlib.Path(sys.argv[1]), int(sys.argv[2]))).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


def knock(port: int) -> None:
    """Connect to a port, or fail with OSError."""
    socket.create_connection((LOOPBACK, port), timeout=1).close()


def program(directory: Path, port: int, source: str = SERVER) -> Program:
    """Some Python to be run as a server."""
    return Program(
        name="server",
        command=[sys.executable, "-c", f"import signal; signal.pthread_sigmask(0, [15])\n{source}", str(port)],
        directory=directory,
        account=Account(os.geteuid(), os.getegid()),
        environment=plain_environment(directory),
        ask=partial(knock, port),
        stop_signal=signal.SIGTERM,
        last_signal=signal.SIGKILL,
    )


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "server"
    made.mkdir()
    return made


@pytest.fixture
def server(directory: Path, port: int) -> Iterator[PrivateServer]:
    """A server that serves."""
    control = PrivateServer(program(directory, port))
    control.start()
    yield control
    control.close()


def child_lives(directory: Path) -> bool:
    try:
        os.kill(int((directory / "child").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def is_silent(port: int) -> bool:
    try:
        knock(port)
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("end", [PrivateServer.stop, PrivateServer.kill])
def test_an_ended_server_is_gone_with_all_its_processes_and_can_be_started_again(
    end: Callable[[PrivateServer], None], server: PrivateServer, directory: Path, port: int
) -> None:
    assert child_lives(directory)

    end(server)

    assert is_silent(port)
    assert not child_lives(directory)
    server.start()
    knock(port)


def test_of_a_closed_server_nothing_is_left(server: PrivateServer, directory: Path, port: int) -> None:
    child = (directory / "child").read_text()

    server.close()

    assert is_silent(port)
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)


def test_a_stopped_server_can_be_closed(server: PrivateServer, directory: Path) -> None:
    server.stop()
    server.close()

    assert not directory.exists()


def test_a_server_that_ends_at_once_fails_with_its_last_words(directory: Path, port: int) -> None:
    control = PrivateServer(program(directory, port, source="raise SystemExit('the disk is made of cheese')"))

    with pytest.raises(StartFailed, match="server ended with code 1:\nthe disk is made of cheese"):
        control.start()
    control.close()


def test_a_server_does_not_outlive_tests_that_are_killed(directory: Path, port: int) -> None:
    tests = subprocess.run([sys.executable, "-c", TESTS_THAT_ARE_KILLED, str(directory), str(port)], check=False)

    assert tests.returncode == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE_SECONDS
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not directory.exists()
    assert is_silent(port)
