-- The dialect: text to plain SQL, and what the plain SQL calls.

CREATE FUNCTION change_stream_wrote(changed_fields text[], path text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_change_stream_wrote' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION change_stream_wrote(text[], text)
  IS 'did the event write this field, a document that holds it, or a field inside it? positions in arrays may be left out';

CREATE FUNCTION change_stream_translate(sql text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate(text) IS 'statements with document paths and change streams as plain SQL; plain SQL comes back as it is';

CREATE FUNCTION change_stream_translate_for_gateway(sql text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_for_gateway' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_for_gateway(text)
  IS 'as change_stream_translate, with documents in rows that the client gets as mongo_change_stream.gateway_documents says';

-- what the gateway's translation shows a difference of documents with; the planner puts in which subtractions it comes from
CREATE FUNCTION change_stream_shown_support(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_change_stream_shown_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION change_stream_shown_support(internal) IS 'tells the planner which subtractions change_stream_shown() shows';
CREATE FUNCTION change_stream_shown(document, places int[]) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_shown' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1 SUPPORT change_stream_shown_support;
COMMENT ON FUNCTION change_stream_shown(document, int[])
  IS 'as document_text_lenient, with a difference of dates as an interval: one that comes from the subtractions at these places of the statement''s text';

CREATE FUNCTION change_stream_translate_expression(expression text, bare_names boolean = true) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_expression' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_expression(text, boolean)
  IS 'a condition over the columns of an event, with document paths, as plain SQL; bare_names: other names are fields of full_document';

CREATE FUNCTION change_stream_translate_fields(fields text, bare_names boolean = true) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_fields' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_fields(text, boolean)
  IS 'added fields, name = expression, ..., over the columns of an event, with document paths, as plain SQL';

CREATE FUNCTION change_stream_translate_body(body text, of_batch boolean = false) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_body' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_body(text, boolean)
  IS 'a PL/pgSQL block in which "change" is a row of change_stream_events, or of_batch "changes" a relation of such rows, with document paths, as plain PL/pgSQL';

CREATE FUNCTION change_mirror_translate_filter(filter text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_mirror_translate_filter' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_mirror_translate_filter(text)
  IS 'a condition over the fields of a document, whose names may stand alone, as plain SQL over "document"';

CREATE FUNCTION change_mirror_translate_columns(columns text) RETURNS text[]
  AS 'MODULE_PATHNAME', 'mcs_change_mirror_translate_columns' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_mirror_translate_columns(text)
  IS 'columns of a mirror, name type = expression, ..., taken apart: for each its name, its type as written or null, and its expression as plain SQL over "document"';

CREATE FUNCTION change_stream_query(sql text) RETURNS SETOF document
  AS 'MODULE_PATHNAME', 'mcs_change_stream_query' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_query(text)
  IS 'runs statements with document paths and change streams; the rows of the last one that returns rows, each as a document';

CREATE FUNCTION change_stream_query_as(sql text) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_change_stream_query' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_query_as(text)
  IS 'the same with the columns that the caller lists: FROM change_stream_query_as(...) AS t(status text, n bigint)';

-- what statements become calls of

CREATE FUNCTION change_stream_exists(stream_name text) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_streams s WHERE s.stream_name OPERATOR(pg_catalog.=) $1);
END;
COMMENT ON FUNCTION change_stream_exists(text) IS 'does the caller see a change stream of this name?';

CREATE FUNCTION change_stream_follows(stream_name text, collection text, database text) RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_streams s
                 WHERE s.stream_name OPERATOR(pg_catalog.=) $1 AND s.collection_name IS NOT DISTINCT FROM $2
                   AND ($3 IS NULL OR s.database_name OPERATOR(pg_catalog.=) $3));
END;
COMMENT ON FUNCTION change_stream_follows(text, text, text) IS 'does a change stream of this name follow this collection?';

CREATE FUNCTION change_handler_exists(handler_name text) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_handlers h WHERE h.handler_name OPERATOR(pg_catalog.=) $1);
END;
COMMENT ON FUNCTION change_handler_exists(text) IS 'does the caller see a handler of this name?';

CREATE FUNCTION change_stream_append_only() RETURNS trigger
  AS 'MODULE_PATHNAME', 'mcs_change_stream_append_only' LANGUAGE C;
COMMENT ON FUNCTION change_stream_append_only() IS 'refuses to change or delete rows of an event store';

CREATE FUNCTION change_stream_call_handler() RETURNS language_handler
  AS 'MODULE_PATHNAME', 'mcs_change_stream_call_handler' LANGUAGE C;
COMMENT ON FUNCTION change_stream_call_handler() IS 'call handler of the language change_stream, in which there are no functions';

CREATE FUNCTION change_stream_inline_handler(internal) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_change_stream_inline_handler' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION change_stream_inline_handler(internal) IS 'runs DO LANGUAGE change_stream';

CREATE FUNCTION change_stream_validator(oid) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_change_stream_validator' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION change_stream_validator(oid) IS 'refuses functions in the language change_stream';

CREATE TRUSTED LANGUAGE change_stream HANDLER change_stream_call_handler
  INLINE change_stream_inline_handler VALIDATOR change_stream_validator;
COMMENT ON LANGUAGE change_stream IS 'statements with document paths and change streams, for DO';

CREATE FUNCTION string_agg_elements_transition(internal, text[], text) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_string_agg_elements_transition' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION string_agg_elements_transition(internal, text[], text) IS 'aggregate transition function';

CREATE FUNCTION string_agg_elements_final(internal) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_string_agg_elements_final' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION string_agg_elements_final(internal) IS 'aggregate final function';

CREATE FUNCTION string_agg_distinct_elements_final(internal) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_string_agg_distinct_elements_final' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION string_agg_distinct_elements_final(internal) IS 'aggregate final function';

CREATE AGGREGATE string_agg_elements(text[], text) (
  SFUNC = string_agg_elements_transition, STYPE = internal, FINALFUNC = string_agg_elements_final, PARALLEL = SAFE);
COMMENT ON AGGREGATE string_agg_elements(text[], text) IS 'the elements of arrays, joined by a delimiter; nulls do not count';

CREATE AGGREGATE string_agg_distinct_elements(text[], text) (
  SFUNC = string_agg_elements_transition, STYPE = internal, FINALFUNC = string_agg_distinct_elements_final, PARALLEL = SAFE);
COMMENT ON AGGREGATE string_agg_distinct_elements(text[], text) IS 'the different elements of arrays, sorted, joined by a delimiter';
