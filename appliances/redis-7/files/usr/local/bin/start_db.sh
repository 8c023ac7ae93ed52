#!/bin/sh
# Runs the database on its volume until it is told to stop. SIGTERM makes it write
# what it has and end. MEMORY_BYTES is what the sandbox may have.
set -eu

volume=/var/lib/redis/data
run=/var/lib/redis/run

# The server and all its processes inherit this lock: as long as one of them
# lives, in whatever sandbox, nobody else touches the volume.
exec 9>"$volume/lock"
flock --wait 20 9 || {
	echo "Another database server is still using this volume." >&2
	exit 75
}

umask 077
rm -f "$run"/*

# The administrator of this start, with a password that nobody else in the world
# has: init_db.sh and ready_db.sh come as it, through the socket in the sandbox.
random=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')
printf %s "$random" >"$run/admin"
admin=$(printf %s "$random" | sha256sum)

# Everybody else is the user default, who is off until init_db.sh has kept a password.
{
	echo "user admin on #${admin%% *} &* ~* +@all"
	if [ -s "$volume/password.sha256" ]; then
		echo "user default on #$(cat "$volume/password.sha256") $(cat /usr/local/etc/redis/default.rules)"
	else
		echo "user default off"
	fi
} >"$run/users.acl"

# Half of what the sandbox may have: while the file is rewritten, what changes is in memory twice.
maxmemory=$((${MEMORY_BYTES:-134217728} / 2))

server=
stopping=
trap 'stopping=yes; [ -z "$server" ] || kill -TERM "$server"' TERM INT HUP

# The server outlives this script in no case: it is told to stop when the script is killed.
setpriv --pdeathsig=TERM -- /usr/bin/redis-server /usr/local/etc/redis/redis.conf --maxmemory "$maxmemory" &
server=$!
[ -z "$stopping" ] || kill -TERM "$server"

# A signal ends the wait before the server has ended.
while :; do
	status=0
	wait "$server" || status=$?
	kill -0 "$server" 2>/dev/null || exit "$status"
done
