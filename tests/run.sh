#!/bin/sh
# Installs what is needed (Debian 12), builds everything and runs the tests. Run it again as often as you like.
#
# tests/run.sh [PRESET]: another preset of CMakePresets.json than `gcc`; `slow`: the tests that `gcc` leaves out.
set -eu
cd "$(dirname "$0")/.."
preset=${1:-gcc}
. cmake/setup.sh
install_flashback_packages
install_test_packages
case $preset in clang-*) install_packages clang libclang-rt-14-dev llvm-14 ;; esac

echo "== building with the preset $preset, warnings are errors (a few minutes the first time)"
build_with "$preset"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

echo "== testing"
ctest --preset "$preset" | tee "$log"
# `tee` hides the exit status of ctest; its last lines do not.
if ! grep -q '^100% tests passed' "$log"; then
    exit 1
fi
# A test skips itself only where ../shared is absent, one where llama.cpp is, and one where MPI is.
if [ -d ../shared ] && grep '(Skipped)' "$log" | grep -qvE 'llama_cpp_real|cli_mpi'; then
    echo "A test was skipped although ../shared is there." >&2
    exit 1
fi
