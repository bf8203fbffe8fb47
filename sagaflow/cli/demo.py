"""`sagaflow demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter, validators

from sagaflow.cli.options import Json

SERVERS = Group("Real servers (both or neither)", validator=validators.all_or_none)


def demo(
    *,
    postgres: Annotated[
        str | None,
        Parameter(group=SERVERS, help="Use this PostgreSQL: postgresql://user:password@host:5432/database."),
    ] = None,
    rabbitmq: Annotated[
        str | None, Parameter(group=SERVERS, help="Use this RabbitMQ: amqp://user:password@host:5672/.")
    ] = None,
    kill: Annotated[bool, Parameter(negative="", help="Kill the coordinator with SIGKILL in the middle.")] = False,
    orders: Annotated[int, Parameter(validator=validators.Number(gte=1), help="How many orders.")] = 12,
    json: Json = False,
    directory: Annotated[Path | None, Parameter(help="Keep the files of the demo here.")] = None,
) -> int:
    """Watch a payment saga of three services succeed, fail, be undone, get stuck and be repaired.

    Without servers it plays in one process over SQLite files; with them, as four processes over databases and
    queues that are made for it and removed afterwards. Exit code 0 says that every saga ended as it
    should and that the books of all services agree.
    """
    from sagaflow.demo.main import Settings, run  # the demo brings its own world, which no other command needs

    servers = None if postgres is None or rabbitmq is None else (postgres, rabbitmq)
    return run(Settings(orders=orders, kill=kill, json=json, servers=servers, directory=directory))
