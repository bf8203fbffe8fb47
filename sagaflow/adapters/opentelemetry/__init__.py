"""OpenTelemetry: traces and metrics of sagas; see docs/observability.md."""

from sagaflow.adapters.opentelemetry.environment import observer_from_environment as observer_from_environment
from sagaflow.adapters.opentelemetry.observer import OpenTelemetryObserver as OpenTelemetryObserver
