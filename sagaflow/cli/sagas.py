"""Finding sagas: `sagaflow list`, and `sagaflow stuck`, which has them by what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from sagaflow.cli.options import Database, Json, Limit, as_typed, console, moment, new_table, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions import ids
from sagaflow.definitions.messages import ErrorInfo, printable
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import SagaFilter, SagaRecord
from sagaflow.errors import DefinitionError
from sagaflow.runners.overviews import Wait, waits_of
from sagaflow.runners.reporting.failing import StuckGroup, failing, stuck_groups
from sagaflow.runners.reporting.words import operation_words

STATUS_STYLES: Final[Mapping[SagaStatus, str]] = {
    SagaStatus.RUNNING: "cyan",
    SagaStatus.COMPENSATING: "yellow",
    SagaStatus.COMPLETED: "green",
    SagaStatus.COMPENSATED: "blue",
    SagaStatus.STUCK: "bold red",
    SagaStatus.ABANDONED: "red",
}


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Listed:
    """Which sagas are listed: the latest of those to which all of this applies."""

    saga: Annotated[str | None, Parameter(help="Only sagas of this name.")] = None
    status: Annotated[list[SagaStatus] | None, Parameter(negative="", help="Only with this status.")] = None
    key: Annotated[str | None, Parameter(help="Only the one with this key.")] = None
    waiting: Annotated[
        bool, Parameter(negative="", help="Only what nobody can do now, with the reason and since when.")
    ] = False
    step: Annotated[str | None, Parameter(help="Only where an operation of this step failed or waits.")] = None
    error: Annotated[str | None, Parameter(help="Only with this type of last error; NoAnswer: nobody answered.")] = None
    older: Annotated[str | None, Parameter(help="Only what began longer ago, such as 90s, 15m, 1h or 2d.")] = None
    limit: Limit = 20

    async def of(self, store: SagaStore) -> Sequence[SagaRecord]:
        """Those sagas, as they are now."""
        before = None if self.older is None else began_before(self.older, datetime.now(UTC))
        statuses = frozenset(self.status or ())
        matching = SagaFilter(saga=self.saga, statuses=statuses, key=self.key, waiting=self.waiting, before=before)
        if self.step is None and self.error is None:
            return await store.list(matching, self.limit)
        return await failing(store, matching, self.step, self.error, self.limit)


EVERY_SAGA: Final = Listed()


async def list_sagas(*, database: Database, listed: Listed = EVERY_SAGA, json: Json = False) -> int:
    """List sagas, the latest first."""
    async with opened_store(database) as store:
        records = await listed.of(store)
        waits = await waits_of(store, records) if listed.waiting else ()
    if json:
        for record in records:
            print_json(fields_of(record) | ({"waiting": _waits(record, waits)} if listed.waiting else {}))
    elif waits:
        _draw_waits(waits)
    elif records:
        console().print(table_of(records))
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
        what = operation_words(failure.step, failure.operation)
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
        return ids.first_at(int((now.timestamp() - seconds) * 1000))
    except (ValueError, KeyError, OverflowError) as error:
        raise DefinitionError(f"{older!r} is no age; write 90s, 15m, 1h or 2d") from error


def fields_of(record: SagaRecord) -> dict[str, Any]:
    """A saga for programs."""
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


def table_of(records: Sequence[SagaRecord]) -> Table:
    """Sagas for people."""
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
    return table


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
    return None if error is None else error.words


def _duration(record: SagaRecord) -> str:
    if not record.state.ended or record.started_at is None or record.updated_at is None:
        return ""
    return f"{(record.updated_at - record.started_at).total_seconds():.1f}s"
