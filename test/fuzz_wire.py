"""Lets the driver read replies that are wrong, in a server whose copy of the library has sanitizers in it.

    python3 test/fuzz_wire.py [seconds] [seed]

Servers that lie (harness/liar.py) answer hello, authentication, commands and change streams;
of most replies something is changed: a field's value, type, name or presence, among them every
field that the driver reads; bytes of the document; lengths, kinds, flags and sections of the
message; what a compressed message says of itself, and its bytes.  Several sessions at once run
commands and read foreign tables there.  Errors are expected; a death, an assertion of the
driver (which would park its thread), a sanitizer's report, an internal error, a session that
hangs, or memory that grows are not.  A second counts for more than a hundred replies, and for
WANTED of them the fuzzer goes on beyond its time.
"""
import multiprocessing
import os
import random
import re
import struct
import sys
import threading
import time
import zlib

import bson
import psycopg

import bson_values
from fuzz_document import BSON_TOKENS, mutate, repair, run
from harness import Liar
from harness.liar import OP_COMPRESSED, OP_MSG, Message, compressed, legacy, message, token

SETTINGS = {"shared_preload_libraries": "", "autovacuum": "off", "max_parallel_workers_per_gather": 0, "jit": "off"}
# what may come of a reply that is wrong; XX000 and 57P02 may not
EXPECTED = ("08", "HV", "22", "28", "0A", "42", "55", "57P03", "53200", "54", "40", "23", "24", "25", "XX001")
WANTED = 20000 if os.environ.get("CI") else 0
LIARS = 2
SESSIONS = 6          # that run commands
READERS = 3           # that read foreign tables, which wait before they try again
CALLS = 40
LONGEST = 60          # seconds that one session may take for CALLS calls

# what libmongoc reads, of a hello, an error, a cursor, a conversation
FIELDS = ("ok code codeName errmsg $err errorLabels writeConcernError writeErrors $clusterTime operationTime topologyVersion recoveryToken "
          "hosts passives arbiters setName setVersion me primary electionId minWireVersion maxWireVersion maxBsonObjectSize maxMessageSizeBytes "
          "maxWriteBatchSize logicalSessionTimeoutMinutes compression saslSupportedMechs speculativeAuthenticate isWritablePrimary ismaster "
          "secondary arbiterOnly hidden isreplicaset helloOk msg tags lastWrite serviceId connectionId cursor firstBatch nextBatch id ns "
          "postBatchResumeToken _data clusterTime signature keyId hash processId counter lastWriteDate payload done conversationId "
          "splitEvent fragment of _id operationType fullDocument documentKey updateDescription wallTime atClusterTime").split()

COMMANDS = ['{"ping": 1}', '{"find": "orders"}', '{"hello": 1}', '{"aggregate": "orders", "pipeline": [], "cursor": {}}', '{"listCollections": 1}',
            '{"insert": "orders", "documents": [{"a": 1}]}', '{"buildInfo": 1}', '{"update": "orders", "updates": []}', '{"getMore": {"$numberLong": "5"}, "collection": "orders"}']

# calls of all kinds, each with an error that is caught; SQLSTATEs by their number
FUNCTIONS = """
CREATE FUNCTION call_liar(server text, commands text[], table_name text, calls int) RETURNS TABLE (state text, message text, count bigint)
LANGUAGE plpgsql AS $$
DECLARE
  states text[] := '{}';
  messages text[] := '{}';
BEGIN
  FOR i IN 1 .. calls LOOP
    BEGIN
      IF table_name IS NOT NULL THEN
        EXECUTE 'SELECT count(*), max(length(full_document::text)) FROM ' || table_name;
      ELSE
        PERFORM mongo_command(commands[1 + i % cardinality(commands)]::document, 'shop', server);
      END IF;
      states := states || '00000'::text;
      messages := messages || ''::text;
    EXCEPTION WHEN OTHERS THEN
      states := states || SQLSTATE::text;
      messages := messages || SQLERRM;
    END;
  END LOOP;
  RETURN QUERY SELECT s, min(m), count(*) FROM unnest(states, messages) AS u(s, m) GROUP BY s;
END $$;
"""


class Mutator:
    """Changes replies of one server; counts those that it changed."""

    def __init__(self, seed, counter):
        self.chooser = random.Random(seed)
        self.counter = counter
        self.lock = threading.Lock()

    def value(self, address):
        chooser = self.chooser
        return chooser.choice([
            0, 1, -1, 2, 51, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 32, 1 << 62, 0.0, 1.0, 0.5, -1.0, float("nan"), float("inf"), 1e300, True, False, None, "",
            "a", "isdbgrid", "x" * chooser.choice([100, 300, 5000]), "a\0b", address, ":1", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "[::1]:1",
            "[::1", "/tmp/a.sock", "127.0.0.1:%d" % chooser.randrange(1, 65536), b"", b"abc", b"r=,s=,i=", {}, {"a": 1}, [], [1], [{}], ["a"], [""], ["zlib"],
            [address], [address, address], ["127.0.0.1:1", address], ["127.0.0.%d:%d" % (n, n + 1) for n in range(chooser.choice([3, 49, 50, 60]))],
            bson.ObjectId(), bson.Timestamp(1, 1), bson.Timestamp(0xFFFFFFFF, 0xFFFFFFFF), bson.Int64(0), bson.Int64(-1), bson.MinKey(), bson.MaxKey(),
            bson.Regex("a", "i"), bson.Code("x"), bson.Code("x", {"a": 1}), bson.Binary(b"x" * 30, 2), bson.Decimal128("NaN"),
            bson.datetime.datetime(1970, 1, 1), {"code": 0}, {"code": 64, "errmsg": "x"}, {"code": "x"}, {"clusterTime": 1}, token(1)["_data"], token(1),
            {"_data": "82zz"}, {"_data": "x" * 1000}, {"processId": 1}, {"fragment": 1, "of": 2}])

    def places(self, document, depth=0):
        """Every place in a document where a value stands."""
        keys = document.keys() if isinstance(document, dict) else range(len(document))
        for key in list(keys):
            yield document, key
            if depth < 4 and isinstance(document[key], (dict, list)):
                yield from self.places(document[key], depth + 1)

    def change_field(self, reply, address):
        chooser = self.chooser
        places = list(self.places(reply))
        holder, key = chooser.choice(places)
        what = chooser.randrange(8)
        if what < 3:
            holder[key] = self.value(address)
        elif what < 5:
            reply[chooser.choice(FIELDS)] = self.value(address)
        elif what == 5:
            del holder[key]
        elif isinstance(holder, dict) and what == 6:
            holder[chooser.choice(FIELDS)] = holder.pop(key)
        else:
            # an error, of a kind that the driver treats in a way of its own
            reply.update({"ok": chooser.choice([0, 0.0, False]), "code": chooser.choice([1, 13, 43, 91, 189, 10107, 11600, 13435, 136, 280, 286, 40324, 0]),
                          "errmsg": chooser.choice(["x", "not master", "node is recovering", ""])})

    def events(self, reply):
        """Some events in a cursor's reply."""
        cursor = reply.get("cursor")
        if isinstance(cursor, dict) and isinstance(cursor.get("nextBatch"), list):
            now = int(time.time())
            cursor["nextBatch"] = [{"_id": token(now, n + 2), "operationType": "insert", "clusterTime": bson.Timestamp(now, n + 2),
                                    "ns": {"db": "shop", "coll": "orders"}, "documentKey": {"_id": n}, "fullDocument": {"_id": n, "x": "x" * n}}
                                   for n in range(self.chooser.randrange(4))]

    def frame(self, whole):
        """A message that is wrong outside of its document."""
        chooser = self.chooser
        whole = bytearray(whole)
        what = chooser.randrange(7)
        if what == 0:
            struct.pack_into("<i", whole, 0, chooser.choice([0, -1, 15, 16, 20, 21, 25, len(whole) - 1, len(whole) + 1, 48000000, 48000001, (1 << 31) - 1]))
        elif what == 1:
            struct.pack_into("<i", whole, 12, chooser.choice([0, 1, 2004, 2010, 2011, 2012, 2013, -1]))
        elif what == 2:
            struct.pack_into("<i", whole, 16, chooser.choice([1, 2, 3, 0x10000, -1, 1 << 31 >> 1]))
        elif what == 3 and len(whole) > 40:
            whole[20] = chooser.choice([1, 2, 255])
        elif what == 4:
            struct.pack_into("<i", whole, 8, chooser.randrange(1, 1 << 31))
        elif what == 5:
            whole += bytes(chooser.choice([1, 4, 21]))
            struct.pack_into("<i", whole, 0, len(whole))
        else:
            return mutate(chooser, bytes(whole), BSON_TOKENS)
        return bytes(whole)

    def pack(self, whole):
        """A compressed message, of which something may be wrong."""
        chooser = self.chooser
        what = chooser.randrange(7)
        packed = zlib.compress(whole[16:])
        if what == 0:
            return compressed(whole, size=chooser.choice([0, 1, 4, 21, 47999984, 48000000, (1 << 31) - 1, -1, len(whole)]))
        if what == 1:
            return compressed(whole, packed=mutate(chooser, packed, [b"\0", b"\xff"]))
        if what == 2:
            return compressed(whole, compressor=chooser.randrange(256))
        if what == 3:
            return compressed(whole, compressor=chooser.choice([0, 1, 3]), packed=mutate(chooser, whole[16:], [b"\xff"]))
        if what == 4:
            return compressed(whole, packed=packed[:chooser.randrange(len(packed))])
        if what == 5:
            return compressed(whole, opcode=chooser.choice([1, OP_COMPRESSED, 0, 2004]))
        return compressed(whole)

    def lie(self, address):
        def lie(name, request, reply):
            with self.lock:
                return self.changed(name, request, reply, address)
        return lie

    def changed(self, name, request, reply, address):
        chooser = self.chooser
        hello = name.lower() in ("hello", "ismaster")
        self.events(reply)
        # a hello must often be right, or nothing behind it is reached
        if name in ("endSessions", "killCursors") or chooser.random() < (0.6 if hello else 0.1):
            return None
        self.counter.value += 1
        wrap = legacy if hello and name == "ismaster" and "$db" not in request else message
        what = chooser.randrange(10)
        if what < 6:
            for _ in range(chooser.choice([1, 1, 1, 2, 3])):
                self.change_field(reply, address)
        for part in (reply, reply.get("speculativeAuthenticate")):
            if isinstance(part, dict) and isinstance(part.get("payload"), bytes) and chooser.random() < 0.7:
                part["payload"] = mutate(chooser, part["payload"], [b",", b"=", b"r=", b"i=9999999999", b"s=", b"v=", b"e="])
        try:
            data = bson.encode(reply)
        except Exception:
            data = bson.encode({"ok": 1})
        if what == 6:
            data = mutate(chooser, data, BSON_TOKENS)
        elif what == 7:
            data = repair(mutate(chooser, data, BSON_TOKENS))
        elif what == 8 and not hello:
            extra = bson_values.document([(chooser.choice(FIELDS), bson_values.value(chooser, 3, True))])
            data = repair(extra[:-1] + data[4:])
        whole = wrap(data)
        if chooser.random() < 0.03:
            whole = self.pack(whole)
        if what == 9:
            whole = self.frame(whole)
        return Message(whole)


def serve(seed, pipe, counter):
    """A process with two liars, one of which is asked for compressed replies and one for authentication."""
    mutator = Mutator(seed, counter)
    plain, packing, asking = Liar(), Liar(), Liar(authenticates=True)
    plain.lie = mutator.lie(plain.address)
    packing.lie = Mutator(seed + 1, counter).lie(packing.address)
    packs = packing.lie

    def lie_packed(name, request, reply):
        told = packs(name, request, reply)
        if isinstance(told, Message) and name.lower() not in ("hello", "ismaster", "saslStart", "saslContinue"):
            return mutator.pack(told) if len(told) > 30 else told
        return told

    packing.lie = lie_packed
    asking.lie = Mutator(seed + 2, counter).lie(asking.address)
    pipe.send([plain.uri(), packing.uri("&compressors=zlib"), asking.uri(), f"mongodb://{plain.address}/?directConnection=true"])
    pipe.recv()


def memory(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) // 1024


class Session(threading.Thread):
    """Calls the servers in turn until the time is over."""

    def __init__(self, database, names, reads, chooser, goes_on):
        super().__init__(daemon=True)
        self.database, self.names, self.reads, self.chooser, self.goes_on = database, names, reads, chooser, goes_on
        self.states = {}
        self.problem = None

    def run(self):
        try:
            while self.goes_on():
                connection = self.database.connect()
                connection.execute("SET statement_timeout = '%ds'" % LONGEST)
                at_first = None
                for _ in range(30):
                    name = self.chooser.choice(self.names)
                    try:
                        rows = connection.execute("SELECT * FROM call_liar(%s, %s, %s, %s)",
                                                  (name, COMMANDS, f"history_{name}" if self.reads else None, CALLS // 10 if self.reads else CALLS)).fetchall()
                    except psycopg.errors.QueryCanceled as canceled:
                        # what a server's error 50 is, too
                        if "statement timeout" in str(canceled):
                            raise
                        continue
                    for state, text, count in rows:
                        self.states[state] = self.states.get(state, 0) + count
                        if state != "00000" and not state.startswith(EXPECTED):
                            raise AssertionError(f"{state} {text}")
                    if not self.goes_on():
                        break
                    now = memory(connection.info.backend_pid)
                    at_first = at_first or now
                    # what is freed stays for a while with the sanitizer, for each of many threads
                    assert now < at_first + 1500, f"memory of a backend grows from {at_first} to {now} MB"
                connection.close()
        except Exception as problem:
            self.problem = problem


def fuzz(cluster, seconds, seed):
    counter = multiprocessing.Value("Q", 0)
    database = cluster.create_database("fuzz")
    database.execute(FUNCTIONS)
    names, pipes, processes = [], [], []
    for at in range(LIARS):
        near, far = multiprocessing.Pipe()
        processes.append(multiprocessing.Process(target=serve, args=(seed + 10 * at, far, counter), daemon=True))
        processes[-1].start()
        pipes.append(near)
        for uri in near.recv():
            names.append(f"liar_{len(names)}")
            database.create_server(uri + "&connectTimeoutMS=2000&socketTimeoutMS=2000&serverSelectionTimeoutMS=1", "shop", name=names[-1])
            database.execute(f"CREATE FOREIGN TABLE history_{names[-1]} (operation_type text, full_document document) SERVER {names[-1]} OPTIONS (collection 'orders')")
            if len(names) % 4 == 3:
                database.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER {names[-1]} OPTIONS (username 'app', password 'secret')")
    begin = time.monotonic()

    def goes_on():
        passed = time.monotonic() - begin
        return passed < seconds or (counter.value < WANTED and passed < 600)

    sessions = [Session(database, names, at < READERS, random.Random(seed + 1000 + at), goes_on) for at in range(READERS + SESSIONS)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join(max(seconds, 600) + 2 * LONGEST)
    for pipe in pipes:
        pipe.send("end")
    problems = [session.problem for session in sessions if session.problem] + [session for session in sessions if session.is_alive()]
    deaths = cluster.new_deaths()
    assert not deaths and not cluster.reports(), (deaths, cluster.reports())
    assert not problems, problems
    states = {}
    for session in sessions:
        for state, count in session.states.items():
            states[state] = states.get(state, 0) + count
    passed = time.monotonic() - begin
    print(f"{counter.value} wrong replies in {passed:.0f} s, {counter.value / passed:.0f} a second; no death, no report; SQLSTATEs {dict(sorted(states.items()))}")
    assert counter.value > 0 and counter.value >= WANTED


if __name__ == "__main__":
    run(fuzz, SETTINGS)
