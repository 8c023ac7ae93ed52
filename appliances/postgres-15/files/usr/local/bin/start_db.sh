#!/bin/sh
# Runs the database on its volume until it is told to stop. SIGTERM makes it let
# go of its clients and shut down cleanly at once.
set -eu

volume=/var/lib/postgresql/data
cluster=$volume/cluster

# The server and all its processes inherit this lock: as long as one of them
# lives, in whatever sandbox, nobody else touches the volume.
exec 9>"$volume/lock"
flock --wait 20 9 || {
	echo "Another database server is still using this volume." >&2
	exit 75
}

if [ ! -e "$cluster" ]; then
	echo "There is no database on this volume." >&2
	exit 78
fi

found=$(cat "$cluster/PG_VERSION" 2>/dev/null || echo unknown)
if [ "$found" != 15 ]; then
	echo "The volume holds a database of PostgreSQL $found, and this is PostgreSQL 15." >&2
	exit 78
fi

# Whoever wrote this file is gone, or the lock would be taken. The number in it
# may by now be a process of ours, which would keep the server from starting.
rm -f "$cluster/postmaster.pid"

server=
stopping=
trap 'stopping=yes; [ -z "$server" ] || kill -INT "$server"' TERM INT HUP

# The server outlives this script in no case: it is told to stop when the script is killed.
setpriv --pdeathsig=INT -- /usr/lib/postgresql/15/bin/postgres -D "$cluster" \
	--config-file=/usr/local/etc/postgres/postgresql.conf &
server=$!
[ -z "$stopping" ] || kill -INT "$server"

# A signal ends the wait before the server has ended.
while :; do
	status=0
	wait "$server" || status=$?
	kill -0 "$server" 2>/dev/null || exit "$status"
done
