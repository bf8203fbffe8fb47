"""The coordinator: starts sagas and drives them. Any number of processes may run one under the same name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from sagaflow.core.plan import is_name
from sagaflow.core.state import SETTLED, Cause, SagaStatus
from sagaflow.definitions import ids, logs, payloads
from sagaflow.definitions.health import Health
from sagaflow.definitions.limits import ADDRESS_LENGTH_MAX
from sagaflow.definitions.messages import (
    Announcement,
    CancelRequest,
    Notice,
    OutcomeRequest,
    Reply,
    Request,
    StartRequest,
)
from sagaflow.definitions.observing import NOBODY, Observer
from sagaflow.definitions.ports import Address, QueueKind, SagaStore, Transport
from sagaflow.definitions.records import NO_PROCESS, Due, SagaRecord, Watcher
from sagaflow.definitions.retention import Retention
from sagaflow.definitions.saga import Replies, Saga
from sagaflow.definitions.surroundings import current
from sagaflow.errors import DefinitionError, PayloadError, SagaNotFound, Unavailable
from sagaflow.runners.commands import SagaCode, StoredPayloads
from sagaflow.runners.dead import DeadLetters
from sagaflow.runners.engine import Engine, Released, ReplyArrived, Start, Woken, first_turn, same_or_conflict
from sagaflow.runners.health import Vitals
from sagaflow.runners.intake import Intake
from sagaflow.runners.lookups import Lookups
from sagaflow.runners.operator import Operator
from sagaflow.runners.outbox import Outbox
from sagaflow.runners.readiness import Readiness, UndoReady
from sagaflow.runners.receipts import Receipt
from sagaflow.runners.reporting.making import report_on
from sagaflow.runners.reporting.reports import SagaReport
from sagaflow.runners.requests import Requests, Standing
from sagaflow.runners.roll_call import RollCall
from sagaflow.runners.starting import new_start, own_traceparent
from sagaflow.runners.telling import Guarded, Tales
from sagaflow.runners.upkeep import Upkeep
from sagaflow.runners.watches import Watches, watch

InputT = TypeVar("InputT")

PREFETCH = 20
"""Bodies that a coordinator holds unacknowledged; each has up to 50 replies."""

GRACE_SECONDS = 10.0
"""How long a stopping coordinator tries to finish what it has taken."""


@dataclass(frozen=True)
class Outcome:
    """How a saga stands when it has ended or is stuck; `replies[step]` is what its steps have returned."""

    saga_id: UUID
    status: SagaStatus
    cause: Cause | None
    trace_id: str
    replies: Replies


class Run(Generic[InputT]):
    """One saga that was started."""

    def __init__(self, coordinator: Coordinator, record: SagaRecord) -> None:
        self._coordinator = coordinator
        self.saga_id = record.saga_id
        self.saga = record.saga
        self.key = record.key
        self.trace_id = ids.trace_id(record.traceparent)

    def __repr__(self) -> str:
        return f"<run {self.saga_id} of saga {self.saga}, key {self.key!r}>"

    async def outcome(self, timeout: float | None = None) -> Outcome:
        """Wait until the saga has ended or is stuck.

        Args:
            timeout: seconds to wait at most; the saga goes on whether somebody waits or not.

        Raises:
            TimeoutError: it is still on its way.
        """
        return await self._coordinator.outcome(self.saga_id, timeout=timeout)

    async def cancel(self, *, reason: str, actor: str = "program") -> SagaStatus:
        """Have the saga undone; see `Operator.cancel`."""
        return await self._coordinator.operator(actor).cancel(self.saga_id, reason=reason)


class Coordinator:
    """Starts sagas and drives them until they end. An async context manager; leaving it stops gracefully,
    and open sagas go on when the next one of its name runs.

    Args:
        sagas: the sagas that this process has the code of. Several versions of one may be given.
        store: where their state is kept.
        transport: how participants are reached. It is entered and left with the coordinator.
        name: all processes of one name share the work on the sagas in one store. Replies come to a queue
            of this name, so it must be the only one of its kind at the broker. Left out, the name of the
            saga, if there is just one.
        poll_seconds: how often the agenda is looked at for timers that are due.
        lease_seconds: how long after the death of a process others take over what it had in flight.
        undo_ready: before which steps it must be known that somebody serves the undos that a saga may need. What
            is not served holds the step up, and is logged; see `UndoReady`.
        ask_seconds: how often participants are asked what they serve. Who has not answered for three times as long
            does not count as there.
        observer: who is told what runs, such as `OpenTelemetryObserver` (docs/observability.md). Left out: nobody.

        retention: how long sagas are kept that have ended; once an hour the others are deleted, in small batches and
            with pauses. Left out, all are kept for ever.

    Raises:
        DefinitionError: a saga is unsound, or a name is missing.

    Entering raises `Unavailable` if the database or the broker cannot be reached and `SchemaError` if the
    tables are not there.
    """

    def __init__(
        self,
        sagas: Sequence[Saga[Any]],
        *,
        store: SagaStore,
        transport: Transport,
        name: str | None = None,
        poll_seconds: float = 0.5,
        lease_seconds: float = 10.0,
        undo_ready: UndoReady = UndoReady.BEFORE_PIVOT,
        ask_seconds: float = 10.0,
        observer: Observer = NOBODY,
        retention: Retention | None = None,
    ) -> None:
        if ask_seconds <= 0:
            raise DefinitionError(f"ask_seconds is {ask_seconds}; it must be more than 0")
        self.name = coordinator_name(sagas, name)
        self._process = ids.new_id()
        self._store = store
        self._transport = transport
        self._code = SagaCode(sagas)
        self._outbox = Outbox(transport)
        self._told = observer
        self._observer = Guarded(observer)
        self._tales = Tales(store, self._observer)
        self._watches = Watches(store, str(self._process))
        self._lookups = Lookups(store)
        self._upkeep = Upkeep(
            name=self.name,
            process=self._process,
            store=store,
            wake=self._wake,
            poll_seconds=poll_seconds,
            lease_seconds=lease_seconds,
            observer=self._observer,
            retention=retention,
        )
        self._undo_ready = UndoReady(undo_ready)
        self._roll_call = RollCall(
            self._code.plans.values(),
            answers=str(self._process),
            store=store,
            transport=transport,
            ask_seconds=ask_seconds,
            appeared=lambda participant: self._readiness.appeared(participant),
        )
        self._readiness = Readiness(self._undo_ready, live=self._roll_call.live, wake=self._release)
        self._engine = Engine(
            name=self.name,
            process=self._process,
            host=current().host(),
            store=store,
            code=self._code,
            outbox=self._outbox,
            watches=self._watches,
            expect=self._upkeep.expect,
            put_aside=lambda reply, reason, receipt: self._replies.put_aside(reply, reason, receipt),
            readiness=self._readiness,
            learn=self._roll_call.learn,
            observer=self._observer,
            tales=self._tales,
        )
        self._requests = Requests(self._outbox, start=self._start_for, watch=self._watch_for, cancel=self._cancel_for)
        self._answers: Intake[Notice | Announcement] = self._intake(
            Notice | Announcement, QueueKind.ANSWERS, str(self._process), self._answered
        )
        self._asked: Intake[Request] = self._intake(Request, QueueKind.REQUESTS, self.name, self._requests.take)
        self._replies: Intake[Reply] = self._intake(Reply, QueueKind.REPLIES, self.name, self._replied)
        self._dead = [self._dead_letters(Request, QueueKind.REQUESTS), self._dead_letters(Reply, QueueKind.REPLIES)]
        self._vitals = Vitals(
            store.check,
            transport,
            {
                "the engine": lambda: self._engine.inputs.is_open,
                "the outbox": lambda: self._outbox.is_open,
                "the upkeep": lambda: self._upkeep.is_open,
            },
        )
        self._closing = AsyncExitStack()
        self._entered = False
        self._all_sent = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a coordinator is entered once; make another to run it again")
        self._entered = True
        async with AsyncExitStack() as stack:
            await self._store.check()
            await stack.enter_async_context(self._transport)
            await self._store.add_plans(list(self._code.plans.values()))
            stack.push_async_callback(self._give_up_lease)
            stack.push_async_callback(self._outbox.abort)
            self._engine.inputs.open()
            stack.push_async_callback(self._engine.inputs.abort)
            self._tales.open()
            stack.push_async_callback(self._tales.abort)
            self._lookups.open()
            stack.push_async_callback(self._lookups.close)
            self._watches.open()
            stack.push_async_callback(self._watches.close)
            stack.push_async_callback(self._readiness.close)
            await self._answers.open(PREFETCH)
            stack.push_async_callback(self._answers.close)
            if self._undo_ready is not UndoReady.NOT_ASKED:  # first of all, so that the first saga finds it known
                self._roll_call.open()
            stack.push_async_callback(self._roll_call.close)
            await self._upkeep.open()
            stack.push_async_callback(self._upkeep.close)
            for dead in self._dead:
                await dead.open()
                stack.push_async_callback(dead.close)
            for intake in (self._asked, self._replies):
                await intake.open(PREFETCH)
                stack.push_async_callback(intake.close)
            stack.push_async_callback(self._finish)
            self._closing = stack.pop_all()
        self._vitals.started()
        names = ", ".join(sorted({plan.saga for plan in self._code.plans.values()}))
        logs.COORDINATOR_RUNNING.write(coordinator=self.name, sagas=names, host=current().host())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._vitals.stopping()
        try:
            await self._closing.aclose()
        finally:
            await self._vitals.stopped()
        logs.COORDINATOR_STOPPED.write(coordinator=self.name)

    async def _finish(self) -> None:
        """Take nothing more, and finish what was taken, as far as the servers let it."""
        await self._upkeep.close()
        await self._roll_call.close()
        await self._readiness.close()
        for dead in self._dead:
            await dead.stop()
        for intake in (self._asked, self._replies):
            await intake.stop()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._engine.inputs.close()
                await self._outbox.close()
                self._all_sent = True
                await self._tales.close()
        except TimeoutError:
            logs.COORDINATOR_CUT_SHORT.write(coordinator=self.name)
        await self._requests.close()
        await self._answers.stop()

    async def _give_up_lease(self) -> None:
        resend = not (self._all_sent and self._transport.durable)
        try:
            await self._store.drop_lease(self.name, self._process, resend=resend)
        except Unavailable as error:
            logs.LEASE_LEFT.write(error=error)

    # What users call.

    async def start(
        self, saga: Saga[InputT], saga_input: InputT, *, key: str, tx: object = None, traceparent: str | None = None
    ) -> Run[InputT]:
        """Start a saga, once for each (saga, key): called again with the same input it returns the same run.

        Args:
            saga: which one; must be among those that the coordinator was given.
            saga_input: its input.
            key: the caller's own name for this run, such as the number of the order.
            tx: a connection of the store's kind with a transaction open. The saga then begins if and when
                the caller commits it.
            traceparent: the W3C traceparent of the caller, to have the saga in the same trace. Left out, it is that of
                the span that the observer says the running task is in.

        Raises:
            ConflictError: the key was used with other input.
            PayloadError: the input cannot be encoded, or is over the limit.
            Unavailable: the store could not be reached; only with `tx`, otherwise it is tried until it can.
        """
        start = self._new(saga, saga_input, key, traceparent)
        record = await (self._start_alone(start) if tx is None else self._start_within(start, tx))
        return Run(self, record)

    async def start_many(self, saga: Saga[InputT], inputs: Mapping[str, InputT]) -> Sequence[Run[InputT]]:
        """Start one saga for each key, in few transactions.

        Raises:
            ExceptionGroup: of a `ConflictError` for each key that was used with other input; the others
                are started.
        """
        starts = [self._new(saga, saga_input, key, None) for key, saga_input in inputs.items()]
        records = await asyncio.gather(*(self._start_alone(start) for start in starts), return_exceptions=True)
        errors = [record for record in records if isinstance(record, Exception)]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(starts)} sagas were not started", errors)
        return [Run(self, record) for record in records if isinstance(record, SagaRecord)]

    async def outcome(self, saga_id: UUID, *, timeout: float | None = None) -> Outcome:
        """Wait until a saga has ended or is stuck; see `Run.outcome`."""
        async with asyncio.timeout(timeout):
            status, found = await self._watches.wait(saga_id)
            record, payloads_of_saga = found or await self._lookups.find(saga_id)
        return Outcome(
            saga_id=saga_id,
            status=record.status if record.state.ended else status,
            cause=record.state.cause,
            trace_id=ids.trace_id(record.traceparent),
            replies=Replies.of_encoded(StoredPayloads(payloads_of_saga).results()),
        )

    async def run(self, saga_id: UUID) -> Run[Any]:
        """A saga that was started before, by anyone.

        Raises:
            SagaNotFound: there is none of this id.
        """
        records = await self._store.find([saga_id])
        if not records:
            raise SagaNotFound(f"there is no saga {saga_id}")
        return Run(self, records[0])

    async def report(self, saga_id: UUID) -> SagaReport:
        """What happened to a saga, what is undone, what is owed, and what to type; see `sagaflow why`.

        It is made from the journal alone, so it needs no process that took part.

        Raises:
            SagaNotFound: there is no such saga.
        """
        return await report_on(self._store, saga_id)

    async def health(self) -> Health:
        """Whether this process lives and is ready, and why not. It asks the database, at most once a second, and
        answers within a second whatever that does; see docs/observability.md for Kubernetes."""
        return await self._vitals.health()

    def operator(self, actor: str) -> Operator:
        """What a person can do about sagas, in the name of `actor`."""
        return Operator(self._store, actor, tell=self._repaired, observer=self._told)

    # How it is done.

    def _intake(self, kind: Any, queue: QueueKind, name: str, take: Callable[[Any, Receipt], None]) -> Intake[Any]:
        return Intake(
            kind,
            Address(queue, name),
            take=take,
            keep=self._store.put_aside,
            transport=self._transport,
            observer=self._observer,
        )

    def _dead_letters(self, kind: Any, queue: QueueKind) -> DeadLetters[Any]:
        """Nobody is answered: a saga whose reply is lost asks again by itself, and so does a client."""
        return DeadLetters(
            kind,
            Address(queue, self.name),
            keep=self._store.put_aside,
            transport=self._transport,
            observer=self._observer,
        )

    def _repaired(self, saga_id: UUID, status: SagaStatus, watchers: Sequence[Watcher]) -> None:
        self._upkeep.nudge()
        self._engine.tell({saga_id: status} if status in SETTLED else {}, watchers)

    async def _wake(self, due: Due) -> None:
        await self._engine.inputs.has_room()
        self._engine.inputs.put(Woken(due.saga_id, due.resend))

    def _replied(self, reply: Reply, receipt: Receipt) -> None:
        self._engine.inputs.put(ReplyArrived(reply, receipt))

    async def _release(self, saga_id: UUID) -> None:
        await self._engine.inputs.has_room()
        self._engine.inputs.put(Released(saga_id))

    def _answered(self, message: Notice | Announcement, receipt: Receipt) -> None:
        match message:
            case Notice():
                self._watches.settled(message.saga_id, message.status)
            case Announcement():
                self._roll_call.hear(message)
        receipt.done()

    def _new(self, saga: Saga[InputT], saga_input: InputT, key: str, traceparent: str | None) -> Start:
        if self._code.of(saga.plan) is not saga:
            raise DefinitionError(f"saga {saga.name} version {saga.version} was not given to this coordinator")
        return self._new_encoded(saga, payloads.encode(saga_input), key, traceparent)

    def _new_encoded(self, saga: Saga[Any], encoded: bytes, key: str, traceparent: str | None) -> Start:
        return new_start(
            saga,
            encoded,
            key=key,
            coordinator=self.name,
            traceparent=lambda saga_id: self._traceparent_for(saga.name, saga_id, traceparent),
        )

    def _traceparent_for(self, saga: str, saga_id: UUID, caller: str | None) -> str:
        """That of the caller; or of a new trace, of which the saga itself is the first span."""
        caller = caller if caller is not None else self._observer.current_traceparent()
        if caller is None:
            own = own_traceparent(saga_id)
            return own if self._observer.is_sampled(saga, own) else ids.unsampled(own)
        try:
            ids.trace_id(caller)
        except ValueError as error:
            raise PayloadError(str(error)) from error
        return caller

    async def _start_alone(self, start: Start) -> SagaRecord:
        await self._engine.inputs.has_room()
        self._engine.inputs.put(start)
        return await start.accepted

    async def _start_within(self, start: Start, connection: object) -> SagaRecord:
        tx = self._store.enlist(connection)
        turn = first_turn(start, tx.now, self._engine.origin)
        turn.leave_sending_to_others()
        change = turn.change()
        existing = await tx.insert([change], NO_PROCESS)
        self._upkeep.nudge()
        return same_or_conflict(start, existing[0] if existing else change.record)

    # Requests over the broker.

    async def _start_for(self, request: StartRequest) -> Standing:
        saga = self._code.latest(request.saga)
        if saga is None:
            raise SagaNotFound(f"coordinator {self.name} has no saga {request.saga!r}")
        encoded = bytes(request.input)
        saga.input_type.decode(encoded)
        record = await self._start_alone(self._new_encoded(saga, encoded, request.key, request.traceparent))
        return record.saga_id, record.status

    async def _watch_for(self, request: OutcomeRequest) -> Standing:
        if len(request.reply_to) > ADDRESS_LENGTH_MAX or not request.reply_to.isprintable():
            raise PayloadError("`reply_to` cannot name a queue of answers")
        records = await watch(self._store, [Watcher(request.saga_id, request.reply_to)])
        if not records:
            raise SagaNotFound(f"there is no saga {request.saga_id}")
        return records[0].saga_id, records[0].status

    async def _cancel_for(self, request: CancelRequest) -> Standing:
        operator = self.operator(request.actor[:ADDRESS_LENGTH_MAX])
        return request.saga_id, await operator.cancel(request.saga_id, reason=request.reason)


def coordinator_name(sagas: Sequence[Saga[Any]], name: str | None) -> str:
    """The name that coordinators of these sagas bear: the one that is given, or that of the only saga.

    Raises:
        DefinitionError: several sagas and no name, or one that cannot be.
    """
    if name is None:
        names = {saga.name for saga in sagas}
        if len(names) != 1:
            raise DefinitionError("a coordinator of several sagas needs a name, such as name='orders'")
        (name,) = names
    if not is_name(name):
        raise DefinitionError(f"{name!r} cannot name a coordinator; use lower case letters, digits, '_', '-' and '.'")
    return name
