-- Streams: views and what they read.

CREATE FUNCTION change_stream_workers(OUT stream_name text, OUT state text, OUT reason text, OUT state_since timestamptz, OUT pid int,
  OUT events_per_second double precision, OUT lag interval, OUT oplog_window interval, OUT last_error text, OUT next_retry_at timestamptz) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_stream_workers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_stream_workers() IS 'what shared memory knows of the current database''s streams that the caller may see';

CREATE FUNCTION change_stream_absence(owner oid, handler boolean, OUT state text, OUT reason text) RETURNS record
  AS 'MODULE_PATHNAME', 'mcs_change_stream_absence' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION change_stream_absence(oid, boolean) IS 'why a change stream, or a handler, of a role has no process that shall have one';

CREATE VIEW change_stream_status WITH (security_invoker = true) AS
SELECT s.stream_name,
       CASE WHEN s.stopped_state IS NOT NULL THEN s.stopped_state
            WHEN s.paused OR s.restored THEN 'paused'
            ELSE coalesce(w.state, a.state) END AS state,
       CASE WHEN s.stopped_state IS NOT NULL THEN s.stopped_reason
            WHEN s.paused THEN coalesce(s.paused_reason, 'paused by its owner')
            WHEN s.restored THEN 'restored'
            ELSE coalesce(w.reason, a.reason) END AS reason,
       CASE WHEN s.stopped_state IS NOT NULL OR s.paused OR s.restored THEN s.state_since
            ELSE coalesce(w.state_since, s.state_since) END AS state_since,
       w.pid,
       coalesce(p.events_processed, 0) AS events_processed,
       CASE WHEN s.stopped_state IS NULL AND NOT s.paused AND NOT s.restored THEN coalesce(w.events_per_second, 0) ELSE 0 END AS events_per_second,
       w.lag,
       p.last_event_at,
       coalesce(w.oplog_window, p.oplog_window) AS oplog_window,
       coalesce(w.last_error, p.last_error) AS last_error,
       w.next_retry_at
FROM (SELECT *, system_identifier OPERATOR(pg_catalog.<>) (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c)
                OR database_oid OPERATOR(pg_catalog.<>) (SELECT d.oid FROM pg_catalog.pg_database d
                                    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS restored
      FROM @extschema@.change_streams) s
     LEFT JOIN @extschema@.change_stream_progress p USING (stream_name)
     LEFT JOIN @extschema@.change_stream_workers() w USING (stream_name)
     LEFT JOIN LATERAL @extschema@.change_stream_absence(s.owner, false) a ON w.stream_name IS NULL;
COMMENT ON VIEW change_stream_status IS 'state, reason, lag and rate of each change stream';
COMMENT ON COLUMN change_stream_status.stream_name IS 'the change stream';
COMMENT ON COLUMN change_stream_status.state IS 'starting, snapshot (documents that exist are copied), active, retrying, paused, history_lost or error';
COMMENT ON COLUMN change_stream_status.reason IS 'why it is in this state, and what helps; null: nothing is to be said';
COMMENT ON COLUMN change_stream_status.state_since IS 'since when it is in this state';
COMMENT ON COLUMN change_stream_status.pid IS 'process that follows it; null: none does';
COMMENT ON COLUMN change_stream_status.events_processed IS 'how many events were written since the change stream was made';
COMMENT ON COLUMN change_stream_status.events_per_second IS 'pace at which events are written now';
COMMENT ON COLUMN change_stream_status.lag IS 'how far its position is behind MongoDB''s time; null: no process follows it';
COMMENT ON COLUMN change_stream_status.last_event_at IS 'when the last event was received; null: none yet';
COMMENT ON COLUMN change_stream_status.oplog_window IS 'how far back MongoDB''s oplog reached when last looked at; null: it could not be';
COMMENT ON COLUMN change_stream_status.last_error IS 'the last error, which stays when it is over; null: there was none';
COMMENT ON COLUMN change_stream_status.next_retry_at IS 'when it is tried again; never in the past: now while it is being tried; null: nothing is to be';
GRANT SELECT ON change_stream_status TO PUBLIC;

CREATE FUNCTION event_cluster_timestamp(resume_token text) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_event_cluster_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION event_cluster_timestamp(text) IS 'the exact cluster time in a resume token, as a BSON timestamp';
