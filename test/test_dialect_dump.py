"""Views in the dialect outlive a dump and an upgrade: one for each form of docs/dialect.md, read with nothing on the search path."""
import subprocess

import pytest
from harness import Cluster, Installation, build, install, packages
from test_faults_position import upgraded

EVENT = "operation_type text, database_name text, collection_name text, document_key document, full_document document, full_document_before_change document," \
    " update_description document, changed_fields text[], cluster_time timestamptz, change_timestamp timestamptz, resume_token text, extra document"

# beside the page's, each in more than one place of a query
MORE = [
    "SELECT CASE a.z WHEN 'x' THEN 1 WHEN b THEN 2 WHEN n THEN 3 END AS c FROM pairs",
    "SELECT NULLIF(a, 'x') AS c, NULLIF(t, b) AS d, NULLIF(a, b.z) AS e FROM pairs",
    "SELECT a.z, n FROM pairs WHERE a IS DISTINCT FROM b ORDER BY a IS NOT DISTINCT FROM 'x', NULLIF(a, 1)",
    "SELECT a.z, n IN (1, 2) AS f FROM pairs WHERE a IN ('x', 1, b) OR a NOT IN ('y', 2) OR a BETWEEN 1 AND 2 OR a BETWEEN '2024-01-01' AND '2025-01-01'",
    "SELECT a.z AS y, count(*) AS n FROM pairs GROUP BY a.z HAVING CASE a.z WHEN 1 THEN false ELSE true END",
    "SELECT p.a.z, p.t FROM pairs p JOIN (SELECT a.z AS k FROM pairs) q ON p.a.z = q.k LEFT JOIN pairs r ON CASE r.a WHEN p.a THEN true END",
    "SELECT GREATEST(a, b) AS c, (a, b) = (b, a) AS d, a.q = ANY (ARRAY[b]) AS e, (a, b) IN (SELECT b, a FROM pairs) AS f, 'x' IN (SELECT a.q FROM pairs) AS g FROM pairs",
    "SELECT a.when > now() - interval '1 day' AS recent, a.when - b.when AS took, EXTRACT(EPOCH FROM a.when - b.when) AS s FROM pairs",
    "SELECT a, b.z, t FROM pairs JOIN (SELECT a, b AS c FROM pairs) q USING (a) WHERE a IS NOT NULL ORDER BY a",
    "SELECT *, a.z AS y FROM (SELECT a, n FROM pairs) p NATURAL FULL JOIN (SELECT a, b FROM pairs) q",
    "SELECT clock_timestamp() - a.when AS age, EXTRACT(DAY FROM a.when) AS day FROM pairs WHERE a.when IS NOT NULL",
    "SELECT sum(a.n) AS s, avg(a.n) AS m, min(a) AS low, row_number() OVER (PARTITION BY b.k ORDER BY max(b)) AS r FROM pairs GROUP BY b.k",
]


def make_views(db, repository):
    """One for each example of the page that is a query, and more; a trigger of SQL's, too. Returns how many there are."""
    db.execute(f"CREATE TABLE parcels ({EVENT}); CREATE TABLE all_changes ({EVENT}); CREATE TABLE letters (id int, note jsonb)")
    db.execute("CREATE TABLE pairs (a document, b document, n int, t text)")
    db.execute("""INSERT INTO pairs VALUES ('{"z": "x", "n": 1}', '"y"', 1, 'x'), ('1', '1.0', 2, NULL), (NULL, '"x"', 3, 'y'), ('"x"', '{"z": 5, "k": 1}', 4, 'z')""")
    db.execute("""INSERT INTO parcels (operation_type, document_key, full_document, changed_fields, cluster_time) VALUES
        ('insert', '{"_id": 1}', '{"receiver": {"city": "Bern"}, "state": "lost", "driver": "ann", "price": 1.25, "express": true}', '{state,price}', '2024-05-01')""")
    lines = (repository / "docs" / "dialect.md").read_text().split("\n")
    queries = [before[4:] for before, line in zip(lines, lines[1:]) if line.startswith("    \N{RIGHTWARDS ARROW} ") and before[4:].startswith(("SELECT", "WITH"))]
    assert len(queries) >= 18
    for number, query in enumerate([*queries, *MORE]):
        db.execute(db.value("SELECT change_stream_translate(%s)", f"CREATE VIEW view_{number} AS {query}"))
    db.execute(db.value("SELECT change_stream_translate(%s)", """
        CREATE TRIGGER same BEFORE UPDATE ON pairs FOR EACH ROW WHEN (NEW.a.z = 'x' AND OLD.b IS NOT DISTINCT FROM NEW.b)
        EXECUTE FUNCTION suppress_redundant_updates_trigger()"""))
    return len(queries) + len(MORE)


def contents(db, count):
    """The rows of each view, and the trigger."""
    return [db.execute(f"SELECT v::text FROM view_{number} v ORDER BY 1") for number in range(count)] + \
        [db.execute("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'same'")]


def test_dump_and_restore(db, postgres, repository):
    count = make_views(db, repository)
    environment = postgres.client_environment(db.name)
    dumped = subprocess.run([postgres.installation.program("pg_dump")], env=environment, capture_output=True, text=True, check=True).stdout
    assert dumped.count("CREATE VIEW") == count and "CREATE TRIGGER same" in dumped
    restored = postgres.create_database(db.name + "_restored", extension=False)
    try:
        postgres.psql(dumped, restored.name)
        assert contents(restored, count) == contents(db, count)
    finally:
        restored.close()


def test_restricted_search_path(db, repository):
    """Who has the extension elsewhere than on his search_path makes the same views."""
    make_views(db, repository)
    db.execute("CREATE SCHEMA elsewhere")
    for table in ("pairs", "parcels", "all_changes", "letters"):
        db.execute(f"CREATE TABLE elsewhere.{table} AS SELECT * FROM {table}")
    # IN (SELECT ...) and USING have no place for the operator's schema
    for query in [query.split(", (a, b) IN (SELECT")[0] + " FROM pairs" if ") IN (SELECT" in query else query for query in MORE]:
        if "USING" in query or "NATURAL" in query:
            continue
        expected = db.execute(db.value("SELECT change_stream_translate(%s)", f"SELECT string_agg(q::text, ' ' ORDER BY q::text) FROM ({query}) q"))
        db.execute("SET search_path = elsewhere")
        try:
            statement = db.value("SELECT public.change_stream_translate(%s)", f"SELECT string_agg(q::text, ' ' ORDER BY q::text) FROM ({query}) q")
            assert db.execute(statement) == expected, query
        finally:
            db.execute("RESET search_path")


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("newest", [17, 18])
def test_pg_upgrade(machine, repository, newest):
    """From the oldest major version to newer ones."""
    oldest = min(packages.UPGRADED_FROM)
    installation = Installation(packages.other_postgresql(oldest)).private_copy(machine.new_folder(f"views{oldest}to{newest}") / "postgresql")
    install(build(Installation(packages.other_postgresql(oldest))), installation)
    old = Cluster(machine, installation, name=f"views{oldest}to{newest}")
    db = old.create_database("shop")
    count = make_views(db, repository)
    before = contents(db, count)
    db.close()
    new = upgraded(machine, old, newest)
    try:
        db.cluster = new
        assert contents(db, count) == before
        db.close()
    finally:
        new.discard()
