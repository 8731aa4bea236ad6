#!/bin/sh
# Proves that fwd.hpp is complete and has no doubles: every class, struct and enum that a public header declares in a namespace stands there
# exactly once, and nothing else does. Then fwd.hpp compiles alone. (tests/build/umbrella_one.cpp compiles it together with everything.)
# Not meant: what stands in detail, and testing, which is no part of the umbrella.
#
# fwd.sh SOURCE_DIR COMPILER
set -eu
include=$1/include
compiler=$2

# names FILE...: kind and name of what the files declare; of fwd.hpp also what has no body.
names() {
    awk -v forward="$1" '
        FNR == 1 { prefix = ""; inner = 0; ours = 0 }
        /^namespace flashback::inline FLASHBACK_ISA/ {
            ours = 1
            prefix = $0
            sub(/^namespace flashback::inline FLASHBACK_ISA/, "", prefix)
            sub(/ *\{.*/, "", prefix)
            sub(/^::/, "", prefix)
            if (prefix != "") prefix = prefix "::"
            next
        }
        /^namespace [a-z_]+ \{$/ { inner = $2; next }
        /^\}  \/\/ namespace flashback/ { prefix = ""; ours = 0; next }
        /^\}  \/\/ namespace/ { inner = 0; next }
        /^(class|struct|enum class|enum) / {
            if (!ours || inner == "detail" || prefix ~ /detail::$/) next
            if (forward == "no" && $0 !~ /\{/ && $0 ~ /;/) next  # declared here, and defined elsewhere
            # A template may have specialisations only: they name it as well.
            name = $0
            sub(/^(class|struct|enum class|enum) /, "", name)
            sub(/^\[\[[a-z]+\]\] /, "", name)
            sub(/[^A-Za-z0-9_].*/, "", name)
            print prefix (inner == 0 ? "" : inner "::") name
        }' $2
}

public=$(find "$include/flashback" -name '*.hpp' ! -path '*/detail/*' ! -path '*/testing/*' ! -name fwd.hpp | sort)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names no "$public" | sort -u >"$work/declared"
names yes "$include/flashback/fwd.hpp" | sort >"$work/listed"
names no "$(find "$include/flashback" -name '*.hpp' ! -name fwd.hpp)" | sort -u >"$work/known"  # some stand in a file of detail
[ "$(wc -l <"$work/declared")" -gt 50 ] || { echo "found few public names below $include, expected the whole library" >&2; exit 1; }
status=0
for name in $(comm -23 "$work/declared" "$work/listed"); do
    echo "fwd.hpp lacks $name, which a public header declares" >&2
    status=1
done
for name in $(uniq "$work/listed" | comm -13 "$work/known" -); do
    echo "fwd.hpp names $name, which no header declares" >&2
    status=1
done
for name in $(uniq -d "$work/listed"); do
    echo "fwd.hpp names $name twice" >&2
    status=1
done
echo '#include "flashback/fwd.hpp"' >"$work/alone.cpp"
"$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I"$include" "$work/alone.cpp" || status=1
exit $status
