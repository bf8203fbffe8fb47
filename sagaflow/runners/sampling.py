"""How fast sagas begin and end, told from two looks at a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sagaflow.core.state import SagaStatus
from sagaflow.definitions import ids
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import StoreSample
from sagaflow.definitions.surroundings import current

SLACK_SECONDS: Final = 10.0
"""Ids begin with the time at which they were made. So far the clocks of those who make them may be apart from ours, and
so long may a saga take from its id to its first row, and be counted still."""

LIMIT: Final = 100_000
"""So many open sagas are counted at most."""


@dataclass(frozen=True, slots=True)
class Going:
    """How the sagas of one name go. Rates are per second; None: not known."""

    open: Mapping[SagaStatus, int]
    oldest_seconds: float | None
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A sample, and how the sagas of each name go."""

    sample: StoreSample
    sagas: Mapping[str, Going]


class Sampler:
    """Looks at a store from time to time.

    How many have begun since the last look is counted by ids from the same one in both looks, so that what began late
    under an early id is counted too. What has begun and is not open any more has ended.
    """

    def __init__(self, store: SagaStore) -> None:
        self._store = store
        self._before: StoreSample | None = None
        self._counted_from = _id_at(current().time_ns())

    async def look(self) -> Reading:
        """Look now. Rates are those since the last look; the first one has none."""
        later = _id_at(current().time_ns())
        before, sample = self._before, await self._store.sample(self._counted_from, later, LIMIT)
        self._before, self._counted_from = sample, later
        names = {one.saga for one in sample.open} | sample.began.keys()
        if before is not None:
            names |= {one.saga for one in before.open}
        return Reading(sample, {name: going(name, before, sample) for name in sorted(names)})


def going(saga: str, before: StoreSample | None, sample: StoreSample) -> Going:
    """How the sagas of a name go, between two samples of which the second is counted from where the first ended."""
    of_name = [one for one in sample.open if one.saga == saga]
    counts = Counter({one.status: one.count for one in of_name})
    oldest = max((one.oldest_seconds for one in of_name), default=None)
    seconds = 0.0 if before is None else (sample.at - before.at).total_seconds()
    if before is None or seconds <= 0:
        return Going(counts, oldest, None, None)
    started = max(0, sample.began.get(saga, (0, 0))[0] - before.began.get(saga, (0, 0))[1])
    were_open = sum(one.count for one in before.open if one.saga == saga)
    ended = max(0, were_open + started - counts.total())
    is_known = before.all_counted and sample.all_counted
    return Going(counts, oldest, started / seconds, ended / seconds if is_known else None)


def _id_at(time_ns: int) -> UUID:
    """An id smaller than those of all sagas that begin now, or began a little while ago."""
    return ids.first_at(max(0, int(time_ns / 1e6 - SLACK_SECONDS * 1000)))
