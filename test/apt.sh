#!/usr/bin/env bash
# Installs Debian packages and says so; does nothing for those that are there already.
set -euo pipefail

missing=()
for package in "$@"; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "This machine has no apt-get. Please install what these Debian packages hold: ${missing[*]}" >&2
	exit 2
fi
if [ "$(id -u)" = 0 ]; then
	as_root=()
elif command -v sudo >/dev/null; then
	as_root=(sudo)
else
	echo "Please run as root: apt-get install ${missing[*]}" >&2
	exit 2
fi

echo "Installing Debian packages: ${missing[*]}"
log=$(mktemp)
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0)
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
	cat "$log" >&2
	echo "apt-get could not install: ${missing[*]}" >&2
	exit 2
fi
rm -f "$log"
