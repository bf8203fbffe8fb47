"""The faults of a run. The same seed gives the same faults in the same order; what they hit is up to the machine."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TextIO, TypeVar

import aio_pika

from tests.chaos.points import PAIRS, PLACES, die_next_at
from tests.chaos.servers import DISK_ALARM, DISK_USUAL, MEMORY_ALARM, MEMORY_USUAL, Servers
from tests.chaos.shop.__main__ import CLIENTS, COORDINATOR
from tests.chaos.shop.services import SERVICES
from tests.chaos.stage import Stage
from tests.chaos.wire import Wire
from tests.servers.handle import Server

T = TypeVar("T")

PAUSE_SECONDS: Final = 0.5
"""Between two faults, on average."""

PASSINGS: Final = (1, 1, 2, 3, 5, 10)
"""Which passing of a crash point is the last."""

ROUND: Final[Mapping[str, int]] = {
    "kill a coordinator": 9,
    "kill a service": 14,
    "kill a client": 6,
    "arm a process": 5,
    "arm two processes": 3,
    "freeze a coordinator": 3,
    "freeze a service": 3,
    "cut connections": 6,
    "stall a connection": 3,
    "truncate what a client says": 4,
    "truncate what a server says": 4,
    "restart a database immediately": 2,
    "kill a database server": 1,
    "take away a participant's database": 1,
    "kill the broker": 1,
    "stop and start the broker's application": 1,
    "purge a queue": 2,
    "delete a queue": 2,
    "memory alarm": 1,
    "disk alarm": 1,
}
"""Each kind of fault, and how often it is in a round of about a minute. A round is shuffled."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, how long after the one before, which of those that it can hit, and how much of it."""

    number: int
    kind: str
    after_seconds: float
    which: float
    amount: float

    def __str__(self) -> str:
        return f"{self.number}. {self.kind} (which {self.which:.3f}, amount {self.amount:.3f})"


def faults_of(seed: int) -> Iterator[Fault]:
    """The faults of a seed, without end."""
    draw = random.Random(f"{seed}/nemesis")
    number = 0
    while True:
        kinds = [kind for kind, count in ROUND.items() for _ in range(count)]
        draw.shuffle(kinds)
        for kind in kinds:
            number += 1
            yield Fault(number, kind, draw.random() * 2 * PAUSE_SECONDS, draw.random(), draw.random())


class Nemesis:
    """Does the faults, one after the other; what lasts goes on beside the next."""

    def __init__(self, stage: Stage, servers: Servers, wires: Mapping[str, Wire], *, seed: int, log: TextIO) -> None:
        self.met: Counter[str] = Counter()
        self._stage = stage
        self._crew = stage.crew
        self._servers = servers
        self._wires = wires
        self._faults = faults_of(seed)
        self._log = log
        self._began_at = time.monotonic()
        self._lasting: set[asyncio.Task[None]] = set()
        self._kinds: Mapping[str, Callable[[Fault], Awaitable[None]]] = {
            "kill a coordinator": self._kill(COORDINATOR),
            "kill a service": self._kill(*SERVICES),
            "kill a client": self._kill(*CLIENTS),
            "arm a process": self._arm,
            "arm two processes": self._arm_two,
            "freeze a coordinator": self._freeze(COORDINATOR),
            "freeze a service": self._freeze(*SERVICES),
            "cut connections": self._cut,
            "stall a connection": self._stall,
            "truncate what a client says": self._truncate("client"),
            "truncate what a server says": self._truncate("server"),
            "restart a database immediately": self._restart_database,
            "kill a database server": self._kill_database,
            "take away a participant's database": self._take_away_database,
            "kill the broker": self._kill_broker,
            "stop and start the broker's application": self._stop_app,
            "purge a queue": self._purge,
            "delete a queue": self._delete,
            "memory alarm": self._alarm(MEMORY_ALARM, MEMORY_USUAL),
            "disk alarm": self._alarm(DISK_ALARM, DISK_USUAL),
        }

    async def rage(self, seconds: float) -> None:
        """Do faults for so long, then undo what lasts."""
        self._began_at = time.monotonic()
        for fault in self._faults:
            if time.monotonic() - self._began_at + fault.after_seconds > seconds:
                break
            await asyncio.sleep(fault.after_seconds)
            self.note(str(fault))
            await self._kinds[fault.kind](fault)
            self.met[fault.kind] += 1
        await self._heal()

    def note(self, what: str) -> None:
        """Write down what happens, and when."""
        self._log.write(f"{time.strftime('%H:%M:%S')} {time.monotonic() - self._began_at:8.3f} {what}\n")
        self._log.flush()

    async def _heal(self) -> None:
        await asyncio.gather(*self._lasting)
        for name in self._crew.names():
            self._crew.thaw(name)
        for wire in self._wires.values():
            for line in wire.lines:
                line.cut()  # one may be half open
        await self._crew.disarm()
        self.note("all is well again")

    def _lasts(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._lasting.add(task)
        task.add_done_callback(lambda done: self._lasting.discard(done) if done.exception() is None else None)

    # Processes.

    def _kill(self, *roles: str) -> Callable[[Fault], Awaitable[None]]:
        async def kill(fault: Fault) -> None:
            name = _pick(self._crew.names(*roles), fault)
            self.note(f"   {name}")
            self._crew.kill(name)

        return kill

    def _freeze(self, *roles: str) -> Callable[[Fault], Awaitable[None]]:
        async def freeze(fault: Fault) -> None:
            name, seconds = _pick(self._crew.names(*roles), fault), 0.5 + 7.5 * fault.amount
            self.note(f"   {name} for {seconds:.1f} s")
            self._lasts(self._frozen(name, seconds))

        return freeze

    async def _frozen(self, name: str, seconds: float) -> None:
        self._crew.freeze(name)
        await asyncio.sleep(seconds)
        self._crew.thaw(name)

    async def _arm(self, fault: Fault) -> None:
        self._die_next_at(fault, _pick(PLACES, fault))

    async def _arm_two(self, fault: Fault) -> None:
        self._die_next_at(fault, *_pick(PAIRS, fault))

    def _die_next_at(self, fault: Fault, *places: tuple[str, str]) -> None:
        passing = PASSINGS[int(fault.amount * len(PASSINGS))]
        self.note(f"   {places}, passing {passing}")
        die_next_at(self._stage, *places, passing=passing)

    # Connections.

    def _wire(self, fault: Fault) -> tuple[str, Wire]:
        return _pick(sorted(self._wires.items()), fault)

    async def _cut(self, fault: Fault) -> None:
        name, wire = self._wire(fault)
        lines = wire.lines if fault.amount > 0.7 else wire.lines[int(fault.amount * len(wire.lines)) :][:1]
        self.note(f"   {len(lines)} of {name}")
        for line in lines:
            line.cut()

    async def _stall(self, fault: Fault) -> None:
        name, wire = self._wire(fault)
        for line in wire.lines[int(fault.amount * len(wire.lines)) :][:1]:
            self.note(f"   number {line.number} of {name}")
            line.stall()

    def _truncate(self, whose: str) -> Callable[[Fault], Awaitable[None]]:
        async def truncate(fault: Fault) -> None:
            name, wire = self._wire(fault)
            count = int(2 ** (12 * fault.amount))  # as often within a frame's head as far behind it
            lines = wire.lines
            self.note(f"   all {len(lines)} of {name}, after {count} bytes")
            for line in lines:
                line.cut_after(count, of=whose)

        return truncate

    # Databases.

    def _database(self, fault: Fault) -> Server:
        return _pick([self._servers.common, self._servers.apart], fault)

    async def _restart_database(self, fault: Fault) -> None:
        await asyncio.to_thread(self._servers.restart_immediately, self._database(fault))

    async def _kill_database(self, fault: Fault) -> None:
        server = self._database(fault)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async def _take_away_database(self, fault: Fault) -> None:
        await asyncio.to_thread(self._servers.apart.kill)
        await asyncio.sleep(2.0 + 8.0 * fault.amount)
        await asyncio.to_thread(self._servers.apart.start)

    # The broker.

    async def _kill_broker(self, fault: Fault) -> None:
        await asyncio.to_thread(self._servers.broker.kill)
        await asyncio.to_thread(self._servers.broker.start)

    async def _stop_app(self, fault: Fault) -> None:
        await asyncio.to_thread(self._servers.control_broker, "stop_app")
        await asyncio.sleep(2.0 * fault.amount)
        await asyncio.to_thread(self._servers.control_broker, "start_app")

    def _alarm(self, begin: tuple[str, ...], end: tuple[str, ...]) -> Callable[[Fault], Awaitable[None]]:
        async def alarm(fault: Fault) -> None:
            await asyncio.to_thread(self._servers.control_broker, *begin)
            await asyncio.sleep(1.0 + 5.0 * fault.amount)
            await asyncio.to_thread(self._servers.control_broker, *end)

        return alarm

    async def _purge(self, fault: Fault) -> None:
        async with self._queue(fault) as queue:
            await queue.purge()

    async def _delete(self, fault: Fault) -> None:
        async with self._queue(fault) as queue:
            await queue.delete(if_unused=False, if_empty=False)

    @asynccontextmanager
    async def _queue(self, fault: Fault) -> AsyncIterator[aio_pika.abc.AbstractQueue]:
        name = _pick(self._stage.queues, fault)
        self.note(f"   {name}")
        connection = await aio_pika.connect(self._servers.broker.url)
        try:
            channel = await connection.channel()
            yield await channel.get_queue(name, ensure=False)
        finally:
            await connection.close()


def _pick(among: Sequence[T], fault: Fault) -> T:
    return among[int(fault.which * len(among))]
