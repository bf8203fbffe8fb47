"""What the tables refuse, whoever writes to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from sagaflow.adapters import postgres
from sagaflow.core.plan import Operation
from sagaflow.core.state import ENDED, SETTLED, SagaStatus
from sagaflow.definitions.records import PayloadKind
from sagaflow.testing.store_contract import moment
from tests.adapters.postgres.outside import Undo

SAGA: dict[str, Any] = {
    "id": UUID(int=1),
    "started_at": moment(0),
    "secret": b"s" * 16,
    "input_digest": b"d" * 32,
    "plan_hash": "a" * 64,
    "saga": "checkout",
    "key": "order-1",
    "coordinator": "shop",
    "traceparent": "00-1-2-01",
    "version": 1,
    "updated_at": moment(0),
    "owner": UUID(int=2),
    "status": "RUNNING",
    "state": "{}",
    "timers": "[]",
}
PLAN = {"hash": "a" * 64, "saga": "checkout", "version": 1, "body": "{}"}
OTHER_PLAN = {**PLAN, "hash": "b" * 64}
JOURNAL = {"saga_id": UUID(int=1), "seq": 1, "status": "RUNNING", "event": "{}", "origin": "here"}
PAYLOAD = {"saga_id": UUID(int=1), "step": "reserve", "kind": "command", "round": 1, "body": b"1"}
BARRIER: dict[str, Any] = {"saga_id": UUID(int=1), "step": "reserve", "operation": "action", "round": 1}

BAD_ROWS: Sequence[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("sagaflow.saga", SAGA, {"secret": b"s" * 15}),
    ("sagaflow.saga", SAGA, {"input_digest": b"d" * 33}),
    ("sagaflow.saga", SAGA, {"saga": ""}),
    ("sagaflow.saga", SAGA, {"key": ""}),
    ("sagaflow.saga", SAGA, {"coordinator": ""}),
    ("sagaflow.saga", SAGA, {"version": 0}),
    ("sagaflow.saga", SAGA, {"status": "DONE"}),
    ("sagaflow.saga", SAGA, {"status": "running"}),
    ("sagaflow.saga", SAGA, {"status": "COMPLETED"}),
    ("sagaflow.saga", SAGA, {"ended_at": moment(0)}),
    ("sagaflow.saga", SAGA, {"status": "COMPLETED", "ended_at": moment(0), "wake_at": moment(0)}),
    ("sagaflow.plan", OTHER_PLAN, {"hash": "b" * 63}),
    ("sagaflow.plan", OTHER_PLAN, {"hash": "B" * 64}),
    ("sagaflow.plan", OTHER_PLAN, {"version": 0}),
    ("sagaflow.journal", JOURNAL, {"seq": 0}),
    ("sagaflow.journal", JOURNAL, {"status": "DONE"}),
    ("sagaflow.payload", PAYLOAD, {"kind": "reply"}),
    ("sagaflow.payload", PAYLOAD, {"round": 0}),
    ("sagaflow.payload", PAYLOAD, {"step": ""}),
    ("sagaflow.payload", PAYLOAD, {"kind": "input"}),
    ("sagaflow_participant.barrier", BARRIER, {"step": ""}),
    ("sagaflow_participant.barrier", BARRIER, {"operation": "undo"}),
    ("sagaflow_participant.barrier", BARRIER, {"round": 0}),
    ("sagaflow_participant.barrier", BARRIER, {"refusal": True}),
    ("sagaflow_participant.barrier", BARRIER, {"operation": "compensation", "fenced": True}),
]


@pytest.fixture
async def tables(side: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """All tables, with one plan, in a transaction that comes to nothing."""
    transaction = side.transaction()
    await transaction.start()
    await add_row(side, "sagaflow.plan", PLAN)
    yield side
    await transaction.rollback()


@pytest.mark.parametrize(("table", "good", "bad"), BAD_ROWS, ids=lambda value: str(value)[:40])
async def test_the_tables_refuse_what_must_not_be(
    tables: asyncpg.Connection, table: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    with suppress(Undo):
        async with tables.transaction():
            await add_row(tables, table, good)
            raise Undo
    with pytest.raises(asyncpg.CheckViolationError):
        await add_row(tables, table, {**good, **bad})


async def test_a_saga_needs_its_plan(tables: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await add_row(tables, "sagaflow.saga", {**SAGA, "plan_hash": "c" * 64})


async def test_a_key_is_taken_once(tables: asyncpg.Connection) -> None:
    await add_row(tables, "sagaflow.saga", SAGA)
    await add_row(tables, "sagaflow.saga", {**SAGA, "id": UUID(int=3), "saga": "refund"})
    with pytest.raises(asyncpg.UniqueViolationError):
        await add_row(tables, "sagaflow.saga", {**SAGA, "id": UUID(int=4)})


async def test_the_lists_in_the_tables_are_the_enums_of_the_code(tables: asyncpg.Connection) -> None:
    rows = await tables.fetch("""
        SELECT conrelid::regclass::text AS table, pg_get_constraintdef(oid) AS definition FROM pg_constraint
        WHERE contype = 'c' AND connamespace::regnamespace::text LIKE 'sagaflow%'
            AND pg_get_constraintdef(oid) LIKE '%ARRAY[%'
    """)
    lists = Counter((row["table"], frozenset(re.findall(r"'(\w+)'::text", row["definition"]))) for row in rows)
    assert lists == Counter(
        [
            ("sagaflow.saga", frozenset(SagaStatus)),
            ("sagaflow.saga", ENDED),
            ("sagaflow.journal", frozenset(SagaStatus)),
            ("sagaflow.payload", frozenset(PayloadKind)),
            ("sagaflow_participant.barrier", frozenset(Operation)),
        ]
    )


def test_the_lists_in_the_statements_are_the_enums_of_the_code() -> None:
    """The code decides who is told: those who wait for what is settled."""
    text = (Path(postgres.__file__).parent / "coordinator_queries.sql").read_text()
    assert set(re.findall(r"status = '(\w+)'", text)) == SETTLED - ENDED


async def test_there_are_no_triggers_no_types_and_nothing_that_changes_is_indexed(tables: asyncpg.Connection) -> None:
    ours = "LIKE 'sagaflow%'"
    triggers = f"SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text {ours}"
    assert await tables.fetchval(triggers) == 0
    types = f"SELECT count(*) FROM pg_type WHERE typtype IN ('e', 'd') AND typnamespace::regnamespace::text {ours}"
    assert await tables.fetchval(types) == 0
    indexed = await tables.fetch("""
        SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
        WHERE indrelid = 'sagaflow.saga'::regclass
    """)
    assert {row["attname"] for row in indexed} == {"id", "key", "saga"}


async def add_row(connection: asyncpg.Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    places = ", ".join(f"${place}" for place, _ in enumerate(row, 1))
    await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())
