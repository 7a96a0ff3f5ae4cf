"""Events that are larger than a document may be: in fragments, between which everything may end, and where MongoDB has no fragments."""
import os
import signal

import pytest

import oracle
from harness.machine import wait_until
from streams import create, ids, pause, patiently, resume, sync, unexpected_deaths, wait_state, worker

pytestmark = pytest.mark.faults

REQUIRED = {"full_document": "required", "full_document_before_change": "required"}
PAD = 6_000_000                 # three times that is more than 16 MB


@pytest.fixture
def mongo(new_replica_set):
    """One of its own, with room for what is large."""
    return new_replica_set(cache_gb=0.5)


@pytest.fixture
def large(db, mongo, mdb, proxy):
    """A collection with images and a document of more than a third of the largest size, behind a proxy."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name, password_required="false")
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    mdb.c.insert_one({"_id": 1, "pad": "x" * PAD})
    db.since = oracle.mark(mongo)
    return db


def change(collection, letter="y"):
    """A small event, one of three times that, and a small one."""
    collection.insert_one({"_id": 2})
    collection.update_one({"_id": 1}, {"$set": {"pad": letter * PAD}})
    collection.insert_one({"_id": 3})


def end_by(db, how, pid, proxy):
    """What happens between two fragments."""
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
        patiently(lambda: db.wait_for("SELECT pid IS DISTINCT FROM %s FROM change_stream_status", pid))
    elif how == "terminate":
        db.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
    else:
        proxy.reset()


@pytest.mark.crashes
@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["terminate", "reset", "kill"])
def test_ended_between_fragments(large, mongo, mdb, proxy, postgres, how):
    """In each of the fragments: no half of a row, and all of it once, from its first fragment on."""
    create(large, "s", collection="c", **REQUIRED)
    wait_state(large, "s", "active")
    pause(large, "s")
    change(mdb.c)
    event = [oracle.columns(raw)["resume_token"] for raw in oracle.history(mongo, large.since, mdb.name)][1]
    for fragment in range(3):
        before = proxy.forwarded
        proxy.delay = 0.002
        patiently(lambda: resume(large, "s") if fragment == 0 else None)
        wait_until(lambda: proxy.forwarded - before > fragment * (PAD + 100_000) + PAD // 2, 60, f"fragment {fragment + 1} comes", pause=0.001)
        proxy.blackhole = True
        came = proxy.forwarded - before
        assert came < (fragment + 1) * PAD, "the proxy is too fast for this test"
        assert set(large.column("SELECT (document_key->>'_id')::int FROM change_stream_events")) <= {2}
        assert large.value("SELECT resume_token < %s FROM change_stream_progress", event)
        pid = worker(large, "s")
        end_by(large, how, pid, proxy)
        proxy.delay = 0
        proxy.blackhole = False
    patiently(lambda: sync(large, "s", "60 seconds"), 90)
    assert oracle.compare(large, "s", mongo, large.since, mdb.name, **REQUIRED) == 3
    assert unexpected_deaths(postgres.new_deaths(), 3 if how == "kill" else 0) == []


@pytest.mark.timeout(180)
def test_without_fragments(large, mongo, mdb, proxy):
    """A MongoDB that has no $changeStreamSplitLargeEvent: a marked row without the images, and the next whole."""
    proxy.unknown = b"$changeStreamSplitLargeEvent"
    create(large, "s", collection="c", **REQUIRED)
    for letter in "yz":
        change(mdb.c, letter)
        mdb.c.update_one({"_id": 2}, {"$set": {"a": 1}})
        mdb.c.delete_many({"_id": {"$ne": 1}})
    sync(large, "s", "60 seconds")
    assert ids(large, "s") == [2, 1, 3, 2, 2, 3] * 2
    assert large.column("SELECT full_document_source FROM change_stream_events ORDER BY event_id") == \
        ["insert", "too_large", "insert", "post_image", "none", "none"] * 2
    assert large.column("SELECT DISTINCT (full_document IS NULL AND full_document_before_change IS NULL AND changed_fields = '{pad}')"
                        " FROM change_stream_events WHERE full_document_source = 'too_large'") == [True]
    # all others are as MongoDB tells them, and none is missing
    history = {row["resume_token"][:18]: row for row in (oracle.columns(raw) for raw in oracle.history(mongo, large.since, mdb.name, **REQUIRED))}
    found = oracle.stored(large, "s")
    assert [row["resume_token"][:18] for row in found] == list(history)
    for row in found:
        if row["full_document_source"] != "too_large":
            wanted = history[row["resume_token"][:18]]
            assert {name: row[name] for name in wanted if name != "resume_token"} == {name: wanted[name] for name in wanted if name != "resume_token"}
    checked = dict((name, ok) for name, ok in large.execute("SELECT check_name, ok FROM check_mongo_server('mongo')"))
    assert checked["large_events"] is False


@pytest.mark.timeout(180)
def test_restarts_among_events_that_are_too_large(large, mongo, mdb, proxy):
    """Without fragments, the worker ended again and again: each event once."""
    proxy.unknown = b"$changeStreamSplitLargeEvent"
    create(large, "s", collection="c", **REQUIRED)
    wait_state(large, "s", "active")
    for number in range(3):
        mdb.c.insert_one({"_id": 10 + number})
        mdb.c.update_one({"_id": 1}, {"$set": {"pad": "yz"[number % 2] * PAD}})
        large.execute("SELECT pg_terminate_backend(%s, 5000)", worker(large, "s"))
    mdb.c.insert_one({"_id": 20})
    sync(large, "s", "60 seconds")
    assert ids(large, "s") == [10, 1, 11, 1, 12, 1, 20]
    assert large.column("SELECT full_document_source FROM change_stream_events ORDER BY event_id") == ["insert", "too_large"] * 3 + ["insert"]
