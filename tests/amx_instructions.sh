#!/bin/sh
# Products of bf16 and of quantised weights are made of tile instructions if the compiler may use them, and only then: compiles
# tests/build/amx_unit.cpp for such a processor, without optimisation too, for one like it that lacks tiles or some of their products, and
# with tiles that are emulated on purpose.
#
# amx_instructions.sh COMPILER SOURCE_DIR
set -eu
compiler=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$1" >&2; exit 1; }

bf16="-march=x86-64-v4 -mavx512vnni -mavx512bf16"
# compile NAME OPTION...
compile() {
    name=$1
    shift
    # shellcheck disable=SC2086
    "$compiler" -std=c++20 -I "$source/include" $bf16 "$@" -c "$source/tests/build/amx_unit.cpp" -o "$work/$name.o"
    objdump -d --no-show-raw-insn "$work/$name.o" >"$work/$name"
}

for level in O0 O3; do
    compile tiles -$level -mamx-tile -mamx-bf16 -mamx-int8
    for instruction in tdpbf16ps tdpbssd tileloadd tilestored tilezero ldtilecfg tilerelease; do
        found=$(grep -cw "$instruction" "$work/tiles" || true)
        echo "-$level: $found times $instruction"
        [ "$found" -gt 0 ] || fail "expected $instruction in a product that may use tiles"
    done
    [ "$(nm -C "$work/tiles.o" | grep -c 'flashback::amx::simd')" -gt 0 ] || fail "the tag is not amx"
done
compile none -O3
compile without_int8 -O3 -mamx-tile -mamx-bf16
compile emulated -O3 -mamx-tile -mamx-bf16 -mamx-int8 -DFLASHBACK_AMX_EMULATE
for name in none without_int8 emulated; do
    ! grep -qwE '%tmm[0-7]|ldtilecfg|tilerelease' "$work/$name" || fail "found $(grep -m1 -wE '%tmm[0-7]|ldtilecfg|tilerelease' "$work/$name") without the permission to use tiles"
done
nm -C "$work/emulated.o" | grep -q 'flashback::avx512_bf16_as_amx::simd' || fail "the tag is not avx512_bf16_as_amx"
