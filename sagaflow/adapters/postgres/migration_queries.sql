-- Every statement about migrations. Each line has its own schema.

-- name: bound_waits
-- To the end of the transaction a lock is waited for so long at most, and a statement may take its time.
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true);

-- name: lock
-- Nobody else migrates this line of this database until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('sagaflow'), hashtext($1));

-- name: has_table
SELECT to_regclass($1) IS NOT NULL;

-- name: database
SELECT current_database();

-- name: applied_coordinator
SELECT number, name, checksum, applied_at FROM sagaflow.migration ORDER BY number;

-- name: applied_participant
SELECT number, name, checksum, applied_at FROM sagaflow_participant.migration ORDER BY number;

-- name: note_coordinator
INSERT INTO sagaflow.migration (number, name, checksum) VALUES ($1, $2, $3);

-- name: note_participant
INSERT INTO sagaflow_participant.migration (number, name, checksum) VALUES ($1, $2, $3);
