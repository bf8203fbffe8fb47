"""The views for people: what docs/data.md asks of them works, and nothing that somebody said is in them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from sagaflow.adapters.postgres import Line, PostgresStore, connect, upgrade
from sagaflow.core import events
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import INPUT_STEP, Change, Payload, PayloadKind, PutAside
from sagaflow.testing.store_contract import DONE, NOT_YET, STARTED, happens, insert, new_saga, save

CANARY = "4111-1111-canary"

VIEWS = ("runs", "steps", "failures", "put_aside")

QUERIES = re.findall(
    r"```sql\n(.*?)```", (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with a completed saga, one that fails on and off, and secrets wherever one may be."""
    async with connect(database_url) as connection:
        await upgrade(connection, Line.COORDINATOR)
        async with PostgresStore.connect(database_url) as store:
            first, second = new_saga(key="order-1"), new_saga(key="order-2")
            said = Payload(first.saga_id, INPUT_STEP, PayloadKind.INPUT, 1, f'"{CANARY}"'.encode())
            await insert(store, happens(first, STARTED, payloads=[said]), happens(second, STARTED))
            first, second = await store.find([first.saga_id, second.saga_id])
            await save(store, happens(first, DONE), failing(happens(second, NOT_YET)))
            await store.put_aside([PutAside("replies.shop", CANARY, CANARY.encode())])
        yield connection


def failing(change: Change) -> Change:
    """With an error that tells a secret."""
    error = ErrorInfo("CardError", f"card {CANARY} is blocked", CANARY)
    return replace(change, journal=[replace(entry, error=error) for entry in change.journal])


async def test_a_run_is_seen_as_it_stands(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT key, saga, status, took FROM sagaflow_views.runs ORDER BY key")
    assert [tuple(row)[:3] for row in rows] == [("order-1", "short", "COMPLETED"), ("order-2", "short", "RUNNING")]
    assert rows[0]["took"] is not None
    assert rows[1]["took"] is None


async def test_steps_have_their_names_and_how_they_stand(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT step, participant, action, attempts, compensation FROM sagaflow_views.steps ORDER BY saga_id"
    )
    assert [tuple(row) for row in rows] == [
        ("reserve", "stock", "SUCCEEDED", 1, "IDLE"),
        ("reserve", "stock", "WAITING", 1, "IDLE"),
    ]


async def test_failures_say_what_and_where(connection: asyncpg.Connection) -> None:
    (row,) = await connection.fetch("SELECT step, operation, attempt, event, error_type FROM sagaflow_views.failures")
    assert tuple(row) == ("reserve", "action", 1, events.Failed.__name__, "CardError")


@pytest.mark.parametrize("view", VIEWS)
async def test_nothing_that_somebody_said_is_in_a_view(connection: asyncpg.Connection, view: str) -> None:
    rows = await connection.fetch(f"SELECT row_to_json(view)::text AS row FROM sagaflow_views.{view} AS view")
    assert rows
    assert not [row["row"] for row in rows if CANARY in row["row"]]


def test_there_are_queries_to_be_tried() -> None:
    assert len(QUERIES) >= 4


@pytest.mark.parametrize("query", QUERIES)
async def test_the_queries_of_the_docs_can_be_run(connection: asyncpg.Connection, query: str) -> None:
    await connection.fetch(query)


async def test_a_role_may_be_given_the_views_and_nothing_else(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("CREATE ROLE reader_of_views")
        await connection.execute("GRANT USAGE ON SCHEMA sagaflow_views TO reader_of_views")
        await connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA sagaflow_views TO reader_of_views")
        await connection.execute("SET LOCAL ROLE reader_of_views")
        assert await connection.fetchval("SELECT count(*) FROM sagaflow_views.runs") == 2
        refused = None
        try:
            async with connection.transaction():
                await connection.fetch("SELECT body FROM sagaflow.payload")
        except asyncpg.InsufficientPrivilegeError as error:
            refused = error
        assert refused is not None
        await connection.execute("RESET ROLE")
        await connection.execute("DROP OWNED BY reader_of_views")
        await connection.execute("DROP ROLE reader_of_views")
