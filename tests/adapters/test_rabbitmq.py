"""What is particular to RabbitMQ, on a real one: the contract of all transports is in tests/contracts."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq import spec
from aiormq.abc import DeliveredMessage
from pamqp.header import ContentHeader

from sagaflow.adapters.rabbitmq import RabbitTransport, connection, delete_namespace
from sagaflow.adapters.rabbitmq.consuming import Consumer
from sagaflow.adapters.rabbitmq.stream import RabbitDelivery, Stream
from sagaflow.adapters.rabbitmq.topology import ANSWERS_EXPIRE_SECONDS, DEAD_DELIVERY_LIMIT, DELIVERY_LIMIT
from sagaflow.definitions.ports import Address, Letter, QueueKind, Transport
from sagaflow.errors import NotPermitted, Unavailable
from sagaflow.testing.transport_contract import ANSWERS, COMMANDS, REPLIES, Inbox, letters, numbered, until
from tests.adapters.proxy import (
    BASIC_ACK,
    BASIC_CANCEL,
    BASIC_CONSUME_OK,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN_OK,
    CONNECTION_BLOCKED,
    CONNECTION_UNBLOCKED,
    LOOPBACK,
    Proxy,
)
from tests.servers import Server

PASSWORD = "the-password"
LOGGER = "sagaflow.rabbitmq"

LEADERLESS_SECONDS = 3.0
"""RabbitMQ 3.10.8 may never again have a leader for a quorum queue that it made in the last second before a
SIGKILL. So queues in these tests are older than that when the broker is killed."""


class Operator:
    """Someone who works on the broker by other means."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection, namespace: str) -> None:
        self._connection = connection
        self.namespace = namespace

    def name(self, address: Address) -> str:
        return f"{self.namespace}.{address}"

    def dead(self, address: Address) -> str:
        return f"{self.namespace}.dead.{address}"

    def kept(self, address: Address) -> dict[str, Any]:
        """The arguments of a queue that keeps its messages, as they are promised."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": f"{self.namespace}.dead",
            "x-dead-letter-routing-key": self.dead(address),
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    async def declare(self, name: str, **properties: Any) -> None:
        """Make a queue. Fails if it exists with any other properties."""
        async with self._connection.channel() as channel:
            await channel.declare_queue(name, **properties)

    async def bind(self, name: str) -> None:
        async with self._connection.channel() as channel:
            queue = await channel.get_queue(name)
            await queue.bind(self.namespace)

    async def exists(self, name: str) -> bool:
        async with self._connection.channel() as channel:
            try:
                await channel.get_queue(name)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return False
        return True

    async def delete_queue(self, name: str) -> None:
        async with self._connection.channel() as channel:
            await channel.queue_delete(name)

    async def delete_exchange(self, name: str) -> None:
        async with self._connection.channel() as channel:
            await channel.exchange_delete(name)

    async def get(self, name: str) -> AbstractIncomingMessage | None:
        """Take the first message of a queue, if there is one."""
        async with self._connection.channel() as channel:
            queue = await channel.get_queue(name)
            return await queue.get(no_ack=True, fail=False)

    async def replace(self, name: str, **properties: Any) -> None:
        """Put another queue in the place of one, before anybody else can."""
        async with self._connection.channel() as channel:
            driver = await channel.get_underlay_channel()
            await asyncio.gather(driver.queue_delete(name), driver.queue_declare(name, **properties))

    async def is_consumed(self, name: str) -> bool:
        if not await self.exists(name):
            return False
        async with self._connection.channel() as channel:
            queue = await channel.get_queue(name)
            return bool(queue.declaration_result.consumer_count)


@pytest.fixture
async def operator(rabbitmq: Server, broker_namespace: str) -> AsyncIterator[Operator]:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        yield Operator(connection, broker_namespace)


@pytest.fixture
async def proxy(rabbitmq: Server) -> AsyncIterator[Proxy]:
    async with Proxy(rabbitmq.url) as proxy:
        yield proxy


@pytest.fixture
async def transport(proxy: Proxy, broker_namespace: str) -> AsyncIterator[RabbitTransport]:
    """Connected by way of the proxy."""
    async with RabbitTransport(
        proxy.url, namespace=broker_namespace, publish_timeout_seconds=1.0, check_seconds=0.1
    ) as transport:
        yield transport


async def publish_until_confirmed(transport: Transport, some: Sequence[Letter]) -> None:
    """As a runner does."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await transport.publish(some)
            except Unavailable:
                await asyncio.sleep(0.01)


async def publish_until_refused(transport: Transport, some: Sequence[Letter]) -> None:
    async with asyncio.timeout(60):
        while True:
            await transport.publish(some)


async def enter(transport: RabbitTransport) -> None:
    async with transport:
        pass


def assert_one_line(error: BaseException, *parts: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert PASSWORD not in text
    for part in parts:
        assert part in text


# Connecting.


async def test_the_version_of_the_broker_is_known(rabbitmq: Server, broker_namespace: str) -> None:
    transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
    async with transport:
        assert transport.server_version == rabbitmq.version
    with pytest.raises(Unavailable):
        assert transport.server_version


async def test_operators_see_two_connections_with_names(transport: RabbitTransport, proxy: Proxy) -> None:
    """One for each direction: a broker in need stops to read from those that publish."""
    assert len(proxy.lines()) == 2
    assert len(proxy.lines("sagaflow publishing ")) == 1
    assert len(proxy.lines("sagaflow consuming ")) == 1


async def test_nothing_listens() -> None:
    with pytest.raises(Unavailable) as caught:
        await enter(RabbitTransport(f"amqp://someone:{PASSWORD}@{LOOPBACK}:1/"))
    assert_one_line(caught.value, f"RabbitMQ cannot be reached at {LOOPBACK}:1: ")


async def test_the_password_is_wrong(rabbitmq: Server) -> None:
    address = urlsplit(rabbitmq.url).netloc.rpartition("@")[2]
    with pytest.raises(Unavailable) as caught:
        await enter(RabbitTransport(f"amqp://someone:{PASSWORD}@{address}/"))
    assert_one_line(caught.value, address, "refuses the login of user 'someone'")


async def test_the_virtual_host_does_not_exist(rabbitmq: Server) -> None:
    with pytest.raises(Unavailable) as caught:
        await enter(RabbitTransport(urlsplit(rabbitmq.url)._replace(path="/nowhere").geturl()))
    assert_one_line(caught.value, "virtual host 'nowhere'", "run: rabbitmqctl set_permissions -p nowhere")
    assert isinstance(caught.value, NotPermitted)


async def test_what_the_broker_does_not_permit_is_told_as_such(rabbitmq: Server) -> None:
    """Nobody may make what begins with "amq."."""
    with pytest.raises(NotPermitted) as caught:
        async with RabbitTransport(rabbitmq.url, namespace="amq.ours") as transport:
            await transport.publish(letters(COMMANDS, ["one"]))
    assert_one_line(caught.value, "ACCESS_REFUSED", "amq.ours")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"http://someone:{PASSWORD}@localhost/",
        f"amqp://someone:{PASSWORD}@/",
        f"amqp://someone:{PASSWORD}@localhost:port/",
        f"amqp://someone:1#{PASSWORD}@localhost/",
        f"amqp://someone:1/{PASSWORD}@localhost/",
        f"amqp://someone:1?{PASSWORD}@localhost/",
        f"amqp://someone:{PASSWORD}#1@localhost/",
        f"amqp://someone:{PASSWORD}[@localhost/",
    ],
)
async def test_the_url_is_wrong(url: str) -> None:
    """Also when a part of the password would be taken for the host, and shown."""
    with pytest.raises(Unavailable) as caught:
        await enter(RabbitTransport(url))
    assert_one_line(caught.value, "the URL of RabbitMQ must be of the form amqp://")


async def test_a_url_that_gives_up_verification_is_refused() -> None:
    with pytest.raises(Unavailable) as caught:
        await enter(RabbitTransport(f"amqps://someone:{PASSWORD}@localhost/?no_verify_ssl=1"))
    assert_one_line(caught.value, "no_verify_ssl", "refused")


async def test_what_listens_is_no_rabbitmq() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable) as caught:
            await enter(RabbitTransport(f"amqp://someone:{PASSWORD}@{LOOPBACK}:{port}/"))
    assert_one_line(caught.value, f"{LOOPBACK}:{port}")


async def test_after_a_failure_it_can_be_entered(proxy: Proxy, broker_namespace: str) -> None:
    transport = RabbitTransport(proxy.url, namespace=broker_namespace)
    await proxy.refuse()
    with pytest.raises(Unavailable):
        await enter(transport)
    await proxy.listen()
    await enter(transport)


async def test_nothing_is_left_behind(rabbitmq: Server, broker_namespace: str) -> None:
    """Neither connections nor tasks, nor objects that begin tasks when they are collected."""
    before = asyncio.all_tasks()
    async with Proxy(rabbitmq.url) as proxy:
        async with RabbitTransport(proxy.url, namespace=broker_namespace) as transport:
            inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
            await transport.publish(letters(COMMANDS, ["x"]))
            await inbox.until_count(1)
            proxy.cut()
            await inbox.until_count(2)
        await until(lambda: not proxy.lines())
    await until(lambda: asyncio.all_tasks() == before)
    gc.collect()
    assert asyncio.all_tasks() == before


async def test_heartbeats_cannot_be_switched_off() -> None:
    with pytest.raises(ValueError, match="heartbeat_seconds"):
        RabbitTransport("amqp://localhost/", heartbeat_seconds=0)


async def test_who_subscribes_while_it_is_left_is_told(
    rabbitmq: Server, broker_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing goes on in the background."""
    transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
    open_consumer = Consumer.open

    async def open_and_leave(consumer: Consumer) -> None:
        await open_consumer(consumer)
        await transport.__aexit__()

    monkeypatch.setattr(Consumer, "open", open_and_leave)
    before = asyncio.all_tasks()
    await transport.__aenter__()
    with pytest.raises(Unavailable):
        await Inbox.at(transport, COMMANDS)
    await until(lambda: asyncio.all_tasks() == before)


# Exchanges and queues.


@pytest.mark.parametrize("kind", [QueueKind.COMMANDS, QueueKind.COMPENSATIONS, QueueKind.REPLIES, QueueKind.REQUESTS])
async def test_queues_are_as_promised(
    transport: RabbitTransport, operator: Operator, kind: QueueKind, caplog: pytest.LogCaptureFixture
) -> None:
    """Durable and replicated; what comes back too often is kept apart, and that at least once."""
    address = Address(kind, "some")
    await transport.publish(letters(address, ["one"]))
    assert "was missing" not in caplog.text
    await operator.declare(operator.name(address), durable=True, arguments=operator.kept(address))
    lasting = {"x-queue-type": "quorum", "x-delivery-limit": DEAD_DELIVERY_LIMIT}
    await operator.declare(operator.dead(address), durable=True, arguments=lasting)


async def test_an_answers_queue_ends_by_itself(transport: RabbitTransport, operator: Operator) -> None:
    """It is replicated all the same: on one node only, nobody would be answered while that node is down."""
    await Inbox.at(transport, ANSWERS)
    await operator.declare(
        operator.name(ANSWERS),
        durable=True,
        arguments={"x-queue-type": "quorum", "x-expires": ANSWERS_EXPIRE_SECONDS * 1_000},
    )


async def test_the_queue_for_inquiries_is_replicated(transport: RabbitTransport, operator: Operator) -> None:
    """On one node only, nothing would be asked while that node is down, and sagas would wait before their pivot."""
    inquiries = Address(QueueKind.INQUIRIES, "some")
    await transport.publish(letters(inquiries, ["one"]))
    await operator.declare(operator.name(inquiries), durable=True, arguments={"x-queue-type": "quorum"})


async def test_answers_make_no_queue(transport: RabbitTransport, operator: Operator) -> None:
    """Otherwise each answer to a process that has ended would leave a queue behind."""
    await transport.publish(letters(ANSWERS, ["for nobody"]))
    assert not await operator.exists(operator.name(ANSWERS))


async def test_a_poisonous_body_goes_to_the_dead_queue(
    rabbitmq: Server, broker_namespace: str, operator: Operator
) -> None:
    """The last resort against a message that kills whoever takes it: it comes back so often, and not more."""
    transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
    async with transport:
        await transport.publish(letters(COMMANDS, ["poison"]))
    for attempt in range(DELIVERY_LIMIT + 1):
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
            await inbox.until_it_has(["poison"])
            assert inbox.deliveries[0].again is (attempt > 0)
    async with transport:
        dead = await Inbox.at(transport, COMMANDS, dead=True, acknowledge=False)
        await dead.until_it_has(["poison"])
        inbox = await Inbox.at(transport, COMMANDS)
        await transport.publish(letters(COMMANDS, ["harmless"]))
        await inbox.until_it_has(["harmless"])
        assert inbox.texts == ["harmless"]
    async with transport:
        again = await Inbox.at(transport, COMMANDS, dead=True)
        await again.until_it_has(["poison"])
        (delivery,) = again.dead_deliveries
        assert (delivery.body, delivery.reason) == (b'[{"text": "poison"}]', "delivery_limit")


async def test_an_inquiry_that_nobody_takes_leaves_nothing_behind(
    transport: RabbitTransport, operator: Operator
) -> None:
    """It has no companion: what it would have been answered by is not there."""
    inquiries = Address(QueueKind.INQUIRIES, "some")
    for address in (inquiries, COMMANDS):
        await transport.publish(letters(address, ["x"], expires_seconds=0.01))
    dead = await Inbox.at(transport, COMMANDS, dead=True)
    await dead.until_it_has(["x"])
    assert await operator.get(operator.name(inquiries)) is None
    assert not await operator.exists(operator.dead(inquiries))


async def test_what_has_expired_comes_to_the_companion_of_its_own_queue(transport: RabbitTransport) -> None:
    """Once, with the reason, and without a time of its own: there it waits for as long as it takes."""
    await transport.publish(letters(COMMANDS, ["a command"], expires_seconds=0.1))
    await transport.publish(letters(REPLIES, ["a reply"], expires_seconds=0.1))
    dead = {address: await Inbox.at(transport, address, dead=True) for address in (COMMANDS, REPLIES)}
    for address, text in ((COMMANDS, "a command"), (REPLIES, "a reply")):
        await dead[address].until_it_has([text])
        assert [delivery.reason for delivery in dead[address].dead_deliveries] == ["expired"]
        assert dead[address].texts == [text]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x-death": [{"reason": "expired"}, {"reason": "rejected"}], "x-first-death-reason": "rejected"}, "expired"),
        ({"x-first-death-reason": "maxlen", "x-last-death-reason": "expired"}, "expired"),
        ({"x-first-death-reason": "maxlen"}, "maxlen"),
        ({"x-death": [], "x-first-death-reason": "maxlen"}, "maxlen"),
        ({"x-death": "what is this"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_why_it_was_given_up_is_looked_for_in_each_place_where_a_broker_may_say_it(
    headers: dict[str, Any], reason: str
) -> None:
    async def settle(tag: int) -> None: ...

    header = ContentHeader(properties=spec.Basic.Properties(headers=headers))
    message = DeliveredMessage(spec.Basic.Deliver(), header, b"[]", None)  # type: ignore[arg-type]  # no channel
    assert RabbitDelivery(message, settle).reason == reason


async def test_without_declare_a_missing_companion_is_told(
    rabbitmq: Server, broker_namespace: str, operator: Operator
) -> None:
    """What is given up would otherwise stay in its queue, where nobody sees it."""
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as generous:
        await generous.publish(letters(COMMANDS, ["x"]))
    await operator.delete_queue(operator.dead(COMMANDS))
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace, declare=False) as modest:
        with pytest.raises(Unavailable) as caught:
            await modest.publish(letters(COMMANDS, ["x"]))
        assert_one_line(caught.value, operator.dead(COMMANDS), "declare=False")


async def test_a_namespace_is_removed_with_its_companions(
    rabbitmq: Server, broker_namespace: str, operator: Operator
) -> None:
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as transport:
        await transport.publish(letters(COMMANDS, ["x"]))
    assert await operator.exists(operator.dead(COMMANDS))
    await delete_namespace(rabbitmq.url, broker_namespace, [COMMANDS])
    assert not await operator.exists(operator.name(COMMANDS))
    assert not await operator.exists(operator.dead(COMMANDS))


async def test_a_queue_that_differs_is_told_in_one_line(transport: RabbitTransport, operator: Operator) -> None:
    await operator.declare(operator.name(COMMANDS), durable=True)
    with pytest.raises(Unavailable) as caught:
        await Inbox.at(transport, COMMANDS)
    assert_one_line(caught.value, operator.name(COMMANDS), "inequivalent arg")


async def test_without_declare_nothing_is_made(rabbitmq: Server, broker_namespace: str, operator: Operator) -> None:
    """A service whose user may configure nothing only looks, and says what is missing."""
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace, declare=False) as modest:
        with pytest.raises(Unavailable) as caught:
            await modest.publish(letters(COMMANDS, ["x"]))
        assert_one_line(caught.value, f"the exchange {broker_namespace} does not exist", "sagaflow broker apply")
        async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as generous:
            await generous.publish(letters(REPLIES, ["x"]))
        for attempt in (modest.publish(letters(COMMANDS, ["x"])), Inbox.at(modest, COMMANDS)):
            with pytest.raises(Unavailable) as caught:
                await attempt
            assert_one_line(caught.value, operator.dead(COMMANDS), "declare=False")
        assert not await operator.exists(operator.name(COMMANDS))


async def test_without_declare_everything_works_on_what_is_there(rabbitmq: Server, broker_namespace: str) -> None:
    async with (
        RabbitTransport(rabbitmq.url, namespace=broker_namespace) as generous,
        RabbitTransport(rabbitmq.url, namespace=broker_namespace, declare=False) as modest,
    ):
        await generous.publish(letters(COMMANDS, ["from one"]))
        inbox = await Inbox.at(modest, COMMANDS)
        await modest.publish(letters(COMMANDS, ["from the other"]))
        await inbox.until_it_has(["from one", "from the other"])


async def test_without_declare_a_process_makes_its_own_answers_queue_all_the_same(
    rabbitmq: Server, broker_namespace: str, operator: Operator
) -> None:
    """It has a name that nobody knows beforehand."""
    async with (
        RabbitTransport(rabbitmq.url, namespace=broker_namespace) as generous,
        RabbitTransport(rabbitmq.url, namespace=broker_namespace, declare=False) as modest,
    ):
        await generous.publish(letters(COMMANDS, ["x"]))
        inbox = await Inbox.at(modest, ANSWERS)
        await generous.publish(letters(ANSWERS, ["y"]))
        await inbox.until_it_has(["y"])


@pytest.mark.parametrize("namespace", ["", "with space", "x" * 65, "Ä"])
def test_a_namespace_is_checked(namespace: str) -> None:
    """Above all it must not be empty, which to the broker is its default exchange."""
    with pytest.raises(ValueError, match="is no namespace"):
        RabbitTransport("amqp://localhost/", namespace=namespace)


# Publishing.


async def test_what_is_not_confirmed_is_not_published(transport: RabbitTransport, proxy: Proxy) -> None:
    """The broker has it, but says so too late: then it has to be published again."""
    inbox = await Inbox.at(transport, COMMANDS)
    proxy.swallowed.add(BASIC_ACK)
    with pytest.raises(Unavailable) as caught:
        await transport.publish(letters(COMMANDS, ["perhaps"]))
    assert_one_line(caught.value, "commands.inventory", "did not answer in time")
    proxy.swallowed.clear()
    await transport.publish(letters(COMMANDS, ["certainly"]))
    await inbox.until_it_has(["perhaps", "certainly"])


async def test_after_a_failure_another_channel_is_used(transport: RabbitTransport, proxy: Proxy) -> None:
    """Whatever the broker still says on the old one; that is closed, and they do not pile up."""
    await transport.publish(letters(COMMANDS, ["before"]))
    (line,) = proxy.lines("sagaflow publishing ")
    before = line.said.count(CHANNEL_OPEN_OK)
    proxy.swallowed.add(BASIC_ACK)
    with pytest.raises(Unavailable):
        await transport.publish(letters(COMMANDS, ["perhaps"]))
    proxy.swallowed.clear()
    await transport.publish(letters(COMMANDS, ["after"]))
    assert line.said.count(CHANNEL_OPEN_OK) > before
    await until(lambda: line.said.count(CHANNEL_OPEN_OK) - line.said.count(CHANNEL_CLOSE_OK) == 1)


async def test_a_failure_does_not_close_the_channel_for_others(transport: RabbitTransport, proxy: Proxy) -> None:
    """Who is still waiting on it for a confirmation goes on waiting."""
    inbox = await Inbox.at(transport, COMMANDS)
    await transport.publish(letters(COMMANDS, ["before"]))
    proxy.swallowed.add(BASIC_ACK)
    cancelled = asyncio.create_task(transport.publish(letters(COMMANDS, ["cancelled"])))
    other = asyncio.create_task(transport.publish(letters(COMMANDS, ["other"])))
    await inbox.until_it_has(["cancelled", "other"])
    cancelled.cancel()
    with pytest.raises(Unavailable, match="did not answer in time"):
        await other
    assert cancelled.cancelled()


async def test_after_a_cut_the_first_publish_succeeds(
    transport: RabbitTransport, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The channel of the lost connection is not even tried."""
    caplog.set_level(logging.INFO, LOGGER)
    await transport.publish(letters(COMMANDS, ["before"]))
    proxy.cut()
    await until(lambda: caplog.text.count("was made again") == 2)
    await transport.publish(letters(COMMANDS, ["after"]))


async def test_a_late_confirmation_confirms_nothing_else(transport: RabbitTransport, proxy: Proxy) -> None:
    """The channel of a publish that timed out is not used again, so that confirmations cannot be mistaken."""
    await transport.publish(letters(COMMANDS, ["before"]))
    (line,) = proxy.lines("sagaflow publishing ")
    line.broker_may_speak.clear()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await transport.publish(letters(COMMANDS, ["late"]))
    line.broker_may_speak.set()
    await publish_until_confirmed(transport, letters(COMMANDS, ["after"]))
    inbox = await Inbox.at(transport, COMMANDS)
    await inbox.until_it_has(["before", "late", "after"])


async def test_what_the_broker_refuses_is_not_published(
    rabbitmq: Server, broker_namespace: str, operator: Operator
) -> None:
    """As it does when a queue is full."""
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as transport:
        await transport.publish(letters(REPLIES, ["x"]))
    queue = operator.name(COMMANDS)
    full = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    await operator.declare(queue, durable=True, arguments=full)
    await operator.declare(operator.dead(COMMANDS), durable=True)
    await operator.bind(queue)
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace, declare=False) as transport:
        with pytest.raises(Unavailable) as caught:
            await publish_until_refused(transport, letters(COMMANDS, ["one more"]))
        assert_one_line(caught.value, "commands.inventory", "Nack")
        await transport.publish(letters(REPLIES, ["elsewhere"]))


async def test_queues_that_were_deleted_are_made_again_by_a_publish(
    transport: RabbitTransport, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker returns what has no queue; it is not lost, even if many are returned at once."""
    addresses = [Address(QueueKind.COMMANDS, name) for name in ("a", "b")]
    for address in addresses:
        await transport.publish(letters(address, ["gone with its queue"]))
        await operator.delete_queue(operator.name(address))
    texts = numbered(501)
    await transport.publish([letter for address in addresses for letter in letters(address, texts)])
    for address in addresses:
        inbox = await Inbox.at(transport, address)
        await inbox.until_it_has(texts)
        assert sorted(inbox.texts) == sorted(texts)
        assert f"the queue {operator.name(address)} was missing" in caplog.text


async def test_a_queue_that_cannot_be_made_again_fails_the_publish(
    rabbitmq: Server, broker_namespace: str, operator: Operator
) -> None:
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as transport:
        await transport.publish(letters(COMMANDS, ["x"]))
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace, declare=False) as transport:
        await transport.publish(letters(COMMANDS, ["x"]))
        await operator.delete_queue(operator.name(COMMANDS))
        with pytest.raises(Unavailable) as caught:
            await transport.publish(letters(COMMANDS, ["x"]))
        assert_one_line(caught.value, operator.name(COMMANDS), "declare=False")


async def test_an_exchange_that_was_deleted_is_made_again(transport: RabbitTransport, operator: Operator) -> None:
    await transport.publish(letters(COMMANDS, ["before"]))
    await operator.delete_exchange(operator.namespace)
    with pytest.raises(Unavailable) as caught:
        await transport.publish(letters(COMMANDS, numbered(200)))
    assert_one_line(caught.value, "cannot be published")
    await publish_until_confirmed(transport, letters(COMMANDS, ["after"]))
    inbox = await Inbox.at(transport, COMMANDS)
    await inbox.until_it_has(["before", "after"])


async def test_without_a_connection_a_publish_fails_at_once(transport: RabbitTransport, proxy: Proxy) -> None:
    await proxy.refuse()
    await until(lambda: is_unavailable(transport))
    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(0.5):
            await transport.publish(letters(COMMANDS, ["x"]))
    assert_one_line(caught.value, "is not connected at present")
    await proxy.listen()
    await publish_until_confirmed(transport, letters(COMMANDS, ["x"]))


def is_unavailable(transport: RabbitTransport) -> bool:
    try:
        return not transport.server_version
    except Unavailable:
        return True


async def test_a_cancelled_publish_harms_no_other(transport: RabbitTransport, proxy: Proxy) -> None:
    inbox = await Inbox.at(transport, COMMANDS)
    await transport.publish(letters(COMMANDS, ["before"]))
    (line,) = proxy.lines("sagaflow publishing ")
    line.broker_may_speak.clear()
    cancelled = asyncio.create_task(transport.publish(letters(COMMANDS, numbered(1_000))))
    other = asyncio.create_task(transport.publish(letters(COMMANDS, ["other"])))
    await inbox.until_it_has(["other"])
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    line.broker_may_speak.set()
    await other
    await transport.publish(letters(COMMANDS, ["after"]))
    await inbox.until_it_has(["after"])


async def test_a_broker_that_takes_no_messages_is_not_sent_any(
    transport: RabbitTransport, proxy: Proxy, broker_namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is short of memory. What was sent would all come later, in duplicates. Consumption goes on."""
    caplog.set_level(logging.WARNING, "aiormq")  # a command that ran in this process may have silenced it
    inbox = await Inbox.at(transport, COMMANDS)
    await transport.publish(letters(COMMANDS, ["before"]))
    (line,) = proxy.lines("sagaflow publishing ")
    line.say(CONNECTION_BLOCKED, b"\x03why")
    await until(lambda: "was blocked by" in caplog.text)
    with pytest.raises(Unavailable) as caught:
        await transport.publish(letters(COMMANDS, ["meanwhile"]))
    assert_one_line(caught.value, "short of memory or of disk space")
    async with RabbitTransport(proxy.url, namespace=broker_namespace) as elsewhere:
        await elsewhere.publish(letters(COMMANDS, ["from elsewhere"]))
    await inbox.until_it_has(["before", "from elsewhere"])
    line.say(CONNECTION_UNBLOCKED)
    await publish_until_confirmed(transport, letters(COMMANDS, ["after"]))
    await inbox.until_it_has(["after"])
    assert "meanwhile" not in inbox.texts


async def test_leaving_does_not_wait_for_a_broker_that_does_not_read(
    transport: RabbitTransport, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver alone would wait for ever."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.2)
    await transport.publish(letters(COMMANDS, ["x"]))
    (line,) = proxy.lines("sagaflow publishing ")
    line.client_may_speak.clear()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await transport.publish(letters(COMMANDS, ["x" * 250_000] * 100))
    async with asyncio.timeout(10):
        await transport.__aexit__()
        await transport.__aenter__()  # for the fixture to leave


async def test_a_queue_that_cannot_be_used_harms_no_other(transport: RabbitTransport, operator: Operator) -> None:
    """The publish fails and will be repeated, but what can arrive does not wait for that."""
    await operator.declare(operator.name(REPLIES), durable=True)
    with pytest.raises(Unavailable) as caught:
        await transport.publish([*letters(REPLIES, ["x"]), *letters(COMMANDS, ["y"])])
    assert_one_line(caught.value, operator.name(REPLIES), "inequivalent arg")
    inbox = await Inbox.at(transport, COMMANDS)
    await inbox.until_it_has(["y"])


async def test_an_address_that_no_queue_can_have_harms_no_other(
    transport: RabbitTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a reply goes is said by a stranger's message."""
    endless = Address(QueueKind.REPLIES, "Ä" * 200)
    await transport.publish([*letters(endless, ["x"]), *letters(COMMANDS, ["y"])])
    inbox = await Inbox.at(transport, COMMANDS)
    await inbox.until_it_has(["y"])
    assert "messages were dropped: no queue can have a name as long as that of" in caplog.text


# Consuming.


async def test_consumption_goes_on_after_a_cut(
    transport: RabbitTransport, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """By itself; what was not acknowledged comes again; and each connection leaves one line at its end."""
    caplog.set_level(logging.INFO, LOGGER)
    inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
    await transport.publish(letters(COMMANDS, ["before"]))
    await inbox.until_it_has(["before"])
    proxy.cut()
    await publish_until_confirmed(transport, letters(COMMANDS, ["after"]))
    await inbox.until_count(3)
    assert sorted(inbox.texts) == ["after", "before", "before"]
    assert [delivery.again for delivery in inbox.deliveries if b"before" in delivery.body] == [False, True]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in warnings if "connection to RabbitMQ" in line and "was lost" in line]) == 2


async def test_an_acknowledgement_after_a_cut_is_harmless(transport: RabbitTransport, proxy: Proxy) -> None:
    """It acknowledges nothing: not the delivery that it is for, nor one with the same number on a new channel."""
    inbox = await Inbox.at(transport, COMMANDS, prefetch=1, acknowledge=False)
    await transport.publish(letters(COMMANDS, ["x"]))
    await transport.publish(letters(COMMANDS, ["y"]))
    await inbox.until_count(1)
    proxy.cut()
    await inbox.until_count(2)
    await inbox.deliveries[0].ack()
    await inbox.deliveries[1].ack()
    await inbox.until_count(3)
    assert inbox.texts == ["x", "x", "y"]


async def test_a_connection_that_falls_silent_is_given_up(rabbitmq: Server, broker_namespace: str) -> None:
    """Neither side closes it, as when a cable is cut; whoever waits for it then is told, and not cancelled."""
    async with (
        Proxy(rabbitmq.url) as proxy,
        RabbitTransport(proxy.url, namespace=broker_namespace, heartbeat_seconds=1, check_seconds=0.1) as transport,
    ):
        inbox = await Inbox.at(transport, COMMANDS)
        await transport.publish(letters(COMMANDS, ["before"]))
        for line in proxy.lines():
            line.client_may_speak.clear()
            line.broker_may_speak.clear()
        with pytest.raises(Unavailable) as caught:
            await transport.publish(letters(COMMANDS, ["meanwhile"]))
        assert_one_line(caught.value, "nothing was heard from RabbitMQ for too long")
        await publish_until_confirmed(transport, letters(COMMANDS, ["after"]))
        await inbox.until_it_has(["before", "after"])


async def test_a_queue_that_is_deleted_under_its_consumer_is_made_and_consumed_again(
    transport: RabbitTransport, operator: Operator
) -> None:
    """Without another message having to come, since a publisher might not be allowed to make it."""
    inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
    await transport.publish(letters(COMMANDS, ["before"]))
    await inbox.until_count(1)
    for number in range(3):
        await operator.delete_queue(operator.name(COMMANDS))
        await until_consumed(operator, COMMANDS)
        await transport.publish(letters(COMMANDS, [f"after {number}"]))
        await inbox.until_it_has([f"after {number}"])
    await inbox.deliveries[0].ack()
    await inbox.cancel()


async def test_a_consumer_that_is_gone_without_a_word_is_noticed(
    transport: RabbitTransport, proxy: Proxy, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """One to which nothing comes asks the broker whether there is a consumer at all."""
    inbox = await Inbox.at(transport, COMMANDS)
    proxy.swallowed.add(BASIC_CANCEL)
    await operator.delete_queue(operator.name(COMMANDS))
    await until_consumed(operator, COMMANDS)
    await transport.publish(letters(COMMANDS, ["after"]))
    await inbox.until_it_has(["after"])
    assert "the broker has lost the consumer" in caplog.text


async def test_a_consumer_that_is_not_served_is_replaced(transport: RabbitTransport, operator: Operator) -> None:
    """RabbitMQ 3.10 does that when a queue is deleted and made again at once, and no question to it reveals it."""
    inbox = await Inbox.at(transport, COMMANDS)
    await operator.replace(operator.name(COMMANDS), durable=True, arguments=operator.kept(COMMANDS))
    await transport.publish(letters(COMMANDS, ["after"]))
    await inbox.until_it_has(["after"])


async def test_a_quiet_consumer_is_replaced_and_misses_nothing(transport: RabbitTransport, proxy: Proxy) -> None:
    """Nor does anything come twice for that reason."""
    inbox = await Inbox.at(transport, COMMANDS)
    (line,) = proxy.lines("sagaflow consuming ")
    texts = numbered(5)
    for text in texts:
        begun = line.said.count(BASIC_CONSUME_OK)
        await until(partial(lambda begun: line.said.count(BASIC_CONSUME_OK) > begun, begun))
        await transport.publish(letters(COMMANDS, [text]))
    await inbox.until_it_has(texts)
    assert inbox.texts == texts


async def test_a_queue_that_publishers_make_again_at_once_is_consumed_again(
    transport: RabbitTransport, operator: Operator
) -> None:
    """So it is when the operator deletes a queue that is in use."""
    inbox = await Inbox.at(transport, COMMANDS)
    published: list[str] = []
    is_over = asyncio.Event()

    async def publish() -> None:
        while not is_over.is_set():
            text = f"number {len(published)}"
            await publish_until_confirmed(transport, letters(COMMANDS, [text]))
            published.append(text)

    publishing = asyncio.create_task(publish())
    for _ in range(3):
        before = len(inbox.deliveries)
        await until(partial(lambda before: len(inbox.deliveries) > before, before))
        await operator.delete_queue(operator.name(COMMANDS))
        deleted = len(published) + 1
        await until(partial(lambda deleted: len(published) > deleted, deleted))
        await inbox.until_it_has(published[deleted : deleted + 1])
    is_over.set()
    await publishing


async def test_a_consumer_that_has_its_fill_is_left_alone(transport: RabbitTransport, proxy: Proxy) -> None:
    """Neither that nothing comes nor that something waits is a reason to replace it, while it takes its time."""
    inbox = await Inbox.at(transport, COMMANDS, prefetch=1, acknowledge=False)
    for text in ("x", "y"):
        await transport.publish(letters(COMMANDS, [text]))
    await inbox.until_count(1)
    await Inbox.at(transport, REPLIES)
    (line,) = proxy.lines("sagaflow consuming ")
    begun = line.said.count(BASIC_CONSUME_OK)
    await until(lambda: line.said.count(BASIC_CONSUME_OK) > begun + 1)  # the quiet one was replaced, twice
    await inbox.deliveries[0].ack()
    await inbox.until_count(2)
    assert inbox.texts == ["x", "y"]


async def until_consumed(operator: Operator, address: Address) -> None:
    async with asyncio.timeout(30):
        while not await operator.is_consumed(operator.name(address)):  # noqa: ASYNC110 - the broker cannot tell
            await asyncio.sleep(0.01)


async def test_a_channel_that_the_broker_closes_is_opened_again(
    transport: RabbitTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """As it does when a delivery is not acknowledged for half an hour."""
    inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
    await transport.publish(letters(COMMANDS, ["x"]))
    await inbox.until_count(1)
    (delivery,) = inbox.deliveries
    assert isinstance(delivery, RabbitDelivery)
    await delivery._message.channel.basic_ack(delivery_tag=1_000)  # which the broker takes for a grave mistake
    await inbox.until_count(2)
    assert inbox.texts == ["x", "x"]
    assert "commands.inventory is not consumed at present: PRECONDITION_FAILED - unknown delivery tag" in caplog.text


async def test_consumption_waits_for_what_is_in_its_way(
    transport: RabbitTransport, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue of the same name that cannot be used: the reason is logged once, and it is tried until it works."""
    caplog.set_level(logging.INFO, LOGGER)
    inbox = await Inbox.at(transport, COMMANDS)
    name = operator.name(COMMANDS)
    await operator.replace(name, durable=True)
    await until(lambda: "inequivalent arg" in caplog.text)
    await operator.delete_queue(name)
    await until_consumed(operator, COMMANDS)
    await transport.publish(letters(COMMANDS, ["after"]))
    await inbox.until_it_has(["after"])


async def test_answers_survive_a_reconnect(
    transport: RabbitTransport, proxy: Proxy, rabbitmq: Server, broker_namespace: str
) -> None:
    """Those that come while the process that waits for them is cut off."""
    inbox = await Inbox.at(transport, ANSWERS)
    await proxy.refuse()
    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as elsewhere:
        await elsewhere.publish(letters(ANSWERS, ["meanwhile"]))
    await proxy.listen()
    await inbox.until_it_has(["meanwhile"])


async def test_a_channel_goes_with_its_last_acknowledgement(transport: RabbitTransport, proxy: Proxy) -> None:
    """After a cancel, what is out can still be acknowledged, and after that nothing is left of the consumer."""
    inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
    for text in ("x", "y"):
        await transport.publish(letters(COMMANDS, [text]))
    await inbox.until_count(2)
    await inbox.cancel()
    (line,) = proxy.lines("sagaflow consuming ")
    closed = line.said.count(CHANNEL_CLOSE_OK)
    await inbox.deliveries[0].ack()
    assert line.said.count(CHANNEL_CLOSE_OK) == closed
    await inbox.deliveries[1].ack()
    assert line.said.count(CHANNEL_CLOSE_OK) == closed + 1


async def test_a_subscription_can_be_cancelled_while_there_is_no_connection(
    transport: RabbitTransport, proxy: Proxy, operator: Operator
) -> None:
    """It does not come back with the connection."""
    inbox = await Inbox.at(transport, COMMANDS)
    await proxy.refuse()
    await inbox.cancel()
    await proxy.listen()
    await publish_until_confirmed(transport, letters(COMMANDS, ["x"]))
    other = await subscribe_until_consumed(transport, REPLIES)
    await transport.publish(letters(REPLIES, ["y"]))
    await other.until_it_has(["y"])
    assert not await operator.is_consumed(operator.name(COMMANDS))
    assert inbox.texts == []


async def subscribe_until_consumed(transport: Transport, address: Address) -> Inbox:
    async with asyncio.timeout(30):
        while True:
            try:
                return await Inbox.at(transport, address)
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_no_bound_is_no_prefetch(transport: RabbitTransport) -> None:
    """To the broker, 0 means that it may send everything at once."""
    with pytest.raises(ValueError, match="prefetch"):
        await Inbox.at(transport, COMMANDS, prefetch=0)


# A broker that comes and goes.


async def test_a_reason_is_logged_once(
    transport: RabbitTransport, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the broker cannot be reached; and the end of that is logged, too."""
    caplog.set_level(logging.DEBUG, LOGGER)

    def count(purpose: str, part: str, level: int) -> int:
        found = [record.getMessage() for record in caplog.records if record.name == LOGGER and record.levelno == level]
        return sum(line.startswith(f"the {purpose} connection to RabbitMQ") and part in line for line in found)

    await proxy.refuse()
    for purpose in ("publishing", "consuming"):
        await until(partial(lambda purpose: count(purpose, "cannot be reached", logging.DEBUG) > 1, purpose))
    await proxy.listen()
    for purpose in ("publishing", "consuming"):
        await until(partial(lambda purpose: count(purpose, "was made again after", logging.INFO) == 1, purpose))
        assert count(purpose, "was lost", logging.WARNING) == 1
        assert count(purpose, "cannot be reached", logging.WARNING) == 1


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_nothing_confirmed_is_lost_when_the_broker_restarts(
    rabbitmq: Server, broker_namespace: str, how: str
) -> None:
    """In the middle of publishing and consuming; both go on by themselves."""
    confirmed: list[str] = []
    is_over = asyncio.Event()

    async def publish(transport: Transport) -> None:
        while not is_over.is_set():
            texts = [f"{len(confirmed)} {number}" for number in range(120)]
            await publish_until_confirmed(transport, letters(COMMANDS, texts))
            confirmed.extend(texts)

    async with RabbitTransport(rabbitmq.url, namespace=broker_namespace, publish_timeout_seconds=2.0) as transport:
        inbox = await Inbox.at(transport, COMMANDS, prefetch=5)
        old_enough = asyncio.get_running_loop().time() + LEADERLESS_SECONDS
        publishing = asyncio.create_task(publish(transport))
        await until(lambda: asyncio.get_running_loop().time() > old_enough and len(inbox.deliveries) > 10)
        if how == "kill":
            await asyncio.to_thread(rabbitmq.kill)
            await asyncio.to_thread(rabbitmq.start)
        else:
            await asyncio.to_thread(rabbitmq.restart)
        before = len(confirmed), len(inbox.deliveries)
        await until(lambda: len(confirmed) > before[0] + 1_000 and len(inbox.deliveries) > before[1] + 10)
        is_over.set()
        await publishing
        await inbox.until_it_has(confirmed)


async def test_a_stopped_broker_keeps_nobody_from_leaving(rabbitmq: Server, broker_namespace: str) -> None:
    transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
    async with AsyncExitStack() as stack:
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
            await transport.publish(letters(COMMANDS, ["x"]))
            await inbox.until_count(1)
            stack.push_async_callback(asyncio.to_thread, rabbitmq.start)
            await asyncio.to_thread(rabbitmq.stop)
            await inbox.deliveries[0].ack()
        with pytest.raises(Unavailable):
            await enter(transport)
    async with transport:
        again = await Inbox.at(transport, COMMANDS)
        await again.until_it_has(["x"])


# Logging.


async def test_neither_payload_nor_password_is_logged(
    transport: RabbitTransport, proxy: Proxy, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at DEBUG, and not when things go wrong."""
    caplog.set_level(logging.DEBUG, LOGGER)
    password = urlsplit(proxy.url).password
    assert password is not None
    inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
    await transport.publish(letters(COMMANDS, ["canary"]))
    await inbox.until_it_has(["canary"])
    await operator.delete_queue(operator.name(COMMANDS))
    await transport.publish(letters(COMMANDS, ["canary"]))
    await proxy.refuse()
    await inbox.deliveries[0].ack()
    await until(lambda: "cannot be reached" in caplog.text)
    own = "".join(record.getMessage() for record in caplog.records if record.name == LOGGER)
    assert "canary" not in own
    assert password not in own
    assert password not in caplog.text


async def test_what_is_settled_in_one_moment_is_acknowledged_with_one_frame_and_nothing_else_with_it() -> None:
    frames: list[tuple[int, bool]] = []

    class Driver:
        async def basic_ack(self, delivery_tag: int, multiple: bool = False, wait: bool = True) -> None:
            frames.append((delivery_tag, multiple))

    came: list[RabbitDelivery] = []
    stream = Stream(None, came.append, 10)  # type: ignore[arg-type]  # the channel is not closed here
    stream._driver = Driver()  # type: ignore[assignment]  # all that is asked of it
    for tag in range(1, 8):
        deliver = spec.Basic.Deliver(consumer_tag="c", delivery_tag=tag)
        await stream._on_message(DeliveredMessage(deliver, ContentHeader(), b"[]", None))  # type: ignore[arg-type]

    async def acknowledged(*tags: int) -> list[tuple[int, bool]]:
        frames.clear()
        await asyncio.gather(*(came[tag - 1].ack() for tag in tags))
        return frames

    assert await acknowledged(2, 1, 4) == [(2, True), (4, False)], "the third is still out"
    assert await acknowledged(6) == [(6, False)]
    assert await acknowledged(3) == [(3, False)]
    assert await acknowledged(7, 5) == [(7, True)], "the sixth was acknowledged before"
    assert stream.is_idle
