"""One history: a world, some sagas, some faults, and the end of it all; decided by a seed alone."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID

from sagaflow.core.plan import Operation
from sagaflow.core.state import OPEN, OpStatus, SagaStatus, by_name
from sagaflow.errors import NotPossible, SagaflowError, SagaNotFound, Unavailable
from sagaflow.runners.client import SagaClient
from sagaflow.runners.coordinator import Coordinator
from sagaflow.runners.operator import Operator
from sagaflow.runners.worker import serve
from sagaflow.testing.simulation.broker import SimulatedTransport
from sagaflow.testing.simulation.chronicle import Chronicle
from sagaflow.testing.simulation.faults import (
    TIME,
    TIMED,
    DrawnFaults,
    Fault,
    Faults,
    GivenFaults,
    Kind,
    draw_seconds,
)
from sagaflow.testing.simulation.handling import Mishaps
from sagaflow.testing.simulation.loop import OutOfTime, Stalled
from sagaflow.testing.simulation.play import coverage
from sagaflow.testing.simulation.play.cast import (
    PARTICIPANTS,
    PATIENT,
    SHAPES,
    STAGE,
    Stage,
    participant_of,
    saga_of,
)
from sagaflow.testing.simulation.play.checks import Checks, DatabaseChecks, Ledger, Violation
from sagaflow.testing.simulation.world import World

COORDINATOR: Final = "shop"

STORM_SECONDS: Final = 12.0
"""For how long faults happen."""

CALM_SECONDS_MAX: Final = 600.0
"""How long after the storm everything must have ended. Delays of 10 s are made by retries and by leases."""

STEPS_MAX: Final = 300_000
"""No history takes more steps, unless something goes round in circles."""

LOSSES: Final = frozenset({Kind.LOST, Kind.BROKER_WIPED})
"""What only the timeout of a step makes up for."""

LOOK_SECONDS: Final = 0.5

SAGAS: Final = 10
"""How many sagas a history has."""

STUCK_LOOK_SECONDS: Final = 3.0
"""How long whoever is told that a saga is stuck waits before asking again."""


class Verb(Enum):
    """What a person can do to a saga, other than cancel it."""

    RETRY = auto()
    SKIP = auto()
    SAY_DONE = auto()
    SAY_NOT_DONE = auto()
    ABANDON = auto()


VERBS: Final = tuple(Verb)
VERBS_OF_OPEN: Final = (Verb.RETRY, Verb.RETRY, Verb.SAY_DONE, Verb.SAY_NOT_DONE)
"""Those that fit a step that is under way; all others need one that is stuck."""

PERSONS: Final = {Kind.CANCEL: 2, Kind.PERSON: 5}
"""How often they come, at least, where they come at all: most come too late, or where there is nothing to do."""

BY_ALL_MEANS: Final = 0.6
"""How often whoever helps in the end does any of these. Otherwise it is a retry: of a saga that a person has settled by
other means it cannot be said what it should have left behind."""


@dataclass(frozen=True, slots=True)
class Order:
    """A saga that is to be started, and how."""

    key: str
    shape: int
    by: str
    """"client": over the broker; "coordinator": in its process; "within": in a transaction of the caller's own."""
    at_seconds: float


@dataclass(frozen=True)
class Setting:
    """All that a seed decides before the first step."""

    seed: int
    orders: Sequence[Order]
    coordinators: int
    workers: int
    shuffled: bool
    delay_seconds: float
    kinds: Sequence[Kind]
    interval: float
    timed: Sequence[Fault]
    without_code: bool
    """Whether the last coordinator has not got the code at first."""
    without_handlers: bool
    """Whether the last worker of a participant does not serve its external steps at first."""
    poll_seconds: float
    lease_seconds: float

    @classmethod
    def of(cls, seed: int, sagas: int) -> Setting:
        """The setting of a seed."""
        chance = random.Random(f"{seed} setting")  # noqa: S311  # it is meant to be repeated
        shapes = [chance.randrange(len(SHAPES)) for _ in range(2)]
        orders = [
            Order(
                key=f"order-{number}",
                shape=chance.choice(shapes),
                by=chance.choice(("client", "coordinator", "coordinator", "within")),
                at_seconds=round(chance.random() ** 2 * STORM_SECONDS / 2, 2),
            )
            for number in range(sagas)
        ]
        coordinators, workers = chance.choice((1, 1, 2, 3)), chance.choice((1, 1, 2))
        kinds = [kind for kind in _some_kinds(chance) if PATIENT not in shapes or kind not in LOSSES]
        setting = cls(
            seed=seed,
            orders=orders,
            coordinators=coordinators,
            workers=workers,
            shuffled=chance.random() < 0.9,
            delay_seconds=chance.choice((0.0, 0.0, 0.0, 0.02, 0.3)),
            kinds=kinds,
            interval=chance.choice((15.0, 40.0, 120.0, 400.0)),
            timed=(),
            without_code=coordinators > 1 and chance.random() < 0.15,
            without_handlers=chance.random() < 0.3,
            poll_seconds=chance.choice((0.5, 2.0)),
            lease_seconds=chance.choice((3.0, 10.0)),
        )
        return cls(**(setting.__dict__ | {"timed": _timed(chance, setting)}))

    @property
    def processes(self) -> Sequence[str]:
        """The names of all processes."""
        return [
            *(f"coordinator-{number}" for number in range(1, self.coordinators + 1)),
            *(f"worker-{name}-{number}" for name in PARTICIPANTS for number in range(1, self.workers + 1)),
            "client",
        ]


def _some_kinds(chance: random.Random) -> Sequence[Kind]:
    """Each run has some kinds of faults only, so that no kind hides another for ever."""
    share = chance.choice((0.15, 0.4, 0.8))
    return [kind for kind in Kind if chance.random() < share]


def _timed(chance: random.Random, setting: Setting) -> Sequence[Fault]:
    kinds = [kind for kind in TIMED if kind in setting.kinds]
    faults = []
    drawn = [chance.choice(kinds) for _ in range(chance.choice((0, 1, 2, 5)) if kinds else 0)]
    drawn += [kind for kind, times in PERSONS.items() if kind in kinds for _ in range(times)]
    for kind in drawn:
        who = chance.choice(_targets(kind, setting))
        seconds = draw_seconds(chance, kind)
        faults.append(Fault(kind, TIME, who, round(chance.random() * STORM_SECONDS, 2), seconds))
    return sorted(faults, key=lambda fault: fault.nth)


def _targets(kind: Kind, setting: Setting) -> Sequence[str]:
    match kind:
        case Kind.STORE_DOWN | Kind.CLOCK_JUMP:
            return ["store"]
        case Kind.BROKER_DOWN | Kind.BROKER_WIPED:
            return ["broker"]
        case Kind.DATABASE_DOWN:
            return PARTICIPANTS
        case Kind.CANCEL | Kind.PERSON:
            return [order.key for order in setting.orders]
        case _:
            return setting.processes


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
            await self._help_the_stuck()
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
                await self._interfere(fault)
                return True

            self.world.supervise(f"person-{len(self.faults.met)}", main)

    async def _interfere(self, fault: Fault) -> None:
        operator = Operator(self.world.store, "eve")
        saga_id = self.ids[fault.who]
        chance = random.Random(f"{self.setting.seed} {fault}")  # noqa: S311
        try:
            if fault.kind is Kind.CANCEL:
                await operator.cancel(saga_id, reason="the seed wants it undone")
            else:
                await self._wait_for_an_occasion(saga_id)
                await self._repair(operator, saga_id, chance)
        except (SagaflowError, ValueError):
            return  # the saga is where this makes no sense, or the store is down

    async def _wait_for_an_occasion(self, saga_id: UUID) -> None:
        """Until something of the saga waits or is stuck, unless it ends, or the storm does."""
        while not self._calm:
            state = self.world.store.tables.sagas[saga_id].state
            statuses = {op.status for both in state.steps for op in (both.action, both.compensation)}
            if state.ended or statuses & {OpStatus.WAITING, OpStatus.DEFERRED, OpStatus.STUCK}:
                return
            await asyncio.sleep(0.2)

    async def _repair(self, operator: Operator, saga_id: UUID, chance: random.Random) -> None:
        """Something is done about a step with something open, if there is any: the others are of no interest."""
        record = self.world.store.tables.sagas[saga_id]
        steps = by_name(self.checks.plans[record.plan_hash], record.state)
        statuses = {name: {both.op(operation).status for operation in Operation} for name, both in steps.items()}
        for which, verbs in ((frozenset({OpStatus.STUCK}), VERBS), (OPEN, VERBS_OF_OPEN), (frozenset(OpStatus), VERBS)):
            some = [name for name, found in statuses.items() if found & which]
            if some:
                await _do(chance.choice(verbs), operator, saga_id, chance.choice(some))
                return

    async def _help_the_stuck(self) -> None:
        """What a person does in the end about what was stuck: mostly, try it again."""
        operator = Operator(self.world.store, "adam")
        chance = random.Random(f"{self.setting.seed} {self.world.loop.time()}")  # noqa: S311
        for saga_id, record in list(self.world.store.tables.sagas.items()):
            if record.status is not SagaStatus.STUCK:
                continue
            plan = self.world.store.tables.plans[record.plan_hash]
            for step, both in by_name(plan, record.state).items():
                for operation in Operation:
                    if both.op(operation).status is OpStatus.STUCK:
                        try:
                            verb = chance.choice(VERBS) if chance.random() < BY_ALL_MEANS else Verb.RETRY
                            await _do(verb, operator, saga_id, step)
                        except NotPossible:
                            continue


async def _do(verb: Verb, operator: Operator, saga_id: UUID, step: str) -> None:
    reason = "the seed sends a person"
    match verb:
        case Verb.RETRY:
            await operator.retry(saga_id, reason=reason, step=step)
        case Verb.SKIP:
            await operator.skip(saga_id, reason=reason, step=step)
        case Verb.SAY_DONE:
            await operator.give_reply(saga_id, reason=reason, succeeded=True, result="by hand", step=step)
        case Verb.SAY_NOT_DONE:
            await operator.give_reply(saga_id, reason=reason, succeeded=False, step=step)
        case Verb.ABANDON:
            await operator.abandon(saga_id, reason=reason)


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
