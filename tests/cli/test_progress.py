"""How far long work has come is shown on a terminal, and nowhere else."""

from __future__ import annotations

import sys

import pytest

from sagaflow.cli.progress import progress
from tests.cli.conftest import Sagaflow, Trips


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is one; standard output is not."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


@pytest.mark.parametrize("hidden", [False, True])
def test_it_is_shown_beside_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    on_a_terminal(monkeypatch)
    with progress("sending again", hidden=hidden, total=3) as bar:
        for number in range(3):
            sys.stdout.write(f"{number}\n")
            bar.advance()
    said = capsys.readouterr()
    assert said.out == "0\n1\n2\n", "what a file is given is not drawn into"
    assert ("sending again" in said.err, "3/3" in said.err) == (not hidden, not hidden)


@pytest.mark.parametrize("words", [(), ("--json",)])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_repair_of_many_says_how_many_on_a_terminal_to_people(
    sagaflow: Sagaflow, trips: Trips, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], is_terminal: bool
) -> None:
    if is_terminal:
        on_a_terminal(monkeypatch)
    said = sagaflow("retry", "--stuck", "--reason", "x", "--yes", "--database", trips.database, *words)
    assert said.code == 0
    assert ("1 looked after" in said.errors) == (is_terminal and not words)
    assert is_terminal or said.errors == ""
