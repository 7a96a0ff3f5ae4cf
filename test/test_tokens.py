"""Resume tokens in every form, and positions that MongoDB can or can't go on from."""
import json
import os
import signal

import bson
import bson.json_util
import pytest
from bson.decimal128 import Decimal128

import oracle
from harness.machine import wait_until
from streams import create, error_of, gaps, ids, operations, pause, resume, sync, wait_state, worker

# Keys whose tokens have type bits, and some beside them that have none.
KEYS = [1, 3.5, {"a": 6.5}, Decimal128("1.10"), {"n": Decimal128("NaN")}, float("nan"), -0.0, 7.0, bson.Int64(9), 0.1, "text"]


def tokens(db, stream):
    return db.column("SELECT resume_token FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)


def document_text(token):
    """A token as MongoDB's clients print it."""
    data, _, bits = token.partition(".")
    return bson.json_util.dumps({"_data": data, **({"_typeBits": bytes.fromhex(bits)} if bits else {})})


@pytest.mark.parametrize("options", [{}, {"full_document": "updateLookup"}], ids=["plain", "images"])
def test_restart_behind_every_key(linked, mongo, mdb, options):
    """Stopped behind each key, by pause, by SIGTERM and by a cursor that MongoDB kills, a stream goes on: nothing lost or repeated."""
    since = oracle.mark(mongo)
    create(linked, "numbers", collection="numbers", **options)
    for number, key in enumerate(KEYS):
        mdb.numbers.insert_one({"_id": key})
        sync(linked, "numbers")
        # the position stays at the event only as long as nothing else has happened
        if number % 3 == 0:
            pause(linked, "numbers")
            position_at_last_event(linked, "numbers")
            resume(linked, "numbers")
        elif number % 3 == 1:
            pid = worker(linked, "numbers")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: worker(linked, "numbers") != pid, 30, "another worker")
        else:
            mongo.fail_command(["getMore"], times=1, errorCode=43)
    sync(linked, "numbers")
    mdb.numbers.update_many({}, {"$set": {"seen": True}})
    mdb.numbers.delete_many({})
    sync(linked, "numbers")
    assert operations(linked, "numbers") == ["insert"] * len(KEYS) + ["update"] * len(KEYS) + ["delete"] * len(KEYS)
    assert sum("." in token for token in tokens(linked, "numbers")) > len(KEYS)
    assert tokens(linked, "numbers") == sorted(tokens(linked, "numbers"))
    assert linked.value("SELECT bool_and(event_cluster_timestamp(resume_token) IS NOT NULL) FROM change_stream_events")
    if not options:
        oracle.compare(linked, "numbers", mongo, since, mdb.name, where=oracle.in_collection("numbers"))


def position_at_last_event(db, stream):
    """Puts the stored position where a crash right behind the last event would have left it."""
    db.execute("UPDATE change_stream_progress SET resume_token = (SELECT resume_token FROM change_stream_events"
               " WHERE stream_name = %s ORDER BY event_id DESC LIMIT 1) WHERE stream_name = %s", stream, stream)


@pytest.mark.parametrize("key", [3.5, {"a": 6.5}, Decimal128("1.10"), float("nan"), -0.0], ids=str)
def test_positions_without_type_bits(linked, mdb, key):
    """A position that 1.0 stored has no type bits: the stream goes on from its time, and leaves out what it had."""
    for stream, options in (("plain", {}), ("images", {"full_document": "updateLookup"})):
        create(linked, stream, collection="numbers", **options)
    with mdb.client.start_session() as session, session.start_transaction():
        mdb.numbers.insert_many([{"_id": 1000}, {"_id": key}, {"_id": 2}, {"_id": 3.25}], session=session)
    for stream in ("plain", "images"):
        sync(linked, stream)
        pause(linked, stream)
        whole = tokens(linked, stream)
        linked.execute("UPDATE change_stream_progress SET resume_token = split_part(%s, '.', 1) WHERE stream_name = %s", whole[1], stream)
        resume(linked, stream)
        sync(linked, stream)
        assert tokens(linked, stream) == whole + whole[2:]
        assert wait_state(linked, stream, "active")


def test_every_form_of_a_token(linked, mdb):
    """What users may hand back: the column, and the token as MongoDB's clients print it, wherever a position is taken."""
    create(linked, "numbers", collection="numbers")
    mdb.numbers.insert_many([{"_id": 1}, {"_id": 3.5}, {"_id": 2.5}])
    sync(linked, "numbers")
    token = tokens(linked, "numbers")[1]
    data, bits = token.split(".")
    binary = json.loads(document_text(token))["_typeBits"]
    forms = [token, token.lower(), document_text(token), json.dumps({"_data": data, "_typeBits": bits.lower()}),
             json.dumps({"_typeBits": binary, "_data": data}), f'  {{"_data": "{data.lower()}", "_typeBits": "{bits}"}}',
             data, json.dumps({"_data": data})]
    for number, form in enumerate(forms):
        for argument in ("resume_after", "start_after", "start_at"):
            stream = f"s{number}_{argument}"
            create(linked, stream, collection="numbers", **{argument: form})
            sync(linked, stream)
            assert ids(linked, stream) == [2.5]
            linked.execute("SELECT drop_change_stream(%s)", stream)
        assert linked.value("SELECT event_cluster_timestamp(%s) = event_cluster_timestamp(%s)", form, token)
        create(linked, "again", collection="numbers")
        resume(linked, "again", start_at=form)
        sync(linked, "again")
        assert [operation for operation in operations(linked, "again") if operation != "gap"] == ["insert"]
        linked.execute("SELECT drop_change_stream('again')")
        for option in ("resume_after", "start_at"):
            linked.execute(f"CREATE FOREIGN TABLE f (document_key document, resume_token text) SERVER mongo"
                           f" OPTIONS (collection 'numbers', {option} '{form}')")
            assert linked.column("SELECT (document_key->'_id')::jsonb FROM f") == [2.5]
            linked.execute("DROP FOREIGN TABLE f")


def test_no_token(linked):
    """What is none is refused by name, with what would be one."""
    for text in ("82", "{}", '{"_data": 5}', '{"_data": "zz"}', "826B0B003D000000172B04.", "826B0B003D000000172B04.1", "826B0B003D000000172B04.XY",
                 '{"_data": "826B0B003D000000172B04", "_typeBits": 5}', '{"_data": "826B0B003D000000172B04.40"}',
                 "826B0B003D000000172B04.40.40", "826B0B003D00000017" + "00" * (8 << 20)):
        error = error_of(linked, "SELECT event_cluster_timestamp(%s)", text)
        assert error.sqlstate == "22023" and "not a resume token" in str(error)
        error = error_of(linked, "SELECT create_change_stream('s', resume_after => %s)", text)
        assert error.sqlstate == "22023" and "resume_after is not a resume token" in str(error) and error.diag.message_hint


def test_foreign_tables_show_the_same_tokens(linked, mdb):
    """A foreign table has the tokens of a stream of its kind, conditions on them hold, and reading goes on behind each."""
    create(linked, "numbers", collection="numbers", full_document="whenAvailable")
    for key in KEYS:
        mdb.numbers.insert_one({"_id": key})
    sync(linked, "numbers")
    linked.execute("IMPORT FOREIGN SCHEMA shop LIMIT TO (numbers) FROM SERVER mongo INTO public".replace("shop", mdb.name))
    whole = tokens(linked, "numbers")
    assert linked.column("SELECT resume_token FROM numbers") == whole
    for number, token in enumerate(whole):
        assert linked.column("SELECT resume_token FROM numbers WHERE resume_token > %s", token) == whole[number + 1:]
        assert linked.column("SELECT resume_token FROM numbers WHERE resume_token = %s", token) == [token]
        assert linked.column("SELECT resume_token FROM numbers WHERE resume_token COLLATE \"C\" <= %s", token) == whole[:number + 1]


def test_token_table(linked, mdb):
    """A table of the user's own gets the token whole: as text, and as the document that MongoDB takes."""
    linked.execute("CREATE TABLE change_stream_resume_tokens (stream_name text PRIMARY KEY, resume_token document)")
    linked.execute("CREATE TRIGGER keep AFTER INSERT OR UPDATE ON change_stream_events"
                   " FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token()")
    create(linked, "numbers", collection="numbers")
    for key in KEYS:
        mdb.numbers.insert_one({"_id": key})
        sync(linked, "numbers")
        token = bson.json_util.loads(linked.value("SELECT resume_token::text FROM change_stream_resume_tokens"))
        assert oracle.token_text(token) == tokens(linked, "numbers")[-1]
        with mdb.watch(resume_after=token, max_await_time_ms=10) as stream:
            assert stream.try_next() is None


def test_one_form_of_tokens(linked, mongo, mdb):
    """Streams that begin now, at a time and at the start of the history show the same tokens, as do those with images."""
    mdb.numbers.insert_one({"_id": 0})
    begin = linked.value("SELECT date_trunc('second', clock_timestamp())")
    create(linked, "now", collection="numbers")
    create(linked, "images", collection="numbers", full_document="updateLookup")
    mdb.numbers.insert_many([{"_id": 1}, {"_id": 3.5}])
    create(linked, "earliest", collection="numbers", start_at="earliest")
    create(linked, "time", collection="numbers", start_at=str(begin))
    for stream in ("now", "images", "earliest", "time"):
        sync(linked, stream)
    assert tokens(linked, "now") == tokens(linked, "images") == tokens(linked, "earliest")[-2:] == tokens(linked, "time")[-2:]


@pytest.mark.parametrize("key", [2, 3.5, "x\0y", {"a": [1.5, "b"]}, bson.Int64(1 << 40), bson.ObjectId("65f0c0ffee65f0c0ffee65f0")], ids=repr)
def test_skip_with_another_form_of_the_token(linked, mdb, key):
    """pymongo and a foreign table without images show other tokens for the event than the stream does: skip knows it by them."""
    create(linked, "numbers", collection="numbers", full_document="updateLookup")
    pause(linked, "numbers")
    with mdb.client.start_session() as session, session.start_transaction():
        mdb.numbers.insert_many([{"_id": 1000}, {"_id": key}, {"_id": 2000}], session=session)
    with mdb.watch(start_at_operation_time=session.operation_time, max_await_time_ms=10) as watched:
        other = [oracle.token_text(watched.next()["_id"]) for _ in range(3)]
    resume(linked, "numbers", skip=other[1])
    sync(linked, "numbers")
    assert operations(linked, "numbers") == ["insert", "gap", "insert"]
    assert other[1] != tokens(linked, "numbers")[1]
    assert linked.value("SELECT skip_token FROM change_streams") is None


def test_skip_refuses_what_cannot_be_the_event(linked, mdb):
    """A token of an event that the stream has had, or of none, is refused at once with the facts."""
    create(linked, "numbers", collection="numbers")
    mdb.numbers.insert_many([{"_id": 1}, {"_id": 2}])
    sync(linked, "numbers")
    pause(linked, "numbers")
    with mdb.watch(start_at_operation_time=oracle.token_time(tokens(linked, "numbers")[0]), max_await_time_ms=10) as watched:
        other = oracle.token_text(watched.next()["_id"])
    for token in (*tokens(linked, "numbers"), other):
        error = error_of(linked, "SELECT resume_change_stream('numbers', skip => %s)", token)
        assert error.sqlstate == "22023" and "has passed the event" in str(error)
        assert linked.value("SELECT resume_token FROM change_stream_progress") in error.diag.message_detail
    error = error_of(linked, "SELECT resume_change_stream('numbers', skip => %s)", f"82{int(other[2:10], 16) + 9:08X}000000012B0229296E04")
    assert error.sqlstate == "22023" and "no event's token" in str(error)
    assert linked.value("SELECT paused FROM change_streams")


def test_a_rewind_leaves_a_row(linked, mdb):
    """Going back shows: a row says that events repeat from there; going on where it stopped needs none."""
    create(linked, "numbers", collection="numbers")
    mdb.numbers.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 3}])
    sync(linked, "numbers")
    pause(linked, "numbers")
    position = linked.value("SELECT resume_token FROM change_stream_progress")
    first = tokens(linked, "numbers")[0]
    resume(linked, "numbers", start_at=first)
    sync(linked, "numbers")
    assert operations(linked, "numbers") == ["insert"] * 3 + ["gap"] + ["insert"] * 2
    (number, begin, end, reason), = gaps(linked, "numbers")
    assert (number, begin, end) == (4, position, first) and "repeat" in reason
    pause(linked, "numbers")
    resume(linked, "numbers", start_at=linked.value("SELECT resume_token FROM change_stream_progress"))
    sync(linked, "numbers")
    assert len(gaps(linked, "numbers")) == 1


def test_skip_at_the_event_that_blocks(linked, mdb):
    """A stream that stopped at an event: any form of that event's token goes, another event's is refused with the one that blocks."""
    linked.execute("ALTER TABLE change_stream_events ADD CHECK (document_key->>'_id' IS DISTINCT FROM '3.5')")
    create(linked, "numbers", collection="numbers", full_document="updateLookup")
    with mdb.client.start_session() as session, session.start_transaction():
        mdb.numbers.insert_many([{"_id": 1}, {"_id": 3.5}, {"_id": 2.5}], session=session)
    with mdb.watch(start_at_operation_time=session.operation_time, max_await_time_ms=10) as watched:
        other = [oracle.token_text(watched.next()["_id"]) for _ in range(3)]
    wait_state(linked, "numbers", "error", 60)
    blocking = linked.value("SELECT stopped_token FROM change_streams")
    error = error_of(linked, "SELECT resume_change_stream('numbers', skip => %s)", other[2])
    assert error.sqlstate == "22023" and blocking in error.diag.message_detail and blocking in error.diag.message_hint
    assert other[1] != blocking
    resume(linked, "numbers", skip=other[1])
    sync(linked, "numbers")
    assert ids(linked, "numbers") == [1, None, 2.5]
