"""Materialized views that follow: refreshed after events, bounded, in their owner's name; what fails is told and tried again."""
import json
import subprocess

import psycopg
import pytest

from handlers import stream_with, sync
from harness.machine import wait_until
from projections import projection, status, wait_status
from streams import create

COUNT = "SELECT count(*) AS n FROM change_stream_events"


def test_follows(linked, mdb):
    stream_with(linked, mdb)
    projection(linked, "v", COUNT, unique="n")
    wait_status(linked, "v", refreshes=1)
    for number in range(3):
        mdb.c.insert_one({"_id": number})
        linked.wait_for("SELECT n FROM v", expect=number + 1)
    row = wait_status(linked, "v", state="idle", behind=0)
    assert row["streams"] == ["s"] and row["reason"] == "waits for events" and row["failures"] == 0
    # nothing comes: nothing is done
    refreshes = row["refreshes"]
    linked.execute("SELECT pg_sleep(2)")
    assert status(linked, "v")["refreshes"] == refreshes


def test_event_store(linked, mdb):
    """The view shows what the store's handler has written, not what is still to be written."""
    linked.execute("DO LANGUAGE change_stream $$ CREATE EVENT_STORE kept AS SELECT document_key._id AS id FROM CHANGE_STREAM ON DATABASE $$")
    linked.execute("CREATE VIEW between AS SELECT * FROM kept")
    projection(linked, "v", "SELECT count(*) AS n FROM between")
    assert status(linked, "v")["streams"] == ["kept"]
    mdb.c.insert_many([{"_id": number} for number in range(500)])
    linked.wait_for("SELECT n FROM v", expect=500)
    row = wait_status(linked, "v", state="idle", behind=0)
    assert "CREATE UNIQUE INDEX" in row["reason"]


def test_rate(linked, mdb):
    """However fast events come, a refresh that takes long comes seldom."""
    stream_with(linked, mdb)
    projection(linked, "slow", "SELECT count(*) AS n, pg_sleep(0.3)::text FROM change_stream_events")
    projection(linked, "quick", COUNT, min_interval="0.2 seconds")
    wait_status(linked, "slow", refreshes=1)
    for number in range(60):
        mdb.c.insert_one({"_id": number})
        linked.execute("SELECT pg_sleep(0.05)")
    assert status(linked, "slow")["refreshes"] <= 3
    assert status(linked, "quick")["refreshes"] >= 4
    linked.wait_for("SELECT n FROM slow", expect=60)


def test_interval(linked, mdb):
    projection(linked, "v", "SELECT now() AS at", refresh="1 second")
    wait_status(linked, "v", refreshes=3)
    assert status(linked, "v")["streams"] is None
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="shows nothing that a change stream brings"):
        linked.execute("SELECT alter_change_projection('v', refresh => 'on change')")
    linked.execute("SELECT alter_change_projection('v', refresh => '1 hour')")
    refreshes = wait_status(linked, "v", state="idle")["refreshes"]
    linked.execute("SELECT pg_sleep(2)")
    assert status(linked, "v")["refreshes"] == refreshes


def test_failure(linked, mdb):
    """One bad row: the view stays, the error is told, tried again less and less, and over when the row is mended."""
    linked.execute("LISTEN change_stream_alert")
    stream_with(linked, mdb)
    projection(linked, "v", "SELECT (full_document ->> 'n')::int AS n FROM change_stream_events", unique="n")
    wait_status(linked, "v", refreshes=1)
    mdb.c.insert_one({"_id": 1, "n": "one"})
    row = wait_status(linked, "v", state="retrying", failures=3)
    assert 'invalid input syntax for type integer: "one"' in row["reason"] and row["next_refresh_at"] is not None
    alerts = [json.loads(told.payload) for told in linked.connection.notifies(timeout=5, stop_after=1)]
    assert [(alert["projection"], alert["to"]) for alert in alerts] == [("public.v", "retrying")]
    assert "one" not in alerts[0]["reason"]
    linked.execute("DELETE FROM change_stream_events")
    linked.execute("SELECT resume_change_projection('v')")
    wait_status(linked, "v", state="idle", failures=0)
    assert status(linked, "v")["last_error"]


def test_life(linked, mdb):
    """Renamed, moved, given away, dropped: the projection is the view's."""
    stream_with(linked, mdb)
    projection(linked, "v", COUNT)
    wait_status(linked, "v", refreshes=1)
    linked.execute("ALTER MATERIALIZED VIEW v RENAME TO w")
    assert status(linked, "v") is None and status(linked, "w")["refreshes"] == 1
    mdb.c.insert_one({"_id": 1})
    linked.wait_for("SELECT n FROM w", expect=1)
    linked.execute("CREATE SCHEMA other; ALTER MATERIALIZED VIEW w SET SCHEMA other; ALTER SCHEMA other RENAME TO another")
    assert linked.column("SELECT view_name FROM change_projection_status") == ["another.w"]
    mdb.c.insert_one({"_id": 2})
    linked.wait_for("SELECT n FROM another.w", expect=2)
    linked.execute("SELECT pause_change_projection('another.w')")
    mdb.c.insert_one({"_id": 3})
    sync(linked)
    linked.wait_for("SELECT (state, behind) FROM change_projection_status", expect=("paused", "1"))
    linked.execute("SELECT resume_change_projection('another.w')")
    linked.wait_for("SELECT n FROM another.w", expect=3)
    linked.execute("DROP SCHEMA another CASCADE")
    assert linked.column("SELECT view_name FROM change_projections") == []
    assert linked.column("SELECT view_name FROM change_projection_progress UNION ALL SELECT view_name FROM change_projection_sources") == []


def test_windows(linked, mdb):
    """A window is over by the position of the idle stream: then the view is refreshed, and told of, once."""
    stream_with(linked, mdb)
    linked.execute("LISTEN change_stream_window")
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    projection(linked, "v", """SELECT window_start, events FROM change_stream_closed_windows('s', '2 seconds')""", refresh="1 hour", window_length="2 seconds")
    wait_status(linked, "v", refreshes=1)
    linked.execute("SELECT alter_change_projection('v', streams => '{s}')")
    told = [json.loads(told.payload) for told in linked.connection.notifies(timeout=40, stop_after=2)]
    assert [window["projection"] for window in told] == ["public.v"] * 2
    assert told[0]["window_end"] == told[1]["window_start"] and told[1]["windows"] >= 1
    windows = linked.execute("SELECT events, window_end - window_start = '2 seconds', first_event_id, last_event_id"
                             " FROM change_stream_closed_windows('s', '2 seconds')")
    assert windows[0] == (1, True, 1, 1) and len(windows) > 1 and set(windows[1:]) == {(0, True, None, None)}
    assert linked.value("SELECT sum(events) FROM v") == 1
    assert linked.value("SELECT max(window_start) + interval '2 s' FROM v") >= linked.value("SELECT %s::timestamptz", told[1]["window_end"])


def test_of_another(linked, mdb):
    """A materialized view over another is refreshed after that."""
    stream_with(linked, mdb)
    projection(linked, "v", COUNT)
    projection(linked, "w", "SELECT n * 2 AS m FROM v")
    assert status(linked, "w")["streams"] is None
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}])
    linked.wait_for("SELECT m FROM w", expect=4)


def test_hundred(linked, mdb):
    """They share one process, in turns, which leaves when asked to."""
    stream_with(linked, mdb)
    for number in range(100):
        projection(linked, f"v{number}", COUNT)
    mdb.c.insert_one({"_id": 1})
    for number in range(100):
        linked.wait_for(f"SELECT n FROM v{number}", expect=1)
    pids = linked.column("SELECT DISTINCT pid FROM change_projection_status")
    assert pids == linked.column("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream projection' AND datname = current_database()")
    assert len(pids) == 1
    # one that is ended is followed by another
    linked.execute("SELECT pg_terminate_backend(%s)", pids[0])
    mdb.c.insert_one({"_id": 2})
    linked.wait_for("SELECT n FROM v50", expect=2)
    linked.execute("SELECT drop_change_projection(format('v%s', n)) FROM generate_series(0, 99) n")
    linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream projection' AND datname = current_database()", expect=0)


def test_timeout_and_locks(linked, mdb):
    """A refresh that takes too long is cancelled; one that readers keep from the view waits for a short time only."""
    stream_with(linked, mdb)
    projection(linked, "long", "SELECT count(*), pg_sleep(n)::text FROM (SELECT count(*) * 30 AS n FROM change_stream_events) e GROUP BY n", timeout="0.5 seconds")
    wait_status(linked, "long", refreshes=1)
    mdb.c.insert_one({"_id": 1})
    assert "longer than its timeout" in wait_status(linked, "long", state="retrying")["reason"]
    linked.execute("SELECT drop_change_projection('long')")
    projection(linked, "v", COUNT)
    wait_status(linked, "v", refreshes=1)
    with linked.connect(autocommit=False) as reader:
        reader.execute("SELECT * FROM v")
        mdb.c.insert_one({"_id": 2})
        assert "lock timeout" in wait_status(linked, "v", state="retrying")["reason"]
    linked.wait_for("SELECT n FROM v", expect=2)


@pytest.mark.crashes
def test_deaths(new_cluster, mongo, mdb):
    """A refresh that kills its process does so three times, and is stopped then; the others go on."""
    cluster = new_cluster()
    db = cluster.create_database("deaths")
    db.create_server(mongo.uri, mdb.name)
    stream_with(db, mdb)
    db.execute("CREATE FUNCTION die() RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF (SELECT count(*) FROM change_stream_events) > 0"
               " THEN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''kill -9 ' || pg_backend_pid() || ''''; END IF; RETURN 1; END $$")
    projection(db, "v", "SELECT die()", streams="{s}")
    projection(db, "w", COUNT)
    wait_status(db, "w", refreshes=1)
    wait_status(db, "v", refreshes=1)
    mdb.c.insert_one({"_id": 1})

    def stopped():
        try:
            return status(db, "v")["state"] == "error"
        except psycopg.OperationalError:
            db.close()
            return False
    wait_until(stopped, 90, "it has stopped")
    assert "3 processes in a row died while they refreshed it" in status(db, "v")["reason"]
    db.wait_for("SELECT n FROM w", expect=1)
    cluster.new_deaths()


@pytest.fixture
def shop(linked):
    """alice, who may not even make temporary tables, and bob."""
    for role in ("alice", "bob"):
        linked.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO {role}; GRANT CREATE ON SCHEMA public TO {role}")
    linked.execute(f"REVOKE TEMPORARY ON DATABASE {linked.name} FROM PUBLIC")
    yield linked
    linked.execute("RESET ROLE")
    for role in ("alice", "bob"):
        linked.execute(f"DROP OWNED BY {role} CASCADE")
        linked.execute(f"DROP ROLE {role}")


def test_as_the_owner(shop, mdb):
    """As alice, with what she sees, and no more rights than she has; as bob from when it is his."""
    stream_with(shop, mdb, name="others")
    shop.execute("SET ROLE alice")
    stream_with(shop, mdb)
    shop.execute("CREATE FUNCTION grab() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE'; RETURN session_user; END $$")
    projection(shop, "v", "SELECT count(*) AS n, session_user::text AS who FROM change_stream_events", unique="n")
    shop.execute("CREATE MATERIALIZED VIEW grabbed AS SELECT grab() AS who FROM change_stream_events WITH NO DATA; RESET ROLE; SELECT create_change_projection('grabbed')")
    assert status(shop, "v")["streams"] == ["s"]
    mdb.c.insert_one({"_id": 1})
    shop.wait_for("SELECT (n, who) FROM v", expect=("1", "alice"))
    assert "cannot set parameter" in wait_status(shop, "grabbed", state="retrying")["reason"]
    shop.execute("GRANT alice TO bob; ALTER MATERIALIZED VIEW v OWNER TO bob; SELECT grant_change_stream('s', 'bob')")
    mdb.c.insert_one({"_id": 2})
    shop.wait_for("SELECT (n, who) FROM v", expect=("2", "bob"))
    shop.execute("SET ROLE alice")
    assert shop.column("SELECT view_name FROM change_projection_status") == ["public.grabbed"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shop.execute("SELECT pause_change_projection('v')")
    shop.execute("RESET ROLE; REVOKE alice FROM bob; DROP OWNED BY alice CASCADE")
    assert shop.column("SELECT view_name FROM change_projections") == ["public.v"]


def test_names_of_others(shop, mdb):
    """A table that is named as somebody else's event store, and looks like one, is no way to learn of his events."""
    store = "DO LANGUAGE change_stream $$ CREATE EVENT_STORE {} AS SELECT document_key._id AS id FROM CHANGE_STREAM ON DATABASE $$"
    shop.execute("SET ROLE bob; " + store.format("hidden") + "; RESET ROLE")
    shop.execute("CREATE SCHEMA hers AUTHORIZATION alice; SET ROLE alice; " + store.format("own"))
    shop.execute("CREATE TABLE hers.hidden (id document); CREATE TRIGGER append BEFORE DELETE ON hers.hidden FOR EACH ROW EXECUTE FUNCTION change_stream_append_only()")
    projection(shop, "v", "SELECT count(*) AS n FROM hers.hidden, own")
    assert shop.value("SELECT array_agg(stream_name) FROM change_projection_sources") == ["own"]
    shop.execute("RESET ROLE")
    # who may read the store follows it
    shop.execute("GRANT SELECT ON hidden TO alice; SET ROLE alice")
    projection(shop, "w", "SELECT count(*) AS n FROM hidden")
    assert shop.column("SELECT stream_name FROM change_projection_sources WHERE view_name = 'public.w'") == ["hidden"]


def test_dump(shop, mdb, postgres, tmp_path):
    """A dump brings definitions, whatever order things come in; what is not there is no one's."""
    shop.execute("SET ROLE alice")
    stream_with(shop, mdb, count=2)
    # a view that depends on a constraint is made behind all data
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    projection(shop, "late", "SELECT id, n FROM t GROUP BY id", refresh="1 hour")
    projection(shop, '"V w"', COUNT, min_interval="2 seconds")
    shop.execute("RESET ROLE")
    shop.wait_for('SELECT n FROM "V w"', expect=2)
    dump = tmp_path / "dump"
    environment = postgres.client_environment(shop.name)
    subprocess.run([postgres.installation.program("pg_dump"), "-Fc", "-f", dump, shop.name], check=True, env=environment)
    copy = postgres.create_database(f"{shop.name}_copy", extension=False)
    try:
        # its REFRESH of a view over the events fails under row-level security, which it turns off; what it leaves empty is filled all the same
        subprocess.run([postgres.installation.program("pg_restore"), "-d", copy.name, dump], env=environment)
        assert copy.execute("SELECT view_name, refresh, min_interval::text FROM change_projections ORDER BY 1") == [
            ('public."V w"', "on change", "00:00:02"), ("public.late", "1 hour", "00:00:01")]
        # the launcher sees it within a minute, or when something changes
        copy.execute("SELECT alter_change_projection('late')")
        copy.wait_for("SELECT array_agg(state::text || refreshes) FROM change_projection_status", expect=["idle1", "idle1"])
        assert copy.value('SELECT n FROM "V w"') == 2
    finally:
        copy.close()
        postgres.drop_database(copy.name)


def test_names_however_they_are_quoted(linked, mdb):
    """quote_all_identifiers changes how PostgreSQL prints names, not which projection is whose."""
    stream_with(linked, mdb)
    linked.execute("SET quote_all_identifiers = on; CREATE ROLE quoter LOGIN; ALTER ROLE quoter SET quote_all_identifiers = on")
    linked.execute("GRANT CREATE ON SCHEMA public TO quoter")
    with linked.connect("quoter") as quoter:
        projection(quoter, "quoted", "SELECT now() AS at", refresh="1 second")
        assert [name for name, in quoter.execute("SELECT view_name FROM change_projection_status")] == ["public.quoted"]
        quoter.execute("ALTER MATERIALIZED VIEW quoted RENAME TO renamed")
        assert [name for name, in quoter.execute("SELECT view_name FROM change_projections")] == ["public.renamed"]
    projection(linked, "v", COUNT)
    projection(linked, "above", "SELECT n FROM v")
    assert linked.value("SELECT change_projection_exists('v')")
    mdb.c.insert_one({})
    linked.wait_for("SELECT n FROM above", expect=1)
    linked.execute("SET quote_all_identifiers = off")
    assert sorted(linked.column("SELECT view_name FROM change_projection_status")) == ["public.above", "public.renamed", "public.v"]
    assert linked.column("SELECT source_view FROM change_projection_sources WHERE view_name = 'public.above'") == ["public.v"]
    linked.execute("SELECT pause_change_projection('renamed')")


def test_a_reader_no_more(linked, mdb):
    """Streams that are named are followed for as long as the view's owner may read them."""
    stream_with(linked, mdb)
    linked.execute("CREATE ROLE reader LOGIN; GRANT CREATE ON SCHEMA public TO reader; SELECT grant_change_stream('s', 'reader')")
    with linked.connect("reader") as reader:
        projection(reader, "v", COUNT, streams="{s}")
    wait_status(linked, "v", refreshes=1)
    mdb.c.insert_one({"_id": 1})
    linked.wait_for("SELECT n FROM v", expect=1)
    linked.execute("SELECT revoke_change_stream('s', 'reader')")
    linked.wait_for("SELECT count(*) FROM change_projection_sources", expect=0)
    # the last one shows that it has lost them
    linked.execute("SELECT pg_sleep(1.5)")
    refreshes = status(linked, "v")["refreshes"]
    mdb.c.insert_one({"_id": 2})
    sync(linked)
    linked.execute("SELECT pg_sleep(1.5)")
    assert status(linked, "v")["refreshes"] == refreshes
    linked.execute("SELECT grant_change_stream('s', 'reader')")
    linked.wait_for("SELECT n FROM v", expect=2)


@pytest.mark.parametrize("statement", ["ALTER TABLE base DROP COLUMN a CASCADE", "DO $$ BEGIN DROP TABLE base CASCADE; END $$", "DROP MATERIALIZED VIEW v",
                                       "ALTER TYPE kind DROP ATTRIBUTE x CASCADE", "DROP SCHEMA shop CASCADE"])
def test_dropped_by_whatever_statement(linked, statement):
    """A projection goes with its view, in the transaction that drops it."""
    linked.execute("CREATE SCHEMA shop; CREATE TYPE kind AS (x int, y int); CREATE TABLE base (a int, k kind); CREATE TABLE shop.t (n int)")
    linked.execute("CREATE MATERIALIZED VIEW v AS SELECT a, (k).x, n FROM base, shop.t; SELECT create_change_projection('v', refresh => '1 hour', paused => true)")
    linked.execute(f"BEGIN; {statement}")
    assert linked.value("SELECT count(*) FROM change_projections") == 0
    linked.execute("ROLLBACK")
    assert linked.value("SELECT count(*) FROM change_projections") == 1


def test_only_those_concerned_are_woken(linked, mdb):
    """The process of a role whose projections show nothing of a stream is not told of its events."""
    for name in ("s", "t"):
        create(linked, name, collection=name)
    for role, stream in (("anna", "s"), ("bert", "t")):
        linked.execute(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}; SELECT grant_change_stream('{stream}', '{role}')")
        with linked.connect(role) as one:
            projection(one, f"of_{role}", COUNT)
        wait_status(linked, f"of_{role}", refreshes=1)
    looked = "SELECT state_change FROM pg_stat_activity WHERE usename = 'bert' AND backend_type LIKE 'mongo_change_stream%%'"
    # each has found its sources after the last of what was made
    linked.execute("SELECT pg_sleep(1)")
    before = linked.value(looked)
    for number in range(3):
        mdb.s.insert_one({"_id": number})
        linked.wait_for("SELECT n FROM of_anna", expect=number + 1)
    assert linked.value(looked) == before and before is not None
    mdb.t.insert_one({})
    linked.wait_for("SELECT n FROM of_bert", expect=1)
    # one that comes to show it is told
    linked.execute("SELECT grant_change_stream('s', 'bert')")
    mdb.s.insert_one({})
    linked.wait_for("SELECT n FROM of_bert", expect=5)
