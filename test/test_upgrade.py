"""A database of version 1.0 that is updated equals one that was made by the current version, and its streams go on."""
import pytest

from foreign import messages
from groups import TOGETHER
from mirrors import equal_now, mirror, wait_exact
from streams import Writers, create, error_of, operations, sync, wait_state

# Every object of the extension with all that it consists of, by names and never by OIDs.
MEMBERS = """
SELECT d.classid::regclass::text AS kind, pg_describe_object(d.classid, d.objid, d.objsubid) AS name,
       obj_description(d.objid, d.classid::regclass::name) AS comment,
       CASE d.classid
         WHEN 'pg_proc'::regclass THEN (SELECT jsonb_build_object(
           'arguments', pg_get_function_arguments(p.oid), 'result', pg_get_function_result(p.oid), 'acl', p.proacl::text,
           'source', p.prosrc, 'body', pg_get_function_sqlbody(p.oid), 'config', p.proconfig, 'cost', p.procost, 'rows', p.prorows,
           'flags', ARRAY[p.provolatile, p.proparallel, p.prokind]::text[], 'strict', p.proisstrict, 'definer', p.prosecdef,
           'leakproof', p.proleakproof, 'support', p.prosupport::regproc::text,
           'aggregate', (SELECT to_jsonb(a) - 'aggfnoid' FROM (SELECT aggfnoid, aggtransfn, aggfinalfn, aggcombinefn, aggserialfn,
                           aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn, aggsortop::regoperator, aggtranstype::regtype,
                           aggtransspace FROM pg_aggregate) a WHERE a.aggfnoid = p.oid))
           FROM pg_proc p WHERE p.oid = d.objid)
         WHEN 'pg_operator'::regclass THEN (SELECT jsonb_build_object(
           'code', o.oprcode::text, 'commutator', o.oprcom::regoperator::text, 'negator', o.oprnegate::regoperator::text,
           'restrict', o.oprrest::text, 'join', o.oprjoin::text, 'hashes', o.oprcanhash, 'merges', o.oprcanmerge)
           FROM pg_operator o WHERE o.oid = d.objid)
         WHEN 'pg_cast'::regclass THEN (SELECT to_jsonb(c) - 'oid' - 'castsource' - 'casttarget'
                                          || jsonb_build_object('castfunc', c.castfunc::regprocedure::text)
           FROM pg_cast c WHERE c.oid = d.objid)
         WHEN 'pg_type'::regclass THEN (SELECT jsonb_build_object('acl', t.typacl::text, 'storage', t.typstorage,
             'input', t.typinput::text, 'output', t.typoutput::text, 'receive', t.typreceive::text, 'send', t.typsend::text,
             'analyze', t.typanalyze::text, 'subscript', t.typsubscript::text, 'category', t.typcategory, 'align', t.typalign)
           FROM pg_type t WHERE t.oid = d.objid)
         WHEN 'pg_opfamily'::regclass THEN (SELECT jsonb_agg(DISTINCT pg_describe_object(m.classid, m.objid, 0))
           FROM pg_depend m WHERE m.refclassid = d.classid AND m.refobjid = d.objid)
         WHEN 'pg_class'::regclass THEN (SELECT jsonb_build_object(
           'kind', c.relkind, 'acl', c.relacl::text, 'options', c.reloptions, 'rls', c.relrowsecurity, 'forced', c.relforcerowsecurity,
           'view', CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
           'columns', (SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                              a.attcollation::regcollation::text, a.attacl::text, a.attstorage, a.attcompression, a.attidentity,
                              pg_get_expr(f.adbin, f.adrelid), col_description(a.attrelid, a.attnum)) ORDER BY a.attnum)
                       FROM pg_attribute a LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
           'constraints', (SELECT jsonb_object_agg(k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.conrelid = c.oid),
           'indexes', (SELECT jsonb_object_agg(i.indexrelid::regclass::text, ARRAY[pg_get_indexdef(i.indexrelid), obj_description(i.indexrelid, 'pg_class')])
                       FROM pg_index i WHERE i.indrelid = c.oid),
           'policies', (SELECT jsonb_object_agg(p.policyname, to_jsonb(p)) FROM pg_policies p
                        WHERE format('%I.%I', p.schemaname, p.tablename)::regclass = c.oid),
           'comments on policies', (SELECT jsonb_object_agg(p.polname, obj_description(p.oid, 'pg_policy')) FROM pg_policy p WHERE p.polrelid = c.oid),
           'triggers', (SELECT jsonb_object_agg(t.tgname, ARRAY[pg_get_triggerdef(t.oid), obj_description(t.oid, 'pg_trigger')]) FROM pg_trigger t
                        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
           'dump', (SELECT x.extcondition[array_position(x.extconfig, c.oid)] FROM pg_extension x
                    WHERE x.extname = 'mongo_change_stream' AND c.oid = ANY (x.extconfig)))
           FROM pg_class c WHERE c.oid = d.objid)
       END AS definition
FROM pg_depend d
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mongo_change_stream')
"""


def members(db):
    db.execute("SET search_path = pg_catalog, public")
    return {(kind, name): (comment, definition) for kind, name, comment, definition in db.execute(MEMBERS)}


@pytest.fixture
def old(postgres):
    """A database with version 1.0's schema."""
    database = postgres.create_database("upgraded", extension=False)
    database.execute("CREATE EXTENSION mongo_change_stream VERSION '1.0'")
    yield database
    database.close()
    postgres.drop_database("upgraded")


def test_upgraded_equals_fresh(db, old):
    """Object by object: definitions, rights, comments, and what is dumped."""
    before = members(old)
    old.execute("ALTER EXTENSION mongo_change_stream UPDATE")
    fresh, upgraded = members(db), members(old)
    assert len(before) > 300 and fresh != before
    assert sorted(fresh.keys() - upgraded.keys()) == []
    assert sorted(upgraded.keys() - fresh.keys()) == []
    for key in fresh:
        assert upgraded[key] == fresh[key], key


def test_streams_go_on_through_the_update(old, mongo, mdb):
    """The library works with the schema of 1.0 as 1.0's did, and an update under running workers leaves no gap."""
    old.create_server(mongo.uri, mdb.name)
    old.execute("CREATE TABLE handled (event_id bigint)")
    create(old, "orders", collection="orders")
    old.execute("SELECT create_change_handler('count', 'orders', body => 'BEGIN INSERT INTO handled VALUES (change.event_id); END')")
    mdb.orders.insert_many({"_id": number} for number in range(100))
    sync(old, "orders")
    old.execute("SELECT pause_change_stream('orders')")
    mdb.orders.insert_one({"_id": 100})
    old.execute("SELECT alter_change_stream('orders', notify => 'heads')")
    old.execute("SELECT resume_change_stream('orders')")
    sync(old, "orders")
    mdb.orders.insert_many({"_id": number} for number in range(101, 150))
    old.execute("ALTER EXTENSION mongo_change_stream UPDATE")
    mdb.orders.insert_many({"_id": number} for number in range(150, 200))
    wait_state(old, "orders", "active")
    sync(old, "orders")
    assert operations(old, "orders") == ["insert"] * 200
    assert old.value("SELECT sync_change_stream('orders', handlers => true)")
    assert old.column("SELECT event_id FROM handled ORDER BY 1") == list(range(1, 201))
    # what 1.0 does not have can be had now
    old.execute("SELECT alter_change_handler('count', each => 'batch', body => 'INSERT INTO handled SELECT event_id FROM changes')")
    mdb.orders.insert_many({"_id": number} for number in range(200, 250))
    assert old.value("SELECT sync_change_stream('orders', handlers => true)")
    assert old.column("SELECT event_id FROM handled ORDER BY 1") == list(range(1, 251))
    # what is kept of it is known to be all from the update on
    old.execute(f"""IMPORT FOREIGN SCHEMA "{mdb.name}" LIMIT TO (orders) FROM SERVER mongo INTO public OPTIONS (full_document 'default')""")
    said = messages(old.connection)
    text = "SELECT document_key FROM CHANGE_STREAM(orders) WHERE cluster_time >= (SELECT cluster_time FROM change_stream_events WHERE event_id = {})"
    assert len(old.execute(old.value("SELECT change_stream_translate(%s)", text.format(1)))) == 250
    assert 'change stream "orders" keeps all events only since ' in said[-1][1]
    assert len(old.execute(old.value("SELECT change_stream_translate(%s)", text.format(250)))) >= 1
    assert 'kept events of change stream "orders"' in said[-1][1]


def test_update_while_streams_write(old, postgres, mongo, mdb):
    """Neither the update nor a process ends in a deadlock with the other, and none has to try again; streams come together with it, and not before."""
    old.create_server(mongo.uri, mdb.name, share_cursor=None)
    old.execute("CREATE TABLE handled (event_id bigint)")
    for stream in "abc":
        create(old, stream, collection=stream)
        old.execute("SELECT create_change_handler(%s, %s, body => 'BEGIN INSERT INTO handled VALUES (change.event_id); END')", f"of {stream}", stream)
        sync(old, stream)
    since = postgres.log_position()
    with Writers(mongo, mdb.name, pause=0.0005) as writers:
        writers.wait(100)
        assert old.value("SELECT count(DISTINCT pid) FROM change_stream_workers()") == 3
        old.execute("ALTER EXTENSION mongo_change_stream UPDATE")
        writers.wait(50)
        old.wait_for(TOGETHER, expect=3, timeout=20)
        writers.wait(50)
    for stream in "abc":
        assert old.value("SELECT sync_change_stream(%s, handlers => true)", stream)
    assert "deadlock detected" not in postgres.log_text(since)
    assert old.value("SELECT count(*) FROM handled") == old.value("SELECT count(*) FROM change_stream_events")


def test_what_is_new_before_and_after_the_update(old, mongo, mdb):
    """Options of 1.1 name the statement that brings them; after it a stream of 1.0 feeds mirrors, and updating once more is nothing."""
    old.create_server(mongo.uri, mdb.name)
    mdb.c.insert_many({"_id": number, "pad": "x" * 1000} for number in range(20000))
    create(old, "s")
    for statement in ("CREATE CHANGE STREAM t ON c WITH SNAPSHOT", "CREATE CHANGE STREAM t ON c WITH (keep_events = false)",
                      "ALTER CHANGE STREAM s SET (excludeFields = ['a'])", "CREATE TRIGGER t ON CHANGE STREAM s FOR EACH BATCH AS BEGIN END", "RESUME CHANGE STREAM s WITH SNAPSHOT"):
        refused = error_of(old, f"DO LANGUAGE change_stream $do${statement}$do$")
        assert (refused.sqlstate, refused.diag.message_hint) == ("55000", "ALTER EXTENSION mongo_change_stream UPDATE;"), refused
    old.execute("ALTER EXTENSION mongo_change_stream UPDATE")
    mirror(old, "c", stream_name="s")
    mdb.c.delete_one({"_id": 19999})
    old.execute("ALTER EXTENSION mongo_change_stream UPDATE")
    wait_exact(old, "c")
    assert equal_now(old, mongo, mdb.name, "c", "c") == 19999
    assert old.value("SELECT last_error FROM change_stream_status") is None
