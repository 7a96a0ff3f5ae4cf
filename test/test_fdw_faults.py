"""Foreign scans when the network, MongoDB, its history or rights fail them."""
import threading
import time

import psycopg
import pymongo
import pytest

from foreign import foreign_table, messages, no_cursors, open_cursors
from harness.machine import wait_until
from streams import error_of, plain_end, wait_event


def fill(collection, count, **fields):
    collection.insert_many([{"_id": i, **fields} for i in range(count)])


@pytest.fixture
def through(db, proxy, mongo, mdb):
    """A server that is reached through the proxy."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name)
    return db


# ------------------------------------------------------------ cancels

@pytest.mark.parametrize("how", ["cancel", "timeout", "terminate"])
def test_a_dead_network_holds_up_no_cancel(through, proxy, mongo, mdb, how):
    """Whatever a scan waits for, a cancel, a timeout and a termination take less than a second."""
    fill(mdb.c, 2000, pad="x" * 1000)
    foreign_table(through, "f", collection="c", batch_size=10)
    for begun in (False, True):
        with through.connect(autocommit=False) as connection:
            connection.execute("SELECT 1")
            if begun:
                connection.execute("DECLARE c CURSOR FOR SELECT full_document FROM f")
                connection.execute("FETCH 1 FROM c")
            proxy.blackhole = True
            pid = connection.info.backend_pid
            if how == "timeout":
                connection.execute("SET statement_timeout = '200ms'")
            statement = "FETCH ALL FROM c" if begun else "SELECT count(*) FROM f"
            ended = []

            def run():
                try:
                    # the queue may hold all that is left
                    for _ in range(3):
                        connection.execute(statement)
                        connection.execute("SELECT count(*) FROM f")
                except psycopg.Error as error:
                    ended.append((time.monotonic(), error.sqlstate))

            thread = threading.Thread(target=run)
            began = time.monotonic()
            thread.start()
            if how != "timeout":
                wait_event(through, pid, "Extension")
                began = time.monotonic()
                through.execute(f"SELECT pg_{'cancel' if how == 'cancel' else 'terminate'}_backend({pid})")
            thread.join(10)
            assert ended and ended[0][0] - began < 1.0 + plain_end(through), (how, begun, ended)
            assert ended[0][1] == ("57P01" if how == "terminate" else "57014")
        proxy.blackhole = False
        proxy.reset()
        assert through.value("SELECT count(*) FROM f") == 2000


def test_mongodb_that_is_not_there(db):
    """A server that nobody answers at is an error that says so, quickly."""
    db.create_server("mongodb://127.0.0.1:1/?replicaSet=rs0", "shop")
    foreign_table(db, "f", collection="c")
    began = time.monotonic()
    error = error_of(db, "SELECT count(*) FROM f")
    assert time.monotonic() - began < 5
    assert error.sqlstate == "08001" and "uri" in error.diag.message_hint


# ------------------------------------------------------------ failures that pass

def test_a_scan_goes_on_after_a_failure(linked, mongo, mdb):
    """A killed cursor, a cut connection, a server that was no longer primary: each event comes once."""
    fill(mdb.c, 3000, pad="x" * 200)
    foreign_table(linked, "f", collection="c", batch_size=50)
    query = "SELECT count(*), count(DISTINCT resume_token), count(DISTINCT document_key) FROM f"
    # batches before it come
    for code in ({"errorCode": 43}, {"errorCode": 11602, "errorLabels": ["ResumableChangeStreamError"]}, {"closeConnection": True}):
        mongo.fail_command(["getMore"], times=2, **code)
        assert linked.row(query) == (3000,) * 3, code
        mongo.stop_failing()
    with linked.connect(autocommit=False) as connection:
        connection.execute("DECLARE c CURSOR FOR SELECT (document_key['_id'])::int FROM f")
        seen = [row[0] for row in connection.execute("FETCH 10 FROM c")]
        mongo.kill_cursors_of("foreign table f")
        seen += [row[0] for row in connection.execute("FETCH ALL FROM c")]
        assert seen == list(range(3000))
    no_cursors(mongo)


def test_a_failure_that_stays(linked, mongo, mdb):
    """After a few tries the failure is told."""
    fill(mdb.c, 10)
    foreign_table(linked, "f", collection="c")
    mongo.fail_command(["getMore"], errorCode=11602, errorLabels=["ResumableChangeStreamError"])
    began = time.monotonic()
    assert "11602" in error_of(linked, "SELECT count(*) FROM f").diag.message_detail
    assert time.monotonic() - began < 15
    mongo.stop_failing()
    assert linked.value("SELECT count(*) FROM f") == 10


def test_a_step_down_amid_a_scan(db, new_replica_set):
    """The scan goes on at the new primary."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    fill(mongo.client.shop.c, 5000, pad="x" * 2000)
    foreign_table(db, "f", collection="c", batch_size=20)
    with db.connect(autocommit=False) as connection:
        connection.execute("DECLARE c CURSOR FOR SELECT (document_key['_id'])::int FROM f")
        seen = [row[0] for row in connection.execute("FETCH 10 FROM c")]
        mongo.primary().kill()
        seen += [row[0] for row in connection.execute("FETCH ALL FROM c")]
        assert seen == list(range(5000))


def test_writes_that_no_majority_has(db, new_replica_set):
    """A scan shows what the majority has, and does not wait for the rest."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    foreign_table(db, "f", collection="c")
    mongo.client.shop.c.insert_one({"_id": 1})
    began = time.monotonic()
    assert db.value("SELECT count(*) FROM f") == 1
    usual = time.monotonic() - began
    for member in mongo.secondaries():
        member.freeze()
    try:
        mongo.client.shop.get_collection("c", write_concern=pymongo.WriteConcern(1)).insert_one({"_id": 2})
        began = time.monotonic()
        assert db.value("SELECT count(*) FROM f") == 1
        assert time.monotonic() - began < 1 + usual
    finally:
        for member in mongo.members:
            member.thaw()


# ------------------------------------------------------------ history

def test_history_that_is_gone(db, new_replica_set):
    """A start older than the oplog reads what there is, with a warning, or fails if that was wanted."""
    mongo = new_replica_set(oplog_mb=1, options=["--syncdelay", "1"])
    db.create_server(mongo.uri, "shop")
    shop = mongo.client.shop
    shop.c.insert_one({"_id": 1})
    foreign_table(db, "f", collection="c")
    seen = messages(db.connection)
    # the oplog still holds the server's whole life
    assert db.value("SELECT count(*) FROM f WHERE cluster_time > '2000-01-01'") == 1
    token, when = db.row("SELECT resume_token, cluster_time FROM f")
    assert seen == []

    def oldest():
        return mongo.client.local.oplog.rs.find_one(sort=[("$natural", 1)])["ts"].as_datetime()

    def gone():
        shop.filler.insert_many([{"pad": "x" * 100000} for _ in range(5)])
        return oldest() > when

    wait_until(gone, 90, "the oplog moves on", pause=0.2)
    shop.c.insert_one({"_id": 2})
    # nobody asked for more than there is
    assert db.column("SELECT (document_key['_id'])::int FROM f") == [2]
    assert seen == []
    for start in ("cluster_time > '2000-01-01'", f"cluster_time >= '{when}'"):
        assert db.column(f"SELECT (document_key['_id'])::int FROM f WHERE {start}") == [2]
        severity, text, detail, hint = seen.pop()
        assert severity == "WARNING" and "history begins at" in text and "replSetResizeOplog" in hint and seen == []
        assert str(oldest().year) in text
    # once a statement, however often it reads
    assert db.value("SELECT count(*) FROM generate_series(1, 3) i, LATERAL (SELECT * FROM f WHERE cluster_time > '2000-01-01' OFFSET i * 0) l") == 3
    assert len(seen) == 1
    seen.clear()
    foreign_table(db, "g", collection="c", resume_after=token)
    assert db.value("SELECT count(*) FROM g") == 1 and len(seen) == 1
    foreign_table(db, "strict", collection="c", history="strict")
    assert db.value("SELECT count(*) FROM strict") == 1
    error = error_of(db, "SELECT count(*) FROM strict WHERE cluster_time > '2000-01-01'")
    assert "history begins at" in error.diag.message_primary
    no_cursors(mongo)


def test_a_server_without_history(db, machine):
    """A single server has no change streams; the hint says how to get them."""
    from harness.machine import free_ports
    from harness.mongo import Mongod
    member = Mongod(machine, machine.new_folder("alone"), free_ports(1)[0], ["--wiredTigerCacheSizeGB", "0.25"])
    member.start()
    try:
        db.create_server(f"mongodb://{member.address}/", "shop")
        foreign_table(db, "f", collection="c")
        assert "replica set" in error_of(db, "SELECT count(*) FROM f").diag.message_hint
    finally:
        member.kill()


def test_a_collection_that_is_not_there(linked, mdb):
    """A slip in a name is told; a collection that was, or that is empty, is none."""
    mdb.create_collection("empty")
    mdb.gone.insert_one({"_id": 1})
    mdb.gone.drop()
    seen = messages(linked.connection)
    for name, count in (("ordres", 0), ("empty", 0), ("gone", 2)):
        foreign_table(linked, name, collection=name)
        assert linked.value(f"SELECT count(*) FROM {name}") == count
        assert [one[0] for one in seen] == (["WARNING"] if name == "ordres" else [])
        if name == "ordres":
            assert "ordres" in seen.pop()[1]
    mdb.command("create", "shown", viewOn="empty", pipeline=[])
    foreign_table(linked, "shown", collection="shown")
    assert "is a view" in error_of(linked, "SELECT count(*) FROM shown").diag.message_detail


# ------------------------------------------------------------ rights

SECRET = "pa:ss@w/ör%d"


@pytest.fixture(scope="module")
def guarded(machine):
    """A replica set that asks for credentials, with users of several rights."""
    from harness import ReplicaSet
    replica_set = ReplicaSet(machine, name="guarded", auth=True)
    admin = replica_set.client.admin
    for role, collection, actions in [("watch_orders", "orders", ["find", "changeStream"]), ("find_orders", "orders", ["find"])]:
        admin.command("createRole", role, roles=[], privileges=[
            {"resource": {"db": "shop", "collection": collection}, "actions": actions}])
    for user, roles in {"reader": [{"role": "read", "db": "shop"}], "orders_only": ["watch_orders"], "finder": ["find_orders"], "nothing": []}.items():
        admin.command("createUser", user, pwd=SECRET, roles=roles)
    shop = replica_set.client.shop
    shop.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    shop.create_collection("items")
    shop.orders.insert_one({"_id": 1})
    shop.items.insert_one({"_id": 1})
    yield replica_set
    replica_set.discard()


@pytest.fixture
def roles(db):
    """Two roles of this test alone."""
    names = [f"fdw_{db.name}_a", f"fdw_{db.name}_b"]
    for name in names:
        db.execute(f"CREATE ROLE {name} LOGIN")
    yield names
    db.close()
    for name in names:
        db.execute(f"DROP OWNED BY {name} CASCADE")
        db.execute(f"DROP ROLE {name}")


def test_whose_credentials(db, guarded, roles):
    """A table is read as who reads it, in a view as the view's owner; the right on the table is enough."""
    owner, user = roles
    db.create_server(guarded.uri, "shop")
    db.execute("ALTER SERVER mongo OPTIONS (ADD password_required 'false')")
    foreign_table(db, "f", collection="orders")
    foreign_table(db, "items", collection="items")
    db.execute(f"CREATE USER MAPPING FOR {owner} SERVER mongo OPTIONS (username 'orders_only', password '{SECRET}')")
    db.execute(f"GRANT SELECT ON f, items TO {owner}, {user}")
    db.execute(f"GRANT CREATE ON SCHEMA public TO {owner}")
    with db.connect(user=owner) as connection:
        assert connection.execute("SELECT count(*) FROM f").fetchone() == (1,)
        # the oplog cannot be read, nor the database be watched
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            connection.execute("SELECT count(*) FROM items")
        assert "grantRolesToUser" in caught.value.diag.message_hint
        connection.execute("CREATE VIEW v AS SELECT document_key FROM f")
        connection.execute(f"GRANT SELECT ON v TO {user}")
    with db.connect(user=user) as connection:
        assert connection.execute("SELECT count(*) FROM v").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM f")
    db.execute(f"REVOKE SELECT ON f FROM {user}")
    with db.connect(user=user) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        connection.execute("SELECT count(*) FROM f")
    assert "permission denied for foreign table f" in caught.value.diag.message_primary


def test_a_password_that_changes(db, guarded):
    """What a session was opened with counts until the mapping changes."""
    db.create_server(guarded.uri, "shop")
    foreign_table(db, "f", collection="orders")
    db.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'reader', password 'wrong')")
    error = error_of(db, "SELECT count(*) FROM f")
    assert error.sqlstate == "28P01" and "wrong" not in str(error)
    db.execute(f"ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET password '{SECRET}')")
    assert db.value("SELECT count(*) FROM f") == 1


# ------------------------------------------------------------ import

def imported(db, statement):
    """Runs an import into a new schema; its tables' names, and the notices."""
    db.execute("DROP SCHEMA IF EXISTS s CASCADE")
    db.execute("CREATE SCHEMA s")
    seen = messages(db.connection)
    db.execute(statement)
    texts = [" | ".join(part or "" for part in one[1:]) for one in seen if one[0] == "NOTICE"]
    db.close()
    return db.column("SELECT foreign_table_name FROM information_schema.foreign_tables WHERE foreign_table_schema = 's' ORDER BY 1"), texts


def test_import(linked, mongo, mdb):
    """A table for each collection and one for all; what cannot be followed is told."""
    mdb.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    mdb.items.insert_one({"_id": 1})
    mdb.command("create", "shown", viewOn="orders", pipeline=[])
    mdb.command("create", "measured", timeseries={"timeField": "t"})
    for number in range(250):
        mdb.create_collection(f"many_{number:03}", changeStreamPreAndPostImages={"enabled": True})
    whole = f"IMPORT FOREIGN SCHEMA {mdb.name}"
    # a connection that was cut since is none of the user's worries
    assert linked.value("SELECT mongo_command('{\"ping\": 1}')")
    mongo.fail_command(["listCollections"], times=1, closeConnection=True)
    names, notices = imported(linked, f"{whole} FROM SERVER mongo INTO s")
    assert len(names) == 253 and {"all_changes", "orders", "items", "many_249"} <= set(names)
    for part in ("system.views", "shown", "measured", 'collMod: "items"'):
        assert sum(part in notice for notice in notices) >= 1, part
    assert not any("orders" in notice for notice in notices)
    assert linked.value("SELECT count(*) FROM s.items") == 1
    assert linked.value("SELECT count(*) FROM s.all_changes") == 1

    names, notices = imported(linked, f"{whole} LIMIT TO (orders, all_changes, missing) FROM SERVER mongo INTO s OPTIONS (history 'strict')")
    assert names == ["all_changes", "orders"] and len(notices) == 1 and "missing" in notices[0]
    assert linked.value("SELECT count(*) FROM pg_foreign_table WHERE 'history=strict' = ANY(ftoptions)") == 2
    names, _ = imported(linked, f"{whole} EXCEPT (all_changes, items) FROM SERVER mongo INTO s")
    assert "all_changes" not in names and "items" not in names and "orders" in names

    mdb.create_collection("all_changes")
    names, notices = imported(linked, f"{whole} LIMIT TO (all_changes) FROM SERVER mongo INTO s")
    assert names == ["all_changes"] and any("another has the name" in notice for notice in notices)
    assert "'collection'" not in str(error_of(linked, f"{whole} FROM SERVER mongo INTO s OPTIONS (colection 'x')"))
    assert error_of(linked, f"{whole} FROM SERVER mongo INTO s OPTIONS (collection 'x')").sqlstate == "HV00D"


def test_import_with_few_rights(db, guarded):
    """Who may not list or watch gets what there is, and is told which privilege is missing."""
    db.create_server(guarded.uri, "shop")
    whole = "IMPORT FOREIGN SCHEMA shop FROM SERVER mongo INTO s"

    def log_in(name):
        db.execute("DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER mongo")
        db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username '{name}', password '{SECRET}')")

    log_in("reader")
    names, notices = imported(db, whole)
    assert names == ["all_changes", "items", "orders"] and len(notices) == 1 and "items" in notices[0]
    log_in("orders_only")
    names, notices = imported(db, whole)
    assert names == ["orders"]
    assert any("listCollections" in notice for notice in notices)
    assert any("all_changes" in notice and "changeStream" in notice for notice in notices)
    assert db.value("SELECT count(*) FROM s.orders") == 1
    log_in("finder")
    names, notices = imported(db, whole)
    assert names == ["orders"] and any("shop.orders" in notice and "changeStream" in notice for notice in notices)
    log_in("nothing")
    assert 'role: "read"' in error_of(db, whole).diag.message_hint
