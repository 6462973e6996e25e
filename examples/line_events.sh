#!/bin/sh
# Prints the events of complaints since the last time, a line of JSON each, and remembers how far it came: for cron.
#
#   line_events.sh SOCKET CURSORFILE
#
# SOCKET is the daemon's unix socket (line.listen); the user is root or the daemon's own. The cursor is kept only when the whole
# answer has come and was printed, so each event is printed once; after a failure the next run begins where the last good one ended.
set -eu
socket=$1 cursor=$2
after=$(cat "$cursor" 2>/dev/null || echo 0)
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
complaintctl --socket "$socket" --json subscribe --after "$after" --once > "$answer"
jq -c 'select(.kind)' "$answer"
tail -n 1 "$answer" | jq -re .cursor > "$cursor.new"
mv "$cursor.new" "$cursor"
