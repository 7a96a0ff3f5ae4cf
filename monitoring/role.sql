-- The role that the exporter logs in as, with the least that it needs.  Typed by a superuser, in each database that has the extension:
--
--   psql -d mydb -f monitoring/role.sql
--
-- pg_monitor shows how all streams, handlers and mirrors are, and nothing of events.  Dead letters hold events, so who may not read
-- them cannot count them either; the function below tells their number, and no more.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'monitor') THEN
    CREATE ROLE monitor LOGIN;            -- ALTER ROLE monitor PASSWORD '…', or a line of pg_hba.conf
  END IF;
END $$;
GRANT pg_monitor TO monitor;

CREATE SCHEMA IF NOT EXISTS change_stream_monitoring;
GRANT USAGE ON SCHEMA change_stream_monitoring TO monitor;

DO $$
DECLARE
  extension text := (SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
                     WHERE e.extname OPERATOR(pg_catalog.=) 'mongo_change_stream');
BEGIN
  IF extension IS NULL THEN
    RAISE 'this database has no mongo_change_stream' USING HINT = 'CREATE EXTENSION mongo_change_stream;';
  END IF;
  EXECUTE pg_catalog.replace($function$
    CREATE OR REPLACE FUNCTION change_stream_monitoring.dead_letters(OUT stream_name text, OUT handler_name text, OUT waiting bigint)
      RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
      SELECT h.stream_name, h.handler_name, (SELECT pg_catalog.count(*) FROM EXTENSION.change_handler_dead_letters l
                                             WHERE l.handler_name OPERATOR(pg_catalog.=) h.handler_name)
        FROM EXTENSION.change_handlers h
      UNION ALL
      SELECT s.stream_name, '', (SELECT pg_catalog.count(*) FROM EXTENSION.change_stream_parked_events p
                                 WHERE p.stream_name OPERATOR(pg_catalog.=) s.stream_name)
        FROM EXTENSION.change_streams s
    $body$ $function$, 'EXTENSION', extension);
END $$;
REVOKE EXECUTE ON FUNCTION change_stream_monitoring.dead_letters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION change_stream_monitoring.dead_letters() TO monitor;
COMMENT ON FUNCTION change_stream_monitoring.dead_letters() IS 'how many dead letters wait, of each handler, and (handler_name '''') of events that could not be written';
