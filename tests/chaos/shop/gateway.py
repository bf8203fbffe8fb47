"""The gateway: another company, outside of every transaction, with books of its own in a file.

Like any gateway it knows a key that it has seen before. Its books are only ever added to, so that they show whatever
was done: `hold` (money is set aside), `void` (given back, now or whenever it would come), `capture` (taken).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BOOKS = """
CREATE TABLE IF NOT EXISTS entry (
    n    INTEGER PRIMARY KEY,
    at   REAL NOT NULL,
    saga TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('hold', 'void', 'capture')),
    key  TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_key ON entry (key);
"""

LOCK_SECONDS = 10.0


class Declined(Exception):
    """It says no, and has done nothing."""


class Gateway:
    """A client of the gateway, and the gateway itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open_books(self) -> None:
        """Make the books; once, before anybody calls."""
        with closing(sqlite3.connect(self._path)) as books:
            books.executescript(BOOKS)

    async def hold(self, saga: str, key: str) -> None:
        """Set money aside.

        Raises:
            Declined: it was given back under this key before.
        """
        await self._call(lambda books: _hold(books, saga, key))

    async def void(self, saga: str, key: str) -> None:
        """Give back what was, or ever will be, set aside under a key."""
        await self._call(lambda books: _once(books, saga, "void", key))

    async def capture(self, saga: str, key: str, *, held: str) -> None:
        """Take what was set aside under the key `held`.

        Raises:
            Declined: there is nothing, or it was given back.
        """
        await self._call(lambda books: _capture(books, saga, key, held))

    async def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._call_now, function)

    def _call_now(self, function: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)) as books:
            books.execute("PRAGMA synchronous = OFF")  # processes die here, the machine does not
            books.execute("BEGIN IMMEDIATE")
            result = function(books)
            books.execute("COMMIT")
            return result


def _has(books: sqlite3.Connection, what: str, key: str) -> bool:
    found = books.execute("SELECT 1 FROM entry WHERE what = ? AND key = ?", (what, key)).fetchone()
    return found is not None


def _once(books: sqlite3.Connection, saga: str, what: str, key: str) -> None:
    if not _has(books, what, key):
        books.execute("INSERT INTO entry (at, saga, what, key) VALUES (?, ?, ?, ?)", (time.time(), saga, what, key))


def _hold(books: sqlite3.Connection, saga: str, key: str) -> None:
    if _has(books, "void", key):
        raise Declined(f"{key} was given back before")
    _once(books, saga, "hold", key)


def _capture(books: sqlite3.Connection, saga: str, key: str, held: str) -> None:
    if not _has(books, "hold", held) or _has(books, "void", held):
        raise Declined(f"nothing is set aside under {held}")
    _once(books, saga, "capture", key)
