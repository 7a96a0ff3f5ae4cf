"""Collections and databases of MongoDB that are dropped, renamed, replaced: streams of each scope go on."""
import time

import pytest

import oracle
from harness.machine import wait_until
from streams import create, gaps, operations, pause, resume, sync, wait_state

SCOPES = ("collection", "database", "deployment")


@pytest.fixture
def three(linked, mongo, mdb):
    """A stream of each scope on a collection c with a document in it."""
    mdb.c.insert_one({"_id": "before"})
    linked.since = oracle.mark(mongo)
    create(linked, "collection", collection="c")
    create(linked, "database")
    create(linked, "deployment", database="*")
    mdb.c.insert_one({"_id": "first"})
    return linked


def check(db, mongo, mdb):
    """All three go on, idle at rest, and hold what MongoDB's history does."""
    mdb.c.insert_one({"_id": "last"})
    for stream in SCOPES:
        sync(db, stream)
        wait_state(db, stream, "active")
    oracle.compare(db, "database", mongo, db.since, mdb.name)
    oracle.compare(db, "deployment", mongo, db.since)
    check_collection(db, mongo, mdb)
    check_rest(db, mongo)
    return operations(db, "collection")


def check_collection(db, mongo, mdb):
    """The collection's stream has its collection's events, and only gap rows beside."""
    expected = [row["resume_token"] for row in map(oracle.columns, oracle.history(mongo, db.since, mdb.name))
                if row["collection_name"] == "c"]
    found = oracle.stored(db, "collection")
    assert [row["event_id"] for row in found] == list(range(1, len(found) + 1))
    assert [row["resume_token"] for row in found if row["operation_type"] != "gap"] == expected


def check_rest(db, mongo):
    """Nothing spins: three idle streams ask MongoDB ten times a second each, and nobody restarts."""
    def asked():
        commands = mongo.client.admin.command("serverStatus")["metrics"]["commands"]
        return commands["aggregate"]["total"] + commands["getMore"]["total"]

    def rate():
        before, begin = asked(), time.monotonic()
        time.sleep(1)
        return (asked() - before) / (time.monotonic() - begin)

    # a stream that spins does so for ever; one that has just been opened again may have asked more often
    wait_until(lambda: rate() <= 40, what="forty commands a second at most")
    assert db.value("SELECT sum(restarts) FROM change_stream_progress") == 0


def test_drop_and_recreate(three, mongo, mdb):
    mdb.c.drop()
    mdb.create_collection("c")
    mdb.c.insert_one({"_id": "again"})
    assert check(three, mongo, mdb) == ["insert", "drop", "insert", "insert"]
    assert gaps(three, "collection") == []


def test_rename_away(three, mongo, mdb):
    mdb.c.rename("d")
    mdb.d.insert_one({"_id": "elsewhere"})
    assert check(three, mongo, mdb) == ["insert", "rename", "insert"]


def test_rename_over(three, mongo, mdb):
    """Another collection takes the name: what was in it came without events, and a row says so."""
    mdb.d.insert_many([{"_id": number} for number in range(3)])
    mdb.d.rename("c", dropTarget=True)
    assert check(three, mongo, mdb)[-2:] == ["gap", "insert"]
    (number, low, high, reason), = gaps(three, "collection")
    assert reason and low and high and low <= high
    told = three.row("SELECT resume_token, cluster_time FROM change_stream_events WHERE stream_name = 'collection' AND event_id = %s", number)
    assert told[0] == high and told[1] is not None


def test_out_onto_it(three, mongo, mdb):
    mdb.source.insert_many([{"_id": number} for number in range(3)])
    mdb.source.aggregate([{"$out": "c"}])
    assert "gap" in check(three, mongo, mdb)
    assert len(gaps(three, "collection")) == 1


def test_merge_into_it(three, mongo, mdb):
    """$merge writes documents one by one: events as any, and no gap."""
    mdb.source.insert_many([{"_id": number} for number in range(3)])
    mdb.source.aggregate([{"$merge": {"into": "c"}}])
    assert check(three, mongo, mdb) == ["insert"] * 5


def test_drop_database(three, mongo, mdb):
    mdb.d.insert_one({"_id": 1})
    mongo.client.drop_database(mdb.name)
    assert check(three, mongo, mdb)[:2] == ["insert", "drop"]
    assert "dropDatabase" in operations(three, "database") and "dropDatabase" in operations(three, "deployment")


def test_drop_database_again_and_again(three, mongo, mdb):
    for number in range(3):
        mongo.client.drop_database(mdb.name)
        mdb.c.insert_one({"_id": number})
    check(three, mongo, mdb)


def test_drop_while_paused(three, mongo, mdb):
    """The end of the cursor lies behind the stored position: passed on resume as if it had been seen live."""
    for stream in SCOPES:
        sync(three, stream)
        three.execute("SELECT pause_change_stream(%s)", stream)
    mdb.c.drop()
    mongo.client.drop_database(mdb.name)
    mdb.c.insert_one({"_id": "again"})
    for stream in SCOPES:
        resume(three, stream)
    check(three, mongo, mdb)


def test_watch_before_it_exists(linked, mongo, mdb):
    """A collection that comes later, with an index and a rename, seen with expanded events."""
    since = oracle.mark(mongo)
    create(linked, "early", collection="c", show_expanded_events=True)
    create(linked, "plain", collection="c")
    mdb.create_collection("c")
    mdb.c.insert_one({"_id": 1, "a": 1})
    mdb.c.create_index("a", name="by_a")
    mdb.c.drop_index("by_a")
    mdb.command("collMod", "c", validationLevel="off")
    for stream in ("early", "plain"):
        sync(linked, stream)
    assert operations(linked, "plain") == ["insert"]
    assert operations(linked, "early") == ["create", "insert", "createIndexes", "dropIndexes", "modify"]
    oracle.compare(linked, "early", mongo, since, mdb.name, show_expanded_events=True)


def watched(mongo, mdb, stream):
    """What the cursors of a stream on a database were opened on: a collection's name, or 1 for all of the database."""
    return [found["cursor"]["originatingCommand"]["aggregate"] for found in mongo.client.admin.aggregate([
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"ns": {"$regex": f"^{mdb.name}\\."}, "cursor.originatingCommand.comment": {"$regex": f"^mongo_change_stream: {stream} "}}}])]


@pytest.mark.parametrize("operations", [None, ["insert", "dropDatabase"]], ids=["all", "with the database's"])
def test_watches_its_collection(linked, mongo, mdb, operations):
    """Which costs MongoDB less; but not where what is asked for does not happen there."""
    create(linked, "s", collection="c", operations=operations)
    wait_state(linked, "s", "active")
    wait_until(lambda: watched(mongo, mdb, "s") == [1 if operations else "c"], 10, "a cursor")
    for number in range(2):
        mdb.c.insert_one({"_id": number})
        sync(linked, "s")
        mongo.client.drop_database(mdb.name)
    sync(linked, "s")
    found = linked.column("SELECT operation_type FROM change_stream_events ORDER BY event_id")
    assert found == ["insert", "dropDatabase" if operations else "drop"] * 2


def test_view_takes_the_name(linked, mongo, mdb):
    """What can't be watched itself is nothing that fails: its database is watched, until the name is a collection's again."""
    create(linked, "s", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "s")
    pause(linked, "s")
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    mdb.c.drop()
    mdb.command("create", "c", viewOn="other", pipeline=[])
    mdb.other.insert_one({"_id": 2})
    resume(linked, "s")
    wait_until(lambda: watched(mongo, mdb, "s") == [1], 30, "the database is watched")
    sync(linked, "s")
    mdb.c.drop()
    mdb.c.insert_one({"_id": 3})
    sync(linked, "s")
    assert operations(linked, "s") == ["insert", "drop", "insert"]
    assert linked.row("SELECT restarts, consecutive_errors FROM change_stream_progress") == (0, 0)
