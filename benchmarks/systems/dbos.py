"""DBOS: a workflow of durable steps, in one process, with its state in PostgreSQL.

Steps are async functions; paying is a transaction of a datasource, which keeps the step's record in the same commit.
Each service's database is a datasource. A workflow is called directly, which is its shortest way (no queue).

It remembers each workflow with its input and output, and the output of each step. One process does it all: there are no
messages between services.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig, SetWorkflowID
from sqlalchemy import text

from benchmarks.place import Place
from benchmarks.systems.system import RunOne
from benchmarks.workloads import WORKLOADS, Act, Workload

POOL_SIZE = 20  # as the system database has by default
ENGINE = {"pool_size": POOL_SIZE, "max_overflow": 0}
PAY = text("UPDATE account SET balance = balance + 1 WHERE id = :account")


class Refused(Exception):
    """A business no."""


Function = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def open_dbos(place: Place) -> AsyncIterator[RunOne]:
    """All of it in this process."""
    # CRITICAL, since refusals are expected, and logged as errors
    DBOS(config=DBOSConfig(name="bench", system_database_url=place.coordinator, log_level="CRITICAL"))
    services = {
        name: await AsyncSQLAlchemyDatasource.create(url.replace("postgresql:", "postgresql+psycopg:"), ENGINE)
        for name, url in place.services.items()
    }
    payments = {name: _payment(service) for name, service in services.items()}
    sagas = {name: _saga(workload, payments) for name, workload in WORKLOADS.items()}
    DBOS.launch()
    try:

        async def run(workload: Workload, key: str, account: int) -> None:
            with SetWorkflowID(key):
                await sagas[workload.name](account)

        yield run
    finally:
        DBOS.destroy()


def _saga(workload: Workload, payments: Mapping[str, Function]) -> Function:
    @DBOS.workflow(name=workload.name)
    async def saga(account: int) -> None:
        acts = [payments[service] if what is Act.PAY else ACTS[what] for service, what in workload.steps]
        if workload.side_by_side:
            await asyncio.gather(*(act(account) for act in acts))
            return
        try:
            for act in acts:
                await act(account)
        except Refused:
            for _, undoing in workload.undoing:
                await ACTS[undoing](account)

    return saga


def _payment(service: AsyncSQLAlchemyDatasource) -> Function:
    @service.transaction(isolation_level="READ COMMITTED")
    async def pay(account: int) -> None:
        await service.sql_session().execute(PAY, {"account": account})

    return pay


@DBOS.step()
async def do(account: int) -> None:
    """Return at once."""


@DBOS.step()
async def undo(account: int) -> None:
    """Return at once."""


@DBOS.step()
async def refuse(account: int) -> None:
    """Say no."""
    raise Refused


ACTS: Mapping[Act, Function] = {Act.DO: do, Act.UNDO: undo, Act.REFUSE: refuse}
