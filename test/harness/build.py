"""Compiles the extension for one PostgreSQL, in a folder of .cache/, and installs it there."""
import hashlib
import os
import pathlib
import shutil

from . import packages
from .machine import CACHE, ROOT

SOURCES = ("Makefile", "*.control", "mongo_change_stream--1.0.sql", "schema/*", "src/*.[ch]", "src/*/*.[ch]", "sql/*.sql", "expected/*.out")


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
    make(folder, installation, f"-j{os.cpu_count()}", "all", f"COPT={flags}")
    return folder


def install(folder, installation):
    """Installs what was built into an installation."""
    make(folder, installation, "install")


def make(folder, installation, *arguments):
    """Runs make in a build folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    packages.run(["make", "-s", "-C", folder, f"PG_CONFIG={installation.pg_config}", *arguments], env=environment)


def library(folder):
    """The shared library in a build folder."""
    return pathlib.Path(folder) / "mongo_change_stream.so"
