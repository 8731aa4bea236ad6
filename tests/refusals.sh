#!/bin/sh
# A wrong policy is refused in words, at the line where it is named. A file of tests/refusals holds two programs of which one
# line differs, between #ifdef WRONG and #else and between #else and #endif; its first line has the sentence of the refusal.
# The wrong program must not compile, its first error must be the sentence, and the compiler must name the wrong line before it comes to a
# second error; refusals_right.sh compiles the right ones. CI runs both with g++ and with clang.
#
# refusals.sh FILE COMPILER [OPTION...]
# refusals.sh --precompile HEADER COMPILER [OPTION...]: writes HEADER, which includes all that most of the programs do, and
# compiles it; with `-include HEADER` among the options they take a third of the time.
set -eu
export LC_ALL=C
if [ "$1" = --precompile ]; then
    header=$2
    compiler=$3
    shift 3
    mkdir -p "$(dirname "$header")"
    printf '#include "%s"\n' "$(cd "$(dirname "$0")" && pwd)/refusals/generate.hpp" flashback/policy/any_policy.hpp >"$header"
    exec "$compiler" -std=c++20 -Wall -Wextra -Werror "$@" -x c++-header "$header" -o "$header.gch"
fi
file=$1
compiler=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {  # compiler, words
    echo "$file: $1: $2" >&2
    head -n 60 "$work/log" >&2
    exit 1
}

: >"$work/log"
sentence=$(sed -n '1s|^// Refused: ||p' "$file")
wrong=$(($(sed -n '/^#ifdef WRONG$/=' "$file") + 1))
[ -n "$sentence" ] || fail "first line" "expected // Refused: SENTENCE"
[ "$(sed -n "$((wrong + 1))p;$((wrong + 3))p" "$file" | tr '\n' ' ')" = '#else #endif ' ] ||
    fail "line $wrong" "expected one line between #ifdef WRONG and #else, and one between #else and #endif"

check() {  # compiler, options
    with=$1
    shift
    if "$with" -std=c++20 -fsyntax-only -DWRONG "$@" "$file" >"$work/log" 2>&1; then fail "$with" "the wrong program compiles"; fi
    grep -m 1 'error:' "$work/log" | grep -qF "$sentence" || fail "$with" "the first error is not: $sentence"
    awk '/error:/ && ++errors == 2 { exit } { print }' "$work/log" >"$work/first"
    grep -qF "$(basename "$file"):$wrong:" "$work/first" || fail "$with" "the first error does not name line $wrong"
    echo "$with refuses line $wrong with $(grep -c 'error:' "$work/log") error(s), the first being: $sentence"
}

check "$compiler" "$@"
