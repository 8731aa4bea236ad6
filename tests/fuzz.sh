#!/bin/sh
# Fuzzes the parsers with clang's libFuzzer and the address and undefined-behaviour sanitizers, and prints what each run reached.
#
# tests/fuzz.sh [SECONDS [TARGET...]]  builds the preset `fuzz` and runs every fuzzer, or those named, for 20 seconds or as long as told
# tests/fuzz.sh coverage [TARGET...]   runs only the seeds and what earlier runs kept, and fails where less than 90 % of the lines of a
#                                      parser's headers are reached
#
# The seed is always the same: without a corpus the same code is given the same inputs, so that a short run fails with the change that
# is to blame. What a run finds worth keeping stays in build/fuzz/corpus, so that a longer run goes on where a shorter one ended. A
# finding ends it with status 1; its input is in build/fuzz/found/TARGET. Make it small (build/fuzz/fuzz/fuzz_TARGET -minimize_crash=1
# -runs=100000 FILE), put it into tests/fuzz/findings/TARGET, mend the parser, and the test fuzz_replay keeps watch over it.
set -eu
cd "$(dirname "$0")/.."
all="gguf gguf_adapter safetensors safetensors_index peft_config config_json tokenizer_json corpus tokenizer model checkpoint strides block_file kv_state analyzer index_segment trec vector_store hnsw_graph weights_cache"
out=build/fuzz

# headers_of TARGET: those of the parser.
headers_of() {
    case $1 in
        gguf) echo format/detail/read_gguf.hpp format/detail/gguf_limits.hpp format/gguf.hpp format/byte_reader.hpp ;;
        safetensors) echo format/detail/read_safetensors.hpp format/detail/safetensors_entry.hpp ;;
        safetensors_index) echo format/detail/read_safetensors_index.hpp ;;
        gguf_adapter) echo files/detail/gguf_adapter.hpp ;;
        peft_config) echo format/detail/peft_config.hpp ;;
        config_json) echo files/detail/read_config_json.hpp ;;
        tokenizer_json) echo format/detail/read_tokenizer_json.hpp format/detail/piece_table.hpp ;;
        corpus)
            echo retrieval/detail/read_corpus.hpp retrieval/detail/dictd.hpp retrieval/detail/wikitext.hpp \
                retrieval/detail/json_line.hpp retrieval/detail/text_file.hpp
            ;;
        tokenizer) echo text/tokenizer.hpp text/detail/byte_level_bpe.hpp text/detail/pre_tokenizer.hpp text/detail/sentencepiece_bpe.hpp text/unicode.hpp ;;
        model) echo files/detail/load_gguf.hpp ;;
        checkpoint) echo train/detail/checkpoint_reader.hpp ;;
        strides) echo data/detail/parse_strides.hpp ;;
        block_file) echo kv/detail/read_block_file.hpp ;;
        trec) echo retrieval/detail/trec.hpp ;;
        analyzer) echo retrieval/detail/word_analyzer.hpp retrieval/detail/words_in_text.hpp retrieval/detail/cut_document.hpp ;;
        kv_state) echo kv/kv_state.hpp kv/detail/kv_state_parts.hpp ;;
        index_segment) echo retrieval/detail/index_segment.hpp retrieval/detail/posting_blocks.hpp retrieval/detail/term_cursor.hpp ;;
        vector_store) echo dense/detail/vector_store.hpp ;;
        hnsw_graph) echo dense/detail/hnsw_index.hpp ;;
        weights_cache) echo files/detail/weights_cache.hpp ;;
    esac
}

# lines_of TARGET: the percentage of lines reached in its headers.
lines_of() {
    llvm-profdata-14 merge -sparse "$out/profiles/$1.profraw" -o "$out/profiles/$1.profdata"
    headers=$(headers_of "$1" | sed 's,[^ ]*,include/flashback/&,g')
    # shellcheck disable=SC2086  # $headers is a list of words
    llvm-cov-14 report "$out/fuzz/fuzz_$1" -instr-profile="$out/profiles/$1.profdata" $headers 2>/dev/null |
        awk '$1 == "TOTAL" {printf "%.1f", 100 * ($8 - $9) / $8}'
}

# fuzz TARGET ARGUMENT...: one run; a line of what it reached.
fuzz() {
    target=$1
    shift
    mkdir -p "$out/corpus/$target" "$out/found/$target" "$out/logs" "$out/profiles"
    log=$out/logs/$target
    if ! LLVM_PROFILE_FILE="$out/profiles/$target.profraw" UBSAN_OPTIONS=print_stacktrace=1 "$out/fuzz/fuzz_$target" \
        -artifact_prefix="$out/found/$target/" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 \
        -seed=1 -print_final_stats=1 "$@" "$out/corpus/$target" "$out/seeds/$target" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "fuzz_$target has a finding; its input is in $out/found/$target, and tests/fuzz.sh says what to do with it." >&2
        return 1
    fi
    executed=$(awk '/^stat::number_of_executed_units/ {print $2}' "$log")
    features=$(awk '/ft: / {for (i = 1; i < NF; ++i) if ($i == "ft:") last = $(i + 1)} END {print last}' "$log")
    lines=$(lines_of "$target")
    printf '%-17s %9s executions, %6s features, %s %% of the lines of %s\n' "$target" "$executed" "$features" "$lines" "$(headers_of "$target")"
    awk -v lines="$lines" -v target="$target" 'BEGIN {exit lines >= 90 ? 0 : 1}' || [ "$enough" = any ] || {
        echo "fuzz_$target reaches less than 90 % of the lines of its headers." >&2
        return 1
    }
}

if [ "${1:-}" = one ]; then # what this script calls, two at a time
    enough=$2
    shift 2
    fuzz "$@"
    exit
fi
. cmake/setup.sh
install_flashback_packages
install_packages clang libclang-rt-14-dev llvm-14
enough=any
seconds=20
if [ "${1:-}" = coverage ]; then
    enough=90
    how=-runs=0
    shift
else
    seconds=${1:-20}
    how=-max_total_time=$seconds
    [ $# = 0 ] || shift
fi
[ $# = 0 ] || all=$*

echo "== building the fuzzers"
build_with fuzz
"$out/tests/fuzz_replay" --write-seeds "$out/seeds"
echo "== fuzzing ($how)"
# shellcheck disable=SC2086  # $all is a list of words
printf '%s\n' $all | xargs -P "${FLASHBACK_FUZZ_JOBS:-2}" -I{} sh tests/fuzz.sh one "$enough" {} "$how"
