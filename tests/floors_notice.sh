#!/bin/sh
# The test of the floors can fail: it must notice a climb, a neighbour, and a foreign header in the policies.
#
# floors_notice.sh SOURCE_DIR
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
notice() {  # header, line to add, words of the message
    rm -rf "$work/include"
    cp -r "$source/include" "$work/include"
    echo "$2" >>"$work/include/flashback/$1"
    if cmake -DINCLUDE_DIR="$work/include" -P "$source/tests/floors.cmake" >"$work/log" 2>&1; then
        echo "$1 with $2 was not noticed" >&2
        exit 1
    fi
    grep -q "$3" "$work/log" || { cat "$work/log" >&2; exit 1; }
}
source=$1
notice core/tokens.hpp '#include "flashback/policy/layout.hpp"' 'core/tokens.hpp (floor 0) includes policy (floor 1)'
notice kv/kv_cache.hpp '#include "flashback/retrieval/bm25.hpp"' 'kv/kv_cache.hpp (floor 2) includes retrieval (floor 2)'
notice decoder/decoder.hpp '#include "flashback/text/unicode.hpp"' 'decoder may include core and policy only'
notice policy/query.hpp '#include <nlohmann/json.hpp>' 'policy may include the standard library'
notice testing/null_model.hpp '#include <xsimd/xsimd.hpp>' 'testing may include the standard library'
echo "five broken orders were noticed"
