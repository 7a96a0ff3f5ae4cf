-- What CREATE EXTENSION makes, and where.
SELECT extname, extversion, extrelocatable, n.nspname AS schema
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'mongo_change_stream';

-- every function, table, view, wrapper and language has a comment
SELECT pg_describe_object(classid, objid, objsubid) AS uncommented
  FROM pg_depend d
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mongo_change_stream')
   AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_foreign_data_wrapper'::regclass, 'pg_language'::regclass)
   AND obj_description(objid, classid::regclass::text) IS NULL
   AND (SELECT relkind FROM pg_class WHERE oid = objid AND classid = 'pg_class'::regclass) IS DISTINCT FROM 'i'
 ORDER BY 1;

-- functions in SQL and PL/pgSQL do not depend on the caller's search_path, and none is SECURITY DEFINER
SELECT p.oid::regprocedure AS open_to_search_path
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_language l ON l.oid = p.prolang
 WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mongo_change_stream')
   AND (p.prosecdef OR l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'))
 ORDER BY 1::text;

-- a table is dumped with its rows, or has nothing that a dump should hold
SELECT c.relname AS not_dumped
  FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid
 WHERE e.extname = 'mongo_change_stream' AND c.relkind = 'r' AND c.oid <> ALL (e.extconfig)
 ORDER BY 1;

-- a schema of the user's choice, for good
DROP EXTENSION mongo_change_stream;
CREATE SCHEMA feeds;
CREATE EXTENSION mongo_change_stream SCHEMA feeds;
SELECT 'feeds.document'::regtype, 'feeds.change_stream_events'::regclass;
SELECT feeds.document_typeof('{"a": 1}'::feeds.document);
ALTER EXTENSION mongo_change_stream SET SCHEMA public;
DROP EXTENSION mongo_change_stream;
DROP SCHEMA feeds;
SELECT count(*) AS left_behind FROM pg_proc WHERE probin LIKE '%mongo_change_stream%';

-- BSON's text is UTF-8
SELECT current_database() AS here \gset
CREATE DATABASE mcs_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
\set SHOW_CONTEXT never
\c mcs_latin1
CREATE EXTENSION mongo_change_stream;
\c :here
DROP DATABASE mcs_latin1;
CREATE EXTENSION mongo_change_stream;
