"""The life of a saga over real adapters."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from sagaflow import Cause, ConflictError, NotPossible, Operation, PayloadError, SagaNotFound, SagaStatus, StepRejected
from sagaflow.core.state import OpStatus
from tests.runners.world import (
    DEADLINE_SECONDS,
    Trip,
    World,
    always,
    check_journal,
    fail_times,
    op_of,
    record_of,
    trip_saga,
    until,
    until_status,
)


async def test_a_saga_whose_steps_all_succeed_is_completed_and_tells_what_they_returned(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert outcome.status is SagaStatus.COMPLETED
    assert world.agency.done[0] == "book_car"
    assert sorted(world.agency.done[1:3]) == ["book_flight", "book_room"]
    assert world.agency.done[3:] == ["pay", "send_ticket"]
    store = await world.store()
    await check_journal(store, run.saga_id)


async def test_case_09_a_refused_step_undoes_the_steps_before_it_and_only_these(world: World) -> None:
    room_booked = asyncio.Event()

    async def refuse_after_the_room(attempt: int) -> None:
        await room_booked.wait()
        raise StepRejected("the flight is full")

    async def book(attempt: int) -> None:
        room_booked.set()

    world.agency.behaviour |= {"book_flight": refuse_after_the_room, "book_room": book}
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.REFUSED)
    assert world.agency.done == ["book_car", "book_room", "cancel book_room", "cancel book_car"]
    journal = await check_journal(await world.store(), run.saga_id)
    (refusal,) = [entry for entry in journal if entry.error is not None]
    assert refusal.error is not None
    assert (refusal.error.type, refusal.error.message) == ("StepRejected", "the flight is full")
    assert refusal.origin.startswith("agency@")


async def test_a_failing_handler_is_tried_again_and_every_attempt_is_counted_once(world: World) -> None:
    world.agency.behaviour["book_room"] = fail_times(3, RuntimeError("the line is busy"))
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    store = await world.store()
    assert world.agency.attempts["book_room"] == 4
    assert (await op_of(store, run.saga_id, "agency.book_room")).attempt == 4
    await check_journal(store, run.saga_id)


async def test_case_09_exhausted_attempts_undo_the_step_itself_and_never_exceed_the_budget(world: World) -> None:
    world.agency.behaviour["book_flight"] = always(RuntimeError("no answer"))
    trip = trip_saga(attempts=3)
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.EXHAUSTED)
    assert world.agency.attempts["book_flight"] == 3
    assert "cancel book_flight" not in world.agency.done, "it never committed, so its undo finds nothing"
    store = await world.store()
    undo = await op_of(store, run.saga_id, "agency.book_flight", Operation.COMPENSATION)
    assert undo.status is OpStatus.SUCCEEDED
    await check_journal(store, run.saga_id)


async def test_case_09_a_step_that_nobody_answers_times_out_and_nothing_of_it_remains_however_late_it_comes(
    world: World,
) -> None:
    trip = trip_saga(airline="airline", timeout_seconds=0.1, attempts=2)
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPENSATING)
    flight = await op_of(store, run.saga_id, "airline.book_flight")
    assert (flight.status, flight.attempt) == (OpStatus.UNKNOWN, 2)
    await world.worker(world.agency.participant("airline"))
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.EXHAUSTED)
    assert world.agency.done.count("book_flight") == world.agency.done.count("cancel book_flight")
    await check_journal(store, run.saga_id)


async def test_case_16_a_pivot_that_stays_unknown_is_stuck_until_a_person_retries_it(world: World) -> None:
    world.agency.behaviour["pay"] = fail_times(2, RuntimeError("bank down"))
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    with pytest.raises(NotPossible, match="the pivot is reached"):
        await run.cancel(reason="too slow")
    await sagas.operator("anna").retry(run.saga_id, reason="the bank is back")
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    journal = await check_journal(store, run.saga_id)
    (repair,) = [entry for entry in journal if entry.actor]
    assert (repair.actor, repair.reason) == ("anna", "the bank is back")


async def test_a_compensation_that_fails_for_good_is_stuck_and_can_be_skipped(world: World) -> None:
    world.agency.behaviour |= {
        "pay": always(StepRejected("no money")),
        "cancel book_room": always(StepRejected("not refundable")),
    }
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    store = await world.store()

    async def others_undone() -> bool:
        return "cancel book_flight" in world.agency.done

    await until(others_undone)
    assert "cancel book_car" not in world.agency.done, "the car waits for the room, which came after it"
    await sagas.operator("anna").skip(run.saga_id, reason="refunded by hand")
    await until_status(store, run.saga_id, SagaStatus.COMPENSATED)
    assert world.agency.done[-1] == "cancel book_car"
    await check_journal(store, run.saga_id)


async def test_many_sagas_start_together_and_conflicts_are_told_apart(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    runs = await sagas.start_many(trip, {f"t-{number}": Trip("Rome") for number in range(30)})
    outcomes = await asyncio.gather(*(run.outcome(timeout=DEADLINE_SECONDS) for run in runs))
    assert {outcome.status for outcome in outcomes} == {SagaStatus.COMPLETED}
    assert world.agency.done.count("pay") == 30
    with pytest.raises(ExceptionGroup) as caught:
        await sagas.start_many(trip, {"t-1": Trip("Oslo"), "t-new": Trip("Oslo")})
    assert [type(error) for error in caught.value.exceptions] == [ConflictError]
    await (await sagas.start(trip, Trip("Oslo"), key="t-new")).outcome(timeout=DEADLINE_SECONDS)


class ChangedMyMindError(Exception):
    """The caller rolls back."""


async def test_an_outcome_is_told_to_whichever_process_waits(world: World) -> None:
    trip = trip_saga()
    starting = await world.coordinator(trip)
    waiting = await world.coordinator(trip)
    run = await starting.start(trip, Trip("Rome"), key="t-1")
    outcomes = [
        asyncio.create_task(sagas.outcome(run.saga_id, timeout=DEADLINE_SECONDS)) for sagas in (starting, waiting)
    ]
    await world.worker()
    for outcome in outcomes:
        assert (await outcome).status is SagaStatus.COMPLETED
    assert (await waiting.outcome(run.saga_id, timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    with pytest.raises(SagaNotFound):
        await waiting.outcome(uuid4(), timeout=DEADLINE_SECONDS)


async def test_waiting_for_an_outcome_has_a_limit_and_the_saga_goes_on(world: World) -> None:
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    with pytest.raises(TimeoutError):
        await run.outcome(timeout=0.05)
    await world.worker()
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_case_14_a_saga_that_is_being_undone_can_be_cancelled_again_and_nothing_changes(world: World) -> None:
    released = asyncio.Event()

    async def hold(attempt: int) -> None:
        await released.wait()

    world.agency.behaviour["book_flight"] = hold
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    store = await world.store()

    async def room_is_booked() -> bool:
        return (await op_of(store, run.saga_id, "agency.book_room")).status is OpStatus.SUCCEEDED

    await until(room_is_booked)
    assert await run.cancel(reason="the meeting is off") is SagaStatus.COMPENSATING
    assert await run.cancel(reason="really") in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)
    released.set()
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.CANCELLED)
    assert world.agency.done.count("book_flight") == world.agency.done.count("cancel book_flight")
    await check_journal(store, run.saga_id)


async def test_case_17_a_saga_that_passes_its_deadline_is_undone(world: World) -> None:
    trip = trip_saga(airline="airline", deadline_seconds=0.3)
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPENSATING)
    assert (await record_of(store, run.saga_id)).state.cause is Cause.DEADLINE
    await world.worker(world.agency.participant("airline"))
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    await check_journal(store, run.saga_id)


async def test_input_over_the_limit_is_refused_to_the_caller(world: World) -> None:
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    with pytest.raises(PayloadError, match="over the limit"):
        await sagas.start(trip, Trip("R" * 300_000), key="t-1")
    with pytest.raises(PayloadError, match="cannot be a key"):
        await sagas.start(trip, Trip("Rome"), key="")
