"""Filters that MongoDB evaluates: what arrives, what the worker still has to see, and what is shown of it."""
import pytest

import oracle
from streams import alter, call, create, operations, resume, pause, status, sync


def filters(db, stream):
    """The document that MongoDB evaluates, as text, and the rest."""
    return db.row("SELECT pushed_filter::text, local_filter FROM change_streams WHERE stream_name = %s", stream)


def test_shown(linked, mdb):
    """All of a filter is MongoDB's, a part, or nothing."""
    create(linked, "all", collection="c", filter="full_document['n'] > 5 AND operation_type = 'insert'")
    create(linked, "part", collection="c", filter="operation_type = 'insert' AND length(full_document->>'s') > 3")
    create(linked, "nothing", collection="c", filter="length(full_document->>'s') > 3")
    create(linked, "now", collection="c", filter="full_document['at'] > now() AND operation_type = 'insert'")
    pushed, local = filters(linked, "all")
    assert '"fullDocument.n": {"$gt": 5' in pushed and '"operationType": "insert"' in pushed and local is None
    pushed, local = filters(linked, "part")
    assert '"operationType": "insert"' in pushed and "length" in local
    assert filters(linked, "nothing") == (None, "length(full_document->>'s') > 3")
    pushed, local = filters(linked, "now")
    assert "fullDocument" not in pushed and "now()" in local


def test_functions_of_users_stay_here(linked, mdb):
    """What a user's function does today it need not do tomorrow."""
    linked.execute("CREATE FUNCTION wanted(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ''insert'''")
    create(linked, "s", collection="c", filter="wanted(operation_type)")
    assert filters(linked, "s") == (None, "wanted(operation_type)")
    linked.execute("CREATE OR REPLACE FUNCTION wanted(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = ''delete'''")
    mdb.c.insert_one({"_id": 1})
    mdb.c.delete_one({"_id": 1})
    sync(linked, "s")
    assert operations(linked, "s") == ["delete"]


def test_worker_sees_what_it_must(linked, mdb):
    """A drop and a rename come whatever the filter is; they become rows only where it is true of them."""
    create(linked, "inserts", collection="c", filter="operation_type = 'insert'")
    create(linked, "both", collection="c", filter="operation_type IN ('insert', 'drop')")
    create(linked, "operations", collection="c", filter="operation_type <> 'insert'", operations=["insert", "drop", "update"])
    assert filters(linked, "inserts")[1] is None and filters(linked, "both")[1] is None
    mdb.c.insert_one({"_id": 1})
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 1}})
    mdb.c.drop()
    mdb.made.insert_one({"_id": 1})
    mdb.made.rename("c")
    mdb.c.insert_one({"_id": 2})
    mdb.client.drop_database(mdb.name)
    mdb.c.insert_one({"_id": 3})
    for stream, expected in (("inserts", ["insert", "gap", "insert", "insert"]), ("both", ["insert", "drop", "gap", "insert", "drop", "insert"]),
                             ("operations", ["update", "drop", "gap", "drop"])):
        sync(linked, stream)
        assert operations(linked, stream) == expected, stream
        assert status(linked, stream)["state"] == "active"


def test_unknown_is_not_true(linked, mdb):
    """Missing, null, arrays, other types: what is neither true nor false of a filter is left out, and so with NOT."""
    values = [1, 5, 9, "5", None, [9], [[9]], {"a": 9}, [], True, 9.5, float("nan")]
    create(linked, "more", collection="c", filter="full_document['n'] > 5")
    create(linked, "not_more", collection="c", filter="NOT (full_document['n'] > 5)")
    create(linked, "null", collection="c", filter="full_document['n'] IS NULL")
    for number, value in enumerate(values):
        mdb.c.insert_one({"_id": number, "n": value})
    mdb.c.insert_one({"_id": "missing"})
    mdb.c.delete_one({"_id": 0})
    for stream in ("more", "not_more", "null"):
        assert filters(linked, stream)[1] is None
        sync(linked, stream)
    shown = {stream: linked.column("SELECT full_document->>'_id' FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)
             for stream in ("more", "not_more", "null")}
    assert shown == {"more": ["2", "10"], "not_more": ["0", "1", "3", "5", "6", "7", "8", "9", "11"], "null": ["4", "missing", None]}


def test_behind_the_pipeline(linked, mdb):
    """The filter is about what the stages of the pipeline make of an event."""
    pipeline = '[{"$set": {"fullDocument.n": {"$add": ["$fullDocument.n", 10]}, "half": {"$divide": ["$fullDocument.n", 2]}}}]'
    create(linked, "s", collection="c", pipeline=pipeline, filter="full_document['n'] > 12 AND extra['half'] < 4")
    assert filters(linked, "s")[1] is None
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(10)])
    sync(linked, "s")
    assert linked.column("SELECT (full_document->>'_id')::int FROM change_stream_events ORDER BY event_id") == [3, 4, 5, 6, 7]


def test_altered(linked, mongo, mdb):
    """Another filter from one event to the next, running and paused, without a gap and without a repetition."""
    create(linked, "s", collection="c", filter="full_document['n'] >= 0")
    mdb.c.insert_many([{"n": number} for number in range(0, 50)])
    sync(linked, "s")
    alter(linked, "s", filter="(full_document->>'n')::int % 2 = 0")
    assert filters(linked, "s")[0] is None
    mdb.c.insert_many([{"n": number} for number in range(50, 100)])
    sync(linked, "s")
    pause(linked, "s")
    mdb.c.insert_many([{"n": number} for number in range(100, 150)])
    alter(linked, "s", filter="full_document['n'] < 120")
    resume(linked, "s")
    sync(linked, "s")
    # what MongoDB left out behind the saved position would be looked at again
    end = oracle.mark(mongo)
    linked.wait_for('SELECT resume_token COLLATE "C" > %s FROM change_stream_progress', f"82{end.time:08X}{end.inc:08X}")
    alter(linked, "s", reset=["filter"])
    assert filters(linked, "s") == (None, None)
    mdb.c.insert_many([{"n": number} for number in range(150, 160)])
    sync(linked, "s")
    shown = linked.column("SELECT (full_document->>'n')::int FROM change_stream_events ORDER BY event_id")
    assert shown == [*range(50), *range(50, 100, 2), *range(100, 120), *range(150, 160)]


def test_looked_up(linked, mdb):
    """With updateLookup the filter is evaluated on the very document that arrives."""
    create(linked, "s", collection="c", full_document="update_lookup", filter="full_document['n'] = 3")
    pause(linked, "s")
    mdb.c.insert_one({"_id": 1, "n": 1})
    for number in (2, 3):
        mdb.c.update_one({"_id": 1}, {"$set": {"n": number}})
    resume(linked, "s")
    sync(linked, "s")
    assert linked.execute("SELECT operation_type, full_document->>'n', full_document_source FROM change_stream_events ORDER BY event_id") == \
        [("update", "3", "lookup"), ("update", "3", "lookup")]


def test_large_event_and_the_next(linked, mdb):
    """An event that is read without its images is not mistaken for the next that the filter lets through."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    create(linked, "s", collection="c", full_document="required", full_document_before_change="required", filter="full_document['n'] > 0")
    mdb.c.insert_one({"_id": 1, "n": 1, "pad": "x" * 16_000_000})
    mdb.c.update_one({"_id": 1}, {"$set": {"pad": "y" * 16_000_000}})
    mdb.c.update_one({"_id": 1}, {"$set": {"pad": "z"}})
    mdb.c.insert_one({"_id": 2, "n": 2})
    sync(linked, "s")
    shown = linked.execute("SELECT operation_type, document_key->>'_id', full_document->>'n', full_document_source FROM change_stream_events ORDER BY event_id")
    assert shown[0][:2] == ("insert", "1") and shown[-1] == ("insert", "2", "2", "insert")
    assert shown[-2] == ("update", "1", "1", "post_image")


def test_too_large_even_for_the_server(linked, mongo, mdb):
    """The event that is too large is a row without its images, filter or not; the next event is read with them."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    mdb.c.insert_one({"_id": 1, "n": 1})
    create(linked, "s", collection="c", full_document="required", filter="full_document['n'] = 1")
    pause(linked, "s")
    for number in range(3):
        mdb.c.update_one({"_id": 1}, {"$set": {"a": number}})
    mongo.fail_command(["getMore"], times=2, errorCode=10334)
    try:
        resume(linked, "s")
        sync(linked, "s")
    finally:
        mongo.stop_failing()
    assert linked.execute("SELECT full_document->>'a', full_document_source FROM change_stream_events ORDER BY event_id") == \
        [(None, "too_large"), ("1", "post_image"), ("2", "post_image")]


@pytest.mark.parametrize("options", [{"filter": "full_document['n'] > 0"}, {"filter": "length(full_document->>'n') = 1"},
                                     {"pipeline": '[{"$match": {"fullDocument.n": {"$gt": 0}}}]'}])
def test_too_large_among_others(linked, mongo, mdb, options):
    """What the filter leaves out before the one that is too large is not taken for it."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(-5, 1)] + [{"_id": 1, "n": 1}])
    create(linked, "s", collection="c", full_document="required", **options)
    pause(linked, "s")
    for change, number in enumerate((-3, -2, 1, -1, 1)):
        mdb.c.update_one({"_id": number}, {"$set": {"a": change}})
    mongo.fail_command(["getMore"], times=2, errorCode=10334)
    try:
        resume(linked, "s")
        sync(linked, "s")
    finally:
        mongo.stop_failing()
    shown = linked.execute("SELECT document_key->>'_id', full_document_source FROM change_stream_events ORDER BY event_id")
    # where the worker evaluates the filter, the first event of all is the one that failed
    assert shown == [("-3" if "length" in str(options) else "1", "too_large")] + [("1", "post_image")] * (1 + ("length" in str(options)))


def test_few_of_many(linked, mongo, mdb):
    """Of events of which a filter keeps one in a hundred, no more than those cross the wire."""
    create(linked, "few", collection="c", filter="full_document['n'] = 0", paused=True)
    call(linked, "resume_change_stream", "few")
    mdb.c.insert_many([{"_id": number, "n": number % 100, "pad": "x" * 2000} for number in range(5000)])
    sync(linked, "few")
    before = mongo.client.admin.command("serverStatus")["network"]["bytesOut"]
    mdb.c.insert_many([{"_id": 5000 + number, "n": number % 100, "pad": "x" * 2000} for number in range(5000)])
    sync(linked, "few")
    sent = mongo.client.admin.command("serverStatus")["network"]["bytesOut"] - before
    assert linked.value("SELECT count(*) FROM change_stream_events") == 100
    assert sent < 1_000_000, sent                          # of more than 10 MB
