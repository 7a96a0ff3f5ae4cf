-- What a dump leaves out.

-- 3.6 What a dump leaves out

CREATE FUNCTION change_stream_user_objects() RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH tables AS (
    SELECT c.oid
    FROM pg_catalog.pg_depend d
         JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'mongo_change_stream'
         JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'r'
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e')
  SELECT pg_catalog.pg_get_indexdef(i.indexrelid) || ';'
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  WHERE i.indrelid IN (SELECT oid FROM tables) AND c.relname NOT IN ('change_stream_events_cluster_time_idx', 'change_handlers_stream_name_idx', 'change_handler_dead_letters_event_idx')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid)
  UNION ALL
  SELECT pg_catalog.pg_get_triggerdef(t.oid) || ';'
  FROM pg_catalog.pg_trigger t
  WHERE t.tgrelid IN (SELECT oid FROM tables) AND NOT t.tgisinternal;
END;
COMMENT ON FUNCTION change_stream_user_objects() IS 'commands that make the users'' indexes and triggers on the extension''s tables again, which pg_dump leaves out';
