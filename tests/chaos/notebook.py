"""What clients have asked for and were told, written down where their death does not reach. It imports nothing of what
is judged.

Rows are only ever added. `asked`: it is about to ask; `promised`: it was told that this saga is started; `committed`
and `rolled back`: so its own transaction has ended; `ended`: it was told this status; `left`: it waits no more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TABLE: Final = """
CREATE TABLE IF NOT EXISTS note (
    n      INTEGER PRIMARY KEY,
    member TEXT NOT NULL,
    key    TEXT NOT NULL,
    what   TEXT NOT NULL CHECK (what IN ('asked', 'promised', 'committed', 'rolled back', 'ended', 'left')),
    saga   TEXT NOT NULL,
    status TEXT NOT NULL
);
"""
OPEN: Final = """
SELECT key FROM note WHERE member = ?
GROUP BY key HAVING sum(what IN ('committed', 'rolled back', 'ended', 'left')) = 0 ORDER BY min(n)
"""
LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Note:
    """One row."""

    key: str
    what: str
    saga_id: str = ""
    status: str = ""


class Notebook:
    """A file that all clients write to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> None:
        """Make it; once, before anybody writes."""
        with closing(sqlite3.connect(self._path)) as book:
            book.execute("PRAGMA journal_mode = WAL")
            book.executescript(TABLE)

    def write(self, member: str, note: Note) -> None:
        """Add a row. On return it is there, whatever becomes of this process."""
        row = (member, note.key, note.what, note.saga_id, note.status)
        with closing(sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)) as book:
            book.execute("PRAGMA synchronous = OFF")  # processes die here, the machine does not
            book.execute("INSERT INTO note (member, key, what, saga, status) VALUES (?, ?, ?, ?, ?)", row)

    def unsettled(self, member: str) -> Sequence[str]:
        """The keys that a member's processes have asked for without learning how it ended, the oldest first."""
        with closing(sqlite3.connect(self._path, timeout=LOCK_SECONDS)) as book:
            return [key for (key,) in book.execute(OPEN, (member,))]

    def read(self) -> Sequence[Note]:
        """All rows, as they were written."""
        with closing(sqlite3.connect(self._path)) as book:
            return [Note(*row) for row in book.execute("SELECT key, what, saga, status FROM note ORDER BY n")]
