"""One turn of one saga: pure, so that time is whatever the test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sagaflow import Operation, SagaStatus
from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    CommandFailed,
    Event,
    Failed,
    Refused,
    RetryRequested,
    SkipRequested,
    Started,
    Succeeded,
    TimerFired,
)
from sagaflow.core.state import initial
from sagaflow.definitions import ids
from sagaflow.definitions.records import PayloadKind, SagaRecord
from sagaflow.runners.turns import BUDGET_SECONDS_MIN, Turn
from tests.runners.world import trip_saga

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAN = trip_saga(timeout_seconds=5.0, deadline_seconds=3600).plan


def new_record() -> SagaRecord:
    return SagaRecord(
        saga_id=ids.new_id(),
        saga=PLAN.saga,
        key="t-1",
        coordinator="trips",
        plan_hash=PLAN.hash,
        secret=ids.new_secret(),
        traceparent=ids.new_traceparent(),
        input_digest=bytes(32),
        version=0,
        state=initial(PLAN),
    )


def turn_at(record: SagaRecord, seconds: float) -> Turn:
    return Turn(record, PLAN, NOON + timedelta(seconds=seconds))


def started() -> SagaRecord:
    """A saga that has begun at noon: the car is asked for, for 60 s, and the deadline is at one o'clock."""
    turn = turn_at(new_record(), 0)
    turn.apply(Started(), origin="test")
    return turn.change().record


def test_what_is_due_happens_when_the_saga_is_woken_and_not_before() -> None:
    early, late = turn_at(started(), 59), turn_at(started(), 60)
    early.wake("test")
    late.wake("test")
    assert not early.changed
    assert [command.attempt for command in late.to_send] == [2]


def test_the_time_of_a_command_that_nobody_has_sent_begins_anew_but_that_of_the_deadline_does_not() -> None:
    turn = turn_at(started(), 100)
    turn.begin_time()
    turn.wake("test")
    assert not turn.changed
    assert turn.wake_at == NOON + timedelta(seconds=160)
    over = turn_at(started(), 3600)
    over.begin_time()
    over.wake("test")
    assert over.state.status is SagaStatus.COMPENSATING


@pytest.mark.parametrize(("claimed", "kept"), [(None, 2), (1, 1), (2, 2), (3, 2), (0, 2), (-5, 2), (10**30, 2)])
def test_a_result_is_of_the_round_in_which_it_was_done_if_there_was_such_a_round(
    claimed: int | None, kept: int
) -> None:
    turn = turn_at(started(), 10)
    for step in ("book_car", "book_room", "book_flight"):
        turn.apply(Succeeded(f"agency.{step}", Operation.ACTION, 1, 1), origin="test")
    turn.apply(Failed("agency.pay", Operation.ACTION, 1, 1, None), origin="test")
    turn.apply(RetryRequested("agency.pay", Operation.ACTION, other_input=True), origin="test", other_input=b"2")
    done = Succeeded("agency.pay", Operation.ACTION, 2, 1)
    turn.apply(done, origin="test", result=b"3", done_in_round=claimed)
    assert [(one.kind, one.round, one.body) for one in turn.payloads] == [
        (PayloadKind.COMMAND, 2, b"2"),
        (PayloadKind.RESULT, kept, b"3"),
    ]


def test_other_input_that_comes_to_nothing_is_not_kept() -> None:
    turn = turn_at(started(), 10)
    turn.apply(RetryRequested("agency.book_car", Operation.ACTION, other_input=True), origin="test", other_input=b"2")
    assert (turn.payloads, turn.changed) == ([], False)


def test_the_agenda_is_moved_only_when_something_is_due_earlier() -> None:
    turn = turn_at(started(), 10)
    turn.apply(Succeeded("agency.book_car", Operation.ACTION, 1, 1), origin="test")
    change = turn.change()
    assert change.wake_changed, "the flight is waited for until 12:00:15, before the car was until 12:01"
    assert change.record.wake_at == NOON + timedelta(seconds=15)
    later = turn_at(change.record, 12)
    later.apply(Succeeded("agency.book_flight", Operation.ACTION, 1, 1), origin="test")
    assert not later.change().wake_changed, "to be woken too early costs less than to write"
    assert later.change().record.wake_at == NOON + timedelta(seconds=15)


def test_what_is_in_flight_is_sent_again_once_and_nothing_of_a_saga_that_has_ended() -> None:
    turn = turn_at(started(), 10)
    turn.apply(Succeeded("agency.book_car", Operation.ACTION, 1, 1), origin="test")
    turn.send_again()
    assert [command.step for command in turn.to_send] == ["agency.book_room", "agency.book_flight"]
    turn.apply(CommandFailed("agency.book_room", Operation.ACTION, 1, 1), origin="test")
    turn.apply(AbandonRequested(), origin="test")
    turn.to_send.clear()
    turn.send_again()
    assert turn.to_send == []


def test_an_ended_saga_has_no_timers_and_is_not_woken() -> None:
    turn = turn_at(started(), 10)
    assert turn.record.timers
    turn.apply(CommandFailed("agency.book_car", Operation.ACTION, 1, 1), origin="test")
    turn.apply(AbandonRequested(), origin="test")
    change = turn.change()
    assert (change.record.timers, change.record.wake_at) == ((), None)


CAR_STUCK = CommandFailed("agency.book_car", Operation.ACTION, 1, 1)
CAR_DONE = Succeeded("agency.book_car", Operation.ACTION, 1, 1)
CAR_TIMED_OUT = [TimerFired("agency.book_car", Operation.ACTION, 1, attempt) for attempt in range(1, 6)]
CAR_UNDONE = Succeeded("agency.book_car", Operation.COMPENSATION, 1, 1)
CAR_NOT_UNDONE = Refused("agency.book_car", Operation.COMPENSATION, 1, 1)


@pytest.mark.parametrize(
    ("events", "leaves"),
    [
        ([CAR_STUCK, SkipRequested("agency.book_car", Operation.ACTION), CancelRequested()], True),
        ([CAR_STUCK, AbandonRequested()], True),
        ([*CAR_TIMED_OUT, CAR_UNDONE], False),
        ([*CAR_TIMED_OUT, CAR_NOT_UNDONE, AbandonRequested()], True),
        ([CAR_DONE, CancelRequested()], False),
    ],
    ids=["skipped", "abandoned while stuck", "undone", "abandoned with its undo owed", "not ended"],
)
def test_an_action_that_turns_out_to_be_done_after_the_end_is_left_behind_if_nobody_undid_it(
    events: list[Event], leaves: bool
) -> None:
    turn = turn_at(started(), 0)
    for event in events:
        assert turn.apply(event, origin="test") is None
    if SkipRequested("agency.book_car", Operation.ACTION) in events:
        for step in ("agency.book_room", "agency.book_flight"):
            turn.apply(Succeeded(step, Operation.COMPENSATION, 1, 1), origin="test")
        assert turn.state.ended
    assert turn.leaves_behind("agency.book_car", Operation.ACTION) == leaves
    assert not turn.leaves_behind("agency.book_car", Operation.COMPENSATION)
    assert not turn.leaves_behind("elsewhere", Operation.ACTION)


def budgets(turn: Turn) -> list[float]:
    return [turn.budget_seconds(command) for command in turn.to_send]


def test_a_command_has_the_time_until_its_next_attempt_or_until_the_deadline_whichever_is_sooner() -> None:
    again = turn_at(started(), 50)
    again.send_again()
    assert budgets(again) == [10.0]
    hurried = turn_at(started(), 3570)
    hurried.apply(Succeeded("agency.book_car", Operation.ACTION, 1, 1), origin="test")
    assert budgets(hurried) == [30.0, 5.0], "the room has 60 s, the flight 5, and the saga 30"
    over = turn_at(started(), 3601)
    over.apply(Succeeded("agency.book_car", Operation.ACTION, 1, 1), origin="test")
    assert budgets(over) == [BUDGET_SECONDS_MIN] * 2, "the agenda is about to come to the deadline"


def test_the_deadline_does_not_hurry_what_it_can_no_longer_undo() -> None:
    turn = turn_at(started(), 3595)
    for step in ("book_car", "book_room", "book_flight"):
        turn.apply(Succeeded(f"agency.{step}", Operation.ACTION, 1, 1), origin="test")
    assert turn.to_send[-1].step == "agency.pay"
    assert turn.budget_seconds(turn.to_send[-1]) == 60.0
    turn.apply(Succeeded("agency.pay", Operation.ACTION, 1, 1), origin="test")
    assert turn.budget_seconds(turn.to_send[-1]) == 60.0


def test_a_compensation_has_the_whole_time_of_its_step() -> None:
    turn = turn_at(started(), 10)
    turn.apply(Succeeded("agency.book_car", Operation.ACTION, 1, 1), origin="test")
    turn.apply(CancelRequested(), origin="test")
    late = turn_at(turn.change().record, 65)
    late.send_again()
    assert [command.operation for command in late.to_send] == [Operation.COMPENSATION] * 2
    assert budgets(late) == [60.0, 60.0]
