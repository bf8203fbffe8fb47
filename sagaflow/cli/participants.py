"""`sagaflow participants`: who serves what, and which undos nobody serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter
from rich.text import Text

from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.loading import load_sagas
from sagaflow.cli.options import Database, Json, console, moment, new_table, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.core.plan import Plan
from sagaflow.core.state import ENDED, SagaStatus
from sagaflow.definitions.announcements import gaps
from sagaflow.definitions.messages import AnnouncedStep, printable
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import KeptAnnouncement, SagaFilter

OPEN_SAGAS_MAX: Final = 10_000
"""Of so many open sagas, the latest, the plans are looked at."""


async def participants(
    sagas: Annotated[
        str | None, Parameter(help="MODULE:NAME of a Saga, or of a sequence; those that run are looked at if left out.")
    ] = None,
    /,
    *,
    database: Database,
    json: Json = False,
) -> int:
    """Show what participants have announced that they serve, and what the sagas need that nobody serves.

    Exit code 1: something is missing.
    """
    definitions = None if sagas is None else load_sagas(sagas)
    async with opened_store(database) as store:
        kept = await store.announcements()
        plans = await _plans_of_open_sagas(store) if definitions is None else [saga.plan for saga in definitions]
    missing = missing_of(plans, kept)
    if json:
        for one in kept:
            print_json({"kind": "announcement", **_fields(one)})
        for gap in missing:
            print_json({"kind": "gap", "gap": gap})
    else:
        _draw(kept)
        for gap in missing:
            console().print(Text(printable(gap), style="red"), soft_wrap=True)
    return ExitCode.FAILED if missing else ExitCode.DONE


async def _plans_of_open_sagas(store: SagaStore) -> Sequence[Plan]:
    matching = SagaFilter(statuses=frozenset(SagaStatus) - ENDED)
    records = await store.list(matching, OPEN_SAGAS_MAX)
    return await store.plans(sorted({record.plan_hash for record in records}))


def missing_of(plans: Sequence[Plan], kept: Sequence[KeptAnnouncement]) -> Sequence[str]:
    """What sagas need and nobody serves, a line for each, with the mend."""
    live = [one.announcement for one in kept if one.is_live]
    everybody = {step.participant for plan in plans for step in plan.steps}
    silent = everybody - {announcement.participant for announcement in live}
    return list(dict.fromkeys(gap for plan in plans for gap in gaps(plan, live, silent=silent)))


def _fields(kept: KeptAnnouncement) -> Mapping[str, Any]:
    announcement = kept.announcement
    return {
        "participant": announcement.participant,
        "host": announcement.host,
        "hash": announcement.hash,
        "heard_at": kept.heard_at,
        "live": kept.is_live,
        "steps": [
            {
                "name": step.name,
                "external": step.external,
                "has_compensation": step.has_compensation,
                "no_compensation": step.no_compensation,
                "command_schema": step.command_schema,
                "result_schema": step.result_schema,
            }
            for step in announcement.steps
        ],
    }


def _draw(kept: Sequence[KeptAnnouncement]) -> None:
    if not kept:
        print("no participant has announced itself yet")
        return
    table = new_table("participant", "host", "heard", "", "serves", "undone by")
    for one in kept:
        announcement = one.announcement
        state = Text("live", style="green") if one.is_live else Text("silent", style="yellow")
        told = (Text(announcement.participant), Text(announcement.host), Text(moment(one.heard_at)), state)
        for step in announcement.steps or (None,):
            table.add_row(*told, *(Text(text) for text in _served(step)))
            told = (Text(), Text(), Text(), Text())
    console().print(table)


def _served(step: AnnouncedStep | None) -> tuple[str, str]:
    if step is None:
        return "nothing", ""
    if step.has_compensation:
        return printable(step.name), "its compensation"
    reason = step.no_compensation
    return printable(step.name), "nothing" if reason is None else f"nothing: {printable(reason)}"
