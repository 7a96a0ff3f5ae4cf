"""Where streams start, and what pause, resume, alter, skip, drop and lost history do to them."""
import concurrent.futures
import os
import signal
import time

import psycopg
import pytest

import oracle
from harness.machine import freeze, wait_until
from streams import (Writers, alter, answers, create, drop, error_of, gaps, ids, operations, pause, resume, status, sync, wait_state, worker)


def insert(mdb, *keys):
    """Inserts documents one by one; returns them, which are their events' _id."""
    for key in keys:
        mdb.c.insert_one({"_id": key})
    return list(keys)


def tokens(db, stream):
    return db.column("SELECT resume_token FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)


# ------------------------------------------------------------ where it starts

def test_now_is_fixed_by_the_call(linked, mdb):
    """Writes before the call are not seen; each one after it is, though the worker starts later."""
    insert(mdb, 1)
    create(linked, "live", collection="c")
    insert(mdb, 2)
    sync(linked, "live")
    assert ids(linked, "live") == [2]
    create(linked, "later", collection="c", paused=True)
    insert(mdb, 3)
    resume(linked, "later")
    insert(mdb, 4)
    sync(linked, "later")
    assert ids(linked, "later") == [4]


def test_start_at_each_form(linked, mongo, mdb):
    """A time (inclusive), a token, the two options of tokens, the beginning."""
    mdb.create_collection("c")
    create(linked, "first", collection="c")
    insert(mdb, 1, 2, 3)
    sync(linked, "first")
    token = tokens(linked, "first")[1]
    second = oracle.token_time(token).time
    wait_until(lambda: int(time.time()) > second)
    insert(mdb, 4)
    when = linked.value("SELECT to_timestamp(%s)::text", oracle.token_time(tokens(linked, "first")[0]).time)
    for number, options in enumerate([{"start_at": token}, {"resume_after": token}, {"start_after": token}]):
        create(linked, f"t{number}", collection="c", **options)
        sync(linked, f"t{number}")
        assert ids(linked, f"t{number}") == [3, 4], options
    create(linked, "time", collection="c", start_at=when)
    create(linked, "begin", collection="c", start_at="earliest")
    create(linked, "future", collection="c", start_at=linked.value("SELECT (now() + interval '1 hour')::text"))
    for stream in ("time", "begin"):
        sync(linked, stream)
        assert ids(linked, stream)[-4:] == [1, 2, 3, 4]
    assert ids(linked, "time") == [1, 2, 3, 4]
    assert ids(linked, "future") == []
    create(linked, "next", collection="c", start_at=linked.value("SELECT to_timestamp(%s)::text", second + 1))
    sync(linked, "next")
    assert ids(linked, "next") == [4]


def test_start_after_an_invalidate(linked, mongo, mdb):
    """A database's stream starts behind its end by its token."""
    create(linked, "old")
    insert(mdb, 1)
    mongo.client.drop_database(mdb.name)
    sync(linked, "old")
    insert(mdb, 2)
    last = linked.value("SELECT resume_token FROM change_stream_events WHERE stream_name = 'old' AND operation_type IN"
                        " ('invalidate', 'dropDatabase') ORDER BY event_id DESC LIMIT 1")
    create(linked, "new", start_after=last)
    sync(linked, "new")
    assert operations(linked, "new")[-1] == "insert"


def test_create_needs_mongodb_unless_paused(db, mdb):
    db.create_server("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500", mdb.name)
    begin = time.monotonic()
    error = error_of(db, "SELECT create_change_stream('x')")
    assert error.sqlstate == "08001" and time.monotonic() - begin < 10
    assert db.value("SELECT count(*) FROM change_streams") == 0
    create(db, "x", paused=True)
    assert status(db, "x")["state"] == "paused"


def test_create_is_transactional(linked, mdb):
    """Rolled back, nothing of it stays; committed, it starts."""
    connection = linked.connect(autocommit=False)
    connection.execute("SELECT create_change_stream('tried')")
    connection.rollback()
    connection.execute("SELECT create_change_stream('made', collection => 'c')")
    insert(mdb, 1)
    connection.commit()
    connection.close()
    sync(linked, "made")
    assert ids(linked, "made") == [1]
    assert linked.column("SELECT stream_name FROM change_streams") == ["made"]


# ------------------------------------------------------------ pause, resume, alter

def test_pause_and_resume(linked, mongo, mdb):
    """Nothing is written after pause returns; all of it after resume, once; ten times among writers."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    with Writers(mongo, mdb.name) as writers:
        for _ in range(10):
            writers.wait(15)
            pause(linked, "orders")
            at = linked.value("SELECT count(*) FROM change_stream_events")
            writers.wait(15)
            assert linked.value("SELECT count(*) FROM change_stream_events") == at
            assert status(linked, "orders")["state"] == "paused"
            resume(linked, "orders")
    sync(linked, "orders")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) >= 300


@pytest.mark.parametrize("what", ["pause", "alter"])
def test_change_overtakes_a_batch(linked, mdb, what):
    """A batch that is being written when the change commits is rolled back: it belongs to what comes after."""
    create(linked, "orders", collection="c")
    insert(mdb, 1)
    sync(linked, "orders")
    connection = linked.connect(autocommit=False)
    if what == "pause":
        pause(connection, "orders")
    else:
        alter(connection, "orders", filter="(document_key->>'_id')::int > 10")
    insert(mdb, 2, 12)
    linked.wait_for("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = (SELECT pid FROM change_stream_status)", expect=1)
    connection.commit()
    connection.close()
    if what == "pause":
        linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
        assert ids(linked, "orders") == [1]
        resume(linked, "orders")
    sync(linked, "orders")
    assert ids(linked, "orders") == ([1, 2, 12] if what == "pause" else [1, 12])


def test_definition_that_changed_unnoticed(linked, mdb):
    """What decides whether a batch counts is the row that it saves, not the flag in shared memory: here nobody raises it."""
    linked.execute("CREATE FUNCTION hold(timestamptz) RETURNS boolean LANGUAGE plpgsql AS"
                   " 'BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(7); RETURN true; END'")
    create(linked, "orders", collection="c", filter="hold(cluster_time)")
    mdb.c.insert_one({"_id": 1, "secret": "a"})
    sync(linked, "orders")
    holder = linked.connect(autocommit=False)
    holder.execute("SELECT pg_advisory_xact_lock(7)")
    mdb.c.insert_one({"_id": 2, "secret": "b"})
    linked.wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", expect=1)
    linked.execute("UPDATE change_streams SET mask_fields = '{secret}'")
    linked.execute("UPDATE change_stream_progress SET definition_version = definition_version + 1")
    holder.commit()
    holder.close()
    sync(linked, "orders")
    assert linked.column("SELECT full_document->>'secret' FROM change_stream_events ORDER BY event_id") == ["a", "***"]
    for change in ("SELECT alter_change_stream('orders', batch_size => 7)", "SELECT pause_change_stream('orders')",
                   "SELECT resume_change_stream('orders')"):
        before = linked.value("SELECT definition_version FROM change_stream_progress")
        linked.execute(change)
        assert linked.value("SELECT definition_version FROM change_stream_progress") > before


def test_alter_while_running(linked, mongo, mdb):
    """Neither gap nor duplicate at the seam, which changed_at_event names."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    seams = []
    choices = [["insert"], ["insert", "update", "replace", "delete"], ["delete"]]
    with Writers(mongo, mdb.name) as writers:
        for round in range(9):
            writers.wait(20)
            alter(linked, "orders", operations=choices[round % 3])
            seams.append(linked.value("SELECT changed_at_event FROM change_streams"))
        writers.wait(20)
        alter(linked, "orders", reset=["operations"])
        writers.wait(20)
    sync(linked, "orders")
    assert seams == sorted(seams)
    rows = oracle.stored(linked, "orders")
    # between two seams the events are those of the definition in force, none missing: MongoDB's history tells
    all_of_it = [oracle.columns(raw) for raw in oracle.history(mongo, since, mdb.name)]
    for round, (low, high) in enumerate(zip(seams, seams[1:])):
        part = [row for row in rows if low < row["event_id"] <= high]
        assert {row["operation_type"] for row in part} <= set(choices[round % 3])
        if part:
            expected = [row["resume_token"] for row in all_of_it if row["operation_type"] in choices[round % 3]
                        and part[0]["resume_token"] <= row["resume_token"] <= part[-1]["resume_token"]]
            assert [row["resume_token"] for row in part] == expected
    assert len({row["resume_token"] for row in rows}) == len(rows)


def test_alter_while_paused(linked, mdb):
    """The new definition holds for what comes after the position at which it was paused."""
    create(linked, "orders", collection="c")
    insert(mdb, 1, 2)
    sync(linked, "orders")
    pause(linked, "orders")
    insert(mdb, 3, 14, 5, 16)
    alter(linked, "orders", filter="(document_key->>'_id')::int > 10")
    assert linked.value("SELECT changed_at_event FROM change_streams") == 2
    assert status(linked, "orders")["state"] == "paused"
    resume(linked, "orders")
    sync(linked, "orders")
    assert ids(linked, "orders") == [1, 2, 14, 16]
    # the event that was last is hidden by the new pipeline: its token is no obstacle
    alter(linked, "orders", pipeline='[{"$match": {"documentKey._id": {"$gt": 100}}}]', reset=["filter"])
    insert(mdb, 20, 101)
    sync(linked, "orders")
    assert ids(linked, "orders") == [1, 2, 14, 16, 101]


def test_alter_each_option(linked, mdb):
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    create(linked, "orders", collection="c")
    alter(linked, "orders", full_document="required", full_document_before_change="required", add_fields="one = 1", batch_size=7,
          max_await_time="200 milliseconds", retention="1 day", notify="heads", show_expanded_events=True)
    insert(mdb, 1)
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 1}})
    sync(linked, "orders")
    assert linked.row("SELECT full_document->>'a', full_document_before_change::text, extra->>'one' FROM change_stream_events"
                      " WHERE event_id = 2") == ("1", '{"_id": 1}', "1")
    assert linked.row("SELECT batch_size, max_await_time::text, retention::text, notify, show_expanded_events FROM change_streams") == \
        (7, "00:00:00.2", "1 day", "heads", True)
    alter(linked, "orders", reset=["batch_size", "retention", "notify", "add_fields", "full_document", "max_await_time"])
    assert linked.row("SELECT batch_size, retention, notify, add_fields, full_document, max_await_time::text FROM change_streams") == \
        (None, None, "ids", None, "default", "00:00:01")
    assert error_of(linked, "SELECT alter_change_stream('orders', filter => 'nosuch > 1')").sqlstate == "42703"
    assert error_of(linked, "SELECT alter_change_stream('orders', reset => '{nosuch}')").sqlstate == "22023"
    insert(mdb, 2)
    sync(linked, "orders")
    assert ids(linked, "orders") == [1, 1, 2]


def test_skip(linked, mdb):
    """One event is left out, and a row says so."""
    create(linked, "reading", collection="c")
    create(linked, "skipping", collection="c", paused=True, start_at="now")
    resume(linked, "skipping")
    wait_state(linked, "skipping", "active")
    sync(linked, "skipping")
    pause(linked, "skipping")
    insert(mdb, 1, 2, 3)
    sync(linked, "reading")
    resume(linked, "skipping", skip=tokens(linked, "reading")[1])
    sync(linked, "skipping")
    assert operations(linked, "skipping") == ["insert", "gap", "insert"]
    assert ids(linked, "skipping") == [1, None, 3]
    insert(mdb, 4)
    sync(linked, "skipping")
    assert ids(linked, "skipping") == [1, None, 3, 4]


def test_resume_elsewhere(linked, mdb):
    """resume with start_at leaves out or repeats what lies between, and a row tells from where to where."""
    create(linked, "orders", collection="c")
    insert(mdb, 1)
    sync(linked, "orders")
    pause(linked, "orders")
    insert(mdb, 2, 3)
    resume(linked, "orders", start_at="now")
    insert(mdb, 4)
    sync(linked, "orders")
    assert operations(linked, "orders") == ["insert", "gap", "insert"] and ids(linked, "orders") == [1, None, 4]
    (number, low, high, reason), = gaps(linked, "orders")
    assert number == 2 and low == tokens(linked, "orders")[0] or low < high
    assert low < high and reason


def test_sync(linked, mdb):
    """True when all is there; false after the timeout; an error for a stream that is not there."""
    create(linked, "orders", collection="c")
    for number in range(20):
        insert(mdb, number)
        assert linked.value("SELECT sync_change_stream('orders')")
        assert linked.value("SELECT count(*) FROM change_stream_events") == number + 1
    pause(linked, "orders")
    insert(mdb, "late")
    begin = time.monotonic()
    refused = None
    try:
        refused = linked.value("SELECT sync_change_stream('orders', timeout => '300 milliseconds')")
    except psycopg.Error as error:
        assert error.sqlstate == "55000"
    assert not refused and time.monotonic() - begin < 5
    assert error_of(linked, "SELECT sync_change_stream('none')").sqlstate == "42704"


def timestamp(time, seconds=0):
    """A time of MongoDB, later by some seconds, as Extended JSON."""
    return f'{{"$timestamp": {{"t": {time.time + seconds}, "i": {time.inc}}}}}'


def test_sync_to_a_time(linked, mongo, mdb):
    """Up to an operationTime: one's own write, whatever comes behind it; a time that MongoDB has not reached is waited for."""
    create(linked, "orders", collection="c", max_await_time="200 ms")
    with mongo.client.start_session() as session:
        for number in range(20):
            mdb.c.insert_one({"_id": number}, session=session)
            assert linked.value("SELECT sync_change_stream('orders', operation_time => %s)", timestamp(session.operation_time))
            assert linked.value("SELECT count(*) FROM change_stream_events") == number + 1
        mine = session.operation_time
    pid = worker(linked, "orders")
    freeze(pid)
    try:
        insert(mdb, "later")
        assert linked.value("SELECT sync_change_stream('orders', '1 second', operation_time => %s)", timestamp(mine, -1))
        assert not linked.value("SELECT sync_change_stream('orders', '500 ms', operation_time => %s)", timestamp(oracle.mark(mongo)))
        assert not linked.value("SELECT sync_change_stream('orders', '500 ms')")
    finally:
        os.kill(pid, signal.SIGCONT)

    # the future
    begin = time.monotonic()
    assert linked.value("SELECT sync_change_stream('orders', '1 second', operation_time => %s)", timestamp(mine, 3600)) is False
    assert 0.9 < time.monotonic() - begin < 5
    now = oracle.mark(mongo)
    with concurrent.futures.ThreadPoolExecutor() as pool, linked.connect() as other:
        synced = pool.submit(lambda: other.execute("SELECT sync_change_stream('orders', '60 s', operation_time => %s)",
                                                   [timestamp(now, 3)]).fetchone()[0])
        wait_until(lambda: time.time() > now.time + 4 or synced.done(), what="the time comes")
        insert(mdb, "soon")
        assert synced.result()
    assert "soon" in ids(linked, "orders")


def test_start_at_a_time_of_mongo(linked, mongo, mdb):
    """An operationTime is exact to its ordinal, and includes it, however it is written."""
    times = []
    with mongo.client.start_session() as session:
        for number in range(4):
            mdb.c.insert_one({"_id": number}, session=session)
            times.append(session.operation_time)
    for number, text in enumerate([timestamp(times[0]), f"Timestamp({times[1].time}, {times[1].inc})",
                                   f"Timestamp({{ t: {times[2].time}, i: {times[2].inc} }})"]):
        create(linked, f"s{number}", collection="c", start_at=text)
        sync(linked, f"s{number}")
        assert ids(linked, f"s{number}") == list(range(number, 4))
    pause(linked, "s0")
    resume(linked, "s0", start_at=timestamp(times[3]))
    sync(linked, "s0")
    assert ids(linked, "s0") == [0, 1, 2, 3, None, 3]
    # the ordinal behind
    create(linked, "behind", collection="c", start_at=f"Timestamp({times[2].time}, {times[2].inc + 1})")
    sync(linked, "behind")
    assert ids(linked, "behind") == [3]


@pytest.mark.parametrize("rewound", [False, True], ids=["new", "rewound"])
def test_sync_does_not_run_ahead(linked, mongo, mdb, rewound):
    """What is committed is not in the table yet, and no earlier empty answer of MongoDB counts for it."""
    mdb.create_collection("c")
    # the position of a new stream is the very time of the next write, if that is in the same second as the last
    wait_until(lambda: time.time() % 1 < 0.2)
    oracle.mark(mongo)
    create(linked, "orders", collection="c")
    begin = linked.value("SELECT resume_token FROM change_stream_progress")
    wait_state(linked, "orders", "active")
    wait_until(lambda: any(number > 2 for number in answers(mongo.client, mdb.name).values()), what="empty answers")
    if rewound:
        insert(mdb, 1, 2)
        sync(linked, "orders")
    pid = worker(linked, "orders")
    freeze(pid)
    try:
        if rewound:
            resume(linked, "orders", start_at=begin)
        else:
            insert(mdb, 1)
        assert not linked.value("SELECT sync_change_stream('orders', timeout => '500 milliseconds')")
    finally:
        os.kill(pid, signal.SIGCONT)
    sync(linked, "orders")
    assert ids(linked, "orders") == ([1, 2, None, 1, 2] if rewound else [1])


def test_idle_stream_keeps_its_token_fresh(linked, mongo, mdb):
    """Writes elsewhere move the position of an idle stream, so history cannot leave it behind; its lag is small."""
    create(linked, "idle", collection="c")
    wait_state(linked, "idle", "active")
    before = linked.value("SELECT resume_token FROM change_stream_progress")
    other = mongo.client[mdb.name + "_other"]

    def moved():
        other.c.insert_one({})
        return linked.value("SELECT resume_token FROM change_stream_progress") > before

    try:
        wait_until(moved, 15, "the token moves", pause=0.2)
        linked.wait_for("SELECT lag < interval '5 seconds' FROM change_stream_status", timeout=15)
    finally:
        mongo.client.drop_database(other.name)


# ------------------------------------------------------------ drop, lost history

def test_drop(linked, mdb):
    """Nothing stays; with keep_events the events do, and a new stream goes on after their numbers."""
    create(linked, "orders", collection="c")
    insert(mdb, 1, 2)
    sync(linked, "orders")
    drop(linked, "orders", keep_events=True)
    assert linked.value("SELECT count(*) FROM change_stream_status") == 0
    assert ids(linked, "orders") == [1, 2]
    create(linked, "orders", collection="c")
    insert(mdb, 3)
    sync(linked, "orders")
    assert linked.execute("SELECT event_id, (document_key->>'_id')::int FROM change_stream_events ORDER BY 1") == [(1, 1), (2, 2), (3, 3)]
    drop(linked, "orders")
    for table in ("change_streams", "change_stream_progress", "change_stream_events", "change_stream_metrics", "change_stream_kept_events"):
        assert linked.value(f"SELECT count(*) FROM {table}") == 0, table
    linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream worker'"
                    " AND datname = current_database()", expect=0, timeout=5)
    create(linked, "orders", collection="c")
    insert(mdb, 4)
    sync(linked, "orders")
    assert linked.column("SELECT event_id FROM change_stream_events") == [1]


@pytest.mark.timeout(180)
def test_history_lost(db, new_replica_set):
    """The oplog has gone on without the stream: it stops and says so; from the earliest it goes on, with a gap row."""
    mongo = new_replica_set(oplog_mb=1, options=["--syncdelay", "1"])
    db.create_server(mongo.uri, "shop")
    shop = mongo.client.shop
    create(db, "orders", collection="c")
    insert(shop, 1)
    sync(db, "orders")
    pause(db, "orders")
    token = tokens(db, "orders")[0]

    def gone():
        shop.filler.insert_many([{"pad": "x" * 100000} for _ in range(5)])
        oldest = mongo.client.local.oplog.rs.find_one(sort=[("$natural", 1)])["ts"]
        return oldest > oracle.token_time(token)

    wait_until(gone, 90, "the oplog moves on", pause=0.2)
    resume(db, "orders")
    shown = wait_state(db, "orders", "history_lost")
    assert "earliest" in shown["reason"] and shown["last_error"]
    db.wait_for("SELECT pid IS NULL FROM change_stream_status")
    assert tokens(db, "orders") == [token]

    resume(db, "orders", start_at="earliest")
    insert(shop, 2)
    sync(db, "orders")
    assert operations(db, "orders")[:2] == ["insert", "gap"] and ids(db, "orders")[-1] == 2
    (number, low, high, reason), = gaps(db, "orders")
    assert number == 2 and low >= token and high > low and reason
    assert wait_state(db, "orders", "active")
