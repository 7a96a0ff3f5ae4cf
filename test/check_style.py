"""What a compiler does not check: names, layers, sizes, and untidy lines.

Prints each place as FILE:LINE: WHAT and ends with 1 where there is one.
"""
import pathlib
import re
import subprocess
import sys

from harness import Installation, build, packages
from harness.build import library
from harness.machine import ROOT

# A family of files, and the families whose headers it may include beside its own.
LAYERS = {
    "document": [],
    "match": ["document", "event"],
    "mongo": ["document"],
    "event": ["document", "mongo"],
    "fdw": ["document", "match", "mongo", "event"],
    "stream": ["document", "match", "mongo", "event"],
    "handler": ["document", "match", "mongo", "event", "stream"],
    "dialect": ["document"],
}

# Headers of others, and the files that may see them.
WALLS = [
    (re.compile(r"mongoc(/|-|\.h)"), re.compile(r"mongo_(?!change_stream)\w+\.[ch]$"), "mongoc.h belongs behind the wall of the mongo family"),
    (re.compile(r"bson(/|-|\.h)"), re.compile(r"(document|mongo)_(?!change_stream)\w+\.[ch]$|(match|event)(_\w+)?\.c$"),
     "bson.h is for the families document, mongo, match and event"),
    (re.compile(r"pthread\.h|threads\.h"), re.compile(r"mongo_(?!change_stream)\w+\.[ch]$"), "threads are for the mongo family"),
]

CATALOG = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|ONLY|TABLE)\s+(%s\.|\w+\.)?\"?change_(streams|stream_\w+|handlers?\w*)\b", re.I)
SYMBOL = re.compile(r"^(mcs_\w+|_PG_init|Pg_magic_func|pg_finfo_mcs_\w+)$")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

FILE_LINES = 1000
FUNCTION_LINES = 110

found = []


def complain(path, line, what):
    found.append(f"{path.relative_to(ROOT)}:{line}: {what}")


def family(name):
    """The family a file of src/ belongs to; None for the module's own two files."""
    stem = name.rsplit(".", 1)[0]
    return None if stem == "mongo_change_stream" else stem.split("_")[0]


def check_includes(path, lines):
    """Own family's header and lower families' only; other people's headers behind their walls."""
    own = family(path.name)
    if own is not None and own not in LAYERS:
        complain(path, 1, f"belongs to no family ({', '.join(LAYERS)})")
        return
    allowed = None if own is None else {own, *LAYERS[own]}
    ours = {header.name for header in (ROOT / "src").glob("*.h")}
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        if not match:
            continue
        header = match.group(1)
        if header in ours and allowed is not None and family(header) is not None and family(header) not in allowed:
            complain(path, number, f"the family {own} does not include {header}")
        if header not in ours:
            for what, where, why in WALLS:
                if what.match(header) and not where.match(path.name):
                    complain(path, number, why)


def check_catalog(path, text):
    """SQL on the extension's tables stands in stream_catalog*.c and handler_catalog.c only."""
    if path.name.startswith(("stream_catalog", "handler_catalog")):
        return
    code = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment.group().count("\n"), text, flags=re.S)
    for string in re.finditer(r'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*', code):
        if CATALOG.search(re.sub(r'"\s*"', "", string.group())):
            complain(path, code.count("\n", 0, string.start()) + 1, "SQL on the extension's tables belongs into stream_catalog.c")


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


def check_symbols(folder):
    """Every symbol that other libraries could collide with has our prefix."""
    for made in sorted((folder / "src").glob("*.o")):
        listed = subprocess.run(["nm", "-g", "--defined-only", made], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            name = line.split()[-1]
            if not SYMBOL.match(name):
                complain(ROOT / "src" / made.with_suffix(".c").name, 1, f"{name} is not static and does not begin with mcs_")


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
    wanted = (".c", ".h", ".sql", ".py", ".sh", ".md", ".json", ".control", ".ini", ".txt")
    for name in names:
        path = ROOT / name
        if (path.suffix in wanted or path.name in ("Makefile", "run")) and path.is_file() and "expected" not in path.parts:
            yield path


def check(folder):
    """Checks the sources, and the objects in a build folder; returns the complaints."""
    found.clear()
    for path in text_files():
        text = path.read_text()
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        check_tidy(path, lines)
        if path.parent == ROOT / "src":
            check_includes(path, lines)
            check_sizes(path, lines)
            if path.suffix == ".c":
                check_catalog(path, text)
    check_symbols(pathlib.Path(folder))
    check_library(folder)
    return list(found)


if __name__ == "__main__":
    complaints = check(build(Installation(packages.pg_config())))
    print("\n".join(complaints) or "style: nothing to complain about")
    sys.exit(bool(complaints))
