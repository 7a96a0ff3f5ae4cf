-- Mirrors: what is refused, and what a definition becomes; no MongoDB is needed for that.
\set VERBOSITY default
SET client_min_messages = notice;
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
SET client_min_messages = error;
SELECT create_change_stream('shop', paused => true, keep_events => false);
SELECT create_change_stream('orders', collection => 'orders', paused => true);
SELECT create_change_stream('all', database => '*', paused => true);
SELECT create_change_stream('some', paused => true, filter => $$full_document.total > 5$$, operations => '{insert}');
SET client_min_messages = notice;

-- The texts: fields of one document, whatever they are called.
SELECT change_mirror_translate_filter($$status = 'paid' AND shipping.address.city IS NOT NULL$$);
SELECT change_mirror_translate_filter($$user.name = 'x' OR ns.coll = 'y' OR operationType = 'z'$$);
SELECT change_mirror_translate_filter($$document['a.b'] = 1 AND document.c.d = 2$$);
SELECT change_mirror_translate_filter('event_id.x.y = full_document.z AND pg_class.oid');
SELECT change_mirror_translate_filter('order');
SELECT change_mirror_translate_filter('a, b');
SELECT change_mirror_translate_filter('a FROM pg_class');
SELECT change_mirror_translate_columns($$status text = status, total numeric(10,2) = financial.total, -- 98 %
  "A b" varchar(40)[] = document['x,y'], since timestamp with time zone = coalesce(a, b), /* the
  last */ z = upper(name),$$);
SELECT change_mirror_translate_columns(''), change_mirror_translate_columns('-- nothing');
SELECT change_mirror_translate_columns('a');
SELECT change_mirror_translate_columns('a text =');
SELECT change_mirror_translate_columns($$a text = b c text = d$$);
SELECT change_mirror_translate_columns('a text = (b, c');
SELECT change_mirror_translate_columns('= b');

-- Bad input: an error each, and nothing is left.
SELECT create_change_mirror(NULL);
SELECT create_change_mirror('');
SELECT create_change_mirror(repeat('x', 64));
SELECT create_change_mirror('orders');
SELECT create_change_mirror('m', stream_name => 'nothing');
SELECT create_change_mirror('m', stream_name => 'orders');
SELECT create_change_mirror('m', stream_name => 'some');
SELECT create_change_mirror('m', 'system.views', stream_name => 'shop');
SELECT create_change_mirror('m', stream_name => 'shop', database => 'other');
SELECT create_change_mirror('m', stream_name => 'shop', server => 'other');
SELECT create_change_mirror('m', stream_name => 'shop', on_delete => 'ignore');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a nothing = a');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a numeric(5000) = a');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a text = a, a int = b');
SELECT create_change_mirror('m', stream_name => 'shop', columns => '_id text = a');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a = a');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a record = a');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'ctid text = a');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a int = nothing(1)');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a int = count(b)');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a int = (SELECT 1)');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a int = generate_series(1, n)');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a int = row_number() OVER ()');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'a int = $1');
SELECT create_change_mirror('m', stream_name => 'shop', columns => 'U&"a" int = b');
SELECT create_change_mirror('m', stream_name => 'shop', filter => 'a +');
SELECT create_change_mirror('m', stream_name => 'shop', filter => 'now()');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'no_such_schema.m');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'a.b.c.d');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'pg_temp.m');
SELECT count(*) FROM change_mirrors;

-- Tables that no mirror can fill.
CREATE VIEW a_view AS SELECT 1 AS _id;
CREATE TEMP TABLE a_temporary (_id document PRIMARY KEY);
CREATE UNLOGGED TABLE an_unlogged (_id document PRIMARY KEY);
CREATE TABLE without_id (id int);
CREATE TABLE not_unique (_id document);
CREATE TABLE partly_unique (_id document, gone boolean);
CREATE UNIQUE INDEX ON partly_unique (_id) WHERE NOT gone;
CREATE TABLE deferred (_id document PRIMARY KEY DEFERRABLE);
CREATE TABLE of_wrong_type (_id macaddr UNIQUE);
CREATE TABLE with_other_document (_id document PRIMARY KEY, document xml);
CREATE TABLE with_other_time (_id document PRIMARY KEY, changed_at text);
CREATE TABLE generated (_id document PRIMARY KEY, a int GENERATED ALWAYS AS (1) STORED, b int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE typed (_id text PRIMARY KEY, a int, document document);
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'a_view');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'a_temporary');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'an_unlogged');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'without_id');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'not_unique');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'partly_unique');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'deferred');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'of_wrong_type');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'with_other_document');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'with_other_time');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'generated', columns => 'a = a');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'generated', columns => 'b = a');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'typed', columns => 'a text = a');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'typed', columns => 'b text = b');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'typed', columns => 'b = b');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'typed', on_delete => 'mark');
SELECT create_change_mirror('m', stream_name => 'shop', table_name => 'change_stream_events');
SELECT count(*) FROM change_mirrors;

-- Good input.
SELECT create_change_mirror('Customers', stream_name => 'shop', columns => 'name varchar(40) = name, "zip code" text = address.zipCode',
  filter => 'active', on_delete => 'mark');
\d "Customers"
SELECT create_change_mirror('orders', stream_name => 'orders', table_name => 'typed', columns => 'a = lines.count');
SELECT create_change_mirror('orders', stream_name => 'orders');
SELECT create_change_mirror('more', 'orders', stream_name => 'orders', table_name => 'public.typed');
SELECT create_change_mirror('more', 'Customers', stream_name => 'all');
INSERT INTO without_id DEFAULT VALUES;
ALTER TABLE without_id ADD COLUMN _id text UNIQUE;
SELECT create_change_mirror('with rows', stream_name => 'shop', table_name => 'without_id', on_delete => 'delete');
SELECT drop_change_mirror('with rows');
CREATE TABLE required (_id uuid PRIMARY KEY, tenant int NOT NULL, made timestamptz NOT NULL DEFAULT now());
SELECT create_change_mirror('required', stream_name => 'shop');
SELECT mirror_name, stream_name, database_name, collection_name, table_name, columns, filter, on_delete, paused, owns_stream, translated_columns, translated_filter
FROM change_mirrors ORDER BY mirror_name;
SELECT mirror_name, documents_done, documents_estimated, sweep, finished_at FROM change_stream_snapshots ORDER BY mirror_name;
SELECT mirror_name, state, exact_at, documents_done, rows_written, column_errors FROM change_mirror_status ORDER BY mirror_name;

-- A change is a new copy; columns that are missing are added.
SELECT alter_change_mirror('orders', columns => 'a = lines.count, b text = status', filter => 'b > 1');
SELECT alter_change_mirror('orders', columns => 'b int = status');
SELECT alter_change_mirror('orders', columns => 'b = status', filter => '', on_delete => 'mark');
SELECT columns, filter, on_delete, translated_columns, translated_filter FROM change_mirrors WHERE mirror_name = 'orders';
\d typed
SELECT alter_change_mirror('orders', on_delete => 'delete');
SELECT alter_change_mirror('orders', on_delete => 'other');
SELECT alter_change_mirror('orders', filter => 'a +');
SELECT alter_change_mirror('nobody', filter => 'a');

SELECT pause_change_mirror('orders');
SELECT state, reason FROM change_mirror_status WHERE mirror_name = 'orders';
SELECT resync_change_mirror('orders');
SELECT resume_change_mirror('orders');
SELECT resume_change_mirror('orders');
SELECT pause_change_mirror('nobody');

-- A table that is gone is made again.
DROP TABLE "Customers";
SELECT resync_change_mirror('Customers');
\d "Customers"

-- The streams of mirrors are what mirrors need.
SELECT alter_change_stream('shop', filter => $$operation_type = 'insert'$$);
SELECT create_change_handler('h', 'shop', body => 'BEGIN END');

-- A role that does not own the stream may change nothing, nor hang a table of its own on it.
CREATE ROLE mirror_stranger;
GRANT ALL ON SCHEMA public TO mirror_stranger;
SET ROLE mirror_stranger;
SELECT count(*) FROM change_mirrors;
SELECT count(*) FROM change_mirror_status;
SELECT create_change_mirror('mine', stream_name => 'shop');
SELECT create_change_mirrors('shop', 'public');
SELECT alter_change_mirror('orders', filter => 'a');
SELECT pause_change_mirror('orders');
SELECT resume_change_mirror('orders');
SELECT resync_change_mirror('orders');
SELECT drop_change_mirror('orders', true);
SELECT propose_mirror_columns('orders');
INSERT INTO change_mirrors (mirror_name) VALUES ('mine');
CREATE TABLE strangers (_id document PRIMARY KEY);
RESET ROLE;
SELECT create_change_mirror('mine', stream_name => 'shop', table_name => 'strangers');
DROP TABLE strangers;

-- What a definition calls can set nothing in the session of who makes it.
CREATE FUNCTION meddle() RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT set_config('search_path', 'elsewhere, public', false) = ''$$;
SELECT alter_change_mirror('required', filter => 'meddle()');
SHOW search_path;

-- Many at once: names are those of the collections, and long ones are cut.
SELECT create_change_mirrors('shop', 'public', ARRAY['one', 'two', repeat('long', 20), 'Customers']);
SELECT create_change_mirrors('shop', 'public', ARRAY['one', 'three']);
SELECT create_change_mirrors('shop', 'public', ARRAY['typed']);
SELECT create_change_mirrors('shop', 'nowhere');
SELECT create_change_mirrors('shop', 'public', columns => 'all');
SELECT create_change_mirrors('all', 'public');
SELECT create_change_mirrors('orders', 'public', ARRAY['one']);
SELECT propose_mirror_columns('orders', sample => 0);
SELECT propose_mirror_columns(NULL);

-- The table stays, unless it is to go.
SELECT drop_change_mirror('one'), drop_change_mirror('two', true);
SELECT to_regclass('one'), to_regclass('two');
SELECT drop_change_mirror('two');
SELECT drop_change_mirror(NULL);
CREATE VIEW depends AS SELECT _id FROM three;
SELECT drop_change_mirror('three', true);
DROP VIEW depends;
SELECT mirror_name FROM change_mirrors ORDER BY mirror_name;
SET client_min_messages = error;
SELECT drop_change_stream('shop'), drop_change_stream('orders'), drop_change_stream('all'), drop_change_stream('some');
SELECT count(*) FROM change_mirrors;
SELECT count(*) FROM change_stream_snapshots;
DROP TABLE "Customers", typed, required, one, three, an_unlogged, without_id, not_unique, partly_unique, deferred, of_wrong_type, with_other_document,
  with_other_time, generated, a_temporary, longlonglonglonglonglonglonglonglonglonglonglonglonglo_c7c09b09;
DROP VIEW a_view;
DROP FUNCTION meddle;
REVOKE ALL ON SCHEMA public FROM mirror_stranger;
DROP ROLE mirror_stranger;
DROP SERVER mongo;
