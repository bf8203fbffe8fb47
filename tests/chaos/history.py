"""The judge. It knows nothing of sagaflow's code: it reads what the databases hold when all is at rest, and decides.

What it goes by is only this: the steps of an order and what comes before what; the rows that the services have written,
each when it happened; the books of the gateway; the scripts; and the tables of the coordinator, by SQL.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.notebook import Note
from tests.chaos.scripts import BEFORE_PIVOT, BEHIND_PIVOT, PIVOT, SALE, Moods, may_be_stuck, must_not_complete

AFTER: Final[Mapping[str, Sequence[str]]] = {
    "orders.place": (),
    "payments.authorize": ("orders.place",),
    "stock.reserve": ("orders.place",),
    "stock.label": ("stock.reserve",),
    PIVOT: ("payments.authorize", "stock.label"),
    "orders.approve": (PIVOT,),
    "stock.ship": (PIVOT,),
}
"""The steps, and those that are done before and undone after each."""

AUTHORIZE: Final = "payments.authorize"

ENDED: Final = frozenset({"COMPLETED", "COMPENSATED", "ABANDONED"})

REASONS: Final = frozenset({"Refused", "Failed", "TimerFired", "CancelRequested", "DeadlinePassed"})
"""Events that can have turned a saga round."""


@dataclass(frozen=True, slots=True)
class Saga:
    """A row of the coordinator."""

    saga_id: str
    key: str
    status: str
    version: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the journal."""

    seq: int
    status: str
    event: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What a service has done (`done`) or undone, or what the gateway has booked (`hold`, `void`, `capture`)."""

    at: float
    saga_id: str
    step: str
    what: str


@dataclass(frozen=True, slots=True)
class Sale:
    """A row that a till has written in the transaction in which it started its order."""

    key: str
    saga_id: str


@dataclass
class History:
    """All that there is to be judged."""

    sagas: Sequence[Saga] = ()
    journal: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    agenda: Mapping[str, bool] = field(default_factory=dict)
    """The sagas that will be looked at again, and whether there is a time for it."""
    effects: Sequence[Effect] = ()
    gateway: Sequence[Effect] = ()
    moods: Mapping[str, Moods] = field(default_factory=dict)
    """The scripts, by key."""
    promised: Mapping[str, str] = field(default_factory=dict)
    """The ids of the sagas that customers were told to be started, by key."""
    sales: Sequence[Sale] = ()
    notes: Sequence[Note] = ()
    """What clients have asked for and were told, as they wrote it down."""

    @property
    def statuses(self) -> Counter[str]:
        """How many sagas there are of each status."""
        return Counter(saga.status for saga in self.sagas)


def find_faults(history: History) -> Sequence[str]:
    """What is wrong, a line for each; nothing, if all is well."""
    return list(_faults(history))


def _faults(history: History) -> Iterator[str]:
    keys = Counter(saga.key for saga in history.sagas)
    yield from (f"order {key} has {count} sagas" for key, count in keys.items() if count > 1)
    by_key = {saga.key: saga.saga_id for saga in history.sagas}
    for key, saga_id in history.promised.items():
        if by_key.get(key) != saga_id:
            yield f"order {key} was promised to be saga {saga_id}, and is {by_key.get(key)}"
    yield from _of_the_sales(history.sales, history.notes, by_key)
    yield from _of_the_notes(history.notes, {saga.key: saga for saga in history.sagas})
    known = {saga.saga_id for saga in history.sagas}
    for effect in (*history.effects, *history.gateway):
        if effect.saga_id not in known:
            yield f"{effect.step} was {effect.what} for saga {effect.saga_id}, which is not known"
    for saga_id in [*history.agenda, *history.journal]:
        if saga_id not in known:
            yield f"saga {saga_id} has rows, and is not known"
    effects, gateway = _by_saga(history.effects), _by_saga(history.gateway)
    for saga in history.sagas:
        moods = history.moods.get(saga.key, {})
        journal = history.journal.get(saga.saga_id, ())
        found = [
            *_of_the_end(saga, moods),
            *_of_the_agenda(saga, history.agenda.get(saga.saga_id)),
            *_of_the_journal(saga, journal),
            *_Effects(effects[saga.saga_id], gateway[saga.saga_id]).faults(saga.status),
        ]
        yield from (f"saga {saga.saga_id} ({saga.key}, {saga.status}, {dict(moods)}): {fault}" for fault in found)


def _of_the_sales(sales: Sequence[Sale], notes: Sequence[Note], by_key: Mapping[str, str]) -> Iterator[str]:
    """An order exists if the transaction that it was started in was committed, and only then."""
    sold = {sale.key for sale in sales}
    for sale in sales:
        if by_key.get(sale.key) != sale.saga_id:
            yield f"{sale.key} was sold with saga {sale.saga_id}, and is {by_key.get(sale.key)}"
    for key, saga_id in by_key.items():
        if key.startswith(SALE) and key not in sold:
            yield f"{key} is saga {saga_id}, and its sale was never committed"
    for note in notes:
        if note.what == "committed" and note.key not in sold:
            yield f"{note.key} was told to be committed, and is not there"
        if note.what == "rolled back" and (note.key in sold or note.key in by_key):
            yield f"{note.key} was rolled back, and is there"


def _of_the_notes(notes: Sequence[Note], by_key: Mapping[str, Saga]) -> Iterator[str]:
    """What a client was told is the truth, and the same each time."""
    for note in notes:
        saga = by_key.get(note.key)
        if note.saga_id and (saga is None or saga.saga_id != note.saga_id):
            yield f"a client was told that {note.key} is saga {note.saga_id}, and it is {saga and saga.saga_id}"
        elif note.what == "ended" and saga is not None and saga.status != note.status:
            yield f"a client was told that {note.key} is {note.status}, and it is {saga.status}"


def _by_saga(effects: Sequence[Effect]) -> Mapping[str, list[Effect]]:
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        found[effect.saga_id].append(effect)
    return found


def _of_the_end(saga: Saga, moods: Moods) -> Iterator[str]:
    if saga.status == "STUCK":
        if not may_be_stuck(moods):
            yield "is stuck, and its script gives no cause"
    elif saga.status not in ("COMPLETED", "COMPENSATED"):
        yield "has not ended"
    if saga.status == "COMPLETED" and must_not_complete(moods):
        yield "is completed, though a step cannot have been done"


def _of_the_agenda(saga: Saga, is_due: bool | None) -> Iterator[str]:
    if saga.status in ENDED and is_due is not None:
        yield "has ended, and is on the agenda still"
    if saga.status not in ENDED and is_due is None:
        yield "is open, and not on the agenda"
    if saga.status in ("RUNNING", "COMPENSATING") and is_due is False:
        yield "is open, and nothing is due: it is stranded"


def _of_the_journal(saga: Saga, journal: Sequence[Entry]) -> Iterator[str]:
    numbers = [entry.seq for entry in journal]
    if numbers != list(range(1, saga.version + 1)):
        yield f"is of version {saga.version}, and its journal has the rows {numbers}"
    if journal and journal[0].event != "Started":
        yield f"its journal begins with {journal[0].event}"
    if journal and journal[-1].status != saga.status:
        yield f"its journal ends with {journal[-1].status}"
    ended = [entry for entry in journal if entry.status in ENDED]
    if ended:
        later = [entry for entry in journal if entry.seq > ended[0].seq and entry.status != ended[0].status]
        yield from (f"was {ended[0].status}, and became {entry.status} with row {entry.seq}" for entry in later)
    if saga.status == "COMPENSATED" and not REASONS & {entry.event for entry in journal}:
        yield "is undone, and its journal has no reason for it"


class _Effects:
    """What was done and undone for one saga."""

    def __init__(self, effects: Sequence[Effect], gateway: Sequence[Effect]) -> None:
        self._times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for effect in (*effects, *gateway):
            self._times[effect.step, effect.what].append(effect.at)

    def faults(self, status: str) -> Iterator[str]:
        yield from self._of_counts()
        yield from self._of_order()
        yield from self._of_never_both()
        if status == "COMPLETED":
            yield from self._of_completed()
        if status == "COMPENSATED":
            yield from self._of_compensated()

    def _count(self, step: str, what: str) -> int:
        return len(self._times[step, what])

    def _of_counts(self) -> Iterator[str]:
        for (step, what), times in list(self._times.items()):
            if len(times) > 1:
                yield f"{step} was {what} {len(times)} times"
            if step not in AFTER:
                yield f"{step} was {what}, which is no step"
        for step in BEFORE_PIVOT:
            if step != AUTHORIZE and self._count(step, "undone") and not self._count(step, "done"):
                yield f"{step} was undone, and never done"
        for step in (PIVOT, *BEHIND_PIVOT):
            if self._count(step, "undone"):
                yield f"{step} was undone, which nothing can undo"

    def _of_order(self) -> Iterator[str]:
        for step, before in AFTER.items():
            for earlier in before:
                yield from self._in_order(earlier, "done", step, "done")
                yield from self._in_order(step, "undone", earlier, "undone")
            yield from self._in_order(step, "done", step, "undone")
        yield from self._in_order(AUTHORIZE, "void", "orders.place", "undone")

    def _in_order(self, first: str, what_first: str, then: str, what_then: str) -> Iterator[str]:
        firsts, thens = self._times[first, what_first], self._times[then, what_then]
        if firsts and thens and max(firsts) > min(thens):
            yield f"{then} was {what_then} before {first} was {what_first}"

    def _of_never_both(self) -> Iterator[str]:
        undone = [step for step in BEFORE_PIVOT if self._count(step, "undone")]
        taken = self._count(PIVOT, "done") or self._count(PIVOT, "capture")
        if taken and (undone or self._count(AUTHORIZE, "void")):
            yield f"the money was taken, and {undone} undone"
        if not self._count(PIVOT, "capture"):
            yield from (
                f"{step} was done, and the money never taken" for step in BEHIND_PIVOT if self._count(step, "done")
            )

    def _of_completed(self) -> Iterator[str]:
        for step in AFTER:
            if self._count(step, "done") != 1:
                yield f"{step} is missing"
            if self._count(step, "undone"):
                yield f"{step} was undone"
        if self._count(AUTHORIZE, "hold") != 1 or self._count(AUTHORIZE, "void"):
            yield "the money is not set aside at the gateway"
        if self._count(PIVOT, "capture") != 1:
            yield "the money is not taken at the gateway"

    def _of_compensated(self) -> Iterator[str]:
        for step in BEFORE_PIVOT:
            if self._count(step, "done") and not self._count(step, "undone"):
                yield f"{step} was done, and never undone"
        for step in (PIVOT, *BEHIND_PIVOT):
            if self._count(step, "done"):
                yield f"{step} was done"
        if self._count(AUTHORIZE, "hold") and not self._count(AUTHORIZE, "void"):
            yield "money is set aside at the gateway still"
        if self._count(PIVOT, "capture"):
            yield "the money was taken at the gateway"


# Reading.

SAGAS: Final = "SELECT id::text AS saga_id, key, status, version FROM sagaflow.saga"
JOURNAL: Final = "SELECT saga_id::text AS saga_id, seq, status, event ->> 'event' AS event FROM sagaflow.journal"
AGENDA: Final = "SELECT saga_id::text AS saga_id, due_at < 'infinity' AS is_due FROM sagaflow.agenda"
SALES: Final = "SELECT key, saga AS saga_id FROM till.sale"
EFFECTS: Final = "SELECT extract(epoch FROM at)::float8 AS at, saga, step, what FROM effect"
GATEWAY: Final = "SELECT at, saga, what FROM entry"
STEP_OF: Final = {"hold": AUTHORIZE, "void": AUTHORIZE, "capture": PIVOT}


async def read_history(
    coordinator: str,
    services: Sequence[str],
    gateway: Path,
    *,
    notes: Sequence[Note],
    moods: Callable[[str], Moods],
    promised: Mapping[str, str],
) -> History:
    """Read it from the database of the coordinator, which is the tills' too, those of the services, and the books of
    the gateway; `moods` gives the script of a key."""
    connection = await asyncpg.connect(coordinator)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            sagas = [Saga(**row) for row in await connection.fetch(SAGAS)]
            journal: dict[str, list[Entry]] = defaultdict(list)
            for row in await connection.fetch(f"{JOURNAL} ORDER BY saga_id, seq"):
                journal[row["saga_id"]].append(Entry(row["seq"], row["status"], row["event"]))
            sales = [Sale(**row) for row in await connection.fetch(SALES)]
            agenda = {row["saga_id"]: row["is_due"] for row in await connection.fetch(AGENDA)}
    finally:
        await connection.close()
    effects: list[Effect] = []
    for url in services:
        connection = await asyncpg.connect(url)
        try:
            effects += [Effect(*row) for row in await connection.fetch(EFFECTS)]
        finally:
            await connection.close()
    return History(
        sagas,
        journal,
        agenda,
        effects,
        _read_gateway(gateway),
        {saga.key: moods(saga.key) for saga in sagas},
        promised,
        sales,
        notes,
    )


def _read_gateway(path: Path) -> Sequence[Effect]:
    with closing(sqlite3.connect(path)) as books:
        rows = books.execute(GATEWAY).fetchall()
    return [Effect(at, saga, STEP_OF[what], what) for at, saga, what in rows]
