"""What nobody waits for any more is not done: it expires in its queue, or the participant refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from sagaflow import (
    Operation,
    Participant,
    Replies,
    Run,
    Saga,
    SagaStatus,
    StepContext,
    StepRejected,
    Worker,
    serve,
)
from sagaflow.definitions import ids
from sagaflow.definitions.messages import Command, ReplyOutcome
from sagaflow.definitions.ports import BarrierKey, SagaStore, Transactions
from sagaflow.runners.allowance import HANDLER_SECONDS_MAX, Allowance, Stale
from sagaflow.runners.barrier import Barrier, Order
from sagaflow.testing.transactions_contract import enter_action, record
from tests.runners.world import (
    DEADLINE_SECONDS,
    SOON,
    Trip,
    World,
    check_journal,
    op_of,
    trip_saga,
    until,
)

BRIEF_SECONDS = 0.3
LATE_SECONDS = 1.5  # enough for a loaded machine to call the handler


@dataclass
class Airline:
    """A service that notes which attempts it was asked for, and with what budget."""

    attempts: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def participant(self) -> Participant[Any]:
        airline: Participant[Any] = Participant("airline")

        @airline.step("book_flight", retry=SOON)
        async def book_flight(command: str, context: StepContext[Any]) -> str:
            self.attempts.append(context.attempt)
            self.budgets.append(context.budget_seconds)
            return command

        @book_flight.compensation
        async def cancel_flight(command: str, booked: str, context: StepContext[Any]) -> None:
            self.undone.append(context.attempt)
            self.budgets.append(context.budget_seconds)

        @airline.step("hold_the_line", no_compensation="it only takes time")
        async def hold_the_line(command: str) -> str:
            await self.release.wait()
            return command

        return airline


def one_at_a_time(world: World, airline: Airline, transactions: Transactions[Any]) -> Worker:
    """A worker that takes what comes in its order."""
    return serve(airline.participant(), transport=world.make_transport(), transactions=transactions, concurrency=1)


def attempted(
    run: Run[Any], store: SagaStore, step: str, operation: Operation, attempt: int
) -> Callable[[], Awaitable[bool]]:
    """Whether an operation was sent so often."""

    async def is_so() -> bool:
        return (await op_of(store, run.saga_id, step, operation)).attempt >= attempt

    return is_so


async def test_case_17_a_participant_that_was_down_for_longer_than_the_timeout_does_nothing_stale(
    world: World,
) -> None:
    airline = Airline()
    trip = trip_saga(airline="airline", timeout_seconds=BRIEF_SECONDS, attempts=1000)
    await world.worker()
    sagas, store = await world.coordinator(trip), await world.store()
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    # The first has expired when the third is sent; it began to wait a moment after the coordinator did.
    await until(attempted(run, store, "airline.book_flight", Operation.ACTION, 3))
    await world.worker(airline.participant())
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert len(airline.attempts) == 1
    assert airline.attempts[0] > 1
    await check_journal(store, run.saga_id)


async def test_an_action_that_waits_in_line_for_too_long_is_refused(world: World) -> None:
    """It had arrived in time, so the broker could not drop it; the time of its attempt ran out at the worker."""
    airline = Airline()
    trip = Saga("trip", Trip)

    @trip.step("airline.hold_the_line", reply=str)
    def hold(trip: Trip, replies: Replies) -> str:
        return trip.city

    @trip.step("airline.book_flight", reply=str, after=[], timeout_seconds=BRIEF_SECONDS, attempts=1000)
    def book_flight(trip: Trip, replies: Replies) -> str:
        return trip.city

    sagas, store = await world.coordinator(trip), await world.store()
    await world.stack.enter_async_context(one_at_a_time(world, airline, await world.transactions()))
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await until(attempted(run, store, "airline.book_flight", Operation.ACTION, 3))
    airline.release.set()
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert len(airline.attempts) == 1
    assert airline.attempts[0] > 1

    async def told() -> bool:
        journal = await store.journal(run.saga_id)
        return any(entry.error is not None and entry.error.type == "Stale" for entry in journal)

    await until(told)


async def test_a_compensation_is_never_stale(world: World) -> None:
    """However long the participant was down, and however often it was asked meanwhile: what came first is done."""
    airline, refuse = Airline(), asyncio.Event()

    async def refuse_when_told(attempt: int) -> None:
        await refuse.wait()
        raise StepRejected("the card was declined")

    world.agency.behaviour["pay"] = refuse_when_told
    trip = trip_saga(airline="airline", compensation_timeout_seconds=BRIEF_SECONDS, compensation_attempts=1000)
    await world.worker()
    sagas, store = await world.coordinator(trip), await world.store()
    transactions = await world.transactions()
    async with world.serving(airline.participant(), transactions):
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
        await until(attempted(run, store, "agency.pay", Operation.ACTION, 1))
    refuse.set()
    await until(attempted(run, store, "airline.book_flight", Operation.COMPENSATION, 3))
    await world.stack.enter_async_context(one_at_a_time(world, airline, transactions))
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    assert airline.undone == [1]


async def test_handlers_are_told_how_long_they_may_take(world: World) -> None:
    """It is the least of what the step, the saga's deadline and the worker allow, less what has passed already."""
    airline = Airline()
    await world.worker()
    await world.worker(airline.participant())
    hasty = trip_saga(airline="airline", deadline_seconds=15)
    async with world.coordinating(await world.store(), hasty) as sagas:
        run = await sagas.start(hasty, Trip("Rome"), key="t-1")
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    patient = trip_saga(airline="airline")
    sagas = await world.coordinator(patient)
    run = await sagas.start(patient, Trip("Oslo"), key="t-2")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert 0 < airline.budgets[0] < 15
    assert airline.budgets[1] == HANDLER_SECONDS_MAX


# The barrier.


def command() -> Command:
    """An action of a saga of its own."""
    return Command(
        saga_id=ids.new_id(),
        saga="trip",
        step="airline.book_flight",
        handler="book_flight",
        operation=Operation.ACTION,
        round=1,
        attempt=1,
        token="",
        reply_to="trips",
        budget_seconds=60.0,
        traceparent="",
        payload=msgspec.Raw(b'"Rome"'),
    )


async def test_case_17_a_stale_action_is_refused_inside_its_transaction_and_leaves_nothing(world: World) -> None:
    airline, barrier, asked = Airline(), Barrier(await world.transactions()), command()
    step = airline.participant().steps["book_flight"]
    with pytest.raises(Stale, match="0 s were over"):
        await barrier.carry_out(Order(step, asked, Allowance(0.0, expires=True)))
    assert airline.attempts == []
    assert (await barrier.carry_out(Order(step, asked, Allowance.of(asked)))).outcome is ReplyOutcome.SUCCEEDED


async def test_what_was_recorded_is_the_truth_however_late_it_is_asked_for(world: World) -> None:
    airline, barrier, asked = Airline(), Barrier(await world.transactions()), command()
    step = airline.participant().steps["book_flight"]
    done = await barrier.carry_out(Order(step, asked, Allowance.of(asked)))
    assert await barrier.carry_out(Order(step, asked, Allowance(0.0, expires=True))) == done
    assert airline.attempts == [1]


async def hang(command: str) -> str:
    """A handler that does not let itself be cut off."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return command
    raise AssertionError("it was never cut off")


async def test_an_action_whose_time_is_over_before_the_commit_is_rolled_back(world: World) -> None:
    stubborn: Participant[Any] = Participant("airline")
    step = stubborn.step("book_flight", no_compensation="none")(hang)
    airline, barrier, asked = Airline(), Barrier(await world.transactions()), command()
    with pytest.raises(Stale):
        await barrier.carry_out(Order(step, asked, Allowance(LATE_SECONDS, expires=True)))
    await barrier.carry_out(Order(airline.participant().steps["book_flight"], asked, Allowance.of(asked)))
    assert airline.attempts == [1], "nothing was recorded"


async def test_a_call_that_was_made_is_recorded_however_late(world: World) -> None:
    """It has had its effect outside the database; to roll the record of it back would only hide that."""
    stubborn: Participant[Any] = Participant("airline")
    step = stubborn.external_step("book_flight", no_compensation="none")(hang)
    barrier, asked = Barrier(await world.transactions()), command()
    late = await barrier.carry_out(Order(step, asked, Allowance(LATE_SECONDS, expires=True)))
    assert late.outcome is ReplyOutcome.SUCCEEDED
    with pytest.raises(Stale):
        await barrier.carry_out(Order(step, command(), Allowance(0.0, expires=True)))


async def test_an_undo_is_carried_out_however_long_it_has_waited(world: World) -> None:
    airline, barrier, asked = Airline(), Barrier(await world.transactions()), command()
    step = airline.participant().steps["book_flight"]
    await barrier.carry_out(Order(step, asked, Allowance.of(asked)))
    undo = msgspec.structs.replace(asked, operation=Operation.COMPENSATION, budget_seconds=0.5)
    allowance = Allowance.of(undo)
    await asyncio.sleep(0.6)
    assert (await barrier.carry_out(Order(step, undo, allowance))).outcome is ReplyOutcome.SUCCEEDED
    assert airline.undone == [1]


async def test_an_action_that_waits_for_a_lock_for_too_long_is_refused(world: World) -> None:
    """Another transaction has the barrier of this very step open, and does not end."""
    airline, asked = Airline(), command()
    transactions, others = await world.transactions(), await world.transactions()
    worker = world.serving(airline.participant(), transactions)
    async with others.begin() as other:
        await enter_action(other, BarrierKey(asked.saga_id, asked.step), 1)
        reply = await asyncio.create_task(worker._reply_to(asked, Allowance(BRIEF_SECONDS, expires=True)))
        await record(other, BarrierKey(asked.saga_id, asked.step), "action", b'{"outcome": "succeeded"}', refusal=False)
    assert reply.error is not None
    assert (reply.outcome, reply.error.type, reply.retry_after_seconds) == (ReplyOutcome.FAILED, "Stale", 0.0)
    assert airline.attempts == []
