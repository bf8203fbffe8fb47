"""The closed loop: so many sagas in flight, each followed by another as soon as it has ended, for so long."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import psutil


@dataclass(frozen=True)
class Pace:
    """How many sagas are in flight, and for how long.

    The warm-up lasts until its time has passed and every lane has completed a saga. What is measured lasts until its
    time has passed and as many sagas have been completed as there are lanes; after `patience_seconds` it is an error.
    """

    concurrency: int
    warm_seconds: float = 1.0
    seconds: float = 4.0
    patience_seconds: float = 120.0


@dataclass(frozen=True)
class Measured:
    """What was completed between two moments, and what it cost."""

    sagas: int
    seconds: float
    cpu_seconds: float
    latencies: Sequence[float] = field(repr=False)
    """Seconds from a start to its end, of every saga that was completed."""
    rss_bytes: int = 0
    """The resident memory of the process that starts the sagas, at the end."""

    @property
    def rate(self) -> float:
        """Completed sagas a second."""
        return self.sagas / self.seconds

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return 1_000 * statistics.median(self.latencies)

    @property
    def p99_ms(self) -> float:
        """What one in a hundred exceeds."""
        return 1_000 * sorted(self.latencies)[int(0.99 * len(self.latencies))]

    @property
    def cpu_ms_per_saga(self) -> float:
        """CPU time of everything that was counted."""
        return 1_000 * self.cpu_seconds / self.sagas


async def closed_loop(run: Callable[[int], Awaitable[None]], pace: Pace, cpu_seconds: Callable[[], float]) -> Measured:
    """Run sagas; `run` is given a number and returns when that saga has ended.

    Raises:
        TimeoutError: it took longer than the pace has patience for.
        ExceptionGroup: a saga did not end as it should.
    """
    lanes = _Lanes(run)
    async with asyncio.timeout(pace.patience_seconds), asyncio.TaskGroup() as group:
        for lane in range(pace.concurrency):
            group.create_task(lanes.follow(lane))
        await asyncio.sleep(pace.warm_seconds)
        await lanes.until(lambda: len(lanes.warm) == pace.concurrency)
        lanes.latencies = measured = array("d")
        cpu, wall = cpu_seconds(), time.perf_counter()
        await asyncio.sleep(pace.seconds)
        await lanes.until(lambda: len(measured) >= pace.concurrency)
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        lanes.latencies = array("d")
        lanes.is_over = True
    return Measured(len(measured), wall, cpu, measured, psutil.Process().memory_info().rss)


async def open_loop(
    run: Callable[[int], Awaitable[None]], rate: float, pace: Pace, cpu_seconds: Callable[[], float]
) -> Measured:
    """Start so many sagas a second, whether others have ended or not; latency counts from when each was to start, so
    that one that is started late is not flattered by it. What starts within `warm_seconds` is not measured.

    Raises:
        TimeoutError: it took longer than the pace has patience for.
        ExceptionGroup: a saga did not end as it should.
    """
    latencies = array("d")

    async def follow(number: int, due: float) -> None:
        await run(number)
        if due >= measured_from:
            latencies.append(time.perf_counter() - due)

    began = time.perf_counter()
    measured_from = began + pace.warm_seconds
    cpu = 0.0
    async with asyncio.timeout(pace.patience_seconds), asyncio.TaskGroup() as group:
        for number in itertools.count():
            due = began + number / rate
            if due >= measured_from + pace.seconds:
                break
            if not cpu and due >= measured_from:
                cpu = cpu_seconds()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(follow(number, due))
    wall = time.perf_counter() - measured_from
    return Measured(len(latencies), wall, cpu_seconds() - cpu, latencies, psutil.Process().memory_info().rss)


class _Lanes:
    def __init__(self, run: Callable[[int], Awaitable[None]]) -> None:
        self.latencies = array("d")
        self.warm: set[int] = set()
        self.is_over = False
        self._run = run
        self._numbers = itertools.count()
        self._moved = asyncio.Event()

    async def follow(self, lane: int) -> None:
        while not self.is_over:
            began = time.perf_counter()
            await self._run(next(self._numbers))
            self.latencies.append(time.perf_counter() - began)
            self.warm.add(lane)
            self._moved.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self._moved.clear()
            await self._moved.wait()
