"""Looking at sagas: `sagaflow list` and `sagaflow show SAGA_ID`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from sagaflow.cli.options import Database, Json, Limit, as_typed, console, moment, new_table, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.cli.timeline import timeline
from sagaflow.core.plan import Operation
from sagaflow.core.state import Cause, OpStatus, SagaStatus
from sagaflow.definitions import ids
from sagaflow.definitions.messages import ErrorInfo, printable
from sagaflow.definitions.records import JournalEntry, SagaFilter, SagaRecord
from sagaflow.errors import DefinitionError
from sagaflow.runners.overviews import OperationOverview, Overview, Wait, look_at, overview_of, waits_of
from sagaflow.runners.reporting.failing import StuckGroup, failing, stuck_groups

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
    step: Annotated[str | None, Parameter(help="Only where an operation of this step failed or waits.")] = None,
    error: Annotated[
        str | None, Parameter(help="Only with this type of last error; NoAnswer: nobody answered.")
    ] = None,
    older: Annotated[str | None, Parameter(help="Only what began longer ago, such as 90s, 15m, 1h or 2d.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> int:
    """List sagas, the latest first."""
    before = None if older is None else began_before(older, datetime.now(UTC))
    async with opened_store(database) as store:
        matching = SagaFilter(saga=saga, statuses=frozenset(status or ()), key=key, waiting=waiting, before=before)
        if step is None and error is None:
            records = await store.list(matching, limit)
        else:
            records = await failing(store, matching, step, error, limit)
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
    return 0


async def stuck(*, database: Database, json: Json = False) -> int:
    """Show what waits for a person, by what went wrong, with the commands for the next move."""
    async with opened_store(database) as store:
        groups = await stuck_groups(store)
    for group in groups if json else ():
        print_json(_group_fields(group, database))
    if not json:
        _draw_groups(groups, database)
    return 0


def _moves(group: StuckGroup, database: str) -> Sequence[str]:
    moves = [as_typed(["sagaflow", "why", str(group.saga_ids[0])], database)]
    if group.failure.error is not None:
        which = ["--stuck", "--saga", group.saga, "--step", group.failure.step, "--error", group.failure.error.type]
        moves.append(as_typed(["sagaflow", "retry", *which, "--reason", "what failed is well again"], database))
    return moves


def _group_fields(group: StuckGroup, database: str) -> Mapping[str, Any]:
    return {
        "fingerprint": group.fingerprint,
        "saga": group.saga,
        "step": group.failure.step,
        "op": group.failure.operation,
        "error": _error(group.failure.error),
        "count": len(group.saga_ids),
        "oldest_at": group.oldest_at,
        "saga_ids": group.saga_ids,
        "commands": _moves(group, database),
    }


def _draw_groups(groups: Sequence[StuckGroup], database: str) -> None:
    if not groups:
        print("nothing is stuck")
    for group in groups:
        failure = group.failure
        what = failure.step if failure.operation is Operation.ACTION else f"undo of {failure.step}"
        error = _error(failure.error) or "nobody answered"
        head = Text(f"{len(group.saga_ids)} {group.saga}", style="bold red")
        head.append(f"  {what}: {printable(error)}", style="not bold default")
        head.append(f"  (oldest since {moment(group.oldest_at)}, fingerprint {group.fingerprint})", style="dim")
        console().print(head, soft_wrap=True)
        for command in _moves(group, database):
            console().print(Text(f"    $ {printable(command)}", style="cyan"), soft_wrap=True)


_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def began_before(older: str, now: datetime) -> UUID:
    """An id that is greater than those of all sagas that began so long ago: ids begin with the time.

    Raises:
        DefinitionError: it is no such time.
    """
    number, unit = older.rstrip("smhd"), older.lstrip("0123456789.")
    try:
        seconds = float(number) * _UNITS[unit]
        return UUID(int=int((now.timestamp() - seconds) * 1000) << 80)
    except (ValueError, KeyError, OverflowError) as error:
        raise DefinitionError(f"{older!r} is no age; write 90s, 15m, 1h or 2d") from error


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
