"""What tests of projections have in common."""
from harness.machine import wait_until


def status(db, view):
    """The projection's row of the view, as a dictionary; None: there is none."""
    cursor = db.connection.execute("SELECT * FROM change_projection_status WHERE view_name = %s", (f"public.{view}",))
    row = cursor.fetchone()
    return row and dict(zip([column.name for column in cursor.description], row))


def wait_status(db, view, timeout=30, **wanted):
    """Waits until columns of the projection's row have these values; the row."""
    try:
        wait_until(lambda: {name: status(db, view)[name] for name in wanted} == wanted, timeout, f"{view} is {wanted}")
    except TimeoutError as problem:
        raise TimeoutError(f"{problem} {status(db, view)}") from None
    return status(db, view)


def projection(db, view, query, unique="", **options):
    """A materialized view that is a projection."""
    db.execute(f"CREATE MATERIALIZED VIEW {view} AS {query}")
    if unique:
        db.execute(f"CREATE UNIQUE INDEX ON {view} ({unique})")
    arguments = "".join(f", {name} => '{value}'" for name, value in options.items())
    db.execute(f"SELECT create_change_projection('{view}'{arguments})")
