"""What holds of every saga: each reachable state of each small plan has met each event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from sagaflow.core.events import AbandonRequested, Event, ReplyGiven, SkipRequested, Started, TimerFired
from sagaflow.core.state import SagaStatus
from tests.core import laws
from tests.core.exploring import Exploration, Move, Node, essence

Explored = Sequence[Exploration]


def test_every_reachable_state_is_explored(explored: Explored) -> None:
    """Wherever an event leads is explored too, but for the rounds beyond those that were asked for."""
    for found in explored:
        reached = {move.after for move in _moves(found)}
        assert reached <= found.moves.keys() | set(found.edge)


def test_a_saga_that_has_ended_never_changes(explored: Explored) -> None:
    """No event whatever changes a saga that is completed, compensated or abandoned."""
    ended = [(found, node) for found in explored for node in found.moves if node.witness.ended]
    assert {node.state.status for _, node in ended} == {
        SagaStatus.COMPLETED,
        SagaStatus.COMPENSATED,
        SagaStatus.ABANDONED,
    }
    for found, node in ended:
        assert found.moves[node] == []


def test_every_saga_can_come_to_its_end(explored: Explored) -> None:
    """From every state, also from STUCK, all of it can still happen or be undone, without abandoning anything."""
    for found in explored:
        ends = [node for node in found.moves if node.witness.completed or node.witness.compensated]
        honest = [move for move in _moves(found) if not isinstance(move.event, AbandonRequested)]
        assert found.moves.keys() - _leading_to(ends, honest) == _abandoned(found)


def test_time_alone_brings_every_saga_to_its_end_or_to_a_person(explored: Explored) -> None:
    """When nobody ever answers, every saga ends or is stuck after finitely many timers."""
    for found in explored:
        for node, moves in found.moves.items():
            on_its_own = any(_by_time(move.event) for move in moves)
            assert on_its_own or node.witness.ended or node.witness.stuck, node
        assert _have_no_cycle(move for move in _moves(found) if _by_time(move.event))


def test_a_person_can_end_every_stuck_saga(explored: Explored) -> None:
    """A person can settle whatever is stuck, one after the other, or abandon the saga as it stands."""
    for found in explored:
        for node, moves in _stuck(found):
            after = [move.after.state.status for move in moves if isinstance(move.event, AbandonRequested)]
            assert after == [SagaStatus.ABANDONED]
            settled = {
                (move.event.step, move.event.operation)
                for move in moves
                if isinstance(move.event, SkipRequested | ReplyGiven)
            }
            assert settled >= set(_what_is_stuck(node))


def test_what_may_have_happened_is_compensated_and_nothing_else_is(explored: Explored) -> None:
    """A compensation is sent only for what happened or may have; a saga is COMPENSATED when none of it is owed."""
    _hold_of_moves(explored, laws.what_is_undone_is_owed)
    for found in explored:
        for node in found.moves:
            owed = any(node.witness.owed(place) for place in range(len(found.plan.steps)))
            assert node.state.status is not SagaStatus.COMPENSATED or not owed


def test_nothing_is_compensated_after_the_pivot(explored: Explored) -> None:
    """Once the pivot may have happened, no compensation is sent, and nothing but its own refusal turns the saga."""
    _hold_of_moves(explored, laws.nothing_is_undone_after_the_pivot)


def test_order_is_respected(explored: Explored) -> None:
    """An action is sent after all that it comes after is done, a compensation after all behind it is undone."""
    _hold_of_moves(explored, laws.order_is_respected)


def test_independent_steps_go_side_by_side(explored: Explored) -> None:
    """Whatever depends on nothing that is open is under way, forward and backward, also beside what is stuck."""
    _hold_of_states(explored, laws.what_is_possible_is_under_way)


def test_attempts_stay_within_their_budget(explored: Explored) -> None:
    """In no round is an operation sent more often than its budget allows, and only a person opens a new round."""
    _hold_of_moves(explored, laws.attempts_stay_within_their_budget)


def test_every_attempt_of_the_budget_is_made(explored: Explored) -> None:
    """An operation is given up only when its budget is used up, or the participant or a bug makes it hopeless."""
    _hold_of_moves(explored, laws.every_attempt_of_the_budget_is_made)


def test_late_duplicate_and_foreign_events_change_nothing(explored: Explored) -> None:
    """In every state exactly those events change something that the contract says count there."""
    for found in explored:
        for node, moves in found.moves.items():
            laws.what_counts_is_as_agreed(node, moves)
    _hold_of_moves(explored, laws.what_changes_something_is_not_called_ignored)


def test_a_saga_turns_round_once_and_for_a_cause(explored: Explored) -> None:
    """A refusal, used up attempts, a cancel or the deadline turn a saga round; the first cause remains."""
    _hold_of_moves(explored, laws.a_cause_turns_the_saga_round_once)
    _hold_of_states(explored, laws.a_no_turns_the_saga_round)


def test_the_status_is_honest(explored: Explored) -> None:
    """COMPLETED is all done, COMPENSATED nothing left, STUCK an operation that cannot go on by itself."""
    _hold_of_states(explored, laws.the_status_is_honest)


def test_what_a_person_says_was_not_done_is_undone_if_it_may_have_been(explored: Explored) -> None:
    """A person can be wrong, and a command can be late: only the pivot, which nothing undoes, is taken at the word."""
    _hold_of_moves(explored, laws.what_may_be_wrong_is_undone)


def test_timers_run_for_open_operations_alone(explored: Explored) -> None:
    """Every command starts its timer, no timer outlives its operation, and the deadline ends with the way forward."""
    _hold_of_moves(explored, laws.every_command_has_its_timer)
    _hold_of_states(explored, laws.time_runs_for_what_is_open_alone)


def test_the_laws_hold_when_no_two_states_are_taken_for_one(explored_exactly: Explored) -> None:
    """The plans explored exactly obey the same laws."""
    for found in explored_exactly:
        for node, moves in found.moves.items():
            laws.what_counts_is_as_agreed(node, moves)
    for of_state in laws.OF_STATES:
        _hold_of_states(explored_exactly, of_state)
    for of_move in laws.OF_MOVES:
        _hold_of_moves(explored_exactly, of_move)


def test_states_taken_for_one_have_one_future(explored_exactly: Explored) -> None:
    """What the exploration leaves out of a state does not matter: the same events lead to the same states."""
    for found in explored_exactly:
        futures: defaultdict[Hashable, set[frozenset[tuple[Event, Hashable]]]] = defaultdict(set)
        for node, moves in found.moves.items():
            futures[essence(node)].add(frozenset((move.event, essence(move.after)) for move in moves))
        assert max(map(len, futures.values())) == 1


def _hold_of_states(explored: Explored, law: Callable[[Node], None]) -> None:
    for found in explored:
        for node in found.moves:
            law(node)


def _hold_of_moves(explored: Explored, law: Callable[[Move], None]) -> None:
    for found in explored:
        for move in _moves(found):
            law(move)


def _moves(found: Exploration) -> Iterator[Move]:
    return (move for moves in found.moves.values() for move in moves)


def _stuck(found: Exploration) -> Iterator[tuple[Node, list[Move]]]:
    return ((node, moves) for node, moves in found.moves.items() if node.state.status is SagaStatus.STUCK)


def _what_is_stuck(node: Node) -> Iterator[tuple[str, str]]:
    for step, both in zip(node.plan.steps, node.witness.operations, strict=True):
        for operation, known in zip(("action", "compensation"), both, strict=True):
            if known.stuck:
                yield step.name, operation


def _abandoned(found: Exploration) -> set[Node]:
    return {node for node in found.moves if node.state.status is SagaStatus.ABANDONED}


def _by_time(event: Event) -> bool:
    return isinstance(event, Started | TimerFired)


def _leading_to(ends: Iterable[Node], moves: Iterable[Move]) -> set[Node]:
    """The nodes from which one of the ends can be reached by these moves."""
    origins = defaultdict(list)
    for move in moves:
        origins[move.after].append(move.before)
    leading: set[Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in leading:
            leading.add(node)
            waiting.extend(origins[node])
    return leading


def _have_no_cycle(moves: Iterable[Move]) -> bool:
    """Whether following the moves comes to an end: nodes without a way in can be removed until none is left."""
    ways_in: defaultdict[Node, int] = defaultdict(int)
    ways_out = defaultdict(list)
    for move in moves:
        ways_in[move.before] += 0
        ways_in[move.after] += 1
        ways_out[move.before].append(move.after)
    free = [node for node, count in ways_in.items() if count == 0]
    left = len(ways_in)
    while free:
        left -= 1
        for after in ways_out[free.pop()]:
            ways_in[after] -= 1
            if ways_in[after] == 0:
                free.append(after)
    return left == 0
