#!/bin/sh
# Builds what the pages fetch: app.css from src/, the vendored scripts and
# views/icons.go. The versions are those of package-lock.json; the result is the
# same on every machine, so that a check can compare it.
set -eu
cd "$(dirname "$0")/.."
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
mkdir -p static/vendor
node static/src/icons.mjs
node static/src/ansi.mjs
node static/src/nova.mjs
node_modules/.bin/tailwindcss -i static/src/app.css -o static/app.css --minify
for file in htmx.org/dist/htmx.min.js htmx.org/dist/ext/hx-sse.min.js; do
	sed '/^\/\/# sourceMappingURL=/d' "node_modules/$file" >"static/vendor/$(basename "$file")"
done
