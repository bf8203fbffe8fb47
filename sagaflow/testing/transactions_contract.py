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
from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations, product
from typing import Final, Generic, TypeVar
from uuid import uuid4

from sagaflow.core.plan import Operation
from sagaflow.definitions.limits import PAYLOAD_BYTES_MAX
from sagaflow.definitions.ports import (
    BarrierKey,
    Entered,
    Fenced,
    ParticipantTransaction,
    Recorded,
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
                await transaction.enter_action(key, 1)
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
            assert await transaction.enter_action(key, 1) == Entered()
            duplicate = tasks.create_task(act(transactions, key))
            await expect_waiting(duplicate)
            await transaction.record(key, Operation.ACTION, DONE, refusal=False)
        assert duplicate.result() == Recorded(DONE)

    async def test_a_duplicate_of_an_open_action_is_entered_if_that_is_rolled_back(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            with suppress(Abort):
                async with transactions.begin() as transaction:
                    await transaction.enter_action(key, 1)
                    duplicate = tasks.create_task(act(transactions, key))
                    await expect_waiting(duplicate)
                    raise Abort
        assert duplicate.result() == Entered()

    async def test_a_duplicate_that_is_cancelled_while_it_waits_harms_nobody(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with asyncio.timeout(DEADLINE_SECONDS), transactions.begin() as transaction:
            await transaction.enter_action(key, 1)
            duplicate = asyncio.create_task(act(transactions, key))
            await expect_waiting(duplicate)
            duplicate.cancel()
            await asyncio.wait({duplicate})
            await transaction.record(key, Operation.ACTION, DONE, refusal=False)
        assert duplicate.cancelled()
        assert await act(transactions, key) == Recorded(DONE)

    async def test_the_largest_outcome_is_kept_as_it_is(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        outcome = b'{"result":"' + b"x" * PAYLOAD_BYTES_MAX + b'"}'
        async with transactions.begin() as transaction:
            await transaction.enter_action(key, 1)
            await transaction.record(key, Operation.ACTION, outcome, refusal=False)
        assert await act(transactions, key) == Recorded(outcome)

    async def test_what_was_entered_but_not_recorded_is_not_committed(self, transactions: Transactions[Tx]) -> None:
        """Duplicates could not be told anything."""
        key = new_key()
        unrecorded = None
        try:
            async with transactions.begin() as transaction:
                await transaction.enter_action(key, 1)
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
            await transaction.enter_action(key, 1)
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
            assert await transaction.enter_action(key, 1) == Entered()
            undoing = tasks.create_task(undo(transactions, key))
            await expect_waiting(undoing)
            await transaction.record(key, Operation.ACTION, DONE, refusal=False)
        assert undoing.result() == Undo(DONE)

    async def test_an_undo_that_waited_for_an_action_fences_it_off_if_that_is_rolled_back(
        self, transactions: Transactions[Tx]
    ) -> None:
        key = new_key()
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            with suppress(Abort):
                async with transactions.begin() as transaction:
                    await transaction.enter_action(key, 1)
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
            assert await transaction.enter_compensation(key, 1) == Undo(None)
            acting = tasks.create_task(act(transactions, key))
            await expect_waiting(acting)
            await transaction.record(key, Operation.COMPENSATION, UNDONE, refusal=False)
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
            await transaction.enter_action(key, 1)
            await self.add_row(transaction.tx, "reserved")
            await transaction.record(key, Operation.ACTION, DONE, refusal=False)
        assert await act(transactions, key) == Recorded(DONE)
        assert await self._committed_rows(transactions) == ["reserved"]

    async def test_business_rows_and_barrier_roll_back_together(self, transactions: Transactions[Tx]) -> None:
        key = new_key()
        with suppress(Abort):
            async with transactions.begin() as transaction:
                await transaction.enter_action(key, 1)
                await self.add_row(transaction.tx, "reserved")
                assert await self.rows(transaction.tx) == ["reserved"]
                await transaction.record(key, Operation.ACTION, DONE, refusal=False)
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

    async def test_nothing_is_put_aside_at_first(self, transactions: Transactions[Tx]) -> None:
        assert list(await transactions.list_put_aside(10)) == []

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
            if await transaction.enter_action(key, 1) == Entered():
                await self.add_row(transaction.tx, f"do {key.saga_id}")
                await transaction.record(key, operation, DONE, refusal=False)
            return
        entered = await transaction.enter_compensation(key, 1)
        if isinstance(entered, Undo):
            if entered.action is not None:
                await self.add_row(transaction.tx, f"undo {key.saga_id}")
            await transaction.record(key, operation, UNDONE, refusal=False)

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


async def act(
    transactions: Transactions[Tx], key: BarrierKey, round_: int = 1, *, refuse: bool = False, abort: bool = False
) -> Entered | Recorded | Fenced:
    """Deliver an action, which succeeds if it is entered; returns how the barrier met it."""
    with suppress(Abort):
        async with transactions.begin() as transaction:
            entered = await transaction.enter_action(key, round_)
            if isinstance(entered, Entered):
                outcome = REFUSED if refuse else DONE
                await transaction.record(key, Operation.ACTION, outcome, refusal=refuse)
            if abort:
                raise Abort
    return entered


async def undo(
    transactions: Transactions[Tx], key: BarrierKey, round_: int = 1, *, refuse: bool = False, abort: bool = False
) -> Undo | Recorded:
    """Deliver a compensation, which succeeds if it is entered; returns how the barrier met it."""
    with suppress(Abort):
        async with transactions.begin() as transaction:
            entered = await transaction.enter_compensation(key, round_)
            if isinstance(entered, Undo):
                outcome = REFUSED if refuse else UNDONE
                await transaction.record(key, Operation.COMPENSATION, outcome, refusal=refuse)
            if abort:
                raise Abort
    return entered


async def is_recorded(transaction: ParticipantTransaction[Tx], key: BarrierKey, outcome: bytes) -> bool:
    """Record the outcome of an action; returns whether that was allowed."""
    try:
        await transaction.record(key, Operation.ACTION, outcome, refusal=False)
    except RuntimeError:
        return False
    return True


async def expect_waiting(task: asyncio.Task[object]) -> None:
    """The task must wait for the transaction that is open here."""
    done, _ = await asyncio.wait({task}, timeout=LOOK_SECONDS)
    assert not done, f"it did not wait for the open transaction: {task}"
