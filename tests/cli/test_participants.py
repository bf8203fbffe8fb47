"""`sagaflow participants`: who serves what, and what nobody serves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sagaflow import Participant
from sagaflow.adapters.sqlite import SqliteStore
from sagaflow.definitions.announcements import announcement_of
from tests.cli.conftest import Sagaflow, Trips, travel

TRIP = "tests.cli.conftest:trip"
NOBODY = "saga trip, step travel.book_{}: nobody answers for travel; start a process that serves it"
WITHOUT = (
    "saga trip, step travel.book_room: travel serves it without a compensation and gives no reason; add one with "
    "@book_room.compensation, or say no_compensation='why'"
)


def forgetful() -> Participant[Any]:
    """It can book, but not cancel."""
    participant: Participant[Any] = Participant("travel")

    @participant.step("book_room")
    async def book_room(city: str) -> None: ...

    @participant.step("book_flight", no_compensation="it can be\x1b left unused")
    async def book_flight(city: str) -> None: ...

    return participant


def announce(path: Path, participant: Participant[Any], *, live_seconds: float = 60.0) -> str:
    """Write an announcement into a file; returns the URL of the file."""

    async def keep() -> None:
        async with SqliteStore(path) as store:
            await store.keep_announcements([announcement_of(participant, "host-1:17")], live_seconds)

    asyncio.run(keep())
    return f"sqlite:///{path}"


def silence(path: Path) -> None:
    """Have all that was announced in a file be over."""

    async def keep() -> None:
        async with SqliteStore(path) as store:
            announced = [kept.announcement for kept in await store.announcements()]
            await store.keep_announcements(announced, 0.0)

    asyncio.run(keep())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.sqlite"


def test_it_lists_who_serves_what_and_how_it_is_undone(sagaflow: Sagaflow, path: Path) -> None:
    said = sagaflow("participants", TRIP, "--database", announce(path, travel))
    assert (said.code, said.errors) == (0, "")
    titles, room, flight = said.output.splitlines()
    assert titles.split() == ["participant", "host", "heard", "serves", "undone", "by"]
    assert room.split()[:2] == ["travel", "host-1:17"]
    assert room.split()[4:] == ["live", "book_room", "its", "compensation"]
    assert flight.split() == ["book_flight", "nothing:", "it", "can", "be", "left", "unused"]


def test_what_is_missing_is_told_and_is_an_exit_code(sagaflow: Sagaflow, path: Path) -> None:
    said = sagaflow("participants", TRIP, "--database", announce(path, forgetful()))
    assert said.code == 1
    assert said.output.splitlines()[-1] == WITHOUT
    assert "\x1b left" not in said.output


def test_who_is_silent_serves_nothing(sagaflow: Sagaflow, path: Path) -> None:
    said = sagaflow("participants", TRIP, "--database", announce(path, travel, live_seconds=0.0))
    assert said.code == 1
    assert "silent" in said.output
    assert said.output.splitlines()[-2:] == [NOBODY.format("room"), NOBODY.format("flight")]


def test_programs_are_given_all_of_it(sagaflow: Sagaflow, path: Path) -> None:
    said = sagaflow("participants", TRIP, "--json", "--database", announce(path, forgetful()))
    announced, gap = said.lines
    assert gap == {"kind": "gap", "gap": WITHOUT}
    assert (announced["kind"], announced["participant"], announced["live"]) == ("announcement", "travel", True)
    assert announced["hash"] == announcement_of(forgetful(), "").hash
    assert announced["steps"][1] == {
        "name": "book_flight",
        "external": False,
        "has_compensation": False,
        "no_compensation": "it can be\x1b left unused",
        "command_schema": {"type": "string"},
        "result_schema": {"type": "null"},
    }


def test_without_a_module_the_sagas_are_looked_at_that_run(sagaflow: Sagaflow, trips: Trips, path: Path) -> None:
    """Of the three trips, Atlantis is stuck, so its undo is still owed."""
    silence(Path(trips.database.removeprefix("sqlite:///")))
    said = sagaflow("participants", "--database", trips.database)
    assert said.output.splitlines()[-2:] == [NOBODY.format("room"), NOBODY.format("flight")]
    assert said.code == 1
    assert sagaflow("participants", "--database", announce(path, travel, live_seconds=0.0)).code == 0, "nothing runs"


def test_nobody_has_announced_anything(sagaflow: Sagaflow, path: Path) -> None:
    sagaflow("db", "upgrade", "coordinator", "--database", f"sqlite:///{path}")
    said = sagaflow("participants", "--database", f"sqlite:///{path}")
    assert (said.code, said.output) == (0, "no participant has announced itself yet\n")
