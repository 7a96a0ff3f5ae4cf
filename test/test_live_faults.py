"""Slow tests of what can fail around a stream; `make test-faults` runs them."""
import os
import signal
import threading
import time

import pymongo
import pytest

import oracle
from harness.machine import wait_until
from streams import Writers, answers, create, ids, patiently, pause, resume, status, sync, wait_state, worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

LAG = "SELECT extract(epoch FROM lag) FROM change_stream_status"

# MongoDB's specification of resumable change stream errors
RESUMABLE = [6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436, 43]


def cursors_of(mongo, database):
    """How many change stream cursors mongod has on a database, read or not."""
    return sum(1 for found in mongo.client.admin.aggregate([
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}}}])
        if found["ns"].startswith(database + ".") and "(" in str(found["cursor"]["originatingCommand"].get("comment")))


def test_members_restart_and_hang(db, new_replica_set):
    """Step-downs, a rolling restart and a primary that hangs: every event, once, in order."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    since = oracle.mark(mongo)
    create(db, "orders")
    with Writers(mongo, "shop") as writers:
        writers.wait(100)
        for member in mongo.members:
            member.stop()
            mongo.wait_primary(60)
            member.start()
            writers.wait(50, 120)
        mongo.step_down()
        writers.wait(50, 120)
        hung = mongo.primary()
        hung.freeze()
        try:
            time.sleep(10)
        finally:
            hung.thaw()
        mongo.wait_primary(60)
        writers.wait(50, 120)
    wait_state(db, "orders", "active", 90)
    sync(db, "orders", "90 seconds")
    assert oracle.compare(db, "orders", mongo, since, "shop") > 300


def test_hung_primary_is_left(db, new_replica_set):
    """A primary that hangs: the next event comes from its successor, in less time than drivers take."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    create(db, "orders")
    mongo.client.shop.orders.insert_one({"_id": 1})
    sync(db, "orders")
    hung = mongo.primary()
    others = [member for member in mongo.members if member is not hung]
    hung.freeze()
    begin = time.monotonic()
    try:
        successor = wait_until(lambda: next((m for m in others if mongo._says_primary(m)), None), 30, "another primary")
        with pymongo.MongoClient(successor.address, directConnection=True, w="majority") as client:
            client.shop.orders.insert_one({"_id": 2})
        db.wait_for("SELECT count(*) FROM change_stream_events", expect=2, timeout=60)
        taken = time.monotonic() - begin
        print(f"the next event after {taken:.1f} s")
        assert taken < 25
    finally:
        hung.thaw()


def test_primary_that_is_none(db, new_replica_set):
    """A primary that has lost its set is a secondary that hears of nothing: it is left, and the status says so."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    create(db, "orders")
    mongo.client.shop.orders.insert_one({"_id": 1})
    sync(db, "orders")
    others = mongo.secondaries()
    for member in others:
        member.freeze()
    try:
        shown = wait_state(db, "orders", "retrying", 60)
        print(shown)
        db.wait_for("SELECT lag > '5 s' FROM change_stream_status", timeout=60)
    finally:
        for member in others:
            member.thaw()
    mongo.wait_primary(60)
    mongo.client.shop.orders.insert_one({"_id": 2})
    wait_state(db, "orders", "active", 90)
    sync(db, "orders", "60 seconds")
    assert ids(db, "orders") == [1, 2]


@pytest.fixture
def slow_secondary(new_replica_set):
    """A set with a secondary, tagged `slow`, that can be told to stand still."""
    mongo = new_replica_set(members=3)
    primary = mongo.primary()
    slow = mongo.members.index(next(member for member in mongo.members if member is not primary))
    config = mongo.client.admin.command("replSetGetConfig")["config"]
    config["members"][slow]["tags"] = {"who": "slow"}
    config["version"] += 1
    mongo.client.admin.command("replSetReconfig", config)
    mongo.slow_address = mongo.members[slow].address
    mongo.slow_uri = mongo.uri + "&readPreference=secondary&readPreferenceTags=who:slow"

    def stand_still(still):
        with pymongo.MongoClient(mongo.slow_address, directConnection=True) as client:
            client.admin.command("configureFailPoint", "rsSyncApplyStop", mode="alwaysOn" if still else "off")

    mongo.stand_still = stand_still
    yield mongo
    stand_still(False)


def test_secondary_that_is_behind(db, slow_secondary):
    """Bounds are the primary's time, whichever member is read; the lag is that of the set."""
    mongo = slow_secondary
    db.create_server(mongo.slow_uri, "shop")
    orders = mongo.client.shop.orders
    orders.insert_one({"_id": 0})
    db.execute("CREATE FOREIGN TABLE history (document_key document, operation_type text)"
               " SERVER mongo OPTIONS (collection 'orders')")
    create(db, "watched")
    sync(db, "watched")
    mongo.stand_still(True)
    orders.insert_many([{"_id": number} for number in range(1, 101)])
    # what was acknowledged before the call is not in a stream that begins now
    create(db, "orders")
    orders.insert_one({"_id": 101})
    # a scan waits for what was acknowledged before it
    found = []
    with db.connect() as other:
        scan = threading.Thread(target=lambda: found.append(
            other.execute("SELECT count(*) FROM history WHERE operation_type = 'insert'").fetchone()[0]))
        scan.start()
        db.wait_for("SELECT lag > '4 s' FROM change_stream_status WHERE stream_name = 'watched'", timeout=60)
        assert scan.is_alive()
        mongo.stand_still(False)
        scan.join(60)
    assert found == [102]
    sync(db, "orders", "60 seconds")
    assert ids(db, "orders") == [101]
    sync(db, "watched", "60 seconds")
    assert db.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'watched'") == 101
    db.wait_for("SELECT max(lag) < '3 s' FROM change_stream_status", timeout=60)


def test_secondary_that_stands_still_is_left(db, slow_secondary):
    """Where another member fits the read preference, it is read instead of one that stands still."""
    mongo = slow_secondary
    db.create_server(mongo.uri + "&readPreference=secondary", "shop")
    mongo.stand_still(True)
    create(db, "orders")
    for number in range(60):
        mongo.client.shop.orders.insert_one({"_id": number})
        time.sleep(1)
        if number > 25 and db.value("SELECT count(*) > 25 FROM change_stream_events"):
            break
    assert db.value("SELECT count(*) > 25 FROM change_stream_events"), status(db, "orders")


def test_resumable_codes(linked, mongo, mdb):
    """Each code that a driver resumes after, again and again, between answers without events."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    wait_state(linked, "orders", "active")
    written = 0
    for code in RESUMABLE:
        labels = {} if code == 43 else {"errorLabels": ["ResumableChangeStreamError"]}
        for _ in range(2):
            before = answers(mongo.client, mdb.name)
            mongo.fail_command(["getMore"], times=1, errorCode=code, **labels)
            wait_until(lambda: any(number > 2 for cursor, number in answers(mongo.client, mdb.name).items() if cursor not in before),
                       60, "answers without events on a new cursor")
            mdb.orders.insert_one({"_id": written})
            written += 1
            sync(linked, "orders", "60 seconds")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == written
    assert status(linked, "orders")["state"] == "active"


def test_failing_for_ever_backs_off(linked, mongo, mdb, postgres):
    """A stream that opens and fails, opens and fails, does so ever more seldom."""
    create(linked, "orders")
    wait_state(linked, "orders", "active")
    position = postgres.log_position()
    mongo.fail_command(["getMore"], errorCode=91, errorLabels=["ResumableChangeStreamError"])
    time.sleep(20)
    assert 3 <= postgres.log_text(position).count("is retrying") <= 8
    mongo.stop_failing()
    mdb.orders.insert_one({"_id": 1})
    wait_state(linked, "orders", "active", 60)
    sync(linked, "orders")


def test_database_is_watched_again(linked, mongo, mdb):
    """A refusal at the first opening makes a stream that needs the database watch its collection, until it may."""
    create(linked, "orders", collection="orders", operations=["insert", "dropDatabase"])
    wait_state(linked, "orders", "active")
    pause(linked, "orders")
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    mongo.fail_command(["aggregate"], times=1, errorCode=13)
    resume(linked, "orders")
    linked.wait_for("SELECT reason LIKE 'following the collection%%' FROM change_stream_status")
    linked.wait_for("SELECT reason = 'following the change stream' FROM change_stream_status", timeout=120)
    mdb.orders.insert_one({"_id": 1})
    sync(linked, "orders")
    assert ids(linked, "orders") == [1]


@pytest.mark.crashes
def test_cursors_of_killed_workers_end(linked, mongo, mdb):
    """A worker that was killed leaves its cursor on the server; the next one ends it."""
    create(linked, "orders")
    create(linked, "others")
    for number in range(3):
        pid = worker(linked, "orders")
        wait_state(linked, "orders", "active", 60)
        mdb.orders.insert_one({"_id": number})
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: patiently(lambda: linked.value(
            "SELECT bool_and(pid IS NOT NULL AND pid <> %s) FROM change_stream_status", pid)), 60, "new workers")
    wait_state(linked, "orders", "active", 60)
    assert cursors_of(mongo, mdb.name) > 2
    wait_until(lambda: cursors_of(mongo, mdb.name) == 2, 90, "only the cursors that are read")
    sync(linked, "orders")
    assert sorted(ids(linked, "orders")) == [0, 1, 2]
    time.sleep(20)
    assert cursors_of(mongo, mdb.name) == 2
    assert linked.value("SELECT max(consecutive_errors) FROM change_stream_progress") == 0
