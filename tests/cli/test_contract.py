"""`sagaflow contract`: a document that holds together, and from which alone others can be spoken to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import msgspec
import pydantic
import pytest

from sagaflow import Coordinator, Participant, Replies, Saga, serve
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.adapters.sqlite import SqliteConnection, SqliteStore, SqliteTransactions
from tests.cli.conftest import Sagaflow
from tests.servers import Server

HERE = "tests.cli.test_contract"
DEADLINE_SECONDS = 30.0


class Card(msgspec.Struct, tag="card", frozen=True):
    """Paid by card."""

    number: str


class Invoice(msgspec.Struct, tag="invoice", frozen=True):
    """Paid later."""

    days: int


@dataclass(frozen=True)
class Order:
    """What is to be paid, and how."""

    order_id: str
    paid_by: Card | Invoice
    amounts: list[int]
    note: str | None = None


class Paid(pydantic.BaseModel):
    """What came of it."""

    receipt: int


bank: Participant[SqliteConnection] = Participant("bank")


@bank.step("pay")
async def pay(order: Order) -> Paid:
    """Take the money."""
    return Paid(receipt=sum(order.amounts))


@pay.compensation
async def pay_back(order: Order) -> None:
    """Give it back."""


@bank.step("send_receipt", no_compensation="a letter is a letter")
async def send_receipt(receipt: int) -> None:
    """Tell them."""


purchase = Saga("purchase", Order)


@purchase.step("bank.pay", reply=Paid)
def ask_to_pay(order: Order, replies: Replies) -> Order:
    """The order itself is the command."""
    return order


@purchase.step("bank.send_receipt")
def ask_to_send(order: Order, replies: Replies) -> int:
    """The number of the receipt."""
    return replies[ask_to_pay].receipt


both = [bank, purchase]

DOCUMENTS = (
    f"{HERE}:bank",
    f"{HERE}:purchase",
    "payment.inventory.steps:inventory",
    "payment.orders.checkout:checkout",
)


def at(document: Any, reference: str) -> Any:
    """What a reference means."""
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a document."""
    if isinstance(value, Mapping):
        yield value
        for one in value.values():
            yield from nodes(one)
    elif isinstance(value, list):
        for one in value:
            yield from nodes(one)


@pytest.mark.parametrize("place", DOCUMENTS)
def test_the_document_keeps_the_rules_of_asyncapi_3(sagaflow: Sagaflow, place: str) -> None:
    """Those that its JSON Schema states, and those about references, which it cannot state. The document of each of
    these was also read by the parser of AsyncAPI itself, without an error."""
    said = sagaflow("contract", place)
    assert (said.code, said.errors) == (0, "")
    document = json.loads(said.output)
    assert set(document) == {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    references = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        assert at(document, reference), reference
    for section in ("messages", "schemas"):
        assert all(re.fullmatch(r"[\w.\-]+", key) for key in document["components"][section])
    for channel in document["channels"].values():
        assert set(re.findall(r"{(.+?)}", channel["address"])) == set(channel.get("parameters", {}))
        assert channel["messages"], "a channel without messages is of no use"
        assert channel["bindings"]["amqp"]["is"] == "routingKey"
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        for one in (operation, *([operation["reply"]] if "reply" in operation else ())):
            messages = one["channel"]["$ref"] + "/messages/"
            assert one["messages"]
            assert all(message["$ref"].startswith(messages) for message in one["messages"])
    assert not any("$defs" in node or "$schema" in node for node in nodes(document["components"]))
    assert not any(isinstance(node.get("discriminator"), Mapping) for node in nodes(document["components"]))


def test_a_contract_says_what_a_participant_takes_and_gives(sagaflow: Sagaflow) -> None:
    document = json.loads(sagaflow("contract", f"{HERE}:bank", "--namespace", "shop").output)
    assert set(document["operations"]) == {"pay", "pay.undo", "send_receipt", "inquire"}
    assert document["channels"]["commands"]["address"] == "shop.commands.bank"
    assert document["channels"]["commands"]["x-queue"]["arguments"]["x-delivery-limit"] == 20
    assert document["channels"]["replies"]["address"] == "shop.replies.{reply_to}"
    schemas = document["components"]["schemas"]
    command = schemas["pay.action"]["properties"]
    assert (command["handler"], command["operation"]) == ({"const": "pay"}, {"const": "action"})
    assert command["v"]["const"] == 1
    order = at(document, at(document, command["payload"]["$ref"])["$ref"])
    assert set(order["properties"]) == {"order_id", "paid_by", "amounts", "note"}
    result, nothing = schemas["pay.reply"]["properties"]["result"]["anyOf"]
    assert (at(document, result["$ref"])["properties"]["receipt"]["type"], nothing) == ("integer", {"type": "null"})
    changed = json.loads(sagaflow("contract", "tests.cli.conftest:travel").output)["info"]["version"]
    assert document["info"]["version"] != changed


def test_a_contract_of_a_saga_says_how_it_is_started_and_whom_it_asks(sagaflow: Sagaflow) -> None:
    document = json.loads(sagaflow("contract", f"{HERE}:purchase", "--name", "shop").output)
    assert set(document["operations"]) == {
        *("bank.pay", "bank.pay.undo", "bank.send_receipt", "bank.send_receipt.undo", "bank.inquire"),
        *("start", "outcome", "cancel", "notify"),
    }
    assert document["channels"]["requests"]["address"] == "sagaflow.requests.shop"
    assert document["channels"]["commands.bank"]["address"] == "sagaflow.commands.bank"
    start = document["components"]["schemas"]["start"]["properties"]
    assert start["saga"] == {"const": "purchase"}
    assert "paid_by" in at(document, at(document, start["input"]["$ref"])["$ref"])["properties"]


def test_a_contract_is_of_one_and_can_be_written_to_a_file(sagaflow: Sagaflow, tmp_path: Path) -> None:
    said = sagaflow("contract", f"{HERE}:both")
    assert (said.code, said.errors.count("\n")) == (1, 1)
    assert "names 2; a contract is of one Participant or Saga" in said.errors
    said = sagaflow("contract", f"{HERE}:bank", "--write", str(tmp_path / "bank.json"))
    assert (said.code, said.output) == (0, "")
    assert (tmp_path / "bank.json").read_text() == sagaflow("contract", f"{HERE}:bank").output


def sample(document: Any, schema: Mapping[str, Any], **given: Any) -> Any:
    """Something that a schema admits, made of nothing but what it says."""
    match schema:
        case {"$ref": reference}:
            return sample(document, at(document, reference), **given)
        case {"const": value} | {"enum": [value, *_]} | {"anyOf": [{"const": value}, *_]}:
            return value
        case {"examples": [value, *_]}:
            return value
        case {"anyOf": [first, *_]}:
            return sample(document, first)
        case {"type": "object", "properties": properties}:
            return {name: given.get(name, sample(document, one)) for name, one in properties.items()}
        case {"type": "array", "items": items}:
            return [sample(document, items, **given)]
        case {"type": "integer"}:
            return schema.get("minimum", 3)
        case {"type": "number"}:
            return 30.0
        case {"type": "string", "format": "uuid"}:
            return str(uuid4())
        case {"type": "string"}:
            return "x"
        case {"type": "null"}:
            return None
    raise AssertionError(f"nothing is known of {schema}")


def is_as(document: Any, schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value has the form that a schema says, as far as these schemas go."""
    match schema:
        case {"$ref": reference}:
            return is_as(document, at(document, reference), value)
        case {"const": expected}:
            return bool(value == expected)
        case {"enum": expected}:
            return value in expected
        case {"anyOf": some}:
            return any(is_as(document, one, value) for one in some)
        case {"type": "object", "properties": properties}:
            return (
                isinstance(value, dict)
                and set(schema.get("required", ())) <= set(value) <= set(properties)
                and all(is_as(document, properties[name], one) for name, one in value.items())
            )
        case {"type": "array", "items": items}:
            return isinstance(value, list) and all(is_as(document, items, one) for one in value)
        case {"type": kind}:
            python: dict[str, Any] = {
                "string": str,
                "integer": int,
                "number": (int, float),
                "null": type(None),
                "object": dict,
                "boolean": bool,
            }
            return isinstance(value, python[kind])
    return True


class Stranger:
    """Somebody who has nothing but a contract, and a connection to the broker."""

    def __init__(self, contract: Any, channel: aio_pika.abc.AbstractChannel, name: str) -> None:
        self._contract = contract
        self._channel = channel
        self._name = name

    async def asks(self, operation: str, **given: Any) -> Mapping[str, Any]:
        """Send what an operation takes, made up but for what is given; returns what comes back, as promised."""
        contract, asked = self._contract, self._contract["operations"][operation]
        to, back = at(contract, asked["channel"]["$ref"]), at(contract, asked["reply"]["channel"]["$ref"])
        message, answer = (
            at(contract, at(contract, one["messages"][0]["$ref"])["$ref"]) for one in (asked, asked["reply"])
        )
        body = sample(contract, message["payload"], reply_to=self._name, **given)
        exchange = await self._channel.get_exchange(to["bindings"]["amqp"]["exchange"]["name"])
        queue = await self._queue(back["x-queue"], exchange)
        await exchange.publish(
            aio_pika.Message(json.dumps(body).encode(), content_type=message["contentType"]), to["address"]
        )
        async with asyncio.timeout(DEADLINE_SECONDS), queue.iterator() as deliveries:
            async for delivery in deliveries:
                await delivery.ack()
                answers = json.loads(delivery.body)
                assert is_as(contract, answer["payload"], answers), answers
                (first,) = answers
                return dict(first)
        raise AssertionError("nothing came back")

    async def _queue(self, said: Any, exchange: aio_pika.abc.AbstractExchange) -> aio_pika.abc.AbstractQueue:
        """The queue of who is answered, as it is said to be."""
        said = json.loads(json.dumps(said).replace("{reply_to}", self._name))
        queue = await self._channel.declare_queue(said["name"], durable=said["durable"], arguments=said["arguments"])
        await queue.bind(exchange)
        return queue


def test_who_has_the_contract_alone_is_understood_by_a_worker_and_by_a_coordinator(
    sagaflow: Sagaflow, rabbitmq: Server, broker_namespace: str, tmp_path: Path
) -> None:
    contracts: Sequence[Any] = [
        json.loads(sagaflow("contract", f"{HERE}:{name}", "--namespace", broker_namespace).output)
        for name in ("bank", "purchase")
    ]

    async def speak() -> None:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(SqliteStore(tmp_path / "sagas"))
            transactions = await stack.enter_async_context(SqliteTransactions(tmp_path / "bank"))
            transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
            await stack.enter_async_context(serve(bank, transport=transport, transactions=transactions))
            await stack.enter_async_context(Coordinator([purchase], store=store, transport=transport))
            connection = await stack.enter_async_context(await aio_pika.connect(rabbitmq.url))
            channel = await connection.channel()
            stranger, client = (Stranger(contract, channel, "stranger") for contract in contracts)

            saga_id = str(uuid4())
            reply = await stranger.asks("pay", saga_id=saga_id)
            assert (reply["outcome"], reply["result"], reply["saga_id"]) == ("succeeded", {"receipt": 3}, saga_id)
            overtaken = str(uuid4())
            undone = await stranger.asks("pay.undo", saga_id=overtaken)
            assert (undone["outcome"], undone["result"]) == ("succeeded", None)
            assert (await stranger.asks("pay", saga_id=overtaken))["outcome"] == "fenced"
            assert (await stranger.asks("inquire"))["participant"] == "bank"
            assert await transactions.list_put_aside(10) == []

            started = await client.asks("start", key="k-1")
            assert (started["error"], started["status"]) == (None, "RUNNING"), started
            assert await store.list_put_aside(10) == []

    asyncio.run(speak())
