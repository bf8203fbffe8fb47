"""How well a runner does, from what it knows, and one question to its database that has a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sagaflow.definitions import logs
from sagaflow.definitions.cancellation import is_being_cancelled
from sagaflow.definitions.health import Health, Trouble, now
from sagaflow.definitions.ports import Transport

PROBE_SECONDS: Final = 0.7
"""How long an answer waits for the database at most. Kubernetes gives a probe one second."""

PROBE_KEPT_SECONDS: Final = 1.0
"""How long what the database has answered is good for: however often somebody asks, it is not asked more often."""

SILENT_SECONDS: Final = 5.0
"""When a database counts as gone that does not answer. A busy one may take a while to lend a connection."""


class Vitals:
    """What a runner knows of how well it does.

    Args:
        check: asks the database whether it is there, with tables that fit.
        transport: knows whether the broker is.
        runs: by their names, what has to run for ever, and whether it does.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], transport: Transport, runs: Mapping[str, Callable[[], bool]]
    ) -> None:
        self._check = check
        self._transport = transport
        self._runs = runs
        self._standing: tuple[str, bool] | None = ("it has not started", True)
        self._standing_since = now()
        self._question: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._trouble: Trouble | None = None

    def started(self) -> None:
        """It does what it is for."""
        self._standing = None

    def stopping(self) -> None:
        """It takes nothing more."""
        self._stand("it is stopping", live=True)

    async def stopped(self) -> None:
        """It is over."""
        self._stand("it has stopped", live=False)
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait([self._question])

    async def health(self) -> Health:
        """How it does now. Takes `PROBE_SECONDS` at most."""
        if self._standing is not None:
            why, is_live = self._standing
            return Health(is_live, ready=False, reasons=(Trouble("process", why, self._standing_since),))
        ended = [
            Trouble("process", f"what should run for ever has ended: {name}", now())
            for name, does_run in self._runs.items()
            if not does_run()
        ]
        await self._ask()
        database = [] if self._trouble is None else [self._trouble]
        reasons = (*ended, *database, *self._transport.troubles())
        return Health(live=not ended, ready=not reasons, reasons=reasons)

    def _stand(self, why: str, *, live: bool) -> None:
        self._standing, self._standing_since = (why, live), now()

    async def _ask(self) -> None:
        """One question at a time. It goes on if the answer takes longer than whoever asks can wait."""
        time = asyncio.get_running_loop().time
        if self._question is None or (self._question.done() and time() - self._asked_at > PROBE_KEPT_SECONDS):
            self._asked_at = time()
            self._question = asyncio.create_task(self._answered(), name="sagaflow asks the database how it is")
        await asyncio.wait([self._question], timeout=PROBE_SECONDS)
        if not self._question.done() and time() - self._asked_at > SILENT_SECONDS:
            self._note("it does not answer")

    async def _answered(self) -> None:
        try:
            await self._check()
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            self._note("what it was asked was cancelled")
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is wrong
            self._note(logs.reason(error))
        else:
            self._trouble = None

    def _note(self, why: str) -> None:
        """The reason may change; since when there is one does not."""
        self._trouble = Trouble("database", why, now() if self._trouble is None else self._trouble.since)
