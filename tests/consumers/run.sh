#!/bin/sh
# A consumer of the library, from outside: configures, builds and runs tests/consumers/HOW with PART, and checks that flashback
# gave it nothing but include paths and the language standard.
#
# run.sh find_package|add_subdirectory policy|retrieval|flashback|once SOURCE_DIR BUILD_DIR COMPILER GENERATOR
set -eu
how=$1 part=$2 source=$3 build=$4 compiler=$5 generator=$6
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CXXFLAGS CFLAGS LDFLAGS CPPFLAGS CMAKE_PREFIX_PATH CMAKE_BUILD_TYPE flashback_DIR || true
fail() { echo "$1" >&2; exit 1; }

set -- -DPART="$part"
if [ "$how" = find_package ]; then
    cmake --install "$build" --prefix "$work/built" >/dev/null
    mv "$work/built" "$work/moved"  # nothing in a package may remember where it was installed
    set -- "$@" -DCMAKE_PREFIX_PATH="$work/moved"
    # The policies look for no package: whoever asks for one besides flashback itself fails.
    [ "$part" != policy ] || set -- "$@" -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES="$source/tests/consumers/only_flashback.cmake"
else
    set -- "$@" -DFLASHBACK_FOLDER="$source" -DCMAKE_UNITY_BUILD=ON  # with and without a unity build, in turns
fi
if [ "$part" = policy ]; then
    for package in nlohmann_json range-v3 xsimd Threads; do set -- "$@" -DCMAKE_DISABLE_FIND_PACKAGE_$package=ON; done
elif [ "$part" = retrieval ]; then
    for package in nlohmann_json xsimd; do set -- "$@" -DCMAKE_DISABLE_FIND_PACKAGE_$package=ON; done
fi
cmake -S "$source/tests/consumers/$how" -B "$work/build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$work/build/consumer" "$source/examples/models/flashback-base-5m.gguf"

# What is left of the compiler's command once paths, the standard and the names of files are gone.
command=$(sed -n 's/^ *"command": "\(.*\)",*$/\1/p' "$work/build/compile_commands.json")
flags=$(echo "$command" | tr ' ' '\n' | grep '^-' | grep -vE '^-(I.*|isystem|std=.*|o|c|pthread|DUSES_ENGLISH)$' || true)
[ -n "$command" ] || fail "compile_commands.json has no command"
[ "$how" = find_package ] || grep -q 'unity_0_cxx.cxx"' "$work/build/compile_commands.json" || fail "this was no unity build"
echo "$command" | grep -q -- '-std=' || fail "flashback asks for no language standard: $command"
if [ "$part" = once ]; then
    # The sources of flashback_compile_once have the flags of the target, all have its macro, and the program calls what they hold.
    others=$(echo "$command" | tr ' ' '\n' | grep '^-' | grep -vE '^-(I.*|isystem|std=.*|o|c|pthread|fno-math-errno|DFLASHBACK_COMPILED_ONCE)$' || true)
    [ -z "$others" ] || fail "flashback_compile_once gave its user flags: $others"
    [ "$(echo "$command" | grep -c -- ' -fno-math-errno ')" = 4 ] || fail "expected 4 commands with the flags of the target, found: $command"
    [ "$(echo "$command" | grep -c -- '-DFLASHBACK_COMPILED_ONCE')" = 4 ] || fail "not all sources know that they are compiled once: $command"
    object=$(find "$work/build/CMakeFiles/consumer.dir" -name 'flashback.cpp.o' -o -name 'unity_0_cxx.cxx.o')
    for name in 'load_model(' 'Tokenizer::encode(' 'Bm25Index::Bm25Index(' 'BasicSession<.*>::evaluate('; do
        nm -C "$object" | grep -q "^ *U flashback::.*$name" || fail "the program compiles $name) itself"
    done
    flags=""
fi
[ -z "$flags" ] || fail "flashback gave its user flags: $flags"

# As a part of another project it builds, tests and installs nothing, and its options cannot be taken for another's.
if [ "$how" = add_subdirectory ]; then
    cache=$work/build/CMakeCache.txt
    if grep -E '^FLASHBACK_[A-Z_]+:BOOL=ON' "$cache"; then fail "an option is on although flashback is not the top-level project"; fi
    if grep -E '^(BUILD_TESTING|CMAKE_BUILD_TYPE):[A-Z]+=.' "$cache"; then fail "flashback decided for its parent project"; fi
    others=$(grep -E '^[A-Za-z_]+:(BOOL|STRING|PATH|FILEPATH)=' "$cache" | cut -d: -f1 |
        grep -vE '^(FLASHBACK_|CMAKE_|PART$|consumer_|flashback_|FETCHCONTENT|nlohmann_json_DIR$|range-v3_DIR$|xsimd_DIR$|llama_DIR$)' || true)
    [ -z "$others" ] || fail "flashback left names without its prefix in the cache: $others"
    cmake --install "$work/build" --prefix "$work/prefix" >/dev/null
    [ ! -e "$work/prefix" ] || fail "flashback installed something into its parent's prefix: $(find "$work/prefix")"
fi
