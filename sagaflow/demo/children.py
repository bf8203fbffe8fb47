"""The processes that the demo starts. None of them outlives it, and none dies unnoticed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sagaflow.demo import EXAMPLES
from sagaflow.errors import SagaflowError

GRACE_SECONDS: Final = 15.0
LAST_LINES: Final = 12


class ChildDied(SagaflowError):
    """A process of the demo has ended although nobody told it to, or did not end in good order."""


@dataclass(frozen=True)
class Child:
    """A process, and the file that has what it printed."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def expect_alive(self) -> None:
        """Raises `ChildDied` if it has ended."""
        if self.process.returncode is not None:
            raise self.died("ended by itself")

    async def end_well(self) -> None:
        """Wait until it has ended. Raises `ChildDied` unless it does so in time and in good order."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                code = await self.process.wait()
        except TimeoutError:
            raise self.died(f"was told to stop and did not within {GRACE_SECONDS:.0f} s") from None
        if code != 0:
            raise self.died("was told to stop and did not end well")

    def died(self, what: str) -> ChildDied:
        """The error that tells how it ended, with the last that it printed."""
        how = _how(self.process.returncode)
        return ChildDied(f"the process {self.name!r} of the demo {what}, {how}. {self.last_words}")

    @property
    def last_words(self) -> str:
        """The end of what it printed."""
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(["The last that it printed:", *(f"  {line}" for line in lines or ["(nothing)"])])


class Children:
    """All of them. An async context manager: when it is left, every one has ended, and its whole group."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._services: dict[str, Child] = {}
        self._commands: set[Child] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        running = [*self._services.values(), *self._commands]
        for child in running:
            _signal_group(child, signal.SIGKILL)
        for child in running:
            await child.process.wait()

    async def start(self, name: str, *arguments: str, environment: Mapping[str, str]) -> None:
        """Start `python <arguments>`, which runs until it is stopped. What it prints goes to a file."""
        self._services[name] = await self._spawn(name, arguments, environment)

    async def run(self, *arguments: str, environment: Mapping[str, str]) -> str:
        """Run `python <arguments>` to its end; returns what it printed.

        Raises:
            ChildDied: it failed.
        """
        child = await self._spawn("command", arguments, environment)
        self._commands.add(child)
        await child.process.wait()
        self._commands.discard(child)
        if child.process.returncode != 0:
            raise child.died("failed")
        return child.log.read_text(errors="replace").strip()

    async def _spawn(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
        log = self._directory / f"{name}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,  # which `python -m` looks into before anything else
                env=_environment() | dict(environment),
                start_new_session=True,  # Ctrl-C is for the demo, which ends its processes in good order
            )
        return Child(name, process, log)

    def expect_alive(self) -> None:
        """Raises `ChildDied` if one has ended."""
        for child in self._services.values():
            child.expect_alive()

    @property
    def last_words(self) -> str:
        """The end of what each of them has printed."""
        return "\n".join(f"{child.name}. {child.last_words}" for child in self._services.values())

    async def kill(self, name: str) -> None:
        """End one as a crash would: with SIGKILL."""
        child = self._services.pop(name)
        _signal_group(child, signal.SIGKILL)
        await child.process.wait()

    async def stop(self) -> None:
        """Tell all of them to stop, and wait until they have.

        Raises:
            ChildDied: one did not end in good order.
        """
        for child in self._services.values():
            _signal_group(child, signal.SIGTERM)
        for child in self._services.values():
            await child.end_well()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _signal_group(child: Child, which: signal.Signals) -> None:
    if child.process.returncode is None:
        with suppress(ProcessLookupError):  # it has ended meanwhile, which `returncode` will tell in a moment
            os.killpg(child.process.pid, which)  # it leads a session, and so a group, of its own


def _how(code: int | None) -> str:
    if code is None:
        return "it runs still"
    if code >= 0:
        return f"with exit code {code}"
    return f"by {signal.Signals(-code).name}"
