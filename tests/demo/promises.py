"""What the demo promises, checked on what it prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payment.orders.checkout import checkout
from sagaflow.core.state import SagaStatus
from sagaflow.demo.cast import FLAKY, PlannedOrder, plan_orders
from tests.demo.running import Ended


def expect_promises(ended: Ended, *, orders: int, killed: bool = False) -> None:
    """Every saga has ended as it should, and nothing is left running."""
    assert ended.code == 0, ended.errors
    assert "Traceback" not in ended.errors
    assert ended.left_over == []
    planned = plan_orders(orders)
    assert [line["key"] for line in ended.lines] == [order.key for order in planned]
    for order, line in zip(planned, ended.lines, strict=True):
        expect_saga(order, line, killed=killed)
    assert len({line["saga_id"] for line in ended.lines}) == orders
    assert len({line["trace_id"] for line in ended.lines}) == orders


def expect_saga(order: PlannedOrder, line: Mapping[str, Any], *, killed: bool) -> None:
    """One line is of this form and says what should be.

    A coordinator that was killed sends commands again under their numbers, and the second answer to the same
    attempt may be the better one.
    """
    assert list(line) == ["saga_id", "saga", "key", "status", "trace_id", "steps"]
    assert (line["saga"], line["status"]) == ("checkout", order.part.ends)
    assert len(line["trace_id"]) == 32
    assert all(list(step) == ["step", "op", "status", "attempts"] for step in line["steps"])
    actions = {step["step"]: step for step in line["steps"] if step["op"] == "action"}
    undone = {step["step"]: step for step in line["steps"] if step["op"] == "compensation"}
    assert list(actions) == [step.name for step in checkout.plan.steps]
    assert {step["status"] for step in undone.values()} <= {"SUCCEEDED"}
    if order.part.ends is SagaStatus.COMPLETED:
        assert {step["status"] for step in actions.values()} == {"SUCCEEDED"}
        assert undone == {}
    else:
        assert actions["payments.capture_card"] == {
            "step": "payments.capture_card",
            "op": "action",
            "status": "IDLE",
            "attempts": 0,
        }
        assert "orders.place_order" in undone
    if order.part is FLAKY and not killed:
        assert actions["payments.authorize_card"]["attempts"] >= 2
        assert actions["payments.capture_card"]["attempts"] >= 2
    if order.part.gets_stuck:
        assert undone["payments.authorize_card"]["attempts"] >= 4
