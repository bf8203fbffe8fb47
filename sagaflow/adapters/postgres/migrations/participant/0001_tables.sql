-- The tables of a participant, in the service's own database.
--
-- A command may come twice, a compensation may come before its action or while the action is still open,
-- and an action may come when it has long been given up. The barrier settles all of that inside the
-- transaction in which the service does its own writing, so that one commit covers both.
--
-- It has two rows at most for a step of a saga:
--
--   action        inserted when the action is entered, in the transaction that does it. A second
--                 transaction that wants to enter waits for the first, since the key is unique, and then
--                 finds the outcome. `fenced` says that the compensation was here: the action, if it has
--                 no outcome by now, must never be done.
--   compensation  likewise. Entering a compensation writes the action's row too, to fence it off, and so
--                 waits for an action that is still open, and then knows whether it was done.
--
-- `outcome` is what the participant answered and answers again, as it was; without one, the operation is
-- not settled. A refusal belongs to its round: a person who has the step tried again opens a new round, and
-- a refusal of an earlier one is then forgotten. What succeeded is never forgotten.
--
-- One lock order: the action's row, then the compensation's, then whatever the service locks itself.
--
-- Absences: no row here is updated once it has an outcome, but to fence it or to forget a refusal; nothing
-- is ever deleted. Rows of sagas that have ended may be deleted once no message of theirs can come again.

CREATE SCHEMA IF NOT EXISTS sagaflow_participant;

COMMENT ON SCHEMA sagaflow_participant IS 'sagaflow: what this service has done for sagas';

CREATE TABLE sagaflow_participant.migration (
    number     integer PRIMARY KEY CHECK (number >= 1),
    name       text NOT NULL,
    checksum   text NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sagaflow_participant.migration IS 'the migrations of this schema that were applied';

CREATE TABLE sagaflow_participant.barrier (
    saga_id   uuid NOT NULL,
    step      text NOT NULL CHECK (step <> ''),
    operation text NOT NULL CHECK (operation IN ('action', 'compensation')),
    round     integer NOT NULL CHECK (round >= 1),
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    fenced    boolean NOT NULL DEFAULT false,
    refusal   boolean NOT NULL DEFAULT false,
    outcome   bytea,

    PRIMARY KEY (saga_id, step, operation),
    CONSTRAINT only_actions_are_fenced CHECK (operation = 'action' OR NOT fenced),
    CONSTRAINT a_refusal_is_an_outcome CHECK (outcome IS NOT NULL OR NOT refusal)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE sagaflow_participant.barrier IS 'what was done for which step of which saga, and what was answered';

CREATE TABLE sagaflow_participant.put_aside (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    source text NOT NULL,
    reason text NOT NULL,
    body   bytea NOT NULL
);

COMMENT ON TABLE sagaflow_participant.put_aside IS 'messages that could not be dealt with, kept for a person';
