-- Foreign tables: what can be seen without a MongoDB.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SERVER fdw_mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
CREATE SERVER fdw_bare FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/');
CREATE FOREIGN TABLE fdw_orders (operation_type text, database_name text, collection_name text, document_key document,
  full_document document, full_document_before_change document, update_description document, changed_fields text[],
  cluster_time timestamptz, change_timestamp timestamptz, resume_token text, full_document_source text, extra document)
  SERVER fdw_mongo OPTIONS (collection 'orders');

-- the pipeline: no image that is not shown, no field that no column is made of
EXPLAIN (COSTS off) SELECT * FROM fdw_orders;
EXPLAIN (COSTS off) SELECT count(*) FROM fdw_orders;
EXPLAIN (COSTS off) SELECT operation_type, cluster_time FROM fdw_orders;
EXPLAIN (COSTS off) SELECT full_document FROM fdw_orders;
EXPLAIN (COSTS off) SELECT full_document_source FROM fdw_orders;
EXPLAIN (COSTS off) SELECT changed_fields, full_document_source FROM fdw_orders;
EXPLAIN (COSTS off) SELECT extra FROM fdw_orders;
EXPLAIN (COSTS off) SELECT fdw_orders FROM fdw_orders;
EXPLAIN (COSTS off) SELECT resume_token FROM fdw_orders;

-- a table may have some of the columns, in any order, but no others
CREATE FOREIGN TABLE fdw_some (full_document document, gone int, operation_type text) SERVER fdw_mongo
  OPTIONS (full_document 'update_lookup', show_expanded_events 'on', pipeline '[{"$match": {"operationType": "insert"}}]');
SELECT * FROM fdw_some;
ALTER FOREIGN TABLE fdw_some DROP COLUMN gone;
EXPLAIN (COSTS off) SELECT * FROM fdw_some;
ALTER FOREIGN TABLE fdw_some ADD COLUMN cluster_time timestamp;
SELECT * FROM fdw_some;

-- a database there must be
CREATE FOREIGN TABLE fdw_nowhere (operation_type text) SERVER fdw_bare;
SELECT * FROM fdw_nowhere;
ALTER FOREIGN TABLE fdw_nowhere OPTIONS (ADD database '*', start_at 'now', resume_after '826B0377B60000000C2B0229296E04');
SELECT * FROM fdw_nowhere;
ALTER FOREIGN TABLE fdw_nowhere OPTIONS (DROP start_at);
EXPLAIN (COSTS off) SELECT * FROM fdw_nowhere;

-- history is read only
INSERT INTO fdw_orders (operation_type) VALUES ('insert');
UPDATE fdw_orders SET operation_type = 'insert';
DELETE FROM fdw_orders;
TRUNCATE fdw_orders;

-- MongoDB is first asked when rows are
\set VERBOSITY terse
SELECT count(*) FROM fdw_orders;
SELECT count(*) FROM fdw_orders WHERE false;

DROP SERVER fdw_mongo CASCADE;
DROP SERVER fdw_bare CASCADE;
