"""A collector in the test: takes OTLP over HTTP, and keeps what came."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Seen:
    """One span that came."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    is_error: bool
    links: tuple[str, ...]


@dataclass
class Collector:
    """What came so far."""

    spans: list[Seen] = field(default_factory=list)
    metrics: set[tuple[str, str]] = field(default_factory=set)
    """Names of services and of metrics."""
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    """Names of services, events, and traces of log records."""
    raw: list[bytes] = field(default_factory=list)
    url: str = ""

    def take(self, path: str, body: bytes) -> None:
        """One request."""
        self.raw.append(body)
        if path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            for of_resource in request.resource_spans:
                service = _attributes(of_resource.resource.attributes)["service.name"]
                for of_scope in of_resource.scope_spans:
                    self.spans += [_seen(service, span) for span in of_scope.spans]
        elif path == "/v1/logs":
            records = ExportLogsServiceRequest.FromString(body)
            for of_resource in records.resource_logs:
                service = _attributes(of_resource.resource.attributes)["service.name"]
                for of_scope in of_resource.scope_logs:
                    told = [(service, one.event_name, one.trace_id.hex()) for one in of_scope.log_records]
                    self.failures += told
        elif path == "/v1/metrics":
            measures = ExportMetricsServiceRequest.FromString(body)
            for of_resource in measures.resource_metrics:
                service = _attributes(of_resource.resource.attributes)["service.name"]
                for of_scope in of_resource.scope_metrics:
                    self.metrics |= {(service, metric.name) for metric in of_scope.metrics}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            collector.take(self.path, gzip.decompress(body) if zipped else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """It says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _seen(service: str, span: Span) -> Seen:
    return Seen(
        service,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        span.status.code == 2,
        tuple(link.span_id.hex() for link in span.links),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
