"""Streams that are followed together, by one process and one cursor: who joins, who leaves, and that nothing is lost or told twice."""
import os
import random
import signal
import time

import pytest

import oracle
from groups import ALONE, GROUPS, TOGETHER, compare, make, wait_together
from harness.machine import wait_until
from mirrors import equal_now, wait_exact
from streams import Writers, alter, answers, call, create, drop, patiently, pause, resume, status, sync, unexpected_deaths, wait_state


def test_one_cursor(shared, mongo, mdb):
    """Streams of one kind are followed by one process and one cursor, each with what is its own; a database's stream is among them."""
    since = oracle.mark(mongo)
    make(shared, mdb, 5)
    create(shared, "all")
    wait_together(shared, 6)
    wait_until(lambda: len(answers(mongo.client, mdb.name)) == 1, 10, "one cursor")
    with Writers(mongo, mdb.name, [f"c{number}" for number in range(5)]) as writers:
        writers.wait(500)
    sync(shared, "all")
    assert compare(shared, mongo, mdb, since, range(5)) > 400
    assert oracle.compare(shared, "all", mongo, since, mdb.name) > 400
    assert shared.value(TOGETHER) == 6
    assert len(set(shared.column("SELECT pid FROM change_stream_status"))) == 1
    assert "shares" in status(shared, "s1")["reason"]


def test_option_off(shared, mongo, mdb):
    """share_cursor 'false' sends them back to processes of their own, and 'true' brings them together again."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    with Writers(mongo, mdb.name, ["c0", "c1", "c2"]) as writers:
        shared.execute("ALTER SERVER mongo OPTIONS (SET share_cursor 'false')")
        shared.wait_for(GROUPS, expect=0)
        for number in range(3):
            shared.wait_for(ALONE, f"s{number}", expect=1)
        writers.wait(100)
        shared.execute("ALTER SERVER mongo OPTIONS (SET share_cursor 'true')")
        wait_together(shared, 3)
        writers.wait(100)
    compare(shared, mongo, mdb, since, range(3))


def test_come_and_go(shared, mongo, mdb):
    """One is paused, one altered, one dropped, one made while the others are followed."""
    since = oracle.mark(mongo)
    make(shared, mdb, 4)
    wait_together(shared, 4)
    with Writers(mongo, mdb.name, [f"c{number}" for number in range(5)]) as writers:
        writers.wait(50)
        pause(shared, "s0")
        assert status(shared, "s0")["state"] == "paused"
        alter(shared, "s1", notify="heads")
        drop(shared, "s2")
        writers.wait(50)
        late = oracle.mark(mongo)
        create(shared, "s4", collection="c4")
        resume(shared, "s0")
        writers.wait(100)
        wait_together(shared, 4)
        writers.wait(50)
    compare(shared, mongo, mdb, since, (0, 1, 3))
    sync(shared, "s4")
    first = shared.value("SELECT min(resume_token) FROM change_stream_events WHERE stream_name = 's4'")
    assert oracle.token_time(first) > late
    tokens = [token for token in (row["resume_token"] for row in map(oracle.columns, oracle.history(mongo, late, mdb.name))
                                  if row["collection_name"] == "c4") if token >= first]
    assert shared.column("SELECT resume_token FROM change_stream_events WHERE stream_name = 's4' ORDER BY event_id") == tokens


def test_failing_trigger(shared, mongo, mdb):
    """A stream whose user's trigger fails goes its own way; the others do not notice."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    shared.execute("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$")
    shared.execute("CREATE TRIGGER fail BEFORE INSERT ON change_stream_events FOR EACH ROW WHEN (new.stream_name = 's1') EXECUTE FUNCTION fail()")
    for number in range(3):
        mdb[f"c{number}"].insert_one({"_id": 1})
    stopped = wait_state(shared, "s1", "error")
    assert "not this one" in (stopped["last_error"] or "") + stopped["reason"]
    for number in (0, 2):
        sync(shared, f"s{number}")
    shared.wait_for(TOGETHER, expect=2)
    shared.execute("DROP TRIGGER fail ON change_stream_events")
    resume(shared, "s1")
    compare(shared, mongo, mdb, since, range(3))


@pytest.mark.faults
def test_far_behind(shared, mongo, mdb):
    """A stream that begins in the past catches up by itself and joins then."""
    since = oracle.mark(mongo)
    mdb.c3.insert_many([{"_id": number, "text": "x" * 200} for number in range(5000)])
    time.sleep(12)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    create(shared, "s3", collection="c3", start_at=str(since.as_datetime()))
    mdb.c0.insert_one({"_id": 1})
    sync(shared, "s0")
    wait_together(shared, 4)
    assert compare(shared, mongo, mdb, since, (0, 1, 2)) == 1
    sync(shared, "s3")
    assert shared.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 's3'") >= 5000


def test_filters_and_operations(shared, mongo, mdb):
    """What MongoDB would filter for a stream alone is filtered here, to the same effect; also with fields added and updates looked up."""
    mdb.create_collection("c0")
    twins = {
        "plain": {"filter": "full_document->>'kind' = 'a'"},
        "local": {"filter": "length(full_document->>'kind') = 1 AND operation_type <> 'delete'"},
        "some": {"operations": ["update", "delete"]},
        "both": {"filter": "operation_type = 'insert' AND (full_document->'n')::int > 50", "operations": ["insert", "update"]},
        "added": {"filter": "operation_type <> 'delete'", "add_fields": "shout = upper(operation_type)"},
    }
    for name, options in twins.items():
        create(shared, name, collection="c0", **options)
    wait_together(shared, len(twins))
    shared.create_server(mongo.uri, mdb.name, name="apart", password_required="false", share_cursor="false")
    for name, options in twins.items():
        create(shared, f"{name}_alone", collection="c0", server="apart", **options)
        wait_state(shared, f"{name}_alone", "active")
    for number in range(200):
        mdb.c0.insert_one({"_id": number, "n": number % 100, "kind": "abc"[number % 3]})
    mdb.c0.update_many({"n": {"$lt": 30}}, {"$set": {"kind": "a"}})
    mdb.c0.delete_many({"n": {"$gt": 80}})
    mdb.c0.rename("d0")
    mdb.c0.insert_one({"_id": 1000, "n": 60, "kind": "a"})
    mdb.drop_collection("c0")
    columns = "event_id, operation_type, collection_name, resume_token, full_document::text, extra::text"
    for name in twins:
        sync(shared, name)
        sync(shared, f"{name}_alone")
        found = [shared.execute(f"SELECT {columns} FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)
                 for stream in (name, f"{name}_alone")]
        assert found[0] == found[1] and len(found[0]) > 20, name


def test_slow_one_leaves(shared, mongo, mdb):
    """A stream whose transactions take long does not hold up the others for longer than some of them."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    create(shared, "slow", collection="c0", filter="pg_sleep(0.05) IS NOT NULL AND operation_type = 'insert'")
    wait_together(shared, 4)
    for _ in range(8):
        mdb.c0.insert_many([{"text": "x"} for _ in range(30)])
        mdb.c1.insert_one({})
        time.sleep(0.2)
    shared.wait_for(ALONE, "slow", expect=1)
    compare(shared, mongo, mdb, since, range(3))
    sync(shared, "slow", "60 seconds")
    assert shared.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'slow'") == 240


def test_one_waits_for_a_lock(shared, mongo, mdb):
    """A stream that waits for somebody's lock leaves after some seconds, and says so as one that was alone would: the others go on."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    mdb.c1.insert_one({"_id": 1})
    sync(shared, "s1")
    seen = set()
    with shared.connect(autocommit=False) as locker:
        locker.execute("LOCK TABLE change_stream_events IN ACCESS EXCLUSIVE MODE")
        mdb.c1.insert_one({"_id": 2})
        words = f"waits for a lock on change_stream_events, which process {locker.info.backend_pid} has"

        def waits_alone():
            told = status(shared, "s1")
            seen.add(told["state"])
            return words in told["reason"] and shared.value(ALONE, "s1") == 1

        wait_until(waits_alone, 20, "it waits alone", pause=0.02)
        shared.wait_for(TOGETHER, expect=2)
        assert "shares" in status(shared, "s0")["reason"]
        locker.rollback()
    assert seen == {"active"}
    assert compare(shared, mongo, mdb, since, range(3)) == 2
    assert "it is followed alone until" in status(shared, "s1")["reason"] and "alone" not in status(shared, "s0")["reason"]


# a matter of the machine's pace: what comes within a second or so is read in the group
@pytest.mark.faults
def test_one_has_much_to_catch_up_with(shared, mongo, mdb):
    """However short the time in which it came: a backlog of one is read by a process of its own, and not before what comes for the others."""
    make(shared, mdb, 3)
    wait_together(shared, 3)
    shared.execute("SELECT pause_change_stream('s1')")
    for first in range(0, 40_000, 5_000):
        mdb.c1.insert_many([{"_id": first + number, "text": "x" * 1000} for number in range(5_000)], ordered=False)
        time.sleep(0.9)
    shared.execute("SELECT resume_change_stream('s1')")
    wait_until(lambda: shared.value(ALONE, "s1") == 1, 20, "it catches up alone", pause=0.02)
    mdb.c0.insert_one({"_id": 1})
    mdb.c2.insert_one({"_id": 1})
    for name in ("s0", "s1", "s2"):
        sync(shared, name, "60 seconds")
    assert shared.execute("SELECT stream_name, count(*), count(DISTINCT document_key), max(event_id) FROM change_stream_events GROUP BY 1 ORDER BY 1") == \
        [("s0", 1, 1, 1), ("s1", 40_000, 40_000, 40_000), ("s2", 1, 1, 1)]


def test_ends_of_collections(shared, mongo, mdb):
    """A collection dropped, renamed and renamed onto another, and the database dropped: each stream sees its own of that."""
    since = oracle.mark(mongo)
    make(shared, mdb, 4)
    wait_together(shared, 4)
    for number in range(4):
        mdb[f"c{number}"].insert_one({"_id": 1})
    mdb.drop_collection("c0")
    mdb.c1.rename("c2", dropTarget=True)
    mdb.c0.insert_one({"_id": 2})
    for number in range(4):
        sync(shared, f"s{number}")
    mongo.client.drop_database(mdb.name)
    mdb.c3.insert_one({"_id": 3})
    for number in range(4):
        sync(shared, f"s{number}", "60 seconds")
    told = {number: shared.column("SELECT operation_type FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", f"s{number}")
            for number in range(4)}
    assert told[0] == ["insert", "drop", "insert", "drop"]
    assert told[1] == ["insert", "rename"]
    assert told[2][0] == "insert" and "gap" in told[2]
    assert told[3] == ["insert", "drop", "insert"]


def test_transactions_are_whole(shared, mongo, mdb):
    """A transaction of MongoDB's over several collections is written for each stream in one of its own."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    with mongo.client.start_session() as session:
        for _ in range(5):
            with session.start_transaction():
                for number in range(600):
                    mdb[f"c{number % 3}"].insert_one({"text": "x" * 100}, session=session)
    compare(shared, mongo, mdb, since, range(3))
    assert shared.value("SELECT max(n) FROM (SELECT count(DISTINCT xmin::text) AS n FROM change_stream_events"
                        " GROUP BY stream_name, cluster_time) t") == 1


def test_one_wait_for_the_disk(shared, postgres, mongo, mdb):
    """What comes at once for ten streams is written by ten transactions, of which only the last one waits for its WAL."""
    make(shared, mdb, 10)
    wait_together(shared, 10)
    writes = ("SELECT wal_write FROM pg_stat_wal" if postgres.installation.major < 18
              else "SELECT sum(writes) FROM pg_stat_io WHERE object = 'wal'")
    done = "SELECT sum(events_processed) FROM change_stream_progress"

    def write():
        before = shared.value(done)
        with mongo.client.start_session() as session, session.start_transaction():
            for number in range(10):
                mdb[f"c{number}"].insert_one({}, session=session)
        shared.wait_for(done, expect=before + 10)

    begin = shared.value(writes)
    for _ in range(20):
        write()
    # a process tells of its numbers once a second, at a commit
    time.sleep(1.1)
    write()
    assert shared.value(writes) - begin < 100


def test_lookups_by_one_connection(shared, mongo, mdb):
    """Documents of updates, and those of mirrors, are looked up for all streams of a group by one connection."""
    count = 6
    for number in range(count):
        mdb[f"c{number}"].insert_many([{"_id": key, "n": 0} for key in range(20)])
    with shared.connection.transaction():
        for number in range(count):
            create(shared, f"s{number}", collection=f"c{number}", full_document="updateLookup")
    wait_together(shared, count)
    for number in range(0, count, 2):
        call(shared, "create_change_mirror", f"c{number}", stream_name=f"s{number}")
    wait_exact(shared, *(f"c{number}" for number in range(0, count, 2)))
    wait_together(shared, count, 60)
    for turn in range(30):
        for number in range(count):
            mdb[f"c{number}"].update_many({"_id": {"$gte": turn % 15}}, {"$set": {"n": turn}})
    for number in range(count):
        sync(shared, f"s{number}")
    assert shared.column("SELECT DISTINCT full_document_source FROM change_stream_events WHERE operation_type = 'update'") == ["lookup"]
    assert shared.value("SELECT count(*) FROM change_stream_events e WHERE operation_type = 'update'"
                        " AND event_id = (SELECT max(event_id) FROM change_stream_events l WHERE l.stream_name = e.stream_name"
                        " AND l.document_key = e.document_key) AND (full_document->'n')::int"
                        " <> least(29, 15 + (document_key->'_id')::int)") == 0
    for number in range(0, count, 2):
        assert equal_now(shared, mongo, mdb.name, f"c{number}", f"c{number}") == 20
    assert shared.value(TOGETHER) == count
    names = [found.get("appName") for found in mongo.client.admin.aggregate([{"$currentOp": {"idleConnections": True, "allUsers": True}}])]
    # the cursor's, that of documents, and their monitors' (two of them at most)
    assert 1 < names.count("mongo_change_stream: group") <= 4
    assert not {f"mongo_change_stream: s{number}" for number in range(count)} & set(names)


def pipeline_of(mongo, database):
    """The pipeline of the only cursor on a database, once it is seen: between two getMores it may be missing for a moment."""
    found = wait_until(lambda: list(mongo.client.admin.aggregate([
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}, "ns": {"$regex": f"^{database}\\."}}},
    ])), 10, "a cursor")
    return found[0]["cursor"]["originatingCommand"]["pipeline"]


def test_conditions_are_mongodbs(shared, postgres, mongo, mdb):
    """What no stream of a collection wants MongoDB leaves out; streams altered all the time, so that the cursor begins behind what it now leaves out."""
    since = oracle.mark(mongo)
    make(shared, mdb, 2)
    create(shared, "deletes", collection="c2", operations=["delete"])
    create(shared, "large", collection="c2", filter="operation_type = 'update' OR full_document['n'] > 500000000000")
    wait_together(shared, 4)
    wait_until(lambda: len(answers(mongo.client, mdb.name)) == 1, 10, "one cursor")
    branches = pipeline_of(mongo, mdb.name)[1]["$match"]["$or"]
    assert sorted(branches[0]["$expr"]["$in"][1]["$literal"]) == ["c0", "c1"]
    assert branches[1]["ns"]["coll"] == "c2" and len(branches[1]["$or"]) == 2
    assert "rename" in branches[2]["operationType"]["$in"]
    pid = shared.value("SELECT DISTINCT pid FROM change_stream_status")
    begin = postgres.log_position()
    with Writers(mongo, mdb.name, ["c0", "c1", "c2"], pause=0.01) as writers:
        for number in range(15):
            alter(shared, "s1", operations=["insert"] if number % 2 else ["delete", "update"])
            alter(shared, "large", filter=f"operation_type = 'update' OR full_document['n'] > {500000000000 + number}")
            writers.wait(20)
        alter(shared, "s1", reset=["operations"])
        writers.wait(20)
    sync(shared, "deletes")
    compare(shared, mongo, mdb, since, (0,))
    assert shared.value("SELECT DISTINCT pid FROM change_stream_status") == pid
    assert "alone" not in postgres.log_text(begin)
    wanted = oracle.in_collection("c2")
    oracle.compare(shared, "deletes", mongo, since, mdb.name, where=lambda row: wanted(row) and row["operation_type"] == "delete")
    # a stream that wants all of the collection takes the conditions away
    create(shared, "all", collection="c2")
    wait_together(shared, 5)
    wait_until(lambda: len(answers(mongo.client, mdb.name)) == 1, 10, "one cursor")
    assert len(pipeline_of(mongo, mdb.name)[1]["$match"]["$or"]) == 2


@pytest.mark.faults
def test_transaction_too_large(db, postgres, new_replica_set):
    """A transaction that is larger than what is handed out at once: who has a part in it reads it alone, the others stay together."""
    # a transaction has to fit into its cache
    mongo = new_replica_set(name="large", cache_gb=1)
    shop = mongo.client.shop
    db.create_server(mongo.uri, "shop", password_required="false", share_cursor="true")
    since = oracle.mark(mongo)
    make(db, shop, 4)
    wait_together(db, 4)
    position = postgres.log_position()
    group = db.value("SELECT pid FROM change_stream_status WHERE stream_name = 's0'")
    with mongo.client.start_session() as session, session.start_transaction():
        for _ in range(10):
            shop.c3.insert_many([{"text": "x" * 1000000} for _ in range(9)], session=session)
    shop.c0.insert_one({"_id": "behind"})
    wait_until(lambda: "too large to be handed out" in postgres.log_text(position), 30, "it leaves")
    sync(db, "s0")
    assert db.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 's0'") == 1
    compare(db, mongo, shop, since, range(4))
    wait_together(db, 4)
    assert db.value("SELECT pid FROM change_stream_status WHERE stream_name = 's0'") == group
    assert postgres.log_text(position).count("too large to be handed out") == 1


@pytest.mark.faults
def test_role_of_collections_only(db, postgres, new_replica_set):
    """A group watches the database: streams whose role may not do so are found to be alone, and are not tried together for ever."""
    mongo = new_replica_set(auth=True)
    mongo.client.admin.command("createRole", "follower", roles=[], privileges=[
        {"resource": {"db": "shop", "collection": f"c{number}"}, "actions": ["find", "changeStream"]} for number in range(2)])
    mongo.client.admin.command("createUser", "app", pwd="secret", roles=["follower"])
    db.create_server(mongo.uri, "shop", share_cursor="true")
    db.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'app', password 'secret', auth_source 'admin')")
    position = postgres.log_position()
    for number in range(2):
        create(db, f"s{number}", collection=f"c{number}")
    for number in range(2):
        db.wait_for(ALONE, f"s{number}", timeout=60)
    # a minute later they may be together again, and three seconds after that they would be
    end = time.monotonic() + 75
    turn = 0
    while time.monotonic() < end:
        turn += 1
        for number in range(2):
            mongo.client.shop[f"c{number}"].insert_one({"_id": turn})
        time.sleep(1)
    for number in range(2):
        sync(db, f"s{number}")
        assert db.value(ALONE, f"s{number}") == 1
    assert db.column("SELECT last_event_id FROM change_stream_progress") == [turn, turn]
    assert postgres.log_text(position).count("followed alone for a while") <= 1
