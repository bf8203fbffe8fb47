"""`sagaflow watch`: one saga until it has ended or is stuck, or the sagas that `list` would show, as they change."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final
from uuid import UUID

from cyclopts import Parameter, validators
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from sagaflow.cli.exit_codes import ExitCode, code_of
from sagaflow.cli.options import Database, Json, SagaMeant, Timeout, as_typed, console, moment, print_json
from sagaflow.cli.sagas import EVERY_SAGA, Listed, fields_of, table_of
from sagaflow.cli.servers import opened_store
from sagaflow.cli.show import as_drawn, history, journal_fields
from sagaflow.cli.timeline import timeline
from sagaflow.cli.why import saga_meant
from sagaflow.core.plan import Plan
from sagaflow.core.state import SETTLED, SagaStatus
from sagaflow.definitions.messages import printable
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.errors import SagaNotFound
from sagaflow.runners.overviews import look_at

LINES: Final = 8
"""So much of what happened, the latest, is shown below the drawing."""

EVERY_SECONDS: Final = 1.0

Every = Annotated[
    float,
    Parameter(validator=validators.Number(gte=0.1), help="How often to look, in seconds; cheap for the database."),
]


async def watch(
    saga: SagaMeant | None = None,
    /,
    *,
    database: Database,
    listed: Listed = EVERY_SAGA,
    every: Every = EVERY_SECONDS,
    timeout: Timeout = None,
    json: Json = False,
) -> int:
    """Watch one saga until it has ended or is stuck; the exit code says how. Without one: those that `list` shows.

    A terminal is drawn anew each time; a file, and --json, is written a line for each thing that happens.
    """
    async with opened_store(database) as store:
        if saga is None:
            return await _watch_list(store, listed, every, timeout, json)
        saga_id = await saga_meant(store, saga)
        _, plan, _ = await look_at(store, saga_id)
        with Screen(json) as screen:
            teller = _Teller(store, plan, screen, json)
            record = await until_settled(store, saga_id, timeout, every, teller.tell)
    code = code_of(record.status)
    if not json:
        print(f"saga {saga_id} is {record.status if code is not ExitCode.STILL_OPEN else 'still on its way'}")
        if record.status is SagaStatus.STUCK:
            print(f"    $ {as_typed(['sagaflow', 'why', str(saga_id)], database)}")
    return code


async def _nothing(record: SagaRecord) -> None:
    """Nobody wants to be told."""


async def until_settled(
    store: SagaStore,
    saga_id: UUID,
    timeout: float | None = None,
    every: float = EVERY_SECONDS,
    tell: Callable[[SagaRecord], Awaitable[None]] = _nothing,
) -> SagaRecord:
    """The saga when it has ended or is stuck, or as it is after `timeout` seconds; `tell` is awaited with each change.

    Raises:
        SagaNotFound: it is gone.
    """
    until = None if timeout is None else time.monotonic() + timeout
    version = -1
    while True:
        records = await store.find([saga_id])
        if not records:
            raise SagaNotFound(f"there is no saga {saga_id} any more")
        (record,) = records
        if record.version != version:
            version = record.version
            await tell(record)
        left = every if until is None else min(every, until - time.monotonic())
        if record.status in SETTLED or left <= 0:
            return record
        await pause(left)


async def pause(seconds: float) -> None:
    """Until it is looked again."""
    await asyncio.sleep(seconds)


class Screen:
    """Where people watch: a terminal is drawn anew, and left as it was drawn last. None of it with --json."""

    def __init__(self, json: bool) -> None:
        self.console = console()
        self.is_live = not json and sys.stdout.isatty()
        self._live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Screen:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.is_live:
            self._live.stop()

    def draw(self, drawn: RenderableType) -> None:
        self._live.update(drawn, refresh=True)


class _Teller:
    """Tells what has happened to a saga since it was looked at last."""

    def __init__(self, store: SagaStore, plan: Plan, screen: Screen, json: bool) -> None:
        self._store, self._plan, self._screen, self._json = store, plan, screen, json
        self._told = 0

    async def tell(self, record: SagaRecord) -> None:
        journal = [entry for entry in await self._store.journal(record.saga_id) if entry.seq <= record.version]
        if self._screen.is_live:
            drawn = as_drawn(self._screen.console, record, self._plan)
            self._screen.draw(Group(drawn, Text(), history(journal, record.version - LINES)))
        elif self._json:
            for fields in journal_fields(journal)[self._told :]:
                print_json({"saga_id": record.saga_id, **fields})
        else:
            for line in _lines(journal)[self._told :]:
                print(line)
        sys.stdout.flush()
        self._told = len(journal)


def _lines(journal: Sequence[JournalEntry]) -> Sequence[str]:
    return [
        f"{moment(entry.at)}  {entry.status}  {printable(line.what)}" + (f"  {printable(line.why)}" if line.why else "")
        for entry, line in zip(journal, timeline(journal), strict=True)
    ]


async def _watch_list(store: SagaStore, listed: Listed, every: float, timeout: float | None, json: bool) -> int:
    until = None if timeout is None else time.monotonic() + timeout
    versions: dict[UUID, int] = {}
    with Screen(json) as screen:
        while True:
            records = await listed.of(store)
            if screen.is_live:
                screen.draw(table_of(records))
            else:
                for record in reversed(records):
                    if versions.get(record.saga_id) != record.version:
                        _print_changed(record, json)
                sys.stdout.flush()
            versions = {record.saga_id: record.version for record in records}
            left = every if until is None else min(every, until - time.monotonic())
            if left <= 0:
                return ExitCode.DONE
            await pause(left)


def _print_changed(record: SagaRecord, json: bool) -> None:
    if json:
        print_json(fields_of(record))
    else:
        print(f"{moment(record.updated_at)}  {record.saga_id}  {record.saga}  {printable(record.key)}  {record.status}")
