"""The systems that are measured, by name. Each is a page, so that anyone can judge whether it is treated fairly."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.place import Place
from benchmarks.systems.floor import open_floor
from benchmarks.systems.guarded import restate_server
from benchmarks.systems.sagaflow import open_sagaflow
from benchmarks.systems.system import RunOne, System
from benchmarks.workloads import WORKLOADS

SETUP = "`make bench-setup` installs it"


def _peer(
    name: str,
    *,
    needs: tuple[str, ...],
    without: str = "",
    find: Callable[[], Path | None] = lambda: Path(),
    most: int = 500,
) -> System:
    """A system that is imported only when it is run, and may be missing."""

    def missing() -> str | None:
        lacking = [module for module in needs if find_spec(module) is None]
        lacking += ["its server"] if find() is None else []
        return f"{', '.join(lacking)} not found; {SETUP}" if lacking else None

    def open_(place: Place) -> AbstractAsyncContextManager[RunOne]:
        opens: Callable[[Place], AbstractAsyncContextManager[RunOne]]
        opens = getattr(import_module(f"benchmarks.systems.{name}"), f"open_{name}")
        return opens(place)

    return System(name, open_, frozenset(WORKLOADS) - {without}, missing, most)


SYSTEMS = {
    system.name: system
    for system in (
        System("sagaflow", open_sagaflow),
        System("floor-1", partial(open_floor, batch=1)),
        System("floor-50", partial(open_floor, batch=50)),
        _peer("dbos", needs=("dbos",), most=100),
        _peer("restate", needs=("restate", "hypercorn", "aiohttp"), find=restate_server),
        _peer("celery", needs=("celery", "psycopg"), without="parallel"),
    )
}

VARIANTS = {
    f"{count} processes": System(f"{count} processes", partial(open_sagaflow, coordinators=count, workers=count))
    for count in (1, 2, 4)
}
"""sagaflow with so many coordinators, and so many workers for each participant."""
