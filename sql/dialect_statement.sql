-- The statements on change streams: the calls they become, and where errors point

\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
CREATE SCHEMA dialect_test;
SET search_path = dialect_test, public;
CREATE TABLE orders (operation_type text, database_name text, collection_name text, document_key document, full_document document,
  update_description document, changed_fields text[], cluster_time timestamptz);
CREATE VIEW all_changes AS SELECT * FROM orders;

SELECT change_stream_translate($q$-- a comment
create or replace change_stream "Mixed" on shop.userActivities with (fullDocument = updateLookup, maxAwaitTimeMS = 500, Operations => ARRAY['insert'], showExpandedEvents = on) filter (a > 5) pipeline (add_fields (x = a.b), filter (x = 'y'), add_fields(x = 1, z = x));$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON DATABASE * WITH (pipeline = [{"$match": {"ns.coll": "orders"}}], start_at = 'earliest', batchSize = 10);$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders WHERE total > 5 WITH SNAPSHOT WITH (batch_size = 5)$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON DATABASE WITH SNAPSHOT$q$);
SELECT change_stream_translate($q$ALTER CHANGE STREAM s WITH SNAPSHOT$q$);
SELECT change_stream_translate($q$RESUME CHANGE STREAM s FROM 'now' WITH SNAPSHOT$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders WITH (nosuch = 1)$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders WITH (batch_size = 'x', batchSize = 1)$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders FILTER ()$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders FILTER (a = nosuch(1))$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s orders$q$);
SELECT change_stream_translate($q$CREATE TRIGGER t ON CHANGE STREAM s FOR EACH BATCH WHEN (change.full_document.a = 'b') WITH (batch_size = 10)
AS BEGIN PERFORM c.full_document.a_b FROM changes c; END$q$);
SELECT change_stream_translate($q$CREATE TRIGGER t ON CHANGE STREAM s FOR EACH ROW AS BEGIN END$q$);
SELECT change_stream_translate($q$CREATE TRIGGER t ON CHANGE STREAM s WITH (each = 'batch') AS BEGIN END$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders PIPELINE (PROJECT (a))$q$);
SELECT change_stream_translate($q$CREATE CHANGE STREAM s ON orders PIPELINE (ADD_FIELDS (a))$q$);
SELECT change_stream_translate($q$ALTER CHANGE STREAM s SET (batch_size = 5) RESET (filter, maxAwaitTime);$q$);
SELECT change_stream_translate($q$ALTER CHANGE STREAM s WHERE status = 'x'$q$);
SELECT change_stream_translate($q$DROP CHANGE STREAM IF EXISTS a, b KEEP EVENTS; PAUSE CHANGE STREAM a; RESUME CHANGE_STREAM a FROM 'now' SKIP '82'; SHOW CHANGE STREAMS;$q$);
SELECT change_stream_translate($q$DROP TRIGGER IF EXISTS n ON CHANGE STREAM s; DROP TRIGGER a ON t; CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();$q$);
SELECT change_stream_translate($q$CREATE TRIGGER n ON CHANGE STREAM s FOR EACH CHANGE WHEN (change.full_document.total > 5 AND operation_type = 'insert') WITH (retry_attempts = 3) EXECUTE FUNCTION public.f();$q$);
SELECT change_stream_translate($q$CREATE TRIGGER n ON CHANGE STREAM s FOR EACH CHANGE AS $$ BEGIN INSERT INTO orders (full_document) VALUES (change.full_document.a); END $$;$q$);
SELECT change_stream_translate($q$CREATE TRIGGER n ON CHANGE STREAM s FOR EACH CHANGE AS BEGIN IF change.full_document.a THEN INSERT INTO orders (document_key) VALUES (change.full_document.a); END IF; END; SELECT 1;$q$);
SELECT change_stream_translate($q$CREATE EVENT_STORE e WITH (start_at = 'earliest') AS SELECT c.full_document.a, count(*) FROM CHANGE_STREAM(orders) c$q$);
SELECT change_stream_translate($q$CREATE EVENT_STORE e WITH (start_at = 'earliest') AS SELECT c.full_document.a, document_key.id FROM CHANGE_STREAM(orders) c WHERE c.status = 'x'$q$);
SELECT change_stream_translate($q$CREATE EVENT_STORE e AS SELECT 1 AS one FROM CHANGE_STREAM(orders) LIMIT 1$q$);
SELECT change_stream_translate($q$CREATE EVENT_STORE e AS SELECT 1 AS one FROM CHANGE_STREAM(orders) JOIN pg_class ON true$q$);
-- the start of an event store is told
SET client_min_messages = notice;
SELECT change_stream_translate('CREATE EVENT_STORE e AS SELECT operation_type AS t, full_document.a FROM CHANGE_STREAM(orders) WHERE ns.coll = ''x'' ORDER BY cluster_time');
SELECT change_stream_translate('CREATE EVENT_STORE e AS SELECT operation_type AS t FROM CHANGE_STREAM ON DATABASE shop ORDER BY operation_type');
SELECT change_stream_translate('CREATE EVENT_STORE e WITH (resume_after = ''82'', full_document = ''default'') AS SELECT full_document FROM CHANGE_STREAM ON DATABASE');

-- what streams and event stores call
SELECT change_stream_exists('none'), change_stream_follows('none', 'orders', NULL), change_handler_exists('none');
CREATE TABLE store (a int);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON store FOR EACH STATEMENT EXECUTE FUNCTION change_stream_append_only();
INSERT INTO store VALUES (1);
UPDATE store SET a = 2;
DELETE FROM store;
TRUNCATE store;

-- conditions and added fields by themselves
SELECT change_stream_translate_expression('activity IN (''login'', ''buy'') OR customer.tier = ''gold'' AND changed_fields CONTAINS ''a.b'' AND active');
SELECT change_stream_translate_expression('operation_type = ''insert''');
SELECT change_stream_translate_expression('nosuch = 1 OR full_document.a = 1', bare_names => false);
SELECT change_stream_translate_expression('full_document.a = 1 AND update_description.removedFields[0] = ''x''', bare_names => false);
SELECT change_stream_translate_fields('a = ns.coll, b = CASE a WHEN ''x'' THEN status END, "C d" = JSON_BUILD_OBJECT(''b'', b, ''id'', _id)');
SELECT change_stream_translate_fields('a = ns.coll', false), change_stream_translate_fields('', false), change_stream_translate_fields('a', false);
-- an added field's expression stands in a later filter, whatever its type
SELECT change_stream_translate($q$CREATE CHANGE_STREAM s ON orders PIPELINE (ADD_FIELDS (big = financial.total > 300), FILTER (big))$q$);
SELECT change_stream_translate($q$CREATE CHANGE_STREAM s ON orders PIPELINE (ADD_FIELDS (tier = CASE WHEN total > 3 THEN 'a' END), FILTER (tier = 'a'))$q$);
-- text that ends as its quotes do is quoted otherwise
SELECT change_stream_translate('CREATE CHANGE STREAM s ON orders WHERE status = a$filter');
-- a relation is no value; names of tables that look like what stands for one inside are the user's own
SELECT change_stream_translate($q$SELECT CHANGE_STREAM(orders)$q$);
CREATE TABLE mcs_cs_000003 (d document);
SELECT change_stream_translate($q$SELECT mcs_cs_000003.d.a FROM mcs_cs_000003$q$);
SET client_min_messages = error;
DROP SCHEMA dialect_test CASCADE;
