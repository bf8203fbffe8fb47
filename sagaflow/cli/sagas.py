"""Looking at sagas: `sagaflow list` and `sagaflow show SAGA_ID`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from sagaflow.cli.options import Database, Json, Limit, console, moment, new_table, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.cli.timeline import timeline
from sagaflow.core.plan import Operation
from sagaflow.core.state import Cause, OpStatus, SagaStatus
from sagaflow.definitions import ids
from sagaflow.definitions.messages import ErrorInfo, printable
from sagaflow.definitions.records import JournalEntry, SagaFilter, SagaRecord
from sagaflow.runners.overviews import OperationOverview, Overview, Wait, look_at, overview_of, waits_of

STATUS_STYLES: Final[Mapping[SagaStatus, str]] = {
    SagaStatus.RUNNING: "cyan",
    SagaStatus.COMPENSATING: "yellow",
    SagaStatus.COMPLETED: "green",
    SagaStatus.COMPENSATED: "blue",
    SagaStatus.STUCK: "bold red",
    SagaStatus.ABANDONED: "red",
}

OPERATION_STYLES: Final[Mapping[OpStatus, str]] = {
    OpStatus.IDLE: "dim",
    OpStatus.SUCCEEDED: "green",
    OpStatus.REFUSED: "red",
    OpStatus.UNKNOWN: "yellow",
    OpStatus.DEFERRED: "yellow",
    OpStatus.STUCK: "bold red",
}

CAUSES: Final[Mapping[Cause, str]] = {
    Cause.REFUSED: "a step was refused",
    Cause.EXHAUSTED: "the attempts of a step were used up",
    Cause.CANCELLED: "it was cancelled",
    Cause.DEADLINE: "its time was over",
}


async def list_sagas(
    *,
    database: Database,
    saga: Annotated[str | None, Parameter(help="Only sagas of this name.")] = None,
    status: Annotated[list[SagaStatus] | None, Parameter(negative="", help="Only with this status.")] = None,
    key: Annotated[str | None, Parameter(help="Only the one with this key.")] = None,
    waiting: Annotated[
        bool, Parameter(negative="", help="Only what nobody can do now, with the reason and since when.")
    ] = False,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """List sagas, the latest first."""
    async with opened_store(database) as store:
        matching = SagaFilter(saga=saga, statuses=frozenset(status or ()), key=key, waiting=waiting)
        records = await store.list(matching, limit)
        waits = await waits_of(store, records) if waiting else ()
    if json:
        for record in records:
            print_json(_fields(record) | ({"waiting": _waits(record, waits)} if waiting else {}))
    elif waits:
        _draw_waits(waits)
    elif records:
        _draw_list(records)
    else:
        print("no saga matches")


async def show(saga_id: UUID, /, *, database: Database, json: Json = False) -> None:
    """Show one saga: where each step stands, and all that happened, in order, with who and why."""
    async with opened_store(database) as store:
        record, plan, journal = await look_at(store, saga_id)
    overview = overview_of(record, plan, journal)
    if json:
        print_json(_fields(record) | {"steps": _steps(overview), "journal": _journal(journal)})
    else:
        _draw_saga(record, overview, journal)


def _fields(record: SagaRecord) -> dict[str, Any]:
    return {
        "saga_id": record.saga_id,
        "saga": record.saga,
        "key": record.key,
        "status": record.status,
        "cause": record.state.cause,
        "coordinator": record.coordinator,
        "trace_id": ids.trace_id(record.traceparent),
        "started_at": record.started_at,
        "updated_at": record.updated_at,
    }


def _steps(overview: Overview) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "step": step.step,
            "op": step.op,
            "status": step.status,
            "attempts": step.attempts,
            "error": _error(step.error),
            "next_at": step.next_at,
        }
        for step in overview.steps
    ]


def _journal(journal: Sequence[JournalEntry]) -> Sequence[Mapping[str, Any]]:
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


def _draw_list(records: Sequence[SagaRecord]) -> None:
    table = new_table("saga id", "saga", "key", "status", "started", "took")
    table.columns[0].no_wrap = True
    for record in records:
        table.add_row(
            str(record.saga_id),
            record.saga,
            Text(printable(record.key)),
            Text(record.status, style=STATUS_STYLES[record.status]),
            moment(record.started_at),
            _duration(record),
        )
    console().print(table)


def _waits(record: SagaRecord, waits: Sequence[Wait]) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "step": wait.step,
            "op": wait.op,
            "since": wait.since,
            "next_at": wait.next_at,
            "why": None if wait.error is None else wait.error.message,
        }
        for wait in waits
        if wait.record.saga_id == record.saga_id
    ]


def _draw_waits(waits: Sequence[Wait]) -> None:
    table = new_table("saga id", "saga", "key", "waits for", "since", "looked at next", "why")
    table.columns[0].no_wrap = True
    for wait in waits:
        record = wait.record
        table.add_row(
            str(record.saga_id),
            record.saga,
            Text(printable(record.key)),
            wait.step if wait.op is Operation.ACTION else f"undo {wait.step}",
            moment(wait.since),
            moment(wait.next_at),
            Text("" if wait.error is None else printable(wait.error.message)),
        )
    console().print(table)


def _error(error: ErrorInfo | None) -> str | None:
    return None if error is None else f"{error.type}: {error.message}"


def _status(step: OperationOverview) -> Text:
    is_later = step.status in (OpStatus.WAITING, OpStatus.DEFERRED) and step.next_at is not None
    words = f"{step.status}, next {moment(step.next_at)}" if is_later else step.status
    return Text(words, style=OPERATION_STYLES.get(step.status, ""))


def _duration(record: SagaRecord) -> str:
    if not record.state.ended or record.started_at is None or record.updated_at is None:
        return ""
    return f"{(record.updated_at - record.started_at).total_seconds():.1f}s"


def _draw_saga(record: SagaRecord, overview: Overview, journal: Sequence[JournalEntry]) -> None:
    printed = console()
    printed.print(_facts(record, overview), "", _operations(overview), "", _history(journal), sep="\n")


def _facts(record: SagaRecord, overview: Overview) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    facts.add_row("saga", f"{record.saga}  {record.saga_id}")
    facts.add_row("key", Text(printable(record.key)))
    facts.add_row("status", Text(record.status, style=STATUS_STYLES[record.status]))
    if record.state.cause is not None:
        facts.add_row("undone for", CAUSES[record.state.cause])
    facts.add_row("started", moment(record.started_at))
    facts.add_row("trace", overview.trace_id)
    return facts


def _operations(overview: Overview) -> Table:
    table = new_table("step", "operation", "status", "attempts", "last error")
    for step in overview.steps:
        error = Text(printable(_error(step.error) or ""))
        table.add_row(step.step, step.op, _status(step), str(step.attempts or ""), error)
    return table


def _history(journal: Sequence[JournalEntry]) -> Table:
    table = new_table("time", "what happened", "status", "what it led to")
    for entry, line in zip(journal, timeline(journal), strict=True):
        what = Text(line.what, style="bold" if entry.actor is not None else "")
        if line.why:
            what.append(f"\n{printable(line.why)}", style="yellow")
        status = Text(entry.status, style=STATUS_STYLES[entry.status])
        table.add_row(Text(line.time, style="dim"), what, status, Text("\n".join(line.asks_for), style="dim"))
    return table
