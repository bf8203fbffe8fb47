"""An embedded world, and an observer whose spans and metrics are kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.opentelemetry import OpenTelemetryObserver
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from tests.runners.world import World

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


def recipe(heading: str) -> str:
    """The code that follows a heading of the docs."""
    _, _, rest = DOCS.read_text(encoding="utf-8").partition(f"\n### {heading}\n")
    _, _, rest = rest.partition("```python\n")
    code, _, _ = rest.partition("```\n")
    assert code, heading
    return code


class Watched:
    """What an observer has told OpenTelemetry."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        loggers = LoggerProvider()
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self._records))
        self.observer = OpenTelemetryObserver(
            tracer_provider=self.provider, meter_provider=MeterProvider([self._reader]), logger_provider=loggers
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """Of handlers and sagas; without those of groups."""
        return [span for span in self._exporter.get_finished_spans() if not span.name.startswith("process batch")]

    @property
    def records(self) -> list[ReadableLogRecord]:
        """The log records, in their order."""
        return list(self._records.get_finished_logs())

    @property
    def groups(self) -> list[ReadableSpan]:
        """The spans of groups."""
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith("process batch")]

    def points(self) -> list[Point]:
        """Every measure, with its labels."""
        data = self._reader.get_metrics_data()
        return [
            Point(metric.name, metric.unit or "", dict(point.attributes or {}), _value(point))
            for of_resource in (data.resource_metrics if data else ())
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
            for point in metric.data.data_points
        ]


@dataclass(frozen=True)
class Point:
    """One measure: of a histogram, how many were recorded."""

    name: str
    unit: str
    labels: dict[str, Any]
    value: float


def _value(point: Any) -> float:
    return float(point.count if hasattr(point, "count") else point.value)


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[World]:
    """SQLite files and a transport in the process."""
    transport = InProcessTransport()
    async with AsyncExitStack() as stack:
        yield World(
            stack,
            make_store=lambda: SqliteStore(tmp_path / "sagas.db"),
            make_transport=lambda: transport,
            make_transactions=lambda: SqliteTransactions(tmp_path / "agency.db"),
            own_transaction=lambda: stack,
        )
