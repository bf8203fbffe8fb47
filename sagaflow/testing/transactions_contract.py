"""The conformance suite of `Transactions`: what the transactions of a participant have to keep.

    class TestMyTransactions(TransactionsContract[MyConnection]):
        @pytest.fixture
        async def transactions(self): ...            # with an empty database for each test
        async def add_row(self, tx, row): ...        # into a table of your own
        async def rows(self, tx): ...

Run it with pytest and pytest-asyncio (`asyncio_mode = "auto"`). The tests open up to four transactions at a
time. For readable failures, `pytest.register_assert_rewrite("sagaflow.testing")` in a conftest.py.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import permutations, product
from typing import Final, Generic, TypeVar
from uuid import uuid4

from sagaflow.core.plan import Operation
from sagaflow.definitions.limits import PAYLOAD_BYTES_MAX
from sagaflow.definitions.ports import (
    BarrierKey,
    Entered,
    Entry,
    Fenced,
    ParticipantTransaction,
    Recorded,
    Settled,
    Transactions,
    Undo,
)
from sagaflow.definitions.records import PutAside

Tx = TypeVar("Tx")

DONE: Final = b'{"outcome": "done"}'
UNDONE: Final = b'{"outcome": "undone"}'
REFUSED: Final = b'{"outcome": "refused"}'

ORDERS: Final = sorted(set(permutations([*[Operation.ACTION] * 2, *[Operation.COMPENSATION] * 2])))
"""Every order of two deliveries of an action and two of its compensation."""

DEADLINE_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.05
"""How long something is watched that must not happen, however long one looks."""


FOR_EVER: Final = 1e9
"""Seconds; no row of a test is as old."""


class Abort(Exception):
    """Raised by a test inside of a transaction, to have it rolled back."""


class TransactionsContract(ABC, Generic[Tx]):
    """Subclass it, with a fixture `transactions` and the two methods for a business row."""

    @abstractmethod
    async def add_row(self, tx: Tx, row: str) -> None:
        """Write a business row."""

    @abstractmethod
    async def rows(self, tx: Tx) -> Sequence[str]:
        """All business rows that the transaction sees."""

    async def test_check_finds_the_tables(self, transactions: Transactions[Tx]) -> None:
        await transactions.check()

    # Actions.

    async def test_an_action_that_was_never_seen_is_entered(self, transactions: Transactions[Tx]) -> None:
        assert await act(transactions, new_key()) == Entered()

    async def test_a_duplicate_of_an_action_gets_the_recorded_outcome(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key)
        assert [await act(transactions, key) for _ in range(2)] == [Recorded(DONE)] * 2

    async def test_an_action_that_was_rolled_back_left_no_barrier(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        assert await act(transactions, key, abort=True) == Entered()
        assert await act(transactions, key) == Entered()

    async def test_an_action_that_was_cancelled_left_no_barrier(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        entered = asyncio.Event()

        async def never_end() -> None:
            async with transactions.begin() as transaction:
                await enter_action(transaction, key, 1)
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(never_end())
        async with asyncio.timeout(DEADLINE_SECONDS):
            await entered.wait()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert await act(transactions, key) == Entered()

    async def test_a_duplicate_of_an_open_action_waits_for_it(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            asyncio.TaskGroup() as tasks,
            transactions.begin() as transaction,
        ):
            assert await enter_action(transaction, key, 1) == Entered()
            duplicate = tasks.create_task(act(transactions, key))
            await expect_waiting(duplicate)
            await record(transaction, key, Operation.ACTION, DONE, refusal=False)
        assert duplicate.result() == Recorded(DONE)

    async def test_a_duplicate_of_an_open_action_is_entered_if_that_is_rolled_back(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            with suppress(Abort):
                async with transactions.begin() as transaction:
                    await enter_action(transaction, key, 1)
                    duplicate = tasks.create_task(act(transactions, key))
                    await expect_waiting(duplicate)
                    raise Abort
        assert duplicate.result() == Entered()

    async def test_a_duplicate_that_is_cancelled_while_it_waits_harms_nobody(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with asyncio.timeout(DEADLINE_SECONDS), transactions.begin() as transaction:
            await enter_action(transaction, key, 1)
            duplicate = asyncio.create_task(act(transactions, key))
            await expect_waiting(duplicate)
            duplicate.cancel()
            await asyncio.wait({duplicate})
            await record(transaction, key, Operation.ACTION, DONE, refusal=False)
        assert duplicate.cancelled()
        assert await act(transactions, key) == Recorded(DONE)

    async def test_the_largest_outcome_is_kept_as_it_is(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        outcome = b'{"result":"' + b"x" * PAYLOAD_BYTES_MAX + b'"}'
        async with transactions.begin() as transaction:
            await enter_action(transaction, key, 1)
            await record(transaction, key, Operation.ACTION, outcome, refusal=False)
        assert await act(transactions, key) == Recorded(outcome)

    async def test_what_was_entered_but_not_recorded_is_not_committed(self, transactions: Transactions[Tx]) -> None:
        """Duplicates could not be told anything."""
        key = new_key()
        unrecorded = None
        try:
            async with transactions.begin() as transaction:
                await enter_action(transaction, key, 1)
                await self.add_row(transaction.tx, "lost")
        except RuntimeError as error:
            unrecorded = error
        assert unrecorded is not None
        assert await self._committed_rows(transactions) == []
        assert await act(transactions, key) == Entered()

    async def test_an_outcome_is_recorded_once_and_only_of_what_was_entered(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with transactions.begin() as transaction:
            assert await is_recorded(transaction, key, b"1") is False, "it was not entered"
            await enter_action(transaction, key, 1)
            assert [await is_recorded(transaction, key, outcome) for outcome in (b"2", b"3")] == [True, False]
        assert await act(transactions, key) == Recorded(b"2")

    # Compensations.

    async def test_an_undo_gets_the_outcome_of_its_action(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key)
        assert await undo(transactions, key) == Undo(DONE)

    async def test_a_duplicate_of_an_undo_gets_the_recorded_outcome(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key)
        await undo(transactions, key)
        assert [await undo(transactions, key) for _ in range(2)] == [Recorded(UNDONE)] * 2

    async def test_an_undo_before_its_action_has_nothing_to_undo(self, transactions: Transactions[Tx]) -> None:
        assert await undo(transactions, new_key()) == Undo(None)

    async def test_an_action_after_its_undo_is_fenced_off_for_ever(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await undo(transactions, key)
        assert [await act(transactions, key, round_) for round_ in (1, 1, 2, 9)] == [Fenced()] * 4
        assert await undo(transactions, key) == Recorded(UNDONE)

    async def test_an_undo_that_was_rolled_back_fences_nothing_off(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        assert await undo(transactions, key, abort=True) == Undo(None)
        assert await act(transactions, key) == Entered()

    async def test_an_undo_waits_for_an_open_action_and_sees_its_outcome(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            asyncio.TaskGroup() as tasks,
            transactions.begin() as transaction,
        ):
            assert await enter_action(transaction, key, 1) == Entered()
            undoing = tasks.create_task(undo(transactions, key))
            await expect_waiting(undoing)
            await record(transaction, key, Operation.ACTION, DONE, refusal=False)
        assert undoing.result() == Undo(DONE)

    async def test_an_undo_that_waited_for_an_action_fences_it_off_if_that_is_rolled_back(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            with suppress(Abort):
                async with transactions.begin() as transaction:
                    await enter_action(transaction, key, 1)
                    undoing = tasks.create_task(undo(transactions, key))
                    await expect_waiting(undoing)
                    raise Abort
        assert undoing.result() == Undo(None)
        assert await act(transactions, key) == Fenced()

    async def test_an_action_waits_for_an_open_undo_and_is_fenced_off(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            asyncio.TaskGroup() as tasks,
            transactions.begin() as transaction,
        ):
            assert await enter_compensation(transaction, key, 1) == Undo(None)
            acting = tasks.create_task(act(transactions, key))
            await expect_waiting(acting)
            await record(transaction, key, Operation.COMPENSATION, UNDONE, refusal=False)
        assert acting.result() == Fenced()

    # Refusals and rounds.

    async def test_a_refusal_stays_in_its_round(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key, 2, refuse=True)
        assert [await act(transactions, key, round_) for round_ in (2, 1)] == [Recorded(REFUSED)] * 2

    async def test_a_refusal_is_forgotten_in_a_later_round(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key, 1, refuse=True)
        assert await act(transactions, key, 2, refuse=True) == Entered()
        assert await act(transactions, key, 2) == Recorded(REFUSED)
        assert await act(transactions, key, 3) == Entered()

    async def test_a_later_round_that_is_rolled_back_forgets_no_refusal(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key, 1, refuse=True)
        assert await act(transactions, key, 2, abort=True) == Entered()
        assert await act(transactions, key, 1) == Recorded(REFUSED)

    async def test_a_success_is_never_forgotten(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key, 1, refuse=True)
        await act(transactions, key, 2)
        assert [await act(transactions, key, round_) for round_ in (1, 2, 3, 9)] == [Recorded(DONE)] * 4

    async def test_an_undo_is_told_that_its_action_was_refused(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key, refuse=True)
        assert await undo(transactions, key) == Undo(REFUSED)

    async def test_an_undo_fences_off_the_later_rounds_of_a_refused_action(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        await act(transactions, key, 1, refuse=True)
        await undo(transactions, key)
        assert await act(transactions, key, 2) == Fenced()

    async def test_a_refused_undo_stays_in_its_round_and_is_forgotten_in_a_later_one(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        await act(transactions, key)
        assert await undo(transactions, key, 1, refuse=True) == Undo(DONE)
        assert await undo(transactions, key, 1) == Recorded(REFUSED)
        assert await undo(transactions, key, 2) == Undo(DONE)
        assert [await undo(transactions, key, round_) for round_ in (1, 2, 3)] == [Recorded(UNDONE)] * 3

    async def test_a_refused_undo_of_an_action_that_never_came_fences_it_off(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        await undo(transactions, key, 1, refuse=True)
        assert await act(transactions, key) == Fenced()
        assert await undo(transactions, key, 2) == Undo(None)

    # What belongs together, and what does not.

    async def test_steps_and_sagas_are_independent(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key)
        await undo(transactions, key)
        other_step, other_saga = BarrierKey(key.saga_id, "another"), BarrierKey(uuid4(), key.step)
        assert [await act(transactions, other) for other in (other_step, other_saga)] == [Entered()] * 2
        assert [await undo(transactions, other) for other in (other_step, other_saga)] == [Undo(DONE)] * 2

    async def test_business_rows_and_barrier_commit_together(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        async with transactions.begin() as transaction:
            await enter_action(transaction, key, 1)
            await self.add_row(transaction.tx, "reserved")
            await record(transaction, key, Operation.ACTION, DONE, refusal=False)
        assert await act(transactions, key) == Recorded(DONE)
        assert await self._committed_rows(transactions) == ["reserved"]

    async def test_business_rows_and_barrier_roll_back_together(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        with suppress(Abort):
            async with transactions.begin() as transaction:
                await enter_action(transaction, key, 1)
                await self.add_row(transaction.tx, "reserved")
                assert await self.rows(transaction.tx) == ["reserved"]
                await record(transaction, key, Operation.ACTION, DONE, refusal=False)
                raise Abort
        assert await self._committed_rows(transactions) == []
        assert await act(transactions, key) == Entered()

    async def test_in_every_order_the_effect_is_there_at_most_once_and_not_after_its_undo(
        self, transactions: Transactions[Tx]
    ) -> None:
        """Two deliveries of an action and two of its undo, each committed or lost, one after another."""
        for order in ORDERS:
            for lost in product([False, True], repeat=len(order)):
                key = new_key()
                undone = False
                for operation, is_lost in zip(order, lost, strict=True):
                    await self._deliver(transactions, key, operation, lost=is_lost)
                    undone = undone or (operation is Operation.COMPENSATION and not is_lost)
                    effects = await self._effects(transactions, key)
                    assert effects in ([0, 1] if not undone else [0]), (order, lost, effects)

    async def test_at_the_same_time_the_effect_is_there_at_most_once_and_not_after_its_undo(
        self, transactions: Transactions[Tx]
    ) -> None:
        """The same, all four at once."""
        for order in ORDERS:
            key = new_key()
            async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
                for operation in order:
                    tasks.create_task(self._deliver(transactions, key, operation, lost=False))
            assert await self._effects(transactions, key) == 0, order

    # Many at once.

    async def test_many_actions_are_entered_at_once_and_each_is_met_by_itself(
        self, transactions: Transactions[Tx]
    ) -> None:
        fresh, done, refused, fenced = keys = [new_key() for _ in range(4)]
        await act(transactions, done)
        await act(transactions, refused, refuse=True)
        await undo(transactions, fenced)
        for order in permutations(keys):
            with suppress(Abort):
                async with transactions.begin() as transaction:
                    met = await transaction.enter_actions([Entry(key, 1) for key in order])
                    assert dict(zip(order, met, strict=True)) == {
                        fresh: Entered(),
                        done: Recorded(DONE),
                        refused: Recorded(REFUSED),
                        fenced: Fenced(),
                    }
                    raise Abort

    async def test_many_compensations_are_entered_at_once_and_each_is_met_by_itself(
        self, transactions: Transactions[Tx]
    ) -> None:
        fresh, done, refused, undone = keys = [new_key() for _ in range(4)]
        await act(transactions, done)
        await act(transactions, refused, refuse=True)
        await undo(transactions, undone)
        for order in permutations(keys):
            with suppress(Abort):
                async with transactions.begin() as transaction:
                    met = await transaction.enter_compensations([Entry(key, 1) for key in order])
                    assert dict(zip(order, met, strict=True)) == {
                        fresh: Undo(None),
                        done: Undo(DONE),
                        refused: Undo(REFUSED),
                        undone: Recorded(UNDONE),
                    }
                    raise Abort
        async with transactions.begin() as transaction:
            await transaction.enter_compensations([Entry(fresh, 1), Entry(done, 1)])
            await transaction.record([Settled(key, Operation.COMPENSATION, UNDONE) for key in (done, fresh)])
        assert [await act(transactions, key, 2) for key in (fresh, done)] == [Fenced(), Recorded(DONE)]

    async def test_each_of_many_is_entered_in_its_own_round(self, transactions: Transactions[Tx]) -> None:
        first, second = [new_key() for _ in range(2)]
        for key in (first, second):
            await act(transactions, key, 1, refuse=True)
        async with transactions.begin() as transaction:
            met = await transaction.enter_actions([Entry(first, 1), Entry(second, 2)])
            assert list(met) == [Recorded(REFUSED), Entered()]
            await record(transaction, second, Operation.ACTION, DONE)
        assert await act(transactions, second) == Recorded(DONE)

    async def test_many_outcomes_are_recorded_at_once_each_its_own(self, transactions: Transactions[Tx]) -> None:
        keys = [new_key() for _ in range(50)]
        outcomes = {key: b"%d" % number for number, key in enumerate(keys)}
        async with transactions.begin() as transaction:
            assert list(await transaction.enter_actions([Entry(key, 1) for key in keys])) == [Entered()] * 50
            await transaction.record([Settled(key, Operation.ACTION, outcomes[key]) for key in reversed(keys)])
        assert [await act(transactions, key) for key in keys] == [Recorded(outcomes[key]) for key in keys]

    async def test_of_many_a_refusal_alone_is_forgotten_in_a_later_round(self, transactions: Transactions[Tx]) -> None:
        done, refused = new_key(), new_key()
        async with transactions.begin() as transaction:
            await transaction.enter_actions([Entry(done, 1), Entry(refused, 1)])
            await transaction.record(
                [Settled(refused, Operation.ACTION, REFUSED, refusal=True), Settled(done, Operation.ACTION, DONE)]
            )
        assert [await act(transactions, key, 2) for key in (done, refused)] == [Recorded(DONE), Entered()]

    async def test_what_was_written_since_the_guard_is_taken_back_and_nothing_else(
        self, transactions: Transactions[Tx]
    ) -> None:
        keys = [new_key() for _ in range(4)]
        async with transactions.begin() as transaction:
            await transaction.enter_actions([Entry(key, 1) for key in keys])
            await self.add_row(transaction.tx, "before any")
            for number, taken_back in enumerate([False, True, True, False]):
                await transaction.guard()
                await self.add_row(transaction.tx, f"guarded {number}")
                await self.add_row(transaction.tx, f"guarded {number}, too")
                if taken_back:
                    await transaction.take_back()
                    assert f"guarded {number}" not in await self.rows(transaction.tx)
                await self.add_row(transaction.tx, f"after {number}")
            outcomes = [DONE, REFUSED, REFUSED, DONE]
            await transaction.record(
                [
                    Settled(key, Operation.ACTION, outcome, refusal=outcome is REFUSED)
                    for key, outcome in zip(keys, outcomes, strict=True)
                ]
            )
        assert Counter(await self._committed_rows(transactions)) == Counter(
            ["before any", *(f"after {number}" for number in range(4))]
            + [f"guarded {number}{too}" for number in (0, 3) for too in ("", ", too")]
        )
        assert [await act(transactions, key) for key in keys] == [Recorded(outcome) for outcome in outcomes]
        assert [await act(transactions, key, 2) for key in keys[:2]] == [Recorded(DONE), Entered()]

    async def test_what_was_taken_back_is_gone_with_the_rest_if_all_is_rolled_back(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        with suppress(Abort):
            async with transactions.begin() as transaction:
                assert await enter_action(transaction, key) == Entered()
                await transaction.guard()
                await self.add_row(transaction.tx, "taken back")
                await transaction.take_back()
                await self.add_row(transaction.tx, "written")
                await record(transaction, key, Operation.ACTION, REFUSED, refusal=True)
                raise Abort
        assert await self._committed_rows(transactions) == []
        assert await act(transactions, key) == Entered()

    async def test_of_many_each_needs_an_outcome(self, transactions: Transactions[Tx]) -> None:
        keys = [new_key(), new_key()]
        unrecorded = None
        try:
            async with transactions.begin() as transaction:
                await transaction.enter_actions([Entry(key, 1) for key in keys])
                await record(transaction, keys[0], Operation.ACTION, DONE)
        except RuntimeError as error:
            unrecorded = error
        assert unrecorded is not None
        assert [await act(transactions, key) for key in keys] == [Entered()] * 2

    async def test_the_same_step_is_not_entered_twice_in_one_call(self, transactions: Transactions[Tx]) -> None:
        entries = [Entry(new_key(), 1)] * 2
        for enter in ("enter_actions", "enter_compensations"):
            refused = None
            try:
                async with transactions.begin() as transaction:
                    await getattr(transaction, enter)(entries)
            except ValueError as error:
                refused = error
            assert refused is not None, enter

    async def test_nothing_is_entered_and_nothing_recorded(self, transactions: Transactions[Tx]) -> None:
        async with transactions.begin() as transaction:
            assert list(await transaction.enter_actions([])) == []
            assert list(await transaction.enter_compensations([])) == []
            await transaction.record([])

    async def test_many_that_meet_in_any_order_do_not_deadlock(self, transactions: Transactions[Tx]) -> None:
        """Actions and compensations of the same steps, by four transactions at a time, each in another order. They
        are so many that the statements overlap."""
        keys = [new_key() for _ in range(1_000)]
        orders = [keys, keys[::-1], keys[500:] + keys[:500], keys[::-2] + keys[-2::-2]]
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            for number, order in enumerate(orders):
                operation = Operation.COMPENSATION if number % 2 else Operation.ACTION
                tasks.create_task(deliver_all(transactions, order, operation))
        assert {type(await undo(transactions, key)) for key in keys[::100]} == {Recorded}

    async def test_a_group_has_each_effect_once_whoever_it_meets(self, transactions: Transactions[Tx]) -> None:
        keys = [new_key() for _ in range(20)]
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            for order in (keys, keys[::-1]):
                for operation in Operation:
                    tasks.create_task(deliver_all(transactions, order, operation, self.add_row))
        effects = Counter(await self._committed_rows(transactions))
        for key in keys:
            assert effects[f"do {key.saga_id}"] == effects[f"undo {key.saga_id}"] <= 1

    # Messages that could not be dealt with.

    async def test_messages_that_are_put_aside_are_kept_and_the_latest_are_listed(
        self, transactions: Transactions[Tx]
    ) -> None:
        messages = [PutAside("commands.stock", f"reason {number}", bytes([0, 255, number])) for number in range(3)]
        await transactions.put_aside(messages[:2])
        await transactions.put_aside(messages[2:])
        listed = await transactions.list_put_aside(2)
        assert [(aside.source, aside.reason, aside.body) for aside in listed] == [
            (message.source, message.reason, message.body) for message in (messages[2], messages[1])
        ]
        assert all(aside.at is not None and aside.at.tzinfo is not None for aside in listed)

    # What is kept no longer.

    async def test_only_what_was_quiet_for_long_enough_is_purged(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        await act(transactions, key)
        await undo(transactions, key)
        seen = await transactions.purge(FOR_EVER, [], None, 10, delete=True)
        assert (seen.looked_at, dict(seen.expired)) == (2, {})
        seen = await transactions.purge(0.0, [], None, 10, delete=False)
        assert dict(seen.expired) == {"action": 1, "compensation": 1}
        assert await act(transactions, key) == Recorded(DONE)
        assert await transactions.purge(0.0, [], None, 10, delete=True) == seen
        assert await act(transactions, key) == Entered()

    async def test_the_barrier_of_an_open_saga_is_kept(self, transactions: Transactions[Tx]) -> None:
        open_, ended = new_key(), new_key()
        await act(transactions, open_)
        await act(transactions, ended)
        page = await transactions.purge(0.0, {open_.saga_id}, None, 10, delete=True)
        assert dict(page.expired) == {"action": 1}
        assert await act(transactions, open_) == Recorded(DONE)
        assert await act(transactions, ended) == Entered()

    async def test_a_purge_of_the_barrier_goes_on_page_by_page(self, transactions: Transactions[Tx]) -> None:
        for _ in range(5):
            await act(transactions, new_key())
        pages: list[tuple[int, int]] = []
        after = None
        while not pages or after is not None:
            page = await transactions.purge(0.0, [], after, 2, delete=True)
            pages.append((page.looked_at, page.expired.get("action", 0)))
            after = page.last
        assert pages == [(2, 2), (2, 2), (1, 1)]

    async def test_a_saga_is_purged_as_a_whole_wherever_a_page_ends(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        keys = [BarrierKey(key.saga_id, f"step-{number}") for number in range(3)]
        for one in keys:
            await act(transactions, one)
        page = await transactions.purge(0.0, [], None, 2, delete=True)
        assert dict(page.expired) == {"action": 3}

    async def test_old_messages_that_were_put_aside_are_purged(self, transactions: Transactions[Tx]) -> None:
        await transactions.put_aside([PutAside("commands.stock", f"reason {number}", b"{}") for number in range(3)])
        assert await transactions.purge_put_aside(FOR_EVER, 10, delete=True) == 0
        assert await transactions.purge_put_aside(0.0, 2, delete=False) == 2
        assert await transactions.purge_put_aside(0.0, 2, delete=True) == 2
        assert [message.reason for message in await transactions.list_put_aside(10)] == ["reason 2"]

    async def test_nothing_is_put_aside_at_first(self, transactions: Transactions[Tx]) -> None:
        assert list(await transactions.list_put_aside(10)) == []

    async def test_what_was_put_aside_is_forgotten_by_its_number(self, transactions: Transactions[Tx]) -> None:
        await transactions.put_aside([PutAside("replies.shop", f"reason {number}", b"[]") for number in range(3)])
        latest, middle, first = await transactions.list_put_aside(10)
        assert latest.number is not None
        assert first.number is not None
        assert await transactions.remove_put_aside([latest.number, first.number, 4711]) == 2
        assert list(await transactions.list_put_aside(10)) == [middle]
        assert await transactions.remove_put_aside([latest.number, first.number]) == 0
        assert await transactions.remove_put_aside([]) == 0

    async def _deliver(
        self, transactions: Transactions[Tx], key: BarrierKey, operation: Operation, *, lost: bool
    ) -> None:
        """What a worker does with a command; `lost`: it dies before it commits."""
        with suppress(Abort):
            async with transactions.begin() as transaction:
                await self._carry_out(transaction, key, operation)
                if lost:
                    raise Abort

    async def _carry_out(self, transaction: ParticipantTransaction[Tx], key: BarrierKey, operation: Operation) -> None:
        if operation is Operation.ACTION:
            if await enter_action(transaction, key, 1) == Entered():
                await self.add_row(transaction.tx, f"do {key.saga_id}")
                await record(transaction, key, operation, DONE, refusal=False)
            return
        entered = await enter_compensation(transaction, key, 1)
        if isinstance(entered, Undo):
            if entered.action is not None:
                await self.add_row(transaction.tx, f"undo {key.saga_id}")
            await record(transaction, key, operation, UNDONE, refusal=False)

    async def _effects(self, transactions: Transactions[Tx], key: BarrierKey) -> int:
        """How often the effect is there: how often it was done, less how often it was undone."""
        times = Counter(await self._committed_rows(transactions))
        return times[f"do {key.saga_id}"] - times[f"undo {key.saga_id}"]

    async def _committed_rows(self, transactions: Transactions[Tx]) -> Sequence[str]:
        async with transactions.begin() as transaction:
            return await self.rows(transaction.tx)


def new_key() -> BarrierKey:
    """The step of a saga that nobody has seen."""
    return BarrierKey(uuid4(), "reserve")


async def enter_action(
    transaction: ParticipantTransaction[Tx], key: BarrierKey, round_: int = 1
) -> Entered | Recorded | Fenced:
    """Enter one action."""
    (entered,) = await transaction.enter_actions([Entry(key, round_)])
    return entered


async def enter_compensation(
    transaction: ParticipantTransaction[Tx], key: BarrierKey, round_: int = 1
) -> Undo | Recorded:
    """Enter one compensation."""
    (entered,) = await transaction.enter_compensations([Entry(key, round_)])
    return entered


async def record(
    transaction: ParticipantTransaction[Tx], key: BarrierKey, operation: str, outcome: bytes, *, refusal: bool = False
) -> None:
    """Record the outcome of one operation."""
    await transaction.record([Settled(key, Operation(operation), outcome, refusal)])


async def act(
    transactions: Transactions[Tx], key: BarrierKey, round_: int = 1, *, refuse: bool = False, abort: bool = False
) -> Entered | Recorded | Fenced:
    """Deliver an action, which succeeds if it is entered; returns how the barrier met it."""
    with suppress(Abort):
        async with transactions.begin() as transaction:
            entered = await enter_action(transaction, key, round_)
            if isinstance(entered, Entered):
                outcome = REFUSED if refuse else DONE
                await record(transaction, key, Operation.ACTION, outcome, refusal=refuse)
            if abort:
                raise Abort
    return entered


async def undo(
    transactions: Transactions[Tx], key: BarrierKey, round_: int = 1, *, refuse: bool = False, abort: bool = False
) -> Undo | Recorded:
    """Deliver a compensation, which succeeds if it is entered; returns how the barrier met it."""
    with suppress(Abort):
        async with transactions.begin() as transaction:
            entered = await enter_compensation(transaction, key, round_)
            if isinstance(entered, Undo):
                outcome = REFUSED if refuse else UNDONE
                await record(transaction, key, Operation.COMPENSATION, outcome, refusal=refuse)
            if abort:
                raise Abort
    return entered


async def deliver_all(
    transactions: Transactions[Tx],
    keys: Sequence[BarrierKey],
    operation: Operation,
    add_row: Callable[[Tx, str], Awaitable[None]] | None = None,
) -> None:
    """What a worker does with a group of commands."""
    entries = [Entry(key, 1) for key in keys]
    async with transactions.begin() as transaction:
        met: Sequence[object]
        if operation is Operation.ACTION:
            met, word, outcome = await transaction.enter_actions(entries), "do", DONE
        else:
            met, word, outcome = await transaction.enter_compensations(entries), "undo", UNDONE
        entered = [key for key, how in zip(keys, met, strict=True) if isinstance(how, (Entered, Undo))]
        if add_row is not None:
            for key, how in zip(keys, met, strict=True):
                if how in (Entered(), Undo(DONE)):
                    await add_row(transaction.tx, f"{word} {key.saga_id}")
        await transaction.record([Settled(key, operation, outcome) for key in entered])


async def is_recorded(transaction: ParticipantTransaction[Tx], key: BarrierKey, outcome: bytes) -> bool:
    """Record the outcome of an action; returns whether that was allowed."""
    try:
        await record(transaction, key, Operation.ACTION, outcome, refusal=False)
    except RuntimeError:
        return False
    return True


async def expect_waiting(task: asyncio.Task[object]) -> None:
    """The task must wait for the transaction that is open here."""
    done, _ = await asyncio.wait({task}, timeout=LOOK_SECONDS)
    assert not done, f"it did not wait for the open transaction: {task}"
