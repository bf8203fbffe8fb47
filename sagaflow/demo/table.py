"""The table of orders: a row for each, a cell for each step. Pure: it draws what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from payment.orders.checkout import approve_order, authorize_card, capture_card, place_order, reserve_stock
from sagaflow.core.state import ENDED, OpState, OpStatus, SagaStatus, StepState
from sagaflow.definitions.records import SagaRecord
from sagaflow.demo.cast import PlannedOrder

FULL_WIDTH: Final = 95
"""From this width on cells have words; below it, icons only."""

FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_A_SECOND: Final = 10

DONE, UNDONE, REFUSED, STUCK, AGAIN, UNKNOWN, IDLE = "✔", "↶", "✘", "▲", "↻", "?", "·"

COLUMNS: Final = (
    (place_order, "place", "order"),
    (authorize_card, "card", "card"),
    (reserve_stock, "stock", "stock"),
    (capture_card, "capture", "capt."),
    (approve_order, "approve", "appr."),
)
"""The step of each column, and its titles: wide, narrow."""

STATUS_STYLES: Final[Mapping[SagaStatus | None, str]] = {
    None: "dim",
    SagaStatus.RUNNING: "cyan",
    SagaStatus.COMPENSATING: "yellow",
    SagaStatus.COMPLETED: "green",
    SagaStatus.COMPENSATED: "blue",
    SagaStatus.STUCK: "bold white on red",
    SagaStatus.ABANDONED: "red",
}


@dataclass(frozen=True)
class Cell:
    """What is said of a step."""

    icon: str
    word: str
    style: str

    def draw(self, *, words: bool) -> Text:
        """The cell, as wide as there is room for."""
        return Text(f"{self.icon} {self.word}" if words and self.word else self.icon, style=self.style, no_wrap=True)


@dataclass(frozen=True)
class View:
    """What the table is drawn from: the planned orders, their sagas as far as they have begun, the positions of
    the steps in the plan, and the time."""

    orders: Sequence[PlannedOrder]
    records: Mapping[str, SagaRecord]
    places: Mapping[str, int]
    now: datetime

    @property
    def frame(self) -> str:
        """The picture of the moment of something that moves."""
        return FRAMES[int(self.now.timestamp() * FRAMES_A_SECOND) % len(FRAMES)]


def draw_table(view: View, *, width: int, rows_max: int) -> Table:
    """The table. If there are more orders than rows, those are shown that there is something to see of."""
    words = width >= FULL_WIDTH
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=False)
    table.add_column("order", no_wrap=True)
    table.add_column("what is special", no_wrap=True, width=18)
    for _, title, short_title in COLUMNS:
        table.add_column(title if words else short_title, no_wrap=True, width=9 if words else 5)
    table.add_column("saga", no_wrap=True, width=14)
    table.add_column("time", no_wrap=True, justify="right", width=5)
    shown = choose(view, rows_max)
    for order in shown:
        table.add_row(*_row(order, view, words=words))
    if len(shown) < len(view.orders):
        table.add_row("…", Text(f"and {len(view.orders) - len(shown)} more", style="dim"))
    return table


def legend(*, width: int) -> Text | None:
    """What the icons mean, where there is no room for words."""
    if width >= FULL_WIDTH:
        return None
    meanings = {DONE: "done", REFUSED: "refused", AGAIN: "again", UNKNOWN: "unknown", UNDONE: "undone", STUCK: "stuck"}
    return Text("   ".join(f"{icon} {meaning}" for icon, meaning in meanings.items()), style="dim")


def choose(view: View, rows_max: int) -> Sequence[PlannedOrder]:
    """The orders to show: all, or those at which something happens, then those that are special."""
    if len(view.orders) <= rows_max:
        return view.orders

    def dullness(order: PlannedOrder) -> tuple[int, str]:
        record = view.records.get(order.key)
        moves = record is not None and record.status not in ENDED
        ranks = [order.part.gets_stuck, moves, order.part.ends is not SagaStatus.COMPLETED, record is not None]
        return (ranks.index(True) if True in ranks else len(ranks), order.key)

    chosen = sorted(view.orders, key=dullness)[: max(0, rows_max - 1)]
    return sorted(chosen, key=lambda order: order.key)


def progress(view: View) -> Text:
    """How far it all is, in a line."""
    statuses = (view.records[order.key].status if order.key in view.records else "waiting" for order in view.orders)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(Counter(map(str, statuses)).items()))
    return Text(f"{len(view.orders)} orders: {counts}", style="dim")


def _row(order: PlannedOrder, view: View, *, words: bool) -> Iterator[Text]:
    record = view.records.get(order.key)
    yield Text(order.key.removeprefix("order-"), style="bold")
    yield Text(order.part.title, style="" if order.part.ends is SagaStatus.COMPLETED else "italic")
    for step, *_ in COLUMNS:
        state = StepState() if record is None else record.state.steps[view.places[step.name]]
        yield cell_of(state, view.frame).draw(words=words)
    yield _status(record)
    yield _time(record, view.now)


def _status(record: SagaRecord | None) -> Text:
    status = None if record is None else record.status
    return Text("waiting" if status is None else status, style=STATUS_STYLES[status])


def _time(record: SagaRecord | None, now: datetime) -> Text:
    if record is None or record.started_at is None or record.updated_at is None:
        return Text("")
    until = record.updated_at if record.state.ended else now
    return Text(f"{max(0.0, (until - record.started_at).total_seconds()):.1f}s", style="dim")


def cell_of(step: StepState, frame: str) -> Cell:
    """What to say of a step: how far it is undone, if it is to be; otherwise how far it is done."""
    if step.compensation.status is not OpStatus.IDLE:
        return _compensation(step.compensation, frame)
    return _action(step.action, frame)


def _action(op: OpState, frame: str) -> Cell:
    match op.status:
        case OpStatus.IDLE:
            return Cell(IDLE, "", "dim")
        case OpStatus.SENT if op.attempt > 1:
            return Cell(frame, f"try {op.attempt}", "yellow")
        case OpStatus.SENT:
            return Cell(frame, "sent", "cyan")
        case OpStatus.WAITING | OpStatus.DEFERRED:
            return Cell(AGAIN, "again", "yellow")
        case OpStatus.SUCCEEDED:
            return Cell(DONE, "done", "green")
        case OpStatus.REFUSED:
            return Cell(REFUSED, "refused", "red")
        case OpStatus.UNKNOWN:
            return Cell(UNKNOWN, "unknown", "yellow")
        case OpStatus.STUCK | OpStatus.SKIPPED:
            return _by_person(op.status)


def _compensation(op: OpState, frame: str) -> Cell:
    match op.status:
        case OpStatus.SENT:
            return Cell(frame, f"undo {op.attempt}" if op.attempt > 1 else "undoing", "yellow")
        case OpStatus.WAITING | OpStatus.DEFERRED:
            return Cell(AGAIN, f"undo {op.attempt}", "yellow")
        case OpStatus.SUCCEEDED:
            return Cell(UNDONE, "undone", "blue")
        case _:
            return _by_person(op.status)


def _by_person(status: OpStatus) -> Cell:
    if status is OpStatus.STUCK:
        return Cell(STUCK, "STUCK", "bold white on red")
    return Cell(DONE, "skipped", "magenta")
