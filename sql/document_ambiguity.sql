-- Type document takes nothing away: what SQL resolved without the extension, it resolves the same with it

\pset format unaligned
\pset tuples_only on

CREATE DATABASE regression_document_ambiguity;
\c regression_document_ambiguity
SET client_min_messages = warning;

-- a column of each built-in type
DO $$
DECLARE
  t regtype;
  columns text := '';
BEGIN
  FOR t IN SELECT oid FROM pg_type WHERE typtype IN ('b', 'r') AND typnamespace = 'pg_catalog'::regnamespace
    AND typcategory IN ('A', 'B', 'D', 'I', 'N', 'R', 'S', 'T', 'U') AND typname !~ '^(pg_|_)' OR oid IN ('text[]'::regtype, 'int[]'::regtype) ORDER BY 1
  LOOP
    columns := columns || format(', %I %s', 'c' || t::oid, t);
  END LOOP;
  EXECUTE 'CREATE TABLE c (' || substr(columns, 3) || ')';
END $$;
CREATE TABLE words AS SELECT o FROM unnest('{+,-,*,/,=,<>,<,<=,>,>=,->,->>,#>,#>>,?,?|,?&,@>,<@}'::text[]) o;
CREATE TABLE expressions AS
  -- each operator between a column and a literal, both ways, and between columns of two types
  SELECT format('%I %s NULL', attname, o) AS e FROM words, pg_attribute WHERE attrelid = 'c'::regclass AND attnum > 0
  UNION ALL SELECT format('NULL %s %I', o, attname) FROM words, pg_attribute WHERE attrelid = 'c'::regclass AND attnum > 0
  UNION ALL SELECT format('%I %s %I', a.attname, o, b.attname) FROM words, pg_attribute a, pg_attribute b
    WHERE a.attrelid = 'c'::regclass AND a.attnum > 0 AND b.attrelid = 'c'::regclass AND b.attnum > 0 AND o IN ('-', '=')
    AND a.atttypid::regtype::text ~ '^(int|bigint|small|num|double|real|text|char|"char"|name|date|time|bool|json|oid|money)[^]]*$'
    AND b.atttypid::regtype::text ~ '^(int|bigint|small|num|double|real|text|char|"char"|name|date|time|bool|json|oid|money)[^]]*$'
  UNION ALL SELECT format('NULL %s NULL', o) FROM words
  UNION ALL SELECT format('%s(%s)', f, a) FROM unnest('{sum,avg,min,max}'::text[]) f,
    (SELECT attname::text AS a FROM pg_attribute WHERE attrelid = 'c'::regclass AND attnum > 0 UNION ALL SELECT 'NULL') v
  UNION ALL SELECT format('%s, %s)', f, a) FROM unnest('{"date_part(''year''","extract(''year''","array_length(NULL","to_json(''x''","coalesce(NULL"}'::text[]) f,
    (SELECT attname::text AS a FROM pg_attribute WHERE attrelid = 'c'::regclass AND attnum > 0 UNION ALL SELECT 'NULL') v
  UNION ALL SELECT unnest(ARRAY['now() + ''1 day''', 'now() - ''1 day''', '''1 day'' + now()', '''2024-01-01'' - now()', '''1 day'' * 2', '2 * ''1 day''', '''1'' + ''2''',
    '''a'' = ''b''', '''a'' < ''b''', 'interval ''1 day'' * ''2''', 'interval ''1 day'' / ''2''', 'date ''2024-01-01'' + ''1''', 'date ''2024-01-01'' - ''2023-01-01''',
    'current_time - ''1 hour''', '1 + ''1''', '1.5 * ''2''', '''{"a": 1}'' -> ''a''', 'jsonb ''{"a": 1}'' -> ''a''', 'json ''[1]'' ->> ''0''', 'jsonb ''{}'' @> ''{}''', '''{1}'' @> ''{1}''',
    'ARRAY[1] @> ''{1}''', 'jsonb ''{}'' ? ''a''', 'array_length(''{1,2}''::int[], 1)', 'array_length(''{1,2}'', 1)', 'date_part(''year'', ''2024-01-01'')', 'date_part(''year'', date ''2024-01-01'')',
    'extract(year FROM now())', 'age(now(), ''2024-01-01'')', 'date_trunc(''day'', ''2024-01-01'')', '1 IN (''1'', ''2'')', '''a'' || ''b''', 'CASE WHEN true THEN ''a'' ELSE ''b'' END = ''a''',
    'greatest(''a'', ''b'')', 'c25 BETWEEN ''a'' AND ''b''', 'c23 BETWEEN ''1'' AND ''2''', 'c1184 BETWEEN ''2024-01-01'' AND now()', 'c1184 > now() - ''1 hour''::interval', 'c25 = ANY (''{a}'')', 'array_append(NULL, 1)']);

-- how an expression is read: with every cast and type, or the error (one name for all views would be slow: each finds the dead rows of those before)
CREATE SEQUENCE views;
CREATE FUNCTION read(e text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r text;
  v text := 'v' || nextval('views');
BEGIN
  EXECUTE 'CREATE TEMP VIEW ' || v || ' AS SELECT ' || e || ' AS x FROM c';
  r := regexp_replace(substring(pg_get_viewdef(v::regclass) FROM '^ *SELECT (.*) AS x'), '\mc\.', '', 'g') || ': ' || (SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = v::regclass AND attnum = 1);
  EXECUTE 'DROP VIEW ' || v;
  RETURN r;
EXCEPTION WHEN OTHERS THEN
  RETURN 'error ' || SQLSTATE;
END $$;
CREATE TABLE before AS SELECT e, read(e) AS r FROM expressions;
CREATE EXTENSION mongo_change_stream;
CREATE TABLE after AS SELECT e, read(e) AS r FROM expressions;

SELECT count(*) > 3000 AS enough, count(*) FILTER (WHERE r !~ '^error') > 1000 AS meaningful FROM before;
-- what had a meaning has the same; but for two oddities: a literal before ? and char(n), and ?& between two literals
SELECT e, b.r, a.r FROM before b JOIN after a USING (e) WHERE b.r <> a.r AND b.r !~ '^error' ORDER BY e LIMIT 20;
-- what had none has none; it may be a different error
SELECT e, b.r, a.r FROM before b JOIN after a USING (e) WHERE b.r ~ '^error' AND a.r !~ '^error' LIMIT 20;
\c contrib_regression
DROP DATABASE regression_document_ambiguity;
