"""What mirrors show of themselves, to whom; what becomes of them with their stream, their table, its role, and in a restore."""
import threading

import bson
import pymongo
import pytest

from streams import call, create, drop, error_of, pause, resume, sync, wait_state
from test_restore import Dump

EXACT_AT = "SELECT exact_at FROM change_mirror_status WHERE mirror_name = %s"


def exact(db, mirror):
    """Waits until a mirror equals its collection."""
    db.wait_for("SELECT exact_at IS NOT NULL FROM change_mirror_status WHERE mirror_name = %s", mirror)


def rows(db, table):
    return sorted(db.column(f"SELECT _id::int FROM {table}"))


@pytest.fixture
def shop(linked, mdb):
    """A collection of ten, a stream on its database with events, and a mirror."""
    mdb.orders.insert_many({"_id": number, "total": number} for number in range(10))
    create(linked, "shop", database=mdb.name)
    call(linked, "create_change_mirror", "orders", stream_name="shop")
    exact(linked, "orders")
    return linked


def test_exact_at(shop, mdb, mongo):
    """The time that the view shows is that of the rows in the same snapshot, MongoDB read then has the same."""
    stop = threading.Event()

    def write():
        number = 100
        while not stop.is_set():
            mdb.orders.insert_one({"_id": number})
            mdb.orders.update_one({"_id": number - 1}, {"$set": {"total": number}})
            mdb.orders.delete_one({"_id": number - 50})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    client = pymongo.MongoClient(mongo.uri)
    try:
        for _ in range(20):
            with shop.connection.transaction():
                shop.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                here = rows(shop, "orders")
                seconds, ordinal = shop.row("""SELECT extract(epoch FROM date_trunc('second', exact_at))::bigint,
                    (extract(epoch FROM exact_at - date_trunc('second', exact_at)) * 1000000)::int FROM change_mirror_status""")
            reply = client[mdb.name].command({"find": "orders", "batchSize": 10000, "readConcern": {
                "level": "snapshot", "atClusterTime": bson.Timestamp(seconds, ordinal)}})
            there = sorted(document["_id"] for document in reply["cursor"]["firstBatch"])
            assert there == here
    finally:
        stop.set()
        writer.join()
        client.close()


def test_states(shop, mdb):
    status = "SELECT state, reason, exact_at IS NOT NULL FROM change_mirror_status"
    assert shop.row(status) == ("active", None, True)
    pause(shop, "shop")
    assert shop.row(status) == ("paused", "change stream shop: paused by its owner", True)
    resume(shop, "shop")
    wait_state(shop, "shop", "active")
    call(shop, "pause_change_mirror", "orders")
    assert shop.row(status) == ("paused", "paused by its owner", False)
    mdb.orders.insert_one({"_id": 10})
    sync(shop, "shop")
    assert rows(shop, "orders") == list(range(10))
    call(shop, "resume_change_mirror", "orders")
    exact(shop, "orders")
    assert rows(shop, "orders") == list(range(11))
    shop.execute("DROP TABLE orders")
    mdb.orders.insert_one({"_id": 11})
    shop.wait_for("SELECT state FROM change_mirror_status", expect="error")
    state, reason, has_time = shop.row(status)
    assert "resync_change_mirror('orders')" in reason and not has_time
    sync(shop, "shop")


def test_moved_stream(shop, mdb):
    """What a stream passes over does not keep its mirrors from being equal: they are copied again."""
    pause(shop, "shop")
    mdb.orders.delete_one({"_id": 0})
    mdb.orders.insert_one({"_id": 10})
    resume(shop, "shop", start_at="now")
    exact(shop, "orders")
    assert rows(shop, "orders") == list(range(1, 11))
    pause(shop, "shop")
    resume(shop, "shop", start_at="earliest")
    exact(shop, "orders")
    sync(shop, "shop")
    assert rows(shop, "orders") == list(range(1, 11))


def test_hidden_fields(shop, mdb):
    """Rows that are there hide what is hidden from now on."""
    call(shop, "alter_change_stream", "shop", exclude_fields=["total"])
    shop.wait_for("SELECT count(*) FROM orders WHERE document ? 'total'", expect=0)
    exact(shop, "orders")
    assert rows(shop, "orders") == list(range(10))


def test_renamed_table(shop, mdb):
    """A mirror goes on with a table that gets another name, while it is written."""
    stop = threading.Event()

    def write():
        number = 100
        while not stop.is_set():
            mdb.orders.insert_one({"_id": number})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        shop.execute("CREATE SCHEMA here")
        for turn in range(5):
            call(shop, "resync_change_mirror", "orders")
            shop.execute("ALTER TABLE orders RENAME TO other")
            shop.execute("ALTER TABLE other SET SCHEMA here")
            shop.execute("ALTER SCHEMA here RENAME TO there")
            shop.execute("ALTER TABLE there.other SET SCHEMA public")
            shop.execute("ALTER TABLE other RENAME TO orders")
            shop.execute("ALTER SCHEMA there RENAME TO here")
    finally:
        stop.set()
        writer.join()
    assert shop.row("SELECT table_name, stopped_reason FROM change_mirrors") == ("public.orders", None)
    exact(shop, "orders")
    sync(shop, "shop")
    assert len(rows(shop, "orders")) == mdb.orders.count_documents({})


def test_dropped_stream(shop, mdb):
    """Its mirrors go with it; their tables are the user's."""
    told = []
    shop.connection.add_notice_handler(lambda notice: told.append(notice.message_detail))
    drop(shop, "shop")
    assert "public.orders" in told[0]
    assert shop.value("SELECT count(*) FROM change_mirrors") == 0
    assert rows(shop, "orders") == list(range(10))


def test_readers(shop, mdb):
    """Readers see how a mirror is, its table only where it is granted; so do pg_monitor and pg_read_all_data, strangers nothing."""
    made = ["rita", "mona", "dora", "sven"]
    for role in made:
        shop.execute(f"CREATE ROLE {role} LOGIN")
    try:
        shop.execute("GRANT pg_monitor TO mona; GRANT pg_read_all_data TO dora; SELECT grant_change_stream('shop', 'rita')")
        for role in made:
            with shop.connect(role) as one:
                seen = [one.execute(f"SELECT count(*) FROM {relation}").fetchone()[0]
                        for relation in ("change_mirrors", "change_mirror_progress", "change_stream_snapshots", "change_mirror_status")]
                assert seen == [0 if role == "sven" else 1] * 4, role
                if role != "sven":
                    assert one.execute("SELECT state, exact_at IS NOT NULL, documents_done, rows_written FROM change_mirror_status").fetchone() == ("active", True, 10, 10)
                if role != "dora":
                    assert error_of(one, "SELECT FROM orders").sqlstate == "42501"
                for function in ("drop_change_mirror", "pause_change_mirror", "resume_change_mirror", "resync_change_mirror", "alter_change_mirror"):
                    assert error_of(one, f"SELECT {function}('orders')").sqlstate == "42501", (role, function)
                assert error_of(one, "DELETE FROM change_mirrors").sqlstate == "42501"
    finally:
        for role in made:
            shop.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def alices(linked, mdb):
    """alice's mirror of ten documents; bert gets what she gives away."""
    linked.execute("CREATE ROLE alice LOGIN; CREATE ROLE bert LOGIN; GRANT CREATE ON SCHEMA public TO alice, bert; GRANT USAGE ON FOREIGN SERVER mongo TO alice, bert")
    mdb.orders.insert_many({"_id": number} for number in range(10))
    with linked.connect("alice") as alice:
        call(alice, "create_change_mirror", "orders")
    exact(linked, "orders")
    yield linked
    linked.execute("DROP OWNED BY alice, bert CASCADE; DROP ROLE alice, bert")


def test_reassign_owned(alices, mdb):
    """Stream, mirror and table go to another role together."""
    alices.execute("REASSIGN OWNED BY alice TO bert")
    mdb.orders.insert_one({"_id": 10})
    sync(alices, "orders")
    assert rows(alices, "orders") == list(range(11))
    with alices.connect("bert") as bert:
        call(bert, "resync_change_mirror", "orders")
    exact(alices, "orders")


def test_drop_owned(alices):
    alices.execute("DROP OWNED BY alice CASCADE")
    assert alices.row("SELECT (SELECT count(*) FROM change_mirrors), (SELECT count(*) FROM change_mirror_progress), (SELECT count(*) FROM change_stream_snapshots)") == (0, 0, 0)
    assert alices.value("SELECT to_regclass('orders') IS NULL")


@pytest.fixture
def restored(shop, postgres, tmp_path, mdb):
    """A function that restores the shop but for some parts; a document is inserted and one deleted meanwhile."""
    made = []
    tmp_path.chmod(0o777)

    def restore(*without):
        dump = Dump(shop, postgres, tmp_path)
        pause(shop, "shop")
        mdb.orders.insert_one({"_id": 10})
        mdb.orders.delete_one({"_id": 0})
        made.append(dump.restore(*dump.listed(*without)))
        return made[-1]

    yield restore
    for database in made:
        database.close()
        postgres.drop_database(database.name)


@pytest.mark.parametrize("without", [(), ("TABLE DATA public change_stream_progress",), ("TABLE DATA public change_stream_snapshots",),
                                     ("TABLE DATA public change_mirror_progress",), ("TABLE DATA public orders ",)])
def test_restored(restored, mdb, without):
    """A mirror goes on from where the dump was; where that is not certain it is copied again."""
    copy = restored(*without)
    assert copy.row("SELECT state, reason FROM change_mirror_status") == ("paused", "change stream shop: restored")
    copied = copy.value("SELECT max(copy_number) FROM change_stream_snapshots")
    resume(copy, "shop")
    exact(copy, "orders")
    sync(copy, "shop")
    assert rows(copy, "orders") == list(range(1, 11))
    if without in ((), ("TABLE DATA public change_mirror_progress",)):
        assert copy.value("SELECT max(copy_number) FROM change_stream_snapshots") == copied


def test_another_table_in_its_place(shop, mdb):
    """One that was put there while the stream stood, of an old dump say, has not what was written since: it is not taken for the mirror's."""
    pause(shop, "shop")
    shop.execute("CREATE TABLE old AS TABLE orders; ALTER TABLE old ADD PRIMARY KEY (_id); DELETE FROM old WHERE _id::int < 5; DROP TABLE orders")
    shop.execute("ALTER TABLE old RENAME TO orders")
    resume(shop, "shop")
    shop.wait_for("SELECT state = 'error' AND reason LIKE 'table public.orders cannot be written: table public.orders is not the one that was written before; %%"
                  "SELECT resync_change_mirror(''orders'')' AND exact_at IS NULL FROM change_mirror_status")
    mdb.orders.insert_one({"_id": 10})
    call(shop, "resync_change_mirror", "orders")
    exact(shop, "orders")
    sync(shop, "shop")
    assert rows(shop, "orders") == list(range(11))
    pause(shop, "shop")
    resume(shop, "shop")
    sync(shop, "shop")
    exact(shop, "orders")


def test_dropped_extension(shop, mdb):
    """With CASCADE the columns of its types go, and the table stays; so do the documents' texts, where somebody has kept them."""
    mdb.orders.insert_many({"_id": number} for number in range(10, 1000))
    shop.execute("ALTER TABLE orders ADD COLUMN plain text GENERATED ALWAYS AS (_id::text) STORED")
    assert error_of(shop, "DROP EXTENSION mongo_change_stream").sqlstate == "2BP01"
    sync(shop, "shop")
    shop.execute("ALTER TABLE orders ALTER COLUMN plain DROP EXPRESSION")
    shop.execute("DROP EXTENSION mongo_change_stream CASCADE")
    assert shop.row("SELECT count(*), count(DISTINCT plain), count(changed_at) FROM orders") == (1000, 1000, 1000)
    assert shop.column("SELECT attname::text FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum") == ["changed_at", "plain"]
