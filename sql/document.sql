-- Type document: text and binary form, access, jsonb

\pset null (null)
\pset format unaligned
\pset tuples_only on

-- every type, printed as it is read
SELECT d FROM (VALUES
  (1, '{}'::document), (2, '[]'), (3, '"text"'), (4, '""'), (5, '1'), (6, '-2147483648'), (7, '2147483648'),
  (8, '9223372036854775807'), (9, '9223372036854775808'), (10, '1.0'), (11, '-0.0'), (12, '1e3'), (13, '0.1'),
  (14, '1.7976931348623157e308'), (15, '5e-324'), (16, 'true'), (17, 'false'), (18, 'null'),
  (20, '{"$numberInt": "7"}'), (21, '{"$numberLong": "7"}'), (22, '{"$numberLong": "7000000000"}'),
  (23, '{"$numberDouble": "7"}'), (24, '{"$numberDouble": "NaN"}'), (25, '{"$numberDouble": "-Infinity"}'),
  (26, '{"$numberDecimal": "1.50"}'), (27, '{"$numberDecimal": "-0"}'), (28, '{"$numberDecimal": "1E+6144"}'),
  (29, '{"$numberDecimal": "-Infinity"}'), (30, '{"$numberDecimal": "nan"}'), (31, '{"$numberDecimal": "0.00000012345"}'),
  (32, '{"$oid": "65F0C1D2E3A4B5C6D7E8F901"}'), (33, '{"$date": "2024-05-17T08:30:00.125Z"}'),
  (34, '{"$date": "2024-05-17T08:30+02:00"}'), (35, '{"$date": {"$numberLong": "0"}}'),
  (36, '{"$date": {"$numberLong": "253402300799999"}}'), (37, '{"$date": {"$numberLong": "253402300800000"}}'),
  (38, '{"$date": {"$numberLong": "-62167219200000"}}'), (39, '{"$date": {"$numberLong": "-62167219200001"}}'),
  (40, '{"$date": {"$numberLong": "-9223372036854775808"}}'), (41, '{"$timestamp": {"i": 4294967295, "t": 1}}'),
  (42, '{"$binary": {"base64": "AQIDBA==", "subType": "0"}}'), (43, '{"$binary": {"subType": "02", "base64": "AQID"}}'),
  (44, '{"$uuid": "73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}'),
  (45, '{"$regularExpression": {"pattern": "^a.*\\d", "options": "xi"}}'), (46, '{"$code": "x = 1"}'),
  (47, '{"$code": "x = y", "$scope": {"y": [1, {"z": null}]}}'), (48, '{"$symbol": "s"}'),
  (49, '{"$dbPointer": {"$id": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}, "$ref": "db.c"}}'), (50, '{"$undefined": true}'),
  (51, '{"$minKey": 1}'), (52, '{"$maxKey": 1}'),
  (60, '{"": 1, "a": 1, "a": {"b": [1, "2", []]}, "a.b": 2, "$c": 3}'), (61, '["\u0000 \"\\\/ \b\f\n\r\t\u001f é \ud83d\ude00"]'),
  (62, E' { "a" : [ 1 ,\t2 ] \n} '), (63, '{"$regex": "a", "$options": "i"}'), (64, '{"$gt": 1}'), (65, '{"$ref": "c", "$id": 1}'),
  (66, '{"a": 1, "$oid": 2}')
) AS v(n, d) ORDER BY n;

-- what Extended JSON cannot carry
SELECT d FROM (VALUES
  (1, '{"$bson": "031800000002246e756d6265724c6f6e670002000000350000"}'::document),
  (2, '{"$bson": "031300000002246f6964000400000078797a0000"}'),
  (3, '{"a": {"$bson": "040c0000001030000700000000"}}'),
  (4, '{"$bson": "040c0000001035000700000000"}'),
  (5, '{"$bson": "01010000000000f87f"}'),
  (6, '{"$bson": "0802"}'),
  (7, '{"$bson": "0203000000ff6100"}'),
  (8, '{"$bson": "050500000002ffffffff00"}'),
  (9, '{"$bson": "0b61007a6100"}'),
  (10, '{"$bson": "13ffffffffffffffffffffffffffffffff"}'),
  (11, '{"$bson": "030c00000010ff000700000000"}'),
  (12, '{"$bson": "1007000000"}')
) AS v(n, d) ORDER BY n;

-- malformed input: where, and what
SELECT ''::document;
SELECT 'shipped'::document;
SELECT '2024-05-17'::document;
SELECT '1 day'::document;
SELECT '{"a": 1'::document;
SELECT '{"a" 1}'::document;
SELECT '{"é": 1, }'::document;
SELECT '{a: 1}'::document;
SELECT '[1, 2'::document;
SELECT '[1 2]'::document;
SELECT '1 2'::document;
SELECT '[01]'::document;
SELECT '[1.]'::document;
SELECT '[1e]'::document;
SELECT '[-]'::document;
SELECT '[1e999]'::document;
SELECT '[12345678901234567890123456789012345]'::document;
SELECT '[nul]'::document;
SELECT '"a'::document;
SELECT E'"a\nb"'::document;
SELECT '"\x"'::document;
SELECT '"\u12g4"'::document;
SELECT '"\ud83d"'::document;
SELECT '"\ude00"'::document;
SELECT '{"a\u0000": 1}'::document;
SELECT '{"$oid": "12"}'::document;
SELECT '{"$oid": "65f0c1d2e3a4b5c6d7e8f901", "a": 1}'::document;
SELECT '{"$date": 12}'::document;
SELECT '{"$date": "2023-02-29T00:00:00Z"}'::document;
SELECT '{"$date": "2023-02-28"}'::document;
SELECT '{"$numberLong": 5}'::document;
SELECT '{"$numberInt": "2147483648"}'::document;
SELECT '{"$numberDouble": "0x10"}'::document;
SELECT '{"$numberDecimal": "12345678901234567890123456789012345"}'::document;
SELECT '{"$numberDecimal": "1E6145"}'::document;
SELECT '{"$numberDecimal": "1e"}'::document;
SELECT '{"$binary": {"base64": "AQ=", "subType": "00"}}'::document;
SELECT '{"$binary": {"base64": "AR==", "subType": "00"}}'::document;
SELECT '{"$binary": {"base64": "AQ==", "subType": "001"}}'::document;
SELECT '{"$binary": {"base64": "AQ=="}}'::document;
SELECT '{"$timestamp": {"t": 1, "i": -1}}'::document;
SELECT '{"$regularExpression": {"pattern": "a\u0000", "options": ""}}'::document;
SELECT '{"$code": "a", "scope": {}}'::document;
SELECT '{"$code": "a", "$scope": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}}'::document;
SELECT '{"$undefined": false}'::document;
SELECT '{"$minKey": 2}'::document;
SELECT '{"$bson": "xx"}'::document;
SELECT '{"$bson": ""}'::document;
SELECT '{"$bson": "0307000000000000"}'::document;
SELECT (repeat('[', 201) || repeat(']', 201))::document;
SELECT length((repeat('[', 200) || '{"$oid": "65f0c1d2e3a4b5c6d7e8f901"}' || repeat(']', 200))::document::text);
SELECT (repeat('[', 100000))::document;

-- binary form
SELECT encode(document_send('{"a": 1}'), 'hex'), encode(document_send('null'), 'hex');
SELECT document_to_bson('{"a": "x"}'), document_from_bson(document_to_bson('{"a": "x"}'));
SELECT document_to_bson('[1]');
SELECT document_from_bson('');
SELECT document_from_bson('\x0500000000ff');
SELECT document_from_bson('\x0e00000002610002000000ff0000');
SELECT document_from_bson('\x160000000361000e00000002620002000000ff000000');
SELECT document_from_bson('\x09000000086100020000');
SELECT document_from_bson('\x090000000861000200');
SELECT document_from_bson('\x0c0000002061000100000000');
SELECT document_from_bson('\x100000000862000110ff000700000000');

-- access
\set d '{"s": "x", "n": null, "a": [10, {"b": {"c": 2.5}}, "z"], "": "empty", "0": "zero", "a.b": "dot", "o": {"1": "one"}, "s": "second"}'
SELECT :'d'::document -> 's', :'d'::document ->> 's', :'d'::document -> 'n', :'d'::document -> 'missing', :'d'::document -> '', :'d'::document ->> 'a.b';
SELECT :'d'::document -> 'a' -> 0, :'d'::document -> 'a' -> -1, :'d'::document -> 'a' -> 3, :'d'::document -> 'a' -> -4, :'d'::document -> 'a' ->> 2;
SELECT :'d'::document -> 0, :'d'::document -> '0', :'d'::document -> 'a' -> '0', '"s"'::document -> 's', '5'::document -> 0;
SELECT :'d'::document #> '{a,1,b,c}', :'d'::document #>> '{a,-2,b}', :'d'::document #> '{o,1}', :'d'::document #> '{a,x}', :'d'::document #> '{s,0}', '5'::document #> '{}', :'d'::document #> '{a,NULL}';
SELECT (:'d'::document)['a'][1]['b']['c'], (:'d'::document)['a']['-1'], (:'d'::document)['n'], (:'d'::document)['a'][NULL], (NULL::document)['a'], (:'d'::document)['a'][0::bigint];
SELECT (:'d'::document)[1:2];
SELECT (:'d'::document)[1.5];
SELECT (:'d'::document)[now()];

-- plain text
SELECT document_text(d) FROM (VALUES
  (1, '"a\"b"'::document), (2, '5'), (3, '{"$numberLong": "5"}'), (4, '5.0'), (5, '{"$numberDecimal": "5.00"}'), (6, 'null'), (7, 'true'),
  (8, '{"$oid": "65f0c1d2e3a4b5c6d7e8f901"}'), (9, '{"$date": "2024-05-17T08:30:00.125Z"}'), (10, '{"$date": {"$numberLong": "253402300800000"}}'),
  (11, '{"$uuid": "73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}'), (12, '{"$binary": {"base64": "AQID", "subType": "00"}}'),
  (13, '{"a": [1, "x"]}'), (14, '{"$symbol": "s"}'), (15, '{"$numberDouble": "NaN"}'), (16, '{"$timestamp": {"t": 1, "i": 2}}')
) AS v(n, d) ORDER BY n;
SELECT '{"a": ["\u0000"]}'::document #>> '{a,0}';
SELECT '{"a": {"$bson": "0203000000ff6100"}}'::document ->> 'a';
SELECT document_typeof('{"$bson": "0203000000ff6100"}'), document_typeof('5'), document_typeof('{"$minKey": 1}');

-- to jsonb
SELECT '{"b": 1, "a": [1.50, {"$numberLong": "9007199254740993"}, {"$numberDecimal": "1.50"}, true, null, {}], "id": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}, "t": {"$date": "2024-05-17T08:30:00Z"}, "r": {"$regularExpression": {"pattern": "a", "options": ""}}}'::document::jsonb;
SELECT '"x"'::document::jsonb, '5'::document::jsonb, '{"$minKey": 1}'::document::jsonb, 'null'::document::jsonb, '[]'::document::jsonb;
SELECT '{"a": [0, {"b": "\u0000"}]}'::document::jsonb;
SELECT '{"a": {"$numberDouble": "NaN"}}'::document::jsonb;
SELECT '{"a": {"$bson": "0203000000ff6100"}}'::document::jsonb;
SELECT '{"$numberDecimal": "Infinity"}'::document::jsonb;

-- what has no text form is refused, or gets one
SELECT length((repeat('[', 200) || repeat(']', 200))::jsonb::document::text);
SELECT (repeat('[', 201) || repeat(']', 201))::jsonb::document;
SELECT to_document((repeat('{"a": ', 201) || '1' || repeat('}', 201))::jsonb);
SELECT '{"$numberDouble": "NaN\u0000x"}'::document;
SELECT '{"$numberDouble": "1\u0000"}'::document;
SELECT ('{"$regularExpression": {"pattern": "a", "options": "' || repeat('i', 21) || '"}}')::document;
SELECT ('{"$regularExpression": {"pattern": "a", "options": "' || repeat('i', 22) || '"}}')::document;
SELECT d, d::text::document = d FROM (SELECT ('{"$bson": "0b6100' || repeat('69', 22) || '00"}')::document) AS v(d);
