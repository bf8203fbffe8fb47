"""A small world for the runners: one saga, one service that does whatever the test wants, and its servers.

The same tests run embedded (SQLite, in-process) and distributed (PostgreSQL, RabbitMQ).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tenacity import wait_fixed

from sagaflow import Coordinator, OnStuck, Operation, Participant, Replies, Retry, Saga, SagaStatus, Worker, serve
from sagaflow.core.machine import advance
from sagaflow.core.state import OpState, by_name, initial
from sagaflow.definitions.ports import SagaStore, Transactions, Transport
from sagaflow.definitions.records import JournalEntry, SagaRecord

DEADLINE_SECONDS = 20.0
"""How long a test waits for what must come. Never slept, only waited for."""

SOON = Retry(wait=wait_fixed(0.02))


@dataclass
class Trip:
    """The input of the test saga."""

    city: str


def trip_saga(
    *,
    airline: str = "agency",
    deadline_seconds: float | None = None,
    on_stuck: OnStuck = OnStuck.KEEP_ORDER,
    room_compensation_attempts: int | None = None,
    ticket_timeout_seconds: float | None = None,
    **of_flight: Any,
) -> Saga[Trip]:
    """A car, then a room and a flight side by side, then the payment (pivot), then the ticket."""
    trip = Saga("trip", Trip, deadline_seconds=deadline_seconds, on_stuck=on_stuck)

    @trip.step("agency.book_car", reply=str)
    def book_car(trip: Trip, replies: Replies) -> str:
        return trip.city

    @trip.step("agency.book_room", reply=str, after=book_car, compensation_attempts=room_compensation_attempts)
    def book_room(trip: Trip, replies: Replies) -> str:
        return f"{trip.city} by {replies[book_car]}"

    @trip.step(f"{airline}.book_flight", reply=str, after=book_car, **of_flight)
    def book_flight(trip: Trip, replies: Replies) -> str:
        return trip.city

    @trip.pivot("agency.pay", after=[book_room, book_flight], attempts=2)
    def pay(trip: Trip, replies: Replies) -> str:
        return f"{replies[book_room]} and {replies[book_flight]}"

    @trip.step("agency.send_ticket", attempts=2, timeout_seconds=ticket_timeout_seconds)
    def send_ticket(trip: Trip, replies: Replies) -> str:
        return trip.city

    return trip


Behaviour = Callable[[int], Awaitable[None]]
"""What a handler does before it succeeds; it is given the attempt."""


@dataclass
class Agency:
    """The service of the test: notes what it did, and behaves as it is told."""

    done: list[str] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    behaviour: dict[str, Behaviour] = field(default_factory=dict)

    def hold(self, what: str) -> asyncio.Event:
        """Have something wait until the event is set; then it behaves as it was told before."""
        gate, before = asyncio.Event(), self.behaviour.get(what)

        async def wait(attempt: int) -> None:
            await gate.wait()
            if before is not None:
                await before(attempt)

        self.behaviour[what] = wait
        return gate

    async def do(self, what: str, result: str) -> str:
        """Do something, or not, as the test wants it."""
        self.attempts[what] = self.attempts.get(what, 0) + 1
        if what in self.behaviour:
            await self.behaviour[what](self.attempts[what])
        self.done.append(what)
        return result

    def participant(self, name: str = "agency", *, without: Sequence[str] = ()) -> Participant[Any]:
        """The participant; `without` leaves out steps that it does not serve yet."""
        agency: Participant[Any] = Participant(name)
        for step in ("book_car", "book_room", "book_flight", "pay", "send_ticket"):
            if step not in without:
                self._add(agency, step)
        return agency

    def _add(self, agency: Participant[Any], name: str) -> None:
        @agency.step(name, retry=SOON)
        async def action(command: str) -> str:
            return await self.do(name, f"{name}({command})")

        if name.startswith("book_"):

            @action.compensation(retry=SOON)
            async def compensation(command: str, booked: str) -> None:
                assert booked == f"{name}({command})"
                await self.do(f"cancel {name}", "")


@dataclass
class World:
    """The servers of one test, and what runs on them."""

    stack: AsyncExitStack
    make_store: Callable[[], AbstractAsyncContextManager[SagaStore]]
    make_transport: Callable[[], Transport]
    make_transactions: Callable[[], AbstractAsyncContextManager[Transactions[Any]]]
    own_transaction: Callable[[], AbstractAsyncContextManager[Any]]
    """A transaction of the caller's own, in the coordinator's database."""
    agency: Agency = field(default_factory=Agency)

    async def store(self) -> SagaStore:
        """A store of its own connections, closed with the test."""
        return await self.stack.enter_async_context(self.make_store())

    async def transactions(self) -> Transactions[Any]:
        """Transactions of the agency, closed with the test."""
        return await self.stack.enter_async_context(self.make_transactions())

    async def coordinator(self, *sagas: Saga[Any], **options: Any) -> Coordinator:
        """A running coordinator, stopped with the test."""
        return await self.stack.enter_async_context(self.coordinating(await self.store(), *sagas, **options))

    def coordinating(self, store: SagaStore, *sagas: Saga[Any], **options: Any) -> Coordinator:
        """A coordinator, not yet running."""
        settings: dict[str, Any] = {
            "name": "trips",
            "poll_seconds": 0.05,
            "lease_seconds": 1.0,
            "transport": self.make_transport(),
        }
        return Coordinator(sagas or (trip_saga(),), store=store, **settings | options)

    async def worker(self, participant: Participant[Any] | None = None) -> Worker:
        """A running worker of the agency, stopped with the test."""
        return await self.stack.enter_async_context(self.serving(participant, await self.transactions()))

    def serving(self, participant: Participant[Any] | None, transactions: Transactions[Any]) -> Worker:
        """A worker of the agency, not yet running."""
        return serve(
            participant or self.agency.participant(), transport=self.make_transport(), transactions=transactions
        )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110  # what is waited for happens in a database
            await asyncio.sleep(0.01)


async def until_status(store: SagaStore, saga_id: UUID, *statuses: SagaStatus) -> SagaRecord:
    """Wait until a saga has one of these statuses."""

    async def reached() -> bool:
        return (await record_of(store, saga_id)).status in statuses

    await until(reached)
    return await record_of(store, saga_id)


async def record_of(store: SagaStore, saga_id: UUID) -> SagaRecord:
    """The saga as it is stored."""
    (record,) = await store.find([saga_id])
    return record


async def op_of(store: SagaStore, saga_id: UUID, step: str, operation: Operation = Operation.ACTION) -> OpState:
    """One operation of a saga, as it is stored."""
    record = await record_of(store, saga_id)
    (plan,) = await store.plans([record.plan_hash])
    return by_name(plan, record.state)[step].op(operation)


async def check_journal(store: SagaStore, saga_id: UUID) -> Sequence[JournalEntry]:
    """Folding the journal gives the state, entry by entry, and the entries are without gaps."""
    record = await record_of(store, saga_id)
    (plan,) = await store.plans([record.plan_hash])
    journal = await store.journal(saga_id)
    state = initial(plan)
    for entry in journal:
        state, _ = advance(plan, state, entry.event)
        assert state.status is entry.status
    assert state == record.state
    assert [entry.seq for entry in journal] == list(range(1, record.version + 1))
    return journal


def fail_times(times: int, error: Exception) -> Behaviour:
    """Fail so many times, then succeed."""

    async def behave(attempt: int) -> None:
        if attempt <= times:
            raise error

    return behave


def always(error: Exception) -> Behaviour:
    """Never succeed."""
    return fail_times(1_000_000, error)
