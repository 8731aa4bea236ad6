#!/bin/sh
# Every header that users include compiles alone, without a warning; those in detail/ come with them.
#
# headers_alone.sh COMPILER INCLUDE_DIR [OPTION...]
set -eu
compiler=$1
cd "$2"
shift 2
headers=$(find flashback -name '*.hpp' -not -path '*/detail/*' | sort)
# What another header includes before anything else compiles alone if that one does.
# shellcheck disable=SC2086  # $headers is a list of words
first=$(for header in $headers; do sed -n '/^#include/{s/^#include "\(.*\)"$/\1/p;q}' "$header"; done)
failed=$(echo "$headers" | grep -vxF "$first" | xargs -P "$(nproc)" -I{} sh -c '
    header=$1
    shift
    echo "#include \"$header\"" | "$@" -x c++ -fsyntax-only - || echo "$header"' sh {} "$compiler" -std=c++20 -I . "$@")
[ -z "$failed" ] || {
    echo "These headers do not compile alone:" $failed >&2
    exit 1
}
