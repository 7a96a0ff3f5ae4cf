#!/usr/bin/env bash
# Prints the Debian packages that this machine lacks for the programs of this project; nothing where all is there.
# With the word postgresql: only those that a PostgreSQL in .cache/ wants.
# Looked for is what they hold and not the packages, since it may have come another way.
set -euo pipefail

packages=()
need() { packages+=("$@"); }
has() { command -v "$1" >/dev/null; }
library() { /sbin/ldconfig -p 2>/dev/null | grep "^[[:space:]]*$1 " >/dev/null; }

# A PostgreSQL of this machine that extensions can be built for.
postgresql() {
	local config
	for config in "${PG_CONFIG:-pg_config}" pg_config /usr/lib/postgresql/*/bin/pg_config; do
		if has "$config" && [ -f "$("$config" --pgxs 2>/dev/null)" ]; then
			return 0
		fi
	done
	return 1
}

libraries_of_postgresql() {
	local name package_name
	while read -r name package_name; do
		library "$name" || need "$package_name"
	done <<-'END'
		liblz4.so.1 liblz4-1
		libzstd.so.1 libzstd1
		libxml2.so.2 libxml2
		libssl.so.3 libssl3
		libgssapi_krb5.so.2 libgssapi-krb5-2
		libreadline.so.8 libreadline8
	END
}

if [ "${1:-}" = postgresql ]; then
	libraries_of_postgresql
else
	python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || need python3 python3-venv
	has cc || need gcc
	[ -e /usr/include/stdio.h ] || need libc6-dev
	has make || need make
	has nm || need binutils
	has pkg-config || need pkg-config
	{ has pkg-config && { pkg-config --exists libmongoc-1.0 || pkg-config --exists mongoc2; }; } || need libmongoc-dev
	[ -n "${MONGOD:-}" ] || has mongod || library libcurl.so.4 || need libcurl4
	postgresql || libraries_of_postgresql
fi
echo "${packages[*]}"
