"""Many histories: nothing is wrong in any of them, and nothing is left out by all of them."""

from __future__ import annotations

import pytest

from sagaflow.testing.simulate import Summary, main, simulate
from sagaflow.testing.simulation.play import coverage
from sagaflow.testing.simulation.play.history import play

HISTORIES = 200
"""A slice that takes some seconds; `make simulate SEEDS=0:5000` plays more, and allows nothing to be missed."""


def test_many_histories_have_no_problem_and_meet_all_but_the_rarest() -> None:
    summary = Summary()
    for some in simulate(range(HISTORIES)):
        summary.join(some)
        assert not summary.problems
    assert set(coverage.missed(summary.met)) <= coverage.RARE


def test_what_answers_an_earlier_asking_may_be_acknowledged_after_the_next() -> None:
    """An attempt that nobody served is asked again under its number; its late failure came while it waited."""
    assert play(20_037).problem is None


def test_who_comes_back_too_late_and_dies_is_taken_over_from() -> None:
    """A coordinator stood still for longer than its lease, started a saga without knowing so, and was killed at once:
    nobody sent the first command of the saga, whose step is waited for longer than a history lasts."""
    assert play(100_297).problem is None


def test_what_has_to_be_met_depends_on_how_many_histories_there_are() -> None:
    met = coverage.Met(coverage.REQUIRED)
    rare = min(coverage.RARE)
    del met[rare], met["crash-after at store.commit"]
    assert coverage.missed_by(coverage.SUITE - 1, met) == []
    assert coverage.missed_by(coverage.SUITE, met) == ["crash-after at store.commit"]
    assert (
        coverage.missed_by(coverage.LARGE_SUITE, met)
        == coverage.missed(met)
        == sorted([rare, "crash-after at store.commit"])
    )


def test_a_small_run_is_fine_though_it_misses_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:2", "--complete"]) == 0
    assert "never met, which a run of this size may miss" in capsys.readouterr().out


def test_a_run_that_misses_what_it_should_have_met_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "SUITE", 2)
    assert main(["--seeds", "0:2"]) == 0, "nobody has asked for it"
    capsys.readouterr()
    assert main(["--seeds", "0:2", "--complete"]) == 1
    assert "never met, which a run of this size should have" in capsys.readouterr().out


def test_what_was_never_met_is_named() -> None:
    met = dict.fromkeys(coverage.REQUIRED, 1)
    del met["crash-after at store.commit"]
    assert coverage.missed(coverage.Met(met)) == ["crash-after at store.commit"]
