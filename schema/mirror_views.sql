-- Snapshots and mirrors: views and what they read.

CREATE FUNCTION change_stream_position_time(resume_token text) RETURNS timestamptz
  AS 'MODULE_PATHNAME', 'mcs_change_stream_position_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION change_stream_position_time(text)
  IS 'the newest cluster time all of whose changes lie before a position: that of an event, or one ordinal less than that of a position between events';

CREATE FUNCTION change_stream_copy_reason(sweep boolean, documents_done bigint, documents_estimated bigint, busy interval, copies_before bigint) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_copy_reason' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION change_stream_copy_reason(boolean, bigint, bigint, interval, bigint) IS 'how far a copy is, in words, with the time that is left';

CREATE VIEW change_mirror_status WITH (security_invoker = true) AS
SELECT m.mirror_name,
       m.stream_name,
       m.table_name,
       CASE WHEN m.stopped_reason IS NOT NULL THEN 'error'
            WHEN m.paused THEN 'paused'
            WHEN s.stream_name IS NULL THEN 'error'
            WHEN s.state OPERATOR(pg_catalog.<>) ALL (ARRAY['active', 'snapshot']) THEN s.state
            WHEN c.finished_at IS NULL THEN 'snapshot'
            ELSE 'active' END AS state,
       CASE WHEN m.stopped_reason IS NOT NULL THEN m.stopped_reason
            WHEN m.paused THEN 'paused by its owner'
            WHEN said.reason OPERATOR(pg_catalog.<>) '' THEN said.reason END AS reason,
       CASE WHEN m.stopped_reason IS NULL AND NOT m.paused AND c.finished_at IS NOT NULL AND c.exact_since IS NOT NULL
            THEN @extschema@.change_stream_position_time(q.resume_token) END AS exact_at,
       coalesce(c.documents_done, 0) AS documents_done,
       c.documents_estimated,
       coalesce(p.rows_written, 0) AS rows_written,
       coalesce(p.column_errors, 0) AS column_errors,
       p.last_error,
       s.lag
FROM @extschema@.change_mirrors m
     LEFT JOIN @extschema@.change_mirror_progress p USING (mirror_name)
     LEFT JOIN @extschema@.change_stream_progress q ON q.stream_name OPERATOR(pg_catalog.=) m.stream_name
     LEFT JOIN (SELECT o.*, pg_catalog.count(*) FILTER (WHERE o.finished_at IS NULL)
                              OVER (PARTITION BY o.stream_name ORDER BY o.copy_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS copies_before
                FROM @extschema@.change_stream_snapshots o) c
       ON c.stream_name OPERATOR(pg_catalog.=) m.stream_name AND c.mirror_name OPERATOR(pg_catalog.=) m.mirror_name
     LEFT JOIN @extschema@.change_stream_status s ON s.stream_name OPERATOR(pg_catalog.=) m.stream_name
     CROSS JOIN LATERAL (SELECT pg_catalog.concat_ws('; ',
              CASE WHEN s.stream_name IS NULL THEN 'its change stream does not exist, as after a restore of a part: restore change_streams, too (pg_restore --data-only -t change_streams), or make it anew by create_change_stream()'
                   WHEN s.state OPERATOR(pg_catalog.<>) ALL (ARRAY['active', 'snapshot'])
                     THEN pg_catalog.format('change stream %s: %s', m.stream_name, s.reason)
                   WHEN c.mirror_name IS NULL THEN 'its copy is missing, as after a restore of a part: resync_change_mirror()'
                   WHEN c.finished_at IS NULL
                     THEN @extschema@.change_stream_copy_reason(c.sweep, c.documents_done, c.documents_estimated, c.busy, c.copies_before)
                   WHEN c.exact_since IS NULL
                     THEN 'catching up: MongoDB could not be read as of the position, and the table is exact when that has passed what was read' END,
              CASE WHEN s.state OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'snapshot']) AND pg_catalog.starts_with(s.reason, 'waits for ')
                     THEN pg_catalog.format('change stream %s: %s', m.stream_name, s.reason) END,
              CASE WHEN p.column_errors OPERATOR(pg_catalog.>) 0
                     THEN pg_catalog.format('%s %s not fit %s, the newest: %s', p.column_errors,
                                            CASE WHEN p.column_errors OPERATOR(pg_catalog.=) 1 THEN 'value did' ELSE 'values did' END,
                                            CASE WHEN p.column_errors OPERATOR(pg_catalog.=) 1 THEN 'its column, which is null there'
                                                 ELSE 'their columns, which are null there' END,
                                            coalesce(p.column_error, 'unknown')) END) AS reason) said;
COMMENT ON VIEW change_mirror_status IS 'state, reason, and the time of MongoDB''s that each mirror''s table shows';
COMMENT ON COLUMN change_mirror_status.mirror_name IS 'the mirror';
COMMENT ON COLUMN change_mirror_status.stream_name IS 'change stream that feeds it';
COMMENT ON COLUMN change_mirror_status.table_name IS 'its table, with its schema, as SQL writes it';
COMMENT ON COLUMN change_mirror_status.state
  IS 'snapshot (the documents are copied), active, paused, error (it has stopped), or what its change stream is while that does not run, such as starting or retrying';
COMMENT ON COLUMN change_mirror_status.reason IS 'why it is in this state, how far a copy is, which values do not fit their columns, and what helps; null: nothing is to be said';
COMMENT ON COLUMN change_mirror_status.exact_at
  IS 'the table equals the collection as it was at this cluster time, in the same snapshot; null: it does not, now';
COMMENT ON COLUMN change_mirror_status.documents_done IS 'how many documents its copy has brought';
COMMENT ON COLUMN change_mirror_status.documents_estimated IS 'how many there were, about, when the copy began; null: not known yet';
COMMENT ON COLUMN change_mirror_status.rows_written IS 'how many rows of the table were inserted, changed or deleted';
COMMENT ON COLUMN change_mirror_status.column_errors IS 'how many values did not fit their columns, which are null there';
COMMENT ON COLUMN change_mirror_status.last_error IS 'the error that it stopped at last, which stays when it is over; null: there was none';
COMMENT ON COLUMN change_mirror_status.lag IS 'how far its change stream is behind MongoDB''s time; null: no process follows it';
GRANT SELECT ON change_mirror_status TO PUBLIC;
