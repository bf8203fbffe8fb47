"""Forgetting what is over: page by page, with pauses, so that whoever works beside it hardly notices.

It may be stopped anywhere. Each page is a transaction of its own, and what is gone is not looked at again, so the next
purge goes on where this one stopped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final
from uuid import UUID

from sagaflow.core.state import ENDED, SagaStatus
from sagaflow.definitions.ports import SagaStore, Transactions
from sagaflow.definitions.records import PurgePage, SagaFilter
from sagaflow.definitions.retention import BARRIER_KEPT_MIN, Retention
from sagaflow.errors import DefinitionError

PAGE: Final = 500
"""Sagas, or rows of a barrier, that are looked at in one transaction."""

REST: Final = 3.0
"""How long to rest after each page, in times that it took: a purge works for a quarter of the time."""

PUT_ASIDE: Final = "put aside"
"""What messages are counted as."""

Told = Callable[[PurgePage], object]
"""Told of each page; for progress."""


async def purge_sagas(
    store: SagaStore,
    retention: Retention,
    *,
    delete: bool = True,
    page: int = PAGE,
    rest: float = REST,
    told: Told = lambda page: None,
) -> Counter[str]:
    """Delete what a policy does not keep, or count it; returns how many, by status."""
    gone: Counter[str] = Counter()
    if retention.put_aside is not None:
        gone += await _put_aside(store.purge_put_aside, retention.put_aside.total_seconds(), delete, page, rest)
    kept = retention.kept_seconds
    if kept:
        gone += await _all(lambda after: store.purge(kept, after, page, delete=delete), rest if delete else 0.0, told)
    return gone


async def purge_barrier(
    transactions: Transactions[Any],
    kept_seconds: float,
    open_sagas: Collection[UUID],
    *,
    delete: bool = True,
    page: int = PAGE,
    rest: float = REST,
    told: Told = lambda page: None,
) -> Counter[str]:
    """Delete what a participant did so long ago, for sagas that are not open, or count it; returns how many rows.

    Args:
        open_sagas: all that had not ended when this was called, of every coordinator that asks this participant.
            Their rows are kept however old they are: an undo that finds none believes that there is nothing to undo.

    Raises:
        DefinitionError: the time is so short that a duplicate could still come.
    """
    if kept_seconds < BARRIER_KEPT_MIN.total_seconds():
        raise DefinitionError(
            f"what a participant did is kept for {BARRIER_KEPT_MIN.days} days at least: "
            "a duplicate of its commands could still come, and would be done again"
        )
    # First of all what could be replayed: it must not outlive the barrier that makes it count once.
    gone = await _put_aside(transactions.purge_put_aside, kept_seconds, delete, page, rest)
    return gone + await _all(
        lambda after: transactions.purge(kept_seconds, open_sagas, after, page, delete=delete),
        rest if delete else 0.0,
        told,
    )


async def open_sagas(store: SagaStore, page: int = PAGE) -> set[UUID]:
    """The ids of all sagas that have not ended."""
    found: set[UUID] = set()
    before = None
    while True:
        some = await store.list(SagaFilter(statuses=frozenset(SagaStatus) - ENDED, before=before), page)
        found |= {record.saga_id for record in some}
        if len(some) < page:
            return found
        before = some[-1].saga_id


async def _all(look: Callable[[UUID | None], Awaitable[PurgePage]], rest: float, told: Told) -> Counter[str]:
    gone: Counter[str] = Counter()
    after: UUID | None = None
    while True:
        began = _time()
        page = await look(after)
        gone.update(page.expired)
        told(page)
        if page.last is None:
            return gone
        after = page.last
        await asyncio.sleep((_time() - began) * rest)


async def _put_aside(
    purge: Callable[..., Awaitable[int]], kept_seconds: float, delete: bool, page: int, rest: float
) -> Counter[str]:
    if not delete:
        return Counter({PUT_ASIDE: await purge(kept_seconds, 1_000_000_000, delete=False)})
    gone = 0
    while True:
        began = _time()
        some = await purge(kept_seconds, page, delete=True)
        gone += some
        if some < page:
            return Counter({PUT_ASIDE: gone})
        await asyncio.sleep((_time() - began) * rest)


def _time() -> float:
    return asyncio.get_running_loop().time()
