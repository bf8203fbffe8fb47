"""`sagaflow top`: what goes on now: how fast sagas begin and end, what is open, stuck, late and put aside."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

from cyclopts import Parameter, validators
from rich.console import Group, RenderableType
from rich.text import Text

from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.options import Database, Json, console, moment, new_table, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.cli.watch import Screen, pause
from sagaflow.core.state import SagaStatus
from sagaflow.runners.sampling import LIMIT, Going, Reading, Sampler

EVERY_SECONDS: Final = 2.0

REST: Final = 10.0
"""After each look it rests for so many times as long as it took, at least, however often it is told to look."""


async def top(
    *,
    database: Database,
    every: Annotated[
        float, Parameter(validator=validators.Number(gte=0.1), help="How often to look, in seconds.")
    ] = EVERY_SECONDS,
    once: Annotated[bool, Parameter(negative="", help="Look twice, and print what was between.")] = False,
    json: Json = False,
) -> int:
    """Show what goes on, until Ctrl-C: sagas started and ended per second, open, stuck, oldest; late; put aside.

    Each look is one query, of what is open and what has begun since the last one.
    """
    async with opened_store(database) as store:
        sampler = Sampler(store)
        await _rested(sampler, every)
        with Screen(json or once) as screen:
            while True:
                began = time.monotonic()
                reading = await sampler.look()
                if json:
                    print_json(_fields(reading))
                elif screen.is_live:
                    screen.draw(_drawn(reading))
                else:
                    console().print(_drawn(reading))
                if once:
                    return ExitCode.DONE
                await pause(_rest(every, began))


async def _rested(sampler: Sampler, every: float) -> None:
    """The first look has no rates, and is shown to nobody."""
    began = time.monotonic()
    await sampler.look()
    await pause(_rest(every, began))


def _rest(every: float, began: float) -> float:
    took = time.monotonic() - began
    return max(every - took, took * REST)


def _fields(reading: Reading) -> Mapping[str, Any]:
    sample = reading.sample
    return {
        "at": sample.at,
        "late": sample.late,
        "late_seconds": sample.late_seconds,
        "put_aside": sample.put_aside,
        "all_counted": sample.all_counted,
        "sagas": [
            {
                "saga": saga,
                "started_per_second": going.started,
                "ended_per_second": going.ended,
                "open": {status: count for status, count in going.open.items() if count},
                "oldest_seconds": going.oldest_seconds,
            }
            for saga, going in reading.sagas.items()
        ],
    }


def _drawn(reading: Reading) -> RenderableType:
    sample = reading.sample
    more = "" if sample.all_counted else f"; more than {LIMIT:,} are open, and only the latest were counted"
    head = Text(f"{moment(sample.at)}  ", style="dim")
    head.append(f"late: {_late(reading)}   put aside: {sample.put_aside:,}{more}", style="not dim")
    if not reading.sagas:
        return Group(head, Text(), Text("nothing is open, and nothing begins"))
    table = new_table("saga", "started/s", "ended/s", "running", "compensating", "stuck", "oldest")
    for column in table.columns[1:]:
        column.justify = "right"
    for saga, going in reading.sagas.items():
        stuck = going.open.get(SagaStatus.STUCK, 0)
        table.add_row(
            saga,
            _rate(going.started),
            _rate(going.ended),
            _count(going, SagaStatus.RUNNING),
            _count(going, SagaStatus.COMPENSATING),
            Text(f"{stuck:,}", style="bold red" if stuck else ""),
            _age(going.oldest_seconds),
        )
    return Group(head, Text(), table)


def _late(reading: Reading) -> str:
    sample = reading.sample
    return f"{sample.late:,}, by up to {_age(sample.late_seconds)}" if sample.late else "none"


def _rate(per_second: float | None) -> str:
    return "?" if per_second is None else f"{per_second:,.1f}"


def _count(going: Going, status: SagaStatus) -> str:
    return f"{going.open.get(status, 0):,}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s"
