#!/bin/sh
# The test of the pages' blocks can fail: it must notice one changed token, a line left out, blocks that are not marked as C++,
# and a README.md that grows too long.
#
# readme_blocks_notice.sh SOURCE_DIR
set -eu
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/examples" "$work/benchmarks" "$work/include/flashback"
cp "$source"/examples/*.cpp "$work/examples"
cmake -DROOT="$source" -P "$source/tests/readme_blocks.cmake"
notice() {  # page, sed script, words of the message
    cp "$source/README.md" "$work"
    for folder in examples benchmarks include/flashback; do cp "$source/$folder"/*.md "$work/$folder"; done
    sed "$2" "$source/$1" >"$work/$1"
    ! cmp -s "$work/$1" "$source/$1" || { echo "$2 changes nothing in $1" >&2; exit 1; }
    if cmake -DROOT="$work" -P "$source/tests/readme_blocks.cmake" >"$work/log" 2>&1; then
        echo "$2 was not noticed in $1" >&2
        exit 1
    fi
    grep -q "$3" "$work/log" || { cat "$work/log" >&2; exit 1; }
}
notice examples/README.md 's/if (++doubts > most_doubts)/if (++doubts >= most_doubts)/' 'has a block that no program of examples/ has'
notice examples/README.md '/append(out, parts.head);/d' 'has a block that no program of examples/ has'
notice examples/README.md 's/^```cpp/```/' 'examples/README.md has 0 blocks'
notice include/flashback/first_success.md 's/return true;/return false;/' 'first_success.md has a block'
notice README.md 's/fb::EveryNTokens{16}/fb::EveryNTokens{17}/' 'README.md has a block that no program of examples/ has'
notice README.md 'p' 'words, expected at most 1800'
echo "six broken pages were noticed"
