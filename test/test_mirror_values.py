"""What a mirror writes: values of every type, _ids of other types than document, and what users have hung on the table."""
import uuid

import bson
import pytest

from harness.machine import wait_until
from mirrors import mirror, wait_exact
from streams import call, error_of, sync


def stopped(db, name):
    """Waits until a mirror has stopped and returns why."""
    wait_until(lambda: db.value("SELECT stopped_reason IS NOT NULL FROM change_mirrors WHERE mirror_name = %s", name), 30, f"{name} stops")
    return db.value("SELECT stopped_reason FROM change_mirrors WHERE mirror_name = %s", name)


def differences(db, name):
    return db.execute("SELECT difference, _id::text, here::text, there::text FROM check_change_mirror(%s)", name)


def resync(db, name):
    db.execute("SELECT resync_change_mirror(%s)", name)
    wait_exact(db, name)


# ------------------------------------------------------------ values

@pytest.mark.parametrize("kind, fits, shown, not_fitting", [
    ("text", bson.ObjectId("5" * 24), "5" * 24, None),
    ("varchar(3)", "abc", "abc", "abcd"),
    ("char(4)", "ab", "ab  ", "abcde"),
    ("name", "n" * 63, "n" * 63, "n" * 64),
    ("int", 12, "12", "12"),
    ("smallint", 12, "12", 40000),
    ("numeric(6,2)", bson.Decimal128("12.345"), "12.35", 1e9),
    ("boolean", True, "true", 1),
    ("timestamptz", bson.datetime_ms.DatetimeMS(0), "1970-01-01 00:00:00+00", "1970-01-01"),
    ("date", bson.datetime_ms.DatetimeMS(0), "1970-01-01", 5),
    ("uuid", bson.Binary.from_uuid(uuid.UUID(int=1)), str(uuid.UUID(int=1)), "x"),
    ("bytea", b"ab", "\\x6162", "ab"),
    ("jsonb", {"a": [1]}, '{"a": [1]}', float("nan")),
    ("text[]", ["a", None, 1], "{a,NULL,1}", "a"),
    ("int[]", [1, 2], "{1,2}", ["x"]),
    ("varchar(2)[]", ["ab"], "{ab}", ["abc"]),
    ("inet", "10.0.0.1", "10.0.0.1/32", "x"),
    ("mood", "ok", "ok", "bad"),
    ("short", "abc", "abc", "abcd"),
    ("short", "abc", "abc", "no"),
    ("document", {"a": 1}, '{"a": 1}', None)])
def test_safe_conversion(linked, mdb, kind, fits, shown, not_fitting):
    """What fits is as a cast has it; what does not is null, counted, and never cut."""
    linked.execute("CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN short AS varchar(3) CHECK (value <> 'no')")
    linked.execute(f"CREATE TABLE c (_id document PRIMARY KEY, v {kind}, document document)")
    mdb.c.insert_many([{"_id": 1, "v": fits}, {"_id": 2, "v": None}, {"_id": 3}] + ([{"_id": 4, "v": not_fitting}] if not_fitting is not None else []))
    mirror(linked, "c", columns="v = v")
    wait_exact(linked, "c")
    rows = linked.execute("SELECT v::text FROM c ORDER BY _id")
    assert rows == [(shown if kind != "char(4)" else "ab",)] + [(None,)] * (len(rows) - 1)
    assert linked.value("SELECT column_errors FROM change_mirror_progress") == len(rows) - 3
    assert differences(linked, "c") == []


def test_column_changes_its_type(linked, mdb):
    """ALTER TABLE while it runs: the next values are of the new type."""
    mdb.c.insert_one({"_id": 1, "v": 1})
    mirror(linked, "c", columns="v text = v")
    wait_exact(linked, "c")
    linked.execute("ALTER TABLE c ALTER v TYPE int USING v::int")
    mdb.c.insert_many([{"_id": 2, "v": 2}, {"_id": 3, "v": "x"}])
    sync(linked, "c")
    assert linked.execute("SELECT v FROM c ORDER BY _id") == [(1,), (2,), (None,)]


def test_settings_of_the_creator(linked, mdb):
    """Expressions, and triggers of the table, find what the creator of the mirror finds."""
    linked.execute("CREATE SCHEMA mine; CREATE FUNCTION mine.twice(n document) RETURNS int LANGUAGE sql AS 'SELECT 2 * n::int'; CREATE TABLE mine.log (n int)")
    linked.execute("CREATE TABLE c (_id document PRIMARY KEY, n int); CREATE FUNCTION mine.note() RETURNS trigger LANGUAGE plpgsql AS "
                   "'BEGIN INSERT INTO log VALUES (new.n); RETURN NULL; END'; CREATE TRIGGER note AFTER INSERT ON c FOR EACH ROW EXECUTE FUNCTION mine.note()")
    linked.execute("SET search_path = public, mine")
    mdb.c.insert_one({"_id": 1, "n": 4})
    mirror(linked, "c", columns="n = twice(n)")
    wait_exact(linked, "c")
    assert linked.execute("SELECT n FROM mine.log") == [(8,)]


def test_table_is_made_again(linked, mdb):
    """Another table of the name, without the rows: the mirror stops rather than to go on with a part of the documents."""
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}])
    mirror(linked, "c")
    wait_exact(linked, "c")
    linked.execute("DROP TABLE c; CREATE TABLE c (_id document PRIMARY KEY, document document)")
    mdb.c.insert_one({"_id": 3})
    assert "not the one that was written before" in stopped(linked, "c")
    resync(linked, "c")
    assert differences(linked, "c") == []
    linked.execute("DROP TABLE c; CREATE TABLE c (_id document PRIMARY KEY, document document)")
    resync(linked, "c")
    assert differences(linked, "c") == []


# ------------------------------------------------------------ _id of another type

@pytest.mark.parametrize("kind, ids", [
    ("text", ["a", bson.ObjectId(), 5, 2.5, True, bson.Binary.from_uuid(uuid.uuid4())]),
    ("uuid", [bson.Binary.from_uuid(uuid.uuid4()), bson.Binary.from_uuid(uuid.uuid4())]),
    ("bigint", [1, 2.0, bson.Int64(2**40)]),
    ("timestamptz", [bson.datetime_ms.DatetimeMS(1), bson.datetime_ms.DatetimeMS(2)])])
@pytest.mark.parametrize("document", ["", ", document document"])
def test_resync_with_another_type_of_id(linked, mdb, kind, ids, document):
    """Rows that MongoDB has stay with what users have put there; others go."""
    linked.execute(f"CREATE TABLE c (_id {kind} PRIMARY KEY, note text{document})")
    mdb.c.insert_many([{"_id": value} for value in ids])
    mirror(linked, "c")
    wait_exact(linked, "c")
    linked.execute("UPDATE c SET note = 'mine'")
    linked.execute("INSERT INTO c (_id) VALUES (%s)", {"text": "zz", "uuid": str(uuid.UUID(int=1)), "bigint": 77, "timestamptz": "2000-01-01 00:00:00.001"}[kind])
    resync(linked, "c")
    assert linked.execute("SELECT note FROM c") == [("mine",)] * len(ids)
    assert differences(linked, "c") == []


def test_text_that_reads_as_a_number(linked, mdb):
    """The string 1.0 is not the number 1, though as numbers they are equal; without the document only its text tells."""
    linked.execute("CREATE TABLE c (_id text PRIMARY KEY, note text)")
    mdb.c.insert_many([{"_id": value} for value in ("1.0", "-0", 0, 1, 2.5, "2.50")])
    mirror(linked, "c")
    wait_exact(linked, "c")
    linked.execute("UPDATE c SET note = 'mine'; SELECT pause_change_mirror('c')")
    mdb.c.delete_many({"_id": {"$type": "string"}})
    linked.execute("SELECT resume_change_mirror('c'); SELECT resync_change_mirror('c')")
    sync(linked, "c")
    wait_exact(linked, "c")
    assert linked.execute("SELECT _id, note FROM c ORDER BY 1") == [("0", "mine"), ("1", "mine"), ("2.5", "mine")]


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["document", "text"])
def test_rows_of_large_ids(linked, mdb, kind):
    """The _ids of a thousand rows may be more than one command of MongoDB's takes, be they MongoDB's or somebody's who has written them."""
    mdb.c.insert_many([{"_id": f"{number}" + "a" * 150_000} for number in range(400)])
    linked.execute(f"CREATE TABLE c (_id {kind} PRIMARY KEY, document document)")
    mirror(linked, "c")
    sync(linked, "c")
    wait_exact(linked, "c")
    linked.execute(f"INSERT INTO c SELECT {'to_document(i)' if kind == 'document' else 'i'}, to_document(json_build_object('_id', i)) "
                   "FROM (SELECT repeat('z', 150000) || n AS i FROM generate_series(1, 40) n) n")
    assert linked.value("SELECT count(*) FROM check_change_mirror('c')") == 40
    linked.execute("SELECT resync_change_mirror('c')")
    sync(linked, "c")
    wait_exact(linked, "c")
    assert linked.value("SELECT count(*) FROM c") == 400
    assert linked.execute("SELECT difference FROM check_change_mirror('c', 350)") == []


def test_two_documents_of_one_value(linked, mdb):
    """An ObjectId and the string of its digits are not one row: the mirror stops, and says so."""
    linked.execute("CREATE TABLE c (_id text PRIMARY KEY, document document)")
    mdb.c.insert_one({"_id": bson.ObjectId("5" * 24)})
    mirror(linked, "c")
    wait_exact(linked, "c")
    mdb.c.insert_one({"_id": "5" * 24})
    assert "two documents would be one row" in stopped(linked, "c")
    mdb.c.delete_one({"_id": "5" * 24})
    # a copy is as of the stream's position, which is to be behind that
    sync(linked, "c")
    resync(linked, "c")
    mdb.c.insert_one({"_id": None})
    assert "no value for this _id" in stopped(linked, "c")


# ------------------------------------------------------------ users' objects

def test_users_objects(linked, mdb):
    """A generated column, a default, a GIN index, triggers, a policy for readers, a foreign key that is deferred: as for any writer."""
    linked.execute("""CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers VALUES (1), (2);
        CREATE TABLE c (_id document PRIMARY KEY, document document, n int CHECK (n < 100), customer int REFERENCES customers DEFERRABLE INITIALLY DEFERRED,
            double int GENERATED ALWAYS AS (n * 2) STORED, number int GENERATED ALWAYS AS IDENTITY, made text DEFAULT 'here');
        CREATE INDEX ON c USING gin (document); ALTER TABLE c ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON c USING (n = 1);
        CREATE FUNCTION even() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF new.n % 2 = 1 THEN RETURN NULL; END IF; RETURN new; END';
        CREATE TRIGGER even BEFORE INSERT OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION even()""")
    mdb.c.insert_many({"_id": number, "n": number, "customer": 1 + number % 2} for number in range(60))
    mirror(linked, "c", columns="n = n, customer = customer")
    wait_exact(linked, "c")
    assert linked.row("SELECT count(*), sum(double), count(DISTINCT number), min(made) FROM c") == (30, sum(range(0, 120, 4)), 30, "here")
    assert {row[0] for row in differences(linked, "c")} == {"missing here"}
    mdb.c.update_many({}, {"$set": {"n": 4}})
    sync(linked, "c")
    assert linked.row("SELECT count(*), min(double), max(double) FROM c") == (60, 8, 8)
    mdb.c.update_one({"_id": 4}, {"$set": {"n": 100}})
    assert "c_n_check" in stopped(linked, "c")


@pytest.mark.parametrize("columns, what", [("n int NOT NULL", "null value"), ("n int REFERENCES customers", "foreign key"),
                                           ("n int REFERENCES customers DEFERRABLE INITIALLY DEFERRED", "foreign key"), ("n int UNIQUE", "unique")])
def test_the_table_refuses(linked, mdb, columns, what):
    """A refusal of the table's stops the mirror with PostgreSQL's words."""
    linked.execute("CREATE TABLE customers (id int PRIMARY KEY)")
    linked.execute(f"CREATE TABLE c (_id document PRIMARY KEY, {columns})")
    mdb.c.insert_many([{"_id": 1, "n": 7 if what != "null value" else "x"}, {"_id": 2, "n": 7}])
    mirror(linked, "c", columns="n = n")
    assert what in stopped(linked, "c")


def test_unique_value_moves_while_paused(linked, mdb):
    """The row that still holds it is in the copy's way; the reason says what to do with it."""
    linked.execute("CREATE TABLE c (_id document PRIMARY KEY, n int UNIQUE)")
    mdb.c.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    call(linked, "create_change_stream", "s", keep_events=False)
    mirror(linked, "c", stream_name="s", columns="n = n")
    wait_exact(linked, "c")
    linked.execute("SELECT pause_change_mirror('c')")
    mdb.c.update_one({"_id": 2}, {"$set": {"n": 3}})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 2}})
    # the copy is as of the stream's position, which is to be behind that
    sync(linked, "s")
    linked.execute("SELECT resume_change_mirror('c')")
    assert "DELETE it FROM public.c" in stopped(linked, "c")
    linked.execute("DELETE FROM c WHERE n = 2")
    resync(linked, "c")
    assert differences(linked, "c") == []


@pytest.mark.parametrize("deferred", [False, True])
def test_unique_values_are_swapped_while_paused(linked, mdb, deferred):
    """A constraint that is checked at the commit lets the copy pass; of another the reason says what is to go, and that is enough."""
    linked.execute(f"CREATE TABLE c (_id document PRIMARY KEY, n int UNIQUE {'DEFERRABLE INITIALLY DEFERRED' if deferred else ''})")
    mdb.c.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    call(linked, "create_change_stream", "s", keep_events=False)
    mirror(linked, "c", stream_name="s", columns="n = n")
    wait_exact(linked, "c")
    linked.execute("SELECT pause_change_mirror('c')")
    for number, value in ((2, 3), (1, 2), (2, 1)):
        mdb.c.update_one({"_id": number}, {"$set": {"n": value}})
    sync(linked, "s")
    linked.execute("SELECT resume_change_mirror('c')")
    if not deferred:
        reason = stopped(linked, "c")
        assert "DELETE it FROM public.c" in reason and "SELECT resync_change_mirror('c')" in reason
        linked.execute("DELETE FROM c WHERE n = 2")
        resync(linked, "c")
    wait_exact(linked, "c")
    assert differences(linked, "c") == []
    assert linked.execute("SELECT _id::text, n FROM c ORDER BY _id") == [("1", 2), ("2", 1)]


def test_policies_that_bind_the_owner(linked, mdb):
    """A row that they hide could not be deleted: refused, unless the owner is above them."""
    linked.execute("CREATE ROLE mirror_owner LOGIN")
    try:
        server = linked.value("SELECT srvname FROM pg_foreign_server")
        linked.execute(f"GRANT USAGE ON FOREIGN SERVER {server} TO mirror_owner; GRANT CREATE ON SCHEMA public TO mirror_owner")
        linked.execute("SET ROLE mirror_owner")
        linked.execute("CREATE TABLE c (_id document PRIMARY KEY); ALTER TABLE c ENABLE ROW LEVEL SECURITY; ALTER TABLE c FORCE ROW LEVEL SECURITY")
        error = error_of(linked, "SELECT create_change_mirror('c')")
        assert "NO FORCE ROW LEVEL SECURITY" in (error.diag.message_hint or ""), error
    finally:
        linked.execute("RESET ROLE")
        linked.execute("DROP OWNED BY mirror_owner; DROP ROLE mirror_owner")


def test_partitions_and_children(linked, mdb):
    """Rows go to their partitions; those of tables that only inherit are not the mirror's."""
    linked.execute("CREATE TABLE c (_id document PRIMARY KEY, document document) PARTITION BY HASH (_id)")
    for number in range(3):
        linked.execute(f"CREATE TABLE c{number} PARTITION OF c FOR VALUES WITH (MODULUS 3, REMAINDER {number})")
    linked.execute("CREATE TABLE d (_id document PRIMARY KEY, document document); CREATE TABLE child () INHERITS (d); INSERT INTO child VALUES ('1', '{\"_id\": 1}')")
    mdb.c.insert_many({"_id": number} for number in range(100))
    mirror(linked, "c")
    mirror(linked, "d", collection="c")
    wait_exact(linked, "c")
    wait_exact(linked, "d")
    mdb.c.update_many({}, {"$set": {"a": 1}})
    mdb.c.delete_many({"_id": {"$lt": 50}})
    for name in "cd":
        sync(linked, name)
        assert differences(linked, name) == []
    assert linked.row("SELECT count(*) FROM child") == (1,)
    mdb.c.drop()
    for name in "cd":
        sync(linked, name)
    assert linked.row("SELECT (SELECT count(*) FROM c), (SELECT count(*) FROM d)") == (0, 1)
