#!/bin/sh
# Which schedule buys most? Measures each on the pairs of the paper's table, with passages after the text (append; append_repeat with 16
# repeated tokens; each with the adapter for it that comes with the default model) and beside it (aside, untuned); writes a table, the
# numbers as CSV, and a picture of perplexity against tokens evaluated. It takes ten minutes for each pair on two cores, besides what it
# takes to make the texts the first time. Stop it when you like: run again, it goes on where it was. What was made otherwise is refused,
# never mixed in.
#
# The text is teacher-forced: a schedule sees what the model says of the true text. The query is always the newest 32 tokens in front of
# the retrieval: a draft would be the true text.
#
# examples/schedules_table.sh [PAIR ...]: translation, technical, wikitext; by default all of them. Results stand in build/schedules_table, or in the folder
# that FLASHBACK_SCHEDULES_TABLE names; the pairs in build/paper_table (FLASHBACK_PAPER_TABLE). FLASHBACK_SCHEDULES_STRIDES: strides of 16
# tokens to predict, a multiple of 8. FLASHBACK_SCHEDULES: other schedules, with blanks between them. FLASHBACK_TOOL: a tool that is built
# already. It needs the held-out texts of ../shared/data.
set -eu
cd "$(dirname "$0")/.."
dir=${FLASHBACK_PAPER_TABLE:-build/paper_table}
out=${FLASHBACK_SCHEDULES_TABLE:-build/schedules_table}
strides=${FLASHBACK_SCHEDULES_STRIDES:-640}
pairs=${*:-translation technical wikitext}
model=examples/models/flashback-base-5m.gguf
adapter=examples/models/flashback-adapter-5m
shared=../shared/data
usual="never once stride:4 stride:8 stride:16 stride:32 stride:64 entropy:4 entropy:5 entropy:6 entropy-z:1.5 surprisal:8 surprisal:10
margin:0.01 backoff:16 budget(4,stride:4) sentence any(stride:64,entropy:6) etc dragin flare"
schedules=${FLASHBACK_SCHEDULES:-$usual}
for pair in $pairs; do
    case $pair in
    translation | technical | wikitext) ;;
    *)
        echo "schedules_table.sh: '$pair' is no pair, expected translation, technical or wikitext" >&2
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

# row PAIR PLACE SCHEDULE: measures it unless that was done.
row() {
    test=$dir/$1/test.jsonl corpus=$dir/$1/corpus.jsonl
    file=$out/$1/$2/$(printf '%s' "$3" | tr ':(),' '____').json
    place=$2
    set -- --schedule "$3" --context 237 --hold 128 --strides "$strides"
    tuned=""
    case $place in
    append) tuned=$adapter && set -- --layout append "$@" ;;
    append_repeat) tuned=$adapter-repeat && set -- --layout append --repeat 16 "$@" ;;
    aside) set -- --layout aside "$@" ;;
    esac
    ! made_of "$file" "$@" -- "$test" "$corpus" ${tuned:+"$tuned/adapter_model.safetensors"} || return 0
    row_stamp=$stamp
    echo "== measuring: $file"
    mkdir -p "$(dirname "$file")"
    # Made once for all rows, because that takes longer than some of them.
    if [ ! -e "$corpus.index" ]; then
        rm -rf "$corpus.index.part"
        $flashback index "$corpus" --model "$model" --passage-tokens 128 --out "$corpus.index.part" >"$corpus.index.log"
        mv "$corpus.index.part" "$corpus.index"
    fi
    $flashback ppl --model "$model" ${tuned:+--adapter "$tuned"} --text "$test" --corpus "$corpus.index" "$@" \
        --log "${file%.json}.strides.csv" --json >"$file.part"
    printf '%s' "$row_stamp" >"$file.made_of"
    mv "$file.part" "$file"
}

for pair in $pairs; do
    "prepare_$pair"
    for place in append append_repeat aside; do
        for schedule in $schedules; do row "$pair" "$place" "$schedule"; done
    done
    python3 examples/paper_table/schedules.py "$out"
done
echo "== $out/table.md, $out/schedules.csv, $out/schedules.svg"
cat "$out/table.md"
