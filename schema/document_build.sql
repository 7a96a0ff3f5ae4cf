-- Type document: made of SQL values.

CREATE FUNCTION to_document(anyelement) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION to_document(anyelement) IS 'any value as a document: rows become objects, arrays arrays, numerics Decimal128';

CREATE FUNCTION document_id(text) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_id' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_id(text) IS 'what a text names: an ObjectId by its 24 hexadecimal digits, a UUID by its 36 characters; any other as a string';

CREATE FUNCTION document_build_object(VARIADIC "any") RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_object' LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_build_object("any") IS 'an object from keys and values in turn';

CREATE FUNCTION document_build_object() RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_object_empty' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_build_object() IS 'an empty object';

CREATE FUNCTION document_build_array(VARIADIC "any") RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_array' LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_build_array("any") IS 'an array from its elements';

CREATE FUNCTION document_build_array() RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_array_empty' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_build_array() IS 'an empty array';

CREATE FUNCTION document_agg_transition(internal, anyelement) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_agg_transition' LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_agg_transition(internal, anyelement) IS 'aggregate transition function';

CREATE FUNCTION document_agg_final(internal, anyelement) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_agg_final' LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_agg_final(internal, anyelement) IS 'aggregate final function';

CREATE AGGREGATE document_agg(anyelement) (
  SFUNC = document_agg_transition, STYPE = internal,
  FINALFUNC = document_agg_final, FINALFUNC_EXTRA,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE document_agg(anyelement) IS 'the values as an array';
