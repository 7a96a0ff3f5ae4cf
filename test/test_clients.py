"""What docs/clients.md shows works as it stands, with clients as their registries have them."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from harness.machine import CACHE, wait_until
from test_gateway import Gateway

FOLDER = CACHE / "clients"
ORDERS = """
CREATE TABLE orders (_id text PRIMARY KEY, document document);
INSERT INTO orders VALUES ('1', '{"_id": "1", "status": "paid", "total": 12.5, "customer": {"name": "Ann"}}'),
                          ('2', '{"_id": "2", "status": "paid", "total": 30, "customer": {"name": "Bob"}}'),
                          ('3', '{"_id": "3", "status": "placed", "total": 25, "customer": {"name": "Ann"}}');
"""


@pytest.fixture(scope="module")
def environment(machine, installation):
    """Variables that lead through a gateway to a database with orders."""
    gateway = Gateway(machine, installation)
    wait_until(gateway.listens, 30, "the gateway listens")
    database = gateway.cluster.create_database("mydb")
    database.execute(ORDERS)
    database.close()
    yield {**os.environ, **gateway.cluster.client_environment("mydb"), "PGHOST": "127.0.0.1", "PGPORT": str(gateway.port), "PGUSER": "postgres",
           "PATH": f"{os.path.dirname(gateway.cluster.installation.program('psql'))}:{os.environ['PATH']}"}
    gateway.cluster.discard()


def examples(repository, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (repository / "docs/clients.md").read_text(), re.M | re.S)


def install(program, command, done):
    """Brings a client from its registry; the test is left out where the machine has not what that takes."""
    if not shutil.which(program):
        pytest.skip(f"this machine has no {program}")
    if not (FOLDER / done).exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True, cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=300)


def printed(command, environment, **options):
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_psql(repository, environment):
    script, = examples(repository, "sh")
    assert printed(["bash", "-c", script], environment) == ["Ann|12.5", "Bob|30"]


def test_psycopg(repository, environment):
    script = examples(repository, "python")[0]
    assert printed([sys.executable, "-c", script], environment) == ["Ann 12.5", "Bob 30", "paid 2", "placed 1", "[('paid',), ('placed',)]", "[(3,)]"]


def test_sqlalchemy(repository, environment):
    script = examples(repository, "python")[1]
    install(sys.executable, [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", "python", "sqlalchemy>=2"], "python/sqlalchemy")
    assert printed([sys.executable, "-c", script], {**environment, "PYTHONPATH": str(FOLDER / "python")}) == ["Ann 12.5", "Bob 30"]


def test_node(repository, environment):
    script, = examples(repository, "js")
    install("npm", ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", "pg@8"], "node_modules/pg")
    assert printed(["node", "-e", script], environment, cwd=FOLDER) == ["Ann 12.5", "Bob 30"]


def test_jdbc(repository, environment, tmp_path):
    script, = examples(repository, "java")
    if not shutil.which("java"):
        pytest.skip("this machine has no java")
    install("mvn", ["mvn", "-q", "-B", "dependency:copy", "-Dartifact=org.postgresql:postgresql:42.7.4", "-DoutputDirectory=java"], "java/postgresql-42.7.4.jar")
    (tmp_path / "Orders.java").write_text(script)
    assert printed(["java", "-cp", str(FOLDER / "java/postgresql-42.7.4.jar"), str(tmp_path / "Orders.java")], environment) == ["Ann 12.5", "Bob 30"]
