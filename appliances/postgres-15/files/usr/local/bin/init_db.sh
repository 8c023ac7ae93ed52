#!/bin/sh
# Makes the role POSTGRES_USER with POSTGRES_PASSWORD and its database
# POSTGRES_DB, all three from the environment. What exists is kept; the password
# is set each time. Runs as postgres, beside the server, for whose start it waits.
set -eu

: "${POSTGRES_USER:?is not set}" "${POSTGRES_PASSWORD:?is not set}" "${POSTGRES_DB:?is not set}"

case $POSTGRES_USER in
postgres | pg_*)
	echo "The role $POSTGRES_USER is the server's own. Choose another POSTGRES_USER." >&2
	exit 64
	;;
esac
case $POSTGRES_DB in
postgres | template0 | template1)
	echo "The database $POSTGRES_DB is the server's own. Choose another POSTGRES_DB." >&2
	exit 64
	;;
esac
for name in "$POSTGRES_USER" "$POSTGRES_DB"; do
	if [ ${#name} -gt 63 ]; then
		echo "A PostgreSQL name has at most 63 bytes: $name" >&2
		exit 64
	fi
done

# The server writes into its lock file what it is doing (postmaster.pid, line 8).
# Reading that costs less than to ask it, for which it starts a process.
lock=/var/lib/postgresql/data/cluster/postmaster.pid
tries=0
state=
until [ "$state" = ready ]; do
	tries=$((tries + 1))
	if [ $tries -gt 6000 ]; then
		echo "The server does not accept connections." >&2
		exit 69
	fi
	[ $tries = 1 ] || sleep 0.02
	state=
	[ ! -e "$lock" ] || while read -r line; do state=$line; done <"$lock" || true
done

# The values go from the environment into psql's variables and are quoted by the
# server, so that they may hold any character and are seen in no list of processes.
exec psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres <<'SQL'
\getenv user POSTGRES_USER
\getenv password POSTGRES_PASSWORD
\getenv database POSTGRES_DB

-- A failing statement would otherwise be written to the server's log with the password in it.
SET log_min_error_statement = panic;
SET log_statement = 'none';
SET log_min_duration_statement = -1;

-- Two of these at once wait for each other.
SELECT pg_advisory_lock(7015) \g /dev/null

SELECT format('CREATE ROLE %I', :'user')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec

SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', :'user', :'password') \gexec

SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'user')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec

SELECT format('ALTER DATABASE %I OWNER TO %I', :'database', :'user') \gexec

-- The databases beside it are the server's own business.
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;
SQL
