"""Lines of the log: each is an event of the catalogue, has its fields, and nothing of a payload."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sagaflow import SagaStatus, StepRejected, Unavailable, serve
from sagaflow.adapters.log_formats import JsonLines
from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.definitions import logs
from sagaflow.definitions.logs import Line
from tests.runners.world import Trip, World, always, fail_times, trip_saga
from tests.telemetry.conftest import DOCS, recipe

PACKAGE = Path(logs.__file__).parents[1]
SECRET = "hunter2-4111111111111111"
CATALOGUE: Mapping[str, Line] = {name: value for name, value in vars(logs).items() if isinstance(value, Line)}

MAY_USE_LOGGING = {
    "definitions/logs.py",  # the catalogue
    "adapters/log_formats.py",  # a formatter
    "cli/logs.py",  # who reads the log of a command
    "cli/app.py",  # the same
    "demo/host.py",  # a program
    "testing/exploring/history.py",  # they keep quiet while they play
    "testing/simulation/play/history.py",
}
"""All others write by the catalogue, so that no line is without an event."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_is_written_but_by_the_catalogue() -> None:
    users = set()
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "logging" for alias in node.names):
                users.add(name)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "logging":
                users.add(name)
    assert {name for name in users if not name.startswith("_examples/")} == MAY_USE_LOGGING


def test_every_event_is_in_the_table_and_no_other() -> None:
    row = re.compile(r"^\| `([a-z_.]+)` \| (\w+) \| `(sagaflow\.\w+)` \|", re.MULTILINE)
    rows = row.findall(DOCS.read_text(encoding="utf-8"))
    known = [(line.event, logging.getLevelName(line.level), line.logger.name) for line in CATALOGUE.values()]
    assert sorted(rows) == sorted(known)
    assert len({event for event, _, _ in known}) == len(known)


def written() -> Iterator[tuple[str, str, set[str]]]:
    """Where a line is written, which one, and with what."""
    about = {"saga_id", "saga", "step", "operation", "round", "attempt"}
    for name, tree in sources():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(value=ast.Name("logs"), attr=line), attr="write"),
                    args=args,
                    keywords=keywords,
                ):
                    given = {keyword.arg or "" for keyword in keywords}
                    given |= about if args else set()
                    given |= {"error_type", "why"} if "error" in given else set()
                    yield f"{name}:{node.lineno}", line, given


def test_every_line_is_written_somewhere_with_all_that_its_text_needs() -> None:
    found = list(written())
    assert {line for _, line, _ in found} == CATALOGUE.keys()
    for where, line, given in found:
        needed = set(re.findall(r"%\((\w+)\)", CATALOGUE[line].text))
        assert needed <= given, where


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_line_can_be_written(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its fields are none that a record has already, and its text takes them."""
    line = CATALOGUE[name]
    fields: dict[str, Any] = {
        field: 1 if kind in "df" else "x" for field, kind in re.findall(r"%\((\w+)\)[\d.]*([sdf])", line.text)
    }
    with caplog.at_level(logging.DEBUG, "sagaflow"):
        line.write(**fields)
    (record,) = caplog.records
    assert record.__dict__["event"] == line.event
    assert "%(" not in record.getMessage()


def fail_because_of_another() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise ZeroDivisionError(SECRET) from error


def test_of_an_error_there_are_the_type_and_the_frames_and_not_the_text() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        fail_because_of_another()
    here = r"tests\.telemetry\.test_logs:\d+ in "
    assert re.fullmatch(
        f"ZeroDivisionError because of ValueError at {here}fail_because_of_another < {here}test_\\w+",
        logs.reason(caught.value),
    )


def test_the_text_of_an_error_about_a_server_is_said_if_sagaflow_has_written_it() -> None:
    with pytest.raises(Unavailable) as caught:
        raise Unavailable(SECRET)
    assert logs.reason(caught.value).startswith("Unavailable at tests.telemetry.test_logs:")
    with pytest.raises(Unavailable) as caught:
        Broker.at(f"http://user:{SECRET}@host")
    assert logs.reason(caught.value) == str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_line_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    logs.QUEUE_MISSING.write(queue="a\nb\u2028c\x1b[31m" + "d" * 5_000)
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 1
    assert "\x1b" not in record.getMessage()
    assert len(record.getMessage()) < 1_100


# What the lines of real sagas say.


async def play(world: World, *, saga: Any = None, city: str = "Rome") -> tuple[UUID, str, SagaStatus]:
    saga = saga or trip_saga()
    async with world.make_store() as store, world.make_transactions() as transactions:  # noqa: SIM117
        async with (
            serve(world.agency.participant(), transport=world.make_transport(), transactions=transactions),
            world.coordinating(store, saga) as sagas,
        ):
            run = await sagas.start(saga, Trip(city), key="one")
            return run.saga_id, run.trace_id, (await run.outcome(timeout=20)).status


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.__dict__ for record in caplog.records if record.__dict__.get("event") == event]


async def test_a_saga_that_goes_well_writes_no_line_unless_asked(
    embedded: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sagaflow")
    saga_id, trace_id, status = await play(embedded)
    assert status is SagaStatus.COMPLETED
    at_info = [record.__dict__["event"] for record in caplog.records if record.levelno >= logging.INFO]
    assert sorted(at_info) == [
        "coordinator.running",
        "coordinator.stopped",
        "participant.served",
        "participant.stopped",
    ]
    for event in ("saga.started", "saga.completed"):
        (line,) = lines(caplog, event)
        assert (line["saga_id"], line["saga"], line["trace_id"]) == (str(saga_id), "trip", trace_id)


async def test_a_failure_of_a_handler_is_a_line_without_its_text(
    embedded: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sagaflow")
    embedded.agency.behaviour["book_room"] = fail_times(1, ValueError(SECRET))
    embedded.agency.behaviour["pay"] = always(StepRejected(SECRET))
    saga_id, trace_id, status = await play(embedded, city=SECRET)
    assert status is SagaStatus.COMPENSATED
    (failed,) = lines(caplog, "attempt.failed")
    assert failed["levelno"] == logging.INFO
    told = ("saga_id", "trace_id", "participant", "step", "operation", "attempt", "error_type")
    assert [failed[name] for name in told] == [
        str(saga_id), trace_id, "agency", "agency.book_room", "action", 1, "ValueError",
    ]  # fmt: skip
    assert f"sagaflow why {saga_id}" in failed["message"]
    (undone,) = lines(caplog, "saga.undone")
    assert (undone["cause"], undone["levelno"]) == ("REFUSED", logging.INFO)
    assert SECRET not in caplog.text
    assert not any(record.exc_info or record.exc_text or record.stack_info for record in caplog.records)
    assert SECRET not in "".join(JsonLines().format(record) for record in caplog.records)


async def test_a_stuck_saga_is_one_line_with_where_it_is_stuck(
    embedded: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sagaflow")
    embedded.agency.behaviour["send_ticket"] = always(ValueError(SECRET))
    saga_id, trace_id, status = await play(embedded)
    assert status is SagaStatus.STUCK
    (line,) = lines(caplog, "saga.stuck")
    assert (line["saga_id"], line["trace_id"]) == (str(saga_id), trace_id)
    assert (line["step"], line["operation"]) == ("agency.send_ticket", "action")
    assert [record.__dict__["event"] for record in caplog.records] == ["saga.stuck"]


# The recipes of the docs.

WRITES = f"""
from uuid import UUID
from sagaflow.definitions import logs
from sagaflow.definitions.messages import Reply, ReplyOutcome
from sagaflow import Operation, Unavailable
reply = Reply(saga_id=UUID(int=1), step="pay", operation=Operation.ACTION, round=1, attempt=2, token="",
    outcome=ReplyOutcome.FAILED, participant="bank", host="h", traceparent="00-{"a" * 32}-{"b" * 16}-01")
logs.SAGA_LEFT_BEHIND.write(reply, saga="trip")
logging.getLogger("somebody.else").warning("and another\\nline")
"""


@pytest.mark.parametrize("heading", ["Logs as JSON lines", "Logs with python-json-logger", "Logs with structlog"])
def test_a_recipe_has_the_event_and_its_fields(heading: str) -> None:
    program = recipe(heading) + WRITES
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    ours, others = map(json.loads, done.stderr.splitlines())
    fields = {
        "event": "saga.left_behind",
        "saga_id": str(UUID(int=1)),
        "saga": "trip",
        "step": "pay",
        "operation": "action",
        "attempt": 2,
        "trace_id": "a" * 32,
    }
    assert fields.items() <= ours.items()
    assert "turns out to have been done" in ours["message"]
    assert "and another\nline" in others.values()
