"""What to do about a saga: whether to run it again, and what to type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sagaflow.core.machine import can_turn_round
from sagaflow.core.state import Cause, OpStatus, SagaStatus
from sagaflow.runners.commands import CODE_MISSING, NOT_READY
from sagaflow.runners.repairs import Abandon, Cancel, GiveReply, OpenOperation, RetryStep, SkipStep
from sagaflow.runners.reporting.history import History
from sagaflow.runners.reporting.reports import (
    NO_ANSWER,
    Again,
    Alike,
    AttemptOutcome,
    AttemptReport,
    Failure,
    Move,
    Owed,
)
from sagaflow.runners.reporting.words import operation_words

BUGS: Final = frozenset(
    {
        "AssertionError",
        "AttributeError",
        "DecodeError",
        "IndexError",
        "KeyError",
        "NameError",
        "NotImplementedError",
        "PayloadError",
        "TypeError",
        "UnicodeDecodeError",
        "ValidationError",
        "ValueError",
        "ZeroDivisionError",
    }
)
"""Types of errors that come again for as long as neither the code nor the input is another."""


def advice_for(history: History, stuck: Sequence[Failure], first: Failure | None) -> tuple[Again, str]:
    state = history.state
    match state.status:
        case SagaStatus.COMPLETED:
            return Again.NOT_NEEDED, "There is nothing to do."
        case SagaStatus.ABANDONED:
            return Again.NOT_NEEDED, "It never changes again. Settle what is owed by hand, outside of sagaflow."
        case SagaStatus.COMPENSATED if state.cause is Cause.CANCELLED:
            return Again.NOT_NEEDED, "It was cancelled. To have it after all, start it again under a new key."
        case SagaStatus.COMPENSATED if state.cause is Cause.REFUSED:
            return Again.MENDED, (
                "The refusal is final for this run. If it is still wanted, start it under a new key, with mended input "
                "or when the reason of the refusal is gone."
            )
        case SagaStatus.COMPENSATED:
            return Again.SAME_INPUT, "Once what failed is well, start it again under a new key with the same input."
        case SagaStatus.STUCK:
            return _advice_for_stuck(history, stuck[0])
    held = [one for one in history.owed() if one.status is OpStatus.DEFERRED]
    if held:
        return Again.BY_ITSELF, f"{_what_is_missing(held[0], history)} It goes on by itself then."
    if first is not None and state.cause is None and first.error is None and first.service is not None:
        return Again.BY_ITSELF, f"See that {first.service} runs: nobody has answered. It goes on by itself then."
    return Again.BY_ITSELF, "It goes on by itself: nothing has to be typed."


def _advice_for_stuck(history: History, failure: Failure) -> tuple[Again, str]:
    last = next((one for one in reversed(history.attempts) if _is_of_failure(one, failure)), None)
    kind = NO_ANSWER if failure.error is None else failure.error.type
    if last is not None and last.outcome is AttemptOutcome.NOT_MADE:
        return (
            Again.MENDED,
            "It is a bug in the saga: deploy mended code of this version, then retry; the input is kept.",
        )
    if last is not None and last.outcome is AttemptOutcome.REFUSED:
        return (
            Again.MENDED,
            "No is no answer here, and the same would be refused again: remove the reason, or mend the input.",
        )
    if kind in BUGS:
        return (
            Again.MENDED,
            f"{kind} comes again with the same input and the same code: mend {failure.service}, or the input.",
        )
    if kind == NO_ANSWER:
        return Again.SAME_INPUT, f"Nobody answered: see that {failure.service} runs, then retry with the same input."
    return Again.SAME_INPUT, f"Once {failure.service} is well, retry with the same input."


def _is_of_failure(one: AttemptReport, failure: Failure) -> bool:
    return (one.step, one.operation) == (failure.step, failure.operation)


def _what_is_missing(held: Owed, history: History) -> str:
    kind = "" if held.error is None else held.error.type
    if kind == CODE_MISSING:
        plan = history.plan
        return f"No coordinator that runs has the code of {plan.saga} version {plan.version}: run one that has it."
    participant = history.step(held.step).participant
    if kind == NOT_READY:
        return "The undos that may be needed have no live service: start it."
    return f"Nobody serves {operation_words(held.step, held.operation)}: start a {participant} that does."


def moves_for(
    history: History, again: Again, alike: Alike | None, stuck: Sequence[Failure] | None = None
) -> Iterator[Move]:
    """The commands that the state permits, the one to try first before others."""
    saga_id = str(history.record.saga_id)
    troubles = [history.failure(*one) for one in history.stuck()] if stuck is None else stuck
    for failure in troubles:
        yield from _moves_about(history, failure, saga_id, again, alike if failure is troubles[0] else None)
    held = [one for one in history.owed() if one.status in (OpStatus.DEFERRED, OpStatus.WAITING)]
    if held:
        if any(one.status is OpStatus.DEFERRED for one in held):
            yield Move("See who serves what, and what is missing", ("participants",))
        step, operation = held[0].step, held[0].operation
        if history.permits(RetryStep(), OpenOperation(step, operation, held[0].status)):
            yield Move("Not to wait for the next try", _typed("retry", saga_id, step, "what was missing is there"))
    if can_turn_round(history.plan, history.state) and history.permits(Cancel(), None):
        yield Move(
            "If it is not wanted any more, have it undone", _typed("cancel", saga_id, None, "not wanted any more")
        )
    if history.permits(Abandon(), None):
        yield Move(
            "Last of all, end it as it stands: nobody will do what is owed",
            _typed("abandon", saga_id, None, "given up; what is owed is settled outside"),
        )


def _moves_about(history: History, failure: Failure, saga_id: str, again: Again, alike: Alike | None) -> Iterator[Move]:
    assert failure.step is not None, "what is stuck is an operation"
    assert failure.operation is not None, "what is stuck is an operation"
    step, operation = failure.step, failure.operation
    about, name = OpenOperation(step, operation, OpStatus.STUCK), operation_words(step, operation)
    if history.permits(RetryStep(), about):
        cause = "the code is mended" if again is Again.MENDED else f"{failure.service} is well again"
        yield Move(f"When {cause}, try the {name} again", _typed("retry", saga_id, step, cause))
        others = 0 if alike is None else alike.by_status.get(SagaStatus.STUCK, 0)
        if others and failure.error is not None:
            bulk = ("retry", "--stuck", "--saga", history.plan.saga, "--step", step, "--error", failure.error.type)
            yield Move(f"The same for all {others + 1} (they are shown first)", (*bulk, "--reason", cause))
    if history.permits(RetryStep(b"null"), about):
        words = _typed("retry", saga_id, step, "the input is mended")
        yield Move("With mended input, which you write to input.json", (*words, "--input", "@input.json"), to_edit=True)
    if history.permits(GiveReply(True), about):
        words = _typed("reply", saga_id, step, f"it was done, as seen at {failure.service}")
        yield Move(f"If you have seen at {failure.service} that it was done", (*words, "--succeeded"))
    if history.permits(GiveReply(False), about):
        words = _typed("reply", saga_id, step, f"it was not done, as seen at {failure.service}")
        yield Move("If you have seen that it was not done, have the saga undone", (*words, "--refused"))
    if history.permits(SkipStep(), about):
        words = _typed("skip", saga_id, step, "settled by other means")
        yield Move("If you have settled it by other means, go on without it", words)


def _typed(verb: str, saga_id: str, step: str | None, reason: str) -> tuple[str, ...]:
    return (verb, saga_id, *(() if step is None else ("--step", step)), "--reason", reason)
