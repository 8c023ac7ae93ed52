#!/bin/bash
# Installs what CodeRunner needs on Debian 12, and says what and why. Does
# nothing, quickly, when all is there.
#
#   tools/deps.sh run     for serving
#   tools/deps.sh test    for the tests and for generating code as well
set -euo pipefail

declare -A why=(
	[containerd]="runs the sandboxes"
	[runc]="starts their processes"
	[mmdebstrap]="makes the base of the templates"
	[postgresql-15]="the platform's own database"
	[ca-certificates]="to reach registries over TLS"
	[chromium]="the browser tests"
	[gcc]="the race detector"
	[libc6-dev]="the race detector"
	[nodejs]="the style sheet, and the examples' own tests"
	[npm]="the style sheet, and the examples' own tests"
	[python3-pip]="the tests of the examples in Python"
)
packages=(containerd runc mmdebstrap postgresql-15 ca-certificates)
[ "${1:-run}" = test ] && packages+=(chromium gcc libc6-dev)
if [ "${1:-run}" = test ] && ! command -v npm >/dev/null; then packages+=(nodejs npm); fi
if [ "${1:-run}" = test ] && ! python3 -m pip --version >/dev/null 2>&1; then packages+=(python3-pip); fi

missing=()
for package in "${packages[@]}"; do
	if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then missing+=("$package"); fi
done

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if [ ${#missing[@]} -gt 0 ]; then
	echo "Installing from Debian:"
	for package in "${missing[@]}"; do printf '  %-16s %s\n' "$package" "${why[$package]}"; done
	# We start our own PostgreSQL and containerd; the distribution's services are not needed.
	if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		as_root mkdir -p /etc/postgresql-common
		echo "create_main_cluster = false" | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
	fi
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
		as_root chmod 755 $policy
		trap 'as_root rm -f $policy' EXIT
	fi
	log=$(mktemp)
	if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"; } >"$log" 2>&1; then
		tail -n 20 "$log"
		echo "apt-get could not install ${missing[*]}. Correct what it says above and run this again." >&2
		exit 1
	fi
	rm -f "$log"
fi

# Go, at the version of go.mod. Debian's is too old to build with, and new enough
# to fetch the right one and check it against the public checksum database.
want=$(sed -n 's/^go //p' "$(dirname "$0")/../go.mod")
own=/usr/local/lib/coderunner/go
have=$( (PATH="$PATH:$own/bin" GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true) | sed 's/^go//')
if [ "$(printf '%s\n' "$want" "${have:-0}" | sort -V | head -n 1)" != "$want" ]; then
	echo "Installing Go $want under $own: builds CodeRunner"
	if ! command -v go >/dev/null; then
		as_root apt-get update >/dev/null
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends golang-go >/dev/null
	fi
	cache=$(mktemp -d)
	module="golang.org/toolchain@v0.0.1-go$want.linux-$(dpkg --print-architecture)"
	(cd "$cache" && GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH="$cache" go mod download "$module")
	as_root mkdir -p "$(dirname "$own")"
	as_root rm -rf "$own"
	as_root cp -r "$cache/pkg/mod/$module" "$own"
	as_root find "$own/bin" "$own/pkg/tool" -type f -exec chmod 755 {} +
	rm -rf "$cache"
	as_root ln -sf "$own/bin/go" /usr/local/bin/go
	as_root ln -sf "$own/bin/gofmt" /usr/local/bin/gofmt
fi
