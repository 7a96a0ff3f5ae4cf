"""Attacks on who calls a function: by what code leaves in his session, and by what is done in his name.

The attacker is mallory of test_attack_sql.py.
"""
import threading

import pytest

from streams import create, error_of, sync, wait_state
from test_attack_sql import TABLES, attacked, ran_as  # noqa: F401

# Sets what would make the next unqualified name in the session mallory's.
SETS = ("CREATE FUNCTION m.sets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.payload();"
        " PERFORM pg_catalog.set_config('search_path', 'm', false);"
        " IF TG_OP = 'DELETE' THEN RETURN old; END IF; RETURN new; END $$")


@pytest.fixture
def tables_owner(attacked):  # noqa: F811
    """mallory owns the extension's tables; alice may make streams."""
    attacked.execute("CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice")
    attacked.execute("GRANT CREATE ON SCHEMA public TO mallory")
    for table in TABLES:
        attacked.execute(f"ALTER TABLE {table} OWNER TO mallory")
    yield attacked
    attacked.execute("RESET ROLE")
    attacked.execute("RESET search_path")
    attacked.execute("DROP OWNED BY alice; DROP ROLE alice")
    for table in TABLES:
        attacked.execute(f"ALTER TABLE {table} OWNER TO postgres")


def park_event(db, mdb):
    """Of alice's stream s: one event that is stored, and one that is parked until the constraint is dropped."""
    db.mallory.run("ALTER TABLE change_stream_events ADD CONSTRAINT small CHECK (full_document->'n' IS NULL)")
    with db.connect("alice") as alice:
        create(alice, "s", collection="c", on_error="park")
    mdb.c.insert_many([{"_id": 1}, {"_id": 2, "n": 1}])
    sync(db, "s")
    assert db.value("SELECT count(*) FROM change_stream_parked_events") == 1
    db.mallory.run("ALTER TABLE change_stream_events DROP CONSTRAINT small")


@pytest.mark.parametrize("table, call", [
    ("change_stream_events", "TRUNCATE change_stream_events"),
    ("change_stream_events", "retry_dead_letters(stream_name => 's')"),
    ("change_stream_events", "resume_change_stream('s', start_at => 'now')"),
    ("change_stream_events", "drop_change_stream('s', discard_dead_letters => true)"),
    ("change_stream_grants", "grant_change_stream('s', 'alice')"),
    ("change_streams", "alter_change_stream('s', notify => 'heads')"),
])
def test_tables_owner_leaves_a_setting_in_a_superusers_session(tables_owner, mdb, table, call):
    """A trigger's settings end with what the trigger is part of, as in maintenance commands."""
    db = tables_owner
    park_event(db, mdb)
    db.mallory.run(SETS)
    db.execute("SELECT pause_change_stream('s')")
    db.mallory.run(f"CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION m.sets()")
    before = db.value("SHOW search_path")
    db.execute("DELETE FROM m.ran")
    db.execute(call if call.startswith("TRUNCATE") else f"SELECT {call}")
    assert ran_as(db) & {"alice", "mallory"}
    assert db.value("SHOW search_path") == before


def test_tables_owner_defers_a_trigger_by_a_parked_event(tables_owner, mdb):
    """A superuser who was the stream's owner for a moment does not commit what the tables' owner has deferred."""
    db = tables_owner
    park_event(db, mdb)
    db.mallory.run("CREATE TABLE m.bait (n int)")
    db.mallory.run("GRANT SELECT, INSERT ON m.bait TO PUBLIC")
    # whoever has such triggers fired at once gets the next of them deferred again
    db.mallory.run("CREATE FUNCTION m.again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.payload(); SET CONSTRAINTS ALL DEFERRED;"
                   " IF (SELECT count(*) FROM m.bait) < 4 THEN INSERT INTO m.bait VALUES (1); END IF; RETURN NULL; END $$")
    for table in ("m.bait", "change_stream_events"):
        db.mallory.run(f"CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
                       " FOR EACH ROW EXECUTE FUNCTION m.again()")
    db.execute("DELETE FROM m.ran")
    with db.connect(autocommit=False) as superuser:
        superuser.execute("SET LOCAL ROLE alice")
        superuser.execute("SELECT retry_dead_letters(stream_name => 's')")
        superuser.execute("RESET ROLE")
    assert ran_as(db) <= {"alice"}
    assert not db.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")


def test_events_given_away_are_no_way_to_the_other_tables_rights(attacked, mdb):  # noqa: F811
    """PostgreSQL computes constants in index expressions as whoever reads the table, which our processes do as the tables' owner."""
    mallory = attacked.mallory
    attacked.execute("GRANT CREATE ON SCHEMA public TO mallory")
    create(attacked, "s", collection="c")
    attacked.execute("SELECT create_change_handler('h', 's', retry_attempts => 0, body => 'BEGIN RAISE ''no''; END')")
    mdb.c.insert_one({"_id": 1})
    sync(attacked, "s")
    attacked.wait_for("SELECT count(*) FROM change_handler_dead_letters", expect=1)
    attacked.execute("ALTER TABLE change_stream_events OWNER TO mallory")
    try:
        mallory.run("CREATE FUNCTION m.folded(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM m.payload(); RETURN $1; END'")
        mallory.run("CREATE INDEX ON change_stream_events ((event_id + m.folded(1)))")
        assert error_of(attacked, "SELECT retry_dead_letters('h')").sqlstate == "55000"
        assert ran_as(attacked) == {"mallory"}
    finally:
        attacked.execute("ALTER TABLE change_stream_events OWNER TO postgres")


@pytest.mark.parametrize("table, columns, values", [
    ("change_stream_parked_events", "stream_name, event_id, full_document", "'gone', 1, '{\"secret\": 1}'"),
    ("change_handler_dead_letters", "handler_name, stream_name, event_id, full_document, attempts", "'h', 'gone', 1, '{\"secret\": 1}', 1"),
])
def test_owner_takes_the_name_of_what_a_restore_left(attacked, table, columns, values):  # noqa: F811
    """Events that were given up or put aside are shown by their stream's name: nobody gets them by taking it."""
    attacked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    attacked.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})")
    assert attacked.mallory.refused("SELECT create_change_stream('gone', collection => 'c', paused => true)") == "42501"
    assert attacked.mallory.run("SELECT * FROM change_stream_dead_letters") == []


def test_owner_keeps_the_prober_in_one_database(attacked, postgres, mdb):  # noqa: F811
    """Databases take turns: one in which streams are changed all the time does not keep another's from being started."""
    attacked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    create(attacked.mallory, "s", collection="c", paused=True)
    other = postgres.create_database("another")
    stop = threading.Event()

    def change():
        with attacked.connect("mallory") as connection:
            while not stop.is_set():
                connection.execute("SELECT alter_change_stream('s', notify => 'heads')")

    threads = [threading.Thread(target=change) for _ in range(3)]
    try:
        other.create_server(attacked.value("SELECT substring(option FROM 5) FROM pg_foreign_server, unnest(srvoptions) option WHERE option LIKE 'uri=%%'"),
                            mdb.name)
        for thread in threads:
            thread.start()
        create(other, "t", collection="c")
        wait_state(other, "t", "active", timeout=20)
    finally:
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()
        other.close()
        postgres.drop_database("another")
