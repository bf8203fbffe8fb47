"""How it goes on as it grows: `python -m benchmarks growth`, whole or in parts."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from benchmarks.finished import add_finished, grow_old
from benchmarks.load import Measured, Pace
from benchmarks.place import Place, Servers, place, servers
from benchmarks.processes import beside, until_told_to_end
from benchmarks.systems.sagaflow import SAGAS, coordinate, coordinator, migrate
from benchmarks.systems.sagaflow_service import serve_one
from benchmarks.turn import Job, take_turn
from benchmarks.workloads import CALM, FLOOD, GROWN, SERVICES, SLOW
from sagaflow import Retention
from sagaflow.adapters.postgres import PostgresStore
from sagaflow.runners.purging import purge_sagas
from tests.servers.handshake import run_apart

IN_FLIGHT = 500
PATIENCE_SECONDS = 900.0
START_TOGETHER = 5_000


@dataclass(frozen=True)
class Point:
    """One figure of one part. What a part does not measure is 0."""

    part: str
    at: str
    sagas_per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_ms_per_saga: float = 0.0
    rss_mib: float = 0.0
    seconds: float = 0.0

    @classmethod
    def of(cls, part: str, at: object, measured: Measured) -> Point:
        """What a turn measured."""
        return cls(
            part,
            str(at),
            sagas_per_s=round(measured.rate, 1),
            p50_ms=round(measured.p50_ms, 2),
            p99_ms=round(measured.p99_ms, 2),
            cpu_ms_per_saga=round(measured.cpu_ms_per_saga, 3),
            rss_mib=round(measured.rss_bytes / 1024**2, 1),
        )


Part = Callable[[Servers, argparse.Namespace], Iterator[Point]]


def finished(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """With so many finished sagas in the store."""
    with place(at) as found:
        take_turn("sagaflow", found, [Job("noop", Pace(1, 0, 0.1))])  # one to copy
        there = 0
        for count in sorted(asked.finished):
            run_apart(add_finished(found.coordinator, there, count))
            there = count
            yield Point.of("finished", count, _noop(found, asked))


def in_flight(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """With so many sagas in flight."""
    for count in asked.in_flight:
        with place(at) as found:
            yield Point.of("in-flight", count, _noop(found, asked, count))


def processes(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """With 1, 2 and 4 coordinators, and as many workers of each participant."""
    for count in (1, 2, 4):
        with place(at) as found:
            yield Point.of("processes", count, _noop(found, asked, system=f"{count} processes"))


def steps(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """With 1, 5 and 20 steps."""
    yield from _workloads("steps", at, asked)


def payloads(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """With payloads of 200 B, 10 KiB and 200 KiB."""
    yield from _workloads("payload", at, asked)


def memory(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """The memory of a coordinator after so many sagas, looked at ten times."""
    sagas = 0
    with place(at) as found:
        pace = Pace(IN_FLIGHT, 0, asked.memory_seconds / 10, PATIENCE_SECONDS)
        for measured in take_turn("sagaflow", found, [Job("noop", pace)] * 10):
            sagas += measured.sagas
            yield Point.of("memory", sagas, measured)


def crash(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """Seconds from the start of another coordinator until all sagas have ended that one left in flight by kill -9."""
    for count in asked.crashed:
        with place(at) as found:
            yield Point("crash", str(count), seconds=round(run_apart(_crash(found, count)), 2))


def snapshot(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """With and without a snapshot that is held open in every database, so that nothing can be vacuumed."""
    for held in (False, True):
        with place(at) as found:
            yield Point.of("snapshot", "held" if held else "none", run_apart(_with_snapshot(found, asked, held)))


def purged(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """Before, while and after so many old sagas are purged: beside the load with the rests that are the default, and
    what was left then without rests and without load."""
    for count in asked.purged:
        with place(at) as found:
            take_turn("sagaflow", found, [Job("noop", Pace(1, 0, 0.1))])  # one to copy
            run_apart(grow_old(found.coordinator))
            run_apart(add_finished(found.coordinator, 0, count))
            yield Point.of("purge", f"before {count}", _noop(found, asked))
            yield Point.of("purge", "beside", run_apart(_with_purge(found, asked)))
            began = time.perf_counter()
            gone = run_apart(_purge_left(found))
            seconds = time.perf_counter() - began
            yield Point("purge", f"left {gone}", sagas_per_s=round(gone / seconds, 1), seconds=round(seconds, 1))
            yield Point.of("purge", "after", _noop(found, asked))


def steady(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """As many as there can be, then half as many started each second."""
    with place(at) as found:
        most = _noop(found, asked)
        yield Point.of("open-loop", "maximum", most)
        pace = Pace(1, 2.0, asked.seconds, PATIENCE_SECONDS)
        (half,) = take_turn("sagaflow", found, [Job("noop", pace, rate=most.rate / 2)])
        yield Point.of("open-loop", "half", half)


def fairness(at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    """Sagas that do without the third service, a quarter of what there can be: alone, while it is slow, while it is
    flooded. `beside` sagas of those are in flight."""
    with place(at) as found:
        (most,) = take_turn("sagaflow", found, [Job(CALM.name, Pace(IN_FLIGHT, 2.0, asked.seconds, PATIENCE_SECONDS))])
        pace = Pace(asked.beside, 2.0, asked.seconds, PATIENCE_SECONDS)
        for beside_it in ("", SLOW.name, FLOOD.name):
            job = Job(CALM.name, pace, rate=most.rate / 4, beside=beside_it)
            (measured,) = take_turn("sagaflow", found, [job])
            yield Point.of("fairness", beside_it or "alone", measured)


PARTS: dict[str, Part] = {
    "open-loop": steady,
    "fairness": fairness,
    "finished": finished,
    "in-flight": in_flight,
    "processes": processes,
    "steps": steps,
    "payload": payloads,
    "memory": memory,
    "crash": crash,
    "snapshot": snapshot,
    "purge": purged,
}

OLD = Retention(completed=timedelta(days=365))


def add_growth(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all if left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the points there, beside those of other parts")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured for each point")
    parser.add_argument("--finished", type=_numbers, default=[0, 1_000_000], metavar="N,...")
    parser.add_argument("--in-flight", type=_numbers, default=[1_000, 10_000], metavar="N,...")
    parser.add_argument("--crashed", type=_numbers, default=[10_000], metavar="N,...")
    parser.add_argument("--purged", type=_numbers, default=[1_000_000], metavar="N,...")
    parser.add_argument("--beside", type=int, default=100, help="sagas of a slow or flooded service in flight")
    parser.add_argument("--memory-seconds", type=float, default=120.0, help="how long the part about memory runs")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Run the parts, and say each point as it comes."""
    unknown = set(asked.parts) - set(PARTS)
    if unknown:
        print(f"{', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
        return 2
    points = []
    with servers() as at:
        for name in asked.parts or PARTS:
            for point in PARTS[name](at, asked):
                points.append(point)
                print(_line(point), flush=True)
                if asked.json:
                    _keep(asked.json, points)
    return 0


def _noop(found: Place, asked: argparse.Namespace, count: int = IN_FLIGHT, *, system: str = "sagaflow") -> Measured:
    (measured,) = take_turn(system, found, [Job("noop", Pace(count, 2.0, asked.seconds, PATIENCE_SECONDS))])
    return measured


def _workloads(prefix: str, at: Servers, asked: argparse.Namespace) -> Iterator[Point]:
    for name in GROWN:
        if name.startswith(prefix):
            with place(at) as found:
                pace = Pace(IN_FLIGHT // 10 if prefix == "payload" else IN_FLIGHT, 2.0, asked.seconds, PATIENCE_SECONDS)
                (measured,) = take_turn("sagaflow", found, [Job(name, pace)])
                yield Point.of(prefix, name.removeprefix(f"{prefix}-"), measured)


async def _with_snapshot(found: Place, asked: argparse.Namespace, held: bool) -> Measured:
    async with AsyncExitStack() as stack:
        for database in (found.coordinator, *found.services.values()) if held else ():
            await stack.enter_async_context(_snapshot(database))
        return await asyncio.to_thread(_noop, found, asked)


@asynccontextmanager
async def _snapshot(database: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(database)
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("SELECT 1")  # the snapshot is taken by the first statement
        yield
    await connection.close()


async def _with_purge(found: Place, asked: argparse.Namespace) -> Measured:
    async with beside(_purge_beside, found):
        return await asyncio.to_thread(_noop, found, asked)


async def _purge_beside(ready: Callable[[], None], found: Place) -> None:
    async with PostgresStore.connect(found.coordinator) as store:
        purging = asyncio.create_task(purge_sagas(store, OLD))
        ready()
        await until_told_to_end()
        purging.cancel()  # it may be stopped anywhere
        await asyncio.wait({purging})


async def _purge_left(found: Place) -> int:
    async with PostgresStore.connect(found.coordinator) as store:
        return (await purge_sagas(store, OLD, rest=0.0)).total()


async def _crash(found: Place, count: int) -> float:
    await migrate(found)
    async with beside(_start, found, count) as victim:
        os.kill(victim, signal.SIGKILL)  # all are started and sent, none is served
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        for service in SERVICES:
            await stack.enter_async_context(beside(serve_one, found, service))
        await stack.enter_async_context(beside(coordinate, found))
        connection = await asyncpg.connect(found.coordinator)
        while await connection.fetchval("SELECT EXISTS (SELECT FROM sagaflow.agenda)"):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.2)
        completed = await connection.fetchval("SELECT count(*) FROM sagaflow.saga WHERE status = 'COMPLETED'")
        await connection.close()
    assert completed == count, f"{completed} of {count} sagas are completed"
    return time.perf_counter() - began


async def _start(ready: Callable[[], None], found: Place, count: int) -> None:
    async with coordinator(found) as sagas:
        for first in range(0, count, START_TOGETHER):
            some = {str(number): number for number in range(first, min(count, first + START_TOGETHER))}
            await sagas.start_many(SAGAS["noop"], some)
        ready()
        await asyncio.Event().wait()


def _line(point: Point) -> str:
    figures = {name: value for name, value in asdict(point).items() if name not in ("part", "at") and value}
    return f"{point.part:9} {point.at:>9}  " + "  ".join(f"{name} {value:,}" for name, value in figures.items())


def _keep(file: Path, points: Sequence[Point]) -> None:
    measured = {point.part for point in points}
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else []
    kept = [point for point in before if point["part"] not in measured]
    file.write_text(json.dumps([*kept, *map(asdict, points)], indent=2) + "\n")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
