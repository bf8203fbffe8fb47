"""sagaflow, as a service would use it: a coordinator in this process, each participant in a process of its own.

Everything is switched on: journal, payloads, barrier with a commit in the participant's database, traces, confirms.
Who starts a saga waits for its outcome.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.place import Place
from benchmarks.processes import beside, until_told_to_end
from benchmarks.systems.sagaflow_service import serve_one, transport
from benchmarks.systems.system import RunOne
from benchmarks.workloads import GROWN, SERVICES, WORKLOADS, Act, Workload
from sagaflow import Coordinator, Replies, Saga, SagaStatus, SagaStep
from sagaflow.adapters.postgres import Line, PostgresStore, upgrade


def saga_of(workload: Workload) -> Saga[Any]:
    """The saga of a workload. Its input, and the command of each step, is the account, or a text."""
    kind = str if workload.payload_bytes else int
    saga: Saga[Any] = Saga(workload.name, kind)
    for number, (service, act) in enumerate(workload.steps):
        after: list[SagaStep[Any, Any, Any]] | None = [] if workload.side_by_side else None
        reply = str if act is Act.ECHO else type(None)

        @saga.step(f"{service}.{act}", name=f"{number}-{service}", after=after, reply=reply)
        def command(saga_input: Any, replies: Replies) -> Any:
            return saga_input

    return saga


async def migrate(place: Place) -> None:
    """Make the tables of the coordinator and of each participant."""
    for line, databases in ((Line.COORDINATOR, [place.coordinator]), (Line.PARTICIPANT, place.services.values())):
        for database in databases:
            connection = await asyncpg.connect(database)
            await upgrade(connection, line)
            await connection.close()


async def coordinate(ready: Callable[[], None], place: Place) -> None:
    """The main of another coordinator's process."""
    async with coordinator(place):
        ready()
        await until_told_to_end()


@asynccontextmanager
async def coordinator(place: Place) -> AsyncIterator[Coordinator]:
    """A coordinator of all sagas."""
    async with (
        PostgresStore.connect(place.coordinator) as store,
        Coordinator(list(SAGAS.values()), store=store, transport=transport(place), name="bench") as entered,
    ):
        yield entered


@asynccontextmanager
async def open_sagaflow(place: Place, *, coordinators: int = 1, workers: int = 1) -> AsyncIterator[RunOne]:
    """Participants beside, and a coordinator here; the other coordinators, if any, beside too."""
    await migrate(place)
    async with AsyncExitStack() as stack:
        for name in SERVICES * workers:
            await stack.enter_async_context(beside(serve_one, place, name))
        for _ in range(coordinators - 1):
            await stack.enter_async_context(beside(coordinate, place))
        sagas = await stack.enter_async_context(coordinator(place))

        async def run(workload: Workload, key: str, account: int) -> None:
            saga_input = "x" * workload.payload_bytes or account
            started = await sagas.start(SAGAS[workload.name], saga_input, key=key)
            outcome = await started.outcome()
            assert outcome.status is (SagaStatus.COMPENSATED if workload.refused else SagaStatus.COMPLETED), outcome

        yield run


SAGAS = {name: saga_of(workload) for name, workload in (WORKLOADS | GROWN).items()}
