"""What MongoDB's own specification asks of a driver's change streams, asked of a stream here.

The specification's tests are data, in the source distribution of pymongo, which is fetched into
.cache when this runs.  Their operations are done by pymongo, the change stream is one of the
extension, and an event is put together again from its row.  A test of these that is expected to
differ says why.
"""
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import time

import bson
import bson.json_util
import psycopg
import pytest

import oracle
from streams import create, drop, status

pytestmark = pytest.mark.faults

PYMONGO = "4.20.0"
CACHE = pathlib.Path(__file__).resolve().parents[1] / ".cache" / "driver-spec"

# Where a stream is meant to differ from a driver's cursor.
DIFFERENT = {
    "Change Stream should error when an invalid aggregation stage is passed in": "refused before MongoDB is asked",
    "Test server error on projecting out _id": "refused when the stream is made, not at the first event",
    "Change Stream should error when _id is projected out": "refused when the stream is made, not at the first event",
    "Test unknown operationType MUST NOT err": "a pipeline that changes operationType is refused, since the stream goes by it",
    "Test newField added in response MUST NOT err": "a pipeline that takes away documentKey or clusterTime is refused",
    "Test new structure in ns document MUST NOT err": "a pipeline that changes ns is refused",
    "Test modified structure in ns document MUST NOT err": "a pipeline that changes ns is refused",
    "Test projection in change stream returns expected fields": "a pipeline that takes away operationType is refused",
    "Test rename and invalidate event types": "a collection's stream outlives a rename, so there is no invalidate",
    "Test drop and invalidate event types": "a collection's stream outlives a drop, so there is no invalidate",
    "change stream errors on ElectionInProgress": "an election passes, and the stream goes on",
    "change stream does not resume if error does not contain ResumableChangeStreamError": "a host that can't be reached may come back",
    "fullDocument:whenAvailable with changeStreamPreAndPostImages disabled": "an image that is null is no image",
    "fullDocumentBeforeChange:whenAvailable with changeStreamPreAndPostImages disabled": "an image that is null is no image",
}

# An error that is not known to pass ends a stream that has not worked yet, and is tried again in one that has.
UNSURE = {"change stream errors on ElectionInProgress"}

DATABASES = ("database0", "database1", "change-stream-tests")


def specification():
    """The test files by name, fetched once."""
    archive = CACHE / f"pymongo-{PYMONGO}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", "-d", str(CACHE),
                        f"pymongo=={PYMONGO}"], check=True, stdin=subprocess.DEVNULL, timeout=300)
    with tarfile.open(archive) as files:
        return {pathlib.PurePath(name).name: json.load(io.TextIOWrapper(files.extractfile(name), "utf-8"))
                for name in files.getnames() if "/test/change_streams/unified/" in name and name.endswith(".json")}


def version_of(text):
    return tuple(int(part) for part in text.split("."))


def applies(requirements, version):
    """Whether a test is for a replica set of this version."""
    return not requirements or any(
        version_of(one.get("minServerVersion", "0")) <= version <= version_of(one.get("maxServerVersion", "999"))
        and "replicaset" in one.get("topologies", ["replicaset"]) for one in requirements)


def matches(expected, actual, root=True):
    """Whether a value is as the specification's language says; only at the root there may be more fields."""
    if isinstance(expected, dict):
        if set(expected) == {"$$type"}:
            return isinstance(actual, {"object": dict, "array": list, "string": str}[expected["$$type"]])
        if set(expected) == {"$$exists"}:
            return expected["$$exists"]         # there is one, or this would not be asked
        if set(expected) == {"$$unsetOrMatches"}:
            return actual is None or matches(expected["$$unsetOrMatches"], actual, False)
        if not isinstance(actual, dict):
            return False
        for key, value in expected.items():
            if isinstance(value, dict) and set(value) == {"$$exists"}:
                if (key in actual) != value["$$exists"]:
                    return False
            elif isinstance(value, dict) and set(value) == {"$$unsetOrMatches"}:
                if key in actual and not matches(value["$$unsetOrMatches"], actual[key], False):
                    return False
            elif key not in actual or not matches(value, actual[key], False):
                return False
        return root or set(actual) <= set(expected)
    if isinstance(expected, list):
        return isinstance(actual, list) and len(actual) == len(expected) and \
            all(matches(one, other, False) for one, other in zip(expected, actual))
    return expected == actual


class Run:
    """One test: its entities, and the stream with how far it was read."""

    def __init__(self, db, mongo, file, test):
        self.db, self.mongo, self.test = db, mongo, test
        self.entities = {name: entity for one in file["createEntities"] for name, entity in
                         [(next(iter(one.values()))["id"], one)]}
        self.read = 0
        for name in DATABASES:
            mongo.client.drop_database(name)
        for data in file.get("initialData") or []:
            collection = mongo.client[data["databaseName"]].create_collection(data["collectionName"])
            if data["documents"]:
                collection.insert_many(data["documents"])

    def target(self, name):
        """The pymongo object of an entity, with the names of its database and collection."""
        (kind, entity), = self.entities[name].items()
        if kind == "client":
            return self.mongo.client, "*", None
        if kind == "database":
            return self.mongo.client[entity["databaseName"]], entity["databaseName"], None
        database = self.entities[entity["database"]]["database"]["databaseName"]
        return self.mongo.client[database][entity["collectionName"]], database, entity["collectionName"]

    def run(self):
        for operation in self.test["operations"]:
            arguments = operation.get("arguments", {})
            error = operation.get("expectError")
            try:
                result = getattr(self, operation["name"])(operation["object"], arguments)
            except psycopg.Error as problem:
                assert error, f"{operation['name']}: {problem}"
                text = f"{problem} {problem.diag.message_detail}"
                assert "errorCode" not in error or f"error {error['errorCode']} " in text, text
                return
            assert not error, f"{operation['name']} has not failed"
            if "expectResult" in operation and operation["name"] == "iterateUntilDocumentOrError":
                assert matches(operation["expectResult"], result), f"{result} is not {operation['expectResult']}"

    # ------------------------------------------------------------ operations

    def createChangeStream(self, name, arguments):
        _, database, collection = self.target(name)
        options = {"fullDocument": "full_document", "fullDocumentBeforeChange": "full_document_before_change",
                   "showExpandedEvents": "show_expanded_events", "batchSize": "batch_size"}
        given = {options[key]: value for key, value in arguments.items() if key in options}
        create(self.db, "spec", collection=collection, database=database, max_await_time="50 milliseconds",
               **({"pipeline": json.dumps(arguments["pipeline"])} if arguments.get("pipeline") else {}), **given)

    def iterateUntilDocumentOrError(self, *_):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            row = self.db.row("SELECT event_id FROM change_stream_events WHERE stream_name = 'spec' AND event_id > %s"
                              " ORDER BY event_id LIMIT 1", self.read)
            if row:
                self.read = row[0]
                return self.event(row[0])
            state = status(self.db, "spec")
            if state["state"] in ("error", "history_lost"):
                raise psycopg.Error(f"{state['state']}: {state['last_error']}")
            if self.db.value("SELECT sync_change_stream('spec', timeout => '1 second')") and \
                    not self.db.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'spec' AND event_id > %s", self.read):
                raise AssertionError("no event came")
        raise AssertionError(f"neither an event nor an error: {status(self.db, 'spec')}")

    def event(self, number):
        """The event as MongoDB sent it, put together from its row."""
        row = oracle.stored(self.db, "spec", number - 1)[0]
        event = {"_id": oracle.token_document(row["resume_token"]), "operationType": row["operation_type"],
                 "clusterTime": row["cluster_time"], "wallTime": row["change_timestamp"]}
        names = {key: row[column] for key, column in (("db", "database_name"), ("coll", "collection_name")) if row[column]}
        if names:
            event["ns"] = names
        for field, column in oracle.DOCUMENTS.items():
            if row[column] is not None:
                event[field] = bson.decode(bytes(row[column])[1:])
        if row["extra"] is not None:
            event.update(bson.decode(bytes(row["extra"])[1:]))
        return event

    def failPoint(self, _, arguments):
        self.mongo._failing = True
        self.failing = arguments["failPoint"]["configureFailPoint"]
        self.mongo.client.admin.command(arguments["failPoint"])

    def insertOne(self, name, arguments):
        self.target(name)[0].insert_one(arguments["document"])

    def updateOne(self, name, arguments):
        self.target(name)[0].update_one(arguments["filter"], arguments["update"])

    def replaceOne(self, name, arguments):
        self.target(name)[0].replace_one(arguments["filter"], arguments["replacement"])

    def deleteOne(self, name, arguments):
        self.target(name)[0].delete_one(arguments["filter"])

    def dropCollection(self, name, arguments):
        self.target(name)[0].drop_collection(arguments["collection"])

    def createCollection(self, name, arguments):
        options = {key: value for key, value in arguments.items() if key != "collection"}
        self.target(name)[0].create_collection(arguments["collection"], **options)

    def createIndex(self, name, arguments):
        self.target(name)[0].create_index(list(arguments["keys"].items()), name=arguments["name"])

    def dropIndex(self, name, arguments):
        self.target(name)[0].drop_index(arguments["name"])

    def rename(self, name, arguments):
        self.target(name)[0].rename(arguments["to"], dropTarget=arguments.get("dropTarget", False))

    def runCommand(self, name, arguments):
        self.target(name)[0].command(arguments["command"])


@pytest.mark.timeout(900)
def test_driver_specification(linked, mongo):
    """Every test that is for a replica set of this version: as the specification has it, or different for a known reason."""
    version = version_of(mongo.client.server_info()["version"])
    ran, different, wrong = 0, set(), []
    for name, file in sorted(specification().items()):
        if not applies(file.get("runOnRequirements"), version):
            continue
        for test in file["tests"]:
            if not applies(test.get("runOnRequirements"), version):
                continue
            ran += 1
            run = Run(linked, mongo, file, test)
            try:
                run.run()
            except AssertionError as problem:
                different.add(test["description"])
                if test["description"] not in DIFFERENT:
                    wrong.append(f"{name}: {test['description']}: {problem}")
            finally:
                if getattr(run, "failing", None):
                    mongo.client.admin.command({"configureFailPoint": run.failing, "mode": "off"})
                if linked.value("SELECT count(*) FROM change_streams"):
                    drop(linked, "spec")
    for database in DATABASES:
        mongo.client.drop_database(database)
    assert wrong == [], "\n".join(wrong)
    assert ran > 40
    assert set(DIFFERENT) - different <= UNSURE, "said to differ, but as specified"
