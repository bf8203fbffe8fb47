"""Groups: commands that have arrived together share a transaction, and no fate.

While one group is being carried out, what arrives piles up, and the next takes all of it, up to a bound of its number
and of the time that it will take. If anything goes wrong in it, the transaction is rolled back and each command of it
is carried out by itself, as if there were no groups. Handlers of transactional steps have no effect outside of their
transaction, so those that ran have done nothing. A refusal is nothing that goes wrong, once a step is known to refuse.

Left out are external steps, what has been delivered before, handlers that have lately been slow or have failed, and
commands whose time is nearly over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from sagaflow.definitions import logs
from sagaflow.definitions.cancellation import is_being_cancelled
from sagaflow.definitions.ports import BarrierKey
from sagaflow.runners.barrier import GROUP_SECONDS_MAX, Barrier, Order, Verdict
from sagaflow.runners.batches import Batcher
from sagaflow.runners.receipts import Receipt

Taken = tuple[Order, Receipt]

GROUP_COUNT_MAX: Final = 50
GROUP_SECONDS_EXPECTED: Final = 0.05
"""How long the handlers of one group may take, by what they took lately."""

ALLOWANCE_SECONDS_MIN: Final = 2 * GROUP_SECONDS_MAX
"""What must be left of a command's time, so that it can still be carried out alone if its group is given up."""

BATCH_COUNT_MAX: Final = 1_000


class Groups:
    """Groups the actions, or the compensations, of one participant.

    Args:
        name: of what, for logs.
        barrier: carries them out.
        running: bounds what runs at a time; a group counts as one, since its handlers run one after another.
        alone: begins to carry out a command by itself.
        answer: is given what came of the commands of a group once that is committed.
    """

    def __init__(
        self,
        name: str,
        barrier: Barrier,
        running: asyncio.Semaphore,
        *,
        alone: Callable[[Order, Receipt], asyncio.Task[None]],
        answer: Callable[[Sequence[Taken], Sequence[Verdict]], None],
    ) -> None:
        self._barrier = barrier
        self._running = running
        self._alone = alone
        self._answer = answer
        self._batcher: Batcher[Taken] = Batcher(f"groups of {name}", self._carry_out_all, BATCH_COUNT_MAX)

    @property
    def is_open(self) -> bool:
        """Whether what is put into it is carried out."""
        return self._batcher.is_open

    def open(self) -> None:
        """Begin to work."""
        self._batcher.open()

    async def close(self) -> None:
        """Carry out what is left, then stop. What a group could not do is begun by itself."""
        await self._batcher.close()

    async def abort(self) -> None:
        """Stop at once. A group that is open is rolled back, and nothing is answered."""
        await self._batcher.abort()

    def admits(self, order: Order, receipt: Receipt) -> bool:
        """Whether it may share a transaction with others."""
        return (
            not order.step.external
            and not receipt.again
            and self._barrier.pace_of(order).is_quick
            and order.allowance.handler_seconds() > ALLOWANCE_SECONDS_MIN
        )

    def put(self, order: Order, receipt: Receipt) -> None:
        """Have an admitted command carried out with others that wait now."""
        self._batcher.put((order, receipt))

    async def _carry_out_all(self, batch: Sequence[Taken]) -> None:
        waiting = deque(batch)
        while waiting:
            group = self._next(waiting)
            if len(group) == 1:
                # As ever; only that what arrives meanwhile waits for it, and becomes a group, unless it hangs.
                await asyncio.wait([self._alone(*group[0])], timeout=GROUP_SECONDS_MAX)
            elif group:
                await self._carry_out(group)

    def _next(self, waiting: deque[Taken]) -> Sequence[Taken]:
        """The next group, taken from those that wait. A second command for the same step of the same saga stays
        for the one after; what is no longer admitted is begun alone."""
        group: dict[BarrierKey, Taken] = {}
        again: list[Taken] = []
        seconds = 0.0
        while waiting and len(group) < GROUP_COUNT_MAX and seconds < GROUP_SECONDS_EXPECTED:
            order, receipt = waiting.popleft()
            if not self.admits(order, receipt):
                self._alone(order, receipt)
            elif order.key in group:
                again.append((order, receipt))
            else:
                group[order.key] = order, receipt
                seconds += self._barrier.pace_of(order).seconds
        waiting.extendleft(reversed(again))
        return list(group.values())

    async def _carry_out(self, group: Sequence[Taken]) -> None:
        try:
            async with self._running:
                verdicts = await self._barrier.carry_out_together([order for order, _ in group])
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            self._part(group, error)  # what a handler waited for was cancelled
        except Exception as error:  # noqa: BLE001  # handlers may raise anything; whose it is shows when each is alone
            self._part(group, error)
        else:
            self._answer(group, verdicts)

    def _part(self, group: Sequence[Taken], error: BaseException) -> None:
        logs.GROUP_PARTED.write(error=error, count=len(group))
        for order, receipt in group:
            self._alone(order, receipt)
