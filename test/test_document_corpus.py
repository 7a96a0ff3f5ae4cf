"""Type document against the BSON corpus, which nobody here wrote: pymongo's source distribution carries it."""
import json
import pathlib
import subprocess
import sys
import tarfile

import bson
import psycopg
import pytest

from harness.machine import CACHE

PYMONGO = "pymongo==4.20.0"
# a database error about the value; anything else (a lost connection, an internal error) fails the test
REFUSALS = ("22", "54")


def corpus_folder():
    """The corpus, downloaded once."""
    folder = CACHE / "bson_corpus"
    if not folder.exists():
        downloads = CACHE / "downloads"
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-binary", "pymongo", "--no-deps",
                        "-d", str(downloads), PYMONGO], check=True)
        partial = CACHE / "bson_corpus.partial"
        partial.mkdir(parents=True, exist_ok=True)
        with tarfile.open(next(downloads.glob("pymongo-*.tar.gz"))) as archive:
            for member in archive:
                path = pathlib.PurePosixPath(member.name)
                if path.parts[1:3] == ("test", "bson_corpus") and path.suffix == ".json":
                    (partial / path.name).write_bytes(archive.extractfile(member).read())
        partial.rename(folder)
    return folder


@pytest.fixture(scope="module")
def corpus():
    files = sorted(corpus_folder().glob("*.json"))
    assert len(files) == 31
    return {file.name: json.loads(file.read_text()) for file in files}


def cases(corpus, kind):
    return [(f"{name}: {case['description']}", case) for name, file in corpus.items() for case in file.get(kind, [])]


class Types:
    """The ways into and out of type document."""

    def __init__(self, db):
        self.db = db
        self.connection = db.connect()

    def recv(self, document):
        """Through COPY BINARY, both ways: the bytes that come back."""
        payload = b"\x03" + document
        with self.connection.transaction():
            with self.connection.cursor() as cursor:
                cursor.execute("CREATE TEMP TABLE IF NOT EXISTS wire (d document)")
                cursor.execute("TRUNCATE wire")
                with cursor.copy("COPY wire FROM STDIN (FORMAT binary)") as copy:
                    copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\x01" + len(payload).to_bytes(4, "big") + payload
                               + b"\xff\xff")
                with cursor.copy("COPY wire TO STDOUT (FORMAT binary)") as copy:
                    out = b"".join(copy)
        assert out[19:21] == b"\0\x01" and out[25:26] == b"\x03"
        return out[26:25 + int.from_bytes(out[21:25], "big")]

    def from_bson(self, document):
        return self.db.value("SELECT document_to_bson(document_from_bson(%s))", document)

    def text(self, document):
        return self.db.value("SELECT document_from_bson(%s)::text", document)

    def parse(self, text):
        return self.db.value("SELECT document_to_bson(%s::text::document)", text)

    def refuses(self, what, value):
        """What is wrong, as the server says; None if it takes the value."""
        try:
            what(value)
        except psycopg.Error as error:
            assert error.sqlstate and error.sqlstate.startswith(REFUSALS), error
            return str(error)
        return None


@pytest.fixture
def types(db):
    return Types(db)


def test_valid_documents_keep_their_bytes(corpus, types):
    done = 0
    for name, case in cases(corpus, "valid"):
        for kind in ("canonical_bson", "degenerate_bson", "converted_bson"):
            if kind not in case:
                continue
            document = bytes.fromhex(case[kind])
            assert types.recv(document) == document, name
            assert types.from_bson(document) == document, name
            text = types.text(document)
            assert types.parse(text) == document, (name, text)
            json.loads(text)
            done += 1
    print(f"{done} documents identical through binary and text")
    assert done == 746


def test_extended_json_gives_the_bytes(corpus, types):
    canonical = relaxed = other = 0
    for name, case in cases(corpus, "valid"):
        document = bytes.fromhex(case["canonical_bson"])
        for kind in ("canonical_extjson", "degenerate_extjson"):
            if kind in case and not case.get("lossy"):
                assert types.parse(case[kind]) == document, (name, kind)
                canonical += 1
        if "converted_extjson" in case:
            assert types.parse(case["converted_extjson"]) == bytes.fromhex(case["converted_bson"]), name
            other += 1
        if "relaxed_extjson" in case and not case.get("lossy"):
            mine = types.parse(case["relaxed_extjson"])
            assert mine == document or values(mine) == values(document), name
            relaxed += 1
    print(f"{canonical} canonical and degenerate, {relaxed} relaxed, {other} converted texts parsed")
    assert (canonical, relaxed, other) == (1045, 25, 11)


def values(document):
    """The document as Python has it, where numbers of different types are equal: a relaxed text has no types."""
    return bson.decode(document)


def test_decode_errors_are_refused(corpus, types):
    count = 0
    for name, case in cases(corpus, "decodeErrors"):
        document = bytes.fromhex(case["bson"])
        assert types.refuses(types.recv, document), name
        assert types.refuses(types.from_bson, document), name
        count += 1
    print(f"{count} malformed documents refused, twice each")
    assert count == 75


def test_parse_errors_are_refused(corpus, types):
    count = 0
    for file, content in corpus.items():
        for case in content.get("parseErrors", []):
            text = case["string"]
            if content["bson_type"] == "0x13":
                text = json.dumps({"d": {"$numberDecimal": text}})
            complaint = types.refuses(types.parse, text)
            assert complaint and "character" in complaint, f"{file}: {case['description']}"
            count += 1
    print(f"{count} malformed texts refused")
    assert count == 180
