"""`sagaflow check`: new code, held against the runs in a SQLite file; and `list --waiting`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from sagaflow import Coordinator, Participant, Replies, Saga, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteConnection, SqliteStore, SqliteTransactions
from sagaflow.definitions.records import SagaFilter
from tests.cli.conftest import Sagaflow, Trips, book_room_now, cancel_room, trip

without_flight = Saga("trip", str)
without_flight.step("travel.book_room")(lambda city, replies: city)

other = Saga("other", str)
other.step("travel.book_room")(lambda city, replies: city)

next_version = Saga("trip", str, version=2)


@next_version.step("travel.book_room", compensation_attempts=1)
def book_room(city: str, replies: Replies) -> str:
    """As before."""
    return city


both = [trip, next_version]

without_planes: Participant[SqliteConnection] = Participant("travel")
without_planes.step("book_room")(book_room_now.function).compensation(cancel_room)


@pytest.fixture
def waiting(tmp_path: Path) -> Trips:
    """A file in which two trips have a room and wait for a flight, which nobody serves."""
    path = tmp_path / "waiting.sqlite"
    oslo, bonn = asyncio.run(book_rooms(path))
    return Trips(f"sqlite:///{path}", paris=oslo, rome=bonn, atlantis=bonn)


async def book_rooms(path: Path) -> list[UUID]:
    transport = InProcessTransport()
    async with (
        SqliteStore(path) as store,
        SqliteTransactions(path) as transactions,
        serve(without_planes, transport=transport, transactions=transactions),
        Coordinator([trip], store=store, transport=transport) as sagas,
    ):
        runs = [await sagas.start(trip, city, key=city) for city in ("Oslo", "Bonn")]
        async with asyncio.timeout(10):
            while len(await store.list(SagaFilter(waiting=True), 10)) < len(runs):  # noqa: ASYNC110  # in a database
                await asyncio.sleep(0.01)
        return [run.saga_id for run in runs]


@pytest.mark.parametrize("place", ["tests.cli.conftest:trip", "tests.cli.test_check:both"])
def test_code_that_has_all_that_runs_is_good_to_go(sagaflow: Sagaflow, waiting: Trips, place: str) -> None:
    said = sagaflow("check", place, "--database", waiting.database)
    assert (said.code, said.output) == (0, "good to go: 2 open runs can go on with this code\n")


def test_runs_whose_commands_are_all_made_need_no_code_and_nothing_is_written(
    sagaflow: Sagaflow, waiting: Trips
) -> None:
    before = Path(waiting.database.removeprefix("sqlite:///")).read_bytes()
    said = sagaflow("check", "tests.cli.test_check:next_version", "--database", waiting.database)
    assert said.code == 0, "all commands of these runs are made"
    assert "good to go" in said.output
    assert Path(waiting.database.removeprefix("sqlite:///")).read_bytes() == before


def test_runs_that_need_their_code_are_stranded_without_it(sagaflow: Sagaflow, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'begun.sqlite'}"
    begun = asyncio.run(begin(tmp_path / "begun.sqlite"))
    said = sagaflow("check", "tests.cli.test_check:next_version", "--database", database)
    *table, last = said.output.splitlines()
    assert (said.code, last) == (1, "5 of 5 open runs would be stranded")
    words = " ".join(" ".join(table).split())
    assert "trip 1 5 version 1 is not given (given: 2); serve it too until its runs have ended." in words
    assert "travel.book_flight is gone" in words
    assert sum(str(saga_id) in words for saga_id in begun) == 3
    said = sagaflow("check", "tests.cli.test_check:without_flight", "--json", "--database", database)
    *stranded, summary = said.lines
    assert {line["saga_id"] for line in stranded} == {str(saga_id) for saga_id in begun}
    assert {(line["saga"], line["version"], line["reason"], line["step"]) for line in stranded} == {
        ("trip", 1, "steps", None)
    }
    assert (said.code, summary["judged"], summary["stranded"], summary["of_other_sagas"]) == (1, 5, 5, 0)
    assert "Raise the version" in summary["changed"][0]
    said = sagaflow("check", "tests.cli.test_check:other", "--database", database)
    assert (said.code, said.output.splitlines()) == (
        0,
        [
            "not judged: 5 open runs of sagas that were not given",
            "good to go: 0 open runs can go on with this code",
        ],
    )


async def begin(path: Path) -> list[UUID]:
    """Five trips whose rooms nobody books."""
    async with SqliteStore(path) as store, Coordinator([trip], store=store, transport=InProcessTransport()) as sagas:
        return [run.saga_id for run in await sagas.start_many(trip, {str(number): "Rome" for number in range(5)})]


def test_a_stuck_rollback_needs_no_code(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("check", "tests.cli.test_check:without_flight", "--database", trips.database)
    assert said.code == 0
    assert said.output.splitlines()[-1] == "good to go: 1 open run can go on with this code"
    assert "version 1 of trip has other steps than its open runs" in " ".join(said.output.split())


def test_what_waits_is_listed_with_the_reason_and_since_when(sagaflow: Sagaflow, waiting: Trips) -> None:
    said = sagaflow("list", "--waiting", "--database", waiting.database)
    head, *rows = said.output.splitlines()
    assert " ".join(head.split()) == "saga id saga key waits for since looked at next why"
    assert [row.split()[:4] for row in rows] == [
        [str(waiting.rome), "trip", "Bonn", "travel.book_flight"],
        [str(waiting.paris), "trip", "Oslo", "travel.book_flight"],
    ]
    assert all(row.rstrip().endswith("nobody at travel serves travel.book_flight") for row in rows)
    (line,) = sagaflow("list", "--waiting", "--key", "Oslo", "--json", "--database", waiting.database).lines
    (wait,) = line["waiting"]
    assert (wait["step"], wait["op"]) == ("travel.book_flight", "action")
    assert datetime.fromisoformat(wait["since"]) < datetime.fromisoformat(wait["next_at"])


def test_show_says_why_an_operation_waits_and_when_it_is_looked_at_next(sagaflow: Sagaflow, waiting: Trips) -> None:
    said = sagaflow("show", str(waiting.paris), "--database", waiting.database)
    words = " ".join(said.output.split())
    assert "waits: nobody can do it now, next 20" in words
    assert "Unserved: nobody at travel serves travel.book_flight" in words


def test_nothing_that_has_gone_on_is_listed_as_waiting(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("list", "--waiting", "--database", trips.database)
    assert (said.code, said.output) == (0, "no saga matches\n")
