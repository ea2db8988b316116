#!/bin/bash
# Includes go downward only:
#   main, run -> kvm boot virtio irq jail report -> mem -> base
# and siblings do not include each other.  virtio/ knows nothing of KVM, so that
# all code that faces the guest links into tests and fuzzers without it.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -d vmm ] || exit 0

grep -rnoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<][^">]+[">]' vmm --include='*.[ch]' |
awk -F: '
function layer(path,   a, n) {
	n = split(path, a, "/")
	return n <= 2 ? "run" : a[2]
}
BEGIN {
	rank["base"] = 0; rank["mem"] = 1; rank["run"] = 3
	split("kvm boot virtio irq jail report", mid, " ")
	for (i in mid) rank[mid[i]] = 2
	# report.h is the struct in which everything above it counts.
	# irq/ and boot/ and kvm/ may fill it; virtio/ may not.
	shared["vmm/report/report.h"] = 1
}
{
	file = $1; line = $2; inc = $3
	sub(/^[^"<]*/, "", inc)
	quoted = inc ~ /^"/
	gsub(/["<>]/, "", inc)
	from = layer(file)
	if (from == "virtio" && (inc == "linux/kvm.h" || inc ~ /^vmm\/kvm\//))
		bad("virtio/ must know nothing of KVM")
	if (!quoted) next
	if (inc !~ /\//) { n = file; sub(/[^\/]*$/, "", n); inc = n inc }
	if (inc !~ /^vmm\//) {
		if (inc ~ /^guest\/wire\.h$/) next
		bad("the trusted base includes only vmm/ and guest/wire.h")
		next
	}
	to = layer(inc)
	if (to == from) next
	if (!(to in rank) || !(from in rank)) { bad("no such layer: " to); next }
	if (inc in shared && from != "virtio") next
	if (rank[to] > rank[from]) bad("includes upward, " from " -> " to)
	else if (rank[to] == rank[from]) bad("siblings, " from " -> " to)
}
function bad(why) { printf "%s:%s: \"%s\": %s\n", file, line, inc, why > "/dev/stderr"; n_bad++ }
END { if (n_bad) { printf "layers: %d wrong\n", n_bad > "/dev/stderr"; exit 1 } }
'
