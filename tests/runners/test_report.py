"""The report of a real saga, embedded and distributed."""

from __future__ import annotations

import uuid

import pytest

from sagaflow import SagaNotFound, SagaStatus
from tests.runners.world import DEADLINE_SECONDS, Trip, World, always, trip_saga


class BankDown(Exception):
    """What the bank does."""


async def test_a_report_needs_nobody_who_took_part_and_counts_those_that_fail_alike(world: World) -> None:
    world.agency.behaviour["send_ticket"] = always(BankDown("order 1047"))
    saga = trip_saga()
    sagas = await world.coordinator(saga)
    await world.worker()
    runs = [await sagas.start(saga, Trip("Rome"), key=f"trip {number}") for number in range(3)]
    for run in runs:
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    del world.agency.behaviour["send_ticket"]
    await sagas.operator("anna").retry(runs[2].saga_id, reason="the bank is back")
    async with world.make_store() as store:
        bystander = world.coordinating(store, saga)
        report = await bystander.report(runs[0].saga_id)
        with pytest.raises(SagaNotFound):
            await bystander.report(uuid.uuid4())
    (stuck,) = report.stuck
    assert (stuck.step, stuck.attempt, stuck.trace_id) == ("agency.send_ticket", 2, runs[0].trace_id)
    assert stuck.error is not None
    assert (stuck.error.type, "raise error" in stuck.error.traceback) == ("BankDown", True)
    assert {one.trace_id for one in report.attempts} == {runs[0].trace_id}
    assert all(one.host and one.asked_at and one.ended_at for one in report.attempts)
    assert report.alike is not None
    assert report.alike.by_status.get(SagaStatus.STUCK) == 1, "one other; the third was retried, and is another way"
