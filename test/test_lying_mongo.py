"""A MongoDB that lies, or whose words are damaged, costs a statement or a pause, never a process."""
import os
import pathlib
import random
import re
import subprocess
import time

import bson
import psycopg
import pytest

from harness import Liar
from harness.liar import SNAPPY, ZSTD, Message, compressed, legacy, message, token
from harness.machine import wait_until
from streams import create

PING = "SELECT mongo_command('{\"ping\": 1}', 'admin')"
VIOLATION = "08P01"


@pytest.fixture
def liar():
    with Liar() as one:
        yield one


@pytest.fixture
def lied(db, liar):
    """A database whose server `mongo` is the liar; it must still be able to serve when the lies end."""
    db.create_server(liar.uri(), "shop")
    yield db
    liar.lie = None
    db.execute(PING)


def error_of(db, statement=PING):
    with pytest.raises(psycopg.Error) as failure:
        db.execute(statement)
    return failure.value


def in_reply(name, change):
    """A lie about the replies of one command: change(reply) alters them, or returns another."""
    def lie(command, _, reply):
        return change(reply) if command == name or (name == "hello" and command.lower() == "ismaster") else None
    return lie


def set_field(**fields):
    return lambda reply: reply.update({name.replace("cluster_time", "$clusterTime"): value for name, value in fields.items()})


def raw_field(name, kind, value):
    """A reply with an element whose bytes are given as they are, so that they need not be BSON."""
    def change(reply):
        data = bson.encode(reply)
        element = bytes([kind]) + name.encode() + b"\0" + value
        return (len(data) + len(element)).to_bytes(4, "little") + element + data[4:]
    return change


def test_truth(lied, liar):
    """What these tests lie about is told from what a MongoDB says: the liar by itself is one."""
    lied.execute(PING)
    assert lied.value("SELECT count(*) FROM mongo_command('{\"find\": \"orders\"}')") == 1


# ---------------------------------------------------------------- replies that the driver aborts on, or reads amiss

DOCUMENT_OF_WRONG_LENGTH = b"\x30\0\0\0\x10a\0\1\0\0\0\0"
ANSWERS = {
    "code 0": (set_field(ok=0.0, code=0, errmsg="x"), "code"),
    "code 0 beside success": (set_field(code=0), "code"),
    "code 2^32": (set_field(ok=0.0, code=bson.Int64(1 << 32), errmsg="x"), "code"),
    "code NaN": (set_field(ok=0.0, code=float("nan"), errmsg="x"), "code"),
    "code as text": (set_field(ok=0.0, code="x", errmsg="x"), "code"),
    "no ok": (lambda reply: reply.pop("ok") and None, "ok"),
    "ok as text": (set_field(ok="yes"), "ok"),
    "ok NaN": (set_field(ok=float("nan")), "ok"),
    "failed without a reason": (set_field(ok=0.0), "not why"),
    "errmsg a number": (set_field(ok=0.0, code=1, errmsg=1), "errmsg"),
    "writeConcernError.code 0": (set_field(writeConcernError={"code": 0, "errmsg": "x"}), "writeConcernError"),
    "writeConcernError no document": (set_field(ok=0.0, code=64, errmsg="x", writeConcernError=1), "writeConcernError"),
    "writeConcernError text": (set_field(ok=0.0, code=64, errmsg="x", writeConcernError="x"), "writeConcernError"),
    "errorLabels no strings": (set_field(ok=0.0, code=64, errmsg="x", errorLabels=[1]), "errorLabels"),
    "clusterTime text": (set_field(cluster_time="x"), "$clusterTime"),
    "clusterTime large": (set_field(cluster_time={"clusterTime": bson.Timestamp(1, 1), "x": "x" * 1000}), "$clusterTime"),
    "clusterTime of wrong length": (raw_field("$clusterTime", 3, DOCUMENT_OF_WRONG_LENGTH), "BSON"),
    "topologyVersion of wrong length": (raw_field("topologyVersion", 3, DOCUMENT_OF_WRONG_LENGTH), "BSON"),
    "topologyVersion empty": (set_field(topologyVersion={}), "topologyVersion"),
    "operationTime a number": (set_field(operationTime=5), "operationTime"),
    "unknown type": (raw_field("a", 0x42, b""), "BSON"),
    "string without an end": (raw_field("a", 2, b"\x02\0\0\0ab"), "BSON"),
    "string of length 0": (raw_field("a", 2, b"\0\0\0\0"), "BSON"),
    "binary beyond the end": (raw_field("a", 5, b"\xff\xff\xff\x7f\0"), "BSON"),
    "code with scope that overlaps": (raw_field("a", 15, b"\x0f\0\0\0\x01\0\0\0\0\x06\0\0\0\0\0"), "BSON"),
    "too deep": (lambda reply: reply.update(a=deep(400)) or None, "BSON"),
    "wrong request": (lambda reply: Message(message(reply)[:8] + b"\7\0\0\0" + message(reply)[12:]), "request"),
    "old kind": (legacy, "kind"),
    "more to come": (lambda reply: Message(message(reply)[:16] + b"\2\0\0\0" + message(reply)[20:]), "flags"),
    "other section": (lambda reply: Message(message(reply)[:20] + b"\1" + message(reply)[21:]), "sections"),
    "no length": (lambda reply: Message(bytes(16)), "length"),
    "huge length": (lambda reply: Message(b"\xff\xff\xff\x7f" + message(reply)[4:]), "length"),
    "compressed unasked": (lambda reply: compressed(message(reply)), "not offered"),
}


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("lie", ANSWERS)
def test_answer(lied, liar, lie):
    """An answer to a command: an error that says what was wrong, and the next command works."""
    change, word = ANSWERS[lie]
    liar.lie = in_reply("ping", change)
    error = error_of(lied)
    assert error.sqlstate == VIOLATION
    assert error.diag.message_detail.startswith("MongoDB's answer breaks its protocol: ") and word in error.diag.message_detail
    assert "uri" in error.diag.message_hint


HELLOS = {
    "hosts no array": (set_field(hosts={"a": 1}), "hosts"),
    "hosts of numbers": (set_field(hosts=[1, 2]), "hosts"),
    "host without a name": (set_field(hosts=[":27017"]), "hosts"),
    "host without a port": (set_field(hosts=["127.0.0.1"]), "hosts"),
    "host that is a path": (set_field(hosts=["/tmp/mongodb.sock:1"]), "hosts"),
    "host with a long name": (set_field(hosts=["x" * 300 + ":1"]), "hosts"),
    "host with a zero": (set_field(hosts=["a\0b:1"]), "hosts"),
    "hosts of wrong length": (raw_field("hosts", 4, DOCUMENT_OF_WRONG_LENGTH), "BSON"),
    "3,000 hosts": (set_field(hosts=[f"127.0.0.1:{port}" for port in range(2000, 5000)]), "3000 members"),
    "51 members": (set_field(arbiters=[f"127.0.0.1:{port}" for port in range(2000, 2050)]), "51 members"),
    "passives text": (set_field(passives="x"), "passives"),
    "me a number": (set_field(me=1), "me"),
    "primary empty": (set_field(primary=""), "primary"),
    "setName a number": (set_field(setName=1), "setName"),
    "electionId text": (set_field(electionId="x"), "electionId"),
    "maxWireVersion text": (set_field(maxWireVersion="x"), "maxWireVersion"),
    "maxMessageSizeBytes negative": (set_field(maxMessageSizeBytes=-1), "maxMessageSizeBytes"),
    "session timeout NaN": (set_field(logicalSessionTimeoutMinutes=float("nan")), "logicalSessionTimeoutMinutes"),
    "lastWrite without a date": (set_field(lastWrite={}), "lastWrite"),
    "tags no strings": (set_field(tags={"a": 1}), "tags"),
    "compression text": (set_field(compression="zlib"), "compression"),
    "sasl mechanisms text": (set_field(saslSupportedMechs="x"), "saslSupportedMechs"),
    "authentication unasked": (set_field(speculativeAuthenticate={"a": 1}), "speculativeAuthenticate"),
    "large": (set_field(tags={"a": "x" * 200000}), "bytes"),
    "code 0": (set_field(ok=0.0, code=0), "code"),
}


@pytest.mark.parametrize("lie", HELLOS)
def test_hello(lied, liar, lie):
    """A hello is how the driver learns what a server is, and whom else to talk to."""
    change, word = HELLOS[lie]
    liar.lie = in_reply("hello", change)
    before = liar.connections
    error = error_of(lied)
    assert error.sqlstate == VIOLATION and word in error.diag.message_detail
    assert liar.connections - before < 4


def test_members_without_end(lied, liar, postgres):
    """Members that name further members for ever take no more than some descriptors."""
    more = [liar]
    for _ in range(60):
        more.append(Liar())
    try:
        for at, one in enumerate(more):
            hosts = [other.address for other in more[at:at + 49]]
            one.lie = in_reply("hello", set_field(hosts=hosts, isWritablePrimary=False, ismaster=False, me=one.address, primary=one.address))
        connection = lied.connect()
        with pytest.raises(psycopg.Error):
            connection.execute(PING)
        assert len(os.listdir(f"/proc/{connection.info.backend_pid}/fd")) < 200
        connection.close()
    finally:
        for one in more[1:]:
            one.close()


# ---------------------------------------------------------------- compressed

def zstd(plain):
    library = pytest.importorskip("ctypes").CDLL("libzstd.so.1")
    import ctypes
    target = ctypes.create_string_buffer(len(plain) + 1000)
    size = library.ZSTD_compress(target, ctypes.c_size_t(len(target)), plain, ctypes.c_size_t(len(plain)), 3)
    return target.raw[:size]


def snappy(plain):
    """A literal alone, as a packer that can do no better writes it."""
    size = len(plain)
    assert 60 < size < 1 << 14
    return bytes([size & 0x7F | 0x80, size >> 7]) + bytes([61 << 2]) + (size - 1).to_bytes(2, "little") + plain


def packed_by(name):
    def change(reply):
        plain = message(reply)
        if name == "zlib":
            return compressed(plain)
        packed, number = (zstd(plain[16:]), ZSTD) if name == "zstd" else (snappy(plain[16:]), SNAPPY)
        return compressed(plain, compressor=number, packed=packed)
    return change


@pytest.mark.parametrize("compressor", ["zlib", "zstd", "snappy"])
def test_compressed(db, liar, compressor):
    """Each compressor that a URI may name is unpacked, and what was in it is looked through."""
    db.create_server(liar.uri(f"&compressors={compressor}"), "shop")
    liar.lie = in_reply("ping", packed_by(compressor))
    assert db.value(PING.replace("SELECT ", "SELECT (") + ") ->> 'ok'") == "1"
    assert liar.count("ping") == 1
    change = ANSWERS["code 0"][0]
    liar.lie = in_reply("ping", lambda reply: change(reply) or packed_by(compressor)(reply))
    assert "code" in error_of(db).diag.message_detail


def plainly(reply):
    return message({**reply, "filler": "x" * 500})


PACKED = {
    "shorter than said": (lambda reply: compressed(plainly(reply), size=1000), "unpacked"),
    "longer than said": (lambda reply: compressed(plainly(reply), size=100), "unpacked"),
    "no size": (lambda reply: compressed(plainly(reply), size=0), "length"),
    "huge size": (lambda reply: compressed(plainly(reply), size=0x7FFFFFFF), "length"),
    "size beyond all": (lambda reply: compressed(plainly(reply), size=-1), "length"),
    "other compressor": (lambda reply: compressed(plainly(reply), compressor=ZSTD), "not offered"),
    "no compressor": (lambda reply: compressed(plainly(reply), compressor=0, packed=plainly(reply)[16:]), "not offered"),
    "unknown compressor": (lambda reply: compressed(plainly(reply), compressor=200), "not offered"),
    "rubbish": (lambda reply: compressed(plainly(reply), packed=b"rubbish"), "unpacked"),
    "old kind within": (lambda reply: compressed(plainly(reply), opcode=1), "no message"),
    "compressed within": (lambda reply: compressed(plainly(reply), opcode=2012), "no message"),
    "nothing": (lambda reply: compressed(plainly(reply), packed=b""), "no message"),
}


@pytest.mark.parametrize("lie", PACKED)
def test_packed_wrong(db, liar, lie):
    """What an OP_COMPRESSED says of itself is not believed."""
    db.create_server(liar.uri("&compressors=zlib"), "shop")
    change, word = PACKED[lie]
    liar.lie = in_reply("ping", change)
    error = error_of(db)
    assert error.sqlstate == VIOLATION and word in error.diag.message_detail


def test_compressed_for_true(db, mongo, mdb):
    """A real MongoDB that compresses is read."""
    mdb.orders.insert_many({"_id": number, "text": "x" * 1000} for number in range(3000))
    for compressor in ("zlib", "zstd", "snappy", "zstd,zlib"):
        name = "by_" + compressor.replace(",", "_")
        db.create_server(f"{mongo.uri}&compressors={compressor}", mdb.name, name=name)
        reply = db.value("SELECT length(mongo_command('{\"find\": \"orders\", \"batchSize\": 3000}', server => %s)::text)", name)
        assert reply > 3_000_000


# ---------------------------------------------------------------- authentication

@pytest.mark.parametrize("payload, word", [
    (b"r=%s,s=QUJDREVGR0hJSktMTU5PUA==,i=2147483647", "hashed more than"), (b"r=%s,s=QUJDREVGR0hJSktMTU5PUA==,i=99999999999999999999", "hashed more than"),
    (b"r=%s,s=QUJDREVGR0hJSktMTU5PUA==,i=1x", "no number"), (b"r=%s,s", "RFC"), (b"r", "RFC"), (b"r=a,r=b", "RFC"), (b"r=%s,,", "RFC"),
    (b"r=%s\0,s=a,i=4096", "no text"), (b"r=" + b"x" * 5000, "too long"), ("text", "binary")])
@pytest.mark.parametrize("way", ["saslStart", "hello"])
def test_scram(db, liar, payload, word, way):
    """The server's part of SCRAM: bounded before the driver computes what it is told to."""
    liar.authenticates = way == "hello"

    def lie(name, request, reply):
        part = reply.get("speculativeAuthenticate") if name.lower() in ("hello", "ismaster") else reply if name == "saslStart" else None
        if part is not None:
            nonce = bytes((request if name == "saslStart" else request["speculativeAuthenticate"])["payload"]).partition(b"r=")[2]
            part["payload"] = payload.replace(b"%s", nonce) if isinstance(payload, bytes) else payload

    liar.lie = lie
    db.create_server(liar.uri(), "shop")
    db.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'app', password 'secret', auth_mechanism 'SCRAM-SHA-256')")
    begin = time.monotonic()
    error = error_of(db)
    assert time.monotonic() - begin < 2
    assert error.sqlstate == VIOLATION and word in error.diag.message_detail


@pytest.mark.parametrize("way", ["saslStart", "hello"])
def test_name_that_fills_the_request(db, liar, way):
    """What is looked at of a request is enough to know what its reply must be, however long the user's name makes it."""
    def lie(name, request, reply):
        if name == "saslStart" and way == "saslStart":
            nonce = bytes(request["payload"]).partition(b"r=")[2]
            reply["payload"] = b"r=%s,s=QUJDREVGR0hJSktMTU5PUA==,i=2147483647" % nonce
        elif name.lower() in ("hello", "ismaster") and way == "hello":
            reply["hosts"] = [1, 2]

    liar.lie = lie
    db.create_server(liar.uri(), "shop")
    db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username '{'a' * 3950}', password 'secret', auth_mechanism 'SCRAM-SHA-256')")
    begin = time.monotonic()
    error = error_of(db)
    assert time.monotonic() - begin < 10
    assert error.sqlstate == VIOLATION and ("hashed more than" if way == "saslStart" else "host:port") in error.diag.message_detail


# ---------------------------------------------------------------- change streams

@pytest.fixture
def follows(lied):
    """A stream at the liar that is active; of its events the table must stay empty."""
    create(lied, "orders", collection=None)
    lied.wait_for("SELECT state FROM change_stream_status", expect="active", timeout=20)
    return lied


def batches(**cursor):
    """A lie about every reply with events."""
    return in_reply("getMore", lambda reply: reply["cursor"].update(cursor))


def status(db):
    return db.row("SELECT state, reason, last_error FROM change_stream_status")


CURSORS = {
    "nextBatch a number": dict(nextBatch=1),
    "nextBatch of numbers": dict(nextBatch=[1]),
    "token of 30 MB": dict(postBatchResumeToken={"_data": "82" + "0" * 30_000_000}),
    "token not hex": dict(postBatchResumeToken={"_data": token(1)["_data"] + "zz"}),
    "token no text": dict(postBatchResumeToken={"_data": 1}),
    "token of another kind": dict(postBatchResumeToken={"_data": "46" + token(1)["_data"][2:]}),
    "id a double": dict(id=77.0),
}


@pytest.mark.parametrize("lie", CURSORS)
def test_cursor(follows, liar, lie):
    """A reply with events that is none: the stream retries, says why, and stores no position of it."""
    before = follows.value("SELECT resume_token FROM change_stream_progress")
    liar.lie = batches(**CURSORS[lie])
    follows.wait_for("SELECT state FROM change_stream_status", expect="retrying", timeout=20)
    assert status(follows)[2]
    stored = follows.value("SELECT resume_token FROM change_stream_progress")
    assert re.fullmatch("82[0-9A-F]{16,100}", stored) and stored >= before
    liar.lie = None
    follows.wait_for("SELECT state FROM change_stream_status", expect="active", timeout=30)


# ---------------------------------------------------------------- documents

def documents(*batch, number=0, **cursor):
    """A lie about a find's replies: these documents, as of the time that was asked for."""
    def lie(name, request, reply):
        if name == "find":
            reply["cursor"] |= {"firstBatch": list(batch), "id": bson.Int64(number)}
            if "atClusterTime" in request.get("readConcern", {}):
                reply["cursor"]["atClusterTime"] = request["readConcern"]["atClusterTime"]
            reply["cursor"] |= cursor
        elif name == "getMore" and request["getMore"] == number:
            reply["cursor"] = {"nextBatch": list(batch), "id": bson.Int64(number), "ns": "shop.orders", **cursor}
            reply["cursor"].pop("firstBatch", None)
        elif name == "listCollections":
            reply["cursor"]["firstBatch"] = [{"name": "orders", "type": "collection"}]
    return lie


DOCUMENTS = {
    "numbers": documents(1, 2),
    "no _id": documents({"a": 1}),
    "no _id behind the first reply": documents({"a": 1}, number=88),
    "no array": documents(firstBatch={"0": {"_id": 1}}),
    "no batch": documents(firstBatch=None),
    "id a double": documents({"_id": 1}, id=0.0),
}


@pytest.mark.parametrize("lie", DOCUMENTS)
def test_documents(lied, liar, lie):
    """A reply to a find that is none: the stream says so and tries again; what is copied then is copied once."""
    liar.lie = documents()
    lied.execute("SELECT create_change_stream('orders', collection => 'orders', initial_snapshot => true, paused => true)")
    liar.lie = DOCUMENTS[lie]
    lied.execute("SELECT resume_change_stream('orders')")
    lied.wait_for("SELECT state FROM change_stream_status", expect="retrying", timeout=30)
    wait_until(lambda: liar.count("find") >= 3, 60, "it is tried again")
    assert status(lied)[2]
    assert lied.value("SELECT count(*) FROM change_stream_events") == 0
    liar.lie = documents({"_id": 1}, {"_id": "a"})
    lied.wait_for("SELECT state FROM change_stream_status", expect="active", timeout=60)
    lied.wait_for("SELECT finished_at IS NOT NULL FROM change_stream_snapshots")
    assert lied.column("SELECT document_key->>'_id' FROM change_stream_events ORDER BY event_id") == ["1", "a"]


def test_error_reply_of_stream(follows, liar):
    """An error with a code of 0 is answered by trying again, and takes no process down."""
    pid = follows.value("SELECT pid FROM change_stream_status")
    liar.lie = in_reply("getMore", set_field(ok=0.0, code=0, errmsg="x"))
    follows.wait_for("SELECT state FROM change_stream_status", expect="retrying", timeout=20)
    assert "code" in status(follows)[2]
    liar.lie = None
    follows.wait_for("SELECT state FROM change_stream_status", expect="active", timeout=30)
    assert follows.value("SELECT pid FROM change_stream_status") == pid


def endless_fragments():
    """A lie about every reply with events: it holds four more of a million fragments, of 2 MB each."""
    sent = {}       # by session: a worker looks at the oplog in another one

    def lie(name, request, reply):
        session = str(request.get("lsid"))
        if name == "aggregate":
            sent.pop(session, None)
        if name == "getMore":
            first = sent[session] = sent.get(session, -3) + 4
            reply["cursor"]["nextBatch"] = [{"_id": token(1_000_000_000, number), "x": "x" * 2_000_000,
                                             "splitEvent": {"fragment": number, "of": 1_000_000}} for number in range(first, first + 4)]

    return lie


def peak_memory(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) // 1024


def test_endless_event(follows, liar):
    """An event in fragments without end: the stream gives up at 100 MB and says so."""
    pid = follows.value("SELECT pid FROM change_stream_status")
    liar.lie = endless_fragments()
    # by one look: it is tried again soon, and follows then until the next one of them
    follows.wait_for("SELECT concat_ws('; ', state, reason, last_error) FROM change_stream_status", timeout=60,
                     expect="retrying; MongoDB sends what no change stream holds; a large event came in more than 100 MB of fragments")
    assert peak_memory(pid) < 500


def test_endless_event_of_table(lied, liar):
    """The same read by a foreign table."""
    lied.execute("CREATE FOREIGN TABLE history (operation_type text, full_document document) SERVER mongo OPTIONS (collection 'orders')")
    liar.lie = endless_fragments()
    error = error_of(lied, "SELECT count(*), max(length(full_document::text)) FROM history")
    assert error.sqlstate == VIOLATION and "100 MB" in error.diag.message_primary
    assert peak_memory(lied.connection.info.backend_pid) < 500


# ---------------------------------------------------------------- damage anywhere

@pytest.mark.parametrize("options", ["", "&compressors=zlib"])
def test_damage_anywhere(db, liar, options):
    """Bytes that change on their way, at any place: some hundred of them, and a hundred in compressed replies."""
    chooser = random.Random(4)

    def damage(name, _, reply):
        if name != "find":
            return None
        plain = message({**reply, "padding": "abc" * 20})
        whole = bytearray(compressed(plain) if options else plain)
        whole[8:12] = bytes(4)
        place = chooser.randrange(12, len(whole))
        whole[place] ^= chooser.randrange(1, 256)
        return Message(whole)

    db.create_server(liar.uri(options), "shop")
    liar.lie = damage
    failed = 0
    for _ in range(120):
        try:
            db.execute("SELECT mongo_command('{\"find\": \"orders\"}')")
        except psycopg.Error as error:
            assert error.sqlstate != "XX000", error
            failed += 1
    assert failed > 30
    liar.lie = None
    db.execute(PING)


# ---------------------------------------------------------------- what is not foreseen

# a library in front of the driver's that fails as the name of a host says
FAILING_NAMES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");

	if (name != NULL && strcmp(name, "assertion.test") == 0)
	{
		/* libbson asserts that there is a document */
		void *(*copy)(const void *) = dlsym(RTLD_DEFAULT, "bson_copy");

		copy(NULL);
	}
	if (name != NULL && strcmp(name, "damage.test") == 0)
	{
		/* a heap that is damaged, found within libbson */
		void (*give_back)(void *) = dlsym(RTLD_DEFAULT, "bson_free");
		char *block = malloc(100);

		give_back(block + 16);
	}
	if (name != NULL && strcmp(name, "abort.test") == 0)
		abort();
	return real(name, service, hints, found);
}
"""


@pytest.fixture
def failing_names(new_cluster, machine, monkeypatch):
    source = os.path.join(machine.folder, "failing_names.c")
    library = source[:-1] + "so"
    pathlib.Path(source).write_text(FAILING_NAMES)
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    cluster = new_cluster(start=False)
    monkeypatch.setenv("LD_PRELOAD", library)
    cluster.start()
    monkeypatch.delenv("LD_PRELOAD")
    database = cluster.create_database("failing")
    yield database
    database.close()


def test_assertion_of_driver(failing_names):
    """An assertion that the checks of replies do not foresee ends a session, not the cluster."""
    failing_names.create_server("mongodb://assertion.test:27017/", "admin")
    other = failing_names.connect()
    pid = other.execute("SELECT pg_backend_pid()").fetchone()[0]
    for _ in range(3):
        connection = failing_names.connect()
        with pytest.raises(psycopg.errors.InternalError_) as failure:
            connection.execute(PING)
        assert "assertion" in failure.value.diag.message_detail and "econnect" in failure.value.diag.message_hint
        assert connection.execute("SELECT 1").fetchone() == (1,)
        own = connection.info.backend_pid
        connection.close()
        wait_until(lambda: not os.path.exists(f"/proc/{own}"), 5, "the backend ends")
    assert other.execute("SELECT pg_backend_pid()").fetchone()[0] == pid
    assert not failing_names.cluster.new_deaths()


def test_assertion_in_stream(failing_names, liar):
    """A stream whose driver fails so begins anew in another process, after a pause, and the cluster stays."""
    other = failing_names.connect()
    failing_names.create_server(liar.uri(), "shop")
    create(failing_names, "orders", collection=None)
    failing_names.execute("ALTER SERVER mongo OPTIONS (SET uri 'mongodb://assertion.test:27017/')")
    wait_until(lambda: failing_names.cluster.log_text().count("an assertion of libmongoc failed") >= 2, 30, "the worker fails twice")
    assert other.execute("SELECT 1").fetchone() == (1,)
    assert not failing_names.cluster.new_deaths()


@pytest.mark.parametrize("name", ["damage.test", "abort.test"])
def test_damage_is_not_hidden(failing_names, name):
    """A process whose memory is damaged still ends at once, as PostgreSQL wants it."""
    failing_names.create_server(f"mongodb://{name}:27017/", "admin")
    with pytest.raises(psycopg.OperationalError):
        failing_names.connect().execute(PING)
    wait_until(lambda: any("signal 6" in death for death in failing_names.cluster.new_deaths(keep=True)), 10, "the death is logged")
