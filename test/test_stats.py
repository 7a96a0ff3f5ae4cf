"""What change_stream_stats and change_handler_stats count, who sees it, and what change_stream_advice() says."""
import datetime

import psycopg
import pytest

from groups import make, wait_together
from harness.machine import wait_until
from streams import create, sync

ZERO = datetime.timedelta(0)


def stats(db, name, view="stream"):
    """The row of a stream or handler by column, or None."""
    cursor = db.connection.execute(f"SELECT * FROM change_{view}_stats WHERE {view}_name = %s", [name])
    row = cursor.fetchone()
    return row and {column.name: value for column, value in zip(cursor.description, row)}


def test_numbers_of_a_stream(linked, mdb):
    create(linked, "s", collection="c")
    mdb.c.insert_many([{"_id": number, "text": "x" * 1000} for number in range(500)])
    sync(linked, "s")
    for number in range(20):
        mdb.c.update_one({"_id": number}, {"$set": {"text": "y"}})
    sync(linked, "s")
    found = stats(linked, "s")
    assert found["events"] == 520
    assert 500_000 < found["bytes"] < 2_000_000
    assert 2 <= found["batches"] <= 520 and found["transactions"] >= 2
    assert ZERO < found["wait_commit"] < datetime.timedelta(seconds=30)
    assert found["wait_mongodb"] > ZERO and found["wait_write"] >= ZERO
    assert found["filter_errors"] == 0 and found["column_errors"] == 0 and found["errors"] == {}
    assert ZERO < found["latency_p50"] <= found["latency_p99"] < datetime.timedelta(minutes=1)
    # the histogram holds each event once
    assert linked.value("SELECT now() - since < '5 minutes' FROM change_stream_stats")


def test_latency_is_of_the_events(linked, mdb):
    """Events that waited for a paused stream were late, and show it, though most were not."""
    create(linked, "s", collection="c")
    for number in range(5):
        mdb.c.insert_one({})
        sync(linked, "s")
    assert stats(linked, "s")["latency_p99"] < datetime.timedelta(seconds=3)
    linked.execute("SELECT pause_change_stream('s')")
    mdb.c.insert_one({})
    linked.execute("SELECT pg_sleep(4)")
    linked.execute("SELECT resume_change_stream('s')")
    sync(linked, "s")
    found = stats(linked, "s")
    # a pause has lost nothing
    assert found["events"] == 6
    assert found["latency_p50"] < datetime.timedelta(seconds=3) < found["latency_p99"] < datetime.timedelta(seconds=20)


def test_errors_by_kind(linked, mongo, mdb):
    """MongoDB's by class, PostgreSQL's by SQLSTATE, filters' in a column of their own."""
    create(linked, "s", collection="c", add_fields="x = 1 / (full_document['a'])::int")
    mdb.c.insert_one({"a": 0})
    sync(linked, "s")
    assert stats(linked, "s")["filter_errors"] == 1
    mongo.fail_command(["getMore"], times=1, errorCode=91)
    linked.wait_for("SELECT errors ? 'transient' FROM change_stream_stats")
    linked.execute("ALTER TABLE change_stream_events ADD CONSTRAINT small CHECK (full_document['a'] < 10)")
    mdb.c.insert_one({"a": 11})
    linked.wait_for("SELECT state FROM change_stream_status", expect="error")
    assert stats(linked, "s")["errors"]["23514"] >= 2


def test_waits_for_a_lock(linked, mdb):
    create(linked, "s", collection="c")
    mdb.c.insert_one({})
    sync(linked, "s")
    before = stats(linked, "s")["wait_write"]
    with linked.connect(autocommit=False) as other:
        other.execute("LOCK change_stream_events IN EXCLUSIVE MODE")
        mdb.c.insert_one({})
        linked.execute("SELECT pg_sleep(2)")
        other.rollback()
    sync(linked, "s")
    assert stats(linked, "s")["wait_write"] - before > datetime.timedelta(seconds=1)


def test_numbers_of_a_handler(linked, mdb):
    """All of its workers together; errors by SQLSTATE; the time that its code runs."""
    create(linked, "s", collection="c")
    linked.execute("""SELECT create_change_handler('h', 's', workers => 2, retry_attempts => 0, body =>
                      'BEGIN PERFORM pg_sleep(0.01); IF change.event_id = 3 THEN RAISE division_by_zero; END IF; END')""")
    mdb.c.insert_many([{"_id": number} for number in range(20)])
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    found = stats(linked, "h", "handler")
    assert found["stream_name"] == "s" and found["events"] == 20
    assert found["errors"] == {"22012": found["errors"]["22012"]} and found["errors"]["22012"] >= 1
    assert found["run_time"] >= datetime.timedelta(seconds=0.15)
    assert ZERO < found["latency_p50"] <= found["latency_p99"]
    assert linked.value("SELECT count(*) FROM change_handler_stats") == 1


def test_a_shared_cursor(db, mongo, mdb):
    """Each stream has its own numbers."""
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="true")
    for name in ("a", "b", "c"):
        create(db, name, collection=name)
    mdb.a.insert_many([{} for _ in range(30)])
    mdb.b.insert_one({})
    for name in ("a", "b", "c"):
        sync(db, name)
    assert [stats(db, name)["events"] for name in ("a", "b", "c")] == [30, 1, 0]


def test_errors_of_a_shared_cursor(shared, mongo, mdb):
    """What ends the cursor is every stream's error; what one alone meets is its own."""
    make(shared, mdb, 3)
    wait_together(shared, 3)
    shared.execute("SELECT reset_change_stream_stats()")
    mongo.fail_command(["getMore"], times=1, errorCode=91)
    shared.wait_for("SELECT array_agg(errors::text) FROM change_stream_stats", expect=['{"transient": 1}'] * 3)
    shared.execute("SELECT sync_change_stream(stream_name, '20 seconds') FROM change_streams")
    shared.execute("ALTER TABLE change_stream_events ADD CONSTRAINT small CHECK (full_document['a'] < 10)")
    mdb.c1.insert_one({"a": 11})
    shared.wait_for("SELECT array_agg(stream_name) FROM change_stream_stats WHERE errors ? '23514'", expect=["s1"])


def test_reset(linked, mdb):
    for name in ("a", "b"):
        create(linked, name, collection="c")
    linked.execute("SELECT create_change_handler('h', 'a', body => 'BEGIN END')")
    mdb.c.insert_one({})
    for name in ("a", "b"):
        assert linked.value("SELECT sync_change_stream(%s, handlers => true)", name)
    since = stats(linked, "a")["since"]
    linked.execute("SELECT reset_change_stream_stats('a')")
    found = stats(linked, "a")
    assert found["events"] == 0 and found["latency_p50"] is None and found["since"] > since
    assert stats(linked, "h", "handler")["events"] == 0
    assert stats(linked, "b")["events"] == 1
    assert linked.value("SELECT events_processed FROM change_stream_status WHERE stream_name = 'a'") == 1
    mdb.c.insert_one({})
    sync(linked, "a")
    assert stats(linked, "a")["events"] == 1
    linked.execute("SELECT reset_change_stream_stats()")
    assert stats(linked, "a")["events"] == stats(linked, "b")["events"] == 0
    # a stream that takes a name takes no numbers with it
    mdb.c.insert_one({})
    sync(linked, "a")
    linked.execute("SELECT drop_change_stream('a')")
    assert stats(linked, "a") is None
    create(linked, "a", collection="other")
    sync(linked, "a")
    assert stats(linked, "a")["events"] == 0


def test_a_drop_that_is_rolled_back(linked, mdb):
    """Numbers go with what they are of, when that goes; those of handlers, too."""
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('h', 's', body => 'BEGIN END')")
    mdb.c.insert_one({})
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    linked.execute("BEGIN; SELECT drop_change_handler('h'); SELECT drop_change_stream('s'); ROLLBACK")
    assert stats(linked, "s")["events"] == 1 and stats(linked, "h", "handler")["events"] == 1


def test_handler_made_again(linked, mdb):
    """A handler that takes a name takes no numbers with it; projections are no handler, whatever its name."""
    create(linked, "s", collection="c")
    linked.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM change_stream_events; SELECT create_change_projection('v')")
    for _ in range(3):
        linked.execute("SELECT create_change_handler('projections', 's', body => 'BEGIN END')")
        mdb.c.insert_one({})
        assert linked.value("SELECT sync_change_stream('s', handlers => true)")
        linked.wait_for("SELECT array_agg(events) FROM change_handler_stats", expect=[1])
        assert linked.value("SELECT count(*) FROM change_handler_numbers()") == 1
        linked.execute("SELECT drop_change_handler('projections')")


def test_who_sees_numbers(linked, mdb):
    create(linked, "s", collection="c")
    mdb.c.insert_one({})
    sync(linked, "s")
    linked.execute("CREATE ROLE reader LOGIN; CREATE ROLE stranger LOGIN; SELECT grant_change_stream('s', 'reader')")
    for role, rows in (("reader", 1), ("stranger", 0)):
        with linked.connect(user=role) as connection:
            assert connection.execute("SELECT count(*) FROM change_stream_stats").fetchone()[0] == rows
            assert connection.execute("SELECT count(*) FROM change_stream_numbers()").fetchone()[0] == rows
            assert connection.execute("SELECT count(*) FROM change_stream_advice() WHERE subject LIKE 'change stream%'").fetchone()[0] <= rows
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT reset_change_stream_stats('s')")
            connection.execute("SELECT reset_change_stream_stats()")
    assert linked.value("SELECT events FROM change_stream_stats") == 1


def test_owner_is_another(linked, mdb):
    """Numbers are shown to who owns the stream now, and no more to who did."""
    linked.execute("CREATE ROLE former LOGIN; CREATE ROLE present LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO former, present")
    with linked.connect("former") as connection:
        create(connection, "s", collection="c")
    sync(linked, "s")
    linked.execute("REASSIGN OWNED BY former TO present")
    with linked.connect("former") as former, linked.connect("present") as present:
        wait_until(lambda: present.execute("SELECT stream_name FROM change_stream_stats").fetchall() == [("s",)], 10, "the new owner sees it")
        assert former.execute("SELECT count(*) FROM change_stream_numbers()").fetchone() == (0,)


# ---- advice ----

def advice(db):
    return {subject: (text, statement) for subject, text, statement in db.execute("SELECT * FROM change_stream_advice()")
            if "oplog" not in text}


def test_advice(linked, mdb):
    create(linked, "plain", collection="c")
    assert advice(linked) == {}
    create(linked, "partly", collection="c", filter="md5(document_key ->> '_id') >\n\n'a'")
    text, statement = advice(linked)['change stream "partly"']
    assert text == "MongoDB evaluates nothing of the filter, and sends all: it is asked here of each event"
    # all behind it is a comment, whatever the filter's owner has written
    assert "asked here: " in statement and statement.split("asked here: ")[1].count("\n") == 0
    linked.execute("SELECT alter_change_stream('partly', filter => $$operation_type = 'insert' AND md5(document_key ->> '_id') > 'a'$$)")
    text, statement = advice(linked)['change stream "partly"']
    assert text.startswith("MongoDB evaluates only a part of the filter")
    # it runs as it is, and changes nothing; what is to be changed stands in it
    before = linked.value("SELECT filter FROM change_streams WHERE stream_name = 'partly'")
    linked.execute(statement.replace("%", "%%"))
    assert linked.value("SELECT filter FROM change_streams WHERE stream_name = 'partly'") == before and "md5" in statement.split(";")[0]
    linked.execute("SELECT drop_change_stream('partly')")

    # a table that grows
    linked.execute("UPDATE change_stream_progress SET last_event_id = 200000 WHERE stream_name = 'plain'")
    text, statement = advice(linked)['change stream "plain"']
    assert text == "200000 events are kept for ever"
    linked.execute("SELECT pause_change_stream('plain')")
    linked.execute(statement)
    assert linked.value("SELECT retention::text FROM change_streams") == "30 days"
    linked.execute("SELECT drop_change_stream('plain')")
    assert advice(linked) == {}


def test_advice_on_images(linked, mdb):
    create(linked, "s", collection="c", full_document="whenAvailable")
    mdb.c.insert_one({"_id": 1})
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 1}})
    sync(linked, "s")
    text, statement = advice(linked)['change stream "s"']
    assert text.startswith(f'1 of its last events of collection "{mdb.name}.c"')
    assert statement == f'db.getSiblingDB("{mdb.name}").runCommand({{collMod: "c", changeStreamPreAndPostImages: {{enabled: true}}}})'
    # what was before is an image, too
    create(linked, "before", collection="d", full_document_before_change="whenAvailable")
    mdb.d.insert_one({"_id": 1})
    mdb.d.delete_one({"_id": 1})
    sync(linked, "before")
    text, statement = advice(linked)['change stream "before"']
    assert text.startswith(f'1 of its last events of collection "{mdb.name}.d"') and 'collMod: "d"' in statement


def test_advice_on_handlers_and_foreign_keys(linked, mdb):
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('h', 's', retry_attempts => 0, body => 'BEGIN RAISE division_by_zero; END')")
    mdb.c.insert_one({})
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    text, statement = advice(linked)['handler "h"']
    assert text.startswith("1 events are dead letters")
    linked.execute("SELECT alter_change_handler('h', body => 'BEGIN END')")
    linked.execute(statement.split(";")[0])
    linked.wait_for("SELECT count(*) FROM change_stream_dead_letters", expect=0)
    assert advice(linked) == {}

    linked.execute("""CREATE TABLE seen (note text, number bigint, stream text, FOREIGN KEY (stream, number) REFERENCES change_stream_events (stream_name, event_id));
                      CREATE INDEX ON seen (stream, note)""")
    text, statement = advice(linked)["table public.seen"]
    assert "no index supports its foreign key" in text and statement == "CREATE INDEX ON public.seen (stream, number);"
    linked.execute(statement)
    assert advice(linked) == {}
    # what refers to a mirror is looked for when a document goes
    linked.execute("SELECT create_change_mirror('m', collection => 'c', stream_name => 's'); CREATE TABLE refers (id document REFERENCES m ON DELETE SET NULL)")
    text, statement = advice(linked)["table public.refers"]
    assert "on public.m, which is a mirror" in text and statement == "CREATE INDEX ON public.refers (id);"
    linked.execute(statement)
    # one that keeps what is to be deleted
    linked.execute("SELECT pause_change_handler('h'), alter_change_stream('s', retention => '1 hour')")
    linked.execute("UPDATE change_stream_progress SET last_event_id = 20001 WHERE stream_name = 's'")
    text, statement = advice(linked)['handler "h"']
    assert text == 'it does not run, and keeps 20000 events from the retention of change stream "s"' and statement.startswith("SELECT resume_change_handler('h');")


def test_advice_on_an_outage(linked, mongo, mdb, proxy):
    """The oplog is to hold twice what has been; a pause is no outage."""
    linked.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{mongo.direct_uri(proxy.port)}')")
    create(linked, "s", collection="c")
    mdb.c.insert_one({})
    sync(linked, "s")
    linked.execute("SELECT pause_change_stream('s'), pg_sleep(2)")
    linked.execute("SELECT resume_change_stream('s')")
    mdb.c.insert_one({})
    sync(linked, "s")
    assert linked.value("SELECT longest_outage FROM change_stream_progress") is None
    proxy.refuse = True
    proxy.reset()
    linked.execute("SELECT pg_sleep(3)")
    proxy.refuse = False
    mdb.c.insert_one({})
    sync(linked, "s")
    outage = linked.value("SELECT longest_outage FROM change_stream_progress")
    assert datetime.timedelta(seconds=2) < outage < datetime.timedelta(seconds=60)
    linked.execute("UPDATE change_stream_progress SET oplog_holds = '30 hours', longest_outage = '14 hours'")
    found = "SELECT advice, statement FROM change_stream_advice() WHERE statement LIKE 'db.admin%%'"
    assert linked.execute(found) == []
    linked.execute("UPDATE change_stream_progress SET longest_outage = '20 hours 30 minutes'")
    (text, statement), = linked.execute(found)
    assert "holds 30:00:00" in text and "there was one of 20:30:00" in text
    assert statement == "db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 41})"
    linked.execute("UPDATE change_stream_progress SET oplog_holds = '3 hours', longest_outage = NULL")
    (text, statement), = linked.execute(found)
    assert "there was one" not in text and "minRetentionHours: 24" in statement


def test_advice_on_processes(new_cluster, mongo, mdb):
    db = new_cluster(settings={"max_worker_processes": 3}).create_database("few")
    db.create_server(mongo.uri, mdb.name, password_required="false")
    create(db, "a", collection="c")
    create(db, "b", collection="c")
    text, statement = advice(db)["max_worker_processes"]
    assert text.startswith("2 change streams and handlers want a process, and this server has 3")
    assert statement.startswith("ALTER SYSTEM SET max_worker_processes = 10;")
    db.close()
