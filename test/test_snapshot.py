"""Initial snapshots: each document that exists once, in its place among the events, whatever interrupts the copy."""
import datetime
import random
import threading

import bson
import pymongo
import pytest

import bson_values as B
import mirrors
from harness.machine import wait_until
from mirrors import ODD_IDS, Faults, Load, Past, difference, with_id
from streams import (create, drop, error_of, gaps, operations, patiently, pause, resume, status, sync, unexpected_deaths,
                     wait_state)

COPIES = "SELECT count(*) FROM change_stream_snapshots WHERE finished_at IS NULL"


def copied(db, stream, timeout=60):
    """Waits until all copies of a stream have ended, and for what has been written since."""
    try:
        patiently(lambda: db.wait_for(COPIES + " AND stream_name = %s", stream, expect=0, timeout=timeout))
    except TimeoutError as problem:
        copies = db.execute("SELECT collection_name, documents_done, documents_estimated, last_key::text FROM change_stream_snapshots")
        raise TimeoutError(f"{problem}: {copies}, {status(db, stream)}") from None
    patiently(lambda: sync(db, stream, "60 seconds"))


def state_of(db, stream):
    """What the rows in the order of event_id say that there is: {collection: {bytes of _id: bytes of the document}}."""
    found = {}
    for operation, collection, key, document in db.execute(
            "SELECT operation_type, collection_name, document_send(document_key), document_send(full_document)"
            " FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream):
        there = found.setdefault(collection, {})
        if operation in ("snapshot", "insert", "replace") or operation == "update" and document is not None:
            there[_id(document)] = document
        elif operation == "delete":
            # taken out here, as -> gives SQL NULL for an _id that is null
            there.pop(_id(key), None)
        elif operation in ("drop", "rename", "dropDatabase"):
            there.clear()
    return found


def _id(document):
    return mirrors.id_of(document[1:])


def snapshot_rows(db, stream):
    """(collection, bytes of _id, cluster time, bytes of the document) of each row of a copy."""
    return [(collection, _id(document), mirrors.timestamp(time), document) for collection, document, time in db.execute(
        "SELECT collection_name, document_send(full_document), cluster_time FROM change_stream_events"
        " WHERE stream_name = %s AND operation_type = 'snapshot' ORDER BY event_id", stream)]


def check_copy(db, stream, mongo, database, collections, always=None):
    """Each document at most once, as MongoDB had it at the row's cluster time, in the order of time among the events.

    always: {collection: ids of the documents that were there all the time}, of which each must be there.
    """
    found = snapshot_rows(db, stream)
    keys = [(collection, key) for collection, key, _, _ in found]
    assert len(set(keys)) == len(keys), f"{len(keys) - len(set(keys))} documents were copied twice"
    for collection, ids in (always or {}).items():
        missing = ids - {key for name, key in keys if name == collection}
        assert not missing, f"{len(missing)} documents of {collection} were not copied"
    times = db.column("SELECT cluster_time FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)
    assert times == sorted(times), "rows are not in the order of their times"
    numbers = db.column("SELECT event_id FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)
    assert numbers == list(range(1, len(numbers) + 1))
    checked = 0
    with Past(mongo, database) as past:
        for collection, at in sorted({(collection, at) for collection, _, at, _ in found}, key=str):
            there = past.documents(collection, at)
            if there is not None:
                rows = [(key, document) for name, key, when, document in found if (name, when) == (collection, at)]
                assert not [key for key, document in rows if there.get(key) != document], "a row is not what MongoDB had at its time"
                checked += len(rows)
        states = state_of(db, stream)
        for name in collections:
            problem = difference(states.get(name, {}), past.documents(name))
            assert not problem, f"{name}: {problem}"
    return len(found), checked


# ------------------------------------------------------------ whole and in order

@pytest.mark.timeout(180)
def test_copy_while_writers_write(linked, mongo, mdb):
    """A database of three collections, all kinds of writes, ids of every type: each document once, at its time, and the end is MongoDB's."""
    load = Load(mongo, mdb.name, pad=3000)
    with load:
        load.wait(20)
        create(linked, "s", initial_snapshot=True, full_document="updateLookup")
        copied(linked, "s")
        load.wait(100)
    sync(linked, "s")
    count, checked = check_copy(linked, "s", mongo, mdb.name, load.COLLECTIONS)
    assert count > 500 and checked > 400
    assert linked.execute("SELECT DISTINCT full_document_source, database_name, document_key IS NOT NULL, update_description IS NULL"
                          " FROM change_stream_events WHERE operation_type = 'snapshot'") == [("snapshot", mdb.name, True, True)]
    rows = linked.execute("SELECT collection_name, documents_done, documents_estimated > 0, last_key IS NOT NULL, exact_since IS NOT NULL, mirror_name"
                          " FROM change_stream_snapshots ORDER BY 1")
    assert [(name, *others) for name, _, *others in rows] == [(name, True, True, True, None) for name in "abc"]
    assert sum(done for _, done, *_ in rows) == count
    assert status(linked, "s")["state"] == "active"


def quiet(mdb, count=5000, name="c", pad=100):
    mdb[name].insert_many([{"_id": number, "n": 0, "pad": "x" * pad} for number in range(count)])
    return {mirrors.id_of(bson.encode({"_id": number})) for number in range(count)}


class Counter(threading.Thread):
    """Updates documents one by one, and remembers nothing."""

    def __init__(self, collection, ids, pause=0.002):
        super().__init__(daemon=True)
        self.collection, self.ids, self.pause, self.writes = collection, list(ids), pause, 0
        self._ended = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join(30)

    def run(self):
        while not self._ended.wait(self.pause):
            try:
                self.collection.update_one({"_id": random.choice(self.ids)}, {"$inc": {"n": 1}})
                self.writes += 1
            except pymongo.errors.PyMongoError:
                pass


def test_five_thousand_documents_and_a_writer(linked, mongo, mdb):
    """Every one of 5,000 documents exactly once while one writer updates them; the events are late by little."""
    ids = quiet(mdb)
    with Counter(mdb.c, range(5000)) as writer:
        create(linked, "s", collection="c", initial_snapshot=True, full_document="updateLookup")
        wait_until(lambda: writer.writes > 100)
        copied(linked, "s")
        before = writer.writes
        wait_until(lambda: writer.writes > before + 50)
    sync(linked, "s")
    count, _ = check_copy(linked, "s", mongo, mdb.name, ["c"], {"c": ids})
    assert count == 5000
    late = linked.value("SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY received_at - change_timestamp)"
                        " FROM change_stream_events WHERE operation_type = 'update'")
    assert late.total_seconds() < 3, late


@pytest.mark.crashes
@pytest.mark.timeout(150)
def test_copy_is_killed_and_goes_on(linked, postgres, mongo, mdb):
    """Ended, killed with -9, its cursors and its server killed: each document once, the numbers without gaps."""
    _killed(linked, postgres, mongo, mdb, rounds=4, documents=150)


@pytest.mark.faults
@pytest.mark.crashes
@pytest.mark.timeout(900)
def test_copy_is_killed_twenty_times(linked, postgres, mongo, mdb):
    _killed(linked, postgres, mongo, mdb, rounds=20, documents=1200)


def _killed(linked, postgres, mongo, mdb, rounds, documents):
    for first in range(0, documents, 30):
        mdb.c.insert_many([{"_id": number, "n": 0, "pad": random.randbytes(300_000)} for number in range(first, min(first + 30, documents))])
    ids = {mirrors.id_of(bson.encode({"_id": number})) for number in range(documents)}
    faults = Faults(linked, postgres, mongo, mdb, None, "s")
    kinds = ["worker_killed", "worker_ended", "cursors_killed", "mongod_killed", "worker_killed"]
    in_the_middle = 0
    progress = "SELECT documents_done FROM change_stream_snapshots WHERE stream_name = 's' AND finished_at IS NULL"
    with Counter(mdb.c, range(0, documents, 7), pause=0.05) as writer:
        create(linked, "s", collection="c", initial_snapshot=True, full_document="updateLookup", batch_size=max(1, documents // rounds // 2))
        last = -1
        for number in range(rounds):
            wait_until(lambda: patiently(lambda: linked.value(COPIES)) == 0 or patiently(lambda: linked.value(progress) or 0) > last, 60,
                       "the copy goes on")
            last = patiently(lambda: linked.value(progress))
            if last is None:
                break
            in_the_middle += last > 0
            getattr(faults, kinds[number % len(kinds)])()
        print(f"{in_the_middle} times in the middle, {writer.writes} writes")
        try:
            copied(linked, "s", 240 if rounds > 5 else 60)
        except TimeoutError:
            print("\n".join(postgres.new_deaths()))
            raise
    sync(linked, "s")
    assert in_the_middle >= rounds // 2
    count, _ = check_copy(linked, "s", mongo, mdb.name, ["c"], {"c": ids})
    assert count == documents
    assert unexpected_deaths(postgres.new_deaths(), faults.killed) == []


def test_pause_and_resume_in_the_middle(linked, mongo, mdb):
    """A paused copy stands still and goes on behind what it has; the state tells how far it is."""
    for first in range(0, 200, 20):
        mdb.c.insert_many([{"_id": number, "pad": random.randbytes(300_000)} for number in range(first, first + 20)])
    create(linked, "s", collection="c", initial_snapshot=True, batch_size=10)
    shown = wait_state(linked, "s", "snapshot")
    linked.wait_for("SELECT documents_done > 0 FROM change_stream_snapshots")
    shown = status(linked, "s")
    assert shown["state"] == "snapshot" and "c" in shown["reason"] and "200" in shown["reason"], shown
    pause(linked, "s")
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    done = linked.value("SELECT documents_done FROM change_stream_snapshots")
    assert 0 < done < 200
    assert linked.value("SELECT count(*) FROM change_stream_events") == done
    assert status(linked, "s")["state"] == "paused"
    mdb.c.update_one({"_id": 0}, {"$set": {"n": 1}})
    mdb.c.update_one({"_id": 199}, {"$set": {"n": 1}})
    resume(linked, "s")
    copied(linked, "s")
    assert linked.row("SELECT count(*), count(DISTINCT document_key->'_id') FROM change_stream_events WHERE operation_type = 'snapshot'") == (200, 200)
    assert linked.value("SELECT count(*) FROM change_stream_events WHERE operation_type = 'update'") == 2
    check_order(linked, "s")
    assert status(linked, "s")["state"] == "active"


def check_order(db, stream):
    times = db.column("SELECT cluster_time FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)
    assert times == sorted(times)


def test_resume_with_a_snapshot(linked, mongo, mdb):
    """A second snapshot: a gap row stands before it, and it says what exists."""
    mdb.c.insert_many([{"_id": number} for number in range(3)])
    create(linked, "s", collection="c", initial_snapshot=True)
    copied(linked, "s")
    assert operations(linked, "s") == ["snapshot"] * 3
    pause(linked, "s")
    mdb.c.delete_one({"_id": 1})
    resume(linked, "s", initial_snapshot=True)
    copied(linked, "s")
    found = linked.execute("SELECT operation_type, (document_key->>'_id')::int FROM change_stream_events ORDER BY event_id")
    gap = found.index(("gap", None))
    assert [row for row in found[gap:] if row[0] == "snapshot"] == [("snapshot", 0), ("snapshot", 2)]
    assert ("delete", 1) in found
    assert len(gaps(linked, "s")) == 1


def test_resume_with_a_snapshot_after_history_lost(linked, mongo, mdb):
    """What happened in between is unknown, what there is now is there."""
    mdb.c.insert_many([{"_id": number} for number in range(3)])
    create(linked, "s", collection="c")
    mdb.c.insert_one({"_id": 3})
    sync(linked, "s")
    pause(linked, "s")
    mdb.c.delete_one({"_id": 0})
    mdb.c.insert_one({"_id": 4})
    mongo.fail_command(["getMore", "aggregate"], errorCode=286)
    try:
        resume(linked, "s")
        wait_state(linked, "s", "history_lost")
    finally:
        mongo.stop_failing()
    resume(linked, "s", start_at="now", initial_snapshot=True)
    copied(linked, "s")
    mdb.c.insert_one({"_id": 5})
    sync(linked, "s")
    found = linked.execute("SELECT operation_type, (document_key->>'_id')::int FROM change_stream_events ORDER BY event_id")
    assert found == [("insert", 3), ("gap", None), ("snapshot", 1), ("snapshot", 2), ("snapshot", 3), ("snapshot", 4), ("insert", 5)]


def test_snapshot_alone_after_history_lost(linked, mongo, mdb):
    """Without start_at a snapshot is a way out, too: from now on, with what there is."""
    create(linked, "s", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "s")
    pause(linked, "s")
    mdb.c.insert_one({"_id": 2})
    mongo.fail_command(["getMore", "aggregate"], errorCode=286)
    try:
        resume(linked, "s")
        shown = wait_state(linked, "s", "history_lost")
    finally:
        mongo.stop_failing()
    assert "initial_snapshot => true" in shown["reason"], shown["reason"]
    resume(linked, "s", initial_snapshot=True)
    copied(linked, "s")
    mdb.c.insert_one({"_id": 3})
    sync(linked, "s")
    found = linked.execute("SELECT operation_type, (document_key->>'_id')::int FROM change_stream_events ORDER BY event_id")
    assert found == [("insert", 1), ("gap", None), ("snapshot", 1), ("snapshot", 2), ("insert", 3)]


# ------------------------------------------------------------ what is copied

def test_database_without_views_and_time_series(linked, mongo, mdb):
    """Collections only; what is left out is named."""
    mdb.a.insert_one({"_id": 1})
    mdb.b.insert_one({"_id": 2})
    mdb["odd name.with dots"].insert_one({"_id": 3})
    mdb.create_collection("empty")
    mdb.create_collection("v", viewOn="a", pipeline=[])
    mdb.create_collection("t", timeseries={"timeField": "at"})
    mdb.t.insert_one({"at": datetime.datetime(2026, 1, 1)})
    told = []
    linked.connection.add_notice_handler(lambda notice: told.append(" ".join(filter(None, (notice.message_primary, notice.message_detail)))))
    create(linked, "s", initial_snapshot=True)
    assert [text for text in told if f"{mdb.name}.v" in text and f"{mdb.name}.t" in text and "system" not in text], told
    copied(linked, "s")
    assert linked.execute("SELECT collection_name, (document_key->>'_id')::int FROM change_stream_events ORDER BY 2") == \
        [("a", 1), ("b", 2), ("odd name.with dots", 3)]
    assert linked.value("SELECT count(*) FROM change_stream_snapshots WHERE collection_name IN ('v', 't') OR collection_name LIKE 'system.%%'") == 0


@pytest.mark.parametrize("there", [True, False])
def test_empty_or_missing_collection(linked, mongo, mdb, there):
    if there:
        mdb.create_collection("c")
    create(linked, "s", collection="c", initial_snapshot=True)
    copied(linked, "s")
    assert operations(linked, "s") == []
    wait_state(linked, "s", "active")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "s")
    assert operations(linked, "s") == ["insert"]


def test_ids_of_every_type(linked, mongo, mdb):
    """Each once, byte for byte, also where a chunk ends at any of them."""
    luck = random.Random(7)
    mdb.c.insert_many([with_id(pair, pad="x", n=number) for number, pair in enumerate(luck.sample(ODD_IDS, len(ODD_IDS)))])
    create(linked, "s", collection="c", initial_snapshot=True, batch_size=1)
    create(linked, "t", collection="c", initial_snapshot=True, batch_size=3)
    for stream in "st":
        copied(linked, stream)
        count, checked = check_copy(linked, stream, mongo, mdb.name, ["c"])
        assert count == checked == len(ODD_IDS)
    with Past(mongo, mdb.name) as past:
        assert set(past.documents("c")) == {bytes([kind]) + value for kind, value in ODD_IDS}


KINDS = {
    "collation": dict(collation={"locale": "en", "strength": 2}),
    "clustered": dict(clusteredIndex={"key": {"_id": 1}, "unique": True}),
    "capped": dict(capped=True, size=10_000_000),
    "images": dict(changeStreamPreAndPostImages={"enabled": True}),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_kinds_of_collections(linked, mongo, mdb, kind):
    """Collections whose order, index or storage differ."""
    mdb.create_collection("c", **KINDS[kind])
    ids = ["a", "B", "c", "D", "é", "E", "Zz", "_", "", 1, 2.5, None, bson.MinKey(), bson.MaxKey(), bson.ObjectId(), {"x": "B"}, {"x": "a"}, True]
    mdb.c.insert_many([{"_id": value, "n": number} for number, value in enumerate(ids)])
    create(linked, "s", collection="c", initial_snapshot=True, batch_size=2)
    copied(linked, "s")
    count, checked = check_copy(linked, "s", mongo, mdb.name, ["c"])
    # MongoDB does not read capped collections at a time
    assert count == len(ids) and checked == (0 if kind == "capped" else count)
    linked.wait_for("SELECT exact_since IS NOT NULL FROM change_stream_snapshots")


@pytest.mark.timeout(180)
def test_documents_of_16_mb(linked, mongo, mdb):
    """Each larger than a chunk; whole, and one by one."""
    pads = [16 * 1024 * 1024 - 200 - number for number in range(3)]
    for number, pad in enumerate(pads):
        mdb.c.insert_one({"_id": number, "pad": bytes([number]) * pad})
    create(linked, "s", collection="c", initial_snapshot=True)
    copied(linked, "s", 120)
    assert linked.execute("SELECT (document_key->>'_id')::int, octet_length((full_document->'pad')::bytea) FROM change_stream_events ORDER BY 1") == \
        list(enumerate(pads))
    assert len(snapshot_rows(linked, "s")) == 3


# ------------------------------------------------------------ with a stream's other options

def test_options_decide_over_snapshot_rows(linked, mongo, mdb):
    """filter, add_fields, exclude_fields and mask_fields see rows of a copy as others."""
    mdb.c.insert_many([{"_id": number, "n": number, "secret": "s", "card": "1234"} for number in range(10)])
    create(linked, "s", collection="c", initial_snapshot=True, filter="(full_document->>'n')::int > 6",
           add_fields="twice = (full_document->>'n')::int * 2, kind = operation_type", exclude_fields=["secret"], mask_fields=["card"])
    copied(linked, "s")
    mdb.c.insert_many([{"_id": 100, "n": 100, "secret": "s", "card": "1234"}, {"_id": 101, "n": 1}])
    sync(linked, "s")
    found = linked.execute("SELECT operation_type, (document_key->>'_id')::int, (extra->>'twice')::int, extra->>'kind', full_document ? 'secret',"
                           " full_document->>'card' = '1234' FROM change_stream_events ORDER BY event_id")
    assert found == [("snapshot", number, 2 * number, "snapshot", False, False) for number in (7, 8, 9)] + \
        [("insert", 100, 200, "insert", False, False)]
    assert linked.value("SELECT documents_done FROM change_stream_snapshots") == 10


@pytest.mark.parametrize("listed, expected", [(["snapshot", "delete"], ["snapshot", "snapshot", "delete"]), (["insert"], ["insert"])])
def test_operations(linked, mongo, mdb, listed, expected):
    """Rows of a copy are of the operation snapshot, which a stream takes or leaves like any other."""
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}])
    create(linked, "s", collection="c", initial_snapshot=True, operations=listed)
    copied(linked, "s")
    mdb.c.insert_one({"_id": 3})
    mdb.c.delete_one({"_id": 1})
    sync(linked, "s")
    assert operations(linked, "s") == expected


def test_handlers_see_the_rows(linked, mongo, mdb):
    """A handler runs once for each row of a copy and each event behind it, in order."""
    mdb.c.insert_many([{"_id": number} for number in range(50)])
    linked.execute("CREATE TABLE seen (seq bigserial, event_id bigint, operation text, source text)")
    create(linked, "s", collection="c", initial_snapshot=True, paused=True)
    linked.execute("SELECT create_change_handler('h', 's', body => 'INSERT INTO seen (event_id, operation, source)"
                   " VALUES (change.event_id, change.operation_type, change.full_document_source)')")
    resume(linked, "s")
    linked.wait_for("SELECT count(*) > 0 FROM change_stream_snapshots")
    copied(linked, "s")
    mdb.c.insert_one({"_id": 50})
    assert linked.value("SELECT sync_change_stream('s', '60 seconds', handlers => true)")
    assert linked.execute("SELECT event_id, operation, source FROM seen ORDER BY seq") == \
        [(number, "snapshot", "snapshot") for number in range(1, 51)] + [(51, "insert", "insert")]


def test_retention(linked, mongo, mdb):
    """Rows of a copy are as old as their receipt, not as their documents; they go as others do."""
    mdb.c.insert_many([{"_id": number} for number in range(5)])
    create(linked, "s", collection="c", initial_snapshot=True, retention="1 hour")
    copied(linked, "s")
    assert operations(linked, "s") == ["snapshot"] * 5


def test_refusals(linked, mongo, mdb):
    """With keep_events => false there are no rows for a copy; of all databases there is none."""
    error = error_of(linked, "SELECT create_change_stream('s', collection => 'c', initial_snapshot => true, keep_events => false)")
    assert error.sqlstate in ("22023", "0A000"), error
    create(linked, "s", collection="c", keep_events=False)
    error = error_of(linked, "SELECT resume_change_stream('s', initial_snapshot => true)")
    assert error.sqlstate in ("22023", "0A000", "55000"), error
    drop(linked, "s")
    assert linked.value("SELECT count(*) FROM change_stream_snapshots") == 0


def test_drop_forgets_the_copy(linked, mongo, mdb):
    mdb.c.insert_one({"_id": 1})
    create(linked, "s", collection="c", initial_snapshot=True)
    copied(linked, "s")
    drop(linked, "s")
    assert linked.value("SELECT count(*) FROM change_stream_snapshots") == 0
    create(linked, "s", collection="c")
    sync(linked, "s")
    assert operations(linked, "s") == []


def test_collection_goes_in_the_middle(linked, mongo, mdb):
    """Dropped while it is copied: the copy ends, what is there is told as ever, and the next collection follows."""
    for first in range(0, 100, 20):
        mdb.a.insert_many([{"_id": number, "pad": random.randbytes(300_000)} for number in range(first, first + 20)])
    mdb.b.insert_one({"_id": 1})
    create(linked, "s", initial_snapshot=True, batch_size=5)
    linked.wait_for("SELECT documents_done > 0 FROM change_stream_snapshots WHERE collection_name = 'a'")
    mdb.a.drop()
    mdb.a.insert_one({"_id": "new"})
    copied(linked, "s")
    found = linked.execute("SELECT collection_name, operation_type, document_key->>'_id' FROM change_stream_events ORDER BY event_id")
    assert ("b", "snapshot", "1") in found and ("a", "drop", None) in found and ("a", "insert", "new") in found
    assert state_of(linked, "s")["a"].keys() == {b"\x02" + B.string("new")}


def test_events_come_while_a_copy_is_made(linked, mongo, mdb):
    """What happens during a copy of 60 MB is not held back until its end."""
    for first in range(0, 200, 20):
        mdb.c.insert_many([{"_id": number, "pad": random.randbytes(300_000)} for number in range(first, first + 20)])
    create(linked, "s", initial_snapshot=True)
    with Counter(mdb.other, [1], pause=0.01):
        mdb.other.insert_one({"_id": 1, "n": 0})
        copied(linked, "s")
    sync(linked, "s")
    late = linked.value("SELECT max(received_at - change_timestamp) FROM change_stream_events WHERE collection_name = 'other' AND operation_type = 'update'")
    order = [operation for operation in operations(linked, "s")]
    first, last = order.index("snapshot"), len(order) - order[::-1].index("snapshot")
    assert "update" in order[first:last], "no event stands among the rows of the copy"
    assert late.total_seconds() < 3, late


@pytest.mark.parametrize("code", [239, 246])
def test_a_time_that_mongodb_cannot_read_at(linked, mongo, mdb, code):
    """SnapshotTooOld: what the majority has is read; the copy ends, and says since when it is exact."""
    ids = quiet(mdb, 1000)
    mongo.fail_command(["find"], times=1, errorCode=code)
    with Counter(mdb.c, range(1000), pause=0.01):
        create(linked, "s", collection="c", initial_snapshot=True, full_document="updateLookup")
        copied(linked, "s")
    sync(linked, "s")
    with Past(mongo, mdb.name) as past:
        assert not difference(state_of(linked, "s")["c"], past.documents("c"))
    assert {key for _, key, _, _ in snapshot_rows(linked, "s")} == ids
    linked.wait_for("SELECT exact_since IS NOT NULL FROM change_stream_snapshots")
