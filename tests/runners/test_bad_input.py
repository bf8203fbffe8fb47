"""What cannot be dealt with is put aside where a person finds it, and harms no other saga."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sagaflow import SagaStatus
from sagaflow.core.state import OpStatus
from sagaflow.definitions.messages import Reply, ReplyOutcome, write
from sagaflow.definitions.ports import Address, Letter, QueueKind
from tests.runners.world import DEADLINE_SECONDS, Trip, World, op_of, trip_saga, until, until_status

COMMANDS = Address(QueueKind.COMMANDS, "agency")
REPLIES = Address(QueueKind.REPLIES, "trips")
REQUESTS = Address(QueueKind.REQUESTS, "trips")

BAD_MESSAGES = {
    "malformed": (b'{"type": "comm', "JSON"),
    "deep": (b'{"type":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
    "oversized": (json.dumps({"type": "command", "x": "y" * 400_000}).encode(), "limit"),
    "of an unknown version": (b'{"type": "command", "v": 7, "new": true}', "version 7"),
    "of another kind": (b'{"type": "reply", "v": 1}', ""),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
async def test_case_24_a_bad_command_is_put_aside_with_its_reason_and_others_go_on(world: World, name: str) -> None:
    message, reason = BAD_MESSAGES[name]
    trip = trip_saga()
    transactions = await world.transactions()
    await world.worker()
    sagas = await world.coordinator(trip)
    transport = await world.stack.enter_async_context(world.make_transport())
    await transport.publish([Letter(COMMANDS, message)])
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED

    async def put_aside() -> bool:
        return len(await transactions.list_put_aside(10)) == 1

    await until(put_aside)
    (aside,) = await transactions.list_put_aside(10)
    assert aside.source == "commands.agency"
    assert reason in aside.reason
    assert aside.body in b"[" + message + b"]"


@pytest.mark.parametrize("address", [REPLIES, REQUESTS], ids=str)
async def test_case_24_a_coordinator_puts_aside_what_it_cannot_read(world: World, address: Address) -> None:
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    store = await world.store()
    transport = await world.stack.enter_async_context(world.make_transport())
    await transport.publish([Letter(address, b'{"type": "nonsense"}')])

    async def put_aside() -> bool:
        return [aside.source for aside in await store.list_put_aside(10)] == [str(address)]

    await until(put_aside)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "of an unknown saga": (lambda r: r.update(saga_id="01890a5d-ac96-774b-bcce-b302099a8057"), "no saga has this id"),
    "of an unknown step": (lambda r: r.update(step="agency.fly"), "has no step"),
    "without the token of the attempt": (lambda r: r.update(token="0" * 32), "token"),
    "by another participant": (lambda r: r.update(participant="thief"), "belongs to agency"),
    "for an attempt that was never made": (lambda r: r.update(attempt=9), "token"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_case_24_a_forged_reply_changes_nothing_and_is_put_aside(world: World, name: str) -> None:
    forge, reason = FORGERIES[name]
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    store = await world.store()
    transport = await world.stack.enter_async_context(world.make_transport())
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    reply = Reply(
        saga_id=run.saga_id,
        step="agency.book_car",
        operation="action",  # type: ignore[arg-type]  # as it is on the wire
        round=1,
        attempt=1,
        token="f" * 32,
        outcome=ReplyOutcome.SUCCEEDED,
        participant="agency",
        host="somewhere",
        traceparent="",
    )
    fields = msgspec.json.decode(write(reply))
    forge(fields)
    await transport.publish([Letter(REPLIES, json.dumps(fields).encode())])

    async def put_aside() -> bool:
        return any(reason in aside.reason for aside in await store.list_put_aside(10))

    await until(put_aside)
    assert (await op_of(store, run.saga_id, "agency.book_car")).status is OpStatus.SENT


async def test_case_12_a_saga_waiting_for_an_unknown_step_burns_no_attempts_and_goes_on_when_it_is_served(
    world: World,
) -> None:
    trip = trip_saga(attempts=1)
    transactions = await world.transactions()
    sagas = await world.coordinator(trip)
    store = await world.store()
    async with world.serving(world.agency.participant(without=["book_flight"]), transactions):
        run = await sagas.start(trip, Trip("Rome"), key="t-1")

        async def deferred() -> bool:
            return (await op_of(store, run.saga_id, "agency.book_flight")).status is OpStatus.DEFERRED

        for _ in range(3):
            await until(deferred)
            assert (await op_of(store, run.saga_id, "agency.book_flight")).attempt == 1
            await sagas.operator("anna").retry(run.saga_id, step="agency.book_flight", reason="try now")
    async with world.serving(None, transactions):
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_a_bug_in_a_saga_makes_it_stuck_with_the_traceback_until_the_mended_code_is_there(world: World) -> None:
    broken = trip_saga()
    broken._steps["agency.pay"].function = lambda trip, replies: 1 / 0
    await world.worker()
    store = await world.store()
    async with world.coordinating(store, broken) as sagas:
        run = await sagas.start(broken, Trip("Rome"), key="t-1")
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    failure = (await store.journal(run.saga_id))[-1]
    assert failure.error is not None
    assert failure.error.type == "ZeroDivisionError"
    assert "1 / 0" in failure.error.traceback
    mended = await world.coordinator(trip_saga())
    await mended.operator("anna").retry(run.saga_id, reason="mended in 1.2.3")
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
