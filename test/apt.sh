#!/usr/bin/env bash
# Installs Debian packages, says so, and tells how far it is; does nothing for those that are there already.
# Ctrl-C ends a download, but lets packages be installed that are being installed: none stays half made.
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

as_root=()
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null && sudo -v; then
		as_root=(sudo)
	else
		echo "Debian packages are missing, which only root can install. As root, type this, and then start again:" >&2
		echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 2
	fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Shows how far apt-get is: in one line on a terminal, else in a line every few seconds.
tell() {
	local kind percent what last=$SECONDS sizes=${session[*]}
	[ ${#session[@]} -eq 0 ] || trap 'echo; echo "   this is finished first, so that no package stays half installed"' INT
	while IFS=: read -r kind _ percent what; do
		[[ $kind = [dp][lm]status ]] || continue
		if [ -z "$sizes" ]; then
			grep -E '^(Need to get|After this operation)' "$log" | sed 's/^/   /' || true
			sizes=told
		fi
		if [ -t 1 ]; then
			printf '\r\033[K   %3d %%  %.60s' "${percent%.*}" "$what"
		elif [ $((SECONDS - last)) -ge 2 ]; then
			printf '   %3d %%  %s\n' "${percent%.*}" "$what"
			last=$SECONDS
		fi
	done
	[ ! -t 1 ] || printf '\r\033[K'
}

# apt-get, whose output goes into the log.  What it tells of its progress comes through a pipe that is nobody else's, as apt makes
# it one that does not wait; sudo passes no more than standard output and error on.
apt() {
	: >"$log"
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "${session[@]}" \
		sh -c 'exec "$@" 3>&1 1>&2' sh apt-get -y -q -o Dpkg::Use-Pty=0 -o APT::Status-Fd=3 "$@" </dev/null 2>>"$log" | tell
}

failed() {
	cat "$log" >&2
	echo "apt-get could not install: ${missing[*]}" >&2
	exit 2
}

echo "Installing Debian packages: ${missing[*]}"
session=()
apt update || failed
apt install --no-install-recommends --download-only "${missing[@]}" || failed
# in a session of its own, which the terminal's Ctrl-C does not reach
session=(setsid --wait)
interrupted=
trap 'interrupted=yes' INT
apt install --no-install-recommends --no-download "${missing[@]}" || failed
[ -z "$interrupted" ] || exit 130
