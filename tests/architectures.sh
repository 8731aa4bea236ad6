#!/bin/bash
# One program for several processors (examples/05_architectures.cpp): what it writes is right on every one that this machine can
# be, each has kernels of its own in it, and nothing that the plainest can call has newer instructions. That rests on the order in
# which the units are linked, so the other order must be noticed.
#
# architectures.sh COMPILER PROGRAM OBJECT...     objects as they are linked: the program's own, then the units, plainest first
set -euo pipefail
compiler=$1
program=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$1" >&2; exit 1; }

"$program" --all | tee "$work/all" || fail "the units do not agree"
[ "$("$program" | sed 's/:.*//')" = "$(sed -n 's/: .*nats.*//p' "$work/all" | tail -1)" ] || fail "it did not take the best"
while IFS=: read -r name _; do  # what this machine cannot be is refused
    if "$program" --arch "$name" 2>"$work/err"; then fail "it ran $name, which this processor lacks"; fi
    grep -q "^05_architectures: this processor lacks instructions of $name$" "$work/err" || fail "$name: $(cat "$work/err")"
done < <(grep 'not on this processor' "$work/all" || true)
if "$program" --arch pdp-11 2>"$work/err"; then fail "it took --arch pdp-11"; fi
grep -q "^05_architectures: found the architecture 'pdp-11', expected one of sse2, avx2, avx512_bf16, amx" "$work/err" || fail "$(cat "$work/err")"

# weak OBJECT...: what the linker merges, that is keeps the first copy of.
weak() { nm --defined-only "$@" | awk '$2 ~ /^[WVu]$/ { print $3 }' | sort; }


for tag in sse2 avx2 avx512_bf16 amx; do
    found=$(nm --defined-only -C "$program" | grep -c "flashback::$tag::simd::" || true)
    echo "$found kernels and parts of them for $tag"
    [ "$found" -gt 20 ] || fail "expected more than 20 functions of flashback::$tag::simd"
done
for object in "$@"; do weak "$object" | sort -u; done | sort | uniq -d >"$work/shared"
[ "$(c++filt <"$work/shared" | grep -cE 'flashback::|xsimd')" = 0 ] || fail "units share $(c++filt <"$work/shared" | grep -E -m1 'flashback::|xsimd')"

# too_new PROGRAM OBJECT...: instructions of AVX and later in functions that these objects, for processors without, can call.
too_new() {
    local linked=$1
    shift
    { weak "$@"; nm --defined-only "$@" | awk '$2 == "T" { print $3 }'; } | sort -u >"$work/called"
    objdump -d --no-show-raw-insn "$linked" | awk -v called="$work/called" '
        BEGIN { while ((getline name < called) > 0) plain["<" name ">:"] = 1 }
        /^[0-9a-f]+ <.*>:$/ { inside = $2 in plain; name = $2; functions += inside }
        inside && ($2 ~ /^v[a-z]/ || /%[yz]mm/) && !seen[name]++ { print name, $2 }
        END { if (functions < 100) print "looked into", functions, "functions only" }'
}
found=$(too_new "$program" "$1" "$2" "$3")
[ -z "$found" ] || fail "the plainest unit would call: $found"

"$compiler" "$1" "$2" "$6" "$5" "$4" "$3" -pthread -o "$work/reversed"
found=$(too_new "$work/reversed" "$1" "$2" "$3")
[ -n "$found" ] || fail "the check does not notice units that are linked in the other order"
echo "$(wc -l <"$work/shared") functions of others are shared; linked in the other order, $(wc -l <<<"$found") of them would be too new"
