-- What streams and handlers have done and waited for, in numbers, and what could be better.

CREATE FUNCTION change_stream_numbers(OUT stream_name text, OUT events bigint, OUT bytes bigint, OUT batches bigint, OUT transactions bigint,
  OUT wait_mongodb interval, OUT wait_commit interval, OUT wait_write interval, OUT filter_errors bigint, OUT column_errors bigint,
  OUT errors jsonb, OUT latency_p50 interval, OUT latency_p99 interval, OUT since timestamptz) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_stream_numbers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_stream_numbers() IS 'the numbers in shared memory of the current database''s streams that the caller may see';

CREATE FUNCTION change_handler_numbers(OUT handler_name text, OUT stream_name text, OUT events bigint, OUT batches bigint, OUT transactions bigint,
  OUT run_time interval, OUT wait_commit interval, OUT wait_write interval,
  OUT errors jsonb, OUT latency_p50 interval, OUT latency_p99 interval, OUT since timestamptz) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_handler_numbers' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_handler_numbers() IS 'the numbers in shared memory of the current database''s handlers that the caller may see';

CREATE FUNCTION reset_change_stream_stats(stream_name text = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_reset_change_stream_stats' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED;
COMMENT ON FUNCTION reset_change_stream_stats(text)
  IS 'begins the numbers of a change stream and its handlers anew, or of all that the caller owns; those of the tables stay';

CREATE VIEW change_stream_stats WITH (security_invoker = true) AS
SELECT s.stream_name, n.events, n.bytes, n.batches, n.transactions, n.wait_mongodb, n.wait_commit, n.wait_write, n.filter_errors, n.column_errors,
       n.errors, n.latency_p50, n.latency_p99, n.since
FROM @extschema@.change_streams s JOIN @extschema@.change_stream_numbers() n USING (stream_name);
COMMENT ON VIEW change_stream_stats
  IS 'what each change stream has done and waited for since PostgreSQL''s start or reset_change_stream_stats(); one that has never run since has no row';
COMMENT ON COLUMN change_stream_stats.stream_name IS 'the change stream';
COMMENT ON COLUMN change_stream_stats.events IS 'events that were written';
COMMENT ON COLUMN change_stream_stats.bytes IS 'their size, and that of events which the filter left out here, as MongoDB sent them';
COMMENT ON COLUMN change_stream_stats.batches IS 'replies of MongoDB with events in them';
COMMENT ON COLUMN change_stream_stats.transactions IS 'transactions of its process, also those that only moved the position';
COMMENT ON COLUMN change_stream_stats.wait_mongodb IS 'time in which there was nothing to do but wait for MongoDB, also for want of changes; not counted where a cursor is shared';
COMMENT ON COLUMN change_stream_stats.wait_commit IS 'time that commits took, which is mostly that of the disk or of a synchronous standby';
COMMENT ON COLUMN change_stream_stats.wait_write IS 'time in transactions in which the process stood still before the commit: for locks, reads from the disk, or a processor';
COMMENT ON COLUMN change_stream_stats.filter_errors IS 'events on which filter or add_fields raised an error';
COMMENT ON COLUMN change_stream_stats.column_errors IS 'values of mirrors that did not fit their columns';
COMMENT ON COLUMN change_stream_stats.errors IS 'how many errors there were of each kind: MongoDB''s by their class, PostgreSQL''s by SQLSTATE; the twelfth kind and all further ones are other';
COMMENT ON COLUMN change_stream_stats.latency_p50
  IS 'half of the events took no longer from MongoDB''s wall clock at the change to the commit here; steps of 19 %; null: no event yet';
COMMENT ON COLUMN change_stream_stats.latency_p99 IS 'the same of 99 of 100 events; the two machines'' clocks are compared with each other';
COMMENT ON COLUMN change_stream_stats.since IS 'when counting began';
GRANT SELECT ON change_stream_stats TO PUBLIC;

CREATE VIEW change_handler_stats WITH (security_invoker = true) AS
SELECT h.handler_name, h.stream_name, n.events, n.batches, n.transactions, n.run_time, n.wait_commit, n.wait_write,
       n.errors, n.latency_p50, n.latency_p99, n.since
FROM @extschema@.change_handlers h JOIN @extschema@.change_handler_numbers() n USING (handler_name, stream_name);
COMMENT ON VIEW change_handler_stats
  IS 'what each handler has done and waited for since PostgreSQL''s start or reset_change_stream_stats(); one that has never run since has no row';
COMMENT ON COLUMN change_handler_stats.handler_name IS 'the handler';
COMMENT ON COLUMN change_handler_stats.stream_name IS 'change stream whose events it handles';
COMMENT ON COLUMN change_handler_stats.events IS 'events that are done, of all its workers, also those that it gave up or whose condition did not hold';
COMMENT ON COLUMN change_handler_stats.batches IS 'transactions that ran its code';
COMMENT ON COLUMN change_handler_stats.transactions IS 'transactions of its processes, also those that found nothing to do';
COMMENT ON COLUMN change_handler_stats.run_time IS 'time that its code ran';
COMMENT ON COLUMN change_handler_stats.wait_commit IS 'time that commits took, which is mostly that of the disk or of a synchronous standby';
COMMENT ON COLUMN change_handler_stats.wait_write IS 'time in transactions in which its processes stood still before the commit: for locks, reads from the disk, or a processor';
COMMENT ON COLUMN change_handler_stats.errors IS 'how many errors there were of each SQLSTATE; the twelfth kind and all further ones are other';
COMMENT ON COLUMN change_handler_stats.latency_p50 IS 'half of the events took no longer from their receipt to the commit of what was done for them; steps of 19 %; null: no event yet';
COMMENT ON COLUMN change_handler_stats.latency_p99 IS 'the same of 99 of 100 events';
COMMENT ON COLUMN change_handler_stats.since IS 'when counting began';
GRANT SELECT ON change_handler_stats TO PUBLIC;

-- its text, not a body that is parsed when it is made, which would keep the owner of the events table from altering types of its columns
CREATE FUNCTION change_stream_advice(OUT subject text, OUT advice text, OUT statement text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT pg_catalog.format('change stream "%s"', s.stream_name),
         CASE WHEN s.pushed_filter IS NULL THEN 'MongoDB evaluates nothing of the filter, and sends all: it is asked here of each event'
              ELSE 'MongoDB evaluates only a part of the filter: the rest is asked here of each event that it sends' END,
         -- what its owner has written may end neither the literal, nor the line, behind which it would be what another runs
         pg_catalog.format('SELECT alter_change_stream(%L, filter => %L); -- as it is; docs/conditions.md has what MongoDB evaluates, and this is asked here: %s',
                           s.stream_name, s.filter, pg_catalog.regexp_replace(s.local_filter, '[[:cntrl:][:space:]]+', ' ', 'g'))
  FROM @extschema@.change_streams s WHERE s.local_filter IS NOT NULL
  UNION ALL
  SELECT pg_catalog.format('change stream "%s"', p.stream_name),
         pg_catalog.concat_ws('; ',
           pg_catalog.format('MongoDB''s oplog holds %s at its pace so far: an outage that is longer loses history', pg_catalog.date_trunc('minute', p.oplog_holds)),
           CASE WHEN p.longest_outage OPERATOR(pg_catalog.>) interval '1 minute'
                THEN pg_catalog.format('there was one of %s', pg_catalog.date_trunc('second', p.longest_outage)) END),
         pg_catalog.format('db.adminCommand({replSetResizeOplog: 1, minRetentionHours: %s})', o.hours)
  FROM @extschema@.change_stream_progress p
       -- a day, or twice what has happened
       CROSS JOIN LATERAL (SELECT greatest(24, pg_catalog.ceil(EXTRACT(epoch FROM p.longest_outage) OPERATOR(pg_catalog./) 1800))::pg_catalog.int8 AS hours) o
  WHERE p.oplog_holds OPERATOR(pg_catalog.<) pg_catalog.make_interval(hours => o.hours::pg_catalog.int4)
  UNION ALL
  SELECT pg_catalog.format('change stream "%s"', s.stream_name),
         pg_catalog.format('%s events are kept for ever', p.last_event_id),
         pg_catalog.format('SELECT alter_change_stream(%L, retention => %L);', s.stream_name, '30 days')
  FROM @extschema@.change_streams s JOIN @extschema@.change_stream_progress p USING (stream_name)
  WHERE s.keep_events AND s.retention IS NULL AND p.last_event_id OPERATOR(pg_catalog.>) 100000
  UNION ALL
  SELECT pg_catalog.format('change stream "%s"', s.stream_name),
         pg_catalog.format('%s of its last events of collection "%s.%s" came without a document that it asks for: the collection keeps no images',
                           e.missing, e.database_name, e.collection_name),
         pg_catalog.format('db.getSiblingDB(%s).runCommand({collMod: %s, changeStreamPreAndPostImages: {enabled: true}})',
                           pg_catalog.to_json(e.database_name), pg_catalog.to_json(e.collection_name))
  FROM @extschema@.change_streams s JOIN @extschema@.change_stream_progress p USING (stream_name)
       CROSS JOIN LATERAL (SELECT v.database_name, v.collection_name, pg_catalog.count(*) AS missing
                           FROM @extschema@.change_stream_events v
                           WHERE v.stream_name OPERATOR(pg_catalog.=) s.stream_name AND v.event_id OPERATOR(pg_catalog.>) (p.last_event_id OPERATOR(pg_catalog.-) 200)
                             AND ((s.full_document OPERATOR(pg_catalog.=) 'whenAvailable' AND v.operation_type OPERATOR(pg_catalog.=) 'update' AND v.full_document IS NULL)
                                  OR (s.full_document_before_change OPERATOR(pg_catalog.=) 'whenAvailable' AND v.full_document_before_change IS NULL
                                      AND v.operation_type OPERATOR(pg_catalog.=) ANY (ARRAY['update', 'replace', 'delete'])))
                           GROUP BY 1, 2) e
  WHERE s.full_document OPERATOR(pg_catalog.=) 'whenAvailable' OR s.full_document_before_change OPERATOR(pg_catalog.=) 'whenAvailable'
  UNION ALL
  SELECT pg_catalog.format('handler "%s"', h.handler_name),
         pg_catalog.format('%s events are dead letters, and wait for somebody', h.dead_letters),
         pg_catalog.format('SELECT retry_dead_letters(%L); -- when the cause is mended, of which change_stream_dead_letter_list has the error', h.handler_name)
  FROM @extschema@.change_handler_status h WHERE h.dead_letters OPERATOR(pg_catalog.>) 0
  UNION ALL
  SELECT pg_catalog.format('handler "%s"', h.handler_name),
         pg_catalog.format('it does not run, and keeps %s events from the retention of change stream "%s"', h.behind, h.stream_name),
         pg_catalog.format('SELECT resume_change_handler(%L); -- or drop_change_handler(%L)', h.handler_name, h.handler_name)
  FROM @extschema@.change_handler_status h JOIN @extschema@.change_streams s USING (stream_name)
  WHERE h.state OPERATOR(pg_catalog.=) ANY (ARRAY['paused', 'error']) AND s.retention IS NOT NULL AND h.behind OPERATOR(pg_catalog.>) 10000
  UNION ALL
  SELECT pg_catalog.format('change stream "%s"', c.stream_name),
         pg_catalog.format('%s events could not be written, and wait for somebody', c.waiting),
         pg_catalog.format('SELECT retry_dead_letters(stream_name => %L); -- when the cause is mended, of which change_stream_dead_letter_list has the error', c.stream_name)
  FROM @extschema@.change_stream_dead_letter_counts() c WHERE c.handler_name IS NULL AND c.waiting OPERATOR(pg_catalog.>) 0
  UNION ALL
  SELECT pg_catalog.format('table %s', c.conrelid::pg_catalog.regclass),
         CASE WHEN c.confrelid OPERATOR(pg_catalog.=) '@extschema@.change_stream_events'::pg_catalog.regclass
              THEN pg_catalog.format('no index supports its foreign key %I on change_stream_events: each event that retention deletes reads the whole table', c.conname)
              ELSE pg_catalog.format('no index supports its foreign key %I on %s, which is a mirror: each document that is deleted in MongoDB reads the whole table',
                                     c.conname, c.confrelid::pg_catalog.regclass) END,
         pg_catalog.format('CREATE INDEX ON %s (%s);', c.conrelid::pg_catalog.regclass,
                           (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY k.place)
                            FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY k(attnum, place)
                                 JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.conrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum))
  FROM pg_catalog.pg_constraint c
  WHERE c.contype OPERATOR(pg_catalog.=) 'f'
    AND (c.confrelid OPERATOR(pg_catalog.=) '@extschema@.change_stream_events'::pg_catalog.regclass
         OR c.confrelid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT pg_catalog.to_regclass(m.table_name)::pg_catalog.oid FROM @extschema@.change_mirrors m)))
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                    WHERE i.indrelid OPERATOR(pg_catalog.=) c.conrelid AND i.indpred IS NULL AND i.indisvalid
                      AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest(c.conkey) k(attnum)
                                      WHERE k.attnum OPERATOR(pg_catalog.<>) ALL ((i.indkey::pg_catalog.int2[])[0:pg_catalog.cardinality(c.conkey) OPERATOR(pg_catalog.-) 1])))
  UNION ALL
  SELECT 'max_worker_processes',
         pg_catalog.format('%s change streams and handlers want a process, and this server has %s for all purposes', w.wanted, w.most),
         pg_catalog.format('ALTER SYSTEM SET max_worker_processes = %s; -- and restart PostgreSQL', w.wanted OPERATOR(pg_catalog.+) 8)
  FROM (SELECT (SELECT pg_catalog.count(*) FROM @extschema@.change_streams s WHERE NOT s.paused AND s.stopped_state IS NULL) OPERATOR(pg_catalog.+)
               (SELECT coalesce(pg_catalog.sum(h.workers), 0) FROM @extschema@.change_handlers h WHERE NOT h.paused AND h.stopped_reason IS NULL) AS wanted,
               pg_catalog.current_setting('max_worker_processes')::pg_catalog.int4 AS most) w
  WHERE (w.wanted OPERATOR(pg_catalog.+) 2) OPERATOR(pg_catalog.>) w.most
$function$;
COMMENT ON FUNCTION change_stream_advice()
  IS 'what could be better with the change streams and handlers that the caller may see, and the command that makes it so; MongoDB is not asked';
