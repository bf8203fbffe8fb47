"""A whole run of pytest: what it says when a server cannot be had, and what it leaves when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.servers.handshake import NO_ANSWER, ask_postgres
from tests.servers.machine import LOOPBACK, free_port

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0

TEST_FILE = """
import json, pathlib, time

def test_that_takes_long(postgres, database_url):
    here = pathlib.Path(__file__).parent
    directories = getattr(postgres.control, "directories", [])  # a container has none
    (here / "unfinished").write_text(json.dumps([postgres.url, *map(str, directories)]))
    (here / "unfinished").rename(here / "traces")
    time.sleep(600)

def test_that_needs_nothing():
    pass
"""


PYTEST = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background is born deaf to Ctrl-C
sys.exit(pytest.main(sys.argv[1:]))
"""


Run = subprocess.Popen[str]


class StartRun(Protocol):
    """Starts a run of the test file above, with the fixtures of this project."""

    def __call__(self, *arguments: str, **variables: str) -> Run:
        """Start it with these arguments of pytest and variables of the environment."""


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[StartRun]:
    file = tmp_path / "test_file.py"
    file.write_text(TEST_FILE)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SAGAFLOW_")}
    with ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> Run:
            run = subprocess.Popen(
                [sys.executable, "-c", PYTEST, "-p", "tests.conftest", f"--rootdir={tmp_path}", *arguments, str(file)],
                cwd=PROJECT,
                env={**plain, **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                process_group=0,
            )
            stack.enter_context(run)
            stack.callback(run.kill)
            return run

        yield start


@pytest.fixture
def nowhere() -> str:
    """The URL of a PostgreSQL that does not answer."""
    return f"postgresql://{LOOPBACK}:{free_port()}/"


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_a_run_that_needs_an_unreachable_server_fails_and_says_so(
    quiet: list[str], start_run: StartRun, nowhere: str
) -> None:
    run = start_run(*quiet, SAGAFLOW_TEST_POSTGRES=nowhere)
    output, _ = run.communicate(timeout=PATIENCE_SECONDS)

    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: PostgreSQL: SAGAFLOW_TEST_POSTGRES is {nowhere}, which does not answer: " in output
    assert "skipped" not in output


@pytest.mark.parametrize("arguments", [["-k", "needs_nothing"], ["--collect-only"]])
def test_a_run_that_needs_no_server_does_without(arguments: list[str], start_run: StartRun, nowhere: str) -> None:
    run = start_run(*arguments, SAGAFLOW_TEST_POSTGRES=nowhere)
    output, _ = run.communicate(timeout=PATIENCE_SECONDS)

    assert run.returncode == pytest.ExitCode.OK, output
    assert f"PostgreSQL: SAGAFLOW_TEST_POSTGRES is {nowhere}, which does not answer: " in output


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_server(interruption: signal.Signals, tmp_path: Path, start_run: StartRun) -> None:
    run = start_run()
    url, *directories = json.loads(first_text_of(tmp_path / "traces", run))

    os.killpg(run.pid, interruption)  # as a terminal does
    output, _ = run.communicate(timeout=PATIENCE_SECONDS)

    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "ERROR" not in output  # the server lived until the test's database was dropped
    assert not any(Path(directory).exists() for directory in directories)
    with pytest.raises(NO_ANSWER):
        ask_postgres(url)


def first_text_of(file: Path, run: Run) -> str:
    """Wait until the run has written a file."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not file.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return file.read_text()
