#!/bin/sh
# Runs once as root while the template is built, and is not kept in it.
set -eu

# Debian's npm reads its global settings here. nodedir spares node-gyp the
# download of headers that libnode-dev has already put in place; the rest keeps
# lines out of the log that nobody can act on during a deploy.
cat > /etc/npmrc <<'NPMRC'
nodedir=/usr
update-notifier=false
fund=false
audit=false
NPMRC

test "$(npm config get nodedir)" = /usr || {
	echo "npm does not read /etc/npmrc" >&2
	exit 1
}
rm -rf /root/.npm

node --version
npm --version
