"""Where the CPU of a saga goes: user and system time of each process, between two moments of a closed loop."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from functools import partial
from multiprocessing.connection import Connection
from typing import Final

import psutil
import uvloop

from benchmarks.load import Measured, Pace, closed_loop
from benchmarks.place import Place, place, servers
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import ACCOUNTS, WORKLOADS

COORDINATOR: Final = "coordinator"
PARTICIPANTS: Final = "participants"
BROKER: Final = "RabbitMQ"
OF_THE_COORDINATOR: Final = "PostgreSQL for the coordinator"
OF_THE_PARTICIPANTS: Final = "PostgreSQL for the participants"
BACKGROUND: Final = "PostgreSQL in the background"


def run(*, system: str, workload: str, in_flight: int, seconds: float, rounds: int) -> None:
    """Run the system so often, each time afresh, and print what each of its parts used for a saga."""
    with servers() as at:
        for _ in range(rounds):
            with place(at) as found:
                measured, used = _apart(system, found, workload, Pace(in_flight, 1.0, seconds))
            print(
                f"{system} {workload}, {in_flight} in flight: {measured.rate:,.0f} sagas/s, "
                f"p50 {measured.p50_ms:.1f} ms, CPU of a saga {used.total() / measured.sagas:.2f} ms"
            )
            for part, milliseconds in used.most_common():
                print(f"  {milliseconds / measured.sagas:6.3f} ms  {part}", flush=True)


def _apart(system: str, found: Place, workload: str, pace: Pace) -> tuple[Measured, Counter[str]]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_main, args=(theirs, system, found, workload, pace))
    process.start()
    theirs.close()
    try:
        measured, used = ours.recv()  # EOFError: it ended; what it printed says why
        return measured, used
    finally:
        process.join()


def _main(answer: Connection, system: str, found: Place, workload: str, pace: Pace) -> None:
    answer.send(uvloop.run(_measure(system, found, workload, pace)))


async def _measure(system: str, found: Place, workload: str, pace: Pace) -> tuple[Measured, Counter[str]]:
    seen: list[Counter[str]] = []

    def look() -> float:
        seen.append(_by_part(found))
        return seen[-1].total() / 1_000

    async with SYSTEMS[system].open(found) as one:
        measured = await closed_loop(partial(_one, one, workload), pace, look)
    before, after = seen
    return measured, after - before


async def _one(one: object, workload: str, number: int) -> None:
    await one(WORKLOADS[workload], str(number), number % ACCOUNTS)  # type: ignore[operator]


def _by_part(found: Place) -> Counter[str]:
    """CPU milliseconds so far of all that the parent of this process has started, and not of the parent itself."""
    used: Counter[str] = Counter()  # of milliseconds
    for process in psutil.Process(os.getppid()).children(recursive=True):
        try:
            times = process.cpu_times()
            used[_part(process, found)] += round(1_000 * (times.user + times.system))
        except psutil.NoSuchProcess:
            continue
    return used


def _part(process: psutil.Process, found: Place) -> str:
    if process.pid == os.getpid():
        return COORDINATOR
    if process.ppid() == os.getpid():
        return PARTICIPANTS
    title = " ".join(process.cmdline())
    if not title.startswith("postgres") and "/postgres" not in title.split(" ")[0]:
        return BROKER
    if found.coordinator.rpartition("/")[2] in title:
        return OF_THE_COORDINATOR
    if any(database.rpartition("/")[2] in title for database in found.services.values()):
        return OF_THE_PARTICIPANTS
    return BACKGROUND
