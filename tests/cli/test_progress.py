"""How far long work has come is shown on a terminal, and nowhere else."""

from __future__ import annotations

import sys

import pytest

from sagaflow.cli.progress import progress
from tests.cli.conftest import Sagaflow, Trips


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is one; standard output is not."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("hidden", [False, True])
def test_it_is_shown_beside_what_is_printed(capsys: pytest.CaptureFixture[str], hidden: bool) -> None:
    with progress("sending again", hidden=hidden, total=3) as bar:
        for number in range(3):
            sys.stdout.write(f"{number}\n")
            bar.advance()
    said = capsys.readouterr()
    assert said.out == "0\n1\n2\n", "what a file is given is not drawn into"
    assert ("sending again" in said.err, "3/3" in said.err) == (not hidden, not hidden)


def repaired(sagaflow: Sagaflow, trips: Trips, *words: str) -> str:
    said = sagaflow("retry", "--stuck", "--reason", "x", "--yes", "--database", trips.database, *words)
    assert said.code == 0
    return said.errors


@pytest.mark.usefixtures("terminal")
def test_a_repair_of_many_says_how_many(sagaflow: Sagaflow, trips: Trips) -> None:
    assert "1 looked after" in repaired(sagaflow, trips)


@pytest.mark.usefixtures("terminal")
def test_not_for_programs(sagaflow: Sagaflow, trips: Trips) -> None:
    assert repaired(sagaflow, trips, "--json") == ""


def test_not_into_a_file(sagaflow: Sagaflow, trips: Trips) -> None:
    assert repaired(sagaflow, trips) == ""
