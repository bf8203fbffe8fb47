"""Many histories: nothing is wrong in any of them, and nothing is left out by all of them."""

from __future__ import annotations

from sagaflow.testing.simulate import Summary, simulate
from sagaflow.testing.simulation.play import coverage

HISTORIES = 200
"""A slice that takes some seconds; `make simulate SEEDS=0:5000` plays more, and allows nothing to be missed."""


def test_many_histories_have_no_problem_and_meet_all_but_the_rarest() -> None:
    summary = Summary()
    for some in simulate(range(HISTORIES)):
        summary.join(some)
        assert not summary.problems
    assert set(coverage.missed(summary.met)) <= coverage.RARE


def test_what_was_never_met_is_named() -> None:
    met = dict.fromkeys(coverage.REQUIRED, 1)
    del met["crash-after at store.commit"]
    assert coverage.missed(coverage.Met(met)) == ["crash-after at store.commit"]
