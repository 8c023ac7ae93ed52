#!/bin/bash
# Makes CodeRunner a service of this machine that starts with it, or ends that.
#
#   tools/service.sh install <program> <listen> <data dir>
#   tools/service.sh uninstall
#
# With DESTDIR it only puts the files below that directory.
set -euo pipefail

to=${DESTDIR:-}
program=$to/usr/local/bin/coderunner
unit=$to/etc/systemd/system/coderunner.service
settings=$to/etc/default/coderunner

# systemd runs here, and is to know.
live() { [ -z "$to" ] && [ -d /run/systemd/system ]; }

case ${1:-} in
install)
	active=no
	if live && systemctl is-active --quiet coderunner; then active=yes; fi
	if [ $active = no ] && [ -z "$to" ] && [ -e "$4/serve.pid" ] && ! flock --nonblock "$4/serve.pid" true; then
		echo "CodeRunner serves $4 already, from make run. End that with Ctrl-C and run this again; the apps go on." >&2
		exit 1
	fi
	install -D -m 755 "$2" "$program.new"
	mv "$program.new" "$program" # a program that runs cannot be written to
	install -D -m 644 "$(dirname "$0")/coderunner.service" "$unit"
	if [ ! -e "$settings" ]; then
		mkdir -p "$(dirname "$settings")"
		printf '# Settings of coderunner.service: every flag of `coderunner serve`, as CODERUNNER_… .\nCODERUNNER_LISTEN=%s\nCODERUNNER_DATA_DIR=%s\n' "$3" "$4" >"$settings"
	fi
	if ! live; then
		[ -n "$to" ] || echo "Installed; systemd does not run here, so nothing was started. It is enabled by: systemctl enable coderunner"
		exit 0
	fi
	systemctl daemon-reload
	systemctl enable --quiet coderunner
	systemctl restart coderunner
	echo "CodeRunner serves now and after each start of the machine: $(sed -n 's/^CODERUNNER_LISTEN=/http:\/\//p' "$settings")"
	echo "Its settings are in $settings, its log is: journalctl -u coderunner"
	;;
uninstall)
	if live && [ -e "$unit" ]; then systemctl disable --quiet --now coderunner; fi
	rm -f "$unit" "$program"
	if live; then systemctl daemon-reload; fi
	[ -n "$to" ] || echo "The service is gone; its settings ($settings), the data and what apps run stay. make down stops the apps."
	;;
*)
	sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
