"""The judge is shown histories that were made wrong by hand, and has to say what is wrong with each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.chaos.crew import REPOSITORY
from tests.chaos.history import AFTER, AUTHORIZE, Effect, Entry, History, Saga, Sale, find_faults
from tests.chaos.notebook import Note
from tests.chaos.scripts import BEFORE_PIVOT, PIVOT, Moods

ID = "00000000-0000-0000-0000-000000000001"
KEY = "order-1"


def history(
    status: str,
    effects: list[tuple[str, str]],
    events: list[tuple[str, str]],
    *,
    moods: Moods | None = None,
) -> History:
    """One saga. The effects happen one after the other."""
    happened = [Effect(float(at), ID, step, what) for at, (step, what) in enumerate(effects)]
    booked = ("hold", "void", "capture")
    return History(
        sagas=[Saga(ID, KEY, status, len(events))],
        journal={ID: [Entry(seq, status, event) for seq, (event, status) in enumerate(events, 1)]},
        agenda={} if status in ("COMPLETED", "COMPENSATED") else {ID: status != "STUCK"},
        effects=[one for one in happened if one.what not in booked],
        gateway=[one for one in happened if one.what in booked],
        moods={KEY: moods or {}},
        promised={KEY: ID},
    )


def completed() -> History:
    """An order that went well."""
    effects = [("orders.place", "done"), (AUTHORIZE, "hold"), (AUTHORIZE, "done"), ("stock.reserve", "done")]
    effects += [("stock.label", "done"), (PIVOT, "capture"), (PIVOT, "done")]
    effects += [("orders.approve", "done"), ("stock.ship", "done")]
    events = [("Started", "RUNNING"), *[("Succeeded", "RUNNING")] * 6, ("Succeeded", "COMPLETED")]
    return history("COMPLETED", effects, events)


def compensated() -> History:
    """An order that was undone when the label was refused."""
    effects = [("orders.place", "done"), ("stock.reserve", "done"), (AUTHORIZE, "hold"), (AUTHORIZE, "done")]
    effects += [(AUTHORIZE, "void"), (AUTHORIZE, "undone"), ("stock.reserve", "undone"), ("orders.place", "undone")]
    events = [("Started", "RUNNING"), *[("Succeeded", "RUNNING")] * 3, ("Refused", "COMPENSATING")]
    events += [*[("Succeeded", "COMPENSATING")] * 2, ("Succeeded", "COMPENSATED")]
    return history("COMPENSATED", effects, events, moods={"stock.label": "refuse"})


def stuck() -> History:
    """An order of which the money cannot be given back."""
    effects = [("orders.place", "done"), ("stock.reserve", "done"), (AUTHORIZE, "hold"), (AUTHORIZE, "done")]
    effects += [("stock.reserve", "undone")]
    events = [("Started", "RUNNING"), ("Refused", "COMPENSATING"), ("Failed", "STUCK")]
    return history("STUCK", effects, events, moods={"stock.label": "refuse", f"undo {AUTHORIZE}": "never"})


SOLD = "sale-1"


def sold() -> History:
    """An order that was started in the transaction of its sale, asked for twice, and waited for; and a sale that was
    rolled back."""
    given = completed()
    (saga,) = given.sagas
    return replace(
        given,
        sagas=[replace(saga, key=SOLD)],
        promised={},
        sales=[Sale(SOLD, ID), Sale(SOLD, ID)],
        notes=[
            Note(SOLD, "asked"),
            Note(SOLD, "committed", ID),
            Note(SOLD, "ended", ID, "COMPLETED"),
            Note("sale-2", "asked"),
            Note("sale-2", "rolled back"),
        ],
    )


def without(given: History, step: str, what: str) -> History:
    """The same, but this has not happened."""
    return replace(
        given,
        effects=[one for one in given.effects if (one.step, one.what) != (step, what)],
        gateway=[one for one in given.gateway if (one.step, one.what) != (step, what)],
    )


def with_more(given: History, step: str, what: str, *, at: float = 100.0, saga_id: str = ID) -> History:
    """The same, but this has happened too."""
    if what in ("hold", "void", "capture"):
        return replace(given, gateway=[*given.gateway, Effect(at, saga_id, step, what)])
    return replace(given, effects=[*given.effects, Effect(at, saga_id, step, what)])


def at_another_time(given: History, step: str, what: str, at: float) -> History:
    """The same, but this has happened then."""
    return with_more(without(given, step, what), step, what, at=at)


def with_journal(given: History, *entries: Entry, version: int | None = None) -> History:
    """The same with another journal."""
    (saga,) = given.sagas
    return replace(
        given, journal={ID: entries}, sagas=[replace(saga, version=len(entries) if version is None else version)]
    )


def with_status(given: History, status: str) -> History:
    """The same, but the saga has another status."""
    return replace(given, sagas=[replace(given.sagas[0], status=status)])


@pytest.mark.parametrize(
    "right", [completed(), compensated(), stuck(), sold()], ids=["well", "undone", "stuck", "sold"]
)
def test_nothing_is_wrong_with_what_is_right(right: History) -> None:
    assert find_faults(right) == []


ENTRIES = list(completed().journal[ID])
UNDONE_ENTRIES = list(compensated().journal[ID])

WRONG: list[tuple[str, History]] = [
    *((f"{step} is missing", without(completed(), step, "done")) for step in AFTER),
    *((f"{step} was done 2 times", with_more(completed(), step, "done")) for step in AFTER),
    *((f"{step} was undone", with_more(completed(), step, "undone")) for step in BEFORE_PIVOT),
    ("the money is not set aside", without(completed(), AUTHORIZE, "hold")),
    ("the money is not taken", without(completed(), PIVOT, "capture")),
    ("was capture 2 times", with_more(completed(), PIVOT, "capture")),
    ("was hold 2 times", with_more(completed(), AUTHORIZE, "hold")),
    ("the money was taken, and", with_more(completed(), AUTHORIZE, "void")),
    ("stock.label was done before stock.reserve was done", at_another_time(completed(), "stock.label", "done", -1.0)),
    ("a step cannot have been done", replace(completed(), moods={KEY: {"stock.label": "refuse"}})),
    *(
        (f"{step} was done, and never undone", without(compensated(), step, "undone"))
        for step in ("orders.place", AUTHORIZE, "stock.reserve")
    ),
    ("money is set aside at the gateway still", without(compensated(), AUTHORIZE, "void")),
    ("orders.place was undone 2 times", with_more(compensated(), "orders.place", "undone")),
    ("was void 2 times", with_more(compensated(), AUTHORIZE, "void", at=4.5)),
    ("stock.label was undone, and never done", with_more(compensated(), "stock.label", "undone", at=4.0)),
    (
        "orders.place was undone before stock.reserve was undone",
        at_another_time(compensated(), "orders.place", "undone", 5.5),
    ),
    (
        "orders.place was undone before payments.authorize was void",
        at_another_time(compensated(), AUTHORIZE, "void", 99),
    ),
    (
        "stock.reserve was undone before stock.reserve was done",
        at_another_time(compensated(), "stock.reserve", "done", 99),
    ),
    ("payments.capture was done", with_more(compensated(), PIVOT, "done")),
    ("the money was taken at the gateway", with_more(compensated(), PIVOT, "capture")),
    ("stock.ship was done, and the money never taken", with_more(stuck(), "stock.ship", "done")),
    ("payments.capture was undone, which nothing can undo", with_more(completed(), PIVOT, "undone")),
    ("which is no step", with_more(completed(), "stock.steal", "done")),
    ("which is not known", with_more(completed(), "orders.place", "done", saga_id="another")),
    ("its script gives no cause", replace(stuck(), moods={})),
    ("has not ended", with_status(compensated(), "COMPENSATING")),
    ("has not ended", with_status(completed(), "RUNNING")),
    ("has not ended", with_status(completed(), "ABANDONED")),
    ("is on the agenda still", replace(completed(), agenda={ID: False})),
    ("not on the agenda", replace(stuck(), agenda={})),
    ("it is stranded", replace(with_status(compensated(), "COMPENSATING"), agenda={ID: False})),
    ("has rows, and is not known", replace(completed(), agenda={"another": True})),
    (
        "its journal has the rows [1, 2, 3, 4, 6, 7, 8]",
        with_journal(completed(), *ENTRIES[:4], *ENTRIES[5:], version=8),
    ),
    ("is of version 9", with_journal(completed(), *ENTRIES, version=9)),
    ("its journal begins with Succeeded", with_journal(completed(), replace(ENTRIES[1], seq=1), *ENTRIES[1:])),
    ("its journal ends with RUNNING", with_journal(completed(), *ENTRIES[:-1])),
    (
        "was COMPLETED, and became COMPENSATED with row 9",
        with_journal(completed(), *ENTRIES, Entry(9, "COMPENSATED", "Succeeded")),
    ),
    (
        "has no reason for it",
        with_journal(compensated(), *(replace(one, event="Succeeded") for one in UNDONE_ENTRIES)),
    ),
    ("has 2 sagas", replace(completed(), sagas=[*completed().sagas, replace(completed().sagas[0], saga_id="another")])),
    ("was promised to be saga another", replace(completed(), promised={KEY: "another"})),
    *(
        (complaint, replace(sold(), sales=sales, notes=notes))
        for complaint, sales, notes in (
            ("was sold with saga another, and is " + ID, [Sale(SOLD, "another")], []),
            ("was sold with saga 2, and is None", [Sale(SOLD, ID), Sale("sale-2", "2")], []),
            ("was sold with saga another", [Sale(SOLD, ID), Sale(SOLD, "another")], []),
            ("its sale was never committed", [], []),
            ("was told to be committed, and is not there", [Sale(SOLD, ID)], [Note("sale-2", "committed")]),
            ("was rolled back, and is there", [Sale(SOLD, ID)], [Note(SOLD, "rolled back")]),
        )
    ),
    *(
        (complaint, replace(completed(), notes=[note]))
        for complaint, note in (
            ("was told that order-1 is saga another", Note(KEY, "promised", "another")),
            ("was told that order-2 is saga 2, and it is None", Note("order-2", "promised", "2")),
            ("was told that order-1 is COMPENSATED", Note(KEY, "ended", ID, "COMPENSATED")),
            ("was told that order-1 is saga another", Note(KEY, "ended", "another", "COMPLETED")),
        )
    ),
    ("has 2 sagas", replace(sold(), sagas=[*sold().sagas, replace(sold().sagas[0], saga_id="another")])),
    ("was promised to be saga 2, and is None", replace(completed(), promised={KEY: ID, "order-2": "2"})),
]


@pytest.mark.parametrize(("complaint", "wrong"), WRONG, ids=[complaint for complaint, _ in WRONG])
def test_what_is_wrong_is_named(complaint: str, wrong: History) -> None:
    faults = find_faults(wrong)
    assert any(complaint in fault for fault in faults), faults


def test_the_judge_imports_nothing_of_what_it_judges() -> None:
    code = "import sys, tests.chaos.history; sys.exit(any(name.startswith('sagaflow') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
