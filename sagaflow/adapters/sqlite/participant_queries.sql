-- What a participant does with its two tables. The write lock of the file is held throughout, so that reading
-- first and writing then is one step.

-- name: settled
-- What is known of both operations of a step.
SELECT operation, round, refusal, outcome FROM sagaflow_barrier WHERE saga_id = ? AND step = ?;

-- name: enter
-- Begin an operation; what was refused in an earlier round is forgotten.
INSERT INTO sagaflow_barrier (saga_id, step, operation, round, settled_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET round = excluded.round, refusal = 0, outcome = NULL, settled_at = excluded.settled_at;

-- name: guard
-- What is written from here on can be taken back.
SAVEPOINT sagaflow;

-- name: release
-- ... and no longer.
RELEASE SAVEPOINT sagaflow;

-- name: take_back
-- Undo it.
ROLLBACK TO SAVEPOINT sagaflow;

-- name: record
-- Keep the outcome of an operation that was entered.
UPDATE sagaflow_barrier SET refusal = ?, outcome = ?
WHERE saga_id = ? AND step = ? AND operation = ? AND outcome IS NULL;

-- name: put_aside
-- Keep a message.
INSERT INTO sagaflow_put_aside (at, source, reason, body) VALUES (?, ?, ?, ?);

-- name: list_put_aside
-- The latest messages, the last one first.
SELECT at, source, reason, body, number FROM sagaflow_put_aside ORDER BY number DESC LIMIT ?;

-- name: remove_put_aside
-- Forget a message.
DELETE FROM sagaflow_put_aside WHERE number = ?;

-- name: purge_page
-- The next rows of the barrier in the order of their sagas; `latest` is when something happened to that saga last.
SELECT saga_id, settled_at, (
    SELECT max(settled_at) FROM sagaflow_barrier AS other WHERE other.saga_id = barrier.saga_id
) AS latest
FROM sagaflow_barrier AS barrier
WHERE saga_id > ? ORDER BY saga_id LIMIT ?;

-- name: operations
-- What the barrier knows of a saga.
SELECT operation FROM sagaflow_barrier WHERE saga_id = ?;

-- name: delete_barrier
-- Forget all of that.
DELETE FROM sagaflow_barrier WHERE saga_id = ?;

-- name: purge_put_aside
-- Forget the oldest messages that were put aside before a time.
DELETE FROM sagaflow_put_aside
WHERE number IN (SELECT number FROM sagaflow_put_aside WHERE at <= ? ORDER BY number LIMIT ?);

-- name: count_put_aside
-- The same, but nothing is deleted.
SELECT count(*) FROM (SELECT 1 FROM sagaflow_put_aside WHERE at <= ? LIMIT ?);
