"""Expressions over the time of events, as tools write them, as bounds of a foreign scan."""
import datetime
import random
import re

import pytest

from foreign import foreign_table, plan
from streams import error_of

UNITS = ["microseconds", "milliseconds", "second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade", "century", "millennium"]
ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Pacific/Apia", "Pacific/Kiritimati", "Asia/Kolkata", "America/St_Johns", "Antarctica/Troll",
         "EST5EDT", "+02", "-05:30", "XYZ-24:59ABC", "XYZ+24", "XYZ-167", "XYZ+167:59", "XYZ-100ABC", "XY:167", "<+99>-99"]

# form, type of its value
FORMS = [
    ("{}::date", "date"),
    ("{}::timestamp", "timestamp"),
    ("{}::timestamp(0)", "timestamp"),
    ("{}::timestamptz(0)", "timestamptz"),
    ("{}::date::timestamp", "timestamp"),
    ("{}::date::timestamptz", "timestamptz"),
    ("{} AT TIME ZONE '{zone}'", "timestamp"),
    ("{} AT TIME ZONE interval '-07:30'", "timestamp"),
    ("({} AT TIME ZONE '{zone}')::date", "date"),
    ("({} AT TIME ZONE '{zone}') AT TIME ZONE '{other}'", "timestamptz"),
    ("(({} AT TIME ZONE '{zone}') AT TIME ZONE '{other}')::date", "date"),
    ("date_trunc('{unit}', {})", "timestamptz"),
    ("date_trunc('{unit}', {}, '{zone}')", "timestamptz"),
    ("date_trunc('{unit}', {} AT TIME ZONE '{zone}')", "timestamp"),
    ("date_trunc('{unit}', {})::date", "date"),
    ("date_trunc('{unit}', {}::date)", "timestamptz"),
    ("extract(epoch from {})", "numeric"),
    ("date_part('epoch', {})", "float8"),
    ("extract(epoch from {})::bigint", "bigint"),
    ("floor(extract(epoch from {}))", "numeric"),
    ("extract(epoch from {} AT TIME ZONE '{zone}')", "numeric"),
    ("extract(epoch from {}::date)", "numeric"),
    ("extract(epoch from date_trunc('{unit}', {}))", "numeric"),
]
EXTREMES = {
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "1e300", "1e-300", "'1e9999'::numeric"],
    "float8": ["'NaN'", "'Infinity'", "'-Infinity'", "1e300"],
    "bigint": ["9223372036854775807", "(-9223372036854775807)"],
    "date": ["date '5874897-12-31'", "date '4713-01-01 BC'"],
    "timestamp": ["timestamp '294276-12-31 23:59:59.999999'", "timestamp '4713-01-01 BC'"],
    "timestamptz": ["timestamp '294276-12-31 23:59:59.999999'", "date '5874897-12-31'"],
}
OPERATORS = ["<", "<=", "=", ">=", ">"]
MIRRORED = {"<": ">", "<=": ">=", "=": "=", ">=": "<=", ">": "<"}


def expression(form, column, dice):
    return form.format(column, zone=dice.choice(ZONES), other=dice.choice(ZONES), unit=dice.choice(UNITS))


def instant(text):
    """A time as EXPLAIN shows it, in whichever zone, in microseconds since 1970."""
    found = re.match(r"(\d+-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d+))?([+-])(\d+)(?::(\d\d))?(?::(\d\d))?$", text)
    assert found, text
    clock = datetime.datetime.fromisoformat(found[1]).replace(tzinfo=datetime.timezone.utc)
    ahead = int(found[4]) * 3600 + int(found[5] or 0) * 60 + int(found[6] or 0)
    seconds = int(clock.timestamp()) - (ahead if found[3] == "+" else -ahead)
    return seconds * 1_000_000 + int((found[2] or "").ljust(6, "0"))


def bounds(shown):
    """The start and the end of a plan, in microseconds; None: there is none."""
    start = re.search(r"MongoDB Start: (.*)", shown)
    end = re.search(r"MongoDB End: (.*)", shown)
    if start is None or start[1] == "earliest":
        start = None
    return start and instant(start[1]), None if end is None or end[1] == "now" else instant(end[1])


@pytest.fixture
def f(linked, mdb):
    mdb.c.insert_many([{"_id": i} for i in range(20)])
    foreign_table(linked, "f", collection="c")
    return linked


def test_each_form_bounds_a_scan(f):
    """A start for each form, on either side, by constants and parameters, near enough to be of use; an end on cluster_time."""
    db = f
    day = 86400 * 1_000_000
    db.execute("SET plan_cache_mode = force_generic_plan")
    for column in ("cluster_time", "change_timestamp"):
        for number, (form, kind) in enumerate(FORMS):
            what = form.format(column, zone="Europe/Berlin", other="UTC", unit="day")
            at = 1700006400 * 1_000_000
            value = db.value(f"SELECT ({form.format('to_timestamp(1700006400)', zone='Europe/Berlin', other='UTC', unit='day')})::{kind}::text")
            upper = column == "cluster_time"
            for condition in (f"{what} >= '{value}'::{kind}", f"'{value}'::{kind} < {what}", f"{what} = '{value}'::{kind}",
                              f"{what} BETWEEN '{value}'::{kind} AND '{value}'::{kind}", f"{what} IN ('{value}', '{value}'::{kind})"):
                shown = plan(db, f"SELECT 1 FROM f WHERE {condition}")
                start, end = bounds(shown)
                assert "Filter: " in shown and at - 6 * day < start <= at, (condition, shown)
                if upper and ("BETWEEN" in condition or " = " in condition or " IN " in condition):
                    assert at <= end < at + 6 * day, (condition, shown)
                else:
                    assert end is None or upper, (condition, shown)
            db.execute(f"PREPARE p{number}{column}({kind}) AS SELECT count(*) FROM f WHERE {what} >= $1 AND $1 <= {what}")
            shown = "\n".join(row[0] for row in db.execute(f"EXPLAIN EXECUTE p{number}{column}('{value}')"))
            assert "$1" in shown and at - 6 * day < bounds(shown)[0] <= at, (form, shown)
            assert db.value(f"EXECUTE p{number}{column}('{value}')") == 20
            assert db.value(f"EXECUTE p{number}{column}(NULL)") == 0


def test_bounds_lose_no_time(f):
    """Whatever the time, the zone and the expression: where it meets a condition, it lies within the bounds."""
    db = f
    dice = random.Random(22)
    # when clocks were put forward and back, a day was left out, offsets were odd
    turns = [1793496600, 1774746000, 1762063200, 1325239200, 1325150000, 86400, 1762000000, 4102444800, 4291747200]
    for _ in range(400):
        db.execute("SELECT set_config('TimeZone', %s, false)", dice.choice(ZONES))
        seconds = dice.choice([dice.randrange(86400 * 20, 2**32 - 86400 * 20), dice.choice(turns) + dice.randrange(-9000, 9000)])
        at = seconds * 1_000_000 + dice.choice([0, 1, 500_000, 999_999])
        form, kind = dice.choice(FORMS)
        column = dice.choice(["cluster_time", "cluster_time", "change_timestamp"])
        what = expression(form, "{}", dice)
        here = what.format(f"(timestamptz '1970-01-01 00:00:00+00' + {at // 1_000_000} * interval '1 second' + {at % 1_000_000} * interval '1 microsecond')")
        what = what.format(column)
        constant = f"({here})::" + dice.choice([kind] + ["date", "timestamp", "timestamptz"] * (kind in ("date", "timestamp", "timestamptz")))
        operator = dice.choice(OPERATORS)
        met = db.value(f"SELECT {here} {operator} {constant}")
        condition = dice.choice([f"{what} {operator} {constant}", f"{constant} {MIRRORED[operator]} {what}"])
        shown = plan(db, f"SELECT 1 FROM f WHERE {condition}", options="VERBOSE, COSTS off")
        if not met:
            continue
        start, end = bounds(shown)
        told = (db.value("SHOW TimeZone"), condition, at, shown)
        assert start is None or start <= at, told
        assert end is None or at <= end, told
        assert (start is not None) == (operator in ("=", ">=", ">")), told
        # beyond MongoDB's times there is no end
        assert (end is not None) == (operator in ("=", "<=", "<") and column == "cluster_time") or \
            seconds > 4_200_000_000 or re.search("decade|century|millennium", what), told


def test_midnight_that_comes_twice(f):
    """Where a clock is put back at night, a day can begin after a time that belongs to it."""
    db = f
    db.execute("SET TimeZone = 'America/Havana'")
    assert db.value("SELECT date_trunc('day', timestamptz '2026-11-01 04:30+00') = '2026-11-01 05:00+00'")
    for what in ("date_trunc('day', cluster_time)", "date_trunc('day', cluster_time, 'America/Havana')"):
        start, _ = bounds(plan(db, f"SELECT 1 FROM f WHERE {what} >= '2026-11-01 05:00+00'"))
        assert start <= 1793507400 * 1_000_000, what


def test_same_rows_as_without_bounds(f):
    """Random conditions of these forms have the rows that they have on a table."""
    db = f
    db.execute("CREATE TABLE kept AS SELECT (document_key['_id'])::int AS id, cluster_time, change_timestamp FROM f")
    dice = random.Random(7)
    for round in range(150):
        if round % 5 == 0:
            db.execute("SELECT set_config('TimeZone', %s, false)", dice.choice(ZONES))
        parts = []
        for _ in range(dice.randint(1, 2)):
            form, kind = dice.choice(FORMS)
            what = expression(form, dice.choice(["cluster_time", "change_timestamp"]), dice)
            # a timestamptz of an odd zone cannot be read back
            shown = f"({what})::text" if kind != "timestamptz" else f"(extract(epoch from {what}) * 1000000)::bigint"
            value = db.value(f"SELECT {shown} FROM kept ORDER BY id OFFSET {dice.randrange(20)} LIMIT 1")
            value = f"'{value}'::{kind}" if kind != "timestamptz" else f"('1970-01-01 00:00:00+00'::timestamptz + {value} * interval '1 us')"
            number = kind in ("numeric", "float8", "bigint")
            others = [f"{value} + {dice.randint(-90000, 90000)}"] if number else ["'infinity'", "'-infinity'", f"{value} - interval '1 day'"]
            value = dice.choice([value] * 6 + others + EXTREMES.get(kind, []) + [f"NULL::{kind}"])
            parts.append(f"{what} {dice.choice(OPERATORS + ['<>'])} {value}")
        condition = " AND ".join(parts)
        assert db.column(f"SELECT (document_key['_id'])::int FROM f WHERE {condition} ORDER BY 1") == \
            db.column(f"SELECT id FROM kept WHERE {condition} ORDER BY 1"), (db.value("SHOW TimeZone"), condition)


def test_a_zone_that_changes_after_planning(f):
    """A plan that is kept is bounded by the zone in which it is executed."""
    db = f
    db.execute("SET plan_cache_mode = force_generic_plan")
    db.execute("SET TimeZone = 'UTC'")
    db.execute("PREPARE d(date) AS SELECT count(*) FROM f WHERE cluster_time::date = $1")
    for zone in ("UTC", "XYZ-167", "XYZ+167", "Pacific/Kiritimati"):
        db.execute("SELECT set_config('TimeZone', %s, false)", zone)
        days = db.execute("SELECT DISTINCT (now() - i * interval '1 minute')::date::text FROM generate_series(0, 5) i")
        assert sum(db.value(f"EXECUTE d('{day}')") for day, in days) == 20, zone


def test_rows_of_another_table_bound_a_scan(f):
    """A calendar's days, as the outer side of a join."""
    db = f
    db.execute("CREATE TABLE days AS SELECT (now() AT TIME ZONE 'UTC')::date + i AS day FROM generate_series(-3, 3) i")
    db.execute("SET enable_material = off")
    join = "days JOIN f ON (cluster_time AT TIME ZONE 'UTC')::date BETWEEN day AND day + 1"
    assert "MongoDB Start: by parameters" in plan(db, f"SELECT * FROM {join}")
    assert db.value(f"SELECT count(*) FROM {join}") == 40


def test_errors_are_those_of_postgresql(f):
    """A zone or a unit that there is not bounds nothing, and is told as on a table."""
    db = f
    db.execute("CREATE TABLE kept AS SELECT cluster_time FROM f")
    for condition in ("cluster_time AT TIME ZONE 'Mars/Olympus' > '2100-01-01'", "date_trunc('fortnight', cluster_time) > '2100-01-01'",
                      "date_trunc('day', cluster_time, 'Mars/Olympus') > '2100-01-01'", "cluster_time AT TIME ZONE interval '1 month' > '2100-01-01'",
                      "extract(fortnight from cluster_time) > 5000000000"):
        wanted = error_of(db, f"SELECT 1 FROM kept WHERE {condition}")
        error = error_of(db, f"SELECT 1 FROM f WHERE {condition}")
        assert (error.sqlstate, error.diag.message_primary) == (wanted.sqlstate, wanted.diag.message_primary), condition
        assert "MongoDB Start" not in plan(db, f"SELECT 1 FROM f WHERE {condition}")
    # neither do what only sounds like it, and what varies by row
    for condition in ("extract(day from cluster_time) > 4", "date_trunc('day', change_timestamp) = date_trunc('day', cluster_time)",
                      "cluster_time::date > '2020-01-01'::date + (random() * 0)::int", "round(extract(epoch from cluster_time), -3) > 5"):
        assert "MongoDB Start" not in plan(db, f"SELECT 1 FROM f WHERE {condition}"), condition
