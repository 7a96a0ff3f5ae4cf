-- Type document: order, equality, hash, and comparison with other types.

-- order, equality, hash

CREATE FUNCTION document_eq(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_eq(document, document) IS 'implementation of = operator';
CREATE FUNCTION document_ne(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_ne(document, document) IS 'implementation of <> operator';
CREATE FUNCTION document_lt(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_lt(document, document) IS 'implementation of < operator';
CREATE FUNCTION document_le(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_le(document, document) IS 'implementation of <= operator';
CREATE FUNCTION document_gt(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gt(document, document) IS 'implementation of > operator';
CREATE FUNCTION document_ge(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_ge(document, document) IS 'implementation of >= operator';
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = document, FUNCTION = document_eq, COMMUTATOR = =, NEGATOR = <>,
  RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
COMMENT ON OPERATOR = (document, document) IS 'equal, in the order of BSON values';
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = document, FUNCTION = document_ne, COMMUTATOR = <>, NEGATOR = =,
  RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR <> (document, document) IS 'not equal, in the order of BSON values';
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = document, FUNCTION = document_lt, COMMUTATOR = >, NEGATOR = >=,
  RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR < (document, document) IS 'less than, in the order of BSON values';
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = document, FUNCTION = document_le, COMMUTATOR = >=, NEGATOR = >,
  RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR <= (document, document) IS 'less than or equal, in the order of BSON values';
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = document, FUNCTION = document_gt, COMMUTATOR = <, NEGATOR = <=,
  RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR > (document, document) IS 'greater than, in the order of BSON values';
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = document, FUNCTION = document_ge, COMMUTATOR = <=, NEGATOR = <,
  RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR >= (document, document) IS 'greater than or equal, in the order of BSON values';
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
CREATE OPERATOR CLASS document_ops DEFAULT FOR TYPE document USING hash AS
  OPERATOR 1 =,
  FUNCTION 1 document_hash(document),
  FUNCTION 2 document_hash_extended(document, bigint);

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

-- comparison with other types: a document of another kind is unequal, and neither less nor greater

CREATE FUNCTION document_cross_support(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_cross_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_cross_support(internal) IS 'lets an index on documents serve comparisons with other types';
CREATE FUNCTION document_index_bound("any", boolean) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_index_bound' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_index_bound("any", boolean) IS 'a bound that an index on documents is asked with';

CREATE FUNCTION document_eq_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_text' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_eq_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_text' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_ne_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_text' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_lt_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_text' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_le_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_text' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_gt_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_text' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_ge_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = text, FUNCTION = document_eq_text, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = document, FUNCTION = text_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_ne_text, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = document, FUNCTION = text_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = text, FUNCTION = document_lt_text, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = text, RIGHTARG = document, FUNCTION = text_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = text, FUNCTION = document_le_text, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = text, RIGHTARG = document, FUNCTION = text_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = text, FUNCTION = document_gt_text, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = text, RIGHTARG = document, FUNCTION = text_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = text, FUNCTION = document_ge_text, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = text, RIGHTARG = document, FUNCTION = text_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_boolean' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_eq_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_boolean' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_ne_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_boolean' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_lt_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_boolean' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_le_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_boolean' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_gt_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_boolean' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_ge_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_eq_boolean, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_ne_boolean, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_lt_boolean, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_le_boolean, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_gt_boolean, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_ge_boolean, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_integer' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_eq_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_integer' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_ne_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_integer' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_lt_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_integer' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_le_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_integer' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_gt_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_integer' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_ge_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_eq_integer, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_ne_integer, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_lt_integer, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_le_integer, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_gt_integer, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_ge_integer, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_bigint' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_eq_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_bigint' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_ne_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_bigint' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_lt_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_bigint' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_le_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_bigint' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_gt_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_bigint' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_ge_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_eq_bigint, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_ne_bigint, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_lt_bigint, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_le_bigint, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_gt_bigint, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_ge_bigint, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_numeric' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_eq_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_numeric' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_ne_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_numeric' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_lt_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_numeric' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_le_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_numeric' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_gt_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_numeric' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_ge_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_eq_numeric, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_ne_numeric, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_lt_numeric, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_le_numeric, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_gt_numeric, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_ge_numeric, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_double' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_eq_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_double' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_ne_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_double' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_lt_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_double' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_le_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_double' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_gt_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_double' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_ge_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_eq_double, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_ne_double, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_lt_double, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_le_double, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_gt_double, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_ge_double, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_timestamptz' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_eq_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_timestamptz' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_ne_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_timestamptz' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_lt_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_timestamptz' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_le_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_timestamptz' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_gt_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_timestamptz' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_ge_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_eq_timestamptz, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_ne_timestamptz, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_lt_timestamptz, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_le_timestamptz, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_gt_timestamptz, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_ge_timestamptz, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_interval' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_eq_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_eq_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_interval' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_ne_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_ne_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_interval' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_lt_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_lt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_interval' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_le_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_le_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_interval' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_gt_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_gt_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_interval' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_ge_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_ge_document' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_eq_interval, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_ne_interval, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_lt_interval, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_le_interval, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_gt_interval, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_ge_interval, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

-- SQL values to documents

CREATE FUNCTION to_document(anyelement) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION to_document(anyelement) IS 'any value as a document: rows become objects, arrays arrays, numerics Decimal128';
CREATE FUNCTION document_build_object(VARIADIC "any") RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_object' LANGUAGE C STABLE PARALLEL SAFE COST 1;
CREATE FUNCTION document_build_object() RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_object_empty' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
CREATE FUNCTION document_build_array(VARIADIC "any") RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_array' LANGUAGE C STABLE PARALLEL SAFE COST 1;
CREATE FUNCTION document_build_array() RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_array_empty' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_build_object("any") IS 'an object from keys and values in turn';
COMMENT ON FUNCTION document_build_object() IS 'an empty object';
COMMENT ON FUNCTION document_build_array("any") IS 'an array from its elements';
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
