"""Whose handlers are whose, as whom they run, and what becomes of them with roles, dumps and columns."""
import subprocess
import time

import pytest

from handlers import SEEN, call, handler, make_seen, seen, status, stream_with, sync
from streams import create, error_of, resume

WORKERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream handler' AND datname = current_database()"


@pytest.fixture
def shop(linked):
    """alice, who is nothing special and may not even make temporary tables, owns a stream; bob has nothing."""
    for role in ("alice", "bob"):
        linked.execute(f"CREATE ROLE {role} LOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO alice")
    linked.execute("GRANT CREATE ON SCHEMA public TO alice")
    linked.execute(f"REVOKE TEMPORARY ON DATABASE {linked.name} FROM PUBLIC")
    linked.execute("SET ROLE alice")
    yield linked
    linked.execute("RESET ROLE")
    for role in ("alice", "bob"):
        linked.execute(f"DROP OWNED BY {role} CASCADE")
        linked.execute(f"DROP ROLE {role}")


def test_runs_as_the_owner(shop, mdb):
    """As alice, whoever made it: a superuser's handler on her stream gets no more than she has."""
    shop.execute("CREATE TABLE seen (seq bigserial, event_id bigint, who text, session text)")
    create(shop, "s", collection="c")
    body = "INSERT INTO seen (event_id, who, session) VALUES (change.event_id, current_user, session_user)"
    shop.execute("RESET ROLE")
    handler(shop, "h", body=body)
    handler(shop, "grab", body="EXECUTE 'RESET SESSION AUTHORIZATION'; EXECUTE 'RESET ROLE'; ALTER ROLE bob SUPERUSER", retry_attempts=0)
    mdb.c.insert_one({"_id": 1})
    sync(shop)
    assert shop.execute("SELECT DISTINCT who, session FROM seen") == [("alice", "alice")]
    assert shop.column("SELECT sqlstate FROM change_stream_dead_letters WHERE handler_name = 'grab'") == ["42501"]
    # also where a superuser runs her code for her
    shop.execute("TRUNCATE seen")
    assert shop.execute("SELECT * FROM replay_changes('h', 1, 1)") == []
    assert shop.column("SELECT who FROM seen") == ["alice"]
    assert len(shop.execute("SELECT sqlstate FROM replay_changes('grab', 1, 1)")) == 1
    assert call(shop, "retry_dead_letters", "grab") == 0
    assert not shop.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'bob'")


def test_others_neither_see_nor_touch(shop, mdb):
    create(shop, "s", collection="c")
    handler(shop, "h", body="BEGIN RAISE 'no'; END", retry_attempts=0)
    mdb.c.insert_one({"_id": 1})
    sync(shop)
    assert shop.value("SELECT count(*) FROM change_stream_dead_letters") == 1
    shop.execute("SET ROLE bob")
    for relation in ("change_handlers", "change_handler_progress", "change_handler_dead_letters", "change_stream_dead_letters", "change_handler_status"):
        assert shop.value(f"SELECT count(*) FROM {relation}") == 0
    assert shop.value("SELECT count(*) FROM change_handler_workers()") == 0
    for statement in ("pause_change_handler('h')", "resume_change_handler('h')", "drop_change_handler('h')", "alter_change_handler('h', workers => 2)",
                      "retry_dead_letters('h')", "discard_dead_letters('h')", "replay_changes('h', 1, 1)",
                      "create_change_handler('b', 's', body => 'NULL')"):
        assert error_of(shop, f"SELECT {statement}").sqlstate == "42501", statement
    for relation in ("change_handlers", "change_handler_progress", "change_handler_dead_letters"):
        for statement in ("DELETE FROM {}", "UPDATE {} SET handler_name = 'x'", "INSERT INTO {} SELECT * FROM {}", "TRUNCATE {}"):
            assert error_of(shop, statement.replace("{}", relation)).sqlstate == "42501"
        shop.execute("SET ROLE alice")
        assert error_of(shop, f"DELETE FROM {relation}").sqlstate == "42501"


def test_owner_changes_and_goes(shop, mdb):
    """REASSIGN OWNED gives handlers with their streams; DROP OWNED takes them."""
    shop.execute("RESET ROLE")
    shop.execute("CREATE TABLE seen (seq bigserial, event_id bigint, who text)")
    shop.execute("GRANT ALL ON seen, seen_seq_seq TO alice, bob")
    shop.execute("GRANT USAGE ON FOREIGN SERVER mongo TO bob")
    shop.execute("SET ROLE alice")
    create(shop, "s", collection="c")
    handler(shop, "h", body="INSERT INTO seen (event_id, who) VALUES (change.event_id, current_user)")
    mdb.c.insert_one({"_id": 1})
    sync(shop)
    shop.execute("RESET ROLE")
    shop.execute("REASSIGN OWNED BY alice TO bob")
    mdb.c.insert_one({"_id": 2})
    sync(shop)
    assert shop.column("SELECT who FROM seen ORDER BY seq") == ["alice", "bob"]
    assert error_of(shop, "DROP ROLE bob").sqlstate == "2BP01"
    shop.execute("DROP OWNED BY bob CASCADE")
    assert shop.value("SELECT count(*) FROM change_handlers") == 0
    shop.wait_for(WORKERS, expect=0)


def test_dump_and_restore(linked, postgres, mdb):
    """Handlers come along and run when their stream is resumed; from where they were."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN IF change.event_id = 2 THEN RAISE 'no'; END IF; " + SEEN + " END", retry_attempts=0)
    handler(linked, "b", each="batch", batch_size=7, paused=True, body="INSERT INTO seen (event_id) SELECT event_id + 100 FROM changes")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    sync(linked)
    call(linked, "pause_change_handler", "h")
    mdb.c.insert_one({"_id": 4})
    assert linked.value("SELECT sync_change_stream('s')")
    dumped = subprocess.run([postgres.installation.program("pg_dump"), linked.name], capture_output=True, text=True,
                            env=postgres.client_environment(linked.name))
    assert dumped.returncode == 0, dumped.stderr
    copy = postgres.create_database(f"{linked.name}_copy", extension=False)
    try:
        postgres.psql(dumped.stdout, copy.name)
        assert copy.execute("SELECT state, last_event_id, behind FROM change_handler_status ORDER BY handler_name") == [("paused", 0, 4), ("paused", 3, 1)]
        assert copy.row("SELECT each, batch_size FROM change_handlers WHERE handler_name = 'b'") == ("batch", 7)
        assert copy.execute("SELECT event_id, error FROM change_stream_dead_letters") == [(2, "no")]
        call(copy, "resume_change_handler", "h")
        one = status(copy, "h")
        assert one["state"] == "paused" and "restored" in one["reason"]
        assert copy.value(WORKERS) == 0 and seen(copy) == [1, 3]
        resume(copy, "s")
        mdb.c.insert_one({"_id": 5})
        sync(copy)
        assert seen(copy) == [1, 3, 4, 5]
        call(copy, "resume_change_handler", "b")
        sync(copy)
        assert seen(copy)[4:] == [101, 102, 103, 104, 105]
        copy.execute("DELETE FROM seen WHERE event_id > 100")
        call(copy, "alter_change_handler", "h", body=SEEN)
        assert call(copy, "retry_dead_letters", "h") == 1 and seen(copy) == [1, 3, 4, 5, 2]
    finally:
        copy.close()
        postgres.drop_database(copy.name)


def test_columns_of_the_owner(linked, mdb):
    """Columns that are added to the events' table are in the record, also of dead letters, and do not stop a handler."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN IF change.event_id % 2 = 0 THEN RAISE 'no'; END IF; " + SEEN + " END", retry_attempts=0)
    mdb.c.insert_many([{"_id": number} for number in range(1, 3)])
    sync(linked)
    linked.execute("ALTER TABLE change_stream_events ADD mark text DEFAULT 'm', ADD day date DEFAULT now()")
    mdb.c.insert_many([{"_id": number} for number in range(3, 5)])
    sync(linked)
    assert seen(linked) == [1, 3]
    assert linked.column("SELECT (event).event_id FROM change_stream_dead_letters ORDER BY 1") == [2, 4]
    linked.execute("CREATE TABLE marks (mark text)")
    call(linked, "alter_change_handler", "h", body="INSERT INTO marks VALUES (change.mark)")
    assert call(linked, "retry_dead_letters", "h") == 2
    mdb.c.insert_one({"_id": 5})
    sync(linked)
    assert linked.column("SELECT mark FROM marks") == ["m", "m", "m"]


def test_drop_database_beside_code_that_sleeps(linked, postgres, mdb):
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN PERFORM pg_sleep(50); END")
    mdb.c.insert_one({"_id": 1})
    linked.wait_for("SELECT running_event FROM change_handler_status", expect=1)
    linked.close()
    with postgres.connect() as beside:
        begin = time.monotonic()
        beside.execute(f"DROP DATABASE {linked.name}")
        assert time.monotonic() - begin < 3
    postgres.create_database(linked.name).close()


def test_retention_waits_for_handlers(linked, mdb):
    """An event that a handler has still to see stays, however old."""
    make_seen(linked)
    stream_with(linked, mdb, retention="1 millisecond")
    handler(linked, "h", body=SEEN, paused=True)
    mdb.c.insert_many([{"_id": number} for number in range(1, 11)])
    assert linked.value("SELECT sync_change_stream('s')")
    linked.execute("SELECT pg_sleep(11)")
    assert linked.value("SELECT count(*) FROM change_stream_events") == 10
    call(linked, "resume_change_handler", "h")
    sync(linked)
    linked.wait_for("SELECT min(event_id) FROM change_stream_events", expect=10)
    assert seen(linked) == list(range(1, 11))


def test_large_documents(linked, mdb):
    """Documents that are stored out of line, of many megabytes together, read or not."""
    make_seen(linked)
    linked.execute("CREATE TABLE sizes (event_id bigint, size int)")
    stream_with(linked, mdb)
    handler(linked, "h", body=SEEN + " INSERT INTO sizes VALUES (change.event_id, length(change.full_document->>'pad'))")
    for number in range(1, 31):
        mdb.c.insert_one({"_id": number, "pad": "x" * (number * 50000)})
    sync(linked)
    assert linked.column("SELECT size FROM sizes ORDER BY event_id") == [number * 50000 for number in range(1, 31)]
