"""Runs `sagaflow` as people do, and sees to it that nothing of it is left."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagaflow.demo import EXAMPLES

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.02
MARK = "SAGAFLOW_TEST_MARK"
"""An environment variable, by which the processes of one demo are known: children inherit it."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    output: str
    errors: str
    left_over: Sequence[str]
    """The processes that outlive it."""

    @property
    def lines(self) -> Sequence[dict[str, Any]]:
        """The JSON objects that it printed."""
        return [json.loads(line) for line in self.output.splitlines()]


class Sagaflow:
    """A running `sagaflow`. What it prints goes to files, so that it never waits for a reader."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self._mark = secrets.token_hex(8)
        self._output = directory / f"output-{self._mark}"
        self._errors = directory / f"errors-{self._mark}"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sagaflow.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=plain_environment() | {MARK: self._mark} | environment,
                start_new_session=True,
            )

    @property
    def errors(self) -> str:
        """What it has printed to standard error so far."""
        return self._errors.read_text(encoding="utf-8")

    def end(self) -> Ended:
        """Wait until it has ended."""
        try:
            code = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return Ended(code, self._output.read_text(encoding="utf-8"), self.errors, self.relatives())

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)

    def until(self, is_true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not is_true():
            assert time.monotonic() < give_up_at, f"it never came to that; it has said: {self.errors}"
            assert self.process.poll() is None, f"it has ended with {self.process.returncode}: {self.errors}"
            time.sleep(POLL_SECONDS)

    def relatives(self) -> Sequence[str]:
        """The processes that it has started and that run now: number and command."""
        listed = subprocess.run(["ps", "axeww", "-o", "pid=,args="], capture_output=True, check=True)
        lines = listed.stdout.decode(errors="replace").splitlines()
        return [line.strip() for line in lines if self._mark in line and line.split()[0] != str(self.process.pid)]

    def relative(self, command: str) -> int:
        """The number of the one whose command has these words."""
        (line,) = [line for line in self.relatives() if command in line]
        return int(line.split()[0])


Start = Callable[..., Sagaflow]
"""Starts `sagaflow` with these arguments; what still runs when the test has ended is stopped."""


def plain_environment() -> dict[str, str]:
    """This environment without what sagaflow or a terminal would listen to, and with the example to import."""
    kept = {name: value for name, value in os.environ.items() if not re.match("SAGAFLOW_|PYTEST_|COLUMNS|LINES", name)}
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
    return kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def folded(text: str) -> str:
    """The text without white space, since lines are broken where the screen ends."""
    return "".join(text.split())
