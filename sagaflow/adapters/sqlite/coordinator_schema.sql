-- The tables of a coordinator. A saga is a row of sagaflow_saga, with its whole state as JSON. What happened
-- to it is in sagaflow_journal, one row for each transition; what was sent and returned in sagaflow_payload,
-- apart, so that it can be erased. As long as the saga has not ended it has a row in sagaflow_agenda, the only
-- table that is searched by time; so the speed does not depend on how many sagas have ended.
--
-- Times are UTC text of fixed width, 2026-01-31T23:59:59.000000Z, so that they compare as text.
-- The statements create the tables and indexes that their names say.

-- name: sagaflow_plan
-- Plans, each once, by the hash that runs are pinned to.
CREATE TABLE sagaflow_plan (
    hash    TEXT NOT NULL PRIMARY KEY CHECK (length(hash) = 64),
    saga    TEXT NOT NULL CHECK (length(saga) BETWEEN 1 AND 128),
    version INTEGER NOT NULL CHECK (version >= 1),
    plan    TEXT NOT NULL CHECK (json_valid(plan))
) STRICT, WITHOUT ROWID;

-- name: sagaflow_saga
-- One row for each saga that was ever started.
CREATE TABLE sagaflow_saga (
    saga_id      TEXT NOT NULL PRIMARY KEY CHECK (length(saga_id) = 36),
    saga         TEXT NOT NULL CHECK (length(saga) BETWEEN 1 AND 128),
    key          TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    coordinator  TEXT NOT NULL CHECK (length(coordinator) BETWEEN 1 AND 128),
    plan_hash    TEXT NOT NULL CHECK (length(plan_hash) = 64),
    secret       BLOB NOT NULL CHECK (length(secret) = 16),
    traceparent  TEXT NOT NULL,
    input_digest BLOB NOT NULL CHECK (length(input_digest) = 32),
    version      INTEGER NOT NULL CHECK (version >= 1),
    status       TEXT NOT NULL
        CHECK (status IN ('RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'STUCK', 'ABANDONED')),
    state        TEXT NOT NULL CHECK (json_valid(state) AND state ->> 'status' = status),
    timers       TEXT NOT NULL CHECK (json_valid(timers)),
    started_at   TEXT NOT NULL CHECK (length(started_at) = 27),
    updated_at   TEXT NOT NULL CHECK (length(updated_at) = 27),
    ended_at     TEXT CHECK (length(ended_at) = 27),
    UNIQUE (key, saga),
    CHECK ((ended_at IS NOT NULL) = (status IN ('COMPLETED', 'COMPENSATED', 'ABANDONED'))),
    CHECK (ended_at IS NULL OR timers = '[]')
) STRICT;

-- name: sagaflow_saga_by_status
-- For lists of the sagas that somebody has to look at.
CREATE INDEX sagaflow_saga_by_status ON sagaflow_saga (status, saga_id);

-- name: sagaflow_agenda
-- One row for each saga that has not ended. wake_at: when it wants to be looked at (null: when something
-- happens); due_at: the same, or later while it is held for somebody who looks at it now; resend: what is in
-- flight is to be sent again then; process: who has it in flight; watchers: the answers queues to be told of
-- its end, a JSON array.
CREATE TABLE sagaflow_agenda (
    saga_id     TEXT NOT NULL PRIMARY KEY REFERENCES sagaflow_saga (saga_id),
    coordinator TEXT NOT NULL,
    process     TEXT CHECK (length(process) = 36),
    wake_at     TEXT CHECK (length(wake_at) = 27),
    due_at      TEXT CHECK (length(due_at) = 27),
    resend      INTEGER NOT NULL CHECK (resend IN (0, 1)),
    watchers    TEXT NOT NULL DEFAULT '[]' CHECK (json_type(watchers) = 'array'),
    CHECK ((wake_at IS NULL) = (due_at IS NULL))
) STRICT, WITHOUT ROWID;

-- name: sagaflow_agenda_due
-- The agenda in the order of time.
CREATE INDEX sagaflow_agenda_due ON sagaflow_agenda (coordinator, due_at) WHERE due_at IS NOT NULL;

-- name: sagaflow_agenda_by_process
-- What a process has in flight, for when it dies.
CREATE INDEX sagaflow_agenda_by_process ON sagaflow_agenda (process) WHERE process IS NOT NULL;

-- name: sagaflow_journal
-- What happened to each saga; rows are only ever added.
CREATE TABLE sagaflow_journal (
    saga_id     TEXT NOT NULL REFERENCES sagaflow_saga (saga_id),
    seq         INTEGER NOT NULL CHECK (seq >= 1),
    at          TEXT NOT NULL CHECK (length(at) = 27),
    event       TEXT NOT NULL CHECK (json_valid(event)),
    status      TEXT NOT NULL
        CHECK (status IN ('RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'STUCK', 'ABANDONED')),
    commands    TEXT NOT NULL CHECK (json_type(commands) = 'array'),
    ignored     TEXT,
    error       TEXT CHECK (error IS NULL OR json_valid(error)), -- json_valid(NULL) is 0 in older versions
    origin      TEXT NOT NULL,
    actor       TEXT,
    reason      TEXT,
    traceparent TEXT,
    PRIMARY KEY (saga_id, seq)
) STRICT, WITHOUT ROWID;

-- name: sagaflow_payload
-- Inputs, commands and results; each is written once and never changed.
CREATE TABLE sagaflow_payload (
    saga_id TEXT NOT NULL REFERENCES sagaflow_saga (saga_id),
    step    TEXT NOT NULL CHECK (length(step) <= 128),
    kind    TEXT NOT NULL CHECK (kind IN ('input', 'command', 'undo', 'result')),
    round   INTEGER NOT NULL CHECK (round >= 1),
    body    BLOB NOT NULL,
    PRIMARY KEY (saga_id, step, kind, round),
    CHECK ((kind = 'input') = (step = ''))
) STRICT;

-- name: sagaflow_process
-- The processes that are alive, each until its lease lapses.
CREATE TABLE sagaflow_process (
    coordinator TEXT NOT NULL CHECK (length(coordinator) BETWEEN 1 AND 128),
    process     TEXT NOT NULL CHECK (length(process) = 36),
    lease_until TEXT NOT NULL CHECK (length(lease_until) = 27),
    PRIMARY KEY (coordinator, process)
) STRICT, WITHOUT ROWID;

-- name: sagaflow_coordinator_put_aside
-- Messages that could not be dealt with, kept for a person.
CREATE TABLE sagaflow_coordinator_put_aside (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     TEXT NOT NULL CHECK (length(at) = 27),
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    body   BLOB NOT NULL CHECK (length(body) <= 65536)
) STRICT;

-- name: sagaflow_announcement
-- What processes of participants have announced that they serve, and when; for people only.
CREATE TABLE sagaflow_announcement (
    participant TEXT NOT NULL CHECK (length(participant) BETWEEN 1 AND 128),
    host        TEXT NOT NULL CHECK (length(host) >= 1),
    hash        TEXT NOT NULL CHECK (length(hash) = 64),
    heard_at    TEXT NOT NULL CHECK (length(heard_at) = 27),
    live_until  TEXT NOT NULL CHECK (length(live_until) = 27),
    body        TEXT NOT NULL CHECK (json_valid(body)),
    PRIMARY KEY (participant, host, hash)
) STRICT, WITHOUT ROWID;
