#!/bin/sh
# Every header that users include compiles alone, without a warning; those in detail/ come with them.
#
# headers_alone.sh COMPILER INCLUDE_DIR [OPTION...]
#
# A header that has definitions behind it is compiled with them, as users do who compile nothing once. The others are compiled with
# FLASHBACK_COMPILED_ONCE: the definitions of what they include were checked there already, and are most of the work.
set -eu
compiler=$1
cd "$2"
shift 2
headers=$(find flashback -name '*.hpp' -not -path '*/detail/*' | sort)
# What needs a library that may be absent is left out where it is.
echo '#include <libstemmer.h>' | "$compiler" -x c++ -fsyntax-only "$@" - 2>/dev/null || headers=$(echo "$headers" | grep -vx flashback/retrieval/english.hpp)
# Xapian, llama.cpp and MPI are optional.
echo '#include <xapian.h>' | "$compiler" -x c++ -E - >/dev/null 2>&1 || headers=$(echo "$headers" | grep -v '^flashback/interop/xapian')
echo '#include <llama.h>' | "$compiler" "$@" -x c++ -E - >/dev/null 2>&1 || headers=$(echo "$headers" | grep -vx flashback/interop/llama_cpp.hpp)
echo '#include <mpi.h>' | "$compiler" "$@" -x c++ -E - >/dev/null 2>&1 || headers=$(echo "$headers" | grep -vx flashback/interop/mpi.hpp)
echo '#include <hnswlib/hnswlib.h>' | "$compiler" "$@" -E -x c++ - >/dev/null 2>&1 || {
    echo "dense/hnsw.hpp is left out: hnswlib is not there"
    headers=$(echo "$headers" | grep -vx flashback/dense/hnsw.hpp)
}
# What another header includes before anything else compiles alone if that one does.
# shellcheck disable=SC2086  # $headers is a list of words
first=$(for header in $headers; do sed -n '/^#include/{s/^#include "\(.*\)"$/\1/p;q}' "$header"; done)
# That counts for their definitions only if that one has some, too: all of those are compiled.
# shellcheck disable=SC2086
whole=$(grep -l 'if !defined(FLASHBACK_COMPILED_ONCE)' $headers || true)
failed=$({ echo "$headers" | grep -vxF "$first"; echo "$whole"; } | sort -u | sed '/^$/d' | xargs -P "$(nproc)" -I{} sh -c '
    header=$1
    whole=$2
    shift 2
    case "$whole" in *"$header"*) ;; *) set -- "$@" -DFLASHBACK_COMPILED_ONCE ;; esac
    echo "#include \"$header\"" | "$@" -x c++ -fsyntax-only - || echo "$header"' sh {} "$whole" "$compiler" -std=c++20 -I . "$@")
[ -z "$failed" ] || {
    echo "These headers do not compile alone:" $failed >&2
    exit 1
}
