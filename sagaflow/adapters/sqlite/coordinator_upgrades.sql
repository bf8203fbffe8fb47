-- How the tables of an older coordinator become those of this version: the statements `to_N_...` lead from
-- version N - 1 to N, in their order and in one transaction.

-- name: to_2_make
-- A person may say that something else is sent for a compensation: a payload of its own kind, `undo`. A check
-- cannot be changed, so the table is made anew.
CREATE TABLE sagaflow_payload_2 (
    saga_id TEXT NOT NULL REFERENCES sagaflow_saga (saga_id),
    step    TEXT NOT NULL CHECK (length(step) <= 128),
    kind    TEXT NOT NULL CHECK (kind IN ('input', 'command', 'undo', 'result')),
    round   INTEGER NOT NULL CHECK (round >= 1),
    body    BLOB NOT NULL,
    PRIMARY KEY (saga_id, step, kind, round),
    CHECK ((kind = 'input') = (step = ''))
) STRICT;

-- name: to_2_copy
-- All that is there.
INSERT INTO sagaflow_payload_2 SELECT saga_id, step, kind, round, body FROM sagaflow_payload;

-- name: to_2_drop
-- It has been copied.
DROP TABLE sagaflow_payload;

-- name: to_2_rename
-- The new one takes its place.
ALTER TABLE sagaflow_payload_2 RENAME TO sagaflow_payload;

-- name: to_2_announcement
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
