"""What can be asked of a database by somebody who wants to know whether all is well. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sagaflow.adapters.postgres.database import AnyConnection, explaining
from sagaflow.adapters.postgres.migrations import Line
from sagaflow.definitions.named_queries import load

_SQL: Final = load(__package__, "examining_queries.sql")


async def clock(connection: AnyConnection) -> datetime:
    """The time of the server."""
    async with explaining(Line.COORDINATOR.mend, connection):
        now: datetime = await connection.fetchval(_SQL["clock"])
        return now


async def role(connection: AnyConnection) -> str:
    """As whom we are connected."""
    async with explaining(Line.COORDINATOR.mend, connection):
        return str(await connection.fetchval(_SQL["role"]))


async def grants_needed(connection: AnyConnection, line: Line) -> Sequence[str]:
    """What has to be granted to this role so that it can use the tables of a line, such as USAGE ON SCHEMA sagaflow."""
    schema = line.mend.schema
    async with explaining(line.mend, connection):
        may_use = await connection.fetchval(_SQL["may_use"], schema)
        missing = await connection.fetch(_SQL["missing_rights"], schema)
    by_table: dict[str, list[str]] = {}
    for row in missing:
        by_table.setdefault(row["name"], []).append(row["wanted"])
    grants = [f"{', '.join(rights)} ON {schema}.{table}" for table, rights in by_table.items()]
    return [f"USAGE ON SCHEMA {schema}", *grants] if may_use is False else grants


async def running(connection: AnyConnection) -> int:
    """How many processes of coordinators are believed alive."""
    async with explaining(Line.COORDINATOR.mend, connection):
        return int(await connection.fetchval(_SQL["running"]))


async def unattended(connection: AnyConnection) -> Mapping[str, int]:
    """The names of coordinators that have open sagas and no process that is believed alive, and how many sagas."""
    async with explaining(Line.COORDINATOR.mend, connection):
        return {row["coordinator"]: row["sagas"] for row in await connection.fetch(_SQL["unattended"])}
