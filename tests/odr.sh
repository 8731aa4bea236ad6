#!/bin/sh
# Translation units for different instruction sets can be linked into one program: compiles tests/build/odr_unit.cpp for each,
# and shows that no two of them define the same weak symbol of flashback or xsimd, of which the linker would keep one for both.
# Then runs a program made of two of them. The policies, which need no exceptions, are also compiled with and without them for one
# instruction set.
#
# odr.sh COMPILER SOURCE_DIR [OPTION...]     an option such as -DFLASHBACK_ISA=same must make it fail
set -eu
compiler=$1
source=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=no

# The symbols that the linker merges: weak functions (W), weak objects (V), unique objects (u).
weak() { nm --defined-only "$1" | awk '$2 ~ /^[WVu]$/ { print $3 }' | sort -u >"$1.weak"; }

# shared A.o B.o: complains of symbols of ours in both, and counts those of others, which their authors would have to tag.
shared() {
    comm -12 "$1.weak" "$2.weak" | c++filt >"$work/both"
    ours=$(grep -cE 'flashback|xsimd' "$work/both" || true)
    echo "$(basename "$1" .o) and $(basename "$2" .o) share $ours symbols of flashback and xsimd," \
        "$(($(wc -l <"$work/both") - ours)) of the standard library and nlohmann-json"
    [ "$ours" = 0 ] || { failed=yes; grep -E 'flashback|xsimd' "$work/both" | head -20; }
}

level=O0  # here every function that is used has a symbol; with optimisation there are fewer, and tests/architectures.sh looks at them
objects=""
for arch in x86-64 x86-64-v2 x86-64-v3 x86-64-v4; do
    object=$work/$arch-$level.o
    case $arch in x86-64) unit=unit_older ;; x86-64-v3) unit=unit_newer ;; *) unit=unit_else ;; esac
    "$compiler" -std=c++20 -march=$arch -$level -DFLASHBACK_TEST_UNIT=$unit -I "$source/include" "$@" \
        -c "$source/tests/build/odr_unit.cpp" -o "$object"
    weak "$object"
    ours=$(c++filt <"$object.weak" | grep -c flashback || true)
    [ "$ours" -gt 500 ] || { echo "found only $ours symbols of flashback in $object" >&2; exit 1; }
    for other in $objects; do shared "$other" "$object"; done
    [ "$failed" = no ] || exit 1
    objects="$objects $object"
done
if grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo; then
    "$compiler" -std=c++20 "$source/tests/build/odr_main.cpp" "$work/x86-64-$level.o" "$work/x86-64-v3-$level.o" -pthread \
        -o "$work/program"
    "$work/program" "$source/examples/models/flashback-base-5m.gguf" sse2: avx2:
fi

for exceptions in fexceptions fno-exceptions; do
    "$compiler" -std=c++20 -march=x86-64 -O0 -$exceptions -I "$source/include" "$@" -c "$source/tests/build/policy_only.cpp" \
        -o "$work/$exceptions.o"
    weak "$work/$exceptions.o"
    ours=$(c++filt <"$work/$exceptions.o.weak" | grep -c flashback || true)
    [ "$ours" -gt 50 ] || { echo "found only $ours symbols of flashback in $exceptions.o" >&2; exit 1; }
done
shared "$work/fexceptions.o" "$work/fno-exceptions.o"
[ "$failed" = no ]
