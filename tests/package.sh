#!/bin/sh
# The installed package: every header is there and no other, each component with its own, and each wrong request is answered
# with a sentence.
#
# package.sh SOURCE_DIR BUILD_DIR COMPILER GENERATOR
set -eu
source=$1 build=$2 compiler=$3 generator=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CMAKE_PREFIX_PATH flashback_DIR || true
fail() { echo "$1" >&2; [ ! -f "$work/log" ] || cat "$work/log" >&2; exit 1; }

# Installed headers = the headers of the repository; the page about them stays there.
cmake --install "$build" --prefix "$work/all" >/dev/null
diff -r -x '*.md' "$source/include" "$work/all/include" || fail "what is installed differs from include/"
cmake --install "$build" --prefix "$work/policy" --component flashback_policy >/dev/null
folders=$(cd "$work/policy/include/flashback" && echo *)
[ "$folders" = "core decoder fwd.hpp policy policy.hpp testing" ] || fail "the component flashback_policy has other folders: $folders"
cmake --install "$build" --prefix "$work/policy" --component flashback_retrieval >/dev/null
folders=$(cd "$work/policy/include/flashback" && echo *)
[ "$folders" = "core decoder format fwd.hpp policy policy.hpp retrieval testing text" ] || fail "with the component flashback_retrieval there are other folders: $folders"
cmake --install "$build" --prefix "$work/policy" --component flashback >/dev/null
diff -r "$work/all" "$work/policy" || fail "the components together are not the whole"
if grep -rn "$source\|$build" "$work/all/share/cmake"; then fail "the package remembers where it was built"; fi

# request NAME ANSWER ARGUMENTS [OPTION...]: find_package(flashback ARGUMENTS) must end with ANSWER.
requests=0
request() {
    requests=$((requests + 1))
    mkdir -p "$work/$1"
    cat >"$work/$1/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project($1 LANGUAGES CXX)
find_package(flashback $3)
if(flashback_FOUND AND TARGET flashback::flashback)
  message(STATUS "everything was found")
elseif(flashback_FOUND AND TARGET flashback::retrieval)
  message(STATUS "the search was found")
elseif(flashback_FOUND)
  message(STATUS "the policies were found")
endif()
END
    name=$1 answer=$2
    shift 3
    cmake -S "$work/$name" -B "$work/$name/build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_PREFIX_PATH="$prefix" "$@" >"$work/log" 2>&1 || true
    # CMake breaks long sentences into lines.
    tr -s ' \n' ' ' <"$work/log" | grep -qF -- "$answer" || fail "expected \"$answer\" of $name, found:"
}
prefix=$work/all
no_json=-DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON
request everything 'everything was found' 'REQUIRED'
request by_name 'everything was found' 'REQUIRED COMPONENTS policy flashback'
request policy 'the policies were found' 'REQUIRED COMPONENTS policy'
request unknown 'flashback has no component "training"; there are policy, retrieval, flashback, xapian, llama_cpp and mpi.' 'REQUIRED COMPONENTS training'
request optional 'the policies were found' 'REQUIRED COMPONENTS policy OPTIONAL_COMPONENTS training'
request retrieval 'the search was found' 'REQUIRED COMPONENTS retrieval' $no_json -DCMAKE_DISABLE_FIND_PACKAGE_xsimd=ON
request retrieval_missing 'flashback::retrieval needs packages that were not found: range-v3.' 'REQUIRED COMPONENTS retrieval' -DCMAKE_DISABLE_FIND_PACKAGE_range-v3=ON
request all_by_name 'everything was found' 'REQUIRED COMPONENTS retrieval flashback policy'
request missing 'flashback::flashback needs packages that were not found: nlohmann_json 3.11.' 'REQUIRED' $no_json
if echo '#include <xapian.h>' | "$compiler" -x c++ -E - >/dev/null 2>&1; then
    request xapian 'everything was found' 'REQUIRED COMPONENTS xapian'
fi
request missing_xapian 'flashback::xapian needs the library Xapian, which was not found.' 'REQUIRED COMPONENTS xapian' -DFLASHBACK_XAPIAN_LIBRARY=
request missing_optional_xapian 'everything was found' 'REQUIRED COMPONENTS flashback OPTIONAL_COMPONENTS xapian' -DFLASHBACK_XAPIAN_LIBRARY=
if mpicc --showme:version 2>/dev/null | grep -q 'Open MPI'; then
    request mpi 'the policies were found' 'REQUIRED COMPONENTS mpi'
fi
request missing_mpi 'flashback::mpi needs Open MPI, which was not found (Debian: libopenmpi-dev).' 'REQUIRED COMPONENTS mpi' -DFLASHBACK_MPI_LIBRARY=
request missing_llama_cpp 'flashback::llama_cpp needs the library llama.cpp, which was not found' 'REQUIRED COMPONENTS llama_cpp' -DCMAKE_DISABLE_FIND_PACKAGE_llama=ON
request wrong_llama_cpp 'expected there include/llama.h' 'REQUIRED COMPONENTS llama_cpp' -DFLASHBACK_LLAMA_CPP_ROOT="$work"
mkdir -p "$work/llama/include" "$work/llama/lib"
touch "$work/llama/include/llama.h" "$work/llama/lib/libllama.so" "$work/llama/lib/libggml.so" "$work/llama/lib/libggml-base.so"
request changed_llama_cpp 'the policies were found' 'REQUIRED COMPONENTS llama_cpp' -DFLASHBACK_LLAMA_CPP_ROOT="$work/llama"
request changed_llama_cpp 'expected there include/llama.h' 'REQUIRED COMPONENTS llama_cpp' -DFLASHBACK_LLAMA_CPP_ROOT="$work"
request wrong_optional_llama_cpp 'the policies were found' 'REQUIRED COMPONENTS policy OPTIONAL_COMPONENTS llama_cpp' -DFLASHBACK_LLAMA_CPP_ROOT="$work"
request missing_xsimd 'packages that were not found: xsimd 8.1.' 'REQUIRED' -DCMAKE_DISABLE_FIND_PACKAGE_xsimd=ON
request missing_ranges 'packages that were not found: range-v3.' 'REQUIRED' -DCMAKE_DISABLE_FIND_PACKAGE_range-v3=ON
request missing_optional 'the policies were found' 'REQUIRED OPTIONAL_COMPONENTS flashback' $no_json
request notices_a_search 'find_package(range-v3) was called by somebody' 'REQUIRED' \
    -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES="$source/tests/consumers/only_flashback.cmake"

# The version of the header, and semantic versions: while it is 0.x another minor version is another interface.
major=$(sed -n 's/#define FLASHBACK_VERSION_MAJOR //p' "$source/include/flashback/core/version.hpp")
minor=$(sed -n 's/#define FLASHBACK_VERSION_MINOR //p' "$source/include/flashback/core/version.hpp")
request same_version 'the policies were found' "$major.$minor REQUIRED COMPONENTS policy"
request later_version 'requested version "'"$major.$((minor + 1))" "$major.$((minor + 1)) REQUIRED COMPONENTS policy"
request other_version 'requested version "'"$((major + 1)).0" "$((major + 1)).0 REQUIRED COMPONENTS policy"
[ "$major" != 0 ] || [ "$minor" = 0 ] || request earlier_version 'requested version "0.'"$((minor - 1))" "0.$((minor - 1)) REQUIRED COMPONENTS policy"

# Only the policies are installed.
cmake --install "$build" --prefix "$work/part" --component flashback_policy >/dev/null
prefix=$work/part
request part 'the policies were found' 'REQUIRED COMPONENTS policy'
request part_of_all 'only the component policy of flashback is installed.' 'REQUIRED'
request part_of_search 'the component retrieval of flashback is not installed.' 'REQUIRED COMPONENTS retrieval'
cmake --install "$build" --prefix "$work/part" --component flashback_retrieval >/dev/null
request two_parts 'the search was found' 'REQUIRED COMPONENTS retrieval'
request two_parts_of_all 'only the components policy and retrieval of flashback are installed.' 'REQUIRED'

# A folder of another project, without what flashback::flashback needs: told at once, and an error for whoever links it.
if cmake -S "$source/tests/consumers/add_subdirectory" -B "$work/folder" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" \
    -DFLASHBACK_FOLDER="$source" -DPART=flashback $no_json >"$work/log" 2>&1; then
    fail "flashback::flashback could be linked without nlohmann_json"
fi
grep -q 'needs packages that were not found: nlohmann_json 3.11$' "$work/log" || fail "what is missing was not told"
grep -q '^ *flashback::nlohmann_json$' "$work/log" || fail "the error does not name what is missing"

# What flashback_add_architectures cannot do, it says.
mkdir "$work/architectures"
cat >"$work/architectures/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(architectures LANGUAGES CXX)
find_package(flashback REQUIRED)
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/main.cpp" "int main() {}")
add_executable(program "${CMAKE_CURRENT_BINARY_DIR}/main.cpp")
flashback_add_architectures(${ARGUMENTS})
END
architectures() {  # answer, arguments
    requests=$((requests + 1))
    cmake -S "$work/architectures" -B "$work/architectures/build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_PREFIX_PATH="$work/all" "-DARGUMENTS=$2" >"$work/log" 2>&1 || true
    tr -s ' \n' ' ' <"$work/log" | grep -qF -- "$1" || fail "expected \"$1\" of flashback_add_architectures($2), found:"
}
architectures 'Generating done' 'program;SOURCES;main.cpp'
architectures 'found "sse2" in ISAS, expected names of sse2, sse4, avx2, avx512, avx512_vnni, avx512_bf16, amx, each once and in this order' 'program;SOURCES;main.cpp;ISAS;avx2;sse2'
architectures 'found "mmx" in ISAS' 'program;SOURCES;main.cpp;ISAS;mmx'
architectures 'there is no target "other"' 'other;SOURCES;main.cpp'
architectures 'expected a target, SOURCES source... and ISAS isa..., found program' 'program'
echo "the package is whole, and $requests requests were answered as they should be"
