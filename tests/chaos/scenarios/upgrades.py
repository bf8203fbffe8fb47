"""A new version is rolled out: processes are replaced one by one, and migrations run, while orders go on."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from unittest.mock import patch

import asyncpg

from sagaflow.adapters.postgres import Line, connect, migrations, upgrade
from sagaflow.adapters.postgres.migrations import Migration
from sagaflow.errors import Locked
from tests.chaos.crew import REPOSITORY
from tests.chaos.scenarios.scene import Scene
from tests.chaos.shop.__main__ import COORDINATOR, TILL
from tests.chaos.shop.services import SERVICES

BEFORE_VIEWS: Final = """
DROP SCHEMA sagaflow_views CASCADE;
DELETE FROM sagaflow.migration WHERE number >= 4;
"""
"""Takes a database back to the level at which no process misses anything that it needs when it runs."""
AT_LEVEL: Final = "SELECT max(number) FROM sagaflow.migration"

FUTURE: Final = """
ALTER TABLE sagaflow.saga ADD COLUMN future text NOT NULL DEFAULT '';
ALTER TABLE sagaflow.agenda ADD COLUMN future bigint;
ALTER TABLE sagaflow.journal ADD COLUMN future jsonb;
ALTER TABLE sagaflow.payload ADD COLUMN future text;
CREATE INDEX saga_future ON sagaflow.saga (coordinator) WHERE future <> '';
"""
"""What the migration of a later version may do: each statement needs a table for itself, against all that use it."""
NO_FUTURE: Final = """
DROP INDEX sagaflow.saga_future;
ALTER TABLE sagaflow.saga DROP COLUMN future;
ALTER TABLE sagaflow.agenda DROP COLUMN future;
ALTER TABLE sagaflow.journal DROP COLUMN future;
ALTER TABLE sagaflow.payload DROP COLUMN future;
DELETE FROM sagaflow.migration WHERE name = 'future';
"""


async def roll_out(scene: Scene) -> None:
    """Every process is replaced, twice; then a migration that is missing is applied, and then one of the future."""
    for service in SERVICES:
        scene.stage.add(service, 1)
    await _replace(scene)
    await _migrate(scene)
    await _migrate_ahead(scene)


async def _replace(scene: Scene) -> None:
    crew = scene.stage.crew
    names = crew.names(COORDINATOR, TILL, *SERVICES)
    for name in names:
        await crew.renew(name)
    await scene.load.goes_on(f"{len(names)} processes were told to stop, and others serve in their places")
    for name in names:
        life = crew.members[name].lives
        crew.kill(name)
        await crew.until_serving(name, after_life=life)
    await scene.load.goes_on(f"{len(names)} processes were killed, one after the other")


async def _migrate(scene: Scene) -> None:
    """By the command, twice at the same time; at first in vain, since somebody has locked what it needs."""
    url = scene.stage.databases[COORDINATOR]
    connection = await asyncpg.connect(url)
    try:
        before = await connection.fetchval(AT_LEVEL)
        await connection.execute(BEFORE_VIEWS)
        await scene.load.goes_on(f"the database is at level {await connection.fetchval(AT_LEVEL)}")
        async with connection.transaction():
            await connection.execute("LOCK TABLE sagaflow.journal IN ACCESS EXCLUSIVE MODE")
            code, said = await _command(url)
        if code != 1 or "lock timeout" not in said:
            raise AssertionError(f"the migration ended with {code}: {said}")
        scene.load.tell(said)
        await scene.load.goes_on("somebody had locked a table, and the migration was given up")
        for code, said in await asyncio.gather(_command(url), _command(url)):
            scene.load.tell(said)
            if code:
                raise AssertionError(f"the migration ended with {code}: {said}")
        after = await connection.fetchval(AT_LEVEL)
        if after != before:
            raise AssertionError(f"the database was at level {before}, and is at {after}")
    finally:
        await connection.close()
    await scene.load.goes_on("the missing migration was applied")


async def _command(url: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "sagaflow.cli", "db", "upgrade", "coordinator", "--database", url]
    done = await asyncio.to_thread(subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True)
    return done.returncode, f"{done.stdout}{done.stderr}".strip()


async def _migrate_ahead(scene: Scene) -> None:
    """What runs goes on with tables of a later version; what is started refuses them, in one line."""
    url = scene.stage.databases[COORDINATOR]
    tries = await _apply_future(url)
    await scene.load.goes_on(f"a migration of a later version was applied at the {tries}. try")
    ear = scene.listen()
    scene.stage.crew.kill(f"{COORDINATOR}-1")
    scene.load.tell(await ear.until_said("cannot serve: ", "is of a newer sagaflow"))
    await scene.load.goes_on("an old process cannot begin, and the others go on")
    async with connect(url) as connection:
        await _until_done(lambda: connection.execute(NO_FUTURE))
    await scene.stage.crew.until_serving(f"{COORDINATOR}-1")
    await scene.load.goes_on("it was taken back")


async def _apply_future(url: str) -> int:
    known = migrations.migrations

    def ahead(line: Line) -> Sequence[Migration]:
        found = known(line)
        return [*found, Migration(found[-1].number + 1, "future", FUTURE)] if line is Line.COORDINATOR else found

    with patch.object(migrations, "migrations", ahead):
        async with connect(url) as connection:
            return await _until_done(lambda: upgrade(connection, Line.COORDINATOR))


async def _until_done(migrate: Callable[[], Awaitable[object]]) -> int:
    """As one who reads that a table could not be locked in time types it again; returns how often it took."""
    for number in itertools.count(1):
        try:
            await migrate()
            return number
        except (Locked, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            continue
    raise AssertionError("unreachable")
