#!/bin/sh
# Fetches llama.cpp as the npm package node-llama-cpp has it (shared libraries for x86-64 Linux, and its sources for the headers) into
# build/llama_cpp, builds the example, and runs it. Nothing is installed but the packages that building flashback needs, npm and git.
#
# run.sh [OPTION...]: those of the example; run.sh --help shows them, after a first run. If FLASHBACK_LLAMA_CPP_ROOT names another llama.cpp,
# nothing is fetched.
set -eu
cd "$(dirname "$0")/../.."
program=build/with_llama_cpp/examples/example_llama_cpp
for argument in "$@"; do
    case $argument in -h | --help)  # installs and builds nothing
        sed -n '2,/^set /s/^# \{0,1\}//p' examples/llama_cpp/run.sh
        if [ -x "$program" ]; then exec "$program" --help; fi
        exit 0 ;;
    esac
done
. cmake/setup.sh
install_flashback_packages

version=3.22.1
root=${FLASHBACK_LLAMA_CPP_ROOT:-$PWD/build/llama_cpp}
if [ -n "${FLASHBACK_LLAMA_CPP_ROOT:-}" ]; then
    if [ ! -e "$root/include/llama.h" ]; then
        echo "run.sh: FLASHBACK_LLAMA_CPP_ROOT is $root; expected there include/llama.h" >&2
        exit 1
    fi
elif [ ! -e "$root/include/llama.h" ]; then
    if ! command -v npm >/dev/null || ! command -v git >/dev/null; then install_packages npm git; fi
    echo "== fetching node-llama-cpp $version into $root"
    mkdir -p "$root/fetched"
    (
        cd "$root/fetched"
        npm pack --silent "@node-llama-cpp/linux-x64@$version" "node-llama-cpp@$version" >/dev/null
        mkdir -p libraries sources
        tar -xzf "node-llama-cpp-linux-x64-$version.tgz" -C libraries
        tar -xzf "node-llama-cpp-$version.tgz" -C sources
        rm -rf llama.cpp
        git clone --quiet sources/package/llama/gitRelease.bundle llama.cpp 2>/dev/null
    )
    mkdir -p "$root/lib" "$root/include.part"
    cp "$root/fetched/libraries/package/bins/linux-x64/"*.so "$root/lib/"
    for part in llama ggml; do ln -sf "$(basename "$root/lib/lib$part".v*.so)" "$root/lib/lib$part.so"; done
    cp "$root/fetched/llama.cpp/include/"*.h "$root/fetched/llama.cpp/ggml/include/"*.h "$root/include.part/"
    mv "$root/include.part" "$root/include"
fi

echo "== building build/with_llama_cpp/examples/example_llama_cpp (a few minutes the first time)"
log=$(mktemp)
if ! { cmake --preset release -B build/with_llama_cpp -DFLASHBACK_LLAMA_CPP_ROOT="$root" &&
    cmake --build build/with_llama_cpp --target example_llama_cpp; } >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
exec "$program" "$@"
