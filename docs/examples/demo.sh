#!/bin/bash
# What 'make demo' shows: one script, one boot, and what the host saw of it.
set -uo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
result=$(mktemp)
trap 'rm -f "$result"' EXIT

echo "\$ dolania run --result r.json docs/examples/hello.sh"
"$top/build/bin/dolania" run --result "$result" "$top/docs/examples/hello.sh"
status=$?
echo
echo "exit status $status; of the result (docs/result.md describes all of it):"
/usr/bin/python3 - "$result" <<'END' || exit 125
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    r = json.load(f)
end, host, used = r["end"], r["host"], r["used"]
print("end           ", json.dumps(end))
if host:
    phases = host["phases_ns"]

    def ms(since, until):
        known = phases[since] is not None and phases[until] is not None
        return f"{(phases[until] - phases[since]) / 1e6:.0f} ms" if known else "not reached"

    print("boot          ", ms("boot", "ready") + ", from the guest's first instruction to its init")
    print("script        ", ms("started", "ended"))
    print("exits         ", host["exits"]["total"], "from the guest to the host")
    print("memory        ", host["touched_bytes"] >> 20, "MiB touched of", host["ram_bytes"] >> 20, "MiB")
    print("overwritten   ", host["discard"]["overwritten_bytes"] >> 20, "MiB, complete:", json.dumps(host["discard"]["complete"]))
    print("output        ", used["stdout_bytes"]["host"], "bytes of stdout,", used["stderr_bytes"]["host"], "of stderr")
    print("processes     ", "not told;" if used["pids"]["guest"] is None else f"{used['pids']['guest']} at once, the guest says;", used["pids"]["allowed"], "allowed")
print("events        ", ", ".join(f"{e['severity']} {e['kind']} ({e['count']})" for e in r["events"]) or "none")
print("missing layers", ", ".join(host["missing_layers"]) or "none" if host else "nothing was started")
END
exit "$status"
