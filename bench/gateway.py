"""What the gateway costs: pgbench through it and on the server's own port, in turn, and sessions that do nothing.

    python3 bench/gateway.py [seconds of each run] [rounds]

The figure is the ratio of two runs one after the other, and its median over the rounds.  Beside it stands what the
gateway's process spends on a transaction.  pgbench sends plain SQL, of which the gateway looks at each text and sends
it as it came; "prepared" has none after the first.  Ends with 1 where a ratio is below 0.4.
"""
import os
import re
import statistics
import subprocess
import sys
import time

import psycopg

from common import SETTINGS, cpu_of, servers, table
from harness import Cluster, Machine
from harness.machine import free_ports, wait_until

LIMIT = 0.4
CLIENTS = 4
MANY = 200

# what is shown of each: pgbench's options
KINDS = {
    f"{kind}, {mode}": [*options, "-M", mode, "-c", str(CLIENTS)]
    for kind, options in (("like TPC-B", ["-b", "tpcb-like"]), ("SELECT of one row", ["-b", "select-only"])) for mode in ("simple", "extended", "prepared")
}
MANY_CLIENTS = f"SELECT of one row, prepared, {MANY} clients"
KINDS[MANY_CLIENTS] = ["-b", "select-only", "-M", "prepared", "-c", str(MANY)]
KINDS["a new connection for each SELECT"] = ["-b", "select-only", "-C", "-c", str(CLIENTS)]


class Bench:
    def __init__(self, machine):
        installation = servers(machine)[0].installation
        self.port = free_ports()[0]
        self.cluster = Cluster(machine, installation, name="gateway", tcp=True,
                               settings={**SETTINGS, "listen_addresses": "127.0.0.1", "max_connections": MANY + 50, "mongo_change_stream.gateway_port": self.port})
        self.cluster.create_database("bench").close()
        self.environment = {**self.cluster.client_environment("bench"), "PGHOST": "127.0.0.1"}
        self.pgbench("-i", "-q", "-s", "10")
        wait_until(self.process, 30, "the gateway's process is seen")

    def process(self):
        with self.cluster.connect() as connection:
            row = connection.execute("SELECT query FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream gateway'").fetchone()
        found = row and re.search(r"process (\d+)", row[0] or "")
        return int(found[1]) if found else None

    def pgbench(self, *options, port=None):
        done = subprocess.run([self.cluster.installation.program("pgbench"), *options], env={**self.environment, "PGPORT": str(port or self.cluster.port)},
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout

    def run(self, kind, port, seconds):
        """Transactions in a second, and how many there were."""
        # many clients take a while to connect, which is to be no part of it
        length = ["-t", str(50 * seconds)] if kind == MANY_CLIENTS else ["-T", str(seconds)]
        said = self.pgbench("-n", *length, *KINDS[kind], port=port)
        return float(re.search(r"tps = ([\d.]+)", said)[1]), int(re.search(r"actually processed: (\d+)", said)[1])

    def turn(self, kind, seconds):
        """Transactions a second, directly and through the gateway, and its CPU in microseconds for one."""
        process = self.process()
        directly, _ = self.run(kind, self.cluster.port, seconds)
        before = cpu_of(process)
        through, count = self.run(kind, self.port, seconds)
        return directly, through, (cpu_of(process) - before) / count * 1e6

    def kind(self, kind, seconds, rounds):
        """Medians: of both, of their ratio, of the CPU."""
        seen = [self.turn(kind, seconds) for _ in range(rounds)]
        return [statistics.median(values) for values in zip(*((directly, through, through / directly, cpu) for directly, through, cpu in seen))]

    def idle(self, seconds):
        """Sessions that do nothing, behind a first statement: CPU of a second, in microseconds, and memory of each, in kilobytes."""
        process = self.process()

        def memory():
            with open(f"/proc/{process}/status") as status:
                return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

        before = memory()
        sessions = [psycopg.connect(host="127.0.0.1", port=self.port, dbname="bench", user="postgres", autocommit=True) for _ in range(MANY)]
        for session in sessions:
            session.execute("SELECT 1")
        held = memory() - before
        used = cpu_of(process)
        time.sleep(seconds)
        used = cpu_of(process) - used
        for session in sessions:
            session.close()
        return used / seconds * 1e6, held / MANY


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with Machine() as machine:
        bench = Bench(machine)
        rows, least = [], 1
        for kind in KINDS:
            directly, through, ratio, cpu = bench.kind(kind, int(seconds), rounds)
            least = min(least, ratio)
            rows.append([kind, f"{directly:,.0f}", f"{through:,.0f}", f"{ratio:.2f}", f"{cpu:.1f}"])
            print(*rows[-1], flush=True)
        table(["", "tps directly", "through it", "of directly", "its CPU µs/transaction"], rows)
        cpu, memory = bench.idle(30)
        print(f"{MANY} idle sessions: {cpu:.0f} µs of CPU a second, {memory:.0f} kB each; load {os.getloadavg()[0]:.1f}")
    return 1 if least < LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
