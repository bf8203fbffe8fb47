"""The journal is the truth: folding it gives the state."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sagaflow.core.events import Event
from sagaflow.core.machine import advance
from sagaflow.core.plan import Plan
from tests.core.histories import fold, histories, journal

History = tuple[Plan, Sequence[Event]]


@settings(deadline=None, max_examples=200)
@given(histories())
def test_folding_the_journal_gives_the_state(history: History) -> None:
    """The events that changed something, one after the other from the beginning, lead to the state of the saga."""
    plan, events = history
    state, kept = journal(plan, events)
    assert fold(plan, kept) == state


@settings(deadline=None, max_examples=100)
@given(histories())
def test_ignored_events_in_the_journal_make_no_difference(history: History) -> None:
    """A journal that also holds what was ignored gives the same state."""
    plan, events = history
    state, _ = journal(plan, events)
    assert fold(plan, events) == state


@settings(deadline=None, max_examples=100)
@given(histories(), st.data())
def test_a_saga_goes_on_from_its_stored_state(history: History, data: st.DataObject) -> None:
    """Folding a journal in two parts, with the state stored between them, makes no difference."""
    plan, events = history
    cut = data.draw(st.integers(0, len(events)))
    state = fold(plan, events[:cut])
    for event in events[cut:]:
        state, _ = advance(plan, state, event)
    assert state == fold(plan, events)
