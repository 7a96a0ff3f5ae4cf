-- Type document: aggregates.

CREATE FUNCTION document_sum_transition(internal, document) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_sum_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_sum_transition(internal, document) IS 'aggregate transition function';

CREATE FUNCTION document_sum_inverse(internal, document) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_sum_inverse' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_sum_inverse(internal, document) IS 'aggregate inverse transition function';

CREATE FUNCTION document_larger(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_larger' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_larger(document, document) IS 'larger of two';

CREATE FUNCTION document_smaller(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_smaller' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_smaller(document, document) IS 'smaller of two';

CREATE AGGREGATE sum(document) (
  SFUNC = document_sum_transition, STYPE = internal, SSPACE = 128, FINALFUNC = numeric_sum,
  COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize,
  MSFUNC = document_sum_transition, MINVFUNC = document_sum_inverse, MSTYPE = internal, MSSPACE = 128, MFINALFUNC = numeric_sum,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE sum(document) IS 'sum of the numbers, exact; nulls do not count';

CREATE AGGREGATE avg(document) (
  SFUNC = document_sum_transition, STYPE = internal, SSPACE = 128, FINALFUNC = numeric_avg,
  COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize,
  MSFUNC = document_sum_transition, MINVFUNC = document_sum_inverse, MSTYPE = internal, MSSPACE = 128, MFINALFUNC = numeric_avg,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(document) IS 'mean of the numbers, exact; nulls do not count';

CREATE AGGREGATE max(document) (
  SFUNC = document_larger, STYPE = document, SORTOP = >, COMBINEFUNC = document_larger, PARALLEL = SAFE
);
COMMENT ON AGGREGATE max(document) IS 'the last in the order of BSON values';

CREATE AGGREGATE min(document) (
  SFUNC = document_smaller, STYPE = document, SORTOP = <, COMBINEFUNC = document_smaller, PARALLEL = SAFE
);
COMMENT ON AGGREGATE min(document) IS 'the first in the order of BSON values';

CREATE FUNCTION date_part(text, document) RETURNS numeric
  AS 'MODULE_PATHNAME', 'mcs_document_date_part' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION date_part(text, document) IS 'a field of a date, or of a number of milliseconds as an interval';
