-- Mirrors and copies as their views show them, made by hand, as there is no MongoDB

\pset null (null)
\pset format unaligned
\pset tuples_only on
SET timezone = 'UTC';
SET datestyle = 'ISO, DMY';
CREATE SERVER nowhere FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/?directConnection=true');

-- the time before which all is done: that of an event, of what stands for a time the ordinal before
SELECT change_stream_position_time('82690000000000000A2B0229296E04');
SELECT change_stream_position_time('8269000000000000012B0229296E04');
SELECT change_stream_position_time('82690000000000000A2B042C0100296E5A1004');
SELECT change_stream_position_time('8269000000000000002B0229296E04');
SELECT change_stream_position_time(NULL);
SELECT change_stream_position_time('soon');

-- words
SELECT change_stream_copy_reason(false, 0, NULL, '0', 0);
SELECT change_stream_copy_reason(false, 5, NULL, '0', 0);
SELECT change_stream_copy_reason(false, 100, 1000, '10 s', 0);
SELECT change_stream_copy_reason(false, 100, 1000, '1 h', 0);
SELECT change_stream_copy_reason(false, 100, 100000, '1 h', 0);
SELECT change_stream_copy_reason(false, 100, 1000, '10 ms', 0);
SELECT change_stream_copy_reason(false, 2000, 1000, '1 s', 0);
SELECT change_stream_copy_reason(true, 0, 1000, '1 s', 1);
SELECT change_stream_copy_reason(false, 0, 1000, '0', 2);
SELECT change_stream_copy_reason(NULL, NULL, NULL, NULL, NULL);

-- a mirror in each of its states
SELECT create_change_stream('shop', database => 'shop', keep_events => false, paused => true);
INSERT INTO change_mirrors (mirror_name, stream_name, database_name, collection_name, table_name, on_delete, paused, owns_stream, stopped_reason)
  VALUES ('done', 'shop', 'shop', 'a', 'public.a', 'delete', false, false, NULL), ('copying', 'shop', 'shop', 'b', 'public.b', 'delete', false, false, NULL),
         ('inexact', 'shop', 'shop', 'c', 'public.c', 'mark', false, false, NULL), ('paused', 'shop', 'shop', 'd', 'public.d', 'delete', true, false, NULL),
         ('stopped', 'shop', 'shop', 'e', 'public.e', 'delete', false, false, 'its table is gone'), ('partly', 'shop', 'shop', 'f', 'public.f', 'delete', false, false, NULL);
INSERT INTO change_stream_snapshots (stream_name, database_name, collection_name, mirror_name, documents_done, documents_estimated, exact_since, finished_at, copy_number)
  SELECT 'shop', 'shop', collection_name, mirror_name, 10, 20, CASE WHEN mirror_name <> 'inexact' THEN now() END, now(), row_number() OVER (ORDER BY collection_name)
  FROM change_mirrors WHERE mirror_name NOT IN ('copying', 'partly');
INSERT INTO change_stream_snapshots (stream_name, database_name, collection_name, mirror_name, documents_done, documents_estimated, copy_number)
  VALUES ('shop', 'shop', 'z', NULL, 0, NULL, 90), ('shop', 'shop', 'b', 'copying', 0, 20, 91);
INSERT INTO change_mirror_progress (mirror_name, rows_written, column_errors, column_error, last_error)
  VALUES ('done', 30, 1, 'total: invalid input syntax for type numeric: "x"', NULL), ('stopped', 5, 2, 'total: out of range', 'relation "e" does not exist');
UPDATE change_stream_progress SET resume_token = '82690000000000000A2B042C0100296E5A1004';
SELECT * FROM change_mirror_status ORDER BY mirror_name;
UPDATE change_streams SET paused = false, stopped_state = 'error', stopped_reason = 'because';
SELECT mirror_name, state, reason, exact_at FROM change_mirror_status ORDER BY mirror_name;

-- one copy a collection of a stream or mirror
INSERT INTO change_stream_snapshots (stream_name, database_name, collection_name, copy_number) VALUES ('shop', 'shop', 'z', 92);

-- what the stream is altered to its mirrors must bear
SELECT alter_change_stream('shop', filter => 'true');
SELECT alter_change_stream('shop', operations => '{insert}');
SELECT alter_change_stream('shop', add_fields => 'a = 1');
SELECT alter_change_stream('shop', pipeline => '[{"$match": {"a": 1}}]');
SELECT alter_change_stream('shop', mask_fields => '{card}');
UPDATE change_stream_snapshots SET finished_at = now() WHERE mirror_name IS NULL;
SELECT alter_change_stream('shop', mask_fields => '{card}');
SELECT mirror_name, sweep, documents_done, documents_estimated, finished_at IS NULL FROM change_stream_snapshots ORDER BY copy_number;
-- the same again changes nothing
UPDATE change_stream_snapshots SET finished_at = now() WHERE mirror_name IS NOT NULL;
SELECT alter_change_stream('shop', mask_fields => '{card}');
SELECT mirror_name, sweep, finished_at IS NULL FROM change_stream_snapshots ORDER BY copy_number;

-- a mirror follows its table to another name
CREATE SCHEMA "Odd ""one";
CREATE TABLE a ();
CREATE TABLE b ();
CREATE TEMP TABLE c ();
ALTER TABLE a RENAME TO "A.b";
ALTER TABLE "A.b" SET SCHEMA "Odd ""one";
ALTER INDEX b RENAME TO b2;
ALTER TABLE c RENAME TO c2;
ALTER TABLE IF EXISTS nowhere RENAME TO c3;
SELECT mirror_name, table_name FROM change_mirrors ORDER BY mirror_name;
ALTER SCHEMA "Odd ""one" RENAME TO even;
SELECT table_name FROM change_mirrors WHERE mirror_name = 'done';
BEGIN;
ALTER TABLE even."A.b" SET SCHEMA public;
ROLLBACK;
ALTER TABLE even."A.b" RENAME COLUMN nosuch TO other;
SELECT table_name FROM change_mirrors WHERE mirror_name = 'done';
SELECT definition_version > 3 FROM change_stream_progress;

-- they go with it
SELECT drop_change_stream('shop');
SELECT (SELECT count(*) FROM change_mirrors), (SELECT count(*) FROM change_mirror_progress), (SELECT count(*) FROM change_stream_snapshots);

-- what a restore has left of a stream waits
INSERT INTO change_mirrors (mirror_name, stream_name, database_name, collection_name, table_name, on_delete, owns_stream)
  VALUES ('left', 'gone', 'shop', 'a', 'public.a', 'delete', false);
INSERT INTO change_stream_snapshots (stream_name, database_name, collection_name, mirror_name, copy_number) VALUES ('gone', 'shop', 'a', 'left', 1), ('gone', 'shop', 'a', NULL, 2);
SELECT mirror_name, state, reason, exact_at FROM change_mirror_status;
SELECT create_change_stream('gone', 'a', 'shop', paused => true);
SELECT paused FROM change_mirrors;
SELECT count(*) FROM change_stream_snapshots;
SELECT drop_change_stream('gone');
DROP SERVER nowhere CASCADE;
DROP SCHEMA even CASCADE;
DROP TABLE b2;
