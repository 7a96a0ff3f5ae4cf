-- Handlers: views and what they read.

-- By a function, since a ROW(...) of that type in the view would keep the owner of change_stream_events from adding columns, too.
CREATE FUNCTION change_handler_dead_letter_event(letter change_handler_dead_letters) RETURNS change_stream_events
  AS 'MODULE_PATHNAME', 'mcs_change_handler_dead_letter_event' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION change_handler_dead_letter_event(change_handler_dead_letters) IS 'the event of a dead letter as a row of change_stream_events';

CREATE FUNCTION change_stream_parked_event(parked change_stream_parked_events) RETURNS change_stream_events
  AS 'MODULE_PATHNAME', 'mcs_change_handler_dead_letter_event' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION change_stream_parked_event(change_stream_parked_events) IS 'a parked event as a row of change_stream_events';

CREATE VIEW change_stream_dead_letters WITH (security_invoker = true) AS
SELECT handler_name, stream_name, event_id, @extschema@.change_handler_dead_letter_event(l) AS event,
       sqlstate, error, detail, context, attempts, failed_at
FROM @extschema@.change_handler_dead_letters l
UNION ALL
SELECT NULL, stream_name, event_id, @extschema@.change_stream_parked_event(p), sqlstate, error, detail, context, attempts, failed_at
FROM @extschema@.change_stream_parked_events p;
COMMENT ON VIEW change_stream_dead_letters
  IS 'events that a handler has given up, and without a handler those that could not be written, until retry_dead_letters or discard_dead_letters';
COMMENT ON COLUMN change_stream_dead_letters.handler_name IS 'handler that has given up the event; null: it could not be written';
COMMENT ON COLUMN change_stream_dead_letters.stream_name IS 'change stream of the event';
COMMENT ON COLUMN change_stream_dead_letters.event_id IS 'number of the event within its change stream';
COMMENT ON COLUMN change_stream_dead_letters.event IS 'the event, as a row of change_stream_events';
COMMENT ON COLUMN change_stream_dead_letters.sqlstate IS 'SQLSTATE of the last error';
COMMENT ON COLUMN change_stream_dead_letters.error IS 'message of the last error';
COMMENT ON COLUMN change_stream_dead_letters.detail IS 'detail of the last error; null: it had none';
COMMENT ON COLUMN change_stream_dead_letters.context IS 'where the last error was raised; null: it does not say';
COMMENT ON COLUMN change_stream_dead_letters.attempts IS 'how often it was tried';
COMMENT ON COLUMN change_stream_dead_letters.failed_at IS 'when it failed last';
GRANT SELECT ON change_stream_dead_letters TO PUBLIC;

CREATE FUNCTION change_handler_workers(OUT handler_name text, OUT worker int, OUT state text, OUT reason text, OUT pid int,
  OUT events_per_second double precision, OUT running_event bigint, OUT running_since timestamptz) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_handler_workers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_handler_workers() IS 'what shared memory knows of the current database''s handlers that the caller may see';

CREATE VIEW change_handler_status WITH (security_invoker = true) AS
SELECT h.handler_name,
       h.stream_name,
       CASE WHEN h.stopped_reason IS NOT NULL THEN 'error'
            WHEN h.paused OR s.restored THEN 'paused'
            ELSE coalesce(w.state, a.state) END AS state,
       pg_catalog.concat_ws('; ',
         CASE WHEN h.stopped_reason IS NOT NULL THEN h.stopped_reason
              WHEN h.paused THEN 'paused by its owner'
              WHEN s.restored THEN 'its change stream is restored and was not resumed'
              ELSE coalesce(w.reason, a.reason) END,
         CASE WHEN l.dead_letters OPERATOR(pg_catalog.=) 1 THEN 'a dead letter waits in change_stream_dead_letters'
              ELSE l.dead_letters::pg_catalog.text OPERATOR(pg_catalog.||) ' dead letters wait in change_stream_dead_letters' END)
         AS reason,
       w.pid,
       p.last_event_id,
       greatest(s.last_event_id OPERATOR(pg_catalog.-) p.last_event_id, 0) AS behind,
       CASE WHEN h.stopped_reason IS NULL AND NOT h.paused THEN coalesce(w.events_per_second, 0) ELSE 0 END AS events_per_second,
       p.failures,
       w.running_event,
       w.running_since,
       coalesce(l.dead_letters, 0) AS dead_letters
FROM @extschema@.change_handlers h
     JOIN (SELECT c.stream_name, c.owner, q.last_event_id,
                  c.system_identifier OPERATOR(pg_catalog.<>) (SELECT k.system_identifier FROM pg_catalog.pg_control_system() k)
                  OR c.database_oid OPERATOR(pg_catalog.<>) (SELECT d.oid FROM pg_catalog.pg_database d
                                        WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS restored
           FROM @extschema@.change_streams c LEFT JOIN @extschema@.change_stream_progress q USING (stream_name)) s USING (stream_name)
     LEFT JOIN (SELECT handler_name, pg_catalog.min(last_event_id) AS last_event_id, pg_catalog.sum(failures)::bigint AS failures
           FROM @extschema@.change_handler_progress GROUP BY handler_name) p USING (handler_name)
     LEFT JOIN (SELECT handler_name, (pg_catalog.array_agg(state ORDER BY rank))[1] AS state, (pg_catalog.array_agg(reason ORDER BY rank))[1] AS reason,
                       (pg_catalog.array_agg(pid ORDER BY rank))[1] AS pid, pg_catalog.sum(events_per_second) AS events_per_second,
                       (pg_catalog.array_agg(running_event ORDER BY rank))[1] AS running_event,
                       (pg_catalog.array_agg(running_since ORDER BY rank))[1] AS running_since
                FROM (SELECT *, pg_catalog.array_position('{retrying,starting,active,idle,paused}', state) AS rank FROM @extschema@.change_handler_workers()) r
                GROUP BY handler_name) w USING (handler_name)
     LEFT JOIN (SELECT handler_name, pg_catalog.count(*) AS dead_letters
                FROM @extschema@.change_handler_dead_letters GROUP BY handler_name) l USING (handler_name)
     LEFT JOIN LATERAL @extschema@.change_stream_absence(s.owner, true) a ON w.handler_name IS NULL;
COMMENT ON VIEW change_handler_status IS 'state, reason, position and rate of each handler';
COMMENT ON COLUMN change_handler_status.handler_name IS 'the handler';
COMMENT ON COLUMN change_handler_status.stream_name IS 'change stream whose events it handles';
COMMENT ON COLUMN change_handler_status.state IS 'active, idle (nothing waits), starting, retrying, paused or error';
COMMENT ON COLUMN change_handler_status.reason IS 'why it is in this state, with the event and its error, and what helps; null: nothing is to be said';
COMMENT ON COLUMN change_handler_status.pid IS 'its process, the one in the worst state of several; null: it has none now, and gets one with the next event';
COMMENT ON COLUMN change_handler_status.last_event_id IS 'every event up to here is done';
COMMENT ON COLUMN change_handler_status.behind IS 'how many events of the change stream are behind that';
COMMENT ON COLUMN change_handler_status.events_per_second IS 'pace at which events are handled now, of all its workers';
COMMENT ON COLUMN change_handler_status.failures IS 'how many attempts have failed since the handler was made';
COMMENT ON COLUMN change_handler_status.running_event IS 'event that it runs on now; null: on none';
COMMENT ON COLUMN change_handler_status.running_since IS 'since when it runs on it; null: on none';
COMMENT ON COLUMN change_handler_status.dead_letters IS 'how many events it has given up that nobody has dealt with';
GRANT SELECT ON change_handler_status TO PUBLIC;
