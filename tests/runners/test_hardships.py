"""What a review by a sceptic found, one test each: the ways in which a saga, an effect or a caller could be lost."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from sagaflow import Cause, Operation, Participant, PayloadError, SagaClient, SagaStatus, StepRejected
from sagaflow.core.state import OpStatus
from sagaflow.definitions.messages import Reply, ReplyOutcome, StartRequest, write
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.errors import SchemaError, Unavailable
from sagaflow.runners.engine import Input, Woken
from tests.runners.faults import Unreliable, die
from tests.runners.world import (
    DEADLINE_SECONDS,
    SOON,
    Trip,
    World,
    always,
    check_journal,
    fail_times,
    op_of,
    trip_saga,
    until,
    until_status,
)

COMMANDS = Address(QueueKind.COMMANDS, "agency")


class Gateway:
    """A service whose effects lie outside of its database, and what was done there."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.effects: list[str] = []

    def participant(self) -> Participant[Any]:
        """It has one step; after its effect it raises the errors, one an attempt."""
        airline: Participant[Any] = Participant("airline")

        @airline.external_step("book_flight", retry=SOON)
        async def book_flight(command: str) -> str:
            if not self.effects:
                self.effects.append("booked")
            if self.errors:
                raise self.errors.pop(0)
            return command

        @book_flight.compensation
        async def cancel_flight(command: str, booked: str | None) -> None:
            self.effects.append("cancelled")

        return airline


@pytest.mark.parametrize(
    "errors",
    [[TimeoutError("no answer"), StepRejected("duplicate")], [PayloadError("of something else")] * 9],
    ids=["refused after an attempt that may have succeeded", "a payload error after the effect"],
)
async def test_an_effect_outside_that_may_have_happened_is_undone(world: World, errors: list[Exception]) -> None:
    gateway = Gateway(*errors)
    trip = trip_saga(airline="airline", attempts=3)
    await world.worker()
    await world.worker(gateway.participant())
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert outcome.status is SagaStatus.COMPENSATED
    assert gateway.effects == ["booked", "cancelled"]


async def test_a_refusal_at_the_first_attempt_of_an_external_step_is_definite(world: World) -> None:
    gateway = Gateway(StepRejected("no seats"))
    trip = trip_saga(airline="airline")
    await world.worker()
    await world.worker(gateway.participant())
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).cause is Cause.REFUSED
    undo = await op_of(await world.store(), run.saga_id, "airline.book_flight", Operation.COMPENSATION)
    assert undo.status is OpStatus.IDLE


async def test_what_one_coordinator_could_not_send_is_sent_by_the_next_that_touches_the_saga(world: World) -> None:
    trip = trip_saga()
    dying = Unreliable(world.make_transport())
    first = await world.coordinator(trip, transport=dying, lease_seconds=600)
    run = await first.start(trip, Trip("Rome"), key="t-1")
    store = await world.store()
    dying.deaf = True
    await world.worker()

    async def flight_is_ordered() -> bool:
        return (await op_of(store, run.saga_id, "agency.book_flight")).status is OpStatus.SENT

    await until(flight_is_ordered)
    await die(first)
    second = await world.coordinator(trip, lease_seconds=600)
    second._engine.inputs.put(Woken(run.saga_id, resend=False))
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    await check_journal(store, run.saga_id)


async def test_a_cancel_is_not_forgotten_by_a_wake_up_that_was_claimed_before_it(world: World) -> None:
    trip = trip_saga()
    world.agency.behaviour["book_flight"] = always(RuntimeError("no answer"))
    await world.worker()
    sagas = await world.coordinator(trip)
    store = await world.store()
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await until_status(store, run.saga_id, SagaStatus.RUNNING)
    sagas._upkeep.nudge = sagas._upkeep.expect = lambda *seconds: None  # type: ignore[method-assign,assignment]  # only what follows
    await sagas.operator("anna").cancel(run.saga_id, reason="enough")
    sagas._engine.inputs.put(Woken(run.saga_id, resend=False))
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED


async def test_stopping_while_the_broker_is_away_leaves_the_commands_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaflow.runners.coordinator.GRACE_SECONDS", 0.05)
    trip = trip_saga()
    away = Unreliable(world.make_transport())
    store = await world.store()
    async with world.coordinating(store, trip, transport=away, lease_seconds=600) as sagas:
        away.deaf = True
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await world.worker()
    await world.coordinator(trip)
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)


async def test_a_loop_of_a_coordinator_survives_what_nobody_expected(world: World) -> None:
    trip = trip_saga()
    store = await world.store()
    sagas = world.coordinating(store, trip)
    world.agency.behaviour["book_car"] = fail_times(2, RuntimeError("busy"))
    claim, failures = store.claim_due, [SchemaError("a migration is under way")] * 3

    async def failing_claim(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await claim(*arguments)

    store.claim_due = failing_claim  # type: ignore[method-assign,assignment]  # the fault
    await world.worker()
    async with sagas:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert not failures


async def test_a_queue_that_takes_nothing_holds_up_no_other(world: World) -> None:
    trip, flying = trip_saga(), trip_saga(airline="airline")
    transport = Unreliable(world.make_transport())
    transport.blocked = Address(QueueKind.COMMANDS, "airline")
    flying.name = "flying"
    await world.worker()
    sagas = await world.coordinator(trip, flying, transport=transport)
    blocked = await sagas.start(flying, Trip("Oslo"), key="t-0")
    store = await world.store()

    async def flight_is_ordered() -> bool:
        return (await op_of(store, blocked.saga_id, "airline.book_flight")).status is OpStatus.SENT

    await until(flight_is_ordered)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    transport.blocked = None
    await world.worker(world.agency.participant("airline"))
    await until_status(store, blocked.saga_id, SagaStatus.COMPLETED)


async def test_a_stray_reply_that_cannot_be_kept_harms_nothing_that_came_with_it(world: World) -> None:
    trip = trip_saga()
    store = await world.store()

    async def no_right(messages: Any) -> None:
        raise SchemaError("permission denied for table put_aside")

    store.put_aside = no_right  # type: ignore[method-assign]  # the fault
    await world.worker()
    sagas = await world.stack.enter_async_context(world.coordinating(store, trip))
    transport = await world.stack.enter_async_context(world.make_transport())
    stray = Reply(
        saga_id=uuid4(),
        step="agency.book_car",
        operation=Operation.ACTION,
        round=1,
        attempt=1,
        token="",
        outcome=ReplyOutcome.SUCCEEDED,
        participant="agency",
        host="somewhere",
        traceparent="",
    )
    await transport.publish([Letter(Address(QueueKind.REPLIES, "trips"), write(stray))])
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_one_input_that_cannot_be_dealt_with_does_not_take_its_batch_with_it(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    engine, transact = sagas._engine, sagas._engine._transact
    poison = Woken(uuid4(), resend=False)

    async def transact_unless_poisoned(inputs: list[Input], *, again: bool) -> Any:
        batch = await transact(inputs, again=again)
        if poison in inputs:
            raise ZeroDivisionError("a bug, after the commit")
        return batch

    engine._transact = transact_unless_poisoned  # type: ignore[method-assign,assignment]  # the fault
    start = sagas._new(trip, Trip("Rome"), "t-1", None)
    engine.inputs.put(poison)
    engine.inputs.put(start)
    record = await asyncio.wait_for(start.accepted, DEADLINE_SECONDS)
    assert (await sagas.outcome(record.saga_id, timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_a_handler_whose_own_wait_is_cancelled_fails_and_is_tried_again(world: World) -> None:
    async def cancelled_elsewhere(attempt: int) -> None:
        if attempt == 1:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    world.agency.behaviour["book_car"] = cancelled_elsewhere
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_bad_requests_are_answered_and_block_nobody(world: World) -> None:
    await world.coordinator()
    transport = await world.stack.enter_async_context(world.make_transport())
    bad = StartRequest(
        request_id=uuid4(),
        reply_to="nobody",
        saga="trip",
        key="t-0",
        input=msgspec.Raw(b'{"city": "Oslo"}'),
        traceparent="nonsense",
    )
    await transport.publish([Letter(Address(QueueKind.REQUESTS, "trips"), write(bad))] * 60)
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with SagaClient(world.make_transport(), coordinator="trips") as client:
            await client.start("trip", Trip("Rome"), key="t-1")
            with pytest.raises(PayloadError, match="traceparent"):
                await client.start("trip", Trip("Rome"), key="t-2", traceparent="nonsense")


async def test_callers_of_a_coordinator_that_stops_are_told_so(world: World) -> None:
    trip = trip_saga()
    store = await world.store()
    async with world.coordinating(store, trip) as sagas:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
        waiting = asyncio.create_task(run.outcome())
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="stopped"):
        await asyncio.wait_for(waiting, DEADLINE_SECONDS)
    with pytest.raises(Unavailable, match="stopped"):
        await asyncio.wait_for(run.outcome(), DEADLINE_SECONDS)
    with pytest.raises(Unavailable, match="stopped"):
        await asyncio.wait_for(sagas.start(trip, Trip("Rome"), key="t-2"), DEADLINE_SECONDS)
