-- Functions on streams: every argument, good and bad, without MongoDB

\pset null (null)
\pset format unaligned
\pset tuples_only on
SET timezone = 'UTC';
SET datestyle = 'ISO, DMY';
SET intervalstyle = 'postgres';

-- what a statement is refused with: SQLSTATE and message, detail, hint
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text; hint text;
BEGIN
  EXECUTE statement;
  RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  -- the rest is the driver's own words, which are others in each of its versions
  detail := regexp_replace(detail, '^(No suitable servers found) .*', '\1');
  RETURN concat_ws(E'\n  ', state || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE FUNCTION refused_create(arguments text) RETURNS text LANGUAGE sql AS
  $$ SELECT refused('SELECT create_change_stream(''bad'', paused => true, ' || arguments || ')') $$;

-- servers
SELECT refused($$ SELECT create_change_stream('s', 'orders', 'shop', paused => true) $$);
CREATE SERVER nowhere FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/?directConnection=true');
SELECT refused($$ SELECT create_change_stream('s', 'orders', paused => true) $$);
SELECT refused($$ SELECT create_change_stream('s', 'orders', 'shop', 'elsewhere', paused => true) $$);

-- names of streams
SELECT refused($$ SELECT create_change_stream(NULL, 'orders', 'shop', paused => true) $$);
SELECT refused($$ SELECT create_change_stream('', 'orders', 'shop', paused => true) $$);
SELECT refused($$ SELECT create_change_stream(repeat('x', 64), 'orders', 'shop', paused => true) $$);
SELECT refused($$ SELECT create_change_stream(repeat('é', 32), 'orders', 'shop', paused => true) $$);
SELECT refused($$ SELECT create_change_stream('change_stream', 'orders', 'shop', paused => true) $$);
SELECT create_change_stream(repeat('x', 63), 'orders', 'shop', paused => true);
SELECT create_change_stream('with "quotes" and spaces', 'orders', 'shop', paused => true);
SELECT create_change_stream('s', 'orders', 'shop', paused => true);
SELECT refused($$ SELECT create_change_stream('s', 'orders', 'shop', paused => true) $$);

-- names of databases and collections
SELECT database, refused_create(format('database => %L', database))
FROM unnest(ARRAY['', repeat('d', 64), 'a.b', 'a b', 'a$b', 'a/b', 'a\b', 'a"b', 'admin', 'local', 'config']) AS database;
SELECT collection, refused_create(format('collection => %L, database => %L', collection, 'shop'))
FROM unnest(ARRAY['', '$cmd', 'a$b', '.a', 'system.profile', repeat('c', 251)]) AS collection;
SELECT refused_create($$ collection => 'orders', database => '*' $$);
SELECT create_change_stream('deployment', database => '*', paused => true);
SELECT create_change_stream('odd names', 'orders.2024 archive', repeat('d', 63), paused => true);

-- operations
SELECT operations, refused_create(format('database => %L, operations => %L::text[]', 'shop', operations))
FROM unnest(ARRAY['{}', '{insert,NULL}', '{insert,upsert}', '{INSERT}', '{insert,createIndexes}', '{shard_collection}']) AS operations;
SELECT create_change_stream('operations', database => 'shop', paused => true, show_expanded_events => true,
  operations => '{insert,update,replace,delete,drop,rename,drop_database,invalidate,create,create_indexes,drop_indexes,modify,shard_collection,refine_collection_shard_key,reshard_collection,insert,dropDatabase}');
SELECT operations FROM change_streams WHERE stream_name = 'operations';
SELECT pushed_filter FROM change_streams WHERE stream_name = 'operations';

-- words, numbers, intervals
SELECT word, refused_create(format('database => %L, full_document => %L', 'shop', word))
FROM unnest(ARRAY['', 'off', 'UpdateLookup', 'update-lookup']) AS word;
SELECT refused_create($$ database => 'shop', full_document_before_change => 'update_lookup' $$);
SELECT refused_create($$ database => 'shop', notify => 'all' $$);
SELECT size, refused_create(format('database => %L, batch_size => %s', 'shop', size)) FROM unnest(ARRAY[-1, 0, 100001]) AS size;
SELECT wait, refused_create(format('database => %L, max_await_time => %L', 'shop', wait))
FROM unnest(ARRAY['0', '-1 second', '999 microseconds', '61 minutes', '178000000 years']) AS wait;
SELECT span, refused_create(format('database => %L, retention => %L', 'shop', span))
FROM unnest(ARRAY['0', '-1 day', '1 month -31 days', '30', '365', '00:00:59']) AS span;
-- a snapshot, and what it cannot be together with; of a paused stream it waits for resume_change_stream, which needs MongoDB
SELECT refused_create($$ database => 'shop', initial_snapshot => true, pipeline => '[{"$match": {"a": 1}}]' $$);
SELECT refused_create($$ database => 'shop', initial_snapshot => true, keep_events => false $$);
SELECT create_change_stream('copied', 'orders', 'shop', initial_snapshot => true, operations => '{insert}', paused => true);
SELECT create_change_stream('copies', 'orders', 'shop', initial_snapshot => true, operations => '{insert,snapshot}', paused => true);
SELECT initial_snapshot, operations FROM change_streams WHERE stream_name = 'copies';
SELECT count(*) FROM change_stream_snapshots;
SELECT refused($$ SELECT resume_change_stream('copies') $$);
SELECT drop_change_stream('copied'), drop_change_stream('copies');

-- events that are not kept: no handlers, in either order
SELECT create_change_stream('counts', 'orders', 'shop', keep_events => false, paused => true);
SELECT refused($$ SELECT create_change_handler('h', 'counts', body => 'BEGIN END') $$);
SELECT refused($$ SELECT resume_change_stream('counts', initial_snapshot => true) $$);
SELECT alter_change_stream('counts', keep_events => true);
SELECT create_change_handler('h', 'counts', body => 'BEGIN END');
SELECT refused($$ SELECT alter_change_stream('counts', keep_events => false) $$);
SELECT drop_change_handler('h');
UPDATE change_stream_progress SET last_event_id = 7 WHERE stream_name = 'counts';
SELECT alter_change_stream('counts', keep_events => false);
SELECT alter_change_stream('counts', reset => '{keep_events}');
SELECT event_id, operation_type, extra FROM change_stream_events WHERE stream_name = 'counts';
SELECT drop_change_stream('counts');
SELECT create_change_stream('words', 'orders', 'shop', full_document => 'update_lookup', full_document_before_change => 'when_available',
  batch_size => 50, max_await_time => '2 minutes', retention => '1 mon', notify => 'heads', paused => true);
SELECT create_change_stream('nulls', 'orders', 'shop', full_document => NULL, full_document_before_change => NULL, show_expanded_events => NULL,
  max_await_time => NULL, initial_snapshot => NULL, notify => NULL, paused => true);
SELECT full_document, full_document_before_change, show_expanded_events, max_await_time, batch_size, initial_snapshot, retention, notify
FROM change_streams WHERE stream_name IN ('s', 'words', 'nulls') ORDER BY stream_name;

-- positions
SELECT refused_create($$ database => 'shop', resume_after => '8264BEB9F3000000012B0229296E04', start_at => 'now' $$);
SELECT refused_create($$ database => 'shop', resume_after => '8264BEB9F3000000012B0229296E04', start_after => '8264BEB9F3000000012B0229296E04' $$);
SELECT token, refused_create(format('database => %L, resume_after => %L', 'shop', token))
FROM unnest(ARRAY['', 'now', '8264', '8264BEB9F3000000012B0229296E0', '9964BEB9F3000000012B0229296E04', '8264BEB9F3000000012B0229296E0G']) AS token;
SELECT refused_create($$ database => 'shop', start_after => 'now' $$);
SELECT position, refused_create(format('database => %L, start_at => %L', 'shop', position))
FROM unnest(ARRAY['', 'soon', '2026-02-30', 'infinity', '-infinity', '2200-01-01', 'Timestamp(4294967296, 1)', 'Timestamp(1)', 'Timestamp(1, 2) x',
  '{"$timestamp": {"t": 1}}', '{"$date": "2026-01-31T12:00:00Z"}']) AS position;
SELECT name, create_change_stream(name, 'orders', 'shop', start_at => position, paused => true)
FROM (VALUES ('at token', '8264beb9f3000000012b0229296e04'), ('at time', '2023-07-24 17:49:39.75'), ('before 1970', '1969-12-31'),
      ('at now', 'now'), ('at operation time', '{"$timestamp": {"t": 1700000000, "i": 3}}'), ('as printed', ' Timestamp({ t: 1700000000, i: 4 })'),
      ('as called', 'Timestamp(1700000000,5) '), ('at no time', 'Timestamp(0, 0)'), ('at the end', 'Timestamp(4294967295, 4294967295)')) AS v(name, position);
SELECT create_change_stream('after', 'orders', 'shop', start_after => '8264BEB9F3000000012B0229296E04', paused => true);
SELECT create_change_stream('resumed', 'orders', 'shop', resume_after => '8264BEB9F3000000012B0229296E04', paused => true);
SELECT stream_name, s.resume_after, s.start_after, s.start_at, p.resume_token
FROM change_streams s JOIN change_stream_progress p USING (stream_name)
WHERE s.resume_after IS NOT NULL OR s.start_after IS NOT NULL OR s.start_at IS NOT NULL ORDER BY stream_name;

-- MongoDB out of reach: its text depends on the driver
SELECT split_part(refused($$ SELECT create_change_stream('unreachable', 'orders', 'shop') $$), E'\n', 1);
SELECT split_part(refused($$ SELECT create_change_stream('unreachable', 'orders', 'shop', start_at => 'earliest', paused => true) $$), E'\n', 1);
SELECT split_part(refused($$ SELECT resume_change_stream('s', 'earliest') $$), E'\n', 1);
SELECT split_part(refused($$ SELECT resume_change_stream('s', '8264BEB9F3000000012B0229296E04') $$), E'\n', 1);
SELECT count(*) FROM change_streams WHERE stream_name = 'unreachable';

-- the rest of a new stream's rows
SELECT stream_name, owner = current_user::regrole, server, database_name, collection_name, paused, changed_at_event, settings[2:],
  database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()) FROM change_streams WHERE stream_name = 's';
SELECT resume_token, last_event_id, events_processed, last_event_at, restarts, consecutive_errors, last_error, last_error_at, filter_errors
FROM change_stream_progress WHERE stream_name = 's';
SELECT * FROM change_stream_metrics WHERE stream_name = 's';
SELECT state, reason FROM change_stream_status WHERE stream_name = 's';

-- alter
SELECT refused($$ SELECT alter_change_stream(NULL) $$);
SELECT refused($$ SELECT alter_change_stream('none') $$);
SELECT refused($$ SELECT alter_change_stream('s', reset => '{paused}') $$);
SELECT refused($$ SELECT alter_change_stream('s', batch_size => 5, reset => '{batch_size}') $$);
SELECT refused($$ SELECT alter_change_stream('s', batch_size => 0) $$);
SELECT refused($$ SELECT alter_change_stream('s', operations => '{create}') $$);
SELECT refused($$ SELECT alter_change_stream('operations', show_expanded_events => false) $$);
SELECT refused($$ SELECT alter_change_stream('s', filter => ' ') $$);
SELECT alter_change_stream('s', filter => 'operation_type = ''insert''', add_fields => 'a = 1', operations => '{insert,drop}', pipeline => '[{"$match": {}}]',
  full_document => 'required', full_document_before_change => 'required', show_expanded_events => true, max_await_time => '5 seconds',
  batch_size => 7, retention => '2 days', notify => 'off');
SELECT filter, add_fields, operations, pipeline, full_document, full_document_before_change, show_expanded_events, max_await_time, batch_size,
  retention, notify, pushed_filter, local_filter FROM change_streams WHERE stream_name = 's';
SELECT alter_change_stream('s', batch_size => 8);
SELECT alter_change_stream('s', reset => '{add_fields,full_document,retention,batch_size}', notify => 'ids');
SELECT filter, add_fields, operations, pipeline, full_document, full_document_before_change, show_expanded_events, max_await_time, batch_size,
  retention, notify, pushed_filter, local_filter FROM change_streams WHERE stream_name = 's';
SELECT alter_change_stream('s', reset => '{filter,operations,pipeline,full_document_before_change,show_expanded_events,max_await_time,notify}');
SELECT filter, add_fields, operations, pipeline, full_document, full_document_before_change, show_expanded_events, max_await_time, batch_size,
  retention, notify, pushed_filter, local_filter FROM change_streams WHERE stream_name = 's';

-- what is worth a word
SELECT alter_change_stream('s', operations => '{update}');
SELECT alter_change_stream('s', operations => '{update,replace}');
SELECT alter_change_stream('s', filter => 'full_document IS NOT NULL');
SELECT alter_change_stream('s', filter => 'full_document IS NOT NULL', operations => '{insert,delete}');

-- pause and resume
SELECT refused($$ SELECT pause_change_stream(NULL) $$);
SELECT refused($$ SELECT pause_change_stream('none') $$);
SELECT refused($$ SELECT resume_change_stream(NULL) $$);
SELECT refused($$ SELECT resume_change_stream('none') $$);
SELECT refused($$ SELECT resume_change_stream('s', 'soon') $$);
SELECT refused($$ SELECT resume_change_stream('s', initial_snapshot => true) $$);
SELECT refused($$ SELECT resume_change_stream('s', skip => 'the second') $$);
SELECT pause_change_stream('s');
SELECT pause_change_stream('s');

-- sync
SELECT refused($$ SELECT sync_change_stream(NULL) $$);
SELECT refused($$ SELECT sync_change_stream('none') $$);
SELECT refused($$ SELECT sync_change_stream('s', '-1 second') $$);
SELECT refused($$ SELECT sync_change_stream('s', NULL) $$);
SELECT refused($$ SELECT sync_change_stream('s', operation_time => '1700000000') $$);
SELECT refused($$ SELECT sync_change_stream('s', operation_time => '{"$date": "2026-01-31T12:00:00Z"}') $$);
SELECT refused($$ SELECT sync_change_stream('s') $$);

-- read-only
BEGIN READ ONLY;
SELECT refused($$ SELECT create_change_stream('r', 'orders', 'shop', paused => true) $$);
SELECT refused($$ SELECT alter_change_stream('s', batch_size => 1) $$);
SELECT refused($$ SELECT pause_change_stream('s') $$);
SELECT refused($$ SELECT resume_change_stream('s') $$);
SELECT refused($$ SELECT drop_change_stream('s') $$);
ROLLBACK;

-- drop
SELECT refused($$ SELECT drop_change_stream(NULL) $$);
SELECT refused($$ SELECT drop_change_stream('none') $$);
INSERT INTO change_stream_events (stream_name, event_id, operation_type)
  SELECT stream_name, n, 'insert' FROM generate_series(1, 1000) AS n, unnest('{s,words}'::text[]) AS stream_name;
UPDATE change_stream_progress SET last_event_id = 1000 WHERE stream_name IN ('s', 'words');
SELECT drop_change_stream('s');
SELECT drop_change_stream('words', keep_events => true);
SELECT stream_name, count(*) FROM change_stream_events GROUP BY 1;
SELECT * FROM change_stream_kept_events WHERE owner = current_user::regrole \gset kept_
SELECT :'kept_stream_name', :kept_last_event_id;
SELECT refused($$ SELECT drop_change_stream('words', true) $$);
SELECT create_change_stream('words', 'orders', 'shop', paused => true);
SELECT last_event_id FROM change_stream_progress WHERE stream_name = 'words';
SELECT count(*) FROM change_stream_kept_events;
SELECT drop_change_stream('words', true);
SELECT drop_change_stream('words');
SELECT count(*) FROM change_stream_events;
SELECT drop_change_stream(stream_name) FROM change_streams \g /dev/null
SELECT (SELECT count(*) FROM change_streams), (SELECT count(*) FROM change_stream_progress), (SELECT count(*) FROM change_stream_metrics),
  (SELECT count(*) FROM change_stream_kept_events);

DROP FUNCTION refused_create, refused;
DROP SERVER nowhere;
