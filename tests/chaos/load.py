"""Whether the customers are served."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.chaos.customers import Customers

ORDERS: Final = 60
"""So many orders have to end before anything is said to go on."""
PATIENCE_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.2


class Load:
    """Customers, and what they have seen."""

    def __init__(self, customers: Customers, *, orders: int = ORDERS) -> None:
        self._customers = customers
        self._orders = orders

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
