"""New rows of a mirror: written below SQL where that does what an INSERT does, by the statement where not, and by what any rows get when one is in the way.

How they were written is seen by their xmin: below SQL a chunk is one subtransaction, while statements are of a thousand rows each.
"""
import bson
import pytest

from mirrors import mirror, same, status, stopped, synced, wait_exact

DOCUMENTS = 5000
PLAIN = "CREATE TABLE c (_id document PRIMARY KEY, document document, changed_at timestamptz)"


@pytest.fixture
def collection(linked, mdb):
    """Documents with _ids of several types, whose n counts them."""
    ids = [lambda n: n, lambda n: f"x{n}", lambda n: bson.ObjectId(), lambda n: float(n) + 0.5]
    mdb.c.insert_many([{"_id": ids[number % 4](number), "n": number} for number in range(DOCUMENTS)])
    return mdb.c


def together(db, table="c"):
    """Whether rows were written below SQL: in not more parts than there are chunks."""
    return db.value(f"SELECT count(DISTINCT xmin::text) FROM {table}") <= 3


def copied(db, mongo, mdb, **options):
    mirror(db, "c", **options)
    wait_exact(db, "c")
    assert status(db, "c")["state"] == "active", status(db, "c")
    assert same(db, mongo, mdb) == DOCUMENTS


def test_all_that_hangs_on_a_table(linked, mongo, mdb, collection):
    """Defaults, generated columns, constraints, foreign keys, indexes and AFTER triggers see each new row once."""
    linked.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
    linked.execute("INSERT INTO numbers SELECT generate_series(0, %s)", DOCUMENTS - 1)
    linked.execute("CREATE TABLE c (note text DEFAULT 'new', serial bigserial, gone int, document document, n int CHECK (n >= 0) REFERENCES numbers,"
                   " twice int GENERATED ALWAYS AS (n * 2) STORED, _id document PRIMARY KEY, changed_at timestamptz NOT NULL)")
    linked.execute("ALTER TABLE c DROP COLUMN gone, ENABLE ROW LEVEL SECURITY")
    linked.execute("CREATE INDEX ON c USING gin (document); CREATE UNIQUE INDEX ON c (n) WHERE n > 7; CREATE INDEX ON c ((n % 10))")
    linked.execute("CREATE TABLE log (n int); CREATE TABLE counts (n bigint)")
    linked.execute("CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.twice / 2); RETURN NULL; END $$;"
                   "CREATE TRIGGER log AFTER INSERT ON c FOR EACH ROW EXECUTE FUNCTION log();"
                   "CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN INSERT INTO counts SELECT count(*) FROM new; RETURN NULL; END $$;"
                   "CREATE TRIGGER counts AFTER INSERT ON c REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION counts()")
    copied(linked, mongo, mdb, columns="n int = n")
    assert together(linked)
    everything = (DOCUMENTS, sum(range(DOCUMENTS)))
    assert linked.row("SELECT count(DISTINCT n), sum(n) FROM log") == everything
    assert linked.value("SELECT count(*) FROM log") == DOCUMENTS
    assert linked.row("SELECT sum(n), count(*) <= 3 FROM counts") == (DOCUMENTS, True)
    assert linked.row("SELECT count(DISTINCT serial), sum(n) FROM c WHERE note = 'new' AND twice = 2 * n AND n = (document->>'n')::int") == everything
    assert linked.value("SELECT count(*) FROM c WHERE n % 10 = 3") == DOCUMENTS / 10


def test_row_in_the_way(linked, mongo, mdb, collection):
    """Rows that somebody has made become the documents', whose values that do not fit are counted once."""
    collection.update_one({"n": 10}, {"$set": {"n": "ten"}})
    linked.execute(PLAIN)
    linked.execute("ALTER TABLE c ADD COLUMN n int, ADD COLUMN mine text")
    linked.execute("INSERT INTO c (_id, mine) VALUES (to_document(0), 'first'), (to_document('x4997'::text), 'mine'), (to_document('nowhere'::text), 'gone')")
    copied(linked, mongo, mdb, columns="n int = n")
    assert linked.column("SELECT mine FROM c WHERE mine IS NOT NULL ORDER BY mine") == ["first", "mine"]
    assert linked.row("SELECT count(n), sum(n) FROM c") == (DOCUMENTS - 1, sum(range(DOCUMENTS)) - 10)
    assert status(linked, "c")["column_errors"] == 1, status(linked, "c")


def test_row_that_comes_in_the_way(linked, mongo, mdb, collection):
    """A row that another's trigger makes within the statement is undone with it, and is no harm to the next."""
    linked.execute(PLAIN)
    linked.execute("CREATE FUNCTION early() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " INSERT INTO c (_id) VALUES (to_document('x4997'::text)) ON CONFLICT DO NOTHING; RETURN NULL; END $$;"
                   "CREATE TRIGGER early BEFORE INSERT ON c FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION early()")
    copied(linked, mongo, mdb)


def test_unique_value_in_the_way(linked, mongo, mdb, collection):
    """The mirror stops by the index that does not take a row, and goes on when that is mended."""
    linked.execute(PLAIN)
    linked.execute("ALTER TABLE c ADD COLUMN n int; CREATE UNIQUE INDEX once ON c (n)")
    collection.update_one({"n": 4999}, {"$set": {"n": 3}})
    mirror(linked, "c", columns="n int = n")
    assert 'unique constraint "once"' in stopped(linked, "c")["reason"]
    collection.update_one({"_id": 4996}, {"$set": {"n": 4999}})
    collection.delete_one({"n": 3, "_id": {"$type": "double"}})
    linked.execute("SELECT resync_change_mirror('c')")
    synced(linked, "c", "c")
    assert same(linked, mongo, mdb) == DOCUMENTS - 1


# what an INSERT does with a table, and rows below SQL would not: the statement writes them
OTHERS = {
    "partitioned": "CREATE TABLE c (_id document PRIMARY KEY, document document, changed_at timestamptz) PARTITION BY HASH (_id);"
                   "CREATE TABLE c0 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE c1 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "before a row": f"{PLAIN}; ALTER TABLE c ADD COLUMN before bigint; CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS"
                    " $$ BEGIN NEW.before := (SELECT count(*) FROM c); RETURN NEW; END $$; CREATE TRIGGER before BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION before()",
    "a default that looks": f"{PLAIN}; CREATE FUNCTION before() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM c';"
                            " ALTER TABLE c ADD COLUMN before bigint DEFAULT before()",
    "a domain": "CREATE DOMAIN small AS document CHECK (document_typeof(VALUE) = 'object'); CREATE TABLE c (_id document PRIMARY KEY, document small)",
    "a precision": "CREATE TABLE c (_id document PRIMARY KEY, document document, changed_at timestamptz(0))",
}


@pytest.mark.parametrize("table", OTHERS)
def test_tables_that_get_the_statement(linked, mongo, mdb, collection, table):
    linked.execute(OTHERS[table])
    copied(linked, mongo, mdb)
    assert not together(linked)
    if "before" in OTHERS[table]:
        # each row saw those before it
        assert linked.value("SELECT count(DISTINCT before) FROM c") > DOCUMENTS / 1000
    if table == "partitioned":
        assert linked.value("SELECT count(*) FROM c0") + linked.value("SELECT count(*) FROM c1") == DOCUMENTS
    if table == "a precision":
        assert linked.value("SELECT bool_and(changed_at = date_trunc('second', changed_at)) FROM c")


def test_partition_as_a_table(linked, mongo, mdb):
    """A partition takes no row that its parent would put elsewhere."""
    mdb.c.insert_many([{"_id": number} for number in range(100)])
    linked.execute("CREATE TABLE parent (_id document NOT NULL, document document, changed_at timestamptz) PARTITION BY RANGE (_id);"
                   "CREATE TABLE c PARTITION OF parent (PRIMARY KEY (_id)) FOR VALUES FROM (MINVALUE) TO ('50')")
    mirror(linked, "c")
    assert "violates partition constraint" in stopped(linked, "c")["reason"]


def test_the_owners_rights(linked, mongo, mdb, collection):
    """All runs as the owner, triggers too; and a right that was taken from him is asked for as ever."""
    linked.execute("CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice; GRANT CREATE ON SCHEMA public TO alice")
    try:
        with linked.connect("alice") as alice:
            alice.execute(f"{PLAIN}; CREATE TABLE log (who text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES"
                          " (current_user || ' ' || session_user); RETURN NULL; END $$; CREATE TRIGGER note AFTER INSERT ON c FOR EACH ROW EXECUTE FUNCTION note()")
            mirror(alice, "c")
            wait_exact(linked, "c")
            assert same(linked, mongo, mdb) == DOCUMENTS and together(linked)
            assert linked.execute("SELECT who, count(*) FROM log GROUP BY who") == [("alice alice", DOCUMENTS)]
            alice.execute("REVOKE INSERT ON c FROM alice; TRUNCATE c; SELECT resync_change_mirror('c')")
            assert "permission denied for table c" in stopped(linked, "c")["reason"]
    finally:
        linked.execute("DROP OWNED BY alice CASCADE; DROP ROLE alice")
