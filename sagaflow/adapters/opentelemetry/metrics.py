"""The metrics: names and units as OpenTelemetry's conventions have them. No id is ever a label.

The table of them is in docs/observability.md; a test holds it, the dashboard and the alert rules against this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from sagaflow.core import events
from sagaflow.core.plan import Operation
from sagaflow.core.state import ENDED, OpStatus, SagaStatus
from sagaflow.definitions.messages import ReplyOutcome
from sagaflow.definitions.observing import Answered, Moved
from sagaflow.definitions.ports import Address, QueueKind
from sagaflow.definitions.records import NO_PROCESS, JournalEntry, OpenSagas

SAGA_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200, 43_200, 86_400, 604_800)
"""The bounds of the buckets: sagas may take from a moment to a week."""

STEP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
BATCH_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200)

OUTCOMES: Final = {
    events.Succeeded: "succeeded",
    events.Refused: "refused",
    events.Failed: "failed",
    events.TimerFired: "timeout",
}


class Metrics:
    """The instruments of one process."""

    def __init__(self, meter: Meter) -> None:
        counter, histogram = meter.create_counter, meter.create_histogram
        self._started = counter("sagaflow.saga.started", "{saga}", "Sagas that have begun")
        self._ended = counter("sagaflow.saga.ended", "{saga}", "Sagas that have ended, by status")
        self._duration = histogram(
            "sagaflow.saga.duration", "s", "From the start to the end", explicit_bucket_boundaries_advisory=SAGA_SECONDS
        )
        self._stuck = counter("sagaflow.saga.stuck", "{saga}", "Sagas that have become stuck")
        self._taken_over = counter("sagaflow.saga.taken_over", "{saga}", "Open sagas of processes that have died")
        self._attempt = histogram(
            "sagaflow.attempt.duration",
            "s",
            "From the commit of a command to that of its answer: in the queue, in the handler, and back",
            explicit_bucket_boundaries_advisory=STEP_SECONDS,
        )
        self._retries = counter("sagaflow.attempt.retries", "{attempt}", "Attempts after the first of their round")
        self._timeouts = counter("sagaflow.attempt.timeouts", "{attempt}", "Attempts without an answer in time")
        self._timer_lag = histogram(
            "sagaflow.timer.lag", "s", "How late timers have fired", explicit_bucket_boundaries_advisory=STEP_SECONDS
        )
        self._batch = histogram(
            "sagaflow.batch.size",
            "{item}",
            "Sagas, or commands, that have shared a transaction",
            explicit_bucket_boundaries_advisory=BATCH_SIZES,
        )
        self._process = histogram(
            "messaging.process.duration",
            "s",
            "From the arrival of a command in the participant to its answer",
            explicit_bucket_boundaries_advisory=STEP_SECONDS,
        )
        self._duplicates = counter("sagaflow.message.duplicates", "{message}", "Messages that were known already")
        self._put_aside = counter("sagaflow.message.put_aside", "{message}", "Messages kept for a person")
        self._open: Sequence[OpenSagas] = ()
        meter.create_observable_gauge("sagaflow.saga.open", [self._counts], "{saga}", "Sagas that have not ended")
        meter.create_observable_gauge("sagaflow.saga.oldest", [self._ages], "s", "The age of the oldest open saga")

    def sagas_moved(self, moves: Sequence[Moved]) -> None:
        """Of one transaction."""
        self._batch.record(len(moves), {"sagaflow.batch": "sagas"})
        for moved in moves:
            self._moved(moved)

    def commands_grouped(self, commands: int) -> None:
        """Of one transaction of a participant."""
        self._batch.record(commands, {"sagaflow.batch": "commands"})

    def command_answered(self, participant: str, answered: Answered) -> None:
        """By a handler, or instead of it."""
        command, reply = answered.command, answered.reply
        kind = QueueKind.COMMANDS if command.operation is Operation.ACTION else QueueKind.COMPENSATIONS
        labels = {
            "messaging.operation.name": "process",
            "messaging.destination.name": str(Address(kind, participant)),
            "sagaflow.handler": command.handler if reply.outcome is not ReplyOutcome.UNSERVED else "_UNSERVED",
        }
        if reply.outcome not in (ReplyOutcome.SUCCEEDED, ReplyOutcome.REFUSED):
            labels["error.type"] = "_OTHER" if reply.error is None else reply.error.type
        self._process.record(answered.seconds, labels)

    def taken_over(self, sagas: int) -> None:
        """From the dead."""
        self._taken_over.add(sagas)

    def repeated(self, where: str, messages: int) -> None:
        """Known already."""
        self._duplicates.add(messages, {"sagaflow.service": where})

    def put_aside(self, address: Address, messages: int) -> None:
        """The queue of a process is named by its kind alone, since its name is an id."""
        name = address.kind.value if address.kind is QueueKind.ANSWERS else str(address)
        self._put_aside.add(messages, {"messaging.destination.name": name})

    def open_sagas(self, counts: Sequence[OpenSagas]) -> None:
        """Shown until the next are told."""
        self._open = counts

    def _counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(one.count, _of_open(one)) for one in self._open]

    def _ages(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(one.oldest_seconds, _of_open(one)) for one in self._open]

    def _moved(self, moved: Moved) -> None:
        before, after = moved.before, moved.after
        saga = {"sagaflow.saga.name": after.saga}
        if before.version == 0 or (before.version == 1 and before.owner in (None, NO_PROCESS)):
            self._started.add(1, saga)  # the second kind began in a transaction of its caller
        for entry in moved.journal:
            if entry.ignored is None:
                self._happened(moved, entry)
        if after.status is before.status:
            return
        if after.status in ENDED:
            labels = saga | {"sagaflow.saga.status": after.status.value}
            cause = after.state.cause
            self._ended.add(1, labels if cause is None else labels | {"error.type": cause.value})
            began = before.started_at or moved.at
            self._duration.record(max(0.0, (moved.at - began).total_seconds()), labels)
        elif after.status is SagaStatus.STUCK:
            self._stuck.add(1, saga)

    def _happened(self, moved: Moved, entry: JournalEntry) -> None:
        saga = {"sagaflow.saga.name": moved.after.saga}
        for command in entry.commands:
            if command.attempt > 1:
                self._retries.add(1, _of_step(saga, command.step, command.operation))
        event = entry.event
        outcome = OUTCOMES.get(type(event))
        if outcome is None or not isinstance(event, events.OfAttempt):
            return
        key = (event.step, event.operation, event.round, event.attempt)
        timers = [one for one in moved.before.timers if (one.step, one.operation, one.round, one.attempt) == key]
        if not timers:
            return  # it began in the same transaction
        labels = _of_step(saga, event.step, event.operation)
        late_seconds = (moved.at - timers[0].due_at).total_seconds()
        if isinstance(event, events.TimerFired):
            self._timer_lag.record(max(0.0, late_seconds))
            place = moved.plan.index[event.step]
            if moved.before.state.steps[place].op(event.operation).status is not OpStatus.SENT:
                return  # the delay before the next attempt is over
            self._timeouts.add(1, labels)
        timeout = moved.plan.steps[moved.plan.index[event.step]].budget(event.operation).timeout_seconds
        labels = labels | {"sagaflow.outcome": outcome}
        if entry.error is not None:
            labels["error.type"] = entry.error.type
        elif outcome == "timeout":
            labels["error.type"] = outcome
        self._attempt.record(max(0.0, timeout + late_seconds), labels)


def _of_step(saga: dict[str, str], step: str, operation: Operation) -> dict[str, str]:
    return saga | {"sagaflow.step.name": step, "sagaflow.operation": operation.value}


def _of_open(one: OpenSagas) -> dict[str, str]:
    return {"sagaflow.saga.name": one.saga, "sagaflow.saga.status": one.status.value}
