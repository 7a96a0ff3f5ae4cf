"""Another history than the one that was followed: told, never followed in silence; and no alarm where it is the same."""
import shutil

import pytest

import oracle
from harness.machine import wait_until
from streams import create, gaps, operations, pause, resume, status, sync, wait_state, worker

PROGRESS = "SELECT {} FROM change_stream_progress WHERE stream_name = %s"


def follow(db, mongo, stream="s", documents=3):
    """A stream that has followed some inserts, with the deployment remembered."""
    database = mongo.client.shop
    create(db, stream, collection="c", database="shop")
    database.c.insert_many({"n": number} for number in range(documents))
    sync(db, stream)
    db.wait_for(PROGRESS.format("deployment IS NOT NULL"), stream)
    return database


def server(db, mongo):
    db.create_server(mongo.uri, "shop")


def move(db, mongo):
    db.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{mongo.uri}')")


def test_another_replica_set(db, new_replica_set, mongo):
    """ALTER SERVER to another set: history_lost with the reason; the way out leaves a gap row and follows the new one."""
    first = new_replica_set()
    server(db, first)
    follow(db, first)
    other = mongo.client.shop
    other.c.insert_one({"other": 1})
    try:
        move(db, mongo)
        told = wait_state(db, "s", "history_lost")
        assert "is not the one that was followed" in told["reason"] and "mend the server's uri and SELECT resume_change_stream('s'), else" in told["reason"]
        assert operations(db, "s") == ["insert"] * 3
        resume(db, "s", start_at="now")
        other.c.insert_one({"other": 2})
        sync(db, "s")
        assert operations(db, "s") == ["insert"] * 3 + ["gap", "insert"]
        assert gaps(db, "s")[0][3] == "history lost"
    finally:
        mongo.client.drop_database("shop")


@pytest.mark.parametrize("events", [0, 3])
def test_another_set_and_few_rights(db, new_replica_set, mongo, events):
    """Without the right to see the set's id: the last event decides; where there is none, a gap row tells."""
    first = new_replica_set()
    for one in (first, mongo):
        one.fail_command(["replSetGetConfig"], errorCode=13)
    server(db, first)
    create(db, "s", collection="c", database="shop")
    if events:
        first.client.shop.c.insert_many({"n": number} for number in range(events))
    sync(db, "s")
    db.wait_for(PROGRESS.format("deployment IS NOT NULL"), "s")
    assert db.value(PROGRESS.format("deployment ? 'set_id'"), "s") is False
    move(db, mongo)
    try:
        if events:
            assert "the last event" in wait_state(db, "s", "history_lost")["reason"]
        else:
            db.wait_for("SELECT count(*) FROM change_stream_events", expect=1)
            # of two sets each has its own time, which the other's position may be ahead of for a moment
            position = oracle.token_time(db.value(PROGRESS.format("resume_token"), "s"))
            wait_until(lambda: oracle.mark(mongo) > position, 30, "the other set's time passes the position")
            mongo.client.shop.c.insert_one({"other": 1})
            sync(db, "s")
            assert operations(db, "s") == ["gap", "insert"]
            assert "members are" in gaps(db, "s")[0][3]
    finally:
        first.stop_failing()
        mongo.client.drop_database("shop")


def test_restored_from_an_older_backup(db, new_replica_set):
    """The same set, put back to what it was before the last events, and going on from there: history_lost, nothing in silence."""
    mongo = new_replica_set()
    server(db, mongo)
    database = follow(db, mongo)
    member = mongo.members[0]
    member.stop()
    backup = member.folder / "backup"
    shutil.copytree(member.data, backup)
    member.start()
    mongo.wait_primary()
    database.c.insert_many({"late": number} for number in range(3))
    sync(db, "s", "60 seconds")
    pause(db, "s")
    member.stop()
    shutil.rmtree(member.data)
    shutil.copytree(backup, member.data)
    member.start()
    mongo.wait_primary()
    database.c.insert_many({"anew": number} for number in range(3))
    resume(db, "s")
    assert "the last event" in wait_state(db, "s", "history_lost")["reason"]
    assert operations(db, "s") == ["insert"] * 6
    resume(db, "s", start_at="earliest")
    sync(db, "s")
    assert operations(db, "s")[6] == "gap" and operations(db, "s")[-3:] == ["insert"] * 3


def test_a_time_that_lies_ahead(db, new_replica_set):
    """Restored, and nothing has happened since: MongoDB's time is before that of the last event, which is told at once and is no error yet."""
    mongo = new_replica_set()
    server(db, mongo)
    database = follow(db, mongo)
    pause(db, "s")
    token = db.value(PROGRESS.format("last_event_token"), "s")
    later = f"82{int(token[2:10], 16) + 20:08X}{token[10:]}"
    db.execute("UPDATE change_stream_progress SET last_event_token = %s, resume_token = %s", later, later)
    resume(db, "s")
    told = wait_state(db, "s", "retrying")
    assert "before that of the last event" in told["last_error"]
    # MongoDB's time passes it, and now it is certain
    assert "the last event" in wait_state(db, "s", "history_lost", 60)["reason"]
    assert database.c.count_documents({}) == 3


def test_the_same_history(db, new_replica_set):
    """Restarts, elections, a collection that is dropped and made again, another pipeline: nothing of this is another history."""
    mongo = new_replica_set(members=3)
    server(db, mongo)
    database = follow(db, mongo)
    token = db.value(PROGRESS.format("last_event_token"), "s")
    assert oracle.token_time(token) > oracle.token_time("82" + "0" * 16)
    mongo.step_down()
    mongo.wait_primary()
    database.c.drop()
    database.c.insert_one({"n": 10})
    sync(db, "s", "60 seconds")
    for member in mongo.members:
        member.stop()
        member.start()
        mongo.wait_primary()
    pause(db, "s")
    db.execute("SELECT alter_change_stream('s', pipeline => '[{\"$match\": {\"fullDocument.n\": 99}}]')")
    db.execute("UPDATE change_stream_progress SET resume_token = last_event_token")
    resume(db, "s")
    database.c.insert_many([{"n": 1}, {"n": 99}])
    sync(db, "s", "60 seconds")
    assert operations(db, "s") == ["insert"] * 3 + ["drop", "insert", "insert"]
    assert status(db, "s")["state"] == "active" and worker(db, "s")


@pytest.mark.parametrize("scope", ["collection", "database", "role that may watch the collection only"])
def test_collection_that_is_made_again(db, new_replica_set, scope):
    """The last event is of a collection that is gone, and another has its name: the history is the same, and nothing is told."""
    mongo = new_replica_set()
    server(db, mongo)
    database = mongo.client.shop
    # what makes it need the database, too, where it shall be refused that
    needs = {"pipeline": '[{"$match": {"operationType": {"$ne": "nosuch"}}}]'} if scope.startswith("role") else {}
    create(db, "s", database="shop", **({} if scope == "database" else {"collection": "c"}), **needs)
    database.c.insert_one({"n": 0})
    sync(db, "s")

    def down(turn, change):
        pause(db, "s")
        db.wait_for("SELECT pid IS NULL FROM change_stream_status")
        change()
        database.c.insert_one({"n": turn})
        if scope.startswith("role"):
            # the look at the history, and the opening
            mongo.fail_command(["aggregate"], times=2, errorCode=13)
        resume(db, "s")
        if scope.startswith("role"):
            db.wait_for("SELECT reason LIKE 'following the collection%%' FROM change_stream_status")
        sync(db, "s", "60 seconds")
        assert status(db, "s")["state"] == "active" and gaps(db, "s") == []

    database.other.insert_one({"n": "other"})
    down(1, database.c.drop)
    down(2, lambda: database.c.rename("away"))
    down(3, lambda: mongo.client.drop_database("shop"))
    assert db.column("SELECT full_document->>'n' FROM change_stream_events WHERE operation_type = 'insert'"
                     " AND collection_name = 'c' ORDER BY event_id") == ["0", "1", "2", "3"]
