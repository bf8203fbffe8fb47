"""Points at which a process can be made to die."""

from __future__ import annotations

import dis
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import sagaflow
from sagaflow.definitions import crash_points
from sagaflow.definitions.crash_points import POINTS, VARIABLE, crashing_at
from sagaflow.errors import DefinitionError


def passings(order: str, *points: crash_points.Point) -> list[int]:
    """At which of these passings it dies."""
    passed: list[crash_points.Point] = []
    deaths: list[int] = []
    crash_point = crashing_at(order, die=lambda: deaths.append(len(passed)))
    for point in points:
        passed.append(point)
        crash_point(point)
    return deaths


def test_a_process_dies_at_its_point_and_at_no_other() -> None:
    assert passings("engine.committed", "engine.before_commit", "engine.committed") == [2]


def test_a_process_can_pass_its_point_before_it_dies_there() -> None:
    assert passings(
        "engine.committed:3", "engine.committed", "engine.committed", "engine.committed", "engine.committed"
    ) == [3]


def test_of_several_points_each_counts_for_itself() -> None:
    order = "engine.committed:2, upkeep.claimed"
    assert passings(order, "engine.committed", "upkeep.claimed", "engine.committed") == [2, 3]


@pytest.mark.parametrize("order", ["nowhere", "engine.committed:0", "engine.committed:soon", "engine.committed,"])
def test_an_order_that_is_not_understood_is_refused(order: str) -> None:
    with pytest.raises(DefinitionError, match=f"{VARIABLE} has .* write POINT or POINT:COUNT"):
        crashing_at(order)


def test_every_point_is_somewhere_in_the_code_and_no_other_is() -> None:
    sources = Path(sagaflow.__file__).parent.rglob("*.py")
    used = Counter(name for source in sources for name in re.findall(r'crash_point\("([^"]+)"\)', source.read_text()))
    assert used == Counter(POINTS)


def run(code: str, **environment: str) -> int:
    """The exit code of a process."""
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=False).returncode


PASS = "from sagaflow.definitions.crash_points import crash_point; crash_point('engine.committed')"


def test_without_the_variable_a_point_is_a_function_that_does_nothing() -> None:
    assert run(PASS) == 0
    assert crash_points.crash_point is crash_points.goes_on
    assert list(dis.get_instructions(crash_points.goes_on))[-1].opname in ("RETURN_VALUE", "RETURN_CONST")
    assert len(list(dis.get_instructions(crash_points.goes_on))) <= 3


def test_with_the_variable_a_real_process_dies_as_if_it_were_killed() -> None:
    assert run(PASS, **{VARIABLE: "engine.committed"}) == -9
