"""All that the other benchmarks measure, shortly, as one page of figures.

Writes tables between two marks of docs/performance.md, the figures to docs/performance.json, and plots beside them.
--parts runs some and keeps the other parts' figures; --render measures nothing and makes the page of the figures that there are.
"""
import argparse
import datetime
import json
import os
import re
import statistics
import sys

import delay
import gateway
import handlers
import ingest
import mirror
import plot
import retention
import streams
from common import ROOT, servers, versions
from harness import Machine
from harness.machine import exit_on_signals

PAGE, FIGURES = ROOT / "docs/performance.md", ROOT / "docs/performance.json"
BEGIN, END = "<!-- figures: written by make bench-all -->", "<!-- end of figures -->"
THROUGHPUT = ("seconds", "events/s", "of the first", "our CPU µs/event", "mongod's CPU µs/event", "WAL bytes/event")


def per_event(runs, what):
    """Microseconds, or bytes where it is WAL, for each event; the median; None where it was not measured."""
    values = [one[what] / one["events"] * (1 if what == "wal" else 1e6) for one in runs if one.get(what) is not None]
    return statistics.median(values) if values else None


def throughput(seen, names=None):
    """A row for each kind of run; its pace beside that of the first is the median of what it was in each round."""
    first = [one["events"] / one["seconds"] for one in next(iter(seen.values()))]
    rows = []
    for name, runs in seen.items():
        paces = [one["events"] / one["seconds"] for one in runs]
        rows.append([names[name] if names else name, statistics.median(one["seconds"] for one in runs), statistics.median(paces),
                     statistics.median(pace / other for pace, other in zip(paces, first)), *(per_event(runs, what) for what in ("cpu", "mongod", "wal"))])
    return THROUGHPUT, rows


def part_ingest(machine, chosen):
    """Change events into the events table"""
    bench = ingest.Bench(machine, chosen.events)
    names = {"raw drain": "raw drain: bare libmongoc, events thrown away", "exhaust": "raw drain by an exhaust getMore", "extension": "stream of the collection",
             "database": "stream of the database", "script": "script: pymongo, COPY of jsonb"}
    seen = {name: [] for name in names}
    # warms mongod's cache, and gives PostgreSQL segments of WAL to recycle
    bench.raw_drain()
    bench.turn("extension")
    for _ in range(chosen.rounds):
        for name in names:
            seen[name].append(bench.turn(name))
    return throughput(seen, names)


def part_copies(machine, chosen):
    """Documents that exist"""
    bench = mirror.Bench(machine)
    bench.documents = chosen.events
    mirror.load(bench.orders, chosen.events)
    turns = {"raw find: bare libmongoc, documents thrown away": bench.raw_find, "copy into a mirror": bench.mirror, "initial snapshot, as events": bench.snapshot,
             "script: find, COPY of jsonb": bench.copy_script}
    seen = {name: [] for name in turns}
    for _ in range(chosen.rounds):
        for name, turn in turns.items():
            before = mirror.cpu_of(bench.mongod)
            result = turn()
            seen[name].append({**result, "mongod": mirror.cpu_of(bench.mongod) - before})
    return throughput(seen)


def part_updates(machine, chosen):
    """Updates, caught up with"""
    bench = mirror.Bench(machine)
    bench.updates = chosen.events // 2
    mirror.load(bench.orders, chosen.events // 2)
    ids = [one["_id"] for one in bench.orders.find({}, {"_id": 1})]
    seen = {}
    for _ in range(chosen.rounds):
        for name, result in bench.update_round(ids).items():
            seen.setdefault(name, []).append(result)
    names = {"raw drain": "raw drain, without documents", "raw lookup": "raw drain with updateLookup", "stream, lookup": "stream with updateLookup",
             "mirror": "mirror, equal at each commit", "handler": "stream with updateLookup, and a handler that upserts", "script": "script: updateLookup, upserts"}
    return throughput(seen, names)


def part_handlers(machine, chosen):
    """Handlers: SQL for each event that is there"""
    events = chosen.events // 4
    bench = handlers.Bench(machine, events)
    turns = {"an INSERT for each event": bench.handler_alone, "an INSERT for each batch": bench.sets_alone,
             "running totals, for each event": bench.totals_alone, "running totals, for each batch": bench.totals_of_sets}
    seen = {name: [] for name in turns}
    for _ in range(chosen.rounds):
        for name, turn in turns.items():
            took = turn()
            seen[name].append({"events": events, "seconds": took, "cpu": bench.used, "wal": bench.wal})
        seen.setdefault("script: an INSERT for each event", []).append({"events": events, "seconds": bench.script()})
    return throughput(seen)


def part_quiet(machine, chosen):
    """Quiet streams: an insert into another collection"""
    bench = streams.Bench(machine)
    for number in range(100):
        bench.database_of_mongo.create_collection(f"c{number}")
    rows = []
    for count, share in ((0, True), (1, True), (10, True), (40, True), (100, True), (1, False), (6, False)):
        cpu, processes, took = bench.quiet(count, share, chosen.inserts)
        rows.append([f"{count} stream{'s' * (count != 1)}" + ("" if share else ", a cursor each"), cpu, processes, chosen.inserts / took])
    return ("mongod's CPU µs/insert", "our processes", "inserts/s"), rows


def part_busy(machine, chosen):
    """40 busy streams, a collection each, all at once"""
    bench = streams.Bench(machine)
    each = chosen.events // 100
    seen = {}
    for _ in range(chosen.rounds):
        for name, kind in (("one stream of the database", "database"), ("40 streams that share a cursor", "shared")):
            took, ours, mongods = bench.busy(40, kind, each)
            # which has them for an event
            seen.setdefault(name, []).append({"events": 40 * each, "seconds": took, "cpu": ours * 40 * each / 1e6, "mongod": mongods * 40 * each / 1e6})
    return throughput(seen)


def part_delay(machine, chosen):
    """Delay at 100 inserts a second, w: majority: from MongoDB's acknowledgement"""
    bench = delay.Bench(machine, chosen.delays, 100)
    rows = []
    for name in delay.CONSUMERS:
        values = sorted(bench.turn(name))
        rows.append([name, *(values[min(int(len(values) * share), len(values) - 1)] for share in (0.5, 0.9, 0.99, 1))])
    return ("p50 ms", "p90 ms", "p99 ms", "max ms"), rows


def part_retention(machine, chosen):
    """Old events"""
    bench = retention.Bench(machine, chosen.events)
    seen = {}
    for _ in range(chosen.rounds):
        for phase, result in bench.phases().items():
            seen.setdefault(phase, []).append(result)
    return throughput(seen)


def part_gateway(machine, chosen):
    """The gateway: pgbench through it and directly, in turn"""
    bench = gateway.Bench(machine)
    rows = [[kind, *bench.kind(kind, chosen.seconds, chosen.rounds)] for kind in gateway.KINDS]
    idle, memory = bench.idle(10)
    rows.append([f"{gateway.MANY} idle sessions: CPU µs a second, and {memory:.0f} kB each", None, None, None, idle])
    return ("tps directly", "tps through it", "of directly", "its CPU µs/transaction"), rows


PARTS = {name[5:]: value for name, value in dict(globals()).items() if name.startswith("part_")}


# ---------------------------------------------------------------- the page


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"


def column(part, row, name):
    return row[1 + part["columns"].index(name)]


def bars_of(part, title):
    kinds = ("our CPU µs/event", "mongod's CPU µs/event")
    return plot.bars(title, kinds, [(re.split("[:,] ", row[0])[0] if len(row[0]) > 38 else row[0], [column(part, row, kind) for kind in kinds]) for row in part["rows"]])


def plots(parts):
    """The files that the page shows."""
    made = {name: bars_of(parts[name], f"{parts[name]['title']}: CPU, in microseconds an event") for name in ("ingest", "updates", "retention") if name in parts}
    if "quiet" in parts:
        points = [[(int(row[0].split()[0]), row[1]) for row in parts["quiet"]["rows"] if ("each" in row[0]) == alone] for alone in (False, True)]
        made["quiet"] = plot.lines("MongoDB's CPU for an insert beside quiet streams, in microseconds", "streams",
                                   list(zip(("one cursor", "a cursor each"), points)))
    return made


def render(figures):
    """Writes the plots, and the tables into the page."""
    lines = [f"Measured {figures['measured']} by `{figures['command']}`: {figures['versions']}, {figures['machine']}.", ""]
    made = plots(figures["parts"])
    for name, part in figures["parts"].items():
        lines += [f"### {part['title']}", "", *([f"Measured {part['measured']}.", ""] if "measured" in part else []), f"| | {' | '.join(part['columns'])} |", "| --- |" + " --- |" * len(part["columns"])]
        lines += [f"| {row[0]} | {' | '.join(map(number, row[1:]))} |" for row in part["rows"]]
        if name in made:
            (ROOT / f"docs/performance-{name}.svg").write_text(made[name])
            lines += ["", f"![{part['title']}](performance-{name}.svg)"]
        lines.append("")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join([*lines, END]) + rest.partition(END)[2])


def machine_of():
    with open("/proc/cpuinfo") as info:
        model = re.search(r"model name\s*: (.*)", info.read())
    with open("/proc/meminfo") as info:
        memory = int(info.readline().split()[1]) / 1024 ** 2
    return f"{model.group(1) if model else os.uname().machine}, {memory:.0f} GB, load {os.getloadavg()[0]:.1f} before it began"


def measure(chosen, figures):
    wanted = chosen.parts.split(",") if chosen.parts else list(PARTS)
    said = " ".join(sys.argv[1:])
    command = f'make bench-all ARGS="{said}"' if said else "make bench-all"
    with Machine() as machine:
        now = {"measured": f"{datetime.date.today()}", "command": command, "machine": machine_of()}
        cluster, mongo = servers(machine)
        now["versions"] = versions(cluster, mongo)
        # of some parts, what the page says of all others stays
        alone = chosen.parts and figures["parts"]
        if not alone:
            figures.update(now)
        for name in wanted:
            mongo.client.drop_database("ecommerce")
            columns, rows = PARTS[name](machine, chosen)
            figures["parts"][name] = {"title": PARTS[name].__doc__, "columns": columns, "rows": rows}
            if alone:
                figures["parts"][name]["measured"] = "{measured} by `{command}`: {versions}, {machine}".format(**now)
            figures["parts"] = {name: figures["parts"][name] for name in PARTS if name in figures["parts"]}
            # after each part: whoever is in a hurry has those that are done
            FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
            render(figures)
            print(f"\n{PARTS[name].__doc__}: {', '.join(columns)}", *(f"  {row[0]}: {', '.join(map(number, row[1:]))}" for row in rows), sep="\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--inserts", type=int, default=20_000, help="beside quiet streams")
    parser.add_argument("--delays", type=int, default=1_000, help="inserts whose delay is measured, of each kind")
    parser.add_argument("--seconds", type=int, default=3, help="of each run of pgbench")
    parser.add_argument("--parts", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--render", action="store_true", help="make the page of the figures that there are")
    chosen = parser.parse_args()
    exit_on_signals()
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() and (chosen.parts or chosen.render) else {"parts": {}}
    if chosen.render:
        render(figures)
    else:
        measure(chosen, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
