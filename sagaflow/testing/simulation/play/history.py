"""One history: a world, some sagas, some faults, and the end of it all; decided by a seed alone."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sagaflow.core.state import SagaStatus
from sagaflow.errors import SagaNotFound, Unavailable
from sagaflow.runners.client import SagaClient
from sagaflow.runners.coordinator import Coordinator
from sagaflow.runners.worker import serve
from sagaflow.testing.simulation.broker import SimulatedTransport
from sagaflow.testing.simulation.chronicle import Chronicle
from sagaflow.testing.simulation.faults import (
    TIME,
    DrawnFaults,
    Fault,
    Faults,
    GivenFaults,
    Kind,
)
from sagaflow.testing.simulation.handling import Mishaps
from sagaflow.testing.simulation.loop import OutOfTime, Stalled
from sagaflow.testing.simulation.play import coverage
from sagaflow.testing.simulation.play.cast import (
    PARTICIPANTS,
    PATIENT,
    STAGE,
    Stage,
    participant_of,
    saga_of,
)
from sagaflow.testing.simulation.play.checks import Checks, DatabaseChecks, Ledger, Violation
from sagaflow.testing.simulation.play.persons import Persons
from sagaflow.testing.simulation.play.setting import STORM_SECONDS, Order, Setting
from sagaflow.testing.simulation.world import World

COORDINATOR: Final = "shop"

CALM_SECONDS_MAX: Final = 600.0
"""How long after the storm everything must have ended. Delays of 10 s are made by retries and by leases."""

STEPS_MAX: Final = 300_000
"""No history takes more steps, unless something goes round in circles."""

LOOK_SECONDS: Final = 0.5

SAGAS: Final = 10
"""How many sagas a history has."""

STUCK_LOOK_SECONDS: Final = 3.0
"""How long whoever is told that a saga is stuck waits before asking again."""


@dataclass
class Report:
    """What became of a run."""

    seed: int
    sagas: int
    faults: Sequence[Fault]
    """What gives this history again: all that has gone wrong, and what was to happen at a time and met nobody. Even
    that took a turn among what is ready to run, so without it everything after it could come in another order."""
    met: coverage.Met
    steps: int
    seconds: float
    problem: str | None = None
    story: str = ""
    keys: Sequence[str] = ()


class History:
    """Plays one setting to its end."""

    def __init__(self, setting: Setting, faults: Faults, *, trace: list[str] | None = None, told: bool = False) -> None:
        self.setting = setting
        self.faults = faults
        self.trace = trace
        self.checks = Checks(self._fail)
        self.world = World(
            setting.seed,
            faults,
            shuffled=setting.shuffled,
            delay_seconds=setting.delay_seconds,
            store_witness=self.checks,
            broker_witness=self.checks,
            trace=None if trace is None else self._note,
        )
        if told:
            self.checks.chronicle = Chronicle(self.world.loop.time)
            faults.listener = self.checks.chronicle.fault
        if any(order.shape == PATIENT for order in setting.orders):
            self.world.broker.returns_max = math.inf  # what the broker gives up is lost until its step times out
        self.stage = Stage(faults, Mishaps(faults, self.world))
        self.ids: dict[str, UUID] = {}
        """What those who started sagas were told. It is their own, and outlives their processes."""
        self.outcomes: dict[str, SagaStatus] = {}
        shapes = sorted({order.shape for order in setting.orders})
        self.sagas = [saga_of(shape) for shape in shapes]
        self.checks.plans = {saga.plan.hash: saga.plan for saga in self.sagas}
        self._calm = False
        self.persons = Persons(
            self.world.store,
            seed=setting.seed,
            plans=self.checks.plans,
            clock=self.world.loop.time,
            is_calm=lambda: self._calm,
        )

    def play(self) -> str | None:
        """Returns what is wrong, if something is."""
        STAGE.set(self.stage)
        try:
            self.world.run(self._main(), seconds_max=STORM_SECONDS + 2 * CALM_SECONDS_MAX, steps_max=STEPS_MAX)
        except (Violation, Stalled, OutOfTime) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # a process ended by an error that it should not have ended by
            return f"a process ended by {error!r}"
        return f"an error was not dealt with: {self.world.loop.trouble[0]}" if self.world.loop.trouble else None

    def _fail(self, violation: Violation) -> None:
        if self.world.loop.failure is None:
            self.world.loop.failure = violation

    def _note(self, step: int, seconds: float, name: str) -> None:
        assert self.trace is not None, "otherwise nobody calls"
        self.trace.append(f"{step} {seconds:.6f} {name}")

    async def _main(self) -> None:
        self._raise_curtain()
        while self.world.loop.time() < STORM_SECONDS and not self._all_ended():  # noqa: ASYNC110  # in its own time
            await asyncio.sleep(LOOK_SECONDS)
        self._calm = True
        if isinstance(self.faults, DrawnFaults):
            self.faults.stop()
        self.world.calm()
        until = self.world.loop.time() + CALM_SECONDS_MAX
        while not (self._all_ended() and self._is_quiet()) and self.world.loop.time() < until:
            await self.persons.help_the_stuck()
            await asyncio.sleep(LOOK_SECONDS)
        self._check_the_end()

    def _check_the_end(self) -> None:
        unfinished = [order.key for order in self.setting.orders if order.key not in self.outcomes]
        sagas = {record.key: record.status for record in self.world.store.tables.sagas.values()}
        if unfinished:
            self.checks.broken(
                "I1", f"after {CALM_SECONDS_MAX:.0f} s without faults {unfinished} are not over: {sagas}"
            )
        if not self.world.broker.idle:
            self.checks.broken("I7", "messages are left at the broker")
        self.checks.at_the_end(self.world.store, self.stage.bank)
        if self.world.loop.failure is not None:
            raise self.world.loop.failure

    def _all_ended(self) -> bool:
        return len(self.outcomes) == len(self.setting.orders)

    def _is_quiet(self) -> bool:
        return self.world.broker.idle

    # Who plays.

    def _raise_curtain(self) -> None:
        world = self.world
        for name in PARTICIPANTS:
            world.database(name, Ledger(self.checks), DatabaseChecks(self.checks))
        for number in range(1, self.setting.coordinators + 1):
            world.supervise(f"coordinator-{number}", self._coordinator(number))
        for name in PARTICIPANTS:
            for number in range(1, self.setting.workers + 1):
                world.supervise(f"worker-{name}-{number}", self._worker(name, number))
        if any(order.by == "client" for order in self.setting.orders):
            world.supervise("client", self._client)
        timed = self.faults_at_times()
        world.schedule(fault for fault in timed if fault.kind not in (Kind.CANCEL, Kind.PERSON))
        for fault in timed:
            if fault.kind in (Kind.CANCEL, Kind.PERSON):
                world.loop.call_at(fault.nth, self._send_person, fault)

    def faults_at_times(self) -> Sequence[Fault]:
        """The faults that happen at a time."""
        return self.setting.timed

    def _coordinator(self, number: int) -> Callable[[asyncio.Event], Any]:
        lives = 0
        blind = self.setting.without_code and number == self.setting.coordinators

        async def main(stop: asyncio.Event) -> bool:
            nonlocal lives
            lives += 1
            has_code = not (blind and lives == 1)
            async with Coordinator(
                self.sagas if has_code else [],
                store=self.world.store,
                transport=SimulatedTransport(self.world.broker),
                name=COORDINATOR,
                poll_seconds=self.setting.poll_seconds,
                lease_seconds=self.setting.lease_seconds,
            ) as coordinator:
                if not has_code:
                    await _first_of(stop, asyncio.sleep(4.0))
                    return False
                mine = [order for place, order in enumerate(self.setting.orders) if self._is_mine(order, place, number)]
                tasks = [asyncio.create_task(self._order(coordinator, order), name=order.key) for order in mine]
                await stop.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return False

        return main

    def _is_mine(self, order: Order, place: int, number: int) -> bool:
        return order.by != "client" and place % self.setting.coordinators == number - 1

    async def _order(self, coordinator: Coordinator, order: Order) -> None:
        if order.key in self.outcomes:
            return
        await asyncio.sleep(order.at_seconds - self.world.loop.time())
        while order.key not in self.outcomes:
            try:
                await self._start_and_wait(coordinator, order)
            except Unavailable:
                await asyncio.sleep(0.5)

    async def _start_and_wait(self, coordinator: Coordinator, order: Order) -> None:
        saga = saga_of(order.shape)
        if order.by == "within":
            tx = self.world.store.begin()
            try:
                run = await coordinator.start(saga, order.key, key=order.key, tx=tx)
                await self.world.store.line.call("store.commit", tx.commit)
            finally:
                tx.end()
        else:
            run = await coordinator.start(saga, order.key, key=order.key)
        self._started(order, run.saga_id)
        outcome = await run.outcome()
        self._told(order, run.saga_id, outcome.status)
        if outcome.status is SagaStatus.STUCK:
            await asyncio.sleep(STUCK_LOOK_SECONDS)

    def _started(self, order: Order, saga_id: UUID) -> None:
        known = self.ids.setdefault(order.key, saga_id)
        if known != saga_id:
            self.checks.broken("I10", f"{order.key} was started twice: {known} and {saga_id}")
        if saga_id not in self.world.store.tables.sagas:
            self.checks.broken("I5", f"{order.key} is said to have been started, and is not")

    def _told(self, order: Order, saga_id: UUID, status: SagaStatus) -> None:
        self.checks.told(saga_id, status)
        if status is not SagaStatus.STUCK:
            self.outcomes[order.key] = status

    async def _client(self, stop: asyncio.Event) -> bool:
        orders = [order for order in self.setting.orders if order.by == "client" and order.key not in self.outcomes]
        async with SagaClient(SimulatedTransport(self.world.broker), coordinator=COORDINATOR) as client:
            tasks = [asyncio.create_task(self._ask_for(client, order), name=order.key) for order in orders]
            asked = asyncio.gather(*tasks)
            await _first_of(stop, asked)
        return all(order.key in self.outcomes for order in orders)

    async def _ask_for(self, client: SagaClient, order: Order) -> None:
        await asyncio.sleep(order.at_seconds - self.world.loop.time())
        saga = saga_of(order.shape)
        while order.key not in self.outcomes:
            try:
                saga_id = await client.start(saga.name, order.key, key=order.key)
            except SagaNotFound:  # it was asked of a coordinator that has not got the code yet
                await asyncio.sleep(LOOK_SECONDS)
                continue
            self._started(order, saga_id)
            self._told(order, saga_id, await client.outcome(saga_id))
            if order.key not in self.outcomes:
                await asyncio.sleep(STUCK_LOOK_SECONDS)

    def _worker(self, name: str, number: int) -> Callable[[asyncio.Event], Any]:
        lives = 0
        old = self.setting.without_handlers and number == self.setting.workers

        async def main(stop: asyncio.Event) -> bool:
            nonlocal lives
            lives += 1
            is_old = old and lives == 1
            async with serve(
                participant_of(name, complete=not is_old),
                transport=SimulatedTransport(self.world.broker),
                transactions=self.world.databases[name],
                concurrency=4,
                grace_seconds=2.0,
            ):
                if is_old:
                    await _first_of(stop, asyncio.sleep(8.0))
                else:
                    await stop.wait()
            return False

        return main

    # Persons.

    def _send_person(self, fault: Fault) -> None:
        if not self._calm and fault.who in self.ids:
            self.faults.meet(fault)

            async def main(stop: asyncio.Event) -> bool:
                await self.persons.interfere(self.ids[fault.who], fault)
                return True

            self.world.supervise(f"person-{len(self.faults.met)}", main)


async def _first_of(stop: asyncio.Event, other: Awaitable[object]) -> None:
    """Wait until told to stop, or until something else is done."""
    stopped, others = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(other)
    done, left = await asyncio.wait([stopped, others], return_when=asyncio.FIRST_COMPLETED)
    for one in left:
        one.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for one in done:
        one.result()


class Errors(logging.Handler):
    """Production code logs an exception only where it could not deal with it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what tells of an exception."""
        if hasattr(record, "error_type"):
            self.records.append(record.getMessage())


def play(
    seed: int,
    *,
    sagas: int = SAGAS,
    faults: Sequence[Fault] | None = None,
    keys: Collection[str] | None = None,
    trace: list[str] | None = None,
    told: bool = False,
) -> Report:
    """Play the history of a seed.

    Args:
        seed: decides everything that is not given.
        sagas: how many there are.
        faults: these and no others, instead of those that the seed draws.
        keys: which of the sagas take part; all, if left out.
        trace: is given a line for each step.
        told: have the story told.
    """
    setting = Setting.of(seed, sagas)
    if keys is not None:
        orders = [order for order in setting.orders if order.key in keys]
        setting = Setting(**(setting.__dict__ | {"orders": orders}))
    given: Faults
    if faults is None:
        given = DrawnFaults(random.Random(f"{seed} faults"), setting.kinds, setting.interval)  # noqa: S311
    else:
        given = GivenFaults(faults)
        setting = Setting(**(setting.__dict__ | {"timed": [fault for fault in faults if fault.point == TIME]}))
    log = logging.getLogger("sagaflow")
    errors = Errors()
    level, propagate = log.level, log.propagate
    log.addHandler(errors)
    log.setLevel(logging.ERROR)
    log.propagate = False
    history = History(setting, given, trace=trace, told=told)
    try:
        problem = history.play()
        if problem is None and errors.records:
            problem = f"an error was logged: {errors.records[0]}"
        met = history.checks.met
        met.update(coverage.of_fault(fault) for fault in given.met)
        return Report(
            seed=seed,
            sagas=len(setting.orders),
            faults=[*setting.timed, *(fault for fault in given.met if fault.point != TIME)],
            met=met,
            steps=history.world.loop.steps,
            seconds=history.world.loop.time(),
            problem=problem,
            keys=[order.key for order in setting.orders],
            story=str(history.checks.chronicle or ""),
        )
    finally:
        log.removeHandler(errors)
        log.setLevel(level)
        log.propagate = propagate
        history.world.end()
