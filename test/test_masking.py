"""exclude_fields and mask_fields: what is hidden is nowhere in what is stored, whichever way MongoDB tells it."""
import random

import bson
import pytest

import streams
from streams import alter, create, error_of, operations, pause, resume, sync, wait_state

streams.CAST.update(exclude_fields="text[]", mask_fields="text[]")

SECRET = "4222"
IMAGES = {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"}


def all_text(db, stream):
    """Everything that is stored of a stream's events but their keys and tokens."""
    return db.column("SELECT concat_ws(' ', full_document, full_document_before_change, update_description, changed_fields, extra)"
                     " FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)


def collection_with_images(mdb, name="people"):
    return mdb.create_collection(name, changeStreamPreAndPostImages={"enabled": True})


def change_in_every_way(people):
    """Changes of the fields card and items.price and beside them, in all forms that an update has."""
    card = {"no": SECRET, "exp": SECRET, "shown": 1}
    people.insert_one({"_id": 1, "name": "Ada", "card": dict(card), "items": [{"price": SECRET, "n": 1}, {"price": SECRET, "n": 2}, 5],
                       "nested": [[{"card": {"no": SECRET}}]], "list": [SECRET, SECRET, SECRET], "pin": SECRET})
    people.update_one({"_id": 1}, {"$set": {"card.no": SECRET + "1"}})
    people.update_one({"_id": 1}, {"$set": {"card": {**card, "no": SECRET + "2"}}})
    people.update_one({"_id": 1}, {"$set": {"items.0.price": SECRET + "3", "items.0.n": 7}})
    people.update_one({"_id": 1}, {"$push": {"items": {"price": SECRET + "4", "n": 3}}})
    people.update_one({"_id": 1}, {"$set": {"items.1": {"price": SECRET + "5", "n": 4}}})
    people.update_one({"_id": 1}, {"$unset": {"card.no": 1}})
    people.update_one({"_id": 1}, {"$set": {"card.no": {"deep": {SECRET: SECRET}}}})
    people.update_one({"_id": 1}, {"$set": {"card.no.deep." + SECRET: "x"}})
    people.update_one({"_id": 1}, {"$unset": {"card.no.deep." + SECRET: 1}})
    people.update_one({"_id": 1}, [{"$set": {"list": {"$slice": ["$list", 1]}, "pin": SECRET + "6"}}])
    people.update_one({"_id": 1}, [{"$set": {"items": {"$slice": ["$items", 2]}}}])
    people.update_one({"_id": 1}, {"$set": {"nested.0.0.card.no": SECRET + "7", "name": "Eva"}})
    people.update_one({"_id": 1}, {"$unset": {"pin": 1}})
    people.replace_one({"_id": 1}, {"card": {"no": SECRET}, "items": {"price": SECRET}, "pin": SECRET, "list": SECRET, "name": "Ida",
                                    "nested": {"0": {"card": {"no": SECRET}}}})
    people.delete_one({"_id": 1})


FIELDS = ["card.no", "card.exp", "items.price", "list", "nested.card.no", "nested.0.card.no", "pin"]


def test_excluded_fields_leave_no_trace(linked, mdb):
    people = collection_with_images(mdb)
    create(linked, "plain", collection="people", **IMAGES)
    create(linked, "people", collection="people", exclude_fields=FIELDS, **IMAGES)
    change_in_every_way(people)
    for stream in ("plain", "people"):
        sync(linked, stream)
    assert sum(SECRET in text for text in all_text(linked, "plain")) > 12
    assert [text for text in all_text(linked, "people") if SECRET in text] == []
    for field in ("no", "exp", "price", "list", "pin"):
        assert [text for text in all_text(linked, "people") if f'"{field}"' in text or f".{field}" in text or f"{{{field}" in text] == []
    assert operations(linked, "people") == operations(linked, "plain")
    assert linked.row("SELECT full_document->'card', full_document->'items', changed_fields FROM change_stream_events"
                      " WHERE stream_name = 'people' AND event_id = 1") == ('{"shown": 1}', '[{"n": 1}, {"n": 2}, 5]',
                                                                           ["_id", "name", "card", "items", "nested"])
    assert linked.value("SELECT changed_fields FROM change_stream_events WHERE stream_name = 'people' AND event_id = 2") == []
    assert linked.value("SELECT changed_fields FROM change_stream_events WHERE stream_name = 'people' AND event_id = 4") == ["items.0.n"]
    # what is not named is there as MongoDB sent it
    assert linked.value("SELECT bool_and(p.full_document->'name' IS NOT DISTINCT FROM q.full_document->'name' AND p.document_key = q.document_key"
                        " AND p.resume_token = q.resume_token) FROM change_stream_events p JOIN change_stream_events q USING (event_id)"
                        " WHERE p.stream_name = 'plain' AND q.stream_name = 'people'")


def test_masked_fields_show_that_they_are_there(linked, mdb):
    people = collection_with_images(mdb)
    create(linked, "people", collection="people", mask_fields=FIELDS, **IMAGES)
    change_in_every_way(people)
    sync(linked, "people")
    assert [text for text in all_text(linked, "people") if SECRET in text] == []

    def event(number):
        return linked.row("SELECT update_description - 'disambiguatedPaths', changed_fields FROM change_stream_events WHERE event_id = %s".replace(
            "update_description - 'disambiguatedPaths'", "(update_description->'updatedFields')::text, (update_description->'removedFields')::text"), number)
    assert linked.row("SELECT (full_document->'card')::text, (full_document->'items')::text, (full_document->'list')::text,"
                      " (full_document->'nested')::text, changed_fields FROM change_stream_events WHERE event_id = 1") == (
        '{"no": "***", "exp": "***", "shown": 1}', '[{"price": "***", "n": 1}, {"price": "***", "n": 2}, 5]', '"***"',
        '[[{"card": {"no": "***"}}]]', ["_id", "name", "card", "items", "nested", "list", "pin"])
    assert event(2) == ('{"card.no": "***"}', "[]", ["card.no"])
    assert event(3)[2] in (["card.no"], ["card"])
    assert event(4) == ('{"items.0.n": 7, "items.0.price": "***"}', "[]", ["items.0.n", "items.0.price"])
    assert event(7) == ("{}", '["card.no"]', ["card.no"])
    # inside of a masked field: the field was written
    assert event(9) == ('{"card.no": "***"}', "[]", ["card.no"])
    assert event(10) == ('{"card.no": "***"}', "[]", ["card.no"])
    assert event(11)[2] == ["list", "pin"]


def test_what_a_pipeline_copies(linked, mdb):
    """Fields that the stream's own pipeline adds are looked into as a document; computed fields see what is left."""
    people = collection_with_images(mdb)
    create(linked, "people", collection="people", exclude_fields=["card.no"], mask_fields=["pin", "card.exp"],
           pipeline='[{"$addFields": {"card": "$fullDocument.card", "pin": "$fullDocument.pin", "here": 1}}]',
           add_fields="seen = full_document.pin, gone = full_document->'card'->'no'")
    people.insert_one({"_id": 1, "card": {"no": SECRET, "exp": SECRET, "ok": 2}, "pin": SECRET})
    sync(linked, "people")
    assert linked.value("SELECT extra::text FROM change_stream_events") == \
        '{"card": {"exp": "***", "ok": 2}, "pin": "***", "here": 1, "seen": "***", "gone": null}'


def test_filters_and_handlers_see_what_is_stored(linked, mdb):
    """A filter on a hidden field is not MongoDB's to evaluate, which would let its value be guessed; one on others is."""
    linked.execute("CREATE TABLE seen (pin text)")
    create(linked, "people", collection="people", mask_fields=["pin"], filter=f"full_document->>'pin' = '{SECRET}'")
    create(linked, "stars", collection="people", mask_fields=["pin"], filter="full_document->>'pin' = '***'")
    create(linked, "inserts", collection="people", mask_fields=["pin"], filter="operation_type = 'insert'")
    assert linked.execute("SELECT stream_name, pushed_filter::text, local_filter IS NOT NULL FROM change_streams WHERE stream_name <> 'inserts'"
                          " ORDER BY 1") == [("people", None, True), ("stars", None, True)]
    assert linked.row("SELECT pushed_filter IS NOT NULL, local_filter FROM change_streams WHERE stream_name = 'inserts'") == (True, None)
    linked.execute("SELECT create_change_handler('h', 'stars', body => $$BEGIN INSERT INTO seen VALUES (change.full_document->>'pin'); END$$)")
    mdb.people.insert_one({"_id": 1, "pin": SECRET})
    for stream in ("people", "stars", "inserts"):
        sync(linked, stream)
    assert linked.value("SELECT sync_change_stream('stars', handlers => true)")
    assert operations(linked, "people") == [] and operations(linked, "stars") == ["insert"] == operations(linked, "inserts")
    assert linked.column("SELECT pin FROM seen") == ["***"]


def test_alter_and_the_dialect(linked, mdb):
    """Both lists can be changed, from the next event on, and reset; the dialect has them, too."""
    create(linked, "people", collection="people")
    mdb.people.insert_one({"_id": 1, "pin": SECRET})
    sync(linked, "people")
    alter(linked, "people", mask_fields=["pin"])
    mdb.people.insert_one({"_id": 2, "pin": SECRET})
    sync(linked, "people")
    alter(linked, "people", exclude_fields=["pin"], reset=["mask_fields"])
    mdb.people.insert_one({"_id": 3, "pin": SECRET})
    sync(linked, "people")
    linked.execute("DO LANGUAGE change_stream $$ALTER CHANGE STREAM people SET (mask_fields = ('name', 'card.no'), exclude_fields = 'a.b')$$")
    assert linked.row("SELECT exclude_fields, mask_fields FROM change_streams") == (["a.b"], ["name", "card.no"])
    alter(linked, "people", reset=["exclude_fields", "mask_fields"])
    assert linked.row("SELECT exclude_fields, mask_fields FROM change_streams") == (None, None)
    assert linked.column("SELECT full_document->>'pin' FROM change_stream_events ORDER BY event_id") == [SECRET, "***", None]
    linked.execute("DO LANGUAGE change_stream $$CREATE CHANGE STREAM q ON people WITH (exclude_fields = 'pin')$$")
    assert linked.value("SELECT exclude_fields FROM change_streams WHERE stream_name = 'q'") == ["pin"]


def test_what_is_refused(linked):
    for path, problem in (("_id", "which document"), ("_id.a", "which document"), ("", "empty"), ("a..b", "empty"), (".a", "empty"),
                          ("a.", "empty"), (".".join("a" * 101), "too many")):
        for argument in ("exclude_fields", "mask_fields"):
            error = error_of(linked, f"SELECT create_change_stream('s', paused => true, {argument} => %s)", [path])
            assert error.sqlstate == "22023" and problem in error.diag.message_detail and argument in str(error)
    for argument in ("exclude_fields", "mask_fields"):
        assert error_of(linked, f"SELECT create_change_stream('s', paused => true, {argument} => '{{}}')").sqlstate == "22023"
        assert error_of(linked, f"SELECT create_change_stream('s', paused => true, {argument} => '{{NULL}}')").sqlstate == "22004"


def test_against_a_plain_reading(linked, mdb):
    """Random documents: each image without the excluded fields, as Python leaves them out; no secret in any description."""
    luck = random.Random(7)
    people = collection_with_images(mdb)
    paths = ["a", "b.c", "d.e.f"]
    create(linked, "people", collection="people", exclude_fields=paths, **IMAGES)

    def value(depth=0):
        kind = luck.random()
        if depth > 3 or kind < 0.3:
            return luck.choice([1, 2.5, "x", None, True, bson.Int64(5)])
        if kind < 0.55:
            return [value(depth + 1) for _ in range(luck.randrange(3))]
        return {name: value(depth + 1) for name in luck.sample("abcdef", luck.randrange(4))}

    def without(document, path):
        if isinstance(document, list):
            return [without(element, path) for element in document]
        if not isinstance(document, dict):
            return document
        name, _, rest = path.partition(".")
        return {key: without(field, rest) if key == name else field for key, field in document.items() if key != name or rest}

    expected = []
    for number in range(300):
        document = {"_id": number, **{name: value() for name in "abcdef"}}
        people.insert_one(document)
        for path in paths:
            document = without(document, path)
        expected.append(document)
    sync(linked, "people")
    stored = linked.column("SELECT document_to_bson(full_document) FROM change_stream_events ORDER BY event_id")
    assert [bson.decode(bytes(image)) for image in stored] == expected


@pytest.mark.parametrize("place", ["updateDescription.disambiguatedPaths", "disambiguatedPaths"])
def test_disambiguated_paths(linked, mdb, place):
    """MongoDB 6.1 says how an update's paths are to be read (here a pipeline plays it): in its description, hidden like the rest of it."""
    mdb.people.insert_one({"_id": 1, "a": {"0": 1}})
    pipeline = '[{"$addFields": {"%s": {"$literal": {"a.0": ["a", "0"], "card.no": ["card", "no"]}}}}]' % place
    create(linked, "plain", collection="people", pipeline=pipeline)
    create(linked, "people", collection="people", pipeline=pipeline, exclude_fields=["card"])
    mdb.people.update_one({"_id": 1}, {"$set": {"a.0": 2, "card.no": SECRET}})
    for stream, paths in (("plain", '{"a.0": ["a", "0"], "card.no": ["card", "no"]}'), ("people", '{"a.0": ["a", "0"]}')):
        sync(linked, stream)
        assert linked.row("SELECT (update_description->'disambiguatedPaths')::text, extra FROM change_stream_events WHERE stream_name = %s",
                          stream) == (paths, None)
    assert linked.value("SELECT changed_fields FROM change_stream_events WHERE stream_name = 'people'") == ["a.0"]
