-- USING and NATURAL over documents, in views: written so that what PostgreSQL prints of them can be read where documents have no operators
SET client_min_messages = warning;
CREATE SCHEMA join_test;
SET search_path = join_test, public;
CREATE TABLE a (x document, n int, d document); CREATE TABLE b (x document, m int, e document); CREATE TABLE b2 (x document, n int, g int); INSERT INTO b2 VALUES ('1', 1, 3), ('"p"', 7, 8); CREATE TABLE c (x document, f int);
INSERT INTO a VALUES ('1', 1, '{"k": 1}'), ('"p"', 2, '{"k": 2}'), ('{"y": 5}', 3, '{}'); INSERT INTO b VALUES ('1.0', 1, '"e1"'), ('"q"', 2, '"e2"'), ('{"y": 5}', 4, '"e3"'); INSERT INTO c VALUES ('1', 7), ('"q"', 8);
CREATE FUNCTION shown(statement text) RETURNS TABLE (sql text, rows text, same boolean) LANGUAGE plpgsql AS $$
BEGIN
  sql := public.change_stream_translate('CREATE VIEW last_shown AS ' || statement);
  EXECUTE sql;
  SET LOCAL search_path = '';
  BEGIN
  EXECUTE 'CREATE VIEW join_test.restored AS ' || pg_catalog.pg_get_viewdef('join_test.last_shown'::regclass);
  EXECUTE 'SELECT string_agg(r::text, '' '' ORDER BY r::text) FROM join_test.restored r' INTO rows;
  EXCEPTION WHEN OTHERS THEN rows := NULL;
  END;
  SET LOCAL search_path = join_test, public;
  EXECUTE 'SELECT string_agg(r::text, '' '' ORDER BY r::text) = $1 FROM (' || change_stream_translate(statement) || ') r' INTO same USING rows;
  DROP VIEW IF EXISTS join_test.restored; DROP VIEW join_test.last_shown;
  RETURN NEXT;
END $$;
\pset format unaligned
\pset tuples_only on
SELECT v.* FROM unnest(ARRAY[
 'SELECT * FROM a JOIN b USING (x)',
 'SELECT x, x.y, d.k, a.n FROM a JOIN b USING (x) WHERE x IS NOT NULL ORDER BY x',
 'SELECT x, x.y, d.k, a.n FROM a LEFT JOIN b AS bb USING (x) WHERE x.y IS NULL GROUP BY x, d, a.n',
 'SELECT x, x.y AS z, e, b.m FROM a RIGHT JOIN b USING (x)',
 'SELECT x, x.y AS z, e, d.k FROM a FULL JOIN b USING (x)',
 'SELECT *, d.k AS dk FROM a FULL JOIN b USING (x)',
 'SELECT * FROM a NATURAL JOIN b',
 'SELECT d.k, * FROM a NATURAL LEFT JOIN b2',
 'SELECT d.k, * FROM a NATURAL FULL OUTER JOIN b2 AS q',
 'SELECT d.k, n, x FROM a JOIN b2 USING (x, n)',
 'SELECT * FROM a JOIN b USING (x) JOIN c USING (x)',
 'SELECT x.y, f FROM a FULL JOIN b USING (x) LEFT JOIN c USING (x)',
 'SELECT q.x.y FROM (SELECT * FROM a JOIN b USING (x)) q',
 'SELECT (SELECT count(*) FROM a JOIN c USING (x) WHERE x IS NOT NULL) AS n, e.z FROM b',
 'SELECT e.z FROM b WHERE EXISTS (SELECT 1 FROM a NATURAL JOIN c WHERE x = b.x)',
 'WITH q AS (SELECT x, d.k FROM a), r AS (SELECT * FROM b) SELECT x.y, k FROM q JOIN r USING (x)',
 'SELECT x.y, a.n FROM a JOIN (SELECT x, e FROM b) q USING (x) JOIN LATERAL (SELECT x AS y) l ON true',
 'SELECT x.y FROM a JOIN b USING (x) AS j',
 'SELECT j.x.y FROM (a JOIN b USING (x)) AS j',
 'SELECT x.y FROM a JOIN (b JOIN c USING (x)) USING (x)', 'SELECT d.k, n, x FROM a JOIN b2 USING (n, x) JOIN (SELECT 7 AS f) c ON n = c.f - 6 JOIN b USING (x)', 'SELECT b.x.y, n FROM a JOIN b2 USING (n) JOIN c ON n = c.f - 6 JOIN b ON b.x = a.x',
 'SELECT d.k FROM a JOIN b2 USING (n)',
 'SELECT max(x) AS m, count(*) AS o, d.k FROM a JOIN b USING (x) GROUP BY d.k, x HAVING x = 1',
 'SELECT a.*, x.y AS y2 FROM a JOIN b USING (x) UNION ALL SELECT a.*, x.y FROM a JOIN c USING (x)',
 'SELECT a.*, x.y AS y2 FROM a JOIN b USING (x) UNION ALL SELECT a.*, x.y FROM a JOIN b USING (x)',
 'SELECT CASE x WHEN 1 THEN 1 END AS c, NULLIF(x, 1) AS d, x IS DISTINCT FROM 1 AS e FROM a JOIN b USING (x) WHERE d.k IS NULL OR x IN (1, 2)',
 'SELECT CASE x WHEN ''1'' THEN 1 END AS c FROM a']) AS s(sql), shown(s.sql) AS v;
-- only where PostgreSQL prints it
SELECT change_stream_translate('CREATE MATERIALIZED VIEW m AS SELECT d.k, x FROM a JOIN b USING (x)');
SELECT change_stream_translate('CREATE TABLE m AS SELECT d.k, x FROM a JOIN b USING (x)');
SELECT change_stream_translate('SELECT d.k, x FROM a JOIN b USING (x)');
-- what stays is told of, of plain SQL, too
SET client_min_messages = notice;
SELECT change_stream_translate('CREATE VIEW v AS SELECT x.y FROM a JOIN b USING (x) AS j');
SELECT change_stream_translate('CREATE VIEW v AS SELECT e FROM a FULL JOIN b USING (x)');
SELECT change_stream_translate('CREATE VIEW v AS SELECT NULLIF(x, x) FROM a');
SELECT change_stream_translate('CREATE VIEW v AS SELECT f FROM a JOIN b2 USING (n), c WHERE a.x = c.x');
SET client_min_messages = warning;
DROP SCHEMA join_test CASCADE;
