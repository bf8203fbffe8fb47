"""SQLite: the embedded default. A file is all that is needed, and it is durable."""

from sagaflow.adapters.sqlite.connection import Row, SqliteConnection, SqliteDatabase, Value
from sagaflow.adapters.sqlite.store import SqliteStore
from sagaflow.adapters.sqlite.transactions import SqliteTransactions

__all__ = ["Row", "SqliteConnection", "SqliteDatabase", "SqliteStore", "SqliteTransactions", "Value"]
