"""What each argument of create_change_stream does."""
import datetime
import json

import bson
import psycopg
import pytest

import oracle
from streams import call, create, error_of, ids, operations, pause, resume, status, sync, wait_state


def images(mdb, *names):
    """Collections that keep images before and after."""
    for name in names:
        mdb.create_collection(name, changeStreamPreAndPostImages={"enabled": True})


def write_each(collection):
    """One event of each ordinary kind."""
    collection.insert_one({"_id": 1, "a": 1, "n": {"x": 5}})
    collection.update_one({"_id": 1}, {"$set": {"a": 2}, "$unset": {"n": 1}})
    collection.replace_one({"_id": 1}, {"a": 3})
    collection.delete_one({"_id": 1})


def test_columns(linked, mongo, mdb):
    """Every column of each kind of event, from an oracle of its own."""
    since = oracle.mark(mongo)
    create(linked, "all")
    write_each(mdb.c)
    mdb.c.insert_one({"_id": 2, "list": list(range(9)), "deep": {"a": {"b": 1}}})
    mdb.c.update_one({"_id": 2}, [{"$set": {"list": {"$slice": ["$list", 3]}, "deep.a.b": 2, "new": "$$NOW"}}])
    with mongo.client.start_session() as session, session.start_transaction():
        mdb.c.insert_one({"_id": 3}, session=session)
        mdb.c.delete_one({"_id": 2}, session=session)
    sync(linked, "all")
    assert oracle.compare(linked, "all", mongo, since, mdb.name) == 8
    assert linked.value("SELECT changed_fields FROM change_stream_events WHERE event_id = 2") == ["a", "n"]
    assert linked.value("SELECT extra ? 'txnNumber' FROM change_stream_events WHERE event_id = 7")
    row = linked.row("SELECT received_at - change_timestamp, processing_status, processing_time_ms FROM change_stream_events"
                     " WHERE event_id = 8")
    assert abs(row[0]) < datetime.timedelta(minutes=1) and row[1] == "processed" and row[2] >= 0
    assert (linked.value("SELECT max(cluster_time) <= now() + interval '5 seconds' FROM change_stream_events"))


def test_operations(linked, mongo, mdb):
    create(linked, "some", collection="c", operations=["insert", "delete"])
    write_each(mdb.c)
    mdb.c.drop()
    sync(linked, "some")
    assert operations(linked, "some") == ["insert", "delete"]
    told = []
    linked.connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
    create(linked, "updates", operations=["update"])
    assert told and "replace" in told[0]


def test_unknown_operation_is_refused(linked, mdb):
    assert error_of(linked, "SELECT create_change_stream('x', operations => '{insret}')").sqlstate == "22023"


def test_pipeline(linked, mongo, mdb):
    """Stages of one's own: matched and changed by MongoDB; the fields they add are in extra."""
    since = oracle.mark(mongo)
    pipeline = [{"$match": {"fullDocument.total": {"$gt": 100}}}, {"$addFields": {"half": {"$divide": ["$fullDocument.total", 2]}}}]
    create(linked, "large", pipeline=json.dumps(pipeline))
    mdb.c.insert_many([{"_id": number, "total": number * 30} for number in range(8)])
    sync(linked, "large")
    assert oracle.compare(linked, "large", mongo, since, mdb.name, pipeline=pipeline) == 4
    assert linked.value("SELECT (extra->'half')::jsonb FROM change_stream_events WHERE event_id = 1") == 60


def test_pipeline_that_gives_fields_their_own_values(linked, mongo, mdb):
    """As pipelines for applications are often written; the token is still MongoDB's."""
    pipeline = [{"$project": {"_id": "$_id", "operationType": "$operationType", "ns": "$ns", "clusterTime": "$clusterTime",
                              "documentKey": "$documentKey", "fullDocument": 1}},
                {"$addFields": {"documentKey": "$documentKey", "who": "$documentKey._id"}}]
    create(linked, "own", pipeline=json.dumps(pipeline))
    mdb.orders.insert_many([{"_id": number} for number in range(3)])
    mdb.orders.drop()
    sync(linked, "own")
    assert operations(linked, "own") == ["insert"] * 3 + ["drop"]
    assert linked.column("SELECT extra->>'who' FROM change_stream_events WHERE operation_type = 'insert' ORDER BY event_id") == ["0", "1", "2"]
    pause(linked, "own")
    resume(linked, "own")
    mdb.orders.insert_one({"_id": 3})
    sync(linked, "own")
    assert ids(linked, "own") == [0, 1, 2, None, 3]


@pytest.mark.parametrize("pipeline", ['[{"$project": {"_id": 0}}]', '[{"$addFields": {"_id": 5}}]', '[{"$unset": "operationType"}]',
                                      '[{"$project": {"ns": 0}}]', '[{"$group": {"_id": null}}]', '[{"$nonsense": {}}]',
                                      '[{"$set": {"documentKey": 1}}]', '{"$match": {}}'])
def test_bad_pipeline_is_refused(linked, mdb, pipeline):
    """By the call, with nothing left behind."""
    error = error_of(linked, "SELECT create_change_stream('x', pipeline => %s::document)", pipeline)
    assert error.sqlstate[:2] in ("22", "42", "0A", "HV"), error
    assert linked.value("SELECT count(*) FROM change_streams") == 0


def test_filter_and_added_fields(linked, mdb):
    """An SQL condition keeps events where it is true; added fields go into extra, after it."""
    create(linked, "kept", collection="c", filter="operation_type = 'insert' AND (full_document->>'total')::numeric > 100",
           add_fields="twice = (full_document->>'total')::numeric * 2, who = current_user, fields = changed_fields")
    mdb.c.insert_many([{"_id": number, "total": number * 30} for number in range(8)])
    mdb.c.delete_many({})
    sync(linked, "kept")
    assert ids(linked, "kept") == [4, 5, 6, 7]
    added = linked.value("SELECT extra::jsonb FROM change_stream_events WHERE event_id = 1")
    assert float(added["twice"]) == 240 and added["who"] == "postgres" and added["fields"] == ["_id", "total"]
    assert linked.value("SELECT pushed_filter IS NOT NULL OR local_filter IS NOT NULL FROM change_streams")


def test_filter_that_raises(linked, postgres, mdb):
    """Counts as unknown for that event: left out, logged once with the token, counted; the rest is kept."""
    position = postgres.log_position()
    create(linked, "shaky", collection="c", filter="1 / (full_document->>'d')::int > 0")
    mdb.c.insert_many([{"_id": number, "d": number % 3} for number in range(9)])
    sync(linked, "shaky")
    assert ids(linked, "shaky") == [1, 4, 7]          # 1 / 2 is 0
    assert linked.value("SELECT filter_errors FROM change_stream_progress") == 3
    log = postgres.log_text(position)
    assert log.count("division by zero") == 1 and "DETAIL:  Event 82" in log
    assert status(linked, "shaky")["state"] == "active"


@pytest.mark.parametrize("filter, sqlstate", [("nosuch = 1", "42703"), ("operation_type", "42804"), ("operation_type =", "42601"),
                                              ("true) OR (true", "42601"), ("count(*) > 1", "42803"),
                                              ("true; DROP TABLE change_streams", "42601")])
def test_bad_filter_is_refused(linked, mdb, filter, sqlstate):
    error = error_of(linked, "SELECT create_change_stream('x', filter => %s)", filter)
    assert error.sqlstate == sqlstate, error
    assert linked.value("SELECT count(*) FROM change_streams") == 0


def test_images(linked, mongo, mdb):
    """Images of before and after, as MongoDB keeps them."""
    images(mdb, "c")
    since = oracle.mark(mongo)
    create(linked, "after", collection="c", full_document="required", full_document_before_change="when_available")
    write_each(mdb.c)
    sync(linked, "after")
    oracle.compare(linked, "after", mongo, since, mdb.name, full_document="required", full_document_before_change="whenAvailable")
    assert linked.column("SELECT full_document_source FROM change_stream_events ORDER BY event_id") == \
        ["insert", "post_image", "replace", "none"]
    assert linked.column("SELECT (full_document_before_change->>'a')::int FROM change_stream_events ORDER BY event_id") == [None, 1, 2, 3]


def test_update_lookup(linked, mongo, mdb):
    """The document as it is at the look; null after a delete, and the event is kept."""
    create(linked, "looking", collection="c", full_document="update_lookup", paused=False)
    mdb.c.insert_one({"_id": 1, "a": 1})
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 2}})
    sync(linked, "looking")
    assert linked.row("SELECT full_document_source, full_document->>'a' FROM change_stream_events WHERE event_id = 2") == ("lookup", "2")
    call(linked, "pause_change_stream", "looking")
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 3}})
    mdb.c.delete_one({"_id": 1})
    call(linked, "resume_change_stream", "looking")
    sync(linked, "looking")
    assert operations(linked, "looking")[2:] == ["update", "delete"]
    assert linked.row("SELECT full_document_source, full_document FROM change_stream_events WHERE event_id = 3") == ("none", None)
    assert linked.value("SELECT full_document FROM change_streams") == "updateLookup"


def test_required_image_that_is_missing(linked, mdb):
    """Stops with a reason that names the image; no loop."""
    mdb.create_collection("c")
    create(linked, "strict", collection="c", full_document_before_change="required")
    mdb.c.insert_one({"_id": 1})
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 1}})
    shown = wait_state(linked, "strict", "error")
    assert "image" in f"{shown['reason']} {shown['last_error']}"
    assert linked.value("SELECT count(*) FROM change_stream_events") <= 1


@pytest.mark.parametrize("options", [{"max_await_time": "100 milliseconds"}, {"batch_size": 1}, {"batch_size": 100000}])
def test_batches_and_waits(linked, mongo, mdb, options):
    since = oracle.mark(mongo)
    create(linked, "orders", **options)
    mdb.c.insert_many([{"_id": number} for number in range(300)])
    mdb.c.update_many({}, {"$set": {"a": 1}})
    sync(linked, "orders")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == 600


@pytest.mark.timeout(300)
def test_large_event_in_fragments(linked, mongo, mdb):
    """9 MB before and 9 MB after: more than one document may hold, and one row."""
    images(mdb, "c")
    mdb.c.insert_one({"_id": 1, "pad": "x" * 9_000_000})
    create(linked, "large", collection="c", full_document="required", full_document_before_change="required")
    mdb.c.insert_one({"_id": 2})
    mdb.c.update_one({"_id": 1}, {"$set": {"pad": "y" * 9_000_000}})
    mdb.c.insert_one({"_id": 3})
    sync(linked, "large")
    assert ids(linked, "large") == [2, 1, 3]
    row = linked.row("SELECT octet_length(full_document->>'pad'), octet_length(full_document_before_change->>'pad'),"
                     " changed_fields, document_key->>'_id', full_document_source, left(full_document->>'pad', 1),"
                     " left(full_document_before_change->>'pad', 1), extra FROM change_stream_events WHERE event_id = 2")
    assert row == (9_000_000, 9_000_000, ["pad"], "1", "post_image", "y", "x", None)


def notified(listener, count):
    """The payloads of notifications until their counts add up."""
    told = []
    for notice in listener.notifies(timeout=10):
        told.append((notice.channel, json.loads(notice.payload)))
        if sum(payload["count"] for _, payload in told) >= count:
            return told
    raise AssertionError(f"only {told}")


@pytest.mark.parametrize("notify", ["ids", "heads"])
def test_notifications(linked, mdb, notify):
    """On both channels, one a batch; heads as far as a payload holds them."""
    listener = linked.connect()
    listener.execute('LISTEN "Orders é"')
    common = linked.connect()
    common.execute("LISTEN change_stream")
    create(linked, "Orders é", notify=notify)
    mdb.c.insert_many([{"_id": f"key-{number}", "pad": "x" * 100} for number in range(500)])
    told = [payload for _, payload in notified(listener, 500)]
    assert [payload for _, payload in notified(common, 500)] == told
    number = 1
    for payload in told:
        assert payload["stream"] == "Orders é" and payload["first_event_id"] == number
        number += payload["count"]
        assert payload["last_event_id"] == number - 1
        assert ("events" in payload) == (notify == "heads")
    if notify == "heads":
        heads = told[0]["events"]
        assert heads[0]["event_id"] == 1 and heads[0]["operation_type"] == "insert" and heads[0]["collection_name"] == "c"
        assert "key-0" in json.dumps(heads[0]["document_key"])
    listener.close()
    common.close()


def test_no_notifications(linked, mdb):
    listener = linked.connect()
    listener.execute("LISTEN quiet")
    listener.execute("LISTEN loud")
    create(linked, "quiet", notify="off")
    create(linked, "loud")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "quiet")
    assert [channel for channel, _ in notified(listener, 1)] == ["loud"]
    assert list(listener.notifies(timeout=0)) == []
    listener.close()


def test_retention(linked, mdb):
    """Old events go, all but the last; numbers and the position stay."""
    create(linked, "short", retention="900 milliseconds")
    mdb.c.insert_many([{"_id": number} for number in range(50)])
    sync(linked, "short")
    linked.wait_for("SELECT count(*) FROM change_stream_events", expect=1, timeout=40)
    mdb.c.insert_one({"_id": "next"})
    sync(linked, "short")
    assert linked.value("SELECT max(event_id) FROM change_stream_events") == 51
    assert linked.row("SELECT last_event_id, events_processed FROM change_stream_progress") == (51, 51)


def test_names(linked, mdb):
    """Any name of up to 63 bytes, and nothing else."""
    for name in ("a", 'quote " and \' and \\', "ü" * 31, "x" * 63, "; DROP"):
        create(linked, name, collection="c")
        mdb.c.insert_one({})
        sync(linked, name)
        assert linked.value("SELECT count(*) >= 1 FROM change_stream_events WHERE stream_name = %s", name)
        call(linked, "drop_change_stream", name)
    for name in ("", "x" * 64, "ü" * 32, "change_stream"):
        assert error_of(linked, "SELECT create_change_stream(%s)", name).sqlstate[:2] in ("22", "23", "42")
    create(linked, "twice")
    assert error_of(linked, "SELECT create_change_stream('twice')").sqlstate == "42710"
    assert error_of(linked, "SELECT pause_change_stream('none')").sqlstate == "42704"


@pytest.mark.parametrize("options", [{"start_at": "now", "resume_after": "82" + "0" * 30}, {"notify": "loud"},
                                     {"full_document": "always"}, {"batch_size": -1}, {"start_at": "yesteryear"},
                                     {"resume_after": "nonsense"}, {"max_await_time": "-1 second"}, {"retention": "-1 day"}])
def test_bad_values_are_refused(linked, mdb, options):
    with pytest.raises(psycopg.Error) as refused:
        create(linked, "x", **options)
    assert refused.value.sqlstate[:2] == "22", refused.value
    assert linked.value("SELECT count(*) FROM change_streams") == 0


def test_database_and_server_arguments(db, mongo, mdb):
    """Which server and database where none or another is named."""
    assert error_of(db, "SELECT create_change_stream('x')").sqlstate[:2] in ("42", "22", "HV")
    db.create_server(mongo.uri, None, name="first")
    assert error_of(db, "SELECT create_change_stream('x')").sqlstate[:2] in ("22", "42", "HV")
    create(db, "named", database=mdb.name, collection="c")
    db.create_server(mongo.uri, "elsewhere", name="second")
    assert error_of(db, "SELECT create_change_stream('x')").sqlstate[:2] in ("42", "22", "HV")
    create(db, "both", database=mdb.name, server="second")
    mdb.c.insert_one({"_id": bson.Int64(1)})
    for stream in ("named", "both"):
        sync(db, stream)
        assert operations(db, stream) == ["insert"]
