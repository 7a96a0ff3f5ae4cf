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
JDBC = ["mvn", "-q", "-B", "dependency:copy", "-Dartifact=org.postgresql:postgresql:42.7.4", "-DoutputDirectory=java"]
ORDERS = """
CREATE TABLE orders (_id text PRIMARY KEY, document document);
INSERT INTO orders VALUES ('1', '{"_id": "1", "status": "paid", "total": 12.5, "customer": {"name": "Ann"}}'),
                          ('2', '{"_id": "2", "status": "paid", "total": 30, "customer": {"name": "Bob"}}'),
                          ('3', '{"_id": "3", "status": "placed", "total": 25, "customer": {"name": "Ann"}}');
"""


@pytest.fixture(scope="module")
def environment(machine, installation, repository):
    """Variables that lead through a gateway to a database with orders."""
    gateway = Gateway(machine, installation)
    wait_until(gateway.listens, 30, "the gateway listens")
    database = gateway.cluster.create_database("mydb")
    database.execute(ORDERS)
    database.close()
    with gateway.connect("mydb") as connection:
        connection.execute(re.search(r"^CREATE OR REPLACE VIEW .*?;$", (repository / "docs/clients.md").read_text(), re.M | re.S)[0])
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
    assert printed(["bash", "-c", script], environment) == ["Ann|12.5", "Bob|30", "CREATE VIEW"]


def test_psycopg(repository, environment):
    script = examples(repository, "python")[0]
    assert printed([sys.executable, "-c", script], environment) == ["Ann 12.5", "Bob 30", "paid 2", "placed 1", "[('paid',), ('placed',)]", "[(3,)]"]


def test_sqlalchemy(repository, environment):
    script = examples(repository, "python")[1]
    install(sys.executable, [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", "python", "sqlalchemy>=2"], "python/sqlalchemy")
    assert printed([sys.executable, "-c", script], {**environment, "PYTHONPATH": str(FOLDER / "python")}) == ["Ann 12.5", "Bob 30"]


def test_reflection_by_sqlalchemy(repository, environment):
    script = examples(repository, "python")[2]
    found = printed([sys.executable, "-W", "error", "-c", script], {**environment, "PYTHONPATH": str(FOLDER / "python")})
    assert found == ["True [('_id', 'TEXT'), ('document', 'document')]", "5"]


@pytest.mark.extras
def test_pandas(repository, environment):
    script = examples(repository, "python")[3]
    install(sys.executable, [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", "python", "pandas"], "python/pandas")
    assert printed([sys.executable, "-c", script], {**environment, "PYTHONPATH": str(FOLDER / "python")}) == ["{'Ann': 12.5, 'Bob': 30.0}"]


def test_node(repository, environment):
    script, = examples(repository, "js")
    install("npm", ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", "pg@8"], "node_modules/pg")
    assert printed(["node", "-e", script], environment, cwd=FOLDER) == ["Ann 12.5", "Bob 30"]


def test_jdbc(repository, environment, tmp_path):
    script, = examples(repository, "java")
    if not shutil.which("java"):
        pytest.skip("this machine has no java")
    install("mvn", JDBC, "java/postgresql-42.7.4.jar")
    (tmp_path / "Orders.java").write_text(script)
    assert printed(["java", "-cp", str(FOLDER / "java/postgresql-42.7.4.jar"), str(tmp_path / "Orders.java")], environment) == ["Ann 12.5", "Bob 30"]


METADATA = """
import java.sql.*;
import java.util.*;

public class Metadata {
    static void show(ResultSet rows, String... names) throws SQLException {
        while (rows.next()) {
            List<String> found = new ArrayList<>();
            for (String name : names) found.add(rows.getString(name));
            System.out.println(String.join(" ", found));
        }
    }

    public static void main(String[] args) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        try (Connection connection = DriverManager.getConnection(url, System.getenv("PGUSER"), "")) {
            DatabaseMetaData about = connection.getMetaData();
            show(about.getTables(null, "public", "%orders", new String[] {"TABLE", "VIEW"}), "TABLE_NAME", "TABLE_TYPE");
            show(about.getColumns(null, "public", "%orders", "%"), "TABLE_NAME", "COLUMN_NAME", "TYPE_NAME", "DATA_TYPE");
            show(about.getPrimaryKeys(null, "public", "orders"), "COLUMN_NAME");
            /* as a tool wraps what was typed, and fetches some rows at a time */
            connection.setAutoCommit(false);
            String typed = "SELECT document.status, document.total::numeric FROM orders";
            PreparedStatement statement = connection.prepareStatement("SELECT * FROM (" + typed + ") AS source WHERE source.total > ? ORDER BY 2 LIMIT 1048575");
            statement.setFetchSize(1);
            statement.setInt(1, 20);
            ResultSetMetaData shape = statement.getMetaData();
            for (int i = 1; i <= shape.getColumnCount(); i++)
                System.out.println(shape.getColumnLabel(i) + " " + shape.getColumnTypeName(i));
            for (int run = 0; run < 7; run++) {
                ResultSet rows = statement.executeQuery();
                if (run % 6 == 0) show(rows, "status", "total");
            }
            connection.commit();
        }
    }
}
"""


def test_metadata_by_jdbc(environment, tmp_path):
    """What a BI tool asks of a database, and of a query that was typed into it; also once the driver prepares it by a name."""
    if not shutil.which("java"):
        pytest.skip("this machine has no java")
    install("mvn", JDBC, "java/postgresql-42.7.4.jar")
    (tmp_path / "Metadata.java").write_text(METADATA)
    assert printed(["java", "-cp", str(FOLDER / "java/postgresql-42.7.4.jar"), str(tmp_path / "Metadata.java")], environment) == [
        "orders TABLE", "paid_orders VIEW",
        "orders _id text 12", "orders document document 1111", "paid_orders customer text 12", "paid_orders total numeric 2", "_id",
        "status text", "total numeric", *["placed 25", "paid 30"] * 2]
