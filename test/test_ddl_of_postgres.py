"""Statements that want a database, server or role without its streams; dump and restore; a standby."""
import subprocess
import time

import psycopg
import pytest

import oracle
from foreign import messages
from groups import create_beside
from harness.machine import wait_until
from streams import Writers, create, error_of, pause, resume, status, sync, wait_state, worker

WORKERS = ("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('mongo_change_stream worker', 'mongo_change_stream group')"
           " AND datname = %s")


class Site:
    """A database with a running stream, and a connection to another one beside it."""

    def __init__(self, db, mongo, mdb):
        self.db, self.mongo, self.mdb = db, mongo, mdb
        self.name = db.name
        self.since = oracle.mark(mongo)
        create_beside(db, "orders", collection="c")
        mdb.c.insert_one({"_id": 1})
        sync(db, "orders")
        db.close()
        self.postgres = db.cluster
        self.beside = db.cluster.connect("postgres")

    def run(self, statement):
        """Runs a statement from outside; returns the seconds it took."""
        begin = time.monotonic()
        self.beside.execute(statement)
        return time.monotonic() - begin

    def workers(self, name=None):
        return self.beside.execute(WORKERS, (name or self.name,)).fetchone()[0]

    def follows(self, name, key):
        """The stream of the database of that name goes on."""
        self.mdb.c.insert_one({"_id": key})
        db = type(self.db)(self.postgres, name)
        sync(db, "orders")
        assert oracle.compare(db, "orders", self.mongo, self.since, self.mdb.name) >= 2
        db.close()


@pytest.fixture
def site(linked, mongo, mdb):
    one = Site(linked, mongo, mdb)
    yield one
    for name in ("renamed", "copied"):
        one.beside.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    one.beside.close()


def test_drop_database(site):
    assert site.run(f"DROP DATABASE {site.name}") < 3
    assert site.workers() == 0


def test_drop_database_that_fails(site):
    """Another session keeps it: the statement fails as ever, and the stream comes back."""
    with site.db.connect():
        with pytest.raises(psycopg.errors.ObjectInUse):
            site.run(f"DROP DATABASE {site.name}")
    site.follows(site.name, 2)


def test_rename_database(site):
    assert site.run(f"ALTER DATABASE {site.name} RENAME TO renamed") < 3
    site.follows("renamed", 2)
    site.run(f"ALTER DATABASE renamed RENAME TO {site.name}")
    site.follows(site.name, 3)


def test_database_as_template(site):
    """The copy does not follow beside the original; its streams are paused until they are resumed."""
    assert site.run(f"CREATE DATABASE copied TEMPLATE {site.name}") < 10
    site.follows(site.name, 2)
    copy = type(site.db)(site.postgres, "copied")
    shown = status(copy, "orders")
    assert (shown["state"], shown["reason"]) == ("paused", "restored")
    assert site.workers("copied") == 0
    resume(copy, "orders")
    wait_state(copy, "orders", "active")
    copy.close()
    site.follows("copied", 3)
    site.follows(site.name, 4)


def test_template_that_nobody_can_connect_to(site):
    """It is not looked into afterwards, which could only fail."""
    position = site.postgres.log_position()
    site.run("CREATE DATABASE copied TEMPLATE template0")
    copy = type(site.db)(site.postgres, "copied")
    copy.execute("CREATE EXTENSION mongo_change_stream")        # wakes the launcher
    copy.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '%%prober'", expect=0)
    copy.close()
    site.follows(site.name, 2)
    assert "template0" not in site.postgres.log_text(position)


def test_drop_extension(site):
    begin = time.monotonic()
    site.db.execute("DROP EXTENSION mongo_change_stream CASCADE")
    assert time.monotonic() - begin < 3
    wait_until(lambda: site.workers() == 0, 5, "no worker")
    site.db.execute("CREATE EXTENSION mongo_change_stream")
    site.db.create_server(site.mongo.uri, site.mdb.name)
    site.since = oracle.mark(site.mongo)
    create(site.db, "orders", collection="c")
    site.mdb.c.insert_one({"_id": 2})
    site.follows(site.name, 3)


def test_drop_extension_rolled_back(site):
    connection = site.db.connect(autocommit=False)
    connection.execute("DROP EXTENSION mongo_change_stream CASCADE")
    connection.rollback()
    connection.close()
    site.follows(site.name, 2)


def test_other_statements_do_not_disturb(site):
    """Statements about other things leave the worker alone."""
    pid = worker(site.db, "orders")
    site.run("CREATE DATABASE copied TEMPLATE template0")
    site.run("ALTER DATABASE copied RENAME TO renamed")
    site.run("DROP DATABASE renamed")
    with pytest.raises(psycopg.Error):
        site.run("DROP DATABASE IF EXISTS postgres")
    site.db.execute("DROP EXTENSION IF EXISTS nosuch")
    assert worker(site.db, "orders") == pid


def test_stranger_cannot_stop_workers(site):
    site.beside.execute("CREATE ROLE stranger LOGIN")
    try:
        pid = worker(site.db, "orders")
        with site.postgres.connect("postgres", user="stranger") as stranger:
            for statement in (f"DROP DATABASE {site.name}", f"ALTER DATABASE {site.name} RENAME TO renamed",
                              f"CREATE DATABASE copied TEMPLATE {site.name}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    stranger.execute(statement)
        assert worker(site.db, "orders") == pid
    finally:
        site.beside.execute("DROP ROLE stranger")


def test_drop_server(linked, mdb):
    create(linked, "orders")
    create(linked, "more")
    for statement in ("DROP SERVER mongo", "DROP SERVER mongo CASCADE", "DROP SERVER IF EXISTS mongo"):
        error = error_of(linked, statement)
        assert error.sqlstate == "2BP01"
        assert "orders" in error.diag.message_detail and "more" in error.diag.message_detail
    linked.execute("SELECT drop_change_stream(stream_name) FROM change_streams")
    linked.execute("DROP SERVER mongo")


def test_roles(linked, mdb):
    """DROP ROLE is refused with the streams named, REASSIGN OWNED gives them, DROP OWNED drops them."""
    for role in ("erin", "frank"):
        linked.execute(f"CREATE ROLE {role} LOGIN")
        linked.execute(f"GRANT USAGE ON FOREIGN SERVER mongo TO {role}")
    try:
        with linked.connect("erin") as erin:
            erin.execute("SELECT create_change_stream('hers', collection => 'c')")
        mdb.c.insert_one({"_id": 1})
        sync(linked, "hers")
        error = error_of(linked, "DROP ROLE erin")
        assert error.sqlstate == "2BP01" and "hers" in (error.diag.message_detail or "")
        linked.execute("REASSIGN OWNED BY erin TO frank")
        assert linked.value("SELECT owner::text FROM change_streams") == "frank"
        mdb.c.insert_one({"_id": 2})
        sync(linked, "hers")
        linked.wait_for("SELECT usename::text FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream worker'"
                        " AND datname = current_database()", expect="frank")
        assert linked.column("SELECT event_id FROM change_stream_events ORDER BY 1") == [1, 2]
        linked.execute("DROP OWNED BY erin")
        linked.execute("DROP ROLE erin")
        linked.execute("DROP OWNED BY frank")
        for table in ("change_streams", "change_stream_events", "change_stream_metrics"):
            assert linked.value(f"SELECT count(*) FROM {table}") == 0
        linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream worker'"
                        " AND datname = current_database()", expect=0, timeout=5)
    finally:
        for role in ("erin", "frank"):
            linked.execute(f"DO $$ BEGIN DROP OWNED BY {role}; DROP ROLE {role}; EXCEPTION WHEN undefined_object THEN END $$")


def test_role_that_cannot_log_in(linked, mdb):
    linked.execute("CREATE ROLE quiet NOLOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO quiet")
    try:
        linked.execute("SET ROLE quiet")
        if linked.connection.info.server_version < 170000:
            assert error_of(linked, "SELECT create_change_stream('x')").diag.message_hint
        else:
            create(linked, "x", collection="c")
            mdb.c.insert_one({"_id": 1})
            sync(linked, "x")
    finally:
        linked.execute("RESET ROLE")
        linked.execute("DROP OWNED BY quiet")
        linked.execute("DROP ROLE quiet")


def test_dump_and_restore(site):
    """Everything is there, nothing runs until it is told to, and numbers go on."""
    dumped = subprocess.run([site.postgres.installation.program("pg_dump"), site.name], capture_output=True, text=True,
                            env=site.postgres.client_environment(site.name))
    assert dumped.returncode == 0, dumped.stderr
    copy = site.postgres.create_database("copied", extension=False)
    site.postgres.psql(dumped.stdout, "copied")
    assert copy.value("SELECT count(*) FROM change_stream_events") == 1
    shown = status(copy, "orders")
    assert (shown["state"], shown["reason"]) == ("paused", "restored")
    assert site.workers("copied") == 0
    site.follows(site.name, 2)
    resume(copy, "orders")
    wait_state(copy, "orders", "active")
    copy.close()
    site.follows("copied", 3)
    before, after = [type(site.db)(site.postgres, name) for name in (site.name, "copied")]
    assert oracle.stored(before, "orders")[:2] == oracle.stored(after, "orders")[:2]
    for db in (before, after):
        db.close()


@pytest.mark.timeout(120)
def test_standby(new_cluster, mongo, mdb):
    """A standby runs nothing; promoted, it goes on from what it has, beside the old primary."""
    primary = new_cluster()
    db = primary.create_database("shop")
    db.create_server(mongo.uri, mdb.name)
    since = oracle.mark(mongo)
    create(db, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(db, "orders")

    standby = new_cluster(standby_of=primary)
    there = type(db)(standby, "shop")
    there.wait_for("SELECT count(*) FROM change_stream_events", expect=1)
    assert there.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mongo_change_stream%%'") == 0
    assert error_of(there, "SELECT pause_change_stream('orders')").sqlstate == "25006"
    assert status(there, "orders")["pid"] is None
    # kept events are read there, too, and what has not been replayed comes from MongoDB
    db.execute("IMPORT FOREIGN SCHEMA x LIMIT TO (c) FROM SERVER mongo INTO public OPTIONS (full_document 'default')".replace("x", f'"{mdb.name}"'))
    there.wait_for("SELECT to_regclass('c') IS NOT NULL")
    seen = messages(there.connection)
    pause(db, "orders")
    mdb.c.insert_one({"_id": 2})
    text = there.value("SELECT change_stream_translate($$ SELECT full_document['_id']::int FROM CHANGE_STREAM(c) WHERE cluster_time >= (SELECT cluster_time FROM change_stream_events) $$)")
    assert "change_stream_kept(" in text
    assert sorted(there.column(text)) == [1, 2] and 'kept events of change stream "orders"' in seen[-1][1]
    mdb.c.delete_one({"_id": 2})
    resume(db, "orders")
    with Writers(mongo, mdb.name, collections=("c",)) as writers:
        writers.wait(30)
        sync(db, "orders")
        position = db.value("SELECT pg_current_wal_lsn()::text")
        there.wait_for("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)
        there.execute("SELECT pg_promote()")
        wait_state(there, "orders", "active")
        writers.wait(30)
    for one in (db, there):
        sync(one, "orders")
        assert oracle.compare(one, "orders", mongo, since, mdb.name) > 50
    db.close()
    there.close()


def test_savepoint(linked, mdb):
    """A stream made in a savepoint that is rolled back never runs; one made beside it does."""
    connection = linked.connect(autocommit=False)
    connection.execute("SELECT create_change_stream('kept', collection => 'c')")
    connection.execute("SAVEPOINT s")
    connection.execute("SELECT create_change_stream('gone', collection => 'c')")
    connection.execute("ROLLBACK TO s")
    connection.commit()
    connection.close()
    mdb.c.insert_one({"_id": 1})
    sync(linked, "kept")
    assert linked.column("SELECT stream_name FROM change_stream_status") == ["kept"]
