"""The script one would write instead: pymongo's watch, psycopg's COPY into a table with jsonb.

Each thousand events and the resume token are one transaction.  Prints what drain.c prints.
"""
import datetime
import json
import resource
import sys
import time

import bson
import psycopg
import pymongo

BATCH = 1000

TABLES = """
CREATE TABLE IF NOT EXISTS script_events (token text, operation text, namespace text, at timestamptz, key jsonb, document jsonb);
CREATE TABLE IF NOT EXISTS script_position (one bool PRIMARY KEY DEFAULT true, token text);
"""


def json_value(value):
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)


def row(event):
    document = event.get("fullDocument", event.get("updateDescription"))
    return (event["_id"]["_data"], event["operationType"], f"{event['ns']['db']}.{event['ns']['coll']}", event["wallTime"],
            json.dumps(event["documentKey"], default=json_value), json.dumps(document, default=json_value))


def main():
    uri, database, collection, seconds, ordinal, wanted, conninfo = sys.argv[1:]
    events = 0
    with psycopg.connect(conninfo) as postgres, pymongo.MongoClient(uri) as client:
        postgres.execute(TABLES)
        postgres.commit()
        began = time.monotonic()
        batch = []
        with client[database][collection].watch(batch_size=BATCH,
                                                start_at_operation_time=bson.Timestamp(int(seconds), int(ordinal))) as stream:
            while events < int(wanted):
                batch.append(row(stream.next()))
                events += 1
                if len(batch) == BATCH or events == int(wanted):
                    with postgres.cursor().copy("COPY script_events FROM STDIN") as copy:
                        for one in batch:
                            copy.write_row(one)
                    postgres.execute("INSERT INTO script_position (token) VALUES (%s)"
                                     " ON CONFLICT (one) DO UPDATE SET token = EXCLUDED.token", (batch[-1][0],))
                    postgres.commit()
                    batch.clear()
        took = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"events": events, "seconds": round(took, 3), "cpu": round(used.ru_utime + used.ru_stime, 3)}))


if __name__ == "__main__":
    main()
