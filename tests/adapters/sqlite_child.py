"""Another process on the same SQLite file, for the tests that kill one or let two meet.

    python -m tests.adapters.sqlite_child <what> <path>

It says what it has done, a line each; `holding` waits for a line before it goes on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

from sagaflow.adapters.sqlite import SqliteDatabase, SqliteStore, SqliteTransactions
from sagaflow.definitions.ports import BarrierKey
from sagaflow.errors import Unavailable
from sagaflow.testing.transactions_contract import enter_action, record
from tests.adapters.sqlite_sagas import new_saga

KEY = BarrierKey(UUID(int=7), "reserve")
INCREMENTS = 50
NOBODY = 65534


async def starting(path: str) -> None:
    """Start sagas until killed; says the id of each that is committed."""
    async with SqliteStore(path) as store:
        while True:
            change = new_saga(key=str(uuid4()))
            async with store.transaction() as tx:
                await tx.insert([change], uuid4())
            say(str(change.record.saga_id))


async def holding(path: str) -> None:
    """Hold a transaction open, with an action entered and a business row written; commit when told to."""
    async with SqliteTransactions(path) as transactions:
        async with transactions.begin() as transaction:
            await enter_action(transaction, KEY, 1)
            await transaction.tx.execute("INSERT INTO business VALUES ('held')")
            await record(transaction, KEY, "action", b"held", refusal=False)
            say("holding")
            sys.stdin.readline()
        say("committed")


async def counting(path: str) -> None:
    """Add to a counter, each time by reading it first."""
    async with SqliteDatabase(path) as database:
        for _ in range(INCREMENTS):
            async with database.transaction() as connection:
                await connection.execute("CREATE TABLE IF NOT EXISTS counter (value INTEGER NOT NULL)")
                value = await connection.fetchval("SELECT value FROM counter")
                if value is None:
                    await connection.execute("INSERT INTO counter VALUES (1)")
                else:
                    await connection.execute("UPDATE counter SET value = ?", value + 1)
    say("counted")


async def opening(path: str) -> None:
    """Open a store with the rights of nobody; says why that cannot be done."""
    if os.getuid() == 0:
        os.setuid(NOBODY)
    try:
        async with SqliteStore(path):
            say("opened")
    except Unavailable as error:
        say(str(error))


def say(line: str) -> None:
    """Tell the parent."""
    print(line, flush=True)  # noqa: T201


ACTIONS: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
    action.__name__: action for action in (starting, holding, counting, opening)
}

if __name__ == "__main__":
    what, where = sys.argv[1:]
    asyncio.run(ACTIONS[what](where))
