"""PostgreSQL: the store of coordinators, the transactions of participants, and the tables of both."""

from sagaflow.adapters.postgres.migrations import Line, MigrationStatus, sql, status, upgrade
from sagaflow.adapters.postgres.pool import connect, place_of
from sagaflow.adapters.postgres.store import PostgresStore
from sagaflow.adapters.postgres.transactions import AsyncpgTransactions

__all__ = [
    "AsyncpgTransactions",
    "Line",
    "MigrationStatus",
    "PostgresStore",
    "connect",
    "place_of",
    "sql",
    "status",
    "upgrade",
]
