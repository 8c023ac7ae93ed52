#!/bin/sh
# Runs once as root while the template is built, and is not kept in it.
set -eu

ln -s ../go/bin/go ../go/bin/gofmt /usr/local/bin/

# Every build would compile the standard library otherwise, which takes longer than the rest of it.
GODEBUG=installgoroot=all GOTOOLCHAIN=local go install std
rm -rf /root/.cache /root/.config

go version
cc --version
