-- Projections: functions.

CREATE FUNCTION create_change_projection(view_name regclass, refresh text = 'on change', min_interval interval = '1 second',
  timeout interval = '10 minutes', window_length interval = NULL, streams text[] = NULL, paused boolean = false) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_create_change_projection' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_projection(regclass, text, interval, interval, interval, text[], boolean)
  IS 'refresh a materialized view after events of the change streams that it shows, or at intervals';

CREATE FUNCTION alter_change_projection(view_name regclass, refresh text = NULL, min_interval interval = NULL,
  timeout interval = NULL, window_length interval = NULL, streams text[] = NULL, reset text[] = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_alter_change_projection' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_projection(regclass, text, interval, interval, interval, text[], text[])
  IS 'change how a materialized view is refreshed; null leaves, reset puts back to the default';

CREATE FUNCTION pause_change_projection(view_name regclass) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_pause_change_projection' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_projection(regclass) IS 'refresh a materialized view no more until resume_change_projection';

CREATE FUNCTION resume_change_projection(view_name regclass) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_resume_change_projection' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION resume_change_projection(regclass) IS 'go on refreshing a materialized view that was paused, has stopped, or waits after a failure';

CREATE FUNCTION drop_change_projection(view_name regclass) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_drop_change_projection' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION drop_change_projection(regclass) IS 'leave it to others to refresh a materialized view, which stays';

CREATE FUNCTION change_projection_follow(view_name regclass) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_change_projection_follow' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION change_projection_follow(regclass)
  IS 'create_change_projection where the view shows event stores or change streams, as CREATE MATERIALIZED VIEW of the dialect does it; else nothing';

-- what they, views and the processes look up

CREATE FUNCTION change_projection_exists(view_name regclass) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET quote_all_identifiers = off SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_projections p
                 WHERE p.view_name OPERATOR(pg_catalog.=) (
                   SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
                   WHERE c.oid OPERATOR(pg_catalog.=) $1::pg_catalog.oid));
END;
COMMENT ON FUNCTION change_projection_exists(regclass) IS 'does the caller see that a materialized view is a projection?';

CREATE FUNCTION change_stream_is_read_by(stream_name text, owner oid, reader oid) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT pg_catalog.pg_has_role($3, $2, 'USAGE') OR pg_catalog.pg_has_role($3, 'pg_read_all_data', 'USAGE')
         OR EXISTS (SELECT FROM @extschema@.change_stream_grants g
                    WHERE g.stream_name OPERATOR(pg_catalog.=) $1 AND pg_catalog.pg_has_role($3, g.reader, 'USAGE'));
END;
COMMENT ON FUNCTION change_stream_is_read_by(text, oid, oid) IS 'may a role read the events of a change stream that a role owns, as far as the caller sees grants?';

-- A view may read others; what a materialized view reads does not show in it before that is refreshed, so that is a source itself.
CREATE FUNCTION change_projection_find_sources(view_name text) RETURNS TABLE (stream_name text, handler_name text, source_view text)
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET quote_all_identifiers = off SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH RECURSIVE used (oid, owner, root) AS (
    SELECT c.oid, c.relowner, true FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) @extschema@.change_projection_view($1)
    UNION
    SELECT d.refobjid, u.owner, false
    FROM used u
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) u.oid AND (u.root OR c.relkind OPERATOR(pg_catalog.=) 'v')
         JOIN pg_catalog.pg_rewrite r ON r.ev_class OPERATOR(pg_catalog.=) u.oid
         JOIN pg_catalog.pg_depend d ON d.objid OPERATOR(pg_catalog.=) r.oid
           AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
           AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    WHERE d.refobjid OPERATOR(pg_catalog.<>) u.oid),
  -- who owns a table may name it as a handler or mirror of somebody else's is named, and is not to learn of that
  relations (oid, owner, table_owner, relname, relkind, name) AS (
    SELECT u.oid, u.owner, c.relowner, c.relname, c.relkind, pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM used u JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE NOT u.root),
  given (streams) AS (SELECT p.streams FROM @extschema@.change_projections p WHERE p.view_name OPERATOR(pg_catalog.=) $1),
  -- of streams that are named, too, those that the view's owner may read, now
  named (stream_name) AS (
    SELECT s.stream_name
    FROM given g, @extschema@.change_streams s, used r
    WHERE s.stream_name OPERATOR(pg_catalog.=) ANY (g.streams) AND r.root AND @extschema@.change_stream_is_read_by(s.stream_name, s.owner, r.owner)),
  found (stream_name, handler_name, source_view) AS (
    SELECT n.stream_name, NULL, NULL FROM named n
    UNION
    SELECT h.stream_name, h.handler_name, NULL FROM named n JOIN @extschema@.change_handlers h USING (stream_name)
    UNION
    SELECT s.stream_name, NULL, NULL
    FROM relations r, @extschema@.change_streams s
    WHERE r.oid OPERATOR(pg_catalog.=) '@extschema@.change_stream_events'::pg_catalog.regclass AND NOT EXISTS (SELECT FROM given g WHERE g.streams IS NOT NULL)
      AND @extschema@.change_stream_is_read_by(s.stream_name, s.owner, r.owner)
    UNION
    SELECT h.stream_name, h.handler_name, NULL
    FROM relations r JOIN @extschema@.change_handlers h ON h.handler_name OPERATOR(pg_catalog.=) r.relname::pg_catalog.text
         JOIN @extschema@.change_streams s USING (stream_name)
    WHERE pg_catalog.pg_has_role(r.table_owner, s.owner, 'USAGE') AND NOT EXISTS (SELECT FROM given g WHERE g.streams IS NOT NULL)
      AND EXISTS (SELECT FROM pg_catalog.pg_trigger t
                  WHERE t.tgrelid OPERATOR(pg_catalog.=) r.oid AND t.tgfoid OPERATOR(pg_catalog.=) '@extschema@.change_stream_append_only()'::pg_catalog.regprocedure)
    UNION
    SELECT m.stream_name, NULL, NULL
    FROM relations r JOIN @extschema@.change_mirrors m ON m.table_name OPERATOR(pg_catalog.=) r.name
         JOIN @extschema@.change_streams s USING (stream_name)
    WHERE pg_catalog.pg_has_role(r.table_owner, s.owner, 'USAGE') AND NOT EXISTS (SELECT FROM given g WHERE g.streams IS NOT NULL)
    UNION
    SELECT NULL, NULL, p.view_name
    FROM relations r JOIN @extschema@.change_projections p ON p.view_name OPERATOR(pg_catalog.=) r.name
    WHERE r.relkind OPERATOR(pg_catalog.=) 'm')
  SELECT f.stream_name, f.handler_name, f.source_view FROM found f;
END;
COMMENT ON FUNCTION change_projection_find_sources(text)
  IS 'what a materialized view shows: change streams, handlers that fill event stores, other projections; streams that were given count in place of those found';

-- its text, not a body that is parsed when it is made or the view's own query, which would keep the owner of the events table from altering types of its columns
CREATE FUNCTION change_projection_event_time(stream_name text, event_id bigint) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT e.cluster_time FROM @extschema@.change_stream_events e
  WHERE e.stream_name OPERATOR(pg_catalog.=) $1 AND e.event_id OPERATOR(pg_catalog.=) $2
$function$;
COMMENT ON FUNCTION change_projection_event_time(text, bigint) IS 'cluster time of an event; null: it is not there, or not for the caller to see';

-- its text, not a body that is parsed when it is made, which would keep the owner of the events table from altering types of its columns
CREATE FUNCTION change_stream_closed_windows(stream_name text, length interval,
  OUT window_start timestamptz, OUT window_end timestamptz, OUT first_event_id bigint, OUT last_event_id bigint, OUT events bigint) RETURNS SETOF record
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $function$
  WITH span (first, closed) AS (
    SELECT pg_catalog.date_bin($2, (SELECT e.cluster_time FROM @extschema@.change_stream_events e
                                    WHERE e.stream_name OPERATOR(pg_catalog.=) $1 AND e.cluster_time IS NOT NULL ORDER BY e.event_id LIMIT 1), '1970-01-01 00:00:00+00'),
           pg_catalog.date_bin($2, @extschema@.change_stream_position_time(p.resume_token), '1970-01-01 00:00:00+00')
    FROM @extschema@.change_stream_progress p WHERE p.stream_name OPERATOR(pg_catalog.=) $1),
  windows (start, first_event_id, last_event_id, events) AS (
    SELECT pg_catalog.date_bin($2, e.cluster_time, '1970-01-01 00:00:00+00'), pg_catalog.min(e.event_id), pg_catalog.max(e.event_id), pg_catalog.count(*)
    FROM @extschema@.change_stream_events e, span s
    WHERE e.stream_name OPERATOR(pg_catalog.=) $1 AND e.cluster_time OPERATOR(pg_catalog.<) s.closed
    GROUP BY 1)
  SELECT w.start, w.start OPERATOR(pg_catalog.+) $2, n.first_event_id, n.last_event_id, coalesce(n.events, 0)
  FROM span s CROSS JOIN LATERAL pg_catalog.generate_series(s.first, s.closed OPERATOR(pg_catalog.-) $2, $2) w (start)
       LEFT JOIN windows n USING (start)
  ORDER BY w.start
$function$;
COMMENT ON FUNCTION change_stream_closed_windows(text, interval)
  IS 'windows of time from the first kept event on that no event can come into any more, since the change stream''s position is behind them; also those without events';
