"""What is particular to the transport inside one process: the contract of all transports is in tests/contracts."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.definitions.ports import Delivery
from sagaflow.testing.transport_contract import ANSWERS, COMMANDS, Inbox, letters, numbered, until


async def order_of_arrival(transport: InProcessTransport, texts: list[str]) -> list[str]:
    async with transport:
        for text in texts:
            await transport.publish(letters(COMMANDS, [text]))
        inbox = await Inbox.at(transport, COMMANDS, prefetch=1)
        await inbox.until_it_has(texts)
    return inbox.texts


async def test_messages_come_in_order_unless_they_are_shuffled() -> None:
    """As code sees it that was never run against anything else; so the order can be left to chance."""
    texts = numbered(20)
    assert await order_of_arrival(InProcessTransport(), texts) == texts
    shuffled = await order_of_arrival(InProcessTransport(shuffle=random.Random(1)), texts)
    assert shuffled != texts
    assert await order_of_arrival(InProcessTransport(shuffle=random.Random(1)), texts) == shuffled


async def test_messages_come_twice_if_asked_for() -> None:
    """Both times as if for the first time, like those that a sender publishes again."""
    async with InProcessTransport(duplicate=1.0) as transport:
        inbox = await Inbox.at(transport, COMMANDS)
        await transport.publish(letters(COMMANDS, ["twice"]))
        await inbox.until_count(2)
        assert inbox.texts == ["twice", "twice"]
        assert not any(delivery.again for delivery in inbox.deliveries)


async def test_some_messages_come_twice() -> None:
    texts = numbered(100)
    async with InProcessTransport(shuffle=random.Random(1), duplicate=0.3) as transport:
        for text in texts:
            await transport.publish(letters(COMMANDS, [text]))
        inbox = await Inbox.at(transport, COMMANDS)
        await inbox.until_it_has(texts)
        await transport.publish(letters(COMMANDS, ["last"]))
        await inbox.until_it_has(["last"])
        assert 10 < len(inbox.texts) - len(texts) < 60


async def test_messages_are_not_durable() -> None:
    assert InProcessTransport().durable is False


async def test_a_consumer_that_fails_holds_up_nothing() -> None:
    """The error goes to the event loop; the delivery stays unacknowledged."""
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

    def fail(delivery: Delivery) -> None:
        raise LookupError(delivery.body)

    async with InProcessTransport() as transport:
        await transport.subscribe(COMMANDS, fail, prefetch=10)
        for text in ("a", "b"):
            await transport.publish(letters(COMMANDS, [text]))
        await until(lambda: len(errors) == 2)
    async with transport:
        inbox = await Inbox.at(transport, COMMANDS)
        await inbox.until_it_has(["a", "b"])
        assert all(delivery.again for delivery in inbox.deliveries)


async def test_receive_is_not_called_by_who_publishes() -> None:
    """Otherwise a publish in the middle of something would run into what others do."""
    inside: list[bool] = []

    def receive(delivery: Delivery) -> None:
        inside.append(asyncio.current_task() is not None)

    async with InProcessTransport() as transport:
        await transport.subscribe(COMMANDS, receive, prefetch=10)
        await transport.publish(letters(COMMANDS, ["x"]))
        await until(lambda: bool(inside))
    assert inside == [False]


async def test_who_publishes_in_a_loop_lets_others_run() -> None:
    async with InProcessTransport() as transport:
        inbox = await Inbox.at(transport, COMMANDS)
        for _ in range(10):
            await transport.publish(letters(COMMANDS, ["x"]))
        assert inbox.deliveries


async def test_unacknowledged_messages_go_to_the_next_subscriber() -> None:
    """Also while the transport stays entered by others: nobody else will acknowledge them."""
    async with InProcessTransport() as transport:
        gone = await Inbox.at(transport, COMMANDS, acknowledge=False)
        for text in ("a", "b", "c"):
            await transport.publish(letters(COMMANDS, [text]))
        await gone.until_count(3)
        await gone.cancel()
        await gone.deliveries[0].ack()
        following = await Inbox.at(transport, COMMANDS, acknowledge=False)
        await gone.deliveries[1].ack()  # too late
        await following.until_it_has(["b", "c"])
        assert following.texts == ["b", "c"]
        assert all(delivery.again for delivery in following.deliveries)


async def test_an_answers_queue_goes_with_its_last_consumer() -> None:
    """Nobody would ever come for what is left in it."""
    async with InProcessTransport() as transport:
        inbox = await Inbox.at(transport, ANSWERS, prefetch=1, acknowledge=False)
        for text in ("a", "b"):
            await transport.publish(letters(ANSWERS, [text]))
        await inbox.until_count(1)
        await inbox.cancel()
        late = await Inbox.at(transport, ANSWERS)
        await transport.publish(letters(ANSWERS, ["c"]))
        await late.until_it_has(["c"])
        assert late.texts == ["c"]


async def test_no_bound_is_no_prefetch() -> None:
    async with InProcessTransport() as transport:
        with pytest.raises(ValueError, match="prefetch"):
            await Inbox.at(transport, COMMANDS, prefetch=0)


def test_what_is_left_at_the_end_of_an_event_loop_is_there_in_the_next() -> None:
    """A program may run several, one after the other."""
    transport = InProcessTransport()

    async def send() -> None:
        async with transport:
            await Inbox.at(transport, COMMANDS)
            sending = asyncio.create_task(transport.publish(letters(COMMANDS, ["kept"])))
            await asyncio.sleep(0)
        sending.cancel()

    async def take() -> None:
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await inbox.until_it_has(["kept"])

    asyncio.run(send())
    asyncio.run(take())
