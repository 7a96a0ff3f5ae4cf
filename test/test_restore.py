"""Dumps come back: in any order, over what is there, in part, and with what users have added."""
import subprocess

import pytest

from handlers import seen
from mirrors import equal_now, mirror, wait_exact
from projections import projection, wait_status
from streams import Writers, create, error_of, ids, resume, status, sync, wait_state

# every table that a dump brings rows of: the extension's others are about objects of one database, and made anew in another
TABLES = """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')
  AND c.oid NOT IN ('change_mirror_tables'::regclass, 'change_projection_sources'::regclass, 'change_projection_progress'::regclass)"""


class Dump:
    """A dump of a database in a file, and restoring it into new ones."""

    def __init__(self, db, postgres, folder, *options):
        self.db, self.postgres = db, postgres
        self.file = folder / "dump"
        self.made = []
        self.run("pg_dump", "-Fc", "-f", self.file, *options, db.name)

    def run(self, program, *arguments, check=True):
        done = subprocess.run([self.postgres.installation.program(program), *map(str, arguments)], capture_output=True, text=True,
                              env=self.postgres.client_environment(self.db.name))
        assert not check or done.returncode == 0 and not done.stderr, done.stderr
        return done

    def restore(self, *arguments, into=None, check=True):
        """Restores into a new database, or one of those before; returns it."""
        if into is None:
            into = self.postgres.create_database(f"{self.db.name}_{len(self.made)}", extension=False)
            self.made.append(into)
        self.run("pg_restore", "-d", into.name, *arguments, self.file, check=check)
        return into

    def listed(self, *without):
        """A list for pg_restore -L with all but the lines that hold one of these."""
        lines = self.run("pg_restore", "-l", self.file).stdout.splitlines()
        chosen = self.file.with_suffix(".list")
        chosen.write_text("\n".join(line for line in lines if not any(word in line for word in without)))
        return "-L", chosen


@pytest.fixture
def shop(linked, mdb):
    """alice's stream s with a handler, some events and a dead letter, superuser's stream t."""
    linked.execute("CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice; GRANT CREATE ON SCHEMA public TO alice")
    with linked.connect("alice") as alice:
        alice.execute("CREATE TABLE seen (seq bigserial, event_id bigint)")
        create(alice, "s", collection="c")
        alice.execute("SELECT create_change_handler('h', 's', retry_attempts => 0,"
                      " body => 'IF change.event_id = 2 THEN RAISE ''no''; END IF; INSERT INTO public.seen (event_id) VALUES (change.event_id)')")
    create(linked, "t", collection="c")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    for stream in ("s", "t"):
        assert linked.value("SELECT sync_change_stream(%s, handlers => true)", stream)
    yield linked
    linked.execute("RESET ROLE")
    if linked.value("SELECT count(*) FROM pg_roles WHERE rolname = 'alicia'"):
        linked.execute("ALTER ROLE alicia RENAME TO alice")
    linked.execute("DROP OWNED BY alice CASCADE; DROP ROLE alice")


@pytest.fixture
def dump(shop, postgres, tmp_path):
    """A function that dumps the shop; what is restored from it goes at the end."""
    dumps = []

    def make(*options):
        tmp_path.chmod(0o777)
        dumps.append(Dump(shop, postgres, tmp_path, *options))
        return dumps[-1]

    yield make
    for one in dumps:
        for database in one.made:
            database.execute("DROP OWNED BY alice CASCADE")
            database.close()
            postgres.drop_database(database.name)


def goes_on(copy, mdb, number, handled):
    """The streams of a restored database go on after event 3, the handler too."""
    for stream in ("s", "t"):
        assert (status(copy, stream)["state"], status(copy, stream)["reason"]) == ("paused", "restored")
        resume(copy, stream)
    mdb.c.insert_one({"_id": number})
    for stream in ("s", "t"):
        assert copy.value("SELECT sync_change_stream(%s, handlers => true)", stream)
        assert ids(copy, stream)[:3] == [1, 2, 3] and ids(copy, stream)[-1] == number
        assert copy.value("SELECT array_agg(event_id ORDER BY event_id) = array_agg(DISTINCT event_id) AND max(event_id) = count(*)"
                          " FROM change_stream_events WHERE stream_name = %s", stream)
    assert seen(copy) == handled


def test_in_parallel(shop, dump, mdb):
    """pg_restore -j4 brings tables in any order: nothing may hang on another."""
    one = dump()
    for turn in range(2):
        copy = one.restore("-j4")
        assert copy.execute("SELECT stream_name, last_event_id, resume_token IS NOT NULL FROM change_stream_progress ORDER BY 1") == \
            [("s", 3, True), ("t", 3, True)]
        assert copy.row("SELECT last_event_id, dead_letters FROM change_handler_status") == (3, 1)
        if turn == 1:
            goes_on(copy, mdb, 4, [1, 3, 4])


def content(connection):
    """How many rows each table has, and a digest of them."""
    return {table: connection.execute(f"SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} t").fetchone()
            for table, in connection.execute(TABLES).fetchall()}


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_in_parallel_twenty_times(shop, dump, mongo, mdb):
    """Dumped while streams, a handler, mirrors and a projection write: each pg_restore -j4 brings what the dump's snapshot saw, over a copy that is there, too."""
    with Writers(mongo, mdb.name, collections=("a", "b", "c")) as writers:
        mirror(shop, "a")
        mirror(shop, "c", stream_name="t")
        projection(shop, "per_day", "SELECT date_trunc('day', now()) AS day, count(*) AS n FROM a GROUP BY 1", unique="day")
        wait_exact(shop, "a", "c")
        wait_status(shop, "per_day", state="idle")
        writers.wait(300)
        with shop.connect(autocommit=False) as snapshot:
            snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            one = dump(f"--snapshot={snapshot.execute('SELECT pg_export_snapshot()').fetchone()[0]}")
            there = content(snapshot)
        writers.wait(100)
    assert there["change_mirrors"][0] == 2 and there["change_projections"][0] == 1 and there["a"][0] > 0 and there["change_stream_events"][0] > 100
    copy = None
    for turn in range(20):
        over = ["--clean", "--if-exists"] if turn % 2 else []
        copy = one.restore("-j4", *over, into=copy if over else None)
        assert content(copy.connection) == there, turn
        # pg_restore refreshes it
        assert copy.value("SELECT n FROM per_day") == there["a"][0]
        copy.close()
    for stream in copy.column("SELECT stream_name FROM change_streams"):
        resume(copy, stream)
        sync(copy, stream)
    for table in ("a", "c"):
        wait_exact(copy, table)
        assert equal_now(copy, mongo, mdb.name, table, table) > 0
    assert copy.value("SELECT count(*) = count(DISTINCT (stream_name, event_id)) FROM change_stream_events")


def test_over_what_is_there(shop, dump, mdb):
    """--clean --if-exists drops server, extension and streams on its way; by hand a server that streams need stays."""
    one = dump()
    copy = one.restore()
    copy.close()
    assert error_of(copy, "DROP SERVER mongo").sqlstate == "2BP01"
    copy.close()
    one.restore("--clean", "--if-exists", into=copy)
    goes_on(copy, mdb, 4, [1, 3, 4])


def test_without_positions(shop, dump, mdb):
    """Streams without their rows of progress go on after the last event that is there, handlers with the first that waits."""
    one = dump()
    copy = one.restore(*one.listed("TABLE DATA public change_stream_progress", "TABLE DATA public change_handler_progress",
                                   "TABLE DATA public change_stream_metrics"))
    assert copy.value("SELECT count(*) FROM change_stream_progress") == 0
    goes_on(copy, mdb, 4, [1, 3, 4])
    assert copy.column("SELECT stream_name FROM change_stream_metrics ORDER BY 1") == ["s", "t"]
    # also where they vanish under a running stream
    copy.execute("DELETE FROM change_stream_progress; DELETE FROM change_handler_progress")
    mdb.c.insert_one({"_id": 5})
    for stream in ("s", "t"):
        wait_state(copy, stream, "active")
        copy.execute("SELECT pause_change_stream(%s)", stream)
        copy.execute("SELECT resume_change_stream(%s)", stream)
        assert copy.value("SELECT sync_change_stream(%s, handlers => true)", stream)
        assert ids(copy, stream) == [1, 2, 3, 4, 5]
    assert seen(copy) == [1, 3, 4, 5]


def test_a_role_is_missing(shop, dump, mdb):
    """A role that is not there costs the definitions only, until it is: they can be restored when it has been made."""
    one = dump()
    shop.execute("ALTER ROLE alice RENAME TO alicia")
    copy = one.restore("--no-owner", check=False)
    assert copy.value("SELECT count(*) FROM change_streams") == 0
    assert copy.value("SELECT count(*) FROM change_stream_events") == 6
    shop.execute("ALTER ROLE alicia RENAME TO alice")
    one.restore("--data-only", "-t", "change_streams", into=copy)
    copy.execute("ALTER TABLE seen OWNER TO alice; GRANT USAGE ON FOREIGN SERVER mongo TO alice")
    goes_on(copy, mdb, 4, [1, 3, 4])


def test_definitions_are_lost(shop, dump, mdb):
    """A stream that is made anew numbers on; what is there is not for whoever takes the name, and handlers wait."""
    one = dump()
    copy = one.restore(*one.listed("TABLE DATA public change_streams"))
    with copy.connect("alice") as alice:
        refused = error_of(alice, "SELECT create_change_stream('s', collection => 'c')")
        assert refused.sqlstate == "42501"
    copy.execute(refused.diag.message_hint.split("INSERT")[1].join(["INSERT", ""]))
    with copy.connect("alice") as alice:
        create(alice, "s", collection="c")
    create(copy, "t", collection="c", paused=True)
    copy.execute("SELECT resume_change_stream('t')")
    mdb.c.insert_one({"_id": 4})
    for stream in ("s", "t"):
        sync(copy, stream)
        assert ids(copy, stream) == [1, 2, 3, 4]
        assert copy.value("SELECT max(event_id) FROM change_stream_events WHERE stream_name = %s", stream) == 4
    assert copy.value("SELECT paused FROM change_handlers") is True and seen(copy) == [1, 3]


def test_what_users_have_added(shop, dump, mdb):
    """Columns before the data, the rest after it, as change_stream_user_objects() says."""
    shop.execute("ALTER TABLE change_stream_events ADD COLUMN region text DEFAULT 'eu'")
    shop.execute("ALTER TABLE change_stream_events ADD CONSTRAINT known CHECK (region <> 'x')")
    shop.execute("CREATE INDEX by_region ON change_stream_events (region)")
    shop.execute("CREATE STATISTICS pair ON region, operation_type FROM change_stream_events")
    shop.execute("GRANT SELECT, INSERT ON change_stream_kept_events TO alice")
    shop.execute("CREATE POLICY more ON change_stream_kept_events TO alice USING (true)")
    objects = shop.column("SELECT change_stream_user_objects()")
    one = dump()
    copy = one.restore("--section=pre-data")
    copy.execute(objects[0])
    one.restore("--section=data", into=copy)
    one.restore("--section=post-data", into=copy)
    for command in objects[1:]:
        copy.execute(command)
    assert copy.column("SELECT change_stream_user_objects()") == objects
    assert copy.column("SELECT region FROM change_stream_events") == ["eu"] * 6
    # what pg_dump knows by itself
    assert copy.value("SELECT has_table_privilege('alice', 'change_stream_kept_events', 'INSERT')")
    goes_on(copy, mdb, 4, [1, 3, 4])


@pytest.mark.parametrize("pad", ["", "x"])
def test_texts_longer_than_their_place(linked, postgres, mdb, tmp_path, pad):
    """Errors of many bytes a character are cut between characters, wherever they are kept: the dump comes back, and the views can be read."""
    words = pad + "é" * 3000
    for name, code in (("refuse", "P0001"), ("refuse_for_now", "55P03")):
        linked.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
                       f" $$ BEGIN RAISE '{words}' USING ERRCODE = '{code}'; END $$")
    create(linked, "kept", collection="c", retention="1 millisecond")
    create(linked, "stopped", collection="stopping")
    create(linked, "waiting", collection="stopping")
    linked.execute("SELECT create_change_handler('h', 'kept', retry_attempts => 0, on_failure => 'stop', body => %s)",
                   f"BEGIN IF change.event_id = 3 THEN RAISE '{words * 2}'; END IF; END")
    linked.execute("CREATE TRIGGER refuse BEFORE DELETE ON change_stream_events FOR EACH ROW EXECUTE FUNCTION refuse()")
    linked.execute("CREATE TRIGGER refuse_more BEFORE INSERT ON change_stream_events FOR EACH ROW WHEN (NEW.stream_name = 'stopped')"
                   " EXECUTE FUNCTION refuse()")
    linked.execute("CREATE TRIGGER refuse_for_now BEFORE INSERT ON change_stream_events FOR EACH ROW WHEN (NEW.stream_name = 'waiting')"
                   " EXECUTE FUNCTION refuse_for_now()")
    mdb.c.insert_many([{"_id": number} for number in range(4)])
    mdb.stopping.insert_one({"_id": 1})
    assert "é" * 100 in wait_state(linked, "stopped", "error")["reason"]
    linked.wait_for("SELECT reason LIKE '%%past their retention%%éééé%%' FROM change_stream_status WHERE stream_name = 'kept'", expect=True)
    linked.wait_for("SELECT state FROM change_handler_status", expect="error")
    # whatever a view or table shows can be read, as a reader of UTF-8 sees
    assert "é" * 100 in status(linked, "kept")["reason"] and "é" * 100 in wait_state(linked, "waiting", "retrying")["last_error"]
    linked.wait_for("SELECT octet_length(last_error) BETWEEN 400 AND 600 FROM change_stream_progress WHERE stream_name = 'waiting'", expect=True)
    linked.execute("SELECT pause_change_stream('waiting')")
    tmp_path.chmod(0o777)
    one = Dump(linked, postgres, tmp_path)
    try:
        copy = one.restore()
        for column in ("stopped_reason", "stream_name"):
            assert copy.column(f"SELECT {column} FROM change_streams ORDER BY 1") == linked.column(f"SELECT {column} FROM change_streams ORDER BY 1")
        assert copy.value("SELECT stopped_reason FROM change_handlers") == linked.value("SELECT stopped_reason FROM change_handlers")
    finally:
        for database in one.made:
            database.close()
            postgres.drop_database(database.name)
