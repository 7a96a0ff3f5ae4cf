-- Type document: what indexes serve

\pset null (null)
\pset format unaligned
\pset tuples_only on

CREATE TABLE o (n int, d document);
INSERT INTO o SELECT i, document_build_object('n', i, 's', 's' || i, 'b', i % 2 = 0, 't', timestamptz '2024-01-01 00:00+00' + i * interval '1 minute',
  'f', i / 4.0::float8, 'tags', ARRAY['t' || i % 10, 'all'], 'a', document_build_object('b', i % 100)) FROM generate_series(1, 2000) i;
INSERT INTO o VALUES (0, '{"n": "5", "s": 5, "b": 1, "t": "2024", "f": {"$numberDouble": "NaN"}}'), (-1, '{"n": null}'), (-2, '{"n": {"$numberDouble": "NaN"}}'), (-3, '{}'), (-4, '{"f": {"$numberDecimal": "2.25"}}');
CREATE INDEX o_n ON o ((d['n']));
CREATE INDEX o_s ON o ((d -> 's'));
CREATE INDEX o_b ON o ((d['b']));
CREATE INDEX o_t ON o ((d['t']));
CREATE INDEX o_f ON o ((d['f']));
CREATE INDEX o_h ON o USING hash ((d['a']['b']));
CREATE INDEX o_gin ON o USING gin (d);
ANALYZE o;

-- each condition by index and by scan: the plan's index condition, and the same count
CREATE FUNCTION both_ways(condition text) RETURNS TABLE (line text) LANGUAGE plpgsql AS $$
DECLARE
  by_index bigint;
  by_scan bigint;
BEGIN
  SET LOCAL enable_seqscan = off;
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) SELECT count(*) FROM o WHERE ' || condition LOOP
    IF line ~ 'Index Cond|Seq Scan' THEN line := trim(line); RETURN NEXT; END IF;
  END LOOP;
  EXECUTE 'SELECT count(*) FROM o WHERE ' || condition INTO by_index;
  SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;
  EXECUTE 'SELECT count(*) FROM o WHERE ' || condition INTO by_scan;
  SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = on;
  line := format('%s rows', by_index) || CASE WHEN by_index <> by_scan THEN format(' but a scan finds %s', by_scan) ELSE '' END;
  RETURN NEXT;
END $$;

SELECT both_ways($$ d['n'] = 5 $$);
SELECT both_ways($$ d['n'] = '5' $$);
SELECT both_ways($$ 5 = d['n'] $$);
SELECT both_ways($$ d['n'] < 5 $$);
SELECT both_ways($$ 5 > d['n'] $$);
SELECT both_ways($$ d['n'] <= 5::bigint $$);
SELECT both_ways($$ d['n'] > 1990.5 $$);
SELECT both_ways($$ d['n'] >= 1990 AND d['n'] < 1995 $$);
SELECT both_ways($$ d['n'] = 'NaN'::numeric $$);
SELECT both_ways($$ d['n'] <= 'NaN'::float8 $$);
SELECT both_ways($$ d['n'] > '-Infinity'::float8 $$);
SELECT both_ways($$ d['f'] = 2.25 $$);
SELECT both_ways($$ d['f'] = 2.25::float8 $$);
SELECT both_ways($$ d['f'] <= 2.25 $$);
SELECT both_ways($$ d['f'] > 123456789012345678901234567890123456789012345678901234567890 $$);
SELECT both_ways($$ d['f'] = 10::numeric ^ 400 $$);
SELECT both_ways($$ d -> 's' = text 's77' $$);
SELECT both_ways($$ d -> 's' > text 's998' $$);
SELECT both_ways($$ d -> 's' < text 's1001' $$);
SELECT both_ways($$ d['b'] = true AND d['n'] < 10 $$);
SELECT both_ways($$ d['b'] > false AND d['n'] < 10 $$);
SELECT both_ways($$ d['t'] < timestamptz '2024-01-01 00:10+00' $$);
SELECT both_ways($$ d['t'] = timestamptz '2024-01-01 00:10:00.0005+00' $$);
SELECT both_ways($$ d['t'] >= timestamptz '2024-01-01 00:10:00.0005+00' AND d['t'] < timestamptz '2024-01-01 00:12+00' $$);
SELECT both_ways($$ d['t'] < timestamptz 'infinity' $$);
SELECT both_ways($$ d['t'] > timestamptz '-infinity' $$);
SELECT both_ways($$ d['a']['b'] = 7 $$);
SELECT both_ways($$ d['a']['b'] = 7.0::float8 $$);
SELECT both_ways($$ d['n'] <> 5 $$);

-- an operator of another name, or on the other side, calls the function that its maker gave it
CREATE SCHEMA others;
CREATE OPERATOR others.< (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_gt_integer);
CREATE OPERATOR others.=== (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_eq_document);
SELECT both_ways($$ d['n'] OPERATOR(others.<) 1995 $$);
SELECT both_ways($$ 1995 OPERATOR(others.===) d['n'] $$);
DROP OPERATOR others.< (document, integer), others.=== (integer, document);
DROP SCHEMA others;

-- a value that is known only when the query runs
PREPARE by_n(int) AS SELECT count(*) FROM o WHERE d['n'] < $1;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) EXECUTE by_n(5);
EXECUTE by_n(5);
EXPLAIN (COSTS OFF) SELECT * FROM generate_series(1, 3) i, o WHERE o.d['n'] = i;
SELECT i, o.n FROM generate_series(1, 3) i, o WHERE o.d['n'] = i ORDER BY 1;
RESET plan_cache_mode;
RESET enable_seqscan;

-- a UUID, among binary data of other lengths and subtypes, and other ids
CREATE TABLE ids (n int, d document);
INSERT INTO ids SELECT i, document_build_object('_id', ('00000000-0000-0000-0000-' || lpad(to_hex(i), 12, '0'))::uuid) FROM generate_series(1, 2000) i;
INSERT INTO ids VALUES (-1, '{"_id": {"$uuid": "ffffffff-ffff-ffff-ffff-ffffffffffff"}}'), (-2, '{"_id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAABw==", "subType": "03"}}}'),
  (-3, '{"_id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAABw==", "subType": "00"}}}'), (-4, '{"_id": {"$binary": {"base64": "AAAABw==", "subType": "04"}}}'),
  (-5, '{"_id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAABwA=", "subType": "04"}}}'), (-6, '{"_id": "00000000-0000-0000-0000-000000000007"}'), (-7, '{"_id": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}}'), (-8, '{}');
CREATE INDEX ids_id ON ids ((d['_id']));
ANALYZE ids;
EXPLAIN (COSTS OFF) SELECT n FROM ids WHERE d['_id'] = uuid '00000000-0000-0000-0000-000000000007';
SELECT n FROM ids WHERE d['_id'] = uuid '00000000-0000-0000-0000-000000000007';
EXPLAIN (COSTS OFF) SELECT n FROM ids WHERE d['_id'] > uuid '00000000-0000-0000-0000-0000000007ce' ORDER BY n;
SELECT n FROM ids WHERE d['_id'] > uuid '00000000-0000-0000-0000-0000000007ce' ORDER BY n;
SELECT n FROM ids WHERE uuid '00000000-0000-0000-0000-000000000002' >= d['_id'] ORDER BY n;
PREPARE by_id(uuid) AS SELECT n FROM ids WHERE d['_id'] = $1;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_id('00000000-0000-0000-0000-000000000007');
EXECUTE by_id('00000000-0000-0000-0000-000000000007');
EXECUTE by_id('ffffffff-ffff-ffff-ffff-ffffffffffff');
EXECUTE by_id(NULL);
RESET plan_cache_mode;
DEALLOCATE by_id;
DROP INDEX ids_id;
SET enable_bitmapscan = off;
CREATE INDEX ids_hash ON ids USING hash ((d['_id']));
EXPLAIN (COSTS OFF) SELECT n FROM ids WHERE d['_id'] = uuid '00000000-0000-0000-0000-000000000007';
SELECT n FROM ids WHERE d['_id'] = uuid '00000000-0000-0000-0000-000000000007';
RESET enable_bitmapscan;
DROP TABLE ids;

-- GIN
SELECT both_ways($$ d @> '{"n": 5}' $$);
SELECT both_ways($$ d @> '{"n": {"$numberDecimal": "5.0"}, "tags": ["t5"]}' $$);
SELECT both_ways($$ d @> '{"a": {"b": 7}}' $$);
SELECT both_ways($$ d @> '{"tags": ["all", "t3"], "b": false}' $$);
SELECT both_ways($$ d @> '{"a": {}}' $$);
SELECT both_ways($$ d @> '{}' $$);
SELECT both_ways($$ d @> '[]' $$);
SELECT both_ways($$ d @> '{"n": null}' $$);
SELECT both_ways($$ d ? 'a' $$);
SELECT both_ways($$ d ? 'b' AND NOT d ? 'tags' $$);
SELECT both_ways($$ d ?| '{tags,zzz}' $$);
SELECT both_ways($$ d ?| '{}' $$);
SELECT both_ways($$ d ?& '{n,s,tags}' $$);
SELECT both_ways($$ d ?& '{n,zzz}' $$);
SELECT both_ways($$ d ?& '{}' $$);
SELECT both_ways($$ d ?& '{NULL,n}' $$);

-- the rules of containment
SELECT '{"a": 1, "b": {"c": [1, 2, {"d": 3}]}}'::document @> '{"b": {"c": [{"d": 3.0}, 1]}}', '{"a": [1, 2]}'::document @> '{"a": 1}', '[1, 2]'::document @> '2',
  '[[1, 2]]'::document @> '[[1]]', '[[1, 2]]'::document @> '[1]', '1'::document @> '1.0', '1'::document @> '[1]', '{"a": 1}'::document <@ '{"b": 2, "a": 1.0}', '{}'::document @> '[]';
SELECT '{"a": null}'::document ? 'a', '{"a": 1}'::document ? 'b', '["a", {"b": 1}]'::document ? 'a', '["a", {"b": 1}]'::document ? 'b', '"a"'::document ? 'a', '5'::document ? '5';

DROP FUNCTION both_ways;
DROP TABLE o;
