"""The tables of sagaflow in a database: `sagaflow db upgrade | status | sql`.

Those of a SQLite file are made when it is opened; there is one version of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from sagaflow.adapters import postgres
from sagaflow.adapters.postgres import MigrationStatus
from sagaflow.cli.options import Database, Json, console, moment, new_table, print_json
from sagaflow.cli.progress import progress
from sagaflow.cli.servers import Line, opened_store, opened_transactions, sqlite_path

Whose = Annotated[Line, Parameter(help="Whose tables: coordinator (keeps sagas) or participant (does steps).")]


async def upgrade(line: Whose, /, *, database: Database) -> None:
    """Make the tables, or bring them to this version. Nothing else of sagaflow ever does."""
    if sqlite_path(database) is not None:
        await _open(line, database, create=True)
        print(f"the {line} tables are up to date")
        return
    async with postgres.connect(database) as connection:
        with progress(f"upgrading the {line} tables", hidden=False):
            applied = await postgres.upgrade(connection, postgres.Line(line))
    for migration in applied:
        print(f"applied {migration}")
    if not applied:
        print(f"the {line} tables are up to date")


async def status(line: Whose, /, *, database: Database, json: Json = False) -> int:
    """Say which migrations a database has. Exit code 0: all, and no others."""
    if sqlite_path(database) is not None:
        await _open(line, database, create=False)
        print(f"the {line} tables are up to date")
        return 0
    async with postgres.connect(database) as connection:
        migrations = await postgres.status(connection, postgres.Line(line))
    if json:
        for one in migrations:
            print_json({"number": one.number, "name": one.name, "applied_at": one.applied_at, "problem": one.problem})
    else:
        _draw(migrations)
    return 0 if all(one.applied_at is not None and one.problem is None for one in migrations) else 1


def sql(
    line: Whose,
    /,
    *,
    from_: Annotated[int, Parameter(name="--from", help="Only the migrations after this number.")] = 0,
    to: Annotated[int | None, Parameter(help="Only those up to this one.")] = None,
) -> None:
    """Print what `upgrade` would do to PostgreSQL, as a script for those who apply it by their own means."""
    print(postgres.sql(postgres.Line(line), from_, to), end="")


async def _open(line: Line, database: str, *, create: bool) -> None:
    opened = opened_store if line == "coordinator" else opened_transactions
    async with opened(database, create=create):
        pass


def _draw(migrations: Sequence[MigrationStatus]) -> None:
    table = new_table("migration", "applied", "problem")
    for one in migrations:
        applied = moment(one.applied_at) or "not yet"
        table.add_row(f"{one.number:04}_{one.name}", applied, one.problem or "")
    console().print(table)
