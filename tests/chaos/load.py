"""Whether the customers are served, and what is left in the end."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.chaos.customers import Customers
from tests.chaos.history import History, find_faults
from tests.chaos.shop.__main__ import CLIENTS
from tests.chaos.stage import Stage

ORDERS: Final = 60
"""So many orders have to end before anything is said to go on."""
PATIENCE_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.2


class Load:
    """Customers, and what they have seen."""

    def __init__(self, customers: Customers, *, orders: int = ORDERS) -> None:
        self._customers = customers
        self._orders = orders

    def tell(self, line: str) -> None:
        """Show what a process has said, or what was done."""
        print(f"  {line}", flush=True)

    async def goes_on(self, what: str) -> float:
        """Wait until some more orders have ended; returns the seconds that it took.

        Raises:
            TimeoutError: they do not.
        """
        began_at, target = time.monotonic(), self._customers.settled + self._orders
        while self._customers.settled < target:
            if time.monotonic() - began_at > PATIENCE_SECONDS:
                missing = target - self._customers.settled
                raise TimeoutError(f"{what}: {missing} of {self._orders} orders have not ended")
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - began_at
        print(f"{what}: {self._orders} orders have ended in {seconds:.1f} s", flush=True)
        return seconds


async def come_to_rest(stage: Stage, customers: Customers) -> History:
    """Have nobody order any more, wait until all is at rest, and stop; returns what is left.

    Raises:
        NeverQuiet: it has not come to rest in time.
        TimeoutError: customers are not answered.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        await customers.close()
    await stage.crew.dismiss(*CLIENTS)
    await stage.until_quiet(PATIENCE_SECONDS)
    await stage.crew.stop()
    return await stage.history(customers)


async def judge(stage: Stage, customers: Customers) -> list[str]:
    """The same, judged: what is wrong, and what the processes did that they should not have done."""
    history = await come_to_rest(stage, customers)
    print(f"{len(history.sagas)} sagas: {dict(history.statuses)}; {len(history.effects)} effects", flush=True)
    print(f"{len(history.sales)} sold in a transaction of a till's own, {len(history.notes)} notes", flush=True)
    return [*find_faults(history), *stage.crew.surprises]
