#!/bin/sh
# The test of refusals can fail: it must notice a wrong program that compiles, a right one that does not, another sentence,
# and an error at another line.
#
# refusals_notice.sh SOURCE_DIR COMPILER INCLUDE_OPTION
set -eu
source=$1
compiler=$2
include=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$source/tests/refusals/generate.hpp" "$work"
notice() {  # sed script, words of the message
    sed "$1" "$source/tests/refusals/schedule.cpp" >"$work/schedule.cpp"
    if { sh "$source/tests/refusals.sh" "$work/schedule.cpp" "$compiler" "$include" &&
        sh "$source/tests/refusals_right.sh" "$work" "$compiler" "$include"; } >"$work/log" 2>&1; then
        echo "$1 was not noticed" >&2
        exit 1
    fi
    grep -q "$2" "$work/log" || { cat "$work/log" >&2; exit 1; }
}
notice 's/\[\](TokenSpan context) { return context.size() > 9; }/Once{}/' 'the wrong program compiles'
notice 's/step.context.size/step.size/' 'the right program does not compile'
notice '1s/bool or Decision/a number/' 'the first error is not: flashback: a RetrievalSchedule must'
notice 's/    generate_with/#ifdef WRONG \n    Policies{}.schedule(1);\n#endif\n&/; s/\[\](TokenSpan context) { return context.size() > 9; }/Once{}/' 'does not name line'
notice '/^#else/i\    ;' 'expected one line between'
echo "five broken refusals were noticed"
