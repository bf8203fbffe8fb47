"""One turn of one system: it is opened in a process of its own, runs its workloads one after another, and is gone."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import secrets
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

import uvloop

from benchmarks.load import Measured, Pace, closed_loop, open_loop
from benchmarks.place import Place
from benchmarks.processes import cpu_seconds_beside
from benchmarks.systems import SYSTEMS, VARIANTS
from benchmarks.systems.system import RunOne
from benchmarks.workloads import ACCOUNTS, GROWN, WORKLOADS, Workload

OPEN_SECONDS = 120.0
END_SECONDS = 30.0


class TurnFailed(Exception):
    """A system did not do what it should. The message has the traceback of its process; `measured` is what it had done
    before, one result for each of the first jobs."""

    def __init__(self, message: str, measured: Sequence[Measured] = ()) -> None:
        super().__init__(message)
        self.measured = measured


@dataclass(frozen=True)
class Job:
    """A workload at a pace."""

    workload: str
    pace: Pace
    rate: float = 0.0
    """If it is more than 0, so many are started each second, instead of so many being in flight."""
    beside: str = ""
    """A workload of which as many as the pace says are in flight meanwhile, and which is not measured."""


def take_turn(system: str, place: Place, jobs: Sequence[Job]) -> list[Measured]:
    """Run the jobs on the system; one result for each.

    Raises:
        TurnFailed: it did not get through; all that it started is ended.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_turn, args=(theirs, system, place, jobs))
    process.start()
    theirs.close()
    results: list[Measured] = []
    patience = OPEN_SECONDS + max((job.pace.patience_seconds for job in jobs), default=0.0)
    try:
        while True:
            if not ours.poll(patience):
                raise TurnFailed(f"{system}: nothing came back for {patience:.0f} s", results)
            match ours.recv():
                case None:
                    return results
                case str(text):
                    raise TurnFailed(f"{system}:\n{text}", results)
                case measured:
                    results.append(measured)
    except EOFError:
        raise TurnFailed(f"{system}: its process ended; what it printed says why", results) from None
    finally:
        process.join(END_SECONDS)
        process.kill()  # what it started ends with it
        process.join()
        ours.close()


def _turn(answers: Connection, system: str, place: Place, jobs: Sequence[Job]) -> None:
    try:
        uvloop.run(_run(system, place, jobs, answers.send))
    except Exception:  # noqa: BLE001  # all of it is told to who waits
        answers.send(traceback.format_exc())
    else:
        answers.send(None)


async def _run(system: str, place: Place, jobs: Sequence[Job], tell: Callable[[Measured], None]) -> None:
    turn = secrets.token_hex(4)  # what another turn in the same place started is not to be met again
    async with (SYSTEMS | VARIANTS)[system].open(place) as run:
        for number, job in enumerate(jobs):
            one = partial(_one, run, (WORKLOADS | GROWN)[job.workload], f"{turn}-{number}")
            other = (WORKLOADS | GROWN).get(job.beside)
            async with (
                _in_flight(partial(_one, run, other, f"{turn}-{number}-beside"), job.pace) if other else _alone()
            ):
                if job.rate:
                    tell(await open_loop(one, job.rate, job.pace, cpu_seconds_beside))
                else:
                    tell(await closed_loop(one, job.pace, cpu_seconds_beside))


@asynccontextmanager
async def _in_flight(run: Callable[[int], Awaitable[None]], pace: Pace) -> AsyncIterator[None]:
    """Run sagas until this is left and the last of them has ended."""
    is_over = asyncio.Event()
    numbers = itertools.count()

    async def follow() -> None:
        while not is_over.is_set():
            await run(next(numbers))

    async with asyncio.TaskGroup() as group:
        for _ in range(pace.concurrency):
            group.create_task(follow())
        try:
            yield
        finally:
            is_over.set()


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    yield


async def _one(run: RunOne, workload: Workload, job: str, saga: int) -> None:
    await run(workload, f"{job}-{saga}", saga % ACCOUNTS)
