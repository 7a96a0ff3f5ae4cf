"""What a compiler does not check: names, folders, sizes, and untidy lines.

Prints each place as FILE:LINE: WHAT and ends with 1 where there is one.
"""
import hashlib
import pathlib
import re
import subprocess
import sys

from harness import Installation, build, packages
from harness.build import library
from harness.machine import ROOT

# A folder of src/, and the folders whose header it may include beside its own.
LAYERS = {
    "base": [],
    "document": ["base"],
    "mongo": ["base", "document"],
    "event": ["base", "document", "mongo"],
    "match": ["base", "document", "event"],
    "shared": ["base"],
    "tables": ["base", "document", "mongo", "event", "shared"],
    "fdw": ["base", "document", "mongo", "event", "match", "tables"],
    "stream": ["base", "document", "mongo", "event", "match", "shared", "tables"],
    "mirror": ["base", "document", "mongo", "event", "shared", "tables", "stream"],
    "worker": ["base", "document", "mongo", "event", "shared", "tables", "stream", "mirror"],
    "handler": ["base", "document", "mongo", "event", "shared", "tables", "stream", "worker"],
    "projection": ["base", "shared", "tables", "stream", "worker"],
    "dialect": ["base", "document", "mongo", "event", "tables"],
    "gateway": ["shared"],
}

# Headers of others, and the folders that may see them.
WALLS = [
    (re.compile(r"mongoc(/|-|\.h)"), {"mongo"}, "mongoc.h belongs behind the wall of the folder mongo"),
    (re.compile(r"bson(/|-|\.h)"), {"mongo"}, "bson.h belongs behind the wall of the folder mongo"),
    (re.compile(r"pthread\.h|threads\.h"), {"mongo"}, "threads are for the folder mongo"),
]

# Scripts of released versions, which are not changed, by their SHA-256.
FROZEN = {"mongo_change_stream--1.0.sql": "00eb358c150a8cf62137dd0d503a882073a7d5affd8a018667c8366591f4f6c9"}

# How a file begins that runs in a thread of MongoDB's driver, or in the gateway's process, where nothing of PostgreSQL may be called.
THREAD = "#define MCS_DRIVER_THREAD"
THREAD_HEADER = '#include "mongo/mongo_internal.h"'
PROCESS = "#define MCS_GATEWAY_PROCESS"

CATALOG = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|ONLY|TABLE)\s+(%s\.|\w+\.)?\"?change_(streams|stream_\w+|handlers?\w*)\b")
BELOW_RIGHTS = re.compile(r"\b(SetUserIdAndSecContext|mcs_owner_begin|table_tuple_insert|ExecSimpleRelation\w+|simple_table_\w+|CatalogTuple\w+"
                          r"|ProcedureCreate|GetUserMapping|BackgroundWorkerInitializeConnection\w*)\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

FILE_LINES = 1000
FUNCTION_LINES = 110

found = []


def complain(path, line, what):
    found.append(f"{path.relative_to(ROOT)}:{line}: {what}")


def folder_of(path):
    """The folder of src/ that a file is in; None for the module's own two files."""
    return None if path.parent == ROOT / "src" else path.parent.name


def check_includes(path, lines):
    """Own headers and the public ones of lower folders; other people's headers behind their walls."""
    own = folder_of(path)
    if own is not None and own not in LAYERS:
        complain(path, 1, f"is in none of the folders {', '.join(LAYERS)}")
        return
    if path.suffix == ".h" and path.name not in ("mongo_change_stream.h", f"{own}.h", f"{own}_internal.h"):
        complain(path, 1, f"a folder has one public header, {own}.h, and one of its own, {own}_internal.h")
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        if not match:
            continue
        header = match.group(1)
        if (ROOT / "src" / header).is_file():
            folder = header.rpartition("/")[0]
            if folder and own is not None and folder != own and folder not in LAYERS[own]:
                complain(path, number, f"the folder {own} does not include {header}")
            if folder and folder != own and header.endswith("_internal.h"):
                complain(path, number, f"{header} is for the files of its folder only")
        else:
            for what, where, why in WALLS:
                if what.match(header) and own not in where:
                    complain(path, number, why)


def check_thread_includes(path, lines):
    """Threads are for files of the driver's thread; these include the header last that makes the compiler refuse PostgreSQL."""
    includes = [line for line in lines if re.match(r"\s*#\s*include\b", line)]
    if THREAD in lines and lines[lines.index(THREAD) + 1:][:1] + includes[-1:] != [THREAD_HEADER, THREAD_HEADER]:
        complain(path, lines.index(THREAD) + 1, f"{THREAD_HEADER} follows at once, as the last that is included")
    if THREAD not in lines and any(re.search(r"<(pthread|threads)\.h>", line) for line in includes):
        complain(path, 1, f"threads are for files that say {THREAD}")


def check_catalog(path, text):
    """SQL on the extension's tables stands in the folder tables only."""
    if folder_of(path) == "tables":
        return
    code = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment.group().count("\n"), text, flags=re.S)
    for string in re.finditer(r'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*', code):
        if CATALOG.search(re.sub(r'"\s*"', "", string.group())):
            complain(path, code.count("\n", 0, string.start()) + 1, "SQL on the extension's tables belongs into the folder tables")


def check_sizes(path, lines):
    """Files and functions that can still be held in one's head."""
    if len(lines) > FILE_LINES:
        complain(path, len(lines), f"longer than {FILE_LINES} lines")
    begin = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            begin = number
        elif line.startswith("}") and begin is not None:
            if number - begin > FUNCTION_LINES:
                complain(path, begin, f"a function of {number - begin} lines; {FUNCTION_LINES} are the limit")
            begin = None


def check_tidy(path, lines):
    """No blanks at line ends, no marks of unfinished work, tabs where C is indented."""
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            complain(path, number, "blanks at the end of the line")
        if UNFINISHED.search(line) and path.name != pathlib.Path(__file__).name:
            complain(path, number, "a mark of unfinished work")
        if path.suffix in (".c", ".h") and re.match(r" {4}", line):
            complain(path, number, "indented by blanks, not tabs")
    if lines and not lines[-1].strip():
        complain(path, len(lines), "an empty line at the end of the file")


def object_files(folder):
    """The source of each object file of a build, and its symbols: what it defines and what it uses."""
    made = sorted([*(folder / "src").glob("*.o"), *(folder / "src").glob("*/*.o")])
    symbols = {path: (set(), set()) for path in made}
    listed = subprocess.run(["nm", "-A", "-g", *made], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        path, _, symbol = line.partition(":")
        kind, name = symbol.split()[-2:]
        symbols[pathlib.Path(path)][kind == "U"].add(name)
    for path, (defined, used) in symbols.items():
        yield ROOT / path.relative_to(folder).with_suffix(".c"), defined, used


def check_names(objects):
    """A symbol begins with mcs_ and its folder's or its file's name, by which it is found; SQL's functions have SQL's names."""
    stems = [path.stem for path, _, _ in objects]
    for path, defined, _ in objects:
        own = folder_of(path)
        words = {own} | ({path.stem} if stems.count(path.stem) == 1 and path.stem not in LAYERS else set())
        sql = {name[len("pg_finfo_"):] for name in defined if name.startswith("pg_finfo_")}
        for name in sorted(defined - sql):
            if name.startswith("pg_finfo_mcs_") or own is None and name in ("_PG_init", "Pg_magic_func"):
                continue
            if not any(re.match(rf"mcs_{word}(_|$)", name) for word in words):
                complain(path, 1, f"{name} does not begin with mcs_ and {' or '.join(sorted(filter(None, words)))}")
        for name in sorted(sql):
            if not name.startswith("mcs_"):
                complain(path, 1, f"{name} does not begin with mcs_")


def check_uses(objects):
    """Folders use lower folders only, however it was declared; files of one folder do not use each other in a circle."""
    home = {name: path for path, defined, _ in objects for name in defined}
    uses = {}
    for path, _, used in objects:
        uses[path] = sorted({home[name] for name in used if name in home} - {path})
        own = folder_of(path)
        for other in {folder_of(target) for target in uses[path]}:
            if own is not None and other != own and other not in LAYERS[own]:
                complain(path, 1, f"the folder {own} uses a function of {other}")
    for circle in circles(uses):
        found.append("a circle of files: " + " -> ".join(str(path.relative_to(ROOT / "src")) for path in circle))


def check_thread_uses(objects, postgres):
    """What runs in the driver's thread, or in the gateway's process, uses nothing of PostgreSQL, by whatever macro, and of ours only what runs there, too."""
    listed = subprocess.run(["nm", "-D", "--defined-only", postgres], capture_output=True, text=True, check=True).stdout
    server = {line.split()[-1].partition("@")[0] for line in listed.splitlines()}
    home = {name: path for path, defined, _ in objects for name in defined}
    for mark, where in ((THREAD, "in the driver's thread"), (PROCESS, "in the gateway's process")):
        inside = {path for path, _, _ in objects if mark in path.read_text().split("\n")}
        for path, _, used in objects:
            if path in inside:
                for name in sorted(used):
                    if name in server and name not in home:
                        complain(path, 1, f"{name} is PostgreSQL's, and this runs {where}")
                    elif name in home and home[name] not in inside:
                        complain(path, 1, f"{name} does not run {where}, and this does")


def circles(uses):
    """The sets of files that reach each other, each shown as one way around."""
    def way(start, goal):
        seen, ways = {start}, [[start]]
        for path in ways:
            for target in uses[path[-1]]:
                if target == goal:
                    return [*path, goal]
                if target not in seen:
                    seen.add(target)
                    ways.append([*path, target])
        return None

    told = set()
    for path in uses:
        around = None if path in told else way(path, path)
        if around:
            told.update(around)
            yield around


def check_frozen():
    """Scripts of released versions are as they were released."""
    for name, hash in FROZEN.items():
        if hashlib.sha256((ROOT / name).read_bytes()).hexdigest() != hash:
            complain(ROOT / name, 1, "was released and is not changed: write an upgrade step")


def check_pages():
    """The pages name files, folders and functions that there are; CONTRIBUTING.md says of the folders what LAYERS does;
    docs/security.md misses no file that works below the rights."""
    sources = "\n".join(path.read_text() for path in [*(ROOT / "src").rglob("*.[ch]"), *(ROOT / "schema").glob("*.sql")])
    contributing = ROOT / "CONTRIBUTING.md"
    rows = re.findall(r"^\| `(\w+)` \| [^|]*\|([^|]*)\|$", contributing.read_text(), re.M)
    if [(name, used.split(", ") if used else []) for name, used in ((name, used.strip()) for name, used in rows)] != list(LAYERS.items()):
        complain(contributing, 1, "its table of folders is not LAYERS of test/check_style.py")
    security = ROOT / "docs" / "security.md"
    for page in (contributing, security):
        for number, line in enumerate(page.read_text().split("\n"), 1):
            for code in re.findall(r"`([^`]+)`", line):
                if re.fullmatch(r"[\w*-]+\.c|[\w*-]+/[\w*/.-]*", code) and not any([*(ROOT / "src").glob(code), *ROOT.glob(code)]):
                    complain(page, number, f"there is no {code}")
                word = re.fullmatch(r"(mcs_\w+|\w+_LIST|\w+\(\))", code)
                if word and not re.search(rf"\b{word.group().rstrip('()')}\b", sources):
                    complain(page, number, f"nothing is named {code}")
    listed = {path for code in re.findall(r"`([\w*]+/[\w*]+\.c)`", security.read_text()) for path in (ROOT / "src").glob(code)}
    for path in sorted(set((ROOT / "src").rglob("*.c")) - listed):
        match = BELOW_RIGHTS.search(path.read_text())
        if match:
            complain(path, 1, f"calls {match.group(1)}, and docs/security.md does not say why it may")


def check_library(folder):
    """Nothing of ours is used that does not exist; PostgreSQL would notice when it loads the library."""
    listed = subprocess.run(["nm", "-u", library(folder)], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        name = line.split()[-1]
        if name.startswith("mcs_"):
            found.append(f"{library(folder).name}: {name} is used and nowhere defined")


def text_files():
    """The repository's files that people write."""
    inside = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, text=True)
    if inside.returncode == 0:
        names = inside.stdout.splitlines()
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".cache" not in path.parts and path.is_file()]
    wanted = (".c", ".h", ".sql", ".py", ".sh", ".md", ".json", ".control", ".ini", ".txt", ".yaml", ".js")
    for name in names:
        path = ROOT / name
        if (path.suffix in wanted or path.name in ("Makefile", "run", "Dockerfile", "rules", "control.in")) and path.is_file() and "expected" not in path.parts:
            yield path


def check(folder):
    """Checks the sources, and the objects in a build folder; returns the complaints."""
    found.clear()
    for path in text_files():
        text = path.read_text()
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        check_tidy(path, lines)
        if ROOT / "src" in path.parents:
            check_includes(path, lines)
            check_thread_includes(path, lines)
            check_sizes(path, lines)
            if path.suffix == ".c":
                check_catalog(path, text)
    objects = list(object_files(pathlib.Path(folder)))
    check_names(objects)
    check_uses(objects)
    check_thread_uses(objects, Installation(packages.pg_config()).program("postgres"))
    check_frozen()
    check_pages()
    check_library(folder)
    return list(found)


if __name__ == "__main__":
    complaints = check(build(Installation(packages.pg_config())))
    print("\n".join(complaints) or "style: nothing to complain about")
    sys.exit(bool(complaints))
