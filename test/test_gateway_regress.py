"""PostgreSQL's own regression tests have the same answers through the gateway as on the ordinary port, byte for byte.

The files are those of Debian's source package of this PostgreSQL, of whatever minor version apt has: both ports run the
same ones, and their answers are compared with each other.  They run one after another, each port on a cluster of its own.
"""
import difflib
import os
import re
import shutil
import subprocess

import pytest

from harness import packages
from harness.machine import CACHE, wait_until
from test_gateway import Gateway

pytestmark = [pytest.mark.extras, pytest.mark.timeout(3600)]


def source_lists(folder):
    """apt's own lists of sources with the places of source packages."""
    count = 0
    for name in ["/etc/apt/sources.list", *(f"/etc/apt/sources.list.d/{name}" for name in sorted(os.listdir("/etc/apt/sources.list.d")))]:
        if name.endswith((".list", ".sources")) and os.path.exists(name):
            text = open(name).read()
            text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", text) if name.endswith(".sources") else re.sub(r"(?m)^deb(?=\s)", "deb-src", text)
            (folder / f"{count}.{name.rpartition('.')[2]}").write_text(text)
            count += 1


def source(major):
    """The folder src/test/regress of PostgreSQL's source; the newest that can be had."""
    folder = CACHE / f"postgresql-{major}-source"
    found = sorted(folder.glob("postgresql-*/src/test/regress"))
    if found:
        return found[-1]
    if not shutil.which("apt-get"):
        pytest.skip("PostgreSQL's source comes by apt, which this machine has not")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    source_lists(folder / "parts")
    options = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={folder}/parts", "-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    packages.run(["apt-get", *options, "update"])
    listed = packages.run(["apt-cache", *options, "showsrc", f"postgresql-{major}"])
    versions = list(dict.fromkeys(re.findall(r"(?m)^Version: (.*)$", listed)))
    for version in reversed(versions):
        done = subprocess.run(["apt-get", *options, "source", "-q", "--download-only", f"postgresql-{major}={version}"], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL)
        archives = list(folder.glob("*.orig.tar.*"))
        if done.returncode == 0 and archives:
            packages.run(["tar", "xf", archives[0], "-C", folder, "--wildcards", "*/src/test/regress/*"])
            return next(folder.glob("postgresql-*/src/test/regress"))
    pytest.skip(f"apt has no source of PostgreSQL {major}: {versions}")


def libraries(installation, folder, made):
    """What the tests load: a library of their own, and two of contrib's."""
    made.mkdir()
    include = subprocess.run([installation.pg_config, "--includedir-server"], capture_output=True, text=True, check=True).stdout.strip()
    packages.run(["cc", "-O1", "-w", "-shared", "-fPIC", f"-I{include}", "-o", made / "regress.so", folder / "regress.c"])
    for name in ("autoinc.so", "refint.so"):
        shutil.copy(installation.folder("pkglibdir") / name, made)


def answers(gateway, port, folder, work):
    """What psql prints of each file."""
    made = work / f"{port}"
    made.mkdir()
    # some files are written and read by the server
    os.chmod(made, 0o777)
    before = os.umask(0)
    try:
        program = gateway.cluster.installation.folder("pkglibdir") / "pgxs/src/test/regress/pg_regress"
        bindir = os.path.dirname(gateway.cluster.installation.program("psql"))
        subprocess.run([program, f"--inputdir={folder}", f"--outputdir={made}", f"--dlpath={work / 'libraries'}", f"--bindir={bindir}", "--host=127.0.0.1", f"--port={port}",
                        "--user=postgres", f"--schedule={folder / 'parallel_schedule'}", "--max-connections=1", "--load-extension=mongo_change_stream"],
                       env={**gateway.cluster.client_environment(), "PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    finally:
        os.umask(before)
    return {name[:-4]: (made / "results" / name).read_bytes().replace(str(made).encode(), b"FOLDER").replace(str(port).encode(), b"PORT")
            for name in os.listdir(made / "results") if name.endswith(".out")}


def test_postgresqls_own_tests(machine, installation):
    folder = source(installation.major)
    work = machine.folder / "regress"
    work.mkdir()
    os.chmod(work, 0o755)
    shutil.copytree(folder, work / "files")
    libraries(installation, folder, work / "libraries")
    found = []
    for by_gateway in (False, True):
        gateway = Gateway(machine, installation)
        wait_until(gateway.listens, 30, "the gateway listens")
        found.append(answers(gateway, gateway.port if by_gateway else gateway.cluster.port, work / "files", work))
        gateway.cluster.discard()
    directly, through = found
    assert set(directly) == set(through) and len(directly) > 150
    different = {}
    for name in sorted(directly):
        if directly[name] != through[name]:
            lines = difflib.unified_diff(directly[name].decode("latin1").splitlines(), through[name].decode("latin1").splitlines(), "directly", "through the gateway", n=2, lineterm="")
            different[name] = "\n".join(lines)
    print(f"{len(directly)} files, {sum(text.count(b';') for text in directly.values())} semicolons; different: {sorted(different)}")
    assert not different, "\n".join(text[:5000] for text in different.values())
