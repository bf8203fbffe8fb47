"""Failures as log records: each once, in the span that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord

from sagaflow import NotPossible, Operator, Replies, Saga, SagaStatus, StepRejected, serve
from sagaflow.adapters.opentelemetry import OpenTelemetryObserver
from sagaflow.definitions import ids
from tests.demo.conftest import start as start
from tests.demo.running import Start
from tests.runners.world import Trip, World, always, fail_times, trip_saga, until
from tests.telemetry.collector import collecting
from tests.telemetry.conftest import Watched
from tests.telemetry.test_observer import play

WARN, ERROR, INFO = SeverityNumber.WARN, SeverityNumber.ERROR, SeverityNumber.INFO


def told(records: list[ReadableLogRecord]) -> list[tuple[str | None, SeverityNumber | None, Any, Any]]:
    return [
        (
            one.log_record.event_name,
            one.log_record.severity_number,
            (one.log_record.attributes or {}).get("sagaflow.step.name"),
            (one.log_record.attributes or {}).get("error.type"),
        )
        for one in records
    ]


async def test_each_failure_is_one_record_in_its_span(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["book_car"] = fail_times(1, OSError("busy"))
    embedded.agency.behaviour["send_ticket"] = always(ValueError("no paper"))
    assert await play(embedded, watched) is SagaStatus.STUCK
    assert told(watched.records) == [
        ("sagaflow.attempt.failed", WARN, "agency.book_car", "OSError"),
        ("sagaflow.attempt.failed", WARN, "agency.send_ticket", "ValueError"),
        ("sagaflow.attempt.failed", ERROR, "agency.send_ticket", "ValueError"),
        ("sagaflow.saga.stuck", ERROR, None, None),
    ]
    failed = [span for span in watched.spans if span.name.startswith("attempt") and not span.status.is_ok]
    spans = {(span.context.trace_id, span.context.span_id) for span in failed if span.context}
    assert len(spans) == 3
    of_attempts = {(one.log_record.trace_id, one.log_record.span_id) for one in watched.records[:3]}
    assert of_attempts == spans
    stuck = watched.records[3].log_record
    saga_id = UUID(str((stuck.attributes or {})["sagaflow.saga.id"]))
    assert stuck.span_id == int(ids.span_id_of(saga_id), 16)
    assert not any(span.events for span in watched.spans), "no span has the exception in it"


async def test_a_refusal_is_no_failure_of_its_attempt(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["pay"] = always(StepRejected("no money"))
    assert await play(embedded, watched) is SagaStatus.COMPENSATED
    assert told(watched.records) == [("sagaflow.saga.undone", INFO, None, "REFUSED")]


async def test_an_attempt_that_nobody_answers_in_time_is_one(embedded: World) -> None:
    watched = Watched()
    saga = trip_saga(airline="airline", timeout_seconds=0.1, attempts=1)  # and nobody serves the airline
    async with (
        embedded.make_store() as store,
        embedded.make_transactions() as transactions,
        serve(embedded.agency.participant(), transport=embedded.make_transport(), transactions=transactions),
        embedded.coordinating(store, saga, observer=watched.observer) as sagas,
    ):
        await sagas.start(saga, Trip("Rome"), key="one")

        async def is_told() -> bool:
            return bool(watched.records)

        await until(is_told)
    assert told(watched.records)[0] == ("sagaflow.attempt.failed", ERROR, "airline.book_flight", "timeout")


async def test_a_saga_that_is_undone_because_a_step_could_not_be_done_is_a_warning(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["book_flight"] = always(OSError("busy"))
    assert await play(embedded, watched, saga=trip_saga(attempts=1)) is SagaStatus.COMPENSATED
    assert told(watched.records) == [
        ("sagaflow.attempt.failed", ERROR, "agency.book_flight", "OSError"),
        ("sagaflow.saga.undone", WARN, None, "EXHAUSTED"),
    ]


async def test_a_saga_whose_function_fails_is_told(embedded: World) -> None:
    watched, saga = Watched(), Saga("trip", Trip)

    @saga.step("agency.book_car", reply=str)
    def book_car(trip: Trip, replies: Replies) -> str:
        raise ZeroDivisionError("a bug")

    assert await play(embedded, watched, saga=saga) is SagaStatus.STUCK
    assert told(watched.records) == [
        ("sagaflow.attempt.failed", ERROR, "agency.book_car", "ZeroDivisionError"),
        ("sagaflow.saga.stuck", ERROR, None, None),
    ]


async def test_nobody_is_told_who_does_not_want_to_be(embedded: World) -> None:
    watched = Watched()
    watched.observer = OpenTelemetryObserver(tracer_provider=watched.provider, logger_provider=NoOpLoggerProvider())
    embedded.agency.behaviour["send_ticket"] = always(ValueError("no paper"))
    assert await play(embedded, watched) is SagaStatus.STUCK
    assert watched.records == []


# Repairs.


async def stuck_saga(world: World) -> UUID:
    world.agency.behaviour["send_ticket"] = always(ValueError("no paper"))
    saga = trip_saga()
    async with (
        world.make_store() as store,
        world.make_transactions() as transactions,
        serve(world.agency.participant(), transport=world.make_transport(), transactions=transactions),
        world.coordinating(store, saga) as sagas,
    ):
        run = await sagas.start(saga, Trip("Rome"), key="one")
        assert (await run.outcome(timeout=20)).status is SagaStatus.STUCK
        return run.saga_id


async def test_a_repair_is_observed_by_whoever_does_it(embedded: World) -> None:
    saga_id, watched = await stuck_saga(embedded), Watched()
    async with embedded.make_store() as store:
        await Operator(store, "eve", observer=watched.observer).abandon(saga_id, reason="enough")
    assert told(watched.records) == [("sagaflow.saga.abandoned", WARN, None, None)]
    assert "saga trip" in {span.name for span in watched.spans}
    (ended,) = [point for point in watched.points() if point.name == "sagaflow.saga.ended"]
    assert ended.labels["sagaflow.saga.status"] == "ABANDONED"


async def test_a_repair_that_changes_nothing_is_not_told(embedded: World) -> None:
    saga_id, watched = await stuck_saga(embedded), Watched()
    async with embedded.make_store() as store:
        operator = Operator(store, "eve", observer=watched.observer)
        await operator.abandon(saga_id, reason="enough")
        with pytest.raises(NotPossible):
            await operator.abandon(saga_id, reason="and again")
    assert len(watched.records) == 1


async def test_a_repair_by_the_command_line_is_told_if_the_environment_says_whom(
    embedded: World, tmp_path: Path, start: Start
) -> None:
    saga_id = await stuck_saga(embedded)
    with collecting() as collector:
        database = f"--database=sqlite:///{tmp_path}/sagas.db"
        abandon = ("abandon", str(saga_id), database, "--reason=enough")
        done = start(*abandon, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url).end()
    assert (done.code, done.errors) == (0, "")
    assert [(service, event) for service, event, _ in collector.failures] == [("sagaflow", "sagaflow.saga.abandoned")]
    assert ("sagaflow", "sagaflow.saga.ended") in collector.metrics
    assert "saga trip" in {span.name for span in collector.spans}
