"""The outbox of a process that stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.runners.outbox import Outbox
from sagaflow.testing.simulation.broker import SimulatedBroker, SimulatedTransport

FIRST = Letter(Address(QueueKind.COMMANDS, "first"), b"{}", None)
SECOND = Letter(Address(QueueKind.COMMANDS, "second"), b"{}", None)


class Stubborn(SimulatedTransport):
    """Takes nothing. Who is told to stop publishing to the first address has something for the second."""

    def __init__(self) -> None:
        super().__init__(SimulatedBroker())
        self.publishing = asyncio.Event()
        self.outbox = Outbox(self)

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Never ends by itself."""
        self.publishing.set()
        try:
            await asyncio.Event().wait()
        finally:
            if letters == [FIRST]:
                self.outbox.put([SECOND])


async def test_what_is_put_while_it_is_aborted_is_forgotten_too() -> None:
    transport = Stubborn()
    transport.outbox.put([FIRST])
    await transport.publishing.wait()
    before = asyncio.all_tasks()
    await transport.outbox.abort()
    assert asyncio.all_tasks() <= before, "no lane is left open"
