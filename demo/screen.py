"""How the demo looks: headings, prose, SQL and its results."""
import os
import shutil
import sys
import textwrap

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 110)


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def heading(number, text):
    print(f"\n{paint('1;36', f'{number}. {text}')}\n{paint('36', '─' * min(WIDTH, 78))}", flush=True)


def prose(text):
    print(textwrap.fill(" ".join(text.split()), min(WIDTH, 88)), flush=True)


def note(text):
    """Something that happens now."""
    print(f"  {paint('2', '·')} {text}", flush=True)


def good(text):
    print(f"\n  {paint('1;32', '✓')} {text}", flush=True)


def bad(text):
    print(f"\n  {paint('1;31', '✗')} {text}", flush=True)


def sql(text):
    """The statement that is run."""
    print()
    for line in textwrap.dedent(text).strip().splitlines():
        print(f"    {paint('33', line)}")
    sys.stdout.flush()


def cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "t" if value else "f"
    if hasattr(value, "strftime"):
        return value.strftime("%H:%M:%S.%f")[:-3]
    if hasattr(value, "total_seconds"):
        return f"{value.total_seconds():,.3f} s"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def table(names, rows):
    """Rows under their column names; numbers to the right."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[at]) for row in texts)]) for at, name in enumerate(names)]
    right = [all(type(row[at]) in (int, float) or type(row[at]).__name__ == "Decimal" or row[at] is None for row in rows)
             for at in range(len(names))]

    def line(cells):
        return "   ".join(text.rjust(width) if to_right else text.ljust(width)
                          for text, width, to_right in zip(cells, widths, right)).rstrip()

    print("\n    " + paint("1", line(names)))
    for row in texts:
        print("    " + line(row))
    sys.stdout.flush()


def record(names, row):
    """One row, a column a line."""
    width = max(map(len, names))
    print()
    for name, value in zip(names, row):
        print(f"    {paint('1', name.ljust(width))}   {cell(value)}".rstrip())
    sys.stdout.flush()
