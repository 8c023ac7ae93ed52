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
rm -rf /root/.npm /usr/local/CHANGELOG.md /usr/local/README.md /usr/local/LICENSE /usr/local/share/doc /usr/local/share/man

node --version
npm --version
