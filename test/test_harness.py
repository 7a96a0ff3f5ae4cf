"""The harness keeps its promises: servers come up, break on demand, and vanish."""
import os
import pathlib
import signal
import subprocess
import sys

import pymongo
import pytest

from harness import janitor
from harness.build import without_blanks
from harness.machine import wait_until


def test_extension_is_preloaded_and_created(db):
    assert db.value("SELECT extversion FROM pg_extension WHERE extname = 'mongo_change_stream'") == "1.1"
    assert "mongo_change_stream" in db.value("SHOW shared_preload_libraries")


def test_installation_is_a_copy(installation):
    below = pathlib.Path("/tmp")
    assert below in installation.bindir.parents and below in installation.folder("sharedir").parents
    assert (installation.folder("sharedir") / "extension/mongo_change_stream.control").exists()


def test_cluster_stops_kills_and_starts(new_cluster):
    cluster = new_cluster()
    with cluster.connect() as connection:
        connection.execute("CREATE TABLE kept (a int)")
    for mode in ("smart", "fast", "immediate"):
        cluster.stop(mode)
        cluster.start()
    cluster.kill()
    cluster.start()
    assert cluster.psql("SELECT count(*) FROM kept") == "0\n"


def test_no_shared_memory_of_a_killed_cluster_stays(new_cluster):
    cluster = new_cluster()
    shared = set().union(*map(janitor.shared_memory, janitor.family(cluster.process.pid)))
    cluster.kill()
    assert [one for one in shared if is_there(one)]
    cluster.discard()
    assert [one for one in shared if is_there(one)] == []


def test_death_of_a_process_is_noticed(new_cluster):
    cluster = new_cluster()
    assert cluster.new_deaths() == []
    connection = cluster.connect()
    os.kill(connection.info.backend_pid, signal.SIGSEGV)
    deaths = []
    wait_until(lambda: deaths.extend(cluster.new_deaths()) or deaths, 10)
    assert "signal 11" in deaths[0]


def test_change_stream_of_the_replica_set(mdb):
    with mdb.watch() as stream:
        mdb.orders.insert_one({"_id": 1})
        assert stream.next()["documentKey"] == {"_id": 1}


def test_fail_command(mongo, mdb):
    mongo.fail_command(["find"], times=1, errorCode=91)
    with pytest.raises(pymongo.errors.PyMongoError):
        pymongo.MongoClient(mongo.uri, retryReads=False)[mdb.name].orders.find_one()
    assert mdb.orders.find_one() is None


def test_three_members_elect_another_primary(new_replica_set):
    mongo = new_replica_set(members=3)
    first = mongo.primary()
    mongo.step_down()
    mongo.wait_primary()
    second = mongo.primary()
    assert second is not first
    second.kill()
    mongo.wait_primary()
    assert mongo.primary() is not second
    second.start()
    wait_until(lambda: len(mongo.secondaries()) == 2, 30)


def test_authentication(new_replica_set):
    mongo = new_replica_set(auth=True)
    assert mongo.client.shop.orders.insert_one({}).acknowledged
    with pymongo.MongoClient(mongo.uri) as stranger, pytest.raises(pymongo.errors.OperationFailure) as refused:
        stranger.shop.orders.find_one()
    assert refused.value.code == 13


def answers(client):
    try:
        return client.admin.command("ping")["ok"] == 1
    except pymongo.errors.PyMongoError:
        return False


def test_proxy(mongo, proxy):
    client = pymongo.MongoClient(mongo.direct_uri(proxy.port), serverSelectionTimeoutMS=500, socketTimeoutMS=500)
    assert answers(client)
    proxy.piece = 1
    assert answers(client)
    proxy.piece = 1 << 16
    proxy.blackhole = True
    assert not answers(client)
    proxy.blackhole = False
    wait_until(lambda: answers(client), 10)
    assert proxy.connections > 0
    proxy.reset()
    wait_until(lambda: answers(client), 10)
    proxy.refuse = True
    proxy.reset()
    assert not answers(client)


PROGRAM = """
import sys, time
from harness import Cluster, Installation, Machine, ReplicaSet
machine = Machine()
print(machine.folder, flush=True)
cluster = Cluster(machine, Installation(sys.argv[1]), settings={"shared_preload_libraries": ""})
mongo = ReplicaSet(machine)
print(cluster.process.pid, mongo.members[0].process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_nothing_stays(repository, installation, number):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, installation.pg_config], cwd=repository / "test",
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               # a shell starts what runs in the background with SIGINT ignored, and that is inherited
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    folder = program.stdout.readline().strip()
    servers = [int(pid) for pid in program.stdout.readline().split()]
    children = [pid for server in servers for pid in janitor.family(server)]
    shared = set().union(*map(janitor.shared_memory, children))
    assert len(servers) == 2 and len(children) > 5 and os.path.isdir(folder)
    assert {type(one) for one in shared} == {int, str}
    program.send_signal(number)
    program.wait(20)
    wait_until(lambda: not os.path.exists(folder) and not any(janitor.started(pid) for pid in children), 20)
    assert [one for one in shared if is_there(one)] == []


def is_there(shared):
    """Whether a piece of shared memory is still there: a path, or an id of System V's."""
    if isinstance(shared, str):
        return os.path.exists(shared)
    lines = pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return str(shared) in (line.split()[1] for line in lines)


def test_interrupt_prints_no_traceback(repository):
    program = subprocess.Popen([sys.executable, "-c", "from harness.machine import exit_on_signals as f; import time; f(); print(flush=True); time.sleep(60)"],
                               cwd=repository / "test", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=10)[1] == "\nInterrupted.\n" and program.returncode == -signal.SIGINT


def test_packages_that_only_root_can_install(repository):
    """Who is no root and has no sudo is told once, of all that is missing, as root would type it."""
    sh = [repository / "test/apt.sh", "mcs-not-there", "bash", "mcs-nor-there"]
    told = subprocess.run(sh if os.geteuid() else ["setpriv", "--reuid=nobody", "--clear-groups", "--", "bash", "-s", *sh[1:]],
                          stdin=None if os.geteuid() else open(sh[0]), capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1] == "    apt-get update && apt-get install --no-install-recommends mcs-not-there mcs-nor-there"


def test_path_with_a_blank(tmp_path, installation):
    """What make cannot name is copied to where it can, and the copy works and goes."""
    named = installation.private_copy(tmp_path / "a clone" / "postgresql")
    with without_blanks(installation) as there:
        assert there is installation
    with without_blanks(named) as there:
        assert " " not in there.pg_config and there.version == installation.version and there.folder("pgxs").exists()
    assert not there.bindir.exists()


def test_builds_without_headers_of_icu(repository, installation, tmp_path):
    """PostgreSQL is built with ICU nearly everywhere, and an extension is where ICU's headers are not."""
    (tmp_path / "unicode").mkdir()
    (tmp_path / "unicode" / "ucol.h").write_text('#error "a header of ICU is wanted"\n')
    server = subprocess.run([installation.pg_config, "--includedir-server"], capture_output=True, text=True, check=True).stdout.strip()
    driver = subprocess.run(["pkg-config", "--cflags", "libmongoc-1.0"], capture_output=True, text=True).stdout.split()
    sources = sorted((repository / "src").rglob("*.c"))
    inside = {f"-DMCS_INSIDE_{source.parent.name}" for source in sources}           # what the Makefile says for each folder by itself
    looked = subprocess.run(["gcc", "-M", "-DUSE_ICU=1", f"-I{tmp_path}", f"-I{server}", f"-I{repository / 'src'}", *inside, *driver, *sources],
                            capture_output=True, text=True)
    assert len(sources) > 100
    assert looked.returncode == 0, looked.stderr[:1000]
