"""Images that MongoDB no longer has, or does not keep: a stream that can do without says so in the row, one that requires them stops."""
import pytest
from pymongo.read_concern import ReadConcern

import oracle
from harness.machine import wait_until
from streams import alter, create, operations, pause, resume, sync, wait_state

PLAIN = {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"}
SHOWN = ("SELECT operation_type, full_document IS NOT NULL, full_document_before_change IS NOT NULL, full_document_source"
         " FROM change_stream_events WHERE stream_name = %s ORDER BY event_id")


def insert_and_change(collection):
    """One event of each kind that has an image."""
    collection.insert_one({"_id": 1, "a": 0})
    collection.update_one({"_id": 1}, {"$set": {"a": 1}})
    collection.replace_one({"_id": 1}, {"b": 1})
    collection.delete_one({"_id": 1})


WITHOUT = [("insert", True, False, "insert"), ("update", False, False, "none"), ("replace", True, False, "replace"), ("delete", False, False, "none")]


def check_required(db, mdb, stream):
    """It has stopped at the first event that lacks an image, has nothing of it, and goes on when it requires none."""
    shown = wait_state(db, stream, "error")
    assert "image" in shown["reason"] and shown["pid"] is None
    # MongoDB gives nothing of a reply in which it comes to an event without its image
    assert db.execute(SHOWN, stream) in ([], WITHOUT[:1])
    alter(db, stream, full_document="when_available", full_document_before_change="when_available")
    resume(db, stream)
    sync(db, stream)
    assert db.execute(SHOWN, stream) == WITHOUT


@pytest.fixture
def kept(linked, mongo, mdb):
    """A collection with images, and two streams: one takes what there is, the other requires it."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    linked.since = oracle.mark(mongo)
    create(linked, "plain", collection="c", full_document="when_available", full_document_before_change="when_available")
    create(linked, "strict", collection="c", full_document="required", full_document_before_change="required")
    return linked


def test_switched_off(kept, mongo, mdb):
    """collMod: from there on there are none, and those of before are still there."""
    insert_and_change(mdb.c)
    for stream in ("plain", "strict"):
        sync(kept, stream)
    whole = [("insert", True, False, "insert"), ("update", True, True, "post_image"), ("replace", True, True, "replace"), ("delete", False, True, "none")]
    assert kept.execute(SHOWN, "plain") == kept.execute(SHOWN, "strict") == whole
    mdb.command("collMod", "c", changeStreamPreAndPostImages={"enabled": False})
    insert_and_change(mdb.c)
    sync(kept, "plain")
    assert kept.execute(SHOWN, "plain") == whole + WITHOUT
    assert oracle.compare(kept, "plain", mongo, kept.since, mdb.name, **PLAIN) == 8
    wait_state(kept, "strict", "error")
    assert kept.execute(SHOWN, "strict") in (whole, whole + WITHOUT[:1])
    alter(kept, "strict", full_document="when_available", full_document_before_change="when_available")
    resume(kept, "strict")
    sync(kept, "strict")
    assert oracle.compare(kept, "strict", mongo, kept.since, mdb.name, **PLAIN) == 8


def test_other_collections_need_none(kept, mdb):
    """A stream of a collection asks for that collection's images only, though it watches the database."""
    insert_and_change(mdb.d)
    mdb.d.rename("e")
    insert_and_change(mdb.c)
    sync(kept, "strict")
    assert operations(kept, "strict") == ["insert", "update", "replace", "delete"]


@pytest.mark.timeout(180)
def test_expired(db, new_replica_set):
    """expireAfterSeconds has passed while the streams were paused."""
    mongo = new_replica_set(parameters={"expiredChangeStreamPreImageRemovalJobSleepSecs": 1})
    mdb = mongo.client.shop
    db.create_server(mongo.uri, "shop")
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    mongo.client.admin.command("setClusterParameter", {"changeStreamOptions": {"preAndPostImages": {"expireAfterSeconds": 1}}})
    since = oracle.mark(mongo)
    for stream, images in (("plain", "when_available"), ("strict", "required")):
        create(db, stream, collection="c", full_document=images, full_document_before_change=images)
        wait_state(db, stream, "active")
        pause(db, stream)
    insert_and_change(mdb.c)
    # a change stream reads what the majority has: the removal must be there, too
    images = mongo.client.config.get_collection("system.preimages", read_concern=ReadConcern("majority"))
    wait_until(lambda: images.count_documents({}) == 0, 60, "the images expire")
    for stream in ("plain", "strict"):
        resume(db, stream)
    sync(db, "plain")
    assert db.execute(SHOWN, "plain") == WITHOUT
    assert oracle.compare(db, "plain", mongo, since, "shop", **PLAIN) == 4
    check_required(db, mdb, "strict")
