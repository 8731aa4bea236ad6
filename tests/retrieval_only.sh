#!/bin/sh
# flashback::retrieval needs no kernels, no models and no JSON: compiles tests/consumers/retrieval.cpp and every public header of text and
# retrieval, but those that ask for another library by their purpose, against a copy of core, text, retrieval and the files that an index is
# kept in. Of other libraries none is read.
#
# retrieval_only.sh COMPILER SOURCE_DIR
set -eu
compiler=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/include/flashback/format"
for part in core text retrieval; do cp -r "$source/include/flashback/$part" "$work/include/flashback/"; done
for file in atomic_file byte_reader folder mapped_file; do cp "$source/include/flashback/format/$file.hpp" "$work/include/flashback/format/"; done

"$compiler" -std=c++20 -O0 -Wall -Wextra -Werror -I "$work/include" "$source/tests/consumers/retrieval.cpp" -pthread -o "$work/program"
"$work/program"

# corpus.hpp reads JSON, ranges.hpp is for range-v3, english.hpp for libstemmer.
(cd "$work/include" && find flashback/text flashback/retrieval -name '*.hpp' -not -path '*/detail/*') |
    grep -vE '^flashback/retrieval/(corpus|ranges|english)\.hpp$' | sed 's/.*/#include "&"/' >"$work/headers.cpp"
[ "$(wc -l <"$work/headers.cpp")" -ge 8 ] || { echo "found few headers: $(cat "$work/headers.cpp")" >&2; exit 1; }
"$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I "$work/include" "$work/headers.cpp"
"$compiler" -std=c++20 -I "$work/include" -M "$work/headers.cpp" >"$work/read"
if grep -E 'nlohmann|xsimd|range/v3|libstemmer' "$work/read"; then echo "another library is read" >&2; exit 1; fi
echo "retrieval stands alone"
