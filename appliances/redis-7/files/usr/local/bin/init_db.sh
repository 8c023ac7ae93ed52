#!/bin/sh
# Gives the user default REDIS_PASSWORD, from the environment. The password is set
# each time; the data stays, and so do connections. Runs as redis, beside the
# server, for whose start it waits.
set -eu

: "${REDIS_PASSWORD:?is not set}"

volume=/var/lib/redis/data
run=/var/lib/redis/run
umask 077

# Two of these at once wait for each other.
exec 8>"$volume/init.lock"
flock --wait 60 8 || {
	echo "Another init_db.sh does not end." >&2
	exit 75
}

tries=0
until /usr/local/bin/ready_db.sh; do
	tries=$((tries + 1))
	if [ $tries -gt 6000 ]; then
		echo "The server does not accept connections." >&2
		exit 69
	fi
	sleep 0.02
done

# The shell's own printf: the password is on no command line. What is kept of it is a hash.
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum)
hash=${hash%% *}
printf %s "$hash" >"$volume/password.new"
sync "$volume/password.new"
mv "$volume/password.new" "$volume/password.sha256"
sync "$volume"

REDISCLI_AUTH=$(cat "$run/admin")
export REDISCLI_AUTH
answer=$(echo "ACL SETUSER default reset on #$hash $(cat /usr/local/etc/redis/default.rules)" |
	redis-cli -s "$run/redis.sock" --user admin --no-auth-warning)
if [ "$answer" != OK ]; then
	echo "The password could not be set: $answer" >&2
	exit 70
fi
