"""One turn of one system: it is opened in a process of its own, runs its workloads one after another, and is gone."""

from __future__ import annotations

import multiprocessing
import secrets
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

import uvloop

from benchmarks.load import Measured, Pace, closed_loop
from benchmarks.place import Place
from benchmarks.processes import cpu_seconds_beside
from benchmarks.systems import SYSTEMS, VARIANTS
from benchmarks.systems.system import RunOne
from benchmarks.workloads import ACCOUNTS, GROWN, WORKLOADS, Workload

OPEN_SECONDS = 120.0
END_SECONDS = 30.0


class TurnFailed(Exception):
    """A system did not do what it should. The message has the traceback of its process."""


@dataclass(frozen=True)
class Job:
    """A workload at a pace."""

    workload: str
    pace: Pace


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
    try:
        patience = OPEN_SECONDS + sum(job.pace.patience_seconds for job in jobs)
        if not ours.poll(patience):
            raise TurnFailed(f"{system}: nothing came back for {patience:.0f} s")
        answer = ours.recv()
    except EOFError:
        raise TurnFailed(f"{system}: its process ended; what it printed says why") from None
    finally:
        process.join(END_SECONDS)
        process.kill()  # what it started ends with it
        process.join()
        ours.close()
    if isinstance(answer, str):
        raise TurnFailed(f"{system}:\n{answer}")
    return list(answer)


def _turn(answers: Connection, system: str, place: Place, jobs: Sequence[Job]) -> None:
    try:
        answer: list[Measured] | str = uvloop.run(_run(system, place, jobs))
    except Exception:  # noqa: BLE001  # all of it is told to who waits
        answer = traceback.format_exc()
    answers.send(answer)


async def _run(system: str, place: Place, jobs: Sequence[Job]) -> list[Measured]:
    results = []
    turn = secrets.token_hex(4)  # what another turn in the same place started is not to be met again
    async with (SYSTEMS | VARIANTS)[system].open(place) as run:
        for number, job in enumerate(jobs):
            one = partial(_one, run, (WORKLOADS | GROWN)[job.workload], f"{turn}-{number}")
            results.append(await closed_loop(one, job.pace, cpu_seconds_beside))
    return results


async def _one(run: RunOne, workload: Workload, job: str, saga: int) -> None:
    await run(workload, f"{job}-{saga}", saga % ACCOUNTS)
