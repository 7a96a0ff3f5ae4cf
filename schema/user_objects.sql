-- What a dump leaves out.

-- 3.6 What a dump leaves out

CREATE FUNCTION change_stream_user_objects() RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH tables AS (
    SELECT c.oid
    FROM pg_catalog.pg_depend d
         JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid AND e.extname OPERATOR(pg_catalog.=) 'mongo_change_stream'
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid AND c.relkind OPERATOR(pg_catalog.=) 'r'
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype OPERATOR(pg_catalog.=) 'e')
  SELECT pg_catalog.pg_get_indexdef(i.indexrelid) OPERATOR(pg_catalog.||) ';'
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
  WHERE i.indrelid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM tables)
    AND c.relname OPERATOR(pg_catalog.<>) ALL (ARRAY['change_stream_events_cluster_time_idx', 'change_handlers_stream_name_idx', 'change_handler_dead_letters_event_idx'])
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid OPERATOR(pg_catalog.=) i.indexrelid AND k.conrelid OPERATOR(pg_catalog.=) i.indrelid)
  UNION ALL
  SELECT pg_catalog.pg_get_triggerdef(t.oid) OPERATOR(pg_catalog.||) ';'
  FROM pg_catalog.pg_trigger t
  WHERE t.tgrelid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM tables) AND NOT t.tgisinternal;
END;
COMMENT ON FUNCTION change_stream_user_objects() IS 'commands that make the users'' indexes and triggers on the extension''s tables again, which pg_dump leaves out';
