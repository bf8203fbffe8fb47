"""The conformance suite of `Transport`: what has to be kept by whoever carries messages.

    class TestMyTransport(TransportContract):
        @pytest.fixture
        def transport(self): ...            # not entered, and with no queues, for each test

Run it with pytest and pytest-asyncio (`asyncio_mode = "auto"`). For readable failures,
`pytest.register_assert_rewrite("sagaflow.testing")` in a conftest.py. Nothing may go wrong on the way meanwhile:
"at least once" is exactly once here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Final

from sagaflow.definitions.limits import BATCH_BYTES_MAX, BATCH_COUNT_MAX, MESSAGE_BYTES_MAX
from sagaflow.definitions.ports import (
    EXPIRED,
    Address,
    DeadDelivery,
    Delivery,
    Letter,
    QueueKind,
    Subscription,
    Transport,
)
from sagaflow.errors import Unavailable

DEADLINE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.005

SHORT_SECONDS: Final = 0.2
"""What expires so soon has expired when a test has waited for twice as long."""

LONG_SECONDS: Final = 600.0

COMMANDS: Final = Address(QueueKind.COMMANDS, "inventory")
REPLIES: Final = Address(QueueKind.REPLIES, "shop")
ANSWERS: Final = Address(QueueKind.ANSWERS, "process-1")


class TransportContract:
    """Subclass it, with a fixture `transport` that gives a transport that nobody has entered."""

    async def test_every_message_that_is_published_arrives(self, transport: Transport) -> None:
        """What is published arrives, unchanged."""
        texts = ["", "plain", 'with "quotes", commas and [brackets]', "Straße 雪 \N{SNOWMAN}", "\u2028\x00"]
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, texts))
            await inbox.until_it_has(texts)

    async def test_messages_of_one_publish_share_bodies_within_the_bounds(self, transport: Transport) -> None:
        """Messages for one address are joined to JSON arrays, of at most `BATCH_COUNT_MAX` each."""
        texts = numbered(2 * BATCH_COUNT_MAX + 1)
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, texts))
            await inbox.until_it_has(texts)
        sizes = sorted(len(json.loads(delivery.body)) for delivery in inbox.deliveries)
        assert sizes == [1, BATCH_COUNT_MAX, BATCH_COUNT_MAX]

    async def test_large_messages_are_spread_over_bodies_within_the_bounds(self, transport: Transport) -> None:
        """A body never has more than `BATCH_BYTES_MAX` bytes, and the largest message still fits into one."""
        frame = len(letters(COMMANDS, [""])[0].message)
        texts = [str(digit) * (MESSAGE_BYTES_MAX - frame) for digit in range(7)]
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, texts))
            await inbox.until_it_has(texts)
        assert max(len(delivery.body) for delivery in inbox.deliveries) <= BATCH_BYTES_MAX
        assert len(inbox.deliveries) == -(-len(texts) // (BATCH_BYTES_MAX // MESSAGE_BYTES_MAX))

    async def test_hundreds_of_messages_to_many_addresses_go_in_one_publish(self, transport: Transport) -> None:
        """One publish takes any number of messages, for any addresses in any order; each gets its own."""
        addresses = [Address(kind, name) for kind in QueueKind for name in ("a", "b")]
        texts = {address: [f"{address} {number}" for number in range(99)] for address in addresses}
        mixed = [letters(address, [texts[address][number]])[0] for number in range(99) for address in addresses]
        async with transport:
            inboxes = {address: await Inbox.at(transport, address) for address in addresses}
            await transport.publish(mixed)
            for address, inbox in inboxes.items():
                await inbox.until_it_has(texts[address])
                assert set(inbox.texts) == set(texts[address])

    async def test_nothing_can_be_published(self, transport: Transport) -> None:
        """An empty publish is done at once."""
        async with transport:
            await transport.publish([])

    async def test_many_publish_at_once(self, transport: Transport) -> None:
        """Publishes that run together do not disturb each other."""
        texts = numbered(100)
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await asyncio.gather(*(transport.publish(letters(COMMANDS, [text])) for text in texts))
            await inbox.until_it_has(texts)

    async def test_messages_wait_for_a_consumer(self, transport: Transport) -> None:
        """A queue is made by the first message for it, and keeps messages until somebody consumes them."""
        async with transport:
            await transport.publish(letters(REPLIES, ["early"]))
        async with transport:
            inbox = await Inbox.at(transport, REPLIES)
            await inbox.until_it_has(["early"])

    async def test_a_queue_that_nobody_consumes_holds_up_no_other(self, transport: Transport) -> None:
        """Queues are independent, even if they differ in their kind only."""
        compensations = Address(QueueKind.COMPENSATIONS, COMMANDS.name)
        async with transport:
            inbox = await Inbox.at(transport, compensations)
            await transport.publish([*letters(COMMANDS, numbered(200)), *letters(compensations, ["undo"])])
            await inbox.until_it_has(["undo"])
            assert inbox.texts == ["undo"]

    async def test_answers_to_nobody_are_dropped(self, transport: Transport) -> None:
        """Answers for a process that is gone are no error, and do not keep others from arriving."""
        gone = Address(QueueKind.ANSWERS, "gone")
        async with transport:
            inbox = await Inbox.at(transport, ANSWERS)
            await transport.publish([*letters(gone, ["nobody"]), *letters(ANSWERS, ["somebody"])])
            await inbox.until_it_has(["somebody"])
            late = await Inbox.at(transport, gone)
            await transport.publish(letters(gone, ["now"]))
            await late.until_it_has(["now"])
            assert late.texts == ["now"]

    async def test_what_has_expired_is_not_delivered(self, transport: Transport) -> None:
        """After its time in the queue a message is dropped; those before and behind it are not."""
        async with transport:
            await transport.publish(letters(COMMANDS, ["before"]))
            await transport.publish(letters(COMMANDS, ["expired"], expires_seconds=SHORT_SECONDS))
            await transport.publish(letters(COMMANDS, ["in time"], expires_seconds=LONG_SECONDS))
            await transport.publish(letters(COMMANDS, ["behind"]))
            await asyncio.sleep(2 * SHORT_SECONDS)
            inbox = await Inbox.at(transport, COMMANDS)
            await inbox.until_it_has(["before", "in time", "behind"])
            await self._let_others_have_a_turn(transport)
            assert sorted(inbox.texts) == ["before", "behind", "in time"]

    async def test_what_expires_behind_a_busy_consumer_is_not_delivered(self, transport: Transport) -> None:
        """A message expires while it waits for room, too, and the one behind it comes as soon as there is some."""
        async with transport:
            busy = await Inbox.at(transport, COMMANDS, prefetch=1, acknowledge=False)
            await transport.publish(letters(COMMANDS, ["first"]))
            await busy.until_it_has(["first"])
            await transport.publish(letters(COMMANDS, ["expired"], expires_seconds=SHORT_SECONDS))
            await transport.publish(letters(COMMANDS, ["last"]))
            await asyncio.sleep(2 * SHORT_SECONDS)
            await busy.deliveries[0].ack()
            await busy.until_it_has(["last"])
            assert busy.texts == ["first", "last"]

    async def test_what_does_not_expire_is_not_lost_with_what_does(self, transport: Transport) -> None:
        """In one publish, no message is dropped before its own time."""
        kept = letters(COMMANDS, numbered(2 * BATCH_COUNT_MAX))
        in_time = letters(COMMANDS, ["in time"], expires_seconds=LONG_SECONDS)
        expiring = letters(COMMANDS, [f"expiring {number}" for number in range(60)], expires_seconds=SHORT_SECONDS)
        async with transport:
            await transport.publish([*expiring[:30], *kept[:30], *in_time, *kept[30:], *expiring[30:]])
            await asyncio.sleep(2 * SHORT_SECONDS)
            inbox = await Inbox.at(transport, COMMANDS)
            await inbox.until_it_has(["in time", *numbered(2 * BATCH_COUNT_MAX)])

    async def test_what_expires_is_delivered_in_time(self, transport: Transport) -> None:
        """To a consumer that has room it comes like any other, with however odd a time; a time of years is no error."""
        texts = numbered(5)
        seconds = [1e9, LONG_SECONDS, 0.57 * LONG_SECONDS, LONG_SECONDS + 1e-9, 4_294_967.0]
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            for text, expires_seconds in zip(texts, seconds, strict=True):
                await transport.publish(letters(COMMANDS, [text], expires_seconds=expires_seconds))
            await transport.publish(letters(REPLIES, ["a moment"], expires_seconds=1e-9))
            await inbox.until_it_has(texts)

    async def test_nothing_is_given_up_but_what_has_expired(self, transport: Transport) -> None:
        """The owner of an address is told of what was not delivered to it and why, or, if it expired, not even that."""
        async with transport:
            await transport.publish(letters(COMMANDS, ["kept", "kept, too"]))
            await transport.publish(letters(COMMANDS, ["expired"], expires_seconds=SHORT_SECONDS))
            await transport.publish(letters(REPLIES, ["another's"], expires_seconds=SHORT_SECONDS))
            await asyncio.sleep(2 * SHORT_SECONDS)
            dead = await Inbox.at(transport, COMMANDS, dead=True)
            inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, ["last"]))
            await inbox.until_it_has(["kept", "kept, too", "last"])
            await dead.cancel()
            assert sorted(inbox.texts) == ["kept", "kept, too", "last"]
            assert dead.texts in ([], ["expired"])
            assert {delivery.reason for delivery in dead.dead_deliveries} <= {EXPIRED}

    async def test_what_was_given_up_is_consumed_as_anything_else(self, transport: Transport) -> None:
        """Only of answers nothing is kept; to consume with no room makes no sense here either."""
        async with transport:
            for address, prefetch in ((ANSWERS, 1), (COMMANDS, 0)):
                try:
                    await transport.subscribe_dead(address, _ignore, prefetch=prefetch)
                except ValueError:
                    continue
                raise AssertionError(f"it consumes what was given up of {address}, {prefetch} at a time")
            subscription = await transport.subscribe_dead(COMMANDS, _ignore, prefetch=1)
            await subscription.cancel()
            await subscription.cancel()
        try:
            await transport.subscribe_dead(COMMANDS, _ignore, prefetch=1)
        except Unavailable:
            return
        raise AssertionError("it was used without being entered")

    async def test_what_is_not_acknowledged_comes_again(self, transport: Transport) -> None:
        """When its consumer goes away, a delivery comes to the next one, and says that it comes again."""
        async with transport:
            first = await Inbox.at(transport, COMMANDS, acknowledge=False)
            await transport.publish(letters(COMMANDS, ["once more"]))
            await first.until_it_has(["once more"])
            assert not first.deliveries[0].again
        async with transport:
            second = await Inbox.at(transport, COMMANDS)
            await second.until_it_has(["once more"])
            assert second.deliveries[0].again

    async def test_what_is_acknowledged_never_comes_again(self, transport: Transport) -> None:
        """After an acknowledgement the message is gone, also for the next consumer."""
        texts = numbered(20)
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
            for text in texts:
                await transport.publish(letters(COMMANDS, [text]))
            await inbox.until_it_has(texts)
            for delivery in inbox.deliveries[:-1]:
                await delivery.ack()
            kept = texts_of(inbox.deliveries[-1])
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, ["last"]))
            await inbox.until_it_has([*kept, "last"])
            assert sorted(inbox.texts) == sorted([*kept, "last"])

    async def test_an_acknowledgement_can_come_late_or_twice(self, transport: Transport) -> None:
        """It does nothing then: neither does it fail, nor does it acknowledge anything else."""
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS, acknowledge=False)
            await transport.publish(letters(COMMANDS, ["twice"]))
            await transport.publish(letters(REPLIES, ["other"]))
            await inbox.until_it_has(["twice"])
            other = await Inbox.at(transport, REPLIES, acknowledge=False)
            await other.until_it_has(["other"])
            for _ in range(3):
                await inbox.deliveries[0].ack()
        await other.deliveries[0].ack()
        async with transport:
            again = await Inbox.at(transport, REPLIES)
            await again.until_it_has(["other"])
            await other.deliveries[0].ack()

    async def test_consumers_of_one_queue_share_it(self, transport: Transport) -> None:
        """Each delivery goes to one of them, and none has to wait behind another that is busy."""
        texts = numbered(6)
        async with transport:
            inboxes = [await Inbox.at(transport, COMMANDS, prefetch=2, acknowledge=False) for _ in range(3)]
            for text in texts:
                await transport.publish(letters(COMMANDS, [text]))
            for inbox in inboxes:
                await inbox.until_count(2)
            assert sorted(text for inbox in inboxes for text in inbox.texts) == texts

    async def test_no_more_than_the_prefetch_is_out(self, transport: Transport) -> None:
        """A consumer that acknowledges nothing has at most `prefetch` deliveries; each it acknowledges makes room."""
        texts = numbered(10)
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS, prefetch=3, acknowledge=False)
            for text in texts:
                await transport.publish(letters(COMMANDS, [text]))
            for acknowledged in range(len(texts) - 3):
                await inbox.until_count(3 + acknowledged)
                await self._let_others_have_a_turn(transport)
                assert len(inbox.deliveries) == 3 + acknowledged
                await inbox.deliveries[acknowledged].ack()
            await inbox.until_it_has(texts)

    async def test_a_cancelled_subscription_gets_no_more(self, transport: Transport) -> None:
        """After `cancel`, what is published goes to others; what is out can still be acknowledged."""
        async with transport:
            leaving = await Inbox.at(transport, COMMANDS, prefetch=2, acknowledge=False)
            for text in ("a", "b", "c"):
                await transport.publish(letters(COMMANDS, [text]))
            await leaving.until_count(2)
            await leaving.cancel()
            had = leaving.texts
            for delivery in leaving.deliveries:
                await delivery.ack()
            staying = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, ["d"]))
            missing = sorted({"a", "b", "c", "d"} - set(had))
            await staying.until_it_has(missing)
            assert sorted(staying.texts) == missing
            assert leaving.texts == had
            await leaving.cancel()

    async def test_it_has_no_troubles_while_all_is_well(self, transport: Transport) -> None:
        """Neither before it is entered, nor while it carries messages, nor afterwards."""
        assert list(transport.troubles()) == []
        async with transport:
            inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, ["a"]))
            await inbox.until_it_has(["a"])
            assert list(transport.troubles()) == []
        assert list(transport.troubles()) == []

    async def test_it_can_be_entered_by_several(self, transport: Transport) -> None:
        """The runners of a process share a transport; it works until the last of them leaves."""
        async with transport:
            async with transport:
                inbox = await Inbox.at(transport, COMMANDS)
            await transport.publish(letters(COMMANDS, ["still here"]))
            await inbox.until_it_has(["still here"])

    async def test_it_is_of_no_use_outside(self, transport: Transport) -> None:
        """Whoever has not entered it, or has left it, is told."""
        for _ in range(2):
            for attempt in (transport.publish(letters(COMMANDS, ["x"])), Inbox.at(transport, COMMANDS)):
                try:
                    await attempt
                except Unavailable:
                    continue
                raise AssertionError("it was used without being entered")
            async with transport:
                pass

    async def _let_others_have_a_turn(self, transport: Transport) -> None:
        """Send something by another queue and back: what was on its way before has arrived after."""
        ping = await Inbox.at(transport, REPLIES)
        await transport.publish(letters(REPLIES, ["ping"]))
        await ping.until_count(1)
        await ping.cancel()


class Inbox:
    """A consumer that takes note of its deliveries, and lets a test wait for them."""

    def __init__(self, *, acknowledge: bool) -> None:
        self.deliveries: list[Delivery] = []
        self.dead_deliveries: list[DeadDelivery] = []
        """Those of them that the transport had given up."""
        self.texts: list[str] = []
        """What has arrived, in its order."""
        self._acknowledge = acknowledge
        self._acknowledging: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    @classmethod
    async def at(
        cls,
        transport: Transport,
        address: Address,
        *,
        prefetch: int = 100,
        acknowledge: bool = True,
        dead: bool = False,
    ) -> Inbox:
        """Consume a queue, or with `dead` what was given up there; without `acknowledge`, leave that to the test."""
        inbox = cls(acknowledge=acknowledge)
        if dead:
            inbox._subscription = await transport.subscribe_dead(address, inbox._receive_dead, prefetch=prefetch)
        else:
            inbox._subscription = await transport.subscribe(address, inbox._receive, prefetch=prefetch)
        return inbox

    async def until_it_has(self, texts: Sequence[str]) -> None:
        """Wait until all of these have arrived. Each text is looked at once: there may be a hundred thousand."""
        missing = set(texts)
        looked_at = 0

        def has_all() -> bool:
            nonlocal looked_at
            missing.difference_update(self.texts[looked_at:])
            looked_at = len(self.texts)
            return not missing

        await until(has_all, f"{len(texts)} texts, of which it has", self.texts)

    async def until_count(self, count: int) -> None:
        """Wait until so many deliveries have arrived."""
        await until(lambda: len(self.deliveries) >= count, f"{count} deliveries, of which it has", self.deliveries)

    async def cancel(self) -> None:
        """Cancel the subscription, when all is acknowledged that is to be."""
        if self._acknowledging:
            await asyncio.wait(self._acknowledging)
        assert self._subscription is not None
        await self._subscription.cancel()

    def _receive_dead(self, delivery: DeadDelivery) -> None:
        self.dead_deliveries.append(delivery)
        self._receive(delivery)

    def _receive(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.texts.extend(texts_of(delivery))
        if self._acknowledge:
            task = asyncio.create_task(_ack(delivery))
            self._acknowledging.add(task)
            task.add_done_callback(self._acknowledging.discard)


async def until(condition: Callable[[], bool], what: str = "", has: object = None) -> None:
    """Wait until it is so; fail when it is not within `DEADLINE_SECONDS`."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():  # noqa: ASYNC110 - a condition of any kind
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"after {DEADLINE_SECONDS:.0f} s still waiting for {what} {has!r:.500}") from None


def letters(to: Address, texts: Sequence[str], *, expires_seconds: float | None = None) -> list[Letter]:
    """One letter for each text."""
    return [Letter(to, json.dumps({"text": text}, ensure_ascii=False).encode(), expires_seconds) for text in texts]


def numbered(count: int) -> list[str]:
    """So many different texts."""
    return [f"number {number}" for number in range(count)]


def texts_of(delivery: Delivery) -> list[str]:
    """The texts of the letters in a body."""
    return [message["text"] for message in json.loads(delivery.body)]


def _ignore(delivery: Delivery) -> None:
    """Take no note of it."""


async def _ack(delivery: Delivery) -> None:
    await delivery.ack()
