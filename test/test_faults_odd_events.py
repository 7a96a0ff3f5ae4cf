"""Events of servers that are newer, older or odder than those at hand, and of a mongos: stored as they are, each once."""
import time

import bson
import pytest

from harness import Liar
from harness.liar import token
from harness.machine import wait_until
from streams import create, error_of, pause, resume, status, sync, wait_state, worker

KEYS = "SELECT document_key->>'_id' FROM change_stream_events ORDER BY event_id"
CLUSTER = bson.ObjectId(b"acollection.")


def event_token(seconds, ordinal):
    """The token of an event of that time, which sorts behind the time's own."""
    return {"_data": f"82{seconds:08X}{ordinal:08X}2B042C0100296E5A1004{'AB' * 16}46645F69640029{ordinal:04X}04"}


class Feed(Liar):
    """A liar with a history of its own: change streams begin where they are asked to, and get what has been added since.

    repeat      so many of the events before it are sent again with each reply that holds any
    late        seconds by which the post-batch token is behind the time, as behind a shard that is idle
    """

    def __init__(self, mongos=False):
        self.log = []
        self.mongos, self.repeat, self.late = mongos, 0, 0
        self.asked = []         # where each change stream began
        self._places = {}       # by session
        super().__init__(self._say)

    def add(self, **fields):
        """An event; fields that are None are left out of what an insert has."""
        now, number = int(time.time()), len(self.log) + 1
        event = {"_id": event_token(now, number), "operationType": "insert", "clusterTime": bson.Timestamp(now, number),
                 "wallTime": bson.datetime.datetime(2026, 1, 1), "fullDocument": {"_id": number, "n": 1},
                 "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": number}, **fields}
        self.log.append({name: value for name, value in event.items() if value is not None})
        return self.log[-1]

    def _say(self, name, request, reply):
        session = str(request.get("lsid"))
        if name.lower() in ("hello", "ismaster") and self.mongos:
            for field in ("setName", "setVersion", "hosts", "me", "primary", "electionId", "secondary", "lastWrite"):
                reply.pop(field, None)
            reply["msg"] = "isdbgrid"
        elif self.mongos and name in ("replSetGetConfig", "replSetGetStatus"):
            return {"ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": f"no such command: '{name}'"}
        elif name == "aggregate" and "$changeStream" in str(request["pipeline"])[:40]:
            self._places[session] = self._begin(request["pipeline"][0]["$changeStream"])
        elif name == "getMore" and session in self._places:
            place, end = self._places[session], len(self.log)
            self._places[session] = end
            if end > place:
                reply["cursor"]["nextBatch"] = self.log[max(place - self.repeat, 0):end]
            ahead = str(self.log[end - 1]["_id"]["_data"]) if end else ""
            behind = token(reply["operationTime"].time - self.late)
            reply["cursor"]["postBatchResumeToken"] = behind if behind["_data"] > ahead else {"_data": ahead}
        return None

    def _begin(self, stage):
        start = stage.get("startAfter") or stage.get("resumeAfter")
        at = stage.get("startAtOperationTime")
        self.asked.append(start["_data"] if start else at)
        if start is None and at is None:
            return len(self.log)
        # a token that is none belongs to the event where it stands
        reached = (lambda one: not isinstance(one["_id"]["_data"], str) or one["_id"]["_data"] > start["_data"]) if start else \
            (lambda one: str(one["_id"]["_data"])[2:18] >= f"{at.time:08X}{at.inc:08X}")
        return next((place for place, one in enumerate(self.log) if reached(one)), len(self.log))


@pytest.fixture(params=["replica set", "mongos"])
def feed(request):
    with Feed(mongos=request.param == "mongos") as one:
        yield one


@pytest.fixture
def fed(db, feed):
    """A database with a stream of the feed's database that is active."""
    db.create_server(f"mongodb://{feed.address}/" if feed.mongos else feed.uri(), "shop")
    create(db, "orders")
    wait_state(db, "orders", "active")
    return db


def count(db, expected, timeout=20):
    db.wait_for("SELECT count(*) FROM change_stream_events", expect=expected, timeout=timeout)


def row(db, columns, number=1):
    return db.row(f"SELECT {columns} FROM change_stream_events WHERE event_id = %s", number)


NAMES = "operation_type, database_name, collection_name, document_key::text, full_document::text, changed_fields, extra::text"
WHOLE = ("insert", "shop", "orders", '{"_id": 1}', '{"_id": 1, "n": 1}', ["_id", "n"], None)
NOTHING = {name: None for name in ("clusterTime", "wallTime", "fullDocument", "ns", "documentKey")}

# what an event has other than an insert, and what the columns NAMES hold then
ODD = {
    "an unknown operation": (dict(operationType="teleport", fullDocument=None, destination="Mars", distance=bson.Int64(5)),
                             ("teleport", "shop", "orders", '{"_id": 1}', None, None, '{"destination": "Mars", "distance": {"$numberLong": "5"}}')),
    "nothing but an operation": (dict(NOTHING, operationType="pause"), ("pause", None, None, None, None, None, None)),
    "nothing at all": (dict(NOTHING, operationType=None), (None, None, None, None, None, None, None)),
    "an operation that is no text": (dict(NOTHING, operationType=5), (None, None, None, None, None, None, '{"operationType": 5}')),
    "no namespace": (dict(ns=None), ("insert", None, None, *WHOLE[3:])),
    "a namespace with more": (dict(ns={"db": "shop", "coll": "orders", "shard": "s1"}),
                              (*WHOLE[:6], '{"ns": {"db": "shop", "coll": "orders", "shard": "s1"}}')),
    "a database alone": (dict(ns={"db": "shop"}), ("insert", "shop", None, *WHOLE[3:])),
    "a namespace in one text": (dict(ns="shop.orders"), ("insert", None, None, *WHOLE[3:6], '{"ns": "shop.orders"}')),
    "a namespace of numbers": (dict(ns={"db": 1, "coll": 2}), ("insert", None, None, *WHOLE[3:6], '{"ns": {"db": 1, "coll": 2}}')),
    "no key": (dict(documentKey=None), (*WHOLE[:3], None, *WHOLE[4:])),
    "a key of a sharded collection": (dict(documentKey={"region": "eu", "_id": 1}), (*WHOLE[:3], '{"region": "eu", "_id": 1}', *WHOLE[4:])),
    "a document that is none": (dict(fullDocument=[1, 2]), (*WHOLE[:4], None, [], '{"fullDocument": [1, 2]}')),
    "an update described otherwise": (dict(operationType="update", fullDocument=None, updateDescription={"deltas": [1], "updatedFields": 3}),
                                      ("update", *WHOLE[1:4], None, [], None)),
    # psycopg could not read a year that has wrapped
    "a clock before all others": (dict(wallTime=bson.datetime_ms.DatetimeMS(1 - 2 ** 63 // 1000)), WHOLE),
    "fields of tomorrow": (dict(aaa=1, operationDescription={"x": 1}, clusterTime=bson.Timestamp(1, 1), wallTime="now", zzz=None),
                           (*WHOLE[:6], '{"wallTime": "now", "aaa": 1, "operationDescription": {"x": 1}}')),
}


@pytest.mark.parametrize("feed", ["replica set"], indirect=True)
def test_odd_events(fed, feed):
    """Whatever an event lacks, or has beside what is known: a row, in which nothing of it is lost; the stream goes on."""
    for number, (fields, expected) in enumerate(ODD.values(), 1):
        # numbers in documents are those of the first
        feed.add(**{"fullDocument": {"_id": 1, "n": 1}, "documentKey": {"_id": 1}, **fields})
    count(fed, len(ODD))
    for number, (name, (fields, expected)) in enumerate(ODD.items(), 1):
        assert row(fed, NAMES, number) == expected, name
        time, at, source, where = row(fed, "cluster_time, change_timestamp, full_document_source, resume_token", number)
        assert where == feed.log[number - 1]["_id"]["_data"], name
        assert (time is None) == ("clusterTime" in fields and fields["clusterTime"] is None), name
        assert (at is None) == (time is None and "wallTime" in fields), name
        assert source == ("insert" if expected[4] else "none"), name
    assert fed.value("SELECT max(consecutive_errors) FROM change_stream_progress") == 0
    assert status(fed, "orders")["state"] == "active"


@pytest.mark.parametrize("feed", ["replica set"], indirect=True)
def test_event_without_a_token(fed, feed):
    """There is no going on from it: the stream tries again, says why, and goes on once the server does better."""
    feed.add()
    count(fed, 1)
    bad = feed.add()
    good, bad["_id"] = bad["_id"], {"_data": 5}
    wait_state(fed, "orders", "retrying")
    assert status(fed, "orders")["last_error"]
    bad["_id"] = good
    count(fed, 2)
    assert fed.column(KEYS) == ["1", "2"]


def test_repeats(fed, feed, postgres):
    """Events that a server sends again, in the next reply and after a resume, are there once, in order."""
    begin = postgres.log_position()
    for repeat in (1, 3, 50):
        feed.repeat = repeat
        for _ in range(4):
            feed.add()
        count(fed, len(feed.log))
        pid = worker(fed, "orders")
        fed.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
        fed.wait_for("SELECT pid <> %s AND state = 'active' FROM change_stream_status", pid)
        feed.add()
        feed.add()
        count(fed, len(feed.log))
    assert fed.column(KEYS) == [str(number) for number in range(1, len(feed.log) + 1)]
    assert fed.column("SELECT event_id FROM change_stream_events ORDER BY 1") == list(range(1, len(feed.log) + 1))
    assert "MongoDB repeated an event" in postgres.log_text(begin)


@pytest.mark.parametrize("feed", ["mongos"], indirect=True)
def test_mongos(fed, feed):
    """A sharded cluster: followed, paused and resumed without the questions that only a replica set answers."""
    for _ in range(3):
        feed.add()
    count(fed, 3)
    pause(fed, "orders")
    fed.wait_for("SELECT pid IS NULL FROM change_stream_status")
    feed.add()
    resume(fed, "orders")
    count(fed, 4)
    sync(fed, "orders")
    assert fed.column(KEYS) == ["1", "2", "3", "4"]
    assert status(fed, "orders")["state"] == "active" and status(fed, "orders")["last_error"] is None
    assert fed.row("SELECT ok, detail FROM check_mongo_server() WHERE check_name = 'replica_set'") == (True, "mongos of a sharded cluster")


@pytest.mark.parametrize("feed", ["mongos"], indirect=True)
def test_idle_shard(fed, feed):
    """Behind a shard that is idle the position is late by up to ten seconds: the lag says so, sync waits, and nothing is an error."""
    feed.add()
    sync(fed, "orders")
    feed.late = 8
    fed.wait_for("SELECT lag > '4 s' FROM change_stream_status")
    assert not fed.value("SELECT sync_change_stream('orders', '1 second')")
    # an event of the shard that is not idle comes when the others have passed it
    shown = status(fed, "orders")
    assert shown["state"] == "active" and shown["lag"].total_seconds() < 12, shown
    feed.late = 0
    sync(fed, "orders")
    fed.wait_for("SELECT lag < '3 s' FROM change_stream_status")
    feed.add()
    count(fed, 2)
