"""Celery's tasks, which its worker runs. What it is: celery.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psycopg
from celery import Celery, Task
from celery.signals import worker_ready

from benchmarks.place import Place
from benchmarks.workloads import Act

PAY = "UPDATE account SET balance = balance + 1 WHERE id = %s"


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


@worker_ready.connect
def _say_ready(**_: object) -> None:
    Path("ready").touch()
