-- Type document: casts.  None is implicit: that would let unrelated types compare.

-- @for name        | type             | volatility | context         | takes
--      boolean     | boolean          | IMMUTABLE  |  AS ASSIGNMENT  | booleans
--      smallint    | smallint         | IMMUTABLE  |  AS ASSIGNMENT  | numbers, rounded
--      integer     | integer          | IMMUTABLE  |  AS ASSIGNMENT  | numbers, rounded
--      bigint      | bigint           | IMMUTABLE  |  AS ASSIGNMENT  | numbers, rounded
--      numeric     | numeric          | IMMUTABLE  |  AS ASSIGNMENT  | numbers, a double as its shortest decimal
--      real        | real             | IMMUTABLE  |  AS ASSIGNMENT  | numbers
--      double      | double precision | IMMUTABLE  |  AS ASSIGNMENT  | numbers
--      timestamptz | timestamptz      | IMMUTABLE  |  AS ASSIGNMENT  | dates, and the second of timestamps
--      timestamp   | timestamp        | STABLE     |  AS ASSIGNMENT  | dates and timestamps, in the session''s time zone
--      date        | date             | STABLE     |  AS ASSIGNMENT  | dates and timestamps, in the session''s time zone
--      uuid        | uuid             | IMMUTABLE  |  AS ASSIGNMENT  | binary data of subtype 4
--      bytea       | bytea            | IMMUTABLE  |                 | binary data
--      text_array  | text[]           | IMMUTABLE  |                 | arrays, each element as plain text
--      interval    | interval         | IMMUTABLE  |                 | a number of milliseconds
CREATE FUNCTION document_to_{name}(document) RETURNS {type}
  AS 'MODULE_PATHNAME', 'mcs_document_to_{name}' LANGUAGE C {volatility} STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_{name}(document) IS 'cast of a document to {type}';
CREATE CAST (document AS {type}) WITH FUNCTION document_to_{name}(document) {context};
COMMENT ON CAST (document AS {type}) IS 'takes {takes}; null and undefined become NULL, another type is an error';

-- @end
-- PostgreSQL tells these the length of the type and whether the cast was written
-- @for name    | type
--      text    | text
--      varchar | character varying
--      bpchar  | character
CREATE FUNCTION document_to_{name}(document, integer, boolean) RETURNS {type}
  AS 'MODULE_PATHNAME', 'mcs_document_to_{name}' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_{name}(document, integer, boolean) IS 'cast of a document to {type}';
CREATE CAST (document AS {type}) WITH FUNCTION document_to_{name}(document, integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (document AS {type}) IS 'plain text where a value is put into a column or a variable; Extended JSON where the cast is written';

-- @end
-- @for type
--      jsonb
--      json
CREATE FUNCTION document_to_{type}(document) RETURNS {type}
  AS 'MODULE_PATHNAME', 'mcs_document_to_{type}' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_{type}(document) IS 'cast of a document to {type}';
CREATE CAST (document AS {type}) WITH FUNCTION document_to_{type}(document);
COMMENT ON CAST (document AS {type}) IS 'takes everything: what JSON has no form for as Extended JSON; characters that no text holds, NaN and infinities are errors';

-- @end
-- @for name        | type             | volatility | gives
--      boolean     | boolean          | IMMUTABLE  | a boolean
--      smallint    | smallint         | IMMUTABLE  | an int
--      integer     | integer          | IMMUTABLE  | an int
--      bigint      | bigint           | IMMUTABLE  | a long
--      numeric     | numeric          | IMMUTABLE  | a decimal; more than 34 digits are an error
--      real        | real             | IMMUTABLE  | a double
--      double      | double precision | IMMUTABLE  | a double
--      timestamptz | timestamptz      | IMMUTABLE  | a date; what is finer than a millisecond is cut off
--      timestamp   | timestamp        | STABLE     | a date, by the session''s time zone; what is finer than a millisecond is cut off
--      date        | date             | STABLE     | a date, by the session''s time zone
--      uuid        | uuid             | IMMUTABLE  | binary data of subtype 4
--      jsonb       | jsonb            | IMMUTABLE  | what the JSON says; typed values of Extended JSON are understood
--      json        | json             | IMMUTABLE  | what the JSON says; typed values of Extended JSON are understood
--      bytea       | bytea            | IMMUTABLE  | binary data
--      interval    | interval         | IMMUTABLE  | a number of milliseconds
CREATE FUNCTION document_from_{name}({type}) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C {volatility} STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_{name}({type}) IS 'cast of {type} to a document';
CREATE CAST ({type} AS document) WITH FUNCTION document_from_{name}({type});
COMMENT ON CAST ({type} AS document) IS 'gives {gives}';

-- @end
-- leakproof, for indexes on changed_fields: an array that no document is large enough for is null, not an error
CREATE FUNCTION document_from_text_array(text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_from_text_array' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_text_array(text[]) IS 'cast of text[] to a document';

CREATE CAST (text[] AS document) WITH FUNCTION document_from_text_array(text[]);
COMMENT ON CAST (text[] AS document) IS 'gives an array of strings; null for one too large for a document';

CREATE FUNCTION document_to_jsonb_lenient(document) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'mcs_document_to_jsonb_lenient' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_jsonb_lenient(document)
  IS 'any document as jsonb: Extended JSON for NaN and the infinities, U+FFFD for characters that no text holds';
