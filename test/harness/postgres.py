"""A PostgreSQL installation of our own, and throwaway clusters on it."""
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import time

import psycopg
from psycopg import sql as SQL

from . import janitor, machine
from .machine import as_server_user, give_to_server_user, tail, wait_until

# Enough for many streams and handlers at once; no fsync, since nothing here outlives a power cut.
SETTINGS = {
    "shared_preload_libraries": "mongo_change_stream",
    "max_worker_processes": 40,
    "max_connections": 60,
    "fsync": "off",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %b ",
    "log_autovacuum_min_duration": "-1",
    "logging_collector": "off",
}

DEATHS = re.compile(r"was terminated by signal|exited with exit code (?!0\b|1\b)|PANIC: |TRAP: |Sanitizer")


class Installation:
    """The programs and folders that one pg_config names."""

    def __init__(self, pg_config):
        self.pg_config = str(pg_config)
        self.bindir = self.folder("bindir")
        # Debian's /usr/bin/pg_config is a script that asks another; take the one beside the server
        if (self.bindir / "pg_config").exists():
            self.pg_config = str(self.bindir / "pg_config")
        self.version = self._ask("version")
        self.major = int(re.search(r"\d+", self.version).group())

    def _ask(self, what):
        return subprocess.run([self.pg_config, f"--{what}"], capture_output=True, text=True, check=True).stdout.strip()

    def folder(self, what):
        return pathlib.Path(self._ask(what))

    def program(self, name):
        return str(self.bindir / name)

    def private_copy(self, target):
        """Copies the installation, so that ours can be installed into it without touching the machine's.

        PostgreSQL finds its folders by where its programs lie, so a copy with the same
        layout below another root works; what is only read is linked to, but for a tree of
        our own, which may be below root's home, where the server's user cannot follow.
        """
        target = pathlib.Path(target)
        folders = [self.bindir, self.folder("pkglibdir"), self.folder("sharedir"),
                   self.folder("includedir-server"), self.folder("pkgincludedir")]
        common = pathlib.Path(os.path.commonpath(folders))

        def place(path):
            return target / path.relative_to(common)

        place(self.bindir).mkdir(parents=True)
        for program in self.bindir.iterdir():
            shutil.copy(program, place(self.bindir))
        whole = common != pathlib.Path("/usr")
        for folder in folders[1:]:
            link_tree(folder, place(folder), whole)
        # a tree of its own (not Debian's) has libpq below the same root, found by a path relative to the programs
        libdir = self.folder("libdir")
        if common in libdir.parents and whole:
            link_tree(libdir, place(libdir), whole)
        return Installation(place(self.bindir) / "pg_config")


def link_tree(source, target, copy=False):
    """Makes a folder with links to the files of another, or copies of them, so that files can be added and replaced in it."""
    for folder, _, files in os.walk(source):
        here = target / pathlib.Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in files:
            original = pathlib.Path(folder) / name
            if os.path.lexists(here / name) or name.startswith("mongo_change_stream"):
                continue
            if copy:
                shutil.copy(original, here / name, follow_symlinks=False)
            else:
                (here / name).symlink_to(original)


class Cluster:
    """A PostgreSQL server with a data directory in the machine's folder, or a standby of another."""

    def __init__(self, host, installation, name="pg", settings=None, tcp=False, start=True, initdb=(), standby_of=None):
        self.host, self.installation, self.name = host, installation, name
        self.folder = host.new_folder(name)
        give_to_server_user(self.folder)
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.port = machine.free_ports()[0] if tcp else 5432
        self.process = None
        self._left = set()              # shared memory of a postmaster that was killed, until the next one clears it away
        self._seen = 0
        if standby_of:
            self._run([installation.program("pg_basebackup"), "-D", self.data, "-R", "-c", "fast", "--no-sync", "-U", "postgres",
                       "-h", standby_of.folder, "-p", str(standby_of.port)])
        else:
            self._run([installation.program("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                       "--locale=C.UTF-8", "--no-sync", *initdb])
        self.configure(**{**SETTINGS, **(settings or {}), "port": self.port, "unix_socket_directories": self.folder,
                          "listen_addresses": "127.0.0.1" if tcp else ""})
        host.servers.append(self)
        if start:
            self.start()

    def __repr__(self):
        return f"PostgreSQL {self.installation.major} in {self.folder}"

    # ------------------------------------------------------------ the server

    def _environment(self):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**clean, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def _run(self, command):
        done = subprocess.run(as_server_user(command), capture_output=True, text=True, env=self._environment(),
                              cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def configure(self, **settings):
        """Adds to postgresql.conf; takes effect with the next start or reload."""
        with open(self.data / "postgresql.conf", "a") as conf:
            for name, value in settings.items():
                text = str(value).replace("'", "''")
                conf.write(f"{name.replace('__', '.')} = '{text}'\n")

    def start(self, timeout=30):
        """Starts the server and waits until it takes connections."""
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        core = "unlimited" if most == resource.RLIM_INFINITY else most
        command = ["prlimit", f"--core={core}:{core}", self.installation.program("postgres"), "-D", self.data]
        self.process = self.host.start(as_server_user(command),
                                       self.log, env=self._environment())

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{tail(self.log)}")
            try:
                self.connect("postgres").close()
                return True
            except psycopg.OperationalError:
                return False

        wait_until(ready, timeout, "PostgreSQL starts")
        self._left = set()

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, mode="fast", timeout=30):
        """Shuts down (smart, fast or immediate) and returns the seconds it took; one that hangs is an error."""
        if not self.running:
            return 0.0
        begin = time.monotonic()
        self.signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{mode} shutdown took more than {timeout} s:\n{tail(self.log)}") from None
        self.host.gone(self.process)
        return time.monotonic() - begin

    def kill(self, timeout=15):
        """Kills the postmaster with -9 and waits for its children, which have to notice."""
        # stopped first, so that it starts none that would not be waited for
        self.signal(signal.SIGSTOP)
        members = [(pid, janitor.started(pid)) for pid in janitor.family(self.process.pid)]
        self._left = set().union(*(janitor.shared_memory(pid) for pid, _ in members))
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.host.gone(self.process)
        wait_until(lambda: not [pid for pid, since in members if since and janitor.started(pid) == since], timeout,
                   "the children of a killed postmaster end")

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def reload(self):
        self.signal(signal.SIGHUP)

    def discard(self):
        """Stops without waiting for anything."""
        if self.running:
            self.signal(signal.SIGQUIT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                janitor.kill_family(self.process.pid)
                self.process.wait()
            self.host.gone(self.process)
        janitor.remove_shared_memory(self._left)

    # ------------------------------------------------------------ its log

    def log_text(self, since=0):
        """The server's log, from a position on."""
        with open(self.log, "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def log_position(self):
        return self.log.stat().st_size

    def new_deaths(self, keep=False):
        """The log's lines, since the last call, about processes that died as none should, and what is known of why.

        With keep they are new to the next call, too.
        """
        text = self.log_text(self._seen)
        deaths = [line for line in text.splitlines() if DEATHS.search(line)]
        if keep:
            return deaths
        self._seen += len(text.encode())
        if deaths:
            # what a C library says before it aborts has no log_line_prefix
            deaths += [line for line in text.splitlines() if line and not line[0].isdigit() and not line[0].isspace()]
            deaths += self._backtraces()
        return deaths

    def _backtraces(self):
        """Where the dead processes were, if there is a core file and a debugger; removes the core files."""
        said = []
        for core in self.data.glob("core*"):
            if shutil.which("gdb"):
                said.append(subprocess.run(["gdb", "-batch", "-ex", "thread apply all bt 25", self.installation.program("postgres"), core],
                                           capture_output=True, text=True).stdout)
            core.unlink()
        return said

    # ------------------------------------------------------------ clients

    def connect(self, dbname="postgres", user="postgres", autocommit=True, **options):
        return psycopg.connect(host=str(self.folder), port=self.port, dbname=dbname, user=user,
                               autocommit=autocommit, **options)

    def client_environment(self, dbname="postgres"):
        """What makes psql, pg_dump and pg_regress use this server."""
        return {**self._environment(), "PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": "postgres",
                "PGDATABASE": dbname}

    def psql(self, text, dbname="postgres", *options):
        """Runs SQL or backslash commands by psql; returns what it prints, errors raise."""
        done = subprocess.run([self.installation.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-At", *options],
                              input=text, text=True, capture_output=True, env=self.client_environment(dbname))
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def create_database(self, name, extension=True):
        """Makes an empty database, with the extension in it, and returns it."""
        with self.connect() as connection:
            connection.execute(SQL.SQL("CREATE DATABASE {}").format(SQL.Identifier(name)))
        database = Database(self, name)
        if extension:
            database.execute("CREATE EXTENSION mongo_change_stream")
        return database

    def drop_database(self, name):
        with self.connect() as connection:
            connection.execute(SQL.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(SQL.Identifier(name)))

    def drop_roles_but(self, names):
        """Roles that a test has made and left, as far as nothing is theirs any more."""
        with self.connect() as connection:
            for role, in connection.execute("SELECT rolname FROM pg_roles WHERE rolname <> ALL (%s)", [list(names)]).fetchall():
                with contextlib.suppress(psycopg.Error):
                    connection.execute(SQL.SQL("DROP ROLE {}").format(SQL.Identifier(role)))


class Database:
    """One database of a cluster, with a connection that commits each statement."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self._connection = None

    @property
    def connection(self):
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = self.connect()
        return self._connection

    def connect(self, user="postgres", autocommit=True, **options):
        """Another connection."""
        return self.cluster.connect(self.name, user=user, autocommit=autocommit, **options)

    def execute(self, statement, *parameters):
        """Runs one statement; returns its rows, or None where it has none."""
        cursor = self.connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else None

    def row(self, statement, *parameters):
        """The first row, or None."""
        rows = self.execute(statement, *parameters)
        return rows[0] if rows else None

    def value(self, statement, *parameters):
        """The first column of the first row, or None."""
        row = self.row(statement, *parameters)
        return row[0] if row else None

    def column(self, statement, *parameters):
        """The first column of every row."""
        return [row[0] for row in self.execute(statement, *parameters)]

    def wait_for(self, statement, *parameters, expect=True, timeout=30):
        """Polls until the statement's value is `expect`; what it was instead is in the error."""
        last = []

        def there():
            last[:] = [self.value(statement, *parameters)]
            return last[0] == expect

        try:
            wait_until(there, timeout, pause=0.05)
        except TimeoutError:
            raise TimeoutError(f"{statement}: {last[0]!r} and not {expect!r} after {timeout} s") from None

    def create_server(self, uri, mongo_database=None, name="mongo", **options):
        """CREATE SERVER of our foreign data wrapper; MCS_SHARE_CURSOR in the environment is its share_cursor."""
        options = {"uri": uri, "database": mongo_database, "share_cursor": os.environ.get("MCS_SHARE_CURSOR"), **options}
        listed = SQL.SQL(", ").join(SQL.SQL("{} {}").format(SQL.Identifier(key), SQL.Literal(str(value)))
                                    for key, value in options.items() if value is not None)
        self.connection.execute(SQL.SQL("CREATE SERVER {} FOREIGN DATA WRAPPER mongo_change_stream OPTIONS ({})")
                                .format(SQL.Identifier(name), listed))

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None
