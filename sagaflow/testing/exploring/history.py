"""One history of a user's saga."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sagaflow.core.plan import Operation
from sagaflow.core.state import Cause, OpStatus, SagaStatus, by_name
from sagaflow.definitions.ports import Address
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.definitions.saga import Saga
from sagaflow.errors import NotPossible, Unavailable
from sagaflow.runners.coordinator import Coordinator
from sagaflow.runners.operator import Operator
from sagaflow.runners.readiness import UndoReady
from sagaflow.runners.worker import serve
from sagaflow.testing.exploring.observing import Call, Calls, observed
from sagaflow.testing.exploring.services import Service
from sagaflow.testing.simulation.broker import SimulatedTransport
from sagaflow.testing.simulation.chronicle import Chronicle
from sagaflow.testing.simulation.faults import Fault, GivenFaults
from sagaflow.testing.simulation.handling import Mishaps
from sagaflow.testing.simulation.loop import OutOfTime, Stalled
from sagaflow.testing.simulation.world import World

COORDINATOR: Final = "explored"
KEY: Final = "explored-1"
WORKERS: Final = 2
"""How many processes serve each participant: one takes over what another leaves behind."""

POLL_SECONDS: Final = 5.0
LEASE_SECONDS: Final = 15.0
ASK_SECONDS: Final = 600.0
"""How often participants are asked what they serve: once, mostly, since it is not what is explored."""

SECONDS_MAX: Final = 30 * 24 * 3600.0
STEPS_MAX: Final = 200_000
LOOK_SECONDS: Final = 20.0

HELP_MAX: Final = 3
"""How often a person retries what is stuck, before it is said to be beyond help."""

QUIET_SECONDS: Final = 120.0
"""How long after the end is waited for what comes too late."""


@dataclass
class End:
    """How a history has ended: what `check` is given."""

    saga_id: UUID
    status: SagaStatus
    cause: Cause | None
    faults: Sequence[Fault]
    """What has gone wrong in it."""
    calls: Sequence[Call]
    """All calls of handlers, in their order."""
    outside: Any
    """What `begin` returned for this history."""
    tables: dict[str, Any]
    """The tables of each participant."""

    @property
    def completed(self) -> bool:
        """Whether all of it happened."""
        return self.status is SagaStatus.COMPLETED

    @property
    def compensated(self) -> bool:
        """Whether none of it should remain."""
        return self.status is SagaStatus.COMPENSATED

    def rows(self, participant: str, sql: str, *args: Any) -> list[Any]:
        """Rows of a participant's database, each a tuple."""
        return [tuple(row) for row in self.tables[participant].query(sql, *args)]

    def value(self, participant: str, sql: str, *args: Any) -> Any:
        """The first value of the first row; None if there is none."""
        rows = self.rows(participant, sql, *args)
        return rows[0][0] if rows else None


Check = Callable[[End], Awaitable[None] | None]


@dataclass
class Told:
    """What is known of a history afterwards."""

    faults: Sequence[Fault]
    visits: Counter[tuple[str, str]]
    status: SagaStatus | None
    problem: str | None
    story: str = ""
    calls: Sequence[Call] = ()
    met: Sequence[Fault] = field(default_factory=list)


class _Witness:
    """Writes the story, if it is to be told."""

    def __init__(self) -> None:
        self.chronicle: Chronicle | None = None

    def committed(self, before: SagaRecord | None, after: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """A saga was written."""
        if self.chronicle is not None:
            self.chronicle.written(after, journal)

    def taken_over(self, sagas: int) -> None:
        """Sagas of the dead are to be sent again."""

    def overtaken(self) -> None:
        """Nothing."""

    def published(self, to: Address, body: bytes) -> None:
        """A message is safe."""

    def acked(self, address: Address, body: bytes) -> None:
        """A message is dealt with."""


class History:
    """Plays one history: a saga, one coordinator, two processes for each participant, and these faults."""

    def __init__(
        self,
        saga: Saga[Any],
        saga_input: Any,
        services: Sequence[Service[Any]],
        faults: Sequence[Fault],
        *,
        outside: Any,
        undo_ready: UndoReady,
        told: bool,
    ) -> None:
        self._saga = saga
        self._input = saga_input
        self._services = services
        self._outside = outside
        self._undo_ready = undo_ready
        self.faults = GivenFaults(faults)
        self._witness = _Witness()
        self.world = World(
            0,
            self.faults,
            shuffled=False,
            inline_threads=True,
            store_witness=self._witness,
            broker_witness=self._witness,
        )
        self.calls = Calls()
        if told:
            chronicle = self._witness.chronicle = Chronicle(self.world.loop.time)
            self.faults.listener = chronicle.fault
            self.calls.note = chronicle.note
        self.tables = {service.participant.name: service.make_tables() for service in services}
        self.status: SagaStatus | None = None
        self.visits: Counter[tuple[str, str]] = Counter()
        """Who came to which point how often, until the saga had ended."""
        self._saga_id: UUID | None = None
        self._calm = False

    def play(self, check: Check | None) -> str | None:
        """Returns what is wrong, if something is."""
        try:
            return self.world.run(self._main(check), seconds_max=SECONDS_MAX, steps_max=STEPS_MAX)
        except AssertionError as error:
            return _reason(error)
        except (Stalled, OutOfTime) as error:
            return f"the saga never ends: {error}"

    def end(self) -> None:
        """Forget it."""
        self.world.end()
        for tables in self.tables.values():
            tables.close()

    @property
    def story(self) -> str:
        """What happened."""
        return str(self._witness.chronicle or "")

    async def _main(self, check: Check | None) -> str | None:
        mishaps = Mishaps(self.faults, self.world)
        for service in self._services:
            name = service.participant.name
            self.world.database(name, self.tables[name])
            participant = observed(service.participant, self.calls, mishaps)
            for number in range(1, WORKERS + 1):
                self.world.supervise(f"{name}-{number}", self._worker(participant))
        self.world.supervise("coordinator", self._coordinator)
        problem = await self._until_the_end()
        if problem is not None:
            return problem
        self.visits = Counter(self.faults.visits)
        await self._until_quiet()
        record = self._record()
        assert record is not None, "it has ended"
        self.status = record.status
        end = End(
            saga_id=record.saga_id,
            status=record.status,
            cause=record.state.cause,
            faults=self.faults.met,
            calls=self.calls.made,
            outside=self._outside,
            tables=self.tables,
        )
        checked = check(end) if check is not None else None
        if inspect.isawaitable(checked):
            await checked
        return None

    async def _coordinator(self, stop: asyncio.Event) -> bool:
        async with Coordinator(
            [self._saga],
            store=self.world.store,
            transport=SimulatedTransport(self.world.broker),
            name=COORDINATOR,
            poll_seconds=POLL_SECONDS,
            lease_seconds=LEASE_SECONDS,
            ask_seconds=ASK_SECONDS,
            undo_ready=self._undo_ready,
        ) as coordinator:
            while self._record() is None:
                try:
                    await coordinator.start(self._saga, self._input, key=KEY)
                except Unavailable:
                    await asyncio.sleep(1.0)
            await stop.wait()
        return False

    def _worker(self, participant: Any) -> Callable[[asyncio.Event], Any]:
        async def main(stop: asyncio.Event) -> bool:
            async with serve(
                participant,
                transport=SimulatedTransport(self.world.broker),
                transactions=self.world.databases[participant.name],
            ):
                await stop.wait()
            return False

        return main

    def _record(self) -> SagaRecord | None:
        return next(iter(self.world.store.tables.sagas.values()), None)

    async def _until_the_end(self) -> str | None:
        helped = 0
        while True:
            record = self._record()
            if record is not None and record.state.ended:
                return None
            if record is not None and record.status is SagaStatus.STUCK:
                if helped == HELP_MAX:
                    return self._beyond_help(record)
                if await self._help(record):
                    helped += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _help(self, record: SagaRecord) -> bool:
        """What a person does: try again what is stuck."""
        operator = Operator(self.world.store, "the explorer")
        helped = False
        for step, both in by_name(self._saga.plan, record.state).items():
            for operation in Operation:
                if both.op(operation).status is OpStatus.STUCK:
                    try:
                        await operator.retry(record.saga_id, reason="it may work now", step=step)
                        helped = True
                    except (NotPossible, Unavailable):
                        continue
        return helped

    def _beyond_help(self, record: SagaRecord) -> str:
        stuck = [
            f"{step} ({operation})"
            for step, both in by_name(self._saga.plan, record.state).items()
            for operation in Operation
            if both.op(operation).status is OpStatus.STUCK
        ]
        errors = [entry.error for entry in self.world.store.tables.journal[record.saga_id] if entry.error is not None]
        told = f"; the last error is {errors[-1].words}" if errors else ""
        return f"it is stuck for ever at {', '.join(stuck)}: {HELP_MAX} retries by a person were of no use{told}"

    async def _until_quiet(self) -> None:
        """Let what is still on its way arrive, and what stands still go on."""
        await asyncio.sleep(QUIET_SECONDS)
        while not self.world.broker.idle or self.world.processes.any_paused:  # noqa: ASYNC110  # in the time of the world
            await asyncio.sleep(LOOK_SECONDS)


def _reason(error: AssertionError) -> str:
    text = str(error)
    return text.splitlines()[0] if text else "the check failed"


def play(
    saga: Saga[Any],
    saga_input: Any,
    services: Sequence[Service[Any]],
    faults: Sequence[Fault],
    *,
    check: Check | None,
    begin: Callable[[], Any] | None,
    undo_ready: UndoReady = UndoReady.BEFORE_PIVOT,
    told: bool = False,
) -> Told:
    """Play one history."""
    log = logging.getLogger("sagaflow")
    disabled, log.disabled = log.disabled, True
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    outside = None if begin is None else begin()
    history = History(saga, saga_input, services, faults, outside=outside, undo_ready=undo_ready, told=told)
    try:
        problem = history.play(check)
        return Told(
            faults=faults,
            visits=history.visits,
            status=history.status,
            problem=problem,
            story=history.story,
            calls=history.calls.made,
            met=history.faults.met,
        )
    finally:
        history.end()
        log.disabled = disabled
        log.setLevel(level)
