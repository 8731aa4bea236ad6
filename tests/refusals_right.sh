#!/bin/sh
# The right programs of tests/refusals, those without WRONG, compile without a warning: all of them at once, each in a namespace of its own.
# That takes the time of a few, and says as much: that each includes what it uses is seen when its wrong program is compiled alone.
#
# refusals_right.sh FOLDER COMPILER [OPTION...]
set -eu
folder=$(cd "$1" && pwd)
compiler=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -n '/^#include/p' "$folder"/*.cpp | sort -u >"$work/all.cpp"  # what they include stands outside the namespaces, once
for file in "$folder"/*.cpp; do
    printf 'namespace right_%s {\n#line 1 "%s"\n' "$(basename "$file" .cpp)" "$file"
    sed 's/^int main() {$/int right() {/; $s/^}$/    return 0;\n}/' "$file"  # only a main() outside of namespaces needs no return
    echo '}'
done >>"$work/all.cpp"
"$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Werror "$@" -I "$folder" "$work/all.cpp" >"$work/log" 2>&1 || {
    head -n 60 "$work/log" >&2
    echo "$compiler: the right program does not compile" >&2
    exit 1
}
echo "$compiler compiles $(grep -c '^namespace' "$work/all.cpp") right programs"
