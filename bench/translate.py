"""How long a translation takes, beside PostgreSQL's own parsing and analysis of what comes out.

    python3 bench/translate.py [runs]

Both run in the server, in turn, five rounds; the figures are medians of one statement's time.  The
analysis is timed as PREPARE, which parses, analyses and rewrites, and plans nothing.  Ends with 1
where the largest statement's translation takes more than five times as long.
"""
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "test"))

from harness import Cluster, Installation, Machine, build, install, packages

ROUNDS = 5
LIMIT = 5
SETTINGS = {"shared_preload_libraries": "", "autovacuum": "off", "jit": "off"}

EVENTS = """
CREATE TABLE shipments (operation_type text, database_name text, collection_name text, document_key document, full_document document,
  full_document_before_change document, update_description document, changed_fields text[], cluster_time timestamptz,
  change_timestamp timestamptz, resume_token text, full_document_source text, extra document)"""

TIMER = """
CREATE FUNCTION microseconds(runs int, statement text, cleanup text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz := clock_timestamp();
BEGIN
  FOR i IN 1 .. runs LOOP
    EXECUTE statement;
    IF cleanup IS NOT NULL THEN
      EXECUTE cleanup;
    END IF;
  END LOOP;
  RETURN extract(epoch FROM clock_timestamp() - started) * 1000000 / runs;
END $$"""

# one line for each stop of a shipment: counted, summed, classified; as long as such reports get
STOPS = ["pickup", "depot", "customs", "harbour", "rail", "hub", "sorting", "courier", "neighbour", "handover"]
SMALL = "SELECT full_document.status, full_document.to.city FROM CHANGE_STREAM(shipments) WHERE full_document.weight > 5"
REPORT = f"""
-- how shipments go, stop by stop
WITH CHANGE_STREAM moves AS (
  SELECT
    full_document.*,
    cluster_time, operation_type, changed_fields,
    CASE
      WHEN operation_type = 'insert' THEN 'booked'
      {"".join(f'''WHEN changed_fields CONTAINS 'stops.{stop}.at' THEN CONCAT('{stop}_', full_document.stops.{stop}.state)
      ''' for stop in STOPS)}ELSE 'other'
    END AS what,
    full_document.customer.segment AS segment,
    full_document.to.country AS country,
    DATE_TRUNC('hour', cluster_time) AS hour
  FROM CHANGE_STREAM(shipments)
  WHERE cluster_time >= CURRENT_TIMESTAMP - INTERVAL '24 hours'
),
totals AS (
  SELECT
    hour, what, segment, country,
    COUNT(*) AS events,
    COUNT(DISTINCT full_document._id) AS shipments,
    AVG(full_document.price.total) AS price,
    {"".join(f'''COUNT(*) FILTER (WHERE what = '{stop}_done') AS {stop}_done,
    AVG(EXTRACT(EPOCH FROM full_document.stops.{stop}.left_at - full_document.stops.{stop}.at)) AS {stop}_seconds,
    ''' for stop in STOPS)}MAX(ARRAY_LENGTH(full_document.parcels, 1)) AS most_parcels
  FROM moves
  GROUP BY hour, what, segment, country
)
SELECT
  hour, what, segment, country, events, shipments, ROUND(price, 2) AS price, most_parcels,
  {"".join(f'''CASE WHEN events > 0 THEN ROUND(({stop}_done::numeric / events) * 100, 1) ELSE 0 END AS {stop}_rate,
  ROUND({stop}_seconds, 0) AS {stop}_time,
  ''' for stop in STOPS)}CASE segment WHEN 'gold' THEN 'first' WHEN 'silver' THEN 'second' ELSE 'last' END AS rank
FROM totals
WHERE events > 0
ORDER BY CASE rank WHEN 'first' THEN 1 WHEN 'second' THEN 2 ELSE 3 END, hour DESC"""


def measure(database, statement, runs):
    """Medians of the translation's and of the analysis's microseconds."""
    plain = database.value("SELECT change_stream_translate(%s)", statement)
    assert plain != statement
    translating = f"SELECT change_stream_translate($statement${statement}$statement$)"
    times = [], []
    for _ in range(ROUNDS):
        times[0].append(database.value("SELECT microseconds(%s, %s, NULL)", runs, translating))
        times[1].append(database.value("SELECT microseconds(%s, %s, 'DEALLOCATE p')", runs, f"PREPARE p AS {plain}"))
    return statistics.median(times[0]), statistics.median(times[1])


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with Machine() as machine:
        original = Installation(packages.pg_config())
        private = original.private_copy(machine.folder / "postgresql")
        install(build(original), private)
        database = Cluster(machine, private, settings=SETTINGS).create_database("bench")
        database.execute(EVENTS)
        database.execute(TIMER)
        print(f"{original.version}; microseconds\n{'':8} {'bytes':>6} {'translation':>12} {'analysis':>9} {'ratio':>6}")
        for name, statement in (("small", SMALL), ("report", REPORT)):
            translation, analysis = measure(database, statement, runs)
            print(f"{name:8} {len(statement):6} {translation:12.0f} {analysis:9.0f} {translation / analysis:6.2f}")
    if translation > LIMIT * analysis:
        sys.exit(f"the translation takes more than {LIMIT} times as long as the analysis of what it makes")


if __name__ == "__main__":
    main()
