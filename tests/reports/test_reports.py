"""What a report says of a saga, in each way in which one can stand."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings

from sagaflow import SagaStatus
from sagaflow.core.effects import Ignored
from sagaflow.core.events import (
    AbandonRequested,
    CommandDeferred,
    CommandFailed,
    Event,
    Failed,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import OnStuck, Plan
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.runners.repairs import Abandon, Cancel, GiveReply, OpenOperation, Repair, RetryStep, SkipStep, event_of
from sagaflow.runners.reporting.fingerprints import fingerprint, normalised
from sagaflow.runners.reporting.reports import Again, Alike, AttemptOutcome, Move, SagaReport
from tests.core.histories import histories
from tests.core.plans import pivot, plan_of, retriable, step
from tests.reports.playing import ACTION, BANK_DOWN, TRACE, UNDO, Play, verbs

PLAN = plan_of(
    step("order", attempts=2),
    step("stock", after=["order"], attempts=2),
    pivot("pay", after=["order", "stock"], attempts=2),
    retriable("ship", after=["pay"], attempts=2),
    deadline_seconds=600.0,
)


def new() -> Play:
    return Play(PLAN)


def stuck_undo() -> Play:
    return new().done("order", "stock").refused("pay").fails("stock", UNDO)


def test_a_saga_that_ended_well_tells_its_story_in_the_same_form() -> None:
    report = new().done("order", "stock", "pay", "ship").report()
    assert (report.headline, report.again) == ("All of it happened: 4 of 4 steps are done.", Again.NOT_NEEDED)
    assert [(one.step, one.outcome, one.host) for one in report.attempts] == [
        (name, AttemptOutcome.DONE, "host-1") for name in ("order", "stock", "pay", "ship")
    ]
    assert {one.trace_id for one in report.attempts} == {TRACE}
    assert (report.first_cause, report.owed, report.moves) == (None, (), ())


def test_a_refusal_is_the_first_cause_and_what_was_undone_is_in_order() -> None:
    report = new().done("order", "stock").refused("pay").undone("stock", "order").report()
    cause = report.first_cause
    assert cause is not None
    assert cause.what == "shop refused pay: StepRejected: no money"
    assert (cause.step, cause.service, cause.host, cause.attempt) == ("pay", "shop", "host-1", 1)
    assert [one.step for one in report.undone] == ["stock", "order"]
    assert (report.again, report.moves) == (Again.MENDED, ())


def test_silence_is_a_cause_too() -> None:
    report = new().times_out("order", attempts=2).report()
    assert report.first_cause is not None
    assert report.first_cause.what == "shop did not answer order within 60 s, 2 times of 2"
    assert report.first_cause.host is None
    assert [one.outcome for one in report.attempts[:2]] == [AttemptOutcome.NO_ANSWER] * 2
    assert [(one.step, one.why) for one in report.owed] == [("order", "it is under way")]


def test_a_stuck_undo_has_both_causes_and_says_what_waits_for_it() -> None:
    report = stuck_undo().report()
    assert report.headline == "It is being undone, and waits for a person to decide about the undo of stock."
    assert report.first_cause is not None
    assert report.first_cause.what == "shop refused pay: StepRejected: no money"
    (stuck,) = report.stuck
    assert stuck.what == "undo of stock failed for good: BankDown: order 1047: the bank is away"
    assert stuck.error == BANK_DOWN
    assert [(one.step, one.why) for one in report.owed] == [
        ("order", "it comes after undo of stock"),
        ("stock", "it is stuck: a person decides"),
    ]
    assert [one.step for one in report.not_undone] == ["stock"]
    assert verbs(report) == ["retry", "retry", "reply", "skip", "abandon"], "no cancel, no --refused: they are refused"


def test_where_nothing_more_is_undone_the_reason_is_told() -> None:
    plan = plan_of(step("a"), step("b"), pivot("p", after=["a", "b"]), on_stuck=OnStuck.HALT)
    report = Play(plan).done("a", "b").refused("p").fails("a", UNDO).report()
    assert next((one.step, one.why) for one in report.owed) == ("a", "it is stuck: a person decides")


def test_a_saga_that_is_stuck_behind_its_pivot_only_goes_forward() -> None:
    report = new().done("order", "stock", "pay").fails("ship").report()
    assert report.headline == "It goes forward only, and waits for a person to decide about the ship."
    assert report.first_cause == report.stuck[0]
    assert verbs(report) == ["retry", "retry", "reply", "skip", "abandon"]
    assert (report.again, report.advice) == (Again.SAME_INPUT, "Once shop is well, retry with the same input.")


def test_a_stuck_pivot_can_be_said_not_to_have_happened_but_not_skipped() -> None:
    report = new().done("order", "stock").fails("pay").report()
    assert verbs(report) == ["retry", "retry", "reply", "reply", "abandon"]
    assert [move.words[-1] for move in report.moves if move.words[0] == "reply"] == ["--succeeded", "--refused"]


@pytest.mark.parametrize(
    ("error", "again", "words"),
    [
        (ErrorInfo("KeyError", "'sku'"), Again.MENDED, "KeyError comes again with the same input"),
        (BANK_DOWN, Again.SAME_INPUT, "Once shop is well"),
        (None, Again.SAME_INPUT, "Nobody answered"),
    ],
)
def test_whether_to_run_it_with_the_same_input_follows_from_the_error(
    error: ErrorInfo | None, again: Again, words: str
) -> None:
    report = new().done("order", "stock", "pay").fails("ship", error=error).report()
    assert (report.again, report.advice.startswith(words)) == (again, True)


def test_a_command_that_cannot_be_made_is_a_bug_in_the_saga() -> None:
    play = new().happens(CommandFailed("order", ACTION, 1, 1), ErrorInfo("TypeError", "None"))
    report = play.report()
    assert report.stuck[0].what == "the saga's own code could not make the command for order: TypeError: None"
    assert report.again is Again.MENDED
    assert "cancel" in verbs(report)


def test_who_cancelled_and_why() -> None:
    report = new().done("order").cancelled().report()
    assert report.first_cause is not None
    assert report.first_cause.what == "anna cancelled it: ordered twice"
    assert report.by_hand[0].what == "cancelled the saga"
    assert next(one.outcome for one in report.attempts if one.step == "stock") is AttemptOutcome.LEFT
    assert report.moves == (), "it goes on by itself"


def test_a_deadline_says_what_it_still_waited_for() -> None:
    report = new().done("order").deadline().report()
    assert report.first_cause is not None
    assert report.first_cause.what == "its deadline of 600 s passed; it still waited for stock"


def test_what_people_did_and_what_is_undone_by_other_means() -> None:
    play = stuck_undo().happens(RetryRequested("stock", UNDO), by="anna", why="mended")
    play.happens(Failed("stock", UNDO, 2, 1, None), BANK_DOWN)
    play.happens(SkipRequested("stock", UNDO), by="bert", why="paid in cash").undone("order")
    report = play.report()
    assert report.status is SagaStatus.COMPENSATED
    assert [(one.actor, one.what, one.reason) for one in report.by_hand] == [
        ("anna", "retried the undo of stock", "mended"),
        ("bert", "skipped the undo of stock", "paid in cash"),
    ]
    assert [(one.step, one.by) for one in report.undone] == [
        ("stock", "bert, by other means: paid in cash"),
        ("order", "shop@host-1"),
    ]
    assert [one.step for one in report.not_undone] == ["stock"]
    assert [(one.round, one.attempt) for one in report.attempts if one.step == "stock"] == [(1, 1), (1, 1), (2, 1)]


def test_a_reply_by_hand_that_it_was_not_done_is_the_cause() -> None:
    play = (
        new().done("order", "stock").fails("pay").happens(ReplyGiven("pay", ACTION, False), by="anna", why="I looked")
    )
    assert play.report().first_cause is not None
    assert "anna said that pay was not done: I looked" in str(play.report().first_cause)


def test_an_abandoned_saga_says_what_nobody_will_do() -> None:
    report = stuck_undo().happens(AbandonRequested(), by="anna").report()
    assert report.headline == "A person ended it as it stood; nobody will do undo of order or undo of stock."
    assert [one.step for one in report.not_undone] == ["order", "stock"]
    assert (report.moves, report.again) == ((), Again.NOT_NEEDED)


@pytest.mark.parametrize(
    ("event", "error", "missing"),
    [
        (
            CommandDeferred("order", ACTION, 1, 1, 5.0),
            ErrorInfo("CodeMissing", "no code"),
            "the code of trip version 1",
        ),
        (Unserved("order", ACTION, 1, 1, 5.0), ErrorInfo("Unserved", "nobody"), "start a shop that does"),
        (
            CommandDeferred("order", ACTION, 1, 1, 5.0),
            ErrorInfo("NotReady", "no undo"),
            "have no live service: start it",
        ),
    ],
)
def test_what_waits_says_who_has_to_come_and_when_it_is_tried_next(
    event: Event, error: ErrorInfo, missing: str
) -> None:
    report = new().happens(event, error).report()
    assert missing in report.advice
    (owed, *_) = report.owed
    assert owed.next_at is not None
    assert report.first_cause is not None
    assert (report.first_cause.error, report.again) == (error, Again.BY_ITSELF)
    assert verbs(report) == ["participants", "retry", "cancel"]


def test_an_attempt_that_is_asked_for_again_is_told_once() -> None:
    play = new()
    for _ in range(3):
        play.happens(Unserved("order", ACTION, 1, 1, 5.0), ErrorInfo("Unserved", "nobody"))
        play.happens(TimerFired("order", ACTION, 1, 1))
    (attempt,) = play.report().attempts
    assert (attempt.asked, attempt.outcome) == (4, AttemptOutcome.UNDER_WAY)


def test_an_answer_that_came_too_late_is_told_with_its_attempt() -> None:
    report = new().times_out("order", attempts=2).happens(Succeeded("order", ACTION, 1, 2)).report()
    assert report.attempts[1].outcome is AttemptOutcome.NO_ANSWER
    assert report.attempts[1].afterwards == "answered later: done; it came too late to count"


def test_what_the_journal_holds_of_later_is_left_out() -> None:
    play = new().done("order")
    record, journal = play.record, [*play.journal]
    play.done("stock")
    play.record = record
    report = play.report()
    play.journal = journal
    assert report == play.report()


def test_others_that_fail_alike_bring_the_command_for_all() -> None:
    report = stuck_undo().report()
    assert report.stuck[0].fingerprint is not None
    alike = Alike(report.stuck[0].fingerprint, {SagaStatus.STUCK: 11, SagaStatus.ABANDONED: 2}, 40)
    told = stuck_undo().report(alike)
    assert alike.total == 13
    assert told.moves[1].words[:8] == ("retry", "--stuck", "--saga", "trip", "--step", "stock", "--error", "BankDown")
    assert told.moves[1].when == "The same for all 12 (they are shown first)"


def test_a_fingerprint_is_of_what_does_not_differ_from_saga_to_saga() -> None:
    def of(message: str, kind: str = "BankDown") -> str:
        return fingerprint("trip", "pay", ACTION, kind, message)

    assert of("order 1047: 'Anna' at 03:12:44.5") == of("order 9: 'Bert' at  12:00:00.1")
    assert of("no 01981f00-0000-7000-8000-000000000001") == of("no 01981f00-0000-7000-8000-00000000000a")
    assert of("the bank is away") != of("the card is blocked")
    assert of("x") != of("x", kind="CardBlocked")
    assert normalised("at 0xdeadbeef, commit 1a2b3c4d5e: decade facade") == "at #, commit #: decade facade"


REPAIRS: dict[str, Repair] = {
    "retry": RetryStep(),
    "skip": SkipStep(),
    "--succeeded": GiveReply(True),
    "--refused": GiveReply(False),
    "cancel": Cancel(),
    "abandon": Abandon(),
}


def is_permitted(report: SagaReport, plan: Plan, play: Play, move: Move) -> bool:
    """Whether the machine takes what a command asks for."""
    words = list(move.words)
    repair = REPAIRS[words[-1] if words[0] == "reply" else words[0]]
    about = None
    if "--step" in words:
        name = words[words.index("--step") + 1]
        open_now = {one.step: one.operation for one in reversed(report.owed)}
        about = OpenOperation(name, open_now[name], play.record.state.steps[plan.index[name]].action.status)
    _, effects = advance(plan, play.record.state, event_of(repair, about))
    return not any(isinstance(effect, Ignored) for effect in effects)


@settings(deadline=None, max_examples=60)
@given(histories())
def test_any_history_has_a_report_and_offers_nothing_that_would_be_refused(drawn: tuple[Plan, Sequence[Event]]) -> None:
    plan, events = drawn
    play = Play(plan)
    for event in events:
        play.happens(event, BANK_DOWN if isinstance(event, Failed) else None)
    report = play.report()
    assert msgspec.json.encode(report)
    for move in report.moves:
        assert move.words[0] == "participants" or is_permitted(report, plan, play, move), move
    if report.status is SagaStatus.STUCK:
        assert report.stuck
        assert "retry" in verbs(report)
