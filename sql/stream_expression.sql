-- A stream's filter and added fields: what is taken and what is refused, and where errors point

\pset format unaligned
\pset tuples_only on
\set VERBOSITY verbose
\set SHOW_CONTEXT never

CREATE SERVER nowhere FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/?directConnection=true');
SELECT create_change_stream('s', 'orders', 'shop', paused => true);

-- SQLSTATE, message, hint, and the user's own text from where the error points
CREATE FUNCTION refused(filter text = NULL, add_fields text = NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text; hint text;
BEGIN
  PERFORM alter_change_stream('s', filter => filter, add_fields => add_fields);
  RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(E'\n  ', state || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- conditions
SELECT filter, refused(filter => filter) FROM (VALUES
  ('operation_type = ''insert'''), ('operation_type IN (''insert'', ''update'') AND collection_name LIKE ''o%'''),
  ('update_description IS NULL OR ''status'' = ANY (changed_fields)'), ('cluster_time > now() - interval ''1 day'''),
  ('true -- with a comment'), ('NULL'), ('(((true)))'), ('change_stream_events.operation_type = ''insert'''),
  ('EXISTS_IN_NO_SCHEMA(1)'), ('1'), ('''maybe'''), ('operation_typ = ''insert'''), ('order.status = 1'), ('operation_type ='),
  ('document_key.x = 1')
) AS v(filter);

-- text that brings more than a condition
SELECT filter, refused(filter => filter) FROM (VALUES
  (''), ('-- nothing'), ('true, false'), ('true AS yes'), ('true FROM pg_class'), ('true WHERE false'), ('true; DROP TABLE x'),
  ('true) OR (true'), ('DISTINCT true'), ('true ORDER BY 1'), ('true LIMIT 1'), ('true FOR UPDATE'), ('true GROUP BY 1 HAVING true'), ('*'), ('change_stream_events.*')
) AS v(filter);

-- expressions that are none over one row
SELECT filter, refused(filter => filter) FROM (VALUES
  ('count(*) > 1'), ('row_number() OVER () = 1'), ('EXISTS (SELECT 1)'), ('operation_type IN (SELECT ''a'')'),
  ('generate_series(1, 2) = 1'), ('$1'), ('stream_name = ''s'''), ('event_id > 5'), ('received_at IS NULL'),
  ('processing_status = ''error'''), ('ctid IS NULL'), ('change_stream_events IS NULL'), ('DEFAULT')
) AS v(filter);

-- added fields
SELECT fields, refused(add_fields => fields) FROM (VALUES
  ('a = 1'), ('a = 1, "B c" = upper(operation_type), d = full_document'), ('stage = CASE operation_type WHEN ''insert'' THEN ''new'' ELSE ''old'' END'),
  ('at = cluster_time, list = changed_fields, nothing = NULL'), ('a = 1 -- one'), ('a = (SELECT 1)'), ('a = max(1)'), ('a = event_id'),
  (''), ('a'), ('a = 1,'), ('a = 1 b = 2'), ('a = 1, a = 2'), ('a.b = 1'), ('a[1] = 1'), ('(a, b) = (1, 2)'), ('(a, b) = (SELECT 1, 2)'),
  ('a = DEFAULT'), ('a = 1 WHERE true'), ('a = 1 FROM pg_class'), ('a = 1 RETURNING 1'), ('a = 1; DELETE FROM x'), ('a = nosuch(1)'), ('a = b')
) AS v(fields);

-- positions are in the user's text
\set VERBOSITY default
SELECT alter_change_stream('s', filter => 'operation_type = ''insert'' AND
  no_such_column = 1');
SELECT alter_change_stream('s', add_fields => 'first = 1, second = event_id');
SELECT alter_change_stream('s', add_fields => 'first = 1,, second = 2');

-- settings of the creator hold, not those of who alters
CREATE SCHEMA creators;
CREATE FUNCTION creators.wanted(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ''insert''';
SELECT refused(filter => 'wanted(operation_type)');
SET search_path = creators, public;
SELECT public.create_change_stream('t', 'orders', 'shop', filter => 'wanted(operation_type)', paused => true);
RESET search_path;
SELECT alter_change_stream('t', filter => 'NOT wanted(operation_type)');
SELECT local_filter, settings[1] FROM change_streams WHERE stream_name = 't';

SELECT drop_change_stream('s');
SELECT drop_change_stream('t');
DROP FUNCTION refused, creators.wanted;
DROP SCHEMA creators;
DROP SERVER nowhere;

-- the exact cluster time is in the token, also where the ordinal passes what microseconds hold
SELECT event_cluster_timestamp('8264BEB9F3000000012B0229296E04'), event_cluster_timestamp('8264beb9f3ffffffff2B0229296E04');
SELECT event_cluster_timestamp('8264BEB9F3');
SELECT event_cluster_timestamp(NULL);
