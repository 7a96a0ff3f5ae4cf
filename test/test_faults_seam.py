"""A filter that is altered: each event is decided by exactly the definition that was in force at its place.

The seam is the position that alter_change_stream finds under its lock.  What MongoDB's history has
before it must be there as the old filter says, what follows as the new one says, with no number left
out and changed_at_event between the two.
"""
import random

import pytest

import oracle
from streams import Writers, alter, create, pause, patiently, resume, sync, worker

# an SQL condition, and the same of a row of the oracle; MongoDB evaluates some, the worker others
FILTERS = {
    "operation_type = 'insert'": lambda row: row["operation_type"] == "insert",
    "operation_type <> 'insert'": lambda row: row["operation_type"] != "insert",
    "collection_name IN ('a', 'b')": lambda row: row["collection_name"] in ("a", "b"),
    "length(collection_name || operation_type) = 7": lambda row: len(row["collection_name"] + row["operation_type"]) == 7,
    "document_key::text LIKE '%1%'": None,      # by what the row itself says
    "true": lambda row: True,
}


def definition(connection):
    """The last number before the definition in force and the position at which it came, as the caller's transaction sees them."""
    return connection.execute("SELECT changed_at_event, resume_token FROM change_streams JOIN change_stream_progress USING (stream_name)"
                              " WHERE stream_name = 'orders'").fetchone()


def change(db, condition):
    """Alters the filter; returns the seam: number and position, which nobody can move before the commit."""
    with db.connect(autocommit=False) as connection:
        alter(connection, "orders", filter=condition)
        seam = definition(connection)
        connection.commit()
    return seam



def check(db, mongo, mdb, since, conditions, seams):
    """The stream holds, part by part, what its filters let through of MongoDB's history."""
    history = [oracle.columns(raw) for raw in oracle.history(mongo, since, mdb.name)]
    found = oracle.stored(db, "orders")
    assert [row["event_id"] for row in found] == list(range(1, len(found) + 1))
    with_1 = set(db.column("SELECT resume_token FROM change_stream_events WHERE stream_name = 'every' AND document_key::text LIKE '%%1%%'"))
    bounds = [(0, ""), *seams, (len(found), "9")]
    for condition, (first, low), (last, high) in zip(conditions, bounds, bounds[1:]):
        passes = FILTERS[condition] or (lambda row: row["resume_token"] in with_1)
        wanted = [row for row in history if low < row["resume_token"] <= high and passes(row)]
        have = [{name: row[name] for name in row if name != "event_id"} for row in found if first < row["event_id"] <= last]
        assert [row["resume_token"] for row in have] == [row["resume_token"] for row in wanted], f"{condition}: events {first} to {last}"
        assert have == wanted
    return len(found)


@pytest.fixture
def altered(linked, mongo, mdb):
    """A stream whose filter is altered, and one of everything, which says what a document_key looks like as text."""
    linked.since = oracle.mark(mongo)
    create(linked, "every")
    create(linked, "orders", filter="true")
    return linked


def finish(db, mongo, mdb, conditions, seams):
    for stream in ("every", "orders"):
        patiently(lambda: sync(db, stream, "60 seconds"))
    oracle.compare(db, "every", mongo, db.since, mdb.name)
    assert seams == sorted(seams)
    return check(db, mongo, mdb, db.since, conditions, seams)


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_filter_altered_again_and_again(altered, mongo, mdb, paused):
    """Among writers, with a pause around each change or without."""
    luck = random.Random()
    conditions, seams = ["true"], []
    with Writers(mongo, mdb.name) as writers:
        for _ in range(5):
            writers.wait(luck.randrange(5, 60))
            if paused:
                pause(altered, "orders")
                writers.wait(luck.randrange(1, 30))
            conditions.append(luck.choice([one for one in FILTERS if one != conditions[-1]]))
            seams.append(change(altered, conditions[-1]))
            if paused:
                writers.wait(luck.randrange(1, 30))
                resume(altered, "orders")
        writers.wait(50)
    assert finish(altered, mongo, mdb, conditions, seams) > 15


def test_altered_twice_in_a_transaction_or_not_at_all(altered, mongo, mdb):
    """Only what is committed counts: the last definition of a transaction, none of one that is rolled back."""
    conditions, seams = ["true"], []
    with Writers(mongo, mdb.name) as writers:
        for last in ("operation_type = 'insert'", "collection_name IN ('a', 'b')"):
            writers.wait(30)
            with altered.connect(autocommit=False) as connection:
                alter(connection, "orders", filter="false")
                connection.rollback()
            writers.wait(30)
            with altered.connect(autocommit=False) as connection:
                alter(connection, "orders", filter="false")
                alter(connection, "orders", filter=last)
                conditions.append(last)
                seams.append(definition(connection))
                connection.commit()
        writers.wait(30)
    assert finish(altered, mongo, mdb, conditions, seams) > 20


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_seam_within_a_backlog(altered, mongo, mdb, paused):
    """The change meets a worker that is amid thousands of events, some read and not written."""
    pause(altered, "orders")
    for first in range(0, 1000, 250):
        for name in ("a", "b", "c"):
            mdb[name].insert_many([{"_id": number} for number in range(first, first + 250)])
            mdb[name].update_many({"_id": {"$gte": first}}, {"$set": {"n": 1}})
    conditions, seams = ["true"], []
    resume(altered, "orders")
    altered.wait_for("SELECT last_event_id > 0 FROM change_stream_progress WHERE stream_name = 'orders'")
    for condition in ("operation_type <> 'insert'", "length(collection_name || operation_type) = 7", "true"):
        if paused:
            pause(altered, "orders")
        conditions.append(condition)
        seams.append(change(altered, condition))
        if paused:
            resume(altered, "orders")
    assert seams[0][0] < 6000
    finish(altered, mongo, mdb, conditions, seams)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_worker_ended_around_the_seam(altered, mongo, mdb):
    """The worker is ended at random moments around each change."""
    luck = random.Random()
    conditions, seams = ["true"], []
    with Writers(mongo, mdb.name) as writers:
        for _ in range(20):
            writers.wait(luck.randrange(5, 40))
            if luck.random() < 0.5:
                altered.execute("SELECT pg_terminate_backend(%s)", worker(altered, "orders"))
            conditions.append(luck.choice([one for one in FILTERS if one != conditions[-1]]))
            seams.append(change(altered, conditions[-1]))
            if luck.random() < 0.5:
                altered.execute("SELECT pg_terminate_backend(%s)", worker(altered, "orders"))
    assert finish(altered, mongo, mdb, conditions, seams) > 50
