# Makes a table of what the load tests report, and counts what held.
/load: / {
	sub(/^.*load: /, "")
	what = $0; sub(/: [0-9]+ requests.*/, "", what)
	match($0, /[0-9]+ requests/); requests = substr($0, RSTART, RLENGTH); sub(/ .*/, "", requests)
	match($0, /[0-9]+ failed/); failed = substr($0, RSTART, RLENGTH); sub(/ .*/, "", failed)
	match($0, /[0-9]+ delayed/); delayed = substr($0, RSTART, RLENGTH); sub(/ .*/, "", delayed)
	match($0, /slowest [0-9]+/); slowest = substr($0, RSTART + 8, RLENGTH - 8)
	if (!rows++) printf "%-40s %9s %7s %9s %11s\n", "", "requests", "failed", "over 1 s", "slowest"
	printf "%-40s %9d %7d %9d %8d ms\n", what, requests, failed, delayed, slowest
	if (requests > 0 && failed == 0 && delayed == 0) passed++; else bad++
	next
}
/^(---|FAIL|panic|ok)/ || /_test.go:[0-9]+: / { other = other $0 "\n" }
/^FAIL/ || /^panic/ { broken = 1 }
END {
	if (broken) { printf "%s", other; if (!bad) bad = 1 }
	if (!rows && !bad) bad = 1
	printf "%d passed, %d failed\n", passed, bad
	exit bad > 0
}
