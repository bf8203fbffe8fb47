"""Migrations: how the tables come to be, and to be what this version of sagaflow needs.

They are numbered `.sql` files in two lines, one for the database of a coordinator and one for that of a
participant, which may be the same database. Nothing here runs unless it is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache, cached_property
from importlib.resources import files
from typing import Final

from sagaflow.adapters.postgres.database import AnyConnection, explaining
from sagaflow.adapters.postgres.failures import Mend
from sagaflow.definitions.named_queries import load
from sagaflow.errors import SchemaError

_SQL: Final = load(__package__, "migration_queries.sql")

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")

OTHERS_WAIT: Final = "60s"
"""How long to wait for somebody else who is migrating."""
TABLE_WAIT: Final = "5s"
"""How long a migration waits for a table; who uses it meanwhile waits behind the migration."""
MIGRATION_SECONDS: Final = 3600.0


class Line(StrEnum):
    """Whose tables."""

    COORDINATOR = "coordinator"
    PARTICIPANT = "participant"

    @property
    def table(self) -> str:
        """Where it is noted which migrations were applied."""
        return {Line.COORDINATOR: "sagaflow.migration", Line.PARTICIPANT: "sagaflow_participant.migration"}[self]

    @property
    def mend(self) -> Mend:
        """What to type if the tables are missing or too old, or a role may not use them."""
        return Mend(f"run: sagaflow db upgrade {self} --database URL", self.table.partition(".")[0])


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    text: str

    @cached_property
    def checksum(self) -> str:
        """The SHA-256 of its text (64 hexadecimal digits)."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where a database stands with one migration. `applied_at` None: it is still to be applied."""

    number: int
    name: str
    applied_at: datetime | None
    problem: str | None = None
    """Why the database and this version of sagaflow do not fit."""


@cache
def migrations(line: Line) -> Sequence[Migration]:
    """The migrations of a line, in their order."""
    found = []
    for file in files(__package__).joinpath("migrations", line.value).iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def status(connection: AnyConnection, line: Line) -> Sequence[MigrationStatus]:
    """Where a database stands with each migration: those of this version of sagaflow and those it has."""
    async with explaining(line.mend, connection):
        noted = await _noted(connection, line)
    known = {migration.number: migration for migration in migrations(line)}
    return [_status(known.get(number), noted.get(number)) for number in sorted(known.keys() | noted.keys())]


async def upgrade(connection: AnyConnection, line: Line) -> Sequence[Migration]:
    """Apply the migrations that are missing, each in a transaction of its own; returns them.

    Two that do so at once do not harm each other: the second waits, and finds nothing left to do.

    Raises:
        SchemaError: a migration that was applied is not the one of this version; nothing was done.
        Unavailable: the server cannot be reached, or a table could not be locked in time.
        NotPermitted: the role may not do it; the message says what to grant.
    """
    applied: list[Migration] = []
    while True:
        async with explaining(replace(line.mend, migrating=True), connection), connection.transaction():
            migration = await _apply_next(connection, line)
        if migration is None:
            return applied
        applied.append(migration)


async def check(connection: AnyConnection, line: Line) -> None:
    """Raises `SchemaError` unless a database has exactly the migrations of this version of sagaflow."""
    standing = await status(connection, line)
    problem = next((f"{_label(one)} {one.problem}" for one in standing if one.problem), None)
    if problem is not None:
        raise SchemaError(await _complaint(connection, line, f"do not fit: {problem}"))
    missing = [one for one in standing if one.applied_at is None]
    if missing:
        what = "are missing" if len(missing) == len(standing) else f"are too old, without {_label(missing[0])}"
        raise SchemaError(await _complaint(connection, line, f"{what}; {line.mend.upgrade}"))


def sql(line: Line, from_: int = 0, to: int | None = None) -> str:
    """What `upgrade` would do, as a script for psql: the migrations after number `from_` up to `to`."""
    chosen = [one for one in migrations(line) if from_ < one.number and (to is None or one.number <= to)]
    return "\n".join(_script(line, migration) for migration in chosen)


async def _apply_next(connection: AnyConnection, line: Line) -> Migration | None:
    await connection.execute(_SQL["bound_waits"], OTHERS_WAIT)
    await connection.execute(_SQL["lock"], line.value, timeout=MIGRATION_SECONDS)
    await connection.execute(_SQL["bound_waits"], TABLE_WAIT)
    noted = await _noted(connection, line)
    known = {migration.number: migration for migration in migrations(line)}
    for number in noted:
        unfit = _status(known.get(number), noted[number])
        if unfit.problem:
            complaint = f"do not fit: {_label(unfit)} {unfit.problem}; nothing was changed"
            raise SchemaError(await _complaint(connection, line, complaint))
    migration = next((migration for number, migration in known.items() if number not in noted), None)
    if migration is not None:
        await connection.execute(migration.text, timeout=MIGRATION_SECONDS)
        await connection.execute(_SQL[f"note_{line}"], migration.number, migration.name, migration.checksum)
    return migration


@dataclass(frozen=True, slots=True)
class _Noted:
    number: int
    name: str
    checksum: str
    applied_at: datetime


async def _noted(connection: AnyConnection, line: Line) -> Mapping[int, _Noted]:
    if not await connection.fetchval(_SQL["has_table"], line.table):
        return {}
    rows = await connection.fetch(_SQL[f"applied_{line}"])
    return {row["number"]: _Noted(**row) for row in rows}


def _status(known: Migration | None, noted: _Noted | None) -> MigrationStatus:
    if known is None:
        assert noted is not None
        return MigrationStatus(
            noted.number, noted.name, noted.applied_at, "is of a newer sagaflow; install that version here"
        )
    if noted is None:
        return MigrationStatus(known.number, known.name, None)
    changed = "was changed after it was applied" if noted.checksum != known.checksum else None
    return MigrationStatus(known.number, known.name, noted.applied_at, changed)


def _label(standing: MigrationStatus) -> str:
    return f"migration {standing.number:04}_{standing.name}"


async def _complaint(connection: AnyConnection, line: Line, what: str) -> str:
    database = await connection.fetchval(_SQL["database"])
    return f"database {database}: the {line} tables {what}"


def _script(line: Line, migration: Migration) -> str:
    note = _SQL[f"note_{line}"].partition("\n")[2]
    for place, value in enumerate((str(migration.number), f"'{migration.name}'", f"'{migration.checksum}'"), start=1):
        note = note.replace(f"${place}", value)
    return f"BEGIN;\n\n{migration.text}\n{note};\n\nCOMMIT;\n"
