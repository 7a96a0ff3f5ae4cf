#!/usr/bin/env python3
"""Consumes a change stream outside of the database, and misses nothing.

    consumer.py CONNINFO STREAM [--name mine] [--once]

A notification says only that there is something new; what there is, event_id tells: numbers have no
gaps and never change, so "event_id > mine" is all it takes.  The position is kept in a table, in the
transaction in which the events were dealt with; here that is a table, too.  Notifications may be lost
(a queue that is full) without harm: the next look finds everything.  So does a new connection, where
one breaks.

Documents are read by functions that have a result for every document: one that raises an error, as the
cast to jsonb does for NaN, would stop the consumer there for good.

Prints a line for each event.  With --once it ends when there is nothing more.
"""
import argparse
import sys
import time

import psycopg
from psycopg import sql

TABLES = """
CREATE TABLE IF NOT EXISTS consumer_positions (name text PRIMARY KEY, event_id bigint NOT NULL);
CREATE TABLE IF NOT EXISTS consumed (name text, event_id bigint, operation_type text, key text, PRIMARY KEY (name, event_id));
"""
BATCH = 500


def deal_with(connection, name, events):
    """What the events are consumed for."""
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO consumed VALUES (%s, %s, %s, %s)", [(name, *event) for event in events])
    for event_id, operation, key in events:
        print(event_id, operation, key, flush=True)


def consume(connection, stream, name):
    """Deals with the next events behind the position; how many there were."""
    with connection.transaction():
        # locked: a second consumer of this name waits and then goes on where this one ended
        mine = connection.execute("SELECT event_id FROM consumer_positions WHERE name = %s FOR UPDATE", (name,)).fetchone()[0]
        events = connection.execute(
            "SELECT event_id, operation_type, document_text_lenient(document_key -> '_id') FROM change_stream_events"
            " WHERE stream_name = %s AND event_id > %s ORDER BY event_id LIMIT %s", (stream, mine, BATCH)).fetchall()
        if events:
            deal_with(connection, name, events)
            connection.execute("UPDATE consumer_positions SET event_id = %s WHERE name = %s", (events[-1][0], name))
    return len(events)


def follow(chosen):
    """Consumes by one connection, until it breaks; with --once, until there is nothing more."""
    with psycopg.connect(chosen.conninfo, autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute("INSERT INTO consumer_positions VALUES (%s, 0) ON CONFLICT DO NOTHING", (chosen.name,))
        # before the first look, so that nothing comes between the two
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(chosen.stream)))
        while True:
            while consume(connection, chosen.stream, chosen.name):
                pass
            if chosen.once:
                return
            # until something comes; a look each minute costs nothing and needs no notification
            for _ in connection.notifies(timeout=60, stop_after=1):
                pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conninfo")
    parser.add_argument("stream")
    parser.add_argument("--name", default="consumer")
    parser.add_argument("--once", action="store_true")
    chosen = parser.parse_args()
    while True:
        try:
            return follow(chosen)
        except psycopg.OperationalError as lost:
            # the server restarts, the network breaks; where the consumer stands is in its table
            print(f"{lost}; another connection in a second", file=sys.stderr, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
