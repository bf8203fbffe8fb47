-- What somebody asks who wants to know whether all is well. Nothing is changed by any of it.

-- name: clock
SELECT clock_timestamp();

-- name: role
SELECT current_user::text;

-- name: missing_rights
-- The rights on the tables of a schema that this role does not have. The notes about migrations are only read.
SELECT name, wanted
FROM (
    SELECT oid, relname::text AS name
    FROM pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
) AS owned, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
WHERE (name <> 'migration' OR wanted = 'SELECT') AND NOT has_table_privilege(oid, wanted)
ORDER BY name, wanted;

-- name: may_use
-- Whether this role may use a schema; NULL if there is none.
SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1;

-- name: running
-- How many processes of coordinators are believed alive.
SELECT count(*) FROM sagaflow.process WHERE lease_until > clock_timestamp();

-- name: unattended
-- The names of coordinators that have open sagas and no process that is believed alive, and how many sagas.
SELECT agenda.coordinator, count(*) AS sagas
FROM sagaflow.agenda
WHERE NOT EXISTS (
    SELECT FROM sagaflow.process
    WHERE process.coordinator = agenda.coordinator AND process.lease_until > clock_timestamp()
)
GROUP BY agenda.coordinator ORDER BY agenda.coordinator;
