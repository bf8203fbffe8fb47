"""A saga that begins: what it begins as, and starting one with the store alone. Whichever coordinator of its name looks
next sends its first commands then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from sagaflow.core.plan import Plan
from sagaflow.core.state import SagaState, initial
from sagaflow.definitions import ids, payloads
from sagaflow.definitions.limits import KEY_LENGTH_MAX
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import INPUT_STEP, NO_PROCESS, Payload, PayloadKind, SagaRecord
from sagaflow.definitions.remembering import Remembered
from sagaflow.definitions.saga import Saga
from sagaflow.definitions.surroundings import current
from sagaflow.errors import PayloadError
from sagaflow.runners.engine import Start, first_turn, same_or_conflict

_initial: Final[Remembered[Plan, SagaState]] = Remembered(initial)
"""One state for all sagas of a plan that begin, so that what the machine says of it is remembered too."""


def expect_key(key: str) -> None:
    """Raises `PayloadError` if this cannot be the key of a saga."""
    if not 0 < len(key) <= KEY_LENGTH_MAX or not key.isprintable():
        raise PayloadError(f"{key[:50]!r} cannot be a key; use 1 to {KEY_LENGTH_MAX} printable characters")


def new_start(
    saga: Saga[Any], encoded: bytes, *, key: str, coordinator: str, traceparent: Callable[[UUID], str]
) -> Start:
    """A new saga, not yet written. `traceparent` says in which trace a saga of this id is.

    Raises:
        PayloadError: the key cannot be one.
    """
    expect_key(key)
    saga_id = ids.new_id()
    record = SagaRecord(
        saga_id=saga_id,
        saga=saga.name,
        key=key,
        coordinator=coordinator,
        plan_hash=saga.plan.hash,
        secret=ids.new_secret(),
        traceparent=traceparent(saga_id),
        input_digest=payloads.digest(encoded),
        version=0,
        state=_initial(saga.plan),
    )
    saga_input = Payload(saga_id, INPUT_STEP, PayloadKind.INPUT, 1, encoded)
    return Start(record, saga.plan, saga_input, asyncio.get_running_loop().create_future())


def own_traceparent(saga_id: UUID) -> str:
    """That of a new trace, of which the saga itself is the first span."""
    return ids.child_traceparent(ids.new_traceparent(), ids.span_id_of(saga_id))


async def start_in(store: SagaStore, saga: Saga[Any], encoded: bytes, *, key: str, coordinator: str) -> SagaRecord:
    """Start a saga, once for each (saga, key), with input that is encoded; returns the one that there is.

    Raises:
        ConflictError: the key was used with other input.
        PayloadError: the input is not what the saga takes, or the key cannot be one. Nothing is written.
    """
    start = new_start(saga, encoded, key=key, coordinator=coordinator, traceparent=own_traceparent)
    saga.input_type.decode(encoded)
    await store.add_plans([saga.plan])
    async with store.transaction() as tx:
        turn = first_turn(start, tx.now, f"operator@{current().host()}")
        turn.leave_sending_to_others()
        change = turn.change()
        existing = await tx.insert([change], NO_PROCESS)
    return same_or_conflict(start, existing[0] if existing else change.record)
