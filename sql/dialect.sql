-- Queries in the dialect: what they become, that this is plain SQL which runs, and that nothing is left to translate in it

\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

-- stand-ins for foreign tables
CREATE SCHEMA dialect_test;
SET search_path = dialect_test, public;
CREATE TABLE orders (operation_type text, database_name text, collection_name text, document_key document, full_document document,
  full_document_before_change document, update_description document, changed_fields text[], cluster_time timestamptz,
  change_timestamp timestamptz, resume_token text, full_document_source text, extra document);
CREATE TABLE inventory (LIKE orders);
CREATE TABLE all_changes (LIKE orders);
CREATE TABLE mixed (id int, j jsonb, k json, d document, "Weird Col" document, ts timestamptz);
CREATE TABLE notes (who text, events bigint, at timestamp);

CREATE FUNCTION translated(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  plain text := change_stream_translate(sql);
BEGIN
  IF change_stream_translate(plain) <> plain THEN
    RETURN 'changes again: ' || plain || ' to ' || change_stream_translate(plain);
  END IF;
  BEGIN
    EXECUTE plain;
    RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO0';
  EXCEPTION
    WHEN SQLSTATE 'UNDO0' THEN NULL;
  END;
  RETURN plain;
END $$;

-- paths, literals, types
SELECT translated($q$SELECT full_document.customer.email e, o.full_document.x['a.b'].c, (full_document).status, (full_document['a']).b, full_document.items[0].sku,
  full_document.items[0].unit_price, UPPER(full_document.name), full_document.a || '-' || full_document.b, 'x' IN (full_document.a, full_document.b),
  NULLIF(full_document.status, 'x'), full_document.n BETWEEN 1 AND 10, full_document.s BETWEEN 'a' AND 'b', GREATEST(full_document.n, 0),
  LAG(full_document.total, 1, 0) OVER (ORDER BY cluster_time), CAST(full_document.a AS varchar), (full_document.a)::text, -full_document.n, full_document.n % 2, full_document.d + '1 day',
  'red' = ANY (full_document.tags), full_document.status = ANY ('{a,b}'), full_document.status = ANY (ARRAY['a','b']), (full_document.a, full_document.b) = ('x', 1),
  date_trunc('hour', full_document.createdAt), to_char(full_document.createdAt, 'YYYY-MM'), to_char(full_document.total, '999D99'), ROUND(full_document.total, 2),
  NOT full_document.active, full_document.active AND true, TIME_WINDOW('5 minutes', full_document.createdAt), stddev(full_document.total) over (), operationType, fullDocument.status, ns.coll, o.ns.db, _id
FROM CHANGE_STREAM(orders) AS o WHERE full_document.active AND ((changed_fields)) CONTAINS ('status') AND changed_fields NOT CONTAINS 'x' /* c */ AND o.customer.name LIKE 'A%'$q$);
SELECT translated($q$SELECT full_document.status FROM orders UNION ALL SELECT 'none' UNION SELECT full_document.a FROM orders ORDER BY status$q$);
SELECT translated($q$INSERT INTO notes (who, events, at) SELECT full_document.name, full_document.n, full_document.at FROM orders ON CONFLICT DO NOTHING RETURNING who$q$);
SELECT translated($q$UPDATE orders SET collection_name = full_document.x, extra = full_document.y WHERE full_document.z RETURNING full_document.status$q$);
SELECT translated($q$SELECT * FROM orders o JOIN LATERAL document_elements(o.full_document.items) AS item ON true WHERE item.sku = 'x'$q$);
SELECT translated($q$SELECT j.value.x FROM orders o, unnest(o.full_document.items) AS j(value)$q$);
SELECT translated($q$CREATE VIEW v AS SELECT full_document.a.b FROM CHANGE_STREAM ON DATABASE shop$q$);
SELECT translated($q$PREPARE p(text, int) AS SELECT full_document.x FROM orders WHERE full_document.s = $1 AND full_document.n > $2$q$);
SELECT translated($q$EXPLAIN (COSTS off) SELECT full_document.x FROM CHANGE_STREAM ON inventory$q$);
SELECT translated($q$SELECT 1 WHERE 'x' IN (SELECT full_document.status FROM orders)$q$);
SELECT translated($q$SELECT (SELECT full_document.status FROM orders LIMIT 1) = 'x'$q$);
SELECT translated($q$DELETE FROM orders WHERE full_document.status = $$x$$ RETURNING *, full_document."Mixed Case".b$q$);
SELECT translated($q$SELECT full_document.status, count(*) FROM orders GROUP BY status HAVING count(*) > 1 ORDER BY CASE status WHEN 'a' THEN 1 ELSE 2 END$q$);
SELECT translated($q$SELECT full_document.a AS x, x || 'b' AS y, x.c FROM orders$q$);
SELECT translated($q$SELECT CASE WHEN full_document.a THEN full_document.b WHEN true THEN 'x' ELSE 5 END, COALESCE(full_document.a, 'none'), CASE full_document.x WHEN 1 THEN 'a' WHEN 'b' THEN NULL END FROM orders$q$);

-- statements of every kind
SELECT translated($q$WITH RECURSIVE CHANGE_STREAM ev AS (SELECT full_document.*, cluster_time AS t FROM CHANGE_STREAM ON orders o WHERE o.operation_type IN ('insert','update')), b AS (SELECT status, customer.email, items[0].sku AS first_sku, full_document.total FROM ev) SELECT status, email, first_sku, total, total * 1.2 AS gross, gross - total AS tax FROM b ORDER BY tax DESC NULLS LAST, CASE status WHEN 'x' THEN 1 END$q$);
SELECT translated($q$SELECT o.full_document.status s, i.full_document.sku FROM CHANGE_STREAM(orders) o JOIN CHANGE_STREAM(inventory) AS i ON o.full_document.sku = i.full_document.sku LEFT JOIN LATERAL (SELECT max(x.full_document.qty) AS m FROM CHANGE_STREAM ON inventory x WHERE x.full_document.sku = o.full_document.sku) z ON true WHERE z.m > 3$q$);
SELECT translated($q$SELECT DISTINCT ON (full_document.customer.id) full_document.customer.id AS cid, full_document.total FROM orders ORDER BY full_document.customer.id, cluster_time DESC$q$);
SELECT translated($q$SELECT full_document.status, COUNT(*) FILTER (WHERE full_document.total > 100), STRING_AGG(full_document.name, ', ' ORDER BY full_document.name), STRING_AGG(DISTINCT changed_fields, ',') FILTER (WHERE operation_type = 'update'), array_agg(full_document.x), percentile_cont(0.5) WITHIN GROUP (ORDER BY full_document.total), bool_or(full_document.ok), SUM(full_document.qty * full_document.price) AS rev FROM CHANGE_STREAM(orders) GROUP BY full_document.status HAVING SUM(full_document.total) > 10 AND MAX(full_document.status) <> 'x' ORDER BY rev DESC, full_document.status$q$);
SELECT translated($q$SELECT CASE WHEN full_document.total > 5 THEN 'a' ELSE full_document.status END AS k, k || 'x' FROM orders$q$);
SELECT translated($q$SELECT full_document.createdAt > NOW() - INTERVAL '1 day', full_document.createdAt::date, EXTRACT(HOUR FROM full_document.createdAt), EXTRACT(EPOCH FROM (CURRENT_TIMESTAMP - full_document.createdAt)), age(full_document.createdAt), full_document.shippedAt - full_document.createdAt > INTERVAL '2 hours', date_trunc('day', full_document.createdAt) AT TIME ZONE 'UTC', full_document.createdAt AT TIME ZONE 'UTC' FROM orders$q$);
SELECT translated($q$SELECT full_document.a IS NULL, full_document.a IS NOT NULL AND full_document.b IS TRUE, full_document.a IS DISTINCT FROM 'x', full_document.s ILIKE '%x%' , full_document.s NOT LIKE 'y', full_document.s ~ '^a', full_document.s SIMILAR TO 'a%', full_document.s LIKE 'a!%' ESCAPE '!', LENGTH(full_document.s), SUBSTRING(full_document.s FROM 1 FOR 2), TRIM(full_document.s), POSITION('a' IN full_document.s) FROM orders$q$);
SELECT translated($q$INSERT INTO inventory (operation_type, full_document, changed_fields) SELECT full_document.status, full_document.customer, full_document.tags FROM orders UNION ALL SELECT 'lit', full_document.a, NULL FROM orders$q$);
SELECT translated($q$INSERT INTO inventory (operation_type, cluster_time) VALUES ((SELECT full_document.status FROM orders LIMIT 1), now()) ON CONFLICT DO NOTHING RETURNING full_document.x.y, operation_type$q$);
SELECT translated($q$UPDATE orders o SET operation_type = i.full_document.status, (collection_name, database_name) = (i.full_document.a, i.full_document.b) FROM CHANGE_STREAM(inventory) i WHERE i.full_document.id = o.full_document.id$q$);
SELECT translated($q$MERGE INTO inventory t USING (SELECT full_document.id AS id, full_document.status AS status FROM CHANGE_STREAM(orders)) s ON t.full_document.id = s.id WHEN MATCHED AND s.status = 'x' THEN UPDATE SET operation_type = s.status WHEN NOT MATCHED THEN INSERT (operation_type) VALUES (s.status)$q$);
SELECT translated($q$CREATE TABLE tt AS SELECT full_document.status, full_document.n::int AS n FROM orders$q$);
SELECT translated($q$CREATE MATERIALIZED VIEW mm AS WITH CHANGE_STREAM a AS (SELECT full_document.x FROM CHANGE_STREAM ON DATABASE) SELECT x.y FROM a WITH NO DATA$q$);
SELECT translated($q$SELECT * FROM (SELECT full_document.status FROM orders) q WHERE status = 'x' AND EXISTS (SELECT 1 FROM inventory i WHERE i.full_document.status = q.status)$q$);
SELECT translated($q$SELECT q.status.deep, (q.status).deep2 FROM (SELECT full_document.status FROM orders) q$q$);
SELECT translated($q$SELECT row_number() OVER (PARTITION BY full_document.a ORDER BY full_document.b DESC) AS rn, rank() OVER w, SUM(full_document.n) OVER w FROM orders WINDOW w AS (PARTITION BY full_document.c ORDER BY cluster_time)$q$);
SELECT translated($q$SELECT AVG(full_document.n - LAG(full_document.n) OVER (ORDER BY cluster_time)) FROM CHANGE_STREAM(orders) WHERE full_document.n > 0$q$);
SELECT translated($q$SELECT operation_type, MAX(cluster_time - LAG(cluster_time) OVER (PARTITION BY collection_name ORDER BY cluster_time)) AS gap FROM CHANGE_STREAM(orders) o WHERE o.full_document.x = 1 GROUP BY operation_type ORDER BY gap$q$);
SELECT translated($q$SELECT full_document.a, full_document.b FROM orders EXCEPT SELECT 'x', 5$q$);
SELECT translated($q$SELECT full_document.order.total, full_document.user.name, full_document."user".name, full_document.select, full_document.end.at FROM orders$q$);
SELECT translated($q$select FULL_DOCUMENT.Status, Full_Document.Customer.Email from Change_Stream ( Orders ) where Changed_Fields contains 'Status'$q$);
SELECT translated($q$SELECT full_document /* a */ . /* b */ status -- c
 , full_document.x FROM CHANGE_STREAM /* d */ ( /* e */ orders /* f */ ) -- g
 WHERE full_document . y = /* h */ 'z'$q$);
SELECT translated($q$SELECT full_document.a::int + 1, full_document.a::text || 'x', (full_document.a)::numeric(10,2), CAST(full_document.a AS int), CAST(full_document.b AS varchar(5)), full_document.c::timestamptz, full_document.j::jsonb -> 'a' FROM orders$q$);
SELECT translated($q$SELECT 1 FROM orders WHERE full_document.tags @> '["a"]' AND full_document ? 'status' AND full_document.a -> 'b' = '5' AND full_document.a ->> 'b' = 'x'$q$);
SELECT translated($q$SELECT 'n: ' || full_document.n, full_document.n || '', 5 || full_document.n, full_document.n + full_document.m, 2 * full_document.n, full_document.n / 2, full_document.n ^ 2, abs(full_document.n), ceil(full_document.n), round(full_document.n), round(full_document.n, 1), sqrt(full_document.n), mod(full_document.n, 3), power(full_document.n, 2), least(full_document.n, 5, full_document.m) FROM orders$q$);
SELECT translated($q$SELECT full_document.status AS s FROM orders UNION SELECT operation_type FROM orders UNION SELECT NULL$q$);
SELECT translated($q$SELECT lower(full_document.s) = 'x', upper(trim(full_document.s)), md5(full_document.s), split_part(full_document.e, '@', 2), full_document.a::boolean, coalesce(full_document.s, full_document.t, 'none') = 'none', to_char(cluster_time, 'YYYY') FROM orders$q$);
SELECT translated($q$SELECT full_document.status FROM ONLY orders TABLESAMPLE SYSTEM (10) FOR UPDATE$q$);
SELECT translated($q$WITH d AS (DELETE FROM orders WHERE full_document.status = 'x' RETURNING full_document.id, full_document.status) SELECT id, status FROM d WHERE status = 'y'$q$);

-- other columns than those of events, other expressions
SELECT translated($q$SELECT j.a.b, k.x.y, mixed.j.a.b, j.a['x.y'].c, j.items[0].sku, j.n > 5, j.name = 'x', UPPER(j.name), "Weird Col".a.b, "Weird Col"."c d" FROM mixed$q$);
SELECT translated($q$SELECT j.a.b, j['a']['b'], j->'a', j.list[id].x FROM mixed WHERE j.a.b = 'x' ORDER BY j.a.b$q$);
SELECT translated($q$SELECT full_document.s COLLATE "C" FROM orders$q$);
SELECT translated($q$SELECT d.a.b::timestamptz, d.a - ts, ts - d.a, d.t < ts, d.t BETWEEN ts AND now(), d.s = k.x FROM mixed$q$);
SELECT translated($q$SELECT CASE d.a WHEN 'x' THEN 'y' END = 'y', NOT (d.a = 'x'), d.a = NULL, d.a IN ('x', NULL), (SELECT d.a) IS NULL FROM mixed$q$);
SELECT translated($q$SELECT count(*) FROM mixed GROUP BY ROLLUP (d.a, d.b)$q$);
SELECT translated($q$SELECT d.a AS x, count(*) FROM mixed GROUP BY x HAVING x > 5$q$);
SELECT translated($q$SELECT d.a, d.b FROM mixed ORDER BY 1, d.b$q$);
SELECT translated($q$SELECT mixed.*, d.* FROM mixed$q$);
SELECT translated($q$SELECT mixed.d.a.*, d.x FROM mixed$q$);
SELECT translated($q$SELECT x.value.sku FROM mixed, LATERAL document_each(d) AS x WHERE x.value.sku = 'a'$q$);
SELECT translated($q$SELECT e.sku FROM mixed, jsonb_array_elements(j.items) AS e$q$);
SELECT translated($q$SELECT i.item.sku FROM mixed CROSS JOIN LATERAL UNNEST(d.items) AS i(item)$q$);
SELECT translated($q$SELECT * FROM generate_series(1, (SELECT max(d.n) FROM mixed)) g$q$);
SELECT translated($q$SELECT d.a.b, (d.c).e, ((d)).f, (d.g.h) FROM mixed$q$);
SELECT translated($q$SELECT TIME_WINDOW(INTERVAL '1 hour', ts) AS w, TIME_WINDOW('1 hour', d.at), count(*) FROM mixed GROUP BY w, TIME_WINDOW('1 hour', d.at)$q$);
SELECT translated($q$SELECT ROUND(1.5::float8, 1), ROUND(d.n, 2), ROUND(1.234, 2), ROUND(AVG(d.n), 1), ROUND((d.n * 1.5)::numeric, 2), ROUND(d.n / 3, 2) FROM mixed GROUP BY d$q$);
SELECT translated($q$SELECT id FROM mixed WHERE (d.a, d.b) IN (('x', 1), ('y', 2))$q$);
SELECT translated($q$SELECT d.status FROM mixed WHERE d.a > ALL (SELECT d.b FROM mixed) AND d.a = SOME (ARRAY[1,2]) AND 'x' = ALL (d.tags)$q$);
SELECT translated($q$SELECT d.a LIKE ANY (ARRAY['a%','b%']), d.a LIKE ALL ('{a}'), d.a NOT ILIKE d.b FROM mixed$q$);
SELECT translated($q$SELECT format('%s-%s', d.a, id), concat_ws(',', d.a, d.b), repeat(d.a, 2), left(d.a, 3), replace(d.a, 'x', 'y'), string_to_array(d.a, ','), encode(d.bin, 'hex') FROM mixed$q$);
SELECT translated($q$WITH x AS (SELECT d.a AS a1, d.b FROM mixed), y AS (SELECT a1.z, b FROM x) SELECT z.q, b.w FROM y$q$);
SELECT translated($q$SELECT json_build_object('a', d.a, 'n', json_build_object('b', d.b)) FROM mixed$q$);
SELECT translated($q$SELECT JSON_BUILD_OBJECT('a', 1)$q$);
SELECT translated($q$SELECT sum(d.n) OVER (ORDER BY ts ROWS 3 PRECEDING), first_value(d.s) OVER (PARTITION BY d.k ORDER BY d.t), ntile(4) OVER (ORDER BY d.n), lead(d.t) OVER (ORDER BY ts) - d.t FROM mixed$q$);
SELECT translated($q$UPDATE mixed SET j = d.x, k = d.y, ts = d.t, id = d.n, d = d.inner WHERE d.flag AND NOT d.other$q$);
SELECT translated($q$INSERT INTO mixed (id, j, ts) SELECT d.n, d.j, d.ts FROM mixed WHERE d.a IS NOT NULL$q$);
SELECT translated($q$INSERT INTO mixed VALUES (1, '{}', '{}', '{}') ON CONFLICT DO NOTHING$q$);
CREATE TABLE without_first (a text, b int, c text);
ALTER TABLE without_first DROP COLUMN a;
SELECT translated($q$INSERT INTO without_first SELECT full_document.n, full_document.name FROM orders$q$);
DROP TABLE without_first;
SELECT translated($q$SELECT d.a FROM mixed; SELECT d.b FROM mixed; -- trailing$q$);
SELECT translated($q$CREATE RECURSIVE VIEW rv (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM rv, mixed WHERE n < d.a$q$);
SELECT translated($q$SELECT ts::date, d.a FROM mixed WHERE d.at >= CURRENT_DATE - 7 AND d.at::date = CURRENT_DATE AND d.at < '2024-01-01'::date$q$);

SELECT translated($q$SELECT ntile(4) OVER (ORDER BY d.n), rank() OVER (ORDER BY d.n), ntile(4) OVER (ORDER BY d.n) FROM mixed$q$);
SELECT translated($q$SELECT SUM(d.price) AS price, SUM(COALESCE(price, 0)) FROM mixed, LATERAL (SELECT 1.5 AS price) p$q$);
SELECT change_stream_translate('SELECT full_document.a, CHANGE_STREAM ON orders');

-- dates as literals, and casts that take a step between
SELECT translated($q$SELECT 1 FROM orders WHERE full_document.createdAt >= '2024-01-01' AND '2024-02-01T00:00:00Z' > (full_document.createdAt)$q$);
SELECT translated($q$SELECT full_document.d <> '2024-01-01', (full_document.a.b) < ('2024-01-01'), full_document.d BETWEEN '2024-01-01' AND '2024-01-31', NOT full_document.d NOT BETWEEN '2024-01-01' AND '2024-01-31' FROM orders$q$);
SELECT translated($q$SELECT full_document.d::time, full_document.d::int[], full_document.ip::inet, full_document.x::regclass, CAST(full_document.d AS time with time zone), full_document.n::money FROM orders$q$);
SELECT translated($q$SELECT full_document.d = '2024-99-01', full_document.d = '2024-01-01x', full_document.v = '2024-01-01' OR full_document.w = 'a', CASE WHEN full_document.d > '2024-05-05' THEN full_document.e ELSE 'x' END FROM orders$q$);

-- what runs outside of a function only
SELECT change_stream_translate('COPY (SELECT full_document.x FROM orders) TO STDOUT');
SELECT change_stream_translate('DECLARE c CURSOR FOR SELECT full_document.x FROM orders');

-- several statements, and what is plain SQL
SELECT change_stream_translate($q$
-- first
SELECT full_document.a FROM orders; ;
SELECT 'a;b', $x$;$x$ /* ; */;
SELECT d.a FROM mixed -- the last
$q$);
SELECT change_stream_translate(s) = s FROM (VALUES
  ('SELECT 1'), (''), ('-- nothing'), (';;'), ('SELECT nosuch.x FROM nosuch'), ('SELECT nosuch FROM orders'), ('SELECT orders.operation_type FROM orders'),
  ('SELECT contains FROM (SELECT 1 AS contains) x'), ('SELECT round(1.5::float8, 1)'), ('SELECT json_build_object(1, 2)'),
  ('CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; SELECT 2'),
  ('CREATE RULE r AS ON INSERT TO orders DO ALSO (SELECT 1; SELECT 2); SELECT 3'), ('LISTEN change_stream'), ('SELECT $1 + 1'),
  ('SELECT d[''a''] = text ''x'' FROM mixed')) AS v(s);

-- an ObjectId or a UUID may be meant by a text
SELECT change_stream_translate($q$SELECT 1 FROM mixed WHERE d._id = '65f0c1d2e3a4b5c6d7e8f901' AND '73ffd264-44b3-4c69-90e8-e7d1dfc035d4' <> d.u AND d.z <> '65f0c1d2e3a4b5c6d7e8f90' AND d.i IN ('65f0c1d2e3a4b5c6d7e8f901', 'x', '2024-05-01') AND d.i NOT IN (1, '73ffd264-44b3-4c69-90e8-e7d1dfc035d4') AND d.o > '65f0c1d2e3a4b5c6d7e8f901'$q$);
SELECT change_stream_translate('PREPARE ids(text, int) AS SELECT d.a FROM mixed WHERE d._id = $1 AND d.n = $2 AND d.u <> $3::text');
-- a number in quotes is a text, which is said
SET client_min_messages = notice;
SELECT change_stream_translate($q$SELECT 1 FROM mixed WHERE d.zip = '12345' OR d.zip IN ('12345', '1.5', 'x', '-') OR d.a = '2024-05-01' OR d.id = '650000000000000000000001'$q$);
SET client_min_messages = warning;

-- places where PostgreSQL prints no operator: its views are read where documents have none
CREATE TABLE pairs (a document, b document, n int, t text);
INSERT INTO pairs VALUES ('1', '1.0', 1, 'x'), ('"x"', '"y"', 2, 'x'), (NULL, '1', 3, NULL), (NULL, NULL, 4, 'y'), ('{"$date": "2024-05-01T00:00:00Z"}', '"x"', NULL, 'x');
CREATE FUNCTION shown(statement text) RETURNS TABLE (sql text, rows text) LANGUAGE plpgsql AS $$
BEGIN
  sql := public.change_stream_translate(statement);
  EXECUTE 'CREATE VIEW last_shown AS ' || sql;
  -- as pg_dump reads it
  SET LOCAL search_path = '';
  EXECUTE 'CREATE VIEW dialect_test.restored AS ' || pg_get_viewdef('dialect_test.last_shown'::regclass);
  EXECUTE 'SELECT string_agg(r::text, '' '') FROM dialect_test.restored r' INTO rows;
  SET LOCAL search_path = dialect_test, public;
  DROP VIEW dialect_test.restored, dialect_test.last_shown;
  RETURN NEXT;
END $$;
SELECT v.* FROM unnest(ARRAY[
  'SELECT CASE a.z WHEN ''x'' THEN 1 END AS c FROM pairs',
  'SELECT a.z, CASE pairs.a  /* here */ WHEN b.z THEN 1 WHEN b THEN 2 WHEN n THEN 3 WHEN ''x'' THEN 4 WHEN date ''2024-05-01'' THEN 5 WHEN t || '''' THEN 6 ELSE 0 END AS c FROM pairs',
  'SELECT CASE a + 1 WHEN 2 THEN a.z END AS c FROM pairs WHERE n = 1',
  'SELECT a.z, CASE n WHEN 1 THEN a.z END AS e FROM pairs',
  'SELECT NULLIF(a, ''x'') AS c, NULLIF(a, b.z) AS d, NULLIF((a), (b)) AS e, NULLIF(t, b) AS f, NULLIF(n, 1) AS g FROM pairs',
  'SELECT a IS DISTINCT FROM b AS c, (a) IS NOT DISTINCT FROM (b) AS d, a.z IS DISTINCT FROM NULL AS e, a IS DISTINCT FROM ''x'' AS f, a IS NOT DISTINCT FROM n AS g FROM pairs WHERE (a = b) IS NOT DISTINCT FROM true OR n IS DISTINCT FROM 1',
  'SELECT a IN (''x'', 1) AS c, a NOT IN (b, ''q'') AS d, a BETWEEN 1 AND 2 AS e, a.z IN (1, 2) AS f, n IN (1, 2) AS g FROM pairs',
  'SELECT GREATEST(a, b) AS c, (a, b) = (b, a) AS d, a = ANY (ARRAY[b]) AS e, (a, b) IN (SELECT b, a FROM pairs) AS f, a.z IS NULL AS g FROM pairs ORDER BY a, b']) AS s(sql), shown(s.sql) AS v;
-- what is not repeated: it may be long, or hold such a form
SELECT change_stream_translate('SELECT CASE CASE a WHEN ''x'' THEN b.z ELSE b END WHEN ''y'' THEN 1 END AS c, NULLIF(NULLIF(a, ''x''), ''y'') FROM pairs');

-- differences of dates are intervals in a result where they can be nothing else; of two documents a NOTICE says so where a view is made
SET client_min_messages = notice;
SELECT translated($q$SELECT ts - d.a, (d.a - ts), max(ts - d.a) AS longest, CASE WHEN true THEN d.a - now() END, COALESCE(d.a - ts, 0) AS either, d.a - ts AS x, x / 1000 AS seconds, lag(ts - d.a) OVER w FROM mixed GROUP BY ts, d WINDOW w AS (ORDER BY ts)$q$);
SELECT translated($q$CREATE VIEW v AS WITH q AS (SELECT id, ts - d.a AS age, d.b - d.a AS took FROM mixed) SELECT q.id, age, took, took * 2 AS twice, (took)::interval AS t FROM q$q$);
SELECT translated($q$CREATE VIEW v AS SELECT d.total - d.total * 2 AS n, max(d.b - d.a) FROM mixed GROUP BY d$q$);
SELECT translated($q$SELECT d.b - d.a AS took FROM mixed$q$), translated($q$SELECT DISTINCT ts - d.a FROM mixed ORDER BY ts - d.a$q$), translated($q$SELECT ts - d.a FROM mixed UNION SELECT d FROM mixed$q$);
SELECT change_stream_translate($q$SELECT ts - d.a AS age, d.b - d.a AS took INTO t FROM mixed$q$);
SELECT change_stream_translate('CREATE VIEW v AS SELECT 1 AS n INTO t'), change_stream_translate('CREATE MATERIALIZED VIEW v AS SELECT d.a INTO t FROM mixed');
SELECT translated($q$INSERT INTO mixed (d) SELECT ts - d.a FROM mixed$q$);
SET client_min_messages = warning;

-- triggers of SQL
SELECT change_stream_translate('CREATE TRIGGER changed BEFORE UPDATE ON pairs FOR EACH ROW WHEN (NEW.a.state = ''sent'' AND OLD.a IS DISTINCT FROM NEW.a) EXECUTE FUNCTION suppress_redundant_updates_trigger()');
SELECT change_stream_translate('CREATE TRIGGER changed BEFORE UPDATE ON pairs FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION suppress_redundant_updates_trigger()');
SELECT change_stream_translate('CREATE TRIGGER changed BEFORE UPDATE ON nosuch FOR EACH ROW WHEN (NEW.a.state = ''sent'') EXECUTE FUNCTION suppress_redundant_updates_trigger()');

-- errors
\set VERBOSITY terse
\set ON_ERROR_STOP off
SELECT change_stream_translate('SELECT full_document.a FROM CHANGE_STREAM(orders) WHER x = 1');
SELECT change_stream_translate('SELECT operation_type CONTAINS ''x'' FROM orders');
SELECT change_stream_translate('SELECT full_document.a, nosuch(1) FROM orders');
SELECT change_stream_translate('SELECT TIME_WINDOW(cluster_time) FROM orders');
SELECT change_stream_translate('SELECT d.a[1:2].b FROM mixed');
SELECT change_stream_translate('SELECT sum(lag(d.a) OVER w) FROM mixed WINDOW w AS (ORDER BY ts)');
SELECT change_stream_translate('SELECT sum(lag(a.d.a) OVER (ORDER BY a.ts)) FROM mixed a, mixed b');
-- what repeats what it repeats would be twice as long with each level
SELECT change_stream_translate('SELECT ' || repeat('COALESCE(CASE WHEN ', 30) || 'd.a' || repeat(' >= ''2024-01-01'' THEN d.b END, d.c)', 30) || ' FROM mixed');
SELECT change_stream_translate('SELECT ' || repeat('CASE WHEN ', 30) || 'd.a' || repeat(' BETWEEN ''2024-01-01'' AND ''2024-02-01'' THEN d.b END', 30) || ' FROM mixed');
SELECT change_stream_translate('SELECT d.a AS c0' || (SELECT string_agg(format(', c%s + c%s AS c%s', i - 1, i - 1, i), '') FROM generate_series(1, 30) i) || ' FROM mixed');
SELECT length(change_stream_translate('SELECT ' || repeat('COALESCE(CASE WHEN ', 30) || 'd.a' || repeat(' >= timestamptz ''2024-01-01'' THEN d.b END, d.c)', 30) || ' FROM mixed'));
\set VERBOSITY default
SELECT change_stream_translate('SELECT 1;
-- größer
SELECT full_document.a,
       full_document.b = nosuch FROM CHANGE_STREAM(orders), mixed a, mixed b WHERE ts = 1');
DROP TABLE all_changes;
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(nosuch)');
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM ON DATABASE shop');
-- what may stand behind the name, and what is somebody's function or table
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(orders, ''history'') o, CHANGE_STREAM ( shop.orders , ''history'' )');
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(orders, ''kept'')');
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(orders, history)');
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(orders, ''history'', 1)');
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(orders, ');
SELECT change_stream_translate('SELECT 1 FROM orders JOIN CHANGE_STREAM(orders, 1) o ON true');
SELECT change_stream_translate('INSERT INTO change_stream (a, b) VALUES (1, 2)');

-- a schema that is not on the search path: functions and operators are qualified
CREATE SCHEMA elsewhere;
ALTER TABLE orders SET SCHEMA elsewhere;
SET search_path = elsewhere;
SELECT public.change_stream_translate('SELECT full_document.a = ''x'', full_document.b + 1, changed_fields CONTAINS ''s'', EXTRACT(DAY FROM full_document.t) FROM orders');
SELECT public.change_stream_translate('SELECT sum(full_document.c) FROM orders');
SELECT public.change_stream_translate('SELECT full_document.a IN (1, 2), (full_document.a) NOT IN (''x'', full_document.b + 1), full_document.a + 1 BETWEEN 1 AND (2), full_document.a NOT BETWEEN ''a'' AND ''b'' FROM orders');
SELECT public.change_stream_translate('SELECT CASE full_document.a WHEN 1 THEN 2 END AS c, NULLIF(full_document.a, 1), full_document.a IS DISTINCT FROM 1 FROM orders');
SET client_min_messages = error;
DROP SCHEMA elsewhere, dialect_test CASCADE;
