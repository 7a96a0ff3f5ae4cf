"""Mirrors in the field: rights that go and come, tables and names as users have them, copies of a server, subscribers."""
import json

import pytest
from psycopg import sql as SQL

from mirrors import Past, difference, equal_now, mirror, moment, rows, status, stopped, synced, timestamp, wait_exact
from streams import Writers, create, error_of, pause, resume, sync, wait_state
from test_restore import Dump


# ------------------------------------------------------------ rights in MongoDB

def _privilege(collection, *actions):
    return {"resource": {"db": "shop", "collection": collection}, "actions": list(actions)}


@pytest.fixture
def guarded(db, new_replica_set):
    """A slow way to a MongoDB that asks for credentials, as user `app`, and another as `other`; both may read c and d."""
    from harness import Proxy
    mongo = new_replica_set(auth=True)
    admin = mongo.client.admin
    for role in ("apps", "others"):
        admin.command("createRole", role, roles=[], privileges=[_privilege(name, "find", "changeStream") for name in "cd"])
    for user in ("app", "other"):
        admin.command("createUser", user, pwd="secret", roles=[f"{user}s"])
    with Proxy(mongo.members[0].port) as proxy:
        for server, uri, user in (("mongo", mongo.direct_uri(proxy.port), "app"), ("beside", mongo.uri, "other")):
            db.create_server(uri, "shop", name=server)
            db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS (username '{user}', password 'secret', auth_source 'admin')")
        db.mongo, db.proxy = mongo, proxy
        yield db
        db.execute("SELECT drop_change_stream(stream_name) FROM change_streams")


@pytest.mark.timeout(150)
def test_mongodb_refuses_in_the_middle_of_a_copy(guarded):
    """A password that is wrong by now, a user or a right that is gone: the mirror waits with its stream, and its copy goes on where it was."""
    admin, shop = guarded.mongo.client.admin, guarded.mongo.client.shop
    for first in range(0, 2500, 250):
        shop.c.insert_many([{"_id": number, "pad": "x" * 30_000} for number in range(first, first + 250)])
    guarded.proxy.delay = 0.005
    create(guarded, "events", server="beside", collection="c")
    mirror(guarded, "c", server="mongo")
    copy = guarded.value("SELECT copy_number FROM change_stream_snapshots")
    find = _privilege("c", "find")
    troubles = [
        (lambda: admin.command("updateUser", "app", pwd="new"), "uthentication failed",
         lambda: guarded.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET password 'new')")),
        (lambda: admin.command("dropUser", "app"), "ALTER USER MAPPING",
         lambda: admin.command("createUser", "app", pwd="new", roles=["apps"])),
        (lambda: admin.command("revokePrivilegesFromRole", "apps", privileges=[find]), "grantRolesToUser",
         lambda: admin.command("grantPrivilegesToRole", "apps", privileges=[find]))]
    done = 0
    for number, (trouble, words, mend) in enumerate(troubles):
        guarded.wait_for("SELECT documents_done > %s FROM change_stream_snapshots", done)
        trouble()
        shop.c.update_one({"_id": 2499 - number}, {"$set": {"late": True}})
        shop.c.insert_one({"_id": f"late {number}"})
        guarded.wait_for("SELECT state FROM change_mirror_status", expect="error")
        shown = status(guarded, "c")
        assert words in shown["reason"] and shown["exact_at"] is None
        # others are not concerned
        sync(guarded, "events")
        # all of it is the stream's, which tries again by itself
        assert guarded.row("SELECT stopped_reason, paused FROM change_mirrors") == (None, False)
        assert guarded.value("SELECT stopped_state FROM change_streams WHERE stream_name = 'c'") is None
        assert shown["documents_done"] >= done
        done = shown["documents_done"]
        mend()
        guarded.execute("SELECT resume_change_mirror('c')")
        guarded.wait_for("SELECT state FROM change_mirror_status", expect="snapshot")
        assert guarded.row("SELECT copy_number, documents_done >= %s FROM change_stream_snapshots", done) == (copy, True)
    assert done < 2500
    guarded.proxy.delay = 0.0
    wait_exact(guarded, "c")
    assert equal_now(guarded, guarded.mongo, "shop", "c", "c") == 2503
    assert guarded.value("SELECT copy_number FROM change_stream_snapshots") == copy
    assert guarded.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'events'") == 6


def test_only_reading_is_refused(linked, mongo, mdb):
    """Where the stream goes on and documents cannot be read, the mirror stops alone, and says what helps."""
    mdb.c.insert_one({"_id": 1})
    mdb.d.insert_one({"_id": 1})
    create(linked, "s", keep_events=False)
    mirror(linked, "c", stream_name="s")
    wait_exact(linked, "c")
    mongo.fail_command(["find"], errorCode=13)
    mirror(linked, "d", stream_name="s")
    assert "does not let documents of" in stopped(linked, "d")["reason"]
    mongo.stop_failing()
    mdb.c.update_one({"_id": 1}, {"$set": {"n": 1}})
    synced(linked, "s", "c")
    linked.execute("SELECT resync_change_mirror('d')")
    synced(linked, "s", "d")


# ------------------------------------------------------------ a standby

def _insert(mdb, collection, _id):
    """Inserts a document; returns the operation's time as sync_change_stream takes it."""
    time = mdb.command({"insert": collection, "documents": [{"_id": _id, "n": 0}]}, writeConcern={"w": "majority"})["operationTime"]
    return json.dumps({"$timestamp": {"t": time.time, "i": time.inc}})


@pytest.mark.timeout(120)
def test_standby(new_cluster, mongo, mdb):
    """Each commit that is replayed is the collection at one time; promoted in the middle of a copy it goes on, the primary being gone."""
    primary = new_cluster()
    db = primary.create_database("shop")
    db.create_server(mongo.uri, mdb.name)
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(100)])
    create(db, "s")
    for name in "cd":
        mirror(db, name, stream_name="s")
    synced(db, "s", "c", "d")
    standby = new_cluster(standby_of=primary)
    there = type(db)(standby, "shop")
    # who has written reads that here, too
    assert there.value("SELECT sync_change_stream('s', operation_time => %s)", _insert(mdb, "d", "mine"))
    assert there.value("SELECT count(*) FROM d") == 1
    assert there.value("SELECT sync_change_stream('s')")
    assert there.execute("SELECT * FROM check_change_mirror('c')") == []
    for call in ("create_change_mirror('x')", "create_change_mirrors('s', 'public')", "alter_change_mirror('c', filter => '')", "pause_change_mirror('c')",
                 "resume_change_mirror('c')", "resync_change_mirror('c')", "drop_change_mirror('c')", "resume_change_stream('s', initial_snapshot => true)"):
        assert error_of(there, f"SELECT {call}").sqlstate == "25006", call
    tables = {"c": ("c", "c"), "d": ("d", "d")}
    mdb.big.insert_many([{"_id": number, "pad": "x" * 2000} for number in range(30000)])
    with Writers(mongo, mdb.name, collections=("c", "d")) as writers:
        with Past(mongo, mdb.name) as past, there.connect() as reader:
            for _ in range(5):
                writers.wait(30)
                assert moment(reader, past, tables) == (2, [])
        shown = status(there, "c")
        assert shown["state"] == "paused" and "standby" in shown["reason"] and shown["exact_at"]
        mirror(db, "big", stream_name="s")
        db.wait_for("SELECT documents_done BETWEEN 1 AND 29999 FROM change_mirror_status WHERE mirror_name = 'big'")
        primary.kill()
        assert status(there, "big")["documents_done"] == there.value("SELECT count(*) FROM big") < 30000
        # not in time, where nothing is replayed any more
        assert there.value("SELECT sync_change_stream('s', '100 milliseconds', operation_time => %s)", _insert(mdb, "d", "later")) is False
        there.execute("SELECT pg_promote()")
        wait_state(there, "s", "active")
        writers.wait(30)
    synced(there, "s", "c", "d", "big")
    for name in ("c", "d", "big"):
        equal_now(there, mongo, mdb.name, name, name)
    assert there.row("SELECT count(*) = max(event_id), count(DISTINCT resume_token) = count(*) FROM change_stream_events") == (True, True)
    db.close()
    there.close()


# ------------------------------------------------------------ dumps

@pytest.mark.timeout(120)
def test_restored_in_the_middle_of_a_copy(linked, postgres, mongo, mdb, tmp_path):
    """An unfinished copy goes on where the dump was; what came back without its rows, or those of a partition, is copied again."""
    mdb.c.insert_many([{"_id": number} for number in range(100)])
    mdb.big.insert_many([{"_id": number, "pad": "x" * 2000} for number in range(12000)])
    linked.execute("CREATE TABLE parts (_id document PRIMARY KEY, document document) PARTITION BY HASH (_id)")
    for part in range(2):
        linked.execute(f"CREATE TABLE parts_{part} PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER {part})")
    create(linked, "s", keep_events=False)
    mirror(linked, "parts", stream_name="s", collection="c")
    mirror(linked, "whole", stream_name="s", collection="c")
    synced(linked, "s", "parts", "whole")
    mirror(linked, "big", stream_name="s")
    linked.wait_for("SELECT documents_done BETWEEN 1 AND 11999 FROM change_mirror_status WHERE mirror_name = 'big'")
    pause(linked, "s")
    tmp_path.chmod(0o777)
    dump = Dump(linked, postgres, tmp_path)
    mdb.c.insert_one({"_id": "after the dump"})
    mdb.c.delete_one({"_id": 0})
    mdb.big.delete_one({"_id": 0})
    tables = {"parts": "c", "whole": "c", "big": "big"}
    numbers = dict(linked.execute("SELECT mirror_name, copy_number FROM change_stream_snapshots"))
    for arguments, again in ((["-j4"], set()), (dump.listed("TABLE DATA public parts_1 ", "TABLE DATA public big "), {"parts", "big"})):
        copy = dump.restore(*arguments)
        try:
            assert status(copy, "big")["state"] == "paused"
            resume(copy, "s")
            synced(copy, "s", *tables)
            for name, collection in tables.items():
                equal_now(copy, mongo, mdb.name, name, collection)
            assert {name for name, number in copy.execute("SELECT mirror_name, copy_number FROM change_stream_snapshots") if numbers[name] != number} == again
        finally:
            copy.close()
            postgres.drop_database(copy.name)


# ------------------------------------------------------------ a subscriber

@pytest.mark.timeout(120)
def test_subscriber(db, new_cluster, mongo, mdb):
    """A partitioned mirror published to another server: each of its commits is the collection at the position that is published along."""
    publisher = new_cluster(settings={"wal_level": "logical"})
    here = publisher.create_database("shop")
    here.create_server(mongo.uri, mdb.name)
    here.execute("CREATE TABLE c (_id document PRIMARY KEY, n numeric, document document) PARTITION BY HASH (_id)")
    for part in range(2):
        here.execute(f"CREATE TABLE c_{part} PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER {part})")
    here.execute("CREATE PUBLICATION live FOR TABLE c, change_stream_progress WITH (publish_via_partition_root = true)")
    db.execute("CREATE TABLE c (_id document PRIMARY KEY, n numeric, document document)")
    mdb.c.insert_many([{"_id": number, "n": number, "pad": "x" * 1000} for number in range(10000)])
    create(here, "s", keep_events=False)
    mirror(here, "c", stream_name="s", columns="n numeric = n")
    here.wait_for("SELECT documents_done > 0 FROM change_mirror_status")
    db.execute(f"CREATE SUBSCRIPTION live CONNECTION 'host={publisher.folder} port={publisher.port} dbname=shop user=postgres' PUBLICATION live")
    try:
        compared = 0
        with Writers(mongo, mdb.name, collections=("c",)) as writers, Past(mongo, mdb.name) as past, db.connect() as reader:
            wait_exact(here, "c")
            last = here.value("SELECT pg_current_wal_lsn()")
            # each table is copied by a process of its own, and in step with the others when that is over
            db.wait_for("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel", timeout=60)
            here.wait_for("SELECT replay_lsn >= %s FROM pg_stat_replication WHERE application_name = 'live'", last, timeout=60)
            for _ in range(5):
                writers.wait(20)
                reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                found = rows(reader, "c")
                at, = reader.execute("SELECT change_stream_position_time(resume_token) FROM change_stream_progress").fetchone()
                reader.execute("ROLLBACK")
                there = past.documents("c", timestamp(at))
                assert there is None or difference(found, there) is None
                compared += there is not None
        assert compared
        synced(here, "s", "c")
        equal_now(db, mongo, mdb.name, "c", "c")
        assert db.value("SELECT count(*) FROM c WHERE n IS DISTINCT FROM (document->>'n')::numeric") == 0
    finally:
        for what in ("DISABLE", "SET (slot_name = NONE)"):
            db.execute(f"ALTER SUBSCRIPTION live {what}")
        db.execute("DROP SUBSCRIPTION live")
        here.close()


# ------------------------------------------------------------ tables and names as users have them

NAMES = ["é😀", "a.b", 'quo"te', "it's", "with space", "select", "UPPER", "tab\tx", "back\\slash", "%s", "{x}", "c; DROP TABLE c", "x" * 63]


def test_names(linked, mongo, mdb):
    """Collections of odd names and the mirrors and tables that get their names, by one call; each follows its own."""
    for name in NAMES:
        mdb.command("insert", name, documents=[{"_id": 1}, {"_id": 2}, {"_id": 3}])
    create(linked, "s", keep_events=False)
    assert set(linked.column("SELECT create_change_mirrors('s', 'public')")) == set(NAMES)
    for number, name in enumerate(NAMES):
        mdb.command("update", name, updates=[{"q": {"_id": 1}, "u": {"$set": {"n": number}}}])
        mdb.command("delete", name, deletes=[{"q": {"_id": 2}, "limit": 1}])
    synced(linked, "s", *NAMES)
    for number, name in enumerate(NAMES):
        found = linked.connection.execute(SQL.SQL("SELECT _id::text, document->>'n' FROM {} ORDER BY 1").format(SQL.Identifier(name))).fetchall()
        assert found == [("1", str(number)), ("3", None)], name
        assert linked.execute("SELECT * FROM check_change_mirror(%s)", name) == []
    for name in ("x" * 64, "é" * 32, ""):
        assert error_of(linked, "SELECT create_change_mirror(%s, collection => 'a.b')", name).sqlstate == "22023"


# what a table is made by, the columns of its mirror, and what becomes of that: None, it is equal; a text in the reason, it has stopped
TABLES = {
    "mixed": ('CREATE TABLE "MiXed" (_id document PRIMARY KEY, document document)', None, None),
    "reserved": ('CREATE TABLE "order" (_id document PRIMARY KEY, document document, "select" text)', '"select" text = t', None),
    "domains": ("CREATE DOMAIN key AS bigint CHECK (VALUE >= 0); CREATE DOMAIN body AS document;"
                " CREATE TABLE domains (_id key PRIMARY KEY, document body)", None, None),
    "narrow": ("CREATE DOMAIN few AS bigint CHECK (VALUE < 5); CREATE TABLE narrow (_id few PRIMARY KEY, document document)", None, "few_check"),
    "narrow_column": ("CREATE DOMAIN small AS int CHECK (VALUE < 5); CREATE TABLE narrow_column (_id document PRIMARY KEY, n small, document document)",
                      "n = n", None),
    "defaults": ("CREATE TABLE defaults (_id document PRIMARY KEY, n int DEFAULT 77, mine int NOT NULL DEFAULT 5, document document)", "n int = missing", None),
    "not_null": ("CREATE TABLE not_null (_id document PRIMARY KEY, n int NOT NULL, document document)", "n int = missing", "not-null"),
    "numbered": ("CREATE TABLE numbered (_id document PRIMARY KEY, id bigint GENERATED ALWAYS AS IDENTITY UNIQUE, document document)", None, None),
    "includes": ("CREATE TABLE includes (_id document, document document, PRIMARY KEY (_id) INCLUDE (document))", None, None),
    "of_type": ("CREATE TYPE made AS (_id document, document document); CREATE TABLE of_type OF made (PRIMARY KEY (_id))", None, None),
    "short": ("CREATE TABLE short (_id char(3) PRIMARY KEY, document document)", None, None),
}


def test_tables(linked, mongo, mdb):
    """Whatever an ordinary writer could fill is equal; what refuses a row stops its mirror alone."""
    mdb.c.insert_many([{"_id": number, "n": number, "t": "x"} for number in range(10)])
    create(linked, "s", keep_events=False)
    names = {"mixed": '"MiXed"', "reserved": '"order"'}
    for name, (ddl, columns, _) in TABLES.items():
        linked.connection.execute(ddl)
        mirror(linked, name, stream_name="s", collection="c", table_name=names.get(name, name), columns=columns)
    for name, first in (("narrow", 5), ("not_null", 0)):
        reason = stopped(linked, name)["reason"]
        assert TABLES[name][2] in reason and f"(the document with _id {first})" in reason
    mdb.c.update_one({"_id": 1}, {"$set": {"n": -1}})
    mdb.c.delete_one({"_id": 2})
    mdb.c.insert_one({"_id": 100, "n": 100, "t": "y"})
    equal = [name for name, (_, _, stops) in TABLES.items() if not stops]
    synced(linked, "s", *equal)
    for name in equal:
        assert linked.execute("SELECT * FROM check_change_mirror(%s)", name) == [], name
    assert linked.execute("SELECT DISTINCT n, mine FROM defaults") == [(None, 5)]
    assert linked.value("SELECT count(DISTINCT id) FROM numbered") == 10
    assert status(linked, "narrow_column")["column_errors"] == 6


def test_what_rows_do_not_reach(linked, mdb):
    """Rules are refused, also later; what a trigger swallows or changes check_change_mirror shows."""
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(4)])
    linked.connection.execute("CREATE TABLE ruled (_id document PRIMARY KEY, document document);"
                              "CREATE RULE nothing AS ON DELETE TO ruled DO INSTEAD NOTHING;"
                              "CREATE TABLE c (_id document PRIMARY KEY, document document);"
                              "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                              " IF NEW._id = 1 THEN RETURN NULL; END IF; IF NEW._id = 2 THEN NEW.document = '{\"_id\": 2}'; END IF; RETURN NEW; END $$;"
                              "CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION swallow()")
    refused = error_of(linked, "SELECT create_change_mirror('ruled', collection => 'c')")
    assert (refused.sqlstate, refused.diag.message_hint) == ("0A000", "DROP RULE nothing on public.ruled;")
    linked.execute("DROP RULE nothing ON public.ruled")
    for name in ("ruled", "c"):
        mirror(linked, name, collection="c")
        wait_exact(linked, name)
    assert linked.execute("SELECT difference, _id::text FROM check_change_mirror('c') ORDER BY 2") == [("missing here", "1"), ("document differs", "2")]
    linked.execute("CREATE RULE nothing AS ON INSERT TO ruled DO INSTEAD NOTHING")
    mdb.c.insert_one({"_id": 5})
    assert "DROP RULE nothing on public.ruled; mend that and SELECT resync_change_mirror('ruled')" in stopped(linked, "ruled")["reason"]


def test_which_document(linked, mdb):
    """Of many that are written at once the one is named that the table refuses: by a CHECK, a trigger, a deferred key; nothing of the search stays."""
    linked.connection.execute("CREATE TABLE known (n int PRIMARY KEY); INSERT INTO known VALUES (1); CREATE TABLE log (n int);"
                              "CREATE TABLE c (_id document PRIMARY KEY, document document, n int CHECK (n <> 666) REFERENCES known DEFERRABLE INITIALLY DEFERRED);"
                              "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.n);"
                              " IF NEW.document ? 'bad' THEN RAISE 'no such'; END IF; RETURN NEW; END $$;"
                              "CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION refuse()")
    mdb.c.insert_many([{"_id": number, "n": 1} for number in range(3000)])
    mirror(linked, "c", columns="n = n")
    wait_exact(linked, "c")
    for number, fields, words in ((2345, {"n": 666}, "check constraint"), (17, {"bad": True}, "no such"), (2999, {"n": 5}, "foreign key constraint")):
        written = linked.value("SELECT count(*) FROM log")
        linked.execute("SELECT pause_change_stream('c')")
        mdb.c.update_many({}, {"$inc": {"times": 1}})
        mdb.c.update_one({"_id": number}, {"$set": fields})
        linked.execute("SELECT resume_change_stream('c')")
        reason = stopped(linked, "c")["reason"]
        assert words in reason and f"(the document with _id {number})" in reason, reason
        assert linked.value("SELECT count(*) FROM c") == 3000
        assert (linked.value("SELECT count(*) FROM log") - written) % 1000 == 0
        mdb.c.update_one({"_id": number}, {"$set": {"n": 1}, "$unset": {"bad": ""}})
        sync(linked, "c")
        linked.execute("SELECT resync_change_mirror('c')")
        synced(linked, "c", "c")
