"""Readers: what grant_change_stream, pg_monitor and pg_read_all_data show of streams of others, and that it is all they get."""
import os
import subprocess

import psycopg
import pytest

from streams import create, drop, error_of, sync

STATE = ("change_streams", "change_stream_progress", "change_stream_status", "change_handlers", "change_handler_progress", "change_handler_status",
         "change_stream_workers()")
CONTENT = ("change_stream_events", "change_handler_dead_letters", "change_stream_dead_letters", "change_stream_dead_letter_list", "change_stream_dead_letter(1)")


@pytest.fixture
def shop(linked, mdb):
    """alice has the streams `orders`, with a handler and a dead letter, and `other`; rita, max, mona and dora have nothing."""
    made = ["alice", "rita", "mona", "dora", "max"]
    for role in made:
        linked.execute(f"CREATE ROLE {role} LOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO alice; GRANT rita TO max; GRANT pg_monitor TO mona; GRANT pg_read_all_data TO dora")
    with linked.connect("alice") as alice:
        create(alice, "orders", collection="c")
        create(alice, "other", collection="c")
        alice.execute("SELECT create_change_handler('h', 'orders', body => 'BEGIN RAISE ''no''; END', retry_attempts => 0)")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "other")
    linked.value("SELECT sync_change_stream('orders', handlers => true)")
    yield linked
    linked.execute("RESET ROLE")
    for role in made:
        linked.execute(f"DROP OWNED BY {role} CASCADE")
        linked.execute(f"DROP ROLE {role}")


def streams_seen(db, role, relation):
    """The names of streams (of handlers, where a relation has no more) that a role sees in a relation."""
    column = "handler_name" if relation in ("change_handler_progress",) else "stream_name"
    with db.connect(role) as one:
        return sorted({name for name, in one.execute(f"SELECT {column} FROM {relation}")})


def test_reader_reads_one_stream(shop):
    with shop.connect("alice") as alice:
        alice.execute("SELECT grant_change_stream('orders', 'rita')")
        alice.execute("SELECT grant_change_stream('orders', 'rita')")       # twice is once
        assert alice.execute("SELECT stream_name, reader::text FROM change_stream_grants").fetchall() == [("orders", "rita")]
    for role in ("rita", "max"):        # max is a member of rita
        for relation in (*STATE, *CONTENT):
            assert streams_seen(shop, role, relation) == (["h"] if relation == "change_handler_progress" else ["orders"]), relation
        assert streams_seen(shop, role, "change_stream_grants") == ["orders"]
        with shop.connect(role) as one:
            assert one.execute("SELECT state, events_processed FROM change_stream_status").fetchone() == ("active", 1)
            assert one.execute("SELECT handler_name FROM change_handler_workers()").fetchone() in (None, ("h",))
    with shop.connect("alice") as alice:
        alice.execute("SELECT revoke_change_stream('orders', 'rita')")
    for relation in (*STATE, *CONTENT, "change_stream_grants"):
        assert streams_seen(shop, "rita", relation) == [], relation


def test_reader_does_nothing_else(shop):
    shop.execute("SELECT grant_change_stream('orders', 'rita')")
    with shop.connect("rita") as rita:
        for call in ("pause_change_stream('orders')", "resume_change_stream('orders')", "alter_change_stream('orders', batch_size => 1)",
                     "drop_change_stream('orders')", "sync_change_stream('orders')", "grant_change_stream('orders', 'max')",
                     "revoke_change_stream('orders', 'rita')", "create_change_handler('x', 'orders', body => 'NULL')",
                     "pause_change_handler('h')", "retry_dead_letters('h')", "discard_dead_letters('h')", "replay_changes('h', 1, 1)",
                     "mongo_command('{\"ping\": 1}')", "create_change_stream('mine')"):
            with pytest.raises(psycopg.Error) as error:
                rita.execute(f"SELECT {call}")
            assert error.value.sqlstate == "42501", call
        assert rita.execute("UPDATE change_stream_metrics SET events_processed = 99").rowcount == 0
        assert rita.execute("SELECT count(*) FROM change_stream_metrics").fetchone() == (0,)
        for relation in ("change_stream_grants", "change_stream_events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rita.execute(f"DELETE FROM {relation}")
    assert shop.value("SELECT paused FROM change_streams WHERE stream_name = 'orders'") is False


def test_predefined_roles(shop):
    """pg_monitor sees how all streams are, but nothing of their content; pg_read_all_data sees all of it."""
    for relation in STATE:
        both = ["h"] if relation == "change_handler_progress" else ["orders"] if "handler" in relation else ["orders", "other"]
        assert streams_seen(shop, "mona", relation) == both, relation
        assert streams_seen(shop, "dora", relation) == both, relation
    for relation in CONTENT:
        assert streams_seen(shop, "mona", relation) == [], relation
        assert "orders" in streams_seen(shop, "dora", relation), relation
    # how many is a part of how it is
    for role in ("alice", "mona", "dora"):
        with shop.connect(role) as one:
            assert one.execute("SELECT dead_letters, reason LIKE '%dead letter waits%' FROM change_handler_status").fetchall() == [(1, True)], role
            assert one.execute("SELECT waiting FROM change_stream_dead_letter_counts() ORDER BY 1").fetchall() == [(0,), (0,), (1,)], role
    with shop.connect("rita") as rita:
        assert rita.execute("SELECT count(*) FROM change_stream_dead_letter_counts()").fetchone() == (0,)
    with shop.connect("alice") as alice:
        alice.execute("SELECT drop_change_stream('other', keep_events => true)")
    assert streams_seen(shop, "dora", "change_stream_events") == ["orders", "other"]
    for role in ("mona", "dora"):
        with shop.connect(role) as one:
            assert one.execute("UPDATE change_stream_metrics SET events_processed = 99").rowcount == 0


def test_grants_end_with_stream_and_role(shop, postgres):
    with shop.connect("alice") as alice:
        alice.execute("SELECT grant_change_stream('orders', 'rita'), grant_change_stream('other', 'rita'), grant_change_stream('other', 'max')")
        alice.execute("SELECT drop_change_stream('orders', discard_dead_letters => true)")
        assert alice.execute("SELECT count(*) FROM change_stream_grants").fetchone() == (2,)
        create(alice, "orders", collection="c")
    assert streams_seen(shop, "rita", "change_streams") == ["other"]       # a new stream of the name is another
    shop.execute("DROP OWNED BY max")
    assert shop.column("SELECT reader::text FROM change_stream_grants") == ["rita"]
    # a role that another database drops leaves nothing behind for long
    shop.execute("CREATE ROLE brief; CREATE ROLE briefer")
    shop.execute("SELECT grant_change_stream('other', 'brief'), grant_change_stream('other', 'briefer')")
    shop.execute("DROP ROLE briefer")
    assert sorted(shop.column("SELECT reader::text FROM change_stream_grants")) == ["brief", "rita"]
    with postgres.connect("postgres") as elsewhere:
        elsewhere.execute("DROP ROLE brief")
    shop.execute("SELECT pause_change_stream('other')")         # its commit sends a prober
    shop.wait_for("SELECT count(*) FROM change_stream_grants", expect=1)
    assert error_of(shop, "SELECT grant_change_stream('other', '-')").sqlstate == "42704"
    assert error_of(shop, "SELECT grant_change_stream('other', NULL)").sqlstate == "22004"
    assert error_of(shop, "SELECT grant_change_stream('none', 'rita')").sqlstate == "42704"


def test_a_view_shows_what_its_reader_may_see(shop):
    """As the README says: a view of the owner's opens nothing; a grant does."""
    shop.execute("CREATE SCHEMA dashboards AUTHORIZATION alice; GRANT USAGE ON SCHEMA dashboards TO rita")
    with shop.connect("alice") as alice:
        alice.execute("CREATE VIEW dashboards.counts AS SELECT stream_name, count(*) AS events FROM public.change_stream_events GROUP BY 1")
        alice.execute("GRANT SELECT ON dashboards.counts TO rita")
        assert alice.execute("SELECT count(*) FROM dashboards.counts").fetchone() == (2,)
        with shop.connect("rita") as rita:
            assert rita.execute("SELECT * FROM dashboards.counts").fetchall() == []
            alice.execute("SELECT grant_change_stream('orders', 'rita')")
            assert rita.execute("SELECT * FROM dashboards.counts").fetchall() == [("orders", 1)]


def test_dump_by_the_databases_owner(shop, postgres):
    """Without BYPASSRLS he dumps with --enable-row-security, and with pg_read_all_data that is everything."""
    shop.execute("CREATE ROLE boss LOGIN")
    shop.execute(f"ALTER DATABASE {shop.name} OWNER TO boss")
    try:
        command = [postgres.installation.program("pg_dump"), "-U", "boss", "--data-only", "-d", shop.name]
        environment = {**os.environ, **postgres.client_environment()}
        refused = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert refused.returncode and "row-level security" in refused.stderr
        shop.execute("GRANT pg_read_all_data TO boss")
        dump = subprocess.run([*command, "--enable-row-security"], env=environment, capture_output=True, text=True)
        assert dump.returncode == 0, dump.stderr
        rows = dump.stdout.split("COPY public.change_stream_events ")[1].split("\n\\.")[0].splitlines()[1:]
        assert len(rows) == 2
    finally:
        shop.execute(f"ALTER DATABASE {shop.name} OWNER TO postgres")
        shop.execute("DROP OWNED BY boss; DROP ROLE boss")
