"""Random plans, and random histories of their sagas, for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from hypothesis import strategies as st

from sagaflow.core.effects import Ignored
from sagaflow.core.events import AbandonRequested, CancelRequested, DeadlinePassed, Event, SkipRequested
from sagaflow.core.machine import advance
from sagaflow.core.plan import Budget, OnStuck, Plan, PlannedStep, StepKind
from sagaflow.core.state import SagaState, initial
from tests.core.exploring import Node, every_event, happen
from tests.core.plans import plan_of, step

SIZE_MAX = 7
ATTEMPTS_MAX = 3
EVENTS_MAX = 40


def fold(plan: Plan, events: Sequence[Event]) -> SagaState:
    """The state that a history leads to."""

    def after(state: SagaState, event: Event) -> SagaState:
        return advance(plan, state, event)[0]

    return reduce(after, events, initial(plan))


def journal(plan: Plan, events: Sequence[Event]) -> tuple[SagaState, list[Event]]:
    """The state that a history leads to, and what of it changed something."""
    state, kept = initial(plan), []
    for event in events:
        state, effects = advance(plan, state, event)
        if not any(isinstance(effect, Ignored) for effect in effects):
            kept.append(event)
    return state, kept


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any sound plan of some steps, also wide ones."""
    size = draw(st.integers(1, SIZE_MAX))
    turning_point = draw(st.integers(0, size - 1) | st.none())
    names = [f"step-{place}" for place in range(size)]
    steps = [
        _budgeted(draw, step(name, *_standing(draw, place, turning_point, names))) for place, name in enumerate(names)
    ]
    return plan_of(
        *steps, deadline_seconds=draw(st.sampled_from([None, 600.0])), on_stuck=draw(st.sampled_from(OnStuck))
    )


def _standing(
    draw: st.DrawFn, place: int, turning_point: int | None, names: Sequence[str]
) -> tuple[StepKind, Sequence[str]]:
    """What a step is, and what it comes after."""
    before = draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else []
    if turning_point is None or place < turning_point:
        return StepKind.COMPENSATABLE, before
    if place == turning_point:
        return StepKind.PIVOT, names[:place]
    return StepKind.RETRIABLE, sorted({*before, names[turning_point]})


def _budgeted(draw: st.DrawFn, planned: PlannedStep) -> PlannedStep:
    attempts = st.integers(1, ATTEMPTS_MAX)
    return replace(planned, action=Budget(60.0, draw(attempts)), compensation=Budget(30.0, draw(attempts)))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Plan, Sequence[Event]]:
    """A plan and a history of one saga of it: mostly what can happen next, and sometimes anything."""
    plan = draw(plans())
    node, events = Node.first(plan), []
    for _ in range(draw(st.integers(0, EVENTS_MAX))):
        event = draw(st.sampled_from(_choice(draw, node)))
        events.append(event)
        move = happen(node, event)
        node = node if move is None else move.after
    return plan, events


def _choice(draw: st.DrawFn, node: Node) -> Sequence[Event]:
    counts = list(node.witness.what_counts())
    likely = [event for event in counts if not isinstance(event, _DRASTIC)]
    favour = draw(st.integers(0, 9))
    if favour > 1 and likely:
        return likely
    return counts if favour and counts else list(every_event(node.witness))


_DRASTIC = (AbandonRequested, CancelRequested, DeadlinePassed, SkipRequested)
