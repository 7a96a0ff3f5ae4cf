-- Handlers: tables and the rights on them.

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
  each text NOT NULL DEFAULT 'event' CHECK (each OPERATOR(pg_catalog.=) ANY (ARRAY['event', 'batch'])),
  batch_size int NOT NULL DEFAULT 1000 CHECK (batch_size OPERATOR(pg_catalog.>) 0),
  CHECK ((body IS NULL) OPERATOR(pg_catalog.<>) (procedure IS NULL))
);
COMMENT ON TABLE change_handlers IS 'definition of each handler; written only by the functions of the extension';
COMMENT ON COLUMN change_handlers.handler_name IS 'name of the handler';
COMMENT ON COLUMN change_handlers.stream_name IS 'change stream whose events it handles; the stream''s owner owns the handler, which runs as this role';
COMMENT ON COLUMN change_handlers.body IS 'PL/pgSQL block that is run for each event or batch, as it was given; null: procedure is called';
COMMENT ON COLUMN change_handlers.procedure IS 'procedure or function that is called for each event or batch; null: body is run';
COMMENT ON COLUMN change_handlers.condition IS 'condition on the event''s columns, as it was given: other events count as done; null: every event is handled';
COMMENT ON COLUMN change_handlers.start_at IS 'where it began, as it was given: now, earliest or an event_id';
COMMENT ON COLUMN change_handlers.retry_attempts IS 'how often an event is tried again after it has failed';
COMMENT ON COLUMN change_handlers.retry_delay IS 'time until the first of these tries; it doubles from one to the next';
COMMENT ON COLUMN change_handlers.max_retry_delay IS 'the longest time between two tries';
COMMENT ON COLUMN change_handlers.timeout IS 'how long the handler may run on one event or batch';
COMMENT ON COLUMN change_handlers.on_failure IS 'what becomes of an event whose tries have all failed: dead_letter, or stop before it';
COMMENT ON COLUMN change_handlers.workers
  IS 'how many processes divide the documents among each other; all events of one document go to the same one, in order';
COMMENT ON COLUMN change_handlers.paused IS 'whether the handler is paused until resume_change_handler';
COMMENT ON COLUMN change_handlers.translated_body IS 'body in plain PL/pgSQL, where it uses the dialect; this is what runs; null: body runs as it is';
COMMENT ON COLUMN change_handlers.translated_condition
  IS 'condition in plain SQL, where it uses the dialect; this is what runs; null: condition is evaluated as it is';
COMMENT ON COLUMN change_handlers.stopped_reason IS 'why the handler has stopped until resume_change_handler; null: it has not';
COMMENT ON COLUMN change_handlers.state_since IS 'when it was made, or last paused, resumed or stopped';
COMMENT ON COLUMN change_handlers.created_at IS 'when the handler was made';
COMMENT ON COLUMN change_handlers.settings IS 'settings of the creator under which the handler runs, name=value';
COMMENT ON COLUMN change_handlers.each IS 'what body or procedure is run for: event, one after the other, or batch, the events of a transaction at once';
COMMENT ON COLUMN change_handlers.batch_size IS 'events of one transaction, at most';

CREATE INDEX change_handlers_stream_name_idx ON change_handlers (stream_name);
COMMENT ON INDEX change_handlers_stream_name_idx IS 'the handlers of a change stream';

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
COMMENT ON COLUMN change_handler_progress.handler_name IS 'the handler';
COMMENT ON COLUMN change_handler_progress.worker IS 'number of the worker, from 0';
COMMENT ON COLUMN change_handler_progress.last_event_id IS 'every event up to here that is this worker''s is done';
COMMENT ON COLUMN change_handler_progress.events_processed IS 'how many events the handler has run on';
COMMENT ON COLUMN change_handler_progress.failures IS 'how many attempts have failed';
COMMENT ON COLUMN change_handler_progress.updated_at IS 'when the position was last saved, or an attempt failed';
COMMENT ON COLUMN change_handler_progress.failed_event
  IS 'event that failed and is not done yet, with its attempts and error in the columns after it; null: none';
COMMENT ON COLUMN change_handler_progress.attempts IS 'how often it was tried';
COMMENT ON COLUMN change_handler_progress.next_retry_at IS 'when it is tried again; null: at once';
COMMENT ON COLUMN change_handler_progress.sqlstate IS 'SQLSTATE of its last error';
COMMENT ON COLUMN change_handler_progress.error IS 'message of its last error';
COMMENT ON COLUMN change_handler_progress.detail IS 'detail of its last error; null: it had none';
COMMENT ON COLUMN change_handler_progress.context IS 'where its last error was raised; null: it does not say';
COMMENT ON COLUMN change_handler_progress.alive IS 'whether a process works here, or did and has not ended in order';
COMMENT ON COLUMN change_handler_progress.running_event IS 'after such an end: the event that is run now, noted before it is; null: none was noted';
COMMENT ON COLUMN change_handler_progress.crashes IS 'how often that event was noted again, since the process that ran it had died';
COMMENT ON COLUMN change_handler_progress.starts IS 'how many processes in a row have died before they had come to an event';
COMMENT ON COLUMN change_handler_progress.definition_version
  IS 'transaction that last changed the definition; a process saves nothing that it made under another';

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
COMMENT ON TABLE change_handler_dead_letters IS 'events that handlers have given up; change_stream_dead_letters shows them';
COMMENT ON COLUMN change_handler_dead_letters.handler_name IS 'handler that has given up the event';
COMMENT ON COLUMN change_handler_dead_letters.stream_name IS 'change stream that the event came by';
COMMENT ON COLUMN change_handler_dead_letters.event_id IS 'number of the event, 1, 2, 3, ... within its change stream, in MongoDB''s order';
COMMENT ON COLUMN change_handler_dead_letters.operation_type
  IS 'MongoDB''s operationType (insert, update, replace, delete, drop, ...), snapshot: the document was there already, or gap: events are missing here, and extra says why';
COMMENT ON COLUMN change_handler_dead_letters.database_name IS 'database in which it happened; null: the event names none';
COMMENT ON COLUMN change_handler_dead_letters.collection_name IS 'collection in which it happened; null: the event names none';
COMMENT ON COLUMN change_handler_dead_letters.document_key
  IS '_id of the document, with the shard key where there is one; null: the event is about no document';
COMMENT ON COLUMN change_handler_dead_letters.full_document
  IS 'document after the change; for an update as full_document of the change stream asks; null: MongoDB sent none';
COMMENT ON COLUMN change_handler_dead_letters.full_document_before_change
  IS 'document before the change, as full_document_before_change of the change stream asks; null: MongoDB sent none';
COMMENT ON COLUMN change_handler_dead_letters.update_description
  IS 'what an update did: updatedFields, removedFields, truncatedArrays, disambiguatedPaths; null: it is no update';
COMMENT ON COLUMN change_handler_dead_letters.changed_fields
  IS 'dotted paths that the event wrote: those of an update, the top-level fields of an insert or replace; null: it wrote no document';
COMMENT ON COLUMN change_handler_dead_letters.cluster_time
  IS 'MongoDB''s clusterTime, with its ordinal as microseconds; the same for all events of a transaction';
COMMENT ON COLUMN change_handler_dead_letters.change_timestamp IS 'MongoDB''s wall clock at the change; null: it sent none (before MongoDB 6)';
COMMENT ON COLUMN change_handler_dead_letters.resume_token
  IS 'position right behind the event: MongoDB''s _data, then a dot and _typeBits where it sends them; sorts as text';
COMMENT ON COLUMN change_handler_dead_letters.full_document_source IS 'where full_document is from: insert, replace, lookup, post_image, snapshot, none, too_large';
COMMENT ON COLUMN change_handler_dead_letters.extra IS 'every other field of the event, and the fields of add_fields; null: there are none';
COMMENT ON COLUMN change_handler_dead_letters.received_at IS 'when the event was received';
COMMENT ON COLUMN change_handler_dead_letters.processing_status IS 'processing_status of the event when the handler gave it up';
COMMENT ON COLUMN change_handler_dead_letters.processing_time_ms IS 'processing_time_ms of the event when the handler gave it up';
COMMENT ON COLUMN change_handler_dead_letters.processing_attempts IS 'processing_attempts of the event when the handler gave it up';
COMMENT ON COLUMN change_handler_dead_letters.processing_error IS 'processing_error of the event when the handler gave it up';
COMMENT ON COLUMN change_handler_dead_letters.sqlstate IS 'SQLSTATE of the last error';
COMMENT ON COLUMN change_handler_dead_letters.error IS 'message of the last error';
COMMENT ON COLUMN change_handler_dead_letters.detail IS 'detail of the last error; null: it had none';
COMMENT ON COLUMN change_handler_dead_letters.context IS 'where the last error was raised; null: it does not say';
COMMENT ON COLUMN change_handler_dead_letters.attempts IS 'how often the handler was tried on the event';
COMMENT ON COLUMN change_handler_dead_letters.failed_at IS 'when it failed last';

CREATE INDEX change_handler_dead_letters_event_idx ON change_handler_dead_letters (stream_name, event_id);
COMMENT ON INDEX change_handler_dead_letters_event_idx IS 'which handlers have given up an event';

SELECT pg_catalog.pg_extension_config_dump('change_handlers', '');
SELECT pg_catalog.pg_extension_config_dump('change_handler_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_handler_dead_letters', '');

-- Rights: those of the stream.

ALTER TABLE change_handlers ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_handler_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_handler_dead_letters ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_handlers ON change_handlers FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));
COMMENT ON POLICY own_handlers ON change_handlers IS 'who sees the change stream sees its handlers';

CREATE POLICY own_handler_progress ON change_handler_progress FOR SELECT
  USING (handler_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.handler_name FROM @extschema@.change_handlers h)));
COMMENT ON POLICY own_handler_progress ON change_handler_progress IS 'who sees the handler sees its progress';

-- as for the events themselves
CREATE POLICY own_dead_letters ON change_handler_dead_letters FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')
    UNION ALL SELECT g.stream_name FROM @extschema@.change_stream_grants g WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));
COMMENT ON POLICY own_dead_letters ON change_handler_dead_letters
  IS 'owners see events of their change streams, and readers of those that they were granted';

-- @for table                       | readers
--      change_handlers             | pg_read_all_data, pg_monitor
--      change_handler_progress     | pg_read_all_data, pg_monitor
--      change_handler_dead_letters | pg_read_all_data
CREATE POLICY read_all ON {table} FOR SELECT TO {readers} USING (true);
COMMENT ON POLICY read_all ON {table} IS 'members of {readers} see everything';

-- @end
GRANT SELECT ON change_handlers, change_handler_progress, change_handler_dead_letters TO PUBLIC;
