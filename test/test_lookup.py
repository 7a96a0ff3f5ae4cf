"""Documents that are read beside the change stream: a batch's lookups, and the rights that they need."""
import random

import psycopg
import pymongo
import pytest

import mirrors
from harness.machine import wait_until
from mirrors import Past, mirror, status, stream_of, wait_exact
from streams import create, pause, resume, sync


@pytest.fixture
def guarded(db, new_replica_set):
    """A MongoDB with users: `watcher` may follow changes, `finder` may read documents, too."""
    mongo = new_replica_set(auth=True)
    stream = [{"resource": {"db": "shop", "collection": ""}, "actions": ["changeStream"]}]
    find = [{"resource": {"db": "shop", "collection": ""}, "actions": ["find", "listCollections", "collStats"]}]
    mongo.client.shop.c.insert_many([{"_id": number} for number in range(3)])
    for name, privileges in (("watcher", stream), ("finder", stream + find)):
        mongo.client.admin.command("createRole", f"{name}s", privileges=privileges, roles=[])
        mongo.client.admin.command("createUser", name, pwd="secret", roles=[f"{name}s"])
    db.create_server(mongo.uri, "shop")
    db.mongo = mongo
    return db


def as_user(db, name):
    db.execute("DROP USER MAPPING IF EXISTS FOR postgres SERVER mongo")
    db.execute(f"CREATE USER MAPPING FOR postgres SERVER mongo OPTIONS (username '{name}', password 'secret')")


@pytest.mark.timeout(150)
def test_role_without_find(guarded):
    """Who may not read documents has no mirror and no copy, and is told; who may read later goes on."""
    shop = guarded.mongo.client.shop
    as_user(guarded, "watcher")
    told = None
    try:
        mirror(guarded, "c")
    except psycopg.Error as error:
        told = f"{error} {error.diag.message_hint}"
    if told is None:
        wait_until(lambda: (status(guarded, "c")["state"], status(guarded, "c")["exact_at"]) != ("snapshot", None) or
                   status(guarded, "c")["last_error"], 30)
        told = f"{status(guarded, 'c')} {stream_of(guarded, 'c')}"
    assert "find" in told or "not authorized" in told, told
    assert guarded.value("SELECT to_regclass('c') IS NULL") or guarded.value("SELECT count(*) FROM c") == 0
    as_user(guarded, "finder")
    if status(guarded, "c") is None:
        mirror(guarded, "c")
    else:
        guarded.execute("SELECT resync_change_mirror('c')")
    wait_exact(guarded, "c", timeout=90)
    shop.c.update_one({"_id": 1}, {"$set": {"n": 1}})
    sync(guarded, "c")
    assert guarded.value("SELECT document->>'n' FROM c WHERE _id = '1'") == "1"


def sources(db, stream):
    return db.execute("SELECT operation_type, full_document_source, full_document->>'n' FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)


@pytest.mark.timeout(150)
def test_lookups_without_find(guarded):
    """A stream with updateLookup of a role that may not find: MongoDB looks up where it can, or says why not."""
    shop = guarded.mongo.client.shop
    as_user(guarded, "finder")
    create(guarded, "s", collection="c", full_document="updateLookup")
    shop.c.update_one({"_id": 1}, {"$set": {"n": 1}})
    sync(guarded, "s")
    assert sources(guarded, "s") == [("update", "lookup", "1")]


# ------------------------------------------------------------ batched lookups of event streams

def test_lookup_of_a_batch(linked, mongo, mdb):
    """updateLookup: as it is at the batch's end; NULL where the document is gone; each update has a row."""
    mdb.c.insert_many([{"_id": number, "n": 0} for number in range(3)])
    create(linked, "s", collection="c", full_document="updateLookup")
    sync(linked, "s")
    pause(linked, "s")
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    for number in range(1, 4):
        mdb.c.update_one({"_id": 0}, {"$set": {"n": number}})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 1}})
    mdb.c.delete_one({"_id": 1})
    mdb.c.replace_one({"_id": 2}, {"n": 8})
    before = mongo.client.admin.command("serverStatus")["opcounters"]["query"]
    resume(linked, "s")
    sync(linked, "s")
    assert sources(linked, "s") == [("update", "lookup", "3")] * 3 + [("update", "none", None), ("delete", "none", None), ("replace", "replace", "8")]
    assert mongo.client.admin.command("serverStatus")["opcounters"]["query"] > before
    # MongoDB itself is not asked to look up
    assert not _asks_for_lookups(mongo, mdb)


def _asks_for_lookups(mongo, mdb):
    """Whether an open change stream of the database has fullDocument: updateLookup."""
    return any("updateLookup" in str(found["cursor"]["originatingCommand"]) for found in mongo.client.admin.aggregate([
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}}}]) if found["ns"].startswith(mdb.name + "."))


@pytest.mark.parametrize("options", [
    dict(pipeline='[{"$match": {"$or": [{"operationType": {"$ne": "update"}}, {"fullDocument.n": {"$gt": 5}}]}}]'),
    dict(filter="operation_type <> 'update' OR (full_document->>'n')::int > 5")])
def test_lookup_that_conditions_read(linked, mongo, mdb, options):
    """Conditions on the document see it, whoever looks it up."""
    mdb.c.insert_many([{"_id": number, "n": 0} for number in range(3)])
    create(linked, "s", collection="c", full_document="updateLookup", **options)
    mdb.c.update_one({"_id": 0}, {"$set": {"n": 3}})
    sync(linked, "s")
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 7}})
    mdb.c.update_one({"_id": 2}, {"$set": {"n": 9}})
    sync(linked, "s")
    assert sources(linked, "s") == [("update", "lookup", "7"), ("update", "lookup", "9")]
    if "pipeline" in options:
        assert _asks_for_lookups(mongo, mdb)


def test_lookups_of_every_kind_of_id(linked, mongo, mdb):
    """Updates of documents whose ids are of every type are looked up, byte for byte."""
    mdb.c.insert_many([mirrors.with_id(pair, n=0) for pair in mirrors.ODD_IDS])
    create(linked, "s", collection="c", full_document="updateLookup")
    for pair in mirrors.ODD_IDS:
        mdb.c.update_one(mirrors.only(pair), {"$set": {"n": 1}})
    sync(linked, "s")
    found = dict(linked.execute("SELECT document_send(document_key->'_id'), document_send(full_document) FROM change_stream_events"))
    found.pop(None, None)
    with Past(mongo, mdb.name) as past:
        there = past.documents("c")
    # a document_key whose _id is null has no value to show
    assert len(found) >= len(there) - 1 and all(there[key] == document for key, document in found.items() if key)
    assert linked.value("SELECT count(*) FROM change_stream_events WHERE full_document_source = 'lookup'") == len(there)


def test_lookups_of_many_transactions(linked, mongo, mdb):
    """Behind by thousands of updates, whose transactions begin and end within replies: each document as it is at the end of its transaction."""
    names = ("a", "b")
    for name in names:
        mdb[name].insert_many([{"_id": number, "n": 0} for number in range(500)])
    create(linked, "s", keep_events=False, batch_size=70)
    for name in names:
        mirror(linked, name, stream_name="s")
    wait_exact(linked, *names)
    pause(linked, "s")
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    dice = random.Random(5)
    for part in range(20):
        with mongo.client.start_session() as session, session.start_transaction():
            for name in names:
                mdb[name].update_many({"_id": {"$gte": dice.randrange(500)}}, {"$inc": {"n": 1}}, session=session)
        mdb.a.bulk_write([pymongo.UpdateOne({"_id": dice.randrange(500)}, {"$set": {"n": number, "part": part}}) for number in range(300)])
        mdb.b.bulk_write([dice.choice((pymongo.DeleteOne({"_id": number}), pymongo.ReplaceOne({"_id": number}, {"n": part}, upsert=True)))
                          for number in dice.sample(range(500), 50)])
    resume(linked, "s")
    sync(linked, "s")
    wait_exact(linked, *names)
    for name in names:
        assert linked.execute("SELECT * FROM check_change_mirror(%s)", name) == []


def test_lookups_when_the_time_is_gone(linked, mongo, mdb):
    """Where MongoDB cannot read at the batch's time, what the majority has is taken; the stream goes on."""
    mdb.c.insert_many([{"_id": number, "n": 0} for number in range(3)])
    create(linked, "s", collection="c", full_document="updateLookup")
    sync(linked, "s")
    mongo.fail_command(["find"], times=1, errorCode=239)
    mdb.c.update_many({}, {"$set": {"n": 1}})
    sync(linked, "s")
    assert sources(linked, "s") == [("update", "lookup", "1")] * 3


def test_lookups_in_a_clustered_collection(linked, mongo, mdb):
    """MongoDB would read all between the smallest _id and the largest; each is looked up by itself."""
    def read_so_far():
        return mongo.client.admin.command("serverStatus")["metrics"]["queryExecutor"]["scannedObjects"]

    mdb.create_collection("c", clusteredIndex={"key": {"_id": 1}, "unique": True})
    mdb.c.insert_many([{"_id": number} for number in range(20000)])
    create(linked, "s", collection="c", full_document="updateLookup")
    sync(linked, "s")
    pause(linked, "s")
    changed = list(range(0, 20000, 500)) + [19999]
    for number in changed:
        mdb.c.update_one({"_id": number}, {"$set": {"n": number}})
    before = read_so_far()
    resume(linked, "s")
    sync(linked, "s")
    assert read_so_far() - before < 2000
    assert linked.column("SELECT (full_document->>'n')::int FROM change_stream_events ORDER BY event_id") == changed
