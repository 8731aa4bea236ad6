#!/bin/sh
# A library that fetches flashback and exports itself (tests/consumers/library), and a program that finds that library. What it fetches has
# no tests, tools or benchmarks: they are not needed.
#
# library.sh SOURCE_DIR COMPILER GENERATOR
set -eu
source=$1 compiler=$2 generator=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CXXFLAGS CMAKE_PREFIX_PATH CMAKE_BUILD_TYPE flashback_DIR || true
fail() { echo "$1" >&2; [ ! -f "$work/log" ] || cat "$work/log" >&2; exit 1; }
run() { "$@" >"$work/log" 2>&1 || fail "this failed: $*"; }

tar -C "$source" -czf "$work/flashback.tar.gz" CMakeLists.txt LICENSE cmake include
configure() { run cmake -S "$source/tests/consumers/library" -B "$work/build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" -DFLASHBACK_ARCHIVE="$work/flashback.tar.gz" "$@"; }

# By default its installation has nothing of flashback, which is then found where the library is used.
configure
run cmake --install "$work/build" --prefix "$work/alone"
[ ! -e "$work/alone/include/flashback" ] || fail "flashback installed itself into its parent's prefix"
# If it asks for flashback, it is a whole package with it, and with the policies alone, too.
configure -DFLASHBACK_INSTALL=ON
run cmake --install "$work/build" --prefix "$work/both"
run cmake -S "$source/tests/consumers/of_library" -B "$work/program" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$work/both"
run cmake --build "$work/program"
run "$work/program/consumer"
# It may have what flashback needs as a folder that it does not install.
configure -DFLASHBACK_INSTALL=OFF -DOWN_JSON=ON
run cmake --install "$work/build" --prefix "$work/alone" --component flashback_policy
[ -e "$work/alone/include/flashback/policy.hpp" ] || fail "the component flashback_policy cannot be installed by its name"
echo "a library that exports itself can have flashback as a folder"
