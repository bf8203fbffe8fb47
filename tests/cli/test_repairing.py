"""Repairing sagas by what is typed: one, or all that match, shown before it is done."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Any

import pytest

from sagaflow import SagaStatus
from sagaflow.cli.many import Which, how_to_confirm
from sagaflow.definitions.limits import PAYLOAD_BYTES_MAX
from tests.cli.conftest import Sagaflow, Said, Trips, travel_to

STUCK = ["--stuck", "--saga", "trip", "--step", "book_room", "--error", "LookupError"]
REASON = ["--reason", "the sea has gone"]


@pytest.fixture
def sunk(tmp_path: Path) -> list[str]:
    """Three trips that are stuck, and one that is completed; returns the option that names their file."""
    path = tmp_path / "trips.sqlite"
    cities = {f"Atlantis {number}": SagaStatus.STUCK for number in range(3)} | {"Paris": SagaStatus.COMPLETED}
    asyncio.run(travel_to(path, cities))
    return ["--database", f"sqlite:///{path}"]


def statuses(sagaflow: Sagaflow, database: list[str]) -> dict[str, str]:
    return {line["key"]: line["status"] for line in sagaflow("list", "--json", *database).lines}


def how_it_was(sagaflow: Sagaflow, trips: Trips) -> Any:
    """The last entry of the journal."""
    (saga,) = sagaflow("show", str(trips.atlantis), "--json", "--database", trips.database).lines
    return saga["journal"][-1]


def expect_one_line(said: Said, *parts: str, code: int = 1) -> None:
    assert (said.code, said.output) == (code, "")
    assert said.errors.startswith("sagaflow: ")
    assert said.errors.count("\n") == 1
    for part in parts:
        assert part in said.errors


# One saga.


def test_other_input_may_be_typed_or_be_in_a_file(sagaflow: Sagaflow, trips: Trips, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('"Rhodes"\n')
    said = sagaflow(
        "retry", str(trips.atlantis), *REASON, "--input", f"@{file}", "--step=book_room", "--database", trips.database
    )
    assert (said.code, said.output) == (0, f"saga {trips.atlantis} is COMPENSATING now\n")
    entry = how_it_was(sagaflow, trips)
    assert entry["what"] == "undo travel.book_room retried by hand with other input"
    assert entry["reason"] == "the sea has gone"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Rhodes", ["this is no JSON: JSON is malformed", "text needs quotes of its own"]),
        ("", ["this is no JSON: Input data was truncated"]),
        ('{"a": 1} and more', ["this is no JSON", "trailing characters"]),
        ('"\udcff"', ["this is no JSON", "utf-8"]),
        ('"' + "x" * PAYLOAD_BYTES_MAX + '"', ["JSON of more than 262144 bytes is over the limit"]),
        ("[" * 100_000, ["the JSON is nested more than 63 deep"]),
        ("@/nowhere/input.json", ["No such file or directory: '/nowhere/input.json'"]),
    ],
    ids=["text", "nothing", "more", "no utf-8", "large", "deep", "no file"],
)
@pytest.mark.parametrize("command", [["retry", "--input"], ["reply", "--succeeded", "--result"]])
def test_input_that_cannot_be_is_refused_in_one_line(
    sagaflow: Sagaflow, trips: Trips, command: list[str], text: str, parts: list[str]
) -> None:
    verb, *options = command
    said = sagaflow(verb, str(trips.atlantis), *REASON, *options, text, "--database", trips.database)
    expect_one_line(said, *parts)
    assert how_it_was(sagaflow, trips)["actor"] is None, "nothing was done"


def test_a_file_that_is_too_large_is_not_read_to_its_end(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("retry", str(trips.atlantis), *REASON, "--input=@/dev/zero", "--database", trips.database)
    expect_one_line(said, "JSON of more than 262144 bytes is over the limit")


def test_reply_says_by_hand_how_it_ended(sagaflow: Sagaflow, trips: Trips) -> None:
    saga = [str(trips.atlantis), *REASON, "--database", trips.database]
    said = sagaflow("reply", *saga, "--step=travel.book_room", "--succeeded", "--json")
    assert said.lines == [{"saga_id": str(trips.atlantis), "status": "COMPENSATED"}]
    assert how_it_was(sagaflow, trips)["what"] == "undo travel.book_room done, said by hand"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["reply", "--refused"], "the compensation of travel.book_room has to be done, a no is no answer to it"),
        (["retry", "--step", "book_boat"], "saga trip has no step 'book_boat'; it has travel.book_room, travel.book_"),
        (["skip", "--step", "book_flight"], "nothing of the step is open"),
        (["cancel", "--json"], None),
    ],
)
def test_what_makes_no_sense_is_refused(sagaflow: Sagaflow, trips: Trips, command: list[str], why: str | None) -> None:
    verb, *options = command
    said = sagaflow(verb, str(trips.atlantis), *REASON, *options, "--database", trips.database)
    if why is None:
        assert said.lines == [{"saga_id": str(trips.atlantis), "status": "STUCK"}], "it is being undone already"
    else:
        expect_one_line(said, f"saga {trips.atlantis} is STUCK; ", why)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["retry"], "give the id of a saga, or say which ones: --stuck, --saga, --step, --error"),
        (["retry", "--yes"], "give the id of a saga, or say which ones"),
        (["retry", "ID", "--stuck"], "give the id of a saga or a filter, not both"),
        (["abandon", "ID", "--step=book_room"], "leave out --step: a saga is abandoned as a whole"),
        (["reply", "ID", "--refused", "--result=1"], "only what succeeded has a --result"),
        (["reply", "ID"], "--succeeded"),
        (["retry", "--stuck", "--idle-seconds=-1"], "Must be >= 0"),
    ],
)
def test_wrong_usage(sagaflow: Sagaflow, trips: Trips, command: list[str], why: str) -> None:
    words = [str(trips.atlantis) if word == "ID" else word for word in command]
    expect_one_line(sagaflow(*words, *REASON, "--database", trips.database), why, code=2)


# Many sagas.


def test_a_filter_shows_what_would_be_touched_and_the_command_that_does_it(sagaflow: Sagaflow, sunk: list[str]) -> None:
    before = statuses(sagaflow, sunk)
    said = sagaflow("skip", *STUCK, *REASON, "--actor", "Poseidon", *sunk)
    assert (said.code, said.errors) == (0, "")
    head, *rows, last = said.output.splitlines()
    assert head.split() == [
        "saga",
        "id",
        "saga",
        "key",
        "status",
        "operation",
        "last",
        "error",
        "not",
        "possible,",
        "for",
    ]
    assert [row.split(maxsplit=1)[1] for row in map(" ".join, map(str.split, rows))] == [
        f"trip Atlantis {number} STUCK undo travel.book_room LookupError: the hotel\ufffd[31m is under water"
        for number in (2, 1, 0)
    ]
    asks, command = last.split(" To do it: ")
    assert asks == "nothing was done yet: 3 of 3 would be skipped."
    assert statuses(sagaflow, sunk) == before

    program, *words = shlex.split(command)
    assert (program, words[-1]) == ("sagaflow", "--yes")
    said = sagaflow(*words)
    *lines, summary = said.output.splitlines()
    assert (said.code, summary) == (0, "3 done")
    assert [line.split(maxsplit=1)[1] for line in lines] == ["done, it is COMPENSATED now"] * 3
    assert set(statuses(sagaflow, sunk).values()) == {"COMPENSATED", "COMPLETED"}
    again = sagaflow(*words)
    assert (again.code, again.output) == (0, "no saga matches\n")


def test_what_is_refused_of_many_is_told_and_makes_the_exit_code_one(sagaflow: Sagaflow, sunk: list[str]) -> None:
    filters = ["--refused", "--key", "Atlantis 1", *REASON, *sunk]
    shown = sagaflow("reply", *filters)
    assert shown.code == 0
    assert "nothing was done yet: 0 of 1 would be given this reply" in shown.output
    assert "To do it: sagaflow reply --refused --key 'Atlantis 1'" in shown.output
    said = sagaflow("reply", *filters, "--yes")
    line, summary = said.output.splitlines()
    assert (said.code, summary) == (1, "1 refused")
    assert "  refused: the compensation of travel.book_room has to be done" in line


def test_what_is_so_already_is_told_and_is_no_failure(sagaflow: Sagaflow, sunk: list[str]) -> None:
    said = sagaflow("cancel", "--stuck", *REASON, "--yes", *sunk)
    assert (said.code, said.output.splitlines()[-1]) == (0, "3 unneeded")


def test_many_for_programs(sagaflow: Sagaflow, sunk: list[str]) -> None:
    shown = sagaflow("abandon", "--stuck", *REASON, "--json", *sunk)
    assert [(line["key"], line["step"], line["operation"], line["why_not"]) for line in shown.lines] == [
        (f"Atlantis {number}", "travel.book_room", "compensation", None) for number in (2, 1, 0)
    ]
    assert {line["error"] for line in shown.lines} == {"LookupError: the hotel\x1b[31m is under water"}
    assert shown.errors.startswith("nothing was done yet: 3 of 3 would be abandoned. To do it: sagaflow abandon")
    said = sagaflow("abandon", "--stuck", *REASON, "--json", "--yes", *sunk)
    assert (said.code, said.errors) == (0, "")
    assert [(line["key"], line["outcome"], line["status"], line["why_not"]) for line in said.lines] == [
        (f"Atlantis {number}", "done", "ABANDONED", None) for number in (2, 1, 0)
    ]


@pytest.mark.parametrize("options", [[], ["--yes"], ["--json"]])
def test_nothing_matches(sagaflow: Sagaflow, sunk: list[str], options: list[str]) -> None:
    said = sagaflow("retry", "--error", "BankDown", *REASON, *options, *sunk)
    assert (said.code, said.errors) == (0, "")
    assert said.output == ("" if options == ["--json"] else "no saga matches\n")


def test_a_password_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://me:open-sesame@db/shop"
    which = Which(stuck=True, saga="checkout", idle_seconds=90.0)
    options = {"step": "pay", "reason": "it's back", "actor": None}
    command = """sagaflow retry --stuck --saga checkout --idle-seconds 90 --step pay --reason 'it'"'"'s back' """
    said = how_to_confirm("retry", which, options, url)
    assert said == command + "--yes (with the same --database, or SAGAFLOW_DATABASE set to it)"
    plain = "postgresql:///shop"
    assert how_to_confirm("retry", which, options, plain) == f"{command}--database {plain} --yes"
    monkeypatch.setenv("SAGAFLOW_DATABASE", url)
    assert how_to_confirm("retry", which, options, url) == f"{command}--yes"


@pytest.mark.parametrize(("verb", "option"), [("retry", "input"), ("reply --succeeded", "result")])
def test_a_payload_that_was_typed_is_not_repeated(
    sagaflow: Sagaflow, sunk: list[str], verb: str, option: str, tmp_path: Path
) -> None:
    typed = sagaflow(*verb.split(), *STUCK, *REASON, f"--{option}", '"4111-canary"', *sunk)
    assert "would be" in typed.output
    assert f"--{option} '***' " in typed.output
    assert f"(*** is the {option} as you gave it, or @FILE with it in a file)" in typed.output
    assert "canary" not in typed.output + typed.errors
    file = tmp_path / "mended.json"
    file.write_text('"4111-canary"')
    named = sagaflow(*verb.split(), *STUCK, *REASON, f"--{option}", f"@{file}", *sunk)
    assert f"--{option} @{file} " in named.output
    assert "***" not in named.output
    refused = sagaflow(*verb.split(), *STUCK, *REASON, f"--{option}", "***", "--yes", *sunk)
    expect_one_line(refused, "this is no JSON")
