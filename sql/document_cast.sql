-- Type document: casts to and from SQL types, builders

\pset null (null)
\pset format unaligned
\pset tuples_only on
SET timezone = 'Europe/Berlin';

-- to SQL types
SELECT d, d::smallint, d::int, d::bigint, d::numeric, d::real, d::double precision FROM (VALUES ('5'::document), ('-7.5'), ('2.5'), ('{"$numberLong": "32767"}'), ('{"$numberDecimal": "1.50"}'), ('0.1'), ('null'), ('{"$undefined": true}')) v(d);
SELECT '32768'::document::smallint;
SELECT '2147483648'::document::int;
SELECT '1e19'::document::bigint;
SELECT '9223372036854775807.0'::document::bigint;
SELECT '{"$numberDouble": "NaN"}'::document::int;
SELECT '{"$numberDecimal": "Infinity"}'::document::bigint;
SELECT '{"$numberDouble": "NaN"}'::document::numeric, '{"$numberDecimal": "-Infinity"}'::document::numeric, '{"$numberDecimal": "1E-10"}'::document::numeric, '{"$numberDecimal": "1E+10"}'::document::numeric, '1e22'::document::numeric, '19.99'::document::numeric;
SELECT '{"$numberDecimal": "1E+400"}'::document::double precision;
SELECT '{"$numberDecimal": "Infinity"}'::document::double precision, '{"$numberDecimal": "1E-400"}'::document::double precision, '9007199254740993'::document::double precision;
SELECT '1e200'::document::real;
SELECT '"5"'::document::int;
SELECT 'true'::document::int;
SELECT '{}'::document::numeric;
SELECT 'true'::document::boolean, 'null'::document::boolean;
SELECT '1'::document::boolean;
SELECT d, d::timestamptz, d::timestamp, d::date FROM (VALUES ('{"$date": "2024-05-17T23:30:00.125Z"}'::document), ('{"$timestamp": {"t": 1715988600, "i": 7}}'), ('{"$date": "0001-01-01T00:00:00Z"}'), ('null')) v(d);
SELECT '{"$date": {"$numberLong": "9223372036854775807"}}'::document::timestamptz;
SELECT '{"$date": {"$numberLong": "-210866803200001"}}'::document::timestamptz;
SELECT '"2024-05-17"'::document::timestamptz;
SELECT '{"$uuid": "73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}'::document::uuid;
SELECT '{"$binary": {"base64": "c//SZESzTGmQ6OfR38A11A==", "subType": "03"}}'::document::uuid;
SELECT '{"$binary": {"base64": "c//S", "subType": "04"}}'::document::uuid;
SELECT '{"$binary": {"base64": "AQID", "subType": "80"}}'::document::bytea, '{"$binary": {"base64": "AQID", "subType": "02"}}'::document::bytea;
SELECT '"x"'::document::bytea;
SELECT '["a", 1, null, {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}, {"b": 1}, "c,d"]'::document::text[], '[]'::document::text[], 'null'::document::text[];
SELECT '"a"'::document::text[];
SELECT '90061001'::document::interval, '1.5'::document::interval, '{"$numberDecimal": "-0.0015"}'::document::interval;
SELECT '1e300'::document::interval;
SELECT '"x"'::document::text, '{"a": "x"}'::text::document, '5'::varchar::document;

-- assignment
CREATE TABLE target (b boolean, s smallint, i int, l bigint, n numeric(10, 2), r real, f double precision, t timestamptz, ts timestamp, da date, u uuid, x text);
INSERT INTO target SELECT d['b'], d['i'], d['i'], d['i'], d['f'], d['f'], d['f'], d['t'], d['t'], d['t'], d['u'], d['x']
  FROM (SELECT '{"b": true, "i": 7, "f": 2.345, "t": {"$date": "2024-05-17T23:30:00Z"}, "u": {"$uuid": "73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}, "x": "text"}'::document AS d) v;
SELECT * FROM target;
INSERT INTO target (i) SELECT '"seven"'::document;
SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast WHERE 'document'::regtype IN (castsource, casttarget) ORDER BY castsource = 'document'::regtype, castsource::regtype::text, casttarget::regtype::text;

-- from SQL types
SELECT true::document, 5::smallint::document, 5::document, 5::bigint::document, 1.50::document, 0.1::real::document, 0.1::float8::document, 'NaN'::float8::document;
SELECT 12345678901234567890123456789012345::numeric::document;
SELECT (10::numeric ^ 6200)::document;
SELECT 1234567890123456789012345678901234000::numeric::document, 'NaN'::numeric::document, '-Infinity'::numeric::document, 0.000::numeric::document;
SELECT timestamptz '2024-05-17 08:30:00.1259+00'::document, timestamp '2024-05-17 08:30'::document, date '2024-05-17'::document, timestamptz '1969-12-31 23:59:59.9999+00'::document;
SELECT timestamptz 'infinity'::document;
SELECT uuid '73ffd264-44b3-4c69-90e8-e7d1dfc035d4'::document, '\x0102'::bytea::document, interval '1 day 00:00:00.0015'::document, ARRAY['a', NULL]::document, '{}'::text[]::document;

-- jsonb and json
SELECT '{"b": [1, 2147483648, 123456789012345678901234567890, 1.5, 0.1, 1.10, 0.12345678901234567890, 1e400, true, null, "x", {}, []], "a": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}}'::jsonb::document;
SELECT '[1, 2]'::jsonb::document, '"x"'::jsonb::document, '5.0'::jsonb::document, '{"$numberLong": "5"}'::jsonb::document;
SELECT '{"a": [1, {"b": 12345678901234567890123456789012345678}]}'::jsonb::document;
SELECT '12345678901234567890123456789012345678'::jsonb::document;
SELECT '{"a": [1, {"$date": "x"}]}'::jsonb::document;
SELECT '{"b": 1, "a": 1.0, "b": {"$numberLong": "2"}}'::json::document;
SELECT '{"b": 1.50, "a": [true, null, "x\"y", {"$date": "2024-05-17T08:30:00Z"}, {"$minKey": 1}], "b": {"$numberDecimal": "1.50"}}'::document::json;
SELECT '[{"$numberDouble": "NaN"}]'::document::json;

-- any type
CREATE TYPE mood AS ENUM ('fine');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (x int, y text);
SELECT to_document('x'::text), to_document(5::positive), to_document('fine'::mood), to_document(inet '10.0.0.1'), to_document('x'::char(3)), to_document(name 'n'), to_document(7::oid), to_document('[1,3)'::int4range);
SELECT to_document(ROW(1, 'a')::pair), to_document(ARRAY[ROW(1, 'a')::pair, NULL]), to_document(ARRAY[[1, 2], [3, 4]]), to_document('{}'::int[]), to_document(ARRAY['5'::document, '{"a": 1}']), to_document('5'::document), to_document(NULL::int);
SELECT to_document(t) FROM (SELECT 1 AS a, 'x' AS b, NULL AS c, now() IS NULL AS d) t;
SELECT document_build_object('a', 1, 'b', ARRAY[1.5], 3, 'three', 'n', NULL), document_build_object(), document_build_array('a', 1, NULL, '{"b": 1}'::document), document_build_array();
SELECT document_build_object(VARIADIC ARRAY['a', 'b']), document_build_array(VARIADIC ARRAY[1, 2]), document_build_object(VARIADIC NULL::text[]);
SELECT document_build_object('a');
SELECT document_build_object(NULL, 1);
SELECT document_agg(x ORDER BY x DESC), document_agg(NULL::text), document_agg(x) FILTER (WHERE x > 5) FROM generate_series(1, 3) x;
SELECT document_agg(t) FROM (SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL) t;
SELECT document_agg(x) OVER (ORDER BY x) FROM generate_series(1, 3) x;

-- fields of dates and of numbers of milliseconds
SELECT date_part('year', d), date_part('hour', d), date_part('epoch', d), EXTRACT(epoch FROM d::timestamptz) FROM (SELECT '{"$date": "2024-12-31T23:30:00.5Z"}'::document AS d) v;
SELECT date_part('epoch', '90061001'::document), date_part('hour', '90061001'::document), date_part('day', 'null'::document), date_part('minute', '1.5'::document);
-- a constant for several rows
SELECT date_part('epoch', document '{"$date": "2024-12-31T23:30:00.5Z"}'), date_part('minute', document '90061001') FROM generate_series(1, 3);
SELECT date_part('year', '"2024"'::document);

DROP TYPE mood, pair;
DROP DOMAIN positive;
DROP TABLE target;

-- to text and its like: plain where a value is put somewhere, Extended JSON where the cast is written
CREATE TABLE texts (t text, v varchar(5), c char(3), n int);
INSERT INTO texts SELECT d, d, d, i FROM (VALUES (1, '"ab"'::document), (2, '5'), (3, 'null'), (4, NULL), (5, 'true')) AS s(i, d) WHERE i < 5;
INSERT INTO texts (t) SELECT d FROM (VALUES ('{"a": "x"}'::document), ('{"$oid": "65f0c1d2e3a4b5c6d7e8f901"}')) AS s(d);
SELECT t, v, c, n FROM texts;
INSERT INTO texts (v) VALUES ('"too long"'::document);
INSERT INTO texts (c) VALUES ('"too long"'::document);
UPDATE texts SET t = '"set"'::document, v = '"ab   "'::document WHERE n = 1 RETURNING t, v, pg_typeof(v);
SELECT d::text, d::varchar, d::varchar(3), d::char(2), CAST(d AS text), d::text::document = d AS same FROM (VALUES ('"abcdef"'::document), ('{"a": 1}')) AS s(d);
DO $$ DECLARE t text; d document := '"in a variable"'; BEGIN t := d; RAISE NOTICE '%', t; END $$;
CREATE FUNCTION plain(d document) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN d; END';
SELECT plain('"returned"');
CREATE VIEW cast_texts AS SELECT d::text AS t, d::varchar(4) AS v FROM (SELECT '"x"'::document AS d) AS s;
SELECT replace(pg_get_viewdef('cast_texts'), 's.d', 'd');  -- from PostgreSQL 16 on without s.
SELECT document_to_bpchar('"a"', 2147483647, true);
-- neither is implicit
SELECT length('"x"'::document);
SELECT '"x"'::document || 'y' AS "as before";
DROP VIEW cast_texts;
DROP TABLE texts;
DROP FUNCTION plain;

-- UUIDs and ObjectIds
SELECT d = u AS eq, u = d AS also, d <> u AS ne, d < u AS lt, d >= u AS ge, u > d AS gt
  FROM (VALUES ('{"$uuid": "73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}'::document), ('{"$uuid": "00000000-44b3-4c69-90e8-e7d1dfc035d4"}'), ('"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"'), ('{"$binary": {"base64": "c//SZESzTGmQ6OfR38A11A==", "subType": "03"}}'), ('5')) AS s(d),
  (VALUES ('73ffd264-44b3-4c69-90e8-e7d1dfc035d4'::uuid)) AS t(u);
SELECT document_id(t) FROM (VALUES ('65f0c1d2e3a4b5c6d7e8f901'), ('65F0C1D2E3A4B5C6D7E8F901'), ('73ffd264-44b3-4c69-90e8-e7d1dfc035d4'), ('73ffd264-44b3-4c69-90e8-e7d1dfc035d'), ('73ffd264-44b3-4c69-90e8+e7d1dfc035d4'), ('65f0c1d2e3a4b5c6d7e8f90g'), (''), (NULL)) AS s(t);
SELECT d = '65f0c1d2e3a4b5c6d7e8f901', d = '73ffd264-44b3-4c69-90e8-e7d1dfc035d4' FROM (VALUES ('5'::document)) AS s(d);
SELECT d = '73ffd264-44b3-4c69-90e8-e7d1dfc035d4' FROM (VALUES ('5'::document)) AS s(d);
