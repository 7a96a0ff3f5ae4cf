"""CHANGE_STREAM over events that a change stream keeps: the same rows as MongoDB's history, and which of the two is read."""
import itertools
import random
import re
import threading
import time

import bson
import pytest

import oracle
from foreign import COLUMNS, foreign_table, messages, plan
from harness.machine import wait_until
from streams import alter, create, drop, error_of, pause, resume, sync, wait_state
from test_fdw import QUESTIONS, history
from test_restore import Dump

SHARED = ", ".join(COLUMNS)
IMAGES = {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"}


def writes(mdb, name="c", first=0):
    """Events of every usual kind on one collection, those of a transaction among them, and as many on another one."""
    if name not in mdb.list_collection_names():
        mdb.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    c = mdb[name]
    c.insert_many([{"_id": first + i, "n": i, "deep": {"a": [1, {"b": i}]}} for i in range(5)])
    c.update_one({"_id": first + 1}, {"$set": {"deep.a.1.b": 7}, "$unset": {"n": 1}})
    c.replace_one({"_id": first + 2}, {"_id": first + 2, "whole": True})
    c.delete_one({"_id": first + 3})
    with mdb.client.start_session() as session, session.start_transaction():
        for i in range(20):
            c.insert_one({"_id": first + 100 + i}, session=session)
            mdb.other.insert_one({"_id": first + i}, session=session)
    c.update_one({"_id": first + 2}, {"$set": {"x": bson.Decimal128("1.50")}})


# events of writes() on its collection
WRITES = 29


def translated(db, statement):
    return db.value("SELECT change_stream_translate(%s)", statement)


def time_of(db, order="DESC", stream="s", offset=0):
    """The cluster_time of the last, or the first, event of a stream."""
    return db.value(f"SELECT cluster_time::text FROM change_stream_events WHERE stream_name = %s AND operation_type <> 'gap' ORDER BY event_id {order}"
                    " OFFSET %s LIMIT 1", stream, offset)


def first_event(db, mdb, stream="s", name="c"):
    """Something happens behind the stream's start; returns a condition that begins there."""
    mdb[name].insert_one({"_id": bson.ObjectId()})
    sync(db, stream)
    return f"cluster_time >= '{time_of(db, stream=stream)}'"


def run(db, text, *parameters):
    """The rows of a statement in the dialect, in one order, and the notices that it has left."""
    seen = messages(db.connection)
    rows = sorted(map(repr, db.execute(translated(db, text), *parameters)))
    return rows, [message for message in seen if message[0] == "NOTICE"]


def both(db, condition="true", relation="c", columns=SHARED, more=""):
    """The rows by CHANGE_STREAM, which must be those of MongoDB's history; and what a notice says they are of."""
    kept, said = run(db, f"SELECT {columns} FROM CHANGE_STREAM({relation}) WHERE {condition} {more}")
    rows, silent = run(db, f"SELECT {columns} FROM CHANGE_STREAM({relation}, 'history') WHERE {condition} {more}")
    assert kept == rows
    assert silent == []
    return rows, [message[1] for message in said]


def is_kept(said, stream="s"):
    assert len(said) == 1
    return f'kept events of change stream "{stream}" since' in said[0]


@pytest.fixture
def kept(linked, mdb):
    """A stream `s` of the collection, with images, and the foreign table `c`; one event."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    create(linked, "s", collection="c", **IMAGES)
    foreign_table(linked, "c", collection="c")
    return linked


def test_same_rows(kept, mdb):
    """A stream that has had everything: by each of its columns alone, too, as what is read depends on them."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    rows, said = both(kept, start)
    assert len(rows) == WRITES + 1 and is_kept(said)
    for column in COLUMNS:
        assert is_kept(both(kept, start, columns=column)[1])
    assert both(kept, start, columns="count(*)")[0] == [f"({WRITES + 1},)"]


@pytest.mark.parametrize("images, expanded, whole", [({}, True, False), ({"full_document": "updateLookup"}, False, True), (IMAGES, False, False), (IMAGES, True, True)])
def test_same_answers(linked, mdb, images, expanded, whole):
    """Drops, renames, transactions and all; conditions that a read leaves to MongoDB are evaluated; joins, groups, orders."""
    options = {**images, "show_expanded_events": expanded}
    create(linked, "s", **({} if whole else {"collection": "c"}), **options)
    start = first_event(linked, mdb)
    foreign_table(linked, "c", collection="c", start_at=time_of(linked), full_document=images.get("full_document", "default"),
                  full_document_before_change=images.get("full_document_before_change", "off"), show_expanded_events=expanded)
    mdb.c.drop()
    history(mdb)
    sync(linked, "s")
    # what was looked up is of then, not of now
    columns = [column for column in COLUMNS if ("updateLookup" not in images.values() or not column.startswith("full_document"))
               and (images or column != "resume_token")]
    rows, said = both(linked, start, columns=", ".join(columns))
    assert len(rows) > 30 and is_kept(said)
    if "updateLookup" in images.values():
        return
    # tokens of a stream without images have another form than the table's
    for question in QUESTIONS:
        answers = [run(linked, question.replace("{}", f"CHANGE_STREAM(c{form})")) for form in ("", ", 'history'")]
        assert answers[0][0] == answers[1][0], question
        # another clock says ten minutes less
        if "change_timestamp >=" not in question and (images or "resume_token" not in question):
            assert is_kept([message[1] for message in answers[0][1]]), question


def test_behind_and_paused(kept, mdb):
    """What the stream has not had yet comes from MongoDB, behind its position, once."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    pause(kept, "s")
    for again in range(3):
        writes(mdb, first=1000 * (again + 1))
        rows, said = both(kept, start)
        assert len(rows) == 1 + WRITES * (again + 2) and is_kept(said)
    assert kept.value("SELECT count(*) FROM change_stream_events") == WRITES + 1
    # from behind the position on, of it, and up to it
    for bound in (">", ">=", "=", "<", "<="):
        assert is_kept(both(kept, f"{start} AND cluster_time {bound} '{time_of(kept)}'")[1])
    resume(kept, "s")
    sync(kept, "s")
    assert is_kept(both(kept, start)[1])


def test_while_it_follows(kept, mdb):
    """No row twice and none missing, at whichever moment it is looked."""
    start = first_event(kept, mdb)
    stop = threading.Event()
    number = 0

    def write():
        nonlocal number
        while not stop.is_set():
            with mdb.client.start_session() as session, session.start_transaction():
                mdb.c.insert_many([{"_id": number * 5 + i} for i in range(5)], session=session)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        text = translated(kept, f"SELECT resume_token, document_key FROM CHANGE_STREAM(c) WHERE {start}")
        for _ in range(40):
            acknowledged = number * 5
            rows = kept.execute(text)
            assert len(rows) >= acknowledged + 1
            assert len({token for token, _ in rows}) == len(rows)
            numbers = sorted(key for _, key in rows if "$oid" not in key)
            assert len(numbers) % 5 == 0
            time.sleep(0.02)
    finally:
        stop.set()
        writer.join()
    sync(kept, "s")
    assert is_kept(both(kept, start)[1])


def test_bounds(kept, mdb):
    """Lower and upper bounds of all kinds, in the middle of what is kept."""
    first = first_event(kept, mdb)
    for i in range(3):
        writes(mdb, first=1000 * i)
    time.sleep(1.1)
    writes(mdb, first=3000)
    sync(kept, "s")
    middle = time_of(kept, offset=60)
    token = kept.value("SELECT resume_token FROM change_stream_events WHERE event_id = 50")
    for condition in (f"cluster_time > '{middle}'", f"cluster_time >= '{middle}'", f"cluster_time = '{middle}'", f"cluster_time <= '{middle}' AND {first}",
                      f"cluster_time BETWEEN '{middle}' AND '{time_of(kept)}'", f"cluster_time = ANY (ARRAY['{middle}', '{time_of(kept)}']::timestamptz[])",
                      f"resume_token > '{token}'", f"resume_token = '{token}'", f"cluster_time > '{middle}' AND date_trunc('second', cluster_time) >= '{middle}'",
                      f"cluster_time > '{middle}' AND full_document['n'] > 2", f"cluster_time > '{middle}' AND operation_type = 'delete'",
                      f"cluster_time > '{middle}' AND extra IS NULL", f"cluster_time > '{middle}' AND cluster_time < '{middle}'"):
        rows, said = both(kept, condition)
        assert said == [] and rows == [] if condition.endswith(f"< '{middle}'") else is_kept(said), condition
    # another clock can only say ten minutes less
    assert not is_kept(both(kept, f"change_timestamp >= '{middle}'")[1])


def test_joins_and_rescans(kept, mdb):
    """A scan that is repeated with other bounds begins elsewhere each time, and tells once."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    pause(kept, "s")
    writes(mdb, first=1000)
    kept.execute("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_memoize = off")
    kept.execute("CREATE TABLE times AS SELECT event_id, cluster_time AS t FROM change_stream_events WHERE event_id % 7 = 0; ANALYZE times")
    text = "SELECT event_id, resume_token FROM times, CHANGE_STREAM(c{}) AS x WHERE x.cluster_time >= times.t"
    assert "Foreign Scan" in plan(kept, translated(kept, text.replace("{}", "")))
    answers = [run(kept, text.replace("{}", form)) for form in ("", ", 'history'")]
    assert answers[0][0] == answers[1][0] and len(answers[0][0]) > 100
    assert is_kept([message[1] for message in answers[0][1]])
    # and a lateral one that needs only the first
    text = "SELECT event_id, a.resume_token FROM times, LATERAL (SELECT resume_token FROM CHANGE_STREAM(c{}) AS x WHERE x.cluster_time >= times.t ORDER BY cluster_time, resume_token LIMIT 1) a"
    answers = [run(kept, text.replace("{}", form)) for form in ("", ", 'history'")]
    assert answers[0][0] == answers[1][0] and len(answers[0][0]) == kept.value("SELECT count(*) FROM times")
    # outer joins: the sub-select is on the side that may be null
    text = "SELECT t::text, count(x.resume_token) FROM (SELECT t FROM times UNION ALL SELECT 'infinity') t LEFT JOIN CHANGE_STREAM(c{}) AS x ON x.cluster_time = t.t AND " + start + " GROUP BY t"
    answers = [run(kept, text.replace("{}", form)) for form in ("", ", 'history'")]
    assert answers[0][0] == answers[1][0]


def test_begin(kept, mdb):
    """What happened before the stream began is MongoDB's to show; a notice says what to add."""
    mdb.c.insert_one({"_id": "before"})
    drop(kept, "s")
    mdb.c.insert_one({"_id": "between"})
    create(kept, "s", collection="c", **IMAGES)
    start = first_event(kept, mdb)
    rows, said = run(kept, f"SELECT {SHARED} FROM CHANGE_STREAM(c) WHERE cluster_time > now() - interval '1 hour'")
    assert 'MongoDB\'s history, as change stream "s" keeps all events only since ' in said[0][1]
    assert len(rows) == 3
    condition = re.fullmatch("Add the condition (.*).", said[0][3]).group(1)
    rows, said = both(kept, condition)
    assert len(rows) == 1 and is_kept(said)
    # the whole history, and that of a stream that began as early
    assert not is_kept(both(kept)[1])
    create(kept, "all", collection="c", start_at="earliest", **IMAGES)
    sync(kept, "all")
    drop(kept, "s")
    assert is_kept(both(kept)[1], "all")


def test_deleted_events(kept, mdb):
    """Retention's way, from the oldest on, or a hole: what is not there is read from MongoDB."""
    start = first_event(kept, mdb)
    for i in range(3):
        writes(mdb, first=1000 * i)
    sync(kept, "s")
    middle, late = time_of(kept, "ASC", offset=40), time_of(kept, "ASC", offset=80)
    kept.execute("DELETE FROM change_stream_events WHERE event_id <= 20")
    rows, said = both(kept, start)
    assert len(rows) == 1 + 3 * WRITES and not is_kept(said)
    assert is_kept(both(kept, f"cluster_time >= '{middle}'")[1])
    # a hole farther on
    kept.execute("DELETE FROM change_stream_events WHERE event_id = 60")
    rows, said = both(kept, f"cluster_time >= '{middle}'")
    assert is_kept(said)
    at = time_of(kept, "ASC", offset=39)
    rows, said = both(kept, f"cluster_time >= '{at}'")
    assert is_kept(both(kept, f"cluster_time >= '{late}'")[1])
    # the row itself with which it would begin
    kept.execute("DELETE FROM change_stream_events WHERE event_id BETWEEN 61 AND 85")
    assert both(kept, f"cluster_time >= '{late}'")[1][0].endswith('change stream "s" kept events of that time that are deleted')
    kept.execute("TRUNCATE change_stream_events")
    assert not is_kept(both(kept, f"cluster_time >= '{late}'")[1])
    writes(mdb, first=5000)
    sync(kept, "s")
    assert is_kept(both(kept, f"cluster_time >= '{time_of(kept)}'")[1])
    kept.execute("DELETE FROM change_stream_events")
    assert not is_kept(both(kept, start)[1])


def test_rows_that_lack_something(kept, mdb):
    """An event that was too large, and a token that somebody has damaged, are MongoDB's to show, and all behind them."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    kept.execute("UPDATE change_stream_events SET full_document = NULL, full_document_source = 'too_large' WHERE event_id = 7")
    assert is_kept(both(kept, start)[1])
    kept.execute("UPDATE change_stream_events SET resume_token = 'damaged' WHERE event_id = 12")
    assert is_kept(both(kept, start)[1])
    kept.execute("UPDATE change_stream_events SET full_document = NULL, full_document_source = 'too_large' WHERE event_id = 1")
    assert len(both(kept, start)[0]) == WRITES + 1


def test_gaps(kept, mdb):
    """Events that the stream has not had, by a move of its position or a skip, are not missing in what is shown."""
    start = first_event(kept, mdb)
    pause(kept, "s")
    writes(mdb)
    resume(kept, "s", start_at="now")
    writes(mdb, first=1000)
    sync(kept, "s")
    rows, said = both(kept, start)
    assert len(rows) == 1 + 2 * WRITES and not is_kept(said)
    after = f"cluster_time >= '{time_of(kept)}'"
    assert is_kept(both(kept, after)[1])
    # back again: what it has had twice is shown once
    resume(kept, "s", start_at=kept.value("SELECT resume_token FROM change_stream_events WHERE event_id = 1"))
    sync(kept, "s")
    assert is_kept(both(kept, f"cluster_time > '{time_of(kept, 'ASC')}'")[1])
    # one that is skipped
    pause(kept, "s")
    mdb.c.insert_many([{"_id": f"skipped {i}"} for i in range(3)])
    token = kept.value("SELECT resume_token FROM c WHERE document_key['_id'] = text 'skipped 1'")
    resume(kept, "s", skip=token)
    sync(kept, "s")
    assert kept.value("SELECT count(*) FROM change_stream_events WHERE operation_type = 'gap' AND extra ->> 'reason' LIKE '%skipped%'") == 1
    assert not is_kept(both(kept, after)[1])
    assert is_kept(both(kept, f"cluster_time >= '{first_event(kept, mdb)[17:-1]}'")[1])


def test_renamed_onto(kept, mdb):
    """Its gap row stands for no event: what is kept goes on over it."""
    start = first_event(kept, mdb)
    writes(mdb)
    mdb.made.insert_one({"_id": 1})
    mdb.made.rename("c", dropTarget=True)
    mdb.c.insert_one({"_id": 2})
    sync(kept, "s")
    assert kept.value("SELECT count(*) FROM change_stream_events WHERE operation_type = 'gap'") == 1
    assert is_kept(both(kept, start)[1])


def test_definitions(kept, mdb):
    """What of a definition makes other rows, and since when it does not."""
    start = first_event(kept, mdb)
    for option, value, says in (("filter", "operation_type = 'insert'", "has filter"), ("operations", ["insert"], "has operations"),
                                ("add_fields", "one = 1", "has add_fields"), ("pipeline", '[{"$match": {"operationType": "insert"}}]', "has pipeline")):
        alter(kept, "s", **{option: value})
        writes(mdb, first=bson.ObjectId().__hash__() % 1000000 * 1000)
        sync(kept, "s")
        # such a stream is no reason for the mark, which a view may have from before
        assert "change_stream_kept" not in translated(kept, "SELECT 1 FROM CHANGE_STREAM(c)")
        seen = messages(kept.connection)
        kept.execute(f"SELECT 1 FROM (SELECT * FROM c WHERE change_stream_kept(tableoid)) AS c WHERE {start}")
        assert f'as change stream "s" {says}' in seen[0][1]
        # what would help from now on, no more
        assert seen[0][3] is None
        alter(kept, "s", reset=[option])
        assert not is_kept(both(kept, start)[1])
        assert is_kept(both(kept, first_event(kept, mdb))[1])
    after = first_event(kept, mdb)
    # what makes no other rows, or is said again
    alter(kept, "s", retention="30 days", notify="off", batch_size=10, full_document="whenAvailable", keep_events=True, on_error="park")
    kept.execute(translated(kept, "CREATE OR REPLACE CHANGE STREAM s ON c WITH (full_document = whenAvailable, full_document_before_change = whenAvailable)"))
    assert is_kept(both(kept, after)[1])
    # fields that are hidden matter to who asks for them
    alter(kept, "s", exclude_fields=["deep"])
    after = first_event(kept, mdb)
    writes(mdb, first=-1000)
    sync(kept, "s")
    assert is_kept(both(kept, after, columns="operation_type, document_key, resume_token")[1])
    assert "has exclude_fields" in both(kept, after, columns="changed_fields")[1][0]
    alter(kept, "s", reset=["exclude_fields"], keep_events=False)
    assert "change_stream_kept" not in translated(kept, "SELECT 1 FROM CHANGE_STREAM(c)")
    alter(kept, "s", keep_events=True)
    assert not is_kept(both(kept, after)[1])
    assert is_kept(both(kept, first_event(kept, mdb))[1])


def test_images(linked, mdb):
    """Those that are asked for must be the table's; the hint makes them so."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    create(linked, "s", collection="c", full_document="updateLookup")
    foreign_table(linked, "c", collection="c", full_document_before_change="required")
    start = first_event(linked, mdb)
    writes(mdb)
    sync(linked, "s")
    # of a transaction's inserts, which have no image from before, it is required of none
    plain = "operation_type, document_key, update_description, changed_fields, cluster_time, change_timestamp, extra"
    assert is_kept(both(linked, start, columns=plain)[1])
    assert is_kept(both(linked, start, columns=plain + ", resume_token")[1])
    _, said = run(linked, f"SELECT full_document FROM CHANGE_STREAM(c) WHERE {start}")
    assert said[0][1:] == ('foreign table "c" shows MongoDB\'s history, as change stream "s" has full_document \'updateLookup\' and the table \'whenAvailable\'',
                           None, "ALTER FOREIGN TABLE public.c OPTIONS (ADD full_document 'updateLookup');")
    linked.execute(said[0][3])
    assert is_kept([message[1] for message in run(linked, f"SELECT full_document FROM CHANGE_STREAM(c) WHERE {start}")[1]])
    _, said = run(linked, f"SELECT full_document_before_change FROM CHANGE_STREAM(c) WHERE {start} AND operation_type = 'delete'")
    assert "has full_document_before_change 'off' and the table 'required'" in said[0][1]
    linked.execute(said[0][3])
    assert is_kept(both(linked, start, columns="full_document_before_change")[1])
    alter(linked, "s", show_expanded_events=True)
    start = first_event(linked, mdb)
    _, said = run(linked, f"SELECT 1 FROM CHANGE_STREAM(c) WHERE {start}")
    assert "has show_expanded_events true and the table has not" in said[0][1]
    linked.execute(said[0][3])
    mdb.c.create_index("n")
    sync(linked, "s")
    assert is_kept(both(linked, start, columns="operation_type, extra")[1])


def test_a_stream_of_the_database(linked, mdb):
    """It serves a collection by its rows, and all_changes."""
    create(linked, "s", **IMAGES)
    foreign_table(linked, "c", collection="c")
    foreign_table(linked, "all_changes")
    start = first_event(linked, mdb)
    writes(mdb)
    writes(mdb, "d", first=1000)
    mdb.d.drop()
    sync(linked, "s")
    assert len(both(linked, start)[0]) == WRITES + 1
    assert is_kept(both(linked, start)[1])
    rows, said = both(linked, start, relation="DATABASE")
    assert len(rows) == 2 * WRITES + 42 and is_kept(said)
    rows, said = both(linked, start, relation="d")      # by all_changes
    assert len(rows) == WRITES + 1 and is_kept(said)
    # one of the collection alone is nearer
    create(linked, "t", collection="c", start_at=linked.value("SELECT resume_token FROM change_stream_events WHERE event_id = 1"), **IMAGES)
    sync(linked, "t")
    assert is_kept(both(linked, f"cluster_time > '{time_of(linked, 'ASC')}'")[1], "t")


def test_the_table_as_its_owner_alters_it(kept, mdb):
    """Columns in other places and of other types: documents that are no documents any more are read from MongoDB."""
    start = first_event(kept, mdb)
    kept.execute("ALTER TABLE change_stream_events ADD COLUMN mine int DEFAULT 1, ALTER COLUMN operation_type TYPE varchar(40)")
    writes(mdb)
    sync(kept, "s")
    assert is_kept(both(kept, start)[1])
    kept.execute("ALTER TABLE change_stream_events ALTER COLUMN full_document TYPE jsonb USING full_document::jsonb")
    sync(kept, "s")
    assert is_kept(both(kept, start, columns="document_key, operation_type")[1])
    assert both(kept, start)[1][0].endswith("as column full_document of change_stream_events has type jsonb")
    pause(kept, "s")
    kept.execute("ALTER TABLE change_stream_events DROP CONSTRAINT change_stream_events_pkey")
    assert both(kept, start)[1][0].endswith("as columns of change_stream_events are not as the extension needs them")


def test_prepared_statements_and_views(kept, mdb):
    """The choice is that of each execution, not of the translation or the plan."""
    start = first_event(kept, mdb)
    kept.execute(translated(kept, f"CREATE VIEW v AS SELECT operation_type, full_document.n FROM CHANGE_STREAM(c) AS x WHERE {start}"))
    kept.execute(translated(kept, f"PREPARE p(timestamptz) AS SELECT {SHARED} FROM CHANGE_STREAM(c) WHERE cluster_time >= $1"))
    seen = messages(kept.connection)
    hint = None
    for state in ("there", "off", "dropped", "again"):
        writes(mdb, first={"there": 0, "off": 1000, "dropped": 2000, "again": 3000}[state])
        if state == "dropped":
            drop(kept, "s")
        elif state == "again":
            create(kept, "s", collection="c", start_at="earliest", **IMAGES)
        if state != "dropped":
            sync(kept, "s")
        kept.execute(f"SET mongo_change_stream.kept_events = {'off' if state == 'off' else 'on'}")
        for statement in ("EXECUTE p('{}')".format(start[17:-1]), "SELECT * FROM v"):
            seen.clear()
            rows = kept.execute(statement)
            said = [message[1] for message in seen]
            assert len(rows) == {"there": 30, "off": 59, "dropped": 88, "again": 117}[state]
            assert said == [] if state == "off" else is_kept(said) == (state != "dropped"), state
            if state == "dropped":
                assert said[0].endswith("as no change stream whose events may be read follows c")
                assert seen[0][3].startswith("SELECT create_change_stream('c', collection => 'c', database => ")
                hint = hint or seen[0][3]
    drop(kept, "s")
    kept.execute(hint)
    sync(kept, "c")
    assert is_kept(both(kept, start)[1], "c")


def test_a_cursor_keeps_its_snapshot(kept, mdb):
    """Rows that are deleted, and events that come, while it stands open."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    with kept.connect(autocommit=False) as one:
        one.execute("DECLARE x CURSOR FOR " + translated(kept, f"SELECT resume_token FROM CHANGE_STREAM(c) WHERE {start}"))
        rows = one.execute("FETCH 5 FROM x").fetchall()
        writes(mdb, first=1000)
        sync(kept, "s")
        kept.execute("DELETE FROM change_stream_events")
        kept.execute("VACUUM change_stream_events")
        drop(kept, "s")
        one.execute("SAVEPOINT a")
        rows += one.execute("FETCH 5 FROM x").fetchall()
        one.execute("ROLLBACK TO a")
        rows += one.execute("FETCH ALL FROM x").fetchall()
        assert len(rows) == len(set(rows)) and len(rows) >= 30
        one.execute("CLOSE x")
    create(kept, "s", collection="c", start_at="earliest", **IMAGES)
    sync(kept, "s")
    with kept.connect(autocommit=False) as one:     # begun within what is rolled back
        one.execute("DECLARE x CURSOR FOR " + translated(kept, f"SELECT resume_token FROM CHANGE_STREAM(c) WHERE {start}"))
        one.execute("SAVEPOINT a")
        rows = one.execute("FETCH 5 FROM x").fetchall()
        one.execute("ROLLBACK TO a")
        rows += one.execute("FETCH ALL FROM x").fetchall()
        assert len(set(rows)) == len(rows) == 1 + 2 * WRITES
    with kept.connect(autocommit=False) as one:
        one.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        one.execute("SELECT 1")
        writes(mdb, first=2000)
        sync(kept, "s")
        text = translated(kept, f"SELECT resume_token FROM CHANGE_STREAM(c) WHERE {start}")
        assert len(one.execute(text).fetchall()) == 1 + 3 * WRITES


def test_who_may_read(kept, mdb):
    """Owner, members, readers, views; nobody is told of what is not his."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    roles = ["alice", "bob", "rita", "eve"]
    for role in roles:
        kept.execute(f"CREATE ROLE {role} LOGIN")
    kept.execute("GRANT SELECT ON c TO alice, bob, rita, eve; GRANT USAGE ON FOREIGN SERVER mongo TO alice, bob; GRANT CREATE ON SCHEMA public TO alice; GRANT alice TO bob")
    drop(kept, "s")
    with kept.connect("alice") as alice:
        create(alice, "hers", collection="c", start_at="earliest", **IMAGES)
        alice.execute("SELECT sync_change_stream('hers')")
        alice.execute("SELECT grant_change_stream('hers', 'rita')")
        alice.execute(alice.execute("SELECT change_stream_translate(%s)", [f"CREATE VIEW v AS SELECT {SHARED} FROM CHANGE_STREAM(c) AS x WHERE {start}"]).fetchone()[0])
        alice.execute("GRANT SELECT ON v TO eve")
    marked = f"SELECT {SHARED} FROM (SELECT * FROM c WHERE change_stream_kept(tableoid)) AS c WHERE {start}"
    for role, reads in (("alice", True), ("bob", True), ("rita", True), ("eve", False)):
        with kept.connect(role) as one:
            seen = messages(one)
            text = one.execute("SELECT change_stream_translate('SELECT 1 FROM CHANGE_STREAM(c)')").fetchone()[0]
            assert ("change_stream_kept" in text) == reads, role
            assert len(one.execute(marked).fetchall()) == WRITES + 1
            assert ('kept events of change stream "hers"' in seen[-1][1]) == reads, role
            assert reads or "no change stream whose events may be read" in seen[-1][1]
            if role == "eve":       # by the view's owner, whose stream she is not told the name of
                assert len(one.execute("SELECT * FROM v").fetchall()) == WRITES + 1
                assert "kept events of a change stream since" in seen[-1][1]
    # a policy of somebody's says what the extension cannot know
    own = kept.value("SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'own_events' AND polrelid = 'change_stream_events'::regclass")
    for change, back in (("CREATE POLICY mine ON change_stream_events AS RESTRICTIVE FOR SELECT USING (operation_type = 'insert')",
                          "DROP POLICY mine ON change_stream_events"),
                         ("DROP POLICY own_events ON change_stream_events", f"CREATE POLICY own_events ON change_stream_events FOR SELECT USING ({own})")):
        kept.execute(change)
        with kept.connect("alice") as alice:
            seen = messages(alice)
            assert len(alice.execute(marked).fetchall()) == WRITES + 1
            assert "no change stream whose events may be read" in seen[-1][1]
        kept.execute(back)
    assert is_kept(both(kept, start)[1], "hers")
    kept.execute("REVOKE SELECT ON change_stream_events FROM PUBLIC")
    with kept.connect("alice") as alice:
        seen = messages(alice)
        assert len(alice.execute(marked).fetchall()) == WRITES + 1
        assert "no change stream whose events may be read" in seen[-1][1]
    kept.execute("GRANT SELECT ON change_stream_events TO PUBLIC; CREATE USER MAPPING FOR alice SERVER mongo OPTIONS (username 'x', password 'y')")
    seen = messages(kept.connection)
    kept.execute(marked)
    assert 'change stream "hers" is followed as another user of MongoDB' in seen[-1][1]
    for role in roles:
        kept.execute(f"DROP OWNED BY {role} CASCADE")


def test_explain(kept, mdb):
    """It says what an execution would read, and asks MongoDB nothing."""
    start = first_event(kept, mdb)
    server = kept.value("SELECT option_value FROM pg_foreign_server, pg_options_to_table(srvoptions) WHERE option_name = 'uri'")
    sync(kept, "s")
    pause(kept, "s")
    kept.execute("ALTER SERVER mongo OPTIONS (SET uri 'mongodb://127.0.0.1:1/?replicaSet=rs0')")
    text = translated(kept, f"SELECT operation_type FROM CHANGE_STREAM(c) WHERE {start}")
    assert 'none, as change stream "s" has not followed yet by the server\'s uri of now' in plan(kept, text)
    kept.execute("UPDATE change_stream_progress SET deployment = '{\"uri\": \"mongodb://127.0.0.1:1/?replicaSet=rs0\"}'")
    assert re.search('Kept Events: change stream "s" since 20[^,]*, then MongoDB\'s history$', plan(kept, text), re.M)
    text = translated(kept, "SELECT operation_type FROM CHANGE_STREAM(c)")
    assert re.search('Kept Events: change stream "s" since 20[^,]* if MongoDB\'s history begins later, then MongoDB\'s history$', plan(kept, text), re.M)
    text = translated(kept, "SELECT operation_type FROM CHANGE_STREAM(c) AS x WHERE cluster_time >= (SELECT max(t) FROM (VALUES (now())) v(t))")
    assert "if parameters allow, then MongoDB's history" in plan(kept, text)
    assert "Kept Events" not in plan(kept, "SELECT operation_type FROM c")
    # up to the stream's position MongoDB need not be asked at all
    last = kept.value("SELECT to_char(cluster_time - interval '1 microsecond', 'YYYY-MM-DD HH24:MI:SS.USOF') FROM change_stream_events")
    text = translated(kept, f"SELECT operation_type FROM CHANGE_STREAM(c) WHERE cluster_time BETWEEN '{last}' AND '{last}'")
    kept.execute("ALTER SERVER mongo OPTIONS (SET uri %s)" % "'{}'".format(server))
    kept.execute("SET mongo_change_stream.kept_events = off")
    assert "Kept Events" not in plan(kept, text)


def test_second_argument(kept, mdb):
    """'history', or an error that says so; functions and tables of that name are left alone."""
    assert translated(kept, "SELECT 1 FROM CHANGE_STREAM(c, 'history')") == "SELECT 1 FROM c"
    for second in ("'kept'", "history", "1", "'history', 2"):
        error = error_of(kept, "SELECT change_stream_translate(%s)", f"SELECT 1 FROM CHANGE_STREAM(c, {second})")
        assert error.sqlstate == "42601" and "only 'history' can stand behind the name" in str(error)
    for text in ("SELECT change_stream(a, b) FROM t", "INSERT INTO change_stream (a, b) VALUES (1, 2)"):
        assert translated(kept, text) == text


def test_restored(kept, mdb, postgres, tmp_path):
    """A view is read as it was; its kept events count again when the stream has been resumed in the new database."""
    start = first_event(kept, mdb)
    writes(mdb)
    sync(kept, "s")
    kept.execute(translated(kept, f"CREATE VIEW v AS SELECT {SHARED} FROM CHANGE_STREAM(c) AS x WHERE {start}"))
    dump = Dump(kept, postgres, tmp_path)
    there = dump.restore()
    try:
        seen = messages(there.connection)
        for said in ('MongoDB\'s history, as change stream "s" was made in another database or cluster', 'kept events of change stream "s" since'):
            writes(mdb, first=1000 * len(said))
            assert len(there.execute("SELECT * FROM v")) == mdb.command("count", "other")["n"] // 20 * WRITES + 1
            assert said in seen[-1][1]
            if "another" in said:
                there.execute(seen[-1][3])
                sync(there, "s")
    finally:
        there.close()
        postgres.drop_database(there.name)


def test_in_other_statements(kept, mdb):
    """Locks of rows, functions' bodies, a handler's, a materialized view that is refreshed, COPY, parallel plans."""
    start = first_event(kept, mdb)
    kept.execute("CREATE TABLE counted (event_id bigint, n bigint)")
    kept.execute(translated(kept, f"CREATE MATERIALIZED VIEW m AS SELECT operation_type, count(*) AS n FROM CHANGE_STREAM(c) AS x WHERE {start} GROUP BY 1"))
    kept.execute(translated(kept, "CREATE TRIGGER h ON CHANGE STREAM s FOR EACH CHANGE AS BEGIN"
                            f" INSERT INTO counted SELECT change.event_id, count(*) FROM CHANGE_STREAM(c) x WHERE {start}; END"))
    assert kept.value("SELECT body LIKE '%change_stream_kept(tableoid)%' FROM change_handlers")
    writes(mdb)
    assert kept.value("SELECT sync_change_stream('s', handlers => true)")
    assert kept.row("SELECT count(*), min(n) >= 1, max(n) FROM counted") == (WRITES, True, WRITES + 1)
    seen = messages(kept.connection)
    kept.execute("REFRESH MATERIALIZED VIEW m")
    assert kept.value("SELECT sum(n) FROM m") == WRITES + 1 and "kept events" in seen[-1][1]
    assert len(kept.execute(translated(kept, f"SELECT operation_type FROM CHANGE_STREAM(c) AS x WHERE {start} FOR UPDATE"))) == WRITES + 1
    assert len(kept.execute(translated(kept, f"SELECT operation_type FROM CHANGE_STREAM(c) AS x, counted WHERE n = 1 AND {start} FOR UPDATE OF counted"))) % (WRITES + 1) == 0
    kept.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    for _ in range(7):      # past the custom plans
        assert kept.value(translated(kept, f"SELECT count(*) FROM CHANGE_STREAM(c) AS x JOIN change_stream_events e USING (resume_token) WHERE x.{start}")) == WRITES + 1
    kept.execute("ANALYZE c")


@pytest.mark.faults
def test_behind_the_oplog(db, new_replica_set):
    """Kept events are shown that the oplog has no more; and a position that it has left behind is told of."""
    mongo = new_replica_set(oplog_mb=1, options=["--syncdelay", "1"])
    db.create_server(mongo.uri, "shop")
    shop = mongo.client.shop
    shop.c.insert_one({"_id": 1})
    create(db, "s", collection="c")
    foreign_table(db, "c", collection="c", full_document="default", full_document_before_change="off")
    shop.c.insert_one({"_id": 2})
    sync(db, "s")

    def move_on(token):
        def gone():
            shop.filler.insert_many([{"pad": "x" * 100000} for _ in range(5)])
            return mongo.client.local.oplog.rs.find_one(sort=[("$natural", 1)])["ts"] > oracle.token_time(token)
        wait_until(gone, 90, "the oplog moves on", pause=0.2)

    assert not is_kept(both(db, columns="document_key, full_document")[1])
    move_on(db.value("SELECT resume_token FROM change_stream_events"))
    text = "SELECT (document_key['_id'])::int FROM CHANGE_STREAM(c{})"
    for condition in ("", " WHERE cluster_time > '2020-01-01'"):
        rows, said = run(db, text.format("") + condition)
        assert rows == ["(2,)"] and is_kept([message[1] for message in said])
        assert run(db, text.format(", 'history'") + condition)[0] == []
    # without the right to read the oplog it is found out by trying
    mongo.fail_command(["find"], errorCode=13)
    assert run(db, text.format(""))[0] == ["(2,)"]
    mongo.stop_failing()
    pause(db, "s")
    shop.c.insert_one({"_id": 3})
    token = db.value("SELECT resume_token FROM c WHERE document_key['_id'] = 3")
    move_on(token)
    shop.c.insert_one({"_id": 4})
    seen = messages(db.connection)
    assert sorted(db.column(translated(db, text.format("")))) == [2, 4]
    assert [message[0] for message in seen] == ["NOTICE", "WARNING"] and "MongoDB's history begins at" in seen[1][1]


def test_parked_and_dropped(kept, mdb):
    """An event that was put aside, and a database that is dropped."""
    start = first_event(kept, mdb)
    alter(kept, "s", on_error="park")
    kept.execute("ALTER TABLE change_stream_events ADD CONSTRAINT mine CHECK (NOT coalesce((document_key ->> '_id') = 'bad', false))")
    mdb.c.insert_many([{"_id": name} for name in ("good", "bad", "better")])
    sync(kept, "s")
    assert kept.value("SELECT count(*) FROM change_stream_parked_events") == 1
    assert not is_kept(both(kept, start)[1])
    assert is_kept(both(kept, f"cluster_time >= '{time_of(kept)}'")[1])
    kept.execute("ALTER TABLE change_stream_events DROP CONSTRAINT mine")
    create(kept, "all", start_at=kept.value("SELECT resume_token FROM change_stream_events WHERE event_id = 1"), **IMAGES)
    foreign_table(kept, "all_changes")
    mdb.client.drop_database(mdb.name)
    mdb.c.insert_one({"_id": "again"})
    sync(kept, "s")
    sync(kept, "all")
    after = f"cluster_time > '{time_of(kept, 'ASC')}'"
    rows, said = both(kept, after, relation="DATABASE")
    assert is_kept(said, "all") and any("dropDatabase" in row for row in rows)
    assert is_kept(both(kept, after)[1], "all")


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens(kept, mdb, seed):
    """Streams are paused, moved, altered, dropped, their rows deleted; each look shows what MongoDB's history has."""
    dice = random.Random(seed)
    foreign_table(kept, "all_changes")
    create(kept, "all", **IMAGES)
    start = first_event(kept, mdb)[17:-1]
    numbers = itertools.count(10)
    looks = {True: 0, False: 0}

    def stream():
        return dice.choice(kept.column("SELECT stream_name FROM change_streams") or ["s"])

    def delete():
        kept.execute("DELETE FROM change_stream_events WHERE stream_name = %s AND event_id %% 50 < %s", stream(), dice.randrange(5))

    def drop_one():
        name = stream()
        drop(kept, name, keep_events=dice.random() < 0.3)
        create(kept, name, start_at=dice.choice(["now", "earliest", kept.value("SELECT resume_token FROM all_changes ORDER BY random() LIMIT 1")]),
               **({"collection": "c"} if name == "s" else {}), **IMAGES)

    actions = [lambda: writes(mdb, first=1000 * next(numbers)), lambda: writes(mdb, "d", first=1000 * next(numbers)), delete, drop_one,
               lambda: pause(kept, stream()), lambda: resume(kept, stream()),
               lambda: resume(kept, stream(), start_at=dice.choice(["now", "earliest"])),
               lambda: alter(kept, stream(), retention=dice.choice(["1 day", "2 days"])),
               lambda: alter(kept, stream(), keep_events=dice.random() < 0.7),
               lambda: alter(kept, stream(), filter=dice.choice(["operation_type <> 'insert'", "true"])), lambda: alter(kept, stream(), reset=["filter"]),
               lambda: mdb.d.drop(), lambda: [mdb.made.insert_one({}), mdb.made.rename("d", dropTarget=True)],
               lambda: kept.execute("TRUNCATE change_stream_events")]
    weights = [8, 4, 2, 1, 2, 4, 1, 1, 1, 1, 3, 1, 1, 0.5]
    for _ in range(50):
        dice.choices(actions, weights)[0]()
        if dice.random() < 0.5:
            for name in kept.column("SELECT stream_name FROM change_stream_status WHERE state = 'active'"):
                sync(kept, name)
        times = kept.column("SELECT cluster_time::text FROM all_changes WHERE cluster_time >= %s::timestamptz ORDER BY random() LIMIT 2", start)
        times = times * 2 or [start, start]
        for low, high in ((start, "infinity"), sorted(times[:2]), (times[0], "infinity")):
            relation = dice.choice(["c", "DATABASE", "d"])
            condition = f"cluster_time >= '{low}' AND cluster_time <= '{high}'" + dice.choice(["", " AND operation_type = 'insert'", " AND full_document['n'] > 1"])
            rows, said = both(kept, condition, relation=relation)
            looks[any("kept events of" in text for text in said)] += 1
    assert min(looks.values()) > 10
