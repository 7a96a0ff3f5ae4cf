-- Streams: tables and the rights on them.

-- Names of roles are kept as regrole, of servers as text, so that a dump can be restored anywhere.  There are no
-- foreign keys, since data is restored in any order: what belongs together is deleted together by the functions.

CREATE TABLE change_streams (
  stream_name text PRIMARY KEY CHECK (pg_catalog.octet_length(stream_name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.octet_length(stream_name) OPERATOR(pg_catalog.<=) 63
    AND stream_name OPERATOR(pg_catalog.<>) 'change_stream'),
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
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  paused_reason text,
  stopped_state text CHECK (stopped_state OPERATOR(pg_catalog.=) ANY (ARRAY['history_lost', 'error'])),
  stopped_reason text,
  skip_token text,
  state_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
  settings text[] NOT NULL DEFAULT '{}',
  system_identifier bigint NOT NULL,
  database_oid oid NOT NULL,
  exclude_fields text[],
  mask_fields text[],
  on_error text NOT NULL DEFAULT 'stop' CHECK (on_error OPERATOR(pg_catalog.=) ANY (ARRAY['stop', 'skip', 'park'])),
  stopped_token text COLLATE "C",
  keep_events boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE change_streams IS 'definition of each change stream; written only by the functions of the extension';
COMMENT ON COLUMN change_streams.stream_name IS 'name of the change stream, also of its notification channel';
COMMENT ON COLUMN change_streams.owner IS 'role that the change stream belongs to; filter, handlers and triggers on its events run as this role';
COMMENT ON COLUMN change_streams.server IS 'foreign server that leads to MongoDB';
COMMENT ON COLUMN change_streams.database_name IS 'watched database; *: every database of the deployment';
COMMENT ON COLUMN change_streams.collection_name IS 'watched collection; null: every collection of the database';
COMMENT ON COLUMN change_streams.filter IS 'condition on the event''s columns, as it was given; null: every event is kept';
COMMENT ON COLUMN change_streams.add_fields IS 'fields that are added to extra of each event, name = expression, ..., as they were given; null: none';
COMMENT ON COLUMN change_streams.operations IS 'operation types that are kept; null: all of them';
COMMENT ON COLUMN change_streams.pipeline IS 'further stages for MongoDB, as an array; null: none';
COMMENT ON COLUMN change_streams.full_document IS 'document that MongoDB is to send with an update: default (none), updateLookup, whenAvailable or required';
COMMENT ON COLUMN change_streams.full_document_before_change IS 'document from before the change that MongoDB is to send: off, whenAvailable or required';
COMMENT ON COLUMN change_streams.show_expanded_events IS 'whether MongoDB also sends events of indexes, views and collection options (from MongoDB 6 on)';
COMMENT ON COLUMN change_streams.max_await_time IS 'how long MongoDB waits for an event before it answers with none';
COMMENT ON COLUMN change_streams.batch_size IS 'how many events MongoDB sends at a time; null: what is fastest';
COMMENT ON COLUMN change_streams.resume_after IS 'resume token to start after, as it was given at the beginning; null: none was';
COMMENT ON COLUMN change_streams.start_after IS 'resume token to start after, also of an invalidate event, as it was given at the beginning; null: none was';
COMMENT ON COLUMN change_streams.start_at
  IS 'where to start, as it was given at the beginning: now, earliest, a timestamp, an operationTime of MongoDB or a token; null: nothing was, so now';
COMMENT ON COLUMN change_streams.initial_snapshot IS 'not supported yet, so false';
COMMENT ON COLUMN change_streams.retention IS 'how long events are kept after they were received; null: for ever';
COMMENT ON COLUMN change_streams.notify IS 'what is told on the notification channel: ids, heads (with operation, collection and document key) or off';
COMMENT ON COLUMN change_streams.paused IS 'whether the change stream is paused until resume_change_stream';
COMMENT ON COLUMN change_streams.pushed_filter IS 'part of filter and operations that MongoDB evaluates; null: none';
COMMENT ON COLUMN change_streams.local_filter IS 'part of filter that the worker evaluates; null: none';
COMMENT ON COLUMN change_streams.changed_at_event IS 'last event_id that the definition before the last change produced; 0: none';
COMMENT ON COLUMN change_streams.created_at IS 'when the change stream was made';
COMMENT ON COLUMN change_streams.paused_reason IS 'why it is paused; null: by its owner, or it is not';
COMMENT ON COLUMN change_streams.stopped_state IS 'error or history_lost, where it has stopped; null: it has not';
COMMENT ON COLUMN change_streams.stopped_reason IS 'why it has stopped, and what helps; null: it has not';
COMMENT ON COLUMN change_streams.skip_token IS 'resume token of one event that the change stream leaves out, as resume_change_stream was told; null: none';
COMMENT ON COLUMN change_streams.state_since IS 'when it was made, or last paused, resumed or stopped';
COMMENT ON COLUMN change_streams.settings IS 'settings of the creator under which filter and add_fields are evaluated, name=value';
COMMENT ON COLUMN change_streams.system_identifier IS 'database cluster in which the change stream was made; elsewhere it is paused as restored';
COMMENT ON COLUMN change_streams.database_oid IS 'database in which the change stream was made; in another it is paused as restored';
COMMENT ON COLUMN change_streams.exclude_fields IS 'dotted paths of fields that are left out of everything that is stored of an event; null: none';
COMMENT ON COLUMN change_streams.mask_fields IS 'dotted paths of fields that are stored with *** in place of their value; null: none';
COMMENT ON COLUMN change_streams.on_error
  IS 'what becomes of an event that cannot be written: stop before it, skip it, or park it in change_stream_dead_letters';
COMMENT ON COLUMN change_streams.stopped_token
  IS 'resume token of the event that the change stream stopped at, as it cannot be written; null: it stopped at none';
COMMENT ON COLUMN change_streams.keep_events
  IS 'whether events become rows of change_stream_events; false: they are numbered, notified of and written into mirrors only';

CREATE TABLE change_stream_progress (
  stream_name text PRIMARY KEY,
  resume_token text COLLATE "C",
  last_event_id bigint NOT NULL DEFAULT 0,
  events_processed bigint NOT NULL DEFAULT 0,
  last_event_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  restarts int NOT NULL DEFAULT 0,
  consecutive_errors int NOT NULL DEFAULT 0,
  last_error text,
  last_error_at timestamptz,
  filter_errors bigint NOT NULL DEFAULT 0,
  alive boolean NOT NULL DEFAULT false,
  running_token text COLLATE "C",
  crashes int NOT NULL DEFAULT 0,
  starts int NOT NULL DEFAULT 0,
  definition_version int NOT NULL DEFAULT 0,
  oplog_window interval,
  oplog_told int NOT NULL DEFAULT 0,
  last_event_token text COLLATE "C",
  deployment document,
  oplog_holds interval,
  kept_from text COLLATE "C",
  kept_from_event bigint NOT NULL DEFAULT 0,
  longest_outage interval
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_stream_progress IS 'position and counters of each change stream, committed with the events they count';
COMMENT ON COLUMN change_stream_progress.stream_name IS 'the change stream';
COMMENT ON COLUMN change_stream_progress.resume_token
  IS 'position behind the last event that is done, also of events that were not kept; null: it has not begun';
COMMENT ON COLUMN change_stream_progress.last_event_id IS 'number of the last event in change_stream_events; 0: none yet';
COMMENT ON COLUMN change_stream_progress.events_processed IS 'how many events were written since the change stream was made';
COMMENT ON COLUMN change_stream_progress.last_event_at IS 'when the last of them was received; null: none yet';
COMMENT ON COLUMN change_stream_progress.updated_at IS 'when the position was last saved';
COMMENT ON COLUMN change_stream_progress.restarts IS 'how often a process has taken up the change stream again';
COMMENT ON COLUMN change_stream_progress.consecutive_errors IS 'how many errors came one after another since the position was last saved';
COMMENT ON COLUMN change_stream_progress.last_error IS 'the last error, which stays when it is over; null: there was none';
COMMENT ON COLUMN change_stream_progress.last_error_at IS 'when it happened; null: there was none';
COMMENT ON COLUMN change_stream_progress.filter_errors IS 'how many events were left out as filter failed on them';
COMMENT ON COLUMN change_stream_progress.alive IS 'whether a process follows the change stream, or did and has not ended in order';
COMMENT ON COLUMN change_stream_progress.running_token
  IS 'after such an end: resume token of the event that is written now, noted before it is; null: events go in batches';
COMMENT ON COLUMN change_stream_progress.crashes IS 'how often that event was noted again, since the process that wrote it had died';
COMMENT ON COLUMN change_stream_progress.starts IS 'how many processes in a row have died before they had written an event or followed for some seconds';
COMMENT ON COLUMN change_stream_progress.definition_version IS 'how often the definition was changed; a process saves nothing that it made under another';
COMMENT ON COLUMN change_stream_progress.oplog_window IS 'how far back MongoDB''s oplog reached when a process last looked; null: none could';
COMMENT ON COLUMN change_stream_progress.longest_outage
  IS 'the longest time that it could not be followed, though it was not paused: for MongoDB, the network or PostgreSQL; null: it always could';
COMMENT ON COLUMN change_stream_progress.oplog_told
  IS 'share of the oplog, in percent, that lay behind the position when change_stream_alert was told of it; 0: it was not';
COMMENT ON COLUMN change_stream_progress.last_event_token
  IS 'resume token of an event that MongoDB''s history must have, or it is not the one that was followed; null: none yet';
COMMENT ON COLUMN change_stream_progress.deployment IS 'what MongoDB said of itself: name, id and hosts of the replica set, and by which uri; null: nothing yet';
COMMENT ON COLUMN change_stream_progress.oplog_holds
  IS 'how far back it would reach when full, at its pace until then, which is what change_stream_alert goes by; null: as oplog_window';
COMMENT ON COLUMN change_stream_progress.kept_from
  IS 'position from which on no event is missing, and all are by the definition of now; null: not known yet';
COMMENT ON COLUMN change_stream_progress.kept_from_event IS 'number of the last event up to that position; 0: there is none';

-- Collation C: tokens sort as bytes, and names need no more.
CREATE TABLE change_stream_events (
  stream_name text COLLATE "C" NOT NULL,
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
  resume_token text COLLATE "C",
  full_document_source text,
  extra document,
  received_at timestamptz,
  processing_status text,
  processing_time_ms numeric,
  processing_attempts int,
  processing_error text,
  PRIMARY KEY (stream_name, event_id)
);
COMMENT ON TABLE change_stream_events IS 'events of all change streams, each exactly once, numbered within its stream in commit order';
COMMENT ON COLUMN change_stream_events.stream_name IS 'change stream that the event came by';
COMMENT ON COLUMN change_stream_events.event_id IS 'number of the event, 1, 2, 3, ... within its change stream, in MongoDB''s order';
COMMENT ON COLUMN change_stream_events.operation_type
  IS 'MongoDB''s operationType (insert, update, replace, delete, drop, ...), snapshot: the document was there already, or gap: events are missing here, and extra says why';
COMMENT ON COLUMN change_stream_events.database_name IS 'database in which it happened; null: the event names none';
COMMENT ON COLUMN change_stream_events.collection_name IS 'collection in which it happened; null: the event names none';
COMMENT ON COLUMN change_stream_events.document_key IS '_id of the document, with the shard key where there is one; null: the event is about no document';
COMMENT ON COLUMN change_stream_events.full_document
  IS 'document after the change; for an update as full_document of the change stream asks; null: MongoDB sent none';
COMMENT ON COLUMN change_stream_events.full_document_before_change
  IS 'document before the change, as full_document_before_change of the change stream asks; null: MongoDB sent none';
COMMENT ON COLUMN change_stream_events.update_description
  IS 'what an update did: updatedFields, removedFields, truncatedArrays, disambiguatedPaths; null: it is no update';
COMMENT ON COLUMN change_stream_events.changed_fields
  IS 'dotted paths that the event wrote: those of an update, the top-level fields of an insert or replace; null: it wrote no document';
COMMENT ON COLUMN change_stream_events.cluster_time IS 'MongoDB''s clusterTime, with its ordinal as microseconds; the same for all events of a transaction';
COMMENT ON COLUMN change_stream_events.change_timestamp IS 'MongoDB''s wall clock at the change; null: it sent none (before MongoDB 6)';
COMMENT ON COLUMN change_stream_events.resume_token
  IS 'position right behind the event: MongoDB''s _data, then a dot and _typeBits where it sends them; sorts as text';
COMMENT ON COLUMN change_stream_events.full_document_source IS 'where full_document is from: insert, replace, lookup, post_image, snapshot, none, too_large';
COMMENT ON COLUMN change_stream_events.extra IS 'every other field of the event, and the fields of add_fields; null: there are none';
COMMENT ON COLUMN change_stream_events.received_at IS 'when the event was received';
COMMENT ON COLUMN change_stream_events.processing_status
  IS 'what the handlers of the change stream have made of it: pending, retry, error or processed, which it is at once without a handler';
COMMENT ON COLUMN change_stream_events.processing_time_ms IS 'milliseconds that all handlers together took; null: none has run';
COMMENT ON COLUMN change_stream_events.processing_attempts IS 'how often handlers ran on it, all of them together; null or 0: not yet';
COMMENT ON COLUMN change_stream_events.processing_error IS 'last error of an event that is not done; null: there is none';

CREATE INDEX change_stream_events_cluster_time_idx ON change_stream_events USING brin (cluster_time) WITH (pages_per_range = 32);
COMMENT ON INDEX change_stream_events_cluster_time_idx IS 'events of a span of time, over all change streams';

CREATE FUNCTION change_stream_events_truncated() RETURNS trigger
  AS 'MODULE_PATHNAME', 'mcs_change_stream_events_truncated' LANGUAGE C;
COMMENT ON FUNCTION change_stream_events_truncated() IS 'leaves a gap row in the place of each stream''s last event, for who has not read it';
REVOKE EXECUTE ON FUNCTION change_stream_events_truncated() FROM PUBLIC;

CREATE TRIGGER change_stream_events_truncated AFTER TRUNCATE ON change_stream_events
  FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.change_stream_events_truncated();
COMMENT ON TRIGGER change_stream_events_truncated ON change_stream_events IS 'tells by a gap row of events that are gone';

CREATE TABLE change_stream_kept_events (
  stream_name text PRIMARY KEY,
  owner regrole NOT NULL,
  last_event_id bigint NOT NULL
);
COMMENT ON TABLE change_stream_kept_events IS 'whose the events are that dropped change streams left behind (keep_events)';
COMMENT ON COLUMN change_stream_kept_events.stream_name IS 'the dropped change stream';
COMMENT ON COLUMN change_stream_kept_events.owner IS 'role that it belonged to, which may go on reading the events';
COMMENT ON COLUMN change_stream_kept_events.last_event_id IS 'number of its last event; a new change stream of the name goes on after it';

-- The event's columns one by one, as in change_handler_dead_letters.
CREATE TABLE change_stream_parked_events (
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
  resume_token text COLLATE "C",
  full_document_source text,
  extra document,
  received_at timestamptz,
  sqlstate text,
  error text,
  detail text,
  context text,
  attempts int NOT NULL DEFAULT 1,
  failed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (stream_name, event_id)
);
COMMENT ON TABLE change_stream_parked_events
  IS 'events that could not be written, each in place of its gap row; change_stream_dead_letters shows them without a handler';
COMMENT ON COLUMN change_stream_parked_events.stream_name IS 'change stream that the event came by';
COMMENT ON COLUMN change_stream_parked_events.event_id IS 'number of the event, which its gap row in change_stream_events has';
COMMENT ON COLUMN change_stream_parked_events.operation_type IS 'MongoDB''s operationType, such as insert, update, replace or delete';
COMMENT ON COLUMN change_stream_parked_events.database_name IS 'database in which it happened; null: the event names none';
COMMENT ON COLUMN change_stream_parked_events.collection_name IS 'collection in which it happened; null: the event names none';
COMMENT ON COLUMN change_stream_parked_events.document_key
  IS '_id of the document, with the shard key where there is one; null: the event is about no document';
COMMENT ON COLUMN change_stream_parked_events.full_document
  IS 'document after the change; for an update as full_document of the change stream asks; null: MongoDB sent none';
COMMENT ON COLUMN change_stream_parked_events.full_document_before_change
  IS 'document before the change, as full_document_before_change of the change stream asks; null: MongoDB sent none';
COMMENT ON COLUMN change_stream_parked_events.update_description
  IS 'what an update did: updatedFields, removedFields, truncatedArrays, disambiguatedPaths; null: it is no update';
COMMENT ON COLUMN change_stream_parked_events.changed_fields
  IS 'dotted paths that the event wrote: those of an update, the top-level fields of an insert or replace; null: it wrote no document';
COMMENT ON COLUMN change_stream_parked_events.cluster_time
  IS 'MongoDB''s clusterTime, with its ordinal as microseconds; the same for all events of a transaction';
COMMENT ON COLUMN change_stream_parked_events.change_timestamp IS 'MongoDB''s wall clock at the change; null: it sent none (before MongoDB 6)';
COMMENT ON COLUMN change_stream_parked_events.resume_token
  IS 'position right behind the event: MongoDB''s _data, then a dot and _typeBits where it sends them; sorts as text';
COMMENT ON COLUMN change_stream_parked_events.full_document_source IS 'where full_document is from: insert, replace, lookup, post_image, snapshot, none, too_large';
COMMENT ON COLUMN change_stream_parked_events.extra IS 'every other field of the event, and the fields of add_fields; null: there are none';
COMMENT ON COLUMN change_stream_parked_events.received_at IS 'when the event was received';
COMMENT ON COLUMN change_stream_parked_events.sqlstate IS 'SQLSTATE of the error that kept the event from being written';
COMMENT ON COLUMN change_stream_parked_events.error IS 'message of that error';
COMMENT ON COLUMN change_stream_parked_events.detail IS 'detail of that error; null: it had none';
COMMENT ON COLUMN change_stream_parked_events.context IS 'where that error was raised; null: it does not say';
COMMENT ON COLUMN change_stream_parked_events.attempts IS 'how often it was tried to write the event';
COMMENT ON COLUMN change_stream_parked_events.failed_at IS 'when it failed last';

CREATE TABLE change_stream_metrics (
  stream_name text PRIMARY KEY,
  events_processed bigint NOT NULL DEFAULT 0,
  last_processed_at timestamptz
);
COMMENT ON TABLE change_stream_metrics IS 'one row for each change stream, for its owner''s handlers to update; the extension never writes it after making it';
COMMENT ON COLUMN change_stream_metrics.stream_name IS 'the change stream';
COMMENT ON COLUMN change_stream_metrics.events_processed IS 'for the owner''s handlers to count in';
COMMENT ON COLUMN change_stream_metrics.last_processed_at IS 'for the owner''s handlers to note when';

CREATE TABLE change_stream_grants (
  stream_name text,
  reader regrole,
  PRIMARY KEY (stream_name, reader)
);
COMMENT ON TABLE change_stream_grants IS 'who may read change streams of others, by grant_change_stream';
COMMENT ON COLUMN change_stream_grants.stream_name IS 'the change stream';
COMMENT ON COLUMN change_stream_grants.reader IS 'role that may read it, with its members';

SELECT pg_catalog.pg_extension_config_dump('change_streams', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_kept_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_parked_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_metrics', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_grants', '');

-- Before the policies, one of which calls it.
CREATE FUNCTION change_stream_is_own(stream_name text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_change_stream_is_own' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION change_stream_is_own(text) IS 'does a change stream of this name belong to the caller, or to a role whose privileges it has?';

-- Rights.  Everybody may look; row-level security shows a role what belongs to it or to a role whose privileges it has,
-- and the streams of others that it may read.  Policies for pg_monitor and pg_read_all_data stand alone, so that the others,
-- which everybody's queries have, stay conditions that an index can serve.

ALTER TABLE change_streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_kept_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_parked_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_grants ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_streams ON change_streams FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own_streams ON change_streams IS 'a role sees its own and those of roles whose privileges it has';

CREATE POLICY granted_streams ON change_streams FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT g.stream_name FROM @extschema@.change_stream_grants g
                                                       WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));
COMMENT ON POLICY granted_streams ON change_streams IS 'a reader sees what grant_change_stream let it read';

CREATE POLICY own_kept_events ON change_stream_kept_events FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own_kept_events ON change_stream_kept_events IS 'a role sees its own and those of roles whose privileges it has';

CREATE POLICY own_progress ON change_stream_progress FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));
COMMENT ON POLICY own_progress ON change_stream_progress IS 'who sees the change stream sees its progress';

-- not by what change_streams shows: pg_monitor sees all of that, but no events
CREATE POLICY own_events ON change_stream_events FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')
    UNION ALL SELECT k.stream_name FROM @extschema@.change_stream_kept_events k WHERE pg_catalog.pg_has_role(k.owner, 'USAGE')
    UNION ALL SELECT g.stream_name FROM @extschema@.change_stream_grants g WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));
COMMENT ON POLICY own_events ON change_stream_events
  IS 'owners see events of their change streams, also of dropped ones, and readers of those that they were granted';

CREATE POLICY own_parked_events ON change_stream_parked_events FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')
    UNION ALL SELECT g.stream_name FROM @extschema@.change_stream_grants g WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));
COMMENT ON POLICY own_parked_events ON change_stream_parked_events
  IS 'owners see events of their change streams, and readers of those that they were granted';

CREATE POLICY own_metrics ON change_stream_metrics
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE'))));
COMMENT ON POLICY own_metrics ON change_stream_metrics IS 'owners see and update the rows of their change streams';

CREATE POLICY own_grants ON change_stream_grants FOR SELECT
  USING (pg_catalog.pg_has_role(reader, 'USAGE') OR @extschema@.change_stream_is_own(stream_name));
COMMENT ON POLICY own_grants ON change_stream_grants IS 'owners see who reads their change streams, and readers what they may read';

-- @for table                       | readers
--      change_streams              | pg_read_all_data, pg_monitor
--      change_stream_progress      | pg_read_all_data, pg_monitor
--      change_stream_kept_events   | pg_read_all_data, pg_monitor
--      change_stream_metrics       | pg_read_all_data, pg_monitor
--      change_stream_grants        | pg_read_all_data, pg_monitor
--      change_stream_events        | pg_read_all_data
--      change_stream_parked_events | pg_read_all_data
CREATE POLICY read_all ON {table} FOR SELECT TO {readers} USING (true);
COMMENT ON POLICY read_all ON {table} IS 'members of {readers} see everything';

-- @end
GRANT SELECT ON change_streams, change_stream_progress, change_stream_events, change_stream_kept_events, change_stream_metrics,
  change_stream_grants, change_stream_parked_events TO PUBLIC;
-- not the table: that would let anyone lock it
GRANT UPDATE (events_processed, last_processed_at) ON change_stream_metrics TO PUBLIC;
