"""Bodies that have been delivered before are taken apart, so that one message shares no fate with another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from sagaflow import SagaStatus
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.definitions.messages import Notice, join, write
from sagaflow.definitions.ports import Address, QueueKind
from sagaflow.definitions.records import PutAside
from sagaflow.runners.intake import Intake
from sagaflow.runners.receipts import Receipt

REPLIES = Address(QueueKind.REPLIES, "trips")


@dataclass
class Arriving:
    """A delivery of the test's own."""

    body: bytes
    again: bool
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)

    async def ack(self) -> None:
        self.acknowledged.set()


def a_body(messages: int, *, again: bool) -> Arriving:
    """A body of so many messages."""
    notices = [write(Notice(saga_id=uuid4(), status=SagaStatus.COMPLETED)) for _ in range(messages)]
    return Arriving(join(notices), again)


async def nobody(messages: Sequence[PutAside]) -> None:
    raise AssertionError(f"nothing is to be put aside: {messages}")


async def test_a_body_that_came_back_is_taken_apart_and_a_fresh_one_is_not() -> None:
    taken: list[Notice] = []
    everything = asyncio.Event()

    def take(notice: Notice, receipt: Receipt) -> None:
        taken.append(notice)
        receipt.done()
        if len(taken) == 6:
            everything.set()

    async with InProcessTransport() as transport:
        intake: Intake[Notice] = Intake(Notice, REPLIES, take=take, keep=nobody, transport=transport)
        fresh, returned = a_body(3, again=False), a_body(3, again=True)
        intake._arrived(fresh)
        assert len(taken) == 3
        intake._arrived(returned)
        assert len(taken) == 3, "its messages are published again, each by itself"
        await asyncio.wait_for(returned.acknowledged.wait(), 20)
        await intake.open(9)
        await asyncio.wait_for(everything.wait(), 20)
        await intake.stop()
        await intake.close()


async def test_a_single_message_that_came_back_is_dealt_with() -> None:
    taken: list[Notice] = []

    def take(notice: Notice, receipt: Receipt) -> None:
        taken.append(notice)
        receipt.done()

    async with InProcessTransport() as transport:
        intake: Intake[Notice] = Intake(Notice, REPLIES, take=take, keep=nobody, transport=transport)
        returned = a_body(1, again=True)
        intake._arrived(returned)
        assert len(taken) == 1
        await asyncio.wait_for(returned.acknowledged.wait(), 20)
        await intake.close()
