"""check_change_mirror: differences are found and named, none is invented while both sides change."""
import threading
import uuid

import bson
import pytest

from foreign import messages
from mirrors import mirror, wait_exact
from streams import call, create, error_of, pause

CHECK = "SELECT difference, _id::text, here::text, there::text FROM check_change_mirror(%s, %s)"


def check(db, name, sample=None):
    return sorted(db.execute(CHECK, name, sample), key=str)


@pytest.fixture
def orders(linked, mdb):
    mdb.orders.insert_many([{"_id": number, "status": "new", "total": number * 1.5} for number in range(2500)]
                           + [{"_id": value} for value in ("a", "A", bson.ObjectId(), None, bson.MinKey(), bson.MaxKey(), {"a": 1}, 1.5, b"x", bson.Binary.from_uuid(uuid.uuid4()))])
    mirror(linked, "orders", columns="status text = status, total numeric = total")
    wait_exact(linked, "orders")
    return linked


def test_equal(orders):
    assert check(orders, "orders") == []
    assert check(orders, "orders", 100) == []


def test_each_difference(orders):
    """Rows that somebody else has changed, deleted, made."""
    orders.execute("DELETE FROM orders WHERE _id = '7'")
    orders.execute("UPDATE orders SET document = '{\"_id\": 8}' WHERE _id = '8'")
    orders.execute("UPDATE orders SET total = NULL WHERE _id = '9'")
    orders.execute("UPDATE orders SET status = 'old' WHERE _id = '10'")
    orders.execute("INSERT INTO orders (_id, document) VALUES ('99999', '{\"_id\": 99999}'), ('[1]', NULL), ('{\"$ne\": 1}', NULL)")
    orders.execute("UPDATE orders SET _id = '11.0' WHERE _id = '11'")
    assert check(orders, "orders") == sorted([
        ("missing here", "7", None, '{"_id": 7, "status": "new", "total": 10.5}'),
        ("document differs", "8", '{"_id": 8}', '{"_id": 8, "status": "new", "total": 12.0}'),
        ("column total differs", "9", None, '{"$numberDecimal": "13.5"}'),
        ("column status differs", "10", '"old"', '"new"'),
        ("not in MongoDB", "99999", '{"_id": 99999}', None),
        ("not in MongoDB", "[1]", None, None),
        ("not in MongoDB", '{"$ne": 1}', None, None),
        ("column _id differs", "11", "11.0", "11")], key=str)
    assert {row[0] for row in check(orders, "orders", 3000)} == {"missing here", "document differs", "column total differs", "column status differs",
                                                               "not in MongoDB", "column _id differs"}
    orders.execute("SELECT resync_change_mirror('orders')")
    wait_exact(orders, "orders")
    assert check(orders, "orders") == []


def test_values_that_do_not_fit(linked, mdb):
    """Their nulls are no difference; a value of theirs would be one."""
    mdb.c.insert_many([{"_id": 1, "n": "x"}, {"_id": 2, "n": 2}, {"_id": 3, "n": None}, {"_id": 4}])
    mirror(linked, "c", columns="n int = n, tags text[] = tags, at timestamptz = at")
    wait_exact(linked, "c")
    assert check(linked, "c") == []
    linked.execute("UPDATE c SET n = 5 WHERE _id = '1'")
    assert check(linked, "c") == [("column n differs", "1", "5", None)]


def test_filter_and_masks(linked, mdb):
    """Only what passes is compared, as it is stored."""
    mdb.c.insert_many([{"_id": 1, "n": 1, "secret": 1}, {"_id": 2, "n": 20, "secret": 2}])
    call(linked, "create_change_stream", "s", exclude_fields=["secret"], keep_events=False)
    mirror(linked, "c", stream_name="s", filter="n < 10")
    wait_exact(linked, "c")
    assert check(linked, "c") == []
    linked.execute("INSERT INTO c (_id, document) VALUES ('2', '{\"_id\": 2}')")
    assert check(linked, "c") == [("not in MongoDB", "2", '{"_id": 2}', None)]


@pytest.mark.parametrize("kind, ids", [
    ("text", ["a", bson.ObjectId(), 5, 2.5, bson.Decimal128("0.1"), "2024-01-01", {"a": 1}]),
    ("uuid", [bson.Binary.from_uuid(uuid.uuid4()), bson.Binary.from_uuid(uuid.uuid4())]),
    ("bigint", [1, 2.0, bson.Int64(2**40)])])
@pytest.mark.parametrize("document", ["", ", document document"])
def test_other_types_of_id(linked, mdb, kind, ids, document):
    """Rows tell which document they are of, by it or by their _id's text."""
    linked.execute(f"CREATE TABLE c (_id {kind} PRIMARY KEY{document})")
    mdb.c.insert_many([{"_id": value} for value in ids if document or not isinstance(value, dict)])
    mirror(linked, "c")
    wait_exact(linked, "c")
    assert check(linked, "c") == []
    assert check(linked, "c", 10) == []
    linked.execute("DELETE FROM c WHERE ctid = (SELECT min(ctid) FROM c)")
    linked.execute("INSERT INTO c VALUES (%s)", {"text": "zz", "uuid": str(uuid.UUID(int=1)), "bigint": 77}[kind])
    assert [row[0] for row in check(linked, "c")] == ["missing here", "not in MongoDB"]


@pytest.mark.parametrize("kind, stray, document, name", [("bigint", "77", "1", '{"$numberLong": "77"}'), ("text", "-0", "-0.0", "-0.0"), ("text", "zz", "1", '"zz"'),
                                                        ("timestamptz", "1970-01-01 00:00:00.0005+00", '{"$date": {"$numberLong": "0"}}', None)])
def test_row_with_the_document_of_another(linked, mdb, kind, stray, document, name):
    """What somebody has written into a row's document does not make it that document's: it is named, and resync takes it away."""
    linked.execute(f"CREATE TABLE c (_id {kind} PRIMARY KEY, document document, note text)")
    mdb.c.insert_many([{"_id": value} for value in ([bson.datetime_ms.DatetimeMS(0)] if kind == "timestamptz" else [0, 1])])
    mirror(linked, "c")
    wait_exact(linked, "c")
    linked.execute("UPDATE c SET note = 'mine'")
    linked.execute("INSERT INTO c VALUES (%s, %s)", stray, f'{{"_id": {document}}}')
    (difference, _id, here, there), = check(linked, "c")
    assert (difference, there) == ("not in MongoDB", None) and here and _id == (name or _id)
    assert check(linked, "c", 10) == check(linked, "c")
    # nor does it keep the row's own document out
    if kind == "bigint":
        linked.execute("UPDATE c SET document = '{\"_id\": 0}' WHERE _id = 1")
        mdb.c.update_one({"_id": 1}, {"$set": {"n": 1}})
        linked.value("SELECT sync_change_stream('c')")
        linked.execute("UPDATE c SET document = '{\"_id\": 1}' WHERE _id = 0")
    linked.execute("SELECT resync_change_mirror('c')")
    linked.value("SELECT sync_change_stream('c')")
    wait_exact(linked, "c")
    assert check(linked, "c") == [] and set(linked.column("SELECT note FROM c")) == {"mine"}


def test_two_documents_of_one_row(linked, mdb):
    """Without a column for the document the table cannot tell the string 1 from the number, if they come one after the other; the check can."""
    linked.execute("CREATE TABLE c (_id text PRIMARY KEY, n int)")
    mdb.c.insert_many([{"_id": 1, "n": 1}, {"_id": "x", "n": 1}])
    mirror(linked, "c", columns="n = n")
    wait_exact(linked, "c")
    mdb.c.insert_one({"_id": "1", "n": 1})
    linked.value("SELECT sync_change_stream('c')")
    assert check(linked, "c") == [("two documents are one row", "1", '"1"', '"1"')]
    assert check(linked, "c", 10) == check(linked, "c")


@pytest.mark.parametrize("table, statements", [
    ("_id document PRIMARY KEY, n int, document document)", ["TRUNCATE c", "TRUNCATE other CASCADE", "ALTER TABLE c DROP COLUMN document, ADD COLUMN document document",
                                                             "ALTER TABLE c DROP COLUMN n; ALTER TABLE c ADD n int"]),
    ("_id bigint PRIMARY KEY, n int) PARTITION BY RANGE (_id)", ["TRUNCATE part", "TRUNCATE ONLY part, other"])])
def test_emptied_by_hand(linked, mdb, table, statements):
    """TRUNCATE, in whichever way, and a new column in an old one's place are noticed at once, and mended by a copy."""
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(10)])
    linked.execute(f"CREATE TABLE other (n int PRIMARY KEY); CREATE TABLE c ({table}")
    linked.execute("CREATE TABLE part PARTITION OF c FOR VALUES FROM (0) TO (100)" if "PARTITION" in table else "ALTER TABLE c ADD o int REFERENCES other")
    create(linked, "s", keep_events=False)
    mirror(linked, "c", stream_name="s", columns="n = n")
    for statement in statements:
        linked.value("SELECT sync_change_stream('s')")
        wait_exact(linked, "c")
        heard = messages(linked.connection)
        linked.execute(f"BEGIN; {statement}")
        assert linked.value("SELECT exact_at IS NULL AND state = 'snapshot' FROM change_mirror_status")
        linked.execute("COMMIT")
        assert any("copies its collection again" in message[1] for message in heard), heard
        wait_exact(linked, "c")
        assert check(linked, "c") == [] and linked.value("SELECT count(*) FROM c") == 10
    # what changes nothing copies nothing
    linked.execute("ALTER TABLE c ADD COLUMN IF NOT EXISTS n int")
    assert linked.value("SELECT exact_at IS NOT NULL AND state = 'active' FROM change_mirror_status")
    linked.execute("SELECT pause_change_mirror('c'); TRUNCATE c; ALTER TABLE other ADD document document")
    assert linked.value("SELECT state FROM change_mirror_status") == "paused"


def test_collation(linked, mdb):
    """An order of strings that is not ours, and strings that MongoDB takes for equal."""
    mdb.create_collection("c", collation={"locale": "en", "strength": 2})
    mdb.c.insert_many([{"_id": value} for value in ("b", "A", "c", "É", "z", "_")])
    mirror(linked, "c")
    wait_exact(linked, "c")
    assert check(linked, "c") == []
    linked.execute("INSERT INTO c VALUES ('\"B\"', '{\"_id\": \"B\"}')")
    assert check(linked, "c") == [("not in MongoDB", '"B"', '{"_id": "B"}', None)]


def test_no_collection(linked, mdb):
    """There is nothing on both sides, or only here."""
    mirror(linked, "nothing")
    wait_exact(linked, "nothing")
    assert check(linked, "nothing") == []
    linked.execute("INSERT INTO nothing VALUES ('1', '{\"_id\": 1}')")
    assert check(linked, "nothing") == [("not in MongoDB", "1", '{"_id": 1}', None)]


def test_while_both_change(orders, mdb):
    """A writer is at work; whatever the moment, nothing differs."""
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            mdb.orders.update_many({"_id": {"$gte": number % 2500, "$lt": number % 2500 + 50}}, {"$inc": {"total": 1}})
            mdb.orders.delete_one({"_id": number % 2500})
            mdb.orders.insert_one({"_id": number % 2500, "again": number})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert check(orders, "orders") == []
            assert check(orders, "orders", 200) == []
        with orders.connection.transaction():
            orders.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert check(orders, "orders") == []
    finally:
        stop.set()
        writer.join()


def test_when_it_is_not_exact(orders):
    """A stream that does not run is as of its position; a mirror that is paused, or has stopped, is of no time."""
    pause(orders, "orders")
    assert check(orders, "orders") == []
    orders.execute("SELECT resume_change_mirror('orders')")
    orders.execute("DROP TABLE orders")
    orders.execute("CREATE TABLE orders (_id int)")
    assert error_of(orders, CHECK, "nosuch", None).sqlstate == "42704"
    assert error_of(orders, CHECK, "orders", 0).sqlstate == "22023"


def test_rights(orders, postgres):
    """It is the owner's, and runs as him whoever asks."""
    orders.execute("CREATE ROLE checker_stranger LOGIN")
    try:
        orders.execute("SET SESSION AUTHORIZATION checker_stranger")
        assert error_of(orders, CHECK, "orders", None).sqlstate in ("42501", "42704")
    finally:
        orders.execute("RESET SESSION AUTHORIZATION")
        orders.execute("DROP ROLE checker_stranger")


def test_cancel(orders, mongo):
    """It ends at once, and the session goes on."""
    mongo.fail_command(["find"], blockConnection=True, blockTimeMS=5000)
    try:
        orders.execute("SET statement_timeout = '500ms'")
        assert error_of(orders, CHECK, "orders", None).sqlstate == "57014"
        orders.execute("RESET statement_timeout")
    finally:
        mongo.stop_failing()
    assert check(orders, "orders", 5) == []


def test_more_than_is_held_at_once(linked, mdb):
    """Documents that are asked for by their _ids, for a filter or a sample, come in parts where they are large."""
    for number in range(90):
        mdb.big.insert_one({"_id": number, "keep": number < 80, "pad": b"x" * 1_000_000})
    mirror(linked, "big", filter="keep")
    wait_exact(linked, "big")
    assert check(linked, "big") == [] and check(linked, "big", 200) == []
    linked.execute("DELETE FROM big WHERE _id = '7'; INSERT INTO big (_id, document) VALUES ('85', '{\"_id\": 85}')")
    found = [(difference, key) for difference, key, _, _ in check(linked, "big")]
    assert ("missing here", "7") in found and len(found) == 2, found
