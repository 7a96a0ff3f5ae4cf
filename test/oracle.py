"""What a stream's table must hold, worked out from MongoDB's own history without the extension.

The history is read by pymongo, after the fact, from a time that was marked before the stream
was made; every column is computed here from the raw bytes of the events.
"""
import datetime
import struct

import bson
import pymongo
from bson.raw_bson import RawBSONDocument

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

DOCUMENTS = {"documentKey": "document_key", "fullDocument": "full_document",
             "fullDocumentBeforeChange": "full_document_before_change", "updateDescription": "update_description"}
WITH_COLUMN = {"_id", "operationType", "ns", "clusterTime", "wallTime", "splitEvent", *DOCUMENTS}

# ------------------------------------------------------------ BSON by hand

SIZES = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}


def value_size(kind, raw, at):
    """How many bytes the value of a BSON type takes that begins there."""
    if kind in SIZES:
        return SIZES[kind]
    if kind == 0x0B:
        return raw.index(0, raw.index(0, at) + 1) + 1 - at
    length = struct.unpack_from("<i", raw, at)[0]
    return length + {0x02: 4, 0x0D: 4, 0x0E: 4, 0x05: 5, 0x0C: 16}.get(kind, 0)


def elements(raw):
    """The elements of a BSON document: name, type and the bytes of the value."""
    at = 4
    while raw[at]:
        kind = raw[at]
        end = raw.index(0, at + 1)
        name, at = raw[at + 1:end].decode("utf-8", "surrogateescape"), end + 1
        size = value_size(kind, raw, at)
        yield name, kind, raw[at:at + size]
        at += size


def document(parts):
    """A BSON document of elements."""
    body = b"".join(bytes([kind]) + name.encode("utf-8", "surrogateescape") + b"\0" + value for name, kind, value in parts)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def sent(kind, value):
    """What document_send makes of a value; None for one that is NULL in its column."""
    return None if kind == 0x0A else bytes([kind]) + value


# ------------------------------------------------------------ MongoDB's history

def mark(mongo):
    """A cluster time after all that has happened and before all that will."""
    return mongo.client.admin.command("appendOplogNote", data={"mark": 1})["operationTime"]


def token_text(token):
    """A resume token as the extension writes it."""
    return token["_data"] + ("." + token["_typeBits"].hex().upper() if "_typeBits" in token else "")


def token_document(text):
    """The same back to MongoDB's form."""
    data, _, bits = text.partition(".")
    return {"_data": data, "_typeBits": bytes.fromhex(bits)} if bits else {"_data": data}


def token_time(token):
    """The cluster time in a resume token."""
    return bson.Timestamp(int(token[2:10], 16), int(token[10:18], 16))


def time_token(time):
    """The token before all events of a cluster time."""
    return f"82{time.time:08X}{time.inc:08X}2B0229296E04"


SPLIT = {"$changeStreamSplitLargeEvent": {}}     # also changes the form of tokens, so the oracle has it, too


def history(mongo, since, database=None, pipeline=(), until=None, **options):
    """The raw events of a database, or of all, since a mark or a token; the end of a cursor ends nothing."""
    until = until or mark(mongo)
    start = {"start_after": token_document(since)} if isinstance(since, str) else {"start_at_operation_time": since}
    events, parts = [], []
    login = {"username": "root", "password": mongo.ROOT_PASSWORD} if mongo.auth else {}
    with pymongo.MongoClient(mongo.uri, document_class=RawBSONDocument, **login) as client:
        target = client if database is None else client[database]
        while True:
            with target.watch([*pipeline, SPLIT], max_await_time_ms=50, **start, **options) as stream:
                while stream.alive:
                    event = stream.try_next()
                    if event is not None:
                        parts += elements(bytes(event.raw))
                        if "splitEvent" not in event or event["splitEvent"]["fragment"] == event["splitEvent"]["of"]:
                            events.append(document(parts))
                            parts = []
                    elif token_time(stream.resume_token["_data"]) >= until:
                        return events
                start = {"start_after": stream.resume_token}


# ------------------------------------------------------------ the columns of an event

def plain(raw):
    """A document as Python values; what they cannot hold does not raise."""
    return bson.decode(raw, bson.CodecOptions(tz_aware=True, unicode_decode_error_handler="replace"))


def changed_fields(operation, fields):
    """The paths that an event wrote; what of them is no UTF-8 is replaced."""
    if operation in ("insert", "replace") and "fullDocument" in fields:
        return names(fields["fullDocument"][1])
    if fields.get("updateDescription", (0x0A,))[0] != 0x03:
        return None
    parts = {name: value for name, _, value in elements(fields["updateDescription"][1])}
    told = plain(document([("removedFields", 0x04, parts["removedFields"]), ("truncatedArrays", 0x04, parts["truncatedArrays"])]))
    return [*names(parts["updatedFields"]), *told["removedFields"], *(array["field"] for array in told["truncatedArrays"])]


def names(raw):
    """The names of a document's fields as text."""
    return [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name, _, _ in elements(raw)]


def source(operation, fields, looks_up):
    """Where full_document comes from."""
    if fields.get("fullDocument", (0x0A,))[0] == 0x0A:
        return "none"
    if operation in ("insert", "replace"):
        return operation
    return "lookup" if looks_up else "post_image"


def columns(raw, looks_up=False):
    """The columns of an event, by name, from its bytes."""
    listed = list(elements(raw))
    fields = {name: (kind, value) for name, kind, value in listed}
    told = plain(document([part for part in listed if part[0] in ("_id", "operationType", "ns", "clusterTime", "wallTime")]))
    operation, time = told["operationType"], told["clusterTime"]
    extra = [part for part in listed if part[0] not in WITH_COLUMN]
    row = {
        "operation_type": operation,
        "database_name": told.get("ns", {}).get("db"),
        "collection_name": told.get("ns", {}).get("coll"),
        "changed_fields": changed_fields(operation, fields),
        "cluster_time": EPOCH + datetime.timedelta(seconds=time.time, microseconds=min(time.inc, 999999)),
        "change_timestamp": told.get("wallTime", EPOCH + datetime.timedelta(seconds=time.time)),
        "resume_token": token_text(told["_id"]),
        "full_document_source": source(operation, fields, looks_up),
        "extra": b"\x03" + document(extra) if extra else None,
    }
    for field, column in DOCUMENTS.items():
        row[column] = sent(*fields[field]) if field in fields else None
    return row


# ------------------------------------------------------------ the comparison

def stored(db, stream, after=0):
    """The rows of a stream in the order of their numbers, documents as their bytes."""
    names = ["event_id", "operation_type", "database_name", "collection_name", "changed_fields", "cluster_time",
             "change_timestamp", "resume_token", "full_document_source", *DOCUMENTS.values(), "extra"]
    listed = ", ".join(f"document_send({name})" if name in (*DOCUMENTS.values(), "extra") else name for name in names)
    rows = db.execute(f"SELECT {listed} FROM change_stream_events WHERE stream_name = %s AND event_id > %s"
                      " ORDER BY event_id", stream, after)
    return [dict(zip(names, row)) for row in rows]


def in_collection(*names):
    """A condition on rows: that they are of these collections."""
    return lambda row: row["collection_name"] in names


def compare(db, stream, mongo, since, database=None, where=None, after=0, pipeline=(), **options):
    """Asserts that a stream holds exactly what MongoDB's history does, in order; returns how many events.

    The stream must have been synced and the writers have stopped.
    """
    looks_up = options.get("full_document") == "updateLookup"
    expected = [columns(raw, looks_up) for raw in history(mongo, since, database, pipeline, **options)]
    expected = [row for row in expected if where is None or where(row)]
    found = stored(db, stream, after)
    assert [row.pop("event_id") for row in found] == list(range(after + 1, after + len(found) + 1)), "numbers have gaps"
    tokens, wanted = [row["resume_token"] for row in found], [row["resume_token"] for row in expected]
    assert len(set(tokens)) == len(tokens), f"{len(tokens) - len(set(tokens))} events are there twice"
    assert not set(wanted) - set(tokens), f"{len(set(wanted) - set(tokens))} of {len(wanted)} events are lost"
    assert not set(tokens) - set(wanted), f"{len(set(tokens) - set(wanted))} of {len(tokens)} events never happened"
    for number, (have, want) in enumerate(zip(found, expected), after + 1):
        assert have == want, f"event {number} differs in {[name for name in want if have[name] != want[name]]}"
    assert sorted(tokens) == tokens, "tokens are not in order"
    counted = db.row("SELECT last_event_id, events_processed FROM change_stream_progress WHERE stream_name = %s", stream)
    assert counted[0] == after + len(found)
    if after == 0:
        assert counted[1] == len(found)
    return len(found)
