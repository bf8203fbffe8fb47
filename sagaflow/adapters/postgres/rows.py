"""Columns of the coordinator's tables from values, and values from rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from sagaflow.adapters.postgres.database import columns, optional_text, text
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.records import (
    Attempt,
    Change,
    Deferral,
    JournalEntry,
    LatestError,
    Payload,
    PayloadKind,
    SagaRecord,
    decode_commands,
    decode_error,
    decode_event,
    decode_state,
    decode_timers,
    encode,
    encode_commands,
    encode_event,
    encode_state,
)

Columns = Sequence[Sequence[Any] | None]

_NO_TIMERS = encode(())
_PAYLOAD_KINDS = {kind.value: kind for kind in PayloadKind}


def new_sagas(changes: Sequence[Change]) -> Columns:
    """All columns of new sagas."""
    rows = [
        (
            record.saga_id,
            record.secret,
            record.input_digest,
            record.plan_hash,
            record.saga,
            record.key,
            record.coordinator,
            record.traceparent,
            record.version,
            *_standing(record),
        )
        for record in (change.record for change in changes)
    ]
    return columns(rows, 14)


def changed_sagas(changes: Sequence[Change]) -> Columns:
    """The columns of sagas that change."""
    rows = [
        (
            change.record.saga_id,
            change.expected_version,
            change.record.version,
            *_standing(change.record),
            change.wake_changed or None,
            change.resend or None,
        )
        for change in changes
    ]
    return columns(rows, 10)


def journal_entries(changes: Sequence[Change]) -> Columns:
    """The columns of the journal entries of these changes."""
    return columns([_journal_row(entry) for change in changes for entry in change.journal], 11)


def payloads(changes: Sequence[Change]) -> Columns:
    """The columns of the payloads of these changes."""
    rows = [
        (payload.saga_id, payload.step, payload.kind.value, payload.round, payload.body)
        for change in changes
        for payload in change.payloads
    ]
    return columns(rows, 5)


def attempts(attempts: Sequence[Attempt]) -> Columns:
    """The columns of attempts that are asked for."""
    return columns([(one.saga_id, one.step, one.operation.value, one.round, one.attempt) for one in attempts], 5)


def watchers(changes: Sequence[Change]) -> Columns:
    """The columns of who watches new sagas."""
    return columns([(change.record.saga_id, change.watcher) for change in changes if change.watcher is not None], 2)


def saga_of(row: asyncpg.Record) -> SagaRecord:
    """A saga, from its row."""
    return SagaRecord(
        saga_id=row["id"],
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
        wake_at=row["wake_at"],
        owner=row["owner"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
    )


def journal_entry_of(row: asyncpg.Record) -> JournalEntry:
    """An entry of the journal, from its row."""
    commands, error = row["commands"], row["error"]
    return JournalEntry(
        saga_id=row["saga_id"],
        seq=row["seq"],
        event=decode_event(row["event"]),
        status=SagaStatus(row["status"]),
        commands=() if commands is None else decode_commands(commands),
        ignored=row["ignored"],
        error=None if error is None else decode_error(error),
        origin=row["origin"],
        actor=row["actor"],
        reason=row["reason"],
        traceparent=row["traceparent"],
        at=row["at"],
    )


def latest_error_of(row: asyncpg.Record) -> LatestError:
    """An error of an operation, from its row."""
    return LatestError(row["saga_id"], row["step"], Operation(row["operation"]), decode_error(row["error"]))


def payload_of(row: asyncpg.Record) -> Payload:
    """A payload, from its row."""
    return Payload(row["saga_id"], row["step"], _PAYLOAD_KINDS[row["kind"]], row["round"], row["body"])


def payloads_of(row: asyncpg.Record) -> Sequence[Payload]:
    """The payloads that came with a saga, from its row."""
    saga_id, steps = row["id"], row["steps"]
    if steps is None:
        return ()
    found = zip(steps, row["kinds"], row["rounds"], row["bodies"], strict=True)
    return [Payload(saga_id, step, _PAYLOAD_KINDS[kind], round_, body) for step, kind, round_, body in found]


def deferral_of(row: asyncpg.Record) -> Deferral:
    """Since when an attempt waits, and why, from its row."""
    attempt = Attempt(row["saga_id"], row["step"], Operation(row["operation"]), row["round"], row["attempt"])
    error = row["error"]
    return Deferral(attempt, row["since"], None if error is None else decode_error(error))


def _standing(record: SagaRecord) -> tuple[Any, ...]:
    """Where a saga stands: whether it has ended (or null), when to look at it, status, state and timers."""
    state = record.state
    if state.ended:
        return True, None, state.status.value, encode_state(state), _NO_TIMERS
    return None, record.wake_at, state.status.value, encode_state(state), encode(record.timers)


def _journal_row(entry: JournalEntry) -> tuple[Any, ...]:
    return (
        entry.saga_id,
        entry.seq,
        entry.status.value,
        encode_event(entry.event),
        encode_commands(entry.commands) if entry.commands else None,
        optional_text(entry.ignored),
        None if entry.error is None else encode(entry.error),
        text(entry.origin),
        optional_text(entry.actor),
        optional_text(entry.reason),
        optional_text(entry.traceparent),
    )
