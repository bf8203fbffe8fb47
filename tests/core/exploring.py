"""Exploring a plan: every state that can be reached meets every event that can happen."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from sagaflow.core.effects import Effect, Ignored
from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    CommandDeferred,
    CommandFailed,
    DeadlinePassed,
    Event,
    Failed,
    Refused,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
    Started,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import DONE, OPEN, Cause, OpState, OpStatus, SagaState, StepState, initial
from tests.core.plans import Layout
from tests.core.witness import RETRY_AFTER_SECONDS, Testimony, Verdict, Witness

STATES_MAX = 4_000
"""More than any of the plans has; a machine that is wrong may have no end of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A state, and what the witness of its history knows."""

    state: SagaState
    witness: Witness

    @classmethod
    def first(cls, plan: Plan) -> Node:
        """Before the first event."""
        return cls(initial(plan), Witness.of(Layout.of(plan)))

    @property
    def plan(self) -> Plan:
        """The plan of the saga."""
        return self.witness.plan


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """An event that changed something. `after` may stand for all nodes that differ from it in nothing that matters."""

    before: Node
    event: Event
    effects: tuple[Effect, ...]
    cause: Cause | None
    """Why the saga is rolled back after it."""
    heard: Witness
    """The witness after the event and before the effects."""
    after: Node


@dataclass
class Exploration:
    """All that can happen to the sagas of a plan."""

    plan: Plan
    moves: dict[Node, list[Move]] = field(default_factory=dict)
    """For each state that was explored, the events that change it."""
    edge: list[Node] = field(default_factory=list)
    """States beyond the last round that was explored."""
    transitions: int = 0

    @property
    def states(self) -> int:
        """How many states have met every event."""
        return len(self.moves)


def explore(plan: Plan, *, rounds: int = 1, exactly: bool = False) -> Exploration:
    """Let every reachable state meet every event, up to a number of rounds.

    Two states that differ in nothing that matters (see `essence`) count as one, unless `exactly` is asked for.
    """
    found = Exploration(plan)
    first = Node.first(plan)
    known: dict[Hashable, Node] = {_identity(first, exactly): first}
    waiting = deque([first])
    while waiting and found.states < STATES_MAX:
        node = waiting.popleft()
        if _latest_round(node.witness) > rounds:
            found.edge.append(node)
            continue
        moves = found.moves[node] = []
        for event in every_event(node.witness):
            found.transitions += 1
            state, effects = advance(plan, node.state, event)
            if _ignored(node, state, effects):
                continue
            heard, after = _step(node, event, state, effects)
            identity = _identity(after, exactly)
            if identity not in known:
                known[identity] = after
                waiting.append(after)
            moves.append(Move(node, event, _one_of(effects), state.cause, heard, known[identity]))
    return found


def happen(node: Node, event: Event) -> Move | None:
    """The move that an event makes; None if it changes nothing."""
    state, effects = advance(node.plan, node.state, event)
    if _ignored(node, state, effects):
        return None
    heard, after = _step(node, event, state, effects)
    return Move(node, event, effects, state.cause, heard, after)


def _ignored(node: Node, state: SagaState, effects: tuple[Effect, ...]) -> bool:
    """Whether an event is ignored as it should be: nothing changes, and all that follows is the reason."""
    return state is node.state and len(effects) == 1 and isinstance(effects[0], Ignored)


def _step(node: Node, event: Event, state: SagaState, effects: tuple[Effect, ...]) -> tuple[Witness, Node]:
    """What the witness has heard of an event, and the node after it."""
    heard = node.witness.heard(event)
    if node.state.cause is None and state.cause is not None:
        heard = heard.turned_round()
    witness = heard
    for effect in effects:
        witness = witness.saw(effect)
    return heard, Node(state, witness)


@cache
def _one_of(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    return effects


# Events.


def every_event(witness: Witness) -> Iterator[Event]:
    """Every kind of event, for every step and one that the saga does not have, for both operations, and for every
    attempt from the one that cannot be to the one that is not yet."""
    yield from (Started(), CancelRequested(), DeadlinePassed(), AbandonRequested())
    for place, step in enumerate(witness.plan.steps):
        for operation in Operation:
            known = witness.of_step(place, operation)
            yield from events_of(step.name, operation, known.round, known.latest)
    yield from _FOREIGN


@cache
def events_of(step: str, operation: Operation, round_: int, attempt: int) -> tuple[Event, ...]:
    """Every event about an operation of which this attempt is the latest, from 0 to one beyond it."""
    asked = [(of_round, of) for of_round in range(1, round_ + 1) for of in range(attempt + 2)]
    numbers = [(0, 1), *asked, (round_ + 1, 1)] if asked else [(1, 1)]
    return (*_by_person(step, operation), *(event for pair in numbers for event in _of_attempt(step, operation, *pair)))


def _by_person(step: str, operation: Operation) -> Iterator[Event]:
    yield RetryRequested(step, operation)
    yield RetryRequested(step, operation, other_input=True)
    yield ReplyGiven(step, operation, succeeded=True)
    yield ReplyGiven(step, operation, succeeded=False)
    yield SkipRequested(step, operation)


def _of_attempt(step: str, operation: Operation, round_: int, attempt: int) -> Iterator[Event]:
    which = (step, operation, round_, attempt)
    yield Succeeded(*which)
    yield Refused(*which)
    yield Failed(*which, RETRY_AFTER_SECONDS)
    yield Failed(*which, None)
    yield Unserved(*which, RETRY_AFTER_SECONDS)
    yield TimerFired(*which)
    yield CommandFailed(*which)
    yield CommandDeferred(*which, RETRY_AFTER_SECONDS)


_FOREIGN = [
    event
    for operation in Operation
    for event in (*_by_person("elsewhere", operation), *_of_attempt("elsewhere", operation, 1, 1))
]
"""What is said of a step that the saga does not have."""


# Which nodes count as one.


def _identity(node: Node, exactly: bool) -> Hashable:
    return _but_for_deferrals(node) if exactly else essence(node)


def _but_for_deferrals(node: Node) -> Hashable:
    """All of a node, but how often something was deferred: it makes a delay longer, and the states too many."""
    steps = tuple(
        StepState(replace(step.action, deferrals=0), replace(step.compensation, deferrals=0))
        for step in node.state.steps
    )
    operations = tuple(
        (replace(action, deferred=0), replace(compensation, deferred=0))
        for action, compensation in node.witness.operations
    )
    return replace(node.state, steps=steps), replace(node.witness, operations=operations)


def essence(node: Node) -> Hashable:
    """What matters of a node for all that can follow.

    Of what is settled the numbers do not matter, of what is stuck the used budget, of what waits how long. Once the
    saga has turned round it does not matter why, nor how a step came to owe something or nothing. Of steps that have
    the same place in the plan it does not matter which is which.
    """
    state, witness = node.state, node.witness
    turned = state.cause is not None
    steps = [
        (_essence_of_step(step, turned), _essence_of_testimony(testimony, witness.turned))
        for step, testimony in zip(state.steps, witness.operations, strict=True)
    ]
    by_twins = tuple(
        tuple(sorted((steps[place] for place in twins), key=hash)) if len(twins) > 1 else steps[twins[0]]
        for twins in witness.layout.twins
    )
    return (state.status, turned, by_twins, witness.started, witness.turned, witness.abandoned, witness.deadline)


def _essence_of_step(step: StepState, turned: bool) -> Hashable:
    if not turned:
        return _essence_of_op(step.action), _essence_of_op(step.compensation)
    owes = step.action.status in (OpStatus.SUCCEEDED, OpStatus.UNKNOWN) and step.compensation.status not in DONE
    return owes, _essence_of_op(step.compensation) if owes else step.compensation.status in OPEN


def _essence_of_op(op: OpState) -> Hashable:
    if op.status not in OPEN:
        return op.status
    again = op.again and op.status in (OpStatus.SENT, OpStatus.DEFERRED)
    return replace(op, again=again, deferrals=0)


def _essence_of_testimony(known: tuple[Testimony, Testimony], turned: bool) -> Hashable:
    action, compensation = known
    timers = (action.timer, compensation.timer)
    if not turned:
        return (_open(action) if action.verdict is Verdict.OPEN else action.verdict), compensation.verdict, timers
    owes = action.verdict in (Verdict.DONE, Verdict.MAYBE_DONE) and not compensation.done
    return owes, _open(compensation) if owes else compensation.verdict is Verdict.OPEN and compensation.asked, timers


def _open(known: Testimony) -> Testimony:
    counted = 0 if known.stuck and known.ever else known.counted
    return replace(known, counted=counted, deferred=0)


def _latest_round(witness: Witness) -> int:
    return max(known.round for both in witness.operations for known in both)
