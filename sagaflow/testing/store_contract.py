"""The conformance suite of `SagaStore`: what a store of sagas has to keep.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self): ...            # an empty one for each test

Run it with pytest and pytest-asyncio (`asyncio_mode = "auto"`). The tests use one store from many tasks at a
time. For readable failures, `pytest.register_assert_rewrite("sagaflow.testing")` in a conftest.py.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, get_args
from uuid import UUID, uuid4

import msgspec
from msgspec.structs import replace

from sagaflow.core import events
from sagaflow.core.effects import Effect, Ignored, IgnoredBecause, SendCommand
from sagaflow.core.events import (
    CommandFailed,
    DeadlinePassed,
    Event,
    Failed,
    Refused,
    RetryRequested,
    Started,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import Operation, Plan, PlannedStep, StepKind
from sagaflow.core.state import ENDED, SagaState, SagaStatus, initial
from sagaflow.definitions import ids
from sagaflow.definitions.limits import LAPSED_KEPT_SECONDS, PAYLOAD_BYTES_MAX, PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.messages import AnnouncedStep, Announcement, ErrorInfo
from sagaflow.definitions.ports import Overtaken, SagaStore
from sagaflow.definitions.records import (
    INPUT_STEP,
    NO_PROCESS,
    Attempt,
    Change,
    Due,
    JournalEntry,
    LatestError,
    Payload,
    PayloadKind,
    PutAside,
    SagaFilter,
    SagaRecord,
    Timer,
    Watcher,
)

ACTION: Final = Operation.ACTION
COMPENSATION: Final = Operation.COMPENSATION

COORDINATOR: Final = "shop"
OTHER_COORDINATORS: Final = ("another", "zoo")
PROCESS: Final = UUID(int=1)
OTHER_PROCESS: Final = UUID(int=2)

HOLD_SECONDS: Final = 60.0
DEADLINE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.01

RACES: Final = 10
"""How often a race is run."""

SHORT: Final = Plan("short", 1, (PlannedStep("reserve", "stock", "reserve", StepKind.COMPENSATABLE),))
"""One step: started, the saga is running; a success completes it, and a `CommandFailed` has it stuck."""

LONG: Final = Plan(
    saga="long",
    version=3,
    steps=(
        PlannedStep("place", "orders", "place", StepKind.COMPENSATABLE),
        PlannedStep("reserve", "stock", "reserve", StepKind.COMPENSATABLE, after=("place",)),
        PlannedStep("authorize", "payments", "authorize", StepKind.COMPENSATABLE, after=("place",)),
        PlannedStep("capture", "payments", "capture", StepKind.PIVOT, after=("reserve", "authorize")),
        PlannedStep("approve", "orders", "approve", StepKind.RETRIABLE, after=("capture",)),
    ),
    deadline_seconds=3600.0,
)
"""Two steps side by side, a pivot, and a deadline."""

WIDE: Final = Plan(
    "wide",
    1,
    tuple(PlannedStep(f"step-{place}", "stock", "reserve", StepKind.COMPENSATABLE) for place in range(200)),
)
"""Many steps side by side."""

PLANS: Final = {plan.hash: plan for plan in (SHORT, LONG, WIDE)}

STOCK: Final = Announcement(
    participant="stock",
    host="stock-1:17",
    hash="a" * 64,
    steps=(
        AnnouncedStep(name="reserve", has_compensation=True, command_schema={"type": "string", "title": "\x00✓"}),
        AnnouncedStep(name="count", has_compensation=False, no_compensation="it only \x00 reads"),
    ),
)
PAYMENTS: Final = Announcement(participant="payments", host="payments-1:1", hash="b" * 64, steps=())

STARTED: Final = Started()
DONE: Final = Succeeded("reserve", ACTION, 1, 1)
STUCK: Final = CommandFailed("reserve", ACTION, 1, 1)
NOT_YET: Final = Failed("reserve", ACTION, 1, 1, 2.5)

OPEN_STATUSES: Final = frozenset(SagaStatus) - ENDED

EVERY_EVENT: Final[Sequence[Event]] = (
    Started(),
    Succeeded("reserve", ACTION, 1, 2),
    Refused("reserve", COMPENSATION, 2, 1),
    Failed("reserve", ACTION, 1, 1, 0.25),
    Failed("reserve", ACTION, 1, 1, None),
    Unserved("reserve", ACTION, 1, 1, 10.0),
    TimerFired("reserve", COMPENSATION, 1, 0),
    CommandFailed("reserve", ACTION, 1, 1),
    events.CommandDeferred("reserve", ACTION, 1, 1, 7.5),
    DeadlinePassed(),
    events.CancelRequested(),
    RetryRequested("reserve", ACTION),
    RetryRequested("reserve", ACTION, other_input=True),
    events.ReplyGiven("reserve", COMPENSATION, succeeded=True),
    events.SkipRequested("reserve", COMPENSATION),
    events.AbandonRequested(),
    events.Erased(),
)


FOR_EVER: Final = 1e9
"""Seconds; no saga of a test is as old."""

OLD_SECONDS: Final = 0.5
"""A saga that has just been written is not as old."""


class Abort(Exception):
    """Raised by a test inside of a transaction, to have it rolled back."""


class StoreContract:
    """Subclass it, with a fixture `store`."""

    async def test_check_finds_the_tables(self, store: SagaStore) -> None:
        await store.check()

    async def test_now_is_a_time_of_utc_that_goes_on(self, store: SagaStore) -> None:
        times = []
        for _ in range(3):
            async with store.transaction() as tx:
                times.append(tx.now)
        assert [time.utcoffset() for time in times] == [timedelta(0)] * 3
        assert times == sorted(times)

    async def test_now_stands_still_in_a_transaction(self, store: SagaStore) -> None:
        async with store.transaction() as tx:
            before = tx.now
            await tx.load([uuid4()])
            assert tx.now == before

    async def test_something_that_is_no_connection_cannot_be_joined(self, store: SagaStore) -> None:
        refused = None
        try:
            store.enlist(object())
        except TypeError as error:
            refused = error
        assert refused is not None

    # Plans.

    async def test_plans_are_found_by_their_hashes(self, store: SagaStore) -> None:
        await store.add_plans([SHORT, LONG])
        assert list(await store.plans([LONG.hash, "0" * 64])) == [LONG]
        assert {plan.hash for plan in await store.plans([LONG.hash, SHORT.hash])} == {LONG.hash, SHORT.hash}

    async def test_a_plan_may_be_added_again(self, store: SagaStore) -> None:
        await store.add_plans([SHORT])
        await store.add_plans([LONG, SHORT])
        assert len(await store.plans([LONG.hash, SHORT.hash])) == 2

    async def test_plans_may_be_added_at_the_same_time(self, store: SagaStore) -> None:
        async with racing() as tasks:
            for plans in [[SHORT, LONG], [LONG, SHORT]] * RACES:
                tasks.create_task(store.add_plans(plans))
        assert len(await store.plans([LONG.hash, SHORT.hash])) == 2

    # Sagas that begin.

    async def test_a_new_saga_is_found_as_it_was_written(self, store: SagaStore) -> None:
        timers = (
            Timer(moment(3), None),
            Timer(moment(1), "place", ACTION, 1, 2),
            Timer(moment(2), "reserve", COMPENSATION, 3, 0),
        )
        record = new_saga(LONG, key="ключ 'with\" \\ everything; -- ✓")
        change = happens(record, STARTED, timers=timers, wake_at=moment(1))
        assert list(await insert(store, change)) == []
        assert [plain(found) for found in await store.find([record.saga_id])] == [change.record]

    async def test_the_store_says_when_a_saga_was_started_and_updated(self, store: SagaStore) -> None:
        record = await started(store)
        first = (await store.find([record.saga_id]))[0]
        await save(store, happens(record, NOT_YET))
        second = (await store.find([record.saga_id]))[0]
        assert first.started_at is not None
        assert first.updated_at is not None
        assert second.updated_at is not None
        assert second.started_at == first.started_at <= first.updated_at < second.updated_at

    async def test_many_sagas_are_written_at_once(self, store: SagaStore) -> None:
        changes = [happens(new_saga(LONG), STARTED) for _ in range(300)]
        assert list(await insert(store, *changes)) == []
        found = await store.find([change.record.saga_id for change in changes])
        assert [plain(record) for record in found] == [change.record for change in changes]

    async def test_a_saga_with_many_steps_is_kept(self, store: SagaStore) -> None:
        timers = [Timer(moment(1), step.name) for step in WIDE.steps]
        change = happens(new_saga(WIDE), STARTED, timers=timers)
        await insert(store, change)
        assert [plain(record) for record in await store.find([change.record.saga_id])] == [change.record]

    async def test_a_key_that_is_taken_gives_the_saga_that_has_it(self, store: SagaStore) -> None:
        first = await started(store, key="order-1")
        second = new_saga(key="order-1")
        existing = await insert(store, happens(second, STARTED, payloads=[an_input(second)], wake_at=moment(-1)))
        assert [plain(record) for record in existing] == [first]
        assert list(await store.find([second.saga_id])) == []
        assert list(await store.journal(second.saga_id)) == []
        assert await payloads(store, second.saga_id) == []
        assert await claimed(store) == []

    async def test_of_a_batch_only_what_is_new_is_written(self, store: SagaStore) -> None:
        taken = [await started(store, key=f"order-{number}") for number in (1, 3)]
        again = [happens(new_saga(key=f"order-{number}"), STARTED) for number in range(5)]
        existing = await insert(store, *again)
        assert {record.saga_id for record in existing} == {record.saga_id for record in taken}
        found = await store.find([change.record.saga_id for change in again])
        assert [record.key for record in found] == ["order-0", "order-2", "order-4"]

    async def test_a_key_that_is_twice_in_a_batch_is_taken_once(self, store: SagaStore) -> None:
        changes = [happens(new_saga(key="order-1"), STARTED) for _ in range(2)]
        (existing,) = await insert(store, *changes)
        found = await store.find([change.record.saga_id for change in changes])
        assert [record.saga_id for record in found] == [existing.saga_id]

    async def test_another_saga_may_have_the_same_key(self, store: SagaStore) -> None:
        await started(store, key="order-1")
        assert list(await insert(store, happens(new_saga(LONG, key="order-1"), STARTED))) == []

    async def test_who_begins_a_saga_again_finds_it(self, store: SagaStore) -> None:
        """As one does who does not know whether the commit has happened."""
        change = happens(new_saga(), STARTED)
        await insert(store, change)
        assert [plain(record) for record in await insert(store, change)] == [change.record]
        assert len(await store.journal(change.record.saga_id)) == 1

    async def test_of_those_who_begin_a_saga_at_the_same_time_one_does(self, store: SagaStore) -> None:
        await add_plans(store)
        for race in range(RACES):
            changes = [happens(new_saga(key=f"order-{race}"), STARTED) for _ in range(4)]
            async with racing() as tasks:
                runs = [tasks.create_task(insert(store, change)) for change in changes]
            (winner,) = await store.find([change.record.saga_id for change in changes])
            given = [[record.saga_id for record in run.result()] for run in runs]
            expected = [[winner.saga_id] if change.record.saga_id != winner.saga_id else [] for change in changes]
            assert given == expected

    async def test_overlapping_batches_may_begin_at_the_same_time(self, store: SagaStore) -> None:
        await add_plans(store)
        for race in range(RACES):
            keys = [f"order-{race}-{number}" for number in range(10)]
            orders = [keys, keys[::-1], keys[5:] + keys[:5]]
            async with racing() as tasks:
                for order in orders:
                    tasks.create_task(insert(store, *(happens(new_saga(key=key), STARTED) for key in order)))
            written = [await store.list(SagaFilter(key=key), 10) for key in keys]
            assert [len(sagas) for sagas in written] == [1] * len(keys)

    async def test_a_beginning_that_is_rolled_back_leaves_nothing(self, store: SagaStore) -> None:
        await add_plans(store)
        record = new_saga(key="order-1")
        with suppress(Abort):
            async with store.transaction() as tx:
                await tx.insert(
                    [happens(record, STARTED, payloads=[an_input(record)], wake_at=moment(-1), resend=True)], PROCESS
                )
                assert len(await tx.load([record.saga_id])) == 1
                raise Abort
        assert list(await store.find([record.saga_id])) == []
        assert list(await store.journal(record.saga_id)) == []
        assert await payloads(store, record.saga_id) == []
        assert await claimed(store) == []
        assert list(await insert(store, happens(new_saga(key="order-1"), STARTED))) == []

    async def test_who_waits_for_a_beginning_that_is_rolled_back_begins(self, store: SagaStore) -> None:
        await add_plans(store)
        second = happens(new_saga(key="order-1"), STARTED)
        async with racing() as tasks:
            with suppress(Abort):
                async with store.transaction() as tx:
                    await tx.insert([happens(new_saga(key="order-1"), STARTED)], PROCESS)
                    run = tasks.create_task(insert(store, second))
                    await asyncio.sleep(PAUSE_SECONDS)
                    raise Abort
        assert list(run.result()) == []
        assert len(await store.find([second.record.saga_id])) == 1

    # Sagas that go on.

    async def test_sagas_are_loaded_in_the_order_of_their_ids(self, store: SagaStore) -> None:
        records = [await started(store) for _ in range(3)]
        wanted = [records[2].saga_id, uuid4(), records[0].saga_id, records[1].saga_id, records[0].saga_id]
        async with store.transaction() as tx:
            loaded = await tx.load(wanted)
        assert [plain(record) for record in loaded] == records
        assert [plain(record) for record in await store.find(wanted)] == records

    async def test_a_change_is_found_as_it_was_written(self, store: SagaStore) -> None:
        record = await started(store, LONG)
        timers = [Timer(moment(2), "reserve", ACTION, 1, 1), Timer(moment(1), "authorize", ACTION, 1, 1)]
        change = happens(record, Succeeded("place", ACTION, 1, 1), timers=timers, wake_at=moment(1), wake_changed=True)
        await save(store, change)
        assert [plain(found) for found in await store.find([record.saga_id])] == [change.record]

    async def test_many_sagas_are_changed_at_once(self, store: SagaStore) -> None:
        begun = [happens(new_saga(LONG), STARTED, wake_at=moment(1)) for _ in range(300)]
        await insert(store, *begun)
        changes = [happens(change.record, Succeeded("place", ACTION, 1, 1)) for change in begun]
        await save(store, *changes)
        found = await store.find([change.record.saga_id for change in changes])
        assert [plain(record) for record in found] == [change.record for change in changes]

    async def test_a_change_of_another_version_is_refused(self, store: SagaStore) -> None:
        records = [await started(store) for _ in range(3)]
        await save(store, happens(records[1], NOT_YET))
        refusal = await refused(store, *(happens(record, DONE) for record in records))
        assert str(records[1].saga_id) in refusal
        assert [(found.version, found.status) for found in await store.find([one.saga_id for one in records])] == [
            (1, SagaStatus.RUNNING),
            (2, SagaStatus.RUNNING),
            (1, SagaStatus.RUNNING),
        ]
        assert [len(await store.journal(record.saga_id)) for record in records] == [1, 2, 1]

    async def test_a_change_of_a_saga_that_does_not_exist_is_refused(self, store: SagaStore) -> None:
        await add_plans(store)
        record = replace(new_saga(), version=1)
        assert str(record.saga_id) in await refused(store, happens(record, NOT_YET))
        assert list(await store.journal(record.saga_id)) == []

    async def test_a_change_that_is_rolled_back_leaves_nothing(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(60))
        change = happens(
            record, NOT_YET, payloads=[a_result(record)], wake_at=moment(-1), wake_changed=True, resend=True
        )
        with suppress(Abort):
            async with store.transaction() as tx:
                await tx.load([record.saga_id])
                await tx.save([change], PROCESS)
                raise Abort
        assert [plain(found) for found in await store.find([record.saga_id])] == [record]
        assert len(await store.journal(record.saga_id)) == 1
        assert await payloads(store, record.saga_id) == []
        assert await claimed(store) == []

    async def test_of_those_who_change_a_saga_at_the_same_time_each_sees_the_change_before(
        self, store: SagaStore
    ) -> None:
        record = await started(store)
        async with racing() as tasks:
            for _ in range(30):
                tasks.create_task(go_on(store, record.saga_id))
        assert (await store.find([record.saga_id]))[0].version == 31
        assert [entry.seq for entry in await store.journal(record.saga_id)] == list(range(1, 32))

    async def test_overlapping_batches_may_be_changed_at_the_same_time(self, store: SagaStore) -> None:
        saga_ids = [(await started(store)).saga_id for _ in range(8)]
        chance = seeded(0)
        async with racing() as tasks:
            for _ in range(30):
                tasks.create_task(go_on(store, *chance.sample(saga_ids, 5)))
        assert sum(record.version - 1 for record in await store.find(saga_ids)) == 150

    # Alone: in as few statements as can be.

    async def test_sagas_begin_alone(self, store: SagaStore) -> None:
        await add_plans(store)
        first, second, third = (new_saga(key=key) for key in ("order-1", "order-1", "order-2"))
        begun = happens(first, STARTED, payloads=[an_input(first)], wake_at=moment(-1))
        async with store.alone() as tx:
            assert list(await tx.insert([replace(begun, watcher="a")], PROCESS)) == []
        async with store.alone() as tx:
            existing = await tx.insert([happens(second, STARTED), happens(third, STARTED)], PROCESS)
        assert [plain(record) for record in existing] == [begun.record]
        assert await payloads(store, first.saga_id) == [an_input(first)]
        assert await claimed(store) == [first.saga_id]
        assert len(await store.find([third.saga_id])) == 1
        assert await save(store, happens(begun.record, DONE)) == [Watcher(first.saga_id, "a")]

    async def test_a_saga_goes_on_alone(self, store: SagaStore) -> None:
        record = new_saga()
        await insert(store, happens(record, STARTED, payloads=[an_input(record)], wake_at=moment(-1)))
        await watch(store, Watcher(record.saga_id, "a"), Watcher(record.saga_id, "b"))
        async with store.alone() as tx:
            (loaded,) = await tx.load([record.saga_id])
            assert list(await tx.payloads([record.saga_id])) == [an_input(record)]
            change = happens(loaded, DONE, payloads=[a_result(record)])
            told = await tx.save([change], PROCESS)
        assert set(told) == {Watcher(record.saga_id, "a"), Watcher(record.saga_id, "b")}
        assert [plain(found) for found in await store.find([record.saga_id])] == [plain(change.record)]
        assert [entry.event for entry in await store.journal(record.saga_id)] == [STARTED, DONE]
        assert set(await payloads(store, record.saga_id)) == {an_input(record), a_result(record)}
        assert await claimed(store) == []

    async def test_who_watches_a_saga_that_is_stuck_alone_is_told_once(self, store: SagaStore) -> None:
        record = await started(store)
        await watch(store, Watcher(record.saga_id, "a"))
        assert await save_alone(store, record.saga_id, STUCK) == [Watcher(record.saga_id, "a")]
        assert await save_alone(store, record.saga_id, RetryRequested("reserve", ACTION)) == []
        assert await save_alone(store, record.saga_id, Succeeded("reserve", ACTION, 1, 1)) == []

    async def test_a_saga_that_does_not_exist_is_not_found_alone(self, store: SagaStore) -> None:
        async with store.alone() as tx:
            assert list(await tx.load([uuid4()])) == []
            assert list(await tx.payloads([uuid4()])) == []

    async def test_now_is_told_alone_too(self, store: SagaStore) -> None:
        record = await started(store)
        async with store.transaction() as tx:
            before = tx.now
        async with store.alone() as tx:
            guessed = tx.now
            await tx.load([record.saga_id])
            known = tx.now
        async with store.transaction() as tx:
            after = tx.now
        assert abs(guessed - before) < timedelta(seconds=1)
        assert before <= known <= after
        assert known.utcoffset() == timedelta(0)

    async def test_who_is_overtaken_writes_nothing(self, store: SagaStore) -> None:
        """Some stores have the other one wait instead, who then is the one that comes too late."""
        record = await started(store)
        for others in (happens(record, NOT_YET), happens(record, payloads=[a_result(record)])):
            record = await started(store)
            other = replace(others, record=replace(others.record, saga_id=record.saga_id, key=record.key))
            other = replace(other, journal=[replace(entry, saga_id=record.saga_id) for entry in other.journal])
            other = replace(other, payloads=[replace(one, saga_id=record.saga_id) for one in other.payloads])
            outcome = "written"
            async with racing() as tasks:
                try:
                    async with store.alone() as tx:
                        (loaded,) = await tx.load([record.saga_id])
                        run = tasks.create_task(refusal(store, other))
                        await asyncio.wait({run}, timeout=5 * PAUSE_SECONDS)
                        was_first = run.done()
                        mine = happens(loaded, DONE, payloads=[a_result(record)])
                        await tx.save([mine], PROCESS)
                except Overtaken:
                    outcome = "overtaken"
            assert outcome == "overtaken" or not was_first
            assert (outcome == "written") == (run.result() is not None)
            (found,) = await store.find([record.saga_id])
            expected = mine.record if outcome == "written" else other.record
            assert (found.version, found.status) == (expected.version, expected.status)
            assert len(await store.journal(record.saga_id)) == found.version

    async def test_of_those_who_change_a_saga_alone_and_otherwise_no_change_is_lost(self, store: SagaStore) -> None:
        record = await started(store)

        async def go_on_alone() -> None:
            while True:
                with suppress(Overtaken):
                    async with store.alone() as tx:
                        (loaded,) = await tx.load([record.saga_id])
                        await _let_other_tasks_run()
                        await tx.save([happens(loaded, NOT_YET)], PROCESS)
                    return

        async with racing() as tasks:
            for _ in range(10):
                tasks.create_task(go_on_alone())
                tasks.create_task(go_on(store, record.saga_id))
        assert (await store.find([record.saga_id]))[0].version == 21
        assert [entry.seq for entry in await store.journal(record.saga_id)] == list(range(1, 22))

    # Journal and payloads.

    async def test_every_kind_of_event_is_told_as_it_was_written(self, store: SagaStore) -> None:
        assert {type(event) for event in EVERY_EVENT} == set(kinds(Event))
        await self._expect_told(store, [replace(ENTRY, event=event) for event in EVERY_EVENT])

    async def test_every_status_is_told_as_it_was_written(self, store: SagaStore) -> None:
        await self._expect_told(store, [replace(ENTRY, status=status) for status in SagaStatus])

    async def test_all_that_an_entry_can_hold_is_told_as_it_was_written(self, store: SagaStore) -> None:
        commands = (SendCommand("reserve", ACTION, 1, 1), SendCommand("place", COMPENSATION, 2, 3))
        error = ErrorInfo("Out\\OfStock", 'a "quoted" \x00 ✓ message\nof two lines', "Traceback ...\n  é")
        full = replace(
            ENTRY,
            commands=commands,
            error=error,
            actor="eve",
            reason="she's sure; --",
            traceparent=ids.new_traceparent(),
        )
        ignored = [replace(ENTRY, ignored=str(because)) for because in IgnoredBecause]
        await self._expect_told(store, [ENTRY, full, *ignored])

    async def test_a_nul_in_a_text_harms_nothing(self, store: SagaStore) -> None:
        """It may come from another service, and not every database can keep it."""
        record = await started(store)
        entry = replace(ENTRY, origin="stock@a\x00b", actor="e\x00e", reason="\x00")
        change = happens(record, NOT_YET)
        await save(store, replace(change, journal=[replace(entry, saga_id=record.saga_id, seq=2)]))
        told = (await store.journal(record.saga_id))[-1]
        assert [without_nul(text or "") for text in (told.origin, told.actor, told.reason)] == ["stock@a?b", "e?e", "?"]

    async def test_the_journal_is_told_in_order_with_the_times_of_the_store(self, store: SagaStore) -> None:
        record = await started(store)
        async with store.transaction() as tx:
            (loaded,) = await tx.load([record.saga_id])
            await tx.save([happens(loaded, NOT_YET, TimerFired("reserve", ACTION, 1, 1), DONE)], PROCESS)
        journal = await store.journal(record.saga_id)
        assert [type(entry.event) for entry in journal] == [Started, Failed, TimerFired, Succeeded]
        assert [entry.seq for entry in journal] == [1, 2, 3, 4]
        times = [entry.at for entry in journal if entry.at is not None]
        assert len(times) == 4
        assert times == sorted(times)
        assert {time.utcoffset() for time in times} == {timedelta(0)}

    async def test_the_journals_of_many_sagas_are_told_at_once(self, store: SagaStore) -> None:
        records = [await started(store) for _ in range(3)]
        await save(store, happens(records[1], NOT_YET, DONE))
        wanted = [records[2].saga_id, records[1].saga_id, uuid4()]
        told = await store.journals(wanted)
        assert [(entry.saga_id, entry.seq) for entry in told] == [
            *((records[1].saga_id, seq) for seq in (1, 2, 3)),
            (records[2].saga_id, 1),
        ]
        assert list(told[:3]) == list(await store.journal(records[1].saga_id))
        assert list(await store.journals([])) == []

    async def test_payloads_are_kept_as_they_were(self, store: SagaStore) -> None:
        one, other = new_saga(), new_saga()
        bodies = [b"", b"null", bytes(range(256)), b"x" * PAYLOAD_BYTES_MAX]
        rounds = [Payload(one.saga_id, "reserve", PayloadKind.COMMAND, *numbered) for numbered in enumerate(bodies, 1)]
        begun = happens(one, STARTED, payloads=[an_input(one), *rounds])
        await insert(store, begun, happens(other, STARTED, payloads=[an_input(other)]))
        await save(store, happens(begun.record, DONE, payloads=[a_result(one)]))
        undo = Payload(one.saga_id, "reserve", PayloadKind.UNDO, 2, b"2")
        await save(store, happens((await store.find([one.saga_id]))[0], NOT_YET, payloads=[undo]))
        kept = {an_input(one), an_input(other), *rounds, a_result(one), undo}
        assert set(await payloads(store, one.saga_id, other.saga_id)) == kept
        assert await payloads(store, other.saga_id) == [an_input(other)]

    async def test_a_payload_of_a_saga_that_does_not_change_is_kept(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(-1), resend=True)
        await save(store, happens(record, payloads=[a_result(record)], wake_at=moment(600), wake_changed=True))
        assert await payloads(store, record.saga_id) == [a_result(record)]
        (found,) = await store.find([record.saga_id])
        assert (found.version, found.state) == (record.version, record.state)
        assert await claimed(store) == []

    async def test_payloads_are_read_without_waiting_for_who_has_the_saga(self, store: SagaStore) -> None:
        record = new_saga()
        await insert(store, happens(record, STARTED, payloads=[an_input(record)]))
        async with asyncio.timeout(DEADLINE_SECONDS), store.transaction() as tx:
            await tx.load([record.saga_id])
            assert list(await store.payloads([record.saga_id, uuid4()])) == [an_input(record)]
            assert [found.saga_id for found in await store.find([record.saga_id])] == [record.saga_id]

    async def test_a_payload_is_never_changed(self, store: SagaStore) -> None:
        """That somebody tries is a bug. Whether the store raises something then is its own affair."""
        record = new_saga()
        begun = happens(record, STARTED, payloads=[an_input(record)])
        await insert(store, begun)
        with suppress(Exception):
            await save(store, happens(begun.record, NOT_YET, payloads=[replace(an_input(record), body=b"other")]))
        assert await payloads(store, record.saga_id) == [an_input(record)]

    async def test_the_journal_sums_up_to_the_state(self, store: SagaStore) -> None:
        chance = seeded(1)
        reached: Counter[SagaStatus] = Counter()
        for _ in range(4):
            records = [(await started(store, LONG)) for _ in range(25)]
            for _ in range(14):
                changes = [happens(record, *likely_events(record.state, chance)) for record in records]
                await save(store, *changes)
                records = [change.record for change in changes]
            found = await store.find([record.saga_id for record in records])
            assert [plain(record) for record in found] == records
            for record in found:
                assert await summed_up(store, record.saga_id) == (record.state, record.version)
                reached[record.status] += 1
        assert set(reached) == set(SagaStatus), "the events are too tame to show anything"

    async def _expect_told(self, store: SagaStore, entries: Sequence[JournalEntry]) -> None:
        record = await started(store)
        entries = [replace(entry, saga_id=record.saga_id, seq=seq) for seq, entry in enumerate(entries, 2)]
        change = happens(record, NOT_YET)
        await save(store, replace(change, journal=entries, record=replace(change.record, version=1 + len(entries))))
        told = await store.journal(record.saga_id)
        assert [replace(entry, at=None) for entry in told[1:]] == entries

    # The agenda.

    async def test_sagas_are_claimed_when_their_time_has_come_the_earliest_first(self, store: SagaStore) -> None:
        due = [await started(store, wake_at=moment(-seconds)) for seconds in (5, 20, 10)]
        await started(store, wake_at=moment(600))
        await started(store, wake_at=None)
        assert await claimed(store) == [due[place].saga_id for place in (1, 2, 0)]

    async def test_no_more_are_claimed_than_asked_for(self, store: SagaStore) -> None:
        due = [(await started(store, wake_at=moment(-seconds))).saga_id for seconds in range(1, 6)][::-1]
        assert [await claimed(store, limit=2) for _ in range(4)] == [due[0:2], due[2:4], due[4:], []]

    async def test_what_is_claimed_is_given_to_nobody_else_until_it_is_no_longer_held(self, store: SagaStore) -> None:
        due = (await started(store, wake_at=moment(-1))).saga_id
        async with store.transaction() as tx:
            before = tx.now
        held_seconds = 0.2
        assert await claimed(store, hold_seconds=held_seconds) == [due]
        assert await sooner_or_later_claimed(store) == [due]
        async with store.transaction() as tx:
            assert tx.now - before >= timedelta(seconds=held_seconds)

    async def test_the_sagas_of_another_coordinator_are_not_claimed(self, store: SagaStore) -> None:
        mine = await started(store, wake_at=moment(-1))
        others = {name: await started(store, wake_at=moment(-2), coordinator=name) for name in OTHER_COORDINATORS}
        assert await claimed(store) == [mine.saga_id]
        assert {name: await claimed(store, name) for name in others} == {
            name: [record.saga_id] for name, record in others.items()
        }

    async def test_those_who_claim_at_the_same_time_are_given_different_sagas(self, store: SagaStore) -> None:
        due = [happens(new_saga(), STARTED, wake_at=moment(number - 100)) for number in range(40)]
        await insert(store, *due)
        async with racing() as tasks:
            claims = [tasks.create_task(claimed(store, limit=7)) for _ in range(8)]
        given = [saga_id for claim in claims for saga_id in claim.result()]
        rest = await claimed(store, limit=100)
        assert Counter(given + rest) == Counter(change.record.saga_id for change in due)

    async def test_a_change_moves_a_saga_on_the_agenda_if_it_says_so(self, store: SagaStore) -> None:
        later = await started(store, wake_at=moment(600))
        sooner = await started(store, wake_at=moment(-1))
        asleep = await started(store, wake_at=moment(-1))
        await save(store, happens(later, NOT_YET, wake_at=moment(-5), wake_changed=True))
        await save(store, happens(sooner, NOT_YET, wake_at=moment(600), wake_changed=True))
        await save(store, happens(asleep, NOT_YET, wake_at=None, wake_changed=True))
        assert await claimed(store) == [later.saga_id]

    async def test_a_change_that_does_not_say_so_moves_nothing(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(-1), resend=True)
        await save(store, happens(record, NOT_YET))
        assert list(await store.claim_due(COORDINATOR, 10, HOLD_SECONDS)) == [Due(record.saga_id, True)]

    async def test_that_watchers_are_told_moves_nothing(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(-1))
        await watch(store, Watcher(record.saga_id, "a"))
        assert await claimed(store) == [record.saga_id]
        assert await save(store, happens(record, STUCK)) == [Watcher(record.saga_id, "a")]
        assert await claimed(store) == [], "it is still held"

    async def test_a_claim_says_what_is_to_be_sent_again(self, store: SagaStore) -> None:
        quiet = await started(store, wake_at=moment(-3))
        begun = await started(store, wake_at=moment(-2), resend=True)
        changed = await started(store, wake_at=moment(600))
        await save(store, happens(changed, NOT_YET, wake_at=moment(-1), wake_changed=True, resend=True))
        assert list(await store.claim_due(COORDINATOR, 10, HOLD_SECONDS)) == [
            Due(quiet.saga_id, False),
            Due(begun.saga_id, True),
            Due(changed.saga_id, True),
        ]

    async def test_what_is_to_be_sent_again_stays_so_until_somebody_has_done_it(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(-1), resend=True)
        for _ in range(2):
            assert list(await store.claim_due(COORDINATOR, 10, 0.0)) == [Due(record.saga_id, True)]
        await resent(store, record, wake_at=moment(-1))
        assert list(await store.claim_due(COORDINATOR, 10, 0.0)) == [Due(record.saga_id, False)]

    async def test_a_change_that_moves_a_saga_has_sent_again(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(-1), resend=True)
        await save(store, happens(record, NOT_YET, wake_at=moment(-1), wake_changed=True))
        assert list(await store.claim_due(COORDINATOR, 10, HOLD_SECONDS)) == [Due(record.saga_id, False)]

    async def test_a_saga_that_was_resent_is_looked_at_when_it_is_said(self, store: SagaStore) -> None:
        records = [await started(store, wake_at=moment(-1), resend=True) for _ in range(3)]
        times = [moment(600), None, moment(-5)]
        async with store.transaction() as tx:
            await tx.load([record.saga_id for record in records])
            await tx.resent([record.saga_id for record in records], times, PROCESS)
        assert await claimed(store) == [records[2].saga_id]
        assert (await store.find([records[0].saga_id]))[0].wake_at == times[0]
        assert (await store.find([records[1].saga_id]))[0].wake_at is None

    async def test_a_saga_that_has_ended_leaves_the_agenda(self, store: SagaStore) -> None:
        record = await started(store, wake_at=moment(-1))
        ended = happens(record, DONE, wake_at=moment(-1), wake_changed=True)
        await save(store, ended)
        assert await claimed(store) == []
        (found,) = await store.find([record.saga_id])
        assert (found.status, found.timers, found.wake_at) == (SagaStatus.COMPLETED, (), None)

    async def test_a_saga_that_begins_and_ends_at_once_is_never_on_the_agenda(self, store: SagaStore) -> None:
        change = happens(new_saga(), STARTED, DONE, wake_at=moment(-1))
        await insert(store, change)
        assert [plain(record) for record in await store.find([change.record.saga_id])] == [change.record]
        assert await claimed(store) == []

    async def test_a_saga_that_has_ended_is_not_called_back(self, store: SagaStore) -> None:
        record = await started(store)
        await save(store, happens(record, DONE))
        await resent(store, record, wake_at=moment(-1))
        assert await claimed(store) == []

    async def test_a_saga_that_is_stuck_stays_on_the_agenda(self, store: SagaStore) -> None:
        sleeping, waking = await started(store), await started(store)
        await save(store, happens(sleeping, STUCK))
        await save(store, happens(waking, STUCK, wake_at=moment(-1), wake_changed=True))
        assert await claimed(store) == [waking.saga_id]
        (stuck,) = await store.find([sleeping.saga_id])
        await save(store, happens(stuck, RetryRequested("reserve", ACTION), wake_at=moment(-1), wake_changed=True))
        assert await claimed(store) == [sleeping.saga_id]

    # Leases.

    async def test_what_a_process_had_in_flight_is_taken_over_when_its_lease_has_lapsed(self, store: SagaStore) -> None:
        lost = [await started(store, wake_at=wake_at) for wake_at in (moment(600), None, moment(600))]
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 3
        due = await store.claim_due(COORDINATOR, 10, HOLD_SECONDS)
        assert set(due) == {Due(record.saga_id, True) for record in lost}

    async def test_nothing_is_taken_over_from_a_process_that_lives(self, store: SagaStore) -> None:
        await started(store)
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        await store.keep_lease(COORDINATOR, PROCESS, 60.0)
        await store.keep_lease(COORDINATOR, OTHER_PROCESS, 0.0)
        for name in OTHER_COORDINATORS:
            await store.keep_lease(name, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 0
        assert await claimed(store) == []

    async def test_open_sagas_are_counted_by_the_first_process_alive(self, store: SagaStore) -> None:
        await add_plans(store)
        assert list(await store.open_sagas(COORDINATOR, PROCESS)) == [], "no process is alive"
        records = [await started(store) for _ in range(4)]
        await insert(store, happens(new_saga(coordinator=OTHER_COORDINATORS[0]), STARTED))
        await save(store, happens(records[0], DONE), happens(records[1], STUCK))
        await store.keep_lease(COORDINATOR, PROCESS, 60.0)
        await store.keep_lease(COORDINATOR, OTHER_PROCESS, 60.0)
        assert list(await store.open_sagas(COORDINATOR, OTHER_PROCESS)) == []
        counted = await store.open_sagas(COORDINATOR, PROCESS)
        assert [(one.saga, one.status, one.count) for one in counted] == [
            (SHORT.saga, SagaStatus.RUNNING, 2),
            (SHORT.saga, SagaStatus.STUCK, 1),
        ]
        assert all(0 <= one.oldest_seconds < DEADLINE_SECONDS for one in counted)
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert len(await store.open_sagas(COORDINATOR, OTHER_PROCESS)) == 2, "the first one has died"

    async def test_what_goes_on_is_counted(self, store: SagaStore) -> None:
        await add_plans(store)
        records = [await started(store, wake_at=moment(-5)), *[await started(store, wake_at=moment(60)) for _ in "12"]]
        done = await started(store)
        await insert(store, happens(new_saga(coordinator=OTHER_COORDINATORS[0]), STARTED))
        await save(store, happens(done, DONE), happens(records[1], STUCK))
        await store.put_aside([PutAside("replies.shop", "it is no JSON", b"?")] * 3)
        first, third = records[0].saga_id, records[2].saga_id
        sample = await store.sample(first, third, 100)
        assert [(one.saga, one.status, one.count) for one in sample.open] == [
            (SHORT.saga, SagaStatus.RUNNING, 3),
            (SHORT.saga, SagaStatus.STUCK, 1),
        ]
        assert all(0 <= one.oldest_seconds < DEADLINE_SECONDS for one in sample.open)
        assert sample.began == {SHORT.saga: (4, 2)}
        assert (sample.late, sample.put_aside, sample.all_counted) == (1, 3, True)
        assert 0 < sample.late_seconds < DEADLINE_SECONDS
        few = await store.sample(done.saga_id, done.saga_id, 2)
        assert ([one.count for one in few.open], few.put_aside, few.all_counted) == ([2], 2, False)

    async def test_of_an_empty_store_nothing_is_counted(self, store: SagaStore) -> None:
        sample = await store.sample(NO_PROCESS, NO_PROCESS, 10)
        assert (list(sample.open), sample.began, sample.late, sample.late_seconds) == ([], {}, 0, 0.0)
        assert (sample.put_aside, sample.all_counted) == (0, True)

    async def test_a_process_is_taken_over_once(self, store: SagaStore) -> None:
        record = await started(store)
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert [await store.take_over(COORDINATOR) for _ in range(2)] == [1, 0]
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 0, "it came back, and the saga is nobody's by now"
        assert await claimed(store) == [record.saga_id]

    async def test_who_comes_back_too_late_and_dies_is_taken_over_again(self, store: SagaStore) -> None:
        """It stood still for longer than its lease, commits without knowing so, and dies before it renews it."""
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 0
        record = await started(store)
        assert await store.take_over(COORDINATOR) == 1
        assert await claimed(store) == [record.saga_id]

    async def test_who_is_dead_for_long_is_forgotten(self, store: SagaStore) -> None:
        await store.keep_lease(COORDINATOR, PROCESS, -LAPSED_KEPT_SECONDS)
        assert await store.take_over(COORDINATOR) == 0
        await started(store)
        assert await store.take_over(COORDINATOR) == 0

    async def test_those_who_take_over_at_the_same_time_take_each_saga_once(self, store: SagaStore) -> None:
        for _ in range(RACES):
            await insert(store, *(happens(new_saga(), STARTED) for _ in range(20)))
            await store.keep_lease(COORDINATOR, PROCESS, 0.0)
            async with racing() as tasks:
                runs = [tasks.create_task(store.take_over(COORDINATOR)) for _ in range(4)]
            assert sum(run.result() for run in runs) == 20
            assert len(await claimed(store, limit=100)) == 20

    async def test_a_saga_that_another_process_has_changed_or_resent_is_not_taken_over(self, store: SagaStore) -> None:
        changed, sent, lost = [await started(store) for _ in range(3)]
        await save(store, happens(changed, NOT_YET), process=OTHER_PROCESS)
        await resent(store, sent, wake_at=None, process=OTHER_PROCESS)
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 1
        assert await claimed(store) == [lost.saga_id]

    async def test_a_saga_that_has_ended_is_not_taken_over(self, store: SagaStore) -> None:
        await save(store, happens(await started(store), DONE))
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 0

    async def test_the_sagas_of_another_coordinator_are_not_taken_over(self, store: SagaStore) -> None:
        others = {name: await started(store, coordinator=name) for name in OTHER_COORDINATORS}
        for name in (COORDINATOR, *others):
            await store.keep_lease(name, PROCESS, 0.0)
        assert await store.take_over(COORDINATOR) == 0
        for name, record in others.items():
            assert await store.take_over(name) == 1
            assert await claimed(store, name) == [record.saga_id]

    async def test_a_saga_is_told_with_the_process_that_has_what_is_in_flight(self, store: SagaStore) -> None:
        record = await started(store, process=PROCESS)
        assert await owner(store, record) == PROCESS
        await save(store, happens(record, NOT_YET), process=OTHER_PROCESS)
        assert await owner(store, record) == OTHER_PROCESS
        await resent(store, record, wake_at=None, process=PROCESS)
        assert await owner(store, record) == PROCESS
        await store.drop_lease(COORDINATOR, PROCESS, resend=False)
        assert await owner(store, record) == PROCESS, "it has sent everything"

    async def test_a_saga_whose_process_is_gone_is_nobodys(self, store: SagaStore) -> None:
        lost, unsent = await started(store, process=PROCESS), await started(store, process=OTHER_PROCESS)
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        await store.take_over(COORDINATOR)
        await store.drop_lease(COORDINATOR, OTHER_PROCESS, resend=True)
        assert {await owner(store, lost), await owner(store, unsent)} <= {None, NO_PROCESS}

    async def test_who_ends_with_everything_sent_leaves_nothing_to_do(self, store: SagaStore) -> None:
        await started(store)
        await store.keep_lease(COORDINATOR, PROCESS, 0.0)
        await store.drop_lease(COORDINATOR, PROCESS, resend=False)
        assert await store.take_over(COORDINATOR) == 0
        assert await claimed(store) == []

    async def test_who_ends_with_something_unsent_has_it_sent_again(self, store: SagaStore) -> None:
        mine = await started(store)
        await started(store, process=OTHER_PROCESS)
        await store.keep_lease(COORDINATOR, PROCESS, 60.0)
        await store.drop_lease(COORDINATOR, PROCESS, resend=True)
        await store.take_over(COORDINATOR)
        assert list(await store.claim_due(COORDINATOR, 10, HOLD_SECONDS)) == [Due(mine.saga_id, True)]

    # Watchers.

    async def test_who_watches_is_told_when_the_saga_ends(self, store: SagaStore) -> None:
        records = [await started(store) for _ in range(3)]
        watchers = [Watcher(records[place].saga_id, address) for place, address in ((0, "a"), (0, "b"), (1, "a"))]
        seen = await watch(store, *watchers)
        assert [plain(record) for record in seen] == records[:2]
        assert await save(store, happens(records[0], NOT_YET)) == []
        ended = [happens(happens(records[0], NOT_YET).record, DONE), *(happens(record, DONE) for record in records[1:])]
        assert set(await save(store, *ended)) == set(watchers)

    async def test_who_watches_is_told_when_the_saga_is_stuck_and_then_forgotten(self, store: SagaStore) -> None:
        record = await started(store)
        await watch(store, Watcher(record.saga_id, "a"))
        stuck = happens(record, STUCK)
        assert await save(store, stuck) == [Watcher(record.saga_id, "a")]
        again = happens(stuck.record, RetryRequested("reserve", ACTION))
        assert await save(store, again) == []
        await watch(store, Watcher(record.saga_id, "b"))
        assert await save(store, happens(again.record, Succeeded("reserve", ACTION, 1, 1))) == [
            Watcher(record.saga_id, "b")
        ]

    async def test_who_watches_from_the_start_is_told_like_anybody_else(self, store: SagaStore) -> None:
        watched = replace(happens(new_saga(), STARTED), watcher="a")
        unwatched = happens(new_saga(), STARTED)
        again = replace(happens(new_saga(key=watched.record.key), STARTED), watcher="b")
        assert not await insert(store, watched, unwatched)
        assert [one.saga_id for one in await insert(store, again)] == [watched.record.saga_id]
        told = await save(store, happens(watched.record, DONE), happens(unwatched.record, DONE))
        assert list(told) == [Watcher(watched.record.saga_id, "a")]

    async def test_who_watches_again_is_told_once(self, store: SagaStore) -> None:
        record = await started(store)
        await watch(store, Watcher(record.saga_id, "a"), Watcher(record.saga_id, "a"))
        await watch(store, Watcher(record.saga_id, "a"), Watcher(record.saga_id, "b"))
        told = await save(store, happens(record, DONE))
        assert sorted(told, key=lambda watcher: watcher.address) == [
            Watcher(record.saga_id, "a"),
            Watcher(record.saga_id, "b"),
        ]

    async def test_who_comes_too_late_to_watch_sees_that_it_is_over(self, store: SagaStore) -> None:
        ended, stuck = await started(store), await started(store)
        changes = [happens(ended, DONE), happens(stuck, STUCK)]
        await save(store, *changes)
        seen = await watch(store, Watcher(ended.saga_id, "a"), Watcher(stuck.saga_id, "a"))
        assert [record.status for record in seen] == [SagaStatus.COMPLETED, SagaStatus.STUCK]
        again = happens(changes[1].record, RetryRequested("reserve", ACTION))
        assert await save(store, again) == []
        assert await save(store, happens(again.record, DONE)) == [], "it was not remembered"

    async def test_a_saga_that_does_not_exist_cannot_be_watched(self, store: SagaStore) -> None:
        record = await started(store)
        seen = await watch(store, Watcher(uuid4(), "a"), Watcher(record.saga_id, "a"))
        assert [found.saga_id for found in seen] == [record.saga_id]

    async def test_a_watch_that_is_rolled_back_is_forgotten(self, store: SagaStore) -> None:
        record = await started(store)
        with suppress(Abort):
            async with store.transaction() as tx:
                await tx.watch([Watcher(record.saga_id, "a")])
                raise Abort
        assert await save(store, happens(record, DONE)) == []

    async def test_no_end_slips_between_the_look_and_the_note(self, store: SagaStore) -> None:
        """Whoever watches while the saga ends either sees that it has ended, or is told; never both, never
        neither."""
        for _ in range(RACES):
            records = [await started(store) for _ in range(6)]
            told: list[Watcher] = []

            async def end(record: SagaRecord, alone: bool, told: list[Watcher] = told) -> None:
                if alone:
                    told += await save_alone(store, record.saga_id, DONE)
                else:
                    told += await save(store, happens(record, DONE))

            watchers = [[Watcher(record.saga_id, address) for record in records] for address in "abc"]
            async with racing() as tasks:
                runs = []
                for place, (some, record) in enumerate(zip([*watchers, [], [], []], records, strict=True)):
                    if some:
                        runs.append(tasks.create_task(watch(store, *some)))
                    tasks.create_task(end(record, alone=place % 2 == 0))
            seen = [
                Watcher(record.saga_id, address)
                for address, run in zip("abc", runs, strict=True)
                for record in run.result()
                if record.state.ended
            ]
            assert Counter(told + seen) == Counter(watcher for some in watchers for watcher in some)

    # Looking.

    async def test_the_latest_sagas_are_listed_first(self, store: SagaStore) -> None:
        records = [await started(store) for _ in range(4)]
        listed = await store.list(SagaFilter(), 3)
        assert [plain(record) for record in listed] == records[:0:-1]

    async def test_sagas_are_listed_by_name_key_and_status(self, store: SagaStore) -> None:
        short = await started(store, key="order-1")
        long = await started(store, LONG, key="order-1")
        other = await started(store, key="order-2")
        stuck = await started(store, key="order-3")
        await save(store, happens(other, DONE), happens(stuck, STUCK))

        async def listed(**restrictions: object) -> list[UUID]:
            return [record.saga_id for record in await store.list(SagaFilter(**restrictions), 10)]  # type: ignore[arg-type]

        running, completed, is_stuck = SagaStatus.RUNNING, SagaStatus.COMPLETED, SagaStatus.STUCK
        assert await listed(saga="short") == [stuck.saga_id, other.saga_id, short.saga_id]
        assert await listed(saga="none") == []
        assert await listed(key="order-1") == [long.saga_id, short.saga_id]
        assert await listed(key="order-1", saga="long") == [long.saga_id]
        assert await listed(statuses=frozenset({running})) == [long.saga_id, short.saga_id]
        assert await listed(statuses=frozenset({completed})) == [other.saga_id]
        assert await listed(statuses=frozenset({is_stuck, running})) == [stuck.saga_id, long.saga_id, short.saga_id]
        assert await listed(statuses=frozenset({is_stuck, completed})) == [stuck.saga_id, other.saga_id]
        assert await listed(statuses=frozenset({running}), saga="short", key="order-1") == [short.saga_id]
        assert await listed(statuses=frozenset({running}), key="order-2") == []

    async def test_pages_are_told_by_the_last_saga_of_the_page_before(self, store: SagaStore) -> None:
        records = [await started(store, plan) for plan in (SHORT, LONG, SHORT, LONG, SHORT)]
        await save(store, happens(records[1], events.CancelRequested()), happens(records[2], DONE))
        ids = [record.saga_id for record in reversed(records)]
        ids_of_open = [record.saga_id for record in reversed(records) if record is not records[2]]
        for statuses, expected in ((frozenset[SagaStatus](), ids), (OPEN_STATUSES, ids_of_open)):
            seen: list[UUID] = []
            for _ in range(4):  # one more than there are
                page = await store.list(SagaFilter(statuses=statuses, before=seen[-1] if seen else None), 2)
                assert len(page) <= 2
                seen += [record.saga_id for record in page]
            assert seen == expected
        assert not await store.list(SagaFilter(before=ids[-1]), 10)
        assert [one.saga_id for one in await store.list(SagaFilter(saga="short", before=ids[0]), 10)] == ids[2::2]

    async def test_sagas_that_wait_for_somebody_are_found_among_the_open_ones(self, store: SagaStore) -> None:
        begun = [await started(store, LONG) for _ in range(3)]
        unserved, without_code, goes_on = begun
        ended = await started(store)
        deferred = events.CommandDeferred("place", ACTION, 1, 1, 7.5)
        await save(
            store,
            happens(unserved, Unserved("place", ACTION, 1, 1, 10.0)),
            happens(without_code, deferred),
            happens(ended, DONE),
        )

        async def waiting(**restrictions: object) -> list[UUID]:
            matching = SagaFilter(waiting=True, **restrictions)  # type: ignore[arg-type]
            return [record.saga_id for record in await store.list(matching, 10)]

        assert await waiting() == [without_code.saga_id, unserved.saga_id]
        assert await waiting(key=unserved.key, saga="long") == [unserved.saga_id]
        assert await waiting(statuses=frozenset({SagaStatus.STUCK})) == []
        assert await waiting(before=without_code.saga_id) == [unserved.saga_id]
        assert goes_on.saga_id not in await waiting()

    async def test_it_is_known_since_when_and_why_an_attempt_waits(self, store: SagaStore) -> None:
        waits, other = await started(store, LONG), await started(store, LONG)
        attempt = ("place", ACTION, 1, 1)
        change = happens(
            waits,
            Unserved(*attempt, 10.0),
            TimerFired(*attempt),
            Unserved(*attempt, 10.0),
            TimerFired(*attempt),
        )
        told = {1: ErrorInfo("Unserved", "at first"), 3: ErrorInfo("Unserved", "at last\x00")}
        journal = [replace(entry, error=told.get(place)) for place, entry in enumerate(change.journal, 1)]
        await save(store, replace(change, journal=journal))
        asked = Attempt(waits.saga_id, *attempt)
        (deferral,) = await store.deferrals(
            [
                asked,
                Attempt(other.saga_id, *attempt),
                replace(asked, attempt=2),
                replace(asked, round=2),
                replace(asked, operation=COMPENSATION),
                replace(asked, step="reserve"),
            ]
        )
        entries = await store.journal(waits.saga_id)
        assert (deferral.attempt, deferral.since) == (asked, entries[1].at)
        assert deferral.error == told[3]
        assert not await store.deferrals([])

    async def test_sagas_are_listed_of_which_nothing_was_written_for_a_while(self, store: SagaStore) -> None:
        records = [await started(store) for _ in range(2)]
        running = frozenset({SagaStatus.RUNNING})
        for statuses in (frozenset[SagaStatus](), running):
            idle = [len(await store.list(SagaFilter(statuses=statuses, idle_seconds=s), 10)) for s in (0.0, 3600.0)]
            assert idle == [2, 0]

        async def idle_longer_than_the_other() -> list[UUID]:
            return [one.saga_id for one in await store.list(SagaFilter(idle_seconds=0.2), 10)]

        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(await idle_longer_than_the_other()) < 2:  # noqa: ASYNC110  # what is waited for is time
                await asyncio.sleep(PAUSE_SECONDS)
        await save(store, happens(records[1], NOT_YET))
        assert await idle_longer_than_the_other() == [records[0].saga_id]

    async def test_the_latest_error_of_each_operation_is_told(self, store: SagaStore) -> None:
        record, well = await started(store, LONG), await started(store, LONG)
        errors = [ErrorInfo("BankDown", f"call {number} \x00 ✓", "Traceback") for number in range(5)]
        told: Sequence[tuple[Event, ErrorInfo | None]] = [
            (Failed("place", ACTION, 1, 1, 1.0), errors[0]),
            (Failed("place", ACTION, 1, 2, 1.0), errors[1]),
            (TimerFired("place", ACTION, 1, 2), None),
            (Failed("place", COMPENSATION, 1, 1, 1.0), errors[2]),
            (Failed("reserve", ACTION, 1, 1, 1.0), errors[3]),
            (DeadlinePassed(), errors[4]),
        ]
        entries = [
            replace(ENTRY, saga_id=record.saga_id, seq=seq, event=event, error=error)
            for seq, (event, error) in enumerate(told, 2)
        ]
        change = happens(record, NOT_YET)
        await save(store, replace(change, journal=entries, record=replace(change.record, version=1 + len(entries))))
        assert list(await store.latest_errors([record.saga_id, well.saga_id, uuid4()])) == [
            LatestError(record.saga_id, "place", ACTION, errors[1]),
            LatestError(record.saga_id, "place", COMPENSATION, errors[2]),
            LatestError(record.saga_id, "reserve", ACTION, errors[3]),
        ]
        assert list(await store.latest_errors([])) == []

    async def test_what_does_not_exist_is_not_found(self, store: SagaStore) -> None:
        nowhere = uuid4()
        assert list(await store.find([nowhere])) == []
        assert list(await store.find([])) == []
        assert list(await store.journal(nowhere)) == []
        assert await payloads(store, nowhere) == []
        assert list(await store.list(SagaFilter(), 10)) == []
        assert list(await store.list_put_aside(10)) == []

    # Messages that could not be dealt with.

    async def test_announcements_are_kept_as_they_are(self, store: SagaStore) -> None:
        assert list(await store.announcements()) == []
        async with store.transaction() as tx:
            before = tx.now
        await store.keep_announcements([STOCK, PAYMENTS], 60.0)
        kept = await store.announcements()
        assert [one.announcement for one in kept] == [PAYMENTS, STOCK]
        assert all(one.is_live for one in kept)
        async with store.transaction() as tx:
            after = tx.now
        assert all(before <= one.heard_at <= after for one in kept)

    async def test_an_announcement_that_is_heard_again_is_kept_once(self, store: SagaStore) -> None:
        await store.keep_announcements([STOCK, STOCK], 60.0)
        (first,) = await store.announcements()
        bare = msgspec.structs.replace(STOCK, steps=())
        await store.keep_announcements([bare], 60.0)
        (again,) = await store.announcements()
        assert again.announcement == bare
        assert again.heard_at > first.heard_at

    async def test_each_host_and_each_hash_is_kept_and_the_latest_comes_first(self, store: SagaStore) -> None:
        of_hosts = [
            msgspec.structs.replace(STOCK, host=host, hash=digit * 64)
            for host, digit in [("b", "1"), ("a", "1"), ("a", "2")]
        ]
        for one in of_hosts:
            await store.keep_announcements([one], 60.0)
        assert [kept.announcement for kept in await store.announcements()] == of_hosts[::-1]

    async def test_who_is_silent_does_not_count_as_live(self, store: SagaStore) -> None:
        await store.keep_announcements([STOCK], 60.0)
        await store.keep_announcements([PAYMENTS], PAUSE_SECONDS)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while all(kept.is_live for kept in await store.announcements()):  # noqa: ASYNC110  # by the store's clock
                await asyncio.sleep(PAUSE_SECONDS)
        assert [kept.is_live for kept in await store.announcements()] == [False, True]

    async def test_nothing_to_keep_is_kept(self, store: SagaStore) -> None:
        await store.keep_announcements([], 60.0)
        assert list(await store.announcements()) == []

    # What is kept no longer.

    async def test_only_what_ended_long_enough_ago_in_its_status_is_purged(self, store: SagaStore) -> None:
        completed, abandoned, stuck, running = await ended_and_open(store)
        kept = {SagaStatus.COMPLETED: 0.0, SagaStatus.ABANDONED: FOR_EVER}
        page = await store.purge(kept, None, 10, delete=True)
        assert (page.looked_at, dict(page.expired)) == (4, {"COMPLETED": 1})
        left = await store.find([completed, abandoned, stuck, running])
        assert [record.saga_id for record in left] == [abandoned, stuck, running]
        assert dict((await store.purge({SagaStatus.ABANDONED: 0.0}, None, 10, delete=True)).expired) == {"ABANDONED": 1}
        assert not (await store.purge({SagaStatus.COMPLETED: FOR_EVER}, None, 10, delete=True)).expired

    async def test_no_open_saga_is_purged_whatever_is_asked_for(self, store: SagaStore) -> None:
        _, _, stuck, running = await ended_and_open(store)
        everything = dict.fromkeys(SagaStatus, 0.0)
        await store.purge(everything, None, 10, delete=True)
        assert [record.saga_id for record in await store.list(SagaFilter(), 10)] == [running, stuck]
        assert len(await store.journal(running)) == 1

    async def test_nothing_is_left_of_a_saga_that_was_purged(self, store: SagaStore) -> None:
        completed, *_ = await ended_and_open(store)
        assert await payloads(store, completed)
        await store.purge({SagaStatus.COMPLETED: 0.0}, None, 10, delete=True)
        assert await payloads(store, completed) == []
        assert list(await store.journal(completed)) == []
        assert list(await store.list(SagaFilter(key="key of the completed"), 10)) == []
        assert list(await insert(store, happens(new_saga(key="key of the completed"), STARTED))) == []

    async def test_what_would_be_purged_is_counted_without_it(self, store: SagaStore) -> None:
        ids = await ended_and_open(store)
        kept = {SagaStatus.COMPLETED: 0.0, SagaStatus.ABANDONED: 0.0}
        seen = await store.purge(kept, None, 10, delete=False)
        assert dict(seen.expired) == {"COMPLETED": 1, "ABANDONED": 1}
        assert len(await store.find(ids)) == 4
        assert await store.purge(kept, None, 10, delete=True) == seen

    async def test_a_purge_goes_on_page_by_page(self, store: SagaStore) -> None:
        done = [(await started(store)) for _ in range(5)]
        for record in done:
            await save(store, happens(record, DONE))
        pages: list[tuple[int, int]] = []
        after = None
        while not pages or after is not None:
            page = await store.purge({SagaStatus.COMPLETED: 0.0}, after, 2, delete=True)
            pages.append((page.looked_at, page.expired.get("COMPLETED", 0)))
            after = page.last
        assert pages == [(2, 2), (2, 2), (1, 1)]
        assert list(await store.list(SagaFilter(), 10)) == []

    async def test_a_purge_ends_where_nothing_can_have_expired(self, store: SagaStore) -> None:
        for _ in range(3):
            await save(store, happens(await started(store), DONE))
        page = await store.purge({SagaStatus.COMPLETED: FOR_EVER}, None, 2, delete=True)
        assert (page.looked_at, page.last) == (2, None)

    async def test_a_purge_does_not_wait_for_a_saga_that_is_locked(self, store: SagaStore) -> None:
        """A reply may come for it just now. A store whose transactions take turns waits for the other one."""
        records = [await started(store) for _ in range(2)]
        for record in records:
            await save(store, happens(record, DONE))
        async with racing() as tasks, store.transaction() as tx:
            await tx.load([records[0].saga_id])
            purge = tasks.create_task(store.purge({SagaStatus.COMPLETED: 0.0}, None, 10, delete=True))
            await asyncio.wait({purge}, timeout=PAUSE_SECONDS)
            await tx.load([records[0].saga_id])
        left = await store.find([record.saga_id for record in records])
        assert len(left) == 2 - purge.result().expired["COMPLETED"]
        assert records[1].saga_id not in [record.saga_id for record in left]

    async def test_the_payloads_of_a_saga_that_has_ended_are_erased(self, store: SagaStore) -> None:
        completed, abandoned, stuck, running = ids = await ended_and_open(store)
        journal = await store.journal(completed)
        async with store.transaction() as tx:
            await tx.load(ids)
            await tx.erase([running, completed, uuid4(), stuck, abandoned])
        assert {payload.saga_id for payload in await payloads(store, *ids)} == {stuck, running}
        assert await store.journal(completed) == journal
        assert len(await store.find([completed])) == 1

    async def test_what_was_put_aside_of_an_erased_saga_goes_with_it(self, store: SagaStore) -> None:
        completed, _, stuck, _ = ids = await ended_and_open(store)
        for saga_id in ids:
            await store.put_aside([PutAside("replies.shop", "late", f'{{"saga_id": "{saga_id}"}}'.encode())])
        await store.put_aside([PutAside("replies.shop", "no JSON", b"\x00\xff")])
        async with store.transaction() as tx:
            await tx.load(ids)
            await tx.erase([completed, stuck])
        left = [message.body for message in await store.list_put_aside(10)]
        assert len(left) == 4
        assert not [body for body in left if str(completed).encode() in body]

    async def test_an_erasure_that_is_rolled_back_erases_nothing(self, store: SagaStore) -> None:
        completed, *_ = await ended_and_open(store)
        with suppress(Abort):
            async with store.transaction() as tx:
                await tx.load([completed])
                await tx.erase([completed])
                raise Abort
        assert await payloads(store, completed)

    async def test_when_a_saga_ended_is_not_moved_by_what_comes_later(self, store: SagaStore) -> None:
        completed, *_ = await ended_and_open(store)
        (before,) = await store.find([completed])
        await asyncio.sleep(OLD_SECONDS)
        await save(store, happens(before, events.Erased()))
        (after,) = await store.find([completed])
        assert after.version == before.version + 1
        assert after.updated_at == before.updated_at
        page = await store.purge({SagaStatus.COMPLETED: OLD_SECONDS}, None, 10, delete=False)
        assert page.expired == {"COMPLETED": 1}

    async def test_old_messages_that_were_put_aside_are_purged(self, store: SagaStore) -> None:
        await store.put_aside([PutAside("replies.shop", f"reason {number}", b"{}") for number in range(3)])
        assert await store.purge_put_aside(FOR_EVER, 10, delete=True) == 0
        assert await store.purge_put_aside(0.0, 2, delete=False) == 2
        assert await store.purge_put_aside(0.0, 2, delete=True) == 2
        assert [message.reason for message in await store.list_put_aside(10)] == ["reason 2"]
        assert await store.purge_put_aside(0.0, 2, delete=True) == 1

    async def test_messages_that_are_put_aside_are_kept_and_the_latest_are_listed(self, store: SagaStore) -> None:
        messages = [PutAside("replies.shop", f"reason {number}", bytes([0, 255, number])) for number in range(3)]
        await store.put_aside(messages[:2])
        await store.put_aside(messages[2:])
        listed = await store.list_put_aside(2)
        assert [replace(aside, at=None, number=None) for aside in listed] == [messages[2], messages[1]]
        assert all(aside.at is not None and aside.at.utcoffset() == timedelta(0) for aside in listed)

    async def test_any_message_can_be_put_aside(self, store: SagaStore) -> None:
        body = b"\xff" * (PUT_ASIDE_BYTES_MAX + 1)
        await store.put_aside([PutAside("replies.\x00", "it holds \x00 and ✓", body)])
        (aside,) = await store.list_put_aside(10)
        assert (without_nul(aside.source), without_nul(aside.reason)) == ("replies.?", "it holds ? and ✓")
        assert aside.body == body[:PUT_ASIDE_BYTES_MAX]

    async def test_what_was_put_aside_is_forgotten_by_its_number(self, store: SagaStore) -> None:
        await store.put_aside([PutAside("replies.shop", f"reason {number}", b"[]") for number in range(3)])
        latest, middle, first = await store.list_put_aside(10)
        assert latest.number is not None
        assert first.number is not None
        assert await store.remove_put_aside([latest.number, first.number, 4711]) == 2
        assert list(await store.list_put_aside(10)) == [middle]
        assert await store.remove_put_aside([latest.number, first.number]) == 0
        assert await store.remove_put_aside([]) == 0


# ------------------------------------------------------------------------------------------- values


def moment(seconds: float) -> datetime:
    """A time so many seconds from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def new_saga(plan: Plan = SHORT, *, key: str | None = None, coordinator: str = COORDINATOR) -> SagaRecord:
    """A saga that nobody has written yet, later than all before it."""
    saga_id = _later_id()
    return SagaRecord(
        saga_id=saga_id,
        saga=plan.saga,
        key=key or f"key {saga_id.hex[::-1]}",
        coordinator=coordinator,
        plan_hash=plan.hash,
        secret=ids.new_secret(),
        traceparent=ids.new_traceparent(),
        input_digest=saga_id.bytes * 2,
        version=0,
        state=initial(plan),
    )


def _later_id() -> UUID:
    """An id like those of `new_id`, but in order within a millisecond too."""
    in_order = next(_NUMBERS) << 30  # never over the 62 bits that are random otherwise, nor back at their beginning
    return UUID(int=ids.new_id().int & ~(0xFFF << 64) & ~((1 << 62) - 1 ^ (1 << 30) - 1) | in_order)


_NUMBERS: Final = count()


def happens(
    record: SagaRecord,
    *happened: Event,
    timers: Iterable[Timer] = (),
    wake_at: datetime | None = None,
    wake_changed: bool = False,
    resend: bool = False,
    payloads: Sequence[Payload] = (),
) -> Change:
    """The change that these events make, one journal entry for each."""
    state, journal = record.state, []
    for seq, event in enumerate(happened, record.version + 1):
        state, effects = advance(PLANS[record.plan_hash], state, event)
        journal.append(_entry(record, seq, event, state, effects))
    ended = state.ended
    return Change(
        record=replace(
            record,
            version=record.version + len(journal),
            state=state,
            timers=() if ended else tuple(timers),
            wake_at=None if ended else wake_at if wake_changed or not record.version else record.wake_at,
        ),
        expected_version=record.version,
        journal=journal,
        payloads=payloads,
        wake_changed=wake_changed or not record.version,
        resend=resend,
    )


def _entry(record: SagaRecord, seq: int, event: Event, state: SagaState, effects: Sequence[Effect]) -> JournalEntry:
    ignored = next((str(effect.because) for effect in effects if isinstance(effect, Ignored)), None)
    commands = tuple(effect for effect in effects if isinstance(effect, SendCommand))
    return JournalEntry(record.saga_id, seq, event, state.status, commands, ignored, origin="tests@here")


ENTRY: Final = JournalEntry(UUID(int=0), 0, STARTED, SagaStatus.RUNNING, origin="stock@host-1:17")
"""An entry with nothing optional in it."""


def an_input(record: SagaRecord) -> Payload:
    """The input of a saga."""
    return Payload(record.saga_id, INPUT_STEP, PayloadKind.INPUT, 1, b'{"order": "%b"}' % record.saga_id.hex.encode())


def a_result(record: SagaRecord) -> Payload:
    """What the only step of a saga returned."""
    return Payload(record.saga_id, "reserve", PayloadKind.RESULT, 1, b'{"reservation": 1}')


def plain(record: SagaRecord) -> SagaRecord:
    """Without what the store adds."""
    return replace(record, owner=None, started_at=None, updated_at=None)


def without_nul(text: str) -> str:
    """Text whose NULs, or what a store has put in their place, are question marks."""
    return text.replace("\x00", "?").replace("\N{REPLACEMENT CHARACTER}", "?")


def kinds(union: object) -> Iterable[type]:
    """The members of a union of unions."""
    members = get_args(union)
    return [kind for member in members for kind in kinds(member)] if members else [union]  # type: ignore[list-item]


def seeded(seed: int) -> random.Random:
    """Chance that can be repeated."""
    return random.Random(seed)  # noqa: S311  # it chooses what is tried, and protects nothing


def likely_events(state: SagaState, chance: random.Random) -> Sequence[Event]:
    """What may happen next to a saga of the long plan: mostly something that moves it."""
    return [_likely_event(state, chance) for _ in range(chance.choice([1, 1, 2, 3]))]


def _likely_event(state: SagaState, chance: random.Random) -> Event:
    of_all: list[Event] = [DeadlinePassed(), events.CancelRequested(), events.AbandonRequested(), Started()]
    if chance.random() < 0.04:
        return chance.choice(of_all)
    asked = [
        (step.name, operation, op.round, op.attempt)
        for step, both in zip(LONG.steps, state.steps, strict=True)
        for operation in Operation
        if (op := both.op(operation)).attempt
    ]
    if not asked:
        return DeadlinePassed()
    attempt = chance.choice(asked[-3:])
    if chance.random() < 0.65:
        return Succeeded(*attempt)
    of_one: list[Event] = [
        Refused(*attempt),
        Failed(*attempt, 1.5),
        Failed(*attempt, None),
        Unserved(*attempt, 10.0),
        TimerFired(*attempt),
        CommandFailed(*attempt),
        RetryRequested(*attempt[:2]),
        events.SkipRequested(*attempt[:2]),
        events.ReplyGiven(*attempt[:2], succeeded=chance.random() < 0.5),
    ]
    return chance.choice(of_one)


# ------------------------------------------------------------------------------------------ actions


@asynccontextmanager
async def racing() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that run at the same time; all of them have to end in time and without an error."""
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
        yield tasks


async def ended_and_open(store: SagaStore) -> tuple[UUID, UUID, UUID, UUID]:
    """Four sagas with payloads: one completed, one abandoned, one stuck, one running."""
    records = [new_saga(key="key of the completed"), *(new_saga() for _ in range(3))]
    await insert(store, *(happens(record, STARTED, payloads=[an_input(record)]) for record in records))
    first, second, third, fourth = await store.find([record.saga_id for record in records])
    await save(store, happens(first, DONE), happens(second, STUCK), happens(third, STUCK))
    await save(store, happens((await store.find([second.saga_id]))[0], events.AbandonRequested()))
    return first.saga_id, second.saga_id, third.saga_id, fourth.saga_id


async def add_plans(store: SagaStore) -> None:
    """Make the plans of these sagas known."""
    await store.add_plans(list(PLANS.values()))


async def insert(store: SagaStore, *changes: Change, process: UUID = PROCESS) -> Sequence[SagaRecord]:
    """Begin sagas in one transaction; returns those that exist already."""
    await store.add_plans([PLANS[plan_hash] for plan_hash in {change.record.plan_hash for change in changes}])
    async with store.transaction() as tx:
        return await tx.insert(changes, process)


async def started(
    store: SagaStore,
    plan: Plan = SHORT,
    *,
    key: str | None = None,
    coordinator: str = COORDINATOR,
    wake_at: datetime | None = None,
    resend: bool = False,
    process: UUID = PROCESS,
) -> SagaRecord:
    """A saga that has begun."""
    change = happens(new_saga(plan, key=key, coordinator=coordinator), STARTED, wake_at=wake_at, resend=resend)
    assert not await insert(store, change, process=process)
    return change.record


async def save(store: SagaStore, *changes: Change, process: UUID = PROCESS) -> Sequence[Watcher]:
    """Load sagas and change them, in one transaction."""
    async with store.transaction() as tx:
        await tx.load([change.record.saga_id for change in changes])
        return list(await tx.save(changes, process))


async def save_alone(store: SagaStore, saga_id: UUID, event: Event) -> Sequence[Watcher]:
    """Load a saga and have something happen to it, alone."""
    async with store.alone() as tx:
        (loaded,) = await tx.load([saga_id])
        return list(await tx.save([happens(loaded, event)], PROCESS))


async def refusal(store: SagaStore, *changes: Change) -> str | None:
    """Why changes were refused, if they were."""
    try:
        await save(store, *changes)
    except RuntimeError as error:
        return str(error)
    return None


async def refused(store: SagaStore, *changes: Change) -> str:
    """Why changes were refused."""
    why = await refusal(store, *changes)
    assert why is not None, "the changes were not refused"
    return why


async def go_on(store: SagaStore, *saga_ids: UUID) -> None:
    """Load sagas, and let something happen to each."""
    async with store.transaction() as tx:
        records = await tx.load(saga_ids)
        await _let_other_tasks_run()
        await tx.save([happens(record, NOT_YET) for record in records], PROCESS)


async def _let_other_tasks_run() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def resent(store: SagaStore, record: SagaRecord, *, wake_at: datetime | None, process: UUID = PROCESS) -> None:
    """Say that what a saga has in flight was sent again."""
    async with store.transaction() as tx:
        await tx.load([record.saga_id])
        await tx.resent([record.saga_id], [wake_at], process)


async def watch(store: SagaStore, *watchers: Watcher) -> Sequence[SagaRecord]:
    """Watch sagas, in one transaction."""
    async with store.transaction() as tx:
        return await tx.watch(watchers)


async def claimed(
    store: SagaStore, coordinator: str = COORDINATOR, *, limit: int = 10, hold_seconds: float = HOLD_SECONDS
) -> list[UUID]:
    """The ids of sagas that are due, in their order."""
    return [due.saga_id for due in await store.claim_due(coordinator, limit, hold_seconds)]


async def owner(store: SagaStore, record: SagaRecord) -> UUID | None:
    """The process that has what a saga has in flight."""
    (found,) = await store.find([record.saga_id])
    return found.owner


async def sooner_or_later_claimed(store: SagaStore) -> list[UUID]:
    """What is due next."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            due = await claimed(store)
            if due:
                return due
            await asyncio.sleep(PAUSE_SECONDS)


async def payloads(store: SagaStore, *saga_ids: UUID) -> list[Payload]:
    """All payloads of sagas."""
    async with store.transaction() as tx:
        return list(await tx.payloads(saga_ids))


async def summed_up(store: SagaStore, saga_id: UUID) -> tuple[SagaState, int]:
    """The state that the journal of a saga of the long plan leads to, and how many entries it has."""
    state = initial(LONG)
    journal = await store.journal(saga_id)
    for seq, entry in enumerate(journal, 1):
        state, effects = advance(LONG, state, entry.event)
        assert (entry.seq, entry.status) == (seq, state.status)
        assert entry.commands == tuple(effect for effect in effects if isinstance(effect, SendCommand))
    return state, len(journal)
