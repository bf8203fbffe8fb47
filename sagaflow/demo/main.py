"""`sagaflow demo`: chooses the stage, has the play played, reports, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from sagaflow.demo.cast import PlannedOrder, plan_orders
from sagaflow.demo.director import Director
from sagaflow.demo.distributed import DistributedStage
from sagaflow.demo.embedded import EmbeddedStage
from sagaflow.demo.outlook import say_what_next
from sagaflow.demo.report import json_line
from sagaflow.demo.screen import Screen
from sagaflow.demo.stage import Stage
from sagaflow.runners.overviews import Overview

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FILE_WIDTH: Final = 100


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    orders: int
    kill: bool
    json: bool
    servers: tuple[str, str] | None
    """The URLs of PostgreSQL and of RabbitMQ; None: everything on this machine."""
    directory: Path | None


def run(settings: Settings) -> int:
    """Run the demo; returns the exit code. Everything that it started has ended then, whatever happened."""
    return asyncio.run(_until_signal(settings))


async def _until_signal(settings: Settings) -> int:
    playing = asyncio.current_task()
    assert playing is not None
    received: list[signal.Signals] = []

    def stop(which: signal.Signals) -> None:
        if not received:  # a second signal must not stop the cleaning up
            received.append(which)
            playing.cancel()

    for which in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(which, stop, which)
    try:
        return await _play(settings)
    except asyncio.CancelledError:
        if not received:
            raise
        print(f"sagaflow: stopped by {received[0].name}", file=sys.stderr)
        return 128 + received[0]


async def _play(settings: Settings) -> int:
    orders = plan_orders(settings.orders)
    console = _console(settings)
    async with AsyncExitStack() as stack:
        directory = _directory(settings, console, stack)
        stage = await stack.enter_async_context(_stage(settings, directory, orders))
        with Screen(console, stage.title, orders) as screen:
            director = Director(stage, orders, screen)
            broken = await director.play(kill=settings.kill)
        if settings.json:
            for overview in await director.overviews():
                print(json_line(overview))
        elif not broken:
            _say_that_all_is_well(console, settings, stage, await director.overviews(), orders)
    for promise in broken:
        print(f"sagaflow: the demo broke its promise: {promise}", file=sys.stderr)
    return 1 if broken else 0


def _console(settings: Settings) -> Console:
    """Where people look. With --json, standard output belongs to programs."""
    console = Console(stderr=settings.json, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


def _directory(settings: Settings, console: Console, stack: AsyncExitStack) -> Path:
    """Where the demo keeps its files. It is left for those who want to look on, if there is somebody."""
    if settings.directory is not None:
        settings.directory.mkdir(parents=True, exist_ok=True)
        return settings.directory.resolve()
    if _leaves_files(settings, console):
        return Path(tempfile.mkdtemp(prefix="sagaflow_demo_"))
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sagaflow_demo_")))


def _leaves_files(settings: Settings, console: Console) -> bool:
    return settings.servers is None and console.is_terminal and not settings.json


def _stage(settings: Settings, directory: Path, orders: Sequence[PlannedOrder]) -> Stage:
    if settings.servers is None:
        return EmbeddedStage(directory, orders)
    postgres, rabbitmq = settings.servers
    return DistributedStage(directory, orders, postgres=postgres, rabbitmq=rabbitmq)


def _say_that_all_is_well(
    console: Console, settings: Settings, stage: Stage, sagas: Sequence[Overview], orders: Sequence[PlannedOrder]
) -> None:
    console.print("The books of orders, payments, inventory and the card gateway agree.", style="bold green")
    kept = settings.directory is not None or _leaves_files(settings, console)
    stuck_keys = {order.key for order in orders if order.part.gets_stuck}
    say_what_next(
        console,
        database=stage.database if kept and settings.servers is None else None,
        stuck=next((saga for saga in sagas if saga.key in stuck_keys), None),
    )
