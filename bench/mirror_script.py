"""The scripts one would write instead of a mirror; each prints what drain.c prints.

mirror_script.py copy URI DATABASE COLLECTION CONNINFO
    pymongo's find, psycopg's COPY into a table with jsonb, in one transaction
mirror_script.py follow URI DATABASE COLLECTION CONNINFO SECONDS ORDINAL EVENTS
    pymongo's watch with updateLookup, an upsert for each event; each hundred and the resume token are one transaction
"""
import json
import resource
import sys
import time

import bson
import psycopg
import pymongo

from script import json_value

BATCH = 100


def row(document):
    return str(document["_id"]), json.dumps(document, default=json_value)


def copy(postgres, collection):
    done = 0
    postgres.execute("CREATE TABLE by_script (id text PRIMARY KEY, document jsonb NOT NULL)")
    with postgres.cursor().copy("COPY by_script FROM STDIN") as target:
        for document in collection.find(batch_size=10_000):
            target.write_row(row(document))
            done += 1
    postgres.commit()
    return done


def follow(postgres, collection, seconds, ordinal, wanted):
    postgres.execute("CREATE TABLE position (one bool PRIMARY KEY DEFAULT true, token text)")
    postgres.execute("INSERT INTO position VALUES (true, NULL)")
    postgres.commit()
    done, batch = 0, []
    since = bson.Timestamp(int(seconds), int(ordinal))
    with collection.watch(full_document="updateLookup", start_at_operation_time=since, batch_size=1000) as stream:
        while done < int(wanted):
            event = stream.next()
            batch.append(row(event["fullDocument"]))
            done += 1
            if len(batch) == BATCH or done == int(wanted):
                postgres.cursor().executemany("INSERT INTO by_script VALUES (%s, %s)"
                                              " ON CONFLICT (id) DO UPDATE SET document = excluded.document", batch)
                postgres.execute("UPDATE position SET token = %s", (event["_id"]["_data"],))
                postgres.commit()
                batch.clear()
    return done


def main():
    what, uri, database, collection, conninfo, *more = sys.argv[1:]
    with psycopg.connect(conninfo) as postgres, pymongo.MongoClient(uri) as client:
        began = time.monotonic()
        done = {"copy": copy, "follow": follow}[what](postgres, client[database][collection], *more)
        took = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"events": done, "seconds": round(took, 3), "cpu": round(used.ru_utime + used.ru_stime, 3)}))


if __name__ == "__main__":
    main()
