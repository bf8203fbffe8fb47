"""Carries messages inside one process, by the same promises as a broker: at least once, in any order."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from sagaflow.adapters.parcels import Parcel, pack
from sagaflow.definitions.health import Trouble
from sagaflow.definitions.ports import Address, DeadDelivery, Delivery, Letter, QueueKind, Subscription
from sagaflow.errors import Unavailable


class InProcessTransport:
    """Keeps messages in memory. What is not acknowledged when the process dies is sent again by its coordinator.

    Enter it before use; it may be entered several times, and what it holds outlives the last exit. All its
    users share one event loop.

    Args:
        shuffle: deliver in the order that this source of chance decides. A broker may do the same any day, and
            code that relies on order fails early with it.
        duplicate: the probability (0.0 to 1.0) that a body is delivered twice, as when a broker's confirmation is
            lost and the sender publishes again.
    """

    def __init__(self, shuffle: random.Random | None = None, duplicate: float = 0.0) -> None:
        self._shuffle = shuffle
        self._chance = shuffle or random.Random()  # noqa: S311 - nothing to guess
        self._duplicate = duplicate
        self._queues: dict[Address, _Queue] = {}
        self._users = 0

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._users -= 1
        if self._users == 0:
            for queue in self._queues.values():
                queue.end()

    @property
    def durable(self) -> bool:
        """The messages end with the process."""
        return False

    def troubles(self) -> Sequence[Trouble]:
        """It has none."""
        return ()

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Put messages into their queues; those to an answers queue that nobody consumes are dropped.

        Raises:
            Unavailable: the transport is not entered.
        """
        self._check_entered()
        for parcel in pack(letters):
            queue = self._queue(parcel.to)
            if parcel.to.kind is QueueKind.ANSWERS and not queue.is_consumed:
                continue
            queue.put(parcel)
            if self._chance.random() < self._duplicate:
                queue.put(parcel)
        await asyncio.sleep(0)  # who publishes in a loop must not keep the others from running

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        """Consume a queue until the subscription is cancelled or the transport left by all.

        Raises:
            Unavailable: the transport is not entered.
            ValueError: `prefetch` is less than 1.
        """
        self._check_entered()
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}; it must be 1 or more")
        return self._queue(address).subscribe(receive, prefetch)

    async def subscribe_dead(
        self, address: Address, receive: Callable[[DeadDelivery], None], *, prefetch: int
    ) -> Subscription:
        """Nothing ever comes: what has expired is dropped, and a message that kills who takes it dies with it.

        Raises:
            Unavailable: the transport is not entered.
            ValueError: the address is for answers, or `prefetch` is less than 1.
        """
        self._check_entered()
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}; it must be 1 or more")
        if address.kind is QueueKind.ANSWERS:
            raise ValueError(f"nothing is kept of what goes to {address}")
        return _Nothing()

    def _queue(self, address: Address) -> _Queue:
        if address not in self._queues:
            self._queues[address] = _Queue(self._shuffle, lasts=address.kind is not QueueKind.ANSWERS)
        return self._queues[address]

    def _check_entered(self) -> None:
        if self._users == 0:
            raise Unavailable("the transport is not entered: use it inside `async with transport:`")


@dataclass(frozen=True, slots=True)
class _Body:
    content: bytes
    expires_at: float
    """By the clock of the event loop; infinity if it does not expire."""
    again: bool = False

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= _now()


class _Queue:
    """Bodies that wait, and the consumers that share them. One that does not last goes with its last consumer."""

    def __init__(self, shuffle: random.Random | None, *, lasts: bool) -> None:
        self._shuffle = shuffle
        self._lasts = lasts
        self._waiting: deque[_Body] = deque()
        self._consumers: list[_Consumer] = []
        self._departed: list[_Consumer] = []
        self._is_handing_out = False

    @property
    def is_consumed(self) -> bool:
        return bool(self._consumers)

    def put(self, parcel: Parcel) -> None:
        while self._waiting and self._waiting[0].has_expired:  # of a queue that nobody consumes, too
            self._waiting.popleft()
        lifetime = math.inf if parcel.expires_seconds is None else parcel.expires_seconds
        self._waiting.append(_Body(parcel.body, _now() + lifetime))
        self.hand_out()

    def subscribe(self, receive: Callable[[Delivery], None], prefetch: int) -> _Consumer:
        self._take_back()
        consumer = _Consumer(self, receive, prefetch)
        self._consumers.append(consumer)
        self.hand_out()
        return consumer

    def leave(self, consumer: _Consumer) -> None:
        """Give a consumer nothing more. It may still acknowledge what it has, until somebody else comes."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)
            self._departed.append(consumer)
        if not self._lasts and not self._consumers:
            self._waiting.clear()
            self._departed.clear()

    def end(self) -> None:
        """Have no consumers any more; what they have not acknowledged waits again."""
        for consumer in list(self._consumers):
            self.leave(consumer)
        self._take_back()

    def hand_out(self) -> None:
        """Soon, not now: `receive` is called by the event loop, never by who publishes or acknowledges."""
        if self._waiting and not self._is_handing_out:
            self._is_handing_out = True
            asyncio.get_running_loop().call_soon(self._hand_out_one)

    def _hand_out_one(self) -> None:
        self._is_handing_out = False
        consumer = min(self._consumers, key=lambda each: each.load, default=None)
        if consumer is None or consumer.load >= 1 or not self._waiting:
            return
        body = self._next()
        if body.has_expired:
            self.hand_out()
            return
        self._consumers.remove(consumer)
        self._consumers.append(consumer)  # of those with the same load, the next one is next
        delivery = consumer.deliver(body)
        self.hand_out()  # first, for what `receive` raises goes to the event loop and must hold up nothing else
        consumer.receive(delivery)

    def _next(self) -> _Body:
        if self._shuffle is not None:
            self._waiting.rotate(self._shuffle.randrange(len(self._waiting)))
        return self._waiting.popleft()

    def _take_back(self) -> None:
        for consumer in self._departed:
            self._waiting.extendleft(
                _Body(delivery.body, delivery.expires_at, again=True) for delivery in reversed(consumer.outstanding)
            )
            consumer.outstanding.clear()
        self._departed.clear()


class _Consumer:
    """A subscription, and what was delivered to it and is not acknowledged."""

    def __init__(self, queue: _Queue, receive: Callable[[Delivery], None], prefetch: int) -> None:
        self.receive = receive
        self.outstanding: dict[_Delivery, None] = {}
        self._queue = queue
        self._prefetch = prefetch

    @property
    def load(self) -> float:
        """How much of what it takes it has: 1.0 is all."""
        return len(self.outstanding) / self._prefetch

    def deliver(self, body: _Body) -> _Delivery:
        delivery = _Delivery(self, body)
        self.outstanding[delivery] = None
        return delivery

    def settle(self, delivery: _Delivery) -> None:
        self.outstanding.pop(delivery, None)
        self._queue.hand_out()

    async def cancel(self) -> None:
        """No more deliveries; those that are out can still be acknowledged."""
        self._queue.leave(self)


class _Nothing:
    """A subscription to what does not happen."""

    async def cancel(self) -> None:
        """Nothing is to be done."""


class _Delivery:
    """A body that has arrived."""

    def __init__(self, consumer: _Consumer, body: _Body) -> None:
        self.body = body.content
        self.expires_at = body.expires_at
        self.again = body.again
        self._consumer = consumer

    async def ack(self) -> None:
        """It is dealt with. Does nothing if it has been taken back: it will come again."""
        self._consumer.settle(self)


def _now() -> float:
    return asyncio.get_running_loop().time()
