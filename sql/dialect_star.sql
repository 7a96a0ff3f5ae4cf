-- full_document.*: the columns of the collection's mirror, where there is one; no MongoDB is needed to say so
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE SCHEMA star_test;
SET search_path = star_test, public;
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
CREATE FOREIGN TABLE all_changes (operation_type text, collection_name text, document_key document, full_document document,
  full_document_before_change document, update_description document, cluster_time timestamptz, database_name text) SERVER mongo;
CREATE FOREIGN TABLE orders (operation_type text, database_name text, collection_name text, document_key document, full_document document,
  full_document_before_change document, update_description document, cluster_time timestamptz) SERVER mongo OPTIONS (collection 'orders');
CREATE FOREIGN TABLE other (full_document document) SERVER mongo OPTIONS (database 'archive', collection 'orders');
SELECT create_change_stream('shop', paused => true), create_change_stream('orders', collection => 'orders', paused => true);

-- nothing says which fields there are
SELECT change_stream_translate('SELECT full_document.* FROM CHANGE_STREAM(orders)');
SELECT create_change_mirror('orders', stream_name => 'shop', table_name => 'orders_live', columns => $$status text = status, total numeric(10,2) = total, "Zip Code" varchar(10) = address.zip_code,
  placed timestamptz = placedAt, lines int[] = lines, rest document = rest, paid boolean = status = 'paid' AND total > 0, who text = upper(customer.name)$$);

-- as a result, and what is made of one
SELECT change_stream_translate('SELECT full_document.* FROM CHANGE_STREAM(orders)');
SELECT change_stream_translate(text || ' AS SELECT o.fullDocument.*, cluster_time FROM orders o WHERE status = ''paid''') FROM (VALUES
  ('CREATE VIEW v'), ('CREATE TABLE t'), ('CREATE MATERIALIZED VIEW m'), ('PREPARE p')) AS v(text);
SELECT change_stream_translate('EXPLAIN SELECT document_key._id,full_document.*FROM CHANGE_STREAM(orders)');
SELECT change_stream_translate('SELECT full_document_before_change.*, full_document.status.* FROM orders');
-- within, the document goes on, and so it does where the other part of a UNION has to match
SELECT change_stream_translate('WITH CHANGE_STREAM o AS (SELECT full_document.* FROM CHANGE_STREAM(orders)) SELECT status, full_document.* FROM o');
SELECT change_stream_translate('SELECT full_document.* FROM (SELECT full_document.*, 1 AS n FROM CHANGE_STREAM(orders)) o JOIN generate_series(1, 2) g(n) USING (n)');
SELECT change_stream_translate('SELECT full_document.* FROM orders UNION ALL SELECT full_document.* FROM orders');
SELECT change_stream_translate('CREATE TABLE kept (d document); INSERT INTO kept SELECT full_document.* FROM orders; SELECT d.* FROM kept');

-- where a document comes from: options, conditions, views, the kept events, the mirror itself
CREATE FUNCTION expands(text) RETURNS boolean LANGUAGE sql AS $$ SELECT change_stream_translate($1) ~ 'AS status, ' $$;
CREATE VIEW kept AS SELECT full_document AS body, stream_name AS s, cluster_time FROM change_stream_events;
SELECT expands(v.sql), v.sql FROM unnest(ARRAY[
  'SELECT full_document.* FROM other',
  'SELECT full_document.* FROM all_changes',
  'SELECT full_document.* FROM CHANGE_STREAM(Orders)',
  'SELECT full_document.* FROM CHANGE_STREAM(shop.orders)',
  'SELECT full_document.* FROM CHANGE_STREAM(archive.orders)',
  'SELECT full_document.* FROM CHANGE_STREAM ON DATABASE',
  'SELECT full_document.* FROM all_changes WHERE collection_name = ''orders'' AND operation_type = ''insert''',
  'SELECT full_document.* FROM all_changes WHERE collection_name = ''orders'' OR operation_type = ''insert''',
  'SELECT full_document.* FROM all_changes a WHERE ''orders'' = a.collection_name AND full_document.total > 5',
  'SELECT full_document.* FROM all_changes a, (SELECT text ''x'') AS b(collection_name) WHERE b.collection_name = ''orders''',
  'SELECT full_document.* FROM (SELECT * FROM all_changes WHERE collection_name = ''orders'') a',
  'SELECT full_document.* FROM (SELECT * FROM all_changes) a WHERE collection_name = ''orders''',
  'SELECT full_document.* FROM change_stream_events WHERE stream_name = ''orders''',
  'SELECT full_document.* FROM change_stream_events WHERE stream_name = ''shop''',
  'SELECT full_document.* FROM change_stream_events WHERE stream_name = ''shop'' AND collection_name = ''orders''',
  'SELECT full_document.* FROM change_stream_events WHERE stream_name = ''none''',
  'SELECT full_document.* FROM change_stream_events',
  'SELECT body.* FROM kept WHERE s = ''orders''',
  'WITH a AS (SELECT * FROM kept), b AS (SELECT body, s AS t FROM a WHERE s = ''orders'') SELECT body.* FROM b',
  'WITH a AS (SELECT full_document AS body FROM all_changes WHERE collection_name = ''orders'' UNION ALL SELECT full_document FROM other) SELECT body.* FROM a',
  'SELECT document.* FROM star_test.orders_now',
  'SELECT document.* FROM star_test.orders_live']) AS v(sql);
SELECT create_change_mirror('orders_now', 'orders', stream_name => 'shop', table_name => 'orders_now', columns => 'status text = status, n int = n');
SELECT change_stream_translate('SELECT document.*, changed_at FROM orders_now');
-- of several, the one that has the collection's name
SELECT change_stream_translate('SELECT full_document.* FROM orders') LIKE '%"Zip Code"%';

-- the values are those of the columns
CREATE TABLE documents (collection_name text, full_document document);
INSERT INTO documents VALUES ('orders', '{"status": "paid", "total": 5.125, "address": {"zipCode": "3000"}, "placedAt": {"$date": "2024-05-01T00:00:00Z"}, "lines": [1, 2], "rest": [1, "a"], "customer": {"name": "ann"}}'),
  ('orders', '{"status": 5, "total": null, "address.zip_code": 3001, "customer.name": "bob"}'), ('orders', NULL);
SELECT replace(change_stream_translate('SELECT full_document.* FROM orders'), 'FROM orders', 'FROM documents') AS statement \gset
SET timezone = 'UTC';
\pset tuples_only off
:statement;
\pset tuples_only on
-- as a view they are columns of the types of the mirror's, and stay them
SELECT change_stream_translate('CREATE VIEW v AS SELECT full_document.* FROM orders') \gexec
SELECT alter_change_mirror('orders', columns => 'status text = status');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'v'::regclass AND attnum > 0 ORDER BY attnum;
SELECT change_stream_translate('SELECT full_document.* FROM orders');

-- the document's name in quotes is of another length
SELECT alter_change_mirror('orders', columns => 'status text = "document"');
SELECT change_stream_translate('SELECT full_document.* FROM orders');

-- a difference of what the mirror says are dates is an interval, also in a view; one of numbers is none, and is not told of
SELECT alter_change_mirror('orders', columns => 'placed timestamptz = placedAt, at date = shipped.at, total numeric = total, rest document = rest');
SET client_min_messages = notice;
SELECT change_stream_translate('CREATE VIEW w AS SELECT full_document.shipped.at - full_document.placedAt AS took, full_document.total - full_document.placedAt AS other, full_document.total - full_document.rest AS less FROM orders');
SELECT change_stream_translate('CREATE VIEW w AS SELECT full_document.rest - full_document.placedAt AS took, max(o.shipped.at - full_document.placedAt) OVER () AS longest FROM orders o');
SELECT change_stream_translate('CREATE VIEW w AS WITH t AS (SELECT full_document.placedAt - full_document.shipped.at AS took FROM CHANGE_STREAM(orders)) SELECT took FROM t');
SELECT change_stream_translate('SELECT document.placedAt - document.shipped.at AS took FROM orders_live');
SET client_min_messages = error;
SELECT alter_change_mirror('orders', columns => 'status text = status');

-- names that are there twice are so in a result; a view cannot have them, as with any *
SELECT change_stream_translate('SELECT full_document.state AS status, full_document.* FROM orders ORDER BY full_document.n');
SELECT change_stream_translate('CREATE VIEW twice AS SELECT full_document.state AS status, full_document.* FROM orders') AS statement \gset
\set VERBOSITY terse
\set ON_ERROR_STOP off
:statement;

-- more columns than a result can have, and than a view can
DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE orders_now ' || string_agg(format('ADD c%s text', n), ', ') FROM generate_series(1, 1590) n); END $$;
UPDATE change_mirrors SET translated_columns = (SELECT string_agg(format('c%s = public.document_get(document, ''c%s'')', n, n), ', ') FROM generate_series(1, 1590) n)
  WHERE mirror_name = 'orders_now';
SELECT change_stream_translate('SELECT document.*, orders_now.* FROM orders_now');
SELECT change_stream_translate('CREATE VIEW wide AS SELECT document.*, 1 AS a1, 2 AS a2, 3 AS a3, 4 AS a4, 5 AS a5, 6 AS a6, 7 AS a7, 8 AS a8, 9 AS a9, 10 AS a10, 11 AS a11 FROM orders_now') AS statement \gset
:statement;

-- rights: who does not see the stream does not see what its mirror says
CREATE ROLE regress_star_reader;
CREATE ROLE regress_star_owner;
GRANT USAGE ON SCHEMA star_test TO regress_star_reader, regress_star_owner;
GRANT SELECT ON orders, v TO regress_star_reader;
SET ROLE regress_star_reader;
SELECT change_stream_translate('SELECT full_document.* FROM orders');
SET row_security = off;
SELECT change_stream_translate('SELECT full_document.* FROM orders');
RESET row_security;
RESET ROLE;
SELECT grant_change_stream('shop', 'regress_star_reader');
SET ROLE regress_star_reader;
SELECT change_stream_translate('SELECT full_document.* FROM orders');
RESET ROLE;
-- what somebody else's mirror calls is not called by who reads
GRANT USAGE ON FOREIGN SERVER mongo TO regress_star_owner;
GRANT CREATE ON SCHEMA star_test TO regress_star_owner;
CREATE FOREIGN TABLE things (full_document document) SERVER mongo OPTIONS (collection 'things');
CREATE TABLE things_now (_id document PRIMARY KEY, name text, kind text);
ALTER TABLE things_now OWNER TO regress_star_owner;
INSERT INTO change_streams SELECT (jsonb_populate_record(s, jsonb_build_object('stream_name', 'theirs', 'owner', 'regress_star_owner', 'collection_name', 'things'))).*
  FROM change_streams s WHERE stream_name = 'shop';
INSERT INTO change_mirrors SELECT (jsonb_populate_record(m, jsonb_build_object('mirror_name', 'things', 'stream_name', 'theirs', 'collection_name', 'things',
  'table_name', 'star_test.things_now', 'translated_columns', 'kind = public.document_get(document, ''kind''), name = lower(public.document_text(public.document_get(document, ''name'')))'))).*
  FROM change_mirrors m WHERE mirror_name = 'orders';
SELECT change_stream_translate('SELECT full_document.* FROM things');
CREATE FUNCTION planted(document) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE ''called''; END';
CREATE DOMAIN planted_text AS text CHECK (star_test.planted(VALUE::document) IS NOT NULL);

CREATE FUNCTION read_as(columns text) RETURNS TABLE (role name, translated text) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE change_mirrors SET translated_columns = read_as.columns WHERE mirror_name = 'things';
  role := current_user;
  translated := change_stream_translate('SELECT full_document.* FROM things');
  RETURN NEXT;
  SET LOCAL ROLE regress_star_owner;
  role := current_user;
  translated := change_stream_translate('SELECT full_document.* FROM things');
  RETURN NEXT;
  RESET ROLE;
END $$;
SELECT read_as($$kind = star_test.planted(public.document_get(document, 'kind'))$$);
SELECT read_as($$kind = public.document_text(public.document_get(document, 'kind')::star_test.planted_text::document)$$);
SELECT read_as($$kind = pg_catalog.current_setting('search_path')$$);
SELECT read_as($$kind = public.pause_change_stream('shop')$$);
SELECT read_as($$kind = (SELECT 'x')$$);
SELECT read_as($$kind = no_such_function(document)$$);
SELECT read_as($$kind = pg_class$$);
SELECT read_as($$no_such_column = public.document_get(document, 'kind')$$);
ALTER TABLE things_now ALTER kind TYPE planted_text;
SELECT read_as($$kind = public.document_get(document, 'kind')$$);
DROP TABLE things_now;
SELECT read_as($$kind = public.document_get(document, 'kind')$$);

-- where nothing shows a collection, the hint has the command, with the server's database and a schema where the name is free
\set VERBOSITY default
DROP FOREIGN TABLE all_changes;
CREATE TABLE shops_only (document document);
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(shops_only)');
CREATE TABLE public.shops_only (document document);
SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(shops_only)');
DROP TABLE public.shops_only;
\set VERBOSITY terse

DELETE FROM change_mirrors WHERE mirror_name = 'things';
DELETE FROM change_streams WHERE stream_name = 'theirs';
SELECT drop_change_mirror('orders'), drop_change_mirror('orders_now');
SELECT drop_change_stream('orders'), drop_change_stream('shop');
DROP SCHEMA star_test CASCADE;
DROP SERVER mongo CASCADE;
DROP OWNED BY regress_star_reader, regress_star_owner;
DROP ROLE regress_star_reader, regress_star_owner;
