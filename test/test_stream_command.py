"""The functions on streams where they meet MongoDB's rights, each other, and what moves below them."""
import random
import threading
import time

import psycopg
import pytest

from harness.machine import wait_until
from streams import create, error_of, gaps, ids, operations, plain_end, status, sync, wait_event, wait_state

CODES_OF_A_RACE = {"42710", "42704"}


def roles_of_mongo(mongo, name, *privileges):
    """A user of MongoDB who may do just this: (database, collection, actions)."""
    admin = mongo.client.admin
    admin.command("createRole", name, roles=[], privileges=[
        {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
        for database, collection, actions in privileges])
    admin.command("createUser", name, pwd="secret", roles=[name])


def as_user(db, name):
    db.execute("DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER mongo")
    db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username '{name}', password 'secret', auth_source 'admin')")


def test_rights_in_mongodb(db, new_replica_set):
    """Rights on one collection are enough for its stream, rights on the database for that's; the call says if not."""
    mongo = new_replica_set(auth=True)
    follow = ("find", "changeStream")
    roles_of_mongo(mongo, "one", ("shop", "c", follow))
    roles_of_mongo(mongo, "all", ("shop", "", follow))
    roles_of_mongo(mongo, "none", ("shop", "c", ("find",)))
    db.create_server(mongo.uri, "shop")
    mongo.client.shop.c.insert_one({"_id": 0})

    as_user(db, "none")
    assert error_of(db, "SELECT create_change_stream('x', 'c')").sqlstate in ("42501", "28000")
    as_user(db, "one")
    create(db, "collection", collection="c")
    create(db, "from the start", collection="c", start_at="earliest")
    for arguments in ("'other'", "NULL", "NULL, '*'"):
        assert error_of(db, f"SELECT create_change_stream('x', {arguments})").sqlstate in ("42501", "28000")
    as_user(db, "all")
    create(db, "database")
    assert error_of(db, "SELECT create_change_stream('x', database => '*')").sqlstate in ("42501", "28000")
    assert db.column("SELECT stream_name FROM change_streams ORDER BY 1") == ["collection", "database", "from the start"]

    as_user(db, "one")
    mongo.client.shop.c.insert_one({"_id": 1})
    for stream, seen in (("collection", [1]), ("from the start", [0, 1])):
        sync(db, stream)
        assert ids(db, stream) == seen


def test_role_that_may_not_log_in(linked):
    """Before 17 no worker can be it: refused, and the hint is the command that helps."""
    linked.execute("CREATE ROLE nobody_in_particular NOLOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO nobody_in_particular")
    try:
        linked.execute("SET ROLE nobody_in_particular")
        if linked.connection.info.server_version >= 170000:
            create(linked, "orders", collection="c")
            sync(linked, "orders")
        else:
            error = error_of(linked, "SELECT create_change_stream('orders', 'c')")
            assert error.sqlstate == "55000" and error.diag.message_hint == "ALTER ROLE nobody_in_particular LOGIN;"
    finally:
        linked.execute("RESET ROLE")
        linked.execute("DROP OWNED BY nobody_in_particular")
        linked.execute("DROP ROLE nobody_in_particular")


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_two_create_the_same(linked, mdb, end):
    """The second waits for the first to end, and gets the name or is told that it is taken."""
    first = linked.connect(autocommit=False)
    first.execute("SELECT create_change_stream('orders', 'c', paused => true)")
    other = linked.connect()
    outcome = []

    def second():
        try:
            other.execute("SELECT create_change_stream('orders', 'd', paused => true)")
            outcome.append(None)
        except psycopg.Error as error:
            outcome.append(error.sqlstate)

    thread = threading.Thread(target=second)
    thread.start()
    wait_event(linked, other.info.backend_pid, "Lock")
    assert linked.value("SELECT pg_blocking_pids(%s)", other.info.backend_pid) == [first.info.backend_pid]
    assert not outcome
    getattr(first, end)()
    thread.join(10)
    assert outcome == (["42710"] if end == "commit" else [None])
    assert linked.value("SELECT collection_name FROM change_streams") == ("c" if end == "commit" else "d")
    first.close()
    other.close()


def test_all_at_once(linked, mdb, postgres):
    """Sessions that pause, resume, alter, drop and make one stream, with writes coming in: no deadlock, no lost worker."""
    since = postgres.log_position()
    stop = time.monotonic() + 6
    problems = []

    def meddle(seed):
        choose = random.Random(seed)
        with linked.connect() as connection:
            while time.monotonic() < stop:
                statement = choose.choice([
                    "SELECT pause_change_stream('orders')", "SELECT resume_change_stream('orders')",
                    "SELECT alter_change_stream('orders', batch_size => 7)",
                    "SELECT alter_change_stream('orders', operations => '{insert,delete}')",
                    "SELECT alter_change_stream('orders', reset => '{operations,batch_size}')",
                    "SELECT resume_change_stream('orders', 'now')", "SELECT drop_change_stream('orders')",
                    "SELECT create_change_stream('orders', 'c')", "SELECT create_change_stream('orders', 'c')"])
                try:
                    connection.execute(statement)
                except psycopg.Error as error:
                    if error.sqlstate not in CODES_OF_A_RACE:
                        problems.append((statement, error.sqlstate, str(error)))

    threads = [threading.Thread(target=meddle, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    number = 0
    while time.monotonic() < stop:
        mdb.c.insert_one({"_id": number})
        number += 1
    for thread in threads:
        thread.join()
    assert not problems
    assert "deadlock" not in postgres.log_text(since)
    if not linked.value("SELECT count(*) FROM change_streams"):
        create(linked, "orders", collection="c")
    linked.execute("SELECT alter_change_stream('orders', reset => '{operations}')")
    linked.execute("SELECT resume_change_stream('orders', 'now')")
    mdb.c.insert_one({"_id": "last"})
    sync(linked, "orders")
    assert ids(linked, "orders")[-1] == "last"
    numbers = linked.column("SELECT event_id FROM change_stream_events ORDER BY event_id")
    assert numbers == list(range(1, len(numbers) + 1))


def test_repeatable_read(linked, mdb):
    """A function in a transaction whose snapshot is older than the stream's last change says so, and changes nothing."""
    create(linked, "orders", collection="c", paused=True)
    with linked.connect(autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM change_streams")
        linked.execute("SELECT alter_change_stream('orders', batch_size => 3)")
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute("SELECT alter_change_stream('orders', batch_size => 4)")
        connection.rollback()
        connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        connection.execute("SELECT alter_change_stream('orders', batch_size => 5)")
        connection.commit()
    assert linked.value("SELECT batch_size FROM change_streams") == 5


def test_extension_moves(linked, mdb):
    """A session that has used the functions goes on after the extension was made again elsewhere, or its schema renamed."""
    create(linked, "orders", collection="c", paused=True)
    linked.execute("SELECT pause_change_stream('orders')")
    linked.execute("DROP EXTENSION mongo_change_stream CASCADE")
    linked.execute("CREATE SCHEMA \"other place\"")
    linked.execute("CREATE EXTENSION mongo_change_stream SCHEMA \"other place\"")
    linked.create_server("mongodb://127.0.0.1:1/", "shop")
    for schema in ("other place", 'a "quoted" name'):
        linked.execute(f"SET search_path = '{schema}'")
        linked.execute("SELECT create_change_stream('orders', 'c', paused => true)")
        linked.execute("SELECT pause_change_stream('orders')")
        assert linked.value("SELECT paused FROM change_streams")
        linked.execute("SELECT drop_change_stream('orders')")
        if schema == "other place":
            linked.execute('ALTER SCHEMA "other place" RENAME TO "a ""quoted"" name"')
    linked.execute("RESET search_path")


def test_waiting_can_be_cancelled(db, mongo, mdb, proxy):
    """Where MongoDB does not answer, a call waits without locks and ends at once when it is told to."""
    db.create_server(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true", mdb.name)
    create(db, "orders", collection="c", paused=True)
    proxy.blackhole = True
    for statement in ("SELECT create_change_stream('other', 'c')", "SELECT resume_change_stream('orders', 'earliest')"):
        with db.connect() as waiting:
            pid = waiting.info.backend_pid
            done = []

            def run():
                try:
                    waiting.execute(statement)
                except psycopg.errors.QueryCanceled:
                    done.append(time.monotonic())

            thread = threading.Thread(target=run)
            thread.start()
            wait_event(db, pid, "Extension")
            db.execute("SET lock_timeout = '1s'")
            db.execute("SELECT pause_change_stream('orders')")
            begin = time.monotonic()
            db.execute("SELECT pg_cancel_backend(%s)", pid)
            thread.join(10)
            assert done and done[0] - begin < 1 + plain_end(db)
    proxy.blackhole = False
    assert db.value("SELECT count(*) FROM change_streams") == 1


def test_sync_needs_a_stream_that_runs(linked, mdb):
    """In the transaction that makes the stream, and while it is paused, waiting would be in vain: an error, at once."""
    with linked.connect(autocommit=False) as connection:
        connection.execute("SELECT create_change_stream('orders', 'c')")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute("SELECT sync_change_stream('orders')")
        connection.rollback()
    create(linked, "orders", collection="c")
    sync(linked, "orders")
    linked.execute("SELECT pause_change_stream('orders')")
    error = error_of(linked, "SELECT sync_change_stream('orders')")
    assert error.sqlstate == "55000" and error.diag.message_hint == "SELECT resume_change_stream('orders');"


def test_resume_of_a_stream_made_paused(linked, mdb):
    """Now is the resume: what came before is not seen, each write after it is; without MongoDB it is told to wait."""
    create(linked, "orders", collection="c", paused=True)
    mdb.c.insert_one({"_id": 1})
    linked.execute("SELECT resume_change_stream('orders')")
    mdb.c.insert_one({"_id": 2})
    sync(linked, "orders")
    assert ids(linked, "orders") == [2]
    assert not gaps(linked, "orders")

    linked.create_server("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300", mdb.name, name="nowhere")
    linked.execute("SELECT create_change_stream('lost', 'c', server => 'nowhere', paused => true)")
    linked.execute("SELECT resume_change_stream('lost')")
    wait_state(linked, "lost", "retrying")


def test_match_lets_renames_onto_the_collection_through(linked, mdb):
    """Neither the stream's operations nor a $match of its pipeline hide that the collection's content was replaced."""
    mdb.c.insert_one({"_id": 0})
    create(linked, "orders", collection="c", operations=["insert"], pipeline='[{"$match": {"fullDocument.wanted": true}}]')
    mdb.c.insert_many([{"_id": 1, "wanted": True}, {"_id": 2}])
    mdb.d.insert_one({"_id": 3, "wanted": True})
    mdb.d.rename("c", dropTarget=True)
    mdb.c.insert_one({"_id": 4, "wanted": True})
    sync(linked, "orders")
    assert operations(linked, "orders") == ["insert", "gap", "insert"]


def test_position_that_the_pipeline_hides(linked, mdb):
    """A token is good as a position although the stream would not have taken its event."""
    create(linked, "every", collection="c")
    mdb.c.insert_one({"_id": 1})
    mdb.c.insert_one({"_id": 2})
    mdb.c.delete_one({"_id": 1})
    sync(linked, "every")
    token = linked.value("SELECT resume_token FROM change_stream_events WHERE event_id = 1")
    create(linked, "deletes", collection="c", operations=["delete"], resume_after=token)
    create(linked, "inserts", collection="c", operations=["insert"], start_at=token.lower())
    for stream, expected in (("deletes", ["delete"]), ("inserts", ["insert"])):
        sync(linked, stream)
        assert operations(linked, stream) == expected
        assert status(linked, stream)["state"] == "active"


def test_expressions_follow_their_functions(linked, mdb):
    """A function of a filter that is replaced, or dropped and made again, holds from the next event on."""
    linked.execute("CREATE FUNCTION wanted(document) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1->>'_id' = '1' $$")
    create(linked, "orders", collection="c", filter="wanted(document_key)", add_fields="seen = wanted(document_key), n = 1.50")
    mdb.c.insert_many([{"_id": number} for number in (1, 2)])
    sync(linked, "orders")
    linked.execute("CREATE OR REPLACE FUNCTION wanted(document) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1->>'_id' = '4' $$")
    mdb.c.insert_many([{"_id": number} for number in (3, 4)])
    sync(linked, "orders")
    linked.execute("DROP FUNCTION wanted(document)")
    linked.execute("CREATE FUNCTION wanted(document) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1->>'_id' = '5' $$")
    mdb.c.insert_many([{"_id": number} for number in (5, 6)])
    sync(linked, "orders")
    assert ids(linked, "orders") == [1, 4, 5]
    assert linked.column("SELECT extra::text FROM change_stream_events") == ['{"seen": true, "n": {"$numberDecimal": "1.50"}}'] * 3


def test_the_settings_of_the_creator(linked, mdb):
    """A filter means in the worker what it meant to its creator."""
    linked.execute("CREATE SCHEMA mine")
    linked.execute("CREATE FUNCTION mine.day(timestamptz) RETURNS text LANGUAGE sql STABLE AS $$ SELECT $1::text $$")
    linked.execute("SET search_path = mine, public")
    linked.execute("SET timezone = 'Asia/Kolkata'")
    linked.execute("SET datestyle = 'German'")
    create(linked, "orders", collection="c", add_fields="at = day(timestamptz '2024-05-17 12:00+00')")
    linked.execute("RESET ALL")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    assert linked.value("SELECT extra->>'at' FROM change_stream_events") == "17.05.2024 17:30:00 IST"


def test_drop_while_processing_is_noted(linked, mdb):
    """Rows that somebody is updating are waited for by drop, and passed over by retention."""
    create(linked, "orders", collection="c")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    sync(linked, "orders")
    linked.execute("SELECT pause_change_stream('orders')")
    with linked.connect(autocommit=False) as other:
        other.execute("UPDATE change_stream_events SET processing_attempts = 1 WHERE event_id = 5")
        dropped = []
        with linked.connect() as dropping:
            thread = threading.Thread(target=lambda: dropped.append(dropping.execute("SELECT drop_change_stream('orders')")))
            thread.start()
            wait_until(lambda: linked.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                            " AND query LIKE '%%drop_change_stream%%' AND pid <> pg_backend_pid()"), 10, "drop waits")
            other.commit()
            thread.join(10)
    assert dropped and linked.value("SELECT count(*) FROM change_stream_events") == 0


def test_retention_passes_over_locked_rows(linked, mdb):
    """The worker does not wait for whoever locks an old event; it goes on and deletes it later."""
    create(linked, "orders", collection="c", retention="900 milliseconds")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    sync(linked, "orders")
    linked.execute("SELECT pause_change_stream('orders')")
    linked.wait_for("SELECT bool_and(received_at < clock_timestamp() - interval '1 second') FROM change_stream_events")
    with linked.connect(autocommit=False) as other:
        other.execute("SELECT 1 FROM change_stream_events WHERE event_id = 4 FOR UPDATE")
        linked.execute("SELECT resume_change_stream('orders')")
        linked.wait_for("SELECT min(event_id) FROM change_stream_events", expect=4)
        mdb.c.insert_one({"_id": 10})
        sync(linked, "orders", "5 seconds")
        other.rollback()
    assert linked.column("SELECT event_id FROM change_stream_events ORDER BY event_id") == list(range(4, 12))


@pytest.mark.parametrize("call", ["create_change_stream('x', 'c')", "pause_change_stream('orders')", "drop_change_stream('orders')"])
def test_rolled_back_to_a_savepoint(linked, mdb, call):
    """An error or a rollback inside leaves user, search path and stream as they were."""
    create(linked, "orders", collection="c")
    with linked.connect(autocommit=False) as connection:
        connection.execute("SET search_path = public, pg_catalog")
        connection.execute("SAVEPOINT a")
        connection.execute(f"SELECT {call}")
        connection.execute("ROLLBACK TO a")
        assert connection.execute("SELECT current_user::text, current_setting('search_path')").fetchone() == ("postgres", "public, pg_catalog")
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT create_change_stream('orders', 'c')")
        connection.execute("ROLLBACK TO a")
        assert connection.execute("SELECT current_user::text, current_setting('search_path')").fetchone() == ("postgres", "public, pg_catalog")
        connection.commit()
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    assert ids(linked, "orders") == [1] and linked.value("SELECT count(*) FROM change_streams") == 1
