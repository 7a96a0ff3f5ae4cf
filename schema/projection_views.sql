-- Projections: views and what they read.

CREATE FUNCTION change_projection_workers(OUT owner oid, OUT state text, OUT reason text, OUT pid int) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_projection_workers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_projection_workers() IS 'what shared memory knows of the processes that refresh the current database''s projections, of roles that the caller may see';

-- A view, so that it becomes a part of the queries that read it, whose plans are kept.
CREATE VIEW change_projection_standings WITH (security_invoker = true) AS
WITH steps (view_name, stream_name, step, reached, newest, position_at) AS (
  SELECT s.view_name, s.stream_name, pg_catalog.concat_ws(' ', 'stream', s.stream_name, p.last_event_id), p.last_event_id, p.last_event_id,
         @extschema@.change_stream_position_time(p.resume_token)
  FROM @extschema@.change_projection_sources s JOIN @extschema@.change_stream_progress p USING (stream_name)
  WHERE s.handler_name IS NULL
  UNION ALL
  -- behind its stream, a handler is done with what happened before the last event that it has seen
  SELECT s.view_name, s.stream_name, pg_catalog.concat_ws(' ', 'handler', s.handler_name, h.total), h.reached, p.last_event_id,
         CASE WHEN h.reached OPERATOR(pg_catalog.>=) p.last_event_id THEN @extschema@.change_stream_position_time(p.resume_token)
              ELSE @extschema@.change_projection_event_time(s.stream_name, h.reached) END
  FROM @extschema@.change_projection_sources s JOIN @extschema@.change_stream_progress p USING (stream_name)
       JOIN (SELECT handler_name, pg_catalog.min(last_event_id) AS reached, pg_catalog.sum(last_event_id) AS total
             FROM @extschema@.change_handler_progress GROUP BY handler_name) h USING (handler_name)
  UNION ALL
  SELECT s.view_name, NULL, pg_catalog.concat_ws(' ', 'projection', s.source_view, q.refreshes), NULL, NULL, NULL
  FROM @extschema@.change_projection_sources s JOIN @extschema@.change_projection_progress q ON q.view_name OPERATOR(pg_catalog.=) s.source_view),
of_streams (view_name, stream_name, steps, reached, newest, position_at) AS (
  SELECT x.view_name, x.stream_name, pg_catalog.string_agg(x.step, '; ' ORDER BY x.step COLLATE "C"), pg_catalog.min(x.reached), pg_catalog.max(x.newest),
         CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) pg_catalog.count(x.position_at) THEN pg_catalog.min(x.position_at) END
  FROM steps x GROUP BY x.view_name, x.stream_name),
positions (view_name, seen, streams, reached, newest, position_at) AS (
  SELECT o.view_name, pg_catalog.string_agg(o.steps, '; ' ORDER BY o.stream_name COLLATE "C"),
         pg_catalog.array_agg(o.stream_name ORDER BY o.stream_name COLLATE "C") FILTER (WHERE o.stream_name IS NOT NULL),
         pg_catalog.sum(o.reached)::bigint, pg_catalog.sum(o.newest)::bigint,
         CASE WHEN pg_catalog.count(o.stream_name) OPERATOR(pg_catalog.=) pg_catalog.count(o.position_at) THEN pg_catalog.min(o.position_at) END
  FROM of_streams o GROUP BY o.view_name),
standings AS (
  SELECT p.view_name, c.relowner, x.streams, x.seen, x.reached, x.newest, p.window_length, g.told_until,
         CASE WHEN p.window_length IS NOT NULL THEN pg_catalog.date_bin(p.window_length, x.position_at, '1970-01-01 00:00:00+00') END AS closed_until,
         c.relispopulated AND pg_catalog.has_database_privilege(c.relowner, pg_catalog.current_database()::pg_catalog.text, 'TEMPORARY') AND EXISTS (
           SELECT FROM pg_catalog.pg_index i
           WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
             AND i.indpred IS NULL AND i.indexprs IS NULL) AS concurrently,
         p.every, g.last_refresh_at, coalesce(g.next_refresh_at, p.created_at) AS not_before,
         coalesce(g.refreshes, 0) OPERATOR(pg_catalog.=) 0 OR g.failures OPERATOR(pg_catalog.>) 0
           OR (p.every IS NULL AND coalesce(x.seen, '') OPERATOR(pg_catalog.<>) coalesce(g.seen, '')) AS stale,
         NOT p.paused AND p.stopped_reason IS NULL AS runs
  FROM @extschema@.change_projections p
       JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) @extschema@.change_projection_view(p.view_name)
       LEFT JOIN @extschema@.change_projection_progress g ON g.view_name OPERATOR(pg_catalog.=) p.view_name
       LEFT JOIN positions x ON x.view_name OPERATOR(pg_catalog.=) p.view_name),
due AS (
  SELECT s.*, CASE WHEN NOT s.runs THEN NULL
                   WHEN s.stale OR s.closed_until OPERATOR(pg_catalog.>) coalesce(s.told_until, '-infinity') THEN s.not_before
                   WHEN s.every IS NOT NULL THEN greatest(s.not_before, s.last_refresh_at OPERATOR(pg_catalog.+) s.every) END AS due_at
  FROM standings s)
SELECT d.view_name, d.relowner AS owner, d.streams, d.seen, d.reached, d.newest, d.closed_until, d.concurrently, d.runs, d.due_at,
       CASE WHEN d.runs THEN least(d.due_at, d.told_until OPERATOR(pg_catalog.+) d.window_length) END AS look_at
FROM due d;
COMMENT ON VIEW change_projection_standings
  IS 'each projection whose view is there: where its sources are, which windows are over, when it is due; what the processes look at';
COMMENT ON COLUMN change_projection_standings.view_name IS 'the projection';
COMMENT ON COLUMN change_projection_standings.owner IS 'owner of the materialized view';
COMMENT ON COLUMN change_projection_standings.streams IS 'change streams after whose events it is refreshed; null: none';
COMMENT ON COLUMN change_projection_standings.seen IS 'where its sources are; null: it has none';
COMMENT ON COLUMN change_projection_standings.reached IS 'how many events of its change streams it could show, all together; null: it has none';
COMMENT ON COLUMN change_projection_standings.newest IS 'how many there are; null: it has none';
COMMENT ON COLUMN change_projection_standings.closed_until IS 'end of the last window into which no event can come any more; null: it has no windows, or that is not known';
COMMENT ON COLUMN change_projection_standings.concurrently IS 'whether it can be refreshed CONCURRENTLY';
COMMENT ON COLUMN change_projection_standings.runs IS 'whether it shall be refreshed: it is not paused, and has not stopped';
COMMENT ON COLUMN change_projection_standings.due_at IS 'when it is to be refreshed; null: not before something happens';
COMMENT ON COLUMN change_projection_standings.look_at IS 'the same, or when a window is over; null: the same';
GRANT SELECT ON change_projection_standings TO PUBLIC;

CREATE VIEW change_projection_status WITH (security_invoker = true) AS
SELECT p.view_name,
       coalesce(p.streams, s.streams) AS streams,
       CASE WHEN p.stopped_reason IS NOT NULL OR c.oid IS NULL THEN 'error'
            WHEN p.paused THEN 'paused'
            WHEN g.failures OPERATOR(pg_catalog.>) 0 THEN 'retrying'
            WHEN g.running AND w.pid IS NOT NULL THEN 'active'
            WHEN w.owner IS NULL THEN a.state
            WHEN w.pid IS NULL AND w.state OPERATOR(pg_catalog.<>) 'idle' THEN w.state
            ELSE 'idle' END AS state,
       CASE WHEN p.stopped_reason IS NOT NULL THEN p.stopped_reason
            WHEN c.oid IS NULL THEN 'there is no such materialized view, as after a restore of a part: REFRESH has nothing to refresh'
            WHEN p.paused THEN 'paused by its owner'
            WHEN g.failures OPERATOR(pg_catalog.>) 0
              THEN pg_catalog.format('a refresh failed (%s in a row) and is tried again: %s', g.failures, g.error)
            WHEN g.running AND w.pid IS NOT NULL THEN 'it is being refreshed'
            WHEN w.owner IS NULL THEN a.reason
            WHEN w.pid IS NULL AND w.state OPERATOR(pg_catalog.<>) 'idle' THEN w.reason
            ELSE pg_catalog.concat_ws('; ',
              CASE WHEN s.due_at OPERATOR(pg_catalog.<=) pg_catalog.now() THEN 'waits for its turn'
                   WHEN s.due_at IS NOT NULL THEN 'waits for the time of the next refresh'
                   ELSE 'waits for events' END,
              CASE WHEN NOT s.concurrently
                   THEN 'while it is refreshed nobody can read it: CREATE UNIQUE INDEX on columns of it, with the right to make temporary tables, lets them' END) END AS reason,
       g.last_refresh_at,
       g.refresh_time,
       s.due_at AS next_refresh_at,
       CASE WHEN s.newest OPERATOR(pg_catalog.<) g.reached THEN 0 ELSE s.newest OPERATOR(pg_catalog.-) g.reached END AS behind,
       coalesce(g.refreshes, 0) AS refreshes,
       coalesce(g.failures, 0) AS failures,
       g.error AS last_error,
       w.pid
FROM @extschema@.change_projections p
     LEFT JOIN @extschema@.change_projection_progress g USING (view_name)
     LEFT JOIN @extschema@.change_projection_standings s USING (view_name)
     LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) @extschema@.change_projection_view(p.view_name)
     LEFT JOIN @extschema@.change_projection_workers() w ON w.owner OPERATOR(pg_catalog.=) c.relowner
     LEFT JOIN LATERAL @extschema@.change_stream_absence(c.relowner, true) a ON w.owner IS NULL;
COMMENT ON VIEW change_projection_status IS 'state, reason and last refresh of each projection';
COMMENT ON COLUMN change_projection_status.view_name IS 'the materialized view, with its schema, as SQL writes it';
COMMENT ON COLUMN change_projection_status.streams IS 'change streams after whose events it is refreshed; null: it is refreshed at intervals only, or after another projection';
COMMENT ON COLUMN change_projection_status.state IS 'active (it is being refreshed), idle, starting, retrying, paused or error';
COMMENT ON COLUMN change_projection_status.reason IS 'why it is in this state, and what helps';
COMMENT ON COLUMN change_projection_status.last_refresh_at IS 'when the last refresh began that has succeeded; null: there was none';
COMMENT ON COLUMN change_projection_status.refresh_time IS 'how long it took; null: there was none';
COMMENT ON COLUMN change_projection_status.next_refresh_at IS 'when the next one is due, if there is something to refresh it for already; null: when events come';
COMMENT ON COLUMN change_projection_status.behind IS 'how many events of its change streams came since; null: it has none, or was not refreshed yet';
COMMENT ON COLUMN change_projection_status.refreshes IS 'how often it was refreshed';
COMMENT ON COLUMN change_projection_status.failures IS 'how many refreshes in a row have failed';
COMMENT ON COLUMN change_projection_status.last_error IS 'the last error, which stays when it is over; null: there was none';
COMMENT ON COLUMN change_projection_status.pid IS 'process that refreshes its owner''s projections; null: there is none now';
GRANT SELECT ON change_projection_status TO PUBLIC;
