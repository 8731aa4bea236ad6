#!/bin/sh
# The library without CMake: an installation through pkg-config, and the single headers. Each program is compiled by its command line alone.
#
# plain.sh SOURCE_DIR BUILD_DIR COMPILER
set -eu
source=$1 build=$2 compiler=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$1" >&2; exit 1; }
model=$source/examples/models/flashback-base-5m.gguf

# pkg-config. Nothing in its files may remember where they were installed.
cmake --install "$build" --prefix "$work/built" >/dev/null
mv "$work/built" "$work/moved"
export PKG_CONFIG_PATH="$work/moved/share/pkgconfig"
version=$(sed -n 's/#define FLASHBACK_VERSION "\(.*\)"/\1/p' "$source/include/flashback/core/version.hpp")
for name in flashback-policy flashback-retrieval flashback; do
    pkg-config --validate "$name"
    [ "$(pkg-config --modversion "$name")" = "$version" ] || fail "$name has version $(pkg-config --modversion "$name"), expected $version"
done
[ "$(pkg-config --print-requires flashback-policy)" = "" ] || fail "flashback-policy asks for $(pkg-config --print-requires flashback-policy)"
[ "$(pkg-config --print-requires flashback | sed 's/ .*//' | xargs)" = "flashback-retrieval nlohmann_json xsimd" ] || fail "flashback asks for $(pkg-config --print-requires flashback)"
pkg-config --libs flashback | grep -q -- -pthread || fail "flashback does not ask for -pthread"
if pkg-config --cflags flashback | grep -qE -- '-(O|W|f|m|std)'; then fail "flashback gave its user flags: $(pkg-config --cflags flashback)"; fi
# shellcheck disable=SC2046  # lists of flags
"$compiler" -std=c++20 -Wall -Wextra -Werror $(pkg-config --cflags flashback-policy) "$source/cmake/conan/test_package/consumer.cpp" $(pkg-config --libs flashback-policy) -o "$work/policy"
"$work/policy"

# Single headers.
"$source/cmake/single_headers.py" "$work/single"
sed 's|"flashback/decoder/decoder.hpp"|<flashback_policy.hpp>|' "$source/tests/build/policy_only.cpp" >"$work/policy.cpp"
"$compiler" -std=c++20 -Wall -Wextra -Werror -fno-exceptions -fno-rtti -I "$work/single" "$work/policy.cpp" -o "$work/policy"
"$work/policy"
# shellcheck disable=SC2046
"$compiler" -std=c++20 -Wall -Wextra -Werror -DSINGLE_HEADER -I "$work/single" $(PKG_CONFIG_PATH='' pkg-config --cflags nlohmann_json xsimd) "$source/tests/consumers/flashback.cpp" -pthread -o "$work/flashback"
"$work/flashback" "$model"

cat >"$work/suite.cpp" <<'END'
#include <flashback_policy.hpp>
#include <flashback_testing.hpp>
#include <iostream>
int main() {
    const auto report = flashback::testing::check_language_model([] { return flashback::testing::NullModel{50}; });
    std::cout << report;
    return report.passed() ? 0 : 1;
}
END
"$compiler" -std=c++20 -Wall -Wextra -Werror -I "$work/single" "$work/suite.cpp" -o "$work/suite"
"$work/suite" >"$work/log" || { cat "$work/log" >&2; fail "NullModel fails the suite of the single header"; }

# What cannot go together is refused in a sentence.
refused() {  # sentence, lines of a source
    sentence=$1
    shift
    printf '%s\n' "$@" >"$work/wrong.cpp"
    if "$compiler" -std=c++20 -E -I "$work/single" -I "$source/include" "$work/wrong.cpp" >/dev/null 2>"$work/log"; then fail "this was not refused: $*"; fi
    grep -qF "flashback: $sentence" "$work/log" || { cat "$work/log" >&2; fail "expected: $sentence"; }
}
refused 'a header of the folder flashback/ comes after a single header' '#include <flashback_policy.hpp>' '#include <flashback/policy.hpp>'
refused 'flashback_policy.hpp comes after a header of the folder flashback/' '#include <flashback/core/config.hpp>' '#include <flashback_policy.hpp>'
refused 'flashback_testing.hpp comes after a header of the folder flashback/' '#include <flashback/core/config.hpp>' '#include <flashback_testing.hpp>'
refused 'flashback.hpp comes after a header of the folder flashback/' '#include <flashback/core/config.hpp>' '#include <flashback.hpp>'
refused 'a single header compiles everything in each source' '#define FLASHBACK_COMPILED_ONCE' '#include <flashback_policy.hpp>'
echo "the library works without CMake"
