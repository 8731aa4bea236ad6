#!/bin/sh
# The test of the documentation can fail: it must notice each kind of name without a doc block, and a block that Doxygen does not understand.
#
# docs_notice.sh SOURCE_DIR DOXYFILE DOXYGEN
set -eu
source=$1
doxyfile=$2
doxygen=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/flashback"
cp "$source/include/flashback/core/tokens.hpp" "$work/right.hpp"  # one small header stands for all: Doxygen reads each by itself
printf 'OUTPUT_DIRECTORY = %s/docs\nINPUT = %s/flashback/tokens.hpp\nSTRIP_FROM_PATH = %s\nUSE_MDFILE_AS_MAINPAGE =\n' "$work" "$work" "$work" |
    cat "$doxyfile" - >"$work/Doxyfile"
check() { "$doxygen" "$work/Doxyfile" >"$work/log" 2>&1; }
cp "$work/right.hpp" "$work/flashback/tokens.hpp"
check || { cat "$work/log" >&2; exit 1; }
notice() {  # what is put in front of `using TokenBuffer`, words of the warning
    awk -v added="$1" '/^using TokenBuffer/ { print last; print; print added; last = ""; next } NR > 1 { print last } { last = $0 } END { print last }' \
        "$work/right.hpp" >"$work/flashback/tokens.hpp"
    ! cmp -s "$work/right.hpp" "$work/flashback/tokens.hpp" || { echo "nothing was added" >&2; exit 1; }
    if check; then
        echo "not noticed: $1" >&2
        exit 1
    fi
    grep -q "$2" "$work/log" || { cat "$work/log" >&2; exit 1; }
}
notice 'int unexplained(int x);' 'Member unexplained(int x) (function)'
notice 'template <class T> T unexplained(T x) { return x; }' 'Member unexplained(T x) (function)'
notice 'class Unexplained { int x; };' 'Compound flashback::Unexplained is not documented'
notice 'class Unexplained {};' 'Unexplained_is_not_documented'
notice 'using Unexplained = int;' 'Member Unexplained (typedef)'
notice 'enum class Unexplained { one };' 'Member Unexplained (enumeration)'
notice 'inline constexpr int unexplained = 1;' 'Member unexplained (variable)'
notice 'template <class T> 
concept Unexplained = true;' 'Unexplained_is_not_documented'
notice '#define FLASHBACK_UNEXPLAINED 1' 'Member FLASHBACK_UNEXPLAINED (macro definition)'
notice '/// Explained.
struct Explained { int unexplained; };' 'Member unexplained (variable)'
notice '/// Explained.
struct Explained { void unexplained(); };' 'Member unexplained() (function)'
notice '/// Sees \\ref nothing_of_this_name.
using Explained = int;' 'nothing_of_this_name'
echo "twelve kinds of names without documentation were noticed"
