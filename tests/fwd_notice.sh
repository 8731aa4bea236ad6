#!/bin/sh
# The test of fwd.hpp can fail: it must notice a name that is missing, one that stands there twice, and one that no header declares.
#
# fwd_notice.sh SOURCE_DIR COMPILER
set -eu
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
notice() {  # sed's script for fwd.hpp, words of the message
    rm -rf "$work/include"
    cp -r "$source/include" "$work/include"
    sed -i "$1" "$work/include/flashback/fwd.hpp"
    if sh "$source/tests/fwd.sh" "$work" "$2" >"$work/log" 2>&1; then
        echo "fwd.hpp after $1 was not noticed" >&2
        exit 1
    fi
    grep -q "$3" "$work/log" || { cat "$work/log" >&2; exit 1; }
}
notice '/^class Bm25Index;/d' "$2" 'fwd.hpp lacks Bm25Index'
notice '/^class PackedMatrix;/d' "$2" 'fwd.hpp lacks simd::PackedMatrix'
notice 's/^class Trainer;/&\n&/' "$2" 'fwd.hpp names Trainer twice'
notice 's/^class Trainer;/&\nclass Teacher;/' "$2" 'fwd.hpp names Teacher, which no header declares'
notice 's/^class Trainer;/&\nclass/' "$2" 'error'
echo "five wrong tables of contents were noticed"
