"""Documents survive pg_dump, in every format, byte for byte."""
import random
import subprocess

import bson_values
import pytest
from test_document_order import copy_documents

COUNT = 1500

# stored as a MongoDB server could have sent it, which no input but the $bson escape takes
ODD = [
    (bson_values.STRING, bson_values.string(b"\xff\xfe")),
    (bson_values.OBJECT, bson_values.document([(b"\xff", (bson_values.NULL, b""))])),
    (bson_values.OBJECT, bson_values.document([("a", (bson_values.SYMBOL, bson_values.string(b"a\xc3")))])),
    (bson_values.REGEX, b"\xe9\0\0"),
    (bson_values.BOOL, b"\2"),
    (bson_values.BINARY, b"\4\0\0\0\2\xff\xff\xff\xff"),
]


@pytest.fixture
def values():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chooser = random.Random(seed)
    made = [value for _ in range(5) for value in bson_values.each_type(chooser)]
    while len(made) < COUNT:
        made.append(bson_values.value(chooser, duplicates=True))
    # what looks like a typed value of Extended JSON and is none
    made.append((bson_values.OBJECT, bson_values.document([("$oid", (bson_values.STRING, bson_values.string("x")))])))
    made.append((bson_values.OBJECT, bson_values.document([("a", (bson_values.OBJECT, bson_values.document(
        [("$numberLong", (bson_values.STRING, bson_values.string("5"))), ("b", (bson_values.NULL, b""))])))])))
    made.append((bson_values.ARRAY, bson_values.document([("1", (bson_values.NULL, b""))])))
    return list(enumerate(made))


def contents(database):
    return {row[0]: bytes(row[1]) for row in database.execute("SELECT id, document_send(d) FROM v")}


@pytest.mark.parametrize("options", [["-Fp"], ["-Fp", "--inserts"], ["-Fc"]], ids=["plain", "inserts", "custom"])
def test_dump_and_restore(db, postgres, values, options, tmp_path):
    db.execute("CREATE TABLE v (id int, d document)")
    copy_documents(db.connection, "v", values)
    for number, (kind, data) in enumerate(ODD, COUNT * 2):
        db.execute("INSERT INTO v VALUES (%s, %s::document)", number, '{"$bson": "%s"}' % (bytes([kind]) + data).hex())
    db.execute("CREATE INDEX ON v (d)")
    db.execute("CREATE INDEX ON v USING hash (d)")
    db.execute("CREATE INDEX ON v USING gin (d)")
    before = contents(db)
    assert before == {number: bytes([kind]) + data for number, (kind, data) in [*values, *enumerate(ODD, COUNT * 2)]}

    program = postgres.installation.program
    environment = postgres.client_environment(db.name)
    target = postgres.create_database(db.name + "_restored", extension=False)
    file = tmp_path / "dump"
    subprocess.run([program("pg_dump"), *options, "-f", file], env=environment, check=True)
    restored = {**environment, "PGDATABASE": target.name}
    if options[0] == "-Fc":
        subprocess.run([program("pg_restore"), "-e", "-d", target.name, file], env=restored, check=True)
    else:
        subprocess.run([program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file], env=restored, check=True,
                       stdout=subprocess.DEVNULL)
    try:
        assert contents(target) == before
        assert target.value("SELECT count(*) FROM v WHERE d = d") == len(before)
    finally:
        target.close()
        postgres.drop_database(target.name)
    print(f"{len(before)} values, the same bytes")
