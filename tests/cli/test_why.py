"""`sagaflow why`: what it says, and that what it says to type does what it says."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from sagaflow import SagaStatus
from tests.cli.conftest import Sagaflow, Said, Trips, travel_to


def commands(said: Said) -> list[list[str]]:
    """The commands that were printed, without the program."""
    lines = [line.strip() for line in said.output.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("$ sagaflow ")]


def test_why_tells_the_causes_and_where(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("why", str(trips.atlantis), "--database", trips.database)
    assert (said.code, said.errors) == (0, "")
    text = " ".join(said.output.split())
    assert text.startswith(f"STUCK trip version 1, key Atlantis {trips.atlantis}, started")
    assert "Undone because: travel refused travel.book_flight: StepRejected: nothing flies to Atlantis." in text
    assert "Stuck: undo of travel.book_room failed, and all 1 attempts are used up: LookupError" in text
    assert "No other trip saga fails in this way (of the latest 1 that were looked at, fingerprint " in text
    assert 'raise LookupError("the hotel' in text, "the traceback"
    assert "\x1b" not in said.output


@pytest.mark.parametrize(
    ("verb", "status"),
    [("retry", "COMPENSATING"), ("reply", "COMPENSATED"), ("skip", "COMPENSATED"), ("abandon", "ABANDONED")],
)
def test_what_it_says_to_type_is_done_when_it_is_typed(
    sagaflow: Sagaflow, trips: Trips, verb: str, status: str
) -> None:
    offered = commands(sagaflow("why", "Atlantis", "--database", trips.database))
    done = sagaflow(*next(words for words in offered if words[0] == verb))
    assert (done.code, done.output) == (0, f"saga {trips.atlantis} is {status} now\n")


def test_others_that_fail_alike_are_counted_and_mended_with_one_command(sagaflow: Sagaflow, tmp_path: Path) -> None:
    path = tmp_path / "trips.sqlite"
    cities = {f"Atlantis {number}": SagaStatus.STUCK for number in range(3)} | {"Paris": SagaStatus.COMPLETED}
    asyncio.run(travel_to(path, cities))
    said = sagaflow("why", "Atlantis 1", "--database", f"sqlite:///{path}")
    assert "2 other trip sagas fail in the same way: 2 STUCK" in said.output
    (bulk,) = [words for words in commands(said) if "--stuck" in words]
    shown = sagaflow(*bulk)
    assert "nothing was done yet: 3 of 3 would be retried" in shown.output
    done = sagaflow(*bulk, "--yes")
    assert done.output.endswith("3 done\n")


def test_markdown_and_json_say_the_same(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("why", "Rome", "--markdown", "--database", trips.database)
    assert said.output.startswith("# COMPENSATED: trip version 1, key Rome\n")
    (fields,) = sagaflow("why", "Rome", "--json", "--database", trips.database).lines
    assert (fields["status"], fields["again"], fields["moves"]) == ("COMPENSATED", "mended", [])
    assert fields["first_cause"]["error"]["message"] == "nothing flies to Rome"
    assert [one["step"] for one in fields["undone"]] == ["travel.book_room"]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["Bermuda"], 1, "no saga has the id or the key 'Bermuda'"),
        (["01981f00-0000-7000-8000-000000000001"], 1, "there is no saga 01981f00"),
        (["Rome", "--json", "--markdown"], 2, "not both"),
    ],
)
def test_what_cannot_be_told_is_one_line(
    sagaflow: Sagaflow, trips: Trips, words: list[str], code: int, part: str
) -> None:
    said = sagaflow("why", *words, "--database", trips.database)
    assert (said.code, said.output, said.errors.count("\n")) == (code, "", 1)
    assert part in said.errors
