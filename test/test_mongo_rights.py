"""Who we are for MongoDB: credentials, roles, and what check_mongo_server makes of them."""
import psycopg
import pytest

PING = "SELECT mongo_command('{\"ping\": 1}')"
SECRET = "pa:ss@w/ör%d"


@pytest.fixture(scope="module")
def guarded(machine):
    """A replica set that asks for credentials, with users of several rights."""
    from harness import ReplicaSet
    replica_set = ReplicaSet(machine, name="guarded", auth=True)
    admin = replica_set.client.admin
    admin.command("createRole", "watch_orders", roles=[], privileges=[
        {"resource": {"db": "shop", "collection": "orders"}, "actions": ["find", "changeStream"]}])
    admin.command("createRole", "watch_all", roles=[], privileges=[
        {"resource": {"db": "", "collection": ""}, "actions": ["find", "changeStream"]}])
    for user, roles in {
        "reader": [{"role": "read", "db": "shop"}],
        "orders_only": ["watch_orders"],
        "everything": ["watch_all", "clusterMonitor"],
        "nothing": [],
    }.items():
        admin.command("createUser", user, pwd=SECRET, roles=roles)
    replica_set.client.shop.command("createUser", "local_user", pwd=SECRET, roles=["read"])
    replica_set.client.shop.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    replica_set.client.shop.create_collection("items")
    yield replica_set
    replica_set.discard()


@pytest.fixture
def shop(db, guarded):
    db.create_server(guarded.uri, "shop")
    return db


def log_in(db, user, password=SECRET, **options):
    options = {"username": user, "password": password, **options}
    listed = ", ".join(f"{key} '{value}'" for key, value in options.items())
    db.execute("DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER mongo")
    db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS ({listed})")


def checks(db):
    return {name: (ok, detail, hint) for name, ok, detail, hint in db.execute("SELECT * FROM check_mongo_server()")}


def test_credentials(shop):
    """User, password and their database come from the mapping; every character of a password counts."""
    log_in(shop, "reader", auth_source="admin")
    shop.execute("SELECT mongo_command('{\"find\": \"orders\"}')")
    log_in(shop, "local_user", auth_source="shop", auth_mechanism="SCRAM-SHA-256")
    shop.execute("SELECT mongo_command('{\"find\": \"orders\"}')")
    log_in(shop, "local_user", auth_source="shop", auth_mechanism="SCRAM-SHA-1")
    shop.execute("SELECT mongo_command('{\"find\": \"orders\"}')")


@pytest.mark.parametrize("options", [
    {"user": "reader", "password": "wrong"},
    {"user": "nobody"},
    {"user": "reader", "auth_source": "shop"},
])
def test_wrong_credentials(shop, postgres, options):
    """28P01, a hint, and the password in neither message nor log."""
    position = postgres.log_position()
    log_in(shop, **options)
    with pytest.raises(psycopg.errors.InvalidPassword) as failure:
        shop.execute(PING)
    assert "uthentication" in failure.value.diag.message_detail
    assert "ALTER USER MAPPING" in failure.value.diag.message_hint
    assert options.get("password", SECRET) not in str(failure.value)
    said = [line for line in postgres.log_text(position).splitlines() if "STATEMENT" not in line]
    assert not [line for line in said if SECRET in line]
    assert checks(shop)["authentication"][0] is False


def test_unauthorized(shop):
    log_in(shop, "nothing", auth_source="admin")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as failure:
        shop.execute("SELECT mongo_command('{\"find\": \"orders\"}')")
    assert failure.value.diag.message_detail == "MongoDB error 13 (Unauthorized): not authorized on shop to execute command find."
    assert "grantRolesToUser" in failure.value.diag.message_hint


def test_rights_in_postgres(shop):
    """USAGE is asked for at each call; each role connects by its own mapping, or the public one."""
    shop.execute("DROP ROLE IF EXISTS mongo_clerk")
    shop.execute("CREATE ROLE mongo_clerk")
    log_in(shop, "reader", auth_source="admin")
    with shop.connect() as clerk:
        clerk.execute("SET ROLE mongo_clerk")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            clerk.execute(PING)
        shop.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mongo_clerk")
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            clerk.execute("SELECT mongo_command('{\"find\": \"orders\"}')")
        shop.execute(f"CREATE USER MAPPING FOR public SERVER mongo OPTIONS (username 'everything', password '{SECRET}')")
        clerk.execute("SELECT mongo_command('{\"find\": \"orders\"}')")
        shop.execute("REVOKE USAGE ON FOREIGN SERVER mongo FROM mongo_clerk")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            clerk.execute(PING)
    shop.execute("DROP ROLE mongo_clerk")


def test_check_reader(shop):
    """The built-in role read is enough for a database, not for everything."""
    log_in(shop, "reader", auth_source="admin")
    found = checks(shop)
    assert found["connection"][0] and found["authentication"][:2] == (True, 'user "reader" of database "admin"')
    assert found["version"][0] and found["replica_set"][0] and found["clock"][0]
    assert found["stream_of_database"][0] and found["large_events"][0]
    assert not found["stream_of_deployment"][0]
    assert "grantRolesToUser(\"reader\", [{role: \"watchAll\", db: \"admin\"}])" in found["stream_of_deployment"][2]
    assert found["images"][:2] == (False, "not kept by 1 of 2 collections: items")
    assert found["images"][2] == 'db.getSiblingDB("shop").runCommand({collMod: "items", changeStreamPreAndPostImages: {enabled: true}})'
    assert found["oplog_window"][0]


def test_check_hints_help(shop, guarded):
    """What a hint says, done, makes the check succeed."""
    import subprocess
    admin = guarded.client.admin
    admin.command("createUser", "newcomer", pwd=SECRET, roles=[])
    log_in(shop, "newcomer", auth_source="admin")
    found = checks(shop)
    assert not found["stream_of_database"][0]
    assert found["stream_of_database"][2] == 'db.getSiblingDB("admin").grantRolesToUser("newcomer", [{role: "read", db: "shop"}])'
    admin.command("grantRolesToUser", "newcomer", roles=[{"role": "read", "db": "shop"}])
    found = checks(shop)
    assert found["stream_of_database"][0]
    admin.command("dropUser", "newcomer")


def test_check_one_collection(shop):
    """A role for one collection is refused for its database, and told which collection it may watch."""
    log_in(shop, "orders_only", auth_source="admin")
    found = checks(shop)
    assert not found["stream_of_database"][0]
    assert found["stream_of_collections"][:2] == (True, "allowed: orders; refused: none")
    assert found["oplog_window"][0]


def test_check_oplog_when_mongo_does_not_answer(shop, guarded):
    """An error on the way is not taken for an oplog that has lost something."""
    log_in(shop, "everything", auth_source="admin")
    guarded.fail_command(["getMore"], errorCode=6)
    try:
        ok, detail, hint = checks(shop)["oplog_window"]
    finally:
        guarded.stop_failing()
    assert not ok and "is not known" in detail and "HostUnreachable" in detail and hint is None
    assert checks(shop)["oplog_window"][0]


def test_check_nothing(shop):
    log_in(shop, "nothing", auth_source="admin")
    found = checks(shop)
    assert not any(found[name][0] for name in ("stream_of_deployment", "stream_of_database", "stream_of_collections", "images", "oplog_window"))


def test_check_everything(shop):
    log_in(shop, "everything", auth_source="admin")
    found = checks(shop)
    assert found["stream_of_deployment"][0] and found["stream_of_database"][0]


def test_check_without_server(db):
    """A server that is not there is a row, not an error."""
    db.create_server("mongodb://127.0.0.1:1/", "shop")
    rows = db.execute("SELECT check_name, ok, hint FROM check_mongo_server()")
    assert [row[:2] for row in rows[-2:]] == [("user_mapping", True), ("connection", False)]
    assert "ALTER SERVER" in rows[-1][2]
