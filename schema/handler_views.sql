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

CREATE VIEW change_stream_dead_letter_list WITH (security_invoker = true) AS
SELECT handler_name, stream_name, event_id,
       CASE WHEN pg_catalog.length(key) OPERATOR(pg_catalog.<=) 24 THEN key ELSE pg_catalog.left(key, 23) OPERATOR(pg_catalog.||) '…' END AS document_key,
       pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) failed_at) AS age,
       CASE WHEN pg_catalog.length(error) OPERATOR(pg_catalog.<=) 38 THEN error ELSE pg_catalog.left(error, 37) OPERATOR(pg_catalog.||) '…' END AS error
FROM (SELECT handler_name, stream_name, event_id, failed_at,
             -- neither what it holds nor its size makes a row that cannot be shown, or one of several lines
             pg_catalog.regexp_replace(pg_catalog.left(@extschema@.document_text_lenient(@extschema@.document_field(document_key, '_id')), 25), '[[:cntrl:]]', ' ', 'g') AS key,
             pg_catalog.regexp_replace(pg_catalog.left(error, 39), '[[:cntrl:]]', ' ', 'g') AS error
      FROM (SELECT handler_name, stream_name, event_id, document_key, error, failed_at FROM @extschema@.change_handler_dead_letters
            UNION ALL
            SELECT NULL, stream_name, event_id, document_key, error, failed_at FROM @extschema@.change_stream_parked_events) l) l;
COMMENT ON VIEW change_stream_dead_letter_list IS 'the dead letters, each on one short line; change_stream_dead_letter() has all of one';
COMMENT ON COLUMN change_stream_dead_letter_list.handler_name IS 'handler that has given up the event; null: it could not be written';
COMMENT ON COLUMN change_stream_dead_letter_list.stream_name IS 'change stream of the event';
COMMENT ON COLUMN change_stream_dead_letter_list.event_id IS 'number of the event within its change stream';
COMMENT ON COLUMN change_stream_dead_letter_list.document_key IS '_id of the document as text, its first characters; null: the event is about no document';
COMMENT ON COLUMN change_stream_dead_letter_list.age IS 'how long ago it failed last';
COMMENT ON COLUMN change_stream_dead_letter_list.error IS 'message of the last error, its first characters';
GRANT SELECT ON change_stream_dead_letter_list TO PUBLIC;

-- a row of the table of handlers' dead letters: it has the columns of parked events, too
CREATE FUNCTION change_stream_dead_letter(event_id bigint, handler_name text = NULL, stream_name text = NULL) RETURNS SETOF change_handler_dead_letters
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT l.* FROM @extschema@.change_handler_dead_letters l
  WHERE l.event_id OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR l.handler_name OPERATOR(pg_catalog.=) $2)
    AND ($3 IS NULL OR l.stream_name OPERATOR(pg_catalog.=) $3)
  UNION ALL
  SELECT NULL, p.stream_name, p.event_id, p.operation_type, p.database_name, p.collection_name, p.document_key, p.full_document, p.full_document_before_change,
         p.update_description, p.changed_fields, p.cluster_time, p.change_timestamp, p.resume_token, p.full_document_source, p.extra, p.received_at,
         NULL, NULL, NULL, NULL, p.sqlstate, p.error, p.detail, p.context, p.attempts, p.failed_at
  FROM @extschema@.change_stream_parked_events p
  WHERE p.event_id OPERATOR(pg_catalog.=) $1 AND $2 IS NULL AND ($3 IS NULL OR p.stream_name OPERATOR(pg_catalog.=) $3)
$function$;
COMMENT ON FUNCTION change_stream_dead_letter(bigint, text, text)
  IS 'all that is kept of the dead letters of an event, of one handler or stream where it is named: the event''s columns, and the last error';

CREATE FUNCTION change_stream_dead_letter_counts(OUT stream_name text, OUT handler_name text, OUT waiting bigint) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_stream_dead_letter_counts' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_stream_dead_letter_counts()
  IS 'how many dead letters wait, of each handler and (handler_name null) of events that could not be written, in all streams whose status the caller may see';

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
         CASE WHEN l.dead_letters OPERATOR(pg_catalog.=) 1 THEN 'a dead letter waits in change_stream_dead_letter_list'
              WHEN l.dead_letters OPERATOR(pg_catalog.>) 1 THEN l.dead_letters::pg_catalog.text OPERATOR(pg_catalog.||) ' dead letters wait in change_stream_dead_letter_list' END)
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
     LEFT JOIN (SELECT handler_name, waiting AS dead_letters FROM @extschema@.change_stream_dead_letter_counts()) l USING (handler_name)
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
