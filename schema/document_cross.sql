-- Type document: comparison with values of other types.  A document of another kind is unequal, and neither less nor greater.

CREATE FUNCTION document_cross_support(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_cross_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_cross_support(internal) IS 'lets an index on documents serve comparisons with other types';

CREATE FUNCTION document_index_bound("any", boolean) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_index_bound' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_index_bound("any", boolean) IS 'one end of the range of an index on documents that a comparison with another type asks for';

-- No <, <=, >, >= has a negator: of a document of another kind neither it nor its counterpart is true.
-- @for name        | type             | kind
--      text        | text             | no string
--      boolean     | boolean          | no boolean
--      integer     | integer          | no number
--      bigint      | bigint           | no number
--      numeric     | numeric          | no number
--      double      | double precision | no number
--      timestamptz | timestamptz      | no date
--      interval    | interval         | no number of milliseconds
--      uuid        | uuid             | no UUID
-- @for word | sign | commutator | negator        | estimate | says                  | otherwise
--      eq   | =    | =          | , NEGATOR = <> | eq       | equal                 | unequal
--      ne   | <>   | <>         | , NEGATOR = =  | neq      | not equal             | unequal
--      lt   | <    | >          |                | scalarlt | less than             | neither less nor greater
--      le   | <=   | >=         |                | scalarle | less than or equal    | neither less nor greater
--      gt   | >    | <          |                | scalargt | greater than          | neither less nor greater
--      ge   | >=   | <=         |                | scalarge | greater than or equal | neither less nor greater
CREATE FUNCTION document_{word}_{name}(document, {type}) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_{word}_{name}' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
COMMENT ON FUNCTION document_{word}_{name}(document, {type}) IS 'implementation of {sign} operator';
CREATE OPERATOR {sign} (LEFTARG = document, RIGHTARG = {type}, FUNCTION = document_{word}_{name}, COMMUTATOR = {commutator}{negator}, RESTRICT = {estimate}sel, JOIN = {estimate}joinsel);
COMMENT ON OPERATOR {sign} (document, {type}) IS '{says}; a document that is {kind} is {otherwise}';

CREATE FUNCTION {name}_{word}_document({type}, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_{name}_{word}_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
COMMENT ON FUNCTION {name}_{word}_document({type}, document) IS 'implementation of {sign} operator';
CREATE OPERATOR {sign} (LEFTARG = {type}, RIGHTARG = document, FUNCTION = {name}_{word}_document, COMMUTATOR = {commutator}{negator}, RESTRICT = {estimate}sel, JOIN = {estimate}joinsel);
COMMENT ON OPERATOR {sign} ({type}, document) IS '{says}; a document that is {kind} is {otherwise}';

-- @end
