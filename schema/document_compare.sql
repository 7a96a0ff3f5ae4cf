-- Type document: order, equality and hash, and the indexes on them.

-- @for word | sign | commutator | negator | estimate | more             | says
--      eq   | =    | =          | <>      | eq       | , HASHES, MERGES | equal
--      ne   | <>   | <>         | =       | neq      |                  | not equal
--      lt   | <    | >          | >=      | scalarlt |                  | less than
--      le   | <=   | >=         | >       | scalarle |                  | less than or equal
--      gt   | >    | <          | <=      | scalargt |                  | greater than
--      ge   | >=   | <=         | <       | scalarge |                  | greater than or equal
CREATE FUNCTION document_{word}(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_{word}' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_{word}(document, document) IS 'implementation of {sign} operator';
CREATE OPERATOR {sign} (LEFTARG = document, RIGHTARG = document, FUNCTION = document_{word}, COMMUTATOR = {commutator}, NEGATOR = {negator},
  RESTRICT = {estimate}sel, JOIN = {estimate}joinsel{more});
COMMENT ON OPERATOR {sign} (document, document) IS '{says}, in the order of BSON values';

-- @end
CREATE FUNCTION document_cmp(document, document) RETURNS integer
  AS 'MODULE_PATHNAME', 'mcs_document_cmp' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_cmp(document, document) IS 'less-equal-greater';

CREATE FUNCTION document_sortsupport(internal) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_document_sortsupport' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_sortsupport(internal) IS 'sort support';

CREATE FUNCTION document_hash(document) RETURNS integer
  AS 'MODULE_PATHNAME', 'mcs_document_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_hash(document) IS 'hash';

CREATE FUNCTION document_hash_extended(document, bigint) RETURNS bigint
  AS 'MODULE_PATHNAME', 'mcs_document_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_hash_extended(document, bigint) IS 'hash with a seed';

-- no function 4: equal documents may have different bytes (1 and 1.0), so a btree must not merge them
CREATE OPERATOR CLASS document_ops DEFAULT FOR TYPE document USING btree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
  FUNCTION 1 document_cmp(document, document),
  FUNCTION 2 document_sortsupport(internal);
COMMENT ON OPERATOR CLASS document_ops USING btree IS 'MongoDB''s order of documents';
COMMENT ON OPERATOR FAMILY document_ops USING btree IS 'MongoDB''s order of documents';

CREATE OPERATOR CLASS document_ops DEFAULT FOR TYPE document USING hash AS
  OPERATOR 1 =,
  FUNCTION 1 document_hash(document),
  FUNCTION 2 document_hash_extended(document, bigint);
COMMENT ON OPERATOR CLASS document_ops USING hash IS 'equality of documents: 1 and 1.0 are equal';
COMMENT ON OPERATOR FAMILY document_ops USING hash IS 'equality of documents: 1 and 1.0 are equal';

-- GIN

CREATE FUNCTION document_gin_extract(document, internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_gin_extract' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_extract(document, internal) IS 'GIN support';

CREATE FUNCTION document_gin_query(document, internal, smallint, internal, internal, internal, internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_gin_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_query(document, internal, smallint, internal, internal, internal, internal) IS 'GIN support';

CREATE FUNCTION document_gin_consistent(internal, smallint, document, integer, internal, internal, internal, internal) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gin_consistent' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_consistent(internal, smallint, document, integer, internal, internal, internal, internal) IS 'GIN support';

CREATE FUNCTION document_gin_triconsistent(internal, smallint, document, integer, internal, internal, internal) RETURNS "char"
  AS 'MODULE_PATHNAME', 'mcs_document_gin_triconsistent' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_triconsistent(internal, smallint, document, integer, internal, internal, internal) IS 'GIN support';

CREATE OPERATOR CLASS document_gin_ops DEFAULT FOR TYPE document USING gin AS
  OPERATOR 7 @>(document, document),
  OPERATOR 9 ?(document, bpchar),
  OPERATOR 10 ?|(document, bpchar[]),
  OPERATOR 11 ?&(document, bpchar[]),
  FUNCTION 1 btint4cmp(integer, integer),
  FUNCTION 2 document_gin_extract(document, internal),
  FUNCTION 3 document_gin_query(document, internal, smallint, internal, internal, internal, internal),
  FUNCTION 4 document_gin_consistent(internal, smallint, document, integer, internal, internal, internal, internal),
  FUNCTION 6 document_gin_triconsistent(internal, smallint, document, integer, internal, internal, internal),
  STORAGE integer;
COMMENT ON OPERATOR CLASS document_gin_ops USING gin IS 'keys and values inside of documents: @> ? ?| ?&';
COMMENT ON OPERATOR FAMILY document_gin_ops USING gin IS 'keys and values inside of documents: @> ? ?| ?&';
