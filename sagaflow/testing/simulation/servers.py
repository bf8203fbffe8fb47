"""The line between a process and a server, on which everything can go wrong before and after it happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from sagaflow.errors import Unavailable
from sagaflow.testing.simulation.faults import Fault, Faults, Kind, NoFaults
from sagaflow.testing.simulation.loop import let_others_run
from sagaflow.testing.simulation.processes import CURRENT, Process

T = TypeVar("T")

NOBODY: Final = "nobody"

TELLING: Final = frozenset({"store.commit", "database.commit", "broker.publish"})
"""After these, others may run before who asked is told."""


class Fate(Protocol):
    """What can befall a process, for a server to bring about."""

    def crash(self, process: Process, seconds: float) -> None:
        """Kill it; it is started again after so many seconds."""

    def stand_still(self, process: Process, seconds: float) -> None:
        """Pause it for so long."""


class Nothing:
    """Outside of a world, processes neither crash nor stand still."""

    def crash(self, process: Process, seconds: float) -> None:
        """There is none."""

    def stand_still(self, process: Process, seconds: float) -> None:
        """There is none."""


class Delay:
    """A way that takes some time, drawn anew each time. As `asyncio.sleep`, without looking for the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random, seconds_max: float) -> None:
        self._loop = loop
        self._chance = chance
        self._seconds_max = seconds_max

    async def __call__(self) -> None:
        """Wait for it to pass."""
        arrival = self._loop.create_future()
        timer = self._loop.call_later(self._chance.random() * self._seconds_max, _arrive, arrival)
        try:
            await arrival
        finally:
            timer.cancel()


def _arrive(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_result(None)


class Line:
    """How processes reach one server.

    Args:
        name: of the server; its points are "name.what".
        faults: what goes wrong.
        fate: what becomes of processes then.
        travel: how a call gets there, and its answer back; unless it is told, others may run before, and no more.
    """

    def __init__(
        self,
        name: str,
        faults: Faults | None = None,
        fate: Fate | None = None,
        travel: Callable[[], Awaitable[None]] = let_others_run,
    ) -> None:
        self.name = name
        self.down = False
        self.down_until = 0.0
        self.cut: Callable[[Process | None], None] = lambda process: None
        """Told that the connections of a process are lost."""
        self._faults = NoFaults() if faults is None else faults
        self._fate = Nothing() if fate is None else fate
        self._travel = travel

    async def call(self, point: str, do: Callable[[], T], part: Callable[[], T] | None = None) -> T:
        """Have something done by the server; `part` does some of it only.

        Raises:
            Unavailable: it may have been done, or not.
        """
        await self._travel()
        self._expect_up()
        process = CURRENT.get()
        fault = self._faults.at(point, NOBODY if process is None else process.name)
        if fault is None:
            result = do()
            if point in TELLING:
                await self._travel()
            return result
        return await self._call_badly(fault, process, do, part)

    async def _call_badly(
        self, fault: Fault, process: Process | None, do: Callable[[], T], part: Callable[[], T] | None
    ) -> T:
        match fault.kind:
            case Kind.CRASH_BEFORE:
                await self._crash(process, fault)
            case Kind.LOST_BEFORE:
                self._lose(process)
            case Kind.LOST_PARTLY if part is not None:
                part()
                self._lose(process)
            case Kind.STOP_BEFORE:
                await self._stand_still(process, fault)
                self._expect_up()
        result = do()
        match fault.kind:
            case Kind.CRASH_AFTER:
                await self._crash(process, fault)
            case Kind.LOST_AFTER:
                self._lose(process)
            case Kind.STOP_AFTER:
                await self._stand_still(process, fault)
        await self._travel()
        return result

    def _expect_up(self) -> None:
        if self.down:
            raise Unavailable(f"the {self.name} is down")

    def _lose(self, process: Process | None) -> None:
        self.cut(process)
        raise Unavailable(f"the connection to the {self.name} was lost")

    async def _crash(self, process: Process | None, fault: Fault) -> None:
        if process is not None:
            self._fate.crash(process, fault.seconds)
        await asyncio.get_running_loop().create_future()  # a dead task is never resumed

    async def _stand_still(self, process: Process | None, fault: Fault) -> None:
        if process is not None:
            self._fate.stand_still(process, fault.seconds)
        await let_others_run()
