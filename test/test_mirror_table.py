"""A mirror's table: failures that stop it alone, its columns, other people's objects, rights, dumps, bad input."""
import datetime
import subprocess

import bson
import psycopg
import pytest

from harness.machine import wait_until
from mirrors import equal_now, make_shop, mirror, rows, same, status, stopped, synced, wait_exact
from streams import create, error_of, resume, sync
from streams import status as stream_status


@pytest.fixture
def shop(linked, mongo, mdb):
    return make_shop(linked, mongo, mdb)


def others_go_on(db, mongo, mdb, number):
    """The stream and its mirror d are as ever."""
    mdb.d.insert_one({"_id": number})
    synced(db, "s", "d")
    assert mongo is None or equal_now(db, mongo, mdb.name, "d", "d", 20) > 1
    assert stream_status(db, "s")["state"] in ("active", "snapshot")


# ------------------------------------------------------------ a mirror that fails

def drop_the_table(db):
    db.execute("DROP TABLE c")


def mend_the_table(db):
    db.execute("CREATE TABLE c (_id document PRIMARY KEY, document document, changed_at timestamptz)")


def add_a_check(db):
    db.execute("ALTER TABLE c ADD CONSTRAINT small CHECK ((document->>'n')::int < 10)")


def drop_the_check(db):
    db.execute("ALTER TABLE c DROP CONSTRAINT small")


def drop_a_column(db):
    db.execute("ALTER TABLE c DROP COLUMN _id")


def add_the_column(db):
    db.execute("TRUNCATE c; ALTER TABLE c ADD COLUMN _id document PRIMARY KEY")


def drop_the_key(db):
    db.execute("ALTER TABLE c DROP CONSTRAINT c_pkey")


def add_the_key(db):
    db.execute("ALTER TABLE c ADD PRIMARY KEY (_id)")


def raise_in_a_trigger(db):
    db.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (NEW.document->>'n')::int > 9 THEN RAISE 'not this one'; END IF;"
               " RETURN NEW; END $$; CREATE TRIGGER no BEFORE INSERT OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION no()")


def drop_the_trigger(db):
    db.execute("DROP TRIGGER no ON c")


def defer_a_foreign_key(db):
    db.execute("CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers VALUES (0), (1), (2);"
               "ALTER TABLE c ADD COLUMN n int; ALTER TABLE c ADD FOREIGN KEY (n) REFERENCES numbers DEFERRABLE INITIALLY DEFERRED;"
               "SELECT alter_change_mirror('c', columns => 'n int = n')")
    synced(db, "s", "c")


def add_the_number(db):
    db.execute("INSERT INTO numbers VALUES (100), (5)")


def unique_column(db):
    db.execute("ALTER TABLE c ADD COLUMN n int UNIQUE; SELECT alter_change_mirror('c', columns => 'n int = CASE WHEN n > 9 THEN 1 ELSE n END')")
    synced(db, "s", "c")


def drop_the_unique(db):
    db.execute("ALTER TABLE c DROP CONSTRAINT c_n_key")


@pytest.mark.parametrize("fails, mend", [(drop_the_table, mend_the_table), (add_a_check, drop_the_check), (drop_a_column, add_the_column),
                                         (drop_the_key, add_the_key), (raise_in_a_trigger, drop_the_trigger),
                                         (defer_a_foreign_key, add_the_number), (unique_column, drop_the_unique)])
def test_failing_mirror_stops_alone(shop, mongo, mdb, fails, mend):
    """The stream and the other mirror go on; the reason names the command that brings it back."""
    fails(shop)
    mdb.c.insert_one({"_id": 100, "n": 100})
    shown = stopped(shop, "c")
    assert shown["last_error"]
    assert ";;" not in shown["reason"] and ".;" not in shown["reason"]
    others_go_on(shop, mongo, mdb, 1)
    mdb.c.insert_one({"_id": 5, "n": 5})
    mdb.c.delete_one({"_id": 0})
    others_go_on(shop, mongo, mdb, 2)
    assert status(shop, "c")["state"] == "error"
    mend(shop)
    shop.execute("SELECT resync_change_mirror('c')")
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 4
    assert status(shop, "c")["state"] == "active"


@pytest.mark.parametrize("sqlstate", [pytest.param("40001", marks=pytest.mark.faults), "08006"])
def test_failure_that_does_not_pass(shop, mongo, mdb, sqlstate):
    """A deadlock passes by itself, a partition's server that is away for good does not: the others are held up for a while only."""
    shop.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW._id = document '100' THEN RAISE 'not this one' "
                 f"USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$; CREATE TRIGGER no BEFORE INSERT OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION no()")
    mdb.c.insert_one({"_id": 100})
    wait_until(lambda: 'interrupted change mirror "c"' in (status(shop, "d")["reason"] or ""), 20, "the error has been told")
    stopped(shop, "c", timeout=90)
    others_go_on(shop, mongo, mdb, 1)
    drop_the_trigger(shop)
    shop.execute("SELECT resync_change_mirror('c')")
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 4


def test_failing_in_its_copy(shop, mongo, mdb):
    """A constraint that a document of the copy breaks."""
    shop.execute("CREATE TABLE e (_id document PRIMARY KEY, document document, CONSTRAINT few CHECK ((document->>'n')::int < 2))")
    mirror(shop, "e", stream_name="s", collection="c")
    assert "check constraint" in stopped(shop, "e")["last_error"]
    others_go_on(shop, mongo, mdb, 1)
    shop.execute("ALTER TABLE e DROP CONSTRAINT few; SELECT resync_change_mirror('e')")
    synced(shop, "s", "c", "d", "e")
    assert same(shop, mongo, mdb, "e", "c") == 3


def test_owner_of_the_table_changes(shop, mongo, mdb):
    """A table that is somebody else's now is not written, and nothing of his runs."""
    shop.execute("CREATE ROLE mallory")
    try:
        shop.execute("GRANT CREATE ON SCHEMA public TO mallory; ALTER TABLE c OWNER TO mallory")
        mdb.c.insert_one({"_id": 100})
        stopped(shop, "c")
        others_go_on(shop, mongo, mdb, 1)
        shop.execute("ALTER TABLE c OWNER TO postgres; SELECT resync_change_mirror('c')")
        synced(shop, "s", "c")
        assert same(shop, mongo, mdb) == 4
    finally:
        shop.execute("DROP OWNED BY mallory CASCADE; DROP ROLE mallory")


def test_renamed_table(shop, mongo, mdb):
    """It goes on under its new name, in another schema, too."""
    shop.execute("CREATE SCHEMA other; ALTER TABLE c RENAME TO \"C's own\"; ALTER TABLE \"C's own\" SET SCHEMA other")
    mdb.c.insert_one({"_id": 100})
    synced(shop, "s", "c")
    assert shop.value("SELECT count(*) FROM other.\"C's own\"") == 4
    assert "C's own" in status(shop, "c")["table_name"]


def test_locked_table_is_waited_for(shop, mongo, mdb):
    """A lock holds the stream up, and the status says whose; then it goes on."""
    with shop.connect(autocommit=False) as locker:
        locker.execute("LOCK TABLE c")
        mdb.c.insert_one({"_id": 100})
        shop.wait_for("SELECT reason LIKE '%%lock%%' FROM change_stream_status", timeout=20)
        assert "waits for a lock on c" in status(shop, "d")["reason"]
        locker.rollback()
    synced(shop, "s", "c")
    assert same(shop, mongo, mdb) == 4


# ------------------------------------------------------------ options of a mirror

def test_on_delete_mark(linked, mongo, mdb):
    """The row stays with the time of the delete; a document that comes again is no deleted one."""
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(4)])
    mirror(linked, "c", on_delete="mark")
    wait_exact(linked, "c")
    mdb.c.delete_one({"_id": 1})
    mdb.c.delete_one({"_id": 2})
    sync(linked, "c")
    mdb.c.insert_one({"_id": 2, "n": "again"})
    synced(linked, "c", "c")
    found = linked.execute("SELECT _id::text, document->>'n', deleted_at IS NOT NULL, deleted_at IS NULL OR abs(extract(epoch FROM now() - deleted_at)) < 60"
                           " FROM c ORDER BY _id")
    assert found == [("0", "0", False, True), ("1", "1", True, True), ("2", "again", False, True), ("3", "3", False, True)]
    assert linked.execute("SELECT * FROM check_change_mirror('c')") == []
    mdb.c.drop()
    mdb.c.insert_one({"_id": 3})
    synced(linked, "c", "c")
    assert linked.column("SELECT _id::text FROM c WHERE deleted_at IS NULL") == ["3"]
    assert linked.value("SELECT count(*) FROM c") == 4
    linked.execute("SELECT resync_change_mirror('c')")
    mdb.c.delete_one({"_id": 3})
    synced(linked, "c", "c")
    assert linked.value("SELECT count(*) FROM c WHERE deleted_at IS NOT NULL") == 4


def test_filter(linked, mongo, mdb):
    """A document leaves when it passes no longer, and returns."""
    mdb.c.insert_many([{"_id": number, "status": "open" if number % 2 else "done"} for number in range(6)])
    mirror(linked, "c", filter="status = 'open'")
    wait_exact(linked, "c")
    ids = "SELECT array_agg(_id::int ORDER BY _id::int) FROM c"
    assert linked.value(ids) == [1, 3, 5]
    mdb.c.update_one({"_id": 3}, {"$set": {"status": "done"}})
    mdb.c.update_one({"_id": 0}, {"$set": {"status": "open"}})
    mdb.c.insert_one({"_id": 6})
    synced(linked, "c", "c")
    assert linked.value(ids) == [0, 1, 5]
    mdb.c.update_one({"_id": 3}, {"$set": {"status": "open"}})
    mdb.c.replace_one({"_id": 5}, {"status": ["open"]})
    synced(linked, "c", "c")
    assert linked.value(ids) == [0, 1, 3]
    assert linked.execute("SELECT * FROM check_change_mirror('c')") == []
    linked.execute("SELECT alter_change_mirror('c', filter => $$ status = 'done' $$)")
    synced(linked, "c", "c")
    assert linked.value(ids) == [2, 4]


def test_column_errors(linked, mongo, mdb):
    """A value that does not fit is NULL, is counted, and is named in the status; the others are there."""
    mdb.c.insert_many([{"_id": 1, "n": 5, "at": datetime.datetime(2026, 1, 1)}, {"_id": 2, "n": "five", "at": 7}, {"_id": 3, "n": "6"},
                       {"_id": 4, "n": 1 << 40, "at": None}])
    mirror(linked, "c", columns="n int = n, at timestamptz = at, doubled int = n * 2")
    wait_exact(linked, "c")
    shown = status(linked, "c")
    found = linked.execute("SELECT _id::text, n, at IS NOT NULL FROM c ORDER BY _id")
    assert [(key, n) for key, n, _ in found] == [("1", 5), ("2", None), ("3", None), ("4", None)]
    # n and doubled of three documents, at of one: a string is no number, as in any cast of a document
    assert shown["column_errors"] == 7 and shown["state"] == "active" and "7 values did not fit" in shown["reason"], shown
    assert any(f"{name}: " in shown["reason"] for name in ("n", "at", "doubled")), shown
    before = shown["column_errors"]
    mdb.c.update_one({"_id": 1}, {"$set": {"n": {"a": 1}}})
    synced(linked, "c", "c")
    assert linked.value("SELECT n FROM c WHERE _id = '1'") is None
    assert linked.value("SELECT document->>'n' FROM c WHERE _id = '1'") is not None
    assert status(linked, "c")["column_errors"] > before
    assert same(linked, mongo, mdb) == 4


def test_own_columns_keep_their_values(linked, mongo, mdb):
    """A table of the user's, with a key of another type, columns of his own, a generated one and a default."""
    linked.execute("CREATE TABLE orders (note text, _id text PRIMARY KEY, document document, total numeric, double numeric GENERATED ALWAYS AS (total * 2) STORED,"
                   " made timestamptz NOT NULL DEFAULT now(), serial bigserial)")
    first = bson.ObjectId()
    mdb.orders.insert_many([{"_id": first, "total": 1.5}, {"_id": "text", "total": 2}, {"_id": 7, "total": 3}])
    mirror(linked, "orders", columns="total numeric = total")
    wait_exact(linked, "orders")
    assert linked.execute("SELECT _id, total, double FROM orders ORDER BY total") == [(str(first), 1.5, 3), ("text", 2, 4), ("7", 3, 6)]
    linked.execute("UPDATE orders SET note = 'mine' WHERE _id = 'text'")
    before = linked.row("SELECT made, serial FROM orders WHERE _id = 'text'")
    mdb.orders.update_one({"_id": "text"}, {"$inc": {"total": 10}})
    mdb.orders.delete_one({"_id": first})
    synced(linked, "orders", "orders")
    assert linked.row("SELECT total, double, note FROM orders WHERE _id = 'text'") == (12, 24, "mine")
    assert linked.row("SELECT made, serial FROM orders WHERE _id = 'text'") == before
    assert linked.value("SELECT count(*) FROM orders") == 2
    linked.execute("SELECT resync_change_mirror('orders')")
    synced(linked, "orders", "orders")
    assert linked.row("SELECT note, serial FROM orders WHERE _id = 'text'") == ("mine", before[1])
    mdb.orders.delete_one({"_id": 7})
    synced(linked, "orders", "orders")
    assert linked.column("SELECT _id FROM orders") == ["text"]


def test_exclude_and_mask(linked, mongo, mdb):
    """What the stream hides is in no document and no column; check_change_mirror compares the rest."""
    create(linked, "s", keep_events=False, exclude_fields=["secret", "a.b"], mask_fields=["card"])
    mdb.c.insert_many([{"_id": number, "secret": "s", "a": {"b": 1, "c": 2}, "card": "1234"} for number in range(3)])
    mirror(linked, "c", stream_name="s", columns="secret text = secret, card text = card, c int = a.c")
    synced(linked, "s", "c")
    mdb.c.update_one({"_id": 1}, {"$set": {"secret": "t", "a.b": 5, "card": "5678", "a.c": 3}})
    synced(linked, "s", "c")
    for key, secret, card, number, text in linked.execute("SELECT _id::int, secret, card, c, document::text FROM c"):
        assert secret is None and card not in ("1234", "5678") and number == (3 if key == 1 else 2)
        assert "secret" not in text and "1234" not in text and "5678" not in text and '"b"' not in text
    assert linked.execute("SELECT * FROM check_change_mirror('c')") == []


def test_alter_columns(shop, mongo, mdb):
    """New columns are filled from the stored documents."""
    shop.execute("SELECT alter_change_mirror('c', columns => 'n int = n, twice int = n * 2')")
    synced(shop, "s", "c")
    wait_until(lambda: shop.execute("SELECT n, twice FROM c ORDER BY n") == [(0, 0), (1, 2), (2, 4)], 20)
    mdb.c.update_one({"_id": 2}, {"$set": {"n": 50}})
    synced(shop, "s", "c")
    assert shop.execute("SELECT n, twice FROM c ORDER BY n") == [(0, 0), (1, 2), (50, 100)]
    assert same(shop, mongo, mdb) == 3


# ------------------------------------------------------------ rights and dumps

def test_dump_and_restore(shop, postgres, mongo, mdb, tmp_path):
    """A restored mirror is paused with its stream; resumed, it goes on from where the dump was."""
    tmp_path.chmod(0o777)
    program = postgres.installation.program
    environment = postgres.client_environment(shop.name)
    subprocess.run([program("pg_dump"), "-Fc", "-f", str(tmp_path / "dump"), shop.name], check=True, env=environment)
    mdb.c.insert_one({"_id": "after the dump"})
    mdb.c.delete_one({"_id": 0})
    copy = postgres.create_database(f"{shop.name}_copy", extension=False)
    try:
        done = subprocess.run([program("pg_restore"), "-d", copy.name, str(tmp_path / "dump")], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: stream_status(copy, "s"))
        assert stream_status(copy, "s")["state"] == "paused"
        assert len(rows(copy.connection, "c")) == 3
        resume(copy, "s")
        synced(copy, "s", "c", "d")
        equal_now(copy, mongo, mdb.name, "c", "c", 20)
        assert copy.execute("SELECT * FROM check_change_mirror('c')") == []
        # the original goes on, too
        synced(shop, "s", "c")
        same(shop, mongo, mdb)
    finally:
        copy.close()
        postgres.drop_database(copy.name)


def test_owner_without_super_powers(linked, mongo, mdb):
    """A role with USAGE on the server: its table, its triggers as itself, and nobody else's table."""
    linked.execute("CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice; GRANT CREATE ON SCHEMA public TO alice;"
                   "CREATE TABLE not_hers (_id document PRIMARY KEY, document document)")
    try:
        mdb.c.insert_one({"_id": 1})
        with linked.connect("alice") as alice:
            mirror(alice, "c")
            for name, table in (("x", "not_hers"), ("y", "pg_catalog.pg_class")):
                with pytest.raises(psycopg.Error) as failed:
                    mirror(alice, name, collection="c", stream_name="c", table_name=table)
                assert failed.value.sqlstate in ("42501", "42809", "0A000", "42704", "55000", "42P16"), failed.value
            alice.execute("CREATE TABLE log (who text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES"
                          " (current_user || ' ' || session_user); RETURN NEW; END $$; CREATE TRIGGER note BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION note()")
        wait_exact(linked, "c")
        mdb.c.insert_one({"_id": 2})
        sync(linked, "c")
        assert set(linked.column("SELECT who FROM log")) == {"alice alice"}
        assert linked.row("SELECT tableowner::text FROM pg_tables WHERE tablename = 'c'") == ("alice",)
        with linked.connect("alice") as alice:
            assert alice.execute("SELECT count(*) FROM change_mirror_status").fetchone()[0] == 1
        linked.execute("CREATE ROLE bob LOGIN")
        with linked.connect("bob") as bob:
            assert bob.execute("SELECT count(*) FROM change_mirror_status").fetchone()[0] == 0
            for call in ("drop_change_mirror", "pause_change_mirror", "resync_change_mirror", "check_change_mirror"):
                with pytest.raises(psycopg.Error) as failed:
                    bob.execute(f"SELECT {call}('c')")
                assert failed.value.sqlstate in ("42501", "42704"), failed.value
    finally:
        linked.execute("DROP ROLE IF EXISTS bob")
        linked.execute("DROP OWNED BY alice CASCADE; DROP ROLE alice")


# ------------------------------------------------------------ bad input

@pytest.mark.parametrize("table", [
    "CREATE TABLE t (document document)", "CREATE TABLE t (_id point, document document)", "CREATE TABLE t (_id document, document document)",
    "CREATE TABLE t (_id document, document document); CREATE UNIQUE INDEX ON t (_id) WHERE _id IS NOT NULL",
    "CREATE VIEW t AS SELECT NULL::document AS _id", "CREATE TABLE t (_id document PRIMARY KEY, document text)",
    "CREATE FOREIGN TABLE t (_id document) SERVER mongo OPTIONS (collection 'c')", "CREATE SEQUENCE t",
    "CREATE TABLE t (_id document PRIMARY KEY, n int)"])
def test_bad_tables(linked, mdb, table):
    """Each refused with what is wrong, and nothing changed."""
    mdb.c.insert_one({"_id": 1, "n": 1})
    linked.execute(table)
    if table.endswith("n int)"):
        error = error_of(linked, "SELECT create_change_mirror('m', collection => 'c', table_name => 't', columns => 'missing int = n')")
    else:
        error = error_of(linked, "SELECT create_change_mirror('m', collection => 'c', table_name => 't')")
    assert error.sqlstate[:2] in ("42", "22", "0A", "55") and error.diag.message_primary, error
    assert error.diag.message_hint or error.diag.message_detail, error
    assert linked.row("SELECT (SELECT count(*) FROM change_mirrors), (SELECT count(*) FROM change_streams), (SELECT count(*) FROM change_stream_snapshots)") == (0, 0, 0)


@pytest.mark.parametrize("options, sqlstate", [
    ("columns => 'n int ='", "42601"), ("columns => 'n nonsense = n'", "42704"), ("columns => 'n int = no_such_function(n)'", "42883"),
    ("columns => 'n int = n, n text = n'", "42701"), ("columns => '_id int = n'", None), ("filter => 'n >'", "42601"), ("filter => 'count(*) > 1'", None),
    ("on_delete => 'keep'", "22023"), ("stream_name => 'none'", "42704"), ("table_name => 'no_schema.t'", "3F000"),
    ("collection => ''", None), ("server => 'none'", "42704")])
def test_bad_arguments(linked, mdb, options, sqlstate):
    mdb.c.insert_one({"_id": 1})
    arguments = options if "collection" in options else f"collection => 'c', {options}"
    error = error_of(linked, f"SELECT create_change_mirror('m', {arguments})")
    assert sqlstate is None and error.sqlstate[:2] in ("42", "22", "0A") or error.sqlstate == sqlstate, error
    assert linked.row("SELECT (SELECT count(*) FROM change_mirrors), (SELECT count(*) FROM change_streams), to_regclass('m')") == (0, 0, None)


def test_name_that_is_taken(shop):
    error = error_of(shop, "SELECT create_change_mirror('c', stream_name => 's')")
    assert error.sqlstate == "42710", error


def test_partitioned_table(shop, mongo, mdb):
    """A table partitioned by _id takes a mirror as any."""
    shop.execute("CREATE TABLE e (_id document PRIMARY KEY, document document) PARTITION BY HASH (_id)")
    for number in range(3):
        shop.execute(f"CREATE TABLE e{number} PARTITION OF e FOR VALUES WITH (MODULUS 3, REMAINDER {number})")
    mirror(shop, "e", stream_name="s", collection="c")
    mdb.c.insert_many([{"_id": f"x{number}"} for number in range(30)])
    mdb.c.update_many({}, {"$set": {"n": 5}})
    mdb.c.delete_one({"_id": 0})
    synced(shop, "s", "e", "c")
    assert same(shop, mongo, mdb, "e", "c") == 32
