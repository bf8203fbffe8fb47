-- What is asked of a connection itself.

-- name: backend
-- The process of the server that does this statement. A pooler tells its clients another number.
SELECT pg_backend_pid();

-- name: apply_settings
-- For as long as the session lasts.
SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS setting (name, value);
