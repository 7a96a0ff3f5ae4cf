"""What README, docs and docker/ tell people to type, taken from there and typed in a chroot."""
import contextlib
import re
import time

from harness import packages
from harness.chroot import Chroot, last_line
from harness.machine import ROOT, wait_until


def typed(paragraph):
    """The commands of the first indented block of README behind a paragraph that begins with these words, without their comments."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"\n\n((?:    .*\n)+)", text[text.index(f"\n{paragraph}"):]).group(1)
    return [re.sub(r"\s+# .*", "", line).strip() for line in block.splitlines()]


def in_chroot(command):
    """The same where there is no systemd."""
    return command.replace("systemctl restart postgresql", "service postgresql restart")


def after_purge(major):
    """What docs/operations.md says to type where the package went before its name went out of the settings."""
    text = (ROOT / "docs/operations.md").read_text()
    block = re.search(r"```sh\n(sed .*?)```", text[text.index("### Uninstalling"):], re.S).group(1)
    return block.replace("/15/", f"/{major}/").strip().splitlines()


def sql_blocks(text):
    return re.findall(r"^```sql\n(.*?)^```$", text, re.M | re.S)


def readme(machine, report, mongo, suite, major):
    """README's "Install on a PostgreSQL that you have", typed on a bare Debian, up to the first event and the page's first SQL."""
    report.about(f"README, typed on a bare Debian {suite}")
    with contextlib.ExitStack() as ends:
        with report.step("a bare Debian"):
            inside = Chroot(machine, suite, "readme")
            ends.callback(inside.discard)
        inside.configure_clusters(listen_addresses="''")        # the machine's ports are not for it
        inside.give_clone("root/mongo_change_stream")
        commands = [command.replace("postgresql-15", f"postgresql-{major}").replace("server-dev-15", f"server-dev-{major}")
                    for command in typed("PostgreSQL 15 or later")]
        assert commands[-1] == 'su postgres -c "psql -d mydb"'
        for number, command in enumerate(commands[:-1]):
            with report.step(f"# {command}"):
                inside.run(in_chroot(command), last_line, folder="/root/mongo_change_stream")
            if number == 0:
                begin = time.monotonic()
                inside.run("service postgresql status || service postgresql start")      # no init has done it here
        page = (ROOT / "README.md").read_text()
        first, queries = sql_blocks(page)[:2]
        follow, events, state = sql_blocks(page[page.index("\n## A first stream"):])[:3]
        mongo.client.drop_database("shop")
        mongo.client.shop.orders.insert_many([{"_id": number, "customer": {"name": "Ada"}, "total": number, "status": "placed"} for number in range(100)])
        uri = re.search(r"uri '(.*?)'", first).group(1)

        def psql(sql):
            return packages.run(inside.command("su", "postgres", "-c", 'psql -v ON_ERROR_STOP=1 -d mydb -c "$1"', "sh", sql, folder="/"))

        with report.step("the SQL from README's top up to the first event"):
            for statement in re.split(r"(?<=;)\n+", first.replace(uri, mongo.uri) + follow):
                if statement.strip():
                    psql(statement)
            mongo.client.shop.orders.update_one({"_id": 7}, {"$set": {"status": "paid"}})
            wait_until(lambda: re.search(r"1 \| update +\| 7 +\| paid", psql(events)), 30, "the first event")
        packages.say(f"  from the packages to the first event {time.monotonic() - begin:.0f} s; most of it is compiling")
        with report.step("README's queries of the mirror and the status"):
            for statement in re.split(r"(?<=;).*\n+", queries + state):
                if statement.strip():
                    psql(statement)
