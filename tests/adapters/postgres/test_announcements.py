"""How long announcements are kept in PostgreSQL, whose clock no test can set."""

from __future__ import annotations

import asyncpg
import msgspec

from sagaflow.adapters.postgres import PostgresStore
from sagaflow.testing.store_contract import PAYMENTS, STOCK


async def test_who_was_silent_for_a_day_is_forgotten_when_the_participant_announces_anything(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    other = msgspec.structs.replace(STOCK, host="stock-2:1")
    await store.keep_announcements([STOCK, other, PAYMENTS], 60.0)
    await side.execute("UPDATE sagaflow.announcement SET heard_at = heard_at - interval '23 hours'")
    await store.keep_announcements([STOCK], 60.0)
    assert len(await store.announcements()) == 3
    await side.execute("UPDATE sagaflow.announcement SET heard_at = heard_at - interval '23 hours'")
    await store.keep_announcements([STOCK], 60.0)
    assert [kept.announcement for kept in await store.announcements()] == [PAYMENTS, STOCK]
