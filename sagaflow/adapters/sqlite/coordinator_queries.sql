-- What a store does with its tables. A write holds the write lock of the file from its beginning, so nothing
-- needs to be locked by rows.

-- name: add_plan
-- Keep a plan; one that is known is left alone.
INSERT INTO sagaflow_plan (hash, saga, version, plan) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: plans
-- The plans of a JSON array of hashes.
SELECT plan FROM sagaflow_plan WHERE hash IN (SELECT value FROM json_each(?));

-- name: insert_saga
-- Write a new saga; one whose key is taken is left alone.
INSERT INTO sagaflow_saga (
    saga_id, saga, key, coordinator, plan_hash, secret, traceparent, input_digest,
    version, status, state, timers, started_at, updated_at, ended_at
) VALUES (
    :saga_id, :saga, :key, :coordinator, :plan_hash, :secret, :traceparent, :input_digest,
    :version, :status, :state, :timers, :now, :now, :ended_at
) ON CONFLICT DO NOTHING;

-- name: update_saga
-- Write the new state of a saga, if the stored one is the expected one.
UPDATE sagaflow_saga
SET version = :version, status = :status, state = :state, timers = :timers,
    updated_at = CASE WHEN ended_at IS NULL THEN :now ELSE updated_at END,
    ended_at = coalesce(ended_at, :ended_at)
WHERE saga_id = :saga_id AND version = :expected_version;

-- name: insert_journal
-- Add a row to the journal.
INSERT INTO sagaflow_journal (
    saga_id, seq, at, event, status, commands, ignored, error, origin, actor, reason, traceparent
) VALUES (
    :saga_id, :seq, :now, :event, :status, :commands, :ignored, :error, :origin, :actor, :reason, :traceparent
);

-- name: insert_payload
-- Keep a payload. There is none of its step, kind and round yet.
INSERT INTO sagaflow_payload (saga_id, step, kind, round, body) VALUES (?, ?, ?, ?, ?);

-- name: insert_agenda
-- Put a new saga on the agenda.
INSERT INTO sagaflow_agenda (saga_id, coordinator, process, wake_at, due_at, resend, watchers)
VALUES (
    :saga_id, :coordinator, :process, :wake_at, :wake_at, :resend, iif(:watcher IS NULL, '[]', json_array(:watcher))
);

-- name: update_agenda
-- The saga goes on, in the hands of this process; when it is looked at changes only if that was asked for.
UPDATE sagaflow_agenda
SET process = :process,
    wake_at = iif(:wake_changed, :wake_at, wake_at),
    due_at = iif(:wake_changed, :wake_at, due_at),
    resend = iif(:wake_changed, :resend, resend)
WHERE saga_id = :saga_id;

-- name: watchers
-- Who watches a saga.
SELECT watchers FROM sagaflow_agenda WHERE saga_id = ?;

-- name: forget_watchers
-- They have been told.
UPDATE sagaflow_agenda SET watchers = '[]' WHERE saga_id = ?;

-- name: leave_agenda
-- The saga has ended.
DELETE FROM sagaflow_agenda WHERE saga_id = ?;

-- name: watch
-- Add a watcher of a saga that has not ended and is not stuck, unless it watches already.
UPDATE sagaflow_agenda SET watchers = json_insert(watchers, '$[#]', :address)
WHERE saga_id = :saga_id
  AND (SELECT status FROM sagaflow_saga AS saga WHERE saga.saga_id = :saga_id) <> 'STUCK'
  AND :address NOT IN (SELECT value FROM json_each(watchers));

-- name: resent
-- The process has what is in flight; look at the saga again then.
UPDATE sagaflow_agenda SET process = :process, wake_at = :wake_at, due_at = :wake_at, resend = 0
WHERE saga_id = :saga_id;

-- name: sagas
-- The sagas of a JSON array of ids, in the order of their ids.
SELECT saga.*, agenda.wake_at, agenda.process
FROM sagaflow_saga AS saga LEFT JOIN sagaflow_agenda AS agenda USING (saga_id)
WHERE saga.saga_id IN (SELECT value FROM json_each(?))
ORDER BY saga.saga_id;

-- name: saga_of_key
-- The saga that has this key.
SELECT saga.*, agenda.wake_at, agenda.process
FROM sagaflow_saga AS saga LEFT JOIN sagaflow_agenda AS agenda USING (saga_id)
WHERE saga.saga = ? AND saga.key = ?;

-- name: latest
-- Sagas that match, the latest first: this, then any of the restrictions, then `latest_first`.
SELECT saga.*, agenda.wake_at, agenda.process
FROM sagaflow_saga AS saga LEFT JOIN sagaflow_agenda AS agenda USING (saga_id)
WHERE true;

-- name: of_saga
-- Restricts `latest`.
AND saga.saga = :saga;

-- name: of_key
-- Restricts `latest`.
AND saga.key = :key;

-- name: of_status
-- Restricts `latest`; one status at a time, so that the index gives the order.
AND saga.status = :status;

-- name: of_older
-- Restricts `latest`.
AND saga.saga_id < :before;

-- name: of_waiting
-- Restricts `latest`. A state holds no words but those of our enums.
AND saga.ended_at IS NULL AND instr(saga.state, '"DEFERRED"') > 0;

-- name: idle
-- Restricts `latest`; nothing was written of them since.
AND saga.updated_at <= :idle_since;

-- name: latest_first
-- Ids are made in the order of time.
ORDER BY saga.saga_id DESC LIMIT :limit;

-- name: payloads
-- All payloads of a JSON array of sagas.
SELECT saga_id, step, kind, round, body FROM sagaflow_payload
WHERE saga_id IN (SELECT value FROM json_each(?))
ORDER BY saga_id, step, kind, round;

-- name: journal
-- The journal of a saga, from its beginning.
SELECT * FROM sagaflow_journal WHERE saga_id = ? ORDER BY seq;

-- name: journals
-- The journals of a JSON array of sagas, each from its beginning.
SELECT * FROM sagaflow_journal WHERE saga_id IN (SELECT value FROM json_each(?)) ORDER BY saga_id, seq;

-- name: deferrals
-- Since when an attempt waits, and why it could not be made last. A journal grows as long as its saga waits,
-- so it is read from its beginning and from its end, each no further than needed.
SELECT (
    SELECT at FROM sagaflow_journal
    WHERE saga_id = :saga_id AND event ->> 'event' IN ('Unserved', 'CommandDeferred')
      AND event ->> 'step' = :step AND event ->> 'operation' = :operation
      AND event ->> 'round' = :round AND event ->> 'attempt' = :attempt
    ORDER BY seq LIMIT 1
) AS since, (
    SELECT error FROM sagaflow_journal
    WHERE saga_id = :saga_id AND event ->> 'event' IN ('Unserved', 'CommandDeferred')
      AND event ->> 'step' = :step AND event ->> 'operation' = :operation
      AND event ->> 'round' = :round AND event ->> 'attempt' = :attempt
    ORDER BY seq DESC LIMIT 1
) AS error;

-- name: latest_errors
-- What went wrong last with each operation of a JSON array of sagas: the other columns are those of the row
-- that has the maximum.
SELECT saga_id, event ->> 'step' AS step, event ->> 'operation' AS operation, error, max(seq)
FROM sagaflow_journal
WHERE saga_id IN (SELECT value FROM json_each(?)) AND error IS NOT NULL AND event ->> 'operation' IS NOT NULL
GROUP BY saga_id, event ->> 'step', event ->> 'operation'
ORDER BY saga_id, step, operation;

-- name: due
-- The sagas whose time has come, the earliest first.
SELECT saga_id, resend FROM sagaflow_agenda
WHERE coordinator = ? AND due_at <= ?
ORDER BY due_at, saga_id
LIMIT ?;

-- name: hold
-- The saga was given to somebody; it is due again then.
UPDATE sagaflow_agenda SET due_at = ? WHERE saga_id = ?;

-- name: keep_lease
-- The process is alive until then.
INSERT INTO sagaflow_process (coordinator, process, lease_until) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET lease_until = excluded.lease_until;

-- name: lapsed
-- The processes whose lease has lapsed.
SELECT process FROM sagaflow_process WHERE coordinator = ? AND lease_until <= ?;

-- name: orphan
-- What a process had in flight is to be sent again, now.
UPDATE sagaflow_agenda SET process = NULL, wake_at = :now, due_at = :now, resend = 1
WHERE coordinator = :coordinator AND process = :process;

-- name: forget_lapsed
-- Forget those whose lease lapsed before a time.
DELETE FROM sagaflow_process WHERE coordinator = ? AND lease_until <= ?;

-- name: drop_lease
-- The process is no more.
DELETE FROM sagaflow_process WHERE coordinator = ? AND process = ?;

-- name: open_sagas
-- How many sagas are open; none, unless this is the first of the processes that live.
SELECT saga.saga, saga.status, count(*) AS count, min(saga.started_at) AS oldest
FROM sagaflow_agenda AS agenda JOIN sagaflow_saga AS saga USING (saga_id)
WHERE agenda.coordinator = :coordinator AND saga.ended_at IS NULL AND :process = (
    SELECT min(process) FROM sagaflow_process WHERE coordinator = :coordinator AND lease_until > :now
)
GROUP BY saga.saga, saga.status ORDER BY saga.saga, saga.status;

-- name: sample_open
-- What is open, the latest of it, by saga and status: how many, since when, how many are due and since when.
SELECT saga.saga, saga.status, count(*) AS count, min(saga.started_at) AS oldest,
    count(*) FILTER (WHERE agenda.due_at <= :now) AS late, min(agenda.due_at) FILTER (WHERE agenda.due_at <= :now) AS due
FROM (SELECT saga_id, due_at FROM sagaflow_agenda ORDER BY saga_id DESC LIMIT :most) AS agenda
    CROSS JOIN sagaflow_saga AS saga USING (saga_id)
GROUP BY saga.saga, saga.status ORDER BY saga.saga, saga.status;

-- name: sample_began
-- How many sagas have ids after these two.
SELECT saga, count(*) AS after, count(*) FILTER (WHERE saga_id > :later) AS later
FROM sagaflow_saga WHERE saga_id > :after GROUP BY saga;

-- name: sample_put_aside
SELECT count(*) AS count FROM (SELECT 1 FROM sagaflow_coordinator_put_aside LIMIT ?);

-- name: put_aside
-- Keep a message.
INSERT INTO sagaflow_coordinator_put_aside (at, source, reason, body) VALUES (?, ?, ?, ?);

-- name: list_put_aside
-- The latest messages, the last one first.
SELECT at, source, reason, body, number FROM sagaflow_coordinator_put_aside ORDER BY number DESC LIMIT ?;

-- name: remove_put_aside
-- Forget a message.
DELETE FROM sagaflow_coordinator_put_aside WHERE number = ?;

-- name: remove_put_aside_of
-- Forget the messages that name a saga.
DELETE FROM sagaflow_coordinator_put_aside WHERE instr(body, CAST(? AS BLOB)) > 0;

-- name: keep_announcement
-- A process of a participant has announced this now.
INSERT INTO sagaflow_announcement (participant, host, hash, heard_at, live_until, body)
VALUES (:participant, :host, :hash, :heard_at, :live_until, :body)
ON CONFLICT DO UPDATE SET heard_at = excluded.heard_at, live_until = excluded.live_until, body = excluded.body;

-- name: forget_announcements
-- Forget what a JSON array of participants has announced before a time.
DELETE FROM sagaflow_announcement WHERE participant IN (SELECT value FROM json_each(?)) AND heard_at < ?;

-- name: announcements
-- All that is kept, by participant, then the one that was heard last first.
SELECT * FROM sagaflow_announcement ORDER BY participant, heard_at DESC, host, hash;

-- name: purge_page
-- The next sagas in the order of their ids, to see which of them have expired.
SELECT saga_id, status, started_at, ended_at FROM sagaflow_saga WHERE saga_id > ? ORDER BY saga_id LIMIT ?;

-- name: delete_payloads
-- Of a saga that has ended.
DELETE FROM sagaflow_payload WHERE saga_id = ?;

-- name: delete_journal
-- Of a saga that is to be deleted.
DELETE FROM sagaflow_journal WHERE saga_id = ?;

-- name: delete_saga
-- Nothing of it is left elsewhere.
DELETE FROM sagaflow_saga WHERE saga_id = ? AND ended_at IS NOT NULL;

-- name: ended
-- Those of a JSON array of sagas that have ended.
SELECT saga_id FROM sagaflow_saga
WHERE saga_id IN (SELECT value FROM json_each(?)) AND ended_at IS NOT NULL
ORDER BY saga_id;

-- name: purge_put_aside
-- Forget the oldest messages that were put aside before a time.
DELETE FROM sagaflow_coordinator_put_aside
WHERE number IN (SELECT number FROM sagaflow_coordinator_put_aside WHERE at <= ? ORDER BY number LIMIT ?);

-- name: count_put_aside
-- The same, but nothing is deleted.
SELECT count(*) FROM (SELECT 1 FROM sagaflow_coordinator_put_aside WHERE at <= ? LIMIT ?);
