"""A broker in memory: at least once, in any order, and whatever else may befall a message on its way."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, Self

from sagaflow.adapters.parcels import Parcel, pack
from sagaflow.definitions.health import Trouble
from sagaflow.definitions.ports import (
    DELIVERY_LIMIT,
    EXPIRED,
    Address,
    DeadDelivery,
    Delivery,
    Letter,
    QueueKind,
    Subscription,
)
from sagaflow.errors import Unavailable
from sagaflow.testing.simulation.faults import Faults, Kind, NoFaults
from sagaflow.testing.simulation.processes import CURRENT, Process
from sagaflow.testing.simulation.servers import Line

RETURNS_MAX: Final = 20
"""How often a body may come back before it is given up."""


class BrokerWitness(Protocol):
    """Told what the broker has taken, and what it was told is dealt with."""

    def published(self, to: Address, body: bytes) -> None:
        """A body is in its queue."""

    def acked(self, address: Address, body: bytes) -> None:
        """A body is dealt with, says its consumer, and never comes again."""


class NoBrokerWitness:
    """Looks away."""

    def published(self, to: Address, body: bytes) -> None:
        """Nothing."""

    def acked(self, address: Address, body: bytes) -> None:
        """Nothing."""


class SimulatedBroker:
    """The queues. Processes reach it by a `SimulatedTransport` each.

    Args:
        line: how.
        faults: what befalls messages on their way.
        order: decides which of the messages that wait comes next; None: the first.
        delay_seconds: how long a message takes at most, if `order` is given.
    """

    def __init__(
        self,
        line: Line | None = None,
        *,
        faults: Faults | None = None,
        order: random.Random | None = None,
        delay_seconds: float = 0.0,
        witness: BrokerWitness | None = None,
    ) -> None:
        self.line = Line("broker") if line is None else line
        self.line.cut = self.cut
        self.faults = NoFaults() if faults is None else faults
        self.order = order
        self.witness: BrokerWitness = NoBrokerWitness() if witness is None else witness
        self.returns_max: float = RETURNS_MAX
        self._delay_seconds = delay_seconds
        self._queues: dict[Address, _Queue] = {}
        self._dead: dict[Address, _Queue] = {}

    @property
    def idle(self) -> bool:
        """Whether no message waits or is out unacknowledged."""
        return not any(queue.waiting or queue.outstanding for queue in self._all_queues())

    def disconnect(self, process: Process | None) -> None:
        """A process is gone, or (none given) all connections are: what was out comes again, elsewhere."""
        for queue in self._all_queues():
            queue.lose(process, gone=process is not None)

    def wipe(self) -> None:
        """Lose all data: what waits and what is out."""
        for queue in self._all_queues():
            queue.wipe()

    def resume(self) -> None:
        """Go on after having been down."""
        for queue in self._all_queues():
            queue.hand_out()

    def cut(self, process: Process | None) -> None:
        """The connection of a process is lost; it has another one at once, and what was out comes again."""
        if process is not None:
            for queue in self._all_queues():
                queue.lose(process, gone=False)

    def queue(self, address: Address) -> _Queue:
        """The queue of an address."""
        if address not in self._queues:
            self._queues[address] = _Queue(self, address)
        return self._queues[address]

    def dead_queue(self, address: Address) -> _Queue:
        """The queue of what was given up of an address."""
        if address not in self._dead:
            self._dead[address] = _Queue(self, address)
        return self._dead[address]

    def give_up(self, address: Address, body: _Body, reason: str) -> None:
        """Not to be delivered. Of answers and inquiries nothing is kept."""
        if address.kind not in (QueueKind.ANSWERS, QueueKind.INQUIRIES):
            self.dead_queue(address).put(_Body(body.content, reason=reason))

    def _all_queues(self) -> Sequence[_Queue]:
        return [*self._queues.values(), *self._dead.values()]

    def put(self, parcel: Parcel) -> None:
        """Take a body, which is safe then."""
        queue = self.queue(parcel.to)
        if parcel.to.kind is QueueKind.ANSWERS and not queue.consumers:
            return
        self.witness.published(parcel.to, parcel.body)
        loop = asyncio.get_running_loop()
        fault = self.faults.at("broker.carry", str(parcel.to.kind))
        late = 0.0 if self.order is None else self.order.random() * self._delay_seconds
        if fault is not None and fault.kind is Kind.LATE:
            late = fault.seconds
        elif fault is not None and fault.kind is Kind.TWICE:
            queue.put(_body(parcel))
        elif fault is not None and fault.kind is Kind.LOST:
            return
        if late:
            queue.on_their_way += 1
            loop.call_later(late, queue.arrive, parcel, context=_OUTSIDE)
        else:
            queue.put(_body(parcel))


_OUTSIDE: Final = Context()
"""What the broker does by itself is done by no process."""


class SimulatedTransport:
    """A `Transport` of one process."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self._users = 0
        self._subscriptions: list[_Consumer] = []

    async def __aenter__(self) -> Self:
        await self._broker.line.call("broker.enter", lambda: None)
        self._users += 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._users -= 1
        if self._users == 0:
            for consumer in self._subscriptions:
                consumer.queue.end(consumer)
            self._subscriptions.clear()

    @property
    def durable(self) -> bool:
        """Published messages outlive the process."""
        return True

    def troubles(self) -> Sequence[Trouble]:
        """Nobody asks for them in a simulation."""
        return ()

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Hand over messages; on return all are safe in their queues.

        Raises:
            Unavailable: at least one may not have arrived, or may.
        """
        self._expect_entered()
        parcels = pack(letters)

        def put(some: Sequence[Parcel]) -> None:
            for parcel in some:
                self._broker.put(parcel)

        await self._broker.line.call("broker.publish", lambda: put(parcels), lambda: put(parcels[::2]))

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        """Consume a queue."""
        self._expect_entered()
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}; it must be 1 or more")
        await self._broker.line.call("broker.enter", lambda: None)
        consumer = _Consumer(self._broker.queue(address), receive, prefetch)
        self._subscriptions.append(consumer)
        consumer.queue.subscribe(consumer)
        return consumer

    async def subscribe_dead(
        self, address: Address, receive: Callable[[DeadDelivery], None], *, prefetch: int
    ) -> Subscription:
        """Consume what was given up of an address: what has expired, or came back too often."""
        self._expect_entered()
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}; it must be 1 or more")
        if address.kind is QueueKind.ANSWERS:
            raise ValueError(f"nothing is kept of what goes to {address}")
        await self._broker.line.call("broker.enter", lambda: None)
        consumer = _Consumer(self._broker.dead_queue(address), receive, prefetch)
        self._subscriptions.append(consumer)
        consumer.queue.subscribe(consumer)
        return consumer

    def _expect_entered(self) -> None:
        if self._users == 0:
            raise Unavailable("the transport is not entered: use it inside `async with transport:`")


@dataclass(frozen=True, slots=True)
class _Body:
    content: bytes
    expires_at: float = math.inf
    """By the clock of the event loop."""
    returns: int = 0
    """How often it came back."""
    reason: str = ""
    """Why it was given up, if it was."""

    @property
    def has_expired(self) -> bool:
        """Whether it is worth nothing any more."""
        return self.expires_at <= asyncio.get_running_loop().time()


def _body(parcel: Parcel) -> _Body:
    lifetime = math.inf if parcel.expires_seconds is None else parcel.expires_seconds
    return _Body(parcel.body, asyncio.get_running_loop().time() + lifetime)


class _Queue:
    """Bodies that wait, and the consumers that share them."""

    def __init__(self, broker: SimulatedBroker, address: Address) -> None:
        self.broker = broker
        self.address = address
        self.waiting: list[_Body] = []
        self.consumers: list[_Consumer] = []
        self.on_their_way = 0
        self._departed: list[_Consumer] = []
        self._handing_out = False

    @property
    def outstanding(self) -> int:
        """How many are out unacknowledged, or still on their way."""
        return self.on_their_way + sum(len(consumer.outstanding) for consumer in [*self.consumers, *self._departed])

    def arrive(self, parcel: Parcel) -> None:
        """A body that was on its way for some time."""
        self.on_their_way -= 1
        if self.address.kind is not QueueKind.ANSWERS or self.consumers:
            self.put(_body(parcel))

    def put(self, body: _Body) -> None:
        self.waiting.append(body)
        self.hand_out()

    def subscribe(self, consumer: _Consumer) -> None:
        self._take_back()
        self.consumers.append(consumer)
        self.hand_out()

    def leave(self, consumer: _Consumer) -> None:
        """Give a consumer nothing more; it may still acknowledge what it has."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)
            self._departed.append(consumer)
        self._drop_if_it_does_not_last()

    def end(self, consumer: _Consumer) -> None:
        """The consumer is gone; what it has not acknowledged waits again."""
        self.leave(consumer)
        self._take_back()
        self.hand_out()

    def lose(self, process: Process | None, *, gone: bool) -> None:
        """The connections of a process are lost: what is out comes again. Unless it is gone, it consumes on."""
        for consumer in [*self.consumers, *self._departed]:
            if process is None or consumer.process is process:
                consumer.requeue()
        if gone:
            self.consumers = [consumer for consumer in self.consumers if consumer.process is not process]
            self._departed = [consumer for consumer in self._departed if consumer.process is not process]
        self._drop_if_it_does_not_last()
        self.hand_out()

    def wipe(self) -> None:
        self.waiting.clear()
        for consumer in [*self.consumers, *self._departed]:
            consumer.outstanding.clear()

    def hand_out(self) -> None:
        """Soon, not now."""
        if self.waiting and self.consumers and not self._handing_out:
            self._handing_out = True
            asyncio.get_running_loop().call_soon(self._hand_out_one, context=_OUTSIDE)

    def _hand_out_one(self) -> None:
        self._handing_out = False
        reachable = [one for one in self.consumers if one.process is None or one.process.reachable]
        consumer = min(reachable, key=lambda each: each.load, default=None)
        if consumer is None or consumer.load >= 1 or not self.waiting or self.broker.line.down:
            return
        body = self.waiting.pop(self._place())
        if body.has_expired:
            self.broker.give_up(self.address, body, EXPIRED)
            self.hand_out()
            return
        self.consumers.remove(consumer)
        self.consumers.append(consumer)  # of those with the same load, the next one is next
        delivery = _Delivery(consumer, body)
        consumer.outstanding[delivery] = None
        asyncio.get_running_loop().call_soon(consumer.receive, delivery, context=consumer.context)
        self.hand_out()

    def _place(self) -> int:
        return 0 if self.broker.order is None else int(self.broker.order.random() * len(self.waiting))

    def _take_back(self) -> None:
        for consumer in self._departed:
            consumer.requeue()
        self._departed.clear()

    def _drop_if_it_does_not_last(self) -> None:
        if self.address.kind is QueueKind.ANSWERS and not self.consumers:
            self.waiting.clear()
            self._departed.clear()


class _Consumer:
    """A subscription, and what was delivered to it and is not acknowledged."""

    def __init__(self, queue: _Queue, receive: Callable[[Any], None], prefetch: int) -> None:
        self.queue = queue
        self.process = CURRENT.get()
        self.context = copy_context()
        self.outstanding: dict[_Delivery, None] = {}
        self._receive = receive
        self._prefetch = prefetch

    @property
    def load(self) -> float:
        """How much of what it takes it has: 1.0 is all. The broker does not know whether it stands still."""
        return len(self.outstanding) / self._prefetch

    def receive(self, delivery: _Delivery) -> None:
        """What the process does with a delivery, if it came before its connection was lost."""
        if delivery in self.outstanding:
            self._receive(delivery)

    def requeue(self) -> None:
        """What it has waits again, and is nobody's to acknowledge."""
        back = [replace(delivery.carried, returns=delivery.carried.returns + 1) for delivery in self.outstanding]
        self.outstanding.clear()
        self.queue.waiting[:0] = [body for body in back if body.reason or body.returns <= self.queue.broker.returns_max]
        for body in back:
            if not body.reason and body.returns > self.queue.broker.returns_max:
                self.queue.broker.give_up(self.queue.address, body, DELIVERY_LIMIT)

    async def cancel(self) -> None:
        """No more deliveries; those that are out can still be acknowledged."""
        self.queue.leave(self)


class _Delivery:
    """A body that has arrived."""

    def __init__(self, consumer: _Consumer, body: _Body) -> None:
        self.carried = body
        self.body = body.content
        self.again = body.returns > 0
        self.reason = body.reason
        self._consumer = consumer

    async def ack(self) -> None:
        """It is dealt with. Does nothing if the connection it came by is gone: it will come again."""
        queue = self._consumer.queue
        try:
            await queue.broker.line.call("broker.ack", self._settle)
        except Unavailable:
            return

    def _settle(self) -> None:
        consumer = self._consumer
        if self in consumer.outstanding:
            del consumer.outstanding[self]
            if not self.reason:
                consumer.queue.broker.witness.acked(consumer.queue.address, self.body)
            consumer.queue.hand_out()
