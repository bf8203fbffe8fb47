"""What OpenTelemetry is told of sagas that run in one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from sagaflow import Coordinator, Operation, SagaStatus, StepRejected, serve
from sagaflow.adapters.opentelemetry import OpenTelemetryObserver
from sagaflow.definitions import ids
from sagaflow.definitions.observing import Moved, Unobserved
from tests.runners.world import Trip, World, always, fail_times, trip_saga, until_status
from tests.telemetry.conftest import Watched

SECRET = "hunter2-4111111111111111"


async def play(
    world: World, watched: Watched, *, saga: Any = None, traceparent: str | None = None, city: str = "Rome"
) -> SagaStatus:
    """One saga, to its end, with everybody stopped behind it."""
    saga = saga or trip_saga()
    async with world.make_store() as store, world.make_transactions() as transactions:  # noqa: SIM117
        async with (
            serve(
                world.agency.participant(),
                transport=world.make_transport(),
                transactions=transactions,
                observer=watched.observer,
            ),
            world.coordinating(store, saga, observer=watched.observer) as sagas,
        ):
            run = await sagas.start(saga, Trip(city), key="one", traceparent=traceparent)
            return (await run.outcome(timeout=20)).status


def tree(spans: Sequence[ReadableSpan]) -> dict[str, str | None]:
    """The name of each span, with the name of its parent."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {span.name: names.get(span.parent.span_id) if span.parent else None for span in spans}


async def test_a_saga_is_one_tree(embedded: World) -> None:
    watched = Watched()
    assert await play(embedded, watched) is SagaStatus.COMPLETED
    steps = ["agency.book_car", "agency.book_room", "agency.book_flight", "agency.pay", "agency.send_ticket"]
    assert tree(watched.spans) == {
        "saga trip": None,
        **{f"step {step}": "saga trip" for step in steps},
        **{f"attempt {step}": f"step {step}" for step in steps},
        **{f"process {step}": f"attempt {step}" for step in steps},
    }
    assert not any(span.status.status_code is trace.StatusCode.ERROR for span in watched.spans)


async def test_a_start_inside_of_a_span_joins_its_trace(embedded: World) -> None:
    watched = Watched()
    with watched.provider.get_tracer("shop").start_as_current_span("POST /orders"):
        assert await play(embedded, watched) is SagaStatus.COMPLETED
    assert tree(watched.spans)["saga trip"] == "POST /orders"
    assert len({span.context.trace_id for span in watched.spans if span.context}) == 1


async def test_what_the_caller_does_not_sample_is_not_traced(embedded: World) -> None:
    watched = Watched()
    caller = ids.unsampled(ids.new_traceparent())
    assert await play(embedded, watched, traceparent=caller) is SagaStatus.COMPLETED
    assert watched.spans == []


async def test_the_sampler_decides_once_for_all_spans_of_a_saga(embedded: World) -> None:
    watched = Watched(ParentBased(ALWAYS_OFF))
    assert await play(embedded, watched) is SagaStatus.COMPLETED
    assert watched.spans == []
    assert {point.name for point in watched.points()} >= {"sagaflow.saga.ended"}


async def test_a_failure_is_told_by_its_type_where_it_was(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["book_room"] = fail_times(1, OSError("the line is dead"))
    embedded.agency.behaviour["book_flight"] = always(StepRejected("no seats"))
    assert await play(embedded, watched) is SagaStatus.COMPENSATED
    errors = {span.name for span in watched.spans if span.status.status_code is trace.StatusCode.ERROR}
    assert {"saga trip", "attempt agency.book_flight", "step agency.book_flight"} <= errors
    assert "process agency.book_flight" not in errors, "a refusal is an answer"
    assert not any(name.startswith("compensation") for name in errors)
    (rejected,) = [span for span in watched.spans if span.name == "attempt agency.book_flight"]
    assert (rejected.attributes or {})["error.type"] == "StepRejected"
    (undone,) = [span for span in watched.spans if span.name == "compensation agency.book_car"]
    assert (undone.attributes or {})["sagaflow.operation"] == "compensation"


async def test_each_attempt_is_told_under_its_step(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["book_car"] = fail_times(2, OSError("busy"))
    assert await play(embedded, watched) is SagaStatus.COMPLETED
    attempts = [span for span in watched.spans if span.name == "attempt agency.book_car"]
    assert [(span.attributes or {})["sagaflow.attempt"] for span in attempts] == [1, 2, 3]
    (step,) = [span for span in watched.spans if span.name == "step agency.book_car"]
    assert step.context is not None
    assert {span.parent.span_id for span in attempts if span.parent} == {step.context.span_id}
    assert step.start_time == attempts[0].start_time
    assert (step.attributes or {})["sagaflow.outcome"] == "succeeded"


async def test_what_was_told_when_a_saga_got_stuck_is_not_told_again(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["send_ticket"] = fail_times(2, OSError("no paper"))
    async with embedded.make_store() as store, embedded.make_transactions() as transactions:
        worker = serve(
            embedded.agency.participant(),
            transport=embedded.make_transport(),
            transactions=transactions,
            observer=watched.observer,
        )
        saga = trip_saga()
        async with worker, embedded.coordinating(store, saga, observer=watched.observer) as sagas:
            run = await sagas.start(saga, Trip("Rome"), key="one")
            assert (await run.outcome(timeout=20)).status is SagaStatus.STUCK
            await until_told(watched, "attempt agency.send_ticket")
            assert "saga trip" not in tree(watched.spans)
            await sagas.operator("test").retry(run.saga_id, reason="there is paper again")
            await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    told = [span.context.span_id for span in watched.spans if span.context and not span.name.startswith("process")]
    assert len(told) == len(set(told))
    assert "saga trip" in tree(watched.spans)


async def until_told(watched: Watched, name: str) -> None:
    async with asyncio.timeout(20):
        while not any(span.name.startswith(name) for span in watched.spans):  # noqa: ASYNC110  # the SDK tells nobody
            await asyncio.sleep(0.01)


async def test_commands_that_share_a_transaction_are_linked(embedded: World) -> None:
    watched, saga = Watched(), trip_saga()
    async with embedded.make_store() as store, embedded.make_transactions() as transactions:
        worker = serve(
            embedded.agency.participant(),
            transport=embedded.make_transport(),
            transactions=transactions,
            observer=watched.observer,
        )
        async with worker, embedded.coordinating(store, saga, observer=watched.observer) as sagas:
            for wave in range(3):  # a handler is first trusted when it was seen
                runs = await sagas.start_many(saga, {f"{wave}-{key}": Trip("Rome") for key in range(10)})
                await asyncio.gather(*(run.outcome(timeout=20) for run in runs))
    attempts = {span.context.span_id for span in watched.spans if span.context and span.name.startswith("attempt")}
    assert watched.groups
    for group in watched.groups:
        linked = {link.context.span_id for link in group.links}
        linked_to = (group.attributes or {})["messaging.batch.message_count"]
        assert len(linked) == linked_to
        assert len(linked) > 1
        assert linked <= attempts


async def test_metrics_count_what_has_happened_and_name_no_saga(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["book_car"] = fail_times(1, OSError("busy"))
    embedded.agency.behaviour["book_flight"] = always(StepRejected("no seats"))
    await play(embedded, watched)
    points = watched.points()
    by_name = {point.name: point for point in points}
    trip = {"sagaflow.saga.name": "trip"}
    assert (by_name["sagaflow.saga.started"].labels, by_name["sagaflow.saga.started"].value) == (trip, 1)
    ended = trip | {"sagaflow.saga.status": "COMPENSATED", "error.type": "REFUSED"}
    assert (by_name["sagaflow.saga.ended"].labels, by_name["sagaflow.saga.ended"].value) == (ended, 1)
    assert by_name["sagaflow.saga.duration"].value == 1
    (retried,) = [point for point in points if point.name == "sagaflow.attempt.retries"]
    assert retried.labels == trip | {"sagaflow.step.name": "agency.book_car", "sagaflow.operation": Operation.ACTION}
    assert retried.value == 1
    answers = sum(point.value for point in points if point.name == "sagaflow.attempt.duration")
    assert answers == sum(point.value for point in points if point.name == "messaging.process.duration")
    ids_of_spans = {str((span.attributes or {}).get("sagaflow.saga.id")) for span in watched.spans}
    assert not ids_of_spans & {str(value) for point in points for value in point.labels.values()}


async def test_nothing_that_is_told_holds_a_payload_or_the_text_of_an_exception(embedded: World) -> None:
    watched = Watched()
    embedded.agency.behaviour["book_car"] = fail_times(1, OSError(f"postgresql://shop:{SECRET}@db/x"))
    embedded.agency.behaviour["pay"] = always(StepRejected(f"card {SECRET} is refused"))
    assert await play(embedded, watched, city=SECRET) is SagaStatus.COMPENSATED
    assert watched.records
    told = [span.to_json() for span in (*watched.spans, *watched.groups)] + [repr(point) for point in watched.points()]
    told += [record.to_json() for record in watched.records]
    assert len(told) > 20
    assert [text for text in told if SECRET in text] == []


async def test_without_an_sdk_nothing_is_told_and_all_goes_well(embedded: World) -> None:
    observer = OpenTelemetryObserver()
    assert not observer.wants_journals
    assert observer.current_traceparent() is None
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(embedded.make_store())
        transactions = await stack.enter_async_context(embedded.make_transactions())
        participant, transport = embedded.agency.participant(), embedded.make_transport()
        worker = serve(participant, transport=transport, transactions=transactions, observer=observer)
        await stack.enter_async_context(worker)
        saga = trip_saga()
        sagas: Coordinator = await stack.enter_async_context(embedded.coordinating(store, saga, observer=observer))
        run = await sagas.start(saga, Trip("Rome"), key="one")
        outcome = await run.outcome(timeout=20)
    assert (outcome.status, len(run.trace_id)) == (SagaStatus.COMPLETED, 32)


class Broken(Unobserved):
    """An observer with a bug everywhere."""

    def current_traceparent(self) -> str | None:
        raise RuntimeError("a bug")

    def sagas_moved(self, moves: Sequence[Moved]) -> None:
        raise RuntimeError("a bug")

    def handling(self, participant: str, command: Any) -> Any:
        raise RuntimeError("a bug")

    def commands_answered(self, participant: str, answered: Any) -> None:
        raise RuntimeError("a bug")


async def test_an_observer_that_fails_harms_nobody(embedded: World, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.observer = Broken()  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR):
        assert await play(embedded, watched) is SagaStatus.COMPLETED
    assert caplog.messages
    assert all(line.startswith("the observer has failed: RuntimeError at tests.telemetry.") for line in caplog.messages)
    assert len(set(caplog.messages)) == len(caplog.messages)  # it is called again and again
