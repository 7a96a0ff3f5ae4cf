"""The order of documents is MongoDB's: a real server sorts the same values."""
import random

import bson_values
import psycopg
import pytest
from bson.raw_bson import RawBSONDocument

COUNT = 5000


def copy_documents(connection, table, values):
    """Copies (id, (type, bytes)) into a table of integer and document, by the binary protocol."""
    with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for number, (kind, data) in values:
            copy.write(b"\0\x02\0\0\0\x04" + number.to_bytes(4, "big") + (len(data) + 1).to_bytes(4, "big")
                       + bytes([kind]) + data)
        copy.write(b"\xff\xff")


def make_values(**options):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chooser = random.Random(seed)
    made = list(bson_values.each_type(chooser))
    while len(made) < COUNT:
        made.append(bson_values.value(chooser, **options))
    return list(enumerate(made))


@pytest.fixture
def values():
    return make_values()


def make_table(db, values):
    connection = db.connect()
    connection.execute("CREATE TABLE v (id int, d document)")
    copy_documents(connection, "v", values)
    connection.execute("ANALYZE v")
    return connection


@pytest.fixture
def table(db, values):
    return make_table(db, values)


def fill_server(mdb, values):
    mdb.v.insert_many(RawBSONDocument(bson_values.document(
        [("_id", (bson_values.INT32, number.to_bytes(4, "little"))),
         ("v", (bson_values.OBJECT, bson_values.document([("w", value)])))])) for number, value in values)


def server_ranks(mdb, values):
    """Which place mongod gives each value; equal values have the same."""
    fill_server(mdb, values)
    ranked = mdb.v.aggregate([
        {"$setWindowFields": {"sortBy": {"v": 1}, "output": {"rank": {"$denseRank": {}}}}},
        {"$project": {"rank": 1}}], allowDiskUse=True)
    return {row["_id"]: row["rank"] for row in ranked}


def test_order_and_equality_are_the_servers(mdb, table, values):
    theirs = server_ranks(mdb, values)
    ours = dict(table.execute("SELECT id, dense_rank() OVER (ORDER BY d) FROM v").fetchall())
    by_rank = sorted(theirs, key=lambda number: (theirs[number], number))
    for before, after in zip(by_rank, by_rank[1:]):
        same = theirs[before] == theirs[after]
        assert ours[before] == ours[after] if same else ours[before] < ours[after], (
            "equal" if same else "less",
            *(table.execute("SELECT d::text FROM v WHERE id = %s", (number,)).fetchone()[0] for number in (before, after)))
    print(f"{len(values)} values in {max(theirs.values())} places, the same in both")
    assert max(theirs.values()) > COUNT / 4


def order_of(mdb, **options):
    return [row["_id"] for row in mdb.v.find({}, {"_id": 1}, sort=[("v", 1), ("_id", 1)], **options)]


def test_find_sorts_the_same(mdb, table, values):
    fill_server(mdb, values)
    ours = [row[0] for row in table.execute("SELECT id FROM v ORDER BY d, id")]
    assert order_of(mdb) == ours


def test_index_sorts_keys_that_occur_twice_the_same(mdb, db):
    """A sort without an index does not treat them alike; nor does the index DBPointers."""
    scalars = [kind for kind in bson_values.SCALARS if kind != bson_values.DB_POINTER]
    values = make_values(duplicates=True, scalars=scalars)
    fill_server(mdb, values)
    mdb.v.create_index([("v", 1), ("_id", 1)])
    ours = [row[0] for row in make_table(db, values).execute("SELECT id FROM v ORDER BY d, id")]
    assert order_of(mdb, hint=[("v", 1), ("_id", 1)]) == ours


def test_joins_agree(table):
    counts = {}
    for method in ("hashjoin", "mergejoin", "nestloop"):
        with table.transaction(force_rollback=True):
            for other in ("hashjoin", "mergejoin", "nestloop"):
                table.execute(f"SET LOCAL enable_{other} = {'on' if other == method else 'off'}")
            table.execute("CREATE TEMP TABLE part ON COMMIT DROP AS SELECT * FROM v WHERE id % 5 = 0")
            plan = str(table.execute("EXPLAIN SELECT FROM part a JOIN v b ON a.d = b.d").fetchall())
            assert {"hashjoin": "Hash Join", "mergejoin": "Merge Join", "nestloop": "Nested Loop"}[method] in plan
            counts[method] = table.execute("SELECT count(*) FROM part a JOIN v b ON a.d = b.d").fetchone()[0]
    print(counts)
    assert len(set(counts.values())) == 1 and counts["hashjoin"] > COUNT / 5


def test_groups_agree(table):
    found = []
    for method in ("hashagg", "sort"):
        with table.transaction(force_rollback=True):
            table.execute(f"SET LOCAL enable_{method} = off")
            found.append(table.execute("SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM v GROUP BY d) g").fetchone())
    assert found[0] == found[1]


def test_sort_with_and_without_abbreviated_keys_agree(table):
    abbreviated = table.execute("SELECT array_agg(id) FROM (SELECT id FROM v ORDER BY d, id) s").fetchone()[0]
    # an index scan compares in full
    table.execute("CREATE INDEX v_d ON v (d, id)")
    with table.transaction():
        table.execute("SET LOCAL enable_sort = off")
        table.execute("SET LOCAL enable_seqscan = off")
        indexed = table.execute("SELECT array_agg(id) FROM (SELECT id FROM v ORDER BY d, id) s").fetchone()[0]
    assert abbreviated == indexed
    assert table.execute("SELECT bool_and(lag <= d) FROM (SELECT d, lag(d) OVER (ORDER BY d) FROM v) s").fetchone()[0]


def test_index_finds_each_value(table, values):
    table.execute("CREATE INDEX v_hash ON v USING hash (d)")
    table.execute("CREATE INDEX v_tree ON v (d)")
    # seqscan's cost when it is off makes each of the queries worth compiling
    table.execute("SET enable_seqscan = off; SET jit = off")
    for number, _ in random.sample(values, 200):
        found = table.execute("SELECT count(*) FROM v WHERE d = (SELECT d FROM v WHERE id = %s)", (number,)).fetchone()[0]
        assert found >= 1
