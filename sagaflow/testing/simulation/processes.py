"""Simulated processes: groups of tasks that die together, without a word, or stand still together."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from enum import Enum, auto
from typing import Any, Final, Protocol

from sagaflow.definitions.surroundings import Surroundings, surround
from sagaflow.testing.simulation.loop import SimulatedLoop

EPOCH_NS: Final = 1_700_000_000 * 10**9
"""When worlds begin."""


class State(Enum):
    """What a process does."""

    RUNNING = auto()
    PAUSED = auto()
    """As after SIGSTOP: it does nothing, and does not know it afterwards."""
    DEAD = auto()


class Process:
    """A process. Whatever runs in its context belongs to it."""

    def __init__(self, name: str, number: int, context: Context, surroundings: Surroundings) -> None:
        self.name = name
        self.number = number
        """Which life of this name it is, from 1."""
        self.state = State.RUNNING
        self.context = context
        self.task: asyncio.Task[None] | None = None
        self.reachable = True
        """Whether servers still believe in it; a process that stands still for long is given up."""
        self.held: list[asyncio.Handle] = []
        """What would have run while it stood still."""
        self.context.run(CURRENT.set, self)
        self.context.run(surround, surroundings)

    def __repr__(self) -> str:
        return f"<process {self.name} #{self.number}, {self.state.name.lower()}>"

    @property
    def alive(self) -> bool:
        """Whether it has not died; it may stand still."""
        return self.state is not State.DEAD


CURRENT: Final[ContextVar[Process | None]] = ContextVar("simulated process", default=None)
"""The process that the running task belongs to; None: nobody's, such as a test or a server."""


class SimulatedSurroundings(Surroundings):
    """Chance from the seed, time from the loop."""

    def __init__(self, loop: SimulatedLoop, seed: str, host: str) -> None:
        self._loop = loop
        self._chance = random.Random(hashlib.sha256(seed.encode()).digest())  # noqa: S311  # it is meant to be guessed
        self._host = host

    def random_bytes(self, count: int) -> bytes:
        """Bytes that the seed decides."""
        return self._chance.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        """A number that the seed decides."""
        return self._chance.uniform(low, high)

    def time_ns(self) -> int:
        """The time of the world."""
        return EPOCH_NS + int(self._loop.time() * 10**9)

    def host(self) -> str:
        """The name of the process."""
        return self._host


class Watchful(Protocol):
    """Servers, which notice that a process is gone."""

    def disconnect(self, process: Process) -> None:
        """Its connections are closed."""


class Processes:
    """The processes of a world: started, killed, paused, resumed."""

    def __init__(self, loop: SimulatedLoop, seed: int) -> None:
        self._loop = loop
        self._seed = seed
        self._lives: dict[str, int] = {}
        self.servers: list[Watchful] = []
        self.ambient = copy_context()
        """What every process finds in its context when it begins."""
        self.alive: dict[str, Process] = {}

    @property
    def any_paused(self) -> bool:
        """Whether any of them stands still."""
        return any(process.state is State.PAUSED for process in self.alive.values())

    def start(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> Process:
        """Begin a process of this name; there is none yet, or it has died."""
        number = self._lives[name] = self._lives.get(name, 0) + 1
        surroundings = SimulatedSurroundings(self._loop, f"{self._seed}/{name}/{number}", f"{name}:{number}")
        process = Process(name, number, self.ambient.copy(), surroundings)
        self.alive[name] = process
        process.task = process.context.run(self._loop.create_task, main(), name=f"{name} #{number}")
        return process

    def kill(self, process: Process) -> None:
        """SIGKILL: none of its tasks ever runs again, and its connections are closed."""
        if not process.alive:
            return
        process.state = State.DEAD
        self._loop.gate = self._may_run
        process.held.clear()
        self.alive.pop(process.name, None)
        for server in self.servers:
            server.disconnect(process)

    def pause(self, process: Process) -> None:
        """SIGSTOP."""
        if process.state is State.RUNNING:
            process.state = State.PAUSED
            self._loop.gate = self._may_run

    def resume(self, process: Process) -> None:
        """SIGCONT."""
        if process.state is State.PAUSED:
            process.state = State.RUNNING
            process.reachable = True
            self._loop._ready.extend(process.held)
            process.held.clear()

    def _may_run(self, handle: asyncio.Handle) -> bool:
        process = handle._context.get(CURRENT)  # type: ignore[attr-defined]
        if process is None or process.state is State.RUNNING:
            return True
        if process.state is State.PAUSED:
            process.held.append(handle)
        return False
