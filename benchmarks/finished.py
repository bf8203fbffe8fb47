"""Finished sagas by the million, copied within the database from one that was really run."""

from __future__ import annotations

import asyncpg

CHUNK = 100_000

COLUMNS = """
SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position) AS columns
FROM information_schema.columns
WHERE table_schema = 'sagaflow' AND is_generated = 'NEVER' AND identity_generation IS NULL
GROUP BY table_name"""
NEW_ID = "('00000000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid"
"""Older than any that was made by a clock, and growing as those do."""


async def add_finished(database: str, after: int, to: int) -> None:
    """Add the finished sagas from number `after` up to `to`, with all that belongs to a saga in every table."""
    connection = await asyncpg.connect(database, command_timeout=3_600)
    (source,) = await connection.fetch("SELECT id, key FROM sagaflow.saga WHERE status = 'COMPLETED' LIMIT 1")
    tables: dict[str, list[str]] = {row["table_name"]: row["columns"] for row in await connection.fetch(COLUMNS)}
    copies = [_copy("saga", tables["saga"], {"id": NEW_ID, "key": "'copy-' || number"})]
    copies += [_copy(table, columns, {"saga_id": NEW_ID}) for table, columns in tables.items() if "saga_id" in columns]
    for first in range(after, to, CHUNK):
        for statement in copies:
            await connection.execute(statement, source["id"], first, min(to, first + CHUNK) - 1)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def grow_old(database: str) -> None:
    """All that has ended did so years ago."""
    connection = await asyncpg.connect(database)
    await connection.execute(
        "UPDATE sagaflow.saga SET started_at = '2020-01-01', updated_at = '2020-01-01', ended_at = '2020-01-01'"
    )
    await connection.close()


def _copy(table: str, columns: list[str], replaced: dict[str, str]) -> str:
    of = "id" if table == "saga" else "saga_id"
    values = ", ".join(replaced.get(column, column) for column in columns)
    return (
        f"INSERT INTO sagaflow.{table} ({', '.join(columns)}) SELECT {values} FROM sagaflow.{table}, "
        f"generate_series($2::bigint, $3::bigint) AS number WHERE {of} = $1"
    )
