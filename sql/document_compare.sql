-- Type document: order, equality, hashing, comparison with other types

\pset null (null)
\pset format unaligned
\pset tuples_only on

CREATE TABLE v (n int, d document);
INSERT INTO v VALUES
  (1, '{"$minKey": 1}'), (2, '{"$undefined": true}'), (3, 'null'), (4, '{"$numberDouble": "NaN"}'), (4, '{"$numberDecimal": "NaN"}'),
  (5, '{"$numberDouble": "-Infinity"}'), (5, '{"$numberDecimal": "-Infinity"}'), (6, '{"$numberDecimal": "-1E+6000"}'), (7, '-1e300'), (8, '-1'),
  (10, '{"$numberDecimal": "-1E-6000"}'), (9, '-5e-324'), (11, '0'), (11, '-0.0'), (11, '{"$numberDecimal": "-0E+10"}'), (12, '{"$numberDecimal": "1E-6000"}'),
  (13, '{"$numberDecimal": "4.940656458412465441765687928682213E-324"}'), (14, '5e-324'), (15, '{"$numberDecimal": "4.940656458412465441765687928682214E-324"}'),
  (16, '{"$numberDecimal": "0.1"}'), (17, '0.1'), (18, '{"$numberDecimal": "0.1000000000000000055511151231257828"}'),
  (19, '1'), (19, '1.0'), (19, '{"$numberLong": "1"}'), (19, '{"$numberDecimal": "1.00"}'),
  (20, '9007199254740992.0'), (21, '9007199254740993'), (21, '{"$numberDecimal": "9007199254740993"}'), (22, '{"$numberDecimal": "9007199254740993.5"}'), (23, '9007199254740994.0'),
  (24, '9223372036854775807'), (25, '9223372036854775808.0'), (25, '9223372036854775808'), (26, '{"$numberDecimal": "9223372036854775808.5"}'), (27, '1.7976931348623157e308'),
  (28, '{"$numberDecimal": "1E+309"}'), (29, '{"$numberDouble": "Infinity"}'), (29, '{"$numberDecimal": "Infinity"}'),
  (30, '""'), (31, '"a"'), (31, '{"$symbol": "a"}'), (32, '"a\u0000"'), (33, '"aa"'), (34, '"b"'), (35, '"é"'),
  (36, '{}'), (37, '{"z": {"$minKey": 1}}'), (38, '{"a": 1}'), (39, '{"a": 1, "b": 1}'), (40, '{"a": 2}'), (41, '{"b": 1}'), (42, '{"a": "x"}'), (43, '{"a": {}}'),
  (44, '[]'), (45, '[1]'), (45, '{"$bson": "040c0000001035000100000000"}'), (46, '[1, 2]'), (47, '[2]'), (48, '["a"]'),
  (49, '{"$binary": {"base64": "/w==", "subType": "05"}}'), (50, '{"$binary": {"base64": "AAA=", "subType": "00"}}'), (51, '{"$binary": {"base64": "AAA=", "subType": "05"}}'),
  (52, '{"$oid": "000000000000000000000000"}'), (53, '{"$oid": "ff0000000000000000000000"}'), (54, 'false'), (55, 'true'), (55, '{"$bson": "0802"}'),
  (56, '{"$date": {"$numberLong": "-1"}}'), (57, '{"$date": {"$numberLong": "1"}}'), (58, '{"$timestamp": {"t": 1, "i": 2}}'), (59, '{"$timestamp": {"t": 4294967295, "i": 1}}'),
  (60, '{"$regularExpression": {"pattern": "a", "options": ""}}'), (61, '{"$regularExpression": {"pattern": "a", "options": "i"}}'),
  (62, '{"$dbPointer": {"$ref": "b", "$id": {"$oid": "000000000000000000000000"}}}'), (63, '{"$dbPointer": {"$ref": "a", "$id": {"$oid": "ff0000000000000000000000"}}}'),
  (64, '{"$code": "a"}'), (65, '{"$code": "a", "$scope": {}}'), (66, '{"$code": "a", "$scope": {"a": 1}}'), (67, '{"$maxKey": 1}');

-- the number of each value's place is its rank, however it is compared
SELECT count(*) FROM (SELECT n, dense_rank() OVER (ORDER BY d) AS r FROM v) s WHERE n <> r;
SELECT count(*) FROM v a, v b WHERE (a.n < b.n) <> (a.d < b.d) OR (a.n <= b.n) <> (a.d <= b.d) OR (a.n = b.n) <> (a.d = b.d)
  OR (a.n <> b.n) <> (a.d <> b.d) OR (a.n >= b.n) <> (a.d >= b.d) OR (a.n > b.n) <> (a.d > b.d) OR sign(a.n - b.n) <> sign(document_cmp(a.d, b.d));
SELECT count(*) FROM v a, v b WHERE a.n = b.n AND (document_hash(a.d) <> document_hash(b.d) OR document_hash_extended(a.d, 42) <> document_hash_extended(b.d, 42));
SELECT count(*) FROM v WHERE document_hash(d) <> (document_hash_extended(d, 0) & 4294967295)::bit(32)::int;
SELECT count(DISTINCT d), max(n), min(d), max(d) FROM v;
SELECT count(*) FROM (SELECT d FROM v GROUP BY d) g;

-- the joins find the same
SET enable_hashjoin = on; SET enable_mergejoin = off; SET enable_nestloop = off;
SELECT count(*) FROM v a JOIN v b ON a.d = b.d;
SET enable_hashjoin = off; SET enable_mergejoin = on;
SELECT count(*) FROM v a JOIN v b ON a.d = b.d;
SET enable_mergejoin = off; SET enable_nestloop = on;
SELECT count(*) FROM v a JOIN v b ON a.d = b.d;
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_nestloop;

-- abbreviated keys, and their absence
CREATE TABLE many AS SELECT n, d, random() AS r FROM v, generate_series(1, 200) ORDER BY 3;
SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY d) AS before FROM many) s WHERE before > n;
CREATE INDEX many_d ON many (d);
SET enable_seqscan = off; SET enable_sort = off;
SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY d) AS before FROM many) s WHERE before > n;
SELECT d FROM many ORDER BY d LIMIT 1;
SELECT min(d), max(d) FROM many;
RESET enable_seqscan; RESET enable_sort;
SELECT count(*) FROM pg_amproc p JOIN pg_opfamily f ON f.oid = p.amprocfamily JOIN pg_am a ON a.oid = f.opfmethod
  WHERE a.amname = 'btree' AND p.amproclefttype = 'document'::regtype AND p.amprocnum = 4;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcintype = 'document'::regtype;

-- other types: a document of another kind is unequal, and neither less nor greater
CREATE FUNCTION compare(d document, x anyelement) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  o text;
  a bool;
  b bool;
  r text := '';
BEGIN
  FOREACH o IN ARRAY '{=,<>,<,<=,>,>=}'::text[] LOOP
    EXECUTE format('SELECT $1 %s $2, $2 %s $1', o, translate(o, '<>', CASE WHEN o = '<>' THEN '<>' ELSE '><' END)) INTO a, b USING d, x;
    IF a IS DISTINCT FROM b THEN RAISE EXCEPTION '% % %: % and %', d, o, x, a, b; END IF;
    IF a THEN r := r || ' ' || o; END IF;
  END LOOP;
  RETURN r;
END $$;
SELECT d, compare(d, text 'b') FROM (VALUES ('"a"'::document), ('"b"'), ('"c"'), ('{"$symbol": "b"}'), ('"b\u0000"'), ('5'), ('null'), ('{"$code": "b"}'), ('["b"]')) v(d);
SELECT d, compare(d, true) FROM (VALUES ('true'::document), ('false'), ('1'), ('{"$bson": "0807"}')) v(d);
SELECT d, compare(d, 5) FROM (VALUES ('4'::document), ('5'), ('5.0'), ('{"$numberDecimal": "5.00"}'), ('5.5'), ('{"$numberDouble": "NaN"}'), ('{"$numberDouble": "Infinity"}'), ('"5"')) v(d);
SELECT d, compare(d, 9007199254740993) FROM (VALUES ('9007199254740992.0'::document), ('9007199254740993'), ('9007199254740994.0')) v(d);
SELECT d, compare(d, 19.99) FROM (VALUES ('19.99'::document), ('{"$numberDecimal": "19.990"}'), ('19.989999999999995'), ('20'), ('{"$date": "2024-01-01T00:00:00Z"}')) v(d);
SELECT d, compare(d, 'NaN'::numeric), compare(d, 'NaN'::float8), compare(d, 'Infinity'::numeric), compare(d, '-Infinity'::float8)
  FROM (VALUES ('{"$numberDouble": "NaN"}'::document), ('{"$numberDecimal": "NaN"}'), ('{"$numberDouble": "Infinity"}'), ('1')) v(d);
SELECT d, compare(d, 0.1::float8) FROM (VALUES ('0.1'::document), ('{"$numberDecimal": "0.1"}')) v(d);
SELECT d, compare(d, timestamptz '2024-05-17 08:30:00.125+00'), compare(d, timestamptz '2024-05-17 08:30:00.1255+00'), compare(d, timestamptz 'infinity')
  FROM (VALUES ('{"$date": "2024-05-17T08:30:00.124Z"}'::document), ('{"$date": "2024-05-17T08:30:00.125Z"}'), ('{"$date": "2024-05-17T08:30:00.126Z"}'),
  ('{"$date": {"$numberLong": "9223372036854775807"}}'), ('{"$timestamp": {"t": 1, "i": 1}}')) v(d);
SELECT d, compare(d, timestamptz '1969-12-31 23:59:59.9995+00') FROM (VALUES ('{"$date": {"$numberLong": "-1"}}'::document), ('{"$date": {"$numberLong": "0"}}')) v(d);
SELECT d, compare(d, interval '1 minute'), compare(d, interval '1 month'), compare(d, interval '1.5 milliseconds')
  FROM (VALUES ('59999'::document), ('60000'), ('1.5'), ('{"$numberDecimal": "2592000000.0"}'), ('{"$date": "2024-05-17T08:30:00Z"}')) v(d);
SELECT NULL::document = 5, '5'::document = NULL::int;
SELECT NOT ('"a"'::document < 5), NOT ('"a"'::document = 5);
SELECT '{"status": "shipped"}'::document -> 'status' = 'shipped';
SELECT '{"status": "shipped"}'::document -> 'status' = '"shipped"', '{"status": "shipped"}'::document ->> 'status' = 'shipped', ('{"status": "shipped"}'::document)['status'] = text 'shipped';

-- no negators but of = and <>, and commutators throughout
SELECT o.oid::regoperator FROM pg_operator o WHERE 'document'::regtype IN (oprleft, oprright) AND oprresult = 'boolean'::regtype AND oprleft <> oprright
  AND oprname IN ('=', '<>', '<', '<=', '>', '>=') AND ((oprnegate <> 0) <> (oprname IN ('=', '<>')) OR oprcom = 0);

DROP FUNCTION compare;
DROP TABLE v, many;
