#!/bin/sh
# Which schedule buys most? Measures each on both pairs of the paper's table, with passages after the text (append, with the adapter that
# comes with the default model) and beside it (aside, untuned); writes a table, the numbers as CSV, and a picture of perplexity against
# tokens evaluated. It takes a quarter of an hour on two cores, besides what it takes to make the technical pair the first time. Stop it
# when you like: run again, it goes on where it was. What was made otherwise is refused, never mixed in.
#
# The text is teacher-forced: a schedule sees what the model says of the true text. The query is always the newest 32 tokens in front of
# the retrieval: a draft would be the true text.
#
# examples/schedules_table.sh [PAIR ...]: technical, wikitext; by default both. Results stand in build/schedules_table, or in the folder
# that FLASHBACK_SCHEDULES_TABLE names; the pairs in build/paper_table (FLASHBACK_PAPER_TABLE). FLASHBACK_SCHEDULES_STRIDES: strides of 16
# tokens to predict, a multiple of 8. FLASHBACK_SCHEDULES: other schedules, with blanks between them. FLASHBACK_TOOL: a tool that is built already. It needs the held-out texts of ../shared/data.
set -eu
cd "$(dirname "$0")/.."
dir=${FLASHBACK_PAPER_TABLE:-build/paper_table}
out=${FLASHBACK_SCHEDULES_TABLE:-build/schedules_table}
strides=${FLASHBACK_SCHEDULES_STRIDES:-160}
pairs=${*:-technical wikitext}
model=examples/models/flashback-base-5m.gguf
adapter=examples/models/flashback-adapter-5m
shared=../shared/data
usual="never once stride:4 stride:8 stride:16 stride:32 stride:64 entropy:4 entropy:5 entropy:6 entropy-z:1.5 surprisal:8 surprisal:10
margin:0.01 backoff:16 budget(4,stride:4) sentence any(stride:64,entropy:6) etc dragin flare"
schedules=${FLASHBACK_SCHEDULES:-$usual}
for pair in $pairs; do
    case $pair in
    technical | wikitext) ;;
    *)
        echo "schedules_table.sh: '$pair' is no pair, expected technical or wikitext" >&2
        exit 2
        ;;
    esac
done
if [ ! -d "$shared" ]; then
    echo "$shared is not there: expected technical-heldout.jsonl, wikitext-2 and mrag-wikipedia-v2.jsonl in it" >&2
    exit 1
fi
. cmake/setup.sh
find_tool
. examples/paper_table/prepare.sh

# row PAIR LAYOUT SCHEDULE: measures it unless that was done.
row() {
    test=$dir/$1/test.jsonl corpus=$dir/$1/corpus.jsonl
    file=$out/$1/$2/$(printf '%s' "$3" | tr ':(),' '____').json
    set -- --layout "$2" --schedule "$3" --context 250 --hold 128 --strides "$strides"
    tuned=""
    [ "$2" != append ] || tuned=$adapter/adapter_model.safetensors
    ! made_of "$file" "$@" -- "$test" "$corpus" ${tuned:+"$tuned"} || return 0
    row_stamp=$stamp
    echo "== measuring: $file"
    mkdir -p "$(dirname "$file")"
    # Made once for all rows, because that takes longer than some of them.
    if [ ! -e "$corpus.index" ]; then
        rm -rf "$corpus.index.part"
        $flashback index "$corpus" --model "$model" --passage-tokens 128 --out "$corpus.index.part" >"$corpus.index.log"
        mv "$corpus.index.part" "$corpus.index"
    fi
    $flashback ppl --model "$model" ${tuned:+--adapter "$adapter"} --text "$test" --corpus "$corpus.index" "$@" \
        --log "${file%.json}.strides.csv" --json >"$file.part"
    printf '%s' "$row_stamp" >"$file.made_of"
    mv "$file.part" "$file"
}

for pair in $pairs; do
    "prepare_$pair"
    for layout in append aside; do
        for schedule in $schedules; do row "$pair" "$layout" "$schedule"; done
    done
    python3 examples/paper_table/schedules.py "$out"
done
echo "== $out/table.md, $out/schedules.csv, $out/schedules.svg"
cat "$out/table.md"
