#!/bin/sh
# Runs once as root while the template is built, and is not kept in it.
set -eu

data=/var/lib/mysql/data/server
config=/usr/local/etc/mysql/mysql.cnf

# The distribution's own configuration and data are not used.
rm -rf /etc/mysql /var/lib/mysql /var/log/mysql

install -d -o mysql -g mysql -m 0700 /var/lib/mysql /var/lib/mysql/data /var/lib/mysql/run

# A new volume begins as a copy of this. Whoever runs as mysql inside the sandbox is the
# administrator, and so is its root; both come through the socket, and by no other way.
# There are no users without a name, and no database for tests. (--force: no looking for this
# machine's name, with a program that is not here.)
setpriv --reuid=mysql --regid=mysql --clear-groups -- mariadb-install-db --defaults-file="$config" --datadir="$data" \
	--auth-root-authentication-method=socket --auth-root-socket-user=mysql --skip-test-db --force

# An entry for the machine that this is built on goes. It also shows that the server starts.
echo 'DELETE FROM mysql.proxies_priv;' | setpriv --reuid=mysql --regid=mysql --clear-groups -- \
	mariadbd --defaults-file="$config" --log-warnings=0 --bootstrap
rm -rf /var/lib/mysql/run/*
