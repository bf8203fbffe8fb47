"""The processes of the shop: started, killed, frozen, armed to die at a point, and always started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.chaos.shop.__main__ import NO_SERVER, SERVES

REPOSITORY: Final = Path(__file__).parents[2]
LOOK_SECONDS: Final = 0.05
STOP_SECONDS: Final = 30.0
BEGIN_SECONDS: Final = 120.0
AGAIN_SECONDS: Final = 0.5
"""How long a process that found no server is let be."""

ARM: Final = "SAGAFLOW_CRASH_AT"


class Member:
    """One place in the crew, and the process that fills it now."""

    def __init__(self, name: str, role: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.role = role
        self.log = log
        self.armed: str | None = None
        """Where the process that runs now will kill itself."""
        self.arm_next: str | None = None
        """Where the next one will."""
        self.died_at: list[str] = []
        """The points at which processes here have killed themselves."""
        self.process: subprocess.Popen[bytes] | None = None
        self.frozen = False
        self.dismissed = False
        """Whether it is to stay away when it has ended."""
        self.lives = 0
        """How many processes have been started here."""
        self.again_at = 0.0
        self._environment = environment
        self._begins_at = 0

    def start(self) -> None:
        """Start a process here."""
        self.lives += 1
        self.armed, self.arm_next = self.arm_next, None
        arming = {} if self.armed is None else {ARM: self.armed}
        identity = {"CHAOS_MEMBER": self.name, "CHAOS_LIFE": str(self.lives)}
        with self.log.open("ab") as log:
            log.write(f"--- {self.name} starts, armed with {self.armed}\n".encode())
            log.flush()
            self._begins_at = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.shop", self.role],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env=_plain_environment() | dict(self._environment) | identity | arming,
                start_new_session=True,  # Ctrl-C is for who runs this
            )

    @property
    def serves(self) -> bool:
        """Whether the process that was started here last has begun to serve, and heeds signals."""
        with self.log.open("rb") as log:
            log.seek(self._begins_at)
            return any(line.endswith(f": {SERVES}\n".encode()) for line in log)

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(which)


class Crew:
    """All of them. Leaving it leaves none alive."""

    def __init__(self, directory: Path) -> None:
        self.members: dict[str, Member] = {}
        self.kills: Counter[str] = Counter()
        """How many processes of each role were killed from outside, or have killed themselves at a point."""
        self.surprises: list[str] = []
        """Processes that have ended in another way."""
        self._directory = directory
        self._keeper: asyncio.Task[None] | None = None
        self._to_die: set[int] = set()

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep_alive(), name="crew")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._let_be()
        for member in self.members.values():
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait()

    def add(self, name: str, role: str, environment: Mapping[str, str]) -> None:
        """Fill a place, from now on."""
        member = self.members[name] = Member(name, role, environment, self._directory / f"{name}.log")
        member.start()

    def names(self, *roles: str) -> Sequence[str]:
        """The places of these roles."""
        return [member.name for member in self.members.values() if not roles or member.role in roles]

    def kill(self, name: str, *, then_armed_with: str | None = None) -> None:
        """Kill it; the next one may be armed."""
        member = self.members[name]
        member.arm_next = then_armed_with
        if member.process is not None and member.process.poll() is None:
            self._to_die.add(member.process.pid)
            self.kills[member.role] += 1
            member.process.kill()

    def may_end(self, name: str) -> None:
        """Have it be no surprise if the process that is there now ends, however it does."""
        process = self.members[name].process
        assert process is not None
        self._to_die.add(process.pid)

    async def renew(self, name: str) -> None:
        """Tell it to stop, in good order, and wait until another serves in its place."""
        member = self.members[name]
        await self.until_serving(name)
        life, process = member.lives, member.process
        assert process is not None
        self._to_die.add(process.pid)
        process.send_signal(signal.SIGTERM)
        await self._expect_good_end(member, process)
        await self.until_serving(name, after_life=life)

    async def until_serving(self, name: str, *, after_life: int = 0) -> None:
        """Wait until a process there has begun to serve that is not the one of that life, or one before it.

        Raises:
            TimeoutError: it takes longer than `BEGIN_SECONDS`.
        """
        member = self.members[name]
        give_up_at = time.monotonic() + BEGIN_SECONDS
        while member.lives <= after_life or not member.serves:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{name} does not serve; see {member.log}")
            await asyncio.sleep(LOOK_SECONDS)

    def freeze(self, name: str) -> None:
        """Stop it from running."""
        self.members[name].frozen = True
        self.members[name].signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it run again."""
        self.members[name].frozen = False
        self.members[name].signal(signal.SIGCONT)

    async def until_dead_at(self, name: str, point: str, times: int, seconds: float) -> bool:
        """Wait until processes there have killed themselves so often at a point; False if they have not in so long."""
        member = self.members[name]
        give_up_at = time.monotonic() + seconds
        while member.died_at.count(point) < times:
            if time.monotonic() > give_up_at:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def disarm(self) -> None:
        """Replace all that are armed by ones that are not."""
        for member in self.members.values():
            if member.armed is not None:
                self.kill(member.name)

    async def stop(self) -> None:
        """Tell all of them to stop, in good order; who does not is a surprise."""
        await self._let_be()
        await self.dismiss()

    async def dismiss(self, *roles: str) -> None:
        """Tell those of these roles to stop, in good order, and start nobody in their places."""
        members = [self.members[name] for name in self.names(*roles) if not self.members[name].dismissed]
        for member in members:
            member.dismissed = True
            member.signal(signal.SIGTERM)
        for member in members:
            if member.process is not None:
                await self._expect_good_end(member, member.process)

    async def _expect_good_end(self, member: Member, process: subprocess.Popen[bytes]) -> None:
        has_served = member.serves
        try:
            code = await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.surprises.append(f"{member.name} was told to stop, and did not; see {member.log}")
        else:
            is_too_soon = code == -signal.SIGTERM and not has_served
            if code not in (0, NO_SERVER) and not is_too_soon:
                self.surprises.append(f"{member.name} was told to stop, and ended with {code}; see {member.log}")

    async def _let_be(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for member in self.members.values():
                if not member.dismissed:
                    self._look_at(member)

    def _look_at(self, member: Member) -> None:
        assert member.process is not None
        code = member.process.poll()
        if code is None or time.monotonic() < member.again_at:
            return
        if code == NO_SERVER and not member.again_at:
            member.again_at = time.monotonic() + AGAIN_SECONDS
            member.arm_next = member.arm_next or member.armed
            return
        member.again_at = 0.0
        if code == -signal.SIGKILL and member.process.pid not in self._to_die and member.armed is not None:
            member.died_at += [one.partition(":")[0] for one in member.armed.split(",")]
            self.kills[member.role] += 1
        elif code != NO_SERVER and member.process.pid not in self._to_die:
            self.surprises.append(f"{member.name} has ended with {code}; see {member.log}")
        member.frozen = False
        member.start()


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SAGAFLOW_")}
