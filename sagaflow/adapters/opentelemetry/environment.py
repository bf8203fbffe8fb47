"""One line for a service that has no OpenTelemetry of its own: what the usual environment variables say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from sagaflow.adapters.opentelemetry.observer import OpenTelemetryObserver
from sagaflow.definitions.observing import NOBODY, Observer
from sagaflow.errors import MissingExtra

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
LOGS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"


def observer_from_environment(service: str, environment: Mapping[str, str] = os.environ) -> Observer:
    """An observer that sends traces, metrics and log records of failures over OTLP (HTTP), if
    `OTEL_EXPORTER_OTLP_ENDPOINT` is set, or that of one kind alone; otherwise nobody.

    It sets up the SDK and makes it that of the process, so that spans of handlers are told too; all other `OTEL_`
    variables mean what they always do. What is not sent yet is sent when the process ends. A service that sets up an
    SDK by itself uses `OpenTelemetryObserver()` instead.

    Args:
        service: the `service.name`, unless `OTEL_SERVICE_NAME` says another.
        environment: what is set.

    Raises:
        MissingExtra: an endpoint is set, and the exporter is not installed.
    """
    traces = environment.get(TRACES_ENDPOINT) or environment.get(ENDPOINT)
    measures = environment.get(METRICS_ENDPOINT) or environment.get(ENDPOINT)
    failures = environment.get(LOGS_ENDPOINT) or environment.get(ENDPOINT)
    if not (traces or measures or failures) or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return NOBODY
    try:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the exporter is not installed: "
            'pip install "sagaflow-framework[otlp]"'
        ) from error
    name = environment.get("OTEL_SERVICE_NAME", service)
    resource = Resource.create({SERVICE_NAME: name})
    if traces and environment.get("OTEL_TRACES_EXPORTER", "otlp") != "none":
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    if measures and environment.get("OTEL_METRICS_EXPORTER", "otlp") != "none":
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metrics.set_meter_provider(MeterProvider([reader], resource=resource))
    if failures and environment.get("OTEL_LOGS_EXPORTER", "otlp") != "none":
        logger_provider = LoggerProvider(resource=resource)
        logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        _logs.set_logger_provider(logger_provider)
    return OpenTelemetryObserver()
