"""Who may do and see what; user code runs as the stream's owner; passwords show nowhere."""
import psycopg
import pytest

from streams import create, drop, sync, wait_state

TABLES = ("change_streams", "change_stream_progress", "change_stream_events", "change_stream_metrics", "change_stream_kept_events")
OWNERS_ONLY = {
    "pause": "SELECT pause_change_stream('orders')",
    "resume": "SELECT resume_change_stream('orders')",
    "alter": "SELECT alter_change_stream('orders', filter => 'true')",
    "drop": "SELECT drop_change_stream('orders')",
    "sync": "SELECT sync_change_stream('orders')",
}


@pytest.fixture
def roles(linked, mdb):
    """Roles alice, who has a stream, bob, who may make some, carol, who may not, and dave, a member of alice."""
    made = ["alice", "bob", "carol", "dave"]
    for role in made:
        linked.execute(f"CREATE ROLE {role} LOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO alice, bob")
    linked.execute("GRANT alice TO dave")
    alice = linked.connect("alice")
    alice.execute("SELECT create_change_stream('orders', collection => 'c')")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    alice.close()
    yield linked
    linked.execute("RESET ROLE")
    for role in made:
        linked.execute(f"DROP OWNED BY {role} CASCADE")
        linked.execute(f"DROP ROLE {role}")


class As:
    """Statements of a role in a session of its own."""

    def __init__(self, db, role):
        self.connection = db.connect(role)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def value(self, statement):
        return self.connection.execute(statement).fetchone()[0]

    def refused(self, statement):
        """The SQLSTATE with which it is refused."""
        with pytest.raises(psycopg.Error) as error:
            self.connection.execute(statement)
        return error.value.sqlstate


def test_usage_of_the_server_is_needed(roles):
    with As(roles, "carol") as carol:
        assert carol.refused("SELECT create_change_stream('x')") == "42501"
        assert carol.refused("SELECT create_change_stream('x', server => 'mongo')") == "42501"
        assert carol.refused("SELECT mongo_command('{\"ping\": 1}', server => 'mongo')") == "42501"
    with As(roles, "bob") as bob:
        bob.value("SELECT create_change_stream('bobs')")
        assert bob.value("SELECT mongo_command('{\"ping\": 1}')->>'ok'") == "1"
        assert bob.value("SELECT count(*) FROM change_streams") == 1


@pytest.mark.parametrize("what", OWNERS_ONLY)
def test_only_the_owner_commands(roles, what):
    """Others are told nothing they may not know; members of the owner may."""
    for role in ("bob", "carol"):
        with As(roles, role) as other:
            assert other.refused(OWNERS_ONLY[what]) in ("42501", "42704")
            assert other.refused(OWNERS_ONLY[what].replace("'orders'", "'none'")) in ("42501", "42704")
    assert roles.value("SELECT paused FROM change_streams") is False
    assert roles.value("SELECT count(*) FROM change_stream_events") == 1
    with As(roles, "dave") as dave:
        dave.value(OWNERS_ONLY[what])


def test_row_security(roles):
    """A role sees what belongs to it or to a role it is a member of, in each table and view."""
    for role, count in (("alice", 1), ("dave", 1), ("bob", 0), ("carol", 0)):
        with As(roles, role) as one:
            for table in ("change_streams", "change_stream_progress", "change_stream_events", "change_stream_metrics",
                          "change_stream_status"):
                assert one.value(f"SELECT count(*) FROM {table}") == count, (role, table)
            assert one.value("SELECT count(*) FROM change_stream_workers()") == count
    with As(roles, "alice") as alice:
        alice.value("SELECT drop_change_stream('orders', keep_events => true)")
    for role, count in (("alice", 1), ("dave", 1), ("bob", 0), ("carol", 0)):
        with As(roles, role) as one:
            assert one.value("SELECT count(*) FROM change_stream_events") == count, role
            assert one.value("SELECT count(*) FROM change_stream_kept_events") == count, role
    with As(roles, "bob") as bob:
        # the name with its kept events is not for another to take over
        assert bob.refused("SELECT create_change_stream('orders')") in ("42501", "42710")


@pytest.mark.parametrize("table", TABLES)
def test_nobody_writes(roles, table):
    """Not even the stream's owner, except the metrics of their own streams."""
    for role in ("alice", "bob", "dave"):
        with As(roles, role) as one:
            assert one.refused(f"INSERT INTO {table} (stream_name) VALUES ('x')") == "42501"
            assert one.refused(f"DELETE FROM {table}") == "42501"
            assert one.refused(f"TRUNCATE {table}") == "42501"
            if table != "change_stream_metrics":
                assert one.refused(f"UPDATE {table} SET stream_name = 'x'") == "42501"
                assert one.refused(f"SELECT * FROM {table} FOR UPDATE") == "42501"
            assert one.refused(f"CREATE TRIGGER t AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token()") == "42501"
            assert one.refused(f"CREATE RULE r AS ON INSERT TO {table} DO NOTHING") == "42501"
            assert one.refused(f"CREATE INDEX ON {table} (stream_name)") == "42501"
            assert one.refused(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY") == "42501"
            for privilege in ("INSERT", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
                assert not one.value(f"SELECT has_any_column_privilege('{table}', '{privilege}')" if privilege in ("INSERT", "REFERENCES")
                                     else f"SELECT has_table_privilege('{table}', '{privilege}')")


def test_metrics_of_ones_own(roles):
    with As(roles, "alice") as alice:
        assert alice.value("UPDATE change_stream_metrics SET events_processed = events_processed + 1 RETURNING events_processed") == 1
        assert alice.refused("UPDATE change_stream_metrics SET stream_name = 'other'") in ("42501", "23503")
    with As(roles, "bob") as bob:
        bob.connection.execute("UPDATE change_stream_metrics SET events_processed = 99")
    assert roles.value("SELECT events_processed FROM change_stream_metrics") == 1


def test_trigger_runs_as_the_streams_owner(roles, mdb):
    """A trigger by the tables' owner runs with the rights of whose event it sees."""
    roles.execute("CREATE TABLE seen (who text, session text, stream text)")
    roles.execute("GRANT INSERT ON seen TO PUBLIC")
    roles.execute("CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
                  " $$ BEGIN INSERT INTO public.seen VALUES (current_user, session_user, new.stream_name); RETURN NULL; END $$")
    roles.execute("CREATE TRIGGER see AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION see()")
    create(roles, "supers", collection="c")
    with As(roles, "bob") as bob:
        bob.value("SELECT create_change_stream('bobs', collection => 'c')")
    mdb.c.insert_one({"_id": 2})
    for stream in ("orders", "supers", "bobs"):
        sync(roles, stream)
    assert sorted(roles.execute("SELECT * FROM seen")) == \
        [("alice", "alice", "orders"), ("bob", "bob", "bobs"), ("postgres", "postgres", "supers")]
    # gap rows of a function, called by a superuser, too
    roles.execute("SELECT pause_change_stream('orders')")
    roles.execute("DELETE FROM seen")
    roles.execute("SELECT resume_change_stream('orders', start_at => 'now')")
    assert [who for who, _, stream in roles.execute("SELECT * FROM seen") if stream == "orders"] in ([], ["alice"])
    wait_state(roles, "orders", "active")


def test_expressions_run_as_the_owner(roles, mdb):
    """What a filter calls has the owner's rights, at creation and in the worker, and no way to more."""
    roles.execute("CREATE SCHEMA evil AUTHORIZATION bob")
    roles.execute("CREATE TABLE secret (a int)")
    roles.execute("INSERT INTO secret VALUES (42)")
    with As(roles, "bob") as bob:
        bob.connection.execute("CREATE FUNCTION evil.grab() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
                               " EXECUTE 'RESET SESSION AUTHORIZATION'; EXECUTE 'RESET ROLE';"
                               " EXECUTE 'ALTER ROLE bob SUPERUSER'; RETURN current_user; END $$")
        bob.connection.execute("CREATE FUNCTION evil.who() RETURNS text LANGUAGE sql VOLATILE AS 'SELECT current_user || ''/'' || session_user'")
        bob.connection.execute("CREATE FUNCTION evil.read() RETURNS int LANGUAGE plpgsql VOLATILE AS"
                               " 'BEGIN RETURN (SELECT a FROM public.secret); END'")
        bob.value("SELECT create_change_stream('who', collection => 'c', add_fields => 'who = evil.who()')")
        bob.value("SELECT create_change_stream('grab', collection => 'c', filter => 'evil.grab() IS NOT NULL')")
        bob.value("SELECT create_change_stream('read', collection => 'c', filter => 'evil.read() > 0')")
    mdb.c.insert_one({"_id": 5})
    for stream in ("who", "grab", "read"):
        sync(roles, stream)
    assert roles.value("SELECT extra->>'who' FROM change_stream_events WHERE stream_name = 'who'") == "bob/bob"
    assert roles.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'bob'") is False
    assert roles.execute("SELECT stream_name, filter_errors FROM change_stream_progress WHERE stream_name IN ('grab', 'read')"
                         " ORDER BY 1") == [("grab", 1), ("read", 1)]
    # a superuser who alters another's stream does not run the owner's functions as superuser
    roles.execute("SELECT alter_change_stream('grab', notify => 'off')")
    roles.execute("SELECT alter_change_stream('who', filter => 'evil.who() = ''bob/bob''')")
    mdb.c.insert_one({"_id": 6})
    sync(roles, "who")
    assert roles.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'who'") == 2
    for stream in ("who", "grab", "read"):
        drop(roles, stream)


def test_search_path_of_the_owner_catches_nothing(roles, mdb):
    """An operator or function in a schema that an attacker controls is not picked up by the extension's own code."""
    roles.execute("CREATE SCHEMA evil AUTHORIZATION bob")
    with As(roles, "bob") as bob:
        for function in ("pg_has_role(oid, text)", "now()", "count(anyelement)"):
            bob.connection.execute(f"CREATE FUNCTION evil.{function} RETURNS boolean LANGUAGE plpgsql AS"
                                   " $$ BEGIN RAISE EXCEPTION 'caught'; END $$")
        bob.connection.execute("CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE plpgsql AS"
                               " $$ BEGIN RAISE EXCEPTION 'caught'; END $$")
        bob.connection.execute("CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same)")
    roles.execute(f"ALTER DATABASE {roles.name} SET search_path = evil, public, pg_catalog")
    with As(roles, "postgres") as victim:
        victim.value("SELECT create_change_stream('careful', collection => 'c')")
        mdb.c.insert_one({"_id": 7})
        assert victim.value("SELECT public.sync_change_stream('careful')")
        victim.value("SELECT alter_change_stream('careful', notify => 'heads')")
        victim.value("SELECT pause_change_stream('careful')")
        victim.value("SELECT resume_change_stream('careful')")
        victim.value("SELECT drop_change_stream('careful')")
    roles.execute(f"ALTER DATABASE {roles.name} RESET search_path")


def test_password_shows_nowhere(db, postgres, new_replica_set):
    """Not in errors, views, or the log, when connecting works, fails, or the URI is wrong."""
    mongo = new_replica_set(auth=True)
    password = "Zx9-very secret/%40"
    mongo.client.admin.command("createUser", "app", pwd=password, roles=["readWriteAnyDatabase"])
    position = postgres.log_position()
    messages = []
    with pytest.raises(psycopg.Error) as error:
        db.create_server(mongo.uri.replace("//", "//app:UriSecret@"), "shop", name="bad")
    assert "UriSecret" not in str(error.value) and error.value.diag.message_hint
    db.create_server(mongo.uri, "shop")
    db.execute("SET log_statement = 'none'")
    db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'app', password '{password}', auth_source 'admin')")
    create(db, "orders", collection="c")
    mongo.client.shop.c.insert_one({"_id": 1})
    sync(db, "orders")
    db.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET password 'WrongSecret')")
    db.execute("SELECT pause_change_stream('orders')")
    db.execute("SELECT resume_change_stream('orders')")
    wait_state(db, "orders", "error")
    for statement in ("SELECT mongo_command('{\"ping\": 1}')", "SELECT create_change_stream('other')"):
        with pytest.raises(psycopg.Error) as error:
            db.execute(statement)
        messages += [str(value) for value in vars(error.value.diag).values()] + [str(error.value), error.value.diag.message_detail or ""]
    for view in (*TABLES, "change_stream_status", "pg_stat_activity"):
        messages.append(str(db.execute(f"SELECT {view}::text FROM {view}")))
    # what PostgreSQL itself logs of a statement that fails is its affair: none of ours with a password does
    everything = "\n".join(messages) + postgres.log_text(position).replace("//app:UriSecret@", "")
    for secret in (password, "WrongSecret", "UriSecret"):
        assert secret not in everything
