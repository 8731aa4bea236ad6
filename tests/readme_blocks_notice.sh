#!/bin/sh
# The test of the blocks in examples/README.md can fail: it must notice one changed token, a line left out, and blocks that are
# not marked as C++.
#
# readme_blocks_notice.sh SOURCE_DIR
set -eu
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$source"/examples/*.cpp "$work"
cmake -DEXAMPLES="$source/examples" -P "$source/tests/readme_blocks.cmake"
notice() {  # sed script, words of the message
    sed "$1" "$source/examples/README.md" >"$work/README.md"
    ! cmp -s "$work/README.md" "$source/examples/README.md" || { echo "$1 changes nothing" >&2; exit 1; }
    if cmake -DEXAMPLES="$work" -P "$source/tests/readme_blocks.cmake" >"$work/log" 2>&1; then
        echo "$1 was not noticed" >&2
        exit 1
    fi
    grep -q "$2" "$work/log" || { cat "$work/log" >&2; exit 1; }
}
notice 's/if (++doubts > most_doubts)/if (++doubts >= most_doubts)/' 'has a block that no program of examples/ has'
notice '/append(out, parts.documents)/d' 'has a block that no program of examples/ has'
notice 's/^```cpp/```/' 'has 0 blocks'
echo "three broken pages were noticed"
