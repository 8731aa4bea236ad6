#!/bin/sh
# Every header that users include compiles alone, without a warning; those in detail/ come with them.
#
# headers_alone.sh COMPILER INCLUDE_DIR [OPTION...]
set -eu
compiler=$1
cd "$2"
shift 2
failed=$(find flashback -name '*.hpp' -not -path '*/detail/*' | sort | xargs -P "$(nproc)" -I{} sh -c '
    header=$1
    shift
    echo "#include \"$header\"" | "$@" -x c++ -fsyntax-only - || echo "$header"' sh {} "$compiler" -std=c++20 -I . "$@")
[ -z "$failed" ] || {
    echo "These headers do not compile alone:" $failed >&2
    exit 1
}
