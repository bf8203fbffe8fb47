"""A world: servers, processes that are started again when they die, a clock, and what goes wrong with all of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from sagaflow.errors import Unavailable
from sagaflow.testing.simulation.broker import BrokerWitness, SimulatedBroker
from sagaflow.testing.simulation.database import Business, DatabaseWitness, SimulatedTransactions
from sagaflow.testing.simulation.faults import TIME, Fault, Faults, Kind
from sagaflow.testing.simulation.loop import SimulatedLoop, let_others_run
from sagaflow.testing.simulation.processes import CURRENT, EPOCH_NS, Process, Processes, State
from sagaflow.testing.simulation.servers import Delay, Line
from sagaflow.testing.simulation.store import SimulatedStore, StoreWitness

T = TypeVar("T")
Tx = TypeVar("Tx")

Main = Callable[[asyncio.Event], Coroutine[Any, Any, bool]]
"""What a process does, until it is told to stop; returns whether it is done for good."""

EPOCH: Final = datetime.fromtimestamp(EPOCH_NS / 1e9, UTC)

START_AGAIN_SECONDS: Final = 1.0
"""When a process that has ended by itself is started again, as systemd would."""

IDLE_SECONDS: Final = 10.0
"""After this time servers give up on a process that stands still: its transactions are rolled back, and what was
delivered to it comes again elsewhere."""

OUTSIDE: Final = Context()


class World:
    """Servers and processes in one thread, with their own time.

    Args:
        seed: decides all chance: of processes, of the order of things, of delays.
        faults: what goes wrong at which point.
        shuffled: whether what can happen next is drawn; otherwise things happen in the order in which they were asked
            for, and messages arrive in the order in which they were sent.
        delay_seconds: how long calls and messages take at most.
        inline_threads: see `SimulatedLoop`.
        trace: see `SimulatedLoop`.
    """

    def __init__(
        self,
        seed: int,
        faults: Faults,
        *,
        shuffled: bool = True,
        delay_seconds: float = 0.0,
        inline_threads: bool = False,
        store_witness: StoreWitness | None = None,
        broker_witness: BrokerWitness | None = None,
        trace: Callable[[int, float, str], None] | None = None,
    ) -> None:
        self._order = _chance(seed, "order") if shuffled else None
        self.loop = SimulatedLoop(self._order, inline_threads=inline_threads, trace=trace)
        self._travel: Callable[[], Awaitable[None]] = let_others_run
        if delay_seconds:
            self._travel = Delay(self.loop, _chance(seed, "delays"), delay_seconds)
        self.processes = Processes(self.loop, seed)
        self.faults = faults
        self.clock_offset = 0.0
        self.store = SimulatedStore(self.now, self._line("store"), store_witness)
        self.broker = SimulatedBroker(
            self._line("broker"),
            faults=faults,
            order=self._order,
            delay_seconds=delay_seconds,
            witness=broker_witness,
        )
        self.databases: dict[str, SimulatedTransactions[Any]] = {}
        self.deaths: list[str] = []
        """What processes have died of by themselves."""
        self._mains: dict[str, Main] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._start_again: dict[str, float] = {}
        self._calm = False
        self.processes.servers += [self.store, self.broker]

    def now(self) -> datetime:
        """The clock of the servers."""
        return EPOCH + timedelta(seconds=self.loop.time() + self.clock_offset)

    def database(
        self, name: str, business: Business[Tx], witness: DatabaseWitness | None = None
    ) -> SimulatedTransactions[Tx]:
        """The database of a participant, made now."""
        database = SimulatedTransactions(business, self.now, self._line("database"), witness)
        self.databases[name] = database
        self.processes.servers.append(database)
        return database

    def run(self, main: Coroutine[Any, Any, T], *, seconds_max: float = 1e9, steps_max: int = 1_000_000) -> T:
        """Run the world until a coroutine has ended, which belongs to no process. All processes begin in the context
        of who calls this."""
        self.processes.ambient = copy_context()
        return self.loop.run(main, seconds_max=seconds_max, steps_max=steps_max)

    def end(self) -> None:
        """Forget it."""
        self.loop.abandon()

    # Processes.

    def supervise(self, name: str, main: Main) -> None:
        """Start a process, and start it again whenever it dies."""
        self._mains[name] = main
        self._start(name)

    def crash(self, process: Process, seconds: float) -> None:
        """Kill a process; it is started again after so many seconds."""
        self.processes.kill(process)
        self._start_later(process.name, seconds)

    def stand_still(self, process: Process, seconds: float) -> None:
        """Pause a process for so long. If it is long, servers give up on it."""
        self.processes.pause(process)
        self.loop.call_later(seconds, self._go_on, process, context=OUTSIDE)
        if seconds > IDLE_SECONDS:
            self.loop.call_later(IDLE_SECONDS, self._give_up_on, process, context=OUTSIDE)

    def _go_on(self, process: Process) -> None:
        self.processes.resume(process)
        self.broker.resume()  # if servers had given it up, what waits for it has waited until now

    def _give_up_on(self, process: Process) -> None:
        if process.state is State.PAUSED:
            process.reachable = False
            self._cut(process)

    def _cut(self, process: Process) -> None:
        self.store.disconnect(process)
        self.broker.cut(process)
        for database in self.databases.values():
            database.disconnect(process)

    def _start(self, name: str) -> None:
        if name not in self.processes.alive and name in self._mains:
            stop = self._stops[name] = asyncio.Event()
            self.processes.start(name, lambda: self._live(name, stop))

    def _start_later(self, name: str, seconds: float) -> None:
        if name in self._mains:
            self.loop.call_later(seconds, self._start, name, context=OUTSIDE)

    async def _live(self, name: str, stop: asyncio.Event) -> None:
        process = CURRENT.get()
        assert process is not None, "it is a process that lives"
        done = False
        try:
            done = await self._mains[name](stop)
        except Unavailable as error:
            self.deaths.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends the run
            self.loop.failure = error
        if done:
            del self._mains[name]
        self.processes.kill(process)
        self._start_later(name, self._start_again.pop(name, START_AGAIN_SECONDS))

    # What goes wrong at a time.

    def schedule(self, faults: Iterable[Fault]) -> None:
        """Have these happen at their times."""
        for fault in faults:
            if fault.point == TIME:
                self.loop.call_at(fault.nth, self._strike, fault, context=OUTSIDE)

    def calm(self) -> None:
        """Nothing goes wrong any more: what is down comes up, what stands still goes on."""
        self._calm = True
        for line in self._lines():
            line.down = False
        self.broker.resume()
        for process in list(self.processes.alive.values()):
            self.processes.resume(process)

    def _strike(self, fault: Fault) -> None:
        if self._calm:
            return
        self.faults.meet(fault)
        process = self.processes.alive.get(fault.who)
        match fault.kind:
            case Kind.STORE_DOWN:
                self.store.disconnect(None)
                self._take_down(self.store.line, fault.seconds)
            case Kind.DATABASE_DOWN if fault.who in self.databases:
                database = self.databases[fault.who]
                database.disconnect(None)
                self._take_down(database.line, fault.seconds)
            case Kind.BROKER_DOWN:
                self.broker.disconnect(None)
                self._take_down(self.broker.line, fault.seconds)
            case Kind.BROKER_WIPED:
                self.broker.wipe()
            case Kind.CLOCK_JUMP:
                self.clock_offset += fault.seconds
            case Kind.CUT if process is not None:
                self._cut(process)
            case Kind.KILL if process is not None:
                self.crash(process, fault.seconds)
            case Kind.PAUSE if process is not None:
                self.stand_still(process, fault.seconds)
            case Kind.RESTART if process is not None:
                self._start_again[fault.who] = fault.seconds
                self.loop.call_soon(self._stops[fault.who].set, context=process.context)

    def _take_down(self, line: Line, seconds: float) -> None:
        line.down = True
        line.down_until = max(line.down_until, self.loop.time() + seconds)
        self.loop.call_at(line.down_until, self._bring_up, line, line.down_until, context=OUTSIDE)

    def _bring_up(self, line: Line, until: float) -> None:
        if line.down_until <= until:
            line.down = False
            self.broker.resume()

    def _line(self, name: str) -> Line:
        return Line(name, self.faults, self, self._travel)

    def _lines(self) -> list[Line]:
        return [self.store.line, self.broker.line, *(database.line for database in self.databases.values())]


def _chance(seed: int, what: str) -> random.Random:
    return random.Random(f"{seed} {what}")  # noqa: S311  # it is meant to be repeated
