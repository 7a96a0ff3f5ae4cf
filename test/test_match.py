"""What MongoDB is asked for a condition, beside what SQL says: never fewer events, and just as many where it is said to be exact.

MATCH_SEED and MATCH_CONDITIONS make other and longer runs.
"""
import os
import random
import re

import bson
import psycopg
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument

import bson_values
import oracle
from foreign import foreign_table, plan
from match_conditions import FIELDS, TEXTS, Conditions, quote
from streams import create, pause, sync

SEED = int(os.environ.get("MATCH_SEED", "6"))
COUNT = int(os.environ.get("MATCH_CONDITIONS", "200"))

IMAGES = {"changeStreamPreAndPostImages": {"enabled": True}}

HELPERS = """
CREATE TABLE kept AS SELECT e.*, e.event_id AS number FROM change_stream_events e;
CREATE FUNCTION local(condition text) RETURNS TABLE (token text, verdict text) LANGUAGE plpgsql AS $$
DECLARE
  candidate text;
BEGIN
  BEGIN
    RETURN QUERY EXECUTE format('SELECT resume_token, coalesce((%s)::text, ''unknown'') FROM kept', condition);
    RETURN;
  EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
    NULL;
  END;
  FOR candidate IN SELECT resume_token FROM kept LOOP
    BEGIN
      RETURN QUERY EXECUTE format('SELECT resume_token, coalesce((%s)::text, ''unknown'') FROM kept WHERE resume_token = $1', condition)
        USING candidate;
    EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
      RETURN QUERY SELECT candidate, 'error';
    END;
  END LOOP;
END $$;
CREATE FUNCTION pushed(condition text, mode text) RETURNS TABLE (match bytea, all_of_it boolean) LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL client_min_messages = error;
  PERFORM create_change_stream('probe', database => '*', filter => condition, full_document => mode, paused => true);
  RETURN QUERY SELECT document_to_bson(pushed_filter), local_filter IS NULL FROM change_streams WHERE stream_name = 'probe';
  PERFORM drop_change_stream('probe');
END $$;
"""


def typed(text):
    return bson_values.STRING, bson_values.string(text)


def some_value(rng):
    """A value that conditions are about, or any."""
    choice = rng.random()
    if choice < 0.3:
        return typed(rng.choice(TEXTS))
    if choice < 0.5:
        element = rng.choice([0, 1, 5, -1, bson.Int64(5), 1.5, 19.99, 0.1, 5.0, True, False, None, bson.Decimal128("19.99"), bson.Decimal128("5.0"),
                              float("nan"), 100, 9007199254740993, bson.Decimal128("NaN"), "a", "paid"])
        return next((kind, value) for _, kind, value in oracle.elements(bson.encode({"x": element})))
    if choice < 0.6:
        moment = rng.choice([1704067200000, 1704067200001, 0, 959860800000, 1704067199999])
        return next((kind, value) for _, kind, value in oracle.elements(bson.encode({"x": bson.DatetimeMS(moment)})))
    if choice < 0.72:
        return bson_values.ARRAY, bson_values.array([some_value(rng) for _ in range(rng.randrange(0, 3))])
    if choice < 0.86:
        keys = rng.sample(["b", "0", "1", "s", "a.b", "n", "user_id"], rng.randrange(0, 4))
        return bson_values.OBJECT, bson_values.document([(key, some_value(rng)) for key in keys])
    return bson_values.value(rng, 2)


def some_document(rng, number):
    """The bytes of a document with some of the fields that conditions name."""
    names = rng.sample([name for name in FIELDS if name not in ("_id", "$x")], rng.randrange(0, 8))
    members = [(name, some_value(rng)) for name in names]
    if names and rng.random() < 0.1:
        members.append((names[0], some_value(rng)))          # a key that occurs twice
    for name, kind in (("n", bson_values.DOUBLE), ("t", bson_values.DATE)):
        if name not in names and rng.random() < 0.5:
            members.append((name, bson_values.scalar(rng, kind)))
    identity = (bson_values.INT32, number.to_bytes(4, "little"))
    if number < 160:
        identity = rng.choice([identity, typed(f"a{number}"), (bson_values.INT64, number.to_bytes(8, "little")), (bson_values.OBJECT_ID, bytes(11) + bytes([number])),
                               (bson_values.OBJECT, bson_values.document([("a", typed(str(number)))])), (bson_values.DATE, number.to_bytes(8, "little"))])
    return RawBSONDocument(bson_values.document([("_id", identity)] + members))


def make_events(mongo, mdb, rng):
    """A history with every kind of event and every type of value; returns where it begins and ends."""
    raw = mongo.client.get_database(mdb.name, codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    other = mongo.client[mdb.name + "_other"]
    since = oracle.mark(mongo)
    for name in ("one", "two"):
        mdb.create_collection(name, **IMAGES)
    for number in range(160):
        raw[rng.choice(["one", "two"])].insert_one(some_document(rng, number))
    for number in range(160, 200):
        raw.one.insert_one(some_document(rng, number))
        path = rng.choice(["a", "b", "d.b", "s", "n", "list.0", "e.0.b", "userId"])
        kind, value = some_value(rng)
        update = bson_values.document([("$set", (bson_values.OBJECT, bson_values.document([(path, (kind, value))])))])
        raw.command("update", "one", updates=[{"q": {"_id": number}, "u": RawBSONDocument(update)}], check=False)
        mdb.one.update_one({"_id": number}, {"$unset": {rng.choice(["a", "b", "n", "flag", "d"]): 1}})
        if rng.random() < 0.5:
            raw.command("update", "one", updates=[{"q": {"_id": number}, "u": some_document(rng, number)}], check=False)
        if rng.random() < 0.4:
            mdb.one.delete_one({"_id": number})
    mdb.one.insert_one({"_id": 1000, "list": list(range(10)), "d": {"list": list(range(10)), "b": 1}})
    mdb.one.update_one({"_id": 1000}, [{"$set": {"list": {"$slice": ["$list", 2]}, "d.list": {"$slice": ["$d.list", 3]}}}])
    mdb.one.update_one({"_id": 1000}, [{"$set": {"a.b": 5}}, {"$replaceWith": {"$setField": {"field": "x.y", "input": "$$ROOT", "value": 1}}}])
    with mongo.client.start_session() as session, session.start_transaction():
        for number in range(2000, 2005):
            mdb.one.insert_one({"_id": number, "a": "a", "n": number}, session=session)
        mdb.two.update_one({"_id": 1}, {"$set": {"a": "paid"}}, session=session)
    mdb.one.create_index("a")
    mdb.two.rename("renamed")
    other.one.insert_one({"_id": 1, "a": "a"})
    other.drop_collection("one")
    other.two.insert_one({"_id": {"a": 1}, "n": 5})
    mongo.client.drop_database(other)
    return since, oracle.mark(mongo)


def tokens(target, since, until, match, mode):
    """The tokens of the events of a deployment, a database or a collection that a $match lets through."""
    found = set()
    pipeline = [{"$match": RawBSONDocument(match)}] if match else []
    with target.watch([*pipeline, oracle.SPLIT], start_at_operation_time=since, max_await_time_ms=1, batch_size=2000, full_document=mode,
                      full_document_before_change="whenAvailable", show_expanded_events=True) as stream:
        while True:
            event = stream.try_next()
            if event is not None:
                found.add(oracle.token_text(event["_id"]))
            elif oracle.token_time(stream.resume_token["_data"]) >= until:
                return found


def inner_match(pushed):
    """Of the alternatives in a stream's pushed filter, the first: the others are for the worker."""
    for name, kind, value in oracle.elements(pushed):
        if name == "$or":
            return next(part for _, _, part in oracle.elements(value))
    raise AssertionError(pushed)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["whenAvailable", "updateLookup"])
def test_same_events(linked, mongo, mdb, mode):
    """Hundreds of random conditions over every kind of column and value."""
    rng = random.Random(SEED)
    since, until = make_events(mongo, mdb, rng)
    create(linked, "everything", database="*", start_at=str(linked.value("SELECT to_timestamp(%s)", since.time)), full_document=mode,
           full_document_before_change="whenAvailable", show_expanded_events=True)
    sync(linked, "everything")
    pause(linked, "everything")
    linked.execute(HELPERS)
    moments = linked.column("SELECT DISTINCT cluster_time::text FROM kept ORDER BY 1")
    conditions = Conditions(rng, moments)
    conditions.tokens = linked.column("SELECT resume_token FROM kept ORDER BY 1")[::20]
    told = {"nothing": 0, "wider": 0, "exact": 0}
    let_through, wanted = 0, 0
    with pymongo.MongoClient(mongo.uri, document_class=RawBSONDocument) as client:
        # MongoDB reads its oplog in another way for each of them
        targets = [client, client[mdb.name], client[mdb.name].one]
        events = [tokens(target, since, until, None, mode) for target in targets]
        assert len(events[0]) > 280 and events[2] < events[1] < events[0]
        linked.execute("DELETE FROM kept WHERE NOT resume_token = ANY (%s)", sorted(events[0]))
        assert linked.value("SELECT count(*) FROM kept") == len(events[0])
        for number in range(COUNT):
            condition = conditions.leaf() if number % 2 else conditions.condition()
            try:
                verdicts = dict(linked.connection.execute("SELECT * FROM local(%s)", (condition,)).fetchall())
                match, exact = linked.row("SELECT * FROM pushed(%s, %s)", condition, mode)
            except psycopg.Error as problem:
                assert problem.sqlstate in ("42883", "42P18", "42725", "22P02", "22003", "22008", "2201B", "42P22"), (condition, problem)
                continue
            if match is None:
                told["exact" if exact else "nothing"] += 1
                assert not exact or set(verdicts.values()) == {"true"}, condition
                continue
            told["exact" if exact else "wider"] += 1
            match = inner_match(match)
            shown = linked.value("SELECT document_from_bson(%s)::text", match)
            place = rng.randrange(len(targets))
            through = tokens(targets[place], since, until, match, mode)
            right = {token for token, verdict in verdicts.items() if verdict == "true"} & events[place]
            assert right <= through, f"{condition}\n{shown}\nleaves out {sorted(right - through)[:3]}"
            if exact:
                wrong = [token for token in through - right if verdicts[token] != "error"]
                assert not wrong, f"{condition}\n{shown}\nlets through {sorted(wrong)[:3]}"
            let_through += len(through)
            wanted += len(right)
    print(told, let_through, wanted)
    assert told["exact"] > COUNT / 6 and told["wider"] > COUNT / 5


def local_verdicts(db, condition, parameters):
    """What SQL says of each kept event: true, false, unknown or error; the parameters put in their places."""
    for number in range(len(parameters), 0, -1):
        kind, value = parameters[number - 1]
        spelled = f"NULL::{kind}" if value is None else f"({quote(value)})::{kind}"
        condition = re.sub(rf"\${number}\b", lambda _: spelled, condition)
    return dict(db.connection.execute("SELECT * FROM local(%s)", (condition,)).fetchall())


def foreign_rows(db, condition, parameters):
    """The tokens of a foreign table's rows; with parameters through a generic plan; None where the query raises an error."""
    if not parameters:
        return set(db.column(f"SELECT resume_token FROM f WHERE {condition}"))
    types = ", ".join(kind for kind, _ in parameters)
    values = ", ".join("NULL" if value is None else quote(value) for _, value in parameters)
    db.execute(f"PREPARE p ({types}) AS SELECT resume_token FROM f WHERE {condition}")
    try:
        return set(db.column(f"EXECUTE p ({values})"))
    finally:
        db.execute("DEALLOCATE p")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("collection", [None, "one"])
@pytest.mark.parametrize("parameterized", [False, True])
def test_same_rows_of_a_foreign_table(linked, mongo, mdb, parameterized, collection):
    """A scan that sends conditions shows what a table with the same rows shows, with constants and with parameters."""
    rng = random.Random(SEED + 1)
    since, _ = make_events(mongo, mdb, rng)
    foreign_table(linked, "f", full_document="whenAvailable", full_document_before_change="whenAvailable", show_expanded_events=True,
                  start_at=linked.value("SELECT to_timestamp(%s)", since.time), **({"collection": collection} if collection else {}))
    linked.execute("CREATE TABLE change_stream_rows AS SELECT * FROM f")
    linked.execute(HELPERS.replace("SELECT e.*, e.event_id AS number FROM change_stream_events e", "SELECT * FROM change_stream_rows"))
    linked.execute("SET plan_cache_mode = force_generic_plan")
    moments = linked.column("SELECT DISTINCT cluster_time::text FROM kept ORDER BY 1")
    pushed = 0
    for number in range(COUNT):
        parameters = [] if parameterized else None
        conditions = Conditions(rng, moments, parameters)
        condition = conditions.leaf() if number % 2 else conditions.condition()
        told = f"{condition}\n{parameters}"
        try:
            verdicts = local_verdicts(linked, condition, parameters or [])
        except psycopg.Error as problem:
            assert problem.sqlstate[:2] in ("42", "22"), (told, problem)
            continue
        right = {token for token, verdict in verdicts.items() if verdict == "true"}
        wrong = {token for token, verdict in verdicts.items() if verdict == "error"}
        try:
            shown = foreign_rows(linked, condition, parameters)
        except psycopg.Error as problem:
            # a null that only a plan with constants sees spares a cast its error
            assert wrong or problem.sqlstate == "42P18" or (parameters and "::" in condition), (told, problem)
            continue
        assert right <= shown and not shown - right - wrong, \
            f"{told}\nleaves out {sorted(right - shown)[:3]}\nlets through {sorted(shown - right - wrong)[:3]}"
        if not parameterized:
            pushed += '"$match": {"$or"' in plan(linked, f"SELECT * FROM f WHERE {condition}")
    assert parameterized or pushed > COUNT / 20
