"""Looking at sagas and steering them, in a SQLite file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.cli.options import this_user
from sagaflow.definitions.records import PutAside
from tests.cli.conftest import Sagaflow, Trips

UNKNOWN = "01a20ba5-21fd-794c-a677-e338d25dd52b"


def test_list_shows_the_latest_first(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("list", "--database", trips.database)
    assert said.code == 0
    head, *rows = [line.split() for line in said.output.splitlines()]
    assert head == ["saga", "id", "saga", "key", "status", "started", "took"]
    assert [row[:4] for row in rows] == [
        [str(trips.atlantis), "trip", "Atlantis", "STUCK"],
        [str(trips.rome), "trip", "Rome", "COMPENSATED"],
        [str(trips.paris), "trip", "Paris", "COMPLETED"],
    ]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--status", "STUCK"], ["Atlantis"]),
        (["--status", "COMPLETED", "--status", "STUCK"], ["Atlantis", "Paris"]),
        (["--key", "Rome"], ["Rome"]),
        (["--saga", "trip", "--limit", "1"], ["Atlantis"]),
        (["--saga", "checkout"], []),
    ],
)
def test_list_shows_what_matches(sagaflow: Sagaflow, trips: Trips, options: list[str], keys: list[str]) -> None:
    said = sagaflow("list", "--json", "--database", trips.database, *options)
    assert [line["key"] for line in said.lines] == keys


def test_list_says_that_nothing_matches(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("list", "--saga", "checkout", "--database", trips.database)
    assert (said.code, said.output) == (0, "no saga matches\n")


def test_the_environment_may_name_the_database(
    sagaflow: Sagaflow, trips: Trips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAFLOW_DATABASE", trips.database)
    assert len(sagaflow("list", "--json").lines) == 3


def test_show_tells_a_saga_from_its_beginning(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("show", str(trips.atlantis), "--database", trips.database)
    assert said.code == 0
    words = " ".join(said.output.split())
    for part in (
        "status STUCK",
        "undone for a step was refused",
        "! travel.book_room its undo is stuck ✗ travel.book_flight refused",
        "undo of travel.book_room 1 20",
        "failed: LookupError: the hotel\ufffd[31m is under water",
        "refused: StepRejected: nothing flies to Atlantis",
        "started RUNNING travel.book_room",
        "travel.book_room done RUNNING travel.book_flight",
        "travel.book_flight refused COMPENSATING undo travel.book_room",
        "undo travel.book_room failed STUCK",
    ):
        assert part in words
    assert "\x1b" not in said.output, "what others wrote must not steer the terminal"


def test_show_for_programs(sagaflow: Sagaflow, trips: Trips) -> None:
    (saga,) = sagaflow("show", str(trips.rome), "--json", "--database", trips.database).lines
    assert saga["saga_id"] == str(trips.rome)
    assert (saga["status"], saga["cause"], saga["coordinator"]) == ("COMPENSATED", "REFUSED", "trip")
    assert [(step["step"], step["op"], step["status"], step["attempts"]) for step in saga["steps"]] == [
        ("travel.book_room", "action", "SUCCEEDED", 1),
        ("travel.book_room", "compensation", "SUCCEEDED", 1),
        ("travel.book_flight", "action", "REFUSED", 1),
    ]
    assert saga["steps"][2]["error"] == "StepRejected: nothing flies to Rome"
    assert [entry["seq"] for entry in saga["journal"]] == list(range(1, len(saga["journal"]) + 1))
    assert saga["journal"][-1]["status"] == "COMPENSATED"
    assert [(step["step"], step["kind"], step["standing"]) for step in saga["plan"]] == [
        ("travel.book_room", "compensatable", "undone"),
        ("travel.book_flight", "compensatable", "refused"),
    ]
    assert [(one["step"], one["op"], one["outcome"]) for one in saga["attempts"]] == [
        ("travel.book_room", "action", "done"),
        ("travel.book_flight", "action", "refused"),
        ("travel.book_room", "compensation", "done"),
    ]


def test_show_takes_a_key_too(sagaflow: Sagaflow, trips: Trips) -> None:
    (saga,) = sagaflow("show", "Rome", "--json", "--database", trips.database).lines
    assert saga["saga_id"] == str(trips.rome)


def test_retry_is_written_to_the_journal_with_who_and_why(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("retry", str(trips.atlantis), "--reason", "the sea has gone", "--database", trips.database)
    assert (said.code, said.output) == (0, f"saga {trips.atlantis} is COMPENSATING now\n")
    (saga,) = sagaflow("show", str(trips.atlantis), "--json", "--database", trips.database).lines
    entry = saga["journal"][-1]
    assert entry["what"] == "undo travel.book_room retried by hand"
    assert (entry["actor"], entry["reason"]) == (this_user(), "the sea has gone")
    assert entry["asks_for"] == ["undo travel.book_room"]


def test_skip_goes_on_without_the_step(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow(
        "skip",
        str(trips.atlantis),
        "--step=travel.book_room",
        "--reason=nobody will come",
        "--actor=Poseidon",
        "--json",
        f"--database={trips.database}",
    )
    assert said.lines == [{"saga_id": str(trips.atlantis), "status": "COMPENSATED"}]
    (saga,) = sagaflow("show", str(trips.atlantis), "--json", "--database", trips.database).lines
    assert saga["journal"][-1]["why"] == "Poseidon: nobody will come"


def test_abandon_ends_a_stuck_saga(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("abandon", str(trips.atlantis), "--reason", "let it be", "--database", trips.database)
    assert (said.code, said.output) == (0, f"saga {trips.atlantis} is ABANDONED now\n")


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("retry", "nothing of it is stuck"),
        ("skip", "nothing of it is stuck"),
        ("cancel", "cannot be cancelled: the saga has ended"),
        ("abandon", "only a stuck saga can be abandoned"),
    ],
)
def test_what_makes_no_sense_is_refused(sagaflow: Sagaflow, trips: Trips, verb: str, why: str) -> None:
    said = sagaflow(verb, str(trips.paris), "--reason", "x", "--database", trips.database)
    assert (said.code, said.output) == (1, "")
    assert said.errors.startswith(f"sagaflow: saga {trips.paris} is COMPLETED")
    assert why in said.errors
    assert said.errors.count("\n") == 1


@pytest.mark.parametrize("verb", ["retry", "skip", "cancel", "abandon", "show"])
def test_an_unknown_saga_is_named(sagaflow: Sagaflow, trips: Trips, verb: str) -> None:
    reason = [] if verb == "show" else ["--reason", "x"]
    said = sagaflow(verb, UNKNOWN, *reason, "--database", trips.database)
    assert (said.code, said.output, said.errors) == (1, "", f"sagaflow: there is no saga {UNKNOWN}\n")


def test_a_reason_must_be_one(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("retry", str(trips.atlantis), "--reason", " ", "--database", trips.database)
    assert (said.code, said.errors) == (
        1,
        "sagaflow: give a reason; it is written to the journal of the saga\n",
    )


@pytest.mark.parametrize("line", ["coordinator", "participant"])
def test_dead_shows_what_was_put_aside(sagaflow: Sagaflow, trips: Trips, line: str) -> None:
    assert sagaflow("dead", line, "--database", trips.database).output == "no message was put aside\n"
    asyncio.run(put_aside(Path(trips.database.removeprefix("sqlite:///")), line))
    said = sagaflow("dead", line, "--database", trips.database)
    assert " ".join(said.output.split()).endswith("replies.trip it is no JSON 8")
    (message,) = sagaflow("dead", line, "--json", "--database", trips.database).lines
    assert (message["source"], message["reason"], message["bytes"]) == ("replies.trip", "it is no JSON", 8)


async def put_aside(path: Path, line: str) -> None:
    opened = SqliteStore(path) if line == "coordinator" else SqliteTransactions(path)
    async with opened:
        await opened.put_aside([PutAside("replies.trip", "it is no JSON", b"not\x1bjson")])


def test_saga_ids_are_told_apart_from_other_words(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("retry", "order-1", "--reason", "x", "--database", trips.database)
    assert (said.code, said.output) == (2, "")
    assert said.errors == 'sagaflow: Invalid value for SAGA_ID: unable to convert "order-1" into UUID.\n'
