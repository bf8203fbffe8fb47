"""`sagaflow show SAGA`: one saga, drawn with where it stands, then all that happened, and every attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sagaflow.cli.drawing import drawing, standing_of
from sagaflow.cli.options import Database, Json, SagaMeant, console, moment, new_table, print_json
from sagaflow.cli.sagas import STATUS_STYLES, fields_of
from sagaflow.cli.servers import opened_store
from sagaflow.cli.telling import attempt_rows
from sagaflow.cli.timeline import timeline
from sagaflow.cli.why import saga_meant
from sagaflow.core.plan import Plan
from sagaflow.core.state import Cause, by_name
from sagaflow.definitions import ids
from sagaflow.definitions.messages import printable
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.runners.overviews import Overview, look_at, overview_of
from sagaflow.runners.reporting.history import History
from sagaflow.runners.reporting.reports import AttemptReport

CAUSES: Final[Mapping[Cause, str]] = {
    Cause.REFUSED: "a step was refused",
    Cause.EXHAUSTED: "the attempts of a step were used up",
    Cause.CANCELLED: "it was cancelled",
    Cause.DEADLINE: "its time was over",
}


async def show(saga: SagaMeant, /, *, database: Database, json: Json = False) -> None:
    """Show one saga: its plan with where each step stands, all that happened, with who and why, and every attempt."""
    async with opened_store(database) as store:
        record, plan, journal = await look_at(store, await saga_meant(store, saga))
    journal = [entry for entry in journal if entry.seq <= record.version]
    if json:
        print_json(as_plain(record, plan, journal))
    else:
        printed = console()
        printed.print(as_drawn(printed, record, plan))
        printed.print("", history(journal), "", _attempts(History(record, plan, journal).attempts), sep="\n")


def as_drawn(printed: Console, record: SagaRecord, plan: Plan) -> RenderableType:
    """The facts of a saga, and its plan with where it stands."""
    is_plain = not printed.encoding.lower().startswith("utf")
    return Group(_facts(record, plan), Text(), drawing(plan, record, printed.width, ascii_only=is_plain))


def as_plain(record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> dict[str, Any]:
    """A saga for programs: the plan with where it stands, the operations, the journal and the attempts."""
    overview = overview_of(record, plan, journal)
    return fields_of(record) | {
        "plan": _plan(record, plan),
        "steps": _steps(overview),
        "journal": journal_fields(journal),
        "attempts": [_attempt_fields(one) for one in History(record, plan, journal).attempts],
    }


def journal_fields(journal: Sequence[JournalEntry]) -> Sequence[Mapping[str, Any]]:
    """What happened, for programs."""
    return [
        {
            "seq": entry.seq,
            "at": entry.at,
            "what": line.what,
            "why": line.why,
            "status": entry.status,
            "asks_for": line.asks_for,
            "origin": entry.origin,
            "actor": entry.actor,
            "reason": entry.reason,
        }
        for entry, line in zip(journal, timeline(journal), strict=True)
    ]


def history(journal: Sequence[JournalEntry], after: int = 0) -> Table:
    """What happened, for people; only what came after an entry of this number."""
    table = new_table("time", "what happened", "status", "what it led to")
    for entry, line in zip(journal, timeline(journal), strict=True):
        if entry.seq <= after:
            continue
        what = Text(line.what, style="bold" if entry.actor is not None else "")
        if line.why:
            what.append(f"\n{printable(line.why)}", style="yellow")
        status = Text(entry.status, style=STATUS_STYLES[entry.status])
        table.add_row(Text(line.time, style="dim"), what, status, Text("\n".join(line.asks_for), style="dim"))
    return table


def _plan(record: SagaRecord, plan: Plan) -> Sequence[Mapping[str, Any]]:
    states = by_name(plan, record.state)
    return [
        {
            "step": step.name,
            "participant": step.participant,
            "kind": step.kind,
            "after": step.after,
            "standing": standing_of(step, states[step.name], record.state.cause).words,
        }
        for step in plan.steps
    ]


def _steps(overview: Overview) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "step": step.step,
            "op": step.op,
            "status": step.status,
            "attempts": step.attempts,
            "error": None if step.error is None else step.error.words,
            "next_at": step.next_at,
        }
        for step in overview.steps
    ]


def _attempt_fields(one: AttemptReport) -> Mapping[str, Any]:
    return {
        "step": one.step,
        "op": one.operation,
        "round": one.round,
        "attempt": one.attempt,
        "asked_at": one.asked_at,
        "ended_at": one.ended_at,
        "outcome": one.outcome,
        "service": one.service,
        "host": one.host,
        "error": None if one.error is None else one.error.words,
    }


def _facts(record: SagaRecord, plan: Plan) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    facts.add_row("saga", f"{record.saga} version {plan.version}  {record.saga_id}")
    facts.add_row("key", Text(printable(record.key)))
    facts.add_row("status", Text(record.status, style=STATUS_STYLES[record.status]))
    if record.state.cause is not None:
        facts.add_row("undone for", CAUSES[record.state.cause])
    facts.add_row("started", moment(record.started_at))
    facts.add_row("trace", ids.trace_id(record.traceparent))
    return facts


def _attempts(attempts: Sequence[AttemptReport]) -> Table:
    """All but the trace: the facts say it, and a line has no room for it."""
    head, *rows = [row[:-1] for row in attempt_rows(attempts)]
    table = new_table(*head)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
