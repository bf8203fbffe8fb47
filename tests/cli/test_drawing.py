"""A plan is drawn in a terminal: the lines lead from each step to those that come after it, and nowhere else."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaflow.cli.drawing import drawing, rows_of, standing_of
from sagaflow.core.plan import Plan, PlannedStep, StepKind
from sagaflow.core.state import Cause, OpState, OpStatus, SagaState, SagaStatus, StepState
from sagaflow.definitions.records import SagaRecord

IDLE, DONE = OpState(), OpState(OpStatus.SUCCEEDED, 1, 1)


def plan_of(after: dict[str, list[str]], pivot: str | None = None) -> Plan:
    kinds = {name: StepKind.PIVOT if name == pivot else StepKind.COMPENSATABLE for name in after}
    steps = [PlannedStep(name, "travel", name, kinds[name], tuple(befores)) for name, befores in after.items()]
    return Plan("trip", 1, tuple(steps))


def record_of(*steps: StepState, cause: Cause | None = None) -> SagaRecord:
    return SagaRecord(
        saga_id=UUID(int=1),
        saga="trip",
        key="1",
        coordinator="trip",
        plan_hash="",
        secret=b"",
        traceparent="",
        input_digest=b"",
        version=1,
        state=SagaState(SagaStatus.RUNNING, steps, cause),
    )


TRIP = plan_of(
    {"seat": [], "room": ["seat"], "car": ["seat"], "guide": ["seat"], "pay": ["room", "car", "guide"]}, pivot="pay"
)
RECORD = record_of(
    StepState(DONE),
    StepState(OpState(OpStatus.UNKNOWN, 1, 5), OpState(OpStatus.STUCK, 1, 3)),
    StepState(OpState(OpStatus.REFUSED, 1, 1)),
    StepState(DONE, DONE),
    StepState(),
    cause=Cause.REFUSED,
)


def test_a_plan_is_drawn_with_where_the_saga_stands() -> None:
    assert drawing(TRIP, RECORD, 80).plain.splitlines() == [
        "✓      seat   done; to be undone",
        "├─┬─╮",
        "! │ │  room   its undo is stuck (attempt 3)",
        "│ ✗ │  car    refused",
        "│ │ ↩  guide  undone",
        "├─┴─╯",
        "○      pay    point of no return; not begun",
    ]


def test_it_needs_no_more_than_ascii() -> None:
    drawn = drawing(TRIP, RECORD, 80, ascii_only=True).plain
    assert drawn.isascii()
    assert drawn.splitlines()[1:3] == ["|-+-\\", "! | |  room   its undo is stuck (attempt 3)"]


def test_words_that_are_long_go_on_beside_the_lanes() -> None:
    lines = drawing(TRIP, RECORD, 36).plain.splitlines()
    at = lines.index("! │ │  room   its undo is stuck")
    assert lines[at + 1] == "│ │ │         (attempt 3)"
    assert max(map(len, lines)) <= 36


@pytest.mark.parametrize("width", [80, 100])
def test_a_plan_that_is_too_wide_for_lanes_says_what_comes_after_what(width: int) -> None:
    names = [f"step-{number}" for number in range(20)]
    wide = plan_of({name: [] for name in names} | {"end": names})
    lines = drawing(wide, record_of(*[StepState()] * 21), width).plain.splitlines()
    assert lines[0] == "○  step-0   not begun"
    assert " ".join(" ".join(lines[20:]).split()) == f"○ end not begun; after {', '.join(names)}"
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("action", OpStatus)
@pytest.mark.parametrize("undo", [status for status in OpStatus if status not in (OpStatus.REFUSED, OpStatus.UNKNOWN)])
def test_every_standing_has_a_mark_and_words(action: OpStatus, undo: OpStatus) -> None:
    told = standing_of(TRIP.steps[0], StepState(OpState(action, 1, 1), OpState(undo, 1, 1)), Cause.REFUSED)
    assert len(told.mark) == 1
    assert told.words


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    after: dict[str, list[str]] = {}
    for number in range(draw(st.integers(1, 9))):
        after[f"s{number}"] = draw(st.lists(st.sampled_from(sorted(after)), unique=True, max_size=4)) if after else []
    return plan_of(after)


@given(plans())
def test_the_lines_lead_from_each_step_to_those_that_come_after_it(plan: Plan) -> None:
    told = {
        (before, place)
        for place, befores in enumerate(plan.before)
        for before in befores
        if not any(other in plan.behind[before] for other in befores)
    }
    assert traced(plan) == told


def traced(plan: Plan) -> set[tuple[int, int]]:
    """Which steps the lines of the drawing join: they are followed downwards and sideways, never up."""
    rows = rows_of(plan)
    assert [row.place for row in rows if row.place is not None] == list(range(len(plan.steps)))
    found: set[tuple[int, int]] = set()
    for start, row in enumerate(rows):
        if row.place is None:
            continue
        ways = [(start + 1, row.lanes.index("○"), "down")]
        while ways:
            line, column, way = ways.pop()
            lanes = rows[line].lanes if line < len(rows) else ""
            sign = lanes[column] if column < len(lanes) else " "
            if sign == "○" and way == "down":
                reached = rows[line].place
                assert reached is not None
                found.add((row.place, reached))
            ways += [(line + (to == "down"), column + STEPS[to], to) for to in TURNS.get((sign, way), ())]
    return found


STEPS = {"down": 0, "left": -1, "right": 1}
TURNS = {
    ("│", "down"): ("down",),
    ("├", "down"): ("down", "right"),
    ("├", "left"): ("down",),
    ("╯", "down"): ("left",),
    ("┴", "down"): ("left",),
    ("┴", "left"): ("left",),
    ("╮", "right"): ("down",),
    ("┬", "right"): ("down", "right"),
    ("┼", "down"): ("down",),
    ("┼", "left"): ("left",),
    ("┼", "right"): ("right",),
    ("─", "left"): ("left",),
    ("─", "right"): ("right",),
}
