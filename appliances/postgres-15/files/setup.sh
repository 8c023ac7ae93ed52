#!/bin/sh
# Runs once as root while the template is built, and is not kept in it.
set -eu

bin=/usr/lib/postgresql/15/bin
cluster=/var/lib/postgresql/data/cluster

as_postgres() {
	setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
}

# A third of the template is the just-in-time compiler, which does not pay for
# itself on the queries of a small application; postgresql.conf turns it off.
rm -rf /usr/lib/postgresql/15/lib/bitcode /usr/lib/postgresql/15/lib/llvmjit*
rm -f /usr/lib/*-linux-gnu/libLLVM-*.so*

# The distribution's own cluster and its configuration are not used.
rm -rf /var/lib/postgresql/15 /etc/postgresql/15

install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data /var/lib/postgresql/socket

# A new volume begins as a copy of this cluster, so that a database is there in a
# fraction of a second instead of after an initdb.
as_postgres "$bin/initdb" --pgdata="$cluster" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
	--auth-local=peer --auth-host=scram-sha-256 --data-checksums --wal-segsize=4

# The server reads its settings from the template, never from the volume: a
# newer template then brings newer settings to old data.
rm "$cluster/postgresql.conf" "$cluster/pg_hba.conf" "$cluster/pg_ident.conf"

# The role and the database that nearly every project asks for are made here, once:
# init_db.sh finds them, and has only the password left to set. It also shows that the
# server starts without the compiler's library, and leaves the cluster shut down.
printf '%s\n' 'CREATE ROLE app' 'CREATE DATABASE app OWNER app' | as_postgres "$bin/postgres" --single -D "$cluster" \
	--config-file=/usr/local/etc/postgres/postgresql.conf postgres
