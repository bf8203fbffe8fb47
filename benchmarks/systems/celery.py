"""Celery: a chain of three tasks over the same RabbitMQ.

Tasks are acknowledged late, messages are persistent in quorum queues and published with confirms, results are off, and
workers prefetch 64 tasks for each of their processes, as its guide advises for many short tasks. There is one worker
with a process for each core, which is the default.

It remembers nothing: where a chain stands is only in the message that is on its way. A refusal calls an error
callback; each undo is a task that calls the next. The end of a chain is told to the process that waits by a datagram,
which costs less than a result. Tasks side by side that are joined need a result backend; that is left out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from celery import chain

from benchmarks.place import Place
from benchmarks.systems import guarded
from benchmarks.systems.celery_tasks import act, configure
from benchmarks.systems.system import RunOne
from benchmarks.workloads import Workload

PUBLISHERS = 4
"""Threads that publish the first task of a chain and wait for its confirm."""


def chain_of(workload: Workload, key: str, account: int) -> Any:
    """The chain of a saga; its last task rings the bell."""
    acts = [act.si(service, what.value, account, key, False) for service, what in workload.steps]
    undoing = [act.si(service, what.value, account, key, False) for service, what in workload.undoing]
    (undoing or acts)[-1].args = (*(undoing or acts)[-1].args[:-1], True)
    for before, after in pairwise(undoing):
        before.link(after)
    if undoing:
        acts[-1].link_error(undoing[0])
    return chain(*acts)


@asynccontextmanager
async def open_celery(at: Place) -> AsyncIterator[RunOne]:
    """A worker beside, and who starts the chains here."""
    configure(at)
    loop = asyncio.get_running_loop()
    directory = guarded.own_directory("celery")
    ended: dict[str, asyncio.Future[None]] = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bells:
        bells.bind(str(directory / "bell"))
        bells.setblocking(False)

        def ring() -> None:
            with suppress(BlockingIOError):
                while True:
                    ended.pop(bells.recv(256).decode()).set_result(None)

        loop.add_reader(bells, ring)
        command = guarded.python(
            "-m", "celery", "-A", f"{__name__}_tasks", "worker", "--loglevel", "ERROR", "--without-gossip"
        )
        ready = partial(_ready, directory / "ready")
        async with guarded.program(
            "celery", command, ready, directory=directory, place=at, SAGAFLOW_BENCHMARK_BELL=str(directory / "bell")
        ):

            async def run(workload: Workload, key: str, account: int) -> None:
                end = ended[key] = loop.create_future()
                await loop.run_in_executor(publishing, chain_of(workload, key, account).apply_async)
                await end

            with ThreadPoolExecutor(PUBLISHERS) as publishing:
                yield run
        loop.remove_reader(bells)


def _ready(file: Path) -> None:
    if not file.exists():
        raise TimeoutError("the worker is not ready")
