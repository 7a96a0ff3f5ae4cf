"""What tests of foreign tables have in common."""
from harness.machine import wait_until

COLUMNS = ["operation_type", "database_name", "collection_name", "document_key", "full_document", "full_document_before_change",
           "update_description", "changed_fields", "cluster_time", "change_timestamp", "resume_token", "full_document_source", "extra"]
TYPES = {"document_key": "document", "full_document": "document", "full_document_before_change": "document",
         "update_description": "document", "extra": "document", "changed_fields": "text[]",
         "cluster_time": "timestamptz", "change_timestamp": "timestamptz"}


def foreign_table(db, name, server="mongo", columns=None, **options):
    """CREATE FOREIGN TABLE with all event columns, or some."""
    listed = ", ".join(f"{column} {TYPES.get(column, 'text')}" for column in columns or COLUMNS)
    given = ", ".join("{} '{}'".format(key, str(value).replace("'", "''")) for key, value in options.items())
    db.execute(f"CREATE FOREIGN TABLE {name} ({listed}) SERVER {server}" + (f" OPTIONS ({given})" if given else ""))


def recently(db):
    """A start_at that leaves out what other tests did before: a scan of all that takes its time."""
    return db.value("SELECT (clock_timestamp() - interval '1 second')::text")


def plan(db, statement, *parameters, options="COSTS off"):
    """EXPLAIN's lines."""
    return "\n".join(row[0] for row in db.execute(f"EXPLAIN ({options}) {statement}", *parameters))


def open_cursors(mongo, comment="foreign table"):
    """How many cursors of foreign scans the server holds."""
    found = mongo.client.admin.aggregate([{"$currentOp": {"idleCursors": True, "allUsers": True}}])
    return sum(comment in str(one.get("cursor", {}).get("originatingCommand", {}).get("comment", "")) for one in found)


def no_cursors(mongo):
    wait_until(lambda: open_cursors(mongo) == 0, 10, "no cursor of a foreign scan is left")


def messages(connection):
    """A list that the connection's notices and warnings go to, as (severity, text, detail, hint)."""
    seen = []
    connection.add_notice_handler(lambda diagnostic: seen.append(
        (diagnostic.severity, diagnostic.message_primary, diagnostic.message_detail, diagnostic.message_hint)))
    return seen
