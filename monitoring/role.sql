-- The role that the exporter logs in as, with the least that it needs.  Typed by a superuser, once on a server:
--
--   psql -f monitoring/role.sql
--
-- pg_monitor shows how all streams, handlers and mirrors are, and nothing of events.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'monitor') THEN
    CREATE ROLE monitor LOGIN;            -- ALTER ROLE monitor PASSWORD '…', or a line of pg_hba.conf
  END IF;
END $$;
GRANT pg_monitor TO monitor;
