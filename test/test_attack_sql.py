"""Attacks by SQL, each by the role that would make it, with what it must not get.

mallory is the attacker: a stranger without any right here, a role with USAGE of the server, the owner of a
stream, or the owner of the extension's tables, as the test says.  docs/security.md tells what each may do.
"""
import psycopg
import pytest

from streams import create, error_of, sync

# What an attacker plants where code runs as somebody else: it notes as whom, and makes mallory superuser if that is one.
PAYLOAD = """
    CREATE FUNCTION m.payload() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO m.ran VALUES (current_user);
      IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE 'ALTER ROLE mallory SUPERUSER';
      END IF;
    END $$"""


@pytest.fixture
def attacked(linked):
    """A database with mallory in it, who has a schema m of her own, a table m.ran and a function m.payload()."""
    linked.execute("CREATE ROLE mallory LOGIN")
    linked.execute("CREATE SCHEMA m AUTHORIZATION mallory")
    mallory = Mallory(linked)
    mallory.run("CREATE TABLE m.ran (who text)")
    mallory.run("GRANT INSERT ON m.ran TO PUBLIC")
    mallory.run("GRANT USAGE ON SCHEMA m TO PUBLIC")
    mallory.run(PAYLOAD)
    linked.mallory = mallory
    yield linked
    mallory.connection.close()
    linked.execute("RESET ROLE")
    assert not linked.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")
    for table in linked.column("SELECT oid::regclass::text FROM pg_class WHERE relowner = 'mallory'::regrole AND relkind = 'r'"
                               " AND relname LIKE 'change\\_%%'"):
        linked.execute(f"ALTER TABLE {table} OWNER TO postgres")
    for last in (False, False, True):
        try:
            linked.execute("DROP OWNED BY mallory CASCADE")
            break
        except psycopg.errors.DeadlockDetected:
            # it locks the tables in no order that processes of streams could keep to
            if last:
                raise
    linked.execute("DROP ROLE mallory")


class Mallory:
    """The attacker's session."""

    def __init__(self, db):
        self.connection = db.connect("mallory")

    def run(self, statement):
        cursor = self.connection.execute(statement)
        return cursor.fetchall() if cursor.description else None

    def refused(self, statement):
        """The SQLSTATE with which a statement is refused."""
        with pytest.raises(psycopg.Error) as error:
            self.connection.execute(statement)
        return error.value.sqlstate


def ran_as(db):
    return set(db.column("SELECT who FROM m.ran"))


# ---------------------------------------------------------------- the trigger function of the events table

FAKES = {
    "a number read as an address": "resume_token bigint, change_timestamp timestamptz",
    "an address shown as a time": "resume_token text, change_timestamp text",
    "the right types": "resume_token text, change_timestamp timestamptz",
}


@pytest.mark.parametrize("columns", FAKES.values(), ids=FAKES.keys())
def test_stranger_attaches_the_token_trigger(attacked, columns):
    """update_stream_resume_token() reads columns in memory: no stranger may call it, and nobody on another table."""
    mallory = attacked.mallory
    mallory.run(f"CREATE TABLE m.fake (stream_name text, {columns})")
    mallory.run("CREATE TABLE m.tokens (stream_name text PRIMARY KEY, resume_token text, last_event_timestamp timestamptz)")
    trigger = ("CREATE TRIGGER t AFTER INSERT ON m.fake FOR EACH ROW"
               " EXECUTE FUNCTION update_stream_resume_token('m.tokens')")
    assert mallory.refused(trigger) == "42501"
    # a trigger of version 1.0's days, or by a mistaken grant
    attacked.execute("GRANT EXECUTE ON FUNCTION update_stream_resume_token() TO mallory")
    mallory.run(trigger)
    value = "3" if "bigint" in columns else "'AA'"
    assert mallory.refused(f"INSERT INTO m.fake VALUES ('s', {value}, now()::text)" if "timestamp text" in columns
                           else f"INSERT INTO m.fake VALUES ('s', {value}, now())") == "39P01"
    assert mallory.run("SELECT count(*) FROM m.tokens") == [(0,)]


@pytest.mark.parametrize("change", ["ALTER resume_token TYPE bigint USING 3", "ALTER change_timestamp TYPE text", "DROP change_timestamp"])
def test_tables_owner_changes_types_under_the_token_trigger(attacked, change):
    """Columns of other types than they had are not read, by whomsoever they were changed."""
    attacked.execute("CREATE TABLE change_stream_resume_tokens (stream_name text PRIMARY KEY, last_event_timestamp timestamptz, resume_token text)")
    attacked.execute("CREATE TRIGGER t AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token()")
    attacked.execute(f"ALTER TABLE change_stream_events {change}")
    values = "(stream_name, event_id, resume_token) VALUES ('s', 1, {})".format("3" if "bigint" in change else "'AA'")
    assert error_of(attacked, f"INSERT INTO change_stream_events {values}").sqlstate == "39P01"
    assert attacked.value("SELECT count(*) FROM change_stream_resume_tokens") == 0


def test_tables_owner_waits_for_a_superusers_analyze(attacked):
    """Rows written by an index function, which ANALYZE calls as the table's owner, are flushed as that owner."""
    mallory = attacked.mallory
    for table in TABLES:
        attacked.execute(f"ALTER TABLE {table} OWNER TO mallory")
    attacked.execute("GRANT EXECUTE ON FUNCTION update_stream_resume_token() TO mallory")
    mallory.run("CREATE TABLE m.tokens (stream_name text PRIMARY KEY, resume_token text)")
    mallory.run("CREATE FUNCTION m.write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM m.payload(); RETURN new; END'")
    mallory.run("CREATE TRIGGER t BEFORE INSERT OR UPDATE ON m.tokens FOR EACH ROW EXECUTE FUNCTION m.write()")
    mallory.run("CREATE TRIGGER t AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token('m.tokens')")
    mallory.run("CREATE TABLE m.bait (n int)")
    mallory.run("CREATE FUNCTION m.insert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO"
                " public.change_stream_events (stream_name, event_id, resume_token) VALUES ('bait', 1, 'AA'); END $$")
    mallory.run("CREATE FUNCTION m.hook(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM m.insert(); RETURN $1; END'")
    mallory.run("CREATE INDEX ON m.bait (m.hook(n))")
    mallory.run("INSERT INTO m.bait VALUES (1)")
    attacked.execute("DELETE FROM m.ran; DELETE FROM change_stream_events; DELETE FROM m.tokens")
    attacked.execute("ANALYZE m.bait")
    assert ran_as(attacked) == {"mallory"}
    assert mallory.run("SELECT * FROM m.tokens") == [("bait", "AA")]


def test_rows_of_two_users_in_one_transaction(attacked):
    """Each part is written as whose it is: none as who commits."""
    attacked.execute("CREATE TABLE tokens (stream_name text PRIMARY KEY, resume_token text, writer text)")
    attacked.execute("CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.writer = concat(new.writer, current_user, '' ''); RETURN new; END'")
    attacked.execute("CREATE TRIGGER who BEFORE INSERT OR UPDATE ON tokens FOR EACH ROW EXECUTE FUNCTION who()")
    attacked.execute("CREATE TRIGGER t AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token('public.tokens')")
    attacked.execute("GRANT ALL ON tokens, change_stream_events TO mallory")
    attacked.execute("CREATE POLICY p ON change_stream_events TO mallory USING (true)")
    attacked.connection.execute("BEGIN")
    attacked.execute("INSERT INTO change_stream_events (stream_name, event_id, resume_token) VALUES ('s', 1, 'AA')")
    attacked.execute("SET LOCAL ROLE mallory")
    attacked.execute("INSERT INTO change_stream_events (stream_name, event_id, resume_token) VALUES ('s', 2, 'BB')")
    attacked.execute("RESET ROLE")
    attacked.connection.execute("COMMIT")
    attacked.execute("DROP POLICY p ON change_stream_events")
    assert attacked.row("SELECT resume_token, writer FROM tokens") == ("BB", "postgres postgres mallory mallory ") or \
        attacked.row("SELECT resume_token, writer FROM tokens")[1].split().count("mallory") == 1


# ---------------------------------------------------------------- code that is run again in somebody's name

def test_owner_defers_a_trigger_to_a_superusers_commit(attacked, mdb):
    """What a handler's code defers is done as its owner, also where a superuser who was its owner for a moment commits."""
    mallory = attacked.mallory
    attacked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    mallory.run("CREATE TABLE m.bait (n int)")
    mallory.run("CREATE FUNCTION m.later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM m.payload(); RETURN NULL; END'")
    mallory.run("CREATE CONSTRAINT TRIGGER t AFTER INSERT ON m.bait DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION m.later()")
    # a trigger that is fired by SET CONSTRAINTS ALL IMMEDIATE defers another to the commit
    mallory.run("CREATE TABLE m.second (n int)")
    mallory.run("CREATE FUNCTION m.again() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO m.bait VALUES (1); RETURN NULL; END'")
    mallory.run("CREATE CONSTRAINT TRIGGER t AFTER INSERT ON m.second DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION m.again()")
    create(mallory, "s", collection="c")
    mallory.run("SELECT create_change_handler('h', 's', paused => true,"
                " body => 'SET CONSTRAINTS ALL DEFERRED; INSERT INTO m.second VALUES (1)')")
    mdb.c.insert_one({"_id": 1})
    sync(attacked, "s")
    attacked.execute("BEGIN")
    attacked.execute("SET LOCAL ROLE mallory")
    attacked.execute("SELECT * FROM replay_changes('h', 1, 1)")
    attacked.execute("RESET ROLE")
    attacked.execute("COMMIT")
    assert ran_as(attacked) <= {"mallory"}
    assert not attacked.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")


def test_owners_code_gets_nothing_of_a_superuser(attacked, mdb):
    """Whatever a superuser does with mallory's stream and handler, her code runs as mallory."""
    mallory = attacked.mallory
    attacked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    mallory.run("CREATE FUNCTION m.filter(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM m.payload(); RETURN true; END'")
    mallory.run("CREATE FUNCTION m.folded() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM m.payload(); RETURN true; END'")
    create(mallory, "s", collection="c", filter="m.filter(operation_type) AND m.folded()", add_fields="a = m.folded()")
    mallory.run("SELECT create_change_handler('h', 's', condition => 'm.folded()', retry_attempts => 0,"
                " body => 'BEGIN PERFORM m.payload(); IF change.event_id = 2 THEN RAISE ''no''; END IF; END')")
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}])
    sync(attacked, "s")
    attacked.value("SELECT sync_change_stream('s', handlers => true)")
    for statement in ("alter_change_stream('s', notify => 'heads')", "alter_change_stream('s', filter => 'm.filter(collection_name)')",
                      "alter_change_handler('h', timeout => '2 minutes')", "retry_dead_letters('h')", "replay_changes('h', 1, 2)",
                      "replay_changes('h', 1, 2, true)", "create_change_handler('h2', 's', body => 'PERFORM m.payload()', start_at => 'earliest')",
                      "pause_change_stream('s')", "resume_change_stream('s', start_at => 'now')", "discard_dead_letters('h')",
                      "drop_change_handler('h')", "drop_change_handler('h2')", "drop_change_stream('s')"):
        attacked.execute(f"SELECT {statement}")
    assert ran_as(attacked) == {"mallory"}


TABLES = ("change_streams", "change_stream_progress", "change_stream_events", "change_stream_kept_events", "change_stream_metrics",
          "change_stream_grants", "change_stream_parked_events", "change_handlers", "change_handler_progress", "change_handler_dead_letters",
          "change_stream_snapshots", "change_mirrors", "change_mirror_progress", "change_mirror_tables",
          "change_projections", "change_projection_progress", "change_projection_sources")


def test_one_table_given_away_is_no_way_to_the_others_rights(attacked, mdb):
    """Statements run as the tables' owner: where each has another, a trigger of one would run with the rights of the other."""
    create(attacked, "s", collection="c")
    attacked.execute("GRANT CREATE ON SCHEMA public TO mallory")
    attacked.execute("ALTER TABLE change_stream_grants OWNER TO mallory")
    attacked.mallory.run("CREATE FUNCTION m.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.payload(); RETURN NULL; END $$")
    attacked.mallory.run("CREATE TRIGGER t BEFORE INSERT OR DELETE ON change_stream_grants FOR EACH STATEMENT EXECUTE FUNCTION m.trigger()")
    assert error_of(attacked, "SELECT grant_change_stream('s', 'mallory')").sqlstate == "55000"
    assert error_of(attacked, "SELECT drop_change_stream('s')").sqlstate == "55000"
    assert ran_as(attacked) == set()
    attacked.execute("ALTER TABLE change_stream_grants OWNER TO postgres")
    attacked.execute("DROP TRIGGER t ON change_stream_grants")
    attacked.execute("SELECT drop_change_stream('s')")


def test_tables_owner_gets_no_more_than_the_streams_owners_have(attacked, mdb):
    """Triggers, index expressions and constraints of the tables' owner, while a superuser calls every function on alice's stream.

    They run as the tables' owner or, on the events, as the stream's owner: never as who calls.
    """
    mallory = attacked.mallory
    attacked.execute("CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice")
    attacked.execute("GRANT CREATE ON SCHEMA public TO mallory")
    for table in TABLES:
        attacked.execute(f"ALTER TABLE {table} OWNER TO mallory")
    mallory.run("CREATE FUNCTION m.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.payload();"
                " IF TG_LEVEL = 'ROW' AND TG_OP = 'DELETE' THEN RETURN old; ELSIF TG_LEVEL = 'ROW' THEN RETURN new; END IF; RETURN NULL; END $$")
    mallory.run("CREATE FUNCTION m.value(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM m.payload(); RETURN $1; END'")
    for table in TABLES:
        column = {"change_handler_progress": "handler_name", "change_mirror_progress": "mirror_name", "change_mirror_tables": "mirror_name",
                  "change_projections": "view_name", "change_projection_progress": "view_name", "change_projection_sources": "view_name"}.get(table, "stream_name")
        for time in ("BEFORE", "AFTER"):
            mallory.run(f"CREATE TRIGGER r{time} {time} INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION m.trigger()")
            mallory.run(f"CREATE TRIGGER s{time} {time} INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION m.trigger()")
        mallory.run(f"CREATE INDEX ON {table} (m.value({column}))")
        mallory.run(f"ALTER TABLE {table} ADD CHECK (m.value({column}) IS NOT NULL)")
    try:
        with attacked.connect("alice") as alice:
            create(alice, "s", collection="c")
            alice.execute("SELECT create_change_handler('h', 's', body => 'BEGIN RAISE ''no''; END', retry_attempts => 0)")
        mdb.c.insert_many([{"_id": 1}, {"_id": 2}])
        sync(attacked, "s")
        attacked.value("SELECT sync_change_stream('s', handlers => true)")
        attacked.execute("CREATE SCHEMA alices AUTHORIZATION alice")
        with attacked.connect("alice") as alice:
            alice.execute("SELECT create_change_mirror('m', 'c', 's', 'alices.c')")
        attacked.wait_for("SELECT exact_at IS NOT NULL FROM change_mirror_status")
        attacked.execute("ALTER TABLE alices.c RENAME TO d")
        for statement in ("alter_change_stream('s', notify => 'heads')", "alter_change_handler('h', timeout => '2 minutes')",
                          "retry_dead_letters('h')", "replay_changes('h', 1, 2)", "pause_change_handler('h')", "resume_change_handler('h')",
                          "pause_change_stream('s')", "resume_change_stream('s', start_at => 'now')", "resume_change_stream('s', initial_snapshot => true)",
                          "pause_change_mirror('m')", "resume_change_mirror('m')", "resync_change_mirror('m')", "alter_change_mirror('m', on_delete => 'delete')",
                          "drop_change_mirror('m')", "discard_dead_letters('h')",
                          "drop_change_handler('h')", "drop_change_stream('s', keep_events => true)", "drop_change_stream('s')"):
            attacked.execute(f"SELECT {statement}")
        with attacked.connect("alice") as alice:
            create(alice, "t", collection="c")
        attacked.execute("ANALYZE change_stream_events; ANALYZE change_streams")
        attacked.execute("REASSIGN OWNED BY alice TO alice; DROP OWNED BY alice")
        assert ran_as(attacked) == {"alice", "mallory"}
    finally:
        attacked.execute("DROP OWNED BY alice; DROP ROLE alice")
        for table in TABLES:
            attacked.execute(f"ALTER TABLE {table} OWNER TO postgres")


# ---------------------------------------------------------------- what is not one's own

def test_stranger_and_other_owner_read_and_do_nothing(attacked, mdb):
    """Neither by a function that tells what it is asked about, nor by a lock, a trigger, or any function of the extension."""
    mallory = attacked.mallory
    create(attacked, "s", collection="c")
    attacked.execute("SELECT create_change_handler('h', 's', body => 'BEGIN RAISE ''no''; END', retry_attempts => 0)")
    mdb.c.insert_one({"_id": 1, "secret": "of postgres"})
    attacked.value("SELECT sync_change_stream('s', handlers => true)")
    mallory.run("CREATE TABLE m.leaked (what text)")
    mallory.run("CREATE FUNCTION m.leak(anyelement) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO m.leaked VALUES ($1::text); RETURN true; END'")
    for usage in (False, True):
        if usage:
            attacked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
            create(mallory, "mine", collection="other")
        own = int(usage)
        for relation in RELATIONS:
            count = mallory.run(f"SELECT count(*) FROM {relation} AS r WHERE m.leak(r)")[0][0]
            assert count == (own if relation in OWN_STREAM else 0), relation
            assert mallory.refused(f"DO 'BEGIN LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE; END'") == "42501", relation
            assert mallory.refused(f"DELETE FROM {relation}") in ("42501", "55000"), relation
        for call in ("change_stream_workers()", "change_handler_workers()"):
            assert mallory.run(f"SELECT count(*) FROM {call} w WHERE m.leak(w) AND w::text NOT LIKE '(mine,%'") == [(0,)]
        for call in ("pause_change_stream('s')", "resume_change_stream('s')", "resume_change_stream('s', skip => '82')",
                     "alter_change_stream('s', filter => 'm.leak(full_document)')", "drop_change_stream('s')", "sync_change_stream('s')",
                     "create_change_handler('x', 's', body => 'PERFORM m.leak(change)')", "alter_change_handler('h', body => 'PERFORM m.leak(change)')",
                     "pause_change_handler('h')", "resume_change_handler('h')", "drop_change_handler('h')", "retry_dead_letters('h')",
                     "discard_dead_letters('h')", "replay_changes('h', 1, 1)"):
            assert mallory.refused(f"SELECT {call}") in ("42501", "42704"), call
        assert mallory.run("SELECT change_stream_exists('s'), change_handler_exists('h'), change_stream_follows('s', 'c', NULL)") == \
            [(False, False, False)]
        assert mallory.refused("SELECT create_change_stream('s', collection => 'c', paused => true)") in ("42501", "42710")
        for statement in ("DROP SERVER mongo", "ALTER SERVER mongo OPTIONS (SET uri 'mongodb://127.0.0.1:1/')", "DROP EXTENSION mongo_change_stream",
                          "ALTER TABLE change_stream_events DISABLE ROW LEVEL SECURITY", "GRANT ALL ON change_stream_events TO mallory",
                          "CREATE RULE r AS ON INSERT TO change_stream_events DO ALSO NOTHING"):
            before = attacked.value("SELECT relacl::text FROM pg_class WHERE relname = 'change_stream_events'")
            try:
                mallory.run(statement)      # a GRANT without the right to it is no error
            except psycopg.Error as error:
                assert error.sqlstate == "42501", statement
            assert attacked.value("SELECT relacl::text FROM pg_class WHERE relname = 'change_stream_events'") == before
    assert [row for row in attacked.column("SELECT what FROM m.leaked") if "mine" not in row] == []
    assert attacked.row("SELECT paused, filter FROM change_streams WHERE stream_name = 's'") == (False, None)


RELATIONS = ("change_streams", "change_stream_progress", "change_stream_events", "change_stream_kept_events", "change_stream_metrics",
             "change_stream_status", "change_handlers", "change_handler_progress", "change_handler_dead_letters", "change_stream_dead_letters",
             "change_stream_dead_letter_list", "change_handler_status", "change_stream_snapshots", "change_mirrors", "change_mirror_progress", "change_mirror_status")
OWN_STREAM = ("change_streams", "change_stream_progress", "change_stream_metrics", "change_stream_status")


# ---------------------------------------------------------------- names that the extension's own code looks up

# In schema "evil", whose name has what names may have: an exact match of each operator and function that a script or a
# view might call, for each pair of types.
HOSTILE = r"""
    CREATE SCHEMA "evil%I";
    CREATE TABLE "evil%I".ran (what text, who text);
    CREATE FUNCTION "evil%I".note(what text) RETURNS void LANGUAGE plpgsql AS
      $f$ BEGIN INSERT INTO "evil%I".ran VALUES (what, current_user); END $f$;
    DO $do$
    DECLARE
      types text[] := '{text,name,oid,regclass,regrole,regtype,"\"char\"",jsonb,bigint,integer,text[]}';
      names text[] := '{format,array_agg,array_position,obj_description,now,min,max,sum,octet_length,current_database,pg_has_role,
        pg_get_indexdef,pg_get_triggerdef,pg_get_constraintdef,clock_timestamp,current_setting,set_config,count,concat,quote_ident,to_regclass}';
      operators text[] := '{=,<>,<,>,<=,>=,||,->>,->,-,+,~,!~,@>}';
      body text := $b$ RETURNS %s LANGUAGE plpgsql AS $q$BEGIN PERFORM "evil%%I".note(%L); RETURN NULL; END$q$$b$;
      l text; r text; n text; result text;
    BEGIN
      SET LOCAL search_path = pg_catalog;
      FOREACH n IN ARRAY names LOOP
        EXECUTE format('CREATE FUNCTION "evil%%I".%I()' || body, n, 'text', n);
        FOREACH l IN ARRAY types LOOP
          EXECUTE format('CREATE FUNCTION "evil%%I".%I(%s)' || body, n, l, 'text', n);
          FOREACH r IN ARRAY types LOOP
            EXECUTE format('CREATE FUNCTION "evil%%I".%I(%s, %s)' || body, n, l, r, 'text', n);
          END LOOP;
        END LOOP;
      END LOOP;
      EXECUTE format('CREATE FUNCTION "evil%%I".format(text, name, regtype, regtype, text)' || body, 'text', 'format/5');
      EXECUTE format('CREATE FUNCTION "evil%%I".format(text, regnamespace, name, regtype, regtype, text)' || body, 'text', 'format/6');
      EXECUTE format('CREATE FUNCTION "evil%%I".format(text, regprocedure, text)' || body, 'text', 'format/3');
      FOREACH n IN ARRAY operators LOOP
        result := CASE WHEN n IN ('||', '->>', '->', '-', '+') THEN 'text' ELSE 'boolean' END;
        FOREACH l IN ARRAY types LOOP
          FOREACH r IN ARRAY types LOOP
            EXECUTE format('CREATE OR REPLACE FUNCTION "evil%%I".%I(%s, %s)' || body, 'operator ' || n, l, r, result, 'operator ' || n);
            EXECUTE format('CREATE OPERATOR "evil%%I".%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = "evil%%I".%I)', n, l, r, 'operator ' || n);
          END LOOP;
        END LOOP;
      END LOOP;
    END $do$"""


@pytest.fixture
def hostile(postgres, mongo, mdb):
    """A database with a schema full of planted operators and functions, without the extension."""
    db = postgres.create_database("hostile", extension=False)
    db.execute(HOSTILE)
    yield db
    db.close()
    postgres.drop_database("hostile")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_superuser_creates_the_extension_in_a_hostile_schema(hostile, mongo, mdb, version):
    """Neither a script, nor a view, policy or function resolves a name through a user's schema."""
    hostile.execute(f"CREATE EXTENSION mongo_change_stream VERSION '{version}' SCHEMA \"evil%I\"")
    hostile.execute("ALTER EXTENSION mongo_change_stream UPDATE")
    assert hostile.execute('SELECT * FROM "evil%I".ran') == []
    hostile.create_server(mongo.uri, mdb.name)
    hostile.execute('SET search_path = "evil%I", pg_catalog')
    hostile.execute("SELECT create_change_stream('s', collection => 'c', max_await_time => '100ms', add_fields => 'a = 1')")
    hostile.execute("SELECT create_change_handler('h', 's', body => 'BEGIN RAISE ''no''; END', retry_attempts => 0)")
    mdb.c.insert_one({"_id": 1})
    hostile.execute("SELECT sync_change_stream('s', handlers => true)")
    hostile.execute("SELECT alter_change_stream('s', notify => 'heads')")
    for role in ("postgres", "hostile_reader"):
        if role != "postgres":
            hostile.execute(f"CREATE ROLE {role}")
            hostile.execute(f'GRANT USAGE ON SCHEMA "evil%I" TO {role}')
            hostile.execute(f"SET ROLE {role}")
        for relation in RELATIONS:
            hostile.execute(f"SELECT * FROM {relation}")
        for call in ("change_stream_user_objects()", "change_stream_exists('s')", "change_stream_follows('s', 'c', NULL)",
                     "change_handler_exists('h')", "change_stream_workers()", "change_handler_workers()", "change_stream_dead_letter(1)",
                     "change_stream_dead_letter_counts()", "change_stream_advice()"):
            hostile.execute(f"SELECT * FROM {call}")
    hostile.execute("RESET ROLE")
    hostile.execute("DROP OWNED BY hostile_reader; DROP ROLE hostile_reader")
    for call in ("retry_dead_letters('h')", "discard_dead_letters('h')", "replay_changes('h', 1, 1)", "alter_change_handler('h', workers => 1)",
                 "drop_change_handler('h')", "pause_change_stream('s')", "resume_change_stream('s')", "drop_change_stream('s')"):
        hostile.execute(f"SELECT {call}")
    assert hostile.execute('SELECT * FROM "evil%I".ran') == []
