#!/bin/sh
# clang-tidy over all sources and, through them, all headers, or over the sources named. Writes each finding once; CI does not
# run it, contributors do. All of it takes 16 minutes of one core.
#
# tests/tidy.sh [SOURCE...]
set -eu
cd "$(dirname "$0")/.."
. cmake/setup.sh
install_flashback_packages
install_packages clang clang-tidy

# clang's own commands: clang-tidy does not know all options of g++.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset clang-x86-64 -B build/tidy -DFLASHBACK_MARCH=native -DCMAKE_UNITY_BUILD=OFF >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
# shellcheck disable=SC2046  # no source has a space in its name
[ $# -gt 0 ] || set -- $(find examples tests benchmarks -name '*.cpp' | sort)

echo "== clang-tidy over $# sources"
status=0
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 clang-tidy -p build/tidy --quiet >"$log" 2>/dev/null || status=1
# A finding in a header comes once for each source that includes it.
grep -E ': (warning|error):' "$log" | sort -u || true
if [ $status != 0 ]; then
    echo "clang-tidy found something; for the notes to it: clang-tidy -p build/tidy SOURCE" >&2
    exit 1
fi
echo "nothing found"
