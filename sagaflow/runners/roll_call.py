"""The roll call: which participants are there, and what they serve.

A coordinator asks each participant of its plans at the start and then again and again. Only a process that takes
compensations answers. The answers are kept in memory, by the loop's own clock. They are no
state of any saga, only what this process knows of the world just now; another process asks for itself.

Of several processes of a participant, one answers each inquiry, another the next. So all that was heard lately counts
together, and what one of them serves is served: during a rolling deploy, a command that reaches a process which does
not serve it yet comes again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from sagaflow.core.plan import Plan
from sagaflow.definitions import logs
from sagaflow.definitions.announcements import gaps
from sagaflow.definitions.messages import Announcement, Inquiry, write
from sagaflow.definitions.ports import Address, Letter, QueueKind, SagaStore, Transport
from sagaflow.runners.batches import until_available
from sagaflow.runners.tasks import Tasks

MISSED_ROUNDS: Final = 3
"""A participant is live for so many rounds of asking after its latest answer."""

SILENT_ASK_SECONDS_MAX: Final = 60.0
"""Who does not answer is asked less and less often, down to this. One inquiry always waits in its queue, so that it
is heard at once when it is back."""

KEEP_AGAIN_SECONDS: Final = 60.0
"""How often announcements that did not change are written to the store."""

HEARD_MAX: Final = 1_000
"""Processes of one participant that are remembered."""

FAILED_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Heard:
    announcement: Announcement
    at: float
    """By the loop's clock."""


class RollCall:
    """Asks, listens, and knows who is there.

    `answers` is the name of the answers queue of this process; `appeared` is told of a participant that was not there
    before, or serves something else now.
    """

    def __init__(
        self,
        plans: Iterable[Plan],
        *,
        answers: str,
        store: SagaStore,
        transport: Transport,
        ask_seconds: float,
        appeared: Callable[[str], None],
    ) -> None:
        self._answers = answers
        self._store = store
        self._transport = transport
        self._ask_seconds = ask_seconds
        self._appeared = appeared
        self._plans: dict[str, Plan] = {}
        self._answered: dict[str, asyncio.Event] = {}
        """By the participants that are asked."""
        self._heard: defaultdict[str, dict[tuple[str, str], _Heard]] = defaultdict(dict)
        """By participant; then by host and hash."""
        self._silent: set[str] = set()
        """Those who were asked and did not answer in time."""
        self._told: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._tasks = Tasks()
        self._is_open = False
        for plan in plans:
            self.learn(plan)

    @property
    def live_seconds(self) -> float:
        """How long a process counts as live after its latest answer."""
        return self._ask_seconds * MISSED_ROUNDS

    def open(self) -> None:
        """Begin to ask."""
        self._is_open = True
        self._tasks.spawn(self._forever("keeping announcements", self._keep), "sagaflow keep announcements")
        for participant in self._answered:
            self._ask(participant)

    async def close(self) -> None:
        """Ask no more."""
        self._is_open = False
        await self._tasks.cancel()

    def learn(self, plan: Plan) -> None:
        """There are sagas of this plan: its participants are asked from now on."""
        if plan.hash in self._plans:
            return
        self._plans[plan.hash] = plan
        for participant in sorted({step.participant for step in plan.steps} - self._answered.keys()):
            self._answered[participant] = asyncio.Event()
            if self._is_open:
                self._ask(participant)

    def hear(self, announcement: Announcement) -> None:
        """A process of a participant has answered."""
        participant = announcement.participant
        if participant not in self._answered:
            logs.STRANGER_HEARD.write(participant=participant)
            return
        known = {(one.announcement.host, one.announcement.hash) for one in self._live(participant)}
        heard = self._heard[participant]
        key = (announcement.host, announcement.hash)
        heard.pop(key, None)
        heard[key] = _Heard(announcement, self._now())
        if len(heard) > HEARD_MAX:
            del heard[next(iter(heard))]
        self._answered[participant].set()
        if key not in known:
            self._silent.discard(participant)
            self._changed.set()
            self._tell_gaps()
            self._appeared(participant)

    def live(self, participant: str) -> Sequence[Announcement]:
        """What the processes of a participant have announced that are there now."""
        return [one.announcement for one in self._live(participant)]

    def _live(self, participant: str) -> Sequence[_Heard]:
        """Forgets those who are silent."""
        since = self._now() - self.live_seconds
        heard = self._heard[participant]
        for key in [key for key, one in heard.items() if one.at < since]:
            del heard[key]
        return list(heard.values())

    def _all_live(self) -> Sequence[Announcement]:
        return [announcement for participant in self._answered for announcement in self.live(participant)]

    def _ask(self, participant: str) -> None:
        async def ask_and_ask_again() -> None:
            await self._keep_asking(participant)

        self._tasks.spawn(self._forever(f"asking {participant}", ask_and_ask_again), f"sagaflow ask {participant}")

    async def _keep_asking(self, participant: str) -> None:
        answered = self._answered[participant]
        inquiry = write(Inquiry(reply_to=self._answers))
        wait_seconds = self._ask_seconds
        while True:
            answered.clear()
            letter = Letter(Address(QueueKind.INQUIRIES, participant), inquiry, expires_seconds=wait_seconds)
            await until_available(f"asking {participant}", partial(self._transport.publish, [letter]))
            await _wait(answered, wait_seconds)
            if answered.is_set():
                wait_seconds = self._ask_seconds
                await asyncio.sleep(wait_seconds)
            else:
                wait_seconds = max(min(wait_seconds * 2, SILENT_ASK_SECONDS_MAX), self._ask_seconds)
                self._miss(participant)

    def _miss(self, participant: str) -> None:
        if not self._live(participant) and participant not in self._silent:
            self._silent.add(participant)
            self._tell_gaps()

    def _tell_gaps(self) -> None:
        """Once for each gap, and once when it is gone."""
        announcements = [one for participant in self._answered for one in self.live(participant)]
        found = frozenset(
            gap for plan in self._plans.values() for gap in gaps(plan, announcements, silent=self._silent)
        )
        for gap in sorted(found - self._told):
            logs.STEP_UNSERVED.write(gap=gap)
        for gap in sorted(self._told - found):
            logs.STEP_SERVED.write(gap=gap)
        self._told = found

    async def _keep(self) -> None:
        await _wait(self._changed, KEEP_AGAIN_SECONDS)
        self._changed.clear()
        announcements = self._all_live()
        if announcements:
            seconds = KEEP_AGAIN_SECONDS + self.live_seconds
            await until_available("the store", lambda: self._store.keep_announcements(announcements, seconds))

    async def _forever(self, what: str, once: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await once()
            except Exception as error:  # noqa: BLE001  # a loop that ended would hold sagas for ever
                logs.WORK_FAILED.write(error=error, what=what)
                await asyncio.sleep(FAILED_PAUSE_SECONDS)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for it, for so long at most. Before Python 3.12 `wait_for` swallows a cancellation that comes with it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
