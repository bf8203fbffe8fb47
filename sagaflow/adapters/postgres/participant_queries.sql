-- Every statement of a participant's transactions. The tables are explained in
-- migrations/participant/0001_tables.sql.

-- name: enter_actions
-- Waits for other transactions that have entered the same. A refusal of an earlier round is forgotten.
-- The update happens even when it changes nothing: only so is a row that was committed meanwhile returned.
-- The rows are written in the order of their keys here and below, so that two that enter the same do not deadlock.
INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round)
SELECT saga_id, step, 'action', round
FROM unnest($1::uuid[], $2::text[], $3::integer[]) AS entry (saga_id, step, round)
ORDER BY saga_id, step
ON CONFLICT (saga_id, step, operation) DO UPDATE
SET round = greatest(barrier.round, excluded.round),
    outcome = CASE WHEN barrier.refusal AND barrier.round < excluded.round THEN NULL ELSE barrier.outcome END,
    refusal = barrier.refusal AND barrier.round >= excluded.round
RETURNING saga_id, step, outcome, fenced, pg_current_xact_id()::text AS transaction;

-- name: enter_compensations
-- Fence the actions off, waiting for transactions that have entered them; then enter the compensations likewise.
WITH action AS (
    INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round, fenced)
    SELECT saga_id, step, 'action', round, true
    FROM unnest($1::uuid[], $2::text[], $3::integer[]) AS entry (saga_id, step, round)
    ORDER BY saga_id, step
    ON CONFLICT (saga_id, step, operation) DO UPDATE SET fenced = true
    RETURNING saga_id, step, outcome
), compensation AS (
    INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round)
    SELECT action.saga_id, action.step, 'compensation', entry.round
    FROM action JOIN unnest($1::uuid[], $2::text[], $3::integer[]) AS entry (saga_id, step, round)
        USING (saga_id, step)
    ORDER BY saga_id, step
    ON CONFLICT (saga_id, step, operation) DO UPDATE
    SET round = greatest(barrier.round, excluded.round),
        outcome = CASE WHEN barrier.refusal AND barrier.round < excluded.round THEN NULL ELSE barrier.outcome END,
        refusal = barrier.refusal AND barrier.round >= excluded.round
    RETURNING saga_id, step, outcome
)
SELECT saga_id, step, action.outcome AS action, compensation.outcome AS compensation,
    pg_current_xact_id()::text AS transaction
FROM action JOIN compensation USING (saga_id, step);

-- name: guard
SAVEPOINT sagaflow;

-- name: guard_again
-- In one round trip. The savepoint before is released, so that they do not pile up.
RELEASE SAVEPOINT sagaflow; SAVEPOINT sagaflow;

-- name: take_back
ROLLBACK TO SAVEPOINT sagaflow;

-- name: record
-- Settle operations that were entered. Nothing is, if this is not the transaction that has entered them; none that
-- is settled already is returned. The rows are there and are updated: as an upsert, since that finds each by the
-- key, where a plan for UPDATE ... FROM that was made while the table was small would read all of it later.
INSERT INTO sagaflow_participant.barrier AS barrier (saga_id, step, operation, round, outcome, refusal)
SELECT saga_id, step, operation, 1, outcome, refusal
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::boolean[])
    AS settled (saga_id, step, operation, outcome, refusal)
WHERE pg_current_xact_id()::text = $6
ON CONFLICT (saga_id, step, operation) DO UPDATE
SET outcome = excluded.outcome, refusal = excluded.refusal, at = clock_timestamp()
WHERE barrier.outcome IS NULL
RETURNING 1;

-- name: put_aside
INSERT INTO sagaflow_participant.put_aside (source, reason, body)
SELECT source, reason, body FROM unnest($1::text[], $2::text[], $3::bytea[]) AS message (source, reason, body);

-- name: list_put_aside
SELECT at, source, reason, body, id AS number FROM sagaflow_participant.put_aside ORDER BY id DESC LIMIT $1;

-- name: remove_put_aside
DELETE FROM sagaflow_participant.put_aside WHERE id = ANY($1::bigint[]) RETURNING id;

-- name: purge
-- Look at the next rows of the barrier in the order of their sagas, and delete those of each saga to which nothing has
-- happened for so long, but for some sagas. What somebody has locked is left for another time, so this never waits.
WITH page AS MATERIALIZED (
    SELECT saga_id, at FROM sagaflow_participant.barrier WHERE saga_id > $3 ORDER BY saga_id LIMIT $4
), quiet AS MATERIALIZED (
    SELECT saga_id
    FROM (SELECT DISTINCT saga_id FROM page) AS page
    WHERE saga_id <> ALL ($2::uuid[]) AND clock_timestamp() - make_interval(secs => $1) >= (
        SELECT max(at) FROM sagaflow_participant.barrier WHERE barrier.saga_id = page.saga_id
    )
), expired AS MATERIALIZED (
    SELECT ctid, operation
    FROM sagaflow_participant.barrier
    WHERE saga_id = ANY (ARRAY(SELECT saga_id FROM quiet))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM sagaflow_participant.barrier WHERE ctid = ANY (ARRAY(SELECT ctid FROM expired))
)
SELECT (SELECT count(*) FROM page) AS looked_at, (SELECT max(saga_id::text)::uuid FROM page) AS last,
    (SELECT min(at) FROM page) <= clock_timestamp() - make_interval(secs => $1) AS goes_on,
    (SELECT json_object_agg(operation, count)
        FROM (SELECT operation, count(*) FROM expired GROUP BY operation) AS of_operation)::text AS expired;

-- name: count_expired
-- The same, but nothing is deleted.
WITH page AS MATERIALIZED (
    SELECT saga_id, at FROM sagaflow_participant.barrier WHERE saga_id > $3 ORDER BY saga_id LIMIT $4
), quiet AS MATERIALIZED (
    SELECT saga_id
    FROM (SELECT DISTINCT saga_id FROM page) AS page
    WHERE saga_id <> ALL ($2::uuid[]) AND clock_timestamp() - make_interval(secs => $1) >= (
        SELECT max(at) FROM sagaflow_participant.barrier WHERE barrier.saga_id = page.saga_id
    )
), expired AS (
    SELECT operation FROM sagaflow_participant.barrier WHERE saga_id = ANY (ARRAY(SELECT saga_id FROM quiet))
)
SELECT (SELECT count(*) FROM page) AS looked_at, (SELECT max(saga_id::text)::uuid FROM page) AS last,
    (SELECT min(at) FROM page) <= clock_timestamp() - make_interval(secs => $1) AS goes_on,
    (SELECT json_object_agg(operation, count)
        FROM (SELECT operation, count(*) FROM expired GROUP BY operation) AS of_operation)::text AS expired;

-- name: purge_put_aside
-- Forget the oldest messages that were put aside so long ago.
DELETE FROM sagaflow_participant.put_aside
WHERE id IN (
    SELECT id FROM sagaflow_participant.put_aside
    WHERE at <= clock_timestamp() - make_interval(secs => $1) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING 1;

-- name: count_put_aside
-- The same, but nothing is deleted.
SELECT 1 FROM sagaflow_participant.put_aside WHERE at <= clock_timestamp() - make_interval(secs => $1) ORDER BY id LIMIT $2;
