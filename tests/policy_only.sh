#!/usr/bin/env bash
# flashback::policy needs the standard library only: compiles tests/build/policy_only.cpp, policy_any.cpp, policy_errors.cpp and every header
# against a copy of core, policy, decoder and testing and nothing else, without exceptions and RTTI, runs the programs, and
# measures the compiler's user time. The umbrella is measured too; its target is 10 seconds.
#
# policy_only.sh COMPILER SOURCE_DIR
set -eu
compiler=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/include/flashback"
for part in core policy decoder testing fwd.hpp policy.hpp; do cp -r "$source/include/flashback/$part" "$work/include/flashback/"; done
rm -r "$work/include/flashback/testing/plain"  # not of the policies

(cd "$work/include" && find flashback -name '*.hpp') | sed 's/.*/#include "&"/' >"$work/headers.cpp"
echo 'int main() {}' >>"$work/headers.cpp"
for program in "$source/tests/build/policy_only.cpp" "$source/tests/build/policy_any.cpp" "$work/headers.cpp"; do
    "$compiler" -std=c++20 -O1 -Wall -Wextra -Werror -fno-exceptions -fno-rtti -I "$work/include" "$program" -pthread -o "$work/program"
    "$work/program"
done

# A program without exceptions that breaks a promise says which before it ends.
"$compiler" -std=c++20 -O1 -Wall -Wextra -Werror -fno-exceptions -fno-rtti -I "$work/include" "$source/tests/build/policy_errors.cpp" -o "$work/program"
"$work/program"
if (ulimit -c 0 && "$work/program" breaks) 2>"$work/said"; then echo "expected an end by abort" >&2; exit 1; fi
grep -qx 'flashback: EveryNTokens needs a stride of at least 1 token, found 0 (contract)' "$work/said" || { cat "$work/said" >&2; exit 1; }

# Whoever uses a name that will go away is warned, and told what to use.
cat >"$work/deprecated.cpp" <<'END'
#include "flashback/core/version.hpp"
FLASHBACK_DEPRECATED("use bread") inline int old_name() { return 0; }
int main() { return old_name(); }
END
if "$compiler" -std=c++20 -fsyntax-only -Werror -I "$work/include" "$work/deprecated.cpp" 2>"$work/said"; then echo "expected a warning of old_name" >&2; exit 1; fi
grep -q 'flashback: use bread' "$work/said" || { cat "$work/said" >&2; exit 1; }

TIMEFORMAT=%U
milliseconds_of() {  # folder of the headers, source
    local seconds
    seconds=$({ time "$compiler" -std=c++20 -fsyntax-only -I "$1" "$2"; } 2>&1)
    awk -v s="$seconds" 'BEGIN { printf "%d", s * 1000 }'
}
# What the standard headers of a decoder take alone, on this machine and beside what else it does.
for header in algorithm chrono functional memory optional ranges span stop_token string vector; do echo "#include <$header>"; done >"$work/standard.cpp"
compiles_within() {  # milliseconds, folder of the headers, header
    local limit=$1 include=$2 header=$3 best= milliseconds standard
    echo "#include \"flashback/$header\"" >"$work/one.cpp"
    for _ in 1 2 3 4 5 6 7 8 9 10; do  # until one is fast enough: a slow or busy machine must not fail the test
        standard=$(milliseconds_of "$include" "$work/standard.cpp")
        [ $((standard * 5 / 2)) -le "$limit" ] || limit=$((standard * 5 / 2))
        milliseconds=$(milliseconds_of "$include" "$work/one.cpp")
        if [ -z "$best" ] || [ "$milliseconds" -lt "$best" ]; then best=$milliseconds; fi
        [ "$best" -ge "$limit" ] || break
    done
    echo "$header compiles in $best ms of user time"
    [ "$best" -lt "$limit" ] || { echo "expected less than $limit ms" >&2; exit 1; }
}
compiles_within 2000 "$work/include" policy/context_plan.hpp
compiles_within 2000 "$work/include" decoder/decoder.hpp
compiles_within 30000 "$source/include" flashback.hpp  # three times the target: other work slows a compiler down too
