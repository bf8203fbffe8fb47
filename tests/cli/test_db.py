"""The tables: made, looked at, printed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from sagaflow.adapters import postgres
from tests.cli.conftest import Sagaflow

LINES = ["coordinator", "participant"]


@pytest.mark.parametrize("line", LINES)
def test_upgrade_makes_what_is_missing(sagaflow: Sagaflow, database_url: str, line: str) -> None:
    before = sagaflow("db", "status", line, "--database", database_url)
    assert before.code == 1
    assert re.search(r"0001_tables +not yet", before.output)
    first = sagaflow("db", "upgrade", line, "--database", database_url)
    assert (first.code, first.errors) == (0, "")
    assert first.output.startswith("applied 0001_tables\n")
    again = sagaflow("db", "upgrade", line, "--database", database_url)
    assert (again.code, again.output) == (0, f"the {line} tables are up to date\n")
    after = sagaflow("db", "status", line, "--json", "--database", database_url)
    assert after.code == 0
    assert after.lines[0]["name"] == "tables"
    assert all(one["applied_at"] and one["problem"] is None for one in after.lines)


def test_after_an_upgrade_there_are_sagas_to_list(sagaflow: Sagaflow, database_url: str) -> None:
    sagaflow("db", "upgrade", "coordinator", "--database", database_url)
    said = sagaflow("list", "--database", database_url)
    assert (said.code, said.output) == (0, "no saga matches\n")


@pytest.mark.parametrize("line", LINES)
def test_sql_does_the_same_as_upgrade(sagaflow: Sagaflow, database_url: str, line: str) -> None:
    script = sagaflow("db", "sql", line)
    assert script.code == 0
    asyncio.run(execute(database_url, script.output))
    said = sagaflow("db", "upgrade", line, "--database", database_url)
    assert said.output == f"the {line} tables are up to date\n"


async def execute(url: str, script: str) -> None:
    async with postgres.connect(url) as connection:
        await connection.execute(script)


def test_sql_may_begin_after_a_migration(sagaflow: Sagaflow) -> None:
    assert "0001" not in sagaflow("db", "sql", "participant", "--from", "1").output
    whole = sagaflow("db", "sql", "participant", "--to", "1").output
    assert whole.count("BEGIN;") == whole.count("COMMIT;") == 1


@pytest.mark.parametrize("line", LINES)
def test_a_file_gets_its_tables(sagaflow: Sagaflow, tmp_path: Path, line: str) -> None:
    database = f"sqlite:///{tmp_path}/some.sqlite"
    assert sagaflow("db", "status", line, "--database", database).code == 1
    said = sagaflow("db", "upgrade", line, "--database", database)
    assert (said.code, said.output) == (0, f"the {line} tables are up to date\n")
    assert sagaflow("db", "status", line, "--database", database).code == 0
