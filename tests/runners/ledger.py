"""A service whose effects are rows of its database, for tests of groups; and a process that serves it.

    python -m tests.runners.ledger <database> <broker> <namespace> <file>

The process dies of the word "deadly", unless the file is there. It makes the file first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sagaflow import Participant, StepContext, serve
from sagaflow.adapters.postgres import AsyncpgTransactions
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.definitions.ports import Transactions

DEADLY = "deadly"


@dataclass
class Ledger:
    """Writes a row for each word, and behaves as it is told before it does."""

    behaviour: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    breaking: dict[str, Callable[[Any], Awaitable[None]]] = field(default_factory=dict)
    """What is done to the transaction."""
    calls: Counter[str] = field(default_factory=Counter)

    def participant(self) -> Participant[Any]:
        ledger: Participant[Any] = Participant("ledger")

        @ledger.step("book")
        async def book(word: str, context: StepContext[Any]) -> str:
            return await self._note(word, context)

        @book.compensation
        async def unbook(word: str, booked: str, context: StepContext[Any]) -> None:
            await self._note(f"un{booked}", context)

        @ledger.step("look", no_compensation="it does nothing")
        async def look(word: str) -> None:
            self.calls[word] += 1
            if word in self.behaviour:
                await self.behaviour[word]()

        return ledger

    async def _note(self, word: str, context: StepContext[Any]) -> str:
        self.calls[word] += 1
        await context.tx.execute("INSERT INTO effect VALUES ($1)", word)
        if word in self.behaviour:
            await self.behaviour[word]()
        if word in self.breaking:
            await self.breaking[word](context.tx)
        return word


async def prepare(transactions: Transactions[Any]) -> None:
    """Make the table of the effects."""
    async with transactions.begin() as transaction:
        await transaction.tx.execute("CREATE TABLE effect (word TEXT NOT NULL)")


async def effects(transactions: Transactions[Any]) -> Counter[str]:
    """How often each word was written, and committed."""
    async with transactions.begin() as transaction:
        return Counter(row["word"] for row in await transaction.tx.fetch("SELECT word FROM effect"))


async def serve_until_killed(database: str, broker: str, namespace: str, file: Path) -> None:
    """Serve the ledger that may die."""

    async def die() -> None:
        _die_once(file)

    async with (
        AsyncpgTransactions.connect(database) as transactions,
        serve(
            Ledger({DEADLY: die}).participant(),
            transport=RabbitTransport(broker, namespace=namespace),
            transactions=transactions,
        ),
    ):
        await asyncio.Event().wait()


def _die_once(file: Path) -> None:
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _, database_url, broker_url, namespace_given, flag = sys.argv
    asyncio.run(serve_until_killed(database_url, broker_url, namespace_given, Path(flag)))
