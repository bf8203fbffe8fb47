"""`sagaflow watch`: what happens while it watches, and what the exit code says of how it ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from sagaflow import Coordinator, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.cli import watch as watching
from tests.cli.conftest import Sagaflow, Trips, travel, trip


@pytest.mark.parametrize(("key", "code", "status"), [("Paris", 0, "COMPLETED"), ("Rome", 3, "COMPENSATED")])
def test_the_exit_code_says_how_it_ended(sagaflow: Sagaflow, trips: Trips, key: str, code: int, status: str) -> None:
    said = sagaflow("watch", key, "--database", trips.database)
    assert (said.code, said.errors) == (code, "")
    *lines, last = said.output.splitlines()
    assert last.endswith(f" is {status}")
    assert " started" in lines[0]


def test_of_a_stuck_one_it_says_what_to_type(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("watch", "Atlantis", "--database", trips.database)
    assert said.code == 4
    assert said.output.endswith(f"    $ sagaflow why {trips.atlantis} --database {trips.database}\n")
    assert "\x1b" not in said.output


def test_an_abandoned_one_has_a_code_of_its_own(sagaflow: Sagaflow, trips: Trips) -> None:
    sagaflow("abandon", str(trips.atlantis), "--reason", "let it be", "--database", trips.database)
    said = sagaflow("watch", "Atlantis", "--json", "--database", trips.database)
    assert said.code == 5
    assert [line["seq"] for line in said.lines] == list(range(1, len(said.lines) + 1))
    assert said.lines[-1]["what"] == "abandoned"


Begun = Callable[[str], str]


@pytest.fixture
def begun(sagaflow: Sagaflow, trips: Trips) -> Begun:
    """Starts a trip, with which nobody goes on, and says its id."""

    def start(city: str) -> str:
        words = ["start", "tests.cli.conftest:trip", "--input", f'"{city}"', "--key", f"to {city}"]
        said = sagaflow(*words, "--database", trips.database)
        assert said.code == 0
        return said.output.strip()

    return start


async def go_on(database: str, saga_id: str) -> None:
    """What coordinators and participants do, until this saga has ended or is stuck."""
    path = Path(database.removeprefix("sqlite:///"))
    transport = InProcessTransport()
    async with (
        SqliteStore(path) as store,
        SqliteTransactions(path) as transactions,
        serve(travel, transport=transport, transactions=transactions),
        Coordinator([trip], store=store, transport=transport, poll_seconds=0.05) as sagas,
    ):
        (record,) = await store.find([UUID(saga_id)])
        await sagas.outcome(record.saga_id, timeout=10)


def at_first_pause(monkeypatch: pytest.MonkeyPatch, what: Callable[[], Awaitable[None]]) -> None:
    """Have something happen while nobody looks."""

    async def pause(seconds: float) -> None:
        monkeypatch.setattr(watching, "pause", asyncio.sleep)
        await what()

    monkeypatch.setattr(watching, "pause", pause)


def test_it_tells_what_happens_when_it_happens(
    sagaflow: Sagaflow, trips: Trips, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = begun("Oslo")
    at_first_pause(monkeypatch, lambda: go_on(trips.database, saga_id))
    said = sagaflow("watch", saga_id, "--database", trips.database)
    assert said.code == 0
    told = [line.split("  ")[1:3] for line in said.output.splitlines()]
    assert told[0] == ["RUNNING", "started"]
    assert told[-2] == ["COMPLETED", "travel.book_flight done"]
    assert said.output.endswith(f"saga {saga_id} is COMPLETED\n")


def test_a_terminal_is_drawn_anew(
    sagaflow: Sagaflow, trips: Trips, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga_id = begun("Oslo")
    at_first_pause(monkeypatch, lambda: go_on(trips.database, saga_id))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = sagaflow("watch", saga_id, "--database", trips.database)
    assert said.code == 0
    assert said.output.count("not begun") == 1, "at first"
    assert "travel.book_flight done" in said.output
    assert said.output.rindex("\x1b[?25h") > said.output.rindex("\x1b[?25l"), "the cursor is shown again"


def test_it_waits_no_longer_than_it_is_told_to(sagaflow: Sagaflow, trips: Trips, begun: Begun) -> None:
    said = sagaflow("watch", begun("Oslo"), "--timeout", "0.01", "--database", trips.database)
    assert said.code == 6
    assert said.output.endswith("is still on its way\n")


def test_lists_are_watched_too(sagaflow: Sagaflow, trips: Trips, begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    saga_id = begun("Oslo")

    async def then() -> None:
        await go_on(trips.database, saga_id)
        at_first_pause(monkeypatch, interrupt)

    async def interrupt() -> None:
        raise KeyboardInterrupt

    at_first_pause(monkeypatch, then)
    said = sagaflow("watch", "--saga", "trip", "--limit", "2", "--json", "--database", trips.database)
    assert said.code == 130
    assert [(line["key"], line["status"]) for line in said.lines] == [
        ("Atlantis", "STUCK"),
        ("to Oslo", "RUNNING"),
        ("to Oslo", "COMPLETED"),
    ]
    said = sagaflow("watch", "--status", "STUCK", "--timeout", "0", "--database", trips.database)
    assert (said.code, said.output.count("\n")) == (0, 1)
    assert said.output.rstrip().endswith("trip  Atlantis  STUCK")
