"""The services of the example share no code, and understand each other all the same."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from payment.inventory import messages as inventory
from payment.inventory.steps import inventory as inventory_participant
from payment.orders import messages as orders
from payment.orders.checkout import authorize_card, capture_card, checkout, reserve_stock
from payment.orders.steps import orders as orders_participant
from payment.payments import messages as payments
from payment.payments.steps import payments as payments_participant
from sagaflow import Operation, Replies, StepKind
from sagaflow.demo import EXAMPLES

SERVICES = ("orders", "payments", "inventory")
ORDER = orders.Checkout("o-1", "teapot", 2, "good-1", 500)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_nothing_of_the_others(service: str) -> None:
    others = {f"payment.{other}" for other in SERVICES if other != service}
    files = list((EXAMPLES / "payment" / service).glob("*.py"))
    assert len(files) >= 4
    for file in files:
        assert not {name for name in imports(file) if name.startswith(tuple(others))}, file


def imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize(
    ("sent", "understood"),
    [
        (orders.AuthorizeCard("o-1", "good-1", 500), payments.AuthorizeCard("o-1", "good-1", 500)),
        (payments.CardAuthorized("a-1"), orders.CardAuthorized("a-1")),
        (orders.CaptureCard("a-1"), payments.CaptureCard("a-1")),
        (orders.ReserveStock("o-1", "teapot", 2), inventory.ReserveStock("o-1", "teapot", 2)),
    ],
)
def test_what_one_sends_the_other_understands(sent: object, understood: object) -> None:
    assert type(sent) is not type(understood)
    assert msgspec.json.decode(msgspec.json.encode(sent), type=type(understood)) == understood


def test_the_card_and_the_stock_are_seen_to_side_by_side() -> None:
    after = {step.name: step.after for step in checkout.plan.steps}
    assert after == {
        "orders.place_order": (),
        "payments.authorize_card": ("orders.place_order",),
        "inventory.reserve_stock": ("orders.place_order",),
        "payments.capture_card": ("payments.authorize_card", "inventory.reserve_stock"),
        "orders.approve_order": ("payments.capture_card",),
    }
    assert [step.name for step in checkout.plan.steps if step.kind is StepKind.PIVOT] == ["payments.capture_card"]


def test_the_money_is_taken_by_the_authorization_that_payments_has_answered() -> None:
    command = capture_card(ORDER, Replies({authorize_card: orders.CardAuthorized("a-1")}))
    assert command == orders.CaptureCard("a-1")


def test_the_goods_are_those_that_were_ordered() -> None:
    assert reserve_stock(ORDER, Replies()) == orders.ReserveStock("o-1", "teapot", 2)


def test_every_step_of_the_saga_is_served_and_can_be_undone() -> None:
    participants = {p.name: p for p in (orders_participant, payments_participant, inventory_participant)}
    for step in checkout.plan.steps:
        served = participants[step.participant].steps[step.handler]
        assert served.undo is not None or step.kind is not StepKind.COMPENSATABLE, step.name
    budget = checkout.plan.steps[checkout.plan.index[authorize_card.name]].budget(Operation.COMPENSATION)
    assert budget.attempts == 3, "so that those who watch the demo need not wait"
