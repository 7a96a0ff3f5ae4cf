"""MongoDB's history: what of it a stream can lose, and how it goes on."""
import time

import pymongo
import pytest

import oracle
from harness.machine import wait_until
from streams import create, drop, gaps, ids, operations, pause, resume, status, sync, wait_state

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


class Window:
    """A replica set whose oplog holds a megabyte."""

    def __init__(self, mongo):
        self.mongo, self.shop = mongo, mongo.client.shop

    def oldest(self):
        return self.mongo.client.local.oplog.rs.find_one(sort=[("$natural", 1)])["ts"]

    def outrun(self, time):
        """Writes elsewhere until the oplog begins behind a time."""
        def gone():
            self.mongo.client.other.filler.insert_many([{"pad": "x" * 100000} for _ in range(5)])
            return self.oldest() > time

        wait_until(gone, 120, "the oplog moves on", pause=0.2)


@pytest.fixture
def window(db, new_replica_set):
    window = Window(new_replica_set(oplog_mb=1, options=["--syncdelay", "1"]))
    db.create_server(window.mongo.uri, "shop")
    return window


@pytest.fixture
def lost(db, window):
    """A stream with events 1 and 2 whose history was lost after them; db.token is the last one's."""
    create(db, "orders", collection="c")
    window.shop.c.insert_many([{"_id": 1}, {"_id": 2}])
    sync(db, "orders")
    pause(db, "orders")
    window.shop.c.insert_one({"_id": "lost"})
    db.token = db.value("SELECT resume_token FROM change_stream_events ORDER BY event_id DESC LIMIT 1")
    window.outrun(oracle.mark(window.mongo))
    resume(db, "orders")
    shown = wait_state(db, "orders", "history_lost")
    assert shown["pid"] is None and "start_at => 'earliest'" in shown["reason"] and "286" in shown["last_error"]
    assert ids(db, "orders") == [1, 2]
    # and so it stays
    time.sleep(3)
    assert status(db, "orders")["state_since"] == shown["state_since"]
    return db


def check_after(db, window, since):
    """After the gap row everything of MongoDB's history from its end on, once, in order."""
    sync(db, "orders", "60 seconds")
    (number, low, high, reason), = gaps(db, "orders")
    assert number == 3 and low < high and reason
    assert operations(db, "orders")[:3] == ["insert", "insert", "gap"]
    shown = db.execute("SELECT event_id, resume_token FROM change_stream_events ORDER BY event_id")
    assert [event_id for event_id, _ in shown] == list(range(1, len(shown) + 1))
    wanted = [row["resume_token"] for row in map(oracle.columns, oracle.history(window.mongo, since, "shop"))
              if row["collection_name"] == "c"]
    assert [token for _, token in shown[3:]] == wanted
    wait_state(db, "orders", "active")
    return len(wanted)


def test_lost_then_earliest(lost, window):
    """The oldest that there is."""
    window.shop.c.insert_many([{"_id": 3}, {"_id": 4}])
    oldest = window.oldest()
    resume(lost, "orders", start_at="earliest")
    window.shop.c.insert_one({"_id": 5})
    assert check_after(lost, window, oldest) == 3
    assert ids(lost, "orders") == [1, 2, None, 3, 4, 5]


def test_lost_then_now(lost, window):
    """Only what comes."""
    window.shop.c.insert_one({"_id": 3})
    since = oracle.mark(window.mongo)
    resume(lost, "orders", start_at="now")
    window.shop.c.insert_many([{"_id": 4}, {"_id": 5}])
    assert check_after(lost, window, since) == 2
    assert ids(lost, "orders") == [1, 2, None, 4, 5]


def test_lost_then_a_time(lost, window):
    """From a second on that the oplog still has; one that it has not leaves the stream as it is."""
    window.shop.c.insert_one({"_id": 3})
    since = oracle.mark(window.mongo)
    # a second of its own
    wait_until(lambda: time.time() > since.time + 1.1, 10)
    begin = oracle.mark(window.mongo)
    window.shop.c.insert_many([{"_id": 4}, {"_id": 5}])
    resume(lost, "orders", start_at=lost.value("SELECT to_timestamp(%s)::text", begin.time))
    window.shop.c.insert_one({"_id": 6})
    assert check_after(lost, window, begin) == 3
    assert ids(lost, "orders") == [1, 2, None, 4, 5, 6]


def test_lost_then_made_anew(lost, window):
    """Dropped with its events kept, and made again: numbers go on, and nothing is there twice."""
    drop(lost, "orders", keep_events=True)
    assert ids(lost, "orders") == [1, 2]
    since = oracle.mark(window.mongo)
    create(lost, "orders", collection="c")
    window.shop.c.insert_many([{"_id": 3}, {"_id": 4}])
    sync(lost, "orders")
    assert lost.execute("SELECT event_id, (document_key->>'_id')::int FROM change_stream_events ORDER BY 1") == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert oracle.compare(lost, "orders", window.mongo, since, "shop", where=oracle.in_collection("c"), after=2) == 2


def test_lost_and_resumed_as_it_is(lost, window):
    """resume without a position tries what is stored, which is lost as before: no loop, and nothing is passed over."""
    resume(lost, "orders")
    wait_state(lost, "orders", "history_lost")
    assert ids(lost, "orders") == [1, 2]
    assert lost.value("SELECT last_event_id FROM change_stream_progress") == 2


def test_idle_longer_than_the_oplog(db, window):
    """Others write more than the oplog holds, while a stream has no event: it goes on at once, whether it ran meanwhile or is started again."""
    create(db, "orders", collection="c")
    window.shop.c.insert_one({"_id": 1})
    sync(db, "orders")
    since = oracle.token_time(db.value("SELECT resume_token FROM change_stream_events"))
    for number in (2, 3):
        window.outrun(oracle.mark(window.mongo))
        assert window.oldest() > since
        if number == 3:
            db.execute("SELECT pg_terminate_backend(%s, 5000)", db.value("SELECT pid FROM change_stream_status"))
        window.shop.c.insert_one({"_id": number})
        sync(db, "orders")
        assert ids(db, "orders") == list(range(1, number + 1))
        assert status(db, "orders")["state"] == "active" and gaps(db, "orders") == []
        since = oracle.token_time(db.value("SELECT resume_token FROM change_stream_events ORDER BY event_id DESC LIMIT 1"))


def test_write_that_is_rolled_back(db, new_replica_set):
    """A primary that is cut off takes a write that nobody else has: it is rolled back, and is no event."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    mongo.client.shop.create_collection("c")
    since = oracle.mark(mongo)
    create(db, "orders")
    mongo.client.shop.c.insert_one({"_id": "before"})
    sync(db, "orders")
    old = mongo.primary()
    others = mongo.secondaries()
    for member in others:
        member.kill()
    # acknowledged by the member itself; there is a moment until it notices that it is alone
    with pymongo.MongoClient(old.address, directConnection=True, w=1, journal=True) as client:
        client.shop.c.insert_many([{"_id": f"rolled back {number}"} for number in range(5)])
    # before the others are there, so that they cannot fetch it
    time.sleep(1)
    assert ids(db, "orders") == ["before"]
    old.kill()
    for member in others:
        member.start()
    wait_until(lambda: any(mongo._says_primary(member) for member in others), 60, "one of the others is primary")
    with pymongo.MongoClient(next(m for m in others if mongo._says_primary(m)).address, directConnection=True, w="majority") as client:
        client.shop.c.insert_one({"_id": "after"})
    old.start()
    mongo.wait_primary(60)

    def rolled_back():
        with pymongo.MongoClient(old.address, directConnection=True, readPreference="secondaryPreferred") as client:
            try:
                return {row["_id"] for row in client.shop.c.find()} == {"before", "after"}
            except pymongo.errors.AutoReconnect:
                return False            # it is at it

    wait_until(rolled_back, 90, "the old primary has rolled back")
    mongo.client.shop.c.insert_one({"_id": "last"})
    wait_state(db, "orders", "active", 90)
    sync(db, "orders", "90 seconds")
    assert ids(db, "orders") == ["before", "after", "last"]
    assert oracle.compare(db, "orders", mongo, since, "shop") == 3
