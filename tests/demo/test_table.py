"""The table fits the screen and has a word for everything."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from rich.console import Console

from payment.orders.checkout import checkout
from sagaflow.core.state import Cause, OpState, OpStatus, SagaState, SagaStatus, StepState, initial
from sagaflow.definitions.records import SagaRecord
from sagaflow.demo.cast import plan_orders
from sagaflow.demo.table import View, cell_of, choose, draw_table, progress

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WIDEST_CELL = 9


def record(key: str, status: SagaStatus, *steps: StepState) -> SagaRecord:
    """A saga as the store has it."""
    return SagaRecord(
        saga_id=UUID(int=1),
        saga="checkout",
        key=key,
        coordinator="checkout",
        plan_hash="",
        secret=b"",
        traceparent="",
        input_digest=b"",
        version=1,
        state=SagaState(status, steps or initial(checkout.plan).steps, Cause.REFUSED),
        started_at=NOW - timedelta(seconds=75),
        updated_at=NOW,
    )


def view(count: int, *records: SagaRecord) -> View:
    return View(plan_orders(count), {one.key: one for one in records}, checkout.plan.index, NOW)


def drawn(view: View, width: int, rows_max: int = 100) -> Sequence[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    with console.capture() as capture:
        console.print(draw_table(view, width=width, rows_max=rows_max))
    return capture.get().splitlines()


STUCK = StepState(OpState(OpStatus.SUCCEEDED, 1, 1), OpState(OpStatus.STUCK, 1, 3))
REFUSED = StepState(OpState(OpStatus.REFUSED, 1, 1))
DONE = StepState(OpState(OpStatus.SUCCEEDED, 1, 1))
IDLE = StepState()
MIXED = (DONE, STUCK, REFUSED, IDLE, IDLE)


@pytest.mark.parametrize("width", [80, 94, 95, 100, 200])
def test_a_row_has_a_line(width: int) -> None:
    sagas = [record(f"order-{n:04}", status, *MIXED) for n, status in enumerate(SagaStatus)]
    lines = drawn(view(12, *sagas), width)
    assert len(lines) == 13
    assert max(map(len, lines)) <= width


def test_a_wide_table_has_words() -> None:
    lines = drawn(view(1, record("order-0001", SagaStatus.STUCK, *MIXED)), 100)
    assert lines[1].split() == [
        "0001",
        "all",
        "goes",
        "well",
        "✔",
        "done",
        "▲",
        "STUCK",
        "✘",
        "refused",
        "·",
        "·",
        "STUCK",
        "75.0s",
    ]


def test_a_narrow_table_has_icons() -> None:
    lines = drawn(view(1, record("order-0001", SagaStatus.STUCK, *MIXED)), 80)
    assert lines[1].split() == ["0001", "all", "goes", "well", "✔", "▲", "✘", "·", "·", "STUCK", "75.0s"]


def test_an_order_that_has_not_begun_waits() -> None:
    assert drawn(view(1), 100)[1].split() == ["0001", "all", "goes", "well", "·", "·", "·", "·", "·", "waiting"]


@pytest.mark.parametrize(("action", "compensation"), list(product(OpStatus, OpStatus)))
def test_there_is_a_word_for_everything(action: OpStatus, compensation: OpStatus) -> None:
    cell = cell_of(StepState(OpState(action, 1, 20), OpState(compensation, 1, 20)), "⠋")
    assert len(cell.draw(words=True)) <= WIDEST_CELL
    assert len(cell.draw(words=False)) == 1


def test_if_there_is_no_room_for_all_those_are_shown_that_something_happens_to() -> None:
    many = view(500, record("order-0400", SagaStatus.RUNNING), record("order-0001", SagaStatus.COMPLETED))
    shown = [order.key for order in choose(many, 10)]
    assert len(shown) == 9
    assert {"order-0003", "order-0400"} <= set(shown)
    assert shown == sorted(shown)
    lines = drawn(many, 80, rows_max=10)
    assert len(lines) == 11
    assert lines[-1].split() == ["…", "and", "491", "more"]


def test_progress_counts() -> None:
    many = view(5, record("order-0001", SagaStatus.COMPLETED), record("order-0002", SagaStatus.STUCK))
    assert progress(many).plain == "5 orders: 1 COMPLETED, 1 STUCK, 3 waiting"
