-- A file may hold the tables of a coordinator, of a participant, or of both beside the service's own. This
-- table says which, and of which version.

-- name: sagaflow_schema
-- The parts that are in this file. PRAGMA user_version is one number, and it may be the service's.
CREATE TABLE IF NOT EXISTS sagaflow_schema (
    part    TEXT NOT NULL PRIMARY KEY CHECK (part IN ('coordinator', 'participant')),
    version INTEGER NOT NULL CHECK (version >= 1)
) STRICT, WITHOUT ROWID;

-- name: version_of
-- The version of one part; no row: it is not in this file.
SELECT version FROM sagaflow_schema WHERE part = ?;

-- name: add_part
-- Say that a part is in this file now.
INSERT INTO sagaflow_schema (part, version) VALUES (?, ?);

-- name: upgrade_part
-- Say that a part is of this version now.
UPDATE sagaflow_schema SET version = ? WHERE part = ?;

-- name: names
-- Every table and index of the file.
SELECT name FROM sqlite_schema WHERE type IN ('table', 'index');
