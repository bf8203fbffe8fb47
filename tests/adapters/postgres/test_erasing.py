"""What an erased saga was given, sent and told is in no table and no view; that it was erased, and why, is."""

from __future__ import annotations

import asyncpg

from sagaflow.adapters.postgres import PostgresStore
from sagaflow.definitions.records import INPUT_STEP, Payload, PayloadKind, PutAside
from sagaflow.runners.operator import Operator
from sagaflow.testing.store_contract import DONE, STARTED, add_plans, happens, insert, new_saga, save

CANARY = "4111-1111-canary"

RELATIONS = """
    SELECT table_schema || '.' || table_name AS name FROM information_schema.tables WHERE table_schema LIKE 'sagaflow%'
"""


async def where_it_is(side: asyncpg.Connection) -> set[str]:
    """The tables and views in which the canary is."""
    found = set()
    for name in [row["name"] for row in await side.fetch(RELATIONS)]:
        rows = await side.fetch(f"SELECT * FROM {name}")
        if any(CANARY in str(value) for row in rows for value in row.values()):
            found.add(name)
    return found


async def test_an_erased_saga_is_in_no_table_and_no_view(store: PostgresStore, side: asyncpg.Connection) -> None:
    await add_plans(store)
    saga = new_saga(key="order-1")
    body = f'"{CANARY}"'.encode()
    said = [Payload(saga.saga_id, INPUT_STEP, PayloadKind.INPUT, 1, body)]
    said += [Payload(saga.saga_id, "reserve", kind, 1, body) for kind in PayloadKind if kind is not PayloadKind.INPUT]
    await insert(store, happens(saga, STARTED, payloads=said))
    (saga,) = await store.find([saga.saga_id])
    await save(store, happens(saga, DONE))
    late = f'{{"saga_id": "{saga.saga_id}", "result": "{CANARY}"}}'.encode()
    await store.put_aside([PutAside("replies.shop", "late", late)])
    assert await where_it_is(side) == {"sagaflow.payload", "sagaflow.put_aside"}
    await Operator(store, "anna").erase([saga.saga_id], reason="she asked for it")
    assert await where_it_is(side) == set()
    last = (await store.journal(saga.saga_id))[-1]
    assert (type(last.event).__name__, last.actor, last.reason) == ("Erased", "anna", "she asked for it")
    view = await side.fetchrow("SELECT status, took FROM sagaflow_views.runs")
    assert view is not None
    assert view["status"] == "COMPLETED"
