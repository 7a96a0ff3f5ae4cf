"""The dialect on events that MongoDB made: each answer beside the one computed from the same documents in Python."""
import datetime
import decimal
import json
import pathlib
from uuid import UUID

import bson
import psycopg
import pytest

UTC = datetime.timezone.utc
BEGIN = datetime.datetime(2024, 5, 1, 12, tzinfo=UTC)

# camelCase and snake_case, numbers of several types, missing fields, a key with a dot
PARCELS = [
    {"_id": 1, "state": "new", "weight": 2.5, "to": {"city": "Bern", "zipCode": "3000"}, "lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 1}],
     "madeAt": BEGIN, "price": 10, "express": True, "driver": "ann"},
    {"_id": 2, "state": "sent", "weight": 12, "to": {"city": "Basel", "zip_code": "4000"}, "lines": [{"sku": "a", "qty": 5}],
     "madeAt": BEGIN + datetime.timedelta(minutes=4), "price": 25.75, "express": False, "driver": "ann"},
    {"_id": 3, "state": "sent", "weight": 7, "to": {"city": "Bern"}, "lines": [], "madeAt": BEGIN + datetime.timedelta(minutes=11), "price": 8, "driver": "bob"},
    {"_id": 4, "state": "lost", "to": {"city": "Chur", "zip.code": "7000"}, "madeAt": BEGIN + datetime.timedelta(minutes=13), "express": True, "driver": "ann"},
]


def rows(database, statement, *arguments):
    """The rows of a statement in the dialect."""
    plain = database.value("SELECT change_stream_translate(%s)", statement)
    assert database.value("SELECT change_stream_translate(%s)", plain) == plain
    return database.connection.execute(plain.encode()).fetchall() if not arguments else database.execute(plain, *arguments)


@pytest.fixture
def parcels(linked, mdb):
    """A foreign table of the history of a collection, and one of the whole database."""
    mdb.create_collection("parcels", changeStreamPreAndPostImages={"enabled": True})
    linked.execute(f'IMPORT FOREIGN SCHEMA "{mdb.name}" FROM SERVER mongo INTO public')
    mdb.parcels.insert_many(PARCELS)
    mdb.parcels.update_one({"_id": 1}, {"$set": {"state": "sent", "to.zipCode": "3001"}})
    mdb.parcels.update_one({"_id": 2}, {"$set": {"lines.0.qty": 6}})
    mdb.parcels.update_one({"_id": 3}, {"$unset": {"price": 1}})
    mdb.parcels.delete_one({"_id": 4})
    return linked


def test_paths_and_literals(parcels):
    found = rows(parcels, """
        -- both spellings of a key, and one with a dot
        SELECT document_key._id::int, document_text(full_document.to.city), CAST(full_document.to.zip_code AS text)
        FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert' AND full_document.state IN ('new', 'sent') ORDER BY 1""")
    wanted = [(p["_id"], p["to"]["city"], p["to"].get("zip_code", p["to"].get("zipCode"))) for p in PARCELS if p["state"] in ("new", "sent")]
    assert found == wanted
    assert rows(parcels, "SELECT full_document.to['zip.code']::text FROM CHANGE_STREAM ON parcels WHERE full_document._id = 4") == [("7000",)]
    found = rows(parcels, "SELECT document_key._id::int FROM CHANGE_STREAM(parcels) p WHERE p.operation_type = 'insert' AND p.full_document.express AND p.driver = 'ann'")
    assert sorted(found) == [(p["_id"],) for p in PARCELS if p.get("express") and p["driver"] == "ann"]
    found = rows(parcels, "SELECT (full_document.lines[0].qty)::int FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert' AND full_document.lines[0].sku = 'a' ORDER BY 1")
    assert found == [(2,), (5,)]


def test_updated_fields_have_keys_with_dots(parcels):
    """MongoDB writes a change inside of a document as a key with dots; the path to it is written as any other."""
    for name in ("updateDescription.updatedFields", "update_description.updated_fields"):
        assert rows(parcels, f"SELECT document_key._id::int FROM CHANGE_STREAM(parcels) WHERE {name}.to.zipCode = '3001'") == [(1,)]
        assert rows(parcels, f"SELECT {name}.lines[0].qty::int FROM CHANGE_STREAM(parcels) WHERE document_key._id = 2 AND operation_type = 'update'") == [(6,)]
    assert rows(parcels, "SELECT document_key._id::int FROM CHANGE_STREAM(parcels) WHERE updateDescription.updatedFields.state = 'sent'") == [(1,)]


def test_contains_means_what_was_written(parcels):
    def written(path):
        return sorted(rows(parcels, f"SELECT operation_type, document_key._id::int FROM CHANGE_STREAM(parcels) WHERE changed_fields CONTAINS '{path}'"))

    assert written("state") == [("insert", 1), ("insert", 2), ("insert", 3), ("insert", 4), ("update", 1)]
    assert written("to") == [("insert", 1), ("insert", 2), ("insert", 3), ("insert", 4), ("update", 1)]
    assert ("update", 1) in written("to.zipCode") and ("update", 1) not in written("to.city")
    assert ("update", 2) in written("lines.qty") and ("update", 2) not in written("lines.sku")
    assert ("update", 3) in written("price")
    assert rows(parcels, "SELECT count(*) FROM CHANGE_STREAM(parcels) WHERE operation_type = 'update' AND changed_fields NOT CONTAINS 'state'") == [(2,)]


def test_grouping_arithmetic_and_text(parcels):
    found = rows(parcels, """
        WITH CHANGE_STREAM made AS (
          SELECT full_document.*, change_timestamp FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert'
        ),
        totals AS (
          SELECT to.city, COUNT(*) AS parcels, SUM(price) AS price, AVG(weight) AS weight, MAX(ARRAY_LENGTH(lines, 1)) AS longest,
                 COUNT(DISTINCT driver) AS drivers, SUM(COALESCE(price, 0) * 2) AS twice
          FROM made GROUP BY full_document.to.city
        )
        SELECT CONCAT('in ', city, ': ', parcels), price, ROUND(weight, 1), longest, drivers, twice::numeric,
               CASE city WHEN 'Bern' THEN 'capital' ELSE 'other' END AS kind
        FROM totals ORDER BY CASE kind WHEN 'capital' THEN 1 ELSE 2 END, city""".replace("to.city, COUNT", "full_document.to.city, COUNT"))
    wanted = []
    for city in ("Bern", "Basel", "Chur"):
        mine = [p for p in PARCELS if p["to"]["city"] == city]
        prices = [decimal.Decimal(str(p["price"])) for p in mine if "price" in p]
        weights = [decimal.Decimal(str(p["weight"])) for p in mine if "weight" in p]
        wanted.append((f"in {city}: {len(mine)}", sum(prices) if prices else None,
                       round(sum(weights) / len(weights), 1) if weights else None,
                       max((len(p["lines"]) for p in mine if p.get("lines")), default=None),
                       len({p["driver"] for p in mine}), 2 * sum(prices), "capital" if city == "Bern" else "other"))
    assert [tuple(float(v) if isinstance(v, decimal.Decimal) else v for v in row) for row in found] == \
        [tuple(float(v) if isinstance(v, decimal.Decimal) else v for v in row) for row in wanted]


def test_times_windows_and_gaps(parcels):
    found = rows(parcels, """
        SELECT full_document.driver::text AS who, TIME_WINDOW('10 minutes', full_document.madeAt) AS begin, COUNT(*) AS n,
               MAX(full_document.madeAt) - MIN(full_document.madeAt) >= INTERVAL '4 minutes' AS long,
               AVG(EXTRACT(EPOCH FROM (LEAD(full_document.madeAt) OVER (ORDER BY full_document.madeAt) - full_document.madeAt))) AS gap
        FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert' AND full_document.madeAt >= TIMESTAMPTZ '2024-05-01 12:00+00'
        GROUP BY full_document.driver, TIME_WINDOW('10 minutes', full_document.madeAt) ORDER BY 1, 2""")
    groups = {}
    for parcel in PARCELS:
        minute = int((parcel["madeAt"] - BEGIN).total_seconds() // 600) * 10
        groups.setdefault((parcel["driver"], BEGIN + datetime.timedelta(minutes=minute)), []).append(parcel["madeAt"])
    wanted = []
    for (driver, begin), times in sorted(groups.items()):
        gaps = [(after - before).total_seconds() for before, after in zip(times, times[1:])]
        wanted.append((driver, begin, len(times), (max(times) - min(times)).total_seconds() >= 240, sum(gaps) / len(gaps) if gaps else None))
    assert [(*row[:4], float(row[4]) if row[4] is not None else None) for row in found] == wanted


def test_dates_as_literals(parcels, mdb):
    """A literal that is a date finds dates, and texts."""
    mdb.parcels.insert_many([{"_id": 20, "madeAt": "2024-05-01"}, {"_id": 21, "madeAt": "2023-05-01"}, {"_id": 22, "madeAt": 5}])
    def made(condition):
        return [row[0] for row in rows(parcels, f"SELECT document_key._id::int AS id FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert' AND {condition} ORDER BY id")]

    assert made("full_document.madeAt >= '2024-05-01'") == [1, 2, 3, 4, 20]
    assert made("full_document.madeAt < '2024-05-01 12:05:00+00'") == [1, 2, 20, 21]
    assert made("'2024-05-01T12:00:00Z' = full_document.madeAt OR full_document.madeAt = '2023-05-01'") == [1, 21]
    assert made("full_document.madeAt <> '2024-05-01'") == [1, 2, 3, 4, 21, 22]
    assert made("full_document.madeAt BETWEEN '2023-01-01' AND '2024-05-01 12:00:00Z'") == [1, 20, 21]


def test_ids_as_literals(parcels, mdb):
    """A literal or a text parameter that is an ObjectId or a UUID finds these, and texts; MongoDB evaluates both."""
    oid, other, uuid = bson.ObjectId(), bson.ObjectId(), "73ffd264-44b3-4c69-90e8-e7d1dfc035d4"
    mdb.parcels.insert_many([{"_id": oid, "n": 1, "order": str(other)}, {"_id": other, "n": 2, "order": oid},
                             {"_id": str(oid), "n": 3}, {"_id": bson.Binary.from_uuid(UUID(uuid)), "n": 4}, {"_id": uuid, "n": 5}])
    def found(condition):
        return sorted(row[0] for row in rows(parcels, f"SELECT full_document.n::int FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert' AND {condition}"))

    assert found(f"document_key._id = '{oid}'") == [1, 3]
    assert found(f"'{uuid}' = document_key._id") == [4, 5]
    assert found(f"document_key._id IN ('{oid}', '{uuid}')") == [1, 3, 4, 5]
    assert found(f"full_document.n > 0 AND document_key._id <> '{oid}'") == [2, 4, 5]
    assert found(f"full_document.order = '{oid}' OR full_document.order = '{other}'") == [1, 2]
    parcels.execute(parcels.value("SELECT change_stream_translate(%s)", """
        PREPARE by_id(text) AS SELECT full_document.n::int FROM CHANGE_STREAM(parcels) WHERE operation_type = 'insert' AND document_key._id = $1 ORDER BY 1"""))
    assert parcels.execute(f"EXECUTE by_id('{oid}')") == [(1,), (3,)] and parcels.execute("EXECUTE by_id('nothing')") == []
    shown = str(rows(parcels, f"EXPLAIN SELECT 1 FROM CHANGE_STREAM(parcels) WHERE document_key._id = '{oid}'"))
    assert "$oid" in shown and shown.count(str(oid)) >= 2 and "Filter:" not in shown


def test_everything_else_of_sql(parcels, mdb):
    parcels.execute("CREATE TABLE log (id int, state text, city varchar(9), body jsonb, whole document)")
    rows_before = len(PARCELS)
    parcels.execute(parcels.value("SELECT change_stream_translate(%s)", """
        INSERT INTO log SELECT full_document._id, full_document.state, full_document.to.city, full_document.lines, full_document
        FROM CHANGE_STREAM ON DATABASE WHERE ns.coll = 'parcels' AND operationType = 'insert'"""))
    assert parcels.execute("SELECT id, state, city FROM log ORDER BY id") == [(p["_id"], p["state"], p["to"]["city"]) for p in PARCELS]
    assert parcels.value("SELECT body->0->>'sku' FROM log WHERE id = 1") == "a" and rows_before == 4
    assert rows(parcels, "UPDATE log SET state = whole.driver WHERE whole.weight > 5 RETURNING id, state") == [(2, "ann"), (3, "bob")]
    assert rows(parcels, "SELECT id FROM log WHERE body[0].sku = 'a' AND whole.to.city LIKE 'B%' ORDER BY id") == [(1,), (2,)]
    assert rows(parcels, "SELECT whole.state::text FROM log WHERE id = 4 UNION SELECT 'none' ORDER BY 1") == [("lost",), ("none",)]
    parcels.execute(parcels.value("SELECT change_stream_translate(%s)", "CREATE VIEW sent AS SELECT full_document.driver AS who FROM CHANGE_STREAM(parcels) WHERE full_document.state = 'sent'"))
    assert rows(parcels, "SELECT document_text(who), count(*) FROM sent GROUP BY who ORDER BY 1")[0][0] == "ann"
    assert rows(parcels, "EXPLAIN (COSTS OFF) SELECT full_document.a FROM CHANGE_STREAM(parcels)")
    parcels.execute(parcels.value("SELECT change_stream_translate(%s)", "PREPARE p(text) AS SELECT id FROM log WHERE whole.state = $1 ORDER BY id"))
    assert parcels.execute("EXECUTE p('sent')") == [(2,), (3,)]
    assert mdb.parcels.count_documents({}) == 3


def run(database, statement):
    database.execute(database.value("SELECT change_stream_translate(%s)", statement))


def test_streams_by_statement(linked, mdb):
    """Filters and added fields of a stream, changed, paused, resumed, dropped."""
    run(linked, """
        CREATE CHANGE STREAM heavy ON parcels
        WITH (operations = ['insert', 'update', 'replace'], fullDocument = 'updateLookup', max_await_time = '200 milliseconds')
        FILTER (weight > 5 OR state = 'lost')
        PIPELINE (ADD_FIELDS (load = CASE WHEN weight > 10 THEN 'truck' ELSE 'van' END, town = to.city, place = ns.coll), FILTER (load <> 'none'))
        """.replace("to.city", "full_document.to.city"))
    mdb.parcels.insert_many(PARCELS)
    assert linked.value("SELECT sync_change_stream('heavy')")
    found = [(json.loads(key)["_id"], json.loads(extra)) for key, extra in
             linked.execute("SELECT document_key::text, extra::text FROM change_stream_events ORDER BY event_id")]
    assert found == [(p["_id"], {"load": "truck" if p.get("weight", 0) > 10 else "van", "town": p["to"]["city"], "place": "parcels"})
                     for p in PARCELS if p.get("weight", 0) > 5 or p["state"] == "lost"]

    run(linked, "ALTER CHANGE STREAM heavy FILTER (weight > 100) RESET (add_fields)")
    mdb.parcels.insert_one({"_id": 10, "weight": 50})
    mdb.parcels.insert_one({"_id": 11, "weight": 500})
    assert linked.value("SELECT sync_change_stream('heavy')")
    assert linked.value("SELECT document_key['_id']::int FROM change_stream_events ORDER BY event_id DESC LIMIT 1") == 11
    run(linked, "CREATE OR REPLACE CHANGE STREAM heavy ON parcels WHERE changed_fields CONTAINS 'state'")
    assert linked.row("SELECT full_document, operations FROM change_streams") == ("default", None)
    run(linked, "PAUSE CHANGE STREAM heavy")
    assert "paused" in str(rows(linked, "SHOW CHANGE STREAMS"))
    run(linked, "RESUME CHANGE STREAM heavy; DROP CHANGE STREAM heavy; DROP CHANGE STREAM IF EXISTS heavy")
    assert linked.value("SELECT count(*) FROM change_streams") == 0
    with pytest.raises(psycopg.errors.SyntaxError, match="unrecognized option"):
        run(linked, "CREATE CHANGE STREAM s ON parcels WITH (speed = 9)")


def test_trigger_and_event_store(linked, mdb):
    linked.execute("CREATE TABLE told (id int, who text, what text)")
    linked.execute("""DO LANGUAGE change_stream $do$
        CREATE CHANGE STREAM moves ON parcels WITH (full_document = 'updateLookup');
        CREATE TRIGGER tell ON CHANGE STREAM moves FOR EACH CHANGE AS
        DECLARE
          place text := change.full_document.to.city;
        BEGIN
          IF change.operation_type = 'insert' AND change.full_document.driver = 'ann' THEN
            INSERT INTO told VALUES (change.document_key._id, change.full_document.driver, 'new in ' || place);
          ELSIF change.changed_fields CONTAINS 'state' AND change.operation_type = 'update' THEN
            INSERT INTO told VALUES (change.document_key._id, change.full_document.driver, change.update_description.updated_fields.state);
          END IF;
        END;
        CREATE EVENT_STORE states AS
          SELECT operation_type AS kind, document_key._id AS parcel, full_document.state, JSON_BUILD_OBJECT('by', full_document.driver, 'coll', ns.coll) AS about
          FROM CHANGE_STREAM ON DATABASE WHERE ns.coll LIKE 'par%' AND operation_type IN ('insert', 'update') ORDER BY cluster_time;
        $do$""")
    mdb.other.insert_one({"_id": 99})
    mdb.parcels.insert_many(PARCELS)
    mdb.parcels.update_one({"_id": 3}, {"$set": {"state": "back"}})
    assert linked.value("SELECT sync_change_stream('moves', handlers => true)")
    assert linked.value("SELECT sync_change_stream('states', handlers => true)")
    assert linked.execute("SELECT * FROM told") == [(p["_id"], "ann", "new in " + p["to"]["city"]) for p in PARCELS if p["driver"] == "ann"] + [(3, "bob", "back")]
    found = linked.execute("SELECT kind, parcel::int, document_text(state), about::text FROM states ORDER BY 1, 2")
    assert [(*row[:3], json.loads(row[3])) for row in found] == \
        [("insert", p["_id"], p["state"] if p["_id"] != 3 else found[2][2], {"by": p["driver"], "coll": "parcels"}) for p in PARCELS] + \
        [("update", 3, "back", {"by": "bob", "coll": "parcels"})]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        linked.execute("DELETE FROM states")
    run(linked, "DROP TRIGGER tell ON CHANGE STREAM moves; DROP TRIGGER IF EXISTS tell ON CHANGE STREAM moves")


def test_errors_point_into_the_statement(db):
    db.execute("CREATE TABLE events (full_document document, changed_fields text[])")
    for statement, place, message in (
            ("SELECT full_document.a,\n  full_document.b || nosuch(1) FROM events", "nosuch", "nosuch"),
            ("SELECT ä.full_document.a FROM events ä WHERE changed_fields CONTAINS 5 + ", None, "end of input"),
            ("CREATE CHANGE STREAM s ON c WITH (size = 1)", "size", "size"),
            ("CREATE CHANGE STREAM s ON c FILTER (a = = 1)", "= 1", "="),
            ("SELECT 1 FROM CHANGE_STREAM(parcels)", "parcels", "parcels")):
        with pytest.raises(psycopg.Error, match=message) as raised:
            db.execute("SELECT change_stream_translate(%s)", statement)
        assert raised.value.diag.internal_query == statement.strip()
        if place:
            assert int(raised.value.diag.internal_position) == statement.index(place) + 1


def test_errors_show_their_statement_alone(db):
    """Of a text of hundreds of lines, the one that is concerned, and where it stands."""
    db.execute("CREATE TABLE events (full_document document)")
    text = "SELECT 1;\n" * 200 + "\nSELECT ä.full_document.a\n FROM events ä WHERE nosuch(1);\n" + "SELECT 2;\n" * 200
    for statement in ("SELECT change_stream_translate(%s)", "SELECT change_stream_query(%s)"):
        with pytest.raises(psycopg.errors.UndefinedFunction) as raised:
            db.execute(statement, text)
        assert raised.value.diag.internal_query == "SELECT ä.full_document.a\n FROM events ä WHERE nosuch(1)"
        assert int(raised.value.diag.internal_position) == len("SELECT ä.full_document.a\n FROM events ä WHERE n")
        assert "statement 201 of 401, which begins at line 202" in raised.value.diag.context


def test_a_name_in_the_document_wins_over_nothing(db):
    """What exists in SQL stays what it is."""
    db.execute("CREATE TABLE events (full_document document, status text, name text)")
    db.execute("""INSERT INTO events VALUES ('{"status": "inside", "n": 1}', 'outside', 'x')""")
    assert rows(db, "SELECT status, full_document.status::text, n::int FROM events") == [("outside", "inside", 1)]


def test_examples_of_the_documentation(db, repository):
    """What stands behind an arrow is what the line before it becomes."""
    columns = "operation_type text, database_name text, collection_name text, document_key document, full_document document, full_document_before_change document," \
        " update_description document, changed_fields text[], cluster_time timestamptz, change_timestamp timestamptz, resume_token text, extra document"
    db.execute(f"CREATE TABLE parcels ({columns}); CREATE TABLE all_changes ({columns}); CREATE TABLE letters (id int, note jsonb)")
    lines = (repository / "docs" / "dialect.md").read_text().split("\n")
    count = 0
    for number, line in enumerate(lines):
        if line.startswith("    \N{RIGHTWARDS ARROW} "):
            becomes = [line[6:]]
            while lines[number + len(becomes)].startswith("      "):
                becomes.append(lines[number + len(becomes)][6:])
            assert db.value("SELECT change_stream_translate(%s)", lines[number - 1][4:]) == "\n".join(becomes)
            count += 1
    assert count > 20


SHIPPED = ("CREATE ", "ALTER ", "SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ", "GRANT ", "REVOKE ", "COMMENT ", "DO ", "DROP ", "SET ")


def test_plain_sql_stays_byte_for_byte(db, installation):
    """The SQL that PostgreSQL ships: its catalogs' views and its extensions, whole files and single statements."""
    folder = installation.folder("sharedir")
    files = sorted([*pathlib.Path(folder).glob("*.sql"), *pathlib.Path(folder).glob("extension/*.sql")])
    count = 0
    for path in files:
        if path.name.startswith("mongo_change_stream"):
            continue
        text = "\n".join(line for line in path.read_text(errors="replace").split("\n") if not line.startswith("\\"))
        text = text.replace("MODULE_PATHNAME", "module").replace("@extschema@", "public").replace("@extowner@", "postgres")
        for statement in [text, *text.split(";\n")]:
            if not statement.strip().upper().startswith(SHIPPED) and statement is not text:
                continue
            try:
                translated = db.value("SELECT change_stream_translate(%s)", statement)
            except psycopg.errors.SyntaxError:
                continue            # a piece of a body, cut by the split
            assert translated == statement, path
            count += 1
    assert count > 2000
