"""docs/operations.md has an entry for each state, each reason and each SQLSTATE that there is in the sources."""
import re

import pytest

# where the words of reasons stand
REASONS = ("stream/reason.c", "stream/status.c", "shared/slot.c", "shared/queue.c", "worker/failure.c", "worker/history.c", "worker/crash.c", "worker/copy.c",
           "worker/worker.c", "worker/mirroring.c", "worker/on_error.c", "handler/worker.c", "handler/run.c", "projection/worker.c")

# what stands before a text that is none: words of errors, logs and hints, names of memory, SQL
NO_REASON = re.compile(r"(\berr(msg|detail|hint)\w*\s*\(|AllocSetContextCreate\([^;]*|elog\([^;]*|hint = psprintf\(|StaticAssert[^;]*|Define\w+Variable\([^;]*"
                       r"|CATALOG_STATEMENT\([^;]*)$")
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"(?:\s*(?:U?INT64_FORMAT\s*)?"(?:[^"\\\n]|\\.)*")*')
STATE_NAMES = re.compile(r'\[STREAM_\w+\] = "(\w+)"')


@pytest.fixture
def page(repository):
    return (repository / "docs/operations.md").read_text()


def reasons(source):
    """The string literals of a C source that are sentences; pieces that follow each other are one."""
    source = re.sub(r"/\*.*?\*/|^#.*?$", "", source, flags=re.S | re.M)
    for match in LITERAL.finditer(source):
        text = re.sub(r'"\s*(U?INT64_FORMAT)?\s*"', lambda between: "%d" if between.group(1) else "", match.group())[1:-1]
        if len(text) > 24 and text.count(" ") > 3 and not NO_REASON.search(source[:match.start()].rstrip()[-200:]):
            yield text


def fixed_parts(text):
    """What a format says whatever is put into it, by pieces that are long enough to be told from others."""
    parts = [part.strip(" .,;:()") for part in re.split(r'%[-.*0-9l]*[a-z%]|[;:,]|\\"', text)]
    return [part for part in parts if len(part) > 12] or [max(parts, key=len)]


@pytest.mark.parametrize("source", REASONS)
def test_reasons(repository, page, source):
    found = list(reasons((repository / "src" / source).read_text()))
    assert found
    missing = [text for text in found if not any(part in page for part in fixed_parts(text))]
    assert not missing


def test_states(repository, page):
    names = set(STATE_NAMES.findall((repository / "src/shared/memory.c").read_text()))
    assert len(names) > 6
    rows = re.findall(r"^\| (?:stream|handler|mirror) \| (.*?) \|", page, re.M)
    assert {state for row in rows for state in re.findall(r"`(\w+)`", row)} == names


def test_sqlstates(repository, installation, page):
    macros = {macro for path in (repository / "src").rglob("*.c")
              for use in re.findall(r"errcode\((?:[^()]|\([^()]*\))*\)|sqlstate = [^;]*|\{MONGO_CODE[^}]*\}|sqlerrcode = [^;]*", path.read_text())
              for macro in re.findall(r"\bERRCODE_(\w+)", use)}
    header = (installation.folder("includedir-server") / "utils/errcodes.h").read_text()
    codes = {macro: "".join(re.findall("'(.)'", code)) for macro, code in re.findall(r"#define ERRCODE_(\w+) MAKE_SQLSTATE\((.*?)\)", header)}
    listed = set(re.findall(r"`([0-9A-Z]{5})`", page.split("### SQLSTATEs")[1].split("\n### ")[0]))
    assert len(macros) > 40
    assert {codes[macro] for macro in macros} <= listed
