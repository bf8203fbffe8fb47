"""Every line that sagaflow writes to the log: the one place that does, and the catalogue of what there is to say.

A line is an event: its name never changes, and is the attribute `event` of the `LogRecord`; what it is about are other
attributes of it (`saga_id`, `step`, `attempt`, `trace_id`, ...), so that any formatter can have them. The names are in
docs/observability.md, which a test holds against this file.

    ERROR    a person has to do something: a saga is stuck, a message was put aside, this is a bug
    WARNING  sagaflow deals with it by itself; if it goes on, a person should know
    INFO     a process begins or ends to work, a server is back; and what goes wrong with one saga
    DEBUG    what goes well with one saga or message, and what is no news

Nothing of a payload is in any line. The text of an exception may hold such; so it is in a line only if sagaflow itself
has written it, about a server. Of all others there are the type and where they were raised, and for those of handlers
the journal has the rest (`sagaflow why SAGA`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, TypeAlias
from uuid import UUID

from sagaflow.definitions import ids
from sagaflow.definitions.messages import Command, Reply, printable
from sagaflow.definitions.records import SagaRecord
from sagaflow.errors import SchemaError, Unavailable

Field: TypeAlias = str | int | float | UUID | None

FIELD_LENGTH_MAX: Final = 1_000
FRAMES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of line. `text` has the fields that it needs by name."""

    event: str
    level: int
    logger: logging.Logger
    text: str

    def write(
        self,
        about: Command | Reply | SagaRecord | None = None,
        *,
        error: BaseException | None = None,
        quietly: bool = False,
        **fields: Field,
    ) -> None:
        """Write it, if anybody wants to have it.

        Args:
            about: has the saga, the step, the attempt and the trace that it is about.
            error: gives the fields `error_type` and `why`.
            quietly: at DEBUG, since it is no news.
            fields: what else it says. Those that are None are left out of the record.
        """
        level = logging.DEBUG if quietly else self.level
        if not self.logger.isEnabledFor(level):
            return
        told = {name: _plain(value) for name, value in {**_fields_of(about), **_reason(error), **fields}.items()}
        extra = {"event": self.event, **{name: value for name, value in told.items() if value is not None}}
        self.logger.log(level, self.text, {"event": self.event, **told}, extra=extra, stacklevel=2)


def _plain(value: Field) -> str | int | float | None:
    """As JSON has it, and in one line."""
    if value is None or isinstance(value, (int, float)):
        return value
    return printable(str(value)[:FIELD_LENGTH_MAX])


def _fields_of(about: Command | Reply | SagaRecord | None) -> Mapping[str, Field]:
    match about:
        case None:
            return {}
        case SagaRecord():
            return {"saga_id": about.saga_id, "saga": about.saga, "trace_id": _trace_id(about.traceparent)}
        case _:
            return {
                "saga_id": about.saga_id,
                "step": about.step,
                "operation": about.operation,
                "round": about.round,
                "attempt": about.attempt,
                "trace_id": _trace_id(about.traceparent),
            }


def _trace_id(traceparent: str) -> str | None:
    try:
        return ids.trace_id(traceparent)
    except ValueError:  # others write messages too
        return None


def _reason(error: BaseException | None) -> Mapping[str, Field]:
    return {} if error is None else {"error_type": type(error).__qualname__, "why": reason(error)}


def reason(error: BaseException) -> str:
    """What may be said of an error: its text, if it is sagaflow's own about a server; otherwise its type and where it
    was raised, the innermost frame first."""
    frames = list(_frames(error.__traceback__))
    if isinstance(error, (Unavailable, SchemaError)) and frames and frames[-1].startswith("sagaflow."):
        return str(error)
    cause = "" if error.__cause__ is None else f" because of {type(error.__cause__).__qualname__}"
    where = f" at {' < '.join(frames[-FRAMES_MAX:][::-1])}" if frames else ""
    return f"{type(error).__qualname__}{cause}{where}"


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        frame = traceback.tb_frame
        yield f"{frame.f_globals.get('__name__', '?')}:{traceback.tb_lineno} in {frame.f_code.co_name}"
        traceback = traceback.tb_next


_COORDINATOR: Final = logging.getLogger("sagaflow.coordinator")
_WORKER: Final = logging.getLogger("sagaflow.worker")
_RUNNERS: Final = logging.getLogger("sagaflow.runners")
_RABBITMQ: Final = logging.getLogger("sagaflow.rabbitmq")
_RETRY: Final = logging.getLogger("sagaflow.retry")
_CLI: Final = logging.getLogger("sagaflow.cli")
_CRASH_POINTS: Final = logging.getLogger("sagaflow.crash_points")

# Sagas.

SAGA_STUCK: Final = Line(
    "saga.stuck",
    logging.ERROR,
    _COORDINATOR,
    "saga %(saga_id)s (%(saga)s) is stuck at %(step)s: a person has to decide; see: sagaflow why %(saga_id)s",
)
SAGA_LEFT_BEHIND: Final = Line(
    "saga.left_behind",
    logging.ERROR,
    _COORDINATOR,
    "saga %(saga_id)s (%(saga)s) has ended without %(step)s, which turns out to have been done: "
    "a person has to settle it; see: sagaflow why %(saga_id)s",
)
SAGA_NOT_WOKEN: Final = Line(
    "saga.not_woken",
    logging.ERROR,
    _COORDINATOR,
    "saga %(saga_id)s cannot be woken; it is tried again later: %(why)s",
)
SAGA_UNDONE: Final = Line(
    "saga.undone",
    logging.INFO,
    _COORDINATOR,
    "saga %(saga_id)s (%(saga)s) is undone (%(cause)s); see: sagaflow why %(saga_id)s",
)
SAGA_COMPLETED: Final = Line("saga.completed", logging.DEBUG, _COORDINATOR, "saga %(saga_id)s (%(saga)s) is completed")
SAGA_STARTED: Final = Line("saga.started", logging.DEBUG, _COORDINATOR, "saga %(saga_id)s (%(saga)s) has begun")

# Coordinators.

COORDINATOR_RUNNING: Final = Line(
    "coordinator.running", logging.INFO, _COORDINATOR, "coordinator %(coordinator)s runs %(sagas)s at %(host)s"
)
COORDINATOR_STOPPED: Final = Line(
    "coordinator.stopped", logging.INFO, _COORDINATOR, "coordinator %(coordinator)s has stopped"
)
COORDINATOR_CUT_SHORT: Final = Line(
    "coordinator.cut_short",
    logging.WARNING,
    _COORDINATOR,
    "coordinator %(coordinator)s has stopped before all was sent; another process sends it again",
)
LEASE_LEFT: Final = Line(
    "lease.left", logging.WARNING, _COORDINATOR, "the lease is not given back (%(why)s); it lapses by itself"
)
SAGAS_TAKEN_OVER: Final = Line(
    "sagas.taken_over", logging.WARNING, _COORDINATOR, "took over %(count)d sagas of a process that has died"
)
SAGAS_PURGED: Final = Line("sagas.purged", logging.INFO, _COORDINATOR, "purged %(what)s")
BATCH_PARTED: Final = Line(
    "batch.parted",
    logging.WARNING,
    _COORDINATOR,
    "%(count)d inputs cannot be dealt with together, and are one by one: %(why)s",
)
REPLY_FAILED: Final = Line(
    "reply.failed",
    logging.ERROR,
    _COORDINATOR,
    "a reply for saga %(saga_id)s, step %(step)s, cannot be dealt with, and is put aside: %(why)s",
)
REQUEST_FAILED: Final = Line(
    "request.failed", logging.ERROR, _COORDINATOR, "a request (%(request)s) has failed: %(why)s"
)
STEP_UNSERVED: Final = Line("step.unserved", logging.WARNING, _COORDINATOR, "%(gap)s")
STEP_SERVED: Final = Line("step.served", logging.INFO, _COORDINATOR, "no longer: %(gap)s")
STRANGER_HEARD: Final = Line(
    "participant.unknown",
    logging.WARNING,
    _COORDINATOR,
    "%(participant)s has announced itself without being asked",
)
TRACE_LEFT_OUT: Final = Line(
    "trace.left_out", logging.WARNING, _RUNNERS, "the trace of saga %(saga_id)s is left out: %(why)s"
)

# Participants.

PARTICIPANT_SERVED: Final = Line(
    "participant.served", logging.INFO, _WORKER, "participant %(participant)s is served by %(host)s"
)
PARTICIPANT_STOPPED: Final = Line(
    "participant.stopped", logging.INFO, _WORKER, "participant %(participant)s is served no longer by %(host)s"
)
PARTICIPANT_CUT_SHORT: Final = Line(
    "participant.cut_short",
    logging.WARNING,
    _WORKER,
    "participant %(participant)s has stopped before all replies were sent; the commands will come again",
)
ATTEMPT_FAILED: Final = Line(
    "attempt.failed",
    logging.INFO,
    _WORKER,
    "%(operation)s of %(step)s has failed (%(error_type)s), attempt %(attempt)d; see: sagaflow why %(saga_id)s",
)
ATTEMPT_STALE: Final = Line(
    "attempt.stale",
    logging.INFO,
    _WORKER,
    "%(operation)s of %(step)s is stale, attempt %(attempt)d: its time was over before it was done; "
    "see: sagaflow why %(saga_id)s",
)
ATTEMPT_UNSERVED: Final = Line(
    "attempt.unserved", logging.WARNING, _WORKER, "%(operation)s of %(participant)s.%(handler)s is not served"
)
GROUP_PARTED: Final = Line(
    "group.parted", logging.DEBUG, _WORKER, "%(count)d commands are carried out one by one: %(error_type)s"
)
RETRY_POLICY_FAILED: Final = Line(
    "retry_policy.failed",
    logging.ERROR,
    _RETRY,
    "a retry policy failed; the attempt is made again after the default delay: %(why)s",
)

# Both.

SERVER_UNAVAILABLE: Final = Line("server.unavailable", logging.WARNING, _RUNNERS, "%(what)s: %(why)s; trying again")
SERVER_BACK: Final = Line("server.back", logging.INFO, _RUNNERS, "%(what)s: it goes on")
WORK_FAILED: Final = Line("work.failed", logging.ERROR, _RUNNERS, "%(what)s failed, which is a bug: %(why)s")
OBSERVER_FAILED: Final = Line("observer.failed", logging.ERROR, _RUNNERS, "the observer has failed: %(why)s")
MESSAGES_PUT_ASIDE: Final = Line(
    "messages.put_aside",
    logging.ERROR,
    _RUNNERS,
    "%(count)d messages from %(address)s are put aside; see: sagaflow dead list",
)
MESSAGES_GIVEN_UP: Final = Line(
    "messages.given_up",
    logging.ERROR,
    _RUNNERS,
    "the broker gave up what was sent to %(address)s, and it is put aside (%(why)s); see: sagaflow dead list",
)
MESSAGES_EXPIRED: Final = Line(
    "messages.expired", logging.DEBUG, _RUNNERS, "what was sent to %(address)s has expired; %(count)d bodies so far"
)

# The RabbitMQ adapter.

CONNECTION_LOST: Final = Line("connection.lost", logging.WARNING, _RABBITMQ, "%(what)s was lost: %(why)s")
CONNECTION_BACK: Final = Line(
    "connection.back", logging.INFO, _RABBITMQ, "%(what)s was made again after %(seconds).1f s"
)
BROKER_UNAVAILABLE: Final = Line("broker.unavailable", logging.WARNING, _RABBITMQ, "%(what)s: %(why)s")
QUEUE_LOST: Final = Line("queue.lost", logging.WARNING, _RABBITMQ, "%(queue)s is not consumed at present: %(why)s")
QUEUE_BACK: Final = Line("queue.back", logging.INFO, _RABBITMQ, "%(queue)s is consumed again")
QUEUE_MISSING: Final = Line("queue.missing", logging.WARNING, _RABBITMQ, "the queue %(queue)s was missing")
MESSAGES_DROPPED: Final = Line(
    "messages.dropped",
    logging.ERROR,
    _RABBITMQ,
    "messages were dropped: no queue can have a name as long as that of %(address)s",
)
DELIVERY_LOST: Final = Line("delivery.lost", logging.DEBUG, _RABBITMQ, "%(why)s; it will come again")

# Processes.

HEALTH_LISTENING: Final = Line(
    "health.listening", logging.INFO, _CLI, "health is told at http://%(host)s:%(port)d/live and /ready"
)
PROCESS_STOPPING: Final = Line("process.stopping", logging.INFO, _CLI, "%(signal)s: stopping")

CRASH_POINT_SET: Final = Line(
    "crash_point.set",
    logging.WARNING,
    _CRASH_POINTS,
    "%(variable)s is set: this process will kill itself at %(point)s",
)
