-- Every statement of a participant's transactions. The tables are explained in
-- migrations/participant/0001_tables.sql.

-- name: enter_action
-- Waits for another transaction that has entered the same. A refusal of an earlier round is forgotten.
-- The update happens even when it changes nothing: only so is a row that was committed meanwhile returned.
INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round)
VALUES ($1, $2, 'action', $3)
ON CONFLICT (saga_id, step, operation) DO UPDATE
SET round = greatest(barrier.round, excluded.round),
    outcome = CASE WHEN barrier.refusal AND barrier.round < excluded.round THEN NULL ELSE barrier.outcome END,
    refusal = barrier.refusal AND barrier.round >= excluded.round
RETURNING outcome, fenced;

-- name: enter_compensation
-- Fence the action off, waiting for a transaction that has entered it; then enter the compensation likewise.
WITH action AS (
    INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round, fenced)
    VALUES ($1, $2, 'action', $3, true)
    ON CONFLICT (saga_id, step, operation) DO UPDATE SET fenced = true
    RETURNING outcome
), compensation AS (
    INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round)
    SELECT $1, $2, 'compensation', $3 FROM action
    ON CONFLICT (saga_id, step, operation) DO UPDATE
    SET round = greatest(barrier.round, excluded.round),
        outcome = CASE WHEN barrier.refusal AND barrier.round < excluded.round THEN NULL ELSE barrier.outcome END,
        refusal = barrier.refusal AND barrier.round >= excluded.round
    RETURNING outcome
)
SELECT action.outcome AS action, compensation.outcome AS compensation FROM action, compensation;

-- name: record
-- Settle an operation that was entered. Returns nothing if it was not, or is settled.
UPDATE sagaflow_participant.barrier
SET outcome = $4, refusal = $5, at = clock_timestamp()
WHERE saga_id = $1 AND step = $2 AND operation = $3 AND outcome IS NULL
RETURNING 1;

-- name: put_aside
INSERT INTO sagaflow_participant.put_aside (source, reason, body)
SELECT source, reason, body FROM unnest($1::text[], $2::text[], $3::bytea[]) AS message (source, reason, body);

-- name: list_put_aside
SELECT at, source, reason, body FROM sagaflow_participant.put_aside ORDER BY id DESC LIMIT $1;
