-- DO LANGUAGE change_stream

CREATE SCHEMA dialect_test;
SET search_path = dialect_test, public;
DO LANGUAGE change_stream $$
 -- x
 CREATE TABLE dd (doc document, n int);
 INSERT INTO dd VALUES ('{"a": {"b": "x"}}', 1);
 CREATE VIEW dv AS SELECT doc.a.b FROM dd WHERE doc.a.b = 'x';
 SELECT doc.a.b FROM dd;
 SHOW CHANGE STREAMS;
$$;
SELECT * FROM dv;

-- rows, a result for each statement that has some; documents as plain text
DO LANGUAGE change_stream $$
 CREATE TABLE kinds (id int, d document);
 INSERT INTO kinds VALUES (1, '"gold"'), (2, '5'), (3, '{"$numberLong": "1180000"}'), (4, '{"$oid": "65f0c1d2e3a4b5c6d7e8f901"}'), (5, NULL), (6, '{"a": ["x", 1.5]}')
   RETURNING id, d;
 SELECT count(*) FROM kinds;
 SELECT id, d FROM kinds WHERE id < 0;
 SELECT;
 EXPLAIN (COSTS OFF) SELECT d.a FROM kinds; -- the last one
$$;
-- a difference of dates is an interval, one of numbers is a number
CREATE TABLE spans (id int, d document);
INSERT INTO spans VALUES (1, '{"from": {"$date": "2024-05-01T12:00:00Z"}, "to": {"$date": "2024-05-01T12:19:40Z"}, "a": {"$numberLong": "7"}, "b": {"$numberLong": "5"}}'), (2, '{"from": {"$date": "2024-05-01T12:00:00Z"}, "a": 7, "b": 5}');
DO LANGUAGE change_stream $$
 WITH took AS (SELECT id, d.to - d.from AS span, d.a - d.b AS rest FROM spans),
      longest AS (SELECT max(span) AS span, max(rest) AS rest FROM took)
 SELECT t.id, t.span, t.rest, l.span AS longest, l.rest AS most, COALESCE(t.span, 0) AS known, t.span > interval '10 minutes' AS long, EXTRACT(EPOCH FROM t.span) AS s,
        CASE WHEN t.id = 1 THEN t.span ELSE t.rest END AS either
   FROM took t, longest l ORDER BY t.id;
 SELECT timestamptz '2024-05-01 12:30Z' - d.from AS since, d.from - d.to AS back, - (d.a - d.b) AS less FROM spans ORDER BY id;
 SELECT d.a - d.b AS rest FROM spans WHERE d.to - d.from > interval '1 second';
$$;
-- within a function, or another DO, there is nobody to send them to
DO LANGUAGE change_stream $$ DO LANGUAGE change_stream $x$ SELECT d.a FROM kinds $x$; SELECT 1 AS seen $$;
DO $$ BEGIN EXECUTE 'DO LANGUAGE change_stream $x$ SELECT d.a FROM kinds $x$'; END $$;
CREATE FUNCTION rows_in_function() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DO LANGUAGE change_stream ''SELECT d.a FROM kinds'''; RETURN 1; END $$;
SELECT rows_in_function();
-- rows up to an error
DO LANGUAGE change_stream $$ SELECT 1 AS first; SELECT 1 / (id - 3), d FROM kinds; $$;

-- change_stream_query: of the last statement with rows
SELECT * FROM change_stream_query($$ SELECT 'none' AS of_this; SELECT d.a, id AS n FROM kinds WHERE id IN (1, 6) ORDER BY id; CREATE TABLE later (d document) $$);
SELECT change_stream_query('DELETE FROM kinds WHERE d.a[0] = ''x'' RETURNING d.a, now() IS NULL AS never') ->> 'never' AS never;
SELECT count(*) FROM change_stream_query('CREATE TABLE no_rows (d document)');
SELECT * FROM change_stream_query(NULL);
SELECT * FROM change_stream_query_as($$ SELECT d, id, id, d FROM kinds WHERE id < 3 ORDER BY id $$) AS t(what text, n bigint, label varchar(3), whole document);
SELECT * FROM change_stream_query_as($$ SELECT d FROM kinds WHERE id = 1 $$) AS t(what varchar(2));
SELECT * FROM change_stream_query_as($$ SELECT d FROM kinds WHERE id = 1 $$) AS t(what text, n bigint);
SELECT * FROM change_stream_query_as($$ SELECT id FROM kinds WHERE id = 1 $$) AS t(what point);
SELECT * FROM change_stream_query_as($$ SELECT d FROM kinds WHERE id = 1 $$) AS t(what int);
SELECT * FROM change_stream_query($$ COMMIT $$);

-- errors show the statement that they are about
DO LANGUAGE change_stream $$ SELECT doc.a.b,
   nosuch FROM dd $$;
DO LANGUAGE change_stream $$ SELECT 1;
 SELECT 1/(n - n) FROM dd; $$;
DO LANGUAGE change_stream $$ SELECT 1;
 SELECT doc.a.b::int FROM dd; $$;
DO LANGUAGE change_stream $$
 CREATE TABLE one (d document);

 SELECT doc.a.b,
   nosuch FROM dd;
 SELECT 2
$$;
SELECT change_stream_translate('SELECT 1;;
 SELECT doc.a.b + FROM dd; SELECT 2');
CREATE FUNCTION x() RETURNS void LANGUAGE change_stream AS 'SELECT 1';
DO LANGUAGE change_stream $$ BEGIN; $$;
DO LANGUAGE change_stream $$ SELECT 1;
 SELECT full_document.a FROM CHANGE_STREAM(nosuch); $$;
DO LANGUAGE change_stream $$ $$;

-- a translation sees what the text itself makes, and leaves nothing of it
SELECT change_stream_translate($$
 CREATE TABLE made (doc document, n int);
 CREATE VIEW seen AS SELECT doc.a.b, n FROM made WHERE doc.a.b = 'x';
 SELECT b.c FROM seen WHERE b = 'x';
 CREATE TABLE copied AS SELECT doc.a FROM made;
 SELECT a.b FROM copied;
 SET search_path = dialect_test, public, pg_temp;
 CREATE TEMP TABLE short (doc document);
 SELECT doc.a FROM short;
 DROP TABLE dd CASCADE;
 CREATE TABLE dd (other document);
 SELECT other.a FROM dd;
 CREATE FUNCTION shout(word text) RETURNS text LANGUAGE sql AS 'SELECT upper(word)';
 SELECT shout(other.a) FROM dd;
 CREATE TABLE nosuch.failing (d document);
 SELECT d.a FROM nosuch.failing
$$);
SELECT to_regclass('made'), to_regclass('seen'), to_regclass('short'), to_regclass('dv'), current_setting('search_path');
-- no query runs
CREATE SEQUENCE numbers;
CREATE FUNCTION next_number() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'run'; RETURN nextval('numbers'); END $$;
SELECT change_stream_translate($$
 CREATE TABLE computed AS SELECT next_number() AS n, '{}'::document AS d;
 CREATE MATERIALIZED VIEW kept AS SELECT next_number() AS n, d FROM computed;
 INSERT INTO kinds VALUES (next_number());
 SELECT d.a, n FROM kept
$$);
SELECT is_called FROM numbers;
-- not where nothing may be made
BEGIN READ ONLY;
SELECT change_stream_translate('CREATE TABLE made (doc document); SELECT doc.a FROM made');
ROLLBACK;

-- what is sent as it stands gets a hint
SELECT full_document.a FROM CHANGE_STREAM(orders);
CREATE CHANGE STREAM s ON orders;
SELECT 1 FROM dd WHERE changed_fields CONTAINS 'a';
SELECT full_document.customer.name FROM dd;
SELECT nosuch FROM dd;
SELECT * FROM change_stream_query('SELECT 1 AS n') AS t(n int);
SELECT 1 FROM dd d WHERE d = 1.5 AND TIME_WINDOW(1) = 1;
DO $$ BEGIN EXECUTE 'SELECT full_document.a FROM CHANGE_STREAM(orders)'; END $$;
SET client_min_messages = error;
DROP SCHEMA dialect_test CASCADE;
