"""The outbox of a process: messages that are committed, on their way to the broker.

Each address has a lane of its own, so that a queue which takes nothing holds up no other. The outbox is
memory only: what it holds when the process dies is known to the store, and another process sends it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from sagaflow.definitions.crash_points import crash_point
from sagaflow.definitions.ports import Address, Letter, QueueKind, Transport
from sagaflow.runners.batches import Batcher, until_available
from sagaflow.runners.receipts import Receipt

LETTERS_BATCH_MAX: Final = 1_000
"""How many letters are published at once, and published again if one of them fails."""

SEALED_BATCH_MAX: Final = 1_000
"""How many sets of letters a lane takes up at once."""

LETTERS_WAITING_MAX: Final = 10_000
"""How many letters may wait before the process takes no more work."""

ANSWERS: Final = "answers"
"""The lane of all answers: their queues come and go with processes, and none can hold up another."""


class Outbox:
    """Publishes letters in batches until they are confirmed; only then gives the receipts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lanes: dict[Address | str, Batcher[_Sealed]] = {}
        self._waiting = 0
        self._room = asyncio.Event()
        self._room.set()

    def put(self, letters: Sequence[Letter], receipts: Sequence[Receipt] = ()) -> None:
        """Publish letters, then mark the receipts as done."""
        lanes: dict[Address | str, list[Letter]] = {}
        for letter in letters:
            lanes.setdefault(ANSWERS if letter.to.kind is QueueKind.ANSWERS else letter.to, []).append(letter)
        parcel = _Parcel(len(lanes), receipts)
        for key, together in lanes.items():
            self._lane(key).put(_Sealed(together, parcel.one_confirmed))
        self._waiting += len(letters)
        if self._waiting >= LETTERS_WAITING_MAX:
            self._room.clear()

    @property
    def is_open(self) -> bool:
        """Whether what is put into it is published."""
        return all(lane.is_open for lane in self._lanes.values())

    async def has_room(self) -> None:
        """Wait while the broker does not keep up."""
        await self._room.wait()

    async def close(self) -> None:
        """Publish what is left, then stop."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    async def abort(self) -> None:
        """Stop at once; what is left is forgotten here."""
        while self._lanes:  # who has not heard of it yet may put something into another lane meanwhile
            _, lane = self._lanes.popitem()
            await lane.abort()

    def _lane(self, key: Address | str) -> Batcher[_Sealed]:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Batcher(f"outbox {key}", self._publish, SEALED_BATCH_MAX)
            lane.open()
        return lane

    async def _publish(self, sealed: Sequence[_Sealed]) -> None:
        letters = [letter for one in sealed for letter in one.letters]
        crash_point("outbox.before_publish")
        for begin in range(0, len(letters), LETTERS_BATCH_MAX):
            some = letters[begin : begin + LETTERS_BATCH_MAX]
            await until_available("publishing", partial(self._transport.publish, some))
        crash_point("outbox.published")
        for one in sealed:
            one.confirmed()
        self._waiting -= len(letters)
        if self._waiting < LETTERS_WAITING_MAX:
            self._room.set()


class _Sealed:
    """Letters for one lane that were put together, and whom to tell when the broker has them."""

    __slots__ = ("confirmed", "letters")

    def __init__(self, letters: Sequence[Letter], confirmed: Callable[[], None]) -> None:
        self.letters = letters
        self.confirmed = confirmed


class _Parcel:
    """What was put at once, over all lanes: with the last of them the receipts are given."""

    def __init__(self, lanes: int, receipts: Sequence[Receipt]) -> None:
        self._left = lanes
        self._receipts = receipts
        if not lanes:
            self._give_receipts()

    def one_confirmed(self) -> None:
        """The broker has all of one lane more."""
        self._left -= 1
        if not self._left:
            self._give_receipts()

    def _give_receipts(self) -> None:
        for receipt in self._receipts:
            receipt.done()
