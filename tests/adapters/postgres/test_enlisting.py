"""Sagas that begin in the caller's own transaction."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from sagaflow.adapters.postgres import PostgresStore
from sagaflow.errors import Unavailable
from sagaflow.testing.store_contract import (
    PROCESS,
    SHORT,
    STARTED,
    an_input,
    claimed,
    happens,
    moment,
    new_saga,
    plain,
    started,
)
from tests.adapters.postgres.outside import Undo


@pytest.fixture
async def shop(side: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the service that starts sagas, with codecs of its own as many have."""
    for kind in ("json", "jsonb"):
        await side.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await side.execute("CREATE TABLE IF NOT EXISTS orders (id uuid)")
    yield side
    await side.execute("DROP TABLE orders")


async def test_a_saga_begins_with_the_transaction_of_the_caller(store: PostgresStore, shop: asyncpg.Connection) -> None:
    await store.check()
    await store.add_plans([SHORT])
    record = new_saga()
    begun = happens(record, STARTED, payloads=[an_input(record)], wake_at=moment(-1), resend=True)
    async with shop.transaction():
        await shop.execute("INSERT INTO orders VALUES ($1)", record.saga_id)
        tx = store.enlist(shop)
        assert list(await tx.insert([begun], PROCESS)) == []
        assert list(await store.find([record.saga_id])) == []
        assert [plain(found) for found in await tx.insert([happens(new_saga(key=record.key), STARTED)], PROCESS)] == [
            begun.record
        ]
    assert [plain(found) for found in await store.find([record.saga_id])] == [begun.record]
    assert await claimed(store) == [record.saga_id]


async def test_a_saga_goes_with_the_transaction_of_the_caller(store: PostgresStore, shop: asyncpg.Connection) -> None:
    await store.check()
    await store.add_plans([SHORT])
    outer, inner = new_saga(), new_saga()
    async with shop.transaction():
        await store.enlist(shop).insert([happens(outer, STARTED)], PROCESS)
        with suppress(Undo):
            async with shop.transaction():
                await store.enlist(shop).insert([happens(inner, STARTED)], PROCESS)
                raise Undo
    assert [found.saga_id for found in await store.find([outer.saga_id, inner.saga_id])] == [outer.saga_id]
    with suppress(Undo):
        async with shop.transaction():
            await store.enlist(shop).insert([happens(inner, STARTED)], PROCESS)
            raise Undo
    assert list(await store.find([inner.saga_id])) == []


async def test_a_connection_of_a_pool_can_be_joined(store: PostgresStore, url: str) -> None:
    await store.check()
    await store.add_plans([SHORT])
    record = new_saga()
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as own, own.transaction():
        await store.enlist(own).insert([happens(record, STARTED)], PROCESS)
    assert len(await store.find([record.saga_id])) == 1


async def test_a_connection_without_a_transaction_cannot_be_joined(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    await store.check()
    with pytest.raises(RuntimeError, match=r"has no transaction open; begin one: async with connection\.transaction"):
        store.enlist(side)


async def test_a_store_that_was_never_used_does_not_know_the_time(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    async with side.transaction():
        with pytest.raises(RuntimeError, match=re.escape("`await store.check()` once, before")):
            store.enlist(side)


async def test_the_time_in_the_transaction_of_the_caller_is_that_of_the_database(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    await store.check()
    async with side.transaction():
        before = await side.fetchval("SELECT clock_timestamp()")
        now = store.enlist(side).now
        after = await side.fetchval("SELECT clock_timestamp()")
    assert (before - now).total_seconds() < 0.1
    assert (now - after).total_seconds() < 0.1


async def test_a_caller_who_cannot_see_the_saga_that_has_the_key_has_to_try_again(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    await store.check()
    await store.add_plans([SHORT])

    async def start() -> None:
        async with side.transaction(isolation="repeatable_read"):
            await side.fetchval("SELECT count(*) FROM sagaflow.saga")
            await started(store, key="order-1")
            await store.enlist(side).insert([happens(new_saga(key="order-1"), STARTED)], PROCESS)

    with pytest.raises(Unavailable, match="could not serialize"):
        await start()
