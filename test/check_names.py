"""Looks with pgspot for names in the extension's scripts that a schema of somebody else could answer.

What CREATE EXTENSION runs, it runs as a superuser in a schema of the user's choice, and views and policies are
read by everybody: an operator or function that is found by name only is whoever's planted the better match.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What is not asked for, and why.
IGNORED = {
    "PS017": "names of what the script itself makes: if there is one already in the schema, making it fails",
    "PS005": "bodies in BEGIN ATOMIC are bound to what they call when the function is made",
    "PS002": "CREATE OR REPLACE in a script replaces nothing but what is the extension's: else PostgreSQL raises an error",
    "PS015": "the same for views",
}

# Single complaints that mean nothing, and why.
EXPLAINED = {
    "'=' in s.collection_name IS NOT DISTINCT FROM $2": "text with text, which pg_catalog has exactly, and it is looked up first",
}


def readable(script):
    """The script as pgspot reads it: it knows no BEGIN ATOMIC, and would take the search_path of such a function for its safety."""
    return re.sub(r"SET search_path = pg_catalog, pg_temp\nBEGIN ATOMIC\n(.*?)\nEND;", r"AS $atomic$\n\1\n$atomic$;", script,
                  flags=re.DOTALL)


def check(folder):
    """The complaints about the scripts in a folder."""
    complaints = []
    scripts = sorted(pathlib.Path(folder).glob("mongo_change_stream--*.sql"))
    if not scripts:
        return [f"{folder} has no scripts; run make"]
    ignore = [argument for code in IGNORED for argument in ("--ignore", code)]
    for script in scripts:
        text = readable(script.read_text())
        if "BEGIN ATOMIC" in text:
            complaints.append(f"{script.name}: a BEGIN ATOMIC without SET search_path = pg_catalog, pg_temp before it")
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as copy:
            copy.write(text)
            copy.flush()
            done = subprocess.run([sys.executable, "-m", "pgspot", *ignore, copy.name], capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if re.match(r"PS\d", line)]
        complaints += [f"{script.name}: {line}" for line in lines if not any(known in line for known in EXPLAINED)]
        if "Errors: " not in done.stdout or done.returncode and not lines:
            complaints.append(f"{script.name}: pgspot failed: {done.stdout}{done.stderr}")
    return complaints


def main():
    if sys.version_info < (3, 10):
        print("pgspot needs Python 3.10: not run")
        return 0
    complaints = check(sys.argv[1] if len(sys.argv) > 1 else ROOT)
    print("\n".join(complaints) or "nothing to complain about")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
