"""Which sagas fail, and which of them alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sagaflow.core.plan import Operation
from sagaflow.core.state import OpState, OpStatus, SagaStatus, by_name
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import SagaFilter, SagaRecord
from sagaflow.runners.reporting.fingerprints import fingerprint_of
from sagaflow.runners.reporting.reports import NO_ANSWER

PAGE: Final = 200
"""So many at a time."""

LOOKED_AT_MAX: Final = 10_000
"""So many sagas are looked at, at most, for a list."""

FAILING: Final = frozenset({OpStatus.STUCK, OpStatus.WAITING, OpStatus.DEFERRED, OpStatus.REFUSED, OpStatus.UNKNOWN})
"""The operations that may be what fails in a saga."""


@dataclass(frozen=True, slots=True)
class OpFailure:
    """An operation that fails, and what went wrong with it last; None: nobody answered."""

    step: str
    operation: Operation
    status: OpStatus
    error: ErrorInfo | None


async def fingerprints(store: SagaStore, records: Sequence[SagaRecord]) -> Mapping[UUID, Mapping[str, OpFailure]]:
    """What fails in these sagas, by its fingerprint."""
    plans = {plan.hash: plan for plan in await store.plans(sorted({one.plan_hash for one in records}))}
    latest = await store.latest_errors([one.saga_id for one in records])
    errors = {(one.saga_id, one.step, one.operation): one.error for one in latest}
    return {
        record.saga_id: {
            fingerprint_of(record.saga, name, operation, error): OpFailure(name, operation, status, error)
            for name, step in by_name(plans[record.plan_hash], record.state).items()
            for operation in Operation
            if _fails(step.op(operation))
            for status in [step.op(operation).status]
            for error in [errors.get((record.saga_id, name, operation))]
        }
        for record in records
    }


async def failing(
    store: SagaStore, matching: SagaFilter, step: str | None, error: str | None, limit: int
) -> Sequence[SagaRecord]:
    """The latest sagas that match, of which an operation of this step is open or failed, with this type of error.

    Of those that the store finds, the latest `LOOKED_AT_MAX` are looked at.
    """
    found: list[SagaRecord] = []
    async for records, failures in _pages(store, matching):
        for record in records:
            if any(_fits(one, step, error) for one in failures[record.saga_id].values()):
                found.append(record)
                if len(found) == limit:
                    return found
    return found


@dataclass(frozen=True, slots=True)
class StuckGroup:
    """Sagas that are stuck in the same way."""

    fingerprint: str
    saga: str
    failure: OpFailure
    """Of the latest of them."""
    saga_ids: tuple[UUID, ...]
    """The latest first."""
    oldest_at: datetime | None
    """Since when the one that is stuck longest is as it is."""


async def stuck_groups(store: SagaStore) -> Sequence[StuckGroup]:
    """What a person has to decide about, by fingerprint, the largest group first; of the latest `LOOKED_AT_MAX`."""
    groups: dict[str, StuckGroup] = {}
    async for records, failures in _pages(store, SagaFilter(statuses=frozenset({SagaStatus.STUCK}))):
        for record in records:
            for print_, failure in failures[record.saga_id].items():
                if failure.status is not OpStatus.STUCK:
                    continue
                known = groups.get(print_) or StuckGroup(print_, record.saga, failure, (), record.updated_at)
                times = [at for at in (known.oldest_at, record.updated_at) if at is not None]
                oldest_at = min(times, default=None)
                groups[print_] = replace(known, saga_ids=(*known.saga_ids, record.saga_id), oldest_at=oldest_at)
    return sorted(groups.values(), key=lambda group: -len(group.saga_ids))


def _fits(one: OpFailure, step: str | None, error: str | None) -> bool:
    is_step = step is None or one.step == step or one.step.endswith(f".{step}")
    return is_step and (error is None or (NO_ANSWER if one.error is None else one.error.type) == error)


async def _pages(
    store: SagaStore, matching: SagaFilter
) -> AsyncIterator[tuple[Sequence[SagaRecord], Mapping[UUID, Mapping[str, OpFailure]]]]:
    looked_at = 0
    page = matching
    while looked_at < LOOKED_AT_MAX and (records := await store.list(page, PAGE)):
        yield records, await fingerprints(store, records)
        looked_at += len(records)
        page = replace(page, before=records[-1].saga_id)


def _fails(op: OpState) -> bool:
    """Whether it may be what fails in a saga: also what is sent again, since nobody has answered."""
    return op.status in FAILING or (op.status is OpStatus.SENT and op.attempt > 1)
