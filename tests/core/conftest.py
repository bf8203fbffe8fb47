"""The plans that are explored, once for all tests; and the count of it at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from sagaflow.core.plan import OnStuck, Plan
from tests.core.exploring import Exploration, explore
from tests.core.plans import every_plan, pivot, plan_of, retriable, step

COUNT = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def explored(pytestconfig: pytest.Config) -> Sequence[Exploration]:
    """All that can happen to sagas of up to five steps."""
    found = [
        *(explore(plan, rounds=2) for plan in (*every_plan(1, attempts=2), *every_plan(2, attempts=2))),
        *(explore(plan) for plan in (*every_plan(3, deadline_seconds=600.0), *every_plan(4), *_of_five_steps())),
        *(explore(replace(plan, on_stuck=policy)) for plan in _of_three_steps() for policy in OnStuck),
    ]
    states, transitions = sum(one.states for one in found), sum(one.transitions for one in found)
    pytestconfig.stash[COUNT] = f"explored {len(found)} plans: {states:,} states, {transitions:,} transitions"
    return found


@pytest.fixture(scope="session")
def explored_exactly() -> Sequence[Exploration]:
    """Some small plans again, without taking any two states for one."""
    return [
        explore(plan_of(step("a", attempts=2)), rounds=2, exactly=True),
        explore(plan_of(pivot("a", attempts=2)), rounds=2, exactly=True),
        explore(plan_of(step("a"), pivot("b", after="a"), deadline_seconds=600.0), exactly=True),
        explore(plan_of(pivot("a"), retriable("b", after="a")), exactly=True),
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how much was explored."""
    count = config.stash.get(COUNT, None)
    if count is not None:
        terminalreporter.write_line(count)


def _of_three_steps() -> Iterator[Plan]:
    """In a row; a pair and one beside it; two after one: what a stuck undo holds up, by each policy."""
    yield plan_of(step("a"), step("b", after="a"), step("c", after="b"))
    yield plan_of(step("a"), step("b", after="a"), step("c"))
    yield plan_of(step("a"), step("b", after="a"), step("c", after="a"))


def _of_five_steps() -> Iterator[Plan]:
    """In a row; like the payment; two pairs that meet in a pivot; two diamonds; side by side."""
    yield plan_of(step("a"), step("b", after="a"), step("c", after="b"), step("d", after="c"), step("e", after="d"))
    yield plan_of(
        step("a"),
        step("b", after="a"),
        step("c", after="a"),
        pivot("d", after="bc"),
        retriable("e", after="ad"),
        deadline_seconds=600.0,
    )
    yield plan_of(step("a"), pivot("b", after="a"), *(retriable(name, after="b") for name in "cde"))
    yield plan_of(step("a"), step("b", after="a"), step("c"), step("d", after="c"), pivot("e", after="bd"))
    yield plan_of(step("a"), step("b", after="a"), step("c", after="a"), step("d", after="bc"), step("e", after="bc"))
    yield plan_of(*(step(name) for name in "abcde"))
