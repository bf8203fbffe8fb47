"""Sagas as the coordinator writes them, for the tests of the SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from uuid import UUID

from msgspec.structs import replace

from sagaflow.core.effects import SendCommand
from sagaflow.core.events import Started, Succeeded
from sagaflow.core.plan import Operation, Plan, PlannedStep, StepKind
from sagaflow.core.state import SagaState, SagaStatus, initial
from sagaflow.definitions import ids, payloads
from sagaflow.definitions.records import INPUT_STEP, Change, JournalEntry, Payload, PayloadKind, SagaRecord

PLAN = Plan("checkout", 1, (PlannedStep("reserve", "stock", "reserve", StepKind.COMPENSATABLE),))
INPUT = b'{"order":1}'
SEND = SendCommand("reserve", Operation.ACTION, 1, 1)


_numbers = count()
_FIRST_ID = ids.new_id().int & ~0xFFFF_FFFF


def new_saga(
    *, saga: str = "checkout", key: str = "order-1", coordinator: str = "shop", wake_at: datetime | None = None
) -> Change:
    """A saga that was just started."""
    record = SagaRecord(
        saga_id=UUID(int=_FIRST_ID + next(_numbers)),  # of one millisecond, but in order
        saga=saga,
        key=key,
        coordinator=coordinator,
        plan_hash=PLAN.hash,
        secret=ids.new_secret(),
        traceparent=ids.new_traceparent(),
        input_digest=payloads.digest(INPUT),
        version=1,
        state=initial(PLAN),
        wake_at=wake_at,
    )
    started = JournalEntry(record.saga_id, 1, Started(), SagaStatus.RUNNING, (SEND,), origin="coordinator shop@here")
    saga_input = Payload(record.saga_id, INPUT_STEP, PayloadKind.INPUT, 1, INPUT)
    return Change(record, 0, [started], [saga_input], wake_changed=True)


def step_on(record: SagaRecord, status: SagaStatus, payloads: Sequence[Payload] = ()) -> Change:
    """The same saga one event later, in this status."""
    version = record.version + 1
    event = Succeeded("reserve", Operation.ACTION, 1, 1)
    entry = JournalEntry(record.saga_id, version, event, status, origin="stock@there")
    state = SagaState(status, record.state.steps)
    return Change(replace(record, version=version, state=state, timers=()), record.version, [entry], payloads)
