"""From a history that shows a problem to the smallest, and the command that replays it."""

from __future__ import annotations

from itertools import count

import pytest

from sagaflow.testing import simulate
from sagaflow.testing.simulation.play.history import SAGAS
from sagaflow.testing.simulation.shrinking import shrink
from tests.simulation.mutations import MUTATIONS, find

FORGETFUL = next(mutation for mutation in MUTATIONS if mutation.name == "what is unknown is not undone")


def test_what_does_not_matter_is_left_out() -> None:
    assert shrink(range(100), lambda some: {7, 42} <= set(some)) == [7, 42]
    assert shrink(range(100), lambda some: True) == []


def test_the_tries_are_bounded() -> None:
    tries = count()
    shrink(range(1000), lambda some: next(tries) < 0, tries=50)
    assert next(tries) == 50


def test_the_smallest_history_is_told_with_the_command_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = find(FORGETFUL)
    assert found is not None
    seed = str(found[0])
    with FORGETFUL.put():
        assert simulate.main(["--seeds", seed]) == 1
        told = capsys.readouterr().out
        command = told.splitlines()[-1]
        assert command.startswith(f"python -m sagaflow.testing.simulate --seeds {seed} --faults '")
        _, faults, _, keys, _ = command.split("'")
        assert keys.count("order") < SAGAS
        assert faults.count(";") <= 2
        assert simulate.main(["--seeds", seed, "--faults", faults, "--keys", keys]) == 1
        assert f"{found[1].partition(':')[0]}: " in capsys.readouterr().out
    assert simulate.main(["--seeds", seed, "--faults", faults, "--keys", keys]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
