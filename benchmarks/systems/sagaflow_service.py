"""sagaflow's participants, each the main of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from benchmarks.place import Place
from benchmarks.processes import until_told_to_end
from benchmarks.workloads import Act
from sagaflow import Participant, StepContext, StepRejected, serve
from sagaflow.adapters.postgres import AsyncpgTransactions
from sagaflow.adapters.rabbitmq import RabbitTransport

PAY = "UPDATE account SET balance = balance + 1 WHERE id = $1"


def participant(name: str) -> Participant[asyncpg.Connection]:
    """The service that can do all acts."""
    service: Participant[asyncpg.Connection] = Participant(name)

    @service.step(Act.DO.value)
    async def do(account: int) -> None: ...

    @do.compensation
    async def undo(account: int) -> None: ...

    @service.step(Act.PAY.value)
    async def pay(account: int, ctx: StepContext[asyncpg.Connection]) -> None:
        await ctx.tx.execute(PAY, account)

    @pay.compensation
    async def pay_back(account: int, ctx: StepContext[asyncpg.Connection]) -> None:
        await ctx.tx.execute("UPDATE account SET balance = balance - 1 WHERE id = $1", account)

    @service.step(Act.REFUSE.value, no_compensation="it never does anything")
    async def refuse(account: int) -> None:
        raise StepRejected("as it should")

    @service.step(Act.ECHO.value, no_compensation="it does nothing")
    async def echo(text: str) -> str:
        return text

    @service.step(Act.LINGER.value, no_compensation="it does nothing")
    async def linger(account: int) -> None:
        await asyncio.sleep(0.2)

    return service


async def serve_one(ready: Callable[[], None], place: Place, name: str) -> None:
    """The main of a participant's process."""
    async with (
        AsyncpgTransactions.connect(place.services[name]) as transactions,
        serve(participant(name), transport=transport(place), transactions=transactions),
    ):
        ready()
        await until_told_to_end()


def transport(place: Place) -> RabbitTransport:
    """The transport, with its defaults."""
    return RabbitTransport(place.broker, namespace=place.namespace)
