"""What a mirror lives through: its collection's DDL, copies while it runs, its stream, batches, times."""
import json
import threading
import time

import psycopg
import pymongo
import pytest

import mirrors
import oracle
from foreign import messages
from harness.machine import wait_until
from mirrors import Past, difference, equal_now, make_shop, mirror, moment, rows, same, status, stopped, synced, wait_exact
from streams import create, drop, error_of, pause, resume, sync, wait_state
from streams import status as stream_status


@pytest.fixture
def shop(linked, mongo, mdb):
    return make_shop(linked, mongo, mdb)


# ------------------------------------------------------------ the collection's life

def test_first_statement(linked, mongo, mdb):
    """Nothing but the name: a stream, a table and its rows come of it, and go with it."""
    mdb.orders.insert_many([{"_id": number, "total": number} for number in range(10)])
    mirror(linked, "orders")
    wait_exact(linked, "orders")
    assert linked.row("SELECT count(*), sum((document->>'total')::int) FROM orders") == (10, 45)
    assert linked.row("SELECT stream_name, keep_events FROM change_streams") == ("orders", False)
    mdb.orders.update_one({"_id": 3}, {"$set": {"total": 100}})
    sync(linked, "orders")
    assert linked.value("SELECT sum((document->>'total')::int) FROM orders") == 142
    assert linked.execute("SELECT column_name::text, coalesce(domain_name, udt_name)::text FROM information_schema.columns"
                          " WHERE table_name = 'orders' ORDER BY ordinal_position") == \
        [("_id", "document"), ("document", "document"), ("changed_at", "timestamptz")]
    assert linked.value("SELECT count(*) FROM change_stream_events") == 0
    linked.execute("SELECT drop_change_mirror('orders', drop_table => true)")
    assert linked.row("SELECT (SELECT count(*) FROM change_streams), (SELECT count(*) FROM change_stream_snapshots), to_regclass('orders')") == (0, 0, None)


def drop_it(mdb):
    mdb.c.drop()


def rename_it_away(mdb):
    mdb.c.rename("away")


def rename_onto_it(mdb):
    mdb.tmp.insert_many([{"_id": number, "from": "tmp"} for number in (1, 7)])
    mdb.tmp.rename("c", dropTarget=True)


def recreate_it(mdb):
    mdb.c.drop()
    mdb.create_collection("c", collation={"locale": "en", "strength": 2})
    mdb.c.insert_many([{"_id": 1, "anew": True}, {"_id": "x"}])


def write_it_by_out(mdb):
    mdb.tmp.insert_many([{"_id": number, "n": -number} for number in range(2, 9)])
    list(mdb.tmp.aggregate([{"$match": {"_id": {"$lt": 6}}}, {"$out": "c"}]))


def merge_into_it(mdb):
    mdb.tmp.insert_many([{"_id": number, "n": -number} for number in range(2, 9)])
    list(mdb.tmp.aggregate([{"$merge": {"into": "c", "whenMatched": "replace"}}]))


def drop_the_database(mdb):
    mdb.client.drop_database(mdb.name)
    mdb.c.insert_one({"_id": "after"})


@pytest.mark.parametrize("what", [drop_it, rename_it_away, rename_onto_it, recreate_it, write_it_by_out, merge_into_it, drop_the_database])
@pytest.mark.parametrize("scope", ["database", "collection"])
def test_collection_goes_and_comes(linked, mongo, mdb, what, scope):
    """As MongoDB has it, at every moment on the way, and the stream goes on."""
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(50)])
    if scope == "database":
        create(linked, "c", keep_events=False)
        mirror(linked, "c", stream_name="c")
    else:
        mirror(linked, "c")
    wait_exact(linked, "c")
    what(mdb)
    synced(linked, "c", "c")
    same(linked, mongo, mdb)
    mdb.c.insert_one({"_id": "later"})
    mdb.c.update_one({"_id": 1}, {"$set": {"later": 1}})
    synced(linked, "c", "c")
    assert same(linked, mongo, mdb) >= 1
    assert stream_status(linked, "c")["state"] == "active"
    assert linked.execute("SELECT * FROM check_change_mirror('c')") == []


def test_missing_collection(linked, mongo, mdb):
    """Which is made later; until then the table is empty, and the status says that it is exact."""
    mirror(linked, "c")
    wait_exact(linked, "c")
    assert rows(linked.connection, "c") == {}
    mdb.c.insert_one({"_id": 1})
    synced(linked, "c", "c")
    assert same(linked, mongo, mdb) == 1


# ------------------------------------------------------------ copies while it runs

def test_resync_while_running(shop, mongo, mdb):
    """What was changed by hand is mended, what MongoDB does not have goes, and rows that are right are not written."""
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(3, 500)])
    synced(shop, "s", "c")
    shop.execute("UPDATE c SET document = '{\"_id\": 1, \"mine\": 1}' WHERE _id = '1'; DELETE FROM c WHERE _id = '2'")
    shop.execute("INSERT INTO c (_id, document) VALUES ('\"mine\"', '{\"_id\": \"mine\"}'), ('-1', '{\"_id\": -1}')")
    found = shop.execute("SELECT difference, _id::text, here IS NULL, there IS NULL FROM check_change_mirror('c') ORDER BY 2")
    assert [(key, here, there) for _, key, here, there in found] == \
        [('"mine"', False, True), ("-1", False, True), ("1", False, False), ("2", True, False)] or sorted(key for _, key, *_ in found) == sorted(["-1", '"mine"', "1", "2"])
    before = dict(shop.execute("SELECT _id::text, xmin::text FROM c"))
    written = status(shop, "c")["rows_written"]
    shop.execute("SELECT resync_change_mirror('c')")
    mdb.c.insert_one({"_id": 1000})
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 501
    after = dict(shop.execute("SELECT _id::text, xmin::text FROM c"))
    assert {key for key in before if after.get(key) != before[key]} == {'"mine"', "-1", "1"}
    assert status(shop, "c")["rows_written"] - written == 5
    assert shop.execute("SELECT * FROM check_change_mirror('c')") == []


def test_pause_and_resume(shop, mongo, mdb):
    """A paused mirror's table stays as it is; resumed, it has what has changed, deletes too."""
    shop.execute("SELECT pause_change_mirror('c')")
    wait_until(lambda: status(shop, "c")["state"] == "paused")
    mdb.c.delete_one({"_id": 0})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 100}})
    mdb.c.insert_one({"_id": 9})
    synced(shop, "s", "d")
    assert len(rows(shop.connection, "c")) == 3 and status(shop, "c")["exact_at"] is None
    shop.execute("SELECT resume_change_mirror('c')")
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 3


def test_pause_and_resume_of_the_stream(shop, mongo, mdb):
    """exact_at stays while a stream is paused: the table is what it was then."""
    before = status(shop, "c")["exact_at"]
    pause(shop, "s")
    shop.wait_for("SELECT pid IS NULL FROM change_stream_status")
    mdb.c.insert_one({"_id": 9})
    with Past(mongo, mdb.name) as past, shop.connect() as connection:
        assert moment(connection, past, {"c": ("c", "c"), "d": ("d", "d")})[1] == []
    at = status(shop, "c")["exact_at"]
    assert at is None or at >= before
    resume(shop, "s")
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 4


@pytest.mark.parametrize("how", ["forward", "back", "lost"])
def test_stream_goes_on_elsewhere(shop, mongo, mdb, how):
    """After a jump of its stream a mirror does not say that it is exact until it is."""
    begin = oracle.mark(mongo)
    mdb.c.update_one({"_id": 2}, {"$set": {"n": "before"}})
    mdb.c.insert_one({"_id": "goes"})
    synced(shop, "s", "c")
    pause(shop, "s")
    shop.wait_for("SELECT pid IS NULL FROM change_stream_status")
    mdb.c.delete_one({"_id": 1})
    mdb.c.delete_one({"_id": "goes"})
    mdb.c.insert_one({"_id": 9})
    tables = {"c": ("c", "c"), "d": ("d", "d")}
    if how == "lost":
        mongo.fail_command(["getMore", "aggregate"], errorCode=286)
        resume(shop, "s")
        wait_state(shop, "s", "history_lost")
        assert status(shop, "c")["state"] == "history_lost"
        mongo.stop_failing()
    time.sleep(1.1)
    if how == "back":
        resume(shop, "s", start_at=shop.value("SELECT to_timestamp(%s)::text", begin.time))
    else:
        resume(shop, "s", start_at="now")
    problems = []
    with Past(mongo, mdb.name) as past, shop.connect() as connection:
        for number in range(10):
            mdb.c.update_one({"_id": 0}, {"$inc": {"n": 1}})
            problems += moment(connection, past, tables)[1]
        assert problems == []
        if status(shop, "c")["exact_at"] is None:
            shop.execute("SELECT resync_change_mirror('c')")
        sync(shop, "s")
        wait_exact(shop, "c")
        assert moment(connection, past, tables)[1] == []
    assert same(shop, mongo, mdb) == 3


# ------------------------------------------------------------ streams of mirrors

def test_keep_events_false(linked, mdb):
    """No rows, but numbers and notifications go on; what needs rows is refused."""
    create(linked, "s", keep_events=False)
    mdb.c.insert_one({"_id": 1})
    with linked.connect() as listener:
        listener.execute("LISTEN s")
        mdb.c.insert_many([{"_id": number} for number in range(2, 6)])
        told = []
        for notice in listener.notifies(timeout=20):
            told.append(json.loads(notice.payload))
            if sum(one["count"] for one in told) >= 4:
                break
    sync(linked, "s")
    assert linked.row("SELECT (SELECT count(*) FROM change_stream_events), last_event_id, events_processed FROM change_stream_progress") == (0, 5, 5)
    assert told[-1]["last_event_id"] == 5
    error = error_of(linked, "SELECT create_change_handler('h', 's', body => 'NULL')")
    assert error.sqlstate in ("55000", "0A000", "22023") and "keep_events" in str(error) + str(error.diag.message_hint)
    linked.execute("SELECT alter_change_stream('s', keep_events => true)")
    mdb.c.insert_one({"_id": 6})
    sync(linked, "s")
    # what was not kept is told by a gap row, which has the number before
    found = linked.execute("SELECT event_id, operation_type, (document_key->>'_id')::int FROM change_stream_events ORDER BY event_id")
    assert found == [(6, "gap", None), (7, "insert", 6)]
    linked.execute("SELECT create_change_handler('h', 's', body => 'NULL')")
    error = error_of(linked, "SELECT alter_change_stream('s', keep_events => false)")
    assert error.sqlstate in ("55000", "0A000", "22023", "2BP01") and "h" in str(error) + str(error.diag.message_detail)


def test_mirror_added_to_a_running_stream(linked, mongo, mdb):
    """The 31st collection of a database, while a writer writes to it: no gap."""
    for number in range(31):
        mdb[f"c{number}"].insert_many([{"_id": value, "n": 0} for value in range(20)])
    create(linked, "s", keep_events=False)
    linked.execute("CREATE SCHEMA m")
    made = linked.column("SELECT create_change_mirrors('s', 'm', %s)", [f"c{number}" for number in range(30)])
    assert len(made) == 30
    stop = threading.Event()

    def write():
        number = 0
        while not stop.wait(0.002):
            number += 1
            mdb.c30.update_one({"_id": number % 30}, {"$inc": {"n": 1}}, upsert=True)
            mdb[f"c{number % 31}"].delete_one({"_id": number % 20})

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        linked.wait_for("SELECT count(*) FROM change_mirror_status WHERE exact_at IS NOT NULL", expect=30, timeout=60)
        added = linked.column("SELECT create_change_mirrors('s', 'm')")
        assert len(added) == 1
        linked.wait_for("SELECT count(*) FROM change_mirror_status WHERE exact_at IS NOT NULL", expect=31, timeout=60)
        tables = dict(linked.execute("SELECT mirror_name, collection_name FROM change_mirrors"))
        with Past(mongo, mdb.name) as past, linked.connect() as connection:
            for _ in range(3):
                compared, problems = moment(connection, past, {name: (f"m.{collection}", collection) for name, collection in tables.items()})
                assert problems == [] and compared == 31
    finally:
        stop.set()
        thread.join(10)
    assert linked.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mongo_change_stream worker%%' AND datname = current_database()") == 1
    sync(linked, "s")
    for collection in tables.values():
        equal_now(linked, mongo, mdb.name, f"m.{collection}", collection, 20)


@pytest.mark.timeout(180)
def test_hundred_mirrors(linked, mongo, mdb):
    """A hundred on one stream, of one collection and of many: a change takes about as long as with one."""
    create(linked, "s", keep_events=False)
    linked.execute("CREATE SCHEMA m")

    def turn(number):
        begin = time.monotonic()
        for value in range(20):
            mdb.c0.update_one({"_id": value}, {"$set": {"n": number}}, upsert=True)
        sync(linked, "s")
        return time.monotonic() - begin

    mirror(linked, "m0", stream_name="s", collection="c0", table_name="m.c0")
    wait_exact(linked, "m0")
    alone = min(turn(number) for number in range(3))
    for number in range(1, 100):
        mirror(linked, f"m{number}", stream_name="s", collection=f"c{number % 50}", table_name=f"m.c{number}")
    linked.wait_for("SELECT count(*) FROM change_mirror_status WHERE exact_at IS NOT NULL", expect=100, timeout=90)
    many = min(turn(number) for number in range(3, 6))
    print(f"{alone:.2f} s with one mirror, {many:.2f} s with a hundred")
    assert many < alone + 1
    assert linked.row("SELECT (SELECT count(*) FROM m.c0), (SELECT count(*) FROM m.c50)") == (20, 20)


def test_stream_of_a_mirror_cannot_be_filtered(shop):
    """What a table could not be equal by is refused, both ways round."""
    for option in ("filter => 'true'", "operations => '{insert}'", "pipeline => '[{\"$match\": {}}]'", "add_fields => 'a = 1'"):
        error = error_of(shop, f"SELECT alter_change_stream('s', {option})")
        assert error.sqlstate in ("55000", "0A000", "22023"), (option, error)
    create(shop, "t", collection="c", operations=["insert"])
    error = error_of(shop, "SELECT create_change_mirror('e', collection => 'c', stream_name => 't')")
    assert error.sqlstate in ("55000", "0A000", "22023") and shop.value("SELECT to_regclass('e')") is None
    error = error_of(shop, "SELECT create_change_mirror('e', collection => 'other', stream_name => 't')")
    assert error.sqlstate in ("55000", "0A000", "22023")


def test_dropping_the_stream(shop, mdb):
    """Its mirrors go, their tables stay, of which the first ten are named."""
    pause(shop, "s")
    for number in range(10):
        mirror(shop, f"m{number}", stream_name="s")
    heard = messages(shop.connection)
    drop(shop, "s")
    (_, _, detail, _), = heard
    assert detail.count("public.") == 10 and detail.endswith(", and 2 more.")
    assert shop.row("SELECT (SELECT count(*) FROM change_mirrors), (SELECT count(*) FROM change_mirror_progress),"
                    " (SELECT count(*) FROM change_stream_snapshots), (SELECT count(*) FROM c)") == (0, 0, 0, 3)


# ------------------------------------------------------------ documents in one batch

def test_update_and_delete_within_one_batch(shop, mongo, mdb):
    """An update whose document is gone when it is looked up, deleted and inserted again, and storms on one document."""
    pause(shop, "s")
    shop.wait_for("SELECT pid IS NULL FROM change_stream_status")
    mdb.c.update_one({"_id": 0}, {"$set": {"n": 7}})
    mdb.c.delete_one({"_id": 0})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 7}})
    mdb.c.delete_one({"_id": 1})
    mdb.c.insert_one({"_id": 1, "again": True})
    mdb.c.insert_one({"_id": "short"})
    mdb.c.update_one({"_id": "short"}, {"$set": {"n": 1}})
    mdb.c.delete_one({"_id": "short"})
    for number in range(300):
        mdb.c.update_one({"_id": "storm"}, {"$inc": {"n": 1}, "$push": {"list": {"$each": [number], "$slice": -3}}}, upsert=True)
        if number % 50 == 0:
            mdb.c.delete_one({"_id": "storm"})
    written = status(shop, "c")["rows_written"]
    resume(shop, "s")
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 3
    assert status(shop, "c")["rows_written"] - written < 100


def test_storm_while_it_runs(shop, mongo, mdb):
    """One document upserted and deleted by three writers at once."""
    stop = threading.Event()

    def storm(number):
        turn = 0
        while not stop.is_set():
            turn += 1
            if turn % 10 == number:
                mdb.c.delete_one({"_id": "storm"})
            else:
                try:
                    mdb.c.update_one({"_id": "storm"}, {"$inc": {"n": 1}}, upsert=True)
                except pymongo.errors.DuplicateKeyError:
                    pass

    threads = [threading.Thread(target=storm, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        with Past(mongo, mdb.name) as past, shop.connect() as connection:
            for _ in range(10):
                time.sleep(0.1)
                assert moment(connection, past, {"c": ("c", "c")}) == (1, [])
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    synced(shop, "s", "c")
    same(shop, mongo, mdb)


def test_unique_value_is_swapped(linked, mongo, mdb):
    """Two documents swap the value of a unique column: in one transaction, and by way of a third value."""
    linked.execute("CREATE TABLE c (_id document PRIMARY KEY, document document, seat int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    mdb.c.insert_many([{"_id": number, "seat": number} for number in (1, 2)])
    mirror(linked, "c", columns="seat int = seat")
    wait_exact(linked, "c")
    for turn in range(3):
        with mongo.client.start_session() as session, session.start_transaction():
            mdb.c.update_one({"_id": 1}, {"$set": {"seat": 1 + turn % 2}}, session=session)
            mdb.c.update_one({"_id": 2}, {"$set": {"seat": 2 - turn % 2}}, session=session)
        synced(linked, "c", "c")
        assert linked.column("SELECT seat FROM c ORDER BY _id") == [1 + turn % 2, 2 - turn % 2]
    assert status(linked, "c")["state"] == "active"


@pytest.mark.parametrize("moved", ["value goes to another document", "value is taken over from a deleted one"])
def test_unique_value_moves(linked, mongo, mdb, moved):
    """A unique column that is not deferrable: a value that was freed in the same batch can be taken."""
    linked.execute("CREATE TABLE c (_id document PRIMARY KEY, document document, seat int UNIQUE)")
    mdb.c.insert_many([{"_id": 1, "seat": 1}, {"_id": 2, "seat": 2}])
    mirror(linked, "c", columns="seat int = seat")
    wait_exact(linked, "c")
    with mongo.client.start_session() as session, session.start_transaction():
        if moved.startswith("value is taken"):
            mdb.c.delete_one({"_id": 2}, session=session)
        else:
            mdb.c.update_one({"_id": 2}, {"$set": {"seat": 3}}, session=session)
        mdb.c.insert_one({"_id": 3, "seat": 2}, session=session)
    sync(linked, "c")
    shown = status(linked, "c")
    if shown["state"] == "error":
        assert not moved.startswith("value is taken") and "unique" in shown["last_error"], shown
    else:
        assert same(linked, mongo, mdb) >= 2


def test_unique_value_moves_down(linked, mongo, mdb):
    """Rows are written in the order of their events where others can tell: a value that a later _id frees is taken by an earlier one."""
    linked.execute("CREATE TABLE c (_id document PRIMARY KEY, document document, seat int UNIQUE)")
    mdb.c.insert_many([{"_id": 3, "seat": 2}, {"_id": 5, "seat": 1}])
    mirror(linked, "c", columns="seat int = seat")
    wait_exact(linked, "c")
    with mongo.client.start_session() as session, session.start_transaction():
        mdb.c.update_one({"_id": 5}, {"$set": {"seat": 9}}, session=session)
        mdb.c.update_one({"_id": 3}, {"$set": {"seat": 1}}, session=session)
    sync(linked, "c")
    assert linked.execute("SELECT _id::text, seat FROM c ORDER BY _id") == [("3", 1), ("5", 9)], status(linked, "c")


@pytest.mark.parametrize("names", [("parents", "children"), ("children", "parents")], ids=" ".join)
def test_transactions_are_whole(shop, mongo, mdb, names):
    """A deferred foreign key between two mirrored tables: parent and child of one MongoDB transaction come in one commit.

    Who copies the children before the parents has a mirror that stops for it, and nothing else that does.
    """
    shop.execute("CREATE TABLE parents (_id int PRIMARY KEY, document document);"
                 "CREATE TABLE children (_id int PRIMARY KEY, document document, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
    mdb.create_collection("parents")
    mdb.create_collection("children")
    mdb.parents.insert_one({"_id": -1})
    mdb.children.insert_one({"_id": -1, "parent": -1})
    for name in names:
        mirror(shop, name, stream_name="s", **({"columns": "parent int = parent"} if name == "children" else {}))
    if names[0] == "children":
        # unless the parents were there by the time that it was tried again
        wait_until(lambda: status(shop, "children")["state"] == "error" or status(shop, "children")["exact_at"], 30, "it stops, or succeeds")
        if status(shop, "children")["state"] == "error":
            assert "foreign key" in status(shop, "children")["last_error"]
            synced(shop, "s", "parents", "c", "d")
            shop.execute("SELECT resync_change_mirror('children')")
    synced(shop, "s", *names)
    for number in range(30):
        with mongo.client.start_session() as session, session.start_transaction():
            mdb.parents.delete_one({"_id": number - 11 if number >= 10 else -2}, session=session)
            mdb.children.delete_one({"_id": number - 11 if number >= 10 else -2}, session=session)
            mdb.children.insert_one({"_id": number, "parent": number}, session=session)
            mdb.parents.insert_one({"_id": number}, session=session)
    synced(shop, "s", "parents", "children")
    assert shop.row("SELECT (SELECT count(*) FROM parents), (SELECT count(*) FROM children)") == (11, 11)
    assert status(shop, "children")["state"] == status(shop, "parents")["state"] == "active"


@pytest.mark.timeout(180)
def test_large_documents(linked, mongo, mdb):
    """Documents of 16 MB, copied, updated and replaced."""
    pad = b"x" * (16 * 1024 * 1024 - 500)
    mdb.c.insert_one({"_id": 1, "pad": pad})
    mirror(linked, "c")
    wait_exact(linked, "c")
    mdb.c.insert_one({"_id": 2, "pad": pad})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 1}})
    mdb.c.update_one({"_id": 2}, {"$set": {"n": 2}})
    mdb.c.replace_one({"_id": 1}, {"pad": pad + b"y"})
    synced(linked, "c", "c")
    assert same(linked, mongo, mdb) == 2


# ------------------------------------------------------------ times

def test_read_your_own_writes(shop, mongo, mdb):
    """With the operation's time, as the application's session knows it."""
    for number in range(5):
        with mongo.client.start_session() as session:
            mdb.c.update_one({"_id": "mine"}, {"$set": {"n": number}}, upsert=True, session=session)
            time_of = session.operation_time
        assert shop.value("SELECT sync_change_stream('s', '20 seconds', operation_time => %s::document)",
                          json.dumps({"$timestamp": {"t": time_of.time, "i": time_of.inc}}))
        assert shop.value("SELECT (document->>'n')::int FROM c WHERE _id = '\"mine\"'") == number
    ahead = json.dumps({"$timestamp": {"t": time_of.time + 1000, "i": 1}})
    begin = time.monotonic()
    try:
        assert shop.value("SELECT sync_change_stream('s', '300 milliseconds', operation_time => %s::document)", ahead) is False
    except psycopg.errors.DatabaseError as error:
        assert error.sqlstate in ("22023", "22008"), error
    assert time.monotonic() - begin < 10


def test_start_at_a_timestamp(linked, mongo, mdb):
    """start_at takes a BSON timestamp: from that ordinal on, inclusive."""
    mdb.c.insert_one({"_id": 1})
    with mongo.client.start_session() as session:
        mdb.c.insert_one({"_id": 2}, session=session)
        second = session.operation_time
    mdb.c.insert_one({"_id": 3})
    create(linked, "s", collection="c", start_at=json.dumps({"$timestamp": {"t": second.time, "i": second.inc}}))
    sync(linked, "s")
    assert linked.column("SELECT (document_key->>'_id')::int FROM change_stream_events ORDER BY event_id") == [2, 3]


@pytest.fixture
def short_history(new_replica_set):
    """A MongoDB that can be read as of the last second only."""
    mongo = new_replica_set(parameters={"minSnapshotHistoryWindowInSeconds": 1})
    return mongo


@pytest.mark.timeout(180)
def test_far_behind(db, short_history):
    """A stream that is behind what MongoDB can read at: not exact, and it says so, then exact again."""
    mongo = short_history
    db.create_server(mongo.uri, "shop", password_required="false")
    shop = mongo.client.shop
    shop.c.insert_many([{"_id": number, "n": 0} for number in range(100)])
    create(db, "s", keep_events=False)
    mirror(db, "c", stream_name="s")
    synced(db, "s", "c")
    pause(db, "s")
    db.wait_for("SELECT pid IS NULL FROM change_stream_status")
    end = time.monotonic() + 8
    while time.monotonic() < end:
        shop.c.update_many({"_id": {"$lt": 50}}, {"$inc": {"n": 1}})
        shop.c.delete_one({"_id": 60})
        shop.c.insert_one({"_id": 60, "n": -1})
        time.sleep(0.1)
    begin = db.value("SELECT now()")
    resume(db, "s")
    with Past(mongo, "shop") as past, db.connect() as connection:
        seen = [moment(connection, past, {"c": ("c", "c")}) for _ in range(20)]
        assert [problem for _, problems in seen for problem in problems] == []
        synced(db, "s", "c")
        shop.c.update_one({"_id": 1}, {"$inc": {"n": 1}})
        synced(db, "s", "c")
        assert not difference(rows(db.connection, "c"), past.documents("c"))
    assert db.value("SELECT exact_since > %s - interval '1 hour' FROM change_stream_snapshots WHERE mirror_name = 'c'", begin)


@pytest.mark.timeout(180)
def test_copy_while_history_is_short(db, short_history):
    """A copy with writers, whose reads at the position fail now and then: equal in the end, exact when it says so."""
    mongo = short_history
    db.create_server(mongo.uri, "shop", password_required="false")
    load = mirrors.Load(mongo, "shop", pad=2000)
    create(db, "s", keep_events=False)
    with load, Past(mongo, "shop") as past, db.connect() as connection:
        for name in load.COLLECTIONS:
            mongo.fail_command(["find"], times=1, errorCode=239)
            mirror(db, name, stream_name="s")
            wait_exact(db, name)
        tables = {name: (name, name) for name in load.COLLECTIONS}
        results = []
        for _ in range(10):
            load.wait(20)
            results.append(moment(connection, past, tables, load.sum_is_off))
        assert [problem for _, problems in results for problem in problems] == []
        assert sum(compared for compared, _ in results) > 10
    sync(db, "s")
    for name in load.COLLECTIONS:
        equal_now(db, mongo, "shop", name, name, 20)
