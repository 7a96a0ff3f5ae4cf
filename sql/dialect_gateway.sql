-- What the gateway sends in the place of a text: documents in rows that the client gets become plain text.
\pset format unaligned
\pset tuples_only on
CREATE TABLE goods (n int, d document);
INSERT INTO goods VALUES (1, '{"v": "gold", "when": {"$date": "2026-01-31T12:00:00Z"}}'), (2, '{"v": 10}'), (3, '{"v": 9}'), (4, '{"v": "a\u0000b"}');

-- outside of the SELECT, so that within it they are documents
SELECT change_stream_translate_for_gateway('SELECT d.v, n FROM goods ORDER BY d.v');
SELECT change_stream_translate_for_gateway('SELECT d.v, n FROM goods ORDER BY v') \gexec
SELECT change_stream_translate_for_gateway('SELECT d.when FROM goods WHERE d.v = ''gold'';  SELECT 1 -- plain
') \gexec
SELECT change_stream_translate_for_gateway('(SELECT d.v FROM goods UNION SELECT 1) ORDER BY 1 LIMIT 2');
SELECT change_stream_translate_for_gateway('WITH a AS (SELECT d.v FROM goods) SELECT v, v AS v, count(*) FROM a GROUP BY v HAVING v > 9');
-- what is an interval by the translation is no document any more
SELECT change_stream_translate_for_gateway('SELECT d.v, d.when - timestamptz ''2026-01-31 11:00:00Z'' AS took, d.when - timestamptz ''2026-01-30 12:00:00Z'' FROM goods WHERE d.v = ''gold''') AS sql \gset
\echo :sql
:sql;
SELECT change_stream_translate_for_gateway('PREPARE p(text) AS SELECT d.v FROM goods WHERE d.v = $1');
SELECT change_stream_translate_for_gateway('DECLARE c CURSOR FOR SELECT d.v FROM goods');
-- differences of documents: dates' are intervals, numbers' numbers; they are still ordered as numbers
CREATE TABLE trips (n int, d document);
INSERT INTO trips VALUES (1, '{"a": {"$date": "2026-01-01T00:00:00Z"}, "b": {"$date": "2026-01-05T10:00:00Z"}}'), (2, '{"a": 5, "b": 7.5}'), (3, '{}'),
  (4, '{"a": {"$date": "2026-01-01T00:00:00Z"}, "b": {"$date": "2026-01-01T20:00:00Z"}}');
SELECT change_stream_translate_for_gateway('SELECT n, d.b - d.a AS took FROM trips WHERE d.b IS DISTINCT FROM d.a ORDER BY took DESC NULLS LAST, d.b - d.a LIMIT 3') \gexec
SELECT change_stream_translate_for_gateway('WITH t AS (SELECT d.a AS x, d.b AS y, n FROM trips WHERE n < 3) SELECT (y - x), *, EXTRACT(DAY FROM y - x) AS day, x - x took FROM t ORDER BY n') \gexec
SELECT change_stream_translate_for_gateway('SELECT timestamptz ''2026-01-06 00:00Z'' - d.b AS age, d.b FROM trips WHERE n = 1') \gexec
SELECT change_stream_translate_for_gateway('SELECT DISTINCT d.b - d.a AS took FROM trips');
SELECT change_stream_translate_for_gateway('SELECT max(d.b - d.a) AS took FROM trips');
SELECT change_stream_translate_for_gateway('SELECT d.b - d.a AS took FROM trips UNION SELECT 1');
SELECT change_stream_translate_for_gateway('SELECT d.b - d.a AS took, d.b - d.a - d.a, -(d.b - d.a) FROM trips, generate_series(1, 2)');
-- what does something does it once
CREATE SEQUENCE calls;
SELECT change_stream_translate_for_gateway('SELECT to_document(nextval(''calls'')) - d.a AS less FROM trips WHERE n = 2');
DROP TABLE trips;
DROP SEQUENCE calls;
-- in place
SELECT change_stream_translate_for_gateway('UPDATE goods SET d = d WHERE d.v = 1 RETURNING n, d, d.v AS w');
SELECT change_stream_translate_for_gateway('DELETE FROM goods WHERE d.v = 1 RETURNING d.v');
SELECT change_stream_translate_for_gateway('UPDATE goods SET d = d WHERE d.v <> 1 RETURNING d.v') \gexec
-- not there: what has no documents, what is plain SQL, what is kept or needs its table
SELECT change_stream_translate_for_gateway('SELECT d.v::text FROM goods WHERE d.v = 1');
SELECT change_stream_translate_for_gateway('SELECT d[''v''] FROM goods');
SELECT change_stream_translate_for_gateway('DECLARE c CURSOR FOR SELECT d.v FROM goods FOR UPDATE');
SELECT change_stream_translate_for_gateway('CREATE VIEW v AS SELECT d.v FROM goods');
SELECT change_stream_translate_for_gateway('SELECT d.v INTO t FROM goods');
SELECT change_stream_translate_for_gateway('COPY (SELECT d.v FROM goods) TO STDOUT');
SELECT change_stream_translate_for_gateway('INSERT INTO goods(d) SELECT d.v FROM goods');
SELECT change_stream_translate_for_gateway('WITH a AS (DELETE FROM goods WHERE d.v = 1 RETURNING d) SELECT d.v FROM a');
SELECT change_stream_translate('SELECT d.v FROM goods WHERE d.v = 1');
SET mongo_change_stream.gateway_documents = document;
SELECT change_stream_translate_for_gateway('SELECT d.v FROM goods WHERE d.v = 1');
SET mongo_change_stream.gateway_documents = jsonb;
RESET mongo_change_stream.gateway_documents;
DROP TABLE goods;
-- a difference of dates is an interval already, where it is one for certain
CREATE TABLE times (n int, d document, at timestamptz);
INSERT INTO times VALUES (1, '{"from": {"$date": "2024-05-01T12:00:00Z"}, "to": {"$date": "2024-05-01T12:19:40Z"}, "v": "gold"}', '2024-05-01 12:30+00');
SELECT change_stream_translate_for_gateway('SELECT at - d.from AS age, d.to - d.from, d.v FROM times');
SELECT change_stream_translate_for_gateway('SELECT at - d.from AS age, d.to - d.from, d.v FROM times') \gexec
SELECT change_stream_translate_for_gateway('WITH q AS (SELECT at - d.from AS age, d.v FROM times) SELECT age, max(age) AS most, v FROM q GROUP BY 1, 3') \gexec
SELECT change_stream_translate_for_gateway('SELECT at - d.from FROM times') \gexec
-- wherever it was computed: below a sort, a group, another name; in a cursor, beside another one; and numbers stay numbers
INSERT INTO times VALUES (2, '{"from": {"$date": "2024-05-01T12:00:00Z"}, "to": {"$date": "2024-05-02T12:00:01Z"}, "v": "gold", "a": 7, "b": 5}', '2024-05-01 12:30+00');
SELECT change_stream_translate_for_gateway(sql) FROM unnest(ARRAY[
  'WITH q AS (SELECT d.v, max(d.to) - min(d.from) AS span, d.a - d.b AS less FROM times GROUP BY d.v, d.a, d.b) SELECT v, span, less FROM q ORDER BY span',
  'SELECT max(d.to - d.from) AS most, max(d.a - d.b) AS less, count(*) FROM times',
  'SELECT DISTINCT d.to - d.from AS took FROM times ORDER BY took',
  'SELECT d.to - d.from AS took FROM times UNION ALL SELECT d.a - d.b FROM times WHERE d.a - d.b = 2 ORDER BY 1',
  'SELECT d.a - d.b AS took FROM times WHERE d.to - d.from > interval ''1 hour''',
  'SELECT COALESCE(d.to - d.from, 0) AS took, lag(d.to - d.from) OVER (ORDER BY n) AS before FROM times ORDER BY n DESC']) AS sql \gexec
BEGIN;
SELECT change_stream_translate_for_gateway('DECLARE one CURSOR FOR SELECT d.to - d.from AS took FROM times ORDER BY n') \gexec
SELECT change_stream_translate_for_gateway('DECLARE two CURSOR FOR SELECT d.a - d.b AS less FROM times ORDER BY d.to - d.from') \gexec
FETCH one; FETCH two; FETCH one; FETCH two; FETCH one;
COMMIT;
SELECT change_stream_translate_for_gateway('PREPARE took AS SELECT d.to - d.from AS took FROM times WHERE n = $1') \gexec
EXECUTE took(1); EXECUTE took(2);
SELECT change_stream_shown(d, NULL), change_stream_shown(d, ARRAY[NULL, 1]), change_stream_shown(document '{"n": 1}', '{{1,2},{3,4}}'), change_stream_shown(document '5', '{}') FROM times WHERE n = 1;
DROP TABLE times;
