"""The consumer one would write instead of a handler: a row for each event, commit each hundred with the resume token."""
import json
import sys
import time

import bson
import psycopg
import pymongo

BATCH = 100


def main():
    uri, database, collection, seconds, ordinal, wanted, conninfo = sys.argv[1:]
    with psycopg.connect(conninfo) as postgres, pymongo.MongoClient(uri) as client:
        postgres.execute("CREATE TABLE position (one bool PRIMARY KEY DEFAULT true, token text)")
        postgres.execute("INSERT INTO position VALUES (true, NULL)")
        postgres.commit()
        began = time.monotonic()
        events = 0
        with client[database][collection].watch(start_at_operation_time=bson.Timestamp(int(seconds), int(ordinal))) as stream:
            while events < int(wanted):
                event = stream.next()
                document = event["fullDocument"]
                postgres.execute("INSERT INTO done VALUES (%s, %s, %s)",
                                 (str(event["documentKey"]["_id"]), document["status"], document["financial"]["total"]))
                events += 1
                if events % BATCH == 0 or events == int(wanted):
                    postgres.execute("UPDATE position SET token = %s", (event["_id"]["_data"],))
                    postgres.commit()
        took = time.monotonic() - began
    print(json.dumps({"events": events, "seconds": round(took, 3)}))


if __name__ == "__main__":
    main()
