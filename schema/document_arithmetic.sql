-- Type document: arithmetic, with MongoDB's result types.

-- @for word    | sign | commutator       | says
--      plus    | +    | , COMMUTATOR = + | add
--      minus   | -    |                  | subtract; two dates give milliseconds
--      times   | *    | , COMMUTATOR = * | multiply
--      divided | /    |                  | divide; integers into a double
CREATE FUNCTION document_{word}(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_{word}' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_{word}(document, document) IS 'implementation of {sign} operator';
CREATE OPERATOR {sign} (LEFTARG = document, RIGHTARG = document, FUNCTION = document_{word}{commutator});
COMMENT ON OPERATOR {sign} (document, document) IS '{says}';

-- @end
-- @for name    | type
--      integer | integer
--      bigint  | bigint
--      numeric | numeric
--      double  | double precision
-- @for word    | sign | commutator       | says
--      plus    | +    | , COMMUTATOR = + | add
--      minus   | -    |                  | subtract
--      times   | *    | , COMMUTATOR = * | multiply
--      divided | /    |                  | divide
CREATE FUNCTION document_{word}_{name}(document, {type}) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_{word}_{name}' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_{word}_{name}(document, {type}) IS 'implementation of {sign} operator';
CREATE OPERATOR {sign} (LEFTARG = document, RIGHTARG = {type}, FUNCTION = document_{word}_{name}{commutator});
COMMENT ON OPERATOR {sign} (document, {type}) IS '{says}';

CREATE FUNCTION {name}_{word}_document({type}, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_{name}_{word}_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION {name}_{word}_document({type}, document) IS 'implementation of {sign} operator';
CREATE OPERATOR {sign} (LEFTARG = {type}, RIGHTARG = document, FUNCTION = {name}_{word}_document{commutator});
COMMENT ON OPERATOR {sign} ({type}, document) IS '{says}';

-- @end
-- Nothing with a document on the right of a type that has no such operator with itself (timestamptz +, interval *):
-- it would make now() + '1 day' ambiguous for everybody.

CREATE FUNCTION document_minus_timestamptz(document, timestamptz) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_minus_timestamptz(document, timestamptz) IS 'implementation of - operator';
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_minus_timestamptz);
COMMENT ON OPERATOR - (document, timestamptz) IS 'milliseconds between a date and a timestamp';

CREATE FUNCTION timestamptz_minus_document(timestamptz, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION timestamptz_minus_document(timestamptz, document) IS 'implementation of - operator';
CREATE OPERATOR - (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_minus_document);
COMMENT ON OPERATOR - (timestamptz, document) IS 'milliseconds between a timestamp and a date';

-- stable, since days and months follow the session's time zone
CREATE FUNCTION document_plus_interval(document, interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_interval' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_plus_interval(document, interval) IS 'implementation of + operator';
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_plus_interval);
COMMENT ON OPERATOR + (document, interval) IS 'a date an interval later, by the calendar of the session''s time zone';

CREATE FUNCTION document_minus_interval(document, interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_interval' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_minus_interval(document, interval) IS 'implementation of - operator';
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_minus_interval);
COMMENT ON OPERATOR - (document, interval) IS 'a date an interval earlier, by the calendar of the session''s time zone';
