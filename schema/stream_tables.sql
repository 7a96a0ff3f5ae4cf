-- Streams: tables and the rights on them.

-- 3.1 Tables.  Names of roles are kept as regrole, of servers as text, so that a dump can be restored anywhere.  There are no
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
  stopped_token text COLLATE "C"
);
COMMENT ON TABLE change_streams IS 'definition of each change stream; written only by the functions of the extension';
COMMENT ON COLUMN change_streams.database_name IS 'watched database, * for every database of the deployment';
COMMENT ON COLUMN change_streams.changed_at_event IS 'the last event_id that the definition before the last change produced';
COMMENT ON COLUMN change_streams.pushed_filter IS 'the part of filter and operations that MongoDB evaluates';
COMMENT ON COLUMN change_streams.local_filter IS 'the part of filter that the worker evaluates';
COMMENT ON COLUMN change_streams.skip_token IS 'resume token of one event that the stream leaves out, as resume_change_stream was told';
COMMENT ON COLUMN change_streams.settings IS 'settings of the creator under which filter and add_fields are evaluated';
COMMENT ON COLUMN change_streams.exclude_fields IS 'paths of fields that are left out of everything that is stored of an event';
COMMENT ON COLUMN change_streams.mask_fields IS 'paths of fields that are stored with *** in place of their value';
COMMENT ON COLUMN change_streams.system_identifier IS 'the database cluster in which the stream was made; elsewhere it is paused as restored';

COMMENT ON COLUMN change_streams.on_error IS 'what becomes of an event that cannot be written: stop before it, skip it, or park it in change_stream_dead_letters';
COMMENT ON COLUMN change_streams.stopped_token IS 'resume token of the event that the stream stopped at, as it cannot be written';

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
  deployment document
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON COLUMN change_stream_progress.last_event_token IS 'an event that MongoDB''s history must have, or it is not the one that was followed';
COMMENT ON COLUMN change_stream_progress.deployment IS 'what MongoDB said of itself: name, id and hosts of the replica set';
COMMENT ON TABLE change_stream_progress IS 'position and counters of each change stream, committed with the events they count';
COMMENT ON COLUMN change_stream_progress.alive IS 'a process follows the change stream, or did and has not ended in order';
COMMENT ON COLUMN change_stream_progress.running_token IS 'after such an end: the event that is written now, noted before it is';
COMMENT ON COLUMN change_stream_progress.crashes IS 'how many times more it was noted, since who wrote it had died';
COMMENT ON COLUMN change_stream_progress.starts IS 'how many processes in a row have died before they had written an event or followed for some seconds';
COMMENT ON COLUMN change_stream_progress.definition_version IS 'how often the definition was changed; a process saves nothing that it made under another';
COMMENT ON COLUMN change_stream_progress.oplog_window IS 'how far back MongoDB''s oplog reached when a process last looked';
COMMENT ON COLUMN change_stream_progress.oplog_told IS 'the part of it, in percent, that lay behind the position when change_stream_alert was told of it';

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
CREATE INDEX change_stream_events_cluster_time_idx ON change_stream_events USING brin (cluster_time) WITH (pages_per_range = 32);
-- tokens sort as bytes, and names need no more
COMMENT ON TABLE change_stream_events IS 'the events of all change streams, each exactly once, numbered within its stream in commit order';

CREATE FUNCTION change_stream_events_truncated() RETURNS trigger AS 'MODULE_PATHNAME', 'mcs_change_stream_events_truncated'
LANGUAGE C;
REVOKE EXECUTE ON FUNCTION change_stream_events_truncated() FROM PUBLIC;
COMMENT ON FUNCTION change_stream_events_truncated() IS 'leaves a gap row in the place of each stream''s last event, for who has not read it';

CREATE TRIGGER change_stream_events_truncated AFTER TRUNCATE ON change_stream_events
  FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.change_stream_events_truncated();
COMMENT ON TRIGGER change_stream_events_truncated ON change_stream_events IS 'tells by a gap row of events that are gone';

CREATE TABLE change_stream_kept_events (
  stream_name text PRIMARY KEY,
  owner regrole NOT NULL,
  last_event_id bigint NOT NULL
);
COMMENT ON TABLE change_stream_kept_events IS 'whose the events are that dropped change streams left behind (keep_events)';

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
COMMENT ON TABLE change_stream_parked_events IS 'events that could not be written, each in place of its gap row; change_stream_dead_letters shows them without a handler';

CREATE TABLE change_stream_metrics (
  stream_name text PRIMARY KEY,
  events_processed bigint NOT NULL DEFAULT 0,
  last_processed_at timestamptz
);
COMMENT ON TABLE change_stream_metrics IS 'a row a change stream for its owner''s handlers to update; the extension never writes it after making it';

CREATE TABLE change_stream_grants (
  stream_name text,
  reader regrole,
  PRIMARY KEY (stream_name, reader)
);
COMMENT ON TABLE change_stream_grants IS 'who may read streams of others, by grant_change_stream';
COMMENT ON COLUMN change_stream_grants.stream_name IS 'the change stream';
COMMENT ON COLUMN change_stream_grants.reader IS 'the role that may read it, with its members';

SELECT pg_catalog.pg_extension_config_dump('change_streams', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_kept_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_parked_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_metrics', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_grants', '');

-- Before the policies, one of which calls it.
CREATE FUNCTION change_stream_is_own(stream_name text) RETURNS boolean AS 'MODULE_PATHNAME', 'mcs_change_stream_is_own'
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION change_stream_is_own(text) IS 'does a change stream of this name belong to the caller, or to a role whose privileges it has?';

-- 3.2 Rights.  Everybody may look; row-level security shows a role what belongs to it or to a role whose privileges it has,
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

CREATE POLICY granted_streams ON change_streams FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT g.stream_name FROM @extschema@.change_stream_grants g
                                                       WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));

CREATE POLICY own_kept_events ON change_stream_kept_events FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));

CREATE POLICY own_progress ON change_stream_progress FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));

-- not by what change_streams shows: pg_monitor sees all of that, but no events
CREATE POLICY own_events ON change_stream_events FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')
    UNION ALL SELECT k.stream_name FROM @extschema@.change_stream_kept_events k WHERE pg_catalog.pg_has_role(k.owner, 'USAGE')
    UNION ALL SELECT g.stream_name FROM @extschema@.change_stream_grants g WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));

CREATE POLICY own_parked_events ON change_stream_parked_events FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')
    UNION ALL SELECT g.stream_name FROM @extschema@.change_stream_grants g WHERE pg_catalog.pg_has_role(g.reader, 'USAGE'))));

CREATE POLICY own_metrics ON change_stream_metrics
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT s.stream_name FROM @extschema@.change_streams s WHERE pg_catalog.pg_has_role(s.owner, 'USAGE'))));

CREATE POLICY own_grants ON change_stream_grants FOR SELECT
  USING (pg_catalog.pg_has_role(reader, 'USAGE') OR @extschema@.change_stream_is_own(stream_name));

CREATE POLICY read_all ON change_streams FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_stream_progress FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_stream_kept_events FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_stream_metrics FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_stream_grants FOR SELECT TO pg_read_all_data, pg_monitor USING (true);
CREATE POLICY read_all ON change_stream_events FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY read_all ON change_stream_parked_events FOR SELECT TO pg_read_all_data USING (true);

GRANT SELECT ON change_streams, change_stream_progress, change_stream_events, change_stream_kept_events, change_stream_metrics,
  change_stream_grants, change_stream_parked_events TO PUBLIC;
-- not the table: that would let anyone lock it
GRANT UPDATE (events_processed, last_processed_at) ON change_stream_metrics TO PUBLIC;
