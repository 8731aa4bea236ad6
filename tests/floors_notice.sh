#!/bin/sh
# The test of the floors can fail: it must notice a climb, a neighbour, what is private, a foreign header, range-v3, Eigen and hnswlib, a room that is not
# there, and names that are private to another room.
#
# floors_notice.sh SOURCE_DIR
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
notice() {  # header, line to add, words of the message
    rm -rf "$work/include"
    cp -r "$source/include" "$work/include"
    echo "$2" >>"$work/include/flashback/$1"
    if cmake -DINCLUDE_DIR="$work/include" -P "$source/tests/floors.cmake" >"$work/log" 2>&1; then
        echo "$1 with $2 was not noticed" >&2
        exit 1
    fi
    tr -s ' \n' ' ' <"$work/log" | grep -qF "$3" || { cat "$work/log" >&2; exit 1; }  # CMake breaks long sentences into lines
    noticed=$((noticed + 1))
}
noticed=0
source=$1
notice core/tokens.hpp '#include "flashback/policy/layout.hpp"' 'core/tokens.hpp (floor 0) includes policy (floor 2)'
notice kv/kv_cache.hpp '#include "flashback/retrieval/bm25.hpp"' 'kv/kv_cache.hpp (floor 3) includes retrieval (floor 3)'
notice decoder/decoder.hpp '#include "flashback/text/unicode.hpp"' 'decoder may include core and policy only'
notice policy/query.hpp '#include "flashback/tensor/dtype.hpp"' 'policy may include core only'
notice model/session.hpp '#include "flashback/files/load.hpp"' 'model/session.hpp (floor 5) includes files (floor 6)'
notice train/trainer.hpp '#include "flashback/eval/perplexity.hpp"' 'train/trainer.hpp (floor 7) includes eval (floor 7)'
notice model/session.hpp '#include "flashback/simd/detail/bf16_lanes.hpp"' 'simd/detail is for simd alone'
notice files/load.hpp '#include "flashback/model/detail/run_lora.hpp"' 'model/detail is for model alone'
notice data/example.hpp '#include "flashback/retrieval/detail/json_line.hpp"' 'retrieval/detail is for retrieval alone'
notice testing/null_model.hpp '#include "flashback/simd/fma.hpp"' 'testing/null_model.hpp (floor 1) includes simd (floor 2)'
notice tensor/dtype.hpp '#include <nlohmann/json.hpp>' 'tensor may include the standard library'
notice policy/query.hpp '#include <nlohmann/json.hpp>' 'policy may include the standard library'
notice testing/null_model.hpp '#include <xsimd/xsimd.hpp>' 'testing may include the standard library'
for header in core/tokens policy/query simd/exp decoder/decoder tensor/dtype text/unicode format/gguf kv/kv_cache model/session files/load train/adamw; do
    notice $header.hpp '#include <range/v3/view/chunk.hpp>' "${header%%/*} may not include range-v3"
done
notice core/language_model.hpp '#include <llama.h>' 'core may not include llama.cpp'
notice decoder/decoder.hpp '#include "flashback/interop/llama_cpp.hpp"' 'the umbrella reaches llama.cpp'
notice retrieval/analyzer.hpp '#include <libstemmer.h>' 'libstemmer is for retrieval/english.hpp alone'
notice retrieval/analyzer.hpp '#include "flashback/retrieval/english.hpp"' 'the umbrella reaches libstemmer'
notice data/ranges.hpp '#include <range/v3/all.hpp>' 'expected single headers'
notice data/text_stream.hpp '#include <range/v3/view/chunk.hpp>' 'data/text_stream.hpp: the umbrella reaches range-v3'
notice eval/perplexity.hpp '#include "flashback/data/ranges.hpp"' 'data/ranges.hpp: the umbrella reaches range-v3'
notice retrieval/bm25.hpp '#include <xapian.h>' 'retrieval may not include Xapian'
notice policy/query.hpp '#include <xapian.h>' 'policy may not include Xapian'
notice interop/xapian.hpp '#include "flashback/decoder/decoder.hpp"' 'interop/xapian.hpp (floor 4) includes decoder (floor 4)'
notice flashback.hpp '#include "flashback/interop/xapian.hpp"' 'interop/xapian.hpp: the umbrella reaches Xapian'
notice core/ranks.hpp '#include <mpi.h>' 'core may not include MPI'
notice flashback.hpp '#include "flashback/interop/mpi.hpp"' 'interop/mpi.hpp: the umbrella reaches MPI'
notice core/nowhere.hpp '#pragma once' 'core/nowhere.hpp: no umbrella includes it'
notice flashback.hpp '#include "flashback/core/tokens.hpp"' 'core, policy and decoder are for policy.hpp'
notice train/adamw.hpp '#include <Eigen/Core>' 'only dense/whitening.hpp;measure/fit_cost_model.hpp includes Eigen'
notice dense/hnsw.hpp '#include <hnswlib/hnswlib.h>' 'only dense/detail/hnsw_graph.hpp includes hnswlib'
notice dense/exact_index.hpp '#include "flashback/dense/hnsw.hpp"' 'the umbrella reaches hnswlib'
notice dense/vector_map.hpp '#include "flashback/dense/whitening.hpp"' 'the umbrella reaches Eigen'
notice measure/cost_model.hpp '#include "flashback/measure/fit_cost_model.hpp"' 'the umbrella reaches Eigen'
notice dense/vector_map.hpp '#include "flashback/policy/query.hpp"' 'dense may include core and tensor and simd and text and format and retrieval only'
mkdir "$work/without"
cp -r "$source/include/flashback" "$work/without/"
rm -r "$work/without/flashback/eval"
if cmake -DINCLUDE_DIR="$work/without" -P "$source/tests/floors.cmake" >"$work/log" 2>&1; then
    echo "a room that does not exist was not noticed" >&2
    exit 1
fi
grep -q 'names the room eval, which does not exist' "$work/log" || { cat "$work/log" >&2; exit 1; }
notice_name() {  # header, line to add, words of the message
    rm -rf "$work/include"
    cp -r "$source/include" "$work/include"
    echo "$2" >>"$work/include/flashback/$1"
    if sh "$source/tests/floors_names.sh" "$work" "$source/tests/floors.cmake" >"$work/log" 2>&1; then
        echo "$1 with $2 was not noticed" >&2
        exit 1
    fi
    grep -qF "$3" "$work/log" || { cat "$work/log" >&2; exit 1; }
    noticed=$((noticed + 1))
}
notice_name decoder/decoder.hpp 'static_assert(detail::checked_schedule<Never>());' 'decoder/decoder.hpp: detail::checked_schedule is private to policy'
notice_name decoder/detail/generation_state.hpp 'inline void wrong() { return reported(checked_schedule<Never>()); }' 'checked_schedule is private to policy'
notice_name decoder/detail/generation_state.hpp 'inline std::vector<const ErasedPolicy*> wrong;' 'ErasedPolicy is private to policy'
notice_name core/tokens.hpp 'inline auto wrong = detail::News::start();' 'core/tokens.hpp: detail::News is private to policy'
echo "$((noticed + 1)) broken orders were noticed"
