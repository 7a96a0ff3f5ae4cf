-- Handlers: tables and the rights on them.

-- 4.1 Tables

CREATE TABLE change_handlers (
  handler_name text PRIMARY KEY CHECK (pg_catalog.octet_length(handler_name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.octet_length(handler_name) OPERATOR(pg_catalog.<=) 63),
  stream_name text NOT NULL,
  body text,
  procedure text,
  condition text,
  start_at text NOT NULL,
  retry_attempts int NOT NULL CHECK (retry_attempts OPERATOR(pg_catalog.>=) 0),
  retry_delay interval NOT NULL,
  max_retry_delay interval NOT NULL,
  timeout interval NOT NULL,
  on_failure text NOT NULL CHECK (on_failure OPERATOR(pg_catalog.=) ANY (ARRAY['dead_letter', 'stop'])),
  workers int NOT NULL CHECK (workers OPERATOR(pg_catalog.>) 0),
  paused boolean NOT NULL,
  translated_body text,
  translated_condition text,
  stopped_reason text,
  state_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  settings text[] NOT NULL DEFAULT '{}',
  CHECK ((body IS NULL) OPERATOR(pg_catalog.<>) (procedure IS NULL))
);
CREATE INDEX change_handlers_stream_name_idx ON change_handlers (stream_name);
COMMENT ON TABLE change_handlers IS 'definition of each handler; written only by the functions of the extension';
COMMENT ON COLUMN change_handlers.translated_body IS 'body in plain PL/pgSQL, where it uses the dialect; this is what runs';
COMMENT ON COLUMN change_handlers.translated_condition IS 'condition in plain SQL, where it uses the dialect; this is what runs';
COMMENT ON COLUMN change_handlers.stopped_reason IS 'why the handler has stopped until resume_change_handler; null: it has not';
COMMENT ON COLUMN change_handlers.settings IS 'settings of the creator under which the handler runs';

CREATE TABLE change_handler_progress (
  handler_name text,
  worker int NOT NULL,
  last_event_id bigint NOT NULL,
  events_processed bigint NOT NULL DEFAULT 0,
  failures bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  failed_event bigint,
  attempts int NOT NULL DEFAULT 0,
  next_retry_at timestamptz,
  sqlstate text,
  error text,
  detail text,
  context text,
  alive boolean NOT NULL DEFAULT false,
  running_event bigint,
  crashes int NOT NULL DEFAULT 0,
  starts int NOT NULL DEFAULT 0,
  definition_version bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (handler_name, worker)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_handler_progress IS 'how far each worker of each handler is, committed with what the handler did';
COMMENT ON COLUMN change_handler_progress.last_event_id IS 'every event up to here that is this worker''s is done';
COMMENT ON COLUMN change_handler_progress.failures IS 'how many attempts have failed';
COMMENT ON COLUMN change_handler_progress.alive IS 'a process works here, or did and has not ended in order';
COMMENT ON COLUMN change_handler_progress.running_event IS 'after such an end: the event that is run now, noted before it is';
COMMENT ON COLUMN change_handler_progress.crashes IS 'how many times more it was noted, since who ran it had died';
COMMENT ON COLUMN change_handler_progress.starts IS 'how many processes in a row have died before they had come to an event';
COMMENT ON COLUMN change_handler_progress.definition_version IS 'the transaction that last changed the definition; a process saves nothing that it made under another';
COMMENT ON COLUMN change_handler_progress.failed_event IS 'the event that failed and is not done yet, with its attempts and error in the columns after it';

-- The event's columns one by one: a column of the row type would keep the owner of change_stream_events from adding columns to it.
CREATE TABLE change_handler_dead_letters (
  handler_name text NOT NULL,
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
  sqlstate text,
  error text,
  detail text,
  context text,
  attempts int NOT NULL,
  failed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (handler_name, event_id)
);
CREATE INDEX change_handler_dead_letters_event_idx ON change_handler_dead_letters (stream_name, event_id);
COMMENT ON TABLE change_handler_dead_letters IS 'what change_stream_dead_letters shows';

SELECT pg_catalog.pg_extension_config_dump('change_handlers', '');
SELECT pg_catalog.pg_extension_config_dump('change_handler_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_handler_dead_letters', '');

-- 4.2 Rights: those of the stream

ALTER TABLE change_handlers ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_handler_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_handler_dead_letters ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_handlers ON change_handlers FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));

CREATE POLICY own_handler_progress ON change_handler_progress FOR SELECT
  USING (handler_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.handler_name FROM @extschema@.change_handlers h)));

-- as for the events themselves
CREATE POLICY own_dead_letters ON change_handler_dead_letters FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')
    UNION ALL SELECT g.stream_name FROM @extschema@.change_stream_grants g WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));

CREATE POLICY read_all ON change_handlers FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_handler_progress FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_handler_dead_letters FOR SELECT TO pg_read_all_data USING (true);

GRANT SELECT ON change_handlers, change_handler_progress, change_handler_dead_letters TO PUBLIC;
