-- Snapshots and mirrors: tables and the rights on them.

-- What a stream, or a mirror of it, copies of MongoDB's collections.  Null is a value of the key: a stream's own copies have no mirror.
CREATE TABLE change_stream_snapshots (
  stream_name text NOT NULL,
  collection_name text NOT NULL,
  mirror_name text,
  documents_done bigint NOT NULL DEFAULT 0,
  documents_estimated bigint,
  last_key document,
  exact_since timestamptz,
  finished_at timestamptz,
  database_name text NOT NULL,
  sweep boolean NOT NULL DEFAULT false,
  swept_key document,
  inexact_until document,
  started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  busy interval NOT NULL DEFAULT '0',
  copy_number bigint NOT NULL,
  starts int NOT NULL DEFAULT 0,
  CONSTRAINT change_stream_snapshots_key UNIQUE NULLS NOT DISTINCT (stream_name, database_name, collection_name, mirror_name)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_stream_snapshots
  IS 'copies of collections that change streams and their mirrors make, or have made: how far each is, committed with what was copied';
COMMENT ON COLUMN change_stream_snapshots.stream_name IS 'change stream whose process makes the copy';
COMMENT ON COLUMN change_stream_snapshots.collection_name IS 'collection that is copied';
COMMENT ON COLUMN change_stream_snapshots.mirror_name IS 'mirror whose table the documents go to; null: they become events of the change stream';
COMMENT ON COLUMN change_stream_snapshots.documents_done IS 'how many documents are copied';
COMMENT ON COLUMN change_stream_snapshots.documents_estimated IS 'how many there are, about, as MongoDB said when the copy began; null: it has not been asked yet';
COMMENT ON COLUMN change_stream_snapshots.last_key IS '_id of the last document that was copied, behind which the copy goes on; null: none yet';
COMMENT ON COLUMN change_stream_snapshots.exact_since
  IS 'cluster time from which on the copy and the events behind it show the collection as it was at one time; null: not yet';
COMMENT ON COLUMN change_stream_snapshots.finished_at IS 'when the last document was copied; null: it is not';
COMMENT ON COLUMN change_stream_snapshots.database_name IS 'database of the collection';
COMMENT ON COLUMN change_stream_snapshots.sweep IS 'whether rows of the mirror that MongoDB does not have are looked for, which comes before copying';
COMMENT ON COLUMN change_stream_snapshots.swept_key IS '_id of the last row that was looked for; null: none yet';
COMMENT ON COLUMN change_stream_snapshots.inexact_until
  IS 'newest time at which MongoDB was read where it could not be read as of the position, as a BSON timestamp; null: none';
COMMENT ON COLUMN change_stream_snapshots.started_at IS 'when the copy was asked for';
COMMENT ON COLUMN change_stream_snapshots.updated_at IS 'when its progress was last saved';
COMMENT ON COLUMN change_stream_snapshots.busy IS 'how long it has been worked on, which the time left is told by';
COMMENT ON COLUMN change_stream_snapshots.copy_number IS 'order in which the copies of a change stream are made';
COMMENT ON COLUMN change_stream_snapshots.starts
  IS 'after a process has died: how many have begun to write the next documents, noted before; 0: they were written';

CREATE TABLE change_mirrors (
  mirror_name text PRIMARY KEY CHECK (pg_catalog.octet_length(mirror_name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.octet_length(mirror_name) OPERATOR(pg_catalog.<=) 63),
  stream_name text NOT NULL,
  database_name text NOT NULL,
  collection_name text NOT NULL,
  table_name text NOT NULL,
  columns text,
  filter text,
  on_delete text NOT NULL CHECK (on_delete OPERATOR(pg_catalog.=) ANY (ARRAY['delete', 'mark'])),
  paused boolean NOT NULL DEFAULT false,
  owns_stream boolean NOT NULL,
  translated_columns text,
  translated_filter text,
  settings text[] NOT NULL DEFAULT '{}',
  stopped_reason text,
  state_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE change_mirrors IS 'definition of each mirror, a table that a change stream keeps equal to a collection; written only by the functions of the extension';
COMMENT ON COLUMN change_mirrors.mirror_name IS 'name of the mirror';
COMMENT ON COLUMN change_mirrors.stream_name IS 'change stream that feeds it, whose owner owns the mirror and writes its table';
COMMENT ON COLUMN change_mirrors.database_name IS 'database of the collection';
COMMENT ON COLUMN change_mirrors.collection_name IS 'collection that the table is kept equal to';
COMMENT ON COLUMN change_mirrors.table_name IS 'the table, with its schema, as SQL writes it; it follows when the table is renamed';
COMMENT ON COLUMN change_mirrors.columns IS 'columns that are filled from the documents, name type = expression, ..., as they were given; null: none';
COMMENT ON COLUMN change_mirrors.filter IS 'condition on a document''s fields, as it was given: others are not in the table; null: all are';
COMMENT ON COLUMN change_mirrors.on_delete IS 'what becomes of the row of a document that is deleted: delete, or mark: it stays, and deleted_at is set';
COMMENT ON COLUMN change_mirrors.paused IS 'whether the mirror is paused until resume_change_mirror';
COMMENT ON COLUMN change_mirrors.owns_stream IS 'whether the change stream was made for the mirror, and goes with it';
COMMENT ON COLUMN change_mirrors.translated_columns IS 'columns in plain SQL over document, name = expression, ...; this is what runs; null: there are none';
COMMENT ON COLUMN change_mirrors.translated_filter IS 'filter in plain SQL over document; this is what runs; null: there is none';
COMMENT ON COLUMN change_mirrors.settings IS 'settings of the creator under which columns and filter run, name=value';
COMMENT ON COLUMN change_mirrors.stopped_reason IS 'why the mirror has stopped, and what helps; null: it has not';
COMMENT ON COLUMN change_mirrors.state_since IS 'when it was made, or last paused, resumed or stopped';
COMMENT ON COLUMN change_mirrors.created_at IS 'when the mirror was made';

CREATE INDEX change_mirrors_stream_name_idx ON change_mirrors (stream_name);
COMMENT ON INDEX change_mirrors_stream_name_idx IS 'the mirrors of a change stream';

CREATE TABLE change_mirror_progress (
  mirror_name text PRIMARY KEY,
  rows_written bigint NOT NULL DEFAULT 0,
  column_errors bigint NOT NULL DEFAULT 0,
  column_error text,
  last_error text,
  last_error_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_mirror_progress IS 'counters of each mirror, committed with the rows that they count';
COMMENT ON COLUMN change_mirror_progress.mirror_name IS 'the mirror';
COMMENT ON COLUMN change_mirror_progress.rows_written IS 'how many rows of the table were inserted, changed or deleted';
COMMENT ON COLUMN change_mirror_progress.column_errors IS 'how many values did not fit their columns, which are null there';
COMMENT ON COLUMN change_mirror_progress.column_error IS 'column and error of the newest of them; null: there was none';
COMMENT ON COLUMN change_mirror_progress.last_error IS 'the error that the mirror stopped at last, which stays when it is over; null: there was none';
COMMENT ON COLUMN change_mirror_progress.last_error_at IS 'when it happened; null: there was none';
COMMENT ON COLUMN change_mirror_progress.updated_at IS 'when rows were last written';

-- Not in dumps: what is restored with the positions, whatever its OID is then, is the table that was written.
CREATE TABLE change_mirror_tables (
  mirror_name text PRIMARY KEY,
  table_oid oid NOT NULL
);
COMMENT ON TABLE change_mirror_tables IS 'which table each mirror has written, so that another one in its place is not taken for it; for the extension alone';
COMMENT ON COLUMN change_mirror_tables.mirror_name IS 'the mirror';
COMMENT ON COLUMN change_mirror_tables.table_oid IS 'its table''s OID';

SELECT pg_catalog.pg_extension_config_dump('change_stream_snapshots', '');
SELECT pg_catalog.pg_extension_config_dump('change_mirrors', '');
SELECT pg_catalog.pg_extension_config_dump('change_mirror_progress', '');

-- Rights: those of the stream.

ALTER TABLE change_stream_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_mirrors ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_mirror_progress ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_snapshots ON change_stream_snapshots FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));
COMMENT ON POLICY own_snapshots ON change_stream_snapshots IS 'who sees the change stream sees its copies';

CREATE POLICY own_mirrors ON change_mirrors FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));
COMMENT ON POLICY own_mirrors ON change_mirrors IS 'who sees the change stream sees its mirrors';

CREATE POLICY own_mirror_progress ON change_mirror_progress FOR SELECT
  USING (mirror_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT m.mirror_name FROM @extschema@.change_mirrors m)));
COMMENT ON POLICY own_mirror_progress ON change_mirror_progress IS 'who sees the mirror sees its progress';

-- @for table                   | readers
--      change_stream_snapshots | pg_read_all_data, pg_monitor
--      change_mirrors          | pg_read_all_data, pg_monitor
--      change_mirror_progress  | pg_read_all_data, pg_monitor
CREATE POLICY read_all ON {table} FOR SELECT TO {readers} USING (true);
COMMENT ON POLICY read_all ON {table} IS 'members of {readers} see everything';

-- @end
GRANT SELECT ON change_stream_snapshots, change_mirrors, change_mirror_progress TO PUBLIC;
