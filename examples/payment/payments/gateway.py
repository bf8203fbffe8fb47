"""The card gateway: another company, which this example has to play too.

It keeps its books in a file of its own, knows nothing of sagas, and answers like any gateway: a call with a
key that it has seen before changes nothing and is answered as the first time. How the bank behind a card
behaves is written on the card, before the dash:

    good-4242         does as it is asked
    declined-4242     says no
    flaky-4242        does as it is asked, and then the line goes dead: who asks again must not pay twice
    norefunds-4242    sets money aside gladly, but cannot give it back, until somebody repairs the bank
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BOOKS = """
PRAGMA synchronous = OFF; -- it outlives the death of its process, as it has to here; power failures are not played
CREATE TABLE IF NOT EXISTS authorizations (
    key    TEXT PRIMARY KEY,
    id     TEXT NOT NULL UNIQUE,
    cents  INTEGER NOT NULL,
    card   TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('OPEN', 'CAPTURED', 'VOIDED'))
);
CREATE TABLE IF NOT EXISTS charges (
    key              TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL,
    cents            INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS repaired_banks (mood TEXT PRIMARY KEY);
"""

LOCK_SECONDS = 10.0


class CardDeclined(Exception):
    """The bank says no, and has taken nothing."""


class GatewayTimeout(Exception):
    """No answer came. What was asked for may have been done."""


class BankDown(Exception):
    """The bank cannot do it now."""


class Mood(StrEnum):
    """How the bank behind a card behaves."""

    GOOD = "good"
    DECLINED = "declined"
    FLAKY = "flaky"
    NO_REFUNDS = "norefunds"


def mood_of(card: str) -> Mood:
    """The mood of the bank behind a card."""
    return Mood(card.partition("-")[0])


class CardGateway:
    """A client of the gateway, and the gateway itself. `path` is where it keeps its books, `answer_seconds` how
    long it takes to answer."""

    def __init__(self, path: str | Path, *, answer_seconds: float) -> None:
        self.path = path
        self._answer_seconds = answer_seconds

    async def authorize(self, card: str, cents: int, *, key: str) -> str:
        """Set money aside; returns the number of the authorization.

        Raises:
            CardDeclined: the bank says no.
            GatewayTimeout: no answer came.
        """
        return await self._call(lambda books: _authorize(books, card, cents, key))

    async def void(self, card: str, *, key: str) -> None:
        """Give back what was, or ever will be, set aside under a key.

        Raises:
            BankDown: not now.
        """
        await self._call(lambda books: _void(books, card, key))

    async def capture(self, authorization: str, *, key: str) -> None:
        """Take the money that was set aside.

        Raises:
            GatewayTimeout: no answer came.
        """
        await self._call(lambda books: _capture(books, authorization, key))

    async def repair(self) -> None:
        """Mend the banks that cannot give money back."""
        await self._call(_repair)

    async def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._call_now, function)

    def _call_now(self, function: Callable[[sqlite3.Connection], T]) -> T:
        time.sleep(self._answer_seconds)
        with closing(sqlite3.connect(self.path, timeout=LOCK_SECONDS)) as books:
            books.executescript(BOOKS)
            return function(books)


def _authorize(books: sqlite3.Connection, card: str, cents: int, key: str) -> str:
    if mood_of(card) is Mood.DECLINED:
        raise CardDeclined(f"the bank declined card {card}")
    with books:
        news = books.execute(
            "INSERT INTO authorizations VALUES (?, 'auth-' || lower(hex(randomblob(4))), ?, ?, 'OPEN')"
            " ON CONFLICT (key) DO NOTHING",
            (key, cents, card),
        )
    number, status = books.execute("SELECT id, status FROM authorizations WHERE key = ?", (key,)).fetchone()
    if status == "VOIDED":
        raise CardDeclined(f"what {key} asks for was voided before")
    _maybe_lose_the_answer(card, is_news=news.rowcount > 0)
    return str(number)


def _void(books: sqlite3.Connection, card: str, key: str) -> None:
    mood = mood_of(card)
    repaired = books.execute("SELECT 1 FROM repaired_banks WHERE mood = ?", (mood,)).fetchone()
    if mood is Mood.NO_REFUNDS and not repaired:
        raise BankDown(f"the bank of card {card} gives no money back today")
    with books:
        books.execute(
            "INSERT INTO authorizations VALUES (?, 'void-' || lower(hex(randomblob(4))), 0, ?, 'VOIDED')"
            " ON CONFLICT (key) DO UPDATE SET status = 'VOIDED'",
            (key, card),
        )


def _capture(books: sqlite3.Connection, authorization: str, key: str) -> None:
    with books:
        news = books.execute(
            "INSERT INTO charges SELECT ?, id, cents FROM authorizations WHERE id = ? AND status = 'OPEN'"
            " ON CONFLICT (key) DO NOTHING",
            (key, authorization),
        )
        books.execute("UPDATE authorizations SET status = 'CAPTURED' WHERE id = ?", (authorization,))
    (card,) = books.execute("SELECT card FROM authorizations WHERE id = ?", (authorization,)).fetchone()
    _maybe_lose_the_answer(card, is_news=news.rowcount > 0)


def _repair(books: sqlite3.Connection) -> None:
    with books:
        books.execute("INSERT INTO repaired_banks VALUES (?) ON CONFLICT DO NOTHING", (Mood.NO_REFUNDS,))


def _maybe_lose_the_answer(card: str, *, is_news: bool) -> None:
    if is_news and mood_of(card) is Mood.FLAKY:
        raise GatewayTimeout("the gateway did not answer in time")
