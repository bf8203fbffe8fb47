"""Restate's service, which hypercorn serves. What it is: restate.py."""

from __future__ import annotations

import asyncpg
import restate

from benchmarks.place import Place
from benchmarks.workloads import WORKLOADS, Act

PAY = "UPDATE account SET balance = balance + 1 WHERE id = $1"

sagas = restate.Service("sagas")
app = restate.app(services=[sagas])
pools: dict[str, asyncpg.Pool] = {}


async def act(service: str, what: str, account: int) -> None:
    """One step or one undo, in a process of hypercorn."""
    if what == Act.PAY:
        if service not in pools:
            pools[service] = asyncpg.create_pool(Place.from_environment().services[service], min_size=0)
        await (await pools[service]).execute(PAY, account)
    if what == Act.REFUSE:
        raise restate.TerminalError("as it should")


@sagas.handler()
async def saga(ctx: restate.Context, order: list[object]) -> None:
    """A saga of the workload that the order names."""
    workload, account = WORKLOADS[str(order[0])], int(str(order[1]))
    if workload.side_by_side:
        await restate.gather(*(ctx.run_typed(s, act, _NO, s, what.value, account) for s, what in workload.steps))
        return
    try:
        for service, what in workload.steps:
            await ctx.run_typed(service, act, _NO, service, what.value, account)
    except restate.TerminalError:
        for service, what in workload.undoing:
            await ctx.run_typed(service, act, _NO, service, what.value, account)


_NO: restate.RunOptions[None] = restate.RunOptions()
