"""Single lives of sagas, for reading. That the same holds of all of them is shown in test_exploration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sagaflow.core.effects import Ignored, IgnoredBecause
from sagaflow.core.events import Erased
from sagaflow.core.machine import advance
from sagaflow.core.plan import Budget, OnStuck
from sagaflow.core.state import Cause, OpStatus, SagaStatus, initial
from tests.core.plans import pivot, retriable, step
from tests.core.telling import Saga


def in_a_row(attempts: int = 1) -> Saga:
    """A saga of three compensatable steps, one after the other."""
    return Saga(step("a", attempts=attempts), step("b", after="a", attempts=attempts), step("c", after="b"))


def side_by_side() -> Saga:
    """A saga of three steps that do not depend on each other."""
    return Saga(step("a"), step("b"), step("c"))


def payment(attempts: int = 1) -> Saga:
    """Two steps side by side, the pivot after both, and two steps that must succeed then."""
    return Saga(
        step("stock", attempts=attempts),
        step("wallet", attempts=attempts),
        pivot("charge", after=["stock", "wallet"], attempts=attempts),
        retriable("ship", after=["charge"], attempts=attempts),
        retriable("thank", after=["charge"], attempts=attempts),
        deadline_seconds=600.0,
    )


def charged(attempts: int = 1) -> Saga:
    """A payment past its pivot."""
    saga = payment(attempts)
    saga.succeeds("stock", "wallet", "charge")
    return saga


def stuck_at_the_pivot() -> Saga:
    """A payment of which nobody knows whether it was charged."""
    saga = payment()
    saga.succeeds("stock", "wallet")
    saga.times_out("charge")
    return saga


# Forward.


def test_steps_are_done_in_order() -> None:
    saga = in_a_row()
    assert saga.sent == ["a 1.1"]
    saga.succeeds("a")
    assert saga.sent == ["b 1.1"]
    saga.succeeds("b")
    assert saga.sent == ["c 1.1"]
    saga.succeeds("c")
    assert (saga.sent, saga.status, saga.cause) == ([], SagaStatus.COMPLETED, None)


def test_independent_steps_are_done_side_by_side() -> None:
    saga = payment()
    assert saga.sent == ["stock 1.1", "wallet 1.1"]
    saga.succeeds("wallet")
    assert saga.sent == []
    saga.succeeds("stock")
    assert saga.sent == ["charge 1.1"]
    saga.succeeds("charge")
    assert saga.sent == ["ship 1.1", "thank 1.1"]
    saga.succeeds("thank", "ship")
    assert saga.status is SagaStatus.COMPLETED


def test_every_command_has_a_timer_which_its_answer_stops() -> None:
    saga = in_a_row()
    assert saga.clocks == ["start a 1.1 60s"]
    saga.succeeds("a")
    assert saga.clocks == ["stop a", "start b 1.1 60s"]


def test_a_saga_starts_once() -> None:
    saga = in_a_row()
    before = saga.state
    saga.starts()
    assert (saga.ignored, saga.state) == (IgnoredBecause.DUPLICATE, before)


# Failed attempts.


def test_a_failed_attempt_is_made_again_when_the_participant_wants_it() -> None:
    saga = in_a_row(attempts=2)
    saga.fails("a")
    assert (saga.sent, saga.clocks) == ([], ["start a 1.1 10s"])
    saga.times_out("a")
    assert (saga.sent, saga.clocks) == (["a 1.2"], ["start a 1.2 60s"])


def test_a_step_that_times_out_is_tried_again_and_then_undone_as_unknown() -> None:
    saga = in_a_row(attempts=2)
    saga.times_out("a")
    assert (saga.sent, saga.status) == (["a 1.2"], SagaStatus.RUNNING)
    saga.times_out("a")
    assert (saga.sent, saga.status, saga.cause) == (["undo a 1.1"], SagaStatus.COMPENSATING, Cause.EXHAUSTED)
    assert saga.op("a").status is OpStatus.UNKNOWN


def test_a_step_that_failed_too_often_is_undone_as_unknown() -> None:
    saga = in_a_row(attempts=2)
    saga.fails("a")
    saga.times_out("a")
    saga.fails("a")
    assert (saga.sent, saga.cause) == (["undo a 1.1"], Cause.EXHAUSTED)


def test_a_step_whose_participant_gives_up_is_undone_as_unknown() -> None:
    saga = in_a_row(attempts=2)
    saga.gives_up("a")
    assert (saga.sent, saga.cause) == (["undo a 1.1"], Cause.EXHAUSTED)


def test_an_answer_to_an_earlier_attempt_counts_if_it_is_a_success() -> None:
    saga = in_a_row(attempts=2)
    saga.times_out("a")
    saga.fails("a", of="1.1")
    assert saga.ignored is IgnoredBecause.LATE
    saga.succeeds("a", of="1.1")
    assert saga.sent == ["b 1.1"]


def test_an_answer_to_an_earlier_attempt_counts_if_it_is_a_refusal() -> None:
    saga = in_a_row(attempts=2)
    saga.succeeds("a")
    saga.times_out("b")
    saga.refuses("b", of="1.1")
    assert (saga.sent, saga.cause) == (["undo a 1.1"], Cause.REFUSED)


def test_an_attempt_that_nobody_serves_is_made_again_and_burns_nothing() -> None:
    saga = in_a_row()
    for seconds in (10, 40, 160, 300, 300):
        saga.is_unserved("a")
        assert (saga.sent, saga.clocks) == ([], [f"start a 1.1 {seconds}s"])
        saga.times_out("a")
        assert saga.sent == ["a 1.1"]
    saga.succeeds("a")
    assert saga.sent == ["b 1.1"]


def test_an_attempt_that_is_asked_for_later_than_the_longest_delay_is_made_no_sooner() -> None:
    saga = in_a_row()
    saga.is_unserved("a", seconds=1000)
    assert saga.clocks == ["start a 1.1 1000s"]


def test_the_delay_begins_anew_when_somebody_has_served_it() -> None:
    saga = in_a_row(attempts=2)
    for _ in range(2):
        saga.is_unserved("a")
        saga.times_out("a")
    saga.fails("a")
    saga.times_out("a")
    saga.is_unserved("a")
    assert saga.clocks == ["start a 1.2 10s"]


def test_an_attempt_that_nobody_served_may_still_fail() -> None:
    saga = in_a_row(attempts=2)
    saga.is_unserved("a")
    saga.times_out("a")
    saga.fails("a")
    saga.times_out("a")
    assert saga.sent == ["a 1.2"]


# Commands that are not made.


def test_a_command_that_cannot_be_made_is_stuck_until_it_is_retried() -> None:
    saga = in_a_row()
    saga.cannot_be_made("a")
    assert (saga.sent, saga.clocks, saga.status) == ([], ["stop a"], SagaStatus.STUCK)
    saga.is_retried("a")
    assert (saga.sent, saga.status) == (["a 1.1"], SagaStatus.RUNNING)


def test_a_command_that_cannot_be_made_does_not_hinder_the_others() -> None:
    saga = Saga(step("a"), step("b"), step("c", after="b"))
    saga.cannot_be_made("a")
    saga.succeeds("b")
    assert (saga.sent, saga.status) == (["c 1.1"], SagaStatus.STUCK)


def test_a_command_without_code_here_is_made_later_and_burns_nothing() -> None:
    saga = in_a_row()
    for seconds in (10, 40, 160, 300, 300):
        saga.is_deferred("a")
        assert (saga.sent, saga.clocks, saga.status) == ([], [f"start a 1.0 {seconds}s"], SagaStatus.RUNNING)
        saga.times_out("a")
        assert saga.sent == ["a 1.1"]


def test_an_attempt_that_is_made_later_keeps_its_number() -> None:
    saga = in_a_row(attempts=2)
    saga.times_out("a")
    saga.is_deferred("a")
    saga.times_out("a")
    assert saga.sent == ["a 1.2"]
    saga.times_out("a")
    assert saga.cause is Cause.EXHAUSTED


def test_a_command_that_was_never_made_is_not_undone() -> None:
    saga = side_by_side()
    saga.cannot_be_made("a")
    saga.is_deferred("b")
    saga.is_cancelled()
    assert (saga.sent, saga.clocks) == (["undo c 1.1"], ["stop b", "stop c", "start undo c 1.1 30s"])


def test_a_command_that_was_made_once_is_undone_even_if_it_cannot_be_made_again() -> None:
    saga = in_a_row()
    saga.is_unserved("a")
    saga.times_out("a")
    saga.cannot_be_made("a")
    saga.is_cancelled()
    assert saga.sent == ["undo a 1.1"]


# Backward.


def test_a_refused_step_compensates_the_steps_before_it_in_reverse() -> None:
    saga = in_a_row()
    saga.succeeds("a", "b")
    saga.refuses("c")
    assert (saga.sent, saga.status, saga.cause) == (["undo b 1.1"], SagaStatus.COMPENSATING, Cause.REFUSED)
    saga.succeeds("undo b")
    assert saga.sent == ["undo a 1.1"]
    saga.succeeds("undo a")
    assert (saga.sent, saga.status, saga.cause) == ([], SagaStatus.COMPENSATED, Cause.REFUSED)


def test_independent_steps_are_undone_side_by_side() -> None:
    saga = Saga(step("a"), step("b", after="a"), step("c", after="a"), step("d", after="bc"))
    saga.succeeds("a", "b", "c")
    saga.refuses("d")
    assert saga.sent == ["undo b 1.1", "undo c 1.1"]
    saga.succeeds("undo c")
    assert saga.sent == []
    saga.succeeds("undo b")
    assert saga.sent == ["undo a 1.1"]


def test_a_refused_first_step_leaves_nothing_to_undo() -> None:
    saga = in_a_row()
    saga.refuses("a")
    assert (saga.sent, saga.status) == ([], SagaStatus.COMPENSATED)


def test_a_parallel_sibling_in_flight_is_undone_at_once() -> None:
    saga = side_by_side()
    saga.succeeds("a")
    saga.refuses("b")
    assert saga.sent == ["undo a 1.1", "undo c 1.1"]
    assert saga.clocks == ["stop b", "stop c", "start undo a 1.1 30s", "start undo c 1.1 30s"]
    assert saga.op("c").status is OpStatus.UNKNOWN


def test_a_success_that_comes_after_the_rollback_began_is_late() -> None:
    saga = side_by_side()
    saga.refuses("b")
    before = saga.state
    saga.succeeds("c")
    assert (saga.ignored, saga.state) == (IgnoredBecause.LATE, before)


def test_the_first_cause_remains() -> None:
    saga = side_by_side()
    saga.refuses("a")
    saga.refuses("b")
    assert saga.ignored is IgnoredBecause.LATE
    saga.is_cancelled()
    assert (saga.ignored, saga.cause) == (IgnoredBecause.UNDOING, Cause.REFUSED)


def test_a_compensation_is_tried_as_often_as_its_own_budget_says() -> None:
    saga = Saga(replace(step("a", attempts=3), compensation=Budget(30.0, 2)), step("b", after="a"))
    saga.succeeds("a")
    saga.refuses("b")
    saga.fails("undo a")
    saga.times_out("undo a")
    assert saga.sent == ["undo a 1.2"]
    saga.times_out("undo a")
    assert (saga.sent, saga.status) == ([], SagaStatus.STUCK)


# The pivot.


def test_a_refused_pivot_rolls_back() -> None:
    saga = payment()
    saga.succeeds("stock", "wallet")
    saga.refuses("charge")
    assert (saga.sent, saga.cause) == (["undo stock 1.1", "undo wallet 1.1"], Cause.REFUSED)
    saga.succeeds("undo wallet", "undo stock")
    assert saga.status is SagaStatus.COMPENSATED


def test_a_pivot_that_used_up_its_attempts_is_stuck_and_nothing_is_undone() -> None:
    saga = stuck_at_the_pivot()
    assert (saga.sent, saga.status, saga.cause) == ([], SagaStatus.STUCK, None)


def test_a_late_refusal_of_a_stuck_pivot_rolls_back() -> None:
    saga = stuck_at_the_pivot()
    saga.refuses("charge")
    assert (saga.sent, saga.status) == (["undo stock 1.1", "undo wallet 1.1"], SagaStatus.COMPENSATING)


def test_after_the_pivot_a_refusal_is_no_answer() -> None:
    saga = charged()
    saga.refuses("ship")
    assert (saga.sent, saga.status, saga.cause) == ([], SagaStatus.STUCK, None)
    saga.refuses("ship")
    assert saga.ignored is IgnoredBecause.DUPLICATE


def test_after_the_pivot_used_up_attempts_undo_nothing() -> None:
    saga = charged()
    saga.times_out("ship")
    assert (saga.sent, saga.status, saga.cause) == ([], SagaStatus.STUCK, None)


def test_beside_a_stuck_step_the_others_go_on() -> None:
    saga = charged()
    saga.refuses("ship")
    saga.succeeds("thank")
    assert (saga.ignored, saga.status) == (None, SagaStatus.STUCK)
    saga.succeeds("ship")
    assert saga.status is SagaStatus.COMPLETED


# Cancel and deadline.


def test_a_cancel_before_the_pivot_undoes_everything() -> None:
    saga = payment()
    saga.succeeds("stock")
    saga.is_cancelled()
    assert (saga.sent, saga.cause) == (["undo stock 1.1", "undo wallet 1.1"], Cause.CANCELLED)
    assert saga.clocks[0] == "stop deadline"


def test_a_cancel_before_the_start_leaves_nothing_to_start() -> None:
    saga = Saga(step("a"), started=False)
    saga.is_cancelled()
    assert saga.status is SagaStatus.COMPENSATED
    saga.starts()
    assert (saga.sent, saga.ignored) == ([], IgnoredBecause.ENDED)


@pytest.mark.parametrize("answered", [False, True])
def test_once_the_pivot_is_sent_neither_a_cancel_nor_the_deadline_counts(answered: bool) -> None:
    saga = charged() if answered else payment()
    if not answered:
        saga.succeeds("stock", "wallet")
    before = saga.state
    saga.is_cancelled()
    assert (saga.ignored, saga.state) == (IgnoredBecause.BEYOND_PIVOT, before)
    saga.deadline_passes()
    assert (saga.ignored, saga.state) == (IgnoredBecause.BEYOND_PIVOT, before)


def test_a_pivot_whose_command_was_not_made_can_still_be_cancelled() -> None:
    saga = payment()
    saga.succeeds("stock", "wallet")
    saga.is_deferred("charge")
    saga.is_cancelled()
    assert saga.sent == ["undo stock 1.1", "undo wallet 1.1"]
    assert saga.op("charge").status is OpStatus.IDLE


def test_a_pivot_whose_command_was_made_once_cannot_be_cancelled_when_it_cannot_be_made_again() -> None:
    saga = payment()
    saga.succeeds("stock", "wallet")
    saga.is_unserved("charge")
    saga.times_out("charge")
    saga.is_deferred("charge")
    saga.is_cancelled()
    assert saga.ignored is IgnoredBecause.BEYOND_PIVOT


def test_a_pivot_that_a_person_says_is_done_cannot_be_cancelled_even_if_it_was_never_sent() -> None:
    saga = payment()
    saga.succeeds("stock", "wallet")
    saga.cannot_be_made("charge")
    saga.is_given("charge", succeeded=True)
    assert saga.sent == ["ship 1.1", "thank 1.1"]
    saga.is_cancelled()
    assert saga.ignored is IgnoredBecause.BEYOND_PIVOT


def test_the_deadline_undoes_what_has_not_reached_its_pivot() -> None:
    saga = payment()
    saga.succeeds("stock")
    saga.deadline_passes()
    assert (saga.sent, saga.cause) == (["undo stock 1.1", "undo wallet 1.1"], Cause.DEADLINE)


def test_the_deadline_runs_from_the_start_until_the_saga_turns_round() -> None:
    saga = payment()
    assert "start deadline 600s" in saga.clocks
    saga.succeeds("stock")
    assert "stop deadline" not in saga.clocks
    saga.refuses("wallet")
    assert saga.clocks.count("stop deadline") == 1


# Stuck, and the ways out of it.


def test_a_refused_compensation_is_stuck_and_independent_ones_go_on() -> None:
    saga = Saga(step("a"), step("b", after="a"), step("c"), step("d", after="c"), step("e", after="bd"))
    saga.succeeds("a", "c", "b", "d")
    saga.refuses("e")
    saga.refuses("undo b")
    assert saga.status is SagaStatus.STUCK
    saga.succeeds("undo d")
    assert (saga.sent, saga.status) == (["undo c 1.1"], SagaStatus.STUCK)
    saga.succeeds("undo c")
    assert saga.status is SagaStatus.STUCK
    saga.succeeds("undo b")
    assert (saga.sent, saga.status) == (["undo a 1.1"], SagaStatus.COMPENSATING)


def a_stuck_undo(on_stuck: OnStuck) -> Saga:
    """Two branches of two steps are undone, and the undo of the last of one branch is stuck."""
    saga = Saga(
        step("a"), step("b", after="a"), step("c"), step("d", after="c"), step("e", after="bd"), on_stuck=on_stuck
    )
    saga.succeeds("a", "c", "b", "d")
    saga.refuses("e")
    saga.refuses("undo b")
    assert (saga.sent, saga.status) == (["undo a 1.1"] if on_stuck is OnStuck.CONTINUE_OTHERS else [], SagaStatus.STUCK)
    return saga


def test_a_stuck_compensation_may_halt_all_others_until_a_person_has_settled_it() -> None:
    saga = a_stuck_undo(OnStuck.HALT)
    saga.succeeds("undo d")
    assert (saga.sent, saga.status) == ([], SagaStatus.STUCK)
    saga.is_retried("undo b")
    assert (saga.sent, saga.status) == (["undo b 2.1", "undo c 1.1"], SagaStatus.COMPENSATING)
    saga.succeeds("undo c")
    assert saga.sent == []
    saga.succeeds("undo b")
    assert saga.sent == ["undo a 1.1"]


def test_a_stuck_compensation_may_hold_up_none_of_the_others() -> None:
    saga = a_stuck_undo(OnStuck.CONTINUE_OTHERS)
    saga.succeeds("undo a", "undo d", "undo c")
    assert (saga.sent, saga.status) == ([], SagaStatus.STUCK)
    saga.is_retried("undo b")
    assert (saga.sent, saga.status) == (["undo b 2.1"], SagaStatus.COMPENSATING)
    saga.succeeds("undo b")
    assert (saga.sent, saga.status) == ([], SagaStatus.COMPENSATED)


def test_a_late_success_unsticks() -> None:
    saga = stuck_at_the_pivot()
    saga.succeeds("charge")
    assert (saga.sent, saga.status) == (["ship 1.1", "thank 1.1"], SagaStatus.RUNNING)


def test_a_retry_opens_a_new_round_with_a_fresh_budget() -> None:
    saga = charged(attempts=2)
    saga.succeeds("thank")
    saga.times_out("ship")
    saga.times_out("ship")
    assert saga.status is SagaStatus.STUCK
    saga.is_retried("ship")
    assert (saga.sent, saga.status) == (["ship 2.1"], SagaStatus.RUNNING)
    saga.times_out("ship")
    assert saga.sent == ["ship 2.2"]
    saga.times_out("ship")
    assert saga.status is SagaStatus.STUCK


def test_in_a_new_round_an_old_success_counts_and_an_old_refusal_does_not() -> None:
    saga = stuck_at_the_pivot()
    saga.is_retried("charge")
    saga.refuses("charge", of="1.1")
    assert saga.ignored is IgnoredBecause.LATE
    saga.succeeds("charge", of="1.1")
    assert saga.sent == ["ship 1.1", "thank 1.1"]


def test_a_retry_of_what_waits_makes_the_next_attempt_at_once() -> None:
    saga = in_a_row(attempts=2)
    saga.fails("a")
    saga.is_retried("a")
    assert saga.sent == ["a 1.2"]


def test_a_retry_of_what_nobody_serves_makes_the_same_attempt_at_once() -> None:
    saga = in_a_row()
    saga.is_unserved("a")
    saga.is_retried("a")
    assert saga.sent == ["a 1.1"]


def test_what_is_on_its_way_is_not_retried() -> None:
    saga = in_a_row()
    saga.is_retried("a")
    assert (saga.sent, saga.ignored) == ([], IgnoredBecause.UNFIT)


def test_a_retry_with_other_input_opens_a_new_round() -> None:
    saga = charged()
    saga.refuses("ship")
    saga.is_retried("ship", other_input=True)
    assert saga.sent == ["ship 2.1"]


def test_a_retry_with_other_input_gives_the_command_that_could_not_be_made() -> None:
    saga = in_a_row()
    saga.cannot_be_made("a")
    saga.is_retried("a", other_input=True)
    assert saga.sent == ["a 1.1"]


@pytest.mark.parametrize("what", ["a", "b"])
def test_what_is_not_stuck_is_given_no_other_input(what: str) -> None:
    """Not while it waits: an attempt with the first input may still be under way within the round."""
    saga = in_a_row(attempts=2)
    saga.fails("a")
    saga.is_retried(what, other_input=True)
    assert (saga.sent, saga.ignored) == ([], IgnoredBecause.UNFIT)


def test_a_person_may_say_that_the_pivot_happened() -> None:
    saga = stuck_at_the_pivot()
    saga.is_given("charge", succeeded=True)
    assert (saga.sent, saga.status) == (["ship 1.1", "thank 1.1"], SagaStatus.RUNNING)


def test_a_person_may_say_that_the_pivot_did_not_happen() -> None:
    saga = stuck_at_the_pivot()
    saga.is_given("charge", succeeded=False)
    assert (saga.sent, saga.cause) == (["undo stock 1.1", "undo wallet 1.1"], Cause.REFUSED)


def test_what_a_person_says_did_not_happen_is_undone_all_the_same() -> None:
    """Its command may still be on its way: the undo finds nothing and fences it off."""
    saga = in_a_row(attempts=2)
    saga.succeeds("a")
    saga.fails("b")
    saga.is_given("b", succeeded=False)
    assert (saga.op("b").status, saga.sent, saga.cause) == (OpStatus.UNKNOWN, ["undo b 1.1"], Cause.REFUSED)


def test_what_was_never_sent_and_a_person_says_did_not_happen_is_not_undone() -> None:
    saga = in_a_row()
    saga.succeeds("a")
    saga.cannot_be_made("b")
    saga.is_given("b", succeeded=False)
    assert (saga.op("b").status, saga.sent, saga.cause) == (OpStatus.IDLE, ["undo a 1.1"], Cause.REFUSED)


def test_a_person_may_say_what_the_outcome_of_a_waiting_operation_is() -> None:
    saga = in_a_row(attempts=2)
    saga.fails("a")
    saga.is_given("a", succeeded=True)
    assert (saga.sent, saga.clocks) == (["b 1.1"], ["stop a", "start b 1.1 60s"])


@pytest.mark.parametrize("what", ["ship", "thank"])
def test_nobody_may_say_that_what_must_succeed_did_not_happen(what: str) -> None:
    saga = charged()
    saga.is_given(what, succeeded=False)
    assert saga.ignored is IgnoredBecause.UNFIT


def test_nobody_may_say_that_a_compensation_did_not_happen() -> None:
    saga = in_a_row()
    saga.succeeds("a")
    saga.refuses("b")
    saga.is_given("undo a", succeeded=False)
    assert saga.ignored is IgnoredBecause.UNFIT


def test_a_stuck_compensation_can_be_skipped() -> None:
    saga = in_a_row()
    saga.succeeds("a", "b")
    saga.refuses("c")
    saga.refuses("undo b")
    saga.is_skipped("undo b")
    assert (saga.sent, saga.status) == (["undo a 1.1"], SagaStatus.COMPENSATING)


def test_a_stuck_step_after_the_pivot_can_be_skipped() -> None:
    saga = charged()
    saga.succeeds("thank")
    saga.refuses("ship")
    saga.is_skipped("ship")
    assert saga.status is SagaStatus.COMPLETED


def test_a_stuck_step_before_the_pivot_can_be_skipped_and_is_not_undone_later() -> None:
    saga = in_a_row()
    saga.cannot_be_made("a")
    saga.is_skipped("a")
    assert saga.sent == ["b 1.1"]
    saga.refuses("b")
    assert (saga.sent, saga.status) == ([], SagaStatus.COMPENSATED)


def test_the_pivot_cannot_be_skipped() -> None:
    saga = stuck_at_the_pivot()
    saga.is_skipped("charge")
    assert (saga.ignored, saga.status) == (IgnoredBecause.UNFIT, SagaStatus.STUCK)


def test_what_is_not_stuck_cannot_be_skipped() -> None:
    saga = in_a_row()
    saga.is_skipped("a")
    assert saga.ignored is IgnoredBecause.UNFIT


def test_a_stuck_saga_can_be_abandoned_and_never_changes_again() -> None:
    saga = stuck_at_the_pivot()
    saga.is_abandoned()
    assert (saga.sent, saga.status) == ([], SagaStatus.ABANDONED)
    saga.succeeds("charge")
    assert (saga.ignored, saga.status) == (IgnoredBecause.ENDED, SagaStatus.ABANDONED)


def test_only_a_stuck_saga_can_be_abandoned() -> None:
    saga = in_a_row()
    saga.is_abandoned()
    assert (saga.ignored, saga.status) == (IgnoredBecause.UNFIT, SagaStatus.RUNNING)


def test_a_stuck_saga_can_be_cancelled_before_its_pivot() -> None:
    saga = payment()
    saga.succeeds("stock", "wallet")
    saga.cannot_be_made("charge")
    saga.is_cancelled()
    assert (saga.sent, saga.status) == (["undo stock 1.1", "undo wallet 1.1"], SagaStatus.COMPENSATING)


# Replies that do not count.


def test_a_duplicate_success_is_known() -> None:
    saga = in_a_row()
    saga.succeeds("a")
    saga.succeeds("a")
    assert saga.ignored is IgnoredBecause.DUPLICATE


def test_a_duplicate_failure_is_known() -> None:
    saga = in_a_row(attempts=2)
    saga.fails("a")
    saga.fails("a")
    assert saga.ignored is IgnoredBecause.DUPLICATE


@pytest.mark.parametrize(
    ("what", "of"), [("elsewhere", "1.1"), ("b", "1.1"), ("undo a", "1.1"), ("a", "1.2"), ("a", "2.1"), ("a", "0.1")]
)
def test_an_answer_to_what_was_never_asked_is_foreign(what: str, of: str) -> None:
    saga = in_a_row(attempts=2)
    before = saga.state
    for tells in (saga.succeeds, saga.refuses, saga.fails, saga.is_unserved, saga.times_out):
        tells(what, of=of)
        assert (saga.ignored, saga.state) == (IgnoredBecause.FOREIGN, before)


@pytest.mark.parametrize("what", ["elsewhere", "b", "undo a"])
def test_a_person_cannot_settle_what_was_never_asked(what: str) -> None:
    saga = in_a_row()
    for tells in (saga.is_retried, saga.is_skipped):
        tells(what)
        assert saga.ignored is IgnoredBecause.UNFIT
    saga.is_given(what, succeeded=True)
    assert saga.ignored is IgnoredBecause.UNFIT


def test_a_timer_that_was_stopped_too_late_changes_nothing() -> None:
    saga = in_a_row(attempts=2)
    saga.times_out("a")
    saga.times_out("a", of="1.1")
    assert saga.ignored is IgnoredBecause.LATE
    saga.succeeds("a")
    saga.times_out("a")
    assert saga.ignored is IgnoredBecause.LATE


@pytest.mark.parametrize("completed", [False, True])
def test_after_the_end_nothing_counts(completed: bool) -> None:
    saga = Saga(step("a"))
    if completed:
        saga.succeeds("a")
    else:
        saga.refuses("a")
    end = saga.state
    for tells in (saga.is_cancelled, saga.deadline_passes, saga.starts, saga.is_abandoned):
        tells()
        assert (saga.ignored, saga.state) == (IgnoredBecause.ENDED, end)
    saga.succeeds("a")
    assert (saga.ignored, saga.state) == (IgnoredBecause.ENDED, end)


def test_what_is_over_can_be_erased_and_stands_as_it_stood() -> None:
    saga = Saga(step("a"))
    assert advance(saga.plan, saga.state, Erased()) == (saga.state, (Ignored(IgnoredBecause.UNFIT),))
    saga.succeeds("a")
    assert advance(saga.plan, saga.state, Erased()) == (saga.state, ())


def test_before_it_starts_nothing_is_asked_for() -> None:
    saga = Saga(step("a"), started=False)
    assert saga.state == initial(saga.plan)
    saga.succeeds("a", of="1.1")
    assert saga.ignored is IgnoredBecause.FOREIGN
