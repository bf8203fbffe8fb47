"""The laws of every saga, on random histories of plans that are too large to be explored."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings

from sagaflow.core.events import Event
from sagaflow.core.plan import Plan
from tests.core import laws
from tests.core.exploring import Move, Node, happen
from tests.core.histories import histories


@settings(deadline=None, max_examples=300)
@given(histories())
def test_the_laws_hold_on_any_way_through_any_plan(history: tuple[Plan, Sequence[Event]]) -> None:
    """Whatever happens to a saga of up to seven steps, however often, it obeys the laws of the small ones."""
    plan, events = history
    node = Node.first(plan)
    for event in events:
        move = happen(node, event)
        assert (move is not None) == (event in set(node.witness.what_counts()))
        if move is not None:
            _obeys(move)
            node = move.after


def _obeys(move: Move) -> None:
    for of_move in laws.OF_MOVES:
        of_move(move)
    for of_state in laws.OF_STATES:
        of_state(move.after)
