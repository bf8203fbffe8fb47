"""Case 26: no clock of a host decides anything, and none is compared with another's."""

from __future__ import annotations

import time
from datetime import datetime
from typing import get_type_hints

import pytest

from sagaflow import Operation, SagaStatus
from sagaflow.definitions import messages
from sagaflow.definitions.messages import Envelope
from tests.runners.world import DEADLINE_SECONDS, Trip, World, check_journal, fail_times, op_of, trip_saga

HOUR_NS = 3600 * 1_000_000_000


@pytest.mark.parametrize("hours", [-24, 24])
async def test_case_26_the_clock_of_a_host_may_jump_by_a_day_and_nothing_is_early_or_late(
    world: World, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Retries, timeouts and leases go by the clock of the store, and by how long things take."""
    true_time, true_time_ns = time.time, time.time_ns
    jumped = False

    async def jump_and_fail(attempt: int) -> None:
        nonlocal jumped
        jumped = True
        await fail_times(2, RuntimeError("busy"))(attempt)

    monkeypatch.setattr(time, "time", lambda: true_time() + hours * 3600 * jumped)
    monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + hours * HOUR_NS * jumped)
    world.agency.behaviour["book_room"] = jump_and_fail
    trip = trip_saga(deadline_seconds=3600)
    await world.worker()
    sagas = await world.coordinator(trip)
    runs = [await sagas.start(trip, Trip("Rome"), key=f"t-{number}") for number in range(3)]
    for run in runs:
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    store = await world.store()
    for run in runs:
        flight = await op_of(store, run.saga_id, "agency.book_flight", Operation.ACTION)
        assert flight.attempt == 1, "nothing timed out"
        await check_journal(store, run.saga_id)


def test_case_26_durations_travel_and_instants_do_not() -> None:
    kinds = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Envelope)]
    assert len(kinds) > 5
    for kind in kinds:
        for name, hint in get_type_hints(kind).items():
            assert datetime not in (hint, *getattr(hint, "__args__", ())), f"{kind.__name__}.{name}"
            assert not name.endswith("_at"), f"{kind.__name__}.{name}"
