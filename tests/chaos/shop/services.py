"""The three services. Whatever they do is a row that is added to their `effect` table, in the transaction of the step;
nothing there keeps it from being done twice, so that the table shows it if it is.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from tenacity import retry_if_not_exception_type, wait_random

from sagaflow import Participant, Retry, StepContext, StepRejected
from tests.chaos.shop.gateway import Declined, Gateway
from tests.chaos.shop.messages import Held, Take, Task

SCHEMA: Final = """
CREATE TABLE effect (
    n    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    saga text NOT NULL,
    step text NOT NULL,
    what text NOT NULL CHECK (what IN ('done', 'undone'))
);
"""

SLOW_SECONDS = 0.3

Context = StepContext[Any]


class NeverUndone(Exception):
    """The script of the order says that a person will have to undo this."""


SOON: Final = Retry(wait=wait_random(0.05, 0.4), on=retry_if_not_exception_type(NeverUndone))

orders: Participant[Any] = Participant("orders")
stock: Participant[Any] = Participant("stock")
payments: Participant[Any] = Participant("payments")

gateway = Gateway(Path(os.environ.get("CHAOS_GATEWAY", "gateway.sqlite")))


async def _write(ctx: Context, what: str) -> None:
    await ctx.tx.execute("INSERT INTO effect (saga, step, what) VALUES ($1, $2, $3)", str(ctx.saga_id), ctx.step, what)


def _is_early(mood: str, kind: str, ctx: Context) -> bool:
    named, _, count = mood.partition(":")
    return named == kind and ctx.attempt <= int(count)


async def _obey(mood: str, ctx: Context) -> None:
    """What the script has for an action, before it does anything."""
    if mood == "refuse":
        raise StepRejected("the script says no")
    if mood == "slow":
        await asyncio.sleep(SLOW_SECONDS)
    if mood == "never" or _is_early(mood, "fail", ctx):
        raise RuntimeError("the script has this attempt fail")


async def _do(task: Task, ctx: Context) -> None:
    await _obey(task.mood, ctx)
    await _write(ctx, "done")
    if _is_early(task.mood, "late", ctx):
        raise RuntimeError("the script has this attempt fail when it is done")


async def _undo(task: Task, ctx: Context) -> None:
    if task.undo_mood == "never":
        raise NeverUndone("the script says that this is never undone")
    await _obey(task.undo_mood, ctx)
    await _write(ctx, "undone")


@orders.step("place", retry=SOON)
async def place(task: Task, ctx: Context) -> None:
    await _do(task, ctx)


@place.compensation(retry=SOON)
async def cancel(task: Task, ctx: Context) -> None:
    await _undo(task, ctx)


@orders.step("approve", retry=SOON)
async def approve(task: Task, ctx: Context) -> None:
    await _do(task, ctx)


@stock.step("reserve", retry=SOON)
async def reserve(task: Task, ctx: Context) -> None:
    await _do(task, ctx)


@reserve.compensation(retry=SOON)
async def release(task: Task, ctx: Context) -> None:
    await _undo(task, ctx)


@stock.step("label", retry=SOON)
async def label(task: Task, ctx: Context) -> None:
    await _do(task, ctx)


@label.compensation(retry=SOON)
async def unlabel(task: Task, ctx: Context) -> None:
    await _undo(task, ctx)


@stock.step("ship", retry=SOON)
async def ship(task: Task, ctx: Context) -> None:
    await _do(task, ctx)


@payments.external_step("authorize", retry=SOON)
async def authorize(task: Task, ctx: Context) -> Held:
    await _obey(task.mood, ctx)
    try:
        await gateway.hold(str(ctx.saga_id), ctx.idempotency_key)
    except Declined as declined:
        raise StepRejected(str(declined)) from declined
    if _is_early(task.mood, "lost", ctx):
        raise TimeoutError("the script has the gateway's answer lost")
    await _write(ctx, "done")
    return Held(ctx.idempotency_key)


@authorize.compensation(retry=SOON)
async def void(task: Task, held: Held | None, ctx: Context) -> None:
    if task.undo_mood == "never":
        raise NeverUndone("the script says that this is never undone")
    await _obey(task.undo_mood, ctx)
    await gateway.void(str(ctx.saga_id), ctx.action_key)
    if _is_early(task.undo_mood, "lost", ctx):
        raise TimeoutError("the script has the gateway's answer lost")
    await _write(ctx, "undone")


@payments.external_step("capture", retry=SOON)
async def capture(take: Take, ctx: Context) -> None:
    await _obey(take.task.mood, ctx)
    await gateway.capture(str(ctx.saga_id), ctx.idempotency_key, held=take.held)
    if _is_early(take.task.mood, "lost", ctx):
        raise TimeoutError("the script has the gateway's answer lost")
    await _write(ctx, "done")


SERVICES: Final = {service.name: service for service in (orders, stock, payments)}
