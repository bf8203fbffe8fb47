"""Runs a private server on this machine, each of its programs under a guard (guard.py)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers import guard
from tests.servers.handshake import StartFailed, wait_until_it_serves
from tests.servers.machine import Account

STOP_SECONDS = 30.0
RUN_SECONDS = 60.0
LOG_LINES = 20


@dataclass(frozen=True)
class Program:
    """What to run, in which directory and as whom, how to see that it serves, and the signals that end it."""

    name: str
    command: Sequence[str]
    directory: Path
    account: Account
    environment: Mapping[str, str]
    ask: Callable[[], object]
    """Fails with one of NO_ANSWER until it serves."""
    stop_signal: signal.Signals
    """Asks it to end in good order."""
    last_signal: signal.Signals
    """Ends it at once, when its data is to be thrown away."""

    @property
    def log(self) -> Path:
        """The file that takes what it prints."""
        return self.directory / f"{self.name}.log"

    @property
    def last_words(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def plain_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the least that a server needs: nothing that the caller's shell says about servers leaks in."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **variables}


class GuardedProcess:
    """A running program. It ends when told to, and at the latest with the tests."""

    def __init__(self, program: Program) -> None:
        self._program = program
        with program.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, _order(program)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the tests; they end their servers themselves
            )
        assert self._guard.stdin is not None
        self._pipe = self._guard.stdin

    def wait_until_it_serves(self) -> None:
        """Return when the program serves; raise StartFailed if it ends or takes too long."""
        wait_until_it_serves(self._program.ask, self._program.name, check_alive=self._check_alive)

    def end(self, by: signal.Signals) -> None:
        """Send the signal; return when the program and all that it started have ended."""
        if self._guard.poll() is None:
            self._pipe.write(f"{by.value}\n".encode())
            self._guard.wait(STOP_SECONDS)
        self._pipe.close()

    def abandon(self) -> None:
        """Have the guard do what it does when the tests end: end the program and remove its directory."""
        self._pipe.close()
        self._guard.wait(STOP_SECONDS)

    def _check_alive(self) -> None:
        code = self._guard.poll()
        if code is not None:
            raise StartFailed(f"{self._program.name} ended with code {code}:\n{self._program.last_words}")


def _order(program: Program) -> str:
    return json.dumps(
        {
            "command": program.command,
            "directory": str(program.directory),
            "environment": program.environment,
            "user": program.account.user,
            "group": program.account.group,
            "last_signal": program.last_signal,
        }
    )


def run_beside(program: Program, *command: str) -> None:
    """Run another program of those that lie beside it, such as `rabbitmqctl`, as it runs itself."""
    beside = str(Path(program.command[0]).parent)
    done = subprocess.run(
        list(command),
        cwd=program.directory,
        env={**program.environment, "PATH": f"{beside}{os.pathsep}{program.environment['PATH']}"},
        user=program.account.user,
        group=program.account.group,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")


class PrivateServer:
    """The control of a server that is made of programs on this machine: each one needs those before it."""

    def __init__(self, *programs: Program) -> None:
        self._programs = programs
        self._running: list[GuardedProcess] = []

    @property
    def main(self) -> Program:
        """The program that those before it are needed for."""
        return self._programs[-1]

    @property
    def directories(self) -> list[Path]:
        """Where its programs run and keep their data."""
        return [program.directory for program in self._programs]

    def start(self) -> None:
        """Start it with the data that it had, and wait until it serves."""
        for program in self._programs:
            process = GuardedProcess(program)
            self._running.append(process)
            process.wait_until_it_serves()

    def stop(self) -> None:
        """Stop it in good order."""
        for program in reversed(self._programs):
            self._end_last(by=program.stop_signal)

    def kill(self) -> None:
        """End it as a crash would."""
        for _ in self._programs:
            self._end_last(by=signal.SIGKILL)

    def crash(self, by: signal.Signals) -> None:
        """End it by this signal to its main program. It keeps its data and its address, and can be started again."""
        self._end_last(by=by)
        self.stop()

    def close(self) -> None:
        """End it at once and remove its directories."""
        while self._running:
            self._running.pop().abandon()
        for directory in self.directories:
            if directory.exists():
                shutil.rmtree(directory)

    def run(self, *command: str) -> None:
        """Run a program that comes with the main one."""
        run_beside(self.main, *command)

    def _end_last(self, *, by: signal.Signals) -> None:
        if self._running:
            self._running.pop().end(by)
