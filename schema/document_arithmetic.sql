-- Type document: arithmetic.

-- arithmetic, with MongoDB's result types

CREATE FUNCTION document_plus(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_plus_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_minus_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_times_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_divided_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_plus_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_minus_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_times_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_divided_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_plus_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_minus_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_times_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_divided_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_plus_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_minus_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_times_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_divided_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_timestamptz(document, timestamptz) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION timestamptz_minus_document(timestamptz, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_interval(document, interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_interval' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_interval(document, interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_interval' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;

CREATE OPERATOR + (LEFTARG = document, RIGHTARG = document, FUNCTION = document_plus, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = document, FUNCTION = document_minus);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = document, FUNCTION = document_times, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = document, FUNCTION = document_divided);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_plus_integer, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_minus_integer);
CREATE OPERATOR - (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_times_integer, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_divided_integer);
CREATE OPERATOR / (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_divided_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_plus_bigint, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_minus_bigint);
CREATE OPERATOR - (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_times_bigint, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_divided_bigint);
CREATE OPERATOR / (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_divided_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_plus_numeric, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_minus_numeric);
CREATE OPERATOR - (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_times_numeric, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_divided_numeric);
CREATE OPERATOR / (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_divided_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_plus_double, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_minus_double);
CREATE OPERATOR - (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_times_double, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_divided_double);
CREATE OPERATOR / (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_divided_document);
-- Nothing with a document on the right of a type that has no such operator with itself (timestamptz +, interval *):
-- it would make now() + '1 day' ambiguous for everybody.
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_minus_timestamptz);
CREATE OPERATOR - (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_minus_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_plus_interval);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_minus_interval);

DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  op record;
  words jsonb := '{"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "=": "equal", "<>": "not equal", "<": "less than", "<=": "less than or equal", ">": "greater than", ">=": "greater than or equal"}';
BEGIN
  SET LOCAL search_path = pg_catalog, pg_temp;
  -- a comment for each of the operators that differ only in their types, and for its function
  FOR op IN
    SELECT o.oprname, o.oprnamespace::regnamespace AS s, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprcode::regprocedure AS f
    FROM pg_operator o JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
    WHERE d.refclassid = 'pg_extension'::regclass
      AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mongo_change_stream')
      AND obj_description(o.oid, 'pg_operator') IS NULL
  LOOP
    EXECUTE format('COMMENT ON OPERATOR %s.%s (%s, %s) IS %L', op.s, op.oprname, op.l, op.r, words ->> op.oprname::text);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', op.f, 'implementation of ' || op.oprname || ' operator');
  END LOOP;
  PERFORM set_config('search_path', path, true);
END $$;
