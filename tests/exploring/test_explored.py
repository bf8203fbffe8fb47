"""Each thing that docs/testing.md says is explored is explored, at each place where it can happen."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sagaflow import OnStuck, Participant, Replies, Saga, StepContext, UndoReady
from sagaflow.testing import End, Exploration, Service, explore
from sagaflow.testing.exploring.history import play
from sagaflow.testing.simulation.faults import Fault, Kind

SCHEMA = "CREATE TABLE done (step TEXT PRIMARY KEY)"


def participant(name: str) -> Participant[Any]:
    """It does one thing, and undoes it."""
    made: Participant[Any] = Participant(name)

    @made.step("do")
    async def do(command: str, ctx: StepContext[Any]) -> None:
        await ctx.tx.execute("INSERT INTO done VALUES ($1)", ctx.step)

    @do.compensation
    async def undo(command: str, result: None, ctx: StepContext[Any]) -> None:
        await ctx.tx.execute("DELETE FROM done WHERE step = $1", ctx.step)

    return made


def saga_of_three(on_stuck: OnStuck = OnStuck.KEEP_ORDER) -> Saga[str]:
    """Two steps side by side, then one more."""
    saga = Saga("three", str, on_stuck=on_stuck)

    @saga.step("left.do", name="left")
    def left(saga_input: str, replies: Replies) -> str:
        return saga_input

    @saga.step("right.do", name="right")
    def right(saga_input: str, replies: Replies) -> str:
        return saga_input

    @saga.step("last.do", name="last", after=[left, right])
    def last(saga_input: str, replies: Replies) -> str:
        return saga_input

    return saga


NAMES = ("left", "right", "last")


def all_or_nothing(end: End) -> None:
    for name in NAMES:
        assert len(end.rows(name, "SELECT step FROM done")) == end.completed


def explored(saga: Saga[str], **arguments: Any) -> Exploration:
    services = [Service(participant(name), schema=SCHEMA) for name in NAMES]
    return explore(saga, "go", services=services, check=all_or_nothing, **arguments)


@pytest.fixture(scope="module")
def found() -> Exploration:
    """What is explored with no word said about how much."""
    return explored(saga_of_three())


def alone(found: Exploration) -> set[tuple[str, str, str, int]]:
    """What goes wrong by itself in some history."""
    singles = [faults[0] for faults in found.explored if len(faults) == 1]
    return {(str(fault.kind), fault.point, fault.who, int(fault.nth)) for fault in singles}


def second(found: Exploration) -> set[tuple[str, str, str]]:
    """What goes wrong after something else, in some history."""
    pairs = [faults[-1] for faults in found.explored if len(faults) == 2]
    return {(str(fault.kind), fault.point, fault.who) for fault in pairs}


def test_each_step_is_refused_fails_and_times_out_before_and_after_its_effect(found: Exploration) -> None:
    kinds = (Kind.REFUSE, Kind.FAIL, Kind.FAIL_AFTER, Kind.HANG, Kind.HANG_AFTER)
    for name, kind in itertools.product(NAMES, kinds):
        assert (kind, "handler.action", f"{name}.do", 1) in alone(found)


def test_each_process_is_killed_and_frozen_in_each_step_before_and_after_its_effect(found: Exploration) -> None:
    kinds = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.STOP_BEFORE, Kind.STOP_AFTER)
    for name, kind in itertools.product(NAMES, kinds):
        assert (kind, "handler.action", f"{name}.do", 1) in alone(found)


def test_each_message_is_lost_doubled_and_late(found: Exploration) -> None:
    for kind, nth, queue in itertools.product((Kind.LOST, Kind.TWICE, Kind.LATE), (1, 2, 3), ("commands", "replies")):
        assert (kind, "broker.carry", queue, nth) in alone(found)
    for kind in (Kind.LOST, Kind.TWICE, Kind.LATE):
        assert (kind, "broker.carry", "compensations") in second(found)


def test_each_process_is_killed_at_each_point_before_and_after(found: Exploration) -> None:
    both = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.LOST_BEFORE, Kind.LOST_AFTER)
    for kind in both:
        for point in ("store.commit", "broker.publish"):
            assert (kind, point, "coordinator", 1) in alone(found)
        for name, point in itertools.product(NAMES, ("database.commit", "broker.publish")):
            assert any((kind, point, f"{name}-{number}", 1) in alone(found) for number in (1, 2))
    for name in ("coordinator", *(f"{name}-" for name in NAMES)):
        acks = {who for kind, point, who, _ in alone(found) if (kind, point) == (Kind.CRASH_BEFORE, "broker.ack")}
        assert any(who.startswith(name) for who in acks)


def test_each_undo_says_no_fails_hangs_is_killed_and_frozen(found: Exploration) -> None:
    kinds = (
        *(Kind.REFUSE, Kind.FAIL, Kind.FAIL_AFTER, Kind.HANG, Kind.HANG_AFTER),
        *(Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.STOP_BEFORE),
    )
    for name, kind in itertools.product(("left", "right"), kinds):
        assert (kind, "handler.compensation", f"{name}.do") in second(found)


def test_each_undo_fails_k_times_in_a_row(found: Exploration) -> None:
    in_a_row = {
        (faults[1].who, len(faults) - 1)
        for faults in found.explored
        if len(faults) > 1 and all(_is_failed_undo(fault) for fault in faults[1:])
    }
    assert in_a_row >= set(itertools.product(("left.do", "right.do"), (1, 2, 3)))


def _is_failed_undo(fault: Fault) -> bool:
    return fault.point == "handler.compensation" and fault.kind is Kind.FAIL


def test_an_action_comes_late_after_its_undo(found: Exploration) -> None:
    late = [
        faults
        for faults in found.explored
        if len(faults) == 2
        and {faults[0].kind, faults[1].kind} == {Kind.STOP_BEFORE, Kind.REFUSE}
        and all(fault.point == "handler.action" for fault in faults)
    ]
    assert {fault.who for faults in late for fault in faults if fault.kind is Kind.STOP_BEFORE} >= {
        "left.do",
        "right.do",
    }


def test_the_person_who_helps_is_not_killed(found: Exploration) -> None:
    assert not [fault for faults in found.explored for fault in faults if fault.who == "nobody"]


def test_all_of_it_was_met_and_counted(found: Exploration) -> None:
    assert found.histories == len(found.explored) == 1 + found.singles + found.pairs
    kinds = {f"{fault.kind} at {fault.point}" for faults in found.explored for fault in faults}
    assert kinds == set(found.covered)


@pytest.mark.parametrize(("undo_ready", "on_stuck"), list(zip(UndoReady, OnStuck, strict=True)))
def test_every_gate_and_every_policy_of_the_stuck_is_explored(undo_ready: UndoReady, on_stuck: OnStuck) -> None:
    found = explored(saga_of_three(on_stuck), undo_ready=undo_ready, pairs=30)
    assert found.pairs == 30
    assert found.covered["refuse at handler.compensation"] > 0


def test_without_a_gate_nobody_is_asked_what_is_served() -> None:
    services = [Service(participant(name), schema=SCHEMA) for name in NAMES]
    asked = {
        undo_ready: play(saga_of_three(), "go", services, [], check=None, begin=None, undo_ready=undo_ready).visits[
            "broker.carry", "inquiries"
        ]
        for undo_ready in UndoReady
    }
    assert [undo_ready for undo_ready, count in asked.items() if count == 0] == [UndoReady.NOT_ASKED]
