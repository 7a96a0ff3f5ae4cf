"""Mistakes that are told at once: by an error that names what is wrong and the command that mends it, or by a NOTICE."""
import pathlib
import time

import psycopg
import pytest

from certificates import authority, certificate
from harness import machine as machinery
from harness.mongo import Mongod
from streams import create, sync


@pytest.fixture
def told(linked):
    """What the session of `linked` is told: (message, detail, hint)."""
    seen = []
    linked.connection.add_notice_handler(lambda diag: seen.append((diag.message_primary, diag.message_detail, diag.message_hint)))
    return seen


def refusal(db, statement, *parameters):
    with pytest.raises(psycopg.Error) as failure:
        db.execute(statement, *parameters)
    return failure.value.diag


def hints(told, beginning):
    return [(message, hint) for message, _, hint in told if message.startswith(beginning)]


# ---- retention ----

@pytest.mark.parametrize("number", ["30", "7", "90", "365", "3599", "00:00:01"])
def test_a_retention_without_a_unit(linked, mdb, number):
    diag = refusal(linked, "SELECT create_change_stream('s', retention => %s::interval)", number)
    assert diag.sqlstate == "22023" and "seconds" in diag.message_primary and "without a unit" in diag.message_detail
    assert " days'" in diag.message_hint
    create(linked, "s")
    assert refusal(linked, "SELECT alter_change_stream('s', retention => %s::interval)", number).sqlstate == "22023"
    # as the hint says
    linked.execute("SELECT alter_change_stream('s', retention => '30.5 seconds')")


def test_a_short_retention(linked, mdb, told):
    create(linked, "minutes", retention="180")
    assert [hint for _, hint in hints(told, "events are deleted after 3 minutes")] == [
        "If days are meant: SELECT alter_change_stream('minutes', retention => '180 days');"]
    told.clear()
    mdb.c.insert_one({})
    create(linked, "days", retention="30 days")
    create(linked, "hours", retention="1 hour")
    assert told == []


# ---- names ----

def test_a_collection_that_does_not_exist(linked, mdb, told):
    for name in ("orders", "order_items", "customers"):
        mdb[name].insert_one({})
    create(linked, "s", collection="ordrs")
    assert hints(told, "MongoDB has no collection") == [
        (f'MongoDB has no collection "{mdb.name}.ordrs" yet', 'Perhaps "orders" is meant: then drop the stream and make it anew.')]
    told.clear()
    linked.execute("SELECT create_change_mirror('order_item')")
    assert hints(told, "MongoDB has no collection")[0][1].startswith('Perhaps "order_items" is meant')
    told.clear()
    create(linked, "t", collection="invoices")
    assert hints(told, "MongoDB has no collection") == [(f'MongoDB has no collection "{mdb.name}.invoices" yet', None)]
    told.clear()
    # of a mirror on a stream that is there
    create(linked, "all")
    linked.execute("SELECT create_change_mirror('custommers', stream_name => 'all')")
    assert hints(told, "MongoDB has no collection")[0][1].startswith('Perhaps "customers" is meant')


ORDER = {"status": "new", "customer": {"name": "n", "loyaltyTier": "gold"}, "items": [{"sku": "a"}], "a.b": {"c": 1}}


def test_a_field_that_no_document_has(linked, mdb, told):
    mdb.orders.insert_many([{"_id": number, **ORDER} for number in range(30)])
    options = {"collection": "orders", "full_document": "updateLookup", "operations": ["insert", "update", "replace"]}
    create(linked, "s", filter="full_document.stauts = 'new' AND full_document.customer.loyaltyTyer = 'gold' AND full_document.size > 3",
           add_fields="tier = full_document.custmer.name", **options)
    of = f'which none of 20 documents of collection "{mdb.name}.orders" that were looked at has'
    assert hints(told, "") == [(f'filter reads field "stauts", {of}', 'Perhaps "status" is meant.'),
                               (f'filter reads field "customer.loyaltyTyer", {of}', 'Perhaps "loyaltyTier" is meant.'),
                               (f'filter reads field "size", {of}', None),
                               (f'add_fields reads field "custmer", {of}', 'Perhaps "customer" is meant.')]
    told.clear()
    # by arrows, and when it is changed
    linked.execute("SELECT alter_change_stream('s', filter => $$full_document ->> 'satus' = 'new'$$)")
    assert hints(told, "filter reads field") == [(f'filter reads field "satus", {of}', 'Perhaps "status" is meant.')]


@pytest.mark.parametrize("filter", [
    "full_document.status = 'new' AND full_document.customer.loyaltyTier = 'gold'",
    "full_document.customer.loyalty_tier = 'gold'",             # found in camelCase
    "full_document.items.sku = 'a' OR full_document.items[0].sku = 'a'",   # of arrays nothing is known
    "full_document.status.text = 'new'",                        # nor of what is no object
    "full_document['a.b']['c'] = 1",                            # nor of keys with dots
    "update_description.updated_fields.nothing IS NOT NULL",
    "full_document ->> 'status' = 'full_document.nothing'",
])
def test_nothing_is_said_of_what_is_there_or_not_known(linked, mdb, told, filter):
    mdb.orders.insert_many([{"_id": number, **ORDER} for number in range(5)])
    create(linked, "s", collection="orders", full_document="updateLookup", operations=["insert", "update", "replace"], filter=filter)
    assert hints(told, "filter reads field") == []


def test_nothing_is_said_where_nothing_can_be_known(linked, mongo, mdb, told):
    """Of an empty collection, of several, with a pipeline; and MongoDB's slowness is no error."""
    filter = "full_document.nothing = 1"
    options = {"full_document": "updateLookup", "operations": ["insert", "update", "replace"], "filter": filter}
    mdb.create_collection("empty")
    create(linked, "empty", collection="empty", **options)
    mdb.orders.insert_one(ORDER)
    create(linked, "several", **options)
    create(linked, "piped", collection="orders", pipeline='[{"$addFields": {"fullDocument.nothing": 1}}]', **options)
    create(linked, "paused", collection="orders", paused=True, **options)
    mongo.fail_command(["find"], errorCode=13)
    create(linked, "refused", collection="orders", **options)
    mongo.fail_command(["find"], blockConnection=True, blockTimeMS=4000)
    begun = time.monotonic()
    create(linked, "slow", collection="orders", **options)
    assert time.monotonic() - begun < 3
    mongo.stop_failing()
    assert hints(told, "filter reads field") == []
    assert linked.value("SELECT count(*) FROM change_streams") == 6


def test_fields_of_a_mirror(linked, mdb, told):
    mdb.orders.insert_one(ORDER)
    linked.execute("SELECT create_change_mirror('orders', columns => 'status text = stauts, name text = customer.nmae', filter => $$state = 'new'$$)")
    assert [(message.split(",")[0], hint) for message, hint in hints(told, "")] == [
        ('columns reads field "stauts"', 'Perhaps "status" is meant.'), ('columns reads field "customer.nmae"', 'Perhaps "name" is meant.'),
        ('filter reads field "state"', 'Perhaps "status" is meant.')]


def test_fields_of_a_handler(linked, mdb, told):
    create(linked, "s", collection="orders")
    body = "BEGIN PERFORM change.full_document.stauts, change.full_document.customer.name, change.full_document ->> 'satus'; END"
    condition = "full_document.customer.nane = 'n'"
    # nothing is known before the first event
    linked.execute("SELECT create_change_handler('early', 's', body => %s, condition => %s)", body, condition)
    assert hints(told, "the body reads field") == []
    mdb.orders.insert_one(ORDER)
    sync(linked, "s")
    told.clear()
    linked.execute("SELECT create_change_handler('h', 's', body => %s, condition => %s)", body, condition)
    of = "which none of 1 documents of the stream's last events has"
    assert [pair for pair in hints(told, "") if "field" in pair[0]] == [
        (f'the body reads field "stauts", {of}', 'Perhaps "status" is meant.'), (f'the body reads field "satus", {of}', 'Perhaps "status" is meant.'),
        (f'condition reads field "customer.nane", {of}', 'Perhaps "name" is meant.')]


def test_tables_of_a_handler(linked, mdb, told):
    create(linked, "s", collection="orders", operations=["insert", "replace"])
    linked.execute("CREATE TABLE there (a bigint PRIMARY KEY)")

    def missing(body):
        told.clear()
        linked.execute("SELECT create_change_handler('h', 's', body => %s)", body)
        linked.execute("SELECT drop_change_handler('h')")
        return [message.split('"')[3] for message, _ in hints(told, "the body of change handler")]

    assert missing("BEGIN INSERT INTO orders_seen VALUES (change.event_id); END") == ["orders_seen"]
    assert told[-1][2] == "CREATE TABLE orders_seen (...); or SELECT alter_change_handler('h', body => ...);"
    assert missing("BEGIN IF change.event_id > 1 THEN UPDATE ONLY nowhere.t AS x SET a = 1; DELETE FROM \"Gone\"; END IF; END") == ["nowhere.t", "Gone"]
    assert missing("""BEGIN
      -- INSERT INTO comment VALUES (1)
      INSERT INTO there VALUES (change.event_id) ON CONFLICT (a) DO UPDATE SET a = excluded.a;
      PERFORM a FROM public.there WHERE a = 1 FOR UPDATE;
      EXECUTE 'INSERT INTO text VALUES (1)';
      DELETE FROM there; UPDATE public.there SET a = 2;
    END""") == []
    assert missing("BEGIN CREATE TEMP TABLE IF NOT EXISTS mine (a int); INSERT INTO mine VALUES (1); END") == []


# ---- the server ----

def named(db, uri, name="mongo", **options):
    db.create_server(uri, "shop", name=name, password_required="false", **options)


PING = "SELECT mongo_command('{\"ping\": 1}')"


def test_another_replica_set(db, mongo):
    """Both names are told."""
    named(db, f"mongodb://127.0.0.1:{mongo.members[0].port}/?replicaSet=rsX")
    diag = refusal(db, PING)
    assert diag.sqlstate == "08001"
    assert f"'127.0.0.1:{mongo.members[0].port}' is of replica set \"rs0\", while the URI names \"rsX\"" in diag.message_detail
    assert "ALTER SERVER mongo OPTIONS (SET uri 'mongodb://.../?replicaSet=rs0');" in diag.message_hint
    # and when it is mended as the hint says, all is well
    db.execute(f"ALTER SERVER mongo OPTIONS (SET uri 'mongodb://127.0.0.1:{mongo.members[0].port}/?replicaSet=rs0')")
    db.execute(PING)


@pytest.fixture(scope="module")
def single(machine):
    one = Mongod(machine, pathlib.Path(machine.folder) / "single", machinery.free_ports()[0], [])
    one.process = machine.start(one.command, one.log)
    machinery.wait_until(lambda: "Waiting for connections" in one.log.read_text(), 30, "mongod listens")
    yield one
    one.kill()


def test_a_standalone_mongod(db, single):
    named(db, f"mongodb://127.0.0.1:{single.port}/?replicaSet=rs0")
    diag = refusal(db, PING)
    assert f"mongod runs standalone: '127.0.0.1:{single.port}' is of no replica set, while the URI names \"rs0\"" in diag.message_detail
    assert "--replSet" in diag.message_hint
    db.execute(f"ALTER SERVER mongo OPTIONS (SET uri 'mongodb://127.0.0.1:{single.port}/')")
    assert "--replSet" in refusal(db, "SELECT create_change_stream('s')").message_hint


def test_a_set_that_is_not_set_up(db, machine):
    one = Mongod(machine, pathlib.Path(machine.folder) / "fresh", machinery.free_ports()[0], ["--replSet", "rs0"])
    one.process = machine.start(one.command, one.log)
    try:
        machinery.wait_until(lambda: "Waiting for connections" in one.log.read_text(), 30, "mongod listens")
        named(db, f"mongodb://127.0.0.1:{one.port}/?replicaSet=rs0")
        diag = refusal(db, PING)
        assert "is not set up yet" in diag.message_detail and "rs.initiate()" in diag.message_hint
    finally:
        one.kill()


def test_tls_spoken_to_a_server_without_it(db, mongo):
    named(db, f"mongodb://127.0.0.1:{mongo.members[0].port}/?tls=true&connectTimeoutMS=1000")
    diag = refusal(db, PING)
    assert diag.sqlstate == "08001" and "so does a server that speaks no TLS" in diag.message_detail
    assert "ALTER SERVER mongo OPTIONS (SET uri 'mongodb://.../?tls=false');" in diag.message_hint


def test_no_tls_spoken_to_a_server_that_wants_it(db, machine):
    folder = pathlib.Path(machine.folder) / "guard_tls"
    folder.mkdir()
    authority(folder, "good")
    certificate(folder, "server", "good", "DNS:localhost")
    one = Mongod(machine, folder / "data", machinery.free_ports()[0],
                 ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(folder / "server.pair"),
                  "--tlsCAFile", str(folder / "good.pem"), "--tlsAllowConnectionsWithoutCertificates"])
    for path in folder.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)
    one.process = machine.start(one.command, one.log)
    try:
        machinery.wait_until(lambda: "Waiting for connections" in one.log.read_text(), 30, "mongod listens")
        named(db, f"mongodb://localhost:{one.port}/?connectTimeoutMS=1000")
        diag = refusal(db, PING)
        assert "so does a server that wants TLS" in diag.message_detail and "tls=true" in diag.message_hint
    finally:
        one.kill()


@pytest.fixture(scope="module")
def guarded(machine):
    from harness import ReplicaSet
    one = ReplicaSet(machine, auth=True)
    one.client.admin.command("createUser", "reader", pwd="secret", roles=[])
    yield one
    one.discard()


def test_a_user_that_is_missing(db, guarded):
    """Where MongoDB asks for a user, and there is no mapping, that is what is told, not roles to grant."""
    named(db, guarded.direct_uri(), name="Guarded")
    diag = refusal(db, "SELECT create_change_stream('s')")
    command = "CREATE USER MAPPING FOR postgres SERVER \"Guarded\" OPTIONS (username '...', password '...', auth_source 'admin');"
    assert diag.sqlstate == "42501" and diag.message_hint == f"MongoDB asks for a user: {command}"
    rows = {name: (ok, hint) for name, ok, hint in db.execute("SELECT check_name, ok, hint FROM check_mongo_server()")}
    assert rows["authentication"] == (False, f"MongoDB asks for a user: {command}")
    assert "stream_of_database" not in rows and "oplog_window" not in rows
    assert not any("grantRoles" in (hint or "") for _, hint in rows.values())


def test_real_names_in_hints(db, guarded):
    named(db, guarded.direct_uri(), name="Guarded")
    db.execute("CREATE USER MAPPING FOR PUBLIC SERVER \"Guarded\" OPTIONS (username 'reader', password 'wrong')")
    assert refusal(db, PING).message_hint == ("Check username, password, auth_source and auth_mechanism: "
        "ALTER USER MAPPING FOR PUBLIC SERVER \"Guarded\" OPTIONS (SET password '...');")
    db.execute("ALTER USER MAPPING FOR PUBLIC SERVER \"Guarded\" OPTIONS (SET password 'secret')")
    diag = refusal(db, "SELECT create_change_stream('s')")
    assert diag.message_hint == ("db.getSiblingDB(\"admin\").grantRolesToUser(\"reader\", [{role: \"read\", db: \"shop\"}]); "
                                 "SELECT * FROM check_mongo_server('Guarded') tells what a change stream needs.")
    # what the hint says, done, helps
    guarded.client.admin.command("grantRolesToUser", "reader", roles=[{"role": "read", "db": "shop"}])
    db.execute("SELECT create_change_stream('s', paused => true)")
    db.execute("SELECT resume_change_stream('s')")
    assert "SELECT * FROM check_mongo_server('Guarded') tells which role MongoDB's user \"reader\" lacks." == \
        refusal(db, "SELECT mongo_command('{\"replSetGetStatus\": 1}', 'admin')").message_hint


def test_nobody_listens(db):
    named(db, "mongodb://127.0.0.1:1/", name="no one")
    assert refusal(db, PING).message_hint.endswith("ALTER SERVER \"no one\" OPTIONS (SET uri 'mongodb://...');")


def test_an_image_that_is_missing(linked, mdb):
    """The stream's reason has the collMod command of the collection concerned."""
    mdb.orders.insert_one({"_id": 1})
    create(linked, "s", collection="orders", full_document="required")
    mdb.orders.update_one({"_id": 1}, {"$set": {"a": 1}})
    linked.wait_for("SELECT state FROM change_stream_status", expect="error")
    assert f'db.getSiblingDB("{mdb.name}").runCommand({{collMod: "orders", changeStreamPreAndPostImages: {{enabled: true}}}})' in \
        linked.value("SELECT reason FROM change_stream_status")


# ---- PostgreSQL's side of check_mongo_server ----

def rows_of(db):
    return {name: (ok, detail, hint) for name, ok, detail, hint in db.execute("SELECT * FROM check_mongo_server()")}


def test_postgresqls_side(linked, mdb):
    rows = rows_of(linked)
    assert list(rows)[:7] == ["preload", "worker_processes", "encoding", "standby", "disk", "wal_disk", "user_mapping"]
    assert all(rows[name][0] for name in ("preload", "worker_processes", "encoding", "standby", "user_mapping")), rows
    assert rows["user_mapping"][1] == "postgres has none, and connects without a user"
    assert "GB are free" in rows["disk"][1]
    # how full the disk is, is not for everybody
    linked.execute("CREATE ROLE stranger LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO stranger; CREATE USER MAPPING FOR stranger SERVER mongo")
    with linked.connect(user="stranger") as connection:
        rows = {name: detail for name, detail in connection.execute("SELECT check_name, detail FROM check_mongo_server()")}
    assert rows["disk"] in ("enough is free for the data directory", "little is free for the data directory")
    assert rows["user_mapping"] == "of stranger, without a username"


def test_room_for_events_in_a_tablespace(linked, mdb):
    """Events in a tablespace of their own can run out of room where the data directory has plenty of it."""
    assert "events_disk" not in rows_of(linked)
    linked.execute("SET allow_in_place_tablespaces = on")
    linked.execute("CREATE TABLESPACE for_events LOCATION ''")
    linked.execute("ALTER TABLE change_stream_events SET TABLESPACE for_events")
    try:
        assert "GB are free for the tablespace of change_stream_events" in rows_of(linked)["events_disk"][1]
    finally:
        linked.execute("ALTER TABLE change_stream_events SET TABLESPACE pg_default")
        linked.execute("DROP TABLESPACE for_events")


def test_what_is_wrong_with_postgresql(new_cluster, mongo):
    """No free worker process, and the switch that is off; without preloading the function tells just that."""
    cluster = new_cluster(settings={"max_worker_processes": 2})
    db = cluster.create_database("few")
    db.create_server(mongo.uri, "shop", password_required="false")
    ok, detail, hint = rows_of(db)["worker_processes"]
    assert not ok and "of 2 are in use" in detail and hint.startswith("ALTER SYSTEM SET max_worker_processes = 4;")
    cluster.configure(**{"mongo_change_stream.enabled": "off"})
    cluster.reload()
    db.wait_for("SELECT ok FROM check_mongo_server() WHERE check_name = 'preload'", expect=False)
    db.close()
    cluster.configure(shared_preload_libraries="")
    cluster.restart()
    with cluster.connect("few") as connection:
        ok, hint = connection.execute("SELECT ok, hint FROM check_mongo_server() WHERE check_name = 'preload'").fetchone()
    assert not ok and "ALTER SYSTEM SET shared_preload_libraries = 'mongo_change_stream'" in hint


def test_tables_of_different_owners(linked):
    """Nothing works on them then; each of them is told with its command, until all are one role's again."""
    linked.execute("CREATE ROLE other; ALTER TABLE change_stream_grants OWNER TO other; ALTER TABLE change_stream_events OWNER TO other")
    commands = []
    for _ in range(2):
        diag = refusal(linked, "SELECT create_change_stream('s', collection => 'c', paused => true)")
        assert diag.message_primary == "the tables of the extension have different owners"
        commands.append(diag.message_hint)
        linked.execute(diag.message_hint)
    linked.execute("SELECT create_change_stream('s', collection => 'c', paused => true)")
    assert sorted(commands) == ["ALTER TABLE public.change_stream_events OWNER TO postgres;", "ALTER TABLE public.change_stream_grants OWNER TO postgres;"]
