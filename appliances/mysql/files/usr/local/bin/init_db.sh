#!/bin/sh
# Makes the user MYSQL_USER with MYSQL_PASSWORD and its database MYSQL_DATABASE, all
# three from the environment. What exists is kept; the password is set each time.
# Runs as mysql, beside the server, for whose start it waits.
set -eu

: "${MYSQL_USER:?is not set}" "${MYSQL_PASSWORD:?is not set}" "${MYSQL_DATABASE:?is not set}"

case $MYSQL_USER in
root | mysql | mariadb.sys | [Pp][Uu][Bb][Ll][Ii][Cc])
	echo "The user $MYSQL_USER is the server's own. Choose another MYSQL_USER." >&2
	exit 64
	;;
esac
case $MYSQL_DATABASE in
[Mm][Yy][Ss][Qq][Ll] | [Ss][Yy][Ss] | *[Ss][Cc][Hh][Ee][Mm][Aa])
	echo "The database $MYSQL_DATABASE is the server's own. Choose another MYSQL_DATABASE." >&2
	exit 64
	;;
esac
for name in "$MYSQL_USER" "$MYSQL_DATABASE"; do
	if [ ${#name} -gt 64 ]; then
		echo "A MySQL name has at most 64 characters: $name" >&2
		exit 64
	fi
done

administer() {
	mariadb --no-defaults --user=mysql --default-character-set=utf8mb4 --batch --skip-column-names "$@"
}

tries=0
until [ -S "$MYSQL_UNIX_PORT" ] && administer --execute='DO 0' 2>/dev/null; do
	tries=$((tries + 1))
	if [ $tries -gt 3000 ]; then
		echo "The server does not accept connections." >&2
		exit 69
	fi
	sleep 0.02
done

# text is a value as the server reads it whatever is in it. The shell's own printf: the
# password is on no command line.
text() {
	printf 'CONVERT(0x%s USING utf8mb4)' "$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')"
}

administer <<SQL
SET @user = $(text "$MYSQL_USER"), @password = $(text "$MYSQL_PASSWORD"), @database = $(text "$MYSQL_DATABASE");
SET @account = CONCAT(QUOTE(@user), '@''%''');
SET @schema = CONCAT('\`', REPLACE(@database, '\`', '\`\`'), '\`');
-- In a grant, these two stand for any character.
SET @pattern = REPLACE(REPLACE(@schema, '_', '\\\\_'), '%', '\\\\%');

-- Two of these at once wait for each other.
DO GET_LOCK('init_db', 60);

EXECUTE IMMEDIATE CONCAT('CREATE DATABASE IF NOT EXISTS ', @schema);
EXECUTE IMMEDIATE CONCAT('CREATE USER IF NOT EXISTS ', @account, ' IDENTIFIED BY ', QUOTE(@password));
EXECUTE IMMEDIATE CONCAT('ALTER USER ', @account, ' IDENTIFIED BY ', QUOTE(@password), ' ACCOUNT UNLOCK');
EXECUTE IMMEDIATE CONCAT('GRANT ALL PRIVILEGES ON ', @pattern, '.* TO ', @account);
SQL
