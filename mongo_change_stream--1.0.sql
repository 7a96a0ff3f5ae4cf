/* mongo_change_stream--1.0.sql: the whole schema, readable from top to bottom */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION mongo_change_stream" to load this file. \quit

---------------------------------------------------------------------------
-- 1. Type document: one BSON value of any type
---------------------------------------------------------------------------

CREATE TYPE document;

CREATE FUNCTION document_in(cstring) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_out(document) RETURNS cstring
  AS 'MODULE_PATHNAME', 'mcs_document_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_recv(internal) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_send(document) RETURNS bytea
  AS 'MODULE_PATHNAME', 'mcs_document_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_subscript_handler(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_subscript_handler' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;

COMMENT ON FUNCTION document_in(cstring) IS 'I/O';
COMMENT ON FUNCTION document_out(document) IS 'I/O';
COMMENT ON FUNCTION document_recv(internal) IS 'I/O';
COMMENT ON FUNCTION document_send(document) IS 'I/O';
COMMENT ON FUNCTION document_subscript_handler(internal) IS 'subscripting of type document';

CREATE TYPE document (
  INPUT = document_in,
  OUTPUT = document_out,
  RECEIVE = document_recv,
  SEND = document_send,
  SUBSCRIPT = document_subscript_handler,
  INTERNALLENGTH = VARIABLE,
  ALIGNMENT = int4,
  STORAGE = extended
);
COMMENT ON TYPE document IS 'one BSON value of any type; its text is Extended JSON';

-- in and out of BSON, text

CREATE FUNCTION document_from_bson(bytea) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_from_bson' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_bson(bytea) IS 'a document from the bytes of a whole BSON document, which are checked';

CREATE FUNCTION document_to_bson(document) RETURNS bytea
  AS 'MODULE_PATHNAME', 'mcs_document_to_bson' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_bson(document) IS 'the bytes of a whole document';

CREATE FUNCTION document_text(document) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_text(document) IS 'a value as plain text: a string without quotes, an ObjectId''s hex, a date in ISO 8601';

CREATE FUNCTION document_typeof(document) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_typeof' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_typeof(document) IS 'the type of a value, named as MongoDB''s $type names it';

-- access

CREATE FUNCTION document_field(document, text) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_field' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_field_text(document, text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_field_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_element(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_element' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_element_text(document, integer) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_element_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_path(document, text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_path' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_path_text(document, text[]) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_path_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;

COMMENT ON FUNCTION document_field(document, text) IS 'implementation of -> operator';
COMMENT ON FUNCTION document_field_text(document, text) IS 'implementation of ->> operator';
COMMENT ON FUNCTION document_element(document, integer) IS 'implementation of -> operator';
COMMENT ON FUNCTION document_element_text(document, integer) IS 'implementation of ->> operator';
COMMENT ON FUNCTION document_path(document, text[]) IS 'implementation of #> operator';
COMMENT ON FUNCTION document_path_text(document, text[]) IS 'implementation of #>> operator';

CREATE OPERATOR -> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_field);
CREATE OPERATOR ->> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_field_text);
CREATE OPERATOR -> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_element);
CREATE OPERATOR ->> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_element_text);
CREATE OPERATOR #> (LEFTARG = document, RIGHTARG = text[], FUNCTION = document_path);
CREATE OPERATOR #>> (LEFTARG = document, RIGHTARG = text[], FUNCTION = document_path_text);

COMMENT ON OPERATOR -> (document, text) IS 'a field of an object';
COMMENT ON OPERATOR ->> (document, text) IS 'a field of an object, as text';
COMMENT ON OPERATOR -> (document, integer) IS 'an element of an array, from 0; from its end if negative';
COMMENT ON OPERATOR ->> (document, integer) IS 'an element of an array, as text';
COMMENT ON OPERATOR #> (document, text[]) IS 'the value at a path';
COMMENT ON OPERATOR #>> (document, text[]) IS 'the value at a path, as text';

-- casts

CREATE FUNCTION document_to_jsonb(document) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'mcs_document_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_jsonb(document) IS 'cast of a document to jsonb';
CREATE CAST (document AS jsonb) WITH FUNCTION document_to_jsonb(document);

-- (section 1 ends)

---------------------------------------------------------------------------
-- 2. Foreign data wrapper
---------------------------------------------------------------------------

CREATE FUNCTION mongo_change_stream_validator(options text[], catalog oid)
RETURNS void
AS 'MODULE_PATHNAME', 'mcs_mongo_change_stream_validator'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1;
COMMENT ON FUNCTION mongo_change_stream_validator(text[], oid) IS
	'checks the options of servers, user mappings and foreign tables';

CREATE FOREIGN DATA WRAPPER mongo_change_stream
VALIDATOR mongo_change_stream_validator;
COMMENT ON FOREIGN DATA WRAPPER mongo_change_stream IS
	'MongoDB deployments and the history of their changes';

CREATE FUNCTION mongo_command(command document, database text = NULL, server text = NULL)
RETURNS document
AS 'MODULE_PATHNAME', 'mcs_mongo_command'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION mongo_command(document, text, text) IS
	'runs a command of MongoDB with the caller''s user mapping and returns its reply';

CREATE FUNCTION check_mongo_server(server text = NULL)
RETURNS TABLE (check_name text, ok boolean, detail text, hint text)
AS 'MODULE_PATHNAME', 'mcs_check_mongo_server'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000 ROWS 12;
COMMENT ON FUNCTION check_mongo_server(text) IS
	'tells what change streams need of MongoDB and lack, with the commands that help';

-- (section 2 ends)

---------------------------------------------------------------------------
-- 3. Streams: tables, functions, views
---------------------------------------------------------------------------

-- 3.1 Tables.  Names of roles are kept as regrole, of servers as text, so that a dump can be restored anywhere.

CREATE TABLE change_streams (
  stream_name text PRIMARY KEY CHECK (octet_length(stream_name) BETWEEN 1 AND 63 AND stream_name <> 'change_stream'),
  owner regrole NOT NULL,
  server text NOT NULL,
  database_name text NOT NULL,
  collection_name text,
  filter text,
  add_fields text,
  operations text[],
  pipeline document,
  full_document text NOT NULL,
  full_document_before_change text NOT NULL,
  show_expanded_events boolean NOT NULL,
  max_await_time interval NOT NULL,
  batch_size int,
  resume_after text,
  start_after text,
  start_at text,
  initial_snapshot boolean NOT NULL,
  retention interval,
  notify text NOT NULL,
  paused boolean NOT NULL,
  pushed_filter document,
  local_filter text,
  changed_at_event bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  paused_reason text,
  stopped_state text CHECK (stopped_state IN ('history_lost', 'error')),
  stopped_reason text,
  skip_token text,
  state_since timestamptz NOT NULL DEFAULT now(),
  settings text[] NOT NULL DEFAULT '{}',
  system_identifier bigint NOT NULL,
  database_oid oid NOT NULL
);
COMMENT ON TABLE change_streams IS 'definition of each change stream; written only by the functions of the extension';
COMMENT ON COLUMN change_streams.database_name IS 'watched database, * for every database of the deployment';
COMMENT ON COLUMN change_streams.changed_at_event IS 'the last event_id that the definition before the last change produced';
COMMENT ON COLUMN change_streams.pushed_filter IS 'the part of filter and operations that MongoDB evaluates';
COMMENT ON COLUMN change_streams.local_filter IS 'the part of filter that the worker evaluates';
COMMENT ON COLUMN change_streams.skip_token IS 'resume token of one event that the stream leaves out, as resume_change_stream was told';
COMMENT ON COLUMN change_streams.settings IS 'settings of the creator under which filter and add_fields are evaluated';
COMMENT ON COLUMN change_streams.system_identifier IS 'the database cluster in which the stream was made; elsewhere it is paused as restored';

CREATE TABLE change_stream_progress (
  stream_name text PRIMARY KEY REFERENCES change_streams ON DELETE CASCADE,
  resume_token text,
  last_event_id bigint NOT NULL DEFAULT 0,
  events_processed bigint NOT NULL DEFAULT 0,
  last_event_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT now(),
  restarts int NOT NULL DEFAULT 0,
  consecutive_errors int NOT NULL DEFAULT 0,
  last_error text,
  last_error_at timestamptz,
  filter_errors bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_stream_progress IS 'position and counters of each change stream, committed with the events they count';

CREATE TABLE change_stream_events (
  stream_name text NOT NULL,
  event_id bigint NOT NULL,
  operation_type text,
  database_name text,
  collection_name text,
  document_key document,
  full_document document,
  full_document_before_change document,
  update_description document,
  changed_fields text[],
  cluster_time timestamptz,
  change_timestamp timestamptz,
  resume_token text,
  full_document_source text,
  extra document,
  received_at timestamptz,
  processing_status text,
  processing_time_ms numeric,
  processing_attempts int,
  processing_error text,
  PRIMARY KEY (stream_name, event_id)
);
CREATE INDEX change_stream_events_cluster_time_idx ON change_stream_events USING brin (cluster_time) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE change_stream_events IS 'the events of all change streams, each exactly once, numbered within its stream in commit order';

CREATE TABLE change_stream_kept_events (
  stream_name text PRIMARY KEY,
  owner regrole NOT NULL,
  last_event_id bigint NOT NULL
);
COMMENT ON TABLE change_stream_kept_events IS 'whose the events are that dropped change streams left behind (keep_events)';

CREATE TABLE change_stream_metrics (
  stream_name text PRIMARY KEY REFERENCES change_streams ON DELETE CASCADE,
  events_processed bigint NOT NULL DEFAULT 0,
  last_processed_at timestamptz
);
COMMENT ON TABLE change_stream_metrics IS 'a row a change stream for its owner''s handlers to update; the extension never writes it after making it';

SELECT pg_catalog.pg_extension_config_dump('change_streams', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_kept_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_metrics', '');

-- 3.2 Rights.  Everybody may look; row-level security shows a role what belongs to it or to a role whose privileges it has.

ALTER TABLE change_streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_kept_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_metrics ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_streams ON change_streams FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own_kept_events ON change_stream_kept_events FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own_progress ON change_stream_progress FOR SELECT
  USING (stream_name = ANY (ARRAY(SELECT s.stream_name FROM change_streams s)));
CREATE POLICY own_events ON change_stream_events FOR SELECT
  USING (stream_name = ANY (ARRAY(SELECT s.stream_name FROM change_streams s
                                  UNION ALL SELECT k.stream_name FROM change_stream_kept_events k)));
CREATE POLICY own_metrics ON change_stream_metrics
  USING (stream_name = ANY (ARRAY(SELECT s.stream_name FROM change_streams s)));

GRANT SELECT ON change_streams, change_stream_progress, change_stream_events, change_stream_kept_events, change_stream_metrics TO PUBLIC;
GRANT UPDATE ON change_stream_metrics TO PUBLIC;

-- 3.3 Functions on streams

CREATE FUNCTION create_change_stream(stream_name text, collection text = NULL, database text = NULL, server text = NULL,
  filter text = NULL, add_fields text = NULL, operations text[] = NULL, pipeline document = NULL,
  full_document text = 'default', full_document_before_change text = 'off', show_expanded_events boolean = false,
  max_await_time interval = '1 second', batch_size int = NULL,
  resume_after text = NULL, start_after text = NULL, start_at text = NULL, initial_snapshot boolean = false,
  retention interval = NULL, notify text = 'ids', paused boolean = false)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_create_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_stream(text, text, text, text, text, text, text[], document, text, text, boolean, interval, int, text, text, text, boolean, interval, text, boolean)
  IS 'follow the changes of a collection, of a database, or (database *) of every database into change_stream_events';

CREATE FUNCTION alter_change_stream(stream_name text, filter text = NULL, add_fields text = NULL, operations text[] = NULL,
  pipeline document = NULL, full_document text = NULL, full_document_before_change text = NULL,
  show_expanded_events boolean = NULL, max_await_time interval = NULL, batch_size int = NULL, retention interval = NULL,
  notify text = NULL, reset text[] = NULL)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_alter_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_stream(text, text, text, text[], document, text, text, boolean, interval, int, interval, text, text[])
  IS 'change what a change stream takes from the next event on; null leaves, reset puts back to the default';

CREATE FUNCTION pause_change_stream(stream_name text)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_pause_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_stream(text) IS 'stop following until resume_change_stream';

CREATE FUNCTION resume_change_stream(stream_name text, start_at text = NULL, initial_snapshot boolean = false, skip text = NULL)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_resume_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION resume_change_stream(text, text, boolean, text)
  IS 'follow again, from where the change stream stopped or from another position; skip is the token of one event to leave out';

CREATE FUNCTION drop_change_stream(stream_name text, keep_events boolean = false)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_drop_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION drop_change_stream(text, boolean) IS 'end a change stream and delete its events, or keep them';

CREATE FUNCTION sync_change_stream(stream_name text, timeout interval = '30 seconds', handlers boolean = false)
RETURNS boolean AS 'MODULE_PATHNAME', 'mcs_sync_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION sync_change_stream(text, interval, boolean)
  IS 'wait until every write that MongoDB had acknowledged before the call is in change_stream_events; false after timeout';

-- (section 3.3 ends)

-- 3.4 Views and what they read

CREATE FUNCTION change_stream_workers(OUT stream_name text, OUT state text, OUT reason text, OUT state_since timestamptz, OUT pid int,
  OUT events_per_second double precision, OUT lag interval, OUT oplog_window interval, OUT last_error text, OUT next_retry_at timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'mcs_change_stream_workers'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_stream_workers() IS 'what shared memory knows of the current database''s streams that the caller may see';

CREATE VIEW change_stream_status WITH (security_invoker = true) AS
SELECT s.stream_name,
       CASE WHEN s.stopped_state IS NOT NULL THEN s.stopped_state
            WHEN s.paused THEN 'paused'
            ELSE coalesce(w.state, 'starting') END AS state,
       CASE WHEN s.stopped_state IS NOT NULL THEN s.stopped_reason
            WHEN s.paused THEN coalesce(s.paused_reason, 'paused by its owner')
            ELSE coalesce(w.reason, 'waiting for the launcher') END AS reason,
       CASE WHEN s.stopped_state IS NOT NULL OR s.paused THEN s.state_since
            ELSE coalesce(w.state_since, s.state_since) END AS state_since,
       w.pid,
       p.events_processed,
       CASE WHEN s.stopped_state IS NULL AND NOT s.paused THEN coalesce(w.events_per_second, 0) ELSE 0 END AS events_per_second,
       w.lag,
       p.last_event_at,
       w.oplog_window,
       coalesce(w.last_error, p.last_error) AS last_error,
       w.next_retry_at
FROM change_streams s
     JOIN change_stream_progress p USING (stream_name)
     LEFT JOIN change_stream_workers() w USING (stream_name);
COMMENT ON VIEW change_stream_status IS 'state, reason, lag and rate of each change stream';
GRANT SELECT ON change_stream_status TO PUBLIC;

-- 3.5 The trigger function for a table of the user's own

CREATE FUNCTION update_stream_resume_token() RETURNS trigger AS 'MODULE_PATHNAME', 'mcs_update_stream_resume_token'
LANGUAGE C;
COMMENT ON FUNCTION update_stream_resume_token() IS 'keeps tokens and counters in the user''s own table change_stream_resume_tokens';

-- (section 3 ends)
