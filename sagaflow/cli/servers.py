"""From the URLs that were given to the databases and the broker behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from sagaflow.adapters.postgres import AsyncpgTransactions, PostgresStore
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.cli.options import DATABASE_FORM
from sagaflow.definitions.ports import SagaStore, Transactions, Transport
from sagaflow.errors import DefinitionError, Unavailable

Line = Literal["coordinator", "participant"]

POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
SQLITE_PREFIX: Final = "sqlite:///"


def sqlite_path(url: str) -> Path | None:
    """The file that a URL names; None: it is a URL of PostgreSQL.

    Raises:
        Unavailable: it is neither.
    """
    if url.startswith(SQLITE_PREFIX) and url != SQLITE_PREFIX:
        return Path(unquote(url.removeprefix(SQLITE_PREFIX)))
    scheme, separator, _ = url.partition("://")
    if separator and scheme in POSTGRES_SCHEMES:
        return None
    raise Unavailable(f"the URL of the database begins with {_scheme(url)}; write {DATABASE_FORM}")


@asynccontextmanager
async def opened_store(url: str, *, create: bool = False) -> AsyncIterator[SagaStore]:
    """The store behind a URL, with its tables as they should be.

    Raises:
        Unavailable: there is no such database.
        SchemaError: it has no tables of a coordinator, or of another version.
    """
    path = sqlite_path(url)
    if path is None:
        async with PostgresStore.connect(url) as store:
            await store.check()
            yield store
    else:
        _expect_file(path, create)
        async with SqliteStore(path, create=create) as sqlite_store:
            yield sqlite_store


@asynccontextmanager
async def opened_transactions(url: str, *, create: bool = False) -> AsyncIterator[Transactions[Any]]:
    """The transactions of a participant behind a URL. Raises as `opened_store` does."""
    path = sqlite_path(url)
    if path is None:
        async with AsyncpgTransactions.connect(url) as transactions:
            await transactions.check()
            yield transactions
    else:
        _expect_file(path, create)
        async with SqliteTransactions(path, create=create) as sqlite_transactions:
            yield sqlite_transactions


def transport_to(url: str, namespace: str, *, declare: bool = True) -> Transport:
    """The way to the broker behind a URL; not connected yet. With `declare`, queues that are missing are made.

    Raises:
        DefinitionError: the namespace cannot be one.
    """
    try:
        return RabbitTransport(url, namespace=namespace, declare=declare)
    except ValueError as error:
        raise DefinitionError(str(error)) from error


def _expect_file(path: Path, create: bool) -> None:
    if not create and not path.exists():
        raise Unavailable(f"there is no file {path}; give the path of the one that the coordinator uses")


def _scheme(url: str) -> str:
    """How a URL begins; what follows may be a password."""
    scheme = urlsplit(url).scheme
    return repr(f"{scheme}:") if scheme else "no scheme"
