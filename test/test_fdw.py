"""Foreign tables: which events a scan shows, and how it lives within queries."""
import datetime
import os
import random
import re
import threading
import time

import bson
import psycopg
import pytest

from foreign import COLUMNS, foreign_table, no_cursors, open_cursors, plan, recently
from streams import create, error_of, sync


def ids(db, statement, *parameters):
    return [row[0] for row in db.execute(statement, *parameters)]


def history(mdb, name="c"):
    """Events of every usual kind on one collection, which is dropped, renamed onto and away, and made again."""
    mdb.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    c = mdb[name]
    c.insert_many([{"_id": i, "n": i, "deep": {"a": [1, {"b": i}]}} for i in range(5)])
    c.update_one({"_id": 1}, {"$set": {"deep.a.1.b": 7}, "$unset": {"n": 1}})
    c.replace_one({"_id": 2}, {"_id": 2, "whole": True})
    c.delete_one({"_id": 3})
    c.create_index("n")
    with mdb.client.start_session() as session, session.start_transaction():
        for i in range(20):
            c.insert_one({"_id": 100 + i}, session=session)
            mdb.other.insert_one({"_id": i}, session=session)
    c.drop()
    c.insert_one({"_id": "again"})
    mdb.made.insert_one({"_id": "elsewhere"})
    mdb.made.rename(name, dropTarget=True)
    c.insert_one({"_id": "in the renamed one"})
    c.rename("away")
    c.insert_one({"_id": "third"})
    c.update_one({"_id": "third"}, {"$set": {"x": bson.Decimal128("1.50")}})


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("images", [("default", "off"), ("whenAvailable", "whenAvailable"), ("updateLookup", "off")])
def test_same_rows_as_a_stream(linked, mdb, expanded, whole, images):
    """The events of a stream are those of a foreign table with the same options, in every column they share."""
    full, before = images
    collection = {} if whole else {"collection": "c"}
    create(linked, "s", full_document=full, full_document_before_change=before, show_expanded_events=expanded, **collection)
    start = linked.value("SELECT resume_token FROM change_stream_progress")
    foreign_table(linked, "f", full_document=full, full_document_before_change=before, show_expanded_events=expanded,
                  resume_after=start, **collection)
    history(mdb)
    sync(linked, "s")
    # what a document is now depends on when that is
    columns = [column for column in COLUMNS if full != "updateLookup" or not column.startswith("full_document")]
    shared = ", ".join(columns)
    order = "ORDER BY resume_token COLLATE \"C\""
    rows = linked.execute(f"SELECT {shared} FROM change_stream_events WHERE operation_type <> 'gap' {order}")
    assert len(rows) > (50 if whole else 30)
    assert linked.execute(f"SELECT {shared} FROM f {order}") == rows
    # each column alone, as what is sent depends on which are shown
    for number, column in enumerate(columns):
        assert [row[0] for row in linked.execute(f"SELECT {column} FROM f")] == [row[number] for row in rows], column


QUESTIONS = [
    "SELECT operation_type, count(*) FROM {} GROUP BY 1 ORDER BY 1",
    "SELECT document_key, full_document['n'] FROM {} WHERE operation_type = 'insert' AND full_document['n'] > 2 ORDER BY 2",
    "SELECT document_key FROM {} WHERE full_document['n'] <> 2 ORDER BY 1",
    "SELECT document_key FROM {} WHERE NOT full_document['n'] = 2 ORDER BY 1",
    "SELECT document_key FROM {} WHERE full_document['n'] IS NULL ORDER BY 1, resume_token",
    "SELECT count(*) FROM {} WHERE full_document IS NULL",
    "SELECT count(*) FROM {} WHERE operation_type NOT IN ('insert', 'drop') AND full_document_before_change['n'] IS NOT NULL",
    "SELECT count(*) FROM {} WHERE full_document ->> 'whole' = 'true' OR operation_type = 'rename'",
    "SELECT count(*) FROM {} WHERE full_document['deep']['a'][1]['b'] = 7",
    "SELECT count(*) FROM {} WHERE (full_document['n'])::numeric BETWEEN 1 AND 3",
    "SELECT unnest(changed_fields) AS field, count(*) FROM {} GROUP BY 1 ORDER BY 1",
    "SELECT resume_token FROM {} WHERE 'n' = ANY(changed_fields) ORDER BY 1",
    "SELECT count(*) FROM {} WHERE collection_name = 'c' AND database_name IS NOT NULL AND full_document_source <> 'none'",
    "SELECT min(cluster_time), max(cluster_time), min(change_timestamp), count(DISTINCT resume_token) FROM {}",
    "SELECT document_key, row_number() OVER (ORDER BY cluster_time, resume_token) FROM {} ORDER BY 2 LIMIT 7",
    "SELECT operation_type FROM {} WHERE cluster_time > (SELECT min(cluster_time) FROM {} WHERE operation_type = 'delete') ORDER BY resume_token",
    "SELECT a.document_key FROM {} a JOIN {} b ON a.document_key = b.document_key AND a.resume_token < b.resume_token ORDER BY 1",
    "SELECT document_key, extra FROM {} WHERE extra IS NOT NULL ORDER BY resume_token",
    "SELECT count(*) FROM {} WHERE change_timestamp >= (SELECT max(change_timestamp) FROM {}) - interval '1 second' AND change_timestamp < 'infinity'",
]


def test_same_answers_as_a_stream(linked, mdb):
    """A question to the foreign table has the answer that the stream's table gives."""
    create(linked, "s", collection="c", full_document="whenAvailable", full_document_before_change="whenAvailable")
    foreign_table(linked, "f", collection="c", resume_after=linked.value("SELECT resume_token FROM change_stream_progress"))
    history(mdb)
    sync(linked, "s")
    linked.execute("CREATE VIEW kept AS SELECT * FROM change_stream_events WHERE operation_type <> 'gap'")
    for question in QUESTIONS:
        answer = linked.execute(question.replace("{}", "kept"))
        assert answer, question
        assert linked.execute(question.replace("{}", "f")) == answer, question


def test_every_event_of_a_transaction(linked, mdb):
    """All events of a transaction have one time; the scan ends behind the last of them, however small its batches are."""
    mdb.c.insert_one({"_id": -1})
    with mdb.client.start_session() as session, session.start_transaction():
        for i in range(300):
            mdb.c.insert_one({"_id": i}, session=session)
    foreign_table(linked, "f", collection="c", batch_size=7)
    foreign_table(linked, "g", collection="c")
    for table in ("f", "g"):
        assert linked.row(f"SELECT count(*), count(DISTINCT cluster_time) FROM {table}") == (301, 2)
        assert linked.value(f"SELECT count(*) FROM {table} WHERE cluster_time = (SELECT max(cluster_time) FROM {table})") == 300


def test_an_idle_server_is_read_at_once(linked, mdb):
    """The end of history is known without waiting for something to happen."""
    start = recently(linked)
    mdb.c.insert_one({"_id": 1})
    foreign_table(linked, "f", collection="c", start_at=start)
    linked.value("SELECT count(*) FROM f")
    took = []
    for _ in range(10):
        began = time.monotonic()
        assert linked.value("SELECT count(*) FROM f") == 1
        took.append(time.monotonic() - began)
    assert sorted(took)[5] < 0.1


def test_what_is_acknowledged_is_seen(linked, mdb):
    """A write that was acknowledged before a query begins is in its result, each time."""
    foreign_table(linked, "f", collection="c", start_at=recently(linked))
    for number in range(1, 60):
        mdb.c.insert_one({"_id": number})
        assert linked.value("SELECT count(*) FROM f") == number


def test_bounds_on_cluster_time(linked, mdb):
    """Any condition on cluster_time gives the rows that evaluating it here gives."""
    for i in range(40):
        mdb.c.insert_one({"_id": i})
    with mdb.client.start_session() as session, session.start_transaction():
        for i in range(40, 60):
            mdb.c.insert_one({"_id": i}, session=session)
    foreign_table(linked, "f", collection="c")
    linked.execute("CREATE TABLE kept AS SELECT (document_key['_id'])::int AS id, cluster_time, change_timestamp FROM f")
    times = linked.column("SELECT cluster_time FROM kept")
    dice = random.Random(11)
    microsecond = datetime.timedelta(microseconds=1)
    for _ in range(60):
        parts, values = [], []
        for _ in range(dice.randint(1, 3)):
            parts.append(f"cluster_time {dice.choice(['<', '<=', '=', '>=', '>'])} %s")
            values.append(dice.choice(times) + dice.choice([-1, 0, 0, 1]) * microsecond)
        condition = " AND ".join(parts)
        wanted = linked.column(f"SELECT id FROM kept WHERE {condition} ORDER BY id", *values)
        assert ids(linked, f"SELECT (document_key['_id'])::int AS id FROM f WHERE {condition} ORDER BY id", *values) == wanted, (condition, values)
    some = [times[3], times[50], times[7]]
    for condition in ("cluster_time = ANY(%s)", "change_timestamp = ANY(%s)", "cluster_time <> ALL(%s)"):
        wanted = linked.column(f"SELECT id FROM kept WHERE {condition} ORDER BY id", some)
        assert ids(linked, f"SELECT (document_key['_id'])::int AS id FROM f WHERE {condition} ORDER BY id", some) == wanted
    tokens = linked.column("SELECT resume_token FROM f")
    for number in (0, 7, 45, 59):
        for operator, wanted in (("<", number), ("<=", number + 1), ("=", 1), (">=", 60 - number), (">", 59 - number)):
            for collation in ("", 'COLLATE "C"'):
                assert linked.value(f"SELECT count(*) FROM f WHERE resume_token {collation} {operator} %s", tokens[number]) == wanted
    assert "MongoDB Start" in plan(linked, "SELECT resume_token FROM f WHERE resume_token > %s", tokens[7])
    assert "MongoDB Start" not in plan(linked, "SELECT resume_token FROM f WHERE resume_token > 'none'")
    assert linked.value("SELECT count(*) FROM f WHERE cluster_time > now() + interval '1 hour'") == 0
    assert linked.value("SELECT count(*) FROM f WHERE change_timestamp > now() - interval '1 hour' AND change_timestamp < 'infinity'") == 60
    assert linked.value("SELECT count(*) FROM f WHERE cluster_time >= %s::timestamptz::date", times[0]) == 60


def test_bounds_are_what_is_read(linked, mdb):
    """A start and an end are MongoDB's to find: events outside of them are not read and thrown away."""
    for i in range(50):
        mdb.c.insert_one({"_id": i})
    foreign_table(linked, "f", collection="c", batch_size=5)
    times = linked.column("SELECT cluster_time FROM f")
    shown = plan(linked, "SELECT count(*) FROM f WHERE cluster_time BETWEEN %s AND %s", times[10], times[14],
                 options="ANALYZE, VERBOSE, COSTS off, TIMING off")
    assert "MongoDB Events: 5" in shown and "Filter" not in shown
    assert "MongoDB Read From:" in shown and "MongoDB Read To:" in shown and "MongoDB Bytes:" in shown
    batches = int(shown.split("MongoDB Batches: ")[1].split()[0])
    assert batches <= 3
    # LIMIT ends the read, in the order of time without a sort
    shown = plan(linked, "SELECT document_key FROM f ORDER BY cluster_time LIMIT 3", options="ANALYZE, VERBOSE, COSTS off, TIMING off")
    assert "Sort" not in shown and "MongoDB Events: 3" in shown


def test_starts_of_the_options(linked, mdb):
    """start_at takes words, times and tokens; resume_after a token; a condition on cluster_time goes before them."""
    for i in range(10):
        mdb.c.insert_one({"_id": i})
    foreign_table(linked, "f", collection="c")
    rows = linked.execute("SELECT cluster_time, resume_token FROM f")
    when, token = rows[4]
    for name, value, count in [("start_at", "now", 0), ("start_at", "earliest", 10), ("start_at", when.isoformat(), 6),
                               ("start_at", "2100-01-01", 0), ("start_at", "infinity", 0), ("start_at", "-infinity", 10),
                               ("start_at", token, 5), ("resume_after", token, 5), ("resume_after", token.lower(), 5)]:
        linked.execute("DROP FOREIGN TABLE IF EXISTS g")
        foreign_table(linked, "g", collection="c", **{name: value})
        assert linked.value("SELECT count(*) FROM g") == count, (name, value)
        assert "MongoDB Start: " in plan(linked, "SELECT 1 FROM g", options="VERBOSE")
        assert linked.value("SELECT count(*) FROM g WHERE cluster_time >= %s", rows[2][0]) == 8
    # a server's start is that of all its tables, but for those with their own
    linked.execute(f"ALTER SERVER mongo OPTIONS (ADD start_at '{when.isoformat()}')")
    assert linked.value("SELECT count(*) FROM f") == 6
    assert linked.value("SELECT count(*) FROM g") == 5


@pytest.mark.parametrize("option", ["start_at", "resume_after"])
def test_conditions_behind_a_token(linked, mdb, option):
    """A token may be of an event that the conditions leave out, which MongoDB evaluates, or of another collection's."""
    for i in range(10):
        mdb.c.insert_one({"_id": i, "v": i % 2})
        mdb.d.insert_one({"_id": i})
    mdb.c.delete_one({"_id": 3})
    foreign_table(linked, "f", collection="c", full_document="default")
    foreign_table(linked, "other", collection="d", full_document="default")
    for table in ("f", "other"):
        token = linked.execute(f"SELECT resume_token FROM {table}")[4][0]
        foreign_table(linked, f"behind_{table}", collection="c", full_document="default", **{option: token})
        for condition, count in {"operation_type = 'delete'": 1, "full_document['v'] = 1": 3, "document_key['_id'] = 7": 1, "document_key['_id'] = 4": 0, "true": 6}.items():
            assert linked.value(f"SELECT count(*) FROM behind_{table} WHERE {condition}") == count, (table, condition)


def test_images(linked, mdb):
    """History shows documents as they were; updateLookup as they are; a collection without images has none."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    mdb.c.insert_one({"_id": 1, "v": 1})
    for version in (2, 3):
        mdb.c.update_one({"_id": 1}, {"$set": {"v": version}})
    versions = "SELECT array_agg((full_document['v'])::int), array_agg((full_document_before_change['v'])::int), array_agg(DISTINCT full_document_source) FROM {}"
    foreign_table(linked, "usual", collection="c")
    foreign_table(linked, "lookup", collection="c", full_document="update_lookup")
    foreign_table(linked, "bare", collection="c", full_document="default", full_document_before_change="off")
    assert linked.row(versions.format("usual")) == ([1, 2, 3], [None, 1, 2], ["insert", "post_image"])
    assert linked.row(versions.format("lookup")) == ([1, 3, 3], [None, 1, 2], ["insert", "lookup"])
    assert linked.row(versions.format("bare")) == ([1, None, None], [None, None, None], ["insert", "none"])
    assert linked.column("SELECT full_document_source FROM usual") == ["insert", "post_image", "post_image"]
    mdb.plain.insert_one({"_id": 1})
    mdb.plain.update_one({"_id": 1}, {"$set": {"v": 1}})
    foreign_table(linked, "plain", collection="plain")
    assert linked.column("SELECT full_document_source FROM plain") == ["insert", "none"]
    foreign_table(linked, "needed", collection="plain", full_document="required")
    # no image is asked for where none is shown
    assert linked.value("SELECT count(*) FROM needed") == 2
    assert "changeStreamPreAndPostImages" in error_of(linked, "SELECT full_document FROM needed").diag.message_hint


def test_a_pipeline_of_the_table(linked, mdb):
    """The table's stages make its events; conditions are on what they made."""
    mdb.c.insert_many([{"_id": i, "n": i} for i in range(10)])
    foreign_table(linked, "f", collection="c", pipeline='[{"$match": {"fullDocument.n": {"$gte": 5}}}, {"$set": {"twice": {"$add": ["$fullDocument.n", "$fullDocument.n"]}}}]')
    assert linked.column("SELECT (extra['twice'])::int FROM f") == [10, 12, 14, 16, 18]
    assert linked.value("SELECT count(*) FROM f WHERE operation_type = 'insert' AND cluster_time > now() - interval '1 hour'") == 5
    linked.execute("ALTER FOREIGN TABLE f OPTIONS (SET pipeline '[{\"$set\": {\"operationType\": \"mine\"}}]')")
    assert linked.value("SELECT count(*) FROM f WHERE operation_type = 'mine'") == 10
    linked.execute("ALTER FOREIGN TABLE f OPTIONS (SET pipeline '[{\"$nothing\": {}}]')")
    error = error_of(linked, "SELECT count(*) FROM f")
    assert "$nothing" in error.diag.message_detail and "SET pipeline" in error.diag.message_hint
    linked.execute("ALTER FOREIGN TABLE f OPTIONS (SET pipeline '[{\"$lookup\": {\"from\": \"x\", \"as\": \"y\", \"pipeline\": []}}]')")
    assert "SET pipeline" in error_of(linked, "SELECT count(*) FROM f").diag.message_hint
    foreign_table(linked, "broken", collection="c", resume_after="82" + "0" * 30)
    assert "SET resume_after" in error_of(linked, "SELECT count(*) FROM broken").diag.message_hint
    linked.execute("ALTER FOREIGN TABLE f OPTIONS (SET pipeline '[{\"$unset\": \"_id\"}]')")
    assert "_id" in error_of(linked, "SELECT count(*) FROM f").diag.message_hint


def test_large_events_come_whole(linked, mdb):
    """An event beyond 16 MB comes in fragments and is one row."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    mdb.c.insert_one({"_id": 1, "a": "x" * 9_000_000, "n": 1})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 2}})
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 3}})
    foreign_table(linked, "f", collection="c")
    rows = linked.execute("SELECT operation_type, (full_document['n'])::int, length(full_document ->> 'a'), (full_document_before_change['n'])::int,"
                          " length(full_document_before_change ->> 'a') FROM f")
    assert rows == [("insert", 1, 9_000_000, None, None), ("update", 2, 9_000_000, 1, 9_000_000), ("update", 3, 9_000_000, 2, 9_000_000)]


def test_an_event_too_large_to_come_whole(linked, mongo, mdb):
    """Where no image is asked for events come whole, as long as they can."""
    mdb.c.insert_many([{"_id": i} for i in range(5)])
    foreign_table(linked, "f", collection="c")
    mongo.fail_command(["getMore"], times=1, errorCode=10334)
    assert linked.value("SELECT count(*) FROM f") == 5
    mongo.fail_command(["getMore"], times=2, errorCode=10334)
    assert "$project" in error_of(linked, "SELECT count(*) FROM f").diag.message_hint


# ------------------------------------------------------------ within queries

@pytest.fixture
def tables(linked, mdb):
    start = recently(linked)
    mdb.a.insert_many([{"_id": i, "b": i % 4} for i in range(12)])
    mdb.b.insert_many([{"_id": i} for i in range(4)])
    foreign_table(linked, "fa", collection="a", start_at=start)
    foreign_table(linked, "fb", collection="b", start_at=start)
    return linked


def test_joins(tables, mongo):
    """With a local table, with another foreign table, with itself, as the inner side of a nested loop."""
    db = tables
    db.execute("CREATE TABLE local AS SELECT i AS id FROM generate_series(0, 3) i")
    assert db.value("SELECT count(*) FROM fa JOIN local ON id = (full_document['b'])::int") == 12
    assert db.value("SELECT count(*) FROM fa JOIN fb ON (fb.document_key['_id'])::int = (fa.full_document['b'])::int") == 12
    assert db.value("SELECT count(*) FROM fa x JOIN fa y USING (resume_token) JOIN fa z USING (resume_token)") == 12
    for setting in ("enable_hashjoin", "enable_mergejoin", "enable_material"):
        db.execute(f"SET {setting} = off")
    assert db.value("SELECT count(*) FROM fa JOIN fb ON (fb.document_key['_id'])::int = (fa.full_document['b'])::int") == 12
    db.execute("CREATE TABLE spans AS SELECT min(cluster_time) AS low, max(cluster_time) AS high FROM fa GROUP BY (full_document['b'])::int")
    assert "MongoDB Start: by parameters" in plan(db, "SELECT * FROM spans JOIN fa ON cluster_time BETWEEN low AND high")
    assert db.value("SELECT count(*) FROM spans JOIN fa ON cluster_time BETWEEN low AND high") == 4 * 9
    assert db.column("SELECT (SELECT count(*) FROM fa WHERE cluster_time >= low) FROM spans ORDER BY low") == [12, 11, 10, 9]
    assert db.value("SELECT count(*) FROM fa LEFT JOIN LATERAL (SELECT * FROM fb WHERE fb.cluster_time > fa.cluster_time LIMIT 2) l ON true") == 24
    no_cursors(mongo)


def test_one_execution_sees_one_history(tables, mdb):
    """A scan that is repeated within a statement reads up to the same time, whatever is written meanwhile."""
    db = tables
    db.execute("SET enable_material = off")
    with db.connect(autocommit=False) as connection:
        connection.execute("SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
        cursor = connection.cursor(name="c")
        cursor.execute("SELECT i, (SELECT count(*) FROM fb WHERE i > 0 AND random() >= 0) FROM generate_series(1, 5) i")
        cursor.itersize = 1
        seen = [cursor.fetchone()[1]]
        for number in range(100, 104):
            mdb.b.insert_one({"_id": number})
            seen.append(cursor.fetchone()[1])
        assert seen == [4] * 5
    assert db.value("SELECT count(*) FROM fb") == 8


def test_joined_tables_show_one_history(tables, mdb):
    """While events come in, every scan of a statement ends at the same one of them."""
    db = tables
    start = recently(db)
    foreign_table(db, "every", start_at=start)
    db.execute(f"ALTER FOREIGN TABLE fa OPTIONS (SET start_at '{start}')")
    stop = threading.Event()

    def write():
        number = 1000
        while not stop.is_set():
            mdb.a.insert_one({"_id": (number := number + 1)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(25):
            assert db.value("SELECT count(*) FROM fa x FULL JOIN every y USING (resume_token)"
                            " WHERE x.operation_type IS NULL AND y.collection_name = 'a' OR y.operation_type IS NULL") == 0
            assert db.value("SELECT (SELECT count(*) FROM fa) - (SELECT count(*) FROM every WHERE collection_name = 'a')") == 0
    finally:
        stop.set()
        writer.join()


def test_views_and_prepared_statements(tables, mdb):
    """A view, a materialized view, COPY, a prepared statement whose parameters change, a function's loop."""
    db = tables
    db.execute("CREATE VIEW v AS SELECT (document_key['_id'])::int AS id, cluster_time FROM fa")
    db.execute("CREATE MATERIALIZED VIEW m AS SELECT * FROM v")
    assert db.value("SELECT count(*) FROM m JOIN v USING (id)") == 12
    mdb.a.insert_one({"_id": 50})
    db.execute("REFRESH MATERIALIZED VIEW m")
    assert db.value("SELECT max(id) FROM m") == 50
    with db.connection.cursor().copy("COPY (SELECT id FROM v WHERE id < 3) TO STDOUT") as copy:
        assert b"".join(copy).split() == [b"0", b"1", b"2"]
    times = db.column("SELECT cluster_time FROM v")
    db.execute("PREPARE p(timestamptz, text) AS SELECT count(*) FROM fa WHERE cluster_time >= $1 AND operation_type = $2")
    for number in range(12):
        assert db.connection.execute("EXECUTE p(%s, 'insert')" % psycopg.sql.Literal(times[number]).as_string(None)).fetchone()[0] == 13 - number
    db.execute("EXECUTE p(NULL, 'insert')")
    db.execute("ALTER FOREIGN TABLE fa OPTIONS (SET collection 'b')")
    assert db.value("EXECUTE p('%s', 'insert')" % times[0].isoformat()) == 4
    assert db.execute("""DO $$ DECLARE r record; n int := 0;
        BEGIN FOR r IN SELECT * FROM fa LOOP n := n + 1; END LOOP; ASSERT n = 4; END $$""") is None


def test_cursors_and_savepoints(tables, mongo):
    """Portals outlive savepoints and, held, transactions; whatever ends them leaves nothing open on the server."""
    db = tables
    foreign_table(db, "slow", collection="a", batch_size=1)
    with db.connect(autocommit=False) as connection:
        connection.execute("DECLARE c CURSOR FOR SELECT document_key::text FROM slow")
        assert connection.execute("FETCH 2 FROM c").fetchall() == [('{"_id": 0}',), ('{"_id": 1}',)]
        assert open_cursors(mongo) >= 1
        connection.execute("SAVEPOINT s")
        assert connection.execute("FETCH 1 FROM c").fetchall() == [('{"_id": 2}',)]
        connection.execute("DECLARE d CURSOR FOR SELECT * FROM slow")
        connection.execute("FETCH 1 FROM d")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT count(1 / ((document_key['_id'])::int - 5)) FROM slow")
        connection.execute("ROLLBACK TO s")
        assert connection.execute("FETCH 1 FROM c").fetchall() == [('{"_id": 3}',)]
        connection.execute("DECLARE h CURSOR WITH HOLD FOR SELECT document_key FROM slow")
        connection.execute("FETCH 1 FROM h")
        connection.commit()
        no_cursors(mongo)
        assert len(connection.execute("FETCH ALL FROM h").fetchall()) == 11
        connection.rollback()
        connection.execute("DECLARE c SCROLL CURSOR FOR SELECT document_key::text FROM slow")
        connection.execute("FETCH 3 FROM c")
        assert connection.execute("FETCH FIRST FROM c").fetchall() == [('{"_id": 0}',)]
        connection.rollback()
    no_cursors(mongo)


def test_corners_of_rows(tables):
    """Whole rows, tableoid, locks on the other side of a join, inheritance."""
    db = tables
    assert db.value("SELECT count(DISTINCT fa::text) FROM fa") == 12
    assert db.value("SELECT DISTINCT tableoid::regclass::text FROM fa") == "fa"
    db.execute("CREATE TABLE local AS SELECT i AS id, 0 AS n FROM generate_series(0, 3) i")
    assert len(db.execute("SELECT 1 FROM fa JOIN local ON id = (document_key['_id'])::int WHERE operation_type = 'insert' FOR UPDATE")) == 4
    db.execute("UPDATE local SET n = n + 1 FROM fa WHERE id = (full_document['b'])::int AND operation_type = 'insert'")
    assert db.column("SELECT n FROM local") == [1] * 4
    db.execute("CREATE TABLE parent (LIKE fa)")
    db.execute("ALTER FOREIGN TABLE fa INHERIT parent")
    db.execute("ALTER FOREIGN TABLE fb INHERIT parent")
    assert db.value("SELECT count(*) FROM parent WHERE cluster_time > now() - interval '1 hour' AND operation_type = 'insert'") == 16
    rows = db.column("SELECT cluster_time FROM parent ORDER BY cluster_time LIMIT 14")
    assert rows == sorted(rows) and len(rows) == 14


def test_functions_of_anybody(tables):
    """What is no document, beside one, is taken for nothing else, whoever asks it by whatever function."""
    tables.execute("CREATE FUNCTION somebodys(document, integer) RETURNS boolean LANGUAGE plpgsql STRICT IMMUTABLE AS 'BEGIN RETURN $2 = 5; END'")
    tables.execute("CREATE OPERATOR @@@ (LEFTARG = document, RIGHTARG = integer, FUNCTION = somebodys)")
    events = tables.value("SELECT count(*) FROM fa WHERE full_document IS NOT NULL")
    for condition in ("full_document @@@ 5", "somebodys(full_document, 5)", "NOT full_document @@@ 6"):
        assert tables.value(f"SELECT count(*) FROM fa WHERE {condition}") == events
    assert tables.value("SELECT count(*) FROM fa WHERE full_document->'a' @@@ 6") == 0


def test_nothing_is_left_open(tables, mongo):
    """The end, a LIMIT, an error and a cancel leave no cursor on the server."""
    db = tables
    db.value("SELECT count(*) FROM fa")
    db.execute("SELECT * FROM fa LIMIT 1")
    db.execute("SELECT EXISTS (SELECT FROM fa)")
    error_of(db, "SELECT 1 / ((document_key['_id'])::int - 5) FROM fa")
    db.execute("SET statement_timeout = '300ms'")
    assert error_of(db, "SELECT pg_sleep(10) FROM fa").sqlstate == "57014"
    db.execute("RESET statement_timeout")
    no_cursors(mongo)
    assert db.value("SELECT count(*) FROM fa") == 12


def test_connections_of_many_tables(tables, mongo):
    """A query takes a connection for each table it reads; few of them are kept."""
    db = tables
    db.close()
    pid = db.value("SELECT pg_backend_pid()")

    def threads():
        return len(os.listdir(f"/proc/{pid}/task"))

    alone = threads()
    laterals = ", ".join(f"LATERAL (SELECT 1 FROM fb WHERE random() >= 0 LIMIT 1) t{number}" for number in range(8))
    with db.connection.cursor(name="c") as cursor:
        db.execute("BEGIN")
        cursor.execute("SELECT 1 FROM " + ", ".join(f"fb t{number}" for number in range(5)) + " WHERE random() >= 0")
        cursor.fetchmany(1)
        assert threads() > alone + 3
    db.execute("COMMIT")
    db.value(f"SELECT count(*) FROM {laterals}")
    db.value("SELECT count(*) FROM fb")
    assert alone < threads() <= alone + 3


@pytest.mark.timeout(300)
def test_many_scans(tables, mongo):
    """A thousand scans in a session: its memory stays, and nothing is left on the server."""
    db = tables
    pid = db.value("SELECT pg_backend_pid()")

    def resident():
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def scans(count):
        for number in range(count):
            db.value("SELECT count(full_document) FROM fa" if number % 3 else "SELECT 1 FROM fa JOIN fb ON true LIMIT 1")

    scans(200)
    before = resident()
    scans(800)
    assert resident() - before < 3000, "memory grows by each scan"
    no_cursors(mongo)


def test_analyze(tables):
    """ANALYZE reads the history, and plans know from then on how much there is."""
    db = tables
    assert "rows=100000" in plan(db, "SELECT * FROM fa", options="COSTS on")
    db.execute("ANALYZE fa")
    assert "rows=12 " in plan(db, "SELECT * FROM fa", options="COSTS on")
    # conditions on time are counted from now on, not looked up in the past
    db.execute("UPDATE pg_class SET reltuples = 86400 WHERE oid = 'fa'::regclass")
    db.execute("DELETE FROM pg_statistic WHERE starelid = 'fa'::regclass")
    for condition, low, high in [("cluster_time > now() - interval '1 hour'", 3590, 3610), ("cluster_time > now() + interval '1 hour'", 1, 1),
                                 ("cluster_time BETWEEN now() - interval '3 hours' AND now() - interval '2 hours'", 3590, 3610),
                                 ("cluster_time > '-infinity'", 86400, 86400), ("cluster_time > now() - interval '1 year'", 86400, 86400)]:
        rows = int(re.search(r"rows=(\d+)", plan(db, f"SELECT * FROM fa WHERE {condition}", options="COSTS on")).group(1))
        assert low <= rows <= high, (condition, rows)
    db.execute("ANALYZE fa")
    assert db.value("SELECT n_distinct FROM pg_stats WHERE tablename = 'fa' AND attname = 'operation_type'") == 1


def test_conditions_are_evaluated_by_mongodb(tables, mdb):
    """What MongoDB can evaluate alone is neither sent nor evaluated again."""
    db = tables
    mdb.a.delete_many({"_id": {"$gte": 10}})
    shown = plan(db, "SELECT document_key FROM fa WHERE operation_type = 'delete'", options="ANALYZE, VERBOSE, COSTS off, TIMING off")
    assert "MongoDB Events: 2" in shown and "Filter" not in shown
    db.execute("SET plan_cache_mode = force_generic_plan")
    db.execute("PREPARE q(text) AS SELECT count(*) FROM fa WHERE operation_type = $1")
    assert [db.value(f"EXECUTE q('{kind}')") for kind in ("insert", "delete", "x")] == [12, 2, 0]
    assert db.value("EXECUTE q(NULL)") == 0
