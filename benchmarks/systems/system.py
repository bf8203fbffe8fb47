"""What a system under measurement is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from benchmarks.place import Place
from benchmarks.workloads import WORKLOADS, Workload

RunOne = Callable[[Workload, str, int], Awaitable[None]]
"""Run one saga of the workload under a key, paying into an account; return when it has ended as it should."""


@dataclass(frozen=True)
class System:
    """A way to run sagas.

    `open` is entered in a process of its own, which is the one that starts the sagas; whatever else the system
    consists of is started by it, and gone when it is left.
    """

    name: str
    open: Callable[[Place], AbstractAsyncContextManager[RunOne]]
    workloads: frozenset[str] = field(default=frozenset(WORKLOADS))
    missing: Callable[[], str | None] = lambda: None
    """What has to be installed first, if anything."""
    in_flight_max: int = 10_000
    """It is not asked for more at a time than this, if more make it slower."""
