"""What tests of snapshots and mirrors have in common: writers of every kind, and MongoDB as it was at a time.

A mirror is compared with what MongoDB answers at the cluster time that the mirror's status tells, byte for byte; nothing
of the comparison goes through the extension but the two columns' bytes.
"""
import contextlib
import os
import random
import signal
import struct
import threading
import time

import bson
import psycopg
import pymongo
from bson.raw_bson import RawBSONDocument
from psycopg import sql as SQL

import bson_values as B
import oracle
from harness.machine import wait_until
from streams import WritingThreads, call, create, patiently, sync, worker

RAW = bson.CodecOptions(document_class=RawBSONDocument)
DECODE = bson.CodecOptions(unicode_decode_error_handler="replace", datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_MS)
STATUS = "SELECT * FROM change_mirror_status WHERE mirror_name = %s"


# ------------------------------------------------------------ mirrors

def mirror(db, name, **options):
    return call(db, "create_change_mirror", name, **options)


def status(db, name):
    """A mirror's row in the status as a dictionary."""
    cursor = getattr(db, "connection", db).execute(STATUS, (name,))
    row = cursor.fetchone()
    return row and dict(zip([column.name for column in cursor.description], row))


def wait_exact(db, *names, timeout=60):
    """Waits until each of the mirrors has its whole collection and can say at which time."""
    for name in names:
        try:
            wait_until(lambda: (status(db, name) or {}).get("exact_at"), timeout, f"{name} is exact")
        except TimeoutError as problem:
            raise TimeoutError(f"{problem}: {status(db, name)}, {stream_of(db, name)}") from None


def stream_of(db, name):
    """The status of a mirror's stream, for error messages."""
    return db.row("SELECT s.* FROM change_stream_status s JOIN change_mirrors m USING (stream_name) WHERE mirror_name = %s", name)


def timestamp(exact_at):
    """The cluster time that the status writes as a timestamptz."""
    since = exact_at - oracle.EPOCH
    return bson.Timestamp(since.days * 86400 + since.seconds, since.microseconds)


def rows(connection, table):
    """A mirror's rows: {bytes of _id: bytes of the document}, both as document_send has them; none twice."""
    found = connection.execute(SQL.SQL("SELECT document_send(_id), document_send(document) FROM {}").format(SQL.Identifier(*table.split(".")))).fetchall()
    assert len({_id for _id, _ in found}) == len(found)
    return dict(found)


# ------------------------------------------------------------ MongoDB as it was

class Past:
    """Reads collections as they were, byte for byte."""

    def __init__(self, mongo, database):
        login = {"username": "root", "password": mongo.ROOT_PASSWORD} if mongo.auth else {}
        self.client = pymongo.MongoClient(mongo.uri, serverSelectionTimeoutMS=60000, **login)
        self.database = self.client[database]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def documents(self, collection, at=None, condition=None):
        """{bytes of _id: bytes of the document}, now or at a cluster time; None where MongoDB does not know that time any more."""
        concern = {"level": "snapshot", "atClusterTime": at} if at else {"level": "majority"}
        command = {"find": collection, "filter": condition or {}, "readConcern": concern, "batchSize": 100000}
        while True:
            try:
                return self._documents(collection, command)
            except pymongo.errors.OperationFailure as error:
                # SnapshotTooOld after a restart, which forgets the past; SnapshotUnavailable for a collection that is younger
                if error.code in (239, 246):
                    return None
                # its own cursor may be among those that a test kills
                if error.code not in (11600, 11602, 13388, 13435, 13436, 10107, 189, 91, 134, 43, 237):
                    raise
            except pymongo.errors.ConnectionFailure:
                pass            # it is being restarted

    def _documents(self, collection, command):
        found = {}
        cursor = self.database.command(command, codec_options=RAW)["cursor"]
        part = cursor["firstBatch"]
        while True:
            for document in part:
                raw = bytes(document.raw)
                found[id_of(raw)] = b"\x03" + raw
            if not cursor["id"]:
                return found
            cursor = self.database.command({"getMore": bson.Int64(cursor["id"]), "collection": collection}, codec_options=RAW)["cursor"]
            part = cursor["nextBatch"]


def id_of(raw):
    """The bytes of a document's _id."""
    return next(bytes([kind]) + value for name, kind, value in oracle.elements(raw) if name == "_id")


def difference(here, there):
    """What differs between two states, in words; None: nothing."""
    if here == there:
        return None
    missing, extra = there.keys() - here.keys(), here.keys() - there.keys()
    other = [key for key in here.keys() & there.keys() if here[key] != there[key]]
    shown = [(key, here.get(key) and _shown(here[key]), there.get(key) and _shown(there[key])) for key in [*missing, *extra, *other][:3]]
    return f"{len(here)} rows, {len(there)} documents; {len(missing)} missing, {len(extra)} too many, {len(other)} different: {shown}"


def _shown(raw):
    try:
        return str(bson.decode(raw[1:], DECODE))[:500]
    except bson.errors.InvalidBSON:
        return raw.hex()[:500]


def equal_now(db, mongo, database, table, collection, timeout=60):
    """Waits until a table of a mirror equals its collection, to which nobody writes."""
    with Past(mongo, database) as past:
        there, last = past.documents(collection), []

        def equal():
            last[:] = [difference(rows(db.connection, table), there)]
            return last[0] is None

        try:
            wait_until(equal, timeout, pause=0.1)
        except TimeoutError:
            raise AssertionError(f"{table} differs from {collection}: {last[0]}") from None
        return len(there)


def synced(db, stream, *names):
    """Waits for all that MongoDB has, and that the mirrors say that they are exact."""
    sync(db, stream)
    wait_exact(db, *names)


def stopped(db, name, timeout=30):
    """Waits until a mirror has stopped; returns its status."""
    try:
        wait_until(lambda: status(db, name)["state"] == "error", timeout, f"{name} stops")
    except TimeoutError as problem:
        raise TimeoutError(f"{problem}: {status(db, name)}, {stream_of(db, name)}") from None
    shown = status(db, name)
    assert shown["reason"] and "resync_change_mirror" in shown["reason"], shown
    assert shown["exact_at"] is None
    return shown


def same(db, mongo, mdb, table="c", collection="c"):
    return equal_now(db, mongo, mdb.name, table, collection, timeout=20)


def make_shop(db, mongo, mdb):
    """A stream s of the database, with a mirror c of three documents, and another, d."""
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(3)])
    mdb.d.insert_one({"_id": "d"})
    create(db, "s", keep_events=False)
    for name in "cd":
        mirror(db, name, stream_name="s")
    synced(db, "s", "c", "d")
    assert same(db, mongo, mdb) == 3
    return db


def moment(connection, past, tables, look=None, pause=0):
    """One transaction's view of mirrors {name: (table, collection)}; returns how many of them were compared, and what differed.

    look: is given {name: rows} of those that are exact.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        # the rows first, the time they are of later: both are of the transaction's snapshot
        seen = {name: rows(connection, table) for name, (table, _) in tables.items()}
        if pause:
            connection.execute("SELECT pg_sleep(%s)", (pause,))
        times = dict(connection.execute("SELECT mirror_name, exact_at FROM change_mirror_status").fetchall())
    finally:
        with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
            connection.execute("ROLLBACK")
    compared, problems = 0, []
    for name, (_, collection) in tables.items():
        there = times.get(name) and past.documents(collection, timestamp(times[name]))
        if there is None:
            seen.pop(name)
            continue
        compared += 1
        problem = difference(seen[name], there)
        if problem:
            problems.append(f"{name} at {timestamp(times[name])}: {problem}")
    if look and seen:
        problems += look(seen) or []
    return compared, problems


# ------------------------------------------------------------ trouble

class Faults:
    """What can happen to a stream and both its ends."""

    def __init__(self, db, postgres, mongo, mdb, proxy, stream):
        self.db, self.postgres, self.mongo, self.mdb, self.proxy, self.stream = db, postgres, mongo, mdb, proxy, stream
        self.killed = 0

    def worker_killed(self):
        """kill -9, which restarts the whole cluster."""
        begin = self.postgres.log_position()
        pid = patiently(lambda: worker(self.db, self.stream))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.killed += 1
        wait_until(lambda: f"({pid}) was terminated by signal 9" in self.postgres.log_text(begin)
                   or f"(PID {pid}) was terminated by signal 9" in self.postgres.log_text(begin), 20, "the kill is noticed")

    def worker_ended(self):
        patiently(lambda: self.db.execute("SELECT pg_terminate_backend(%s)", worker(self.db, self.stream)))

    def postgres_stopped(self):
        self.postgres.stop("immediate")
        self.postgres.start()

    def mongod_killed(self):
        self.mongo.members[0].kill()
        time.sleep(0.3)
        self.mongo.members[0].start()
        self.mongo.wait_primary()

    def stepped_down(self):
        self.mongo.step_down(3)
        self.mongo.wait_primary()

    def cursors_killed(self):
        """The stream's and, where one is open, that of a copy or a lookup."""
        for found in self.mongo.client.admin.aggregate([{"$currentOp": {"idleCursors": True, "allUsers": True}}, {"$match": {"type": "idleCursor"}}]):
            database, _, collection = found["ns"].partition(".")
            if database == self.mdb.name:
                self.mdb.command("killCursors", collection, cursors=[found["cursor"]["cursorId"]])

    def cut(self):
        self.proxy.reset()

    def cut_within_a_reply(self):
        self.proxy.stop_in = random.randrange(1, 5000)
        time.sleep(0.3)
        self.proxy.stop_in = None
        self.proxy.reset()

    def slow(self):
        self.proxy.delay, self.proxy.piece = 0.02, 9999
        time.sleep(1)
        self.proxy.delay, self.proxy.piece = 0.0, 1 << 16


# ------------------------------------------------------------ ids and bodies

def _fields(**members):
    return B.OBJECT, B.document([(name, (B.INT32, struct.pack("<i", value))) for name, value in members.items()])


def _int(value):
    return B.INT32, struct.pack("<i", value)


# of every type that MongoDB takes as an _id, at most one of each value: 1 and 1.0 are the same to it
ODD_IDS = [
    (B.DOUBLE, struct.pack("<d", 2.5)), (B.DOUBLE, struct.pack("<d", -0.0)), (B.DOUBLE, struct.pack("<d", float("nan"))),
    (B.DOUBLE, struct.pack("<d", float("-inf"))), (B.DOUBLE, struct.pack("<d", 1e300)),
    (B.STRING, B.string("")), (B.STRING, B.string("a")), (B.STRING, B.string("A")), (B.STRING, B.string("a\0b")), (B.STRING, B.string("é😀")),
    (B.STRING, B.string("17")), (B.OBJECT, B.document([])), _fields(x=1), _fields(x=2), _fields(x=1, y=1), _fields(y=1, x=1),
    (B.OBJECT, B.document([("l", (B.ARRAY, B.array([(B.NULL, b""), _int(3)])))])),
    (B.BINARY, struct.pack("<i", 0) + b"\0"), (B.BINARY, struct.pack("<i", 16) + b"\4" + bytes(range(16))),
    (B.BINARY, struct.pack("<i", 16) + b"\3" + bytes(range(16))), (B.BINARY, struct.pack("<i", 3) + b"\x80" + b"a\0b"),
    (B.OBJECT_ID, bytes(12)), (B.OBJECT_ID, b"\xff" * 12), (B.BOOL, b"\0"), (B.BOOL, b"\1"),
    (B.DATE, struct.pack("<q", 0)), (B.DATE, struct.pack("<q", -1)), (B.DATE, struct.pack("<q", (1 << 63) - 1)), (B.NULL, b""),
    (B.DB_POINTER, B.string("db.c") + bytes(12)), (B.CODE, B.string("f()")), (B.SYMBOL, B.string("symbol")),
    (B.CODE_W_SCOPE, struct.pack("<i", 4 + len(B.string("g()") + B.document([("s", _int(1))]))) + B.string("g()") + B.document([("s", _int(1))])),
    _int(-7), _int(17), (B.TIMESTAMP, struct.pack("<II", 1, 2)), (B.TIMESTAMP, b"\xff" * 8), (B.INT64, struct.pack("<q", 1 << 53)),
    (B.INT64, struct.pack("<q", (1 << 53) + 1)), (B.INT64, struct.pack("<q", -1 << 63)), (B.DECIMAL, bson.Decimal128("1.50").bid),
    (B.DECIMAL, bson.Decimal128("1E-6176").bid), (B.DECIMAL, bson.Decimal128("1E+4").bid),
    (B.DECIMAL, bson.Decimal128("9.999999999999999999999999999999999E+6144").bid), (B.MIN_KEY, b""), (B.MAX_KEY, b"")]


def with_id(pair, **fields):
    """A document with an _id given as (type, bytes), which drivers cannot write as all of their values."""
    return RawBSONDocument(oracle.document([("_id", *pair), *oracle.elements(bson.encode(fields))]))


def only(pair):
    """The condition for one _id."""
    return RawBSONDocument(oracle.document([("_id", *pair)]))


# ------------------------------------------------------------ writers

AMOUNT = 1000           # what each account has at first


class Load(WritingThreads):
    """Threads that write to the collections a, b and c in every way there is, until stopped.

    The documents of c and those of b with an odd _id are accounts: the sum of all their fields `amount` never changes; what
    moves amounts are transactions, within c, and between b and c.
    """

    COLLECTIONS = ("a", "b", "c")
    patience = 90

    def __init__(self, mongo, database, threads=3, pause=0.002, seed=None, documents=300, pad=200):
        self.mongo, self.name, self.pause, self.pad = mongo, database, pause, pad
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.writes, self.done, self.problems = 0, {}, []
        self.ids = [*ODD_IDS, *[_int(number) for number in range(1000, 1000 + documents // 2)],
                    *[(B.STRING, B.string(f"s{number}")) for number in range(documents // 2)]]
        self.accounts = ODD_IDS
        self._stop, self._hold = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]
        for name in self.COLLECTIONS:
            amount = {"amount": AMOUNT}
            mongo.client[database][name].insert_many([with_id(pair, v=0, pad="x" * pad, **(amount if name != "a" and pair in self.accounts else {}))
                                                      for pair in (self.ids if name != "c" else self.accounts)])
        self.total = AMOUNT * 2 * len(self.accounts)

    def wait(self, more, timeout=60):
        super().wait(more, timeout)
        assert not self.problems, self.problems

    def sum_is_off(self, seen, b="b", c="c"):
        """For moment(): what is wrong with the sum over both collections, where both are seen at one time."""
        if b not in seen or c not in seen:
            return []
        total = sum(bson.decode(raw[1:], DECODE).get("amount", 0)
                    for name in (b, c) for raw in seen[name].values() if b"amount" in raw)
        return [] if total == self.total else [f"the sum is {total} and not {self.total}"]

    # ---- the loop

    def _run(self, number):
        luck = random.Random(self.seed + number)
        kinds = [name for name in dir(self) if name.startswith("do_")]
        try:
            with pymongo.MongoClient(self.mongo.uri, w="majority", serverSelectionTimeoutMS=60000, datetime_conversion="DATETIME_AUTO") as client:
                database = client[self.name]
                while not self._stop.is_set():
                    kind = luck.choice(kinds)
                    try:
                        getattr(self, kind)(database, luck)
                        self.done[kind] = self.done.get(kind, 0) + 1
                    except (pymongo.errors.PyMongoError, bson.errors.InvalidBSON) as error:
                        # a date in an answer that is none to Python, or: in doubt, a conflict, or another writer was faster; a command that MongoDB does not understand is the test's fault
                        if isinstance(error, pymongo.errors.OperationFailure) and error.code in (2, 9, 14, 40, 8000, 16840):
                            if not self._expected(error):
                                raise
                    self.writes += 1
                    self._stop.wait(luck.random() * 2 * self.pause)
        except Exception as problem:
            self.problems.append(f"{kind}: {problem!r}")

    @staticmethod
    def _expected(error):
        """Errors of updates that do not fit what another writer has left in the document."""
        return any(text in str(error) for text in ("must be an array", "non-array", "non-numeric", "is not an array", "Cannot apply", "Cannot create field",
                                                   "applied to a non", "arithmetic", "numeric", "array but is of type", "field of type"))

    def _pick(self, database, luck):
        """A collection and an _id whose document may be removed and replaced: no account."""
        collection = database[luck.choice("aab")]
        pair = luck.choice(self.ids)
        if collection.name == "b" and pair in self.accounts:
            collection = database.a
        return collection, pair

    def _any(self, database, luck):
        """A collection and an _id, be it an account."""
        name = luck.choice("abc")
        return database[name], luck.choice(self.accounts if name == "c" else self.ids)

    def _body(self, luck):
        return {"v": luck.randrange(1 << 40), "pad": "x" * luck.randrange(2 * self.pad + 1), "f": luck.random(), "list": [1, 2, {"a": None}],
                "sub": {"x": luck.randrange(9), "deep": {"y": [luck.randrange(9)] * luck.randrange(4)}}}

    # ---- documents that come and go

    def do_insert(self, database, luck):
        database[luck.choice("abc")].insert_one({"_id": bson.ObjectId(), **self._body(luck)})

    def do_insert_many(self, database, luck):
        database[luck.choice("abc")].insert_many([{"_id": f"m{luck.randrange(200)}", **self._body(luck)} for _ in range(5)], ordered=False)

    def do_upsert(self, database, luck):
        collection, pair = self._pick(database, luck)
        collection.update_one(only(pair), {"$set": {"v": luck.randrange(99)}, "$setOnInsert": {"born": luck.random()}}, upsert=True)

    def do_replace(self, database, luck):
        collection, pair = self._pick(database, luck)
        collection.replace_one(only(pair), with_id(pair, **self._body(luck)), upsert=luck.random() < 0.5)

    def do_delete(self, database, luck):
        collection, pair = self._pick(database, luck)
        collection.delete_one(only(pair))

    def do_delete_many(self, database, luck):
        database[luck.choice("abc")].delete_many({"_id": {"$type": "string", "$regex": f"^m{luck.randrange(20)}"}})

    def do_delete_and_insert(self, database, luck):
        collection, pair = self._pick(database, luck)
        collection.delete_one(only(pair))
        collection.insert_one(with_id(pair, **self._body(luck)))

    def do_become_the_same_number(self, database, luck):
        """1 goes, 1.0 comes: the same _id to MongoDB, with other bytes."""
        number = 5000 + luck.randrange(5)
        database.a.delete_one({"_id": number})
        database.a.insert_one({"_id": luck.choice([number, float(number), bson.Int64(number), bson.Decimal128(f"{number}.0")]), "v": luck.random()})

    # ---- updates

    def do_update(self, database, luck):
        collection, pair = self._any(database, luck)
        collection.update_one(only(pair), luck.choice([
            {"$set": {"v": luck.random(), "sub.x": luck.randrange(9), "sub.deep.z": [1, {"q": 2}]}, "$inc": {"count": 1}},
            {"$unset": {luck.choice(["f", "sub.deep", "list", "pad", "kept"]): ""}},
            {"$rename": {"f": "g"}}, {"$rename": {"g": "sub.g"}}, {"$rename": {"sub.g": "f"}},
            {"$mul": {"count": 2}}, {"$min": {"least": luck.random()}, "$max": {"most": luck.random()}},
            {"$bit": {"bits": {"xor": bson.Int64(luck.randrange(99))}}}, {"$currentDate": {"at": True, "when": {"$type": "timestamp"}}},
            {"$set": {"pad": "y" * luck.randrange(400), "9": {"0": luck.random()}}}]))

    def do_array(self, database, luck):
        collection, pair = self._any(database, luck)
        condition = only(pair)
        choice = luck.randrange(9)
        if choice == 0:
            # the array's positions
            condition = {"list": {"$exists": True}, "list.2": {"$exists": True}}
        collection.update_one(condition, [
            {"$set": {"list.1": luck.random()}},
            {"$push": {"list": luck.randrange(99)}},
            {"$push": {"list": {"$each": [1, 2, 3], "$slice": -luck.randrange(1, 6)}}},
            {"$push": {"list": {"$each": [luck.random()], "$position": 0, "$slice": 4}}},
            {"$push": {"many": {"$each": [3, 1, 2], "$sort": -1, "$slice": 7}}},
            {"$pop": {"list": luck.choice([1, -1])}}, {"$pull": {"list": {"$in": [1, 2]}}},
            {"$addToSet": {"list": {"$each": [{"a": luck.randrange(3)}]}}}, {"$set": {"list": [9, 8, 7]}}][choice])

    def do_array_filters(self, database, luck):
        collection, pair = self._any(database, luck)
        collection.update_one({"$and": [only(pair), {"many": {"$exists": True}}]}, {"$inc": {"many.$[e]": 1}}, array_filters=[{"e": {"$gt": 1}}])

    def do_pipeline(self, database, luck):
        collection, pair = self._any(database, luck)
        collection.update_one(only(pair), luck.choice([
            [{"$set": {"v": {"$add": [{"$ifNull": ["$count", 0]}, luck.randrange(99)]}}}],
            [{"$set": {"copy": {"$mergeObjects": ["$sub", {"at": luck.random()}]}}}], [{"$unset": ["copy", "sub.deep"]}],
            [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"pad": "z" * luck.randrange(300), "n": luck.random()}]}}],
            [{"$replaceWith": {"$setField": {"field": "a.b", "input": "$$ROOT", "value": luck.random()}}}],
            [{"$replaceWith": {"$setField": {"field": {"$literal": "$x"}, "input": "$$ROOT", "value": {"$literal": luck.randrange(9)}}}}]]))

    def do_update_many(self, database, luck):
        database[luck.choice("abc")].update_many({"sub.x": luck.randrange(9)}, {"$set": {"all": luck.random()}, "$inc": {"sub.x": 1}})

    def do_find_and_modify(self, database, luck):
        collection, pair = self._pick(database, luck)
        choice = luck.randrange(3)
        if choice == 0:
            collection.find_one_and_update(only(pair), {"$set": {"found": luck.random()}}, upsert=True)
        elif choice == 1:
            collection.find_one_and_replace(only(pair), with_id(pair, **self._body(luck)), upsert=True)
        else:
            collection.find_one_and_delete(only(pair))

    def do_bulk(self, database, luck):
        collection, pair = self._pick(database, luck)
        other = luck.randrange(50)
        collection.bulk_write([
            pymongo.UpdateOne(only(pair), {"$set": {"bulk": luck.random()}}, upsert=True), pymongo.UpdateOne(only(pair), {"$inc": {"count": 1}}),
            pymongo.ReplaceOne({"_id": f"m{other}"}, self._body(luck), upsert=True), pymongo.DeleteOne({"_id": f"m{other + 1}"}),
            pymongo.UpdateMany({"_id": {"$in": [f"m{other + 2}", f"m{other + 3}"]}}, {"$set": {"bulk": 1}}),
            pymongo.DeleteOne(only(pair)), *([pymongo.InsertOne(with_id(pair, **self._body(luck)))] if luck.random() < 0.7 else [])],
            ordered=luck.random() < 0.7)

    # ---- transactions

    def do_transaction(self, database, luck):
        with database.client.start_session() as session, session.start_transaction():
            for _ in range(luck.randrange(2, 8)):
                collection, pair = self._pick(database, luck)
                choice = luck.random()
                if choice < 0.4:
                    collection.update_one(only(pair), {"$set": {"txn": luck.random()}}, upsert=True, session=session)
                elif choice < 0.7:
                    collection.replace_one(only(pair), with_id(pair, **self._body(luck)), upsert=True, session=session)
                else:
                    collection.delete_one(only(pair), session=session)

    def _transfer(self, database, luck):
        """Two accounts and how much goes from one to the other."""
        (name, here), (other, there) = [(luck.choice("bc"), luck.choice(self.accounts)) for _ in range(2)]
        while (name, here) == (other, there):
            there = luck.choice(self.accounts)
        return database[name], here, database[other], there, luck.randrange(1, 50)

    def do_transfer(self, database, luck):
        source, here, target, there, amount = self._transfer(database, luck)
        with database.client.start_session() as session, session.start_transaction():
            source.update_one(only(here), {"$inc": {"amount": -amount}}, upsert=True, session=session)
            target.update_one(only(there), {"$inc": {"amount": amount}}, upsert=True, session=session)

    def do_close_account(self, database, luck):
        """One account's document goes, all that it had goes to another."""
        source, here, target, there, _ = self._transfer(database, luck)
        with database.client.start_session() as session, session.start_transaction():
            found = source.find_one_and_delete(only(here), session=session)
            if found and found.get("amount"):
                target.update_one(only(there), {"$inc": {"amount": found["amount"]}}, upsert=True, session=session)

    def do_open_account(self, database, luck):
        source, here, target, there, amount = self._transfer(database, luck)
        with database.client.start_session() as session, session.start_transaction():
            source.insert_one(with_id(here, amount=amount, **self._body(luck)), session=session)
            target.update_one(only(there), {"$inc": {"amount": -amount}}, upsert=True, session=session)
