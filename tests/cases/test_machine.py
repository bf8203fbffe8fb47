"""The corner cases that the bare machine can show, named by their number in docs/guarantees.md."""

from __future__ import annotations

import pytest

from sagaflow.core.effects import IgnoredBecause
from sagaflow.core.plan import OnStuck
from sagaflow.core.state import Cause, OpStatus, SagaStatus
from tests.core.plans import pivot, retriable, step
from tests.core.telling import Saga


def booking(attempts: int = 1) -> Saga:
    """A car, then a room; both can be undone."""
    return Saga(step("car", attempts=attempts), step("room", after=["car"], attempts=attempts))


def paid() -> Saga:
    """A reservation, the payment, and a parcel that must be sent then."""
    saga = Saga(step("reserve"), pivot("pay", after=["reserve"]), retriable("send", after=["pay"]))
    saga.succeeds("reserve", "pay")
    return saga


def undoing_two() -> Saga:
    """Two independent steps that are being undone, since what comes after both was refused."""
    saga = Saga(step("car"), step("room"), step("dinner", after=["car", "room"]))
    saga.succeeds("car", "room")
    saga.refuses("dinner")
    return saga


def test_case_01_a_success_after_the_timeout_is_adopted_while_the_step_is_open() -> None:
    saga = booking(attempts=2)
    saga.times_out("car")
    assert saga.sent == ["car 1.2"]
    saga.succeeds("car", of="1.1")
    assert (saga.sent, saga.status) == (["room 1.1"], SagaStatus.RUNNING)


def test_case_01_a_success_after_the_rollback_began_changes_nothing_since_its_undo_is_owed_already() -> None:
    saga = booking()
    saga.times_out("car")
    assert (saga.op("car").status, saga.sent) == (OpStatus.UNKNOWN, ["undo car 1.1"])
    saga.succeeds("car")
    assert (saga.ignored, saga.sent) == (IgnoredBecause.LATE, [])
    saga.succeeds("undo car")
    assert saga.status is SagaStatus.COMPENSATED


def test_case_02_a_step_of_unknown_outcome_is_undone_itself() -> None:
    saga = booking()
    saga.succeeds("car")
    saga.gives_up("room")
    assert (saga.op("room").status, saga.sent) == (OpStatus.UNKNOWN, ["undo room 1.1"])
    saga.succeeds("undo room")
    assert saga.sent == ["undo car 1.1"]


def test_case_07_a_reply_that_comes_twice_or_too_late_changes_nothing() -> None:
    saga = booking(attempts=2)
    saga.fails("car", of="1.1")
    saga.times_out("car")
    saga.fails("car", of="1.1")
    assert (saga.ignored, saga.op("car").attempt) == (IgnoredBecause.LATE, 2)
    saga.succeeds("car")
    saga.succeeds("car")
    assert (saga.ignored, saga.sent) == (IgnoredBecause.DUPLICATE, [])


@pytest.mark.parametrize("completed", [True, False])
def test_case_08_a_reply_after_the_end_changes_nothing(completed: bool) -> None:
    saga = booking()
    saga.succeeds("car")
    if completed:
        saga.succeeds("room")
    else:
        saga.gives_up("room")
        saga.succeeds("undo room", "undo car")
    ended = saga.state
    saga.succeeds("room")
    assert (saga.ignored, saga.sent, saga.state) == (IgnoredBecause.ENDED, [], ended)


def test_case_09_a_refusal_undoes_the_steps_before_and_silence_the_step_as_well() -> None:
    refused, silent = booking(), booking()
    for saga in (refused, silent):
        saga.succeeds("car")
    refused.refuses("room")
    silent.times_out("room")
    assert (refused.sent, silent.sent) == (["undo car 1.1"], ["undo room 1.1"])


def test_case_11_an_undo_that_fails_is_stuck_and_its_saga_neither_failed_nor_ended() -> None:
    saga = booking(attempts=2)
    saga.succeeds("car")
    saga.refuses("room")
    saga.fails("undo car")
    saga.times_out("undo car")
    assert saga.sent == ["undo car 1.2"]
    saga.fails("undo car")
    assert (saga.status, saga.state.ended) == (SagaStatus.STUCK, False)
    saga.is_retried("undo car")
    saga.succeeds("undo car")
    assert saga.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize(
    ("on_stuck", "meanwhile"),
    [
        (OnStuck.HALT, []),
        (OnStuck.KEEP_ORDER, ["undo room 1.1"]),
        (OnStuck.CONTINUE_OTHERS, ["undo car 1.1", "undo room 1.1"]),
    ],
)
def test_case_11_the_plan_says_what_a_stuck_undo_holds_up(on_stuck: OnStuck, meanwhile: list[str]) -> None:
    saga = Saga(
        step("car"),
        step("tyres", after=["car"]),
        step("room"),
        step("bed", after=["room"]),
        step("trip", after=["tyres", "bed"]),
        on_stuck=on_stuck,
    )
    saga.succeeds("car", "room", "tyres", "bed")
    saga.refuses("trip")
    sent = []
    saga.refuses("undo tyres")
    sent += saga.sent
    saga.succeeds("undo bed")
    assert sorted(sent + saga.sent) == meanwhile


def test_case_12_what_nobody_serves_waits_burns_no_attempt_and_is_never_skipped() -> None:
    saga = booking()
    saga.succeeds("car")
    saga.refuses("room")
    for _ in range(10):
        saga.is_unserved("undo car")
        assert (saga.op("undo car").status, saga.status) == (OpStatus.DEFERRED, SagaStatus.COMPENSATING)
        saga.times_out("undo car")
        assert saga.sent == ["undo car 1.1"]


def test_case_13_a_cancel_undoes_what_was_done_and_what_is_under_way() -> None:
    saga = booking()
    saga.succeeds("car")
    saga.is_cancelled()
    assert (saga.cause, saga.op("room").status) == (Cause.CANCELLED, OpStatus.UNKNOWN)
    saga.succeeds("undo room", "undo car")
    assert saga.status is SagaStatus.COMPENSATED


def test_case_13_a_cancel_after_the_pivot_is_refused() -> None:
    saga = paid()
    saga.is_cancelled()
    assert (saga.ignored, saga.status) == (IgnoredBecause.BEYOND_PIVOT, SagaStatus.RUNNING)


def test_case_14_a_second_cancel_neither_fails_nor_disturbs_the_undo() -> None:
    saga = booking()
    saga.is_cancelled()
    state = saga.state
    saga.is_cancelled()
    assert (saga.ignored, saga.state) == (IgnoredBecause.UNDOING, state)
    saga.deadline_passes()
    assert (saga.ignored, saga.state) == (IgnoredBecause.UNDOING, state)


def test_case_15_when_one_branch_fails_its_sibling_under_way_is_undone_at_once() -> None:
    saga = Saga(step("car"), step("room"))
    saga.refuses("car")
    assert (saga.op("room").status, saga.sent) == (OpStatus.UNKNOWN, ["undo room 1.1"])
    saga.succeeds("room")
    assert saga.ignored is IgnoredBecause.LATE


def test_case_16_the_pivot_that_may_have_happened_is_stuck_and_undoes_nothing() -> None:
    saga = Saga(step("reserve"), pivot("pay", after=["reserve"]))
    saga.succeeds("reserve")
    saga.times_out("pay")
    assert (saga.status, saga.sent, saga.cause) == (SagaStatus.STUCK, [], None)


def test_case_16_behind_the_pivot_a_failure_is_stuck_and_undoes_nothing() -> None:
    saga = paid()
    saga.refuses("send")
    assert (saga.status, saga.sent, saga.cause) == (SagaStatus.STUCK, [], None)
    saga.is_retried("send")
    saga.succeeds("send")
    assert saga.status is SagaStatus.COMPLETED


def test_case_17_the_deadline_undoes_before_the_pivot_and_does_nothing_after_it() -> None:
    before, after = (Saga(step("reserve"), pivot("pay", after=["reserve"]), deadline_seconds=60.0) for _ in range(2))
    before.deadline_passes()
    assert (before.cause, before.sent) == (Cause.DEADLINE, ["undo reserve 1.1"])
    after.succeeds("reserve")
    after.deadline_passes()
    assert (after.ignored, after.status) == (IgnoredBecause.BEYOND_PIVOT, SagaStatus.RUNNING)


def test_case_34_independent_steps_are_undone_side_by_side_and_dependent_ones_in_reverse() -> None:
    saga = undoing_two()
    assert saga.sent == ["undo car 1.1", "undo room 1.1"]
    in_a_row = booking()
    in_a_row.succeeds("car")
    in_a_row.gives_up("room")
    assert in_a_row.sent == ["undo room 1.1"]
    in_a_row.succeeds("undo room")
    assert in_a_row.sent == ["undo car 1.1"]
