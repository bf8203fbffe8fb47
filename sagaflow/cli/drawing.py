"""A plan as a drawing in a terminal: a line for each step, with where it stands. Pure, and the same without colours.

    ✓    flights.book   done
    ├─╮
    ✓ │  hotels.book    done; to be undone
    │ ✗  cars.book      refused
    ├─╯
    ○    bank.pay       point of no return; not begun

Each step is below those that it comes after, and the lines lead from these to it; what runs side by side has a lane of
its own. In a wider plan than fits beside its words there are no lanes, and each step says what it comes after.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from sagaflow.cli.graph import WORDS
from sagaflow.cli.options import moment
from sagaflow.core.plan import Operation, Plan, PlannedStep, StepKind
from sagaflow.core.state import Cause, OpState, OpStatus, StepState
from sagaflow.definitions.messages import printable
from sagaflow.definitions.records import SagaRecord
from sagaflow.runners.overviews import next_at_of

LANES_MAX: Final = 12
"""A plan with more lanes than this is drawn without."""

NAME_SHARE: Final = 0.5
"""How much of the width a name may take."""

WORDS_MIN: Final = 20
"""Characters that the words beside a step have at least."""

GAPS: Final = 4
"""Characters between lanes, name and words."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a step stands: a mark and words that say the same."""

    mark: str
    words: str
    style: str = ""


ACTIONS: Final[Mapping[OpStatus, Standing]] = {
    OpStatus.IDLE: Standing("○", "not begun", "dim"),
    OpStatus.SENT: Standing("▶", "running", "cyan"),
    OpStatus.WAITING: Standing("…", "failed, waits for its next attempt", "yellow"),
    OpStatus.DEFERRED: Standing("…", "waits: nobody can do it now", "yellow"),
    OpStatus.SUCCEEDED: Standing("✓", "done", "green"),
    OpStatus.REFUSED: Standing("✗", "refused", "red"),
    OpStatus.UNKNOWN: Standing("?", "perhaps done", "yellow"),
    OpStatus.STUCK: Standing("!", "stuck", "bold red"),
    OpStatus.SKIPPED: Standing("»", "settled by hand", "green"),
}

UNDOS: Final[Mapping[OpStatus, Standing]] = {
    OpStatus.SENT: Standing("◀", "being undone", "cyan"),
    OpStatus.WAITING: Standing("…", "its undo failed, and waits for its next attempt", "yellow"),
    OpStatus.DEFERRED: Standing("…", "its undo waits: nobody can do it now", "yellow"),
    OpStatus.SUCCEEDED: Standing("↩", "undone", "blue"),
    OpStatus.STUCK: Standing("!", "its undo is stuck", "bold red"),
    OpStatus.SKIPPED: Standing("»", "its undo was settled by hand", "blue"),
}
"""Of a compensation that was asked for, in place of its action."""

_PLAIN: Final = str.maketrans("✓▶◀…✗↩»○│├─╮╯┬┴┼", "+><~x</o||-\\/+++")
"""For terminals that know no more than ASCII."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the drawing: the lanes, the step that is in it, if one is, and the lanes as they go on below."""

    lanes: str
    place: int | None = None
    below: str = ""


def standing_of(step: PlannedStep, state: StepState, cause: Cause | None) -> Standing:
    """Where a step of a saga stands, which is undone for `cause` or goes forward."""
    undo = UNDOS.get(state.compensation.status)
    if undo is not None:
        told = Standing(undo.mark, _with_attempt(undo.words, state.compensation), undo.style)
    else:
        action = ACTIONS[state.action.status]
        owed = (
            "; to be undone"
            if cause is not None
            and step.kind is StepKind.COMPENSATABLE
            and state.action.status in (OpStatus.SUCCEEDED, OpStatus.UNKNOWN)
            else ""
        )
        told = Standing(action.mark, _with_attempt(action.words, state.action) + owed, action.style)
    if step.kind is not StepKind.PIVOT:
        return told
    return Standing(told.mark, f"{WORDS[StepKind.PIVOT]}; {told.words}", told.style)


def rows_of(plan: Plan) -> Sequence[Row]:
    """The lanes of a plan."""
    return list(_rows(plan))


def drawing(plan: Plan, record: SagaRecord, width: int, *, ascii_only: bool = False) -> Text:
    """A plan with where a saga stands in it, in lines of at most `width` characters."""
    rows = rows_of(plan)
    lanes_width = max(len(row.lanes) for row in rows)
    name_width = min(max(len(step.name) for step in plan.steps), max(1, int(width * NAME_SHARE)))
    room = width - name_width - GAPS
    has_lanes = lanes_width <= 2 * LANES_MAX - 1 and lanes_width + WORDS_MIN <= room
    if not has_lanes:
        rows, lanes_width = [Row("○", place) for place in range(len(plan.steps))], 1
    words_width = max(WORDS_MIN, room - lanes_width)
    drawn = Text()
    for row in rows:
        if row.place is None:
            drawn.append(f"{row.lanes}\n", style="dim")
            continue
        step, state = plan.steps[row.place], record.state.steps[row.place]
        told = standing_of(step, state, record.state.cause)
        words = told.words + _next(record, step, state)
        if not has_lanes and step.after:
            words += f"; after {', '.join(step.after)}"
        first, *others = textwrap.wrap(printable(words), words_width) or [""]
        before, _, after = row.lanes.partition("○")
        drawn.append(before, style="dim").append(told.mark, style=told.style)
        drawn.append(after.ljust(lanes_width - len(before) - 1), style="dim")
        drawn.append(f"  {_cropped(step.name, name_width):{name_width}}  ", style="bold")
        drawn.append(f"{first}\n", style=told.style)
        for other in others:
            drawn.append(f"{row.below:{lanes_width}}", style="dim").append(" " * (name_width + GAPS))
            drawn.append(f"{other}\n", style=told.style)
    drawn.rstrip()
    return _plain(drawn) if ascii_only else drawn


# The lanes. Each leads to the step that it is named for; a step takes the first of those that lead to it.


def _rows(plan: Plan) -> Iterator[Row]:
    direct = _direct(plan)
    lanes: list[int | None] = []
    ended: int | None = None  # what begins right below a step that leads nowhere would seem to come after it
    for place in range(len(plan.steps)):
        joined = [at for at, target in enumerate(lanes) if target == place]
        at = joined[0] if joined else _free(lanes, 0, but=ended)
        if len(joined) > 1:
            yield Row(_across(lanes, joined, last="╯", middle="┴"))
            for other in joined[1:]:
                lanes[other] = None
        lanes[at] = place
        targets = [later for later in range(len(plan.steps)) if place in direct[later]]
        node = "".join(["○" if one == at else _line(target) for one, target in enumerate(lanes)])
        lanes[at] = targets[0] if targets else None
        ended = None if targets else at
        yield Row(_spaced(node), place, _spaced("".join(map(_line, lanes))))
        opened = [at]
        for target in targets[1:]:
            opened.append(_free(lanes, at + 1))
            lanes[opened[-1]] = target
        if len(opened) > 1:
            yield Row(_across(lanes, sorted(opened), last="╮", middle="┬"))


def _direct(plan: Plan) -> Sequence[frozenset[int]]:
    """For each step those that it comes after with no other in between: the rest goes without saying."""
    return [
        frozenset(one for one in befores if not any(other in plan.behind[one] for other in befores))
        for befores in plan.before
    ]


def _free(lanes: list[int | None], start: int, *, but: int | None = None) -> int:
    """The first lane from `start` on that leads nowhere, other than one."""
    at = start
    while at == but or (at < len(lanes) and lanes[at] is not None):
        at += 1
    lanes += [None] * (at + 1 - len(lanes))
    return at


def _across(lanes: Sequence[int | None], ends: Sequence[int], *, last: str, middle: str) -> str:
    """A line across the lanes, from the first of `ends` to the others."""
    drawn: list[str] = []
    for at, target in enumerate(lanes):
        inside = ends[0] < at < ends[-1]
        if at == ends[0]:
            sign = "├"
        elif at == ends[-1]:
            sign = last
        elif at in ends:
            sign = middle
        elif inside:
            sign = "─" if target is None else "┼"
        else:
            sign = _line(target)
        drawn += [sign, "─" if ends[0] <= at < ends[-1] else " "]
    return "".join(drawn).rstrip()


def _line(target: int | None) -> str:
    return " " if target is None else "│"


def _spaced(signs: str) -> str:
    return " ".join(signs).rstrip()


# Words.


def _with_attempt(words: str, op: OpState) -> str:
    is_again = op.attempt > 1 and op.status in (OpStatus.SENT, OpStatus.WAITING, OpStatus.STUCK)
    return f"{words} (attempt {op.attempt})" if is_again else words


def _next(record: SagaRecord, step: PlannedStep, state: StepState) -> str:
    for operation in (Operation.COMPENSATION, Operation.ACTION):
        if state.op(operation).status in (OpStatus.WAITING, OpStatus.DEFERRED):
            next_at = next_at_of(record, step.name, operation)
            return "" if next_at is None else f", next {moment(next_at)}"
    return ""


def _cropped(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _plain(drawn: Text) -> Text:
    return Text(drawn.plain.translate(_PLAIN), spans=drawn.spans)
