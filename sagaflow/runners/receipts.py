"""Receipts: a body is acknowledged when the last of its messages has been dealt with."""

from __future__ import annotations

import asyncio

from sagaflow.definitions.ports import Delivery


class Receipts:
    """Acknowledges bodies in the background, and knows how many are open."""

    def __init__(self) -> None:
        self._acks: set[asyncio.Task[None]] = set()
        self._open = 0
        self._all_settled = asyncio.Event()
        self._all_settled.set()

    def open(self, delivery: Delivery, messages: int) -> Receipt:
        """A receipt for a body of so many messages; one of none is acknowledged at once."""
        self._open += 1
        self._all_settled.clear()
        receipt = Receipt(self, delivery, messages)
        if messages == 0:
            self._settle(delivery)
        return receipt

    async def settled(self) -> None:
        """Wait until every body is acknowledged."""
        await self._all_settled.wait()

    async def close(self) -> None:
        """Wait for the acknowledgements that are under way."""
        if self._acks:
            await asyncio.wait(self._acks)

    def _settle(self, delivery: Delivery) -> None:
        task = asyncio.create_task(delivery.ack(), name="sagaflow ack")
        self._acks.add(task)
        task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._acks.discard(task)
        self._open -= 1
        if not self._open:
            self._all_settled.set()


class Receipt:
    """Counts the messages of one body that are still to be dealt with."""

    def __init__(self, receipts: Receipts, delivery: Delivery, messages: int) -> None:
        self._receipts = receipts
        self.again = delivery.again
        """Whether the body may have been delivered before."""
        self._delivery = delivery
        self._left = messages

    def done(self) -> None:
        """One message more is dealt with."""
        self._left -= 1
        if self._left == 0:
            self._receipts._settle(self._delivery)
