"""Compiles the extension for one PostgreSQL, in a folder of .cache/, and installs it there."""
import contextlib
import hashlib
import itertools
import os
import pathlib
import re
import shutil
import tempfile

from . import packages
from .machine import CACHE, ROOT

SOURCES = ("Makefile", "*.control", "mongo_change_stream--1.0.sql", "schema/*", "src/*.[ch]", "src/*/*.[ch]", "sql/*.sql", "expected/*.out")


# a line of make's that compiles one file
COMPILES = re.compile(r" -c -o \S+\.o ")


def copy_sources(folder):
    """Brings a build folder up to date: changed files are copied, files that are gone are removed."""
    wanted = {path.relative_to(ROOT) for pattern in SOURCES for path in ROOT.glob(pattern)}
    present = {path.relative_to(folder) for pattern in SOURCES for path in folder.glob(pattern)}
    for path in present - wanted:
        (folder / path).unlink()
        (folder / path).with_suffix(".o").unlink(missing_ok=True)
    for path in wanted:
        source, target = ROOT / path, folder / path
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def build(installation, warnings_are_errors=False):
    """Compiles for an installation; returns the folder, which a later build goes on with."""
    packages.build_tools()
    flags = "-Werror" if warnings_are_errors else ""
    key = hashlib.sha1(f"{installation.pg_config} {installation.version} {flags}".encode()).hexdigest()[:8]
    folder = CACHE / "build" / f"pg{installation.major}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    copy_sources(folder)
    headers = max(header.stat().st_mtime for header in folder.glob("src/**/*.h"))
    files = sum(1 for source in folder.glob("src/**/*.c") if is_older(source.with_suffix(".o"), max(headers, source.stat().st_mtime)))
    compiled = itertools.count(1)

    def progress(line):
        return f"{min(next(compiled), files)} of {files} files compiled" if COMPILES.search(line) else None

    with without_blanks(installation) as there:
        make(folder, there, f"-j{os.cpu_count()}", "all", f"COPT={flags}", progress=progress if files else None)
    return folder


@contextlib.contextmanager
def without_blanks(installation):
    """The installation, or a copy of it in a folder without blanks in its name, which make could not name."""
    if not re.search(r"\s", installation.pg_config):
        yield installation
        return
    with tempfile.TemporaryDirectory(prefix="mcs-", dir="/tmp") as folder:
        yield installation.private_copy(pathlib.Path(folder) / "postgresql")


def is_older(made, time):
    """Whether a file is missing, or older than what it is made of."""
    return not made.exists() or made.stat().st_mtime < time


def install(folder, installation):
    """Installs what was built into an installation."""
    make(folder, installation, "install")


def make(folder, installation, *arguments, progress=None):
    """Runs make in a build folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    packages.run(["make", "-C", folder, f"PG_CONFIG={installation.pg_config}", *arguments], progress=progress, env=environment)


def library(folder):
    """The shared library in a build folder."""
    return pathlib.Path(folder) / "mongo_change_stream.so"
