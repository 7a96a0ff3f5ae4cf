"""Builds, checks and tests the extension; the last line says how many tests passed and failed.

run.py          on one PostgreSQL: PG_CONFIG's, else the machine's, which is installed where there is none
run.py --all    then on the other supported versions, too, where it is compiled without a warning,
                put through the SQL tests, and follows one change stream from end to end; and the
                monitoring by Prometheus, the demo, and some seconds of the fuzzers
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import check_names
import check_style
from harness import Cluster, Installation, Machine, build, install, packages
from harness.machine import ROOT, exit_on_signals

RESULT = re.compile(r"^\s*(?:test )?(not ok|ok|FAILED)\b|^(?:test |\s+)\S.*\.\.\. (ok|FAILED)\b")

# so many failures are no matter of load
AGAIN_AT_MOST = 8


# what is shown for streams that share a cursor, and again for those that do not
EXACTLY_ONCE = [f"test/test_{name}.py" for name in ("exactly_once", "handler_exactly_once", "mirror_exact", "whole_transactions")]


class Count:
    """Tests that passed, failed and were skipped, and which failed."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def fail(self, name):
        self.failed += 1
        self.failures.append(name)


def heading(text):
    print(f"\n== {text}", flush=True)


def style(folder, count):
    heading("Style")
    complaints = check_style.check(folder)
    print("\n".join(complaints) or "nothing to complain about", flush=True)
    if complaints:
        count.fail("check-style")
    else:
        count.passed += 1


def names(folder, count):
    heading("Names in the scripts")
    if sys.version_info < (3, 10):
        print("pgspot needs Python 3.10: not looked at", flush=True)
        return
    complaints = check_names.check(folder)
    print("\n".join(complaints) or "nothing to complain about", flush=True)
    if complaints:
        count.fail("check-names")
    else:
        count.passed += 1


def regression(machine, installation, folder, count):
    """The SQL tests of sql/ by pg_regress, on a cluster that has the library preloaded."""
    heading(f"SQL tests, {installation.version}")
    cluster = Cluster(machine, installation, name=f"regress{installation.major}",
                      settings={"statement_timeout": "2min"})
    output = machine.folder / f"regress{installation.major}.output"
    output.mkdir()
    process = subprocess.Popen(["make", "-s", "-C", folder, "installcheck", f"PG_CONFIG={installation.pg_config}",
                                f"EXTRA_REGRESS_OPTS=--outputdir={output}"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**cluster.client_environment(), "MAKEFLAGS": ""})
    failures, printed = 0, []
    for line in process.stdout:
        printed.append(line)
        result = RESULT.match(line)
        if result:
            name = re.sub(r"^.*?(\w+)\s+(\.\.\. |\d+ ms).*$", r"\1", line.strip())
            if (result.group(1) or result.group(2)) == "ok":
                count.passed += 1
            else:
                failures += 1
                count.fail(f"{name} (PostgreSQL {installation.major})")
        if result or "rror" in line:
            print(f"   {line.rstrip()}", flush=True)
    process.wait()
    if process.returncode:
        differences = output / "regression.diffs"
        if differences.exists():
            print(differences.read_text(errors="replace")[:20000])
        if not failures:
            print("".join(printed[-20:]), cluster.log_text()[-3000:])
            count.fail(f"pg_regress (PostgreSQL {installation.major})")
    deaths = cluster.new_deaths()
    if deaths:
        print("\n".join(deaths))
        count.fail(f"a server process died in the SQL tests (PostgreSQL {installation.major})")
    cluster.discard()


def pytest(machine, installation, *arguments, **environment):
    """Runs pytest; returns its exit code, how many passed and were skipped, and the failed tests, all None without a report."""
    report = machine.folder / f"report{installation.major}.xml"
    report.unlink(missing_ok=True)
    code = subprocess.call([sys.executable, "-m", "pytest", "-q", "--durations=5", f"--junitxml={report}", *arguments],
                           cwd=ROOT, stdin=subprocess.DEVNULL,
                           env={**os.environ, "MCS_TEST_PG_CONFIG": installation.pg_config, **environment})
    if not report.exists():
        return code, None, None, None
    passed = skipped = 0
    failed = []
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return code, passed, skipped, failed


def live(machine, installation, count, *arguments, heads="Live tests", **environment):
    """The tests of test/ by pytest, with servers of their own.

    A few that fail side by side with others run again by themselves: there, a failure is none of a loaded machine's.
    """
    heading(f"{heads}, {installation.version}")
    code, passed, skipped, failed = pytest(machine, installation, *arguments, **environment)
    if passed is None:
        count.fail(f"pytest ended with {code} and no report (PostgreSQL {installation.major})")
        return
    count.passed += passed
    count.skipped += skipped
    if code not in (0, 1) or (code and not failed):
        count.fail(f"pytest ended with {code} (PostgreSQL {installation.major})")
    if failed and len(failed) <= AGAIN_AT_MOST and "-n" in arguments:
        heading("Again, alone: " + ", ".join(failed))
        again, passed, _, still = pytest(machine, installation, *failed, **environment)
        if passed is not None and again in (0, 1) and passed + len(still) == len(failed):
            count.passed += passed
            for name in failed:
                if name not in still:
                    print(f"passed only alone: {name}", flush=True)
            failed = still
    for name in failed:
        count.fail(f"{name} (PostgreSQL {installation.major})")


def in_parallel():
    """pytest's options for a process a core, each with servers of its own; most tests wait more than they work."""
    return ["-n", str(min(os.cpu_count(), 4)), "--dist", "loadfile"]


def one_version(machine, pg_config, count, everything):
    """Builds for one PostgreSQL, installs into a copy of it, and tests there."""
    original = Installation(pg_config)
    heading(f"Building for {original.version} ({original.bindir})")
    installation = original.private_copy(machine.folder / f"postgresql{original.major}")
    stage = "build"
    try:
        folder = build(original, warnings_are_errors=not everything or bool(os.environ.get("CI")))
        install(folder, installation)
        if everything:
            stage = "check-style"
            style(folder, count)
            stage = "check-names"
            names(folder, count)
        stage = "SQL tests"
        regression(machine, installation, folder, count)
    except (Exception, SystemExit) as problem:
        print(problem, flush=True)
        count.fail(f"{stage} (PostgreSQL {original.major})")
        if stage == "build":
            return
    live(machine, installation, count, *(in_parallel() if everything else ["test/test_smoke.py"]))
    if everything and "MCS_SHARE_CURSOR" not in os.environ:
        live(machine, installation, count, *EXACTLY_ONCE, *in_parallel(), heads="Exactly once, each stream by itself", MCS_SHARE_CURSOR="false")


def marked(machine, pg_config, count, mark, chosen):
    """The tests with a mark, which `make test` leaves out, or those chosen of them; one after the other, as they measure times."""
    original = Installation(pg_config)
    installation = original.private_copy(machine.folder / f"postgresql{original.major}-{mark}")
    install(build(original), installation)
    live(machine, installation, count, "-m", mark, *chosen)


def program(count, name, *command):
    """A program of ours that checks what it does."""
    heading(name)
    if subprocess.call([sys.executable, *command], cwd=ROOT, stdin=subprocess.DEVNULL):
        count.fail(name.lower())
    else:
        count.passed += 1


def everything(machine, first, count, every):
    """What make test runs, and what make test-all adds."""
    one_version(machine, first, count, everything=True)
    if every:
        marked(machine, first, count, "extras", ["test/test_monitoring.py"])
        program(count, "Demo", "demo/demo.py")
        program(count, "Fuzzer", "test/fuzz_document.py", "60")
        program(count, "Fuzzer of the dialect", "test/fuzz_dialect.py", "60")
        program(count, "Fuzzer of MongoDB's replies", "test/fuzz_wire.py", "60")
        program(count, "Fuzzer of functions", "test/fuzz_functions.py", "60")
    others = [major for major in packages.POSTGRESQL if major != Installation(first).major] if every else []
    for major in others:
        one_version(machine, packages.other_postgresql(major), count, everything=False)
        shutil.rmtree(machine.folder / f"postgresql{major}", ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="on every supported version of PostgreSQL")
    parser.add_argument("--faults", nargs="*", metavar="TEST", help="the slow tests of faults instead, or some of them")
    parser.add_argument("--extras", nargs="+", metavar="TEST", help="tests that want packages of their own instead")
    arguments = parser.parse_args()
    every = arguments.all
    exit_on_signals()
    begin = time.monotonic()
    count = Count()
    first = packages.pg_config()
    packages.mongod()
    with Machine() as machine:
        if arguments.faults is not None:
            marked(machine, first, count, "faults", arguments.faults)
        elif arguments.extras:
            marked(machine, first, count, "extras", arguments.extras)
        else:
            everything(machine, first, count, every)
    print(f"\nDone in {time.monotonic() - begin:.0f} s.")
    for name in count.failures:
        print(f"FAILED {name}")
    skipped = f", {count.skipped} skipped" if count.skipped else ""
    print(f"{count.passed} passed, {count.failed} failed{skipped}", flush=True)
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
