"""Commands that have arrived together share a transaction, and no fate."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from sagaflow import Operation, StepRejected, serve
from sagaflow.definitions.messages import Command, Reader, Reply, ReplyOutcome, write
from sagaflow.definitions.ports import Address, Delivery, Letter, ParticipantTransaction, QueueKind, Transactions
from sagaflow.runners import groups
from sagaflow.runners.allowance import Allowance
from sagaflow.runners.barrier import Barrier, Order
from sagaflow.runners.groups import Groups
from sagaflow.runners.pace import ALONE_MIN, GUARDED, QUICK_SECONDS, Pace
from sagaflow.runners.receipts import Receipts
from tests.runners.ledger import DEADLY, Ledger, effects, prepare
from tests.runners.world import DEADLINE_SECONDS, World, until
from tests.servers import Server

DONE, REFUSED, FAILED = ReplyOutcome.SUCCEEDED, ReplyOutcome.REFUSED, ReplyOutcome.FAILED


class Counting:
    """Passes everything on to transactions, and counts those that are committed."""

    def __init__(self, transactions: Any) -> None:
        self._transactions = transactions
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transactions, name)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[ParticipantTransaction[Any]]:
        async with self._transactions.begin() as transaction:
            yield transaction
        self.commits += 1


@dataclass
class Desk:
    """Sends commands to the ledger, as a coordinator would, and takes the replies."""

    transport: Any
    replies: dict[tuple[UUID, Operation], list[Reply]] = field(default_factory=dict)
    _acks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        await self.transport.subscribe(Address(QueueKind.REPLIES, "desk"), self._take, prefetch=100)

    async def send(self, commands: Sequence[Command]) -> None:
        """Send all in one body for each queue."""
        await self.transport.publish([Letter(_address(command), write(command)) for command in commands])

    async def answers(self, commands: Sequence[Command], times: int = 1) -> Sequence[Reply]:
        """The latest reply to each, once it was answered so often."""

        async def answered() -> bool:
            return all(len(self.replies.get(_key(command), ())) >= times for command in commands)

        await until(answered)
        return [self.replies[_key(command)][-1] for command in commands]

    async def ask(self, commands: Sequence[Command]) -> Sequence[ReplyOutcome]:
        """Send them and wait."""
        await self.send(commands)
        return [reply.outcome for reply in await self.answers(commands)]

    def _take(self, delivery: Delivery) -> None:
        reader: Reader[Reply] = Reader(Reply)
        for reply in reader.read(delivery.body):
            assert isinstance(reply, Reply)
            self.replies.setdefault((reply.saga_id, reply.operation), []).append(reply)
        ack = asyncio.create_task(delivery.ack())
        self._acks.add(ack)
        ack.add_done_callback(self._acks.discard)


def _key(command: Command) -> tuple[UUID, Operation]:
    return command.saga_id, command.operation


def _address(command: Command) -> Address:
    is_action = command.operation is Operation.ACTION
    return Address(QueueKind.COMMANDS if is_action else QueueKind.COMPENSATIONS, "ledger")


def book(word: str, **others: Any) -> Command:
    """A command to book a word."""
    settings: dict[str, Any] = {
        "saga_id": uuid4(),
        "saga": "tale",
        "step": "ledger.book",
        "handler": "book",
        "operation": Operation.ACTION,
        "round": 1,
        "attempt": 1,
        "token": "t",
        "reply_to": "desk",
        "budget_seconds": 30.0,
        "traceparent": "",
        "payload": msgspec.Raw(msgspec.json.encode(word)),
    }
    return Command(**settings | others)


def undo_of(command: Command) -> Command:
    return msgspec.structs.replace(command, operation=Operation.COMPENSATION)


def words(count: int) -> list[Command]:
    return [book(f"word {number}") for number in range(count)]


@dataclass
class Office:
    """A ledger that is served, a desk, and what was committed."""

    ledger: Ledger
    desk: Desk
    transactions: Counting

    async def effects(self) -> dict[str, int]:
        found = await effects(self.transactions._transactions)
        return {word: times for word, times in found.items() if "warm" not in word}

    async def warm_up(self) -> None:
        """What was never seen is carried out alone; the first calls take longer than those that follow."""
        for number in range(10):
            warm = book(f"warm {number}")
            for command in (warm, undo_of(warm)):
                assert await self.desk.ask([command]) == [DONE]
        self.transactions.commits = 0


@pytest.fixture
async def office(world: World, monkeypatch: pytest.MonkeyPatch) -> Office:
    """However slow this machine is just now, all that arrives together becomes one group."""
    monkeypatch.setattr(groups, "GROUP_SECONDS_EXPECTED", DEADLINE_SECONDS)
    transactions = Counting(await world.transactions())
    await prepare(transactions._transactions)
    ledger = Ledger()
    desk = Desk(await world.stack.enter_async_context(world.make_transport()))
    await desk.open()
    await world.stack.enter_async_context(
        serve(ledger.participant(), transport=world.make_transport(), transactions=transactions)
    )
    office = Office(ledger, desk, transactions)
    await office.warm_up()
    return office


def fail_with(error: BaseException) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


async def test_a_group_is_committed_once(office: Office) -> None:
    commands = words(50)
    assert await office.desk.ask(commands) == [DONE] * 50
    assert office.transactions.commits == 1
    assert await office.desk.ask([undo_of(command) for command in commands]) == [DONE] * 50
    assert office.transactions.commits == 2
    assert set((await office.effects()).values()) == {1}
    assert len(await office.effects()) == 100


async def test_each_in_a_group_is_told_its_own_result(office: Office) -> None:
    commands = words(20)
    await office.desk.send(commands)
    results = [msgspec.json.decode(reply.result) for reply in await office.desk.answers(commands)]
    assert results == [f"word {number}" for number in range(20)]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StepRejected("no"), REFUSED),
        (ValueError("a bug"), FAILED),
        (asyncio.CancelledError(), FAILED),
        (TimeoutError(), FAILED),
    ],
    ids=["refused", "failed", "cancelled", "timeout"],
)
async def test_one_that_does_not_succeed_harms_no_other(
    office: Office, error: BaseException, outcome: ReplyOutcome
) -> None:
    office.ledger.behaviour["word 7"] = fail_with(error)
    commands = words(15)
    assert await office.desk.ask(commands) == [*[DONE] * 7, outcome, *[DONE] * 7]
    assert office.ledger.calls["word 7"] == 2, "once in the group, once alone"
    assert await office.effects() == {f"word {number}": 1 for number in range(15) if number != 7}
    assert all(len(replies) == 1 for replies in office.desk.replies.values())


async def test_refusals_of_a_step_that_is_known_to_refuse_are_settled_with_the_group(office: Office) -> None:
    """What each had written before it refused is taken back, and nothing else."""
    office.ledger.behaviour["warm no"] = fail_with(StepRejected("no"))
    assert await office.desk.ask([book("warm no")]) == [REFUSED]
    commands = words(20)
    for number in (0, 7, 8, 19):
        office.ledger.behaviour[f"word {number}"] = fail_with(StepRejected("no"))
    office.transactions.commits = 0
    expected = [REFUSED if number in (0, 7, 8, 19) else DONE for number in range(20)]
    assert await office.desk.ask(commands) == expected
    assert office.transactions.commits == 1
    assert {office.ledger.calls[f"word {number}"] for number in range(20)} == {1}
    assert await office.effects() == {f"word {number}": 1 for number in range(20) if number not in (0, 7, 8, 19)}
    await office.desk.send(commands)
    again = await office.desk.answers(commands, times=2)
    assert [reply.outcome for reply in again] == expected, "a refusal is told to duplicates too"
    assert await office.desk.ask([undo_of(command) for command in commands]) == [DONE] * 20
    assert sum(word.startswith("unword") for word in await office.effects()) == 16, "what was refused is not undone"


async def test_one_that_fails_in_a_group_with_refusals_harms_no_other(office: Office) -> None:
    office.ledger.behaviour["warm no"] = office.ledger.behaviour["word 3"] = fail_with(StepRejected("no"))
    office.ledger.behaviour["word 7"] = fail_with(ValueError("a bug"))
    assert await office.desk.ask([book("warm no")]) == [REFUSED]
    assert await office.desk.ask(words(9)) == [*[DONE] * 3, REFUSED, *[DONE] * 3, FAILED, DONE]
    assert await office.effects() == {f"word {number}": 1 for number in range(9) if number not in (3, 7)}


async def test_what_is_not_given_the_transaction_refuses_without_a_rollback(office: Office) -> None:
    office.ledger.behaviour["no"] = fail_with(StepRejected("no"))
    office.transactions.commits = 0
    looks = [book("no", step="ledger.look", handler="look") for _ in range(20)]
    for command in looks[:2]:
        assert await office.desk.ask([command]) == [REFUSED]
    assert office.transactions.commits == 2
    assert await office.desk.ask(looks[2:]) == [REFUSED] * 18
    assert office.transactions.commits == 3
    assert office.ledger.calls["no"] == 20


@pytest.mark.parametrize("world", ["distributed"], indirect=True)
@pytest.mark.parametrize("refuses", [False, True], ids=["unguarded", "guarded"])
async def test_one_that_breaks_the_transaction_harms_no_other_whether_guarded_or_not(
    office: Office, refuses: bool
) -> None:
    """It goes on after a statement of it has failed; then all statements that follow fail too."""

    async def go_on(tx: Any) -> None:
        with suppress(asyncpg.UndefinedTableError):
            await tx.execute("INSERT INTO nothing VALUES (1)")

    async def refuse(tx: Any) -> None:
        await go_on(tx)
        raise StepRejected("no")

    if refuses:
        office.ledger.breaking["warm no"] = refuse
        assert await office.desk.ask([book("warm no")]) == [REFUSED]
    office.ledger.breaking["word 4"] = office.ledger.breaking["word 8"] = go_on
    office.ledger.breaking["word 5"] = refuse
    outcomes = await office.desk.ask(words(9))
    assert outcomes == [*[DONE] * 4, FAILED, REFUSED, *[DONE] * 2, FAILED]
    assert await office.effects() == {f"word {number}": 1 for number in range(9) if number not in (4, 5, 8)}


@pytest.mark.parametrize("world", ["distributed"], indirect=True)
async def test_one_that_breaks_the_transaction_harms_no_other(office: Office) -> None:
    """It goes on after a statement of it has failed; then all statements that follow fail too."""

    async def go_on(tx: Any) -> None:
        with suppress(asyncpg.UndefinedTableError):
            await tx.execute("INSERT INTO nothing VALUES (1)")

    office.ledger.breaking["word 4"] = office.ledger.breaking["word 8"] = go_on
    outcomes = await office.desk.ask(words(9))
    assert outcomes == [*[DONE] * 4, FAILED, *[DONE] * 3, FAILED]
    assert await office.effects() == {f"word {number}": 1 for number in range(9) if number not in (4, 8)}


async def test_what_is_stale_fenced_unreadable_or_done_before_is_answered_as_ever(office: Office) -> None:
    done, fenced, refused = book("done"), book("fenced"), book("refused")
    office.ledger.behaviour["refused"] = fail_with(StepRejected("no"))
    assert await office.desk.ask([done]) == [DONE]
    assert await office.desk.ask([undo_of(fenced)]) == [DONE]
    stale = book("stale", budget_seconds=0.0)
    unreadable = book("", payload=msgspec.Raw(b"7"))
    strangers = [done, stale, fenced, unreadable, book("again")]
    group = [command for pair in zip(words(5), strangers, strict=True) for command in pair]
    await office.desk.send(group)
    await office.desk.answers([done], times=2)
    replies = await office.desk.answers(group)
    assert [reply.outcome for reply in replies[1::2]] == [DONE, FAILED, ReplyOutcome.FENCED, REFUSED, DONE]
    assert [reply.outcome for reply in replies[::2]] == [DONE] * 5
    assert replies[3].error is not None
    assert replies[3].error.type == "Stale"
    expected = [*(f"word {number}" for number in range(5)), "done", "again"]
    assert await office.effects() == dict.fromkeys(expected, 1)
    assert await office.desk.ask([refused]) == [REFUSED]


async def test_the_same_command_twice_in_one_group_has_one_effect_and_two_equal_replies(office: Office) -> None:
    twice = book("twice")
    commands = [*words(5), twice, twice, twice]
    await office.desk.send(commands)
    await office.desk.answers([twice], times=3)
    await office.desk.answers(commands)
    assert [reply.outcome for reply in office.desk.replies[_key(twice)]] == [DONE] * 3
    assert (await office.effects())["twice"] == office.ledger.calls["twice"] == 1


async def test_actions_and_their_compensations_that_arrive_together_leave_nothing(office: Office) -> None:
    commands = words(40)
    undos = [undo_of(command) for command in reversed(commands)]
    await asyncio.gather(office.desk.send(commands), office.desk.send(undos))
    outcomes = {reply.outcome for reply in await office.desk.answers(commands)}
    assert outcomes <= {DONE, ReplyOutcome.FENCED}
    assert {reply.outcome for reply in await office.desk.answers(undos)} == {DONE}
    found = await office.effects()
    for number in range(40):
        assert found.get(f"word {number}", 0) == found.get(f"unword {number}", 0) <= 1


async def test_a_command_that_comes_alone_and_is_refused_is_tried_once(office: Office) -> None:
    office.ledger.behaviour["word"] = fail_with(StepRejected("no"))
    assert await office.desk.ask([book("word")]) == [REFUSED]
    assert office.ledger.calls["word"] == 1


@pytest.mark.parametrize("world", ["distributed"], indirect=True)
async def test_slow_handlers_are_not_grouped_and_run_side_by_side(office: Office) -> None:
    async def be_slow() -> None:
        await asyncio.sleep(5 * QUICK_SECONDS)

    for number in range(15):  # the measure rises slowly
        office.ledger.behaviour[f"slow {number}"] = be_slow
        assert await office.desk.ask([book(f"slow {number}")]) == [DONE]
    running, all_run = 0, asyncio.Event()

    async def meet() -> None:
        nonlocal running
        running += 1
        if running == 4:
            all_run.set()
        await all_run.wait()

    for number in range(4):
        office.ledger.behaviour[f"word {number}"] = meet
    assert await office.desk.ask(words(4)) == [DONE] * 4
    assert running == 4, "none was in a group, which would have been given up and begun again"


@pytest.mark.parametrize("world", ["distributed"], indirect=True)
async def test_one_that_hangs_does_not_hold_the_others_of_its_group_up(office: Office) -> None:
    gate = asyncio.Event()

    async def hang() -> None:
        await gate.wait()

    office.ledger.behaviour["word 2"] = hang
    commands = words(5)
    await office.desk.send(commands)
    others = [command for number, command in enumerate(commands) if number != 2]
    assert {reply.outcome for reply in await office.desk.answers(others)} == {DONE}
    assert _key(commands[2]) not in office.desk.replies
    gate.set()
    assert {reply.outcome for reply in await office.desk.answers(commands)} == {DONE}
    assert await office.effects() == {f"word {number}": 1 for number in range(5)}


async def test_groups_that_overlap_in_opposite_order_do_not_deadlock(world: World) -> None:
    one, other = [await world.transactions() for _ in range(2)]
    await prepare(one)
    step = Ledger().participant().steps["book"]
    for _ in range(10):
        orders = [Order(step, command, Allowance.of(command)) for command in words(40)]
        done = await asyncio.wait_for(
            asyncio.gather(Barrier(one).carry_out_together(orders), Barrier(other).carry_out_together(orders[::-1])),
            DEADLINE_SECONDS,
        )
        assert {verdict.outcome for verdicts in done for verdict in verdicts} == {DONE}
    assert await effects(one) == {f"word {number}": 10 for number in range(40)}


@pytest.mark.parametrize("world", ["distributed"], indirect=True)
async def test_a_worker_that_is_killed_inside_a_group_leaves_nothing_and_all_is_done_once_afterwards(
    world: World, database_url: str, rabbitmq: Server, broker_namespace: str, tmp_path: Path
) -> None:
    transactions: Transactions[Any] = await world.transactions()
    await prepare(transactions)
    desk = Desk(await world.stack.enter_async_context(world.make_transport()))
    await desk.open()
    file = tmp_path / "died"
    arguments = [sys.executable, "-m", "tests.runners.ledger", database_url, rabbitmq.url, broker_namespace, str(file)]
    child = await asyncio.create_subprocess_exec(*arguments)
    try:
        for _ in range(10):
            assert await desk.ask([book("warm")]) == [DONE]
        commands = [*words(2), book(DEADLY), *(book(f"later {number}") for number in range(18))]
        await desk.send(commands)
        await asyncio.wait_for(child.wait(), DEADLINE_SECONDS)
        assert await effects(transactions) == {"warm": 10}, "what was done before in the group is gone with it"
        child = await asyncio.create_subprocess_exec(*arguments)
        assert {reply.outcome for reply in await desk.answers(commands)} == {DONE}
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    found = await effects(transactions)
    assert found.pop("warm") == 10
    assert len(found) == len(commands)
    assert set(found.values()) == {1}


@dataclass
class Came:
    """A delivery."""

    again: bool
    body: bytes = b"[]"

    async def ack(self) -> None: ...


def test_what_may_have_killed_is_not_grouped_and_neither_is_what_has_little_time_left() -> None:
    async def look() -> None:
        barrier: Any = Barrier(Counting(None))
        grouping = Groups("commands", barrier, asyncio.Semaphore(1), alone=_never, answer=_never)
        order = order_of(book("word"))
        first, again = (Receipts().open(Came(again), 1) for again in (False, True))
        assert not grouping.admits(order, first), "it was never seen"
        barrier.pace_of(order).succeeded(0.0)
        assert grouping.admits(order, first)
        assert not grouping.admits(order, again)
        assert not grouping.admits(order_of(book("word", budget_seconds=0.5)), first)
        assert not grouping.admits(order_of(undo_of(book("word"))), first), "that is another handler"

    asyncio.run(look())


def order_of(command: Command) -> Order:
    return Order(Ledger().participant().steps["book"], command, Allowance.of(command))


def _never(*_: Any) -> Any:
    raise AssertionError("it was only asked")


def times_until_quick(pace: Pace, seconds: float = 0.0) -> int:
    """How many times it has to succeed in so much time until it is quick."""
    for times in range(1_000):
        if pace.is_quick:
            return times
        pace.succeeded(seconds)
    raise AssertionError("it never is")


def test_what_was_never_seen_or_has_failed_has_to_succeed_alone_and_oftener_each_time() -> None:
    pace = Pace()
    assert times_until_quick(pace) == 1
    for times in (ALONE_MIN, 2 * ALONE_MIN, 4 * ALONE_MIN):
        pace.failed()
        assert times_until_quick(pace) == times


def test_a_refusal_is_prepared_for_until_it_has_not_come_for_long() -> None:
    pace = Pace()
    for _ in range(2):
        pace.refused()
        pace.succeeded(0.0)
        assert pace.is_quick, "it is no failure"
        told = []
        for _ in range(GUARDED + 1):
            told.append(pace.refuses)
            pace.succeeded(0.0)
        assert told == [*[True] * GUARDED, False]


def test_with_each_success_in_a_group_a_failure_is_forgiven() -> None:
    pace = Pace()
    pace.failed()
    times_until_quick(pace)
    for _ in range(ALONE_MIN):
        pace.succeeded(0.0)
    pace.failed()
    assert times_until_quick(pace) == ALONE_MIN


def test_what_is_slow_is_believed_to_be_quick_again_sooner_than_the_other_way_round() -> None:
    pace = Pace()
    pace.succeeded(10 * QUICK_SECONDS)
    assert times_until_quick(pace) == 4
    pace.succeeded(2 * QUICK_SECONDS)
    assert times_until_quick(pace) == 0
