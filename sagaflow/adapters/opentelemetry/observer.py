"""The observer that speaks OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Final

from opentelemetry import _logs, metrics, trace
from opentelemetry._logs import LoggerProvider, LogRecord
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import Logger
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TracerProvider

from sagaflow.adapters.opentelemetry.failures import Failure, failures_of
from sagaflow.adapters.opentelemetry.metrics import Metrics
from sagaflow.adapters.opentelemetry.tree import ToldSpan, spans_of
from sagaflow.core.plan import Operation, Plan
from sagaflow.definitions import ids
from sagaflow.definitions.messages import Command
from sagaflow.definitions.observing import Answered, Moved
from sagaflow.definitions.ports import Address, QueueKind
from sagaflow.definitions.records import JournalEntry, OpenSagas, SagaRecord
from sagaflow.errors import StepRejected

SCOPE: Final = "sagaflow"


class OpenTelemetryObserver:
    """Tells OpenTelemetry what runs, for the `observer` of `Coordinator`, `serve` and `SagaClient`.

    Args:
        tracer_provider: where spans go; that of the process if left out, whenever one is set. Spans are told only to
            the SDK's own, or one that has its `id_generator`: their ids are those of the journal.
        meter_provider: where metrics go; likewise.
        logger_provider: where log records of failures go; likewise. `NoOpLoggerProvider()` if nobody wants them.
        messaging_system: the attribute `messaging.system` of spans.

    Without an SDK in the process it tells nothing and costs next to nothing. Nothing of payloads and nothing of the
    text of exceptions is in what it tells: of an error it has the type.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        messaging_system: str = "rabbitmq",
    ) -> None:
        self._provider = tracer_provider
        self._found: Tracer | None = None
        self._ids = _GivenIds()
        self._metrics = Metrics(metrics.get_meter(SCOPE, meter_provider=meter_provider))
        self._logger_provider = logger_provider
        self._found_logger: Logger | None = None
        self._system = messaging_system

    # The trace that a saga is in.

    @property
    def wants_journals(self) -> bool:
        """If there is anybody to tell spans to."""
        return self._tracer is not None

    def current_traceparent(self) -> str | None:
        """That of the active span."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        flags = context.trace_flags & TraceFlags.SAMPLED
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"

    def is_sampled(self, saga: str, traceparent: str) -> bool:
        """As the sampler of the process says."""
        tracer = self._tracer
        if tracer is None:
            return True
        trace_id = int(ids.trace_id(traceparent), 16)
        result = tracer.sampler.should_sample(
            Context(), trace_id, f"saga {saga}", SpanKind.INTERNAL, {"sagaflow.saga.name": saga}
        )
        return result.decision is Decision.RECORD_AND_SAMPLE

    # Coordinators.

    def sagas_moved(self, moves: Sequence[Moved]) -> None:
        """Metrics, and a log record for each failure."""
        self._metrics.sagas_moved(moves)
        logger = self._logger
        if logger is not None:
            for moved in moves:
                for failure in failures_of(moved):
                    self._log(logger, moved, failure)

    def saga_told(self, record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> None:
        """Its spans."""
        tracer = self._tracer
        if tracer is None:
            return
        for span in spans_of(record, plan, journal):
            self._tell(tracer, record.traceparent, span)

    def taken_over(self, sagas: int) -> None:
        """Metrics."""
        self._metrics.taken_over(sagas)

    def open_sagas(self, counts: Sequence[OpenSagas]) -> None:
        """Metrics."""
        self._metrics.open_sagas(counts)

    # Participants.

    def handling(self, participant: str, command: Command) -> AbstractContextManager[object]:
        """The span of a handler. It is the active one while the handler runs."""
        tracer = self._tracer
        return nullcontext() if tracer is None else self._process(tracer, participant, command)

    def handling_group(self, participant: str, commands: Sequence[Command]) -> AbstractContextManager[object]:
        """A span of its own trace, linked to the attempts that share the transaction."""
        self._metrics.commands_grouped(len(commands))
        tracer = self._tracer
        if tracer is None:
            return nullcontext()
        return tracer.start_as_current_span(
            f"process batch {participant}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                **self._messaging(participant, commands[0].operation),
                "messaging.batch.message_count": len(commands),
            },
            links=[Link(_context_of(command.traceparent)) for command in commands],
            record_exception=False,
            set_status_on_exception=False,
        )

    def commands_answered(self, participant: str, answered: Sequence[Answered]) -> None:
        """Metrics."""
        for one in answered:
            self._metrics.command_answered(participant, one)

    # Both.

    def messages_repeated(self, where: str, messages: int) -> None:
        """Metrics."""
        self._metrics.repeated(where, messages)

    def messages_put_aside(self, address: Address, messages: int) -> None:
        """Metrics."""
        self._metrics.put_aside(address, messages)

    # How it is done.

    @property
    def _tracer(self) -> Tracer | None:
        """The SDK's, with ids that can be given; none as long as none is set."""
        if self._found is None:
            tracer = trace.get_tracer(SCOPE, tracer_provider=self._provider)
            if isinstance(tracer, Tracer):
                self._ids.otherwise = tracer.id_generator
                tracer.id_generator = self._ids
                self._found = tracer
        return self._found

    @property
    def _logger(self) -> Logger | None:
        """The SDK's; none as long as none is set."""
        if self._found_logger is None:
            logger = _logs.get_logger(SCOPE, logger_provider=self._logger_provider)
            if isinstance(logger, Logger):
                self._found_logger = logger
        return self._found_logger

    def _log(self, logger: Logger, moved: Moved, failure: Failure) -> None:
        traceparent = moved.after.traceparent
        trace_id, span_id = int(ids.trace_id(traceparent), 16), int(failure.span_id, 16)
        span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=True, trace_flags=_flags_of(traceparent)))
        logger.emit(
            LogRecord(
                timestamp=_nanoseconds(moved.at),
                context=trace.set_span_in_context(span, Context()),
                severity_number=failure.severity,
                severity_text=failure.severity.name,
                body=failure.body,
                attributes=failure.attributes,
                event_name=failure.event,
            )
        )

    def _tell(self, tracer: Tracer, traceparent: str, told: ToldSpan) -> None:
        trace_id = int(ids.trace_id(traceparent), 16)
        context = Context()
        if told.parent_id is not None:
            parent = SpanContext(trace_id, int(told.parent_id, 16), is_remote=True, trace_flags=_flags_of(traceparent))
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        with self._ids.given(trace_id, int(told.span_id, 16)):
            span = tracer.start_span(
                told.name,
                context,
                SpanKind.PRODUCER if told.is_attempt else SpanKind.INTERNAL,
                {**({"messaging.system": self._system} if told.is_attempt else {}), **told.attributes},
                start_time=_nanoseconds(told.began),
            )
        if told.error_type is not None:
            span.set_attribute("error.type", told.error_type)
            span.set_status(StatusCode.ERROR)
        span.end(_nanoseconds(told.ended))

    @contextmanager
    def _process(self, tracer: Tracer, participant: str, command: Command) -> Iterator[None]:
        attempt = _context_of(command.traceparent)
        with tracer.start_as_current_span(
            f"process {command.step}",
            context=trace.set_span_in_context(NonRecordingSpan(attempt), Context()),
            kind=SpanKind.CONSUMER,
            attributes={
                **self._messaging(participant, command.operation),
                "messaging.message.conversation_id": str(command.saga_id),
                "sagaflow.saga.id": str(command.saga_id),
                "sagaflow.saga.name": command.saga,
                "sagaflow.step.name": command.step,
                "sagaflow.operation": command.operation.value,
                "sagaflow.round": command.round,
                "sagaflow.attempt": command.attempt,
            },
            links=[Link(attempt)],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except StepRejected:
                span.set_attribute("sagaflow.outcome", "refused")
                raise
            except BaseException as error:
                span.set_attribute("sagaflow.outcome", "failed")
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise
            else:
                span.set_attribute("sagaflow.outcome", "succeeded")

    def _messaging(self, participant: str, operation: Operation) -> dict[str, str]:
        kind = QueueKind.COMMANDS if operation is Operation.ACTION else QueueKind.COMPENSATIONS
        return {
            "messaging.system": self._system,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": str(Address(kind, participant)),
        }


class _GivenIds(IdGenerator):
    """Gives a span the ids that it is told, and others random ones. Spans are begun without awaiting anything."""

    def __init__(self) -> None:
        self.otherwise: IdGenerator = RandomIdGenerator()
        self._given: tuple[int, int] | None = None

    @contextmanager
    def given(self, trace_id: int, span_id: int) -> Iterator[None]:
        """The ids of the span that is begun within."""
        self._given = trace_id, span_id
        try:
            yield
        finally:
            self._given = None

    def generate_trace_id(self) -> int:
        """The one given, or a random one."""
        return self.otherwise.generate_trace_id() if self._given is None else self._given[0]

    def generate_span_id(self) -> int:
        """The one given, or a random one."""
        return self.otherwise.generate_span_id() if self._given is None else self._given[1]


def _context_of(traceparent: str) -> SpanContext:
    """The span that sent a command. One that is no traceparent is that of nobody: others write commands too."""
    try:
        trace_id, span_id = ids.trace_id(traceparent), ids.span_id(traceparent)
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_flags_of(traceparent))


def _flags_of(traceparent: str) -> TraceFlags:
    return TraceFlags(TraceFlags.SAMPLED if ids.is_sampled(traceparent) else TraceFlags.DEFAULT)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000
