"""What a person can do about a saga, and where it makes no sense; for one saga and for many."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest

from sagaflow import (
    Abandon,
    Cancel,
    Cause,
    Coordinator,
    GiveReply,
    NotPossible,
    Operation,
    Operator,
    Participant,
    PayloadError,
    Plan,
    RepairFilter,
    RepairOutcome,
    Replies,
    RetryLater,
    RetryStep,
    Run,
    Saga,
    SagaStatus,
    SkipStep,
    StepKind,
    StepRejected,
    serve,
)
from sagaflow.core.plan import PlannedStep
from sagaflow.core.state import OpStatus
from sagaflow.definitions.limits import PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX
from sagaflow.definitions.ports import Letter, SagaStore, StoreTransaction
from sagaflow.definitions.records import Payload, PayloadKind, SagaRecord
from sagaflow.errors import Locked, SagaNotFound, Unavailable
from sagaflow.runners import operator as operator_module
from sagaflow.runners.commands import StoredPayloads
from sagaflow.runners.repairs import Repair, step_named
from tests.runners.world import (
    DEADLINE_SECONDS,
    SOON,
    World,
    check_journal,
    op_of,
    record_of,
    until,
    until_status,
)

COMPENSATION = Operation.COMPENSATION
STUCK = frozenset({SagaStatus.STUCK})


class BankDown(Exception):
    """What the bank answers when it does not."""


def stay_saga(*, hotel: str = "hotel", pay_seconds: float = 60.0) -> Saga[str]:
    """A room and a table, the payment (pivot), then the welcome. Each step is sent what the one before returned."""
    stay = Saga("stay", str)

    @stay.step(f"{hotel}.book_room", reply=str, attempts=2, compensation_attempts=1)
    def book_room(city: str, replies: Replies) -> str:
        if city == "Nowhere":
            raise LookupError("there is no such city")
        return city

    @stay.step("hotel.book_table", reply=str, after=[], attempts=2, compensation_attempts=1)
    def book_table(city: str, replies: Replies) -> str:
        return city

    @stay.pivot("hotel.pay", reply=str, after=[book_room, book_table], attempts=1, timeout_seconds=pay_seconds)
    def pay(city: str, replies: Replies) -> str:
        return replies[book_room]

    @stay.step("hotel.welcome", attempts=1)
    def welcome(city: str, replies: Replies) -> str:
        return replies[pay]

    return stay


@dataclass
class Hotel:
    """A service that notes what it has done, and in which things can be made to fail."""

    done: list[str] = field(default_factory=list)
    troubles: dict[str, Exception] = field(default_factory=dict)
    """What is raised instead, by what is to be done and for whom: "pay Rome", "cancel book_room Rome"."""

    async def do(self, what: str, command: str) -> str:
        """Do it, or fail."""
        if f"{what} {command}" in self.troubles:
            raise self.troubles[f"{what} {command}"]
        self.done.append(f"{what} {command}")
        return command

    def participant(self, name: str = "hotel") -> Participant[Any]:
        """It serves all steps."""
        hotel: Participant[Any] = Participant(name)
        for step in ("book_room", "book_table", "pay", "welcome"):
            self._add(hotel, step)
        return hotel

    def _add(self, hotel: Participant[Any], name: str) -> None:
        @hotel.step(name, retry=SOON)
        async def action(command: str) -> str:
            return await self.do(name, command)

        if name.startswith("book_"):

            @action.compensation
            async def compensation(command: str) -> None:
                await self.do(f"cancel {name}", command)


class Hotels:
    """A world with a hotel, a coordinator and sagas in whatever trouble the test wants."""

    def __init__(self, world: World, store: SagaStore, sagas: Coordinator, stay: Saga[str], hotel: Hotel) -> None:
        self.world = world
        self.store = store
        self.sagas = sagas
        self.stay = stay
        self.hotel = hotel
        self.anna = sagas.operator("anna")

    @classmethod
    async def open(cls, world: World, **troubles: Any) -> Hotels:
        """Everything runs."""
        hotel, stay = Hotel(), stay_saga(**troubles)
        await world.worker(hotel.participant())
        return cls(world, await world.store(), await world.coordinator(stay), stay, hotel)

    async def start(self, city: str, trouble: str = "", error: Exception | None = None, key: str = "") -> Run[str]:
        """A saga; `trouble` is what fails of it."""
        if error is not None:
            self.hotel.troubles[f"{trouble} {city}"] = error
        return await self.sagas.start(self.stay, city, key=key or city)

    async def stuck(self, city: str, trouble: str, error: Exception, key: str = "") -> Run[str]:
        """A saga that is stuck at it."""
        run = await self.start(city, trouble, error, key)
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
        return run

    async def stuck_undoing(self, city: str) -> Run[str]:
        """A saga whose room cannot be cancelled."""
        self.hotel.troubles[f"pay {city}"] = StepRejected("no money")
        return await self.stuck(city, "cancel book_room", StepRejected("not refundable"))

    async def waiting(self, city: str) -> Run[str]:
        """A saga whose room is to be tried again, much later."""
        run = await self.start(city, "book_room", RetryLater(3600.0))
        await self.until_op(run, "hotel.book_room", OpStatus.WAITING)
        return run

    async def until_op(self, run: Run[str], step: str, *statuses: OpStatus) -> None:
        """Wait until the action of a step stands so."""

        async def reached() -> bool:
            return (await op_of(self.store, run.saga_id, step)).status in statuses

        await until(reached)

    async def ends(self, run: Run[str], status: SagaStatus) -> SagaRecord:
        """Wait until a saga has this status; its journal is sound."""
        record = await until_status(self.store, run.saga_id, status)
        await check_journal(self.store, run.saga_id)
        return record

    async def payloads(self, run: Run[str], kind: PayloadKind, step: str) -> Sequence[tuple[int, Any]]:
        """The rounds and values of what is stored."""
        stored = await self.store.payloads([run.saga_id])
        chosen = [one for one in stored if (one.kind, one.step) == (kind, step)]
        return [(one.round, msgspec.json.decode(one.body)) for one in chosen]

    async def journal_of_anna(self, run: Run[str]) -> Sequence[tuple[str, str | None]]:
        """What she did, and why."""
        journal = await self.store.journal(run.saga_id)
        return [(type(entry.event).__name__, entry.reason) for entry in journal if entry.actor == "anna"]


@pytest.fixture
async def hotels(world: World) -> Hotels:
    return await Hotels.open(world)


# Retry with other input.


async def test_case_30_other_input_completes_a_saga_that_was_refused_behind_its_pivot(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "welcome", StepRejected("who is that?"))
    await hotels.anna.retry(run.saga_id, reason="a typing error", other_input="Roma")
    await hotels.ends(run, SagaStatus.COMPLETED)
    assert hotels.hotel.done[-1] == "welcome Roma"
    assert await hotels.payloads(run, PayloadKind.COMMAND, "hotel.welcome") == [(1, "Rome"), (2, "Roma")]
    assert await hotels.journal_of_anna(run) == [("RetryRequested", "a typing error")]


async def test_other_input_is_sent_in_every_round_from_then_on(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "welcome", StepRejected("who is that?"))
    hotels.hotel.troubles["welcome Roma"] = StepRejected("out for lunch")
    await hotels.anna.retry(run.saga_id, reason="a typing error", other_input="Roma")

    async def refused_again() -> bool:
        op = await op_of(hotels.store, run.saga_id, "hotel.welcome")
        return (op.round, op.status) == (2, OpStatus.STUCK)

    await until(refused_again)
    del hotels.hotel.troubles["welcome Roma"]
    await hotels.anna.retry(run.saga_id, reason="they are back")
    await hotels.ends(run, SagaStatus.COMPLETED)
    assert hotels.hotel.done[-1] == "welcome Roma"


async def test_other_input_may_be_given_to_a_compensation(hotels: Hotels) -> None:
    run = await hotels.stuck_undoing("Rome")
    await hotels.anna.retry(run.saga_id, reason="by the new name", other_input="Roma")
    await hotels.ends(run, SagaStatus.COMPENSATED)
    assert "cancel book_room Roma" in hotels.hotel.done
    assert await hotels.payloads(run, PayloadKind.UNDO, "hotel.book_room") == [(2, "Roma")]
    assert await hotels.payloads(run, PayloadKind.COMMAND, "hotel.book_room") == [(1, "Rome")]


async def test_other_input_is_the_command_that_the_saga_could_not_make(hotels: Hotels) -> None:
    """And its compensation is given the same."""
    hotels.hotel.troubles["pay Rome"] = StepRejected("no money")
    run = await hotels.start("Nowhere")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    await hotels.anna.retry(run.saga_id, reason="it means Rome", other_input="Rome", step="book_room")
    await hotels.ends(run, SagaStatus.COMPENSATED)
    assert await hotels.payloads(run, PayloadKind.COMMAND, "hotel.book_room") == [(1, "Rome")]
    assert "cancel book_room Rome" in hotels.hotel.done


class LosesReplies:
    """Passes everything on to a transport, but loses the replies of one step."""

    def __init__(self, transport: Any, step: str) -> None:
        self._transport = transport
        self._step = f'"step":"{step}"'.encode()
        self.lost = 0

    async def __aenter__(self) -> LosesReplies:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._transport.__aexit__(*exc_info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def publish(self, letters: Sequence[Letter]) -> None:
        kept = [letter for letter in letters if self._step not in letter.message]
        self.lost += len(letters) - len(kept)
        await self._transport.publish(kept)


async def test_case_30_what_had_happened_with_the_first_input_is_recorded_as_such(world: World) -> None:
    """The reply of round 1 was lost, a person gave other input, and the barrier answers round 2."""
    hotel, stay = Hotel(), stay_saga(pay_seconds=1.0)
    store, sagas = await world.store(), await world.coordinator(stay)
    losing = LosesReplies(world.make_transport(), "hotel.pay")
    hotels = Hotels(world, store, sagas, stay, hotel)
    worker = serve(hotel.participant(), transport=losing, transactions=await world.transactions())
    async with worker:
        run = await hotels.start("Rome")
        await hotels.ends(run, SagaStatus.STUCK)
    assert (losing.lost, hotel.done[-1]) == (1, "pay Rome")
    await world.worker(hotel.participant())
    await hotels.anna.retry(run.saga_id, reason="by another card", other_input="Milan")
    await hotels.ends(run, SagaStatus.COMPLETED)
    assert Counter(hotel.done)["pay Rome"] == 1
    assert "pay Milan" not in hotel.done
    assert await hotels.payloads(run, PayloadKind.COMMAND, "hotel.pay") == [(1, "Rome"), (2, "Milan")]
    assert await hotels.payloads(run, PayloadKind.RESULT, "hotel.pay") == [(1, "Rome")]
    (answer,) = [entry for entry in await store.journal(run.saga_id) if _is_answer(entry.event, "hotel.pay")]
    assert getattr(answer.event, "round", None) == 2, "it was round 2 that was answered"


def _is_answer(event: object, step: str) -> bool:
    return type(event).__name__ == "Succeeded" and getattr(event, "step", None) == step


SAGA_ID = UUID(int=1)


def stored(*rounds: tuple[PayloadKind, int, bytes]) -> StoredPayloads:
    return StoredPayloads([Payload(SAGA_ID, "a", kind, round_, body) for kind, round_, body in rounds])


COMMAND, RESULT, UNDO = PayloadKind.COMMAND, PayloadKind.RESULT, PayloadKind.UNDO


@pytest.mark.parametrize(
    ("kept", "action", "compensation"),
    [
        ([(COMMAND, 1, b"1")], b"1", b"1"),
        ([(COMMAND, 1, b"1"), (COMMAND, 2, b"2")], b"2", b"2"),
        ([(COMMAND, 1, b"1"), (COMMAND, 2, b"2"), (RESULT, 1, b"r")], b"2", b"1"),
        ([(COMMAND, 3, b"3"), (COMMAND, 1, b"1"), (RESULT, 2, b"r")], b"3", b"1"),
        ([(COMMAND, 1, b"1"), (COMMAND, 3, b"3"), (RESULT, 3, b"r")], b"3", b"3"),
        ([(COMMAND, 2, b"2"), (RESULT, 1, b"r")], b"2", b"2"),
        ([(COMMAND, 1, b"1"), (RESULT, 1, b"r"), (UNDO, 2, b"u"), (UNDO, 3, b"v")], b"1", b"v"),
        ([], None, None),
    ],
)
def test_what_was_done_with_one_round_s_input_is_undone_with_the_same(
    kept: Sequence[tuple[PayloadKind, int, bytes]], action: bytes | None, compensation: bytes | None
) -> None:
    payloads = stored(*kept)
    assert payloads.command("a", Operation.ACTION) == action
    assert payloads.command("a", COMPENSATION) == compensation


@pytest.mark.parametrize(
    ("other_input", "why"),
    [
        ("x" * PAYLOAD_BYTES_MAX, "over the limit of 262144"),
        (object(), "a object cannot be sent"),
    ],
    ids=["too large", "no JSON"],
)
async def test_other_input_that_cannot_be_sent_is_refused(hotels: Hotels, other_input: object, why: str) -> None:
    run = await hotels.stuck("Rome", "pay", BankDown())
    with pytest.raises(PayloadError, match=why):
        await hotels.anna.retry(run.saga_id, reason="so", other_input=other_input)
    assert await hotels.journal_of_anna(run) == []


async def test_other_input_that_is_too_deep_is_refused(hotels: Hotels) -> None:
    deep: object = 1
    for _ in range(PAYLOAD_DEPTH_MAX + 1):
        deep = [deep]
    with pytest.raises(PayloadError, match="nested more than 63 deep"):
        await hotels.anna.retry(SAGA_ID, reason="so", other_input=deep)


async def test_none_is_other_input_too(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "welcome", StepRejected("who is that?"))
    await hotels.anna.retry(run.saga_id, reason="nobody", other_input=None)
    assert await hotels.payloads(run, PayloadKind.COMMAND, "hotel.welcome") == [(1, "Rome"), (2, None)]


# Give the reply.


async def test_a_reply_given_to_the_pivot_goes_on_with_its_result(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "pay", BankDown())
    await hotels.anna.give_reply(run.saga_id, reason="it is in the books", succeeded=True, result="Paris")
    await hotels.ends(run, SagaStatus.COMPLETED)
    assert hotels.hotel.done[-1] == "welcome Paris"


async def test_a_result_given_by_hand_is_of_the_round_that_was_asked_for_last(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "pay", BankDown())
    hotels.hotel.troubles["pay Milan"] = BankDown()
    await hotels.anna.retry(run.saga_id, reason="another card", other_input="Milan")

    async def stuck_again() -> bool:
        op = await op_of(hotels.store, run.saga_id, "hotel.pay")
        return (op.round, op.status) == (2, OpStatus.STUCK)

    await until(stuck_again)
    await hotels.anna.give_reply(run.saga_id, reason="in the books", succeeded=True, result="Milan")
    assert await hotels.payloads(run, PayloadKind.RESULT, "hotel.pay") == [(2, "Milan")]


async def test_the_pivot_is_taken_at_a_person_s_word_that_it_did_not_happen(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "pay", BankDown())
    await hotels.anna.give_reply(run.saga_id, reason="the bank says no", succeeded=False)
    record = await hotels.ends(run, SagaStatus.COMPENSATED)
    assert record.state.cause is Cause.REFUSED
    assert (await op_of(hotels.store, run.saga_id, "hotel.pay")).status is OpStatus.REFUSED
    assert {"cancel book_room Rome", "cancel book_table Rome"} <= set(hotels.hotel.done)


async def test_a_command_still_queued_comes_to_nothing_when_a_person_says_that_it_did_not_happen(world: World) -> None:
    hotels = await Hotels.open(world, hotel="palace")
    run = await hotels.start("Rome")
    await hotels.until_op(run, "palace.book_room", OpStatus.SENT)
    status = await hotels.anna.give_reply(run.saga_id, reason="they never got it", succeeded=False, step="book_room")
    assert status is SagaStatus.COMPENSATING
    assert (await op_of(hotels.store, run.saga_id, "palace.book_room")).status is OpStatus.UNKNOWN
    await world.worker(hotels.hotel.participant("palace"))
    await hotels.ends(run, SagaStatus.COMPENSATED)
    commands = Counter(one for one in hotels.hotel.done if "book_room" in one)
    assert commands in (Counter(), Counter({"book_room Rome": 1, "cancel book_room Rome": 1}))


async def test_a_stuck_compensation_can_be_said_to_be_done(hotels: Hotels) -> None:
    run = await hotels.stuck_undoing("Rome")
    await hotels.anna.give_reply(run.saga_id, reason="cancelled on the phone", succeeded=True)
    await hotels.ends(run, SagaStatus.COMPENSATED)
    assert await hotels.payloads(run, PayloadKind.RESULT, "hotel.book_room") == [(1, "Rome")]


# The other verbs.


async def test_a_waiting_step_is_tried_again_now(hotels: Hotels) -> None:
    run = await hotels.waiting("Rome")
    hotels.hotel.troubles.clear()
    await hotels.anna.retry(run.saga_id, reason="rooms are free", step="book_room")
    await hotels.ends(run, SagaStatus.COMPLETED)


async def test_a_skipped_step_counts_as_done(hotels: Hotels) -> None:
    run = await hotels.stuck("Rome", "welcome", StepRejected("who is that?"))
    await hotels.anna.skip(run.saga_id, reason="welcomed by hand")
    await hotels.ends(run, SagaStatus.COMPLETED)
    assert await hotels.journal_of_anna(run) == [("SkipRequested", "welcomed by hand")]


async def test_cancelling_undoes_what_waits(hotels: Hotels) -> None:
    run = await hotels.waiting("Rome")
    assert await hotels.anna.cancel(run.saga_id, reason="too late") is SagaStatus.COMPENSATING
    assert await hotels.anna.cancel(run.saga_id, reason="too late") in (
        SagaStatus.COMPENSATING,
        SagaStatus.COMPENSATED,
    )
    record = await hotels.ends(run, SagaStatus.COMPENSATED)
    assert record.state.cause is Cause.CANCELLED
    assert await hotels.anna.cancel(run.saga_id, reason="too late") is SagaStatus.COMPENSATED
    assert await hotels.journal_of_anna(run) == [("CancelRequested", "too late")]


async def test_an_abandoned_saga_is_left_as_it_is(hotels: Hotels) -> None:
    run = await hotels.stuck_undoing("Rome")
    assert await hotels.anna.abandon(run.saga_id, reason="it was a gift") is SagaStatus.ABANDONED
    assert await hotels.journal_of_anna(run) == [("AbandonRequested", "it was a gift")]


# Where it makes no sense.

RETRY, OTHER_INPUT, SKIP = RetryStep(), RetryStep(b"1"), SkipStep()
DONE, NOT_DONE = GiveReply.of_success(), GiveReply.of_refusal()

REFUSED: Sequence[tuple[str, Repair, str | None, str]] = [
    ("pay", Cancel(), None, "is STUCK; it cannot be cancelled: the pivot is reached"),
    ("pay", SKIP, None, "the action of hotel.pay cannot be skipped, for the saga turns on whether it happened"),
    ("pay", RETRY, "book_room", "is STUCK; nothing of the step is open"),
    ("pay", RETRY, "sing", "has no step 'sing'; it has hotel.book_room, hotel.book_table, hotel.pay, hotel.welcome"),
    ("welcome", NOT_DONE, None, "the action of hotel.welcome has to be done, a no is no answer to it; retry it, or"),
    ("undo", NOT_DONE, None, "the compensation of hotel.book_room has to be done, a no is no answer to it"),
    ("waiting", RETRY, None, "is RUNNING; nothing of it is stuck"),
    ("waiting", OTHER_INPUT, "book_room", "is WAITING, and only what is stuck can be given other input"),
    ("waiting", SKIP, "book_room", "is WAITING, and only what is stuck can be skipped"),
    ("waiting", Abandon(), None, "is RUNNING; only a stuck saga can be abandoned"),
    ("two", RETRY, None, "more than one step is stuck: hotel.book_room, hotel.book_table; say which"),
    ("done", Cancel(), None, "is COMPLETED; it cannot be cancelled: the saga has ended"),
    ("done", RETRY, None, "is COMPLETED; nothing of it is stuck"),
    ("done", OTHER_INPUT, "pay", "is COMPLETED; nothing of the step is open"),
    ("done", DONE, "pay", "is COMPLETED; nothing of the step is open"),
    ("done", Abandon(), None, "is COMPLETED; only a stuck saga can be abandoned"),
]


async def test_case_30_what_makes_no_sense_is_refused_in_clear_words(hotels: Hotels) -> None:
    hotels.hotel.troubles |= {
        "pay Two": StepRejected("no money"),
        "cancel book_room Two": LookupError(),
        "cancel book_table Two": LookupError(),
    }
    runs = {
        "pay": await hotels.stuck("Rome", "pay", BankDown()),
        "welcome": await hotels.stuck("Paris", "welcome", StepRejected("who is that?")),
        "undo": await hotels.stuck_undoing("Milan"),
        "waiting": await hotels.waiting("Bonn"),
        "two": await hotels.start("Two"),
        "done": await hotels.start("Oslo"),
    }
    await hotels.ends(runs["done"], SagaStatus.COMPLETED)

    async def both_are_stuck() -> bool:
        ops = [await op_of(hotels.store, runs["two"].saga_id, f"hotel.book_{it}", COMPENSATION) for it in _BOOKED]
        return {op.status for op in ops} == {OpStatus.STUCK}

    await until(both_are_stuck)
    before = {name: (await record_of(hotels.store, run.saga_id)).version for name, run in runs.items()}
    for where, repair, step, why in REFUSED:
        with pytest.raises(NotPossible) as refused:
            await hotels.anna.repair(runs[where].saga_id, repair, reason="so", step=step)
        said = str(refused.value)
        assert said.startswith(f"saga {runs[where].saga_id} is "), said
        assert why in said, (where, repair)
        assert "\n" not in said
    after = {name: (await record_of(hotels.store, run.saga_id)).version for name, run in runs.items()}
    assert after == before, "what was refused has left no trace"


_BOOKED = ("room", "table")


async def test_what_is_under_way_is_not_retried(world: World) -> None:
    hotels = await Hotels.open(world, hotel="palace")
    run = await hotels.start("Rome")
    await hotels.until_op(run, "palace.book_room", OpStatus.SENT)
    with pytest.raises(NotPossible, match=r"the action of palace\.book_room is under way; without an answer in time"):
        await hotels.anna.retry(run.saga_id, reason="so", step="palace.book_room")


async def test_a_reason_is_needed_and_the_saga_must_exist(hotels: Hotels) -> None:
    with pytest.raises(NotPossible, match="give a reason"):
        await hotels.anna.skip(SAGA_ID, reason=" ")
    with pytest.raises(NotPossible, match="give a reason"):
        _ = [one async for one in hotels.anna.repair_all(RETRY, RepairFilter(), reason="")]
    with pytest.raises(SagaNotFound, match="there is no saga 0000"):
        await hotels.anna.skip(SAGA_ID, reason="so")


def test_a_step_is_known_without_its_participant_unless_two_are_meant() -> None:
    kind = StepKind.COMPENSATABLE
    names = ["bank.pay", "shop.pay", "shop.pack", "pack_up", "shop.send.out"]
    plan = Plan("order", 1, tuple(PlannedStep(name, "shop", "do", kind) for name in names))
    assert [step_named(plan, said) for said in ("shop.pay", "pack", "pack_up", "send.out", "out")] == [
        *("shop.pay", "shop.pack", "pack_up", "shop.send.out", "shop.send.out")
    ]
    with pytest.raises(NotPossible, match=r"step 'pay' may be bank\.pay or shop\.pay; say which"):
        step_named(plan, "pay")
    with pytest.raises(NotPossible, match="has no step 'ack'"):
        step_named(plan, "ack")


# Many at once.


async def fifty_stuck(hotels: Hotels) -> Sequence[Run[str]]:
    """Fifty sagas that are stuck at the bank."""
    cities = [f"city {number}" for number in range(50)]
    hotels.hotel.troubles |= {f"pay {city}": BankDown("no answer") for city in cities}
    runs = await hotels.sagas.start_many(hotels.stay, {city: city for city in cities})
    for run in runs:
        assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    return runs


AT_THE_BANK = RepairFilter(saga="stay", statuses=STUCK, step="pay", error="BankDown")


async def test_case_30_fifty_are_repaired_at_once_and_those_that_went_on_are_left_alone(
    hotels: Hotels,
) -> None:
    runs = await fifty_stuck(hotels)
    other = await hotels.stuck("Rome", "welcome", StepRejected("who is that?"))
    previewed = [one async for one in hotels.anna.preview(RETRY, AT_THE_BANK)]
    assert [one.saga_id for one in previewed] == sorted((run.saga_id for run in runs), reverse=True)
    assert {one.why_not for one in previewed} == {None}
    assert {(str(one.about), one.about and one.about.error and one.about.error.message) for one in previewed} == {
        ("the action of hotel.pay", "no answer")
    }
    assert await hotels.journal_of_anna(runs[0]) == [], "a preview does nothing"

    hotels.hotel.troubles = {what: error for what, error in hotels.hotel.troubles.items() if "pay" not in what}
    repairing = hotels.anna.repair_all(RETRY, AT_THE_BANK, reason="the bank is back")
    told = [await anext(repairing)]
    gone_on = [run for run in runs if run.saga_id != told[0].prospect.saga_id][:10]
    for run in gone_on:
        await hotels.sagas.operator("bert").give_reply(run.saga_id, reason="in the books", succeeded=False)
    told += [one async for one in repairing]
    outcomes = Counter(one.outcome for one in told)
    assert outcomes == Counter({RepairOutcome.DONE: 40, RepairOutcome.CHANGED: 10})
    changed = {one.prospect.saga_id for one in told if one.outcome is RepairOutcome.CHANGED}
    assert changed == {run.saga_id for run in gone_on}
    assert {one.why for one in told} == {None, "it went on, and does not match now"}
    for run in runs:
        await hotels.ends(run, SagaStatus.COMPENSATED if run in gone_on else SagaStatus.COMPLETED)
        assert len(await hotels.journal_of_anna(run)) == (run not in gone_on)
    assert [one async for one in hotels.anna.repair_all(RETRY, AT_THE_BANK, reason="again")] == []
    assert (await record_of(hotels.store, other.saga_id)).status is SagaStatus.STUCK


async def test_no_page_is_the_last_while_there_is_another(hotels: Hotels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_module, "PAGE", 3)
    runs = [await hotels.stuck(f"city {n}", "pay", BankDown()) for n in range(7)]
    skipped = [one async for one in hotels.anna.repair_all(DONE, AT_THE_BANK, reason="in the books")]
    assert [one.prospect.saga_id for one in skipped] == [run.saga_id for run in runs[::-1]]
    assert {one.outcome for one in skipped} == {RepairOutcome.DONE}


FOUND = [
    (RepairFilter(), ["Bonn", "Milan", "Paris", "Rome"]),
    (RepairFilter(statuses=STUCK), ["Milan", "Paris", "Rome"]),
    (RepairFilter(key="Paris"), ["Paris"]),
    (RepairFilter(saga="checkout"), []),
    (RepairFilter(step="pay"), ["Rome"]),
    (RepairFilter(step="hotel.book_room"), ["Bonn", "Milan"]),
    (RepairFilter(step="book_room", statuses=STUCK), ["Milan"]),
    (RepairFilter(step="sing"), []),
    (RepairFilter(error="BankDown"), ["Rome"]),
    (RepairFilter(error="StepRejected", statuses=STUCK), ["Milan", "Paris"]),
    (RepairFilter(error="StepRejected", step="welcome"), ["Paris"]),
    (RepairFilter(error="BankDown", step="welcome"), []),
    (RepairFilter(statuses=frozenset({SagaStatus.RUNNING})), ["Bonn"]),
    (RepairFilter(idle_seconds=3600.0), []),
    (RepairFilter(idle_seconds=0.0, statuses=STUCK), ["Milan", "Paris", "Rome"]),
]


async def test_a_filter_finds_what_it_says(hotels_in_trouble: Hotels) -> None:
    for matching, cities in FOUND:
        found = [one.record.key async for one in hotels_in_trouble.anna.preview(RETRY, matching)]
        assert sorted(found) == cities, matching


@pytest.fixture
async def hotels_in_trouble(hotels: Hotels) -> Hotels:
    """Rome is stuck at the pivot, Paris behind it, Milan while it is undone; Bonn waits, and Oslo is done."""
    await hotels.stuck("Rome", "pay", BankDown())
    await hotels.stuck("Paris", "welcome", StepRejected("who is that?"))
    milan = await hotels.stuck_undoing("Milan")
    await hotels.waiting("Bonn")
    await hotels.ends(await hotels.start("Oslo"), SagaStatus.COMPLETED)

    async def only_the_room_is_left() -> bool:
        table = await op_of(hotels.store, milan.saga_id, "hotel.book_table", COMPENSATION)
        return table.status is OpStatus.SUCCEEDED

    await until(only_the_room_is_left)
    return hotels


@pytest.mark.parametrize(
    ("repair", "refused", "unneeded"),
    [
        (Cancel(), {"Paris": "the pivot is reached", "Rome": "the pivot is reached"}, {"Milan"}),
        (RETRY, {"Bonn": "nothing of it is stuck"}, set()),
        (SKIP, {"Rome": "the saga turns on whether", "Bonn": "nothing of it is stuck"}, set()),
        (NOT_DONE, {"Paris": "has to be done", "Milan": "has to be done", "Bonn": "nothing of it is stuck"}, set()),
        (Abandon(), {"Bonn": "only a stuck saga"}, set()),
    ],
    ids=["cancel", "retry", "skip", "refuse", "abandon"],
)
async def test_a_preview_says_where_a_repair_makes_no_sense_and_it_is_so(
    hotels_in_trouble: Hotels, repair: Any, refused: dict[str, str], unneeded: set[str]
) -> None:
    hotels = hotels_in_trouble
    previewed = {one.record.key: one async for one in hotels.anna.preview(repair, RepairFilter())}
    assert set(previewed) == {"Rome", "Paris", "Milan", "Bonn"}
    assert {key for key, one in previewed.items() if one.why_not is not None} == refused.keys() | unneeded
    for key, why in refused.items():
        assert why in (previewed[key].why_not or "")
    done = {one.prospect.record.key: one async for one in hotels.anna.repair_all(repair, RepairFilter(), reason="so")}
    assert {key for key, one in done.items() if one.outcome is RepairOutcome.REFUSED} == refused.keys()
    assert {key for key, one in done.items() if one.outcome is RepairOutcome.UNNEEDED} == unneeded
    rest = previewed.keys() - refused.keys() - unneeded
    assert {key for key, one in done.items() if one.outcome is RepairOutcome.DONE} == rest


class Unlucky:
    """Passes everything on to a store, but somebody else holds one saga, and the store may go away."""

    def __init__(self, store: SagaStore, held: UUID, error: Exception) -> None:
        self._store = store
        self._held = held
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[StoreTransaction]:
        async with self._store.transaction() as tx:
            yield _Holding(tx, self._held, self._error)


class _Holding:
    def __init__(self, tx: StoreTransaction, held: UUID, error: Exception) -> None:
        self._tx = tx
        self._held = held
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        if self._held in saga_ids:
            raise self._error
        return await self._tx.load(saga_ids)


@pytest.mark.parametrize("error", [Locked("somebody holds it"), RuntimeError("a bug")], ids=["locked", "a bug"])
async def test_one_that_fails_harms_no_other(hotels: Hotels, error: Exception) -> None:
    runs = [await hotels.stuck(f"city {n}", "pay", BankDown()) for n in range(3)]
    unlucky: Any = Unlucky(hotels.store, runs[1].saga_id, error)
    told = [one async for one in Operator(unlucky, "anna").repair_all(DONE, AT_THE_BANK, reason="in the books")]
    assert [one.outcome for one in told] == [RepairOutcome.DONE, RepairOutcome.FAILED, RepairOutcome.DONE]
    assert told[1].why == f"{type(error).__name__}: {error}"
    again = [one async for one in hotels.anna.repair_all(DONE, AT_THE_BANK, reason="in the books")]
    assert [(one.prospect.saga_id, one.outcome) for one in again] == [(runs[1].saga_id, RepairOutcome.DONE)]


async def test_a_store_that_goes_away_ends_it_and_the_rest_is_done_the_next_time(hotels: Hotels) -> None:
    runs = [await hotels.stuck(f"city {n}", "pay", BankDown()) for n in range(3)]
    unlucky: Any = Unlucky(hotels.store, runs[1].saga_id, Unavailable("gone"))
    repairing = Operator(unlucky, "anna").repair_all(DONE, AT_THE_BANK, reason="in the books")
    assert (await anext(repairing)).prospect.saga_id == runs[2].saga_id
    with pytest.raises(Unavailable, match="gone"):
        await anext(repairing)
    again = [one.prospect.saga_id async for one in hotels.anna.repair_all(DONE, AT_THE_BANK, reason="in the books")]
    assert again == [runs[1].saga_id, runs[0].saga_id]


async def test_one_that_has_ended_meanwhile_is_left_alone(hotels: Hotels) -> None:
    runs = [await hotels.stuck(f"city {n}", "pay", BankDown()) for n in range(2)]
    repairing = hotels.anna.repair_all(Abandon(), RepairFilter(statuses=STUCK), reason="let it be")
    assert (await anext(repairing)).status is SagaStatus.ABANDONED
    hotels.hotel.troubles.clear()
    await hotels.sagas.operator("bert").retry(runs[0].saga_id, reason="the bank is back")
    await hotels.ends(runs[0], SagaStatus.COMPLETED)
    (left,) = [one async for one in repairing]
    assert (left.outcome, left.status) == (RepairOutcome.CHANGED, SagaStatus.COMPLETED)


async def test_of_what_is_stuck_a_step_that_goes_on_by_itself_is_not_meant(hotels: Hotels) -> None:
    hotels.hotel.troubles["book_table Nowhere"] = RetryLater(3600.0)
    run = await hotels.start("Nowhere")
    await hotels.until_op(run, "hotel.book_table", OpStatus.WAITING)
    await hotels.until_op(run, "hotel.book_room", OpStatus.STUCK)

    async def found(**of_steps: Any) -> list[str]:
        matching = RepairFilter(statuses=STUCK, **of_steps)
        return [str(one.about) async for one in hotels.anna.preview(RETRY, matching)]

    assert await found() == await found(step="book_room") == ["the action of hotel.book_room"]
    assert await found(step="book_table") == await found(error="RetryLater") == []
    anywhere = hotels.anna.preview(RETRY, RepairFilter(step="book_table"))
    assert [str(one.about) async for one in anywhere] == ["the action of hotel.book_table"]


async def test_one_that_went_on_but_still_matches_is_repaired(hotels: Hotels) -> None:
    runs = [await hotels.stuck(f"city {n}", "pay", BankDown()) for n in range(2)]
    repairing = hotels.anna.repair_all(RETRY, AT_THE_BANK, reason="the bank is back")
    await anext(repairing)
    await hotels.sagas.operator("bert").retry(runs[0].saga_id, reason="perhaps now")

    async def stuck_again() -> bool:
        op = await op_of(hotels.store, runs[0].saga_id, "hotel.pay")
        return (op.round, op.status) == (2, OpStatus.STUCK)

    await until(stuck_again)
    hotels.hotel.troubles.clear()
    assert [one.outcome async for one in repairing] == [RepairOutcome.DONE]
    await hotels.ends(runs[0], SagaStatus.COMPLETED)
