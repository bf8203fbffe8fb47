"""What a scenario can take hold of, and what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.load import LOOK_SECONDS, PATIENCE_SECONDS, Load
from tests.chaos.servers import Servers
from tests.chaos.stage import Stage
from tests.chaos.wire import Wire

if TYPE_CHECKING:
    from tests.chaos.scenarios.pooler import Pooler


@dataclass(frozen=True)
class Scene:
    """The servers, the wires before them, the shop and its load."""

    servers: Servers
    wires: Mapping[str, Wire]
    stage: Stage
    load: Load
    pooler: Pooler | None = None

    def listen(self) -> Ear:
        """Hear what the processes log from now on."""
        return Ear([member.log for member in self.stage.crew.members.values()])


class Ear:
    """What some processes have logged since it was made."""

    def __init__(self, logs: list[Path]) -> None:
        self._began_at = {log: log.stat().st_size for log in logs}

    @property
    def lines(self) -> list[str]:
        """All of it."""
        found = []
        for path, size in self._began_at.items():
            with path.open("rb") as log:
                log.seek(size)
                found += log.read().decode(errors="replace").splitlines()
        return found

    async def until_said(self, *parts: str) -> str:
        """Wait for a line with all of these parts in it; returns the first."""

        def said() -> list[str]:
            return [line for line in self.lines if all(part in line for part in parts)]

        await until(lambda: bool(said()), f"a process says {parts}")
        return said()[0]


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it.

    Raises:
        TimeoutError: it does not come true.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited in vain until {what}")
        await asyncio.sleep(LOOK_SECONDS)
