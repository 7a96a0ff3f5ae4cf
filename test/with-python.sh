#!/usr/bin/env bash
# Runs a Python program of this project with what it needs: Debian packages, which are installed where they are missing,
# and Python packages, which are kept in .cache/venv.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.cache/venv
wanted=$root/test/requirements.txt

missing=$("$root/test/needs.sh")
# a word is a package
# shellcheck disable=SC2086
[ -z "$missing" ] || "$root/test/apt.sh" $missing

if ! cmp -s "$wanted" "$venv/installed.txt"; then
	echo "Installing Python packages into .cache/venv"
	log=$(mktemp)
	trap 'rm -rf "$venv" "$log"' EXIT
	trap 'exit 130' INT
	rm -rf "$venv"
	python3 -m venv "$venv" >"$log" 2>&1 || { cat "$log" >&2; exit 2; }
	"$venv/bin/pip" install --disable-pip-version-check --progress-bar off -r "$wanted" 2>&1 | tee "$log" |
		sed -un -e 's/^Collecting \([^ ]*\).*/   \1/p' -e 's/^Installing collected packages.*/   installing them/p' || { cat "$log" >&2; exit 2; }
	cp "$wanted" "$venv/installed.txt"
	rm -f "$log"
	trap - EXIT INT
fi
cd "$root"
exec "$venv/bin/python" -u "$@"
