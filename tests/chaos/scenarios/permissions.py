"""Rights are taken away while everything runs, and granted again. The processes say which, and go on by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from tests.chaos.scenarios.scene import Ear, Scene
from tests.chaos.shop.__main__ import COORDINATOR

HOLD_SECONDS: Final = 3.0
"""How long a right is missing, once somebody has said so."""

SERVICE: Final = "stock"
RIGHTS: Final[Sequence[tuple[str, str, str]]] = [
    (COORDINATOR, "INSERT ON sagaflow.journal", "permission denied for table journal"),
    (COORDINATOR, "SELECT ON sagaflow.payload", "permission denied for table payload"),
    (COORDINATOR, "DELETE ON sagaflow.agenda", "permission denied for table agenda"),
    (COORDINATOR, "USAGE ON SCHEMA sagaflow", "permission denied for schema sagaflow"),
    (SERVICE, "INSERT ON sagaflow_participant.barrier", "permission denied for table barrier"),
    (SERVICE, "USAGE ON SCHEMA sagaflow_participant", "permission denied for schema sagaflow_participant"),
]
"""In whose database, which right, and how the server denies it."""

ALL: Final = (".*", ".*", ".*")
"""What the user may configure, write and read."""
NO_WRITING: Final = (".*", "^$", ".*")
NO_READING: Final = (".*", ".*", "^$")


async def take_rights_away(scene: Scene) -> None:
    """First those of databases, then those at the broker."""
    for role, right, denied in RIGHTS:
        await _without_right(scene, role, right, denied)
    await _without_permissions(scene, None, "does not let user")
    await _without_permissions(scene, NO_WRITING, "refused for user")
    await _without_permissions(scene, NO_READING, "refused for user")


async def _without_right(scene: Scene, role: str, right: str, denied: str) -> None:
    ear = scene.listen()
    who = scene.stage.logins[role]
    connection = await asyncpg.connect(scene.stage.databases[role])
    try:
        await connection.execute(f"REVOKE {right} FROM {who}")
        try:
            scene.load.tell(await ear.until_said(denied, "; run: GRANT "))
            await asyncio.sleep(HOLD_SECONDS)
        finally:
            await connection.execute(f"GRANT {right} TO {who}")
    finally:
        await connection.close()
    await _goes_on(scene, ear, f"{role} had no {right}")


async def _without_permissions(scene: Scene, left: Sequence[str] | None, denied: str) -> None:
    ear = scene.listen()
    control = scene.servers.control_broker
    user = urlsplit(scene.servers.broker.url).username or ""
    if left is None:
        await asyncio.to_thread(control, "clear_permissions", "-p", "/", user)
    else:
        await asyncio.to_thread(control, "set_permissions", "-p", "/", user, *left)
    try:
        # What a channel has been allowed before, the broker remembers for as long as the channel lives.
        await asyncio.to_thread(control, "close_all_connections", "the rights of its user have changed")
        scene.load.tell(await ear.until_said(denied, "; run: rabbitmqctl set_permissions "))
        await asyncio.sleep(HOLD_SECONDS)
    finally:
        await asyncio.to_thread(control, "set_permissions", "-p", "/", user, *ALL)
    await _goes_on(scene, ear, f"the broker's user had {left or 'no permissions'}")


async def _goes_on(scene: Scene, ear: Ear, what: str) -> None:
    await scene.load.goes_on(what)
    tracebacks = [line for line in ear.lines if "InsufficientPrivilege" in line or "ChannelAccessRefused" in line]
    if tracebacks:
        raise AssertionError(f"a missing right was told with a traceback: {tracebacks[0]}")
