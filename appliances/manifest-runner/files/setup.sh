#!/bin/sh
# Runs once as root while the template is built, and is not kept in it.
set -eu

for program in npm npx; do
	ln -sf ../lib/node_modules/npm/bin/$program-cli.js /usr/local/bin/$program
done

# nodedir spares node-gyp the download of headers that are in place already; the
# rest keeps lines out of the log that nobody can act on during a deploy.
mkdir -p /usr/local/etc
cat > /usr/local/etc/npmrc <<'NPMRC'
nodedir=/usr/local
update-notifier=false
fund=false
audit=false
NPMRC

test "$(npm config get nodedir)" = /usr/local || {
	echo "npm does not read /usr/local/etc/npmrc" >&2
	exit 1
}

# The packages are unpacked already. Only SQLite has a part that must be compiled.
cd /usr/local/lib/manifest/node_modules/sqlite3
node /usr/local/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js rebuild --nodedir=/usr/local --jobs=max > /tmp/sqlite3.log 2>&1 || {
	tail -n 40 /tmp/sqlite3.log >&2
	exit 1
}
find build -mindepth 1 ! -path build/Release ! -path build/Release/node_sqlite3.node -delete
rm -rf deps

# Archives come with the modes of whoever packed them.
chmod -R u=rwX,go=rX /usr/local/lib/manifest
chmod 0755 /usr/local/bin/manifest-runner
install -d -o app -g app -m 0755 /data

cd /usr/local/lib/manifest
node -e 'new (require("sqlite3").Database)(":memory:").get("SELECT sqlite_version() AS v", (err, row) => { if (err) throw err; console.log("SQLite " + row.v); })'
node -e 'require("sharp")'
rm -rf /root/.npm /root/.cache /usr/local/CHANGELOG.md /usr/local/README.md /usr/local/LICENSE /usr/local/share/doc /usr/local/share/man

node --version
