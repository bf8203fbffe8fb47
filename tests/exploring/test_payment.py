"""The payment example through everything that can go wrong, and four broken ones that are caught by name."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from payment.orders.checkout import checkout
from payment.payments import steps
from payment.payments.gateway import BOOKS
from payment.payments.messages import AuthorizeCard, CaptureCard, CardAuthorized
from payment.payments.steps import Database
from sagaflow import Participant, StepContext
from sagaflow.testing import CounterExample, End, explore
from sagaflow.testing.exploring.history import play
from sagaflow.testing.simulation.faults import Fault, Kind
from tests.exploring.shop import ORDER, all_or_nothing, gateway_in, services


def test_the_payment_example_survives_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = explore(
        checkout,
        ORDER,
        services=services(),
        check=all_or_nothing,
        begin=gateway_in(tmp_path, monkeypatch),
        pairs=80,
    )
    assert found.singles > 150
    assert found.pairs == 80
    assert {str(status) for status in found.ended} == {"COMPLETED", "COMPENSATED"}


log = logging.getLogger(__name__)


def payments_with(undo: Any) -> Participant[Database]:
    """The payments of the example, with another undo."""
    payments: Participant[Database] = Participant("payments")

    @payments.external_step("authorize_card")
    async def authorize_card(order: AuthorizeCard, ctx: StepContext[Database]) -> CardAuthorized:
        return await steps.authorize_card(order, ctx)

    authorize_card.compensation(undo)

    @payments.external_step("capture_card")
    async def capture_card(command: CaptureCard, ctx: StepContext[Database]) -> None:
        await steps.capture_card(command, ctx)

    return payments


def counter_example(undo: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is found when the card is given back like this."""
    with pytest.raises(CounterExample) as caught:
        explore(
            checkout,
            ORDER,
            services=services(payments_with(undo)),
            check=all_or_nothing,
            begin=gateway_in(folder, monkeypatch),
        )
    return str(caught.value)


def test_an_undo_that_forgets_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def undo(order: AuthorizeCard, authorized: CardAuthorized | None, ctx: StepContext[Database]) -> None:
        await ctx.tx.execute("UPDATE payments SET status = 'VOIDED' WHERE order_id = $1", order.order_id)

    story = counter_example(undo, tmp_path, monkeypatch)
    assert story.startswith("4200 cents are still set aside on the card")
    assert "an undo that forgets?" in story
    assert "payments.authorize_card" in story.split("an undo that forgets?")[1]


def test_an_undo_that_runs_twice_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def undo(order: AuthorizeCard, authorized: CardAuthorized | None, ctx: StepContext[Database]) -> None:
        await steps.void_authorization(order, authorized, ctx)
        with Path(steps.gateway.path).with_suffix(".gifts").open("a") as gifts:
            gifts.write("a voucher, for the trouble\n")

    def one_voucher_at_most(end: End) -> None:
        gifts = Path(end.outside.path).with_suffix(".gifts")
        given = gifts.read_text().splitlines() if gifts.exists() else []
        gifts.unlink(missing_ok=True)
        assert len(given) <= 1, f"the customer has {len(given)} vouchers"

    with pytest.raises(CounterExample) as caught:
        explore(
            checkout,
            ORDER,
            services=services(payments_with(undo)),
            check=one_voucher_at_most,
            begin=gateway_in(tmp_path, monkeypatch),
        )
    assert "the customer has 2 vouchers" in str(caught.value)
    assert "an undo that runs twice: the undo of payments.authorize_card was done 2 times" in str(caught.value)


def test_an_undo_that_needs_a_reply_it_may_not_have_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def undo(order: AuthorizeCard, authorized: CardAuthorized | None, ctx: StepContext[Database]) -> None:
        log.info("voiding %s", authorized.authorization)  # type: ignore[union-attr]  # that is the bug
        await steps.void_authorization(order, authorized, ctx)

    story = counter_example(undo, tmp_path, monkeypatch)
    assert story.startswith("it is stuck for ever at payments.authorize_card (compensation)")
    assert "an undo that needs a reply it may not have: the undo of payments.authorize_card" in story


def test_a_late_charge_after_its_refund_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def undo(order: AuthorizeCard, authorized: CardAuthorized | None, ctx: StepContext[Database]) -> None:
        if authorized is not None or await _is_known(ctx.action_key):
            await steps.gateway.void(order.card, key=ctx.action_key)

    async def _is_known(key: str) -> bool:
        """What is not there yet is not voided, and so can come later."""
        with closing(sqlite3.connect(steps.gateway.path)) as books:
            books.executescript(BOOKS)
            return books.execute("SELECT 1 FROM authorizations WHERE key = ?", (key,)).fetchone() is not None

    story = counter_example(undo, tmp_path, monkeypatch)
    assert story.startswith("4200 cents are still set aside on the card")
    assert "a late charge after its refund: payments.authorize_card was done after its undo" in story


@pytest.mark.parametrize(
    "meanwhile",
    [
        Fault(Kind.REFUSE, "handler.action", "payments.authorize_card", 2),
        Fault(Kind.STOP_AFTER, "handler.action", "payments.authorize_card", 2, 400.0),
    ],
    ids=lambda fault: str(fault.kind),
)
def test_who_stands_still_goes_on_in_a_world_that_has_gone_on(
    meanwhile: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused elsewhere is refused to it too; what waits while all stand still is delivered in the end."""
    frozen = Fault(Kind.STOP_BEFORE, "handler.action", "payments.authorize_card", 1, 400.0)
    told = play(
        checkout,
        ORDER,
        services(),
        [frozen, meanwhile],
        check=all_or_nothing,
        begin=gateway_in(tmp_path, monkeypatch),
    )
    assert told.problem is None
    assert list(told.met) == [frozen, meanwhile]
