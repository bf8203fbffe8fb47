-- Every statement of the store. The tables, and the order in which locks are taken, are explained in
-- migrations/coordinator/0001_tables.sql.
--
-- Batches come as arrays, one for each column, and each batch is one statement. JSON is passed and read as
-- text, because a connection may have codecs of its own.

-- name: begin
-- A transaction in which each statement sees what was committed before it, whatever the database's default.
BEGIN ISOLATION LEVEL READ COMMITTED;

-- name: commit
-- The answer is ROLLBACK if a statement had failed before.
COMMIT;

-- name: rollback
ROLLBACK;

-- name: clock
SELECT clock_timestamp() AS now;

-- name: add_plans
-- Keep plans; those that are known stay as they are.
INSERT INTO sagaflow.plan (hash, saga, version, body)
SELECT hash, saga, version, body::json
FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[]) AS new (hash, saga, version, body)
ORDER BY hash
ON CONFLICT (hash) DO NOTHING;

-- name: plans
SELECT body::text AS body FROM sagaflow.plan WHERE hash = ANY($1::text[]) ORDER BY hash;

-- name: insert
-- Write new sagas with their first journal rows and payloads, and put them on the agenda. Those whose key is
-- taken are left out; waits for a transaction that is taking one now. Returns the ids of those written.
WITH written AS (
    INSERT INTO sagaflow.saga (
        id, started_at, secret, input_digest, plan_hash, saga, key, coordinator, traceparent,
        version, updated_at, ended_at, wake_at, owner, status, state, timers
    )
    SELECT id, clock_timestamp(), secret, input_digest, plan_hash, saga, key, coordinator, traceparent,
        version, clock_timestamp(), CASE WHEN ended THEN clock_timestamp() END, wake_at, $1, status,
        state::json, timers::json
    FROM unnest(
        $2::uuid[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::integer[], $11::boolean[], $12::timestamptz[], $13::text[], $14::text[], $15::text[]
    ) AS new (
        id, secret, input_digest, plan_hash, saga, key, coordinator, traceparent,
        version, ended, wake_at, status, state, timers
    )
    ORDER BY key, saga
    ON CONFLICT (key, saga) DO NOTHING
    RETURNING id, coordinator, ended_at, wake_at
), journaled AS (
    INSERT INTO sagaflow.journal (
        saga_id, seq, status, event, commands, ignored, error, origin, actor, reason, traceparent
    )
    SELECT saga_id, seq, status, event::json, commands::json, ignored, error::json, origin, actor, reason,
        traceparent
    FROM unnest(
        $17::uuid[], $18::integer[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[],
        $25::text[], $26::text[], $27::text[]
    ) AS entry (saga_id, seq, status, event, commands, ignored, error, origin, actor, reason, traceparent)
    WHERE saga_id IN (SELECT id FROM written)
), kept AS (
    INSERT INTO sagaflow.payload (saga_id, step, kind, round, body)
    SELECT saga_id, step, kind, round, body
    FROM unnest($28::uuid[], $29::text[], $30::text[], $31::integer[], $32::bytea[])
        AS new (saga_id, step, kind, round, body)
    WHERE saga_id IN (SELECT id FROM written)
), scheduled AS (
    INSERT INTO sagaflow.agenda (saga_id, coordinator, due_at, resend, watchers)
    SELECT id, coordinator, coalesce(wake_at, 'infinity'), coalesce(id = ANY($16::uuid[]), false),
        CASE WHEN address IS NULL THEN '{}' ELSE ARRAY[address] END
    FROM written
        LEFT JOIN unnest($33::uuid[], $34::text[]) AS watcher (saga_id, address) ON watcher.saga_id = written.id
    WHERE ended_at IS NULL
)
SELECT id FROM written;

-- name: find_by_key
-- The sagas of these keys.
SELECT id, saga, key, coordinator, plan_hash, secret, traceparent, input_digest, version, state::text AS state,
    timers::text AS timers, wake_at, owner, started_at, updated_at
FROM sagaflow.saga
WHERE (key, saga) IN (SELECT * FROM unnest($1::text[], $2::text[]))
ORDER BY id;

-- name: find
SELECT id, saga, key, coordinator, plan_hash, secret, traceparent, input_digest, version, state::text AS state,
    timers::text AS timers, wake_at, owner, started_at, updated_at
FROM sagaflow.saga
WHERE id = ANY($1::uuid[])
ORDER BY id;

-- name: look
-- One saga with all of its payloads, of one moment, and that moment; nothing is locked.
SELECT id, saga, key, coordinator, plan_hash, secret, traceparent, input_digest, version, state::text AS state,
    timers::text AS timers, wake_at, owner, started_at, updated_at, clock_timestamp() AS now,
    steps, kinds, rounds, bodies
FROM sagaflow.saga CROSS JOIN (
    SELECT array_agg(step) AS steps, array_agg(kind) AS kinds, array_agg(round) AS rounds, array_agg(body) AS bodies
    FROM sagaflow.payload
    WHERE saga_id = $1
) AS payload
WHERE id = $1;

-- name: load
-- Sagas locked in the order of their ids, and the time.
SELECT id, saga, key, coordinator, plan_hash, secret, traceparent, input_digest, version, state::text AS state,
    timers::text AS timers, wake_at, owner, started_at, updated_at, clock_timestamp() AS now
FROM sagaflow.saga
WHERE id = ANY($1::uuid[])
ORDER BY id
FOR NO KEY UPDATE;

-- name: list_all
-- The latest sagas of a name, a key and some statuses, before an id and untouched for so long; null does not
-- restrict.
SELECT id, saga, key, coordinator, plan_hash, secret, traceparent, input_digest, version, state::text AS state,
    timers::text AS timers, wake_at, owner, started_at, updated_at
FROM sagaflow.saga
WHERE ($1::text IS NULL OR saga = $1)
    AND ($2::text IS NULL OR key = $2)
    AND ($3::text[] IS NULL OR status = ANY($3))
    AND id < coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    AND ($6::float8 IS NULL OR updated_at <= clock_timestamp() - make_interval(secs => $6))
ORDER BY id DESC
LIMIT $4;

-- name: list_open
-- The same for statuses of sagas that have not ended: however many have, only the others are looked at. The
-- OFFSET keeps the planner from beginning with the sagas, of which it knows nothing while tables are new.
SELECT id, saga, key, saga.coordinator, plan_hash, secret, traceparent, input_digest, version,
    state::text AS state, timers::text AS timers, wake_at, owner, started_at, updated_at
FROM sagaflow.agenda
    CROSS JOIN LATERAL (SELECT * FROM sagaflow.saga WHERE saga.id = agenda.saga_id OFFSET 0) AS saga
WHERE ($1::text IS NULL OR saga = $1)
    AND ($2::text IS NULL OR key = $2)
    AND status = ANY($3::text[])
    AND agenda.saga_id < coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    AND ($6::float8 IS NULL OR updated_at <= clock_timestamp() - make_interval(secs => $6))
ORDER BY agenda.saga_id DESC
LIMIT $4;

-- name: list_waiting
-- The same for open sagas with an operation that is deferred. A state holds no words but those of our enums.
SELECT id, saga, key, saga.coordinator, plan_hash, secret, traceparent, input_digest, version,
    state::text AS state, timers::text AS timers, wake_at, owner, started_at, updated_at
FROM sagaflow.agenda
    CROSS JOIN LATERAL (SELECT * FROM sagaflow.saga WHERE saga.id = agenda.saga_id OFFSET 0) AS saga
WHERE ($1::text IS NULL OR saga = $1)
    AND ($2::text IS NULL OR key = $2)
    AND ($3::text[] IS NULL OR status = ANY($3))
    AND agenda.saga_id < coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    AND ($6::float8 IS NULL OR updated_at <= clock_timestamp() - make_interval(secs => $6))
    AND position('"DEFERRED"' IN state::text) > 0
ORDER BY agenda.saga_id DESC
LIMIT $4;

-- name: deferrals
-- Since when these attempts wait, and why they could not be made last. A journal grows as long as its saga
-- waits, so it is read from its beginning and from its end, each no further than needed.
SELECT asked.saga_id, asked.step, asked.operation, asked.round, asked.attempt, first.at AS since,
    last.error::text AS error
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::integer[])
        AS asked (saga_id, step, operation, round, attempt)
    CROSS JOIN LATERAL (
        SELECT at
        FROM sagaflow.journal AS entry
        WHERE entry.saga_id = asked.saga_id AND event->>'event' IN ('Unserved', 'CommandDeferred')
            AND event->>'step' = asked.step AND event->>'operation' = asked.operation
            AND (event->>'round')::integer = asked.round AND (event->>'attempt')::integer = asked.attempt
        ORDER BY seq
        LIMIT 1
    ) AS first
    CROSS JOIN LATERAL (
        SELECT error
        FROM sagaflow.journal AS entry
        WHERE entry.saga_id = asked.saga_id AND event->>'event' IN ('Unserved', 'CommandDeferred')
            AND event->>'step' = asked.step AND event->>'operation' = asked.operation
            AND (event->>'round')::integer = asked.round AND (event->>'attempt')::integer = asked.attempt
        ORDER BY seq DESC
        LIMIT 1
    ) AS last
ORDER BY asked.saga_id, asked.step, asked.operation;

-- name: latest_errors
-- What went wrong last with each operation of these sagas.
SELECT DISTINCT ON (saga_id, event ->> 'step', event ->> 'operation')
    saga_id, event ->> 'step' AS step, event ->> 'operation' AS operation, error::text AS error
FROM sagaflow.journal
WHERE saga_id = ANY($1::uuid[]) AND error IS NOT NULL AND event ->> 'operation' IS NOT NULL
ORDER BY saga_id, event ->> 'step', event ->> 'operation', seq DESC;

-- name: journal
SELECT saga_id, seq, at, status, event::text AS event, commands::text AS commands, ignored, error::text AS error,
    origin, actor, reason, traceparent
FROM sagaflow.journal
WHERE saga_id = $1
ORDER BY seq;

-- name: journals
SELECT saga_id, seq, at, status, event::text AS event, commands::text AS commands, ignored, error::text AS error,
    origin, actor, reason, traceparent
FROM sagaflow.journal
WHERE saga_id = ANY($1::uuid[])
ORDER BY saga_id, seq;

-- name: payloads
SELECT saga_id, step, kind, round, body
FROM sagaflow.payload
WHERE saga_id = ANY($1::uuid[])
ORDER BY saga_id, step, kind, round;

-- name: save
-- Write sagas whose version is still the expected one, with their journal rows and payloads; of the others, nothing.
-- Nor of those that were written since `read_at`, for who did not lock them then: payloads alone change no version.
-- Their agenda rows go, move, or stay. Returns the ids of those written, and who watches those that have ended or are
-- stuck now: as the agenda is when its rows are locked, which may have changed while the lock on the saga was waited for.
WITH saved AS (
    UPDATE sagaflow.saga AS saga
    SET version = change.version,
        updated_at = CASE WHEN saga.ended_at IS NULL THEN clock_timestamp() ELSE saga.updated_at END,
        ended_at = CASE WHEN change.ended THEN coalesce(saga.ended_at, clock_timestamp()) END,
        wake_at = change.wake_at, owner = $1, status = change.status,
        state = change.state::json, timers = change.timers::json
    FROM unnest(
        $2::uuid[], $3::integer[], $4::integer[], $5::boolean[], $6::timestamptz[], $7::text[], $8::text[],
        $9::text[], $10::boolean[], $11::boolean[], $28::timestamptz[]
    ) AS change (
        id, expected_version, version, ended, wake_at, status, state, timers, wake_changed, resend, read_at
    )
    WHERE saga.id = change.id AND saga.version = change.expected_version
        AND (change.read_at IS NULL OR saga.updated_at = change.read_at)
    RETURNING saga.id, saga.status, saga.wake_at, coalesce(change.ended, false) AS ended,
        coalesce(change.wake_changed, false) AS wake_changed, coalesce(change.resend, false) AS resend
), journaled AS (
    INSERT INTO sagaflow.journal (
        saga_id, seq, status, event, commands, ignored, error, origin, actor, reason, traceparent
    )
    SELECT saga_id, seq, status, event::json, commands::json, ignored, error::json, origin, actor, reason,
        traceparent
    FROM unnest(
        $12::uuid[], $13::integer[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[],
        $20::text[], $21::text[], $22::text[]
    ) AS entry (saga_id, seq, status, event, commands, ignored, error, origin, actor, reason, traceparent)
    WHERE saga_id IN (SELECT id FROM saved)
), kept AS (
    INSERT INTO sagaflow.payload (saga_id, step, kind, round, body)
    SELECT saga_id, step, kind, round, body
    FROM unnest($23::uuid[], $24::text[], $25::text[], $26::integer[], $27::bytea[])
        AS new (saga_id, step, kind, round, body)
    WHERE saga_id IN (SELECT id FROM saved)
), finished AS (
    DELETE FROM sagaflow.agenda USING saved WHERE agenda.saga_id = saved.id AND saved.ended
    RETURNING agenda.saga_id, agenda.watchers
), dismissed AS (
    SELECT agenda.saga_id, agenda.watchers
    FROM saved JOIN sagaflow.agenda ON agenda.saga_id = saved.id
    WHERE saved.status = 'STUCK'
    FOR UPDATE OF agenda
), moved AS (
    UPDATE sagaflow.agenda AS agenda
    SET due_at = CASE WHEN saved.wake_changed THEN coalesce(saved.wake_at, 'infinity') ELSE agenda.due_at END,
        resend = CASE WHEN saved.wake_changed THEN saved.resend ELSE agenda.resend END,
        watchers = CASE WHEN dismissed.saga_id IS NOT NULL THEN '{}' ELSE agenda.watchers END
    FROM saved LEFT JOIN dismissed ON dismissed.saga_id = saved.id
    WHERE agenda.saga_id = saved.id AND NOT saved.ended
        AND (saved.wake_changed OR dismissed.watchers <> '{}')
)
SELECT saved.id, coalesce(finished.watchers, dismissed.watchers) AS watchers
FROM saved
    LEFT JOIN finished ON finished.saga_id = saved.id
    LEFT JOIN dismissed ON dismissed.saga_id = saved.id;

-- name: resent
-- A process has what these sagas have in flight; they are to be looked at again at another time.
WITH seen AS (
    UPDATE sagaflow.saga AS saga
    SET owner = $1, wake_at = later.wake_at
    FROM unnest($2::uuid[], $3::timestamptz[]) AS later (id, wake_at)
    WHERE saga.id = later.id AND saga.ended_at IS NULL
    RETURNING saga.id, saga.wake_at
)
UPDATE sagaflow.agenda AS agenda
SET due_at = coalesce(seen.wake_at, 'infinity'), resend = false
FROM seen
WHERE agenda.saga_id = seen.id;

-- name: watch
-- Remember who watches sagas that are locked and have not ended; an address is remembered once.
UPDATE sagaflow.agenda AS agenda
SET watchers = agenda.watchers || ARRAY(
    SELECT address FROM unnest(new.addresses) AS address WHERE address <> ALL (agenda.watchers)
)
FROM (
    SELECT saga_id, array_agg(DISTINCT address) AS addresses
    FROM unnest($1::uuid[], $2::text[]) AS watcher (saga_id, address)
    GROUP BY saga_id
) AS new
WHERE agenda.saga_id = new.saga_id AND NOT agenda.watchers @> new.addresses;

-- name: claim_due
-- Sagas whose time has come, earliest first; nobody else is given them for so many seconds. Never waits.
-- The clock is asked in a subquery, once: asked for every row, it could not be looked up in the index.
WITH picked AS MATERIALIZED (
    SELECT saga_id, due_at, resend
    FROM sagaflow.agenda
    WHERE coordinator = $1 AND due_at <= (SELECT clock_timestamp())
    ORDER BY due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), held AS (
    UPDATE sagaflow.agenda AS agenda
    SET due_at = clock_timestamp() + make_interval(secs => $3)
    FROM picked
    WHERE agenda.saga_id = picked.saga_id
)
SELECT saga_id, resend FROM picked ORDER BY due_at, saga_id;

-- name: keep_lease
INSERT INTO sagaflow.process AS process (coordinator, id, lease_until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (coordinator, id) DO UPDATE SET lease_until = excluded.lease_until;

-- name: drop_lease
DELETE FROM sagaflow.process WHERE coordinator = $1 AND id = $2;

-- name: lapsed
-- The processes whose lease has lapsed.
SELECT id FROM sagaflow.process WHERE coordinator = $1 AND lease_until <= clock_timestamp() ORDER BY id;

-- name: orphan
-- Some open sagas of these processes, after an id, in the order of their ids: they are due now, to be sent
-- again, and nobody's until somebody does. So two that take over at once do not take the same.
WITH page AS MATERIALIZED (
    SELECT saga.id
    FROM sagaflow.agenda JOIN sagaflow.saga ON saga.id = agenda.saga_id
    WHERE agenda.coordinator = $1 AND agenda.saga_id > $3
        AND saga.owner = ANY($2::uuid[]) AND saga.ended_at IS NULL
    ORDER BY saga.id
    LIMIT $4
    FOR NO KEY UPDATE OF saga
), orphaned AS (
    UPDATE sagaflow.saga AS saga
    SET owner = '00000000-0000-0000-0000-000000000000', wake_at = clock_timestamp()
    FROM page
    WHERE saga.id = page.id
), due AS (
    UPDATE sagaflow.agenda AS agenda
    SET due_at = clock_timestamp(), resend = true
    FROM page
    WHERE agenda.saga_id = page.id
)
SELECT id FROM page ORDER BY id;

-- name: forget_lapsed
-- Forget those of these processes whose lease lapsed so many seconds ago.
DELETE FROM sagaflow.process
WHERE coordinator = $1 AND id = ANY($2::uuid[]) AND lease_until <= clock_timestamp() - make_interval(secs => $3);

-- name: open_sagas
-- How many sagas are open; none, unless this is the first of the processes that live.
SELECT saga.saga, saga.status, count(*) AS count,
    extract(epoch FROM clock_timestamp() - min(saga.started_at))::float8 AS oldest_seconds
FROM sagaflow.agenda JOIN sagaflow.saga ON saga.id = agenda.saga_id
WHERE agenda.coordinator = $1 AND saga.ended_at IS NULL AND $2 = (
    SELECT id FROM sagaflow.process WHERE coordinator = $1 AND lease_until > clock_timestamp() ORDER BY id LIMIT 1
)
GROUP BY saga.saga, saga.status ORDER BY saga.saga, saga.status;

-- name: sample
-- What goes on. Only the agenda, the sagas that are in it, and those after an id are read.
WITH counted AS MATERIALIZED (
    SELECT saga.saga, saga.status, saga.started_at, agenda.due_at
    FROM (SELECT saga_id, due_at FROM sagaflow.agenda ORDER BY saga_id DESC LIMIT $3) AS agenda
        CROSS JOIN LATERAL (
            SELECT saga, status, started_at FROM sagaflow.saga WHERE saga.id = agenda.saga_id OFFSET 0
        ) AS saga
), due AS (
    SELECT count(*) AS count, coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS seconds
    FROM counted WHERE due_at <= clock_timestamp()
)
SELECT clock_timestamp() AS at, (SELECT count(*) FROM counted) AS counted, due.count AS late,
    due.seconds AS late_seconds,
    (SELECT count(*) FROM (SELECT FROM sagaflow.put_aside ORDER BY id DESC LIMIT $3) AS aside) AS put_aside,
    (
        SELECT json_agg(json_build_array(saga, status, count, seconds) ORDER BY saga, status)
        FROM (
            SELECT saga, status, count(*),
                extract(epoch FROM clock_timestamp() - min(started_at))::float8 AS seconds
            FROM counted GROUP BY saga, status
        ) AS open
    )::text AS open,
    (
        SELECT json_object_agg(saga, json_build_array(after, later))
        FROM (
            SELECT saga, count(*) AS after, count(*) FILTER (WHERE id > $2) AS later
            FROM sagaflow.saga WHERE id > $1 GROUP BY saga
        ) AS begun
    )::text AS began
FROM due;

-- name: put_aside
INSERT INTO sagaflow.put_aside (source, reason, body)
SELECT source, reason, body FROM unnest($1::text[], $2::text[], $3::bytea[]) AS message (source, reason, body);

-- name: list_put_aside
SELECT at, source, reason, body, id AS number FROM sagaflow.put_aside ORDER BY id DESC LIMIT $1;

-- name: remove_put_aside
DELETE FROM sagaflow.put_aside WHERE id = ANY($1::bigint[]) RETURNING id;

-- name: keep_announcements
-- Keep what processes of participants have announced now; they count as live for so many seconds. Of the
-- same participants, those that were silent for a day are forgotten.
WITH kept AS (
    INSERT INTO sagaflow.announcement AS old (participant, host, hash, body, heard_at, live_until)
    SELECT participant, host, hash, body::json, clock_timestamp(), clock_timestamp() + make_interval(secs => $5)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (participant, host, hash, body)
    ORDER BY participant, host, hash
    ON CONFLICT (participant, host, hash)
    DO UPDATE SET body = excluded.body, heard_at = excluded.heard_at, live_until = excluded.live_until
)
DELETE FROM sagaflow.announcement
WHERE participant = ANY($1::text[]) AND heard_at < clock_timestamp() - interval '1 day'
    AND (participant, host, hash) NOT IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]));

-- name: announcements
SELECT body::text AS body, heard_at, live_until > clock_timestamp() AS is_live
FROM sagaflow.announcement
ORDER BY participant, heard_at DESC, host, hash;

-- name: purge
-- Look at the next sagas in the order of their ids, and delete those that ended so long ago in their status, with all
-- that belongs to them. A saga that somebody has locked is left for another time, so this never waits. Nothing that
-- comes later can have expired if all of the page began too late. Arrays, and no joins: a plan that is kept knows not
-- how few they are, and would read whole tables for a join.
WITH kept AS MATERIALIZED (
    SELECT status, clock_timestamp() - make_interval(secs => seconds) AS until
    FROM unnest($1::text[], $2::float8[]) AS kept (status, seconds)
), page AS MATERIALIZED (
    SELECT id, started_at FROM sagaflow.saga WHERE id > $3 ORDER BY id LIMIT $4
), expired AS MATERIALIZED (
    SELECT saga.id, saga.status
    FROM sagaflow.saga
    WHERE id = ANY (ARRAY(SELECT id FROM page))
        AND saga.ended_at IS NOT NULL AND saga.ended_at <= (SELECT until FROM kept WHERE kept.status = saga.status)
    ORDER BY id
    FOR UPDATE OF saga SKIP LOCKED
), payloads AS (
    DELETE FROM sagaflow.payload WHERE saga_id = ANY (ARRAY(SELECT id FROM expired))
), entries AS (
    DELETE FROM sagaflow.journal WHERE saga_id = ANY (ARRAY(SELECT id FROM expired))
), gone AS (
    DELETE FROM sagaflow.saga WHERE id = ANY (ARRAY(SELECT id FROM expired))
)
SELECT (SELECT count(*) FROM page) AS looked_at, (SELECT max(id::text)::uuid FROM page) AS last,
    (SELECT min(started_at) FROM page) <= (SELECT max(until) FROM kept) AS goes_on,
    (SELECT json_object_agg(status, count) FROM (SELECT status, count(*) FROM expired GROUP BY status) AS of_status)
        ::text AS expired;

-- name: count_expired
-- The same, but nothing is deleted.
WITH kept AS MATERIALIZED (
    SELECT status, clock_timestamp() - make_interval(secs => seconds) AS until
    FROM unnest($1::text[], $2::float8[]) AS kept (status, seconds)
), page AS MATERIALIZED (
    SELECT id, status, started_at, ended_at FROM sagaflow.saga WHERE id > $3 ORDER BY id LIMIT $4
), expired AS (
    SELECT status
    FROM page
    WHERE ended_at IS NOT NULL AND ended_at <= (SELECT until FROM kept WHERE kept.status = page.status)
)
SELECT (SELECT count(*) FROM page) AS looked_at, (SELECT max(id::text)::uuid FROM page) AS last,
    (SELECT min(started_at) FROM page) <= (SELECT max(until) FROM kept) AS goes_on,
    (SELECT json_object_agg(status, count) FROM (SELECT status, count(*) FROM expired GROUP BY status) AS of_status)
        ::text AS expired;

-- name: erase
-- Delete the payloads of those of these sagas that have ended, and the messages that were put aside and name one.
WITH ended AS MATERIALIZED (
    SELECT id FROM sagaflow.saga WHERE id = ANY($1::uuid[]) AND ended_at IS NOT NULL
), payloads AS (
    DELETE FROM sagaflow.payload WHERE saga_id = ANY (ARRAY(SELECT id FROM ended))
)
DELETE FROM sagaflow.put_aside
WHERE EXISTS (SELECT 1 FROM ended WHERE position(convert_to(ended.id::text, 'UTF8') IN put_aside.body) > 0);

-- name: purge_put_aside
-- Forget the oldest messages that were put aside so long ago.
DELETE FROM sagaflow.put_aside
WHERE id IN (
    SELECT id FROM sagaflow.put_aside
    WHERE at <= clock_timestamp() - make_interval(secs => $1) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING 1;

-- name: count_put_aside
-- The same, but nothing is deleted.
SELECT 1 FROM sagaflow.put_aside WHERE at <= clock_timestamp() - make_interval(secs => $1) ORDER BY id LIMIT $2;
