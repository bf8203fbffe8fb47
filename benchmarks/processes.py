"""Processes beside this one, and the CPU time of all of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import psutil
import uvloop

READY_SECONDS = 60.0
END_SECONDS = 20.0

Main = Callable[..., Coroutine[Any, Any, None]]
"""Given `ready` to call when it serves, and then the arguments; serves until `until_told_to_end` returns."""


@asynccontextmanager
async def beside(main: Main, *arguments: Any) -> AsyncIterator[int]:
    """A process that runs `main` on uvloop, from when it is ready until this is left. Yields its id.

    It ends with this process too, however this one ends.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(main, theirs, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not await asyncio.to_thread(ours.poll, READY_SECONDS):
            raise TimeoutError(f"{main.__module__}.{main.__qualname__} is not ready after {READY_SECONDS:.0f} s")
        ours.recv()  # EOFError: it ended; what it printed says why
        assert process.pid is not None
        yield process.pid
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, END_SECONDS)
        process.kill()
        await asyncio.to_thread(process.join)
        ours.close()


async def until_told_to_end() -> None:
    """Wait until this process is terminated, or its parent has ended."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    parent = multiprocessing.parent_process()
    assert parent is not None
    loop.add_reader(parent.sentinel, told.set)
    await told.wait()
    loop.remove_reader(parent.sentinel)


def cpu_seconds_beside() -> float:
    """User and system time of the parent's descendants so far, living or waited for: this process, those that it has
    started, and the servers that its parent has started. Not the parent itself."""
    return sum(_cpu_seconds(process) for process in psutil.Process(os.getppid()).children(recursive=True))


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # it ended just now; what it used is in its parent's children
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _run(main: Main, ready: Connection, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    uvloop.run(main(lambda: ready.send(None), *arguments))
