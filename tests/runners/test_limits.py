"""Nothing over a limit gets in: a clear error to the caller, or a definite end of the step; never a loop."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from sagaflow import (
    Cause,
    Operation,
    Participant,
    PayloadError,
    SagaClient,
    SagaNotFound,
    SagaStatus,
    StepContext,
    StepRejected,
)
from sagaflow.core.events import CommandFailed, Failed
from sagaflow.core.state import OpStatus
from sagaflow.definitions import ids
from sagaflow.definitions.limits import (
    ERROR_MESSAGE_LENGTH_MAX,
    ERROR_TRACEBACK_LENGTH_MAX,
    HOST_LENGTH_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_DEPTH_MAX,
    PUT_ASIDE_BYTES_MAX,
    REASON_LENGTH_MAX,
)
from sagaflow.definitions.messages import Command, ErrorInfo, Reply, ReplyOutcome, StartRequest, write
from sagaflow.definitions.ports import Address, Letter, QueueKind, SagaStore
from sagaflow.definitions.records import SagaFilter, SagaRecord
from tests.runners.world import (
    DEADLINE_SECONDS,
    SOON,
    Trip,
    World,
    check_journal,
    op_of,
    record_of,
    trip_saga,
    until,
    until_status,
)

LONG = "x" * (PAYLOAD_BYTES_MAX + 1)
READABLE = json.dumps("x" * (PAYLOAD_BYTES_MAX + 10_000)).encode()
"""A payload over its limit, in a message that is within the limit of messages."""


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


TOO_MUCH = {"too long": LONG, "too deep": nested(PAYLOAD_DEPTH_MAX + 1), "endless": nested(100_000)}
"""Values that must not get in, as they may stand where a text is expected."""

WHY = {"too long": "over the limit", "too deep": "flatten it", "endless": "cannot be sent"}


async def list_all(store: SagaStore) -> list[SagaRecord]:
    return list(await store.list(SagaFilter(), 10))


# Inputs.


@pytest.mark.parametrize("kind", TOO_MUCH)
async def test_case_25_an_input_over_the_limit_is_an_error_to_who_starts(world: World, kind: str) -> None:
    trip, bad = trip_saga(), Trip(TOO_MUCH[kind])
    sagas = await world.coordinator(trip)
    store = await world.store()
    with pytest.raises(PayloadError, match=WHY[kind]):
        await sagas.start(trip, bad, key="t-1")
    with pytest.raises(PayloadError, match=WHY[kind]):
        await sagas.start_many(trip, {"t-1": Trip("Rome"), "t-2": bad})
    async with world.own_transaction() as connection:
        with pytest.raises(PayloadError, match=WHY[kind]):
            await sagas.start(trip, bad, key="t-1", tx=connection)
        kept = await sagas.start(trip, Trip("Rome"), key="t-3", tx=connection)
    async with SagaClient(world.make_transport(), coordinator="trips") as client:
        with pytest.raises(PayloadError, match=WHY[kind]):
            await client.start("trip", bad, key="t-1")
    assert [record.saga_id for record in await list_all(store)] == [kept.saga_id], "the caller's own work is not spoilt"


async def test_a_request_with_an_input_over_the_limit_is_answered_whoever_wrote_it(world: World) -> None:
    await world.coordinator(trip_saga())
    store = await world.store()
    async with SagaClient(world.make_transport(), coordinator="trips") as client:

        def start(request_id: UUID) -> StartRequest:
            city = msgspec.Raw(b'{"city":' + READABLE + b"}")
            return StartRequest(request_id=request_id, reply_to=client._name, saga="trip", key="t-1", input=city)

        with pytest.raises(PayloadError, match="over the limit"):
            await client._ask(start)
    assert await list_all(store) == []


@pytest.mark.parametrize("key", ["k" * 400_000, "\ud800"], ids=["too long", "a lone surrogate"])
async def test_a_request_that_nobody_could_read_is_not_sent(world: World, key: str) -> None:
    async with SagaClient(world.make_transport(), coordinator="nobody") as client:
        with pytest.raises(PayloadError, match="request"):
            await client.start("trip", Trip("Rome"), key=key)


async def test_an_answer_is_never_over_the_limit_whatever_was_asked(world: World) -> None:
    await world.coordinator(trip_saga())
    async with SagaClient(world.make_transport(), coordinator="trips") as client:
        with pytest.raises(SagaNotFound) as refused:
            await client.start("\x01" * 45_000, Trip("Rome"), key="t-1")
        assert len(str(refused.value)) <= ERROR_MESSAGE_LENGTH_MAX
        run = await client.start("trip", Trip("Rome"), key="t-1")
        await client.cancel(run, reason="r" * 100_000 + "\x00", actor="\x00" + "a" * 100_000)
    (cancelled,) = [entry for entry in await (await world.store()).journal(run) if entry.actor is not None]
    assert len(cancelled.actor or "") <= 200
    assert len(cancelled.reason or "") <= REASON_LENGTH_MAX


# Commands.


@pytest.mark.parametrize("kind", TOO_MUCH)
async def test_a_command_over_the_limit_is_not_sent_and_a_person_is_asked(world: World, kind: str) -> None:
    broken = trip_saga()
    broken._steps["agency.pay"].function = lambda trip, replies: TOO_MUCH[kind]
    await world.worker()
    sagas = await world.coordinator(broken)
    run = await sagas.start(broken, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    journal = await check_journal(await world.store(), run.saga_id)
    (failed,) = [entry for entry in journal if isinstance(entry.event, CommandFailed)]
    assert failed.error is not None
    assert failed.error.type == "PayloadError"
    assert WHY[kind] in failed.error.message
    assert "pay" not in world.agency.attempts


def command(**fields: Any) -> Command:
    """A command of a coordinator that we did not write."""
    defaults: dict[str, Any] = {
        "saga_id": ids.new_id(),
        "saga": "strange",
        "step": "agency.book_car",
        "handler": "book_car",
        "operation": Operation.ACTION,
        "round": 1,
        "attempt": 1,
        "token": "t",
        "reply_to": "strangers",
        "budget_seconds": 10.0,
        "traceparent": ids.new_traceparent(),
        "payload": msgspec.Raw(b'"Rome"'),
    }
    return Command(**defaults | fields)


async def replies_to_strangers(world: World, *commands: Command, queue: QueueKind = QueueKind.COMMANDS) -> list[Reply]:
    """Send commands, and wait for as many replies."""
    transport = await world.stack.enter_async_context(world.make_transport())
    replies: list[Reply] = []
    decoder = msgspec.json.Decoder(list[Reply])

    def receive(delivery: Any) -> None:
        replies.extend(decoder.decode(delivery.body))

    await transport.subscribe(Address(QueueKind.REPLIES, "strangers"), receive, prefetch=100)
    await transport.publish([Letter(Address(queue, "agency"), write(one)) for one in commands])

    async def all_are_here() -> bool:
        return len(replies) >= len(commands)

    await until(all_are_here)
    return replies


async def test_a_command_over_the_limit_of_another_coordinator_is_refused(world: World) -> None:
    await world.worker()
    (reply,) = await replies_to_strangers(world, command(payload=msgspec.Raw(READABLE)))
    assert reply.outcome is ReplyOutcome.REFUSED
    assert reply.error is not None
    assert "over the limit" in reply.error.message
    assert world.agency.attempts == {}


@pytest.mark.parametrize(
    "fields",
    [{"reply_to": "a\x00b"}, {"reply_to": "r" * 10_000}, {"step": "s\x00"}, {"step": "s" * 10_000}],
    ids=["a queue with NUL", "a long queue", "a step with NUL", "a long step"],
)
@pytest.mark.parametrize("queue", [QueueKind.COMMANDS, QueueKind.COMPENSATIONS])
async def test_a_command_that_could_not_be_recorded_or_answered_is_put_aside_once(
    world: World, queue: QueueKind, fields: dict[str, str]
) -> None:
    transactions = await world.transactions()
    async with world.serving(None, transactions), world.make_transport() as transport:
        await transport.publish([Letter(Address(queue, "agency"), write(command(**fields)))])

        async def put_aside() -> bool:
            return len(await transactions.list_put_aside(10)) == 1

        await until(put_aside)
    await world.worker()
    operation = Operation.ACTION if queue is QueueKind.COMMANDS else Operation.COMPENSATION
    (reply,) = await replies_to_strangers(world, command(operation=operation), queue=queue)
    assert reply.outcome is ReplyOutcome.SUCCEEDED
    assert len(await transactions.list_put_aside(10)) == 1


# Results.

UNFIT = TOO_MUCH | {"of another type": 17, "nothing": None, "of no type of JSON": object()}


@pytest.mark.parametrize("kind", UNFIT)
async def test_case_25_an_unfit_result_of_a_transactional_step_is_a_refusal_and_nothing_is_committed(
    world: World, kind: str
) -> None:
    airline: Participant[Any] = Participant("airline")
    calls: list[str] = []

    @airline.step("book_flight", retry=SOON)
    async def book_flight(city: str, ctx: StepContext[Any]) -> str:
        calls.append("book")
        await ctx.tx.execute("CREATE TABLE trace_of_the_flight (number integer)")
        result: Any = UNFIT[kind]
        return result  # type: ignore[no-any-return]

    @book_flight.compensation
    async def cancel_flight(city: str, booked: str) -> None:
        calls.append("cancel")

    trip = trip_saga(airline="airline")
    await world.worker()
    await world.worker(airline)
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause, calls) == (SagaStatus.COMPENSATED, Cause.REFUSED, ["book"])
    flight = await op_of(await world.store(), run.saga_id, "airline.book_flight")
    assert (flight.status, flight.attempt) == (OpStatus.REFUSED, 1)
    async with (await world.transactions()).begin() as transaction:
        await transaction.tx.execute("CREATE TABLE trace_of_the_flight (number integer)")


@pytest.mark.parametrize("kind", UNFIT)
async def test_an_unfit_result_of_an_external_step_is_an_unknown_outcome_and_undone(world: World, kind: str) -> None:
    airline: Participant[Any] = Participant("airline")
    calls: list[object] = []

    @airline.external_step("book_flight", retry=SOON)
    async def book_flight(city: str) -> str:
        calls.append("book")
        result: Any = UNFIT[kind]
        return result  # type: ignore[no-any-return]

    @book_flight.compensation
    async def cancel_flight(city: str, booked: str | None) -> None:
        calls.append(booked)

    trip = trip_saga(airline="airline")
    await world.worker()
    await world.worker(airline)
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    outcome = await run.outcome(timeout=DEADLINE_SECONDS)
    assert (outcome.status, outcome.cause) == (SagaStatus.COMPENSATED, Cause.EXHAUSTED)
    assert calls == ["book", None], "called once, though there were attempts left"
    flight = await op_of(await world.store(), run.saga_id, "airline.book_flight")
    assert (flight.status, flight.attempt) == (OpStatus.UNKNOWN, 1)


# Replies of a participant that we did not write.


async def flight_of(world: World, store: SagaStore) -> SagaRecord:
    """A run whose first step waits for its answer."""
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    return await record_of(store, run.saga_id)


def reply(record: SagaRecord, step: str, **fields: Any) -> Letter:
    token = ids.attempt_token(record.secret, step, Operation.ACTION, 1, 1)
    defaults: dict[str, Any] = {
        "saga_id": record.saga_id,
        "step": step,
        "operation": Operation.ACTION,
        "round": 1,
        "attempt": 1,
        "token": token,
        "outcome": ReplyOutcome.SUCCEEDED,
        "participant": "agency",
        "host": "afar",
        "traceparent": record.traceparent,
    }
    return Letter(Address(QueueKind.REPLIES, "trips"), write(Reply(**defaults | fields)))


async def test_a_result_over_the_limit_of_another_participant_ends_the_step_at_once_and_it_is_undone(
    world: World,
) -> None:
    store = await world.store()
    record = await flight_of(world, store)
    transport = await world.stack.enter_async_context(world.make_transport())
    bad = reply(record, "agency.book_car", result=msgspec.Raw(READABLE))
    await transport.publish([bad, bad])
    await until_status(store, record.saga_id, SagaStatus.COMPENSATING)
    await world.worker()
    await until_status(store, record.saga_id, SagaStatus.COMPENSATED)
    journal = await check_journal(store, record.saga_id)
    (failed,) = [entry for entry in journal if isinstance(entry.event, Failed) and entry.ignored is None]
    assert failed.error is not None
    assert "over the limit" in failed.error.message
    assert sum(len(entry.commands) for entry in journal) == 2, "asked once, and undone once"
    assert max(len(payload.body) for payload in await store.payloads([record.saga_id])) < 100


async def test_a_result_over_the_limit_of_a_pivot_asks_a_person(world: World) -> None:
    store, transactions = await world.store(), await world.transactions()
    trip = trip_saga()
    async with world.coordinating(store, trip) as sagas:
        async with world.serving(world.agency.participant(without=["pay"]), transactions):
            run = await sagas.start(trip, Trip("Rome"), key="t-1")

            async def reached() -> bool:
                return (await op_of(store, run.saga_id, "agency.pay")).status is OpStatus.DEFERRED

            await until(reached)
        await sagas.operator("anna").retry(run.saga_id, step="agency.pay", reason="another serves it")
        async with world.make_transport() as transport:
            record = await record_of(store, run.saga_id)
            await transport.publish([reply(record, "agency.pay", result=msgspec.Raw(READABLE))])
            await until_status(store, run.saga_id, SagaStatus.STUCK)


async def test_what_a_reply_says_beside_its_result_is_cut_to_the_bounds(world: World) -> None:
    store = await world.store()
    record = await flight_of(world, store)
    transport = await world.stack.enter_async_context(world.make_transport())
    error = ErrorInfo("T\x00" + "t" * 50_000, "m\x00" + "m" * 50_000, "b" * 50_000 + "\x00e")
    await transport.publish(
        [
            reply(
                record,
                "agency.book_car",
                outcome=ReplyOutcome.FAILED,
                error=error,
                host="h\x00" + "h" * 50_000,
                traceparent="\x00" + "t" * 50_000,
                retry_after_seconds=1e300,
            )
        ]
    )

    async def told() -> bool:
        return (await op_of(store, record.saga_id, "agency.book_car")).status is OpStatus.WAITING

    await until(told)
    entry = (await store.journal(record.saga_id))[-1]
    assert entry.error is not None
    assert entry.error.type == error.type[:ERROR_MESSAGE_LENGTH_MAX]
    assert entry.error.message == error.message[:ERROR_MESSAGE_LENGTH_MAX]
    assert entry.error.traceback == error.traceback[-ERROR_TRACEBACK_LENGTH_MAX:]
    assert len(entry.origin) <= len("agency@") + HOST_LENGTH_MAX
    assert len(entry.traceparent or "") <= 55


async def test_a_reply_that_is_too_long_to_be_read_is_put_aside_once_and_the_step_can_still_succeed(
    world: World,
) -> None:
    store = await world.store()
    record = await flight_of(world, store)
    async with world.make_transport() as transport:
        await transport.publish(
            [reply(record, "agency.book_car", result=msgspec.Raw(json.dumps("x" * 400_000).encode()))]
        )

        async def put_aside() -> bool:
            return len(await store.list_put_aside(10)) == 1

        await until(put_aside)
        assert (await op_of(store, record.saga_id, "agency.book_car")).status is OpStatus.SENT
    await world.worker()
    await until_status(store, record.saga_id, SagaStatus.COMPLETED)
    assert len(await store.list_put_aside(10)) == 1


# Errors.


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


ERRORS: dict[str, Callable[[type[Exception]], Exception]] = {
    "a megabyte": lambda kind: kind("m" * 1_000_000),
    "a megabyte that JSON makes longer": lambda kind: kind("\x01" * 1_000_000),
    "lone surrogates": lambda kind: kind("\udc80" * 1_000_000),
    "NULs": lambda kind: kind("a\x00b" * 10),
    "a long type": lambda kind: type("T", (kind,), {"__qualname__": "T\x00" + "t" * 1_000_000})("m"),
    "no words": lambda kind: type("Silent", (Unspeakable, kind), {})(),
}


@pytest.mark.parametrize("raised", [StepRejected, RuntimeError], ids=["refused", "failed"])
@pytest.mark.parametrize("name", ERRORS)
async def test_case_25_whatever_a_handler_raises_is_told_within_the_bounds(
    world: World, name: str, raised: type[Exception]
) -> None:
    trip = trip_saga(attempts=2)

    async def fail(attempt: int) -> None:
        raise ERRORS[name](raised)

    world.agency.behaviour["book_flight"] = fail
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPENSATED
    assert world.agency.attempts["book_flight"] == (1 if raised is StepRejected else 2)
    store = await world.store()
    told = [entry.error for entry in await check_journal(store, run.saga_id) if entry.error is not None]
    assert told
    for error in told:
        assert 0 < len(error.type) <= ERROR_MESSAGE_LENGTH_MAX
        assert 0 < len(error.message) <= ERROR_MESSAGE_LENGTH_MAX
        assert 0 < len(error.traceback) <= ERROR_TRACEBACK_LENGTH_MAX


@pytest.mark.parametrize("name", ERRORS)
async def test_whatever_a_step_function_raises_is_told_within_the_bounds(world: World, name: str) -> None:
    broken = trip_saga()

    def fail(trip: Trip, replies: Any) -> str:
        raise ERRORS[name](RuntimeError)

    broken._steps["agency.book_car"].function = fail
    sagas = await world.coordinator(broken)
    run = await sagas.start(broken, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    (error,) = [entry.error for entry in await (await world.store()).journal(run.saga_id) if entry.error is not None]
    assert len(error.message) <= ERROR_MESSAGE_LENGTH_MAX
    assert len(error.traceback) <= ERROR_TRACEBACK_LENGTH_MAX


# Bodies.

BODIES = {
    "no JSON": b'{"a": \xff\x00',
    "over the limit": b'"' + b"x" * 2_000_000 + b'"',
    "a message over the limit": json.dumps({"type": "command", "x": "y" * 400_000}).encode(),
    "deep": b"[" * 400_000 + b"]" * 400_000,
    "of many elements": b"0," * 300_000 + b"0",
    "with a long reason": json.dumps({"type": "x" * 200_000}).encode(),
}


@pytest.mark.parametrize("kind", [kind for kind in QueueKind if kind is not QueueKind.ANSWERS], ids=str)
@pytest.mark.parametrize("name", BODIES)
async def test_case_24_a_body_that_cannot_be_read_is_put_aside_once_whichever_queue_it_comes_by(
    world: World, name: str, kind: QueueKind
) -> None:
    trip = trip_saga()
    of_participant = kind in (QueueKind.COMMANDS, QueueKind.COMPENSATIONS)
    address = Address(kind, "agency" if of_participant else "trips")
    store, transactions = await world.store(), await world.transactions()
    keeper = transactions if of_participant else store

    def count(expected: int) -> Callable[[], Awaitable[bool]]:
        async def so_many() -> bool:
            return len(await keeper.list_put_aside(10)) == expected

        return so_many

    async with world.make_transport() as transport:
        async with world.serving(None, transactions), world.coordinating(store, trip):
            await transport.publish([Letter(address, BODIES[name])])
            await until(count(1))
        async with world.serving(None, transactions), world.coordinating(store, trip) as sagas:
            await transport.publish([Letter(address, b"2")])
            await until(count(2))
            run = await sagas.start(trip, Trip("Rome"), key="t-1")
            assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    first = (await keeper.list_put_aside(10))[-1]
    assert first.source == str(address)
    assert 0 < len(first.reason) <= REASON_LENGTH_MAX
    assert 0 < len(first.body) <= PUT_ASIDE_BYTES_MAX
    other = store if of_participant else transactions
    assert (len(await keeper.list_put_aside(10)), len(await other.list_put_aside(10))) == (2, 0)


async def test_many_bad_messages_of_one_body_are_put_aside_together_and_the_good_one_is_taken(world: World) -> None:
    transactions = await world.transactions()
    await world.worker()
    transport = await world.stack.enter_async_context(world.make_transport())
    good = command(reply_to="nobody")
    await transport.publish([Letter(Address(QueueKind.COMMANDS, "agency"), b"0," * 5_000 + write(good))])

    async def all_are_dealt_with() -> bool:
        return len(await transactions.list_put_aside(10_000)) == 5_000 and world.agency.done == ["book_car"]

    await until(all_are_dealt_with)


async def test_an_answer_that_cannot_be_read_harms_neither_who_asks_nor_the_coordinator(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    store = await world.store()
    transport = await world.stack.enter_async_context(world.make_transport())
    async with SagaClient(world.make_transport(), coordinator="trips") as client:
        for name in (client._name, str(sagas._process)):
            for body in BODIES.values():
                await transport.publish([Letter(Address(QueueKind.ANSWERS, name), body)])
        saga_id = await client.start("trip", Trip("Rome"), key="t-1")
        assert await client.outcome(saga_id, timeout=DEADLINE_SECONDS) is SagaStatus.COMPLETED

    async def put_aside() -> bool:  # what came to the coordinator; a client keeps nothing
        asides = await store.list_put_aside(100)
        return {aside.source for aside in asides} == {f"answers.{sagas._process}"} and len(asides) == len(BODIES)

    await until(put_aside)
