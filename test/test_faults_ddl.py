"""Collections and databases that come, go and change their names among writers, at random: each scope's stream holds what MongoDB's history does."""
import random

import pymongo
import pytest

import oracle
from streams import create, gaps, pause, resume, sync, wait_state, worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

SCOPES = ("collection", "database", "deployment")
NAMES = ("c", "d", "e")


class Changer:
    """Writes, and drops, makes and renames collections and the database, by turns, so that each meets the others at any moment."""

    def __init__(self, mongo, databases, seed):
        self.mongo, self.databases, self.luck = mongo, databases, random.Random(seed)
        self.done = {}

    def step(self):
        mdb = self.mongo.client[self.luck.choice(self.databases)]
        what = self.luck.choice(["write"] * 12 + ["drop", "create", "rename", "rename over", "out", "drop database"])
        try:
            getattr(self, what.replace(" ", "_"))(mdb)
            self.done[what] = self.done.get(what, 0) + 1
        except pymongo.errors.OperationFailure as failure:
            # no such collection, or one of that name
            if failure.code not in (26, 48):
                raise

    def write(self, mdb):
        mdb[self.luck.choice(NAMES)].insert_many([{"n": number} for number in range(self.luck.randrange(1, 20))])

    def drop(self, mdb):
        mdb[self.luck.choice(NAMES)].drop()

    def create(self, mdb):
        mdb.create_collection(self.luck.choice(NAMES), check_exists=False)

    def rename(self, mdb):
        one, other = self.luck.sample(NAMES, 2)
        mdb[one].rename(other)

    def rename_over(self, mdb):
        one, other = self.luck.sample(NAMES, 2)
        mdb[one].rename(other, dropTarget=True)

    def out(self, mdb):
        one, other = self.luck.sample(NAMES, 2)
        if one in mdb.list_collection_names():
            mdb[one].aggregate([{"$out": other}])

    def drop_database(self, mdb):
        self.mongo.client.drop_database(mdb.name)


def test_each_scope(linked, mongo, mdb):
    """Two databases; the workers are ended and the streams paused meanwhile."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    luck = random.Random(seed)
    since = oracle.mark(mongo)
    create(linked, "collection", collection="c")
    create(linked, "database")
    create(linked, "deployment", database="*")
    changer = Changer(mongo, (mdb.name, mdb.name, mdb.name + "_other"), seed)
    try:
        for number in range(300):
            changer.step()
            if number % 15 == 0:
                linked.execute("SELECT pg_terminate_backend(%s, 5000)", worker(linked, luck.choice(SCOPES)))
            if number % 40 == 0:
                stream = luck.choice(SCOPES)
                pause(linked, stream)
                for _ in range(luck.randrange(10)):
                    changer.step()
                resume(linked, stream)
        for stream in SCOPES:
            sync(linked, stream, "60 seconds")
            wait_state(linked, stream, "active")
    finally:
        mongo.client.drop_database(mdb.name + "_other")
    print(changer.done)
    sync(linked, "deployment")
    assert oracle.compare(linked, "deployment", mongo, since) > 300
    assert oracle.compare(linked, "database", mongo, since, mdb.name) > 200
    # the collection's stream: its events, and a gap row for each collection that took its name
    history = [oracle.columns(raw) for raw in oracle.history(mongo, since, mdb.name)]
    found = oracle.stored(linked, "collection")
    assert [row["event_id"] for row in found] == list(range(1, len(found) + 1))
    assert [row["resume_token"] for row in found if row["operation_type"] != "gap"] == \
        [row["resume_token"] for row in history if row["collection_name"] == "c"]
    onto = [row["resume_token"] for row in history if row["operation_type"] == "rename" and row["collection_name"] != "c"
            and oracle.plain(row["extra"][1:])["to"] == {"db": mdb.name, "coll": "c"}]
    assert [high for _, _, high, _ in gaps(linked, "collection")] == onto
