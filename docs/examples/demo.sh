#!/bin/bash
# What 'make demo' shows: one script, one boot, and what the host saw of it.
set -uo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
result=$(mktemp)
trap 'rm -f "$result"' EXIT

echo "\$ dolania run docs/examples/hello.sh"
"$top/build/bin/dolania" run --result "$result" "$top/docs/examples/hello.sh"
status=$?
echo
echo "exit status $status; the result (--result FILE):"
/usr/bin/python3 -m json.tool <"$result" || exit 125
exit "$status"
