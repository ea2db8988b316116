#!/bin/bash
# The mechanical part of our style: banned functions, sizes, shell scripts.
# Errors end with status 1; what only deserves a look is a warning.
set -euo pipefail
cd "$(dirname "$0")/../.."
errors=0
error() { echo "$*" >&2; errors=$((errors + 1)); }

sources=$(find vmm guest tools tests -name '*.[ch]' -not -path '*/corpus/*' 2>/dev/null | sort)
[ -n "$sources" ] || exit 0

# Comments and strings may name them; calls may not be made.
while IFS= read -r hit; do
	[ -n "$hit" ] && error "$hit: banned function"
done < <(
	# shellcheck disable=SC2086
	grep -nwE '(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|alloca)[[:space:]]*\(' $sources |
		grep -vE ':[0-9]+:[[:space:]]*(/?\*|//)' || true
)

for f in $sources; do
	n=$(wc -l <"$f")
	[ "$n" -le 400 ] || case $f in
	vmm/*) error "$f: $n lines (limit 400)" ;;
	*) echo "warning: $f: $n lines (400 is the aim)" >&2 ;;
	esac
done

# A function: from a '{' in column 1 to a '}' in column 1.
for f in $sources; do
	awk -v f="$f" '
	/^\{/ { start = NR }
	/^\}/ { if (start && NR - start - 1 > 60)
			printf "warning: %s:%d: function of %d lines (60 is the aim)\n", f, start, NR - start - 1 > "/dev/stderr"
		start = 0 }' "$f"
done

if command -v shellcheck >/dev/null; then
	scripts=$(grep -rlE '^#!/bin/(ba)?sh' tools kernel-config rootfs guest tests docs/examples .ci 2>/dev/null |
		grep -v '\.py$' || true)
	for s in $scripts; do
		shellcheck -S warning -x "$s" >&2 || error "$s: shellcheck"
	done
else
	echo "warning: no shellcheck here, shell scripts not checked" >&2
fi
[ "$errors" -eq 0 ] || { echo "style: $errors errors" >&2; exit 1; }
