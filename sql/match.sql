-- what MongoDB is asked for a stream's filter, and whether that is all of it (then local is null)
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
CREATE SERVER nowhere FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere;
CREATE FUNCTION pushed(filter text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  told text;
BEGIN
  PERFORM create_change_stream('probe', filter => filter, paused => true);
  SELECT coalesce((pushed_filter->'$or')->>0, pushed_filter::text, 'nothing') || CASE WHEN local_filter IS NULL THEN ' exactly' ELSE '' END
    INTO told FROM change_streams WHERE stream_name = 'probe';
  PERFORM drop_change_stream('probe');
  RETURN filter || E'\n  ' || told;
END $$;

-- columns
SELECT pushed(f) FROM unnest(ARRAY[
  $$operation_type = 'insert'$$, $$'insert' = operation_type$$, $$operation_type <> 'insert'$$, $$operation_type IN ('insert', 'update')$$,
  $$operation_type NOT IN ('insert', 'update')$$, $$operation_type NOT IN ('insert', NULL)$$, $$operation_type = ANY ('{insert,NULL}')$$, $$operation_type > 'i' COLLATE "C"$$,
  $$operation_type IS NULL$$, $$operation_type IS NOT NULL$$, $$operation_type IS DISTINCT FROM 'insert'$$, $$operation_type IS NOT DISTINCT FROM NULL$$,
  $$operation_type LIKE 'ins%'$$, $$operation_type NOT LIKE '%t_'$$, $$operation_type LIKE 'a%b\%c'$$, $$operation_type ILIKE 'ins%'$$, $$operation_type ~ '^(insert|update)$'$$,
  $$operation_type ~ '^up.*e$'$$, $$operation_type ~ '\d'$$, $$starts_with(operation_type, 'ins')$$,
  $$collection_name = 'orders' AND database_name = 'shop'$$, $$collection_name <> 'orders'$$, $$collection_name <> ''$$, $$collection_name NOT LIKE 'tmp%'$$,
  $$resume_token > '82650000000000000129' COLLATE "C"$$, $$full_document_source IN ('insert', 'lookup')$$, $$cluster_time >= '2024-01-01Z'$$, $$cluster_time > '2024-01-01 00:00:00.999999Z'$$, $$cluster_time = '2024-01-01 00:00:00.000003Z'$$, $$cluster_time < 'infinity'$$,
  $$cluster_time > now() - interval '1 hour'$$, $$change_timestamp < '2024-01-01 00:00:00.0005Z'$$, $$changed_fields IS NULL$$,
  $$'status' = ANY (changed_fields)$$, $$'a.b' = ANY (changed_fields)$$, $$changed_fields && '{status,total}'$$, $$NOT changed_fields @> '{status}'$$,
  $$changed_fields @> '{status,NULL}'$$, $$changed_fields <@ '{status}'$$
]) AS f;

-- values in documents
SELECT pushed(f) FROM unnest(ARRAY[
  $$full_document['status'] = text 'paid'$$, $$text 'paid' = full_document->'status'$$, $$full_document #> '{customer,tier}' = text 'gold'$$, $$full_document['status'] <> text 'paid'$$,
  $$NOT (full_document['n'] > 5)$$, $$full_document['n'] BETWEEN 1 AND 2$$, $$full_document['n'] > 19.99$$, $$full_document['n'] = 19.99$$, $$full_document['n'] <= 100.5$$,
  $$full_document['n'] < 'NaN'::numeric$$, $$full_document['n'] >= 0.1::float8$$, $$full_document['n'] = 1e400$$, $$full_document['paid']  = true$$,
  $$full_document['at'] > timestamptz '2024-01-01 00:00:00.0005Z'$$, $$full_document['at'] = timestamptz '2024-01-01 00:00:00.0005Z'$$, $$full_document['at'] < timestamptz 'infinity'$$,
  $$full_document['n'] = interval '5 ms'$$, $$full_document['id'] = '{"$oid": "507f1f77bcf86cd799439011"}'::document$$, $$full_document['list'] = '[1]'::document$$,
  $$full_document['a'] IS NULL$$, $$full_document['a']['b'] IS NULL$$, $$full_document['a'] IS NOT NULL$$, $$full_document IS NULL$$, $$extra->'to'->>'coll' = 'orders'$$, $$extra IS NULL$$,
  $$full_document['items'][0]['sku'] = text 'x'$$, $$full_document['items'][-1] IS NOT NULL$$, $$full_document['a.b'] = 5$$, $$full_document['$a'] IS NULL$$,
  $$document_get(full_document, 'user_id') = 5$$, $$document_get(full_document, 'a', 'b') = 5$$, $$full_document @> '{"status": "paid", "tags": ["a"], "customer": {"tier": "gold"}}'$$,
  $$full_document ? 'status'$$, $$NOT full_document ? 'status'$$, $$(full_document['n'] > 5) IS NOT TRUE$$, $$full_document['s'] IN (text 'a', text 'b')$$
]) AS f;

-- their text, and casts, which may raise errors: never exactly
SELECT pushed(f) FROM unnest(ARRAY[
  $$full_document->>'status' = 'shipped'$$, $$full_document->>'status' <> 'shipped'$$, $$full_document->>'status' IN ('paid', '{}')$$, $$full_document #>> '{a,b}' = '5'$$,
  $$full_document->>'s' LIKE 'abc%'$$, $$full_document->>'s' NOT LIKE 'abc%'$$, $$full_document->>'s' IS NULL$$, $$document_text(full_document['s']) = 'true'$$,
  $$(full_document->>'total')::numeric > 100$$, $$(full_document['total'])::numeric > 100.01$$, $$(full_document->>'total')::int <= 5$$, $$(full_document['at'])::timestamptz > '2024-01-01Z'$$,
  $$(full_document['b'])::boolean$$, $$NOT (full_document->>'b')::boolean$$, $$(full_document->>'total')::numeric(10,2) > 100$$
]) AS f;

-- together
SELECT pushed(f) FROM unnest(ARRAY[
  $$operation_type = 'insert' AND length(full_document->>'s') > 3$$, $$operation_type = 'insert' OR length(full_document->>'s') > 3$$, $$NOT (operation_type = 'insert' AND collection_name = 'x')$$,
  $$operation_type = 'delete' OR full_document['n'] > 5$$, $$true$$, $$false$$, $$NULL$$, $$operation_type = 'insert' AND false$$, $$length(full_document->>'s') > 3 OR true$$
]) AS f;

-- long lists and values stay here
SELECT create_change_stream('long', paused => true, filter => format('operation_type = ANY (%L)', ARRAY(SELECT 'o' || i FROM generate_series(1, 3000) AS i)));
SELECT create_change_stream('large', paused => true, filter => format('full_document->>''s'' = %L', repeat('x', 100000)));
SELECT create_change_stream('sum', paused => true, filter => format('operation_type = ANY (%L)', ARRAY(SELECT repeat('o', 200) || i FROM generate_series(1, 2000) AS i)));
SELECT stream_name, length(pushed_filter::text), local_filter IS NOT NULL FROM change_streams ORDER BY 1;
SELECT drop_change_stream('long'), drop_change_stream('large'), drop_change_stream('sum');
-- a function of somebody's on a value that is no document: nothing is taken for what it is not
CREATE FUNCTION somebodys(document, integer) RETURNS boolean LANGUAGE plpgsql STRICT IMMUTABLE AS 'BEGIN RETURN $2 = 5; END';
CREATE OPERATOR @@@ (LEFTARG = document, RIGHTARG = integer, FUNCTION = somebodys);
SELECT pushed(f) FROM unnest(ARRAY[$$full_document @@@ 5$$, $$somebodys(full_document, 5)$$, $$NOT full_document @@@ 5$$, $$(full_document -> 'a') @@@ 5$$]) f;
DROP OPERATOR @@@ (document, integer);
DROP FUNCTION somebodys, pushed;
DROP SERVER nowhere CASCADE;
