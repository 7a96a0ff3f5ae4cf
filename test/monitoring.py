"""Prometheus and its exporter for PostgreSQL, on ports of their own, with what monitoring/ has for them."""
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from harness import packages
from harness.machine import ROOT, free_ports, tail, wait_until

FOLDER = ROOT / "monitoring"


def metrics():
    """The names of the metrics that queries.yaml makes: of each query, of each of its columns that is no label."""
    names = set()
    for query in re.split(r"^(?=\w+:$)", (FOLDER / "queries.yaml").read_text(), flags=re.M):
        for column, usage in re.findall(r"^    - (\w+): \{usage: (\w+),", query, re.M):
            if usage != "LABEL":
                names.add(f"{query.partition(':')[0]}_{column}")
    return names


def panels():
    """The panels of the dashboard, as Grafana reads them."""
    return json.loads((FOLDER / "dashboard.json").read_text())["panels"]


def typed(expression, span="10s"):
    """A panel's expression with the variables filled in that Grafana fills in."""
    return expression.replace("$__rate_interval", span).replace("$database", ".*")


class Prometheus:
    """Scrapes one database each second; alerts that wait for minutes wait for a second."""

    def __init__(self, machine, db, role):
        programs = packages.prometheus()
        self.machine, self.folder = machine, machine.new_folder("prometheus")
        self.exporter_port, self.port = free_ports(2)
        self.exporter_log, self.log = self.folder / "exporter.log", self.folder / "prometheus.log"
        self.exporter = machine.start(
            [str(programs / "prometheus-postgres-exporter"), "--disable-default-metrics", "--disable-settings-metrics",
             f"--extend.query-path={FOLDER / 'queries.yaml'}", f"--web.listen-address=127.0.0.1:{self.exporter_port}"], self.exporter_log,
            env={"DATA_SOURCE_NAME": f"host={db.cluster.folder} port={db.cluster.port} user={role} dbname={db.name} sslmode=disable"})
        rules = re.sub(r"for: \d+[mh]$", "for: 1s", (FOLDER / "alerts.yaml").read_text(), flags=re.M)
        (self.folder / "alerts.yaml").write_text(rules)
        (self.folder / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: postgres
    static_configs: [{{targets: ['127.0.0.1:{self.exporter_port}']}}]
""")
        self.server = machine.start(
            [str(programs / "prometheus"), f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], self.log)
        machine.servers.append(self)
        wait_until(lambda: self.answers("/-/ready"), 30, "Prometheus is ready")

    def answers(self, path):
        if self.server.poll() is not None:
            raise RuntimeError(f"Prometheus did not start:\n{tail(self.log)}")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).read()
        except urllib.error.HTTPError as refused:
            if refused.code == 503:
                return None
            raise RuntimeError(f"{path}: {refused.read().decode()}") from None
        except OSError:
            return None

    def ask(self, what, **parameters):
        """What the HTTP API answers."""
        said = json.loads(self.answers(f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
        assert said["status"] == "success", said
        return said["data"]

    def query(self, expression):
        """The series of an expression now: labels and a number each."""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=expression)["result"]]

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self):
        """The alerts that fire: name and labels."""
        return [(one["labels"]["alertname"], one["labels"]) for one in self.ask("alerts")["alerts"] if one["state"] == "firing"]

    def discard(self):
        for process in (self.server, self.exporter):
            if process.poll() is None:
                process.kill()
                process.wait()
            self.machine.gone(process)
