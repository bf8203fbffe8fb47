"""What is stored can be read again: by this version, and by the next one."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from types import UnionType
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaflow import Budget, Cause, OnStuck, Operation, Plan, PlanError, SagaStatus, StepKind
from sagaflow.core import events
from sagaflow.core.effects import SendCommand
from sagaflow.core.events import Event
from sagaflow.core.plan import PlannedStep
from sagaflow.core.state import OpState, OpStatus, SagaState, StepState, initial
from sagaflow.definitions import records
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import SagaRecord, Timer
from tests.core.plans import every_plan

ACTION, COMPENSATION = Operation
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 2**31)
SECONDS = st.floats(0, 1e9)
OPERATIONS = st.sampled_from(Operation)

# ----------------------------------------------------------------------------------------- events


def kinds_of(union: Any) -> Iterator[type]:
    """The members of a union, and of those inside it."""
    for kind in get_args(union):
        if isinstance(kind, UnionType):
            yield from kinds_of(kind)
        else:
            yield kind


KINDS = list(kinds_of(Event))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "step": WORDS,
    "operation": OPERATIONS,
    "round": COUNTS,
    "attempt": COUNTS,
    "retry_after_seconds": SECONDS,
    "succeeded": st.booleans(),
    "other_input": st.booleans(),
}


def events_of(kind: Any) -> st.SearchStrategy[Any]:
    """Every event of a kind."""
    given_ = {field.name: FIELDS[field.name] for field in fields(kind)}
    if kind is events.Failed:
        given_["retry_after_seconds"] |= st.none()
    return st.builds(kind, **given_)


def test_every_kind_of_event_is_tested() -> None:
    written_down = {
        kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__
    }
    assert set(KINDS) == {kind for kind in written_down if not kind.__name__.startswith("_")}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_an_event_of_each_kind_can_be_read_again(kind: Any, data: st.DataObject) -> None:
    event = data.draw(events_of(kind))
    read = records.decode_event(records.encode_event(event))
    assert read == event
    assert type(read) is kind


OF_ATTEMPT = '"step":"s.a","operation":"action","round":2,"attempt":3'
STORED_EVENTS: dict[str, Event] = {
    '{"event":"Started"}': events.Started(),
    f'{{"event":"Succeeded",{OF_ATTEMPT}}}': events.Succeeded("s.a", ACTION, 2, 3),
    f'{{"event":"Refused",{OF_ATTEMPT}}}': events.Refused("s.a", ACTION, 2, 3),
    f'{{"event":"Failed",{OF_ATTEMPT},"retry_after_seconds":1.5}}': events.Failed("s.a", ACTION, 2, 3, 1.5),
    f'{{"event":"Failed",{OF_ATTEMPT},"retry_after_seconds":null}}': events.Failed("s.a", ACTION, 2, 3, None),
    f'{{"event":"Unserved",{OF_ATTEMPT},"retry_after_seconds":9.0}}': events.Unserved("s.a", ACTION, 2, 3, 9.0),
    f'{{"event":"TimerFired",{OF_ATTEMPT}}}': events.TimerFired("s.a", ACTION, 2, 3),
    f'{{"event":"CommandFailed",{OF_ATTEMPT}}}': events.CommandFailed("s.a", ACTION, 2, 3),
    f'{{"event":"CommandDeferred",{OF_ATTEMPT},"retry_after_seconds":9.0}}': events.CommandDeferred(
        "s.a", ACTION, 2, 3, 9.0
    ),
    '{"event":"DeadlinePassed"}': events.DeadlinePassed(),
    '{"event":"CancelRequested"}': events.CancelRequested(),
    '{"event":"RetryRequested","step":"s.a","operation":"compensation","other_input":true}': events.RetryRequested(
        "s.a", COMPENSATION, other_input=True
    ),
    '{"event":"ReplyGiven","step":"s.a","operation":"action","succeeded":true}': events.ReplyGiven("s.a", ACTION, True),
    '{"event":"SkipRequested","step":"s.a","operation":"compensation"}': events.SkipRequested("s.a", COMPENSATION),
    '{"event":"AbandonRequested"}': events.AbandonRequested(),
    '{"event":"Erased"}': events.Erased(),
}


@pytest.mark.parametrize("text", STORED_EVENTS)
def test_an_event_is_stored_under_the_name_that_journals_have(text: str) -> None:
    assert records.encode_event(STORED_EVENTS[text]) == text
    assert records.decode_event(text.encode()) == STORED_EVENTS[text]


def test_a_retry_of_a_journal_that_knew_no_other_input_is_read() -> None:
    text = '{"event":"RetryRequested","step":"s.a","operation":"compensation"}'
    assert records.decode_event(text) == events.RetryRequested("s.a", COMPENSATION)


def test_there_is_a_stored_event_of_each_kind() -> None:
    assert {type(event) for event in STORED_EVENTS.values()} == set(KINDS)


def test_an_event_may_come_back_with_other_space_and_order_as_databases_give_it() -> None:
    text = '{"round": 2, "step": "s.a", "event": "Refused", "attempt": 3, "operation": "action"}'
    assert records.decode_event(text) == events.Refused("s.a", ACTION, 2, 3)


@pytest.mark.parametrize("text", ['{"event":"Exploded"}', '{"step":"s.a"}', "{}"])
def test_what_is_no_known_event_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(KeyError):
        records.decode_event(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"Refused"}',
        '{"event":"RetryRequested","step":"s.a","operation":"query"}',
        '{"event":"ReplyGiven","step":"s.a","operation":"action","succeeded":"true"}',
    ],
)
def test_an_event_that_lacks_something_is_not_read(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        records.decode_event(text)


# ----------------------------------------------------------------------------------------- states

OP_STATES = st.builds(OpState, st.sampled_from(OpStatus), COUNTS, COUNTS, st.booleans())
STATES = st.builds(
    SagaState,
    st.sampled_from(SagaStatus),
    st.lists(st.builds(StepState, OP_STATES, OP_STATES), max_size=4).map(tuple),
    st.none() | st.sampled_from(Cause),
)


@settings(deadline=None)
@given(STATES)
def test_a_state_can_be_read_again(state: SagaState) -> None:
    assert records.decode_state(records.encode(state)) == state


def test_a_state_of_an_earlier_version_that_lacks_a_later_field_can_be_read() -> None:
    text = '{"status":"RUNNING","steps":[{"action":{"status":"SENT","round":1,"attempt":2},"compensation":{}}]}'
    assert records.decode_state(text) == SagaState(
        SagaStatus.RUNNING, (StepState(OpState(OpStatus.SENT, 1, 2), OpState()),)
    )


@pytest.mark.parametrize("text", ["{}", '{"status":"DREAMING","steps":[]}', '{"status":"RUNNING"}'])
def test_what_is_no_state_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        records.decode_state(text)


# ----------------------------------------------------------------------------------------- timers

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3, minutes=-30))])
INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(9000, 1, 1), timezones=ZONES)  # noqa: DTZ001  # bounds are naive
TIMERS = st.lists(st.builds(Timer, INSTANTS, st.none() | WORDS, OPERATIONS, COUNTS, COUNTS), max_size=4).map(tuple)


@settings(deadline=None)
@given(TIMERS)
def test_timers_can_be_read_again_to_the_microsecond(timers: tuple[Timer, ...]) -> None:
    read = records.decode_timers(records.encode(timers))
    assert read == timers
    assert all(timer.due_at.tzinfo is not None for timer in read)


def test_a_timer_is_stored_as_it_always_was() -> None:
    timers = (
        Timer(datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "s.a", COMPENSATION, 1, 2),
        Timer(datetime(2026, 1, 3, tzinfo=UTC)),
    )
    assert json.loads(records.encode(timers)) == [
        {"due_at": "2026-01-02T03:04:05.000006Z", "step": "s.a", "operation": "compensation", "round": 1, "attempt": 2},
        {"due_at": "2026-01-03T00:00:00Z", "step": None, "operation": "action", "round": 0, "attempt": 0},
    ]


# ------------------------------------------------------------------------------------------ plans

BUDGETS = st.builds(Budget, st.floats(0.001, 1e6) | st.integers(1, 100), st.integers(1, 100))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan of steps in a row, with any budgets, and perhaps with a deadline."""
    names = [f"s.step-{number}" for number in range(draw(st.integers(1, 4)))]
    steps = [
        PlannedStep(name, "s", "do", StepKind.COMPENSATABLE, tuple(names[:place][-1:]), draw(BUDGETS), draw(BUDGETS))
        for place, name in enumerate(names)
    ]
    return Plan("trip", draw(st.integers(1, 100)), tuple(steps), draw(st.none() | st.floats(0.001, 1e6)))


@settings(deadline=None)
@given(plans())
def test_a_plan_with_any_budgets_can_be_read_again(plan: Plan) -> None:
    read = records.decode_plan(records.encode(plan))
    assert read == plan
    assert (read.hash, read.shape) == (plan.hash, plan.shape)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_plan_of_any_shape_can_be_read_again(size: int) -> None:
    for plan in every_plan(size, deadline_seconds=60.0):
        assert records.decode_plan(records.encode(plan)) == plan


def test_what_a_plan_has_worked_out_is_not_stored() -> None:
    plan = next(every_plan(3))
    fresh = records.encode(plan)
    for worked_out in ("index", "before", "behind", "pivot", "hash", "shape"):
        getattr(plan, worked_out)
    assert records.encode(plan) == fresh
    assert set(json.loads(fresh)) == {"saga", "version", "steps", "deadline_seconds", "on_stuck"}


def test_a_stored_plan_is_checked_again() -> None:
    fields_ = json.loads(records.encode(next(every_plan(2))))
    fields_["steps"][0]["name"] = fields_["steps"][1]["name"]
    with pytest.raises(PlanError, match="there are two steps of this name"):
        records.decode_plan(json.dumps(fields_))


# ---------------------------------------------------------------------------- commands and errors


@settings(deadline=None)
@given(st.lists(st.builds(SendCommand, WORDS, OPERATIONS, COUNTS, COUNTS), max_size=4).map(tuple))
def test_commands_can_be_read_again(commands: tuple[SendCommand, ...]) -> None:
    assert records.decode_commands(records.encode(commands)) == commands


@settings(deadline=None)
@given(st.builds(ErrorInfo, WORDS, WORDS, WORDS))
def test_an_error_can_be_read_again(error: ErrorInfo) -> None:
    assert records.decode_error(records.encode(error)) == error


def test_an_error_as_it_is_told_can_be_stored_whatever_its_text() -> None:
    error = ErrorInfo.of(OSError("\x00\ud800\N{GRINNING FACE}"))
    assert records.decode_error(records.encode(error)) == error


# ---------------------------------------------------------------------------------------- records


def test_a_record_has_the_status_of_its_state() -> None:
    plan = next(every_plan(1))
    record = SagaRecord(UUID(int=1), "trip", "t-1", "trips", plan.hash, b"", "", b"", 1, initial(plan))
    assert record.status is SagaStatus.RUNNING


def test_a_plan_that_was_stored_before_it_could_say_what_a_stuck_undo_does_has_the_hash_of_then() -> None:
    plan = Plan("trip", 1, (PlannedStep("book", "hotels", "book", StepKind.COMPENSATABLE),))
    stored = json.loads(records.encode(plan))
    del stored["on_stuck"]
    assert records.decode_plan(json.dumps(stored)) == plan
    assert records.decode_plan(json.dumps(stored)).hash == plan.hash
    halting = replace(plan, on_stuck=OnStuck.HALT)
    assert records.decode_plan(records.encode(halting)) == halting
