-- Type document: arithmetic, aggregates, assignment by subscript, document_get, the parts as rows

\pset null (null)
\pset format unaligned
\pset tuples_only on
SET timezone = 'UTC';

-- result types
SELECT '5'::document + '6', '2147483647'::document + '1', '-2147483648'::document - '1', '65536'::document * '65536', '{"$numberLong": "5"}'::document + '1';
SELECT '9223372036854775807'::document + '1', '-9223372036854775808'::document - '1', '9223372036854775807'::document * '9223372036854775807';
SELECT '5'::document / '2', '6'::document / '2', '5'::document + '0.5', '0.1'::document + '0.2', '1.5'::document * '2';
SELECT '5'::document + '{"$numberDecimal": "0.50"}', '0.1'::document + '{"$numberDecimal": "0.2"}', '{"$numberDecimal": "1.50"}'::document * '{"$numberDecimal": "2.0"}', '{"$numberDecimal": "1"}'::document / '3', '{"$numberDecimal": "10"}'::document / '4', '{"$numberDecimal": "2"}'::document / '-3';
SELECT '{"$numberDecimal": "9999999999999999999999999999999999"}'::document + '1', '{"$numberDecimal": "1000000000000000000000000000000000"}'::document + '{"$numberDecimal": "0.5"}', '{"$numberDecimal": "1000000000000000000000000000000001"}'::document + '{"$numberDecimal": "0.5"}',
  '{"$numberDecimal": "1000000000000000000000000000000000"}'::document + '{"$numberDecimal": "0.50000001"}', '{"$numberDecimal": "1E-6176"}'::document / '2', '{"$numberDecimal": "3E-6176"}'::document / '2', '{"$numberDecimal": "1E-6000"}'::document * '{"$numberDecimal": "1E-6000"}';
SELECT '{"$numberDecimal": "9E+6144"}'::document * '10';
SELECT '{"$numberDecimal": "Infinity"}'::document - '{"$numberDecimal": "Infinity"}', '{"$numberDecimal": "-Infinity"}'::document * '2', '{"$numberDecimal": "NaN"}'::document + '1', '{"$numberDouble": "Infinity"}'::document + '1', '{"$numberDecimal": "1"}'::document / '{"$numberDecimal": "Infinity"}', '{"$numberDecimal": "0E+3"}'::document / '7';
SELECT '1e308'::document * '10';
SELECT '1'::document / '0';
SELECT '1'::document / '{"$numberDecimal": "0"}';
SELECT 'null'::document + '1', NULL::document + '1', '{"$undefined": true}'::document * '2';
SELECT '"a"'::document + '1';
SELECT '{"$date": "2024-01-01T00:00:00Z"}'::document * '2';

-- with SQL's types, both ways round
SELECT '5'::document + 1, '5'::document - 1, '5'::document * 2, '5'::document / 2, 1 + '5'::document, 1 - '5'::document, 2 * '5'::document, 2 / '5'::document;
SELECT '5'::document + 1::bigint, 1::bigint - '5'::document, '5'::document * 1.5, 1.5 / '5'::document, '5'::document - 0.5::float8, 0.5::float8 * '5'::document, '5'::document + 1::smallint, '5'::document * 0.5::real;
SELECT '5'::document + 12345678901234567890123456789012345.0;
SELECT 100 * '0.29'::document, 100.0 * '0.29'::document;

-- dates
SELECT '{"$date": "2024-03-01T00:00:00Z"}'::document - '{"$date": "2024-02-28T12:00:00.250Z"}', '{"$date": "2024-03-01T00:00:00Z"}'::document - 1000, '{"$date": "2024-03-01T00:00:00Z"}'::document + 1.6, 1000 + '{"$date": "2024-03-01T00:00:00Z"}'::document;
SELECT '{"$date": "2024-03-01T00:00:00Z"}'::document - timestamptz '2024-02-29 00:00+00', timestamptz '2024-03-01 00:00+00' - '{"$date": "2024-03-02T00:00:00Z"}'::document, ('{"$date": "2024-03-01T00:00:00Z"}'::document - timestamptz '2024-02-29 00:00+00') > interval '23 hours';
SELECT '{"$date": "2024-01-31T00:00:00Z"}'::document + interval '1 month', '{"$date": "2024-03-31T00:00:00Z"}'::document - interval '1 month 00:00:00.0015', 'null'::document + interval '1 day';
SELECT '5'::document + interval '1 day';
SELECT 1000 - '{"$date": "2024-03-01T00:00:00Z"}'::document;
SELECT '{"$date": {"$numberLong": "9223372036854775807"}}'::document + 1;

-- aggregates
SELECT sum(d), avg(d), min(d), max(d), count(d) FROM (VALUES ('1'::document), ('2.1'), ('{"$numberDecimal": "0.25"}'), ('9223372036854775807'), (NULL), ('null')) v(d);
SELECT sum(d), avg(d), min(d), max(d) FROM (SELECT NULL::document AS d) v;
SELECT sum(d), avg(d) FROM (VALUES ('0.1'::document), ('0.2')) v(d);
SELECT sum(d), avg(d) FROM (VALUES ('{"$numberDouble": "NaN"}'::document), ('1')) v(d);
SELECT sum(d) FROM (VALUES ('1'::document), ('"2"')) v(d);
SELECT sum(d) FILTER (WHERE document_typeof(d) IN ('int', 'long', 'double', 'decimal')) FROM (VALUES ('1'::document), ('"2"')) v(d);
SELECT sum(d) OVER (ORDER BY d) FROM (VALUES ('1'::document), ('2'), ('3.5')) v(d);
SELECT n, sum(d) OVER w, avg(d) OVER w FROM (VALUES (1, '1'::document), (2, '2.25'), (3, NULL), (4, '{"$numberDecimal": "0.1"}'), (5, '{"$numberDouble": "NaN"}'), (6, '7'), (7, '8')) v(n, d)
  WINDOW w AS (ORDER BY n ROWS 1 PRECEDING);
CREATE TABLE p AS SELECT to_document(i) AS d FROM generate_series(1, 20000) i;
ANALYZE p;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(d), avg(d), min(d), max(d) FROM p;
SELECT sum(d), avg(d), min(d), max(d) FROM p;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
DROP TABLE p;

-- assignment by subscript
CREATE TABLE t (d document);
INSERT INTO t VALUES ('{"a": [1, {"b": 2, "x": "kept"}], "s": "x", "s": "second", "n": null}'), (NULL);
UPDATE t SET d['a'][1]['b'] = '"new"' RETURNING d;
UPDATE t SET d['p']['q'][2] = to_document(5), d['a'][0] = NULL WHERE d ? 's' RETURNING d;
UPDATE t SET d['a'][-1] = '{}', d['s'] = '{"$oid": "65f0c1d2e3a4b5c6d7e8f901"}' WHERE d ? 's' RETURNING d;
UPDATE t SET d['a']['1']['k'] = '1' WHERE d ? 's' RETURNING d;
UPDATE t SET d['p']['q'][0] = (d['a'])[1] WHERE d ? 's' RETURNING d;
UPDATE t SET d['s']['x'] = '1' WHERE d ? 's';
UPDATE t SET d['n']['x'] = '1' WHERE d ? 's';
UPDATE t SET d['a']['x'] = '1' WHERE d ? 's';
UPDATE t SET d['a'][-3] = '1' WHERE d ? 's';
UPDATE t SET d['a'][2000000] = '1' WHERE d ? 's';
UPDATE t SET d[NULL] = '1';
UPDATE t SET d[0] = '1' WHERE d ? 's' RETURNING d -> '0';
TRUNCATE t;
INSERT INTO t (d['a']['b'], d['a']['c']) VALUES ('1', '[2]') RETURNING d;
INSERT INTO t (d[1]) VALUES ('1') RETURNING d;
INSERT INTO t VALUES ('5');
UPDATE t SET d['a'] = '1' WHERE document_typeof(d) = 'int';
DO $$ DECLARE d document := '{"a": 1}'; BEGIN d['b'] := '[1]'; d['b'][1] := to_document(2); RAISE NOTICE '%', d; END $$;
DROP TABLE t;

-- document_get: as the dialect reads paths
\set d '{"userId": 1, "user_name": "exact", "userName": "camel", "a": {"b.c": 2, "bC": {"line2": 3}, "x": null}, "k.l": {"m": 4, "n.o": 5}, "k": {"z": 6}, "arr": [{"itemId": 7}, 8], "_id": 9, "p.q.r": 10}'
SELECT document_get(:'d', 'user_id'), document_get(:'d', 'user_name'), document_get(:'d', 'userId'), document_get(:'d', '_id'), document_get(:'d', 'user_idx'), document_get(:'d', 'User_id');
SELECT document_get(:'d', 'a', 'b', 'c'), document_get(:'d', 'a', 'b.c'), document_get(:'d', 'a.b.c'), document_get(:'d', 'a', 'b_c', 'line_2'), document_get(:'d', 'a', 'x'), document_get(:'d', 'a', 'x', 'y');
SELECT document_get(:'d', 'k.l', 'm'), document_get(:'d', 'k', 'l', 'm'), document_get(:'d', 'k.l.m'), document_get(:'d', 'k', 'l', 'n', 'o'), document_get(:'d', 'k.z'), document_get(:'d', 'k', 'z');
SELECT document_get(:'d', 'arr', '0', 'item_id'), document_get(:'d', 'arr', '-1'), document_get(:'d', 'arr', 'item_id'), document_get(:'d', 'arr.0.item_id'), document_get(:'d', 'p', 'q', 'r'), document_get(:'d', VARIADIC '{}'), document_get(:'d', 'a', NULL);

-- the parts
SELECT document_keys('{"b": 1, "a": 2, "b": 3}');
SELECT * FROM document_each('{"b": 1, "a": null, "b": [1]}') WITH ORDINALITY;
SELECT * FROM document_elements('[1, null, {"a": 1}]') WITH ORDINALITY AS e(d, n);
SELECT document_keys('[1]');
SELECT document_each('5');
SELECT document_elements('{}');
SELECT array_length('[1, 2, 3]'::document, 1), array_length('[[1, 2], []]'::document, 2), array_length('[]'::document, 1), array_length('{"a": 1}'::document, 1), array_length('[1]'::document, 0), array_length('[1]'::document, 2);

-- every function says what it costs and is for
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend x ON x.classid = 'pg_proc'::regclass AND x.objid = p.oid AND x.deptype = 'e' JOIN pg_language l ON l.oid = p.prolang
  WHERE l.lanname = 'c' AND p.proname !~ 'stream|mongo' AND (p.proname ~ 'document' OR 'document'::regtype = ANY (p.proargtypes::oid[])) AND (obj_description(p.oid, 'pg_proc') IS NULL OR proparallel <> 's' OR provolatile = 'v') ORDER BY 1::text;
