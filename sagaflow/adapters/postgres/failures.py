"""What PostgreSQL and the way to it report, in the words of sagaflow: one line, and never a password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template
from typing import Final

import asyncpg

from sagaflow.definitions.named_queries import load
from sagaflow.errors import Locked, NotPermitted, SagaflowError, SchemaError, Unavailable, UnsupportedPooling

DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""All that the driver raises. OSError stands for the network and, since Python 3.11, for TimeoutError."""

_UNAVAILABLE_CLASSES: Final = (
    "08",  # the connection failed
    "53",  # the server is out of something
    "57P",  # it is stopping, starting or was crashed, or dropped the connection or the database
)
_LOCKED: Final = {
    "40P01",  # deadlock
    "55P03",  # a lock was not to be had in time
}
_UNAVAILABLE: Final = {
    "25P03",  # the transaction was idle for too long, and the connection was closed for it
    "28000",  # this role may not connect
    "28P01",  # wrong password
    "3D000",  # no such database
    "40001",  # could not be serialised
    "40003",  # it is not known whether the statement was done
    "57014",  # the statement took too long
}
READ_ONLY: Final = "25006"
"""The server is a standby, or was made read-only: connections that were made before are of no use."""

NO_RIGHT: Final = "42501"
"""The role may not do it."""

NO_SESSION: Final = {
    "26000",  # no such prepared statement
    "42P05",  # a prepared statement of this name exists already
}
"""What one statement had left behind, the next does not find, or finds what another has left."""

POOL_SESSIONS: Final = (
    "a pooler stands between that does not keep a session together; "
    "have it pool sessions (pgbouncer: pool_mode = session), or connect without it"
)

_WRONG_TABLES: Final = {
    "3F000",  # no such schema
    "42703",  # no such column
    "42P01",  # no such table
}


_DENIED: Final = re.compile(r"permission denied for (table|view|schema|database) \"?([^\"\s]+)")
_GRANTS: Final = load(__package__, "grants.sql")


@dataclass(frozen=True, slots=True)
class Mend:
    """What a person does about tables: `upgrade` if they are not as they should be; and the `schema` that they are in,
    to which a role needs rights. With `migrating`, it is the tables themselves that are being made."""

    upgrade: str
    schema: str
    migrating: bool = False

    def right(self, said: str) -> str:
        """What lets the role do what the server has denied it in these words."""
        if self.migrating:
            return "migrate as the role that owns the tables; if there are none yet, as one that may make schemas"
        match = _DENIED.search(said)
        kind, name = match.groups() if match is not None else ("anything", "")
        grant = _GRANTS[f"on_{kind}"].rpartition("\n")[2]
        return "run: " + Template(grant).substitute(schema=self.schema, name=name)


_NO_TABLES: Final = Mend("no tables are known here", "sagaflow")


def explain(
    error: Exception, *, lost: bool = False, where: str = "PostgreSQL", mend: Mend = _NO_TABLES
) -> SagaflowError | None:
    """The error to raise instead of one of `DRIVER_ERRORS`, or None if neither the server nor its tables are
    at fault.

    Args:
        error: what was reported.
        lost: whether the connection is gone, which explains whatever was reported.
        where: which server, as it may be shown.
        mend: what to do if the tables are not as they should be, or may not be used.
    """
    state = (error.sqlstate or "") if isinstance(error, asyncpg.PostgresError) else ""
    if state in _LOCKED:
        return Locked(f"{where}: {_one_line(error)}")
    if _is_unavailable(error, state):
        return Unavailable(f"{where}: {_one_line(error)}")
    if state in NO_SESSION:
        return UnsupportedPooling(f"{where}: {_one_line(error)}; {POOL_SESSIONS}")
    if state == NO_RIGHT:
        said = _one_line(error)
        return NotPermitted(f"{where}: {said}; {mend.right(said)}")
    if lost:
        return Unavailable(f"{where}: the connection was lost")
    if state in _WRONG_TABLES:
        return SchemaError(f"{where}: {_one_line(error)}; {mend.upgrade}")
    return None


def _is_unavailable(error: Exception, state: str) -> bool:
    """Whether trying again may help: the whole transaction, or the connection."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True  # the tables were changed meanwhile; the next attempt sees them
    if state:
        return state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE or state == READ_ONLY
    return isinstance(error, (OSError, asyncpg.TargetServerAttributeNotMatched, asyncpg.OutdatedSchemaCacheError))


def _one_line(error: Exception) -> str:
    """What it says, without the details and hints, which may hold data."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    said = error.args[0] if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)) else error
    return " ".join(str(said).split()) or type(error).__name__
