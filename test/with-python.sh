#!/usr/bin/env bash
# Runs a Python program of this project with the packages it needs.
# They are kept in .cache/venv; Python itself is installed where it is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.cache/venv
wanted=$root/test/requirements.txt

if ! cmp -s "$wanted" "$venv/installed.txt"; then
	if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
		"$root/test/apt.sh" python3 python3-venv
	fi
	echo "Installing Python packages into .cache/venv: $(grep -v '^#' "$wanted" | tr '\n' ' ')"
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install -q --disable-pip-version-check -r "$wanted"
	cp "$wanted" "$venv/installed.txt"
fi
cd "$root"
exec "$venv/bin/python" -u "$@"
