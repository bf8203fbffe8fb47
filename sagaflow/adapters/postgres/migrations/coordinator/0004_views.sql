-- What people and their tools may read, under names that stay: in a schema of its own, so that a role can be given
-- these views and nothing else. A view reads with the rights of its owner.
--
-- Nothing that somebody has said is in them: no payloads, no bodies of messages, no texts of errors, which may quote
-- either. No secrets and no tokens. What is shown of an error is its type.
--
-- Changing a table that they read means changing them in the same migration.

CREATE SCHEMA sagaflow_views;

COMMENT ON SCHEMA sagaflow_views IS 'sagaflow: views for people and for reports; see docs/data.md';

CREATE VIEW sagaflow_views.runs AS
SELECT saga.id AS saga_id, saga.saga, plan.version AS plan_version, saga.key, saga.coordinator, saga.status,
    saga.state ->> 'cause' AS cause, saga.started_at, saga.updated_at, saga.ended_at,
    saga.ended_at - saga.started_at AS took, saga.wake_at AS next_at, split_part(saga.traceparent, '-', 2) AS trace_id
FROM sagaflow.saga JOIN sagaflow.plan ON plan.hash = saga.plan_hash;

COMMENT ON VIEW sagaflow_views.runs IS 'a row for each saga: where it stands, since when, and why it is undone';

CREATE VIEW sagaflow_views.steps AS
SELECT saga.id AS saga_id, saga.saga, place.number, step.value ->> 'name' AS step,
    step.value ->> 'participant' AS participant, step.value ->> 'handler' AS handler, step.value ->> 'kind' AS kind,
    place.value -> 'action' ->> 'status' AS action, (place.value -> 'action' ->> 'attempt')::integer AS attempts,
    place.value -> 'compensation' ->> 'status' AS compensation,
    (place.value -> 'compensation' ->> 'attempt')::integer AS compensation_attempts
FROM sagaflow.saga
    JOIN sagaflow.plan ON plan.hash = saga.plan_hash
    CROSS JOIN LATERAL json_array_elements(saga.state -> 'steps') WITH ORDINALITY AS place (value, number)
    CROSS JOIN LATERAL (SELECT plan.body -> 'steps' -> (place.number - 1)::integer AS value) AS step;

COMMENT ON VIEW sagaflow_views.steps IS 'a row for each step of each saga: how its action and its compensation stand';

CREATE VIEW sagaflow_views.failures AS
SELECT entry.saga_id, saga.saga, entry.seq, entry.at, entry.status, entry.event ->> 'event' AS event,
    entry.event ->> 'step' AS step, entry.event ->> 'operation' AS operation,
    (entry.event ->> 'round')::integer AS round, (entry.event ->> 'attempt')::integer AS attempt,
    entry.error ->> 'type' AS error_type, entry.origin
FROM sagaflow.journal AS entry JOIN sagaflow.saga ON saga.id = entry.saga_id
WHERE entry.error IS NOT NULL;

COMMENT ON VIEW sagaflow_views.failures IS 'a row for each thing that went wrong: what, where, and in which attempt';

CREATE VIEW sagaflow_views.put_aside AS
SELECT id, at, source, octet_length(body) AS bytes FROM sagaflow.put_aside;

COMMENT ON VIEW sagaflow_views.put_aside IS 'a row for each message that this coordinator could not deal with';
