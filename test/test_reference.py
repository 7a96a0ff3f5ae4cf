"""What README and docs list is what there is: functions with their arguments, relations and columns, settings, options, states.  So does psql: all has a comment."""
import re

import psycopg
import pytest

CODE = re.compile(r"`([^`]+)`")

# What no user calls: what the dialect makes of its words, what views, policies and indexes call.
INTERNAL = {"change_handler_dead_letter_event", "change_handler_exists", "change_handler_numbers", "change_handler_workers", "change_stream_absence", "change_stream_append_only",
            "change_stream_copy_reason", "change_stream_events_truncated",
            "change_projection_event_time", "change_projection_exists", "change_projection_find_sources", "change_projection_follow", "change_projection_view", "change_projection_workers",
            "change_stream_exists", "change_stream_follows", "change_stream_is_own", "change_stream_is_read_by", "change_stream_numbers", "change_stream_parked_event", "change_stream_position_time", "change_stream_shown", "change_stream_shown_support", "change_stream_translate_for_gateway", "change_stream_workers", "document_index_bound",
            "string_agg_distinct_elements", "string_agg_elements"}


@pytest.fixture
def page(repository):
    """A page's text, or a part of it between a heading (or another line) and the next heading."""
    def read(name, after=None):
        text = (repository / name).read_text()
        if after:
            assert text.count(f"\n{after}\n") == 1, after
            text = re.split(r"^#+ ", text.split(f"\n{after}\n")[1], maxsplit=1, flags=re.M)[0]
        return text
    return read


def table(text):
    """The cells of the first table, line by line, without its head."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.M).group().splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def signatures(text):
    """(name, arguments, result) of each function whose signature begins a row of a table; … stands for arguments that are listed elsewhere."""
    for line in re.findall(r"^\| (`.*?) \| ", text, re.M):
        for code in CODE.findall(line):
            match = re.fullmatch(r"(\w+)\((.*?)\)(?: → (.*))?", code)
            if match:
                name, arguments, result = match.groups()
                yield name, [argument.split()[0] for argument in arguments.split(", ") if argument], result


def test_functions(db, page):
    catalog = {name: (arguments or [], result) for name, arguments, result in db.execute("""
        SELECT p.proname, p.proargnames[:p.pronargs], pg_get_function_result(p.oid) FROM pg_proc p
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
        WHERE e.extname = 'mongo_change_stream'""")}
    listed = set()
    for name in ("README.md", "docs/handlers.md", "docs/mirrors.md", "docs/projections.md", "docs/dialect.md"):
        for function, arguments, result in signatures(page(name)):
            if function not in catalog:
                continue
            listed.add(function)
            wanted, returned = catalog[function]
            if "…" in arguments:
                assert arguments[-1] == "…"
                arguments, wanted = arguments[:-1], wanted[:len(arguments) - 1]
            assert arguments == wanted, f"{name}: {function}"
            assert result in (None, returned.lower()), f"{name}: {function} returns {returned}"
    # what stands behind a type, an operator, a cast, an aggregate, an index or a language is found by those
    behind = set(db.column("""
        SELECT proname FROM pg_proc p WHERE EXISTS (SELECT FROM pg_operator WHERE oprcode = p.oid) OR EXISTS (SELECT FROM pg_cast WHERE castfunc = p.oid)
            OR EXISTS (SELECT FROM pg_amproc WHERE amproc = p.oid) OR EXISTS (SELECT FROM pg_proc WHERE prosupport = p.oid)
            OR EXISTS (SELECT FROM pg_operator WHERE p.oid IN (oprrest, oprjoin))
            OR EXISTS (SELECT FROM pg_type WHERE p.oid IN (typinput, typoutput, typreceive, typsend, typsubscript, typmodin, typmodout, typanalyze))
            OR EXISTS (SELECT FROM pg_aggregate WHERE p.oid IN (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn))
            OR EXISTS (SELECT FROM pg_foreign_data_wrapper WHERE p.oid IN (fdwhandler, fdwvalidator))
            OR EXISTS (SELECT FROM pg_language WHERE p.oid IN (lanplcallfoid, laninline, lanvalidator))"""))
    documents = set(re.findall(r"(\w+)\(", page("docs/document.md")))
    assert set(catalog) - behind - INTERNAL - listed - documents == set()
    assert INTERNAL <= set(catalog)


def default_of(text):
    """A default as the pages write it: 'ids'::text is ids, '00:01:00'::interval is 1 minute."""
    value = re.sub(r"^'(.*)'::[\w ]+$", r"\1", re.sub(r"^NULL::.*", "NULL", text))
    return {"00:00:01": "1 second", "00:01:00": "1 minute", "00:10:00": "10 minutes"}.get(value, value)


def arguments_of(db, function):
    """{argument: (type, default or None)}"""
    rows = db.execute("""SELECT a.name, format_type(a.type, NULL), pg_get_function_arg_default(p.oid, a.number::int)
        FROM pg_proc p, unnest(proargnames[:pronargs], proargtypes::oid[]) WITH ORDINALITY AS a (name, type, number) WHERE proname = %s""", function)
    return {name: ({"integer": "int"}.get(kind, kind), default and default_of(default)) for name, kind, default in rows}


def test_arguments_of_a_stream(db, page):
    listed = {}
    for names, kind, _ in table(page("README.md").split("\nArguments of `create_change_stream`:\n")[1]):
        kind, default = (*kind.split(", "), None)[:2]
        for name in CODE.findall(names):
            listed[name] = (kind, default and default.strip("`"))
    assert listed == arguments_of(db, "create_change_stream")


def test_arguments_of_a_handler(db, page):
    listed, text = {}, page("docs/handlers.md", "## Functions")
    for names, defaults, _ in table(text[text.index("\n| argument |"):]):
        listed |= zip(CODE.findall(names), [default.strip("`'") or "NULL" for default in defaults.split(", ")])
    there = {name: default for name, (_, default) in arguments_of(db, "create_change_handler").items()}
    assert listed == {name: there[name] for name in listed}
    assert set(there) - set(listed) == {"handler_name", "stream_name", "body", "procedure", "paused"}


def test_arguments_of_a_mirror(db, page):
    text = page("docs/mirrors.md", "## Functions")
    listed = [name for names, *_ in table(text[text.index("\n| argument |"):]) for name in CODE.findall(names)]
    assert ["mirror_name", *listed] == list(arguments_of(db, "create_change_mirror"))


def test_arguments_of_a_projection(db, page):
    text = page("docs/projections.md", "## Functions")
    listed = {CODE.findall(name)[0]: default.strip("`") for name, default, _ in table(text[text.index("\n| argument |"):])}
    assert listed == {name: default for name, (_, default) in arguments_of(db, "create_change_projection").items() if name != "view_name"}


def rows_of(repository, header, name):
    """The rows of a list in a header: the arguments of each ROW(...) or EVENT(...) of a macro."""
    text = re.search(rf"#define {name}\(.*?\) \\\n(.*?[^\\])\n", (repository / "src" / header).read_text(), re.S).group(1)
    text = re.sub(r"/\*.*?\*/|\\\n", "", text, flags=re.S)
    return [[part.strip().strip('"') for part in re.split(r",\s+", row)] for row in re.findall(r"\w+\(((?:[^()]|\([^()]*\))*)\)", text)]


TYPES = {"OPTION_TEXT": "text", "OPTION_WORD": "text", "OPTION_TEXTS": "text[]", "OPTION_BOOL": "boolean", "OPTION_INT": "int",
         "OPTION_INTERVAL": "interval", "OPTION_DOCUMENT": "document"}


@pytest.mark.parametrize("kind, name", [("stream", "STREAM_OPTION_LIST"), ("handler", "HANDLER_OPTION_LIST"), ("projection", "PROJECTION_OPTION_LIST")])
def test_options_in_the_library(db, repository, kind, name):
    """The list of options that the library has is that of the functions' arguments, with their types and defaults, and of the table's columns."""
    rows = {row[0]: row for row in rows_of(repository, "tables/tables.h", name)}
    asked = arguments_of(db, f"create_change_{kind}")
    known = {option: (TYPES[type], None if default == "NULL" else default) for option, type, _, default, *_ in rows.values()}
    assert len(known) > 5
    given = {option: (type, None if default in ("NULL", None) else default) for option, (type, default) in asked.items() if option in known}
    assert given == known
    assert asked.keys() - known.keys() == {"stream": {"stream_name", "collection", "database"}, "handler": {"handler_name", "stream_name"}, "projection": {"view_name"}}[kind]
    changed = {option for option, row in rows.items() if "OPTION_CREATE_ONLY" not in row[4]}
    assert arguments_of(db, f"alter_change_{kind}").keys() - {f"{kind}_name", "view_name", "reset"} == changed
    assert known.keys() <= {column for column, _ in columns_of(db, f"change_{kind}s")}


def test_columns_in_the_library(db, repository):
    """The library's list of the events table's columns is that of the table, in its order."""
    listed = [(row[1], row[3].split(" ")[0].removeprefix("@.")) for row in rows_of(repository, "event/event.h", "EVENT_COLUMN_LIST")]
    spelled = {"timestamptz": "timestamp with time zone", "int": "integer"}
    assert [(name, spelled.get(kind, kind)) for name, kind in listed] == columns_of(db, "change_stream_events")


def test_settings(db, page):
    db.execute("LOAD 'mongo_change_stream'")
    when = {"sighup": "reload", "postmaster": "at server start", "user": "session"}
    there = {name: f"{kind.replace('bool', 'boolean')}{' with a unit' if unit else ''}, {shown} ({when[context]})" for name, kind, unit, shown, context in db.execute(
        "SELECT name, vartype, unit, CASE WHEN unit IS NULL THEN boot_val ELSE current_setting(name) END, context FROM pg_settings WHERE name LIKE 'mongo_change_stream.%'")}
    assert {CODE.match(name).group(1): meaning for name, meaning, _ in table(page("README.md", "### Settings"))} == there


def columns_of(db, relation):
    return db.execute("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum", relation)


def test_columns_of_events(db, page):
    listed = []
    for names, kinds, _ in table(page("README.md").split("\nColumns of `change_stream_events`:\n")[1]):
        names, kinds = CODE.findall(names), kinds.split(", ")
        listed += zip(names, kinds if len(kinds) > 1 else kinds * len(names))
    spelled = {"timestamptz": "timestamp with time zone", "int": "integer"}
    columns = columns_of(db, "change_stream_events")
    assert [(name, spelled.get(kind, kind)) for name, kind in listed] == columns
    # so are the columns of those that keep an event, and what change_stream_user_objects() takes for ours
    received = [name for name, _ in columns].index("received_at") + 1
    assert columns_of(db, "change_stream_parked_events")[:received] == columns[:received]
    assert columns_of(db, "change_handler_dead_letters")[1:len(columns) + 1] == columns
    ours = re.search(r"attname = ANY \(ARRAY\[(.*?)\]\)", db.value("SELECT pg_get_function_sqlbody('change_stream_user_objects'::regproc)"), re.S).group(1)
    assert re.findall(r"'(\w+)'", ours) == [name for name, _ in columns]
    # a foreign table shows those that MongoDB knows of
    foreign = [(name, kind.strip("`")) for names, kind, _ in table(page("docs/foreign-tables.md").split("\nThey are matched by name:\n")[1]) for name in CODE.findall(names)]
    assert foreign == [(name, kind) for name, kind in listed if name not in ("stream_name", "event_id", "received_at") and not name.startswith("processing_")]


@pytest.mark.parametrize("view, name, heading", [("change_stream_status", "README.md", "\nColumns of `change_stream_status`:\n"),
                                                 ("change_handler_status", "docs/handlers.md", "\n## Where it is\n"),
                                                 ("change_projection_status", "docs/projections.md", "\n## When something fails\n"),
                                                 ("change_mirror_status", "docs/mirrors.md", "\n## When something fails\n")])
def test_columns_of_status(db, page, view, name, heading):
    listed = [column for row in table(page(name).split(heading)[1]) for column in CODE.findall(row[0])]
    assert sorted(listed) == sorted(column for column, _ in columns_of(db, view))


def test_relations(db, page):
    there = db.column("""SELECT relname FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'mongo_change_stream' AND relkind IN ('r', 'v')""")
    listed = [name for names, _ in table(page("README.md", "### Tables and views")) for name in CODE.findall(names)]
    assert sorted(listed) == sorted(there)


def test_options(db, page):
    """The library knows no others, and each in the same places."""
    known = {}
    for place, catalog in (("server", "pg_foreign_server"), ("user mapping", "pg_user_mapping"), ("foreign table", "pg_foreign_table")):
        with pytest.raises(psycopg.Error) as refused:
            db.execute(f"SELECT mongo_change_stream_validator('{{unheard=of}}', '{catalog}'::regclass)")
        for name in refused.value.diag.message_hint.removeprefix("Valid options are: ").rstrip(".").split(", "):
            known.setdefault(name, []).append(place)
    listed = {name: places.split(", ") for names, places, _ in table(page("README.md", "### Server and user mapping options")) for name in CODE.findall(names)}
    listed |= {name: ["server", "foreign table"] for names, _, _ in table(page("docs/foreign-tables.md", "## Options")) for name in CODE.findall(names)}
    assert listed == known


# Members of the extension, what belongs to its tables (indexes that no constraint made, triggers, policies), and the columns of all relations.
DESCRIBED = """
WITH members AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mongo_change_stream')),
relations AS (SELECT c.oid, c.relkind FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid),
objects AS (
  SELECT classid, objid, 0 AS objsubid FROM members
  UNION ALL SELECT 'pg_class'::regclass, indexrelid, 0 FROM pg_index JOIN relations r ON r.oid = indrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
  UNION ALL SELECT 'pg_trigger'::regclass, t.oid, 0 FROM pg_trigger t JOIN relations r ON r.oid = tgrelid WHERE NOT tgisinternal
  UNION ALL SELECT 'pg_policy'::regclass, p.oid, 0 FROM pg_policy p JOIN relations r ON r.oid = polrelid
  UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute a JOIN relations r ON r.oid = attrelid
    WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'i')
SELECT pg_describe_object(o.classid, o.objid, o.objsubid), d.description FROM objects o
LEFT JOIN pg_description d ON d.classoid = o.classid AND d.objoid = o.objid AND d.objsubid = o.objsubid
"""


def test_comments(db):
    """Each object and each column tells in psql what it is, in a phrase without a full stop."""
    comments = dict(db.execute(DESCRIBED))
    kinds = {name.split()[0] for name in comments}
    assert len(comments) > 600 and kinds >= {"cast", "column", "function", "index", "operator", "policy", "table", "trigger", "type", "view"}
    assert [name for name, comment in comments.items() if not comment] == []
    assert [name for name, comment in comments.items() if comment.endswith(".") or "  " in comment or comment != comment.strip()] == []


def test_states(page, repository):
    """Those of streams, which the README lists; a handler has idle, too, and nothing to copy and no history to lose."""
    there = set(re.findall(r'\[STREAM_\w+\] = "(\w+)"', (repository / "src" / "shared" / "memory.c").read_text()))
    assert len(there) > 5
    assert {CODE.match(row[0]).group(1) for row in table(page("README.md", "### States"))} == there - {"idle"}
    state, = [row[1] for row in table(page("docs/handlers.md", "## Where it is")) if "`state`" in row[0]]
    assert set(CODE.findall(state)) - {"resume_change_handler"} == there - {"history_lost", "snapshot"}
