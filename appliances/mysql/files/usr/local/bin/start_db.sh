#!/bin/sh
# Runs the database on its volume until it is told to stop. SIGTERM makes it let
# go of its clients and shut down cleanly at once. MEMORY_BYTES is what the sandbox may have.
set -eu

volume=/var/lib/mysql/data
data=$volume/server

# The server inherits this lock: as long as it lives, in whatever sandbox, nobody
# else touches the volume.
exec 9>"$volume/lock"
flock --wait 20 9 || {
	echo "Another database server is still using this volume." >&2
	exit 75
}

if [ ! -e "$data" ]; then
	echo "There is no database on this volume." >&2
	exit 78
fi

# Whoever made these is gone, or the lock would be taken.
rm -f /var/lib/mysql/run/*

server=
stopping=
trap 'stopping=yes; [ -z "$server" ] || kill -TERM "$server"' TERM INT HUP

# The server itself and its clients take some 128 MiB. Of the rest the pages of tables
# have half, and at least 16 MiB; the other half is for what queries take.
pool=$(((${MEMORY_BYTES:-268435456} - 134217728) / 2))
[ "$pool" -ge 16777216 ] || pool=16777216

# The server outlives this script in no case: it is told to stop when the script is killed.
setpriv --pdeathsig=TERM -- /usr/sbin/mariadbd --defaults-file=/usr/local/etc/mysql/mysql.cnf --innodb-buffer-pool-size="$pool" &
server=$!
[ -z "$stopping" ] || kill -TERM "$server"

# A signal ends the wait before the server has ended.
while :; do
	status=0
	wait "$server" || status=$?
	kill -0 "$server" 2>/dev/null || exit "$status"
done
