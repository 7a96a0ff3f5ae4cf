"""What tests of streams that are followed together have in common."""
import os

import oracle
from streams import create, patiently, sync

GROUPS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream group' AND datname = current_database()"
TOGETHER = ("SELECT count(*) FROM change_stream_status s JOIN pg_stat_activity a USING (pid)"
            " WHERE a.backend_type = 'mongo_change_stream group' AND s.state = 'active'")
ALONE = ("SELECT count(*) FROM change_stream_status s JOIN pg_stat_activity a USING (pid)"
         " WHERE a.backend_type = 'mongo_change_stream worker' AND s.stream_name = %s")


# what streams must have in common to be followed together
ALIKE = ("full_document", "full_document_before_change", "show_expanded_events", "batch_size")


def create_beside(db, stream, **options):
    """A stream and, unless the tests run with MCS_SHARE_CURSOR=false, another beside it, so that a group's process follows both."""
    if os.environ.get("MCS_SHARE_CURSOR") == "false":
        create(db, stream, **options)
        return
    with db.connection.transaction():
        create(db, stream, **options)
        create(db, "beside", collection="nobody", **{name: value for name, value in options.items() if name in ALIKE})
    if not options.get("paused") and "pipeline" not in options:
        db.wait_for(TOGETHER, expect=2)


def make(db, mdb, count, **options):
    """Streams s0, s1 … of collections c0, c1 …."""
    for number in range(count):
        mdb.create_collection(f"c{number}")
    for number in range(count):
        create(db, f"s{number}", collection=f"c{number}", **options)


def wait_together(db, count, timeout=40):
    db.wait_for(TOGETHER, expect=count, timeout=timeout)
    assert db.value(GROUPS) == 1


def compare(db, mongo, mdb, since, streams):
    """Each stream holds what the oracle says; returns how many events all have."""
    for number in streams:
        patiently(lambda: sync(db, f"s{number}", "60 seconds"), 90)
    return sum(oracle.compare(db, f"s{number}", mongo, since, mdb.name, where=oracle.in_collection(f"c{number}")) for number in streams)
