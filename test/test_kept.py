"""CHANGE_STREAM over events that a change stream keeps: the same rows as MongoDB's history, and which of the two is read."""
import bson
import pytest

from foreign import COLUMNS, foreign_table, messages, plan
from streams import alter, create, pause, resume, sync

SHARED = ", ".join(COLUMNS)
IMAGES = {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"}


def writes(mdb, name="c", first=0):
    """Events of every usual kind on one collection, those of a transaction among them, and as many on another one."""
    if name not in mdb.list_collection_names():
        mdb.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    c = mdb[name]
    c.insert_many([{"_id": first + i, "n": i, "deep": {"a": [1, {"b": i}]}} for i in range(5)])
    c.update_one({"_id": first + 1}, {"$set": {"deep.a.1.b": 7}, "$unset": {"n": 1}})
    c.replace_one({"_id": first + 2}, {"_id": first + 2, "whole": True})
    c.delete_one({"_id": first + 3})
    with mdb.client.start_session() as session, session.start_transaction():
        for i in range(20):
            c.insert_one({"_id": first + 100 + i}, session=session)
            mdb.other.insert_one({"_id": first + i}, session=session)
    c.update_one({"_id": first + 2}, {"$set": {"x": bson.Decimal128("1.50")}})


def translated(db, statement):
    return db.value("SELECT change_stream_translate(%s)", statement)


def both(db, condition="true", relation="c", columns=SHARED):
    """The rows by CHANGE_STREAM, which must be those of MongoDB's history; and what a notice says they are of."""
    text = translated(db, f"SELECT {columns} FROM CHANGE_STREAM({relation}) WHERE {condition}")
    assert "change_stream_kept(" in text
    history = translated(db, f"SELECT {columns} FROM CHANGE_STREAM({relation}, 'history') WHERE {condition}")
    assert "change_stream_kept(" not in history
    seen = messages(db.connection)
    rows = sorted(map(repr, db.execute(text)))
    said = [message for message in seen if message[0] == "NOTICE"]
    seen.clear()
    assert rows == sorted(map(repr, db.execute(history)))
    assert seen == []
    assert len(said) == 1
    return rows, said[0]


def first_event(db, mdb, stream="s", name="c"):
    """Something happens behind the stream's start; returns a condition that begins there."""
    mdb[name].insert_one({"_id": "first"})
    sync(db, stream)
    return "cluster_time >= '{}'".format(db.value("SELECT max(cluster_time) FROM change_stream_events WHERE stream_name = %s", stream))


def test_same_rows(linked, mdb):
    """The simplest case: a stream of the collection, which has had everything."""
    create(linked, "s", collection="c", **IMAGES)
    foreign_table(linked, "c", collection="c")
    start = first_event(linked, mdb)
    writes(mdb)
    sync(linked, "s")
    rows, said = both(linked, start)
    assert len(rows) == 30
    assert 'kept events of change stream "s" since' in said[1]
