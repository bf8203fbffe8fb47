"""The play: orders are started, one gets stuck and is repaired, and perhaps the coordinator is killed."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from payment.orders.checkout import checkout
from payment.payments.gateway import CardGateway
from sagaflow.core.state import ENDED, SagaStatus
from sagaflow.definitions.records import SagaFilter, SagaRecord
from sagaflow.demo import audit
from sagaflow.demo.cast import PlannedOrder
from sagaflow.demo.outlook import program
from sagaflow.demo.screen import Screen
from sagaflow.demo.stage import Stage
from sagaflow.demo.table import STUCK
from sagaflow.errors import SagaflowError
from sagaflow.runners.overviews import Overview, overview_of

LOOK_SECONDS: Final = 0.09
LOOK_SECONDS_AN_ORDER: Final = 0.001
LIMIT_SECONDS: Final = 60.0
LIMIT_SECONDS_AN_ORDER: Final = 0.25
SECONDS_TO_READ: Final = 0.8

REASON: Final = "the bank is back"

MOVING: Final = frozenset({SagaStatus.RUNNING, SagaStatus.COMPENSATING})


class DemoFailed(SagaflowError):
    """The demo could not be played to its end."""


class Director:
    """Has the orders played on a stage, and shows it on a screen."""

    def __init__(self, stage: Stage, orders: Sequence[PlannedOrder], screen: Screen) -> None:
        self._stage = stage
        self._orders = orders
        self._screen = screen
        self._records: dict[str, SagaRecord] = {}
        self._starting: asyncio.Task[None] | None = None

    async def play(self, *, kill: bool) -> Sequence[str]:
        """Play it all, and return what did not end as it should have; nothing, if all is well.

        Raises:
            DemoFailed: it did not come to an end.
            ChildDied: neither did one of its processes.
        """
        limit = LIMIT_SECONDS + LIMIT_SECONDS_AN_ORDER * len(self._orders)
        try:
            async with asyncio.timeout(limit):
                await self._perform(kill=kill)
        except TimeoutError:
            last_words = self._stage.children.last_words
            raise DemoFailed(f"after {limit:.0f} s there is no end: {self._unfinished()}\n{last_words}") from None
        finally:
            if self._starting is not None:
                self._starting.cancel()
        return [*await self._broken_promises(), *audit.findings(await self._stage.read_books())]

    async def overviews(self) -> Sequence[Overview]:
        """All sagas, in the order of their keys."""
        return [await self._overview(self._records[key]) for key in sorted(self._records)]

    async def _perform(self, *, kill: bool) -> None:
        self._screen.caption("starting")
        await self._stage.raise_curtain()
        self._starting = asyncio.create_task(self._stage.start_orders())
        await self._until(lambda: bool(self._records))
        self._screen.caption("")
        if kill:
            await self._kill()
        for order in self._orders:
            if order.part.gets_stuck:
                await self._repair(order)
        await self._until(lambda: len(self._ended()) == len(self._orders))
        await self._starting
        self._screen.caption(self._summary())
        await self._stage.children.stop()

    # The kill.

    async def _kill(self) -> None:
        await self._until(self._is_in_the_middle)
        await self._stage.crash()
        await self._look()
        moving = sum(record.status in MOVING for record in self._records.values())
        under_way = f"{moving} saga{'' if moving == 1 else 's'} under way"
        self._screen.caption(f"kill -9: {self._stage.killed} is dead, with {under_way}")
        await self._until_read()
        await self._stage.recover()
        self._screen.caption("")
        self._screen.tell(
            f"{self._stage.killed.capitalize()} was killed (SIGKILL) with {under_way}, and started again: all go on.",
            "yellow",
            mark="✚",
        )

    def _is_in_the_middle(self) -> bool:
        """Some sagas have ended and some are under way; or the moment was missed, and nothing moves any more."""
        moving = sum(record.status in MOVING for record in self._records.values())
        some_ended = len(self._ended()) >= len(self._orders) // 4
        all_begun = len(self._records) == len(self._orders)
        return (some_ended and moving > 0) or (all_begun and moving == 0)

    # The repair.

    async def _repair(self, order: PlannedOrder) -> None:
        await self._until(lambda: self._status(order) in ENDED | {SagaStatus.STUCK})
        if self._status(order) is not SagaStatus.STUCK:
            return  # which is a promise broken, and will be said at the end
        overview = await self._overview(self._records[order.key])
        for operation in overview.stuck:
            why = operation.error.words if operation.error else "nobody knows why"
            self._screen.tell(
                f"{order.key} is STUCK: undoing {operation.step} failed {operation.attempts} times, the last "
                f"time with {why}. A person has to decide.",
                "red",
                mark=STUCK,
            )
        await self._until_read()
        await CardGateway(self._stage.gateway, answer_seconds=0).repair()
        self._screen.tell(f"Somebody calls the bank, and {REASON}. So we type:", "green")
        await self._retry(overview)

    async def _retry(self, overview: Overview) -> None:
        arguments = ["retry", str(overview.saga_id), "--reason", REASON]
        self._screen.tell(
            f"{program()} retry {overview.saga_id} \\\n    --reason {shlex.quote(REASON)} \\\n"
            f"    --database {shlex.quote(self._stage.database)}",
            "bold",
            mark="$",
        )
        command = self._stage.children.run("-m", "sagaflow.cli", *arguments, environment=self._stage.environment)
        retrying = asyncio.create_task(command)
        await self._until(retrying.done)
        self._screen.tell(retrying.result())

    # Looking.

    async def _until(self, is_true: Callable[[], bool]) -> None:
        """Look on until something is so. Whatever goes wrong meanwhile is raised here."""
        while not is_true():
            await self._look()
            await asyncio.sleep(LOOK_SECONDS + LOOK_SECONDS_AN_ORDER * len(self._orders))

    async def _until_read(self) -> None:
        """Look on for as long as it takes to read a line; machines need none."""
        if not self._screen.has_readers:
            return
        read_at = asyncio.get_running_loop().time() + SECONDS_TO_READ
        await self._until(lambda: asyncio.get_running_loop().time() >= read_at)

    async def _look(self) -> None:
        self._stage.children.expect_alive()
        if self._starting is not None and self._starting.done():
            self._starting.result()
        records = await self._stage.store.list(SagaFilter(saga=checkout.name), len(self._orders))
        self._records = {record.key: record for record in records}
        self._screen.show(self._records)

    def _status(self, order: PlannedOrder) -> SagaStatus | None:
        record = self._records.get(order.key)
        return None if record is None else record.status

    def _ended(self) -> Sequence[PlannedOrder]:
        return [order for order in self._orders if self._status(order) in ENDED]

    async def _overview(self, record: SagaRecord) -> Overview:
        return overview_of(record, checkout.plan, await self._stage.store.journal(record.saga_id))

    # The end.

    def _summary(self) -> str:
        completed = sum(self._status(order) is SagaStatus.COMPLETED for order in self._orders)
        undone = sum(self._status(order) is SagaStatus.COMPENSATED for order in self._orders)
        return f"All {len(self._orders)} sagas have ended: {completed} done completely, {undone} undone completely."

    def _unfinished(self) -> str:
        open_ = [order for order in self._orders if self._status(order) not in ENDED]
        return ", ".join(f"{order.key} {self._status(order) or 'not begun'}" for order in open_[:5])

    async def _broken_promises(self) -> Sequence[str]:
        """The sagas that did not end as the demo promises."""
        return [
            *(
                f"{order.key} ({order.part.title}) is {self._status(order)}, and should be {order.part.ends}"
                for order in self._orders
                if self._status(order) is not order.part.ends
            ),
            *[
                f"{order.key} ({order.part.title}) was never STUCK, and should have been"
                for order in self._orders
                if order.part.gets_stuck and not await self._was_stuck(order)
            ],
        ]

    async def _was_stuck(self, order: PlannedOrder) -> bool:
        journal = await self._stage.store.journal(self._records[order.key].saga_id)
        return any(entry.status is SagaStatus.STUCK for entry in journal)
