"""How far long work has come: on standard error, only if that is a terminal, and never with --json."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Bar:
    """What is shown of some work."""

    def __init__(self, shown: Progress, what: str, total: int | None) -> None:
        self._shown = shown
        self._task = shown.add_task(what, total=total)

    def advance(self, what: str | None = None) -> None:
        """One more is done; `what` is said from now on."""
        if what is None:
            self._shown.advance(self._task)
        else:
            self._shown.update(self._task, advance=1, description=what)


@contextmanager
def progress(what: str, *, hidden: bool, total: int | None = None) -> Iterator[Bar]:
    """Shows that work is going on, and with `total` how much of it is done; takes itself away in the end."""
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    columns += [] if total is None else [BarColumn(), MofNCompleteColumn()]
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=hidden or not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),  # lines for a file go there, and not to the terminal
    ) as shown:
        yield Bar(shown, what, total)
