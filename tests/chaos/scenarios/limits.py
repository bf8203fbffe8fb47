"""Processes run out of what their machine gives them: of descriptors, and of memory."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos.scenarios.scene import Scene, until
from tests.chaos.shop.__main__ import COORDINATOR

HOLD_SECONDS: Final = 3.0
FULL: Final = "Too many open files"
VICTIMS: Final = (f"{COORDINATOR}-1", "stock-1", "payments-1")

DESCRIPTORS: Final = 4
"""Fewer than any process has open: what is open stays, and nothing more can be opened."""

MEMORY_GROUPS: Final = Path("/sys/fs/cgroup/memory")
MEMORY_LIMIT: Final = "memory.limit_in_bytes"
MEMORY_BYTES: Final = 2 * 2**20
"""For what a process begins to use once it is there; what it had before counts elsewhere."""


def why_not_here() -> str | None:
    """Why this cannot be played on this machine, if it cannot."""
    if os.geteuid() != 0 or not (MEMORY_GROUPS / MEMORY_LIMIT).exists():
        return f"it takes memory away from processes, and so needs root and {MEMORY_GROUPS}"
    return None


async def run_out(scene: Scene) -> None:
    """First of descriptors, each process by itself; then of memory."""
    for name in VICTIMS:
        ear = scene.listen()
        with _limit(scene, name, resource.RLIMIT_NOFILE, DESCRIPTORS):
            for wire in scene.wires.values():
                for line in wire.lines:
                    line.cut()  # who has to connect anew cannot
            scene.load.tell(await ear.until_said(" WARNING sagaflow", FULL))
            await asyncio.sleep(HOLD_SECONDS)
        await scene.load.goes_on(f"{name} had no descriptors left")
    for name in VICTIMS:
        await _without_memory(scene, name)


async def _without_memory(scene: Scene, name: str) -> None:
    """It is put where there is hardly any; the kernel ends it when it wants more."""
    crew = scene.stage.crew
    member = crew.members[name]
    await crew.until_serving(name)
    life, process = member.lives, member.process
    assert process is not None
    crew.may_end(name)
    with _small_room(scene.stage.namespace) as room:
        (room / "cgroup.procs").write_text(str(process.pid))
        await until(lambda: process.poll() is not None, f"{name} was ended for lack of memory")
        if process.returncode != -signal.SIGKILL:
            raise AssertionError(f"{name} has ended with {process.returncode}; see {member.log}")
    await crew.until_serving(name, after_life=life)
    await scene.load.goes_on(f"{name} was ended by the kernel, for lack of memory")


@contextmanager
def _small_room(name: str) -> Iterator[Path]:
    """A control group in which there is little memory, while it is entered."""
    room = MEMORY_GROUPS / name
    room.mkdir()
    try:
        (room / MEMORY_LIMIT).write_text(str(MEMORY_BYTES))
        yield room
    finally:
        room.rmdir()


@contextmanager
def _limit(scene: Scene, name: str, which: int, soft: int) -> Iterator[None]:
    """A limit of one process, while it is entered; it may end meanwhile."""
    process = scene.stage.crew.members[name].process
    assert process is not None
    before = resource.prlimit(process.pid, which)
    resource.prlimit(process.pid, which, (soft, before[1]))
    try:
        yield
    finally:
        if process.poll() is None:
            resource.prlimit(process.pid, which, before)
