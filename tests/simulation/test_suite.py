"""Many histories: nothing is wrong in any of them, and nothing is left out by all of them."""

from __future__ import annotations

from sagaflow.testing.simulate import Summary, simulate
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


def test_what_was_never_met_is_named() -> None:
    met = dict.fromkeys(coverage.REQUIRED, 1)
    del met["crash-after at store.commit"]
    assert coverage.missed(coverage.Met(met)) == ["crash-after at store.commit"]
