"""Documents of every BSON type, and of the shapes that shops have, are stored bit for bit."""
import datetime
import math
import struct
import uuid

import bson
import pymongo
import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument

import oracle
from streams import create, sync

UTC = datetime.timezone.utc


def raw(*parts):
    """A document of elements (name, type, bytes) that no encoder would make."""
    return RawBSONDocument(oracle.document(parts))


def string(text):
    """The value of a string, of bytes."""
    return struct.pack("<i", len(text) + 1) + text + b"\0"


def nested(levels, inner, array=False):
    """A value inside that many objects, or arrays."""
    for _ in range(levels):
        inner = [inner] if array else {"a": inner}
    return inner


VALUES = {
    "double": [0.0, -0.0, 1.5, -1e308, 5e-324, math.inf, -math.inf, math.nan, 0.1, 2.0**53 + 2],
    "string": ["", "a", "zero\0inside", "\u0001\u0019\u007f", "ü€😀", "line\nbreak\ttab\"quote\\", "\ufeff\uffff", "x" * 100_000],
    "object": [{}, {"": 1}, {"a.b": 1, "a": {"b": 2}}, {"x": {"$numberLong": "5"}}, {"$oid": "zz"}],
    "array": [[], [[]], [None, [1, [2, []]], {}, Timestamp(0, 0)], list(range(2000))],
    "binary": [Binary(b"", subtype) for subtype in (0, 1, 5, 6, 128, 255)] + [Binary(bytes(range(256)), 0), Binary.from_uuid(uuid.UUID(int=5)),
                                                                            Binary(b"old", 2), Binary(b"x" * 16, 3)],
    "objectid": [ObjectId("0" * 24), ObjectId("f" * 24)],
    "bool": [True, False],
    "date": [DatetimeMS(0), DatetimeMS(-1), DatetimeMS(-(1 << 63)), DatetimeMS((1 << 63) - 1), DatetimeMS(253402300800000),
             datetime.datetime(1582, 10, 4, tzinfo=UTC), datetime.datetime(2026, 2, 28, 23, 59, 59, 999000, tzinfo=UTC)],
    "null": [None],
    "regex": [Regex("", ""), Regex("^a.*\\/\"", "imsx"), Regex("ü", "u")],
    "dbref": [DBRef("other", ObjectId("1" * 24)), DBRef("other", 5, "db")],
    "code": [Code(""), Code("function () { return '\0'; }"), Code("x", {}), Code("x", {"x": {"y": [1]}})],
    "int": [0, 1, -1, (1 << 31) - 1, -(1 << 31)],
    "long": [Int64(0), Int64(1), Int64((1 << 63) - 1), Int64(-(1 << 63)), Int64(1 << 53)],
    "timestamp": [Timestamp(0, 1), Timestamp(1, 0), Timestamp((1 << 32) - 1, (1 << 32) - 1)],
    "decimal": [Decimal128(text) for text in ("0", "-0", "0E-6176", "0E+6111", "1.50", "9.999999999999999999999999999999999E+6144",
                                              "-1E-6176", "NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "1E+3")],
    "minkey": [MinKey()],
    "maxkey": [MaxKey()],
}

ODDITIES = {
    "undefined": raw(("a", 0x06, b"")),
    "symbol": raw(("a", 0x0E, string(b"sym"))),
    "dbpointer": raw(("a", 0x0C, string(b"db.coll") + bytes(range(12)))),
    "duplicate keys": raw(("a", 0x10, b"\1\0\0\0"), ("a", 0x02, string(b"again")), ("b", 0x0A, b""), ("a", 0x10, b"\2\0\0\0")),
    "empty keys": raw(("", 0x10, b"\1\0\0\0"), ("", 0x03, oracle.document([("", 0x0A, b"")]))),
    "array keys": raw(("a", 0x04, oracle.document([("7", 0x10, b"\1\0\0\0"), ("x", 0x0A, b""), ("7", 0x08, b"\1")]))),
    "signalling NaN": raw(("a", 0x01, bytes.fromhex("010000000000f07f")), ("b", 0x01, bytes.fromhex("efbeaddeffffffff"))),
    "decimal with unused bits": raw(("a", 0x13, b"\xff" * 16), ("b", 0x13, bytes.fromhex("00000000000000000000000000000068"))),
    "invalid UTF-8": raw(("a", 0x02, string(b"ok \xff\xfe \xc3 \xed\xa0\x80"))),
    "invalid UTF-8 in a key": raw(("k\udcff\udc80", 0x10, b"\1\0\0\0")),
    "regex with unsorted options": raw(("a", 0x0B, b"a+\0xi\0")),
}

SHOP = {
    "order": {
        "orderNumber": "2026-000417", "status": "shipped", "placedAt": datetime.datetime(2026, 5, 4, 9, 31, 12, 345000, tzinfo=UTC),
        "customer": {"customerId": ObjectId(), "email": "kim.öz@example.com", "address": {"street": "1 Main St", "zip": "04109", "geo": [12.37, 51.34]}},
        "items": [{"sku": "TEA-05", "quantity": 2, "unitPrice": Decimal128("4.50"), "options": {"gift": False, "note": None}},
                  {"sku": "POT-01", "quantity": 1, "unitPrice": Decimal128("31.00"), "options": {}}],
        "totals": {"net": Decimal128("40.00"), "tax": Decimal128("7.60"), "currency": "EUR"}, "version": Int64(7), "tags": []},
    "user": {
        "userName": "kim", "roles": ["buyer", "reviewer"], "lastLogin": None, "loginCount": 1204, "balance": 12.30,
        "preferences": {"newsletter": True, "theme.color": "dark", "$beta": 1}, "sessions": {uuid.UUID(int=9).hex: {"ip": "::1", "since": Timestamp(1, 2)}},
        "avatar": Binary(bytes(range(200)), 0)},
    "saga": {
        "sagaId": Binary(uuid.UUID(int=77).bytes, 4), "kind": "orderFulfilment", "state": "compensating", "attempt": 3, "startedAt": DatetimeMS(1770000000123),
        "steps": [{"name": name, "state": state, "durationMs": 12.5, "error": error}
                  for name, state, error in (("reserve", "done", None), ("pay", "failed", {"code": "card_declined", "retryable": False}), ("ship", "skipped", None))],
        "timeoutAt": datetime.datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), "context": {"a": {"b": {"c": [[1], [2, [3]]]}}}},
}


@pytest.fixture
def exact(linked, mongo, mdb):
    """A stream with all images; called with documents, it writes them and compares each with MongoDB's bytes."""
    mdb.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    since = oracle.mark(mongo)
    options = {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"}
    create(linked, "exact", collection="c", full_document="when_available", full_document_before_change="when_available")

    def check(events, documents=()):
        sync(linked, "exact")
        assert oracle.compare(linked, "exact", mongo, since, mdb.name, **options) == events
        found = [bytes(row["full_document"]) for row in oracle.stored(linked, "exact") if row["operation_type"] == "insert"]
        for have, document in zip(found, documents):
            assert have == b"\x03" + bson.encode(document)
        # the text of each reads back as the same bytes
        assert linked.value("SELECT count(*) FROM change_stream_events"
                            " WHERE document_send(full_document::text::document) <> document_send(full_document)") == 0
        return found
    return check


@pytest.mark.parametrize("kind", VALUES)
def test_type(exact, mdb, kind):
    """Each value alone, in an array, in an object; updated and deleted, with its images."""
    documents = [{"_id": number, "v": value, "in": {"array": [value], "object": {"v": value}}} for number, value in enumerate(VALUES[kind])]
    for document in documents:
        mdb.c.insert_one(document)
        mdb.c.update_one({"_id": document["_id"]}, {"$set": {"w": document["v"]}})
        mdb.c.delete_one({"_id": document["_id"]})
    exact(3 * len(documents), documents)


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(exact, mdb, name):
    """What encoders do not make and MongoDB takes."""
    odd = raw(("_id", 0x10, b"\1\0\0\0"), *oracle.elements(ODDITIES[name].raw))
    try:
        mdb.c.insert_one(odd)
    except pymongo.errors.OperationFailure as refused:
        pytest.skip(f"mongod does not take it: {refused.details.get('errmsg')}")
    assert exact(1) == [b"\x03" + bytes(odd.raw)]


@pytest.mark.parametrize("array", [False, True], ids=["objects", "arrays"])
def test_nesting(exact, mdb, array):
    """As deep as MongoDB lets a document be in an event."""
    document = {"_id": 1, "v": nested(90, "deep", array)}
    mdb.c.insert_one(document)
    mdb.c.update_one({"_id": 1}, {"$set": {"w": 1}})
    exact(2, [document])


def test_keys(exact, mdb):
    """_id of many types; keys with dots, dollars, spaces, of great length."""
    keys = [1, Int64(2), 2.5, Decimal128("3.50"), "text", "", True, None, ObjectId(), Binary(b"id"), Binary.from_uuid(uuid.UUID(int=4)),
            datetime.datetime(2026, 1, 1, tzinfo=UTC), {"a": 1, "b": [1]}, Timestamp(1, 1), MinKey(), MaxKey(), math.nan]
    documents = [{"_id": key, "a.b": 1, "a b": 2, "x" * 5000: 3, "ключ": 4} for key in keys]
    mdb.c.insert_many(documents)
    mdb.c.delete_many({})
    exact(2 * len(keys), documents)


def test_large_document(exact, mdb):
    """Close to what a document may have."""
    document = {"_id": 1, "pad": "x" * (15 << 20), "more": list(range(1000))}
    mdb.c.insert_one(document)
    exact(1, [document])


@pytest.mark.parametrize("shape", SHOP)
def test_documents_of_a_shop(exact, mdb, shape):
    """Placed, changed by operators and by pipelines, replaced, deleted."""
    document = {"_id": ObjectId(), **SHOP[shape]}
    mdb.c.insert_one(document)
    mdb.c.update_one({"_id": document["_id"]}, {"$set": {"status": "new", "nested.path.of": [1, 2]}, "$inc": {"version": 1}, "$push": {"log": {"at": 1}}})
    mdb.c.update_one({"_id": document["_id"]}, [{"$set": {"log": {"$concatArrays": ["$log", [{"by": "$$ROOT.status"}]]}, "at": "$$NOW"}}])
    mdb.c.update_one({"_id": document["_id"]}, {"$unset": {"status": 1}, "$rename": {"version": "revision"}, "$pop": {"log": 1}})
    mdb.c.replace_one({"_id": document["_id"]}, SHOP["user"])
    mdb.c.delete_one({"_id": document["_id"]})
    exact(6, [document])
