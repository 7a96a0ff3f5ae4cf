"""What every test may ask for.

postgres      a cluster with the library preloaded, shared by all tests
mongo         a replica set of one member, shared by all tests
db            a new database with the extension in it
mdb           a new, empty MongoDB database (pymongo)
linked        db, with a server `mongo` that leads to mdb, for every role with USAGE, as that MongoDB knows no users
shared        the same, whose streams share a cursor, however the tests are run
apart         the same, whose streams do not
machine       to make servers of one's own: Cluster(machine, installation, …), ReplicaSet(machine, …)
new_cluster, new_replica_set    the same, discarded after the test
proxy         a bad network in front of the shared mongod

A test that kills processes of the shared cluster says so with @pytest.mark.crashes; any other
test fails if a process of the cluster dies by a signal while it runs.
"""
import itertools
import os
import pathlib

import psycopg
import pytest

from harness import Cluster, Installation, Machine, Proxy, ReplicaSet, build, install, packages
from harness.machine import exit_on_signals

numbers = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "crashes: the test kills processes of the shared PostgreSQL cluster")
    config.addinivalue_line("markers", "faults: slow; run by make test-faults only")
    config.addinivalue_line("markers", "extras: wants packages that nothing else here does; run by its own target of the Makefile")
    exit_on_signals()


@pytest.fixture(scope="session")
def machine():
    with Machine(keep=bool(os.environ.get("KEEP"))) as one:
        yield one


@pytest.fixture(scope="session")
def installation(machine):
    """PostgreSQL with the extension in it: what test/run.py prepared, else made here."""
    prepared = os.environ.get("MCS_TEST_PG_CONFIG")
    if prepared:
        return Installation(prepared)
    original = Installation(packages.pg_config())
    private = original.private_copy(machine.folder / "postgresql")
    install(build(original), private)
    return private


class Shared:
    """The cluster that tests share; another takes its place when a test has left it broken."""

    def __init__(self, make):
        self.make, self.cluster = make, None

    def get(self):
        if self.cluster is None:
            self.cluster = self.make()
        if not self.cluster.running:
            self.cluster.start()
        self.cluster.new_deaths()
        return self.cluster

    def replace(self):
        self.cluster.discard()
        self.cluster = None


@pytest.fixture(scope="session")
def shared_cluster(machine, installation):
    return Shared(lambda: Cluster(machine, installation, name=f"pg{next(numbers)}"))


@pytest.fixture
def postgres(shared_cluster, request):
    cluster = shared_cluster.get()
    yield cluster
    deaths = cluster.new_deaths()
    if deaths and not request.node.get_closest_marker("crashes"):
        shared_cluster.replace()
        pytest.fail("processes of the cluster died:\n" + "\n".join(deaths))


@pytest.fixture(scope="session")
def shared_replica_set(machine):
    return ReplicaSet(machine)


@pytest.fixture
def mongo(shared_replica_set):
    yield shared_replica_set
    for member in shared_replica_set.members:
        if member.running:
            member.thaw()
        else:
            member.start()
    shared_replica_set.stop_failing()


@pytest.fixture
def db(postgres):
    name = f"test_{next(numbers)}"
    database = postgres.create_database(name)
    roles = set(database.column("SELECT rolname FROM pg_roles"))
    yield database
    database.close()
    try:
        if postgres.running:
            postgres.drop_database(name)
            postgres.drop_roles_but(roles)
    except psycopg.OperationalError:
        if not postgres.new_deaths(keep=True):
            raise


@pytest.fixture
def mdb(mongo):
    name = f"test_{os.getpid()}_{next(numbers)}"
    yield mongo.client[name]
    mongo.client.drop_database(name)


@pytest.fixture
def linked(db, mongo, mdb):
    db.create_server(mongo.uri, mdb.name, password_required="false")
    return db


@pytest.fixture
def shared(db, mongo, mdb):
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="true")
    return db


@pytest.fixture
def apart(db, mongo, mdb):
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="false")
    return db


@pytest.fixture
def proxy(mongo):
    with Proxy(mongo.members[0].port) as one:
        yield one


@pytest.fixture
def new_cluster(machine, installation):
    """A function that makes another cluster: new_cluster(settings={…}, …)."""
    made = []

    def make(**options):
        made.append(Cluster(machine, installation, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.discard()


@pytest.fixture
def new_replica_set(machine):
    """A function that makes another replica set: new_replica_set(members=3, …)."""
    made = []

    def make(**options):
        made.append(ReplicaSet(machine, **options))
        return made[-1]

    yield make
    for replica_set in made:
        replica_set.discard()


@pytest.fixture(scope="session")
def repository():
    return pathlib.Path(__file__).resolve().parents[1]
