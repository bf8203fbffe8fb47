-- What a person is told to do about a right that is missing. Never run by sagaflow.

-- name: on_table
GRANT SELECT, INSERT, UPDATE, DELETE ON $schema.$name TO the role of this process;

-- name: on_view
GRANT SELECT ON $schema.$name TO the role of this process;

-- name: on_schema
GRANT USAGE ON SCHEMA $name TO the role of this process;

-- name: on_database
GRANT CREATE ON DATABASE $name TO the role of this process;

-- name: on_anything
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA $schema TO the role of this process;
