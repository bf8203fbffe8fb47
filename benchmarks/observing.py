"""What it costs to be observed: processor time per saga, embedded, with and without an observer.

    python -m benchmarks.observing

Sagas of three steps, over SQLite files and in one process; spans are made, batched and encoded to nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from sagaflow import Coordinator, Participant, Replies, Saga, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.opentelemetry import OpenTelemetryObserver
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.definitions.observing import NOBODY, Observer

SAGAS = 500
ROUNDS = 1


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def observed(sampler: Sampler | None = None) -> Observer:
    """An observer with an SDK of its own."""
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(BatchSpanProcessor(_Nowhere(), max_queue_size=100_000))
    return OpenTelemetryObserver(tracer_provider=provider, meter_provider=MeterProvider([InMemoryMetricReader()]))


WAYS: dict[str, Callable[[], Observer]] = {
    "no observer": lambda: NOBODY,
    "OpenTelemetryObserver, no SDK": OpenTelemetryObserver,
    "metrics, 1 % of traces": lambda: observed(ParentBased(TraceIdRatioBased(0.01))),
    "metrics, all traces": observed,
}


def parts() -> tuple[Saga[str], Participant[Any]]:
    """A saga of three steps, and who does them."""
    saga, shop = Saga("buy", str), Participant[Any]("shop")
    for name in ("one", "two", "three"):

        @shop.step(name)
        async def action(command: str) -> str:
            return command

        @action.compensation
        async def compensation(command: str, done: str) -> None:
            """Nothing is to be undone here."""

        @saga.step(f"shop.{name}", reply=str)
        def command(order: str, replies: Replies) -> str:
            return order

    return saga, shop


async def measure(observer: Observer, folder: Path) -> float:
    """Milliseconds of processor time per saga."""
    (saga, shop), transport = parts(), InProcessTransport()
    async with SqliteStore(folder / "sagas.db") as store, SqliteTransactions(folder / "shop.db") as transactions:
        async with (
            serve(shop, transport=transport, transactions=transactions, observer=observer),
            Coordinator([saga], store=store, transport=transport, observer=observer) as sagas,
        ):
            await run(sagas, saga, "warm")
            began = time.process_time()
            await run(sagas, saga, "measured")
        return (time.process_time() - began) / SAGAS * 1_000


async def run(sagas: Coordinator, saga: Saga[str], prefix: str) -> None:
    """So many sagas, to their ends."""
    runs = await sagas.start_many(saga, {f"{prefix}-{number}": "teapot" for number in range(SAGAS)})
    await asyncio.gather(*(run.outcome() for run in runs))


def main() -> None:
    """Print the best of some rounds for each way."""
    for name, make in WAYS.items():
        best = []
        for _ in range(ROUNDS):
            with TemporaryDirectory() as folder:
                best.append(asyncio.run(measure(make(), Path(folder))))
        print(f"{name:32} {min(best):6.2f} ms of processor time per saga")


if __name__ == "__main__":
    main()
