-- The tables of a participant; they live in the service's own file, beside its own tables.
-- The statements create the tables that their names say.

-- name: sagaflow_barrier
-- What was settled here: at most one row for the action and one for the compensation of each step of a saga.
-- A compensation that has a row fences the action off. outcome is null only inside the transaction that
-- entered the barrier; round is the one in which it was settled.
CREATE TABLE sagaflow_barrier (
    saga_id    TEXT NOT NULL CHECK (length(saga_id) = 36),
    step       TEXT NOT NULL CHECK (length(step) BETWEEN 1 AND 128),
    operation  TEXT NOT NULL CHECK (operation IN ('action', 'compensation')),
    round      INTEGER NOT NULL CHECK (round >= 1),
    refusal    INTEGER NOT NULL DEFAULT 0 CHECK (refusal IN (0, 1)),
    outcome    BLOB,
    settled_at TEXT NOT NULL CHECK (length(settled_at) = 27),
    PRIMARY KEY (saga_id, step, operation),
    CHECK (outcome IS NOT NULL OR refusal = 0)
) STRICT;

-- name: sagaflow_put_aside
-- Messages that could not be dealt with, kept for a person.
CREATE TABLE sagaflow_put_aside (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     TEXT NOT NULL CHECK (length(at) = 27),
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    body   BLOB NOT NULL CHECK (length(body) <= 65536)
) STRICT;
