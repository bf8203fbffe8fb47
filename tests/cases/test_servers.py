"""The corner cases over real adapters, embedded and over PostgreSQL and RabbitMQ, named by their number in
docs/guarantees.md. Those that are about more than one line of it stand in tests/runners under the same kind of name."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest

from sagaflow import (
    Cause,
    ConflictError,
    NotPossible,
    OnStuck,
    Operation,
    Participant,
    SagaStatus,
    StepContext,
    StepRejected,
)
from sagaflow.core.events import Succeeded
from sagaflow.core.state import OpStatus
from sagaflow.definitions.messages import ReplyOutcome
from sagaflow.definitions.ports import Address, QueueKind, SagaStore
from tests.cases.tapping import tap, twice
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
    record_of,
    trip_saga,
    until,
    until_status,
)

FLIGHT = "agency.book_flight"


class Hold:
    """A behaviour that waits until it is let go, once; later attempts go on at once."""

    def __init__(self) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()

    async def __call__(self, attempt: int) -> None:
        self.begun.set()
        if attempt == 1:
            await self.let_go.wait()


async def journaled(store: SagaStore, saga_id: Any, ignored: bool, *, step: str) -> bool:
    """Whether the journal has a success of a step that counted, or that did not."""
    return any(
        isinstance(entry.event, Succeeded)
        and (entry.event.step, entry.event.operation) == (step, Operation.ACTION)
        and (entry.ignored is not None) == ignored
        for entry in await store.journal(saga_id)
    )


async def test_case_01_a_late_success_is_recorded_and_undone_once(world: World) -> None:
    tapped = await tap(world)
    trip = trip_saga(timeout_seconds=0.2, attempts=1)
    await world.worker()
    kept = tapped.keep_back(QueueKind.REPLIES, b'"agency.book_flight","operation":"action"')
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.EXHAUSTED)
    store = await world.store()
    await tapped.transport.publish(kept)
    await until(lambda: journaled(store, run.saga_id, True, step=FLIGHT))
    assert world.agency.done.count("book_flight") == world.agency.done.count("cancel book_flight") == 1
    assert (await record_of(store, run.saga_id)).status is SagaStatus.COMPENSATED
    await check_journal(store, run.saga_id)


async def test_case_02_what_may_have_happened_outside_is_undone_and_what_never_did_is_fenced(world: World) -> None:
    effects: list[str] = []
    airline: Participant[Any] = Participant("airline")

    @airline.external_step("book_flight", retry=SOON)
    async def book_flight(command: str) -> str:
        effects.append("booked")
        raise TimeoutError("the line went dead after the booking")

    @book_flight.compensation
    async def cancel_flight(command: str, booked: str | None) -> None:
        assert booked is None
        effects.append("cancelled")

    world.agency.behaviour["book_room"] = always(RuntimeError("no answer"))
    trip = trip_saga(airline="airline", attempts=1)
    await world.worker()
    await world.worker(airline)
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    assert effects == ["booked", "cancelled"]
    undo_room = await op_of(await world.store(), run.saga_id, "agency.book_room", Operation.COMPENSATION)
    assert (undo_room.status, "cancel book_room" in world.agency.done) in (
        (OpStatus.SUCCEEDED, False),
        (OpStatus.SUCCEEDED, world.agency.done.count("book_room") == 1),
    )


async def test_case_03_an_action_that_comes_after_its_undo_is_never_done(world: World) -> None:
    tapped = await tap(world)
    kept = tapped.keep_back(QueueKind.COMMANDS, b'"handler":"book_flight"')
    trip = trip_saga(timeout_seconds=0.2, attempts=1)
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    await tapped.transport.publish(kept)

    async def answered() -> bool:
        return any(reply.outcome is ReplyOutcome.FENCED for reply in tapped.replies)

    await until(answered)
    assert "book_flight" not in world.agency.done
    assert "cancel book_flight" not in world.agency.done, "there was nothing to undo"


async def test_case_04_an_undo_waits_for_the_action_that_is_still_open(world: World) -> None:
    tapped = await tap(world)
    hold = Hold()
    world.agency.behaviour["book_flight"] = hold
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await hold.begun.wait()
    await run.cancel(reason="the meeting is off")

    async def undo_is_sent() -> bool:
        return any(command.operation is Operation.COMPENSATION for command in tapped.commands)

    await until(undo_is_sent)
    hold.let_go.set()
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    assert world.agency.done.count("book_flight") == world.agency.done.count("cancel book_flight")


async def test_case_05_an_undo_without_the_result_gets_the_command_and_none(world: World) -> None:
    given: list[tuple[str, str | None, str]] = []
    airline: Participant[Any] = Participant("airline")

    @airline.external_step("book_flight", retry=SOON)
    async def book_flight(command: str, ctx: StepContext[Any]) -> str:
        raise ConnectionError("cut")

    @book_flight.compensation
    async def cancel_flight(command: str, booked: str | None, ctx: StepContext[Any]) -> None:
        given.append((command, booked, ctx.action_key))

    trip = trip_saga(airline="airline", attempts=1)
    await world.worker()
    await world.worker(airline)
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    assert given == [("Rome", None, f"{run.saga_id}/airline.book_flight")]


async def test_case_06_a_command_that_comes_twice_has_one_effect_and_the_same_reply_again(world: World) -> None:
    tapped = await tap(world, twice)
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert sorted(world.agency.done) == ["book_car", "book_flight", "book_room", "pay", "send_ticket"]

    async def answered_twice() -> bool:
        return len([reply for reply in tapped.replies if reply.step == "agency.pay"]) == 2

    await until(answered_twice)
    first, second = (reply for reply in tapped.replies if reply.step == "agency.pay")
    assert (first.outcome, bytes(first.result)) == (second.outcome, bytes(second.result))


async def test_case_07_replies_that_come_twice_or_late_change_nothing(world: World) -> None:
    tapped = await tap(world)
    world.agency.behaviour |= {"book_car": fail_times(1, RuntimeError("busy")), "pay": always(StepRejected("no money"))}
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    tapped.tamper = twice
    second = await sagas.start(trip, Trip("Oslo"), key="t-2")
    await tapped.transport.publish(list(tapped.of(QueueKind.REPLIES)) * 2)
    assert (await second.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    store = await world.store()
    for one in (run, second):
        await check_journal(store, one.saga_id)
        assert (await record_of(store, one.saga_id)).status is SagaStatus.COMPENSATED
    assert world.agency.done.count("cancel book_room") == 2


async def test_case_08_a_reply_after_the_end_is_taken_off_the_queue_and_changes_nothing(world: World) -> None:
    tapped = await tap(world)
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    store = await world.store()
    before = await record_of(store, run.saga_id), await store.journal(run.saga_id)
    await tapped.transport.publish([*tapped.of(QueueKind.REPLIES)])
    await sagas._replies.settled()
    another = await sagas.start(trip, Trip("Oslo"), key="t-2")
    assert (await another.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert (await record_of(store, run.saga_id), await store.journal(run.saga_id)) == before


async def test_case_08_an_effect_that_shows_up_after_a_person_had_settled_it_is_recorded_and_said_aloud(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    tapped = await tap(world)
    kept = tapped.keep_back(QueueKind.REPLIES, b'"agency.send_ticket"')
    trip = trip_saga(ticket_timeout_seconds=0.2)
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    await sagas.operator("anna").skip(run.saga_id, reason="handed over in person")
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    with caplog.at_level(logging.WARNING, "sagaflow.coordinator"):
        await tapped.transport.publish(kept[:1])
        await until(lambda: journaled(store, run.saga_id, True, step="agency.send_ticket"))
    assert "agency.send_ticket" in caplog.text
    assert str(run.saga_id) in caplog.text
    assert (await record_of(store, run.saga_id)).status is SagaStatus.COMPLETED


async def test_case_10_a_redelivery_burns_no_attempt_and_each_failure_is_retried_by_one_layer_alone(
    world: World,
) -> None:
    begun = asyncio.Event()

    async def hang_then_fail_twice(attempt: int) -> None:
        begun.set()
        if attempt == 1:
            await asyncio.Event().wait()
        if attempt in (2, 3):
            raise RuntimeError("busy")

    world.agency.behaviour["book_flight"] = hang_then_fail_twice
    trip = trip_saga(attempts=3)
    sagas = await world.coordinator(trip)
    dying = world.serving(None, await world.transactions())
    dying._grace_seconds = 0.01
    await dying.__aenter__()
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await begun.wait()
    await dying.__aexit__(None, None, None)
    await world.worker()
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    flight = await op_of(await world.store(), run.saga_id, FLIGHT)
    assert (world.agency.attempts["book_flight"], flight.attempt) == (4, 3), "one redelivery, two retries, no more"


@pytest.mark.parametrize("on_stuck", list(OnStuck))
async def test_case_11_an_undo_that_fails_is_retried_on_its_own_budget_and_then_waits_for_a_person(
    world: World, on_stuck: OnStuck
) -> None:
    world.agency.behaviour |= {
        "pay": always(StepRejected("no money")),
        "cancel book_room": fail_times(4, RuntimeError("busy")),
    }
    trip = trip_saga(on_stuck=on_stuck, room_compensation_attempts=4)
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    assert world.agency.attempts["cancel book_room"] == 4
    if on_stuck is OnStuck.CONTINUE_OTHERS:

        async def car_is_undone() -> bool:
            return "cancel book_car" in world.agency.done

        await until(car_is_undone)
    await sagas.operator("anna").retry(run.saga_id, reason="the hotel answers again")
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPENSATED)
    last = "cancel book_room" if on_stuck is OnStuck.CONTINUE_OTHERS else "cancel book_car"
    assert world.agency.done[-1] == last
    await check_journal(store, run.saga_id)


async def test_case_13_a_cancel_undoes_what_is_done_and_what_is_under_way_but_not_behind_the_pivot(
    world: World,
) -> None:
    hold, ticket = Hold(), Hold()
    world.agency.behaviour |= {"book_flight": hold}
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await hold.begun.wait()
    assert await run.cancel(reason="the meeting is off") is SagaStatus.COMPENSATING
    assert await run.cancel(reason="really") in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)
    hold.let_go.set()
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.CANCELLED)
    assert "pay" not in world.agency.done
    world.agency.behaviour["send_ticket"] = ticket
    paid = await sagas.start(trip, Trip("Oslo"), key="t-2")
    await ticket.begun.wait()
    with pytest.raises(NotPossible, match="the pivot is reached"):
        await paid.cancel(reason="too late")
    ticket.let_go.set()
    assert (await paid.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_case_15_when_a_branch_is_refused_its_sibling_is_undone_whatever_becomes_of_it(world: World) -> None:
    tapped = await tap(world)
    kept = tapped.keep_back(QueueKind.COMMANDS, b'"handler":"book_room"')
    world.agency.behaviour["book_flight"] = always(StepRejected("full"))
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    await tapped.transport.publish(kept)

    async def room_is_answered() -> bool:
        answers = [one for one in tapped.replies if one.step == "agency.book_room"]
        return {one.operation for one in answers} == set(Operation)

    await until(room_is_answered)
    assert world.agency.done == ["book_car", "cancel book_car"]
    await check_journal(await world.store(), run.saga_id)


async def test_case_18_what_was_committed_and_never_published_is_sent_by_another_coordinator(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    dying = Unreliable(world.make_transport())
    first = await world.coordinator(trip, transport=dying)
    dying.deaf = True
    run = await first.start(trip, Trip("Rome"), key="t-1")
    await die(first)
    assert world.agency.attempts == {}
    await world.coordinator(trip)
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    assert world.agency.done.count("book_car") == 1
    await check_journal(store, run.saga_id)


async def test_case_19_an_effect_whose_reply_was_never_sent_is_answered_from_the_barrier(world: World) -> None:
    trip = trip_saga()
    dying = Unreliable(world.make_transport())
    make, world.make_transport = world.make_transport, lambda: dying
    worker = world.serving(None, await world.transactions())
    world.make_transport = make
    dying.deaf = True
    worker._grace_seconds = 0.01
    await worker.__aenter__()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")

    async def reply_is_on_its_way() -> bool:
        return Address(QueueKind.REPLIES, "trips") in worker._outbox._lanes  # so what it says is committed

    await until(reply_is_on_its_way)
    assert world.agency.done == ["book_car"]
    await worker.__aexit__(None, None, None)
    await world.worker()
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert world.agency.attempts["book_car"] == 1, "the second delivery was answered without doing it again"


async def test_case_20_what_was_published_by_a_coordinator_that_died_is_sent_twice_and_done_once(world: World) -> None:
    tapped = await tap(world)
    trip = trip_saga()
    first = await world.coordinator(trip)
    run = await first.start(trip, Trip("Rome"), key="t-1")

    async def sent(times: int) -> bool:
        return len(tapped.commands) >= times

    await until(lambda: sent(1))
    await die(first)
    await world.coordinator(trip)
    await until(lambda: sent(2))
    first_sent, second_sent = tapped.commands[:2]
    assert (first_sent.step, first_sent.attempt, first_sent.token) == (
        second_sent.step,
        second_sent.attempt,
        second_sent.token,
    )
    await world.worker()
    store = await world.store()
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    assert world.agency.done.count("book_car") == 1


async def test_case_21_a_start_that_is_raced_or_repeated_begins_one_saga(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    here, there = [await world.coordinator(trip) for _ in range(2)]
    starts = [sagas.start(trip, Trip("Rome"), key="t-1") for sagas in (here, there) for _ in range(10)]
    runs = await asyncio.gather(*starts)
    assert len({run.saga_id for run in runs}) == 1
    assert (await runs[0].outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    again = await here.start(trip, Trip("Rome"), key="t-1")
    assert again.saga_id == runs[0].saga_id, "also after it has ended"
    with pytest.raises(ConflictError, match="other input"):
        await there.start(trip, Trip("Oslo"), key="t-1")
    assert world.agency.done.count("book_car") == 1


async def test_case_22_a_start_in_the_callers_transaction_shares_its_fate(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    lost = None
    with suppress(ZeroDivisionError):
        async with world.own_transaction() as tx:
            lost = await sagas.start(trip, Trip("Rome"), key="t-1", tx=tx)
            raise ZeroDivisionError("the caller changes its mind")
    assert lost is not None
    async with world.own_transaction() as tx:
        kept = await sagas.start(trip, Trip("Oslo"), key="t-2", tx=tx)
    assert (await kept.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    store = await world.store()
    assert await store.find([lost.saga_id]) == []
    assert world.agency.done.count("book_car") == 1


async def test_case_23_coordinators_that_work_on_one_saga_make_each_transition_once(world: World) -> None:
    tapped = await tap(world, lambda letter: [letter] * 3)
    trip = trip_saga()
    for _ in range(2):
        await world.worker()
    coordinators = [await world.coordinator(trip) for _ in range(3)]
    runs = [await coordinators[number % 3].start(trip, Trip("Rome"), key=f"t-{number}") for number in range(10)]
    outcomes = await asyncio.gather(*(run.outcome(timeout=DEADLINE_SECONDS) for run in runs))
    assert {outcome.status for outcome in outcomes} == {SagaStatus.COMPLETED}
    assert world.agency.done.count("pay") == 10
    store = await world.store()
    for run in runs:
        journal = await check_journal(store, run.saga_id)
        counted = [entry.event for entry in journal if isinstance(entry.event, Succeeded) and entry.ignored is None]
        assert len(counted) == len({event.step for event in counted}) == 5
    assert len(tapped.of(QueueKind.REPLIES)) >= 50


async def test_case_31_the_barrier_outlives_the_saga_so_that_old_commands_stay_harmless(world: World) -> None:
    tapped = await tap(world)
    world.agency.behaviour["pay"] = always(StepRejected("no money"))
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    done, replies = list(world.agency.done), len(tapped.replies)
    old = [*tapped.of(QueueKind.COMMANDS), *tapped.of(QueueKind.COMPENSATIONS)]
    await tapped.transport.publish([letter for letter in old if b'"type":"command"' in letter.message])

    async def all_answered() -> bool:
        return len(tapped.replies) >= replies * 2

    await until(all_answered)
    assert world.agency.done == done


async def test_case_32_a_saga_whose_timer_cannot_be_dealt_with_holds_up_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    trip = trip_saga(airline="airline", timeout_seconds=0.1, attempts=1)
    await world.worker()
    sagas = await world.coordinator(trip)
    engine, transact = sagas._engine, sagas._engine._transact
    poisoned = await sagas.start(trip, Trip("Rome"), key="t-1")

    async def transact_unless_poisoned(inputs: Any, *, again: bool) -> Any:
        if any(getattr(one, "saga_id", None) == poisoned.saga_id and hasattr(one, "resend") for one in inputs):
            raise ZeroDivisionError("a bug that one saga brings about")
        return await transact(inputs, again=again)

    engine._transact = transact_unless_poisoned  # type: ignore[method-assign]  # the fault
    others = [await sagas.start(trip, Trip("Oslo"), key=f"t-{number}") for number in range(2, 7)]
    await world.worker(world.agency.participant("airline"))
    outcomes = await asyncio.gather(*(run.outcome(timeout=DEADLINE_SECONDS) for run in others))
    assert {outcome.status for outcome in outcomes} <= {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}


async def test_case_33_an_effect_outside_is_known_by_the_same_key_in_every_attempt_and_in_its_undo(
    world: World,
) -> None:
    keys: list[tuple[str, str]] = []
    airline: Participant[Any] = Participant("airline")

    @airline.external_step("book_flight", retry=SOON)
    async def book_flight(command: str, ctx: StepContext[Any]) -> str:
        keys.append((ctx.idempotency_key, ctx.action_key))
        raise TimeoutError("no answer")

    @book_flight.compensation(retry=SOON)
    async def cancel_flight(command: str, booked: str | None, ctx: StepContext[Any]) -> None:
        keys.append((ctx.idempotency_key, ctx.action_key))
        if len(keys) < 5:
            raise TimeoutError("no answer")

    trip = trip_saga(airline="airline", attempts=3)
    await world.worker()
    await world.worker(airline)
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    action = f"{run.saga_id}/airline.book_flight"
    assert keys == [(action, action)] * 3 + [(f"{action}/undo", action)] * 2


async def test_case_34_what_depends_on_a_step_is_undone_before_it(world: World) -> None:
    world.agency.behaviour["pay"] = always(StepRejected("no money"))
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    undone = [what for what in world.agency.done if what.startswith("cancel")]
    assert sorted(undone[:2]) == ["cancel book_flight", "cancel book_room"]
    assert undone[2:] == ["cancel book_car"]
