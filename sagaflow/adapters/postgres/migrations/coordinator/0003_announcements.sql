-- What participants have announced that they serve.
--
-- A row for each process of a participant and each thing that it serves. No saga depends on it: coordinators keep
-- in memory what they have heard themselves, and write it here for people, once a minute or when it has changed.
-- Rows are forgotten a day after they were written last, as long as the participant announces anything at all.

CREATE TABLE sagaflow.announcement (
    participant text NOT NULL CHECK (participant <> ''),
    host        text NOT NULL CHECK (host <> ''),
    hash        text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    heard_at    timestamptz NOT NULL,
    live_until  timestamptz NOT NULL,
    body        json NOT NULL,

    PRIMARY KEY (participant, host, hash)
) WITH (fillfactor = 50);

COMMENT ON TABLE sagaflow.announcement IS 'what processes of participants have announced that they serve, and when';
