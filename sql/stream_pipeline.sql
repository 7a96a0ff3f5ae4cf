-- A stream's pipeline: stages that MongoDB takes, and fields that must come through

\pset format unaligned
\pset tuples_only on

CREATE SERVER nowhere FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/?directConnection=true');
SELECT create_change_stream('s', 'orders', 'shop', paused => true);
CREATE FUNCTION refused(pipeline text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text; hint text;
BEGIN
  PERFORM alter_change_stream('s', pipeline => pipeline::document);
  RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(E'\n  ', state || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- form
SELECT pipeline, refused(pipeline) FROM (VALUES
  ('[]'), ('{"$match": {}}'), ('"$match"'), ('null'), ('[1]'), ('[{}]'), ('[{"$match": {}, "$unset": "x"}]'), ('[{"$match": {}}, {"match": {}}]'),
  ('[{"$group": {"_id": 1}}]'), ('[{"$out": "x"}]'), ('[{"$lookup": {}}]'), ('[{"$changeStreamSplitLargeEvent": {}}]'), ('[{"$match": 1}]'),
  ('[{"$set": 1}]'), ('[{"$project": 1}]'), ('[{"$unset": 1}]'), ('[{"$unset": [1]}]'), ('[{"$replaceRoot": {}}]')
) AS v(pipeline);

-- stages that leave an event's own fields alone
SELECT pipeline, refused(pipeline) FROM (VALUES
  ('[{"$match": {"fullDocument.status": "paid"}}]'),
  ('[{"$redact": {"$cond": [{"$eq": ["$operationType", "insert"]}, "$$KEEP", "$$PRUNE"]}}]'),
  ('[{"$set": {"ns2": 1, "nsx.coll": 2, "fullDocument.a": 1}}, {"$addFields": {"x": "$ns"}}]'),
  ('[{"$unset": "fullDocument.secret"}, {"$unset": ["a", "updateDescription"]}]'),
  ('[{"$project": {"fullDocument": 0, "a.b": false}}]'),
  ('[{"$project": {"fullDocument": {"$numberDecimal": "0.0"}, "a": {"$numberDecimal": "-0"}}}]'),
  ('[{"$project": {"_id": 1, "fullDocument": 0}}]'),
  ('[{"$project": {"fullDocument": {"secret": 0}}}]'),
  ('[{"$project": {"operationType": 1, "ns": true, "clusterTime": 1.0, "documentKey": {"$numberLong": "1"}, "total": "$fullDocument.total"}}]'),
  ('[{"$replaceRoot": {"newRoot": {"$mergeObjects": [{"ns": 0}, "$$ROOT", {"x": 1}]}}}]'),
  ('[{"$replaceWith": "$$ROOT"}]'),
  ('[{"$project": {"operationType": "$operationType", "ns": "$ns", "clusterTime": "$clusterTime", "documentKey": "$documentKey", "_id": "$_id"}}]'),
  ('[{"$addFields": {"documentKey": "$documentKey", "ns": "$$ROOT.ns", "clusterTime": "$$CURRENT.clusterTime"}}]'),
  ('[{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"documentKey": "$documentKey"}]}}]')
) AS v(pipeline);

-- stages that do not
SELECT pipeline, refused(pipeline) FROM (VALUES
  ('[{"$addFields": {"documentKey": "$documentKey._id"}}]'), ('[{"$addFields": {"documentKey": "$ns"}}]'), ('[{"$addFields": {"documentKey": "documentKey"}}]'),
  ('[{"$addFields": {"documentKey._id": "$documentKey._id"}}]'), ('[{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"ns": "$documentKey"}]}}]'),
  ('[{"$set": {"_id": 1}}]'), ('[{"$addFields": {"x": 1, "ns.coll": "x"}}]'), ('[{"$set": {"documentKey": {"a": 1}}}]'),
  ('[{"$match": {}}, {"$unset": "_id"}]'), ('[{"$unset": ["x", "clusterTime"]}]'), ('[{"$unset": "_id._data"}]'),
  ('[{"$project": {"_id": 0}}]'), ('[{"$project": {"_id": 0, "x": 1}}]'), ('[{"$project": {"fullDocument": 1}}]'), ('[{"$project": {"_id": 1}}]'),
  ('[{"$project": {"operationType": 1, "ns": 1, "clusterTime": 1}}]'), ('[{"$project": {"ns.coll": 0}}]'),
  ('[{"$project": {"ns": {"coll": 0}}}]'), ('[{"$project": {"operationType": "$x", "ns": 1, "clusterTime": 1, "documentKey": 1}}]'),
  ('[{"$project": {"operationType": 1, "ns.coll": 1, "clusterTime": 1, "documentKey": 1}}]'),
  ('[{"$replaceRoot": {"newRoot": "$fullDocument"}}]'), ('[{"$replaceWith": {"a": 1}}]'),
  ('[{"$replaceWith": {"$mergeObjects": ["$$ROOT", "$fullDocument"]}}]'), ('[{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"ns": 1}]}}]'),
  ('[{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": {"ns": 1}}]}}]'), ('[{"$replaceWith": {"$mergeObjects": ["$fullDocument"]}}]'),
  ('[{"$redact": {"$cond": [true, "$$DESCEND", "$$PRUNE"]}}]')
) AS v(pipeline);

SELECT drop_change_stream('s');
DROP FUNCTION refused;
DROP SERVER nowhere;
