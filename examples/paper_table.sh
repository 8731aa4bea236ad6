#!/bin/sh
# The experiment of the FlashBack paper on the default model (Debian 12): trains the adapters, measures each row, writes the table.
# It takes three to four hours on two cores. Stop it when you like: run again, it goes on where it was, and what is done stays. The
# learning rate is higher than the paper's 1e-4, which is for models of a thousand times the size.
#
# examples/paper_table.sh [PART ...]: technical, wikitext, ablations; by default all three. Results stand in build/paper_table, or
# in the folder that FLASHBACK_PAPER_TABLE names. It needs the held-out texts of ../shared/data.
set -eu
cd "$(dirname "$0")/.."
dir=${FLASHBACK_PAPER_TABLE:-build/paper_table}
steps=${FLASHBACK_PAPER_STEPS:-1000}
strides=${FLASHBACK_PAPER_STRIDES:-2000}
parts=${*:-technical wikitext ablations}
shared=../shared/data
if [ ! -d "$shared" ]; then
    echo "$shared is not there: expected technical-heldout.jsonl, wikitext-2 and mrag-wikipedia-v2.jsonl in it" >&2
    exit 1
fi
. cmake/setup.sh
install_flashback_packages
install_text_packages

echo "== building build/release/bin/flashback (a few minutes the first time)"
mkdir -p "$dir"
build_with release flashback_tool
flashback=build/release/bin/flashback

texts=build/pretrain/texts
prepare_technical() {
    [ ! -s "$dir/technical/corpus.jsonl" ] || return 0
    echo "== texts: making those of the technical pair in $dir/technical"
    mkdir -p "$dir/technical" "$texts"
    for source in foldoc jargon linux python git perl postgresql debian apache sqlite; do
        [ -s "$texts/$source.jsonl" ] || python3 examples/pretrain/texts.py --out "$texts" "$source"
    done
    python3 examples/pretrain/experiment.py technical "$texts" "$dir/technical"
}
prepare_wikitext() {
    mkdir -p "$dir/wikitext"
    for half in valid test; do
        [ -s "$dir/wikitext/$half.jsonl" ] || {
            python3 examples/pretrain/experiment.py wikitext "$shared/wikitext-2/wiki.$half.raw" >"$dir/wikitext/$half.part"
            mv "$dir/wikitext/$half.part" "$dir/wikitext/$half.jsonl"
        }
    done
}

# adapter PAIR NAME LAYOUT MARKERS: trains it unless it is there.
adapter() {
    [ ! -e "$dir/$1/$2/adapter_config.json" ] || return 0
    echo "== training: $dir/$1/$2"
    $flashback finetune --train "$dir/$1/train.jsonl" --corpus "$dir/$1/corpus.jsonl" --layout "$3" --markers "$4" --steps "$steps" --lr 2e-3 \
        --examples-cache "$dir/$1/examples" --checkpoint "$dir/$1/$2.checkpoint" --checkpoint-every 60s --log "$dir/$1/$2.csv" --out "$dir/$1/$2"
    rm -f "$dir/$1/$2.checkpoint"
}

# row PAIR NAME LAYOUT MARKERS [OPTION ...]: measures it unless that was done.
row() {
    pair=$1 name=$2 layout=$3 markers=$4
    shift 4
    [ ! -s "$dir/$pair/$name.json" ] || return 0
    echo "== measuring: $pair, $name"
    $flashback ppl --text "$dir/$pair/test.jsonl" --corpus "$dir/$pair/corpus.jsonl" --layout "$layout" --markers "$markers" \
        --strides "$strides" "$@" --log "$dir/$pair/$name.strides.csv" --json >"$dir/$pair/$name.part"
    mv "$dir/$pair/$name.part" "$dir/$pair/$name.json"
}
# tuned PAIR NAME LAYOUT MARKERS: trains, then measures.
tuned() {
    adapter "$1" "$2" "$3" "$4"
    markers=$4
    [ "$markers" = off ] || markers=on
    row "$1" "$2" "$3" "$markers" --adapter "$dir/$1/$2"
}

for part in $parts; do
    case $part in
    technical)
        prepare_technical
        cp "$shared/technical-heldout.jsonl" "$dir/technical/test.jsonl"
        row technical none none off
        row technical prepend prepend off
        row technical append append off
        tuned technical append_lora_markers append on
        tuned technical prepend_lora_markers prepend on
        tuned technical none_lora none off
        tuned technical append_lora append off
        tuned technical prepend_lora prepend off
        tuned technical append_lora_fixed append fixed
        ;;
    wikitext)
        prepare_wikitext
        cp "$dir/wikitext/valid.jsonl" "$dir/wikitext/train.jsonl"
        cp "$shared/mrag-wikipedia-v2.jsonl" "$dir/wikitext/corpus.jsonl"
        row wikitext none none off
        row wikitext append append off
        tuned wikitext append_lora_markers append on
        tuned wikitext prepend_lora_markers prepend on
        tuned wikitext none_lora none off
        ;;
    ablations)
        prepare_technical
        cp "$shared/technical-heldout.jsonl" "$dir/technical/test.jsonl"
        adapter technical append_lora_markers append on
        one="--adapter $dir/technical/append_lora_markers"
        # The same contexts and, but for the strides themselves, the same predicted text in each group.
        for n in 16 32 64; do
            # shellcheck disable=SC2086  # $one is two words
            row technical "stride_$n" append on $one --stride "$n" --strides $((strides * 16 / n)) --context 300
            # shellcheck disable=SC2086
            row technical "query_$n" append on $one --query-tokens "$n"
        done
        for n in 1 2 4; do
            # As many passages as the window takes: four of 64 tokens, or two of 128, leave 230 of text.
            tokens=$((n == 4 ? 64 : 128))
            # shellcheck disable=SC2086
            row technical "passages_$n" append on $one --passages "$n" --passage-tokens "$tokens" --context 230
        done
        ;;
    *)
        echo "paper_table.sh: '$part' is no part, expected technical, wikitext or ablations" >&2
        exit 2
        ;;
    esac
    python3 examples/paper_table/table.py "$dir" >"$dir/table.md.part"
    mv "$dir/table.md.part" "$dir/table.md"
done
echo "== $dir/table.md"
cat "$dir/table.md"
