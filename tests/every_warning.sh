#!/bin/sh
# The headers are quiet under clang's -Weverything, except for the warnings below, each with its reason. They are read as a user's own headers are.
#
# every_warning.sh CLANG SOURCE_DIR
set -eu
clang=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
set -- -std=c++20 -fsyntax-only -Werror -Weverything \
    -Wno-c++98-compat -Wno-c++98-compat-pedantic -Wno-pre-c++20-compat-pedantic -Wno-c++20-compat `: the library is C++20` \
    -Wno-documentation -Wno-documentation-html -Wno-documentation-unknown-command `: comments hold regular expressions and formulas` \
    -Wno-padded `: the order of members is for readers` \
    -Wno-weak-vtables `: there are headers only, so no source could hold a table` \
    -Wno-double-promotion `: a float becomes a double without loss, which sums need` \
    -Wno-float-equal `: bits are compared on purpose` \
    -Wno-switch-enum `: a default stands for all other values` \
    -Wno-ctad-maybe-unsupported `: guides for std::span, Decoder and others are meant to be used`
"$clang" "$@" -I "$source/include" "$source/tests/consumers/flashback.cpp"

# What flashback.hpp leaves out: the suites, and the adapter for llama.cpp over the stand-in for its header.
for header in interop/llama_cpp testing/language_model_suite testing/retriever_suite; do
    echo "#include \"flashback/$header.hpp\"" >>"$work/rest.cpp"
done
"$clang" "$@" -I "$source/include" -isystem "$source/tests/interop/fake_llama" "$work/rest.cpp"

# The flags arrive: these are noticed.
for line in 'inline int f(long x) { return x; }' 'inline int f(double x) { return (int)x; }' 'inline int f(int x) { { int x = 1; return x; } }' \
    'int f(int x) { return x; }' 'inline int f(const char* x) { return *(const int*)x; }'; do
    echo "$line" >"$work/wrong.cpp"
    if "$clang" "$@" "$work/wrong.cpp" 2>"$work/log"; then echo "no warning of: $line" >&2; exit 1; fi
done
echo "the headers give no warning"
