#!/bin/sh
# The library on processors that this machine is not: builds the tests of core, policy, decoder and retrieval for 32-bit x86 and for 64-bit
# ARM, and runs them, ARM under qemu. It installs the compilers from Debian 12. Each takes about a quarter of an hour of one core.
#
# tests/other_architectures.sh [m32|aarch64]...     by default both
set -eu
cd "$(dirname "$0")/.."
. cmake/setup.sh
install_flashback_packages
tests="core policy decoder retrieval"
[ $# != 0 ] || set -- m32 aarch64

# What the tests include lies in /usr/include, beside the headers of this machine's C library, which a cross compiler must not see. So
# the packages get a prefix of their own. CMake's files are copied, because they look where they are after links were followed.
packages=build/other-packages
rm -rf "$packages"
triplet=$(gcc -dumpmachine)
mkdir -p "$packages/include" "$packages/lib/cmake" "$packages/lib/$triplet/cmake" "$packages/share/cmake" "$packages/share/eigen3"
for folder in doctest nlohmann xsimd range meta concepts std eigen3; do
    [ ! -d "/usr/include/$folder" ] || ln -s "/usr/include/$folder" "$packages/include/$folder"
done
cp -r /usr/lib/cmake/doctest /usr/lib/cmake/range-v3 "$packages/lib/cmake/"
cp -r "/usr/lib/$triplet/cmake/xsimd" "$packages/lib/$triplet/cmake/"
cp -r /usr/share/cmake/nlohmann_json "$packages/share/cmake/"
cp -r /usr/share/eigen3/cmake "$packages/share/eigen3/"

for architecture in "$@"; do
    build=build/$architecture
    case $architecture in
    m32)
        # g++-multilib cannot be installed beside a cross compiler; all it has that this has not is a link to the headers of the kernel.
        # The x87 rounds to 80 bits, so equal bits need SSE.
        install_packages g++-12-multilib
        compiler=g++-12 run="" flags="-m32 -msse2 -mfpmath=sse -isystem /usr/include/$triplet"
        set --
        ;;
    aarch64)
        install_packages g++-aarch64-linux-gnu qemu-user-static
        compiler=aarch64-linux-gnu-g++ run="qemu-aarch64-static -L /usr/aarch64-linux-gnu" flags=""
        set -- -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
        ;;
    *)
        echo "tests/other_architectures.sh: found the architecture '$architecture', expected m32 or aarch64" >&2
        exit 1
        ;;
    esac
    echo "== the headers give no warning"
    echo '#include "flashback/flashback.hpp"' >"build/$architecture.cpp"
    # shellcheck disable=SC2086  # lists of words
    $compiler $flags -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror -Wno-restrict \
        -Iinclude -isystem "$packages/include" "build/$architecture.cpp"
    echo "== building for $architecture"  # the tests have sizes of 64 bits at many places
    cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O0 -DNDEBUG" \
        -DCMAKE_FIND_ROOT_PATH="$PWD/$packages" -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY \
        -DCMAKE_CXX_FLAGS="$flags" -DFLASHBACK_MARCH= -DFLASHBACK_WARNINGS_AS_ERRORS=OFF -DFLASHBACK_BUILD_EXAMPLES=OFF -DFLASHBACK_BUILD_BENCHMARKS=OFF -Dxsimd_DIR="$PWD/$packages/lib/$triplet/cmake/xsimd" "$@"
    # shellcheck disable=SC2046,SC2086  # lists of words
    cmake --build "$build" --target $(printf ' test_%s' $tests)
    for test in $tests; do
        echo "== $architecture: $test"
        $run "$build/tests/test_$test"
    done
done
