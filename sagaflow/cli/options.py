"""What several commands take, and how they speak."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

FILE_WIDTH: Final = 160

DATABASE_FORM: Final = "postgresql://user:password@host:5432/database or sqlite:///path"
DATABASE_VARIABLE: Final = "SAGAFLOW_DATABASE"
BROKER_VARIABLE: Final = "SAGAFLOW_BROKER"
NAMESPACE: Final = "sagaflow"
"""The namespace where none is said."""

Database = Annotated[
    str, Parameter(env_var=DATABASE_VARIABLE, show_env_var=True, help=f"Where the sagas are kept: {DATABASE_FORM}.")
]
Broker = Annotated[
    str,
    Parameter(env_var=BROKER_VARIABLE, show_env_var=True, help="The broker: amqp://user:password@host:5672/."),
]
Namespace = Annotated[str, Parameter(help="The first part of the names of all queues.")]
SagaMeant = Annotated[str, Parameter(help="The id of a saga, or its key.")]
Reason = Annotated[str, Parameter(help="Why; it is written to the journal of the saga.")]
Actor = Annotated[str | None, Parameter(help="In whose name; the user of this machine if left out.")]
Step = Annotated[
    str | None,
    Parameter(help="Which step, with its participant or without; the only one that is stuck if left out."),
]
Limit = Annotated[int, Parameter(validator=validators.Number(gte=1), help="How many at most.")]
Timeout = Annotated[
    float | None,
    Parameter(validator=validators.Number(gte=0), help="Wait no longer than so many seconds; else for ever."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for programs.")]


def console() -> Console:
    """Where people read. Lines that go to a file or to another program are as wide as they need to be."""
    is_file = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=FILE_WIDTH if is_file else None)


def new_table(*titles: str) -> Table:
    """A table as all commands print it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def print_json(value: Any) -> None:
    """One value as one line of JSON."""
    print(json.dumps(value, default=_as_json, ensure_ascii=False))


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def moment(at: datetime | None) -> str:
    """A time as people read it, by the clock of their machine."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def this_user() -> str:
    """Who types."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid {os.getuid()}"


def as_typed(words: Sequence[str], database: str) -> str:
    """A command as it is typed, with its database. A password is not repeated."""
    if os.environ.get(DATABASE_VARIABLE) == database:
        return shlex.join(words)
    if urlsplit(database).password is not None:
        return shlex.join(words) + f" (with the same --database, or {DATABASE_VARIABLE} set to it)"
    *most, last = words
    end = [last] if last == "--yes" else []
    return shlex.join([*(most if end else words), "--database", database, *end])
