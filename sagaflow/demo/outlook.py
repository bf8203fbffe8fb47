"""The last words of the demo: what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sagaflow.demo import EXAMPLES
from sagaflow.runners.overviews import Overview


def program() -> str:
    """What to type for the command that is running now: `sagaflow`, or where it lies if that would not find it."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m sagaflow.cli"
    found = shutil.which("sagaflow")
    if found is not None and Path(found).resolve() == called.resolve():
        return "sagaflow"
    return _from_here(called)


def say_what_next(console: Console, *, database: str | None, stuck: Overview | None) -> None:
    """Say what to type; `database` is where the sagas of the demo are kept, if they are."""
    console.print("\nWhat to type next:\n", style="bold")
    suggestions = list(_suggestions(database, stuck))
    width = max(len(command) for command, meaning in suggestions if meaning)
    for command, meaning in suggestions:
        comment = f"  # {meaning}" if meaning else ""
        console.print(Text(f"  {command.ljust(width)}", "cyan") + Text(comment, "dim"), soft_wrap=True)
    console.print()


def _suggestions(database: str | None, stuck: Overview | None) -> Iterator[tuple[str, str]]:
    sagaflow = program()
    if database is not None:
        yield f"export SAGAFLOW_DATABASE={shlex.quote(database)}", ""
        yield f"{sagaflow} list", "all sagas of this demo"
    if database is not None and stuck is not None:
        yield f"{sagaflow} show {stuck.saga_id}", "how it got stuck"
    yield f"less {_from_here(EXAMPLES / 'payment/orders/checkout.py')}", "the saga itself"
    yield f"{sagaflow} demo --kill", "the same, with kill -9"
    yield f"{sagaflow} demo --postgres URL --rabbitmq URL", "on real servers"


def _from_here(path: Path) -> str:
    """The path as one would type it in this directory."""
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") else here
