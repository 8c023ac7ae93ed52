#!/bin/sh
# Succeeds once the server has read its data and answers. It says nothing.
set -eu

run=/var/lib/redis/run
[ -S "$run/redis.sock" ]

# From the environment, which other users do not see, and not from the command line.
REDISCLI_AUTH=$(cat "$run/admin")
export REDISCLI_AUTH
[ "$(redis-cli -s "$run/redis.sock" --user admin --no-auth-warning PING 2>/dev/null)" = PONG ]
