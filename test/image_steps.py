"""docker/Dockerfile and docker/compose.yaml without Docker: their steps, one by one, in chroots that stand in for the images.

What stands in for the official image of PostgreSQL is a bare Debian of the same release with Debian's own packages of the same
major version; that image has those of apt.postgresql.org, a user postgres with another number, and an entrypoint, whose work on
an empty volume is done by hand here.  For MongoDB's image stands PyPI's mongod with npm's mongosh.  Chroots have no limits of
memory, nor the 64 MB of /dev/shm that containers have.
"""
import contextlib
import json
import re
import shlex
import shutil
import subprocess
import time

from harness import packages
from harness.chroot import Chroot, last_line
from harness.machine import CACHE, ROOT, tail, wait_until

DOCKER = ROOT / "docker"


def stages():
    """The image of the Dockerfile's first FROM, and of each stage its instructions, words behind a keyword."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    lines = [line.partition(" ")[::2] for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines[0][0] == "ARG" and lines[1][0] == "FROM"
    found = []
    for keyword, rest in lines[1:]:
        if keyword == "FROM":
            found.append([])
        else:
            found[-1].append((keyword, rest))
    return lines[0][1].partition("=")[2], found


class Image:
    """A stand-in for the image of PostgreSQL, on which instructions are carried out."""

    def __init__(self, machine, suite, major, name):
        self.inside = Chroot(machine, suite, name)
        self.settings = f"export PG_MAJOR={major} PATH=$PATH:/usr/lib/postgresql/{major}/bin\n"
        self.command = None
        self.inside.configure_clusters(create_main_cluster="false")
        self.inside.run(f"apt-get install --no-install-recommends postgresql-{major}", last_line)

    def run(self, script, **where):
        return self.inside.run(self.settings + script, last_line, **where)

    def carry_out(self, keyword, rest, others):
        """One instruction; others: the stages that COPY may take from."""
        if keyword == "RUN":
            self.run(rest, folder="/")
        elif keyword == "CMD":
            self.command = json.loads(rest)
        else:
            assert keyword == "COPY", keyword
            *options, target = rest.split()
            source = others[options.pop(0).partition("=")[2]].inside.folder if options[0].startswith("--from=") else ROOT
            for name in options:
                self.copy(source / name.lstrip("/"), self.inside.folder / target.lstrip("/"), target.endswith("/"))

    @staticmethod
    def copy(source, target, into):
        """As COPY does: of a folder what it holds, without following links."""
        if source.is_dir():
            packages.run(["cp", "-a", "--no-preserve=ownership", f"{source}/.", target] if target.exists() else ["cp", "-a", "--no-preserve=ownership", source, target])
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if into:
                target.mkdir(exist_ok=True)
            shutil.copy(source, target)


def services(inside):
    """What compose makes of compose.yaml."""
    inside.give_clone("compose")
    inside.run("apt-get install --no-install-recommends docker-compose", last_line)
    return json.loads(inside.run("docker-compose -f docker/compose.yaml config --format json", folder="/compose"))["services"]


def image(machine, report):
    """Builds the image, and starts what the tour starts."""
    base, (first, second) = stages()
    major, suite = base.split("-")
    report.about(f"docker/, on a Debian {suite} in place of the image postgres:{base}")
    with contextlib.ExitStack() as ends:
        images = {}
        for name, instructions in (("build", first), (None, second)):
            with report.step(f"FROM postgres:{base} (a stand-in)"):
                images[name] = Image(machine, suite, major, f"image-{name or 'last'}")
                ends.callback(images[name].inside.discard)
            for keyword, rest in instructions:
                with report.step(f"{keyword} {rest}"):
                    images[name].carry_out(keyword, rest, images)
        last = images[None]
        with report.step("the library finds what it is linked with, and no compiler has come"):
            assert "not found" not in last.run(f"ldd $(pg_config --pkglibdir 2>/dev/null || echo /usr/lib/postgresql/{major}/lib)/mongo_change_stream.so")
            assert not last.run("command -v gcc make || true").strip()
        with report.step("docker compose config"):
            tour = services(images["build"].inside)
            assert set(tour) == {"mongo", "shop", "postgres"}
        start_tour(machine, report, images["build"].inside, last, tour)


def start_tour(machine, report, other, last, tour):
    """MongoDB and the shop in one chroot, PostgreSQL in the other, in a network of their own."""
    mongod = CACHE / "mongod"
    with report.step("MongoDB, its shell and the shop, as compose.yaml starts them"):
        if not mongod.exists():
            packages.fetch_mongod()
        mongosh = packages.mongosh()
        other.run("apt-get install --no-install-recommends nodejs libcurl4", last_line)
        shutil.copytree(mongod.resolve(), other.folder / "opt/mongod")
        shutil.copytree(mongosh.resolve(), other.folder / "opt/mongosh", symlinks=True)
        (other.folder / "usr/local/bin/mongod").write_text("#!/bin/sh\nexport LD_LIBRARY_PATH=$(echo /opt/mongod/libssl1.1/usr/lib/*/)\nexec /opt/mongod/mongod.bin \"$@\"\n")
        (other.folder / "usr/local/bin/mongod").chmod(0o755)
        (other.folder / "usr/local/bin/mongosh").symlink_to("/opt/mongosh/node_modules/.bin/mongosh")
        network = other.alone()
        for inside in (other, last.inside):
            inside.network = network
            (inside.folder / "etc/hosts").write_text("127.0.0.1 localhost mongo postgres\n")
        (other.folder / "data/db").mkdir(parents=True)
        log = machine.folder / "tour-mongod.log"
        machine.start(list(map(str, other.command("mongod", *tour["mongo"]["command"]))), log)
        check = tour["mongo"]["healthcheck"]
        assert check["test"][0] == "CMD"
        for _ in range(check["retries"]):
            if not subprocess.run(list(map(str, other.command(*check["test"][1:]))), capture_output=True).returncode:
                break
            time.sleep(2)
        else:
            raise RuntimeError(f"mongo is not healthy: {tail(log)}")
        shutil.copy(DOCKER / "shop.js", other.folder)
        machine.start(list(map(str, other.command(*tour["shop"]["command"]))), machine.folder / "tour-shop.log")
    with report.step("PostgreSQL's first start: initdb, a server on a socket only, and shop.sql"):
        database = tour["postgres"]["environment"]["POSTGRES_DB"]
        assert tour["postgres"]["environment"]["POSTGRES_HOST_AUTH_METHOD"] == "trust"
        last.run("mkdir -p /var/lib/postgresql/data && chown postgres: /var/lib/postgresql/data /var/run/postgresql")
        as_postgres = {"user": "postgres", "folder": "/"}
        last.run("initdb -D /var/lib/postgresql/data --username=postgres -A trust && echo 'host all all all trust' >> /var/lib/postgresql/data/pg_hba.conf"
                 " && echo \"listen_addresses = '*'\" >> /var/lib/postgresql/data/postgresql.conf", **as_postgres)
        assert last.command[0] == "postgres"
        arguments = " ".join(map(shlex.quote, last.command[1:]))
        last.run(f"pg_ctl -D /var/lib/postgresql/data -l /tmp/first.log -o {shlex.quote(arguments + ' -c listen_addresses=')} -w start", **as_postgres)
        last.run(f"psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -c 'CREATE DATABASE {database}'", **as_postgres)
        assert tour["postgres"]["volumes"][0]["target"] == "/docker-entrypoint-initdb.d/shop.sql"
        shutil.copy(DOCKER / "shop.sql", last.inside.folder / "tmp")
        last.run(f"psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -d {database} -f /tmp/shop.sql", **as_postgres)
        last.run("pg_ctl -D /var/lib/postgresql/data -m fast -w stop", **as_postgres)
    with report.step("PostgreSQL, and what compose.yaml says to ask it"):
        machine.start(list(map(str, last.inside.command(f"/usr/lib/postgresql/{last.inside.run('ls /usr/lib/postgresql').strip()}/bin/{last.command[0]}",
                                                        *last.command[1:], "-D", "/var/lib/postgresql/data", **as_postgres))), machine.folder / "tour-postgres.log")

        def ask(sql):
            done = subprocess.run(list(map(str, last.inside.command("psql", "-XAt", "-U", "postgres", "-h", "postgres", "-p", str(tour["postgres"]["ports"][0]["target"]), database, "-c", sql))),
                                  capture_output=True, text=True)
            return done.stdout.strip()

        asked = re.search(r"exec postgres (psql -U postgres .*)", (DOCKER / "compose.yaml").read_text()).group(1)
        wait_until(lambda: int(ask("SELECT count(*) FROM change_stream_events") or 0) > 20 and int(ask("SELECT count(*) FROM revenue") or 0) > 0, 60, "events and revenue")
        packages.say("  " + last.run(f"{asked.replace('psql ', 'psql -h postgres ')}").replace("\n", "\n  "))
        packages.say("  " + ask("SELECT stream_name, state, reason FROM change_stream_status ORDER BY 1").replace("\n", "\n  "))
        packages.say("  " + ask("SELECT operation_type, count(*) FROM change_stream_events GROUP BY 1 ORDER BY 1").replace("\n", "\n  "))
        assert ask("SELECT bool_and(state = 'active') FROM change_stream_status") == "t"
        assert ask("SELECT count(*) FROM check_change_mirror('orders')") == "0"
        assert int(ask("SELECT count(*) FROM orders WHERE status = 'paid'")) > 0
