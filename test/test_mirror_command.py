"""The functions on mirrors where they meet MongoDB: what is made, what is refused, what a change, a pause and a drop leave."""
import datetime
import random
import threading
import time
import uuid

import bson
import psycopg
import pytest
from bson import Decimal128, Int64, ObjectId, Timestamp

from foreign import messages
from harness.machine import wait_until
from mirrors import mirror, status
from streams import call, create, error_of, pause, resume, sync

COPY = "SELECT documents_done, finished_at IS NOT NULL, copy_number FROM change_stream_snapshots WHERE mirror_name = %s"


def wait_exact(db, *names, timeout=60):
    """Waits until the mirrors' tables equal their collections."""
    for name in names:
        try:
            wait_until(lambda: status(db, name)["exact_at"] and status(db, name)["state"] == "active", timeout, f"{name} is exact")
        except TimeoutError as problem:
            raise TimeoutError(f"{problem} {status(db, name)}") from None


def wait_state(db, name, state, timeout=30):
    try:
        wait_until(lambda: status(db, name)["state"] == state, timeout, f"{name} is {state}")
    except TimeoutError as problem:
        raise TimeoutError(f"{problem} {status(db, name)}") from None
    return status(db, name)


def columns(db, table):
    return dict(db.execute("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", table))


def everything(db):
    """What a call that is refused must leave as it was."""
    return [db.execute("SELECT stream_name, keep_events, definition_version FROM change_streams JOIN change_stream_progress USING (stream_name) ORDER BY 1"),
            db.execute("SELECT * FROM change_mirrors ORDER BY 1"), db.execute(COPY.replace("= %s", "IS NOT NULL ORDER BY mirror_name")),
            db.execute("SELECT relname, relnamespace::regnamespace, relowner FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'f') AND relnamespace > 16000 OR relnamespace = 'public'::regnamespace ORDER BY 1, 2")]


# ---- making and dropping

def test_one_call_makes_stream_and_table(linked, mdb):
    """The README's first statement: the stream keeps no events, the table has all documents and then what changes; both go with the mirror."""
    mdb.orders.insert_many({"_id": number, "status": "new", "financial": {"total": number + 0.25}, "tags": ["a"]} for number in range(100))
    mirror(linked, "orders", columns="status text = status, total numeric(10,2) = financial.total, tags jsonb = tags")
    assert columns(linked, "orders") == {"_id": "document", "status": "text", "total": "numeric(10,2)", "tags": "jsonb", "document": "document",
                                         "changed_at": "timestamp with time zone"}
    wait_exact(linked, "orders")
    mdb.orders.update_one({"_id": 1}, {"$set": {"status": "paid"}})
    mdb.orders.delete_one({"_id": 2})
    sync(linked, "orders")
    assert linked.row("SELECT count(*), sum(total), count(*) FILTER (WHERE status = 'paid'), count(DISTINCT tags) FROM orders") == (99, sum(range(100)) + 25 - 2.25, 1, 1)
    assert linked.value("SELECT count(*) FROM change_stream_events") == 0
    assert linked.row("SELECT keep_events, collection_name FROM change_streams") == (False, "orders")
    call(linked, "drop_change_mirror", "orders")
    assert linked.value("SELECT count(*) FROM orders") == 99
    for table in ("change_streams", "change_mirrors", "change_mirror_progress", "change_stream_snapshots"):
        assert linked.value(f"SELECT count(*) FROM {table}") == 0
    # once more over the table that is there, whose rows are taken for what they are
    mdb.orders.delete_one({"_id": 3})
    mirror(linked, "orders", columns="status = status")
    wait_exact(linked, "orders")
    assert linked.value("SELECT count(*) FROM orders") == 98
    assert status(linked, "orders")["rows_written"] == 1
    call(linked, "drop_change_mirror", "orders", drop_table=True)
    assert linked.value("SELECT to_regclass('orders')") is None


def test_bad_input(linked, mdb, mongo):
    """Each a clear error, with what helps, and nothing changed."""
    mdb.orders.insert_one({"_id": 1})
    mdb.create_collection("busy", viewOn="orders")
    mdb.create_collection("weather", timeseries={"timeField": "t"})
    create(linked, "all", keep_events=False)
    mirror(linked, "taken", stream_name="all", collection="orders")
    wait_exact(linked, "taken")
    linked.execute("CREATE ROLE other_role")
    linked.execute("CREATE TABLE of_other (_id document PRIMARY KEY); ALTER TABLE of_other OWNER TO other_role")
    linked.execute("CREATE VIEW a_view AS SELECT * FROM of_other")
    linked.execute("CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE a_foreign_table (_id document) SERVER nowhere")
    linked.execute("CREATE TABLE without_id (id int); CREATE TABLE of_wrong_type (_id macaddr UNIQUE)")
    linked.execute("CREATE TABLE partial (_id document); CREATE UNIQUE INDEX ON partial (_id) WHERE _id IS NOT NULL")
    before = everything(linked)
    bad = [
        ("42809", dict(collection="busy")), ("42809", dict(collection="busy", stream_name="all")),
        ("42809", dict(collection="weather")), ("42809", dict(collection="weather", stream_name="all")),
        ("42710", dict(mirror_name="taken")), ("42710", dict(mirror_name="all")),
        ("42501", dict(table_name="of_other")), ("42809", dict(table_name="a_view")), ("42809", dict(table_name="a_foreign_table")),
        ("42703", dict(table_name="without_id")), ("42804", dict(table_name="of_wrong_type")), ("42P16", dict(table_name="partial")),
        ("55006", dict(table_name="taken")), ("3F000", dict(table_name="nowhere.orders")),
        ("42601", dict(columns="a text")), ("42601", dict(columns="a text = (b")), ("42704", dict(columns="a nothing = b")),
        ("42883", dict(columns="a text = nothing(b)")), ("42803", dict(filter="count(a) > 1")), ("42601", dict(filter="a >")), ("42804", dict(filter="1")),
        ("22012", dict(filter="1 / 0 = 1")), ("22023", dict(on_delete="ignore")), ("22023", dict(database="a.b")), ("42704", dict(server="nowhere_else")),
    ]
    for sqlstate, options in bad:
        options = {"mirror_name": "orders", **options}
        problem = error_of(linked, "SELECT create_change_mirror({})".format(", ".join(f"{name} => '{value}'" for name, value in options.items())))
        assert (problem.sqlstate, options) == (sqlstate, options), str(problem)
        assert everything(linked) == before, options
    # a name in another case cannot be that of a database
    problem = error_of(linked, f"SELECT create_change_mirror('orders', database => '{mdb.name.upper()}')")
    assert problem.sqlstate == "3D000"
    assert everything(linked) == before


def test_collection_that_does_not_exist(linked, mdb):
    """A NOTICE, and then what comes."""
    mdb.something.insert_one({})
    heard = messages(linked.connection)
    mirror(linked, "later")
    create(linked, "all", keep_events=False)
    mirror(linked, "later still", collection="laterStill", stream_name="all", table_name="later_still")
    assert [text for _, text, _, _ in heard] == [f'MongoDB has no collection "{mdb.name}.{name}" yet' for name in ("later", "laterStill")]
    mdb.later.insert_one({"_id": 1})
    mdb.laterStill.insert_one({"_id": 2})
    for name, stream, table in (("later", "later", "later"), ("later still", "all", "later_still")):
        wait_exact(linked, name)
        sync(linked, stream)
        assert linked.value(f"SELECT count(*) FROM {table}") == 1


def test_partitioned_table(linked, mdb):
    mdb.orders.insert_many({"_id": number, "n": number} for number in range(50))
    linked.execute("CREATE TABLE parts (_id bigint PRIMARY KEY, n int, document document) PARTITION BY HASH (_id)")
    for number in range(3):
        linked.execute(f"CREATE TABLE part_{number} PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER {number})")
    mirror(linked, "orders", table_name="parts", columns="n = n")
    wait_exact(linked, "orders")
    assert linked.row("SELECT count(*), sum(n) FROM parts") == (50, sum(range(50)))


def test_where_the_table_is_made(linked, mdb):
    """In the creator's search_path, where it is looked for first; a name is a name, whatever is in it."""
    mdb.orders.insert_one({"_id": 1})
    create(linked, "all", keep_events=False)
    linked.execute("CREATE SCHEMA app; CREATE TABLE orders (id int)")
    with linked.connect() as connection:
        connection.execute("SET search_path = app, public")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT create_change_mirror('orders', stream_name => 'all')")
        connection.execute("SELECT create_change_mirror('orders', stream_name => 'all', table_name => 'app.orders')")
        connection.execute("SELECT create_change_mirror('a.\"b', 'orders', stream_name => 'all')")
        connection.execute("SET search_path = pg_temp, app, public")
        with pytest.raises(psycopg.errors.InvalidTableDefinition):
            connection.execute("SELECT create_change_mirror('more', 'orders', stream_name => 'all')")
    assert linked.column("SELECT table_name FROM change_mirrors ORDER BY mirror_name") == ['app."a.""b"', "app.orders"]
    wait_exact(linked, "orders", 'a."b')
    assert linked.row("SELECT (SELECT count(*) FROM app.orders), (SELECT count(*) FROM app.\"a.\"\"b\")") == (1, 1)


def test_stream_of_another_role(linked, mdb):
    """The table belongs to the stream's owner, who writes it; a stranger learns nothing, nor may he look at what a name is."""
    mdb.orders.insert_one({"_id": 1, "user": "x"})
    linked.execute("CREATE ROLE stream_owner LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE member LOGIN IN ROLE stream_owner")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO stream_owner; GRANT CREATE, USAGE ON SCHEMA public TO stream_owner, stranger, member")
    with linked.connect("stream_owner") as owner:
        owner.execute("SELECT create_change_stream('s', keep_events => false)")
    # by a superuser and by a member, whose tables become the owner's
    mirror(linked, "orders", stream_name="s", columns="who text = user, role text = current_user::text")
    with linked.connect("member") as member:
        member.execute("SELECT create_change_mirror('orders2', 'orders', stream_name => 's')")
        member.execute("SELECT pause_change_mirror('orders2')")
        member.execute("SELECT resume_change_mirror('orders2')")
    wait_exact(linked, "orders", "orders2")
    assert linked.column("SELECT relowner::regrole::text FROM pg_class WHERE relname LIKE 'orders%' AND relkind = 'r'") == ["stream_owner"] * 2
    assert linked.row("SELECT who, role FROM orders") == ("x", "stream_owner")
    before = everything(linked)
    with linked.connect("stranger") as stranger:
        for statement in ("create_change_mirror('m', stream_name => 's')", "create_change_mirrors('s', 'public')", "alter_change_mirror('orders', filter => 'x')",
                          "pause_change_mirror('orders')", "resume_change_mirror('orders')", "resync_change_mirror('orders')", "drop_change_mirror('orders', true)",
                          "create_change_mirror('m')", "propose_mirror_columns('orders')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
                stranger.execute("SELECT " + statement)
            assert "stream_owner" not in str(raised.value)
    assert everything(linked) == before


def test_superuser_changes_a_mirror_of_an_attacker(linked, mdb):
    """Types, functions and triggers that a definition leads to are its owner's, and run as him whoever calls."""
    mdb.orders.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    linked.execute("CREATE ROLE attacker LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO attacker; CREATE SCHEMA evil AUTHORIZATION attacker; CREATE TABLE seen (who text)")
    linked.execute("GRANT INSERT ON seen TO PUBLIC")
    with linked.connect("attacker") as attacker:
        attacker.execute("CREATE FUNCTION evil.note() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN true; END $$")
        attacker.execute("CREATE FUNCTION evil.quietly(v public.document) RETURNS public.document IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN v; END $$")
        attacker.execute("CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.note())")
        attacker.execute("SET search_path = evil, pg_catalog, public")
        attacker.execute("SELECT create_change_mirror('orders', columns => 'n public.document = evil.quietly(n)', table_name => 'evil.orders')")
        wait_exact(linked, "orders")
    call(linked, "alter_change_mirror", "orders", columns="n public.document = quietly('1'::public.document), status text = status, fresh text = 'x'", filter="note()")
    wait_exact(linked, "orders")
    linked.execute("DROP TABLE evil.orders")
    call(linked, "resync_change_mirror", "orders")
    call(linked, "pause_change_mirror", "orders")
    call(linked, "resume_change_mirror", "orders")
    wait_exact(linked, "orders")
    call(linked, "drop_change_mirror", "orders", drop_table=True)
    assert linked.column("SELECT DISTINCT who FROM seen") == ["attacker"]


# ---- pause, resume, change

def test_pause_and_resume(linked, mdb):
    """A mirror with a stream of its own goes on where it was; one that shares a stream is copied again."""
    mdb.orders.insert_many({"_id": number} for number in range(10))
    mirror(linked, "orders")
    wait_exact(linked, "orders")
    copy = linked.row(COPY, "orders")
    call(linked, "pause_change_mirror", "orders")
    wait_state(linked, "orders", "paused")
    mdb.orders.insert_one({"_id": "new"})
    call(linked, "resume_change_mirror", "orders")
    wait_exact(linked, "orders")
    sync(linked, "orders")
    assert linked.value("SELECT count(*) FROM orders") == 11
    assert linked.row(COPY, "orders") == copy

    mirror(linked, "second", collection="orders", stream_name="orders")
    wait_exact(linked, "second")
    copy = linked.row(COPY, "second")
    call(linked, "pause_change_mirror", "second")
    assert status(linked, "second")["state"] == "paused"
    mdb.orders.insert_one({"_id": "newer"})
    mdb.orders.delete_one({"_id": 0})
    sync(linked, "orders")
    assert linked.row("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM second)") == (11, 11)
    assert linked.value("SELECT count(*) FROM second WHERE _id = '\"newer\"'") == 0
    call(linked, "resync_change_mirror", "second")
    assert linked.row(COPY, "second") == copy and status(linked, "second")["state"] == "paused"
    call(linked, "resume_change_mirror", "second")
    wait_exact(linked, "second")
    assert linked.value("SELECT (SELECT array_agg(_id ORDER BY _id) FROM orders) = (SELECT array_agg(_id ORDER BY _id) FROM second)")
    assert linked.row(COPY, "second") > copy


def test_resume_when_another_mirror_hangs_on_the_stream(linked, mdb):
    """What pausing a mirror has paused, resuming it brings back, also for who has come meanwhile."""
    mdb.orders.insert_one({"_id": 1})
    mirror(linked, "orders")
    wait_exact(linked, "orders")
    call(linked, "pause_change_mirror", "orders")
    mirror(linked, "second", collection="orders", stream_name="orders")
    call(linked, "resume_change_mirror", "orders")
    wait_exact(linked, "orders", "second")


def test_nobody_waits_for_a_slow_table(linked, mdb):
    """A trigger that takes minutes, and a row that somebody has locked, hold up the mirror, and not who pauses, changes or drops it."""
    linked.execute("CREATE TABLE c (_id int PRIMARY KEY, document document)")
    linked.execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW._id = 2 THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END $$")
    linked.execute("CREATE TRIGGER slow BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION slow()")
    mirror(linked, "c")
    wait_exact(linked, "c")
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}])
    wait_until(lambda: linked.value("SELECT wait_event = 'PgSleep' FROM pg_stat_activity a JOIN change_stream_status s USING (pid)"), 30, "it sleeps")
    begin = time.monotonic()
    call(linked, "pause_change_mirror", "c")
    assert time.monotonic() - begin < 10
    wait_state(linked, "c", "paused")
    linked.execute("DROP TRIGGER slow ON c")
    call(linked, "resume_change_mirror", "c")
    sync(linked, "c")
    with linked.connect() as holder:
        holder.autocommit = False
        holder.execute("SELECT FROM c WHERE _id = 2 FOR UPDATE")
        mdb.c.update_one({"_id": 2}, {"$set": {"n": 1}})
        wait_until(lambda: linked.value("SELECT wait_event_type = 'Lock' FROM pg_stat_activity a JOIN change_stream_status s USING (pid)"), 30, "it waits")
        begin = time.monotonic()
        call(linked, "drop_change_mirror", "c")
        assert time.monotonic() - begin < 10
        holder.rollback()


def test_stream_that_does_not_run(linked, mdb):
    """The copy waits, and a NOTICE names the statement that helps."""
    mdb.orders.insert_one({"_id": 1})
    create(linked, "all", keep_events=False, paused=True)
    heard = messages(linked.connection)
    mirror(linked, "orders", stream_name="all")
    assert heard[-1][3] == "SELECT resume_change_stream('all');"
    assert linked.row(COPY, "orders")[1] is False
    resume(linked, "all")
    wait_exact(linked, "orders")
    pause(linked, "all")
    call(linked, "resume_change_mirror", "orders")
    assert heard[-1][3] == "SELECT resume_change_stream('all');"


def test_alter(linked, mdb):
    """Columns that are new are made and filled, a filter lets documents go and come, only rows that differ are written."""
    mdb.orders.insert_many({"_id": number, "n": number, "who": {"name": f"name {number}"}} for number in range(20))
    mirror(linked, "orders", columns="n int = n")
    wait_exact(linked, "orders")
    call(linked, "alter_change_mirror", "orders", columns="n int = n, name varchar(40) = who.name")
    wait_until(lambda: linked.value("SELECT count(name) FROM orders") == 20, 30)
    wait_exact(linked, "orders")
    assert columns(linked, "orders")["name"] == "character varying(40)"
    written = status(linked, "orders")["rows_written"]
    call(linked, "alter_change_mirror", "orders", filter="n < 15")
    wait_until(lambda: linked.value("SELECT count(*) FROM orders") == 15, 30)
    wait_exact(linked, "orders")
    assert status(linked, "orders")["rows_written"] == written + 5
    mdb.orders.update_one({"_id": 0}, {"$set": {"n": 100}})
    mdb.orders.update_one({"_id": 19}, {"$set": {"n": 1}})
    sync(linked, "orders")
    assert sorted(linked.column("SELECT _id::int FROM orders")) == [*range(1, 15), 19]
    heard = messages(linked.connection)
    call(linked, "alter_change_mirror", "orders", columns="name = who.name", filter="", on_delete="mark")
    assert any("no longer filled: n" in text for _, text, _, _ in heard)
    wait_until(lambda: linked.value("SELECT count(*) FROM orders") == 20, 30)
    wait_exact(linked, "orders")
    mdb.orders.delete_many({"_id": {"$lt": 5}})
    sync(linked, "orders")
    assert linked.row("SELECT count(*), count(deleted_at) FROM orders") == (20, 5)
    call(linked, "alter_change_mirror", "orders", on_delete="delete")
    wait_until(lambda: linked.value("SELECT count(*) FROM orders") == 15, 30)
    before = everything(linked)
    for arguments, sqlstate in (("columns => 'name int = who.name'", "42804"), ("columns => 'fresh = who.name'", "42703"), ("filter => 'a +'", "42601"),
                                ("on_delete => 'never'", "22023"), ("columns => 'document text = a'", "42939")):
        assert error_of(linked, f"SELECT alter_change_mirror('orders', {arguments})").sqlstate == sqlstate
    assert everything(linked)[1:] == before[1:]
    assert columns(linked, "orders").keys() == {"_id", "n", "name", "document", "changed_at", "deleted_at"}


def test_table_that_is_gone_is_made_again(linked, mdb):
    mdb.orders.insert_many({"_id": number, "n": number} for number in range(10))
    linked.execute("CREATE TYPE mood AS ENUM ('fine')")
    mirror(linked, "orders", columns="n int = n, mood mood = mood")
    wait_exact(linked, "orders")
    linked.execute("DROP TABLE orders")
    mdb.orders.insert_one({"_id": 10, "mood": "fine"})
    assert "SELECT resync_change_mirror('orders')" in wait_state(linked, "orders", "error")["reason"]
    with linked.connect() as connection:
        # names are looked up where the creator's were
        connection.execute("SET search_path = pg_catalog")
        connection.execute("SELECT public.resync_change_mirror('orders')")
    wait_exact(linked, "orders")
    assert linked.row("SELECT count(*), sum(n), max(mood) FROM orders") == (11, 45, "fine")


def test_history_that_is_lost(linked, mongo, mdb):
    """A stream of its own goes on from now, and the copy brings what was missed; of one that is shared the statement is told."""
    mdb.orders.insert_many({"_id": number} for number in range(10))
    mirror(linked, "orders")
    create(linked, "all", keep_events=False)
    mirror(linked, "shared", collection="orders", stream_name="all")
    wait_exact(linked, "orders", "shared")
    mongo.fail_command(["getMore", "aggregate"], errorCode=286)
    for name in ("orders", "shared"):
        wait_state(linked, name, "history_lost", 60)
    mongo.stop_failing()
    mdb.orders.delete_one({"_id": 1})
    heard = messages(linked.connection)
    call(linked, "resync_change_mirror", "shared")
    assert "resume_change_stream('all', start_at => 'now')" in heard[-1][3]
    call(linked, "resync_change_mirror", "orders")
    resume(linked, "all", start_at="now")
    wait_exact(linked, "orders", "shared")
    assert linked.row("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM shared)") == (9, 9)


def test_drop(linked, mdb):
    """The stream goes with the last of its mirrors, unless somebody needs its events; what depends on a table keeps all of it."""
    mirror(linked, "first")
    mirror(linked, "second", collection="first", stream_name="first")
    linked.execute("CREATE VIEW on_second AS SELECT * FROM second")
    call(linked, "drop_change_mirror", "first", drop_table=True)
    before = everything(linked)
    assert error_of(linked, "SELECT drop_change_mirror('second', true)").sqlstate == "2BP01"
    assert everything(linked) == before
    call(linked, "drop_change_mirror", "second")
    assert linked.column("SELECT stream_name FROM change_streams") == []
    mirror(linked, "third")
    linked.execute("SELECT alter_change_stream('third', keep_events => true)")
    call(linked, "drop_change_mirror", "third")
    assert linked.column("SELECT stream_name FROM change_streams") == ["third"]


def test_drop_of_a_table_that_is_another_now(linked, mdb):
    """Whoever may drop everything does not drop what somebody else has made under the name of a mirror's table."""
    linked.execute("CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO alice; GRANT CREATE ON SCHEMA public TO alice; SET ROLE alice")
    mirror(linked, "orders")
    linked.execute("DROP TABLE orders; RESET ROLE; CREATE TABLE orders (total int)")
    error = error_of(linked, "SELECT drop_change_mirror('orders', true)")
    assert error.sqlstate == "42501" and "SELECT drop_change_mirror('orders');" in error.diag.message_hint
    linked.execute("SELECT drop_change_mirror('orders')")
    assert linked.value("SELECT count(*) FROM orders") == 0


# ---- proposals

# Fields, and the column that is to be proposed for each.
FIELDS = {
    "int": ([1, 2], "integer"), "long": ([1, Int64(2**40)], "bigint"), "double": ([1, 2.5], "double precision"), "decimal": ([1, Decimal128("2.5")], "numeric"),
    "both": ([Int64(2**60), 0.5], "numeric"), "yes": ([True, False], "boolean"), "at": ([datetime.datetime(2026, 1, 1)] * 2, "timestamp with time zone"),
    "text": (["a", "b"], "text"), "object": ([ObjectId(), ObjectId()], "text"), "uuid": ([bson.Binary.from_uuid(uuid.uuid4())] * 2, "uuid"),
    "bytes": ([b"a", b"b"], "bytea"), "list": ([[1], []], "jsonb"), "mixed": ([1, "a"], "text"), "wild": ([{"a": 1}, 1], "document"), "regex": ([bson.Regex("a")] * 2, "document"),
    "nul": (["a", "a\0"], "document"), "nan": ([float("nan"), 1.0], "double precision"), "nanlist": ([[float("nan")], []], "document"), "none": ([None, None], "text"),
    "stamp": ([Timestamp(1, 1), Timestamp(2, 1)], "timestamp with time zone"), "empty": ([{}, {}], "jsonb"), "user": (["a", "b"], "text"), "order": ([1, 2], "integer"),
}


def test_types_of_proposed_columns(linked, mdb):
    """The narrowest that hold what was seen; each value gets in."""
    mdb.things.insert_many({"_id": number, **{name: values[number] for name, (values, _) in FIELDS.items()}} for number in range(2))
    text = call(linked, "propose_mirror_columns", "things")
    mirror(linked, "things", columns=text)
    there = columns(linked, "things")
    assert {name: there[name] for name in FIELDS} == {name: kind for name, (_, kind) in FIELDS.items()}
    wait_exact(linked, "things")
    assert status(linked, "things")["column_errors"] == 0, status(linked, "things")
    nulls = linked.row("SELECT {} FROM things".format(", ".join(f'count("{name}")' for name in FIELDS)))
    assert dict(zip(FIELDS, nulls)) == {name: 0 if name == "none" else 2 for name in FIELDS}


def test_names_of_proposed_columns(linked, mdb):
    """Whatever fields are called, the text is one that create_change_mirror takes, and its columns have their values."""
    odd = ["a.b", "$set", "", "it's", 'a"b', "a b", "a\\b", "new\nline", "-- x", "é", "é.é", "9", "select", "contains", "document", "changed_at", "deleted_at", "ctid",
           "_id ", "user_id", "userId", "USER", "x" * 70, "x" * 71, "CamelCASE", "a,b", "a=b", "document['a']", "name", "{}", "/* x", "time_window", "Order"]
    document = {key: number for number, key in enumerate(odd)}
    mdb.odd.insert_one({"_id": 1, **document, "inner": {"": -1, "document": -2, "a.b": {"c": -3}, "_id": -4, "user": {"deep": {"deeper": -5}}}})
    text = call(linked, "propose_mirror_columns", "odd")
    mirror(linked, "odd", columns=text)
    there = columns(linked, "odd")
    assert len(there) == len(odd) + 5 + 3
    wait_exact(linked, "odd")
    own = {"_id", "document", "changed_at"}
    values = linked.row("SELECT {} FROM odd".format(", ".join('"{}"'.format(name.replace('"', '""')) for name in there if name not in own)))
    assert sorted(value for value in values if isinstance(value, int)) == [-4, -3, -2, -1, *range(len(odd))]
    assert [value for value in values if not isinstance(value, int)] == [{"deeper": -5}]


def test_shares_and_limits_of_proposals(linked, mdb):
    mdb.c.insert_many({"_id": number, "all": 1, **({"half": 1} if number % 2 else {}), **({"rare": 1} if number == 7 else {}),
                       "map": {f"key {number}": 1}, "deep": {"a": {"b": {"c": 1}}}} for number in range(1000))
    text = call(linked, "propose_mirror_columns", "c", sample=1000)
    assert [line.replace(",", "") for line in sorted(text.splitlines())] == [
        '"all" integer = "all" -- 100 %', "deep_a_b jsonb = deep.a.b -- 100 %", "half integer = half -- 50 %", "map jsonb = map -- 100 %", "rare integer = rare -- < 1 %"]
    mdb.wide.insert_many({f"field{number}": 1 for number in range(start, start + 600)} for start in (0, 600, 1200))
    text = call(linked, "propose_mirror_columns", "wide")
    assert len(text.splitlines()) == 301 and "left out" in text
    mirror(linked, "wide", columns=text)
    assert call(linked, "propose_mirror_columns", "nothing") == ""
    mirror(linked, "nothing", columns="")
    for arguments in ("NULL", "'c', sample => 0", "'c', sample => 1000000"):
        assert error_of(linked, f"SELECT propose_mirror_columns({arguments})").sqlstate in ("22004", "22023")


# ---- whole databases

def test_thirty_collections_and_one_more(linked, mdb):
    """One call, one process, one cursor; a collection that comes later gets its mirror by the same call, without a gap."""
    names = [f"c{number:02}" for number in range(30)]
    for name in names:
        mdb[name].insert_many({"_id": number, "n": number, "name": name} for number in range(20))
    mdb.create_collection("busy", viewOn="c00")
    mdb.create_collection("weather", timeseries={"timeField": "t"})
    linked.execute("CREATE SCHEMA copy")
    create(linked, "all", keep_events=False)
    heard = messages(linked.connection)
    assert linked.column("SELECT create_change_mirrors('all', 'copy', columns => 'auto')") == names
    assert sum("left out" in text for _, text, _, _ in heard) == 1
    mdb.c05.update_many({}, {"$inc": {"n": 100}})
    # before its mirror, and after
    mdb.another.insert_one({"_id": 1, "n": 1})
    assert linked.column("SELECT create_change_mirrors('all', 'copy', columns => 'auto')") == ["another"]
    mdb.another.insert_one({"_id": 2, "n": 2})
    wait_exact(linked, *names, "another")
    sync(linked, "all")
    for name in names:
        assert linked.row(f"SELECT count(*), sum(n), max(name) FROM copy.{name}") == (20, sum(range(20)) + (2000 if name == "c05" else 0), name)
    assert linked.row("SELECT count(*), sum(n) FROM copy.another") == (2, 3)
    assert linked.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'mongo_change_stream worker%'") == 1
    assert linked.column("SELECT create_change_mirrors('all', 'copy')") == []


def test_names_of_many(linked, mdb):
    """Long names are cut and stay different; a mirror under another name counts; a name that is taken is told of with the way out."""
    long = ["l" * 80, "l" * 79 + "m", "é" * 50]
    for name in (*long, "a b", "renamed", "orders"):
        mdb[name].insert_one({"_id": name})
    create(linked, "all", keep_events=False)
    mirror(linked, "orders")
    mirror(linked, "another", collection="renamed", stream_name="all")
    linked.execute("CREATE SCHEMA copy")
    problem = error_of(linked, "SELECT create_change_mirrors('all', 'copy')")
    assert problem.sqlstate == "42710" and "stream_name => 'all'" in problem.diag.message_hint
    mirror(linked, "my orders", collection="orders", stream_name="all", table_name="copy.orders")
    made = linked.column("SELECT create_change_mirrors('all', 'copy')")
    assert len(set(made)) == 4 and all(len(name.encode()) <= 63 for name in made)
    wait_exact(linked, *made)
    assert {linked.value(psycopg.sql.SQL("SELECT _id::text FROM copy.{}").format(psycopg.sql.Identifier(name))).strip('"') for name in made} == {*long, "a b"}


def test_dialect_of_expressions(linked, mdb):
    """Names alone are fields, also those of events and of SQL; what does not fit is null, counted and named."""
    mdb.c.insert_many([{"_id": 1, "operation_type": "x", "user": {"name": "u"}, "firstName": "f", "a.b": 1, "n": "5", "items": [{"qty": 2}], "when": "2026-01-01"},
                       {"_id": 2, "n": "five"}])
    mirror(linked, "c", columns="""operation text = operation_type, who text = user.name, first_name text = first_name, dotted int = document['a.b'], n int = n,
        qty numeric = items[0].qty, day date = "when"::text::date, upper text = upper(firstName), number text = coalesce(n, 'none'), const int = 1 + 1""")
    wait_exact(linked, "c")
    assert linked.row("SELECT operation, who, first_name, dotted, n, qty, day, upper, number, const FROM c WHERE _id = '1'") \
        == ("x", "u", "f", 1, None, 2, datetime.date(2026, 1, 1), "F", "5", 2)
    assert linked.row("SELECT n, number, const FROM c WHERE _id = '2'") == (None, "five", 2)
    there = status(linked, "c")
    assert there["column_errors"] == 2 and "n: " in there["reason"]


def test_functions_beside_each_other_and_a_writer(linked, mdb):
    """Whatever is called while the collection is written and others call, too: errors are of the known kinds, and in the end the tables are equal."""
    mdb.orders.insert_many({"_id": number, "n": 0} for number in range(300))
    create(linked, "all", keep_events=False)
    names = ("one", "two")
    for name in names:
        mirror(linked, name, collection="orders", stream_name="all", columns="n int = n")
    ended, strange = threading.Event(), []

    def write():
        chooser = random.Random(1)
        while not ended.is_set():
            number = chooser.randrange(400)
            mdb.orders.replace_one({"_id": number}, {"n": chooser.randrange(1000)}, upsert=True)
            if number % 5 == 0:
                mdb.orders.delete_one({"_id": chooser.randrange(400)})

    def meddle(seed):
        chooser = random.Random(seed)
        with linked.connect() as connection:
            connection.execute("SET deadlock_timeout = '100ms'; SET client_min_messages = error")
            while not ended.is_set():
                name = chooser.choice(names)
                call_of = chooser.choice(["pause_change_mirror('{0}')", "resume_change_mirror('{0}')", "resync_change_mirror('{0}')", "alter_change_mirror('{0}', filter => 'n > 10')",
                                          "alter_change_mirror('{0}', columns => 'n int = n, m{1} int = n', filter => '')", "drop_change_mirror('{0}', true)",
                                          "create_change_mirror('{0}', 'orders', stream_name => 'all', columns => 'n int = n')", "create_change_mirrors('all', 'public', '{{orders}}')"])
                statement = "SELECT " + call_of.format(name, chooser.randrange(3))
                try:
                    connection.execute(statement)
                except psycopg.Error as error:
                    # taken, gone, of somebody else meanwhile; two that wait for each other
                    if error.sqlstate not in ("42710", "42704", "40001", "55006", "40P01", "42P01", "42P07"):
                        strange.append((statement, error.sqlstate, str(error)))

    threads = [threading.Thread(target=write), *(threading.Thread(target=meddle, args=(seed,)) for seed in range(3))]
    for thread in threads:
        thread.start()
    time.sleep(12)
    ended.set()
    for thread in threads:
        thread.join()
    assert strange == []
    for name in names:
        if not status(linked, name):
            mirror(linked, name, collection="orders", stream_name="all", columns="n int = n")
        call(linked, "resume_change_mirror", name)
        call(linked, "alter_change_mirror", name, columns="n int = n", filter="")
    wait_exact(linked, *names)
    sync(linked, "all")
    there = sorted((document["_id"], document["n"]) for document in mdb.orders.find())
    for name in names:
        assert sorted(linked.execute(f"SELECT _id::int, n FROM {name}")) == there
    assert linked.value("SELECT restarts FROM change_stream_progress WHERE stream_name = 'all'") == 0


@pytest.mark.parametrize("first, second, state, mirrors", [
    ("create_change_mirror('orders', stream_name => 'all')", "create_change_mirror('orders', stream_name => 'all')", "42710", 2),
    ("resync_change_mirror('lost')", "create_change_mirror('orders', stream_name => 'all', table_name => 'lost')", "55006", 1),
    ("resync_change_mirror('lost')", "alter_change_mirror('lost', columns => 'n int = n')", None, 1)])
def test_two_of_one_name(linked, mdb, first, second, state, mirrors):
    """Whoever comes second waits, and learns that the name is taken, or the table, or goes on with what the first has made."""
    create(linked, "all", keep_events=False, paused=True)
    mirror(linked, "lost", stream_name="all")
    linked.execute("DROP TABLE lost")
    error = second_of_two(linked, f"SELECT {first}", f"SELECT {second}")
    assert (error and error.sqlstate) == state, error
    assert linked.value("SELECT count(*) FROM change_mirrors") == mirrors


@pytest.mark.parametrize("by_hand", ["CREATE TABLE orders (_id document PRIMARY KEY)", "CREATE TYPE orders AS (n int)"])
def test_a_table_made_by_hand_at_the_same_time(linked, mdb, by_hand):
    """No index of PostgreSQL's catalogs in the error, and the second try says what is there or takes it."""
    create(linked, "all", keep_events=False, paused=True)
    for call_of in ("create_change_mirror('orders', stream_name => 'all')", "create_change_mirrors('all', 'public', '{orders}')"):
        error = second_of_two(linked, by_hand, f"SELECT {call_of}")
        assert error.sqlstate == "42P07" and "made meanwhile" in str(error) and "pg_" not in str(error), error
        assert error.diag.message_hint.startswith("Try again") and not error.diag.constraint_name
        linked.execute("DROP " + by_hand[7:by_hand.index("orders") + 6])


def second_of_two(db, first, second):
    """The error of a statement that waits for a transaction with the first one, if any."""
    with db.connect(autocommit=False) as holder, db.connect() as other:
        holder.execute(first)
        errors = []

        def run():
            try:
                other.execute(second)
            except psycopg.Error as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        db.wait_for("SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", other.info.backend_pid, expect=1)
        holder.commit()
        thread.join()
    return errors[0] if errors else None
