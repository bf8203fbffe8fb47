-- The tables of a coordinator.
--
-- A saga is four kinds of rows, each kept where its way of changing costs least:
--
--   saga      one narrow row: where the saga stands. It is updated with every batch of replies, so nothing
--             that changes is indexed, and half of each page is kept free: sagas that began together get
--             their replies together, and then all of a page is written in one transaction. The updates
--             are HOT: they touch no index and leave nothing behind for vacuum.
--   agenda    one row for each saga that has not ended, and none for the others: when to look at it next,
--             whether what it has in flight is to be sent again, and who waits for its end. It is small
--             however many sagas there have been. A saga that is stuck keeps its row; nothing being due is
--             'infinity'.
--   journal   one row for each thing that happened. Only ever added to: it is the history, the failure log
--             and the audit log. Folded, it gives the state in `saga`.
--   payload   inputs, commands and results. Written once, read when a command has to be made, and kept
--             apart so that they can be erased while the skeleton of the saga stays.
--
-- The flow. To start sagas is one statement: insert into all four, leaving out those whose key is taken. To
-- go on is three: lock and load `saga` in the order of ids, read `payload` if a command has to be made, and
-- write (update `saga` where the version is still the one that was read, add to `journal` and `payload`,
-- move or delete the `agenda` row). The commands that a journal row holds are published after the commit. No
-- row says whether that was done: the process that wrote a saga last is its `owner` and has what is in
-- flight in memory. It keeps a lease in `process`; when that lapses, what it owned is put on the agenda to
-- be sent again. Receivers absorb duplicates.
--
-- Time is the clock of this database, everywhere.
--
-- One lock order, so that nothing can deadlock:
--
--   1. the keys of new sagas, ordered by (key, saga);
--   2. rows of `saga`, ordered by id, FOR NO KEY UPDATE;
--   3. rows of `agenda`, in any order: whoever waits for one holds the row of its saga. Only a claim takes
--      agenda rows without it, and a claim never waits: it skips what is locked.
--
-- Absences: there are no triggers of our own, no NOTIFY, no enums, no session state; no foreign key points at `saga`;
-- nothing here is ever deleted but agenda rows and leases. The lists in the checks repeat the enums of
-- sagaflow/core and sagaflow/definitions; a test compares them.

CREATE SCHEMA IF NOT EXISTS sagaflow;

COMMENT ON SCHEMA sagaflow IS 'sagaflow: the sagas of the coordinators that use this database';

CREATE TABLE sagaflow.migration (
    number     integer PRIMARY KEY CHECK (number >= 1),
    name       text NOT NULL,
    checksum   text NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sagaflow.migration IS 'the migrations of this schema that were applied';

-- The steps of each version of each saga that ever ran; a run is pinned to one by its hash.

CREATE TABLE sagaflow.plan (
    hash       text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    saga       text NOT NULL,
    version    integer NOT NULL CHECK (version >= 1),
    body       json NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sagaflow.plan IS 'the steps of each version of each saga that ever ran';

-- What never changes comes first: an update then writes only the end of the row to the WAL. `state` and
-- `timers` are json, not jsonb: they are read back whole, and jsonb costs a third more and refuses \u0000.

CREATE TABLE sagaflow.saga (
    id           uuid PRIMARY KEY,
    started_at   timestamptz NOT NULL,
    secret       bytea NOT NULL CHECK (octet_length(secret) = 16),
    input_digest bytea NOT NULL CHECK (octet_length(input_digest) = 32),
    plan_hash    text NOT NULL REFERENCES sagaflow.plan (hash),
    saga         text NOT NULL CHECK (saga <> ''),
    key          text NOT NULL CHECK (key <> ''),
    coordinator  text NOT NULL CHECK (coordinator <> ''),
    traceparent  text NOT NULL,

    version      integer NOT NULL CHECK (version >= 1),
    updated_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    wake_at      timestamptz,
    owner        uuid NOT NULL,
    status       text NOT NULL
                 CHECK (status IN ('RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'STUCK', 'ABANDONED')),
    state        json NOT NULL,
    timers       json NOT NULL,

    CONSTRAINT saga_key_once UNIQUE (key, saga),
    CONSTRAINT ended_at_iff_ended
        CHECK ((ended_at IS NOT NULL) = (status IN ('COMPLETED', 'COMPENSATED', 'ABANDONED'))),
    CONSTRAINT ended_sleeps_for_ever CHECK (ended_at IS NULL OR wake_at IS NULL)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_cost_delay = 0
);

COMMENT ON TABLE sagaflow.saga IS 'where each saga stands';
COMMENT ON COLUMN sagaflow.saga.version IS 'how many journal rows it has; guards every write';
COMMENT ON COLUMN sagaflow.saga.owner IS 'the process that wrote it last, and has what is in flight';
COMMENT ON COLUMN sagaflow.saga.secret IS 'what the tokens of its attempts are made of';

CREATE TABLE sagaflow.agenda (
    saga_id     uuid PRIMARY KEY,
    coordinator text NOT NULL,
    due_at      timestamptz NOT NULL,
    resend      boolean NOT NULL,
    watchers    text[] NOT NULL DEFAULT '{}'
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX agenda_due ON sagaflow.agenda (coordinator, due_at);

COMMENT ON TABLE sagaflow.agenda IS 'the sagas that have not ended: when to look at them, and who waits for them';

CREATE TABLE sagaflow.journal (
    saga_id     uuid NOT NULL,
    seq         integer NOT NULL CHECK (seq >= 1),
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    status      text NOT NULL
                CHECK (status IN ('RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'STUCK', 'ABANDONED')),
    event       json NOT NULL,
    commands    json,
    ignored     text,
    error       json,
    origin      text NOT NULL,
    actor       text,
    reason      text,
    traceparent text,

    PRIMARY KEY (saga_id, seq)
);

COMMENT ON TABLE sagaflow.journal IS 'everything that happened to each saga; only ever added to';

CREATE TABLE sagaflow.payload (
    saga_id uuid NOT NULL,
    step    text NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('input', 'command', 'result')),
    round   integer NOT NULL CHECK (round >= 1),
    body    bytea NOT NULL,

    PRIMARY KEY (saga_id, step, kind, round),
    CONSTRAINT only_the_input_has_no_step CHECK ((kind = 'input') = (step = ''))
);

COMMENT ON TABLE sagaflow.payload IS 'inputs, commands and results, written once; may be erased';

CREATE TABLE sagaflow.process (
    coordinator text NOT NULL,
    id          uuid NOT NULL,
    lease_until timestamptz NOT NULL,

    PRIMARY KEY (coordinator, id)
) WITH (fillfactor = 50);

COMMENT ON TABLE sagaflow.process IS 'the processes of each coordinator, and until when they are believed alive';

CREATE TABLE sagaflow.put_aside (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    source text NOT NULL,
    reason text NOT NULL,
    body   bytea NOT NULL
);

COMMENT ON TABLE sagaflow.put_aside IS 'messages that could not be dealt with, kept for a person';
