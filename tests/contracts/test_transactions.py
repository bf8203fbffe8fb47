"""The contract of participant transactions, over SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from sagaflow.adapters.sqlite import SqliteConnection, SqliteTransactions
from sagaflow.testing.transactions_contract import TransactionsContract


class TestSqliteTransactions(TransactionsContract[SqliteConnection]):
    @pytest.fixture
    async def transactions(self, tmp_path: Path) -> AsyncIterator[SqliteTransactions]:
        async with SqliteTransactions(tmp_path / "service.db") as transactions:
            async with transactions.begin() as transaction:
                await transaction.tx.execute("CREATE TABLE business (row TEXT NOT NULL)")
            yield transactions

    async def add_row(self, tx: SqliteConnection, row: str) -> None:
        await tx.execute("INSERT INTO business VALUES (?)", row)

    async def rows(self, tx: SqliteConnection) -> Sequence[str]:
        return [row["row"] for row in await tx.fetch("SELECT row FROM business ORDER BY rowid")]
