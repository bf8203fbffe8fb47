"""What SQLite reports, in one line that says what is wrong and how to mend it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from sagaflow.errors import SchemaError, Unavailable

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY: "another process has kept it locked for longer than the busy timeout; try again",
    sqlite3.SQLITE_LOCKED: "another connection has it locked; try again",
    sqlite3.SQLITE_FULL: "there is no space left for it; make some and try again",
    sqlite3.SQLITE_READONLY: "it cannot be written to; make it and its folder writable for this user",
    sqlite3.SQLITE_PERM: "this user may not use it; make it and its folder writable for this user",
    sqlite3.SQLITE_IOERR: "the disk reported an error; see the log of the system",
    sqlite3.SQLITE_PROTOCOL: "its lock could not be had; is it on a network file system? Put it on a local disk",
    sqlite3.SQLITE_NOMEM: "there is no memory left to work with it",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup",
}


def explain(error: sqlite3.Error, path: Path) -> Exception:
    """The error to raise instead: `Unavailable` or `SchemaError` if the file is at fault, otherwise (the SQL
    is) the same error."""
    code: int | None = getattr(error, "sqlite_errorcode", None)  # misuse of the module itself has none
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_NOTADB:
        return SchemaError(f"{path}: it is not a SQLite database; give the path of one, or of a new file")
    if primary == sqlite3.SQLITE_CANTOPEN:
        return Unavailable(f"{path}: it cannot be opened: {why_not(path)}")
    if primary == sqlite3.SQLITE_AUTH:
        return RuntimeError("this transaction is begun and ended by who opened it; use SAVEPOINT inside it")
    reason = None if primary is None else _UNAVAILABLE.get(primary)
    return error if reason is None else Unavailable(f"{path}: {reason} ({error})")


def why_not(path: Path) -> str:
    """Why a file can probably not be opened, and what to do."""
    if path.is_dir():
        return "it is a folder; give the path of a file"
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist; make it first"
    return "make it and its folder readable and writable for this user"
