"""A canary: what is marked as sensitive in a command, and repeated by exceptions, is nowhere that people look."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from sagaflow import Coordinator, Participant, Replies, Retry, Saga, Sensitive, StepRejected, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions

CANARY = "4111-canary-1111"


class Pay(msgspec.Struct):
    how: str
    card: Annotated[str, Sensitive]


def fail(pay: Pay) -> None:
    """In each of the ways in which a handler can."""
    if pay.how == "refused":
        raise StepRejected(f"{pay.card} is declined")
    try:
        raise LookupError(repr(pay))
    except LookupError as error:
        raise ValueError(f"no account of {pay.card}") from error


shop = Saga("shop", Pay)


@shop.step("bank.hold", compensation_attempts=1)
def hold(pay: Pay, replies: Replies) -> Pay:
    """Is undone, or cannot be."""
    return pay


@shop.step("bank.take", attempts=1)
def take(pay: Pay, replies: Replies) -> Pay:
    """Never works."""
    return pay


def bank_of() -> Participant[Any]:
    """What it raises repeats the card."""
    bank: Participant[Any] = Participant("bank")

    @bank.step("hold")
    async def hold_now(pay: Pay) -> None: ...

    @hold_now.compensation(retry=Retry())
    async def release(pay: Pay) -> None:
        fail(msgspec.structs.replace(pay, how="failed"))

    @bank.step("take", no_compensation="it never works")
    async def take_now(pay: Pay) -> None:
        fail(pay)

    return bank


@pytest.mark.parametrize("how", ["refused", "failed"])
async def test_a_sensitive_value_is_in_no_error(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    transport = InProcessTransport()
    async with (
        SqliteStore(tmp_path / "sagas") as store,
        SqliteTransactions(tmp_path / "bank") as transactions,
        serve(bank_of(), transport=transport, transactions=transactions),
        Coordinator([shop], store=store, transport=transport) as sagas,
    ):
        run = await sagas.start(shop, Pay(how, CANARY), key="one")
        outcome = await run.outcome(timeout=20)
        journal = await store.journal(run.saga_id)
        report = await sagas.report(run.saga_id)
    errors = [entry.error for entry in journal if entry.error is not None]
    assert len(errors) >= 2
    assert all("***" in error.message for error in errors)
    assert any("***" in error.traceback for error in errors)
    for told in (outcome, errors, report, caplog.text):
        assert CANARY not in repr(told)
