"""The outbox of a process: messages that are committed, on their way to the broker.

It is memory only. What it holds when the process dies is known to the store, and another process sends it
again when the lease lapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sagaflow.definitions.ports import Letter, Transport
from sagaflow.runners.batches import Batcher, until_available
from sagaflow.runners.receipts import Receipt

LETTERS_BATCH_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Parcel:
    letters: Sequence[Letter]
    receipts: Sequence[Receipt]


class Outbox:
    """Publishes letters in batches until they are confirmed; only then gives the receipts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._parcels: Batcher[_Parcel] = Batcher("outbox", self._publish, LETTERS_BATCH_MAX)

    def __len__(self) -> int:
        return len(self._parcels)

    def open(self) -> None:
        """Begin to publish."""
        self._parcels.open()

    def put(self, letters: Sequence[Letter], receipts: Sequence[Receipt] = ()) -> None:
        """Publish letters, then mark the receipts as done."""
        if letters or receipts:
            self._parcels.put(_Parcel(letters, receipts))

    async def has_room(self) -> None:
        """Wait while the broker does not keep up."""
        await self._parcels.has_room()

    async def close(self) -> None:
        """Publish what is left, then stop."""
        await self._parcels.close()

    async def abort(self) -> None:
        """Stop at once."""
        await self._parcels.abort()

    async def _publish(self, parcels: Sequence[_Parcel]) -> None:
        letters = [letter for parcel in parcels for letter in parcel.letters]
        if letters:
            await until_available("publishing", lambda: self._transport.publish(letters))
        for parcel in parcels:
            for receipt in parcel.receipts:
                receipt.done()
