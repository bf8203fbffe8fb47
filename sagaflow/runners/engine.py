"""The engine: takes what has happened to many sagas, and makes one transaction of it.

Load and lock the sagas, let each take its turn, write all of them, commit; then publish the commands; then
acknowledge the replies. Nothing is kept in memory between two batches but plans, which never change.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from sagaflow.core.effects import IgnoredBecause
from sagaflow.core.events import Event, Failed, Refused, Started, Succeeded, Unserved
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import SETTLED, OpStatus, SagaStatus
from sagaflow.definitions import ids, logs
from sagaflow.definitions.crash_points import crash_point
from sagaflow.definitions.limits import (
    HOST_LENGTH_MAX,
    PAYLOAD_BYTES_MAX,
    RETRY_AFTER_SECONDS_MAX,
    TRACEPARENT_LENGTH,
)
from sagaflow.definitions.messages import ErrorInfo, Notice, Reply, ReplyOutcome, write
from sagaflow.definitions.observing import Moved
from sagaflow.definitions.ports import Address, Letter, LoneTransaction, Overtaken, QueueKind, SagaStore
from sagaflow.definitions.records import NO_PROCESS, Change, Payload, SagaRecord, Watcher
from sagaflow.errors import ConflictError, Locked, Unavailable
from sagaflow.runners.batches import Batcher, until_available
from sagaflow.runners.commands import SagaCode, StoredPayloads, make_letters
from sagaflow.runners.lookups import Found
from sagaflow.runners.outbox import Outbox
from sagaflow.runners.readiness import Readiness
from sagaflow.runners.receipts import Receipt
from sagaflow.runners.telling import Guarded, Tales
from sagaflow.runners.turns import Turn
from sagaflow.runners.watches import Watches

INPUTS_BATCH_MAX = 200

NONE_FOUND: Final[Mapping[UUID, Found]] = {}

UNSERVED_RETRY_SECONDS = 1.0
LOCKED_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """A new saga, not yet written: its record at version 0 and its input."""

    record: SagaRecord
    plan: Plan
    saga_input: Payload
    accepted: asyncio.Future[SagaRecord]


@dataclass(frozen=True, slots=True)
class ReplyArrived:
    """A participant has answered."""

    reply: Reply
    receipt: Receipt

    @property
    def saga_id(self) -> UUID:
        """The saga that it is for."""
        return self.reply.saga_id


@dataclass(frozen=True, slots=True)
class Woken:
    """The agenda has come to a saga."""

    saga_id: UUID
    resend: bool


@dataclass(frozen=True, slots=True)
class Released:
    """What a saga was held for may be there now."""

    saga_id: UUID


Happened = ReplyArrived | Woken | Released
Input = Start | Happened


@dataclass
class _Batch:
    """What one transaction gathers, to be acted upon once it is committed."""

    letters: list[Letter] = field(default_factory=list)
    strays: list[tuple[ReplyArrived, str]] = field(default_factory=list)
    """Replies that must not count, and why."""
    settled: dict[UUID, SagaStatus] = field(default_factory=dict)
    found: dict[UUID, Found] = field(default_factory=dict)
    """Of these, the ones that somebody here waits for, with all of their payloads."""
    wake_after_seconds: list[float] = field(default_factory=list)
    watchers: Sequence[Watcher] = ()
    moves: list[Moved] = field(default_factory=list)
    repeated: int = 0
    """Replies that were known already."""
    accepted: Sequence[tuple[Start, SagaRecord]] = ()
    newly_settled: list[Turn] = field(default_factory=list)
    left_behind: list[tuple[Turn, Reply]] = field(default_factory=list)
    """Replies that say what was done of sagas that have ended without it."""


class _UnknownPlans(Exception):
    """Sagas of plans that this process has not seen; they are loaded outside of the transaction."""

    def __init__(self, hashes: Sequence[str]) -> None:
        super().__init__(f"no plan is stored under {', '.join(hashes)}")
        self.hashes = hashes


class Engine:
    """Deals with inputs in batches.

    `name` is the coordinator's, `process` this process's identity; `expect` is told in how many seconds a
    saga has to be looked at again; `put_aside` keeps a reply that must not count, with the reason; `learn` is told of
    plans that were found in the store.
    """

    def __init__(
        self,
        *,
        name: str,
        process: UUID,
        host: str,
        store: SagaStore,
        code: SagaCode,
        outbox: Outbox,
        watches: Watches,
        expect: Callable[[float], None],
        put_aside: Callable[[Reply, str, Receipt], None],
        readiness: Readiness,
        learn: Callable[[Plan], None],
        observer: Guarded,
        tales: Tales,
    ) -> None:
        self._name = name
        self._process = process
        self.origin = f"coordinator {name}@{host}"
        self._store = store
        self._code = code
        self._outbox = outbox
        self._watches = watches
        self._expect = expect
        self._put_aside = put_aside
        self._readiness = readiness
        self._learn = learn
        self._observer = observer
        self._tales = tales
        self._plans: dict[str, Plan] = dict(code.plans)
        self.inputs: Batcher[Input] = Batcher("engine", self._work, INPUTS_BATCH_MAX, forsake=_forsake)

    async def _work(self, inputs: Sequence[Input], *, again: bool = False) -> None:
        """One transaction; `again` says that one for these inputs may have been committed before."""
        await self._outbox.has_room()
        crash_point("engine.before_transaction")
        before = itertools.count(int(again))
        try:
            batch = await until_available(
                "the store", lambda: self._with_plans(inputs, again=next(before) > 0), but=Locked
            )
        except Exception as error:  # noqa: BLE001  # a batch shares no fate: find the one that is at fault
            if len(inputs) == 1:
                self._give_up(inputs[0], error)
                return
            logs.BATCH_PARTED.write(error=error, count=len(inputs))
            for one in inputs:
                await self._work([one], again=True)
            return
        self._act(inputs, batch)

    def _give_up(self, one: Input, error: Exception) -> None:
        if isinstance(error, Locked):
            asyncio.get_running_loop().call_later(LOCKED_RETRY_SECONDS, self.inputs.put, one)
            return
        match one:
            case Start():
                _refuse(one, error)
            case ReplyArrived():
                logs.REPLY_FAILED.write(one.reply, error=error)
                self._put_aside(one.reply, logs.reason(error), one.receipt)  # its text may quote the row
            case Woken() | Released():
                logs.SAGA_NOT_WOKEN.write(error=error, saga_id=one.saga_id)

    async def _transact(self, inputs: Sequence[Input], *, again: bool) -> _Batch:
        if not again and _is_little(inputs):
            with suppress(Overtaken):  # nothing is written then, and the next one waits for who was faster
                return await self._transact_alone(inputs)
        batch = _Batch()
        async with self._store.transaction() as tx:
            await self._begin(tx, _starts(inputs), batch)
            happened = [one for one in inputs if not isinstance(one, Start)]
            if happened:
                written, resent = await self._go_on(tx, happened, batch, again=again)
                if written:
                    batch.watchers = await tx.save(written, self._process)
                if resent:
                    saga_ids, wake_at = [turn.record.saga_id for turn in resent], [turn.wake_at for turn in resent]
                    await tx.resent(saga_ids, wake_at, self._process)
            crash_point("engine.before_commit")
        return batch

    async def _transact_alone(self, inputs: Sequence[Input]) -> _Batch:
        batch = _Batch()
        async with self._store.alone() as tx:
            replies = [one for one in inputs if isinstance(one, ReplyArrived)]
            written, _ = await self._go_on(tx, replies, batch, again=False) if replies else ((), ())
            crash_point("engine.before_lone_write")
            await self._begin(tx, _starts(inputs), batch)
            if written:
                batch.watchers = await tx.save(written, self._process)
        return batch

    async def _with_plans(self, inputs: Sequence[Input], *, again: bool) -> _Batch:
        try:
            return await self._transact(inputs, again=again)
        except _UnknownPlans as unknown:
            for plan in await self._store.plans(unknown.hashes):
                self._plans[plan.hash] = plan
                self._learn(plan)
            return await self._transact(inputs, again=again)

    def _act(self, inputs: Sequence[Input], batch: _Batch) -> None:
        """The transaction is committed: tell everybody."""
        crash_point("engine.committed")
        if batch.accepted:
            crash_point("engine.start_committed")
        for start, record in batch.accepted:
            if record.saga_id == start.record.saga_id:
                self._watches.follow(record.saga_id)
                logs.SAGA_STARTED.write(record)
            _accept(start, record)
        if batch.wake_after_seconds:
            self._expect(min(batch.wake_after_seconds))
        self.tell(batch.settled, batch.watchers, batch.found)
        for stray, reason in batch.strays:
            self._put_aside(stray.reply, reason, stray.receipt)
        strays = {id(stray) for stray, _ in batch.strays}
        taken = [one.receipt for one in inputs if isinstance(one, ReplyArrived) and id(one) not in strays]
        self._outbox.put(batch.letters, taken)
        self._observe(batch)
        for turn in batch.newly_settled:
            _log_what_became_of(turn)
        for turn, reply in batch.left_behind:
            logs.SAGA_LEFT_BEHIND.write(reply, saga=turn.record.saga)

    def _observe(self, batch: _Batch) -> None:
        if batch.moves:
            self._observer.sagas_moved(batch.moves)
            self._tales.note(batch.moves)
        if batch.repeated:
            self._observer.messages_repeated(self._name, batch.repeated)

    def tell(
        self, settled: Mapping[UUID, SagaStatus], watchers: Sequence[Watcher], found: Mapping[UUID, Found] = NONE_FOUND
    ) -> None:
        """Tell those who wait for sagas, here and elsewhere, that these have ended or are stuck. Who waits here is
        given those that were `found`."""
        for saga_id, status in settled.items():
            self._watches.settled(saga_id, status, found.get(saga_id))
        elsewhere = [watcher for watcher in watchers if watcher.address != self._watches.address]
        self._outbox.put([_notice(watcher, settled[watcher.saga_id]) for watcher in elsewhere])

    # Sagas that begin.

    async def _begin(self, tx: LoneTransaction, starts: Sequence[Start], batch: _Batch) -> None:
        if not starts:
            return
        first: dict[tuple[str, str], Start] = {}
        for start in starts:
            first.setdefault((start.record.saga, start.record.key), start)
        turns = {start.record.saga_id: self._first_turn(tx.now, start) for start in first.values()}
        changes = [replace(change, watcher=self._watches.address) for _, change, _ in turns.values()]
        existing = await tx.insert(changes, self._process)
        taken = {(record.saga, record.key): record for record in existing}
        for place, start in first.items():
            turn, change, letters = turns[start.record.saga_id]
            stored = taken.setdefault(place, change.record)
            if stored.saga_id == start.record.saga_id and stored.state == change.record.state:
                batch.letters.extend(letters)  # not those of another state, which an earlier try has committed
                self._note(turn, change, batch)
        batch.accepted = [(start, taken[start.record.saga, start.record.key]) for start in starts]

    def _first_turn(self, now: datetime, start: Start) -> tuple[Turn, Change, Sequence[Letter]]:
        turn = first_turn(start, now, self.origin)
        letters = self._letters(turn, [start.saga_input])
        return turn, turn.change(), letters

    # Sagas that go on.

    async def _go_on(
        self, tx: LoneTransaction, inputs: Sequence[Happened], batch: _Batch, *, again: bool
    ) -> tuple[Sequence[Change], Sequence[Turn]]:
        """What is to be written; and those of which nothing is, but what they have in flight is sent again."""
        by_saga: dict[UUID, list[Happened]] = defaultdict(list)
        for one in inputs:
            by_saga[one.saga_id].append(one)
        records = await tx.load(list(by_saga))
        unknown = {record.plan_hash for record in records} - self._plans.keys()
        if unknown:
            raise _UnknownPlans(sorted(unknown))
        turns = {record.saga_id: Turn(record, self._plans[record.plan_hash], tx.now) for record in records}
        for turn in turns.values():
            if turn.record.owner in (None, NO_PROCESS):
                turn.begin_time()
        for saga_id, happened in by_saga.items():
            for one in happened:
                self._take(turns.get(saga_id), one, batch)
        for turn in turns.values():
            if again or turn.record.owner != self._process:  # it may never have gone out
                turn.send_again()
        batch.letters.extend(await self._all_letters(tx, turns))
        written = []
        for turn in turns.values():
            change = turn.change() if turn.has_news else None
            self._note(turn, change, batch)
            if change is not None:
                written.append(change)
        return written, [turn for turn in turns.values() if turn.woken and not turn.has_news]

    def _take(self, turn: Turn | None, one: Happened, batch: _Batch) -> None:
        match one:
            case Woken():
                if turn is not None:
                    turn.wake(self.origin)
                    if one.resend:  # the process that held it may be gone
                        turn.retry_deferred(self.origin, self._readiness.concerns)
            case Released():
                if turn is not None:
                    turn.retry_deferred(self.origin, self._readiness.concerns)
            case ReplyArrived():
                reason = "no saga has this id" if turn is None else why_foreign(turn, one.reply)
                if turn is None or reason is not None:
                    batch.strays.append((one, reason or ""))
                else:
                    if apply_reply(turn, one.reply) is IgnoredBecause.DUPLICATE:
                        batch.repeated += 1
                    if _leaves_behind(turn, one.reply):
                        batch.left_behind.append((turn, one.reply))

    async def _all_letters(self, tx: LoneTransaction, turns: Mapping[UUID, Turn]) -> list[Letter]:
        reading = [turn for turn in turns.values() if turn.to_send or self._is_outcome(turn)]
        if not reading:
            return []
        stored: dict[UUID, list[Payload]] = defaultdict(list)
        for payload in await tx.payloads([turn.record.saga_id for turn in reading]):
            stored[payload.saga_id].append(payload)
        for turn in reading:
            turn.stored = stored[turn.record.saga_id]
        return [
            letter
            for turn in reading
            if turn.to_send
            for letter in self._letters(turn, [*stored[turn.record.saga_id], *turn.payloads])
        ]

    def _is_outcome(self, turn: Turn) -> bool:
        return turn.state.status in SETTLED and self._watches.is_awaited(turn.record.saga_id)

    def _letters(self, turn: Turn, payloads: Sequence[Payload]) -> Sequence[Letter]:
        return make_letters(
            turn,
            StoredPayloads(payloads),
            self._code,
            hold=self._readiness.hold,
            reply_to=self._name,
            origin=self.origin,
        )

    def _note(self, turn: Turn, change: Change | None, batch: _Batch) -> None:
        status = turn.state.status
        if change is not None and self._observer.is_anybody:
            batch.moves.append(Moved(turn.record, change.record, turn.plan, change.journal, turn.now))
        if turn.wake_at is not None:
            batch.wake_after_seconds.append((turn.wake_at - turn.now).total_seconds())
        if status in SETTLED:
            batch.settled[turn.record.saga_id] = status
            if turn.stored is not None and self._is_outcome(turn):
                record = turn.record if change is None else change.record
                batch.found[record.saga_id] = record, [*turn.stored, *turn.payloads]
            if status is not turn.record.status:
                batch.newly_settled.append(turn)


def _starts(inputs: Sequence[Input]) -> Sequence[Start]:
    return [one for one in inputs if isinstance(one, Start)]


def _is_little(inputs: Sequence[Input]) -> bool:
    """Whether it is worth no transaction of several statements: sagas that begin, or replies to one."""
    if isinstance(inputs[0], Start):
        return all(isinstance(one, Start) for one in inputs)
    first = inputs[0].saga_id
    return all(isinstance(one, ReplyArrived) and one.saga_id == first for one in inputs)


def _leaves_behind(turn: Turn, reply: Reply) -> bool:
    return reply.outcome is ReplyOutcome.SUCCEEDED and turn.leaves_behind(reply.step, reply.operation)


def _log_what_became_of(turn: Turn) -> None:
    match turn.state.status:
        case SagaStatus.COMPLETED:
            logs.SAGA_COMPLETED.write(turn.record)
        case SagaStatus.COMPENSATED:
            logs.SAGA_UNDONE.write(turn.record, cause=turn.state.cause)
        case SagaStatus.STUCK:
            step, operation = next(
                (planned.name, operation)
                for planned, known in zip(turn.plan.steps, turn.state.steps, strict=True)
                for operation in Operation
                if known.op(operation).status is OpStatus.STUCK
            )
            logs.SAGA_STUCK.write(turn.record, step=step, operation=operation)


def _notice(watcher: Watcher, status: SagaStatus) -> Letter:
    return Letter(Address(QueueKind.ANSWERS, watcher.address), write(Notice(saga_id=watcher.saga_id, status=status)))


def _accept(start: Start, record: SagaRecord) -> None:
    try:
        same = same_or_conflict(start, record)
    except ConflictError as error:
        _refuse(start, error)
        return
    if not start.accepted.done():  # otherwise who asked has gone
        start.accepted.set_result(same)


def _refuse(start: Start, error: Exception) -> None:
    if not start.accepted.done():
        start.accepted.set_exception(error)


def _forsake(one: Input) -> None:
    """The coordinator stops; replies come again elsewhere, and sagas are woken there."""
    if isinstance(one, Start):
        _refuse(one, Unavailable("the coordinator has stopped before the saga was started; start it again"))


def first_turn(start: Start, now: datetime, origin: str) -> Turn:
    """The turn in which a saga begins."""
    turn = Turn(start.record, start.plan, now)
    turn.keep(start.saga_input)
    turn.apply(Started(), origin=origin, traceparent=start.record.traceparent)
    return turn


def same_or_conflict(start: Start, record: SagaRecord) -> SagaRecord:
    """The saga that was started under the key before, or just now.

    Raises:
        ConflictError: it has other input.
    """
    if record.input_digest == start.record.input_digest:
        return record
    raise ConflictError(
        f"saga {record.saga} was started before with key {record.key!r} and other input (it is {record.saga_id}); "
        "give another key, or the same input"
    )


def why_foreign(turn: Turn, reply: Reply) -> str | None:
    """Why a reply must not count, if so."""
    place = turn.plan.index.get(reply.step)
    if place is None:
        return f"saga {turn.record.saga} has no step {reply.step!r}"
    owner = turn.plan.steps[place].participant
    if reply.participant != owner:
        return f"step {reply.step} belongs to {owner}, not to {reply.participant!r}"
    token = ids.attempt_token(turn.record.secret, reply.step, reply.operation, reply.round, reply.attempt)
    return None if ids.same_token(token, reply.token) else "its token is not that of the attempt it claims to answer"


def apply_reply(turn: Turn, reply: Reply) -> IgnoredBecause | None:
    """Tell the machine what a participant has answered; returns why it changed nothing, if so."""
    has_result = reply.outcome is ReplyOutcome.SUCCEEDED and reply.operation is Operation.ACTION
    result = bytes(reply.result) if has_result else None
    event, error = event_of(reply), reply.error or _error_of(reply)
    if result is not None and len(result) > PAYLOAD_BYTES_MAX:
        # It was done, but nobody can go on from it: the participant is not asked again, and the step is undone.
        event = Failed(reply.step, reply.operation, reply.round, reply.attempt, None)
        error = ErrorInfo("PayloadError", f"a result of {len(result)} bytes is over the limit of {PAYLOAD_BYTES_MAX}")
        result = None
    return turn.apply(
        event,
        origin=f"{reply.participant}@{reply.host[:HOST_LENGTH_MAX]}",
        result=result,
        error=None if error is None else error.bounded(),
        traceparent=reply.traceparent[:TRACEPARENT_LENGTH],
        done_in_round=reply.done_in_round,
    )


def _error_of(reply: Reply) -> ErrorInfo | None:
    match reply.outcome:
        case ReplyOutcome.UNSERVED:
            return ErrorInfo("Unserved", f"nobody at {reply.participant} serves {reply.step}")
        case ReplyOutcome.FENCED:
            return ErrorInfo("Fenced", "the compensation came first; the action was not done and never will be")
        case _:
            return None


def event_of(reply: Reply) -> Event:
    """What the machine is told of a reply."""
    attempt = (reply.step, reply.operation, reply.round, reply.attempt)
    seconds = reply.retry_after_seconds
    bounded = None if seconds is None else min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
    match reply.outcome:
        case ReplyOutcome.SUCCEEDED:
            return Succeeded(*attempt)
        case ReplyOutcome.REFUSED | ReplyOutcome.FENCED:
            return Refused(*attempt)
        case ReplyOutcome.FAILED:
            return Failed(*attempt, bounded)
        case ReplyOutcome.UNSERVED:
            return Unserved(*attempt, UNSERVED_RETRY_SECONDS if bounded is None else bounded)
