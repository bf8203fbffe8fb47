"""A canary: what is marked as sensitive in a command, and repeated by exceptions, is nowhere that people look."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest

from sagaflow import Coordinator, Participant, Replies, Retry, Saga, Sensitive, StepContext, StepRejected, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.core.plan import Operation
from sagaflow.definitions.ids import new_id
from sagaflow.definitions.messages import Command
from sagaflow.definitions.payloads import encode
from sagaflow.definitions.records import PutAside
from sagaflow.runners.allowance import Allowance
from sagaflow.runners.barrier import Barrier, Order, told
from tests.runners.world import until

CANARY = "4111-canary-1111"
GIVEN = "receipt-canary-17"


class Pay(msgspec.Struct):
    how: str
    card: Annotated[str, Sensitive]


class Receipt(msgspec.Struct):
    number: Annotated[str, Sensitive]
    kind: Literal["paper"] = "paper"


def fail(pay: Pay) -> None:
    """In each of the ways in which a handler can."""
    if pay.how == "refused":
        raise StepRejected(f"{pay.card} is declined")
    try:
        raise LookupError(repr(pay))
    except LookupError as error:
        raise ValueError(f"no account of {pay.card}") from error


shop = Saga("shop", Pay)


@shop.step("bank.hold", reply=Receipt, compensation_attempts=1)
def hold(pay: Pay, replies: Replies) -> Pay:
    """Is undone, or cannot be."""
    return pay


@shop.step("bank.take", attempts=1)
def take(pay: Pay, replies: Replies) -> Pay:
    """Never works, or cannot even be asked for."""
    if pay.how == "no command":
        raise ValueError(f"{pay} after {replies[hold]}")
    return pay


def bank_of() -> Participant[Any]:
    """What it raises repeats the card."""
    bank: Participant[Any] = Participant("bank")

    @bank.step("hold")
    async def hold_now(pay: Pay) -> Receipt:
        return Receipt(GIVEN)

    @hold_now.compensation(retry=Retry())
    async def release(pay: Pay, receipt: Receipt) -> None:
        raise ValueError(f"{receipt} is unknown, as is {pay.card}")

    @bank.step("take", no_compensation="it never works")
    async def take_now(pay: Pay) -> None:
        fail(pay)

    return bank


@pytest.mark.parametrize("how", ["refused", "failed", "no command"])
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
    assert len(errors) == (1 if how == "no command" else 2)
    assert all("***" in error.message for error in errors)
    assert any("***" in error.traceback for error in errors)
    for shown in (outcome, errors, report, caplog.text):
        assert CANARY not in repr(shown)
        assert GIVEN not in repr(shown)


class Quoting(SqliteStore):
    """A store that cannot keep what is answered, and says what that was."""

    refuses = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with super().transaction() as tx:
            yield tx
            if self.refuses:
                raise RuntimeError(f"Failing row contains ({GIVEN})")


async def test_a_reply_that_cannot_be_kept_is_put_aside_without_what_the_store_quotes(tmp_path: Path) -> None:
    transport = InProcessTransport()
    async with (
        Quoting(tmp_path / "sagas") as store,
        SqliteTransactions(tmp_path / "bank") as transactions,
        Coordinator([shop], store=store, transport=transport) as sagas,
    ):
        await sagas.start(shop, Pay("failed", CANARY), key="one")
        store.refuses = True
        async with serve(bank_of(), transport=transport, transactions=transactions):

            async def put_aside() -> bool:
                return bool(await store.list_put_aside(1))

            await until(put_aside)
    (aside, *_) = await put_aside_in(tmp_path / "sagas")
    assert aside.reason.startswith("RuntimeError at tests.runners.test_sensitive:")
    assert GIVEN in aside.body.decode()


async def put_aside_in(path: Path) -> Sequence[PutAside]:
    async with SqliteStore(path) as store:
        return await store.list_put_aside(10)


# What a handler can do that no saga above does.


class Odd(msgspec.Struct):
    """What a handler returns that is not what it declares."""

    number: str
    kind: str


class Unsendable:
    """... that has no form in JSON, and says so."""

    def __init__(self, why: str) -> None:
        self.why = why

    def model_dump(self, **options: object) -> object:
        raise ValueError(self.why)


odd: Participant[Any] = Participant("odd")


@odd.step("give", no_compensation="it never works")
async def give(pay: Pay) -> Receipt:
    return cast(Receipt, Odd(GIVEN, GIVEN) if pay.how == "odd" else Receipt(GIVEN))


@odd.external_step("call")
async def call(pay: Pay) -> Receipt:
    return cast(Receipt, Unsendable(f"no receipt for {pay.card}"))


@call.compensation
async def take_back(pay: Pay, receipt: Receipt | None) -> None: ...


@odd.step("write", no_compensation="it never works")
async def write(pay: Pay, ctx: StepContext[Any]) -> None:
    raise StepRejected(f"no account of {pay.card}")


class Deferred(SqliteTransactions):
    """A database that finds out at the end what is wrong, and quotes it."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        async with super().begin() as transaction:
            yield transaction
            raise RuntimeError(f"Key (receipt)=({GIVEN}) exists, Key (card)=({CANARY}) exists")


def order_for(handler: str, how: str = "") -> Order:
    command = Command(
        saga_id=new_id(),
        saga="shop",
        step=f"odd.{handler}",
        handler=handler,
        operation=Operation.ACTION,
        round=1,
        attempt=1,
        token="",
        reply_to="shop",
        budget_seconds=10,
        traceparent="",
        payload=msgspec.Raw(encode(Pay(how, CANARY))),
    )
    return Order(odd.steps[handler], command, Allowance.of(command))


@pytest.mark.parametrize(
    ("handler", "how", "why"),
    [
        ("give", "odd", "Invalid enum value '***' - at `$.kind`"),
        ("call", "", "no receipt for ***"),
        ("write", "", "no account of ***"),
    ],
)
async def test_the_verdict_of_the_barrier_quotes_nothing(tmp_path: Path, handler: str, how: str, why: str) -> None:
    async with SqliteTransactions(tmp_path / "odd") as transactions:
        verdict = await Barrier(transactions).carry_out(order_for(handler, how))
    assert verdict.error is not None
    assert verdict.error.message.endswith(why)
    assert CANARY not in repr(verdict)
    assert GIVEN not in repr(verdict)


async def test_what_a_database_quotes_when_it_commits_is_hidden(tmp_path: Path) -> None:
    order = order_for("give")
    async with Deferred(tmp_path / "odd") as transactions:
        with pytest.raises(RuntimeError, match="canary") as caught:
            await Barrier(transactions).carry_out(order)
    assert told(order, caught.value).message == "Key (receipt)=(***) exists, Key (card)=(***) exists"
