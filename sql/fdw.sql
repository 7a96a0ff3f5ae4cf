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

-- conditions on the time of events say where the read begins and ends, exactly
SET timezone = 'UTC';
SET datestyle = 'ISO';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time >= '2026-01-02 03:04:05.000006+00' AND cluster_time <= '2026-01-02 03:04:05.000006+00';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time > '2026-01-02 03:04:05.000006+00' AND cluster_time < '2026-01-02 03:04:05.000009+00';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time >= '2026-01-02 03:04:05.999999+00' AND cluster_time <= '2026-01-02 03:04:05.999999+00';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time > '2026-01-02 03:04:05.999999+00' AND cluster_time < '2026-01-02 03:04:06+00';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE '2026-01-02 03:04:05+00' <= cluster_time AND cluster_time BETWEEN '2026-01-01' AND '2026-01-03';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time = '2026-01-02 03:04:05+00';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time >= date '2026-01-02' AND cluster_time < timestamp '2026-01-03 12:00';
EXPLAIN (COSTS off, VERBOSE) SELECT operation_type FROM fdw_orders WHERE cluster_time >= '-infinity' AND cluster_time < 'infinity';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time > 'infinity';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time >= '2200-01-01';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time < '1960-01-01';
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time > '1960-01-01' AND cluster_time <= '2200-01-01';
-- what a parameter says is known when it is
PREPARE fdw_since(timestamptz) AS SELECT FROM fdw_orders WHERE cluster_time >= $1;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS off) EXECUTE fdw_since('2026-01-02');
EXPLAIN (COSTS off) EXECUTE fdw_since(NULL);
RESET plan_cache_mode;
EXECUTE fdw_since(NULL);
EXECUTE fdw_since('infinity');
-- events come in the order of cluster_time
EXPLAIN (COSTS off) SELECT operation_type FROM fdw_orders ORDER BY cluster_time LIMIT 1;
EXPLAIN (COSTS off) SELECT operation_type FROM fdw_orders ORDER BY cluster_time DESC LIMIT 1;
EXPLAIN (COSTS off) SELECT operation_type FROM fdw_orders ORDER BY cluster_time NULLS FIRST LIMIT 1;
-- but a pipeline of the user's may change what the column shows
ALTER FOREIGN TABLE fdw_orders OPTIONS (ADD pipeline '[{"$set": {"clusterTime": null}}]');
EXPLAIN (COSTS off) SELECT cluster_time FROM fdw_orders ORDER BY cluster_time;
EXPLAIN (COSTS off) SELECT extra FROM fdw_orders;
ALTER FOREIGN TABLE fdw_orders OPTIONS (SET pipeline '[{"$match": {"clusterTime": {"$exists": true}}}, {"$set": {"x": 1}}, {"$unset": ["ns", "fullDocument.y"]}, {"$project": {"z": 0}}]');
EXPLAIN (COSTS off) SELECT FROM fdw_orders WHERE cluster_time >= '2026-01-02' ORDER BY cluster_time;
ALTER FOREIGN TABLE fdw_orders OPTIONS (SET pipeline '[{"$project": {"clusterTime": 1}}]');
EXPLAIN (COSTS off) SELECT cluster_time FROM fdw_orders ORDER BY cluster_time;
ALTER FOREIGN TABLE fdw_orders OPTIONS (SET pipeline '[{"$unset": "wallTime"}]');
EXPLAIN (COSTS off) SELECT cluster_time FROM fdw_orders ORDER BY cluster_time;
ALTER FOREIGN TABLE fdw_orders OPTIONS (DROP pipeline);

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
