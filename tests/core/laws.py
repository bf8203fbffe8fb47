"""The laws of every saga: what must hold of each state that can be reached, and of each move between two of them."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce

from sagaflow.core.effects import Ignored, SendCommand, StartTimer
from sagaflow.core.events import (
    CancelRequested,
    CommandDeferred,
    CommandFailed,
    DeadlinePassed,
    Failed,
    Refused,
    ReplyGiven,
    RetryRequested,
    TimerFired,
    Unserved,
)
from sagaflow.core.plan import Operation, StepKind
from sagaflow.core.state import Cause, SagaStatus
from tests.core.exploring import Move, Node
from tests.core.witness import DEFERRED_SECONDS, Verdict, Witness

ACTION = Operation.ACTION
COMPENSATION = Operation.COMPENSATION


# Of states.


def what_counts_is_as_agreed(node: Node, moves: Collection[Move]) -> None:
    """The events that change the state are exactly those that the contract says count."""
    changing = {move.event for move in moves}
    agreed = set(node.witness.what_counts())
    assert changing == agreed, f"in {node.state}: {changing - agreed} must not count, {agreed - changing} must"


def the_status_is_honest(node: Node) -> None:
    """The status says what has become of the operations."""
    assert node.state.status is _status(node.witness), node


def what_is_possible_is_under_way(node: Node) -> None:
    """Nothing waits for what it does not depend on."""
    witness = node.witness
    if witness.ended or not witness.started:
        return
    for place in range(len(node.plan.steps)):
        if witness.turned:
            if witness.owed(place) and not witness.of_step(place, COMPENSATION).asked:
                assert not witness.may_be_undone(place), node
        else:
            possible = all(witness.of_step(before, ACTION).done for before in witness.layout.before[place])
            assert witness.of_step(place, ACTION).asked == possible, node


def time_runs_for_what_is_open_alone(node: Node) -> None:
    """A timer runs for operations that are open and not for others, the deadline until the saga turns round."""
    witness = node.witness
    if witness.ended:
        return
    assert witness.deadline == (node.plan.deadline_seconds is not None and witness.started and not witness.turned)
    for both in witness.operations:
        for known in both:
            assert known.timer is None or (known.asked and known.verdict is Verdict.OPEN), node


def a_no_turns_the_saga_round(node: Node) -> None:
    """No saga goes forward, or is completed, with an action that was refused."""
    refused = any(action.verdict is Verdict.NOT_DONE for action, _ in node.witness.operations)
    assert node.witness.turned or not refused, node


# Of moves.


def a_cause_turns_the_saga_round_once(move: Move) -> None:
    """A cancel, the deadline, a no, or an action that used up its attempts: nothing else, and only the first."""
    assert move.cause is (move.before.state.cause or _new_cause(move)), move


def order_is_respected(move: Move) -> None:
    """An action is asked for when all that it comes after is done, a compensation when all behind it is undone."""
    plan, known = move.before.plan, move.heard
    for command in _commands(move):
        place = plan.index[command.step]
        if command.operation is ACTION:
            assert not known.turned, move
            assert all(known.of_step(before, ACTION).done for before in known.layout.before[place]), move
        else:
            first = not known.of_step(place, COMPENSATION).asked
            assert known.turned, move
            assert not first or reduce(Witness.saw, move.effects, known).may_be_undone(place), move


def what_is_undone_is_owed(move: Move) -> None:
    """A compensation is asked for only if its action happened, or may have, and is not undone yet."""
    for command in _commands(move):
        if command.operation is COMPENSATION:
            assert move.heard.owed(move.before.plan.index[command.step]), move


def nothing_is_undone_after_the_pivot(move: Move) -> None:
    """Once the pivot may have happened, no compensation is asked for and nothing turns the saga round."""
    if move.heard.past_return:
        assert not any(command.operation is COMPENSATION for command in _commands(move)), move
        assert move.cause is None, move


def attempts_stay_within_their_budget(move: Move) -> None:
    """The attempts of a round are counted from 1 up to the budget; what nobody served or made does not count."""
    plan = move.before.plan
    for command in _commands(move):
        place = plan.index[command.step]
        before = move.heard.of_step(place, command.operation)
        after = before.sent(command.round, command.attempt)
        assert command.attempt == after.counted <= plan.steps[place].budget(command.operation).attempts, move
        assert command.round == before.round or _opens_round(move, command), move


def every_attempt_of_the_budget_is_made(move: Move) -> None:
    """What failed is tried again, when it was said to be; only what used up its attempts or cannot be helped is not."""
    event = move.event
    if not isinstance(
        event, TimerFired | RetryRequested | Failed | Unserved | CommandDeferred | CommandFailed | Refused
    ):
        return
    plan = move.before.plan
    place = plan.index[event.step]
    known = move.before.witness.of_step(place, event.operation)
    used_up = known.counted >= plan.steps[place].budget(event.operation).attempts
    sent = any(command.step == event.step and command.operation is event.operation for command in _commands(move))
    delays = [
        effect.seconds for effect in _timers(move) if (effect.step, effect.operation) == (event.step, event.operation)
    ]
    match event:
        case TimerFired():
            assert sent == (not known.awaited or not used_up), move
        case RetryRequested():
            assert sent, move
        case Failed(retry_after_seconds=float(seconds)) if not used_up:
            assert (sent, delays) == (False, [seconds]), move
        case Unserved() | CommandDeferred():
            assert (sent, delays) == (False, [DEFERRED_SECONDS[known.deferred]]), move
        case _:
            assert (sent, delays) == (False, []), move


def every_command_has_its_timer(move: Move) -> None:
    """Together with a command, the timer of its attempt is started; it runs as long as the budget says."""
    plan = move.before.plan
    for command in _commands(move):
        seconds = plan.steps[plan.index[command.step]].budget(command.operation).timeout_seconds
        timer = StartTimer(command.step, command.operation, command.round, command.attempt, seconds)
        assert _timers(move).count(timer) == 1, move


def what_may_be_wrong_is_undone(move: Move) -> None:
    """When a person says that a step was not done which may have been, its undo is owed all the same."""
    match move.event:
        case ReplyGiven(step, succeeded=False) if _kind(move, step) is StepKind.COMPENSATABLE:
            place = move.before.plan.index[step]
            assert move.heard.owed(place) == move.before.witness.of_step(place, ACTION).may_have_left, move


def what_changes_something_is_not_called_ignored(move: Move) -> None:
    """The reason for ignoring an event comes alone, and with the state as it was."""
    assert not any(isinstance(effect, Ignored) for effect in move.effects), move


OF_STATES = (
    the_status_is_honest,
    what_is_possible_is_under_way,
    time_runs_for_what_is_open_alone,
    a_no_turns_the_saga_round,
)

OF_MOVES = (
    a_cause_turns_the_saga_round_once,
    order_is_respected,
    what_is_undone_is_owed,
    nothing_is_undone_after_the_pivot,
    attempts_stay_within_their_budget,
    every_attempt_of_the_budget_is_made,
    every_command_has_its_timer,
    what_may_be_wrong_is_undone,
    what_changes_something_is_not_called_ignored,
)


def _status(witness: Witness) -> SagaStatus:
    if witness.abandoned:
        return SagaStatus.ABANDONED
    if witness.completed:
        return SagaStatus.COMPLETED
    if witness.compensated:
        return SagaStatus.COMPENSATED
    if witness.stuck:
        return SagaStatus.STUCK
    return SagaStatus.COMPENSATING if witness.turned else SagaStatus.RUNNING


def _new_cause(move: Move) -> Cause | None:
    match move.event:
        case CancelRequested():
            return Cause.CANCELLED
        case DeadlinePassed():
            return Cause.DEADLINE
        case Refused(step, Operation.ACTION) if _kind(move, step) is not StepKind.RETRIABLE:
            return Cause.REFUSED
        case ReplyGiven(succeeded=False):
            return Cause.REFUSED
        case Failed(step, Operation.ACTION) | TimerFired(step, Operation.ACTION) if _exhausts(move, step):
            return Cause.EXHAUSTED
        case _:
            return None


def _exhausts(move: Move, step: str) -> bool:
    known = move.before.witness.of_step(move.before.plan.index[step], ACTION)
    used_up = known.counted >= move.before.plan.steps[move.before.plan.index[step]].action.attempts
    gives_up = isinstance(move.event, Failed) and move.event.retry_after_seconds is None
    return _kind(move, step) is StepKind.COMPENSATABLE and known.awaited > 0 and (used_up or gives_up)


def _opens_round(move: Move, command: SendCommand) -> bool:
    """Whether it is the first of the first round, or of one that a person opens."""
    if command.attempt != 1:
        return False
    event = move.event
    by_person = isinstance(event, RetryRequested) and (event.step, event.operation) == (command.step, command.operation)
    known = move.heard.of_step(move.before.plan.index[command.step], command.operation)
    return command.round == known.round + 1 and (by_person or not known.asked)


def _commands(move: Move) -> list[SendCommand]:
    return [effect for effect in move.effects if isinstance(effect, SendCommand)]


def _timers(move: Move) -> list[StartTimer]:
    return [effect for effect in move.effects if isinstance(effect, StartTimer)]


def _kind(move: Move, step: str) -> StepKind:
    return move.before.plan.steps[move.before.plan.index[step]].kind
