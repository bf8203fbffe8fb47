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
import os
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery, Task, chain
from celery.signals import worker_ready

from benchmarks.place import Place
from benchmarks.systems import guarded
from benchmarks.systems.system import RunOne
from benchmarks.workloads import Act, Workload

PAY = "UPDATE account SET balance = balance + 1 WHERE id = %s"
PUBLISHERS = 4
"""Threads that publish the first task of a chain and wait for its confirm."""


class Refused(Exception):
    """A business no."""


app = Celery("bench", set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue_type="quorum",
    broker_transport_options={"confirm_publish": True},
    worker_prefetch_multiplier=64,
    worker_hijack_root_logger=False,
)
place: Place | None = None
databases: dict[str, psycopg.Connection] = {}
bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def configure(at: Place) -> None:
    """Say where the broker and the databases are."""
    global place
    place = at
    app.conf.update(broker_url=at.broker, task_default_queue=at.namespace)


if "SAGAFLOW_BENCHMARK_BELL" in os.environ:  # this is the worker
    configure(Place.from_environment())


@app.task(bind=True, throws=(Refused,))
def act(self: Task, service: str, what: str, account: int, key: str, last: bool) -> None:
    """One step or one undo, in a process of the worker."""
    if what == Act.PAY:
        if service not in databases:
            assert place is not None
            databases[service] = psycopg.connect(place.services[service], autocommit=True)
        databases[service].execute(PAY, (account,))
    if what == Act.REFUSE:
        raise Refused
    if last:
        bell.sendto(key.encode(), os.environ["SAGAFLOW_BENCHMARK_BELL"])


def chain_of(workload: Workload, key: str, account: int) -> Any:
    """The chain of a saga; its last task rings the bell."""
    acts = [act.si(service, what.value, account, key, False) for service, what in workload.steps]
    undoing = [act.si(service, what.value, account, key, False) for service, what in workload.undoing]
    (undoing or acts)[-1].args = (*(undoing or acts)[-1].args[:-1], True)
    for before, after in zip(undoing, undoing[1:], strict=False):
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
        command = guarded.python("-m", "celery", "-A", __name__, "worker", "--loglevel", "ERROR", "--without-gossip")
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


@worker_ready.connect
def _say_ready(**_: object) -> None:
    Path("ready").touch()


def _ready(file: Path) -> None:
    if not file.exists():
        raise TimeoutError("the worker is not ready")
