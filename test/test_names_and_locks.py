"""What else goes on around streams: servers get other names, functions wait for each other, transactions keep to a snapshot."""
import threading

import psycopg
import pytest

from harness.machine import wait_until
from streams import create, error_of, operations, pause, resume, sync, wait_state, worker


def test_server_is_renamed(linked, mdb):
    """Its streams follow it, and it is needed under its new name, by CASCADE too."""
    create(linked, "orders", collection="c")
    create(linked, "later", collection="c", paused=True)
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    pid = worker(linked, "orders")
    linked.execute("BEGIN; ALTER SERVER mongo RENAME TO nothing; ROLLBACK")
    assert linked.column("SELECT DISTINCT server FROM change_streams") == ["mongo"]
    linked.execute("ALTER SERVER mongo RENAME TO \"Mongo the second\"")
    assert linked.column("SELECT DISTINCT server FROM change_streams") == ["Mongo the second"]
    mdb.c.insert_one({"_id": 2})
    sync(linked, "orders")
    resume(linked, "later")
    linked.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
    mdb.c.insert_one({"_id": 3})
    for stream in ("orders", "later"):
        wait_state(linked, stream, "active")
        sync(linked, stream)
    assert operations(linked, "orders") == ["insert"] * 3
    for how in ("", " CASCADE"):
        refused = error_of(linked, f"DROP SERVER \"Mongo the second\"{how}")
        assert refused.sqlstate == "2BP01" and "later, orders" in refused.diag.message_detail


@pytest.mark.parametrize("first", ["handler", "stream"])
def test_drops_of_handler_and_stream_do_not_deadlock(linked, mdb, first):
    """Whoever comes second waits, and finds done or left over what he wanted."""
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('h', 's', body => 'NULL')")
    mdb.c.insert_one({"_id": 1})
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    statements = {"handler": "SELECT drop_change_handler('h')", "stream": "SELECT drop_change_stream('s')"}
    errors = {}

    def run(what):
        with linked.connect() as connection:
            connection.execute(f"SET application_name = 'drops {what}'")
            try:
                connection.execute(statements[what])
            except psycopg.Error as error:
                errors[what] = error.sqlstate

    with linked.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM change_handler_progress FOR UPDATE")
        threads = []
        for what in (first, *[other for other in statements if other != first]):
            threads.append(threading.Thread(target=run, args=(what,)))
            threads[-1].start()
            wait_until(lambda: linked.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
                                            f"drops {what}") == 1, 20, f"the drop of the {what} waits")
        holder.execute("COMMIT")
        for thread in threads:
            thread.join(30)
    assert errors in ({}, {"handler": "42704"})
    assert linked.value("SELECT count(*) FROM change_streams") == linked.value("SELECT count(*) FROM change_handlers") == 0


def in_background(db, name, statement, errors):
    """Runs a statement that has to wait; returns its thread when it does."""
    def run():
        with db.connect() as connection:
            connection.execute(f"SET application_name = '{name}'")
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                errors.append(error.sqlstate)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: db.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'", name) == 1, 20, name)
    return thread


def test_handler_that_waited_for_the_last_ones_drop(linked, mdb):
    """A stream whose last handler goes while another is made knows of that one: its events wait for it."""
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('old', 's', body => 'NULL')")
    errors = []
    with linked.connect() as holder:
        with holder.transaction():
            holder.execute("SELECT drop_change_handler('old')")
            made = in_background(linked, "makes", "SELECT create_change_handler('new', 's', body => 'NULL')", errors)
        made.join(30)
    assert errors == []
    mdb.c.insert_many({"_id": number} for number in range(5))
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    assert linked.execute("SELECT DISTINCT processing_status, processing_attempts FROM change_stream_events") == [("processed", 1)]


def test_stream_given_away_while_its_role_drops_what_it_owns(linked, mdb):
    """DROP OWNED takes what is the role's when it comes to it."""
    linked.execute("CREATE ROLE alice LOGIN; CREATE ROLE bert LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice, bert")
    errors = []
    try:
        with linked.connect("alice") as alice:
            create(alice, "s", collection="c")
        with linked.connect() as holder:
            with holder.transaction():
                holder.execute("REASSIGN OWNED BY alice TO bert")
                dropped = in_background(linked, "drops", "DROP OWNED BY alice", errors)
            dropped.join(30)
        assert errors == []
        assert linked.column("SELECT owner::text FROM change_streams") == ["bert"]
        mdb.c.insert_one({"_id": 1})
        sync(linked, "s")
    finally:
        linked.execute("DROP OWNED BY alice, bert; DROP ROLE alice, bert")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_sync_needs_new_snapshots(linked, mdb, level):
    """A transaction that would not see what has come is told so, and nothing has been waited for."""
    create(linked, "s", collection="c")
    with linked.connect() as connection:
        connection.execute(f"BEGIN ISOLATION LEVEL {level}")
        with pytest.raises(psycopg.Error) as error:
            connection.execute("SELECT sync_change_stream('s')")
        assert error.value.sqlstate == "25000" and level in str(error.value) and error.value.diag.message_hint
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT sync_change_stream('s')").fetchone() == (True,)
