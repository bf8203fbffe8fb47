"""Rows of the coordinator's tables from values, and values from rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sagaflow.adapters.sqlite.times import to_text, to_time
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.messages import Announcement
from sagaflow.definitions.records import (
    Attempt,
    Change,
    Deferral,
    JournalEntry,
    KeptAnnouncement,
    LatestError,
    Payload,
    PayloadKind,
    PutAside,
    SagaRecord,
    decode_announcement,
    decode_commands,
    decode_error,
    decode_event,
    decode_state,
    decode_timers,
    encode,
    encode_event,
    encode_state,
)

Parameters = dict[str, str | bytes | int | None]


def id_array(saga_ids: Iterable[UUID]) -> str:
    """Ids as one parameter: a JSON array."""
    return json.dumps([str(saga_id) for saga_id in saga_ids])


def saga_parameters(change: Change, now: datetime) -> Parameters:
    """The row of a saga after a change."""
    record = change.record
    return {
        "saga_id": str(record.saga_id),
        "saga": record.saga,
        "key": record.key,
        "coordinator": record.coordinator,
        "plan_hash": record.plan_hash,
        "secret": record.secret,
        "traceparent": record.traceparent,
        "input_digest": record.input_digest,
        "version": record.version,
        "expected_version": change.expected_version,
        "status": record.status.value,
        "state": encode_state(record.state),
        "timers": encode(record.timers),
        "now": to_text(now),
        "ended_at": to_text(now) if record.state.ended else None,
    }


def agenda_parameters(change: Change, process: UUID) -> Parameters:
    """The row of a saga on the agenda after a change."""
    return {
        "saga_id": str(change.record.saga_id),
        "coordinator": change.record.coordinator,
        "process": str(process),
        "wake_at": optional_text(change.record.wake_at),
        "resend": change.resend,
        "wake_changed": change.wake_changed,
        "watcher": change.watcher,
    }


def journal_parameters(entry: JournalEntry, now: datetime) -> Parameters:
    """A row of the journal."""
    return {
        "saga_id": str(entry.saga_id),
        "seq": entry.seq,
        "now": to_text(now),
        "event": encode_event(entry.event),
        "status": entry.status.value,
        "commands": encode(entry.commands),
        "ignored": entry.ignored,
        "error": None if entry.error is None else encode(entry.error),
        "origin": entry.origin,
        "actor": entry.actor,
        "reason": entry.reason,
        "traceparent": entry.traceparent,
    }


def payload_parameters(payload: Payload) -> tuple[str, str, str, int, bytes]:
    """The row of a payload."""
    return str(payload.saga_id), payload.step, payload.kind.value, payload.round, payload.body


def put_aside_parameters(message: PutAside, now: datetime) -> tuple[str, str, str, bytes]:
    """The row of a message that was put aside; no more of its body than is kept."""
    return to_text(now), message.source, message.reason, message.body[:PUT_ASIDE_BYTES_MAX]


def attempt_parameters(attempt: Attempt) -> Parameters:
    """An attempt that is asked for."""
    return {
        "saga_id": str(attempt.saga_id),
        "step": attempt.step,
        "operation": attempt.operation.value,
        "round": attempt.round,
        "attempt": attempt.attempt,
    }


def saga_of(row: sqlite3.Row) -> SagaRecord:
    """A saga, from its row and that of the agenda."""
    return SagaRecord(
        saga_id=UUID(row["saga_id"]),
        saga=row["saga"],
        key=row["key"],
        coordinator=row["coordinator"],
        plan_hash=row["plan_hash"],
        secret=row["secret"],
        traceparent=row["traceparent"],
        input_digest=row["input_digest"],
        version=row["version"],
        state=decode_state(row["state"]),
        timers=decode_timers(row["timers"]),
        wake_at=_optional_time(row["wake_at"]),
        owner=None if row["process"] is None else UUID(row["process"]),
        started_at=to_time(row["started_at"]),
        updated_at=to_time(row["updated_at"]),
    )


def journal_entry_of(row: sqlite3.Row) -> JournalEntry:
    """An entry of the journal, from its row."""
    error: Any = row["error"]
    return JournalEntry(
        saga_id=UUID(row["saga_id"]),
        seq=row["seq"],
        event=decode_event(row["event"]),
        status=SagaStatus(row["status"]),
        commands=decode_commands(row["commands"]),
        ignored=row["ignored"],
        error=None if error is None else decode_error(error),
        origin=row["origin"],
        actor=row["actor"],
        reason=row["reason"],
        traceparent=row["traceparent"],
        at=to_time(row["at"]),
    )


def latest_error_of(row: sqlite3.Row) -> LatestError:
    """An error of an operation, from its row."""
    return LatestError(UUID(row["saga_id"]), row["step"], Operation(row["operation"]), decode_error(row["error"]))


def payload_of(row: sqlite3.Row) -> Payload:
    """A payload, from its row."""
    return Payload(UUID(row["saga_id"]), row["step"], PayloadKind(row["kind"]), row["round"], row["body"])


def deferral_of(attempt: Attempt, row: sqlite3.Row) -> Deferral:
    """Since when an attempt waits, and why, from its row."""
    error: Any = row["error"]
    return Deferral(attempt, to_time(row["since"]), None if error is None else decode_error(error))


def put_aside_of(row: sqlite3.Row) -> PutAside:
    """A message that was put aside, from its row."""
    return PutAside(row["source"], row["reason"], row["body"], to_time(row["at"]), row["number"])


def optional_text(time: datetime | None) -> str | None:
    """A time as text, if there is one."""
    return None if time is None else to_text(time)


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else to_time(text)


def announcement_parameters(announcement: Announcement, now: datetime, live_until: datetime) -> Parameters:
    """The row of an announcement that was heard now."""
    return {
        "participant": announcement.participant,
        "host": announcement.host,
        "hash": announcement.hash,
        "heard_at": to_text(now),
        "live_until": to_text(live_until),
        "body": encode(announcement),
    }


def kept_announcement_of(row: sqlite3.Row, now: datetime) -> KeptAnnouncement:
    """An announcement from its row."""
    announcement = decode_announcement(row["body"])
    return KeptAnnouncement(announcement, to_time(row["heard_at"]), to_time(row["live_until"]) > now)


def purge_put_aside(db: sqlite3.Connection, statements: Mapping[str, str], until: str, limit: int, delete: bool) -> int:
    """Delete, or count, the oldest messages that were put aside before a time; returns how many."""
    if delete:
        return db.execute(statements["purge_put_aside"], (until, limit)).rowcount
    (count,) = db.execute(statements["count_put_aside"], (until, limit)).fetchone()
    return int(count)
