"""Sends the gateway what no client should, in a server whose copy of the library has sanitizers in it.

    python3 test/fuzz_gateway.py [seconds] [seed]

Clients log in, or do not, and send messages of all kinds in random order and in pieces of random
size: with wrong lengths, types, bytes; texts that are in the dialect, nearly, or not at all; and they
leave in the middle.  Each that has stopped sending must see the other side's end soon.  Beside
that, pipelines that are put together at random have the answers that the same have on the server's
own port, where their texts are translated before.  A death, a sanitizer's report, a session that
hangs, another answer, or memory that grows are failures.
"""
import contextlib
import random
import re
import select
import socket
import struct
import threading
import time

import psycopg

import wire
from fuzz_document import mutate, run
from harness.machine import free_ports, wait_until
from wire import Wire

SETTINGS = {"autovacuum": "off", "max_parallel_workers_per_gather": 0, "jit": "off", "max_connections": 100}
CLIENTS = 6
PATIENCE = 30      # seconds until the end of a session whose client has stopped sending
GROWTH = 600       # megabytes; a sanitizer keeps 256 of what is freed

TABLES = """
CREATE TABLE IF NOT EXISTS things (thing document, note jsonb);
TRUNCATE things;
INSERT INTO things VALUES ('{"name": "lamp", "size": {"height": 40}, "parts": ["bulb", "foot"]}', '{"by": {"name": "ann"}}'),
                          ('{"name": "table", "size": {"height": 75}}', '{"by": {"name": "bob"}}');
"""

# in the dialect; what they become is asked of the server
DIALECT = ["SELECT thing.name::text FROM things WHERE thing.size.height = 40", "SELECT thing.size.height FROM things ORDER BY thing.name DESC",
           "SELECT note.by.name FROM things", "SELECT thing.name || ';' AS n FROM things WHERE thing.parts CONTAINS 'bulb'",
           "INSERT INTO counted SELECT thing.size.height::int FROM things", "SELECT thing.name, 1 / (thing.size.height::int - 40) FROM things",
           "EXPLAIN (COSTS off) SELECT thing.name FROM things WHERE thing.size.height = 40"]
PLAIN = ["SELECT 1", "SELECT thing FROM things", "BEGIN", "COMMIT", "ROLLBACK", "SELECT 1/0", "SELECT nix FROM things", "SELECT", "", "SAVEPOINT s", "ROLLBACK TO s",
         "SELECT count(*) FROM counted", "CREATE TABLE IF NOT EXISTS counted (n int)", "SELECT generate_series(1, 5)", "SET standard_conforming_strings = off",
         "SET standard_conforming_strings = on", "SHOW search_path"]
TORN = ["CREATE TRIGGER t ON CHANGE STREAM s AS BEGIN PERFORM 1;", "CREATE TRIGGER t ON CHANGE STREAM s AS DECLARE a int;", "PERFORM change.a.b;", "END;", "END IF; END;",
        "COPY things FROM STDIN", "COPY things TO STDOUT", "SELECT thing.name FROM", "SELECT thing.name FROM things WHERE (", "CREATE EVENT_STORE e AS SELECT", "SHOW CHANGE STREAMS",
        "SELECT $1::text, thing.name FROM things", "SELECT $$thing.name", "SELECT '\\' thing.name", "/* /* thing.name */ FROM things", "SELECT \"thing", "SELECT U&\"\\0061\" FROM things",
        "DROP CHANGE STREAM IF EXISTS nix", "DEALLOCATE ALL", "DISCARD ALL", "LISTEN a", "NOTIFY a", "SELECT thing.name FROM things; SELECT 1; SELECT thing.x.y FROM things",
        "SELECT repeat('x', 300000), thing.name FROM things", "DO $$ BEGIN RAISE NOTICE 'thing.name'; END $$", "SET client_encoding = LATIN1", "SET client_encoding = UTF8"]
TOKENS = [b"\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"Q", b"P\0\0\0\x08", b"S\0\0\0\4", b"H\0\0\0\4", b"X\0\0\0\4", b"c\0\0\0\4", b"thing.name", b"CHANGE_STREAM", b"'", b"$$", b"\"", b"/*", b";", b"BEGIN"]


@contextlib.contextmanager
def ident_server(user):
    """An ident server on this machine that calls everyone so; false where its port can't be had."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", 113))
        except OSError:
            yield False
            return
        server.listen()
        server.settimeout(0.2)
        ends = threading.Event()

        def serve():
            while not ends.is_set():
                with contextlib.suppress(OSError):
                    asked, _ = server.accept()
                    with asked:
                        asked.settimeout(5)
                        asked.sendall(asked.recv(100).strip() + f" : USERID : UNIX : {user}\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield True
        finally:
            ends.set()
            thread.join()


# ---------------------------------------------------------------- the same by both ports

def pieces(chooser, texts, plain_of):
    """Some messages, and the same with texts translated."""
    text = chooser.choice(texts)
    name, portal = chooser.choice(["", "", "", "s1"]), chooser.choice(["", "", "", "p1"])

    def both(make):
        return make(text), make(plain_of.get(text, text))

    what = chooser.randrange(12)
    if what < 5:
        rest = wire.bind(name=name, portal=portal) + (wire.describe(portal) if chooser.random() < 0.5 else b"") + wire.execute(portal)
        again = wire.message(b"C", b"S" + wire.string(name)) if name else b""
        return both(lambda given: again + wire.parse(given, name) + rest)
    if what < 7:
        return both(wire.query)
    if what == 7:
        return both(lambda given: wire.parse(given, name))
    same = {8: wire.SYNC, 9: wire.SYNC + wire.FLUSH, 10: wire.bind(name=name, portal=portal) + wire.message(b"E", wire.string(portal) + struct.pack("!I", 1)),
            11: wire.message(b"C", b"P" + wire.string(portal))}[what]
    return same, same


def told(messages):
    """What two sessions must have in common."""
    found = []
    for kind, body in messages:
        if kind in b"EN":
            field = wire.fields(body)
            found.append((kind, field["C"], field["M"]))
        elif kind not in b"SA":
            found.append((kind, body))
    return found


def answers(link, messages, marker):
    """All answers up to a marker behind the messages."""
    link.send(messages, wire.SYNC, wire.query(f"ROLLBACK; SELECT '{marker}'"))
    found = []
    while not found or found[-1][0] != b"Z" or not any(kind == b"D" and marker.encode() in body for kind, body in found):
        found.append(link.message())
    return told(found)


def compare_pipelines(port, direct_port, database, seconds, seed, goes_on=lambda: True):
    """Pipelines at random by both ports; how many."""
    chooser = random.Random(seed)
    with psycopg.connect(host="127.0.0.1", port=direct_port, dbname=database, user="postgres", autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute("CREATE TABLE IF NOT EXISTS counted (n int); TRUNCATE counted")
        plain_of = {text: connection.execute("SELECT change_stream_translate_for_gateway(%s)", [text]).fetchone()[0] for text in DIALECT}
    assert all(plain != text for text, plain in plain_of.items())
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and goes_on():
        with Wire(port, PATIENCE) as through, Wire(direct_port, PATIENCE) as direct:
            through.login(database=database)
            direct.login(database=database)
            for n in range(20):
                made = [pieces(chooser, DIALECT + PLAIN, plain_of) for _ in range(chooser.randrange(1, 15))]
                sent, plain = (b"".join(part) for part in zip(*made))
                # one after the other, as they write the same table
                wanted = answers(direct, plain, f"marker {n}")
                direct.answers(wire.query("DEALLOCATE ALL; TRUNCATE counted; SET standard_conforming_strings = on"))
                found = answers(through, sent, f"marker {n}")
                through.answers(wire.query("DEALLOCATE ALL; TRUNCATE counted; SET standard_conforming_strings = on"))
                if found != wanted:
                    at = next((i for i, pair in enumerate(zip(found, wanted)) if pair[0] != pair[1]), min(len(found), len(wanted)))
                    raise AssertionError(f"{sent}\nanswer {at} is {found[at:at + 3]}, directly {wanted[at:at + 3]}")
                count += 1
    return count


# ---------------------------------------------------------------- anything

def anything(chooser):
    """Bytes that a client may send."""
    what = chooser.randrange(14)
    # not into the table of the comparisons, where one that has left might still write
    text = chooser.choice(chooser.choice([DIALECT, PLAIN, TORN, TORN])).replace("counted", "piled")
    if what < 3:
        return wire.query(text)
    if what < 6:
        return wire.parse(text, chooser.choice(["", "s"])) + wire.bind(*(["x"] if "$1" in text else [])) + wire.describe() + wire.execute() + chooser.choice([wire.SYNC, b""])
    if what == 6:
        return chooser.choice([wire.SYNC, wire.FLUSH, wire.message(b"c"), wire.message(b"f", b"no\0"), wire.message(b"d", b"1\n"), wire.message(b"p", b"x\0"), wire.message(b"F", bytes(12))])
    if what == 7:
        return wire.message(bytes([chooser.randrange(256)]), bytes(chooser.randrange(256) for _ in range(chooser.randrange(40))))
    if what == 8:
        return bytes([chooser.choice(b"QPBDECSHdcfFX")]) + struct.pack("!I", chooser.choice([0, 1, 3, 4, 5, 6, 100, 10000, 1 << 20, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0xFFFFFFFF]))
    if what == 9:
        return bytes(chooser.randrange(256) for _ in range(chooser.randrange(100)))
    if what == 10:
        return wire.message(chooser.choice([b"Q", b"P"]), mutate(chooser, wire.string("s") + wire.string(text) + b"\0\0", TOKENS))
    if what == 11:
        return wire.message(b"d", b"x" * chooser.choice([1, 1000, 100000]))
    if what == 12:
        return wire.query(text) * chooser.choice([2, 20])
    return mutate(chooser, wire.query(text) + wire.parse(text) + wire.SYNC, TOKENS)


def begin(chooser, database):
    """The packets at the begin, mostly right."""
    if chooser.random() < 0.9:
        return chooser.choice([b"", b"", wire.TLS, wire.GSS + wire.TLS]) + wire.startup(database=database, application_name=chooser.choice(["psql", "x"]))
    return chooser.choice([mutate(chooser, wire.startup(database=database), TOKENS), wire.message(b"", struct.pack("!III", 80877102, chooser.randrange(1 << 32), 5)),
                           wire.startup(database=database, replication=chooser.choice(["true", "database", "off", "x"])), bytes(chooser.randrange(256) for _ in range(30)), wire.TLS[:5]])


def session(port, database, chooser):
    """One client; an error where it is left waiting."""
    data = begin(chooser, database) + b"".join(anything(chooser) for _ in range(chooser.randrange(30)))
    if chooser.random() < 0.3:
        data = data[:1 + chooser.randrange(len(data))]
    sizes = chooser.choice([[1, 2, 3, 7], [100], [1 << 20], [5, 1000]]) if len(data) < 20000 else [1 << 20]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
        link.setblocking(False)
        until = time.monotonic() + PATIENCE
        leaves = chooser.random() < 0.15
        while True:
            if data and leaves and chooser.random() < 0.05:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", chooser.randrange(2), 0))
                return
            readable, writable, _ = select.select([link], [link] if data else [], [], 1)
            try:
                if readable and not link.recv(1 << 16):
                    return
                if writable:
                    data = data[link.send(data[:chooser.choice(sizes)]):]
                    until = time.monotonic() + PATIENCE
                    if not data:
                        link.shutdown(socket.SHUT_WR)
            except OSError:
                return
            if time.monotonic() > until:
                raise AssertionError("a session hangs")


def attack(port, database, seconds, seed, goes_on=lambda: True):
    """Clients at once, for a while; how many there were."""
    counts, problems = [0] * CLIENTS, []
    end = time.monotonic() + seconds

    def work(at):
        n = 0
        try:
            while time.monotonic() < end and not problems and goes_on():
                n += 1
                session(port, database, random.Random(f"{seed} {at} {n}"))
                counts[at] = n
        except Exception as problem:
            problems.append(AssertionError(f"seed {seed}, client {at}, session {n}: {problem!r}"))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return sum(counts)


def fuzz(cluster, seconds, seed):
    cluster.stop()
    cluster.port, port = free_ports(2)
    cluster.configure(port=cluster.port, listen_addresses="127.0.0.1", mongo_change_stream__gateway_port=port)
    cluster.start()
    database = cluster.create_database("fuzz")
    database.execute(TABLES)

    def process():
        found = database.value("SELECT query FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream gateway'")
        return found and int(re.search(r"process (\d+)", found)[1])

    def memory():
        with open(f"/proc/{first}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) // 1024

    wait_until(lambda: "the gateway listens" in cluster.log_text(), 30, "the gateway listens")
    first = process()
    before = memory()
    end = time.monotonic() + seconds
    sessions = pipelines = 0
    while time.monotonic() < end:
        sessions += attack(port, "fuzz", min(20, end - time.monotonic()), seed + sessions)
        pipelines += compare_pipelines(port, cluster.port, "fuzz", 5, seed + sessions)
        assert not cluster.reports(), cluster.reports()[0]
        assert process() == first, cluster.log_text()[-3000:]
        assert memory() < before + GROWTH, f"memory of the gateway grows from {before} to {memory()} MB"
    deaths = cluster.new_deaths()
    assert not deaths and not cluster.reports(), (deaths, cluster.reports())
    print(f"{sessions} sessions of anything, {pipelines} pipelines with the answers of the server's own port; no death, no report, none that hung; {memory()} MB")


if __name__ == "__main__":
    run(fuzz, SETTINGS)
