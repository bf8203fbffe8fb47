"""The payment saga over four processes: what they send to a collector is a tree for each saga, as in the journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from sagaflow.core import events
from sagaflow.core.state import ENDED
from sagaflow.definitions import ids
from sagaflow.definitions.records import JournalEntry, SagaFilter, SagaRecord
from sagaflow.demo.cast import plan_orders
from sagaflow.demo.distributed import DistributedStage
from tests.servers import Server
from tests.telemetry.collector import Collector, Seen, collecting

PATIENCE_SECONDS = 60.0
PRODUCER, CONSUMER = 4, 5
SERVICES = {"orders", "payments", "inventory"}
ANSWERS = (events.Succeeded, events.Refused, events.Failed)


async def test_the_spans_of_four_processes_are_the_journal_as_a_tree(
    postgres: Server, rabbitmq: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        records, journals = await play(postgres.url, rabbitmq.url, tmp_path)
    spans = [span for span in collector.spans if not span.name.startswith("process batch")]
    assert len({span.span_id for span in spans if span.kind != CONSUMER}) == sum(s.kind != CONSUMER for s in spans)
    assert {span.trace_id for span in spans} == {ids.trace_id(record.traceparent) for record in records}
    for record, journal in zip(records, journals, strict=True):
        check(record, journal, [span for span in spans if span.trace_id == ids.trace_id(record.traceparent)])
    check_measures(collector)
    check_failures(collector, records)


async def play(postgres: str, rabbitmq: str, directory: Path) -> tuple[list[SagaRecord], list[Sequence[JournalEntry]]]:
    """The show of the demo, without its crash; returns the sagas once all processes have stopped."""
    orders = [order for order in plan_orders(6) if not order.part.gets_stuck]
    async with DistributedStage(directory, orders, postgres=postgres, rabbitmq=rabbitmq) as stage:
        await stage.raise_curtain()
        await stage.start_orders()
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await stage.store.list(SagaFilter(), 100)
            while not all(one.status in ENDED for one in found):
                stage.children.expect_alive()
                await asyncio.sleep(0.05)
                found = await stage.store.list(SagaFilter(), 100)
        await stage.children.stop()
        records = list(found)
        assert len(records) == len(orders)
        return records, [await stage.store.journal(record.saga_id) for record in records]


def check(record: SagaRecord, journal: Sequence[JournalEntry], spans: Sequence[Seen]) -> None:
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if not span.parent_id]
    assert (root.name, root.span_id, root.service) == (
        f"saga {record.saga}",
        ids.span_id_of(record.saga_id),
        "checkout",
    )
    assert root.attributes["sagaflow.saga.status"] == record.status
    assert root.is_error == (record.state.cause is not None)
    answered = [entry for entry in journal if isinstance(entry.event, ANSWERS) and entry.ignored is None]
    attempts = {span.span_id: span for span in spans if span.kind == PRODUCER}
    assert {ids.span_id(entry.traceparent or "") for entry in answered} <= set(attempts)
    for entry in answered:
        assert entry.traceparent is not None
        assert entry.at is not None
        attempt = attempts[ids.span_id(entry.traceparent)]
        event = entry.event
        assert isinstance(event, ANSWERS)
        assert attempt.name == f"attempt {event.step}"
        assert attempt.attributes["sagaflow.attempt"] == event.attempt
        assert attempt.ended_ns // 1_000 == int(entry.at.timestamp() * 1_000_000)
        assert attempt.attributes.get("error.type") == (entry.error and entry.error.type)
        step = by_id[attempt.parent_id]
        assert step.name == f"{'step' if event.operation == 'action' else 'compensation'} {event.step}"
        assert step.parent_id == root.span_id
        handled = [span for span in spans if span.parent_id == attempt.span_id]
        assert {span.service for span in handled} == {event.step.partition(".")[0]}, "its participant tells of it"
        assert all(span.kind == CONSUMER and span.links == (attempt.span_id,) for span in handled)
    for span in spans:
        assert span is root or span.parent_id in by_id, f"{span.name} hangs in the air"
        if span is not root and span.kind != CONSUMER:  # whose clock is another
            parent = by_id[span.parent_id]
            assert parent.began_ns <= span.began_ns <= span.ended_ns <= parent.ended_ns


def check_measures(collector: Collector) -> None:
    services = Counter(service for service, _ in collector.metrics)
    assert set(services) == {"checkout", *SERVICES}
    assert {("checkout", "sagaflow.saga.ended"), ("payments", "messaging.process.duration")} <= collector.metrics


def check_failures(collector: Collector, records: Sequence[SagaRecord]) -> None:
    undone = Counter(ids.trace_id(record.traceparent) for record in records if record.state.cause is not None)
    told = Counter(trace for _, event, trace in collector.failures if event == "sagaflow.saga.undone")
    assert undone
    assert told == undone, "each is told once"
    assert {service for service, _, _ in collector.failures} == {"checkout"}
