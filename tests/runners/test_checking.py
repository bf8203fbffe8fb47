"""New code is held against every open run before it is deployed: which would be stranded, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sagaflow import DefinitionError, Replies, Saga, SagaStatus, StepRejected
from sagaflow.core.plan import Operation
from sagaflow.core.state import OpStatus
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import SagaFilter
from sagaflow.runners import checking
from sagaflow.runners.checking import Reason, Report, Stranded, check_runs
from sagaflow.runners.overviews import look_at, overview_of, waits_of
from tests.runners.test_versions import another_saga
from tests.runners.world import DEADLINE_SECONDS, Trip, World, always, op_of, trip_saga, until, until_status


@dataclass
class Journey:
    """An input that has one field more than a trip."""

    city: str
    days: int


def changed_trip(
    *,
    version: int = 1,
    input_type: Any = Trip,
    without: str = "",
    names: dict[str, str] | None = None,
    room: str = "agency.book_room",
    reply_of_room: Any = str,
    flight_after_room: bool = False,
    pay: Callable[[Any, Replies], str] = lambda trip, replies: "paid",
) -> Saga[Any]:
    """The test saga, but for what is changed."""
    trip: Saga[Any] = Saga("trip", input_type, version=version)
    added: dict[str, Any] = {}

    def add(address: str, name: str, after: Sequence[str], reply: Any = str) -> None:
        if name != without:
            before = [added[one] for one in after if one in added]
            given = (names or {}).get(name)
            make = trip.pivot if name == "pay" else trip.step
            function = pay if name == "pay" else lambda trip, replies: "it"
            added[name] = make(address, reply=reply, after=before, name=given)(function)

    add("agency.book_car", "car", [])
    add(room, "room", ["car"], reply_of_room)
    add("agency.book_flight", "flight", ["room" if flight_after_room else "car"])
    add("agency.pay", "pay", ["room", "flight"])
    add("agency.send_ticket", "ticket", ["pay"])
    return trip


async def before_the_flight(world: World, saga: Saga[Any] | None = None, key: str = "t-1") -> SagaStore:
    """A run of the test saga that has its room, and whose flight nobody serves."""
    saga = saga or trip_saga()
    store = await world.store()
    participant = world.agency.participant(without=["book_flight"])
    async with (
        world.serving(participant, await world.transactions()),
        world.coordinating(store, saga) as sagas,
    ):
        run = await sagas.start(saga, Trip("Rome"), key=key)

        async def so_far() -> bool:
            return (await op_of(store, run.saga_id, "agency.book_flight")).status is OpStatus.DEFERRED and (
                await op_of(store, run.saga_id, "agency.book_room")
            ).status is OpStatus.SUCCEEDED

        await until(so_far)
    return store


async def test_unchanged_code_is_good_to_go(world: World) -> None:
    store = await before_the_flight(world)
    assert await check_runs(store, [trip_saga()]) == Report(judged=1)
    assert await check_runs(store, [trip_saga(deadline_seconds=9, attempts=9)]) == Report(judged=1), "budgets are free"
    assert await check_runs(store, [another_saga()]) == Report(of_other_sagas=1)
    assert await check_runs(store, [changed_trip(version=2), trip_saga()]) == Report(judged=1)


CHANGES: dict[str, tuple[Saga[Any], Reason, str | None, str]] = {
    "only the version": (changed_trip(version=2), Reason.VERSION, None, "only the number of the version is another"),
    "a step is gone": (changed_trip(version=3, without="ticket"), Reason.VERSION, None, "agency.send_ticket is gone"),
    "a step is gone, in the same version": (
        changed_trip(without="ticket"),
        Reason.STEPS,
        None,
        "version 1 of trip has other steps than its open runs: agency.send_ticket is gone. Raise the version",
    ),
    "a step is named another way": (
        changed_trip(names={"flight": "fly"}),
        Reason.STEPS,
        None,
        "open runs: agency.book_flight is named fly. Raise",
    ),
    "another does it": (
        changed_trip(names={"room": "agency.book_room"}, room="hotel.book"),
        Reason.STEPS,
        None,
        "agency.book_room is done by hotel.book, not agency.book_room",
    ),
    "another order": (
        changed_trip(flight_after_room=True),
        Reason.STEPS,
        None,
        "agency.book_flight comes after agency.book_room, not agency.book_car. Raise",
    ),
    "another input": (changed_trip(input_type=Journey), Reason.INPUT, None, "missing required field `days`"),
    "another reply": (
        changed_trip(reply_of_room=int),
        Reason.REPLY,
        "agency.book_room",
        "the result of agency.book_room, which agency.pay may ask for, cannot be read: the payload is not a int",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_case_27_a_run_that_new_code_would_strand_is_told_with_the_reason(world: World, change: str) -> None:
    saga, reason, step, why = CHANGES[change]
    store = await before_the_flight(world)
    told: list[Stranded] = []
    report = await check_runs(store, [saga], tell=told.append)
    (found,) = report.findings
    assert (report.judged, report.stranded, found.runs) == (1, 1, 1)
    assert (found.reason, found.step) == (reason, step)
    assert why in found.why
    (run,) = told
    assert (run.key, run.saga_id, run.why, run.status) == ("t-1", found.saga_ids[0], found.why, SagaStatus.RUNNING)
    assert bool(report.changed) == (reason is Reason.STEPS)


async def test_a_run_whose_commands_are_all_made_needs_no_code(world: World) -> None:
    trip = trip_saga()
    store = await world.store()
    participant = world.agency.participant(without=["send_ticket"])
    async with world.serving(participant, await world.transactions()), world.coordinating(store, trip) as sagas:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")

        async def paid() -> bool:
            return (await op_of(store, run.saga_id, "agency.send_ticket")).status is OpStatus.DEFERRED

        await until(paid)
    report = await check_runs(store, [changed_trip(reply_of_room=int, input_type=Journey, version=2)])
    assert report == Report(judged=1), "all of its commands are stored"


async def test_a_run_that_is_being_undone_needs_no_code(world: World) -> None:
    world.agency.behaviour["cancel book_car"] = always(RuntimeError("not now"))
    world.agency.behaviour["book_flight"] = always(StepRejected("full"))
    trip = trip_saga()
    store = await world.store()
    async with world.serving(None, await world.transactions()), world.coordinating(store, trip) as sagas:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
        await until_status(store, run.saga_id, SagaStatus.COMPENSATING, SagaStatus.STUCK)
    report = await check_runs(store, [changed_trip(without="ticket")])
    assert (report.judged, report.stranded, report.findings) == (1, 0, [])
    (advice,) = report.changed
    assert "agency.send_ticket is gone. Raise the version" in advice, "new runs would be mixed with old ones"


async def test_a_command_that_the_code_failed_to_make_is_tried_with_the_new_code(world: World) -> None:
    broken = trip_saga()
    broken._steps["agency.pay"].function = lambda trip, replies: 1 / 0
    store = await world.store()
    await world.worker()
    async with world.coordinating(store, broken) as sagas:
        run = await sagas.start(broken, Trip("Rome"), key="t-1")
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    (found,) = (await check_runs(store, [broken])).findings
    assert (found.reason, found.step) == (Reason.COMMAND, "agency.pay")
    assert found.why == "the command of agency.pay cannot be made: ZeroDivisionError: division by zero"
    assert await check_runs(store, [trip_saga()]) == Report(judged=1)


async def test_a_command_that_waits_for_code_is_tried_too(world: World) -> None:
    trip = trip_saga()
    store = await world.store()
    async with world.coordinating(store, trip, another_saga()) as sagas:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await world.worker()
    async with world.coordinating(store, another_saga()):

        async def waits() -> bool:
            return (await op_of(store, run.saga_id, "agency.book_room")).status is OpStatus.DEFERRED

        await until(waits)
    assert await check_runs(store, [trip]) == Report(judged=1)
    too_long = trip_saga()
    too_long._steps["agency.book_room"].function = lambda trip, replies: "x" * 300_000
    (found,) = (await check_runs(store, [too_long])).findings
    assert (found.reason, found.step) == (Reason.COMMAND, "agency.book_room")
    assert "over the limit" in found.why


async def test_all_open_runs_are_judged_page_by_page_and_none_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "PAGE", 3)
    monkeypatch.setattr(checking, "PAYLOADS_PAGE", 2)
    monkeypatch.setattr(checking, "IDS_KEPT", 2)
    trip, other = trip_saga(), another_saga()
    store = await world.store()
    async with world.coordinating(store, trip, other) as sagas:
        await sagas.start_many(trip, {f"t-{number}": Trip("Rome") for number in range(8)})
        await sagas.start(other, Trip("Rome"), key="o-1")
        ended = await sagas.start(other, Trip("Rome"), key="o-2")
        async with world.serving(None, await world.transactions()):
            await until_status(store, ended.saga_id, SagaStatus.COMPLETED)
            await until_all_paid(store)
        more = {f"u-{number}": Trip("Rome") for number in range(8)}
        await sagas.start_many(trip, more)
        await sagas.start(other, Trip("Rome"), key="o-3")
    before = await everything(store)
    told: list[Stranded] = []
    report = await check_runs(store, [changed_trip(version=2)], tell=told.append)
    assert (report.judged, report.of_other_sagas, report.stranded) == (8, 1, 8)
    (found,) = report.findings
    assert (found.runs, len(found.saga_ids)) == (8, 2)
    assert {one.key for one in told} == more.keys()
    assert await everything(store) == before


async def until_all_paid(store: SagaStore) -> None:
    async def none_is_open() -> bool:
        return not await store.list(SagaFilter(statuses=checking.OPEN_STATUSES), 1)

    await until(none_is_open)


async def everything(store: SagaStore) -> object:
    """All that the store has of its sagas."""
    records = await store.list(SagaFilter(), 1_000)
    saga_ids = [record.saga_id for record in records]
    return records, [await store.journal(saga_id) for saga_id in saga_ids], await store.payloads(saga_ids)


async def test_a_version_that_is_given_twice_is_refused(world: World) -> None:
    with pytest.raises(DefinitionError, match="saga trip version 1 is given twice"):
        await check_runs(await world.store(), [trip_saga(), changed_trip(without="ticket")])


async def test_case_12_what_nobody_can_do_is_found_with_the_reason_and_since_when(world: World) -> None:
    store = await before_the_flight(world)
    (record,) = await store.list(SagaFilter(waiting=True), 10)
    (wait,) = await waits_of(store, [record])
    journal = await store.journal(record.saga_id)
    assert (wait.step, wait.op, wait.record) == ("agency.book_flight", Operation.ACTION, record)
    assert wait.error is not None
    assert wait.error.message == "nobody at agency serves agency.book_flight"
    assert wait.since in [entry.at for entry in journal]
    assert wait.next_at is not None
    assert wait.next_at > wait.since
    overview = overview_of(*await look_at(store, record.saga_id))
    (flight,) = [step for step in overview.steps if step.step == "agency.book_flight"]
    assert (flight.error, flight.next_at) == (wait.error, wait.next_at)
