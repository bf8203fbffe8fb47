"""What the transport gave up: told to those who wait for it, and put aside for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar

from sagaflow.definitions import logs
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.messages import Message, Reader, Unreadable
from sagaflow.definitions.ports import DELIVERY_LIMIT, EXPIRED, Address, DeadDelivery, Letter, Subscription, Transport
from sagaflow.definitions.records import PutAside
from sagaflow.runners.batches import until_available
from sagaflow.runners.intake import Keep
from sagaflow.runners.receipts import Receipt, Receipts
from sagaflow.runners.tasks import Tasks
from sagaflow.runners.telling import UNOBSERVED, Guarded

M = TypeVar("M", bound=Message)

PREFETCH: Final = 10
"""Bodies that are dealt with side by side; there should be none."""

DIED: Final = "it came back again and again without being dealt with: whoever took it died"


class DeadLetters(Generic[M]):
    """Reads what the transport gave up on for one address; only the owner of the address may.

    What has expired is worth nothing to anyone and is forgotten. Everything else is kept aside by `keep`, as it came,
    with the reason. Of a body that came back too often, each message that can be read is given to `answer` first:
    whoever waits for it can decide now, instead of sending it again to kill again.
    """

    def __init__(
        self,
        kind: Any,
        address: Address,
        *,
        keep: Keep,
        transport: Transport,
        answer: Callable[[M], Sequence[Letter]] = lambda message: (),
        observer: Guarded = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self.expired = 0
        """How many bodies have expired."""
        self._reader: Reader[M] = Reader(kind)
        self._address = address
        self._keep = keep
        self._transport = transport
        self._answer = answer
        self._receipts = Receipts()
        self._tasks = Tasks()
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Begin to consume."""
        self._subscription = await self._transport.subscribe_dead(self._address, self._arrived, prefetch=PREFETCH)

    async def stop(self) -> None:
        """Take nothing more."""
        if self._subscription is not None:
            await self._subscription.cancel()

    async def close(self) -> None:
        """Drop what is not acknowledged; it will be delivered again."""
        await self._tasks.cancel()
        await self._receipts.close()

    def _arrived(self, delivery: DeadDelivery) -> None:
        receipt = self._receipts.open(delivery, 1)
        if delivery.reason == EXPIRED:
            self.expired += 1
            logs.MESSAGES_EXPIRED.write(address=str(self._address), count=self.expired)
            receipt.done()
            return
        self._tasks.spawn(self._lay_out(delivery, receipt), f"sagaflow dead letter of {self._address}")

    async def _lay_out(self, delivery: DeadDelivery, receipt: Receipt) -> None:
        """Answer before it is kept: should this process die in between, both are done again."""
        reason = delivery.reason
        if reason == DELIVERY_LIMIT:
            reason = f"{reason}: {DIED}"
            messages = self._reader.read(delivery.body)
            answers = [
                letter
                for message in messages
                if not isinstance(message, Unreadable)
                for letter in self._answer(message)
            ]
            await until_available("publishing", partial(self._transport.publish, answers))
        logs.MESSAGES_GIVEN_UP.write(address=str(self._address), why=delivery.reason)
        aside = PutAside(str(self._address), f"given up: {reason}", delivery.body[:PUT_ASIDE_BYTES_MAX])
        await until_available("putting aside", lambda: self._keep([aside]))
        self._observer.messages_put_aside(self._address, 1)
        receipt.done()
