#!/bin/sh
# The experiment of the FlashBack paper on the default model (Debian 12): trains the adapters, measures each row, writes the table.
# It takes hours on two cores, three to ten minutes for each adapter of 1,000 steps. Stop it when you like: run again, it goes on where it
# was, and what is done stays. What was made from another model, text, corpus or with other settings is refused, never mixed in.
#
# The learning rate is higher than the paper's 1e-4, which is for models of a thousand times the size, and the LoRA is on all linear
# layers; a row of the paper's q and v stands beside. In training, strides share the text in front of them, but for prepend, which cannot:
# its adapters see four times as many texts, in steps that take 1.7 times as long. Passages are found with the documents' own ids out of the
# way: those of the held-out texts get a prefix, since the corpus numbers its documents likewise.
#
# examples/paper_table.sh [PART ...]: technical, translation, curve, cost, wikitext, ablations, beyond, bases, stories; by default all of them.
# Results stand in build/paper_table, or in the folder that FLASHBACK_PAPER_TABLE names; curve and cost draw their rows there, as curve.svg
# and layouts.svg. It needs the held-out texts of ../shared/data.
# FLASHBACK_TOOL: a tool that is built already. FLASHBACK_PAPER_MODEL: another model than the default one; its results need a folder of
# their own.
set -eu
cd "$(dirname "$0")/.."
dir=${FLASHBACK_PAPER_TABLE:-build/paper_table}
steps=${FLASHBACK_PAPER_STEPS:-1000}
strides=${FLASHBACK_PAPER_STRIDES:-2000}
parts=${*:-technical translation curve cost wikitext ablations beyond bases stories}
default_model=${FLASHBACK_PAPER_MODEL:-examples/models/flashback-base-5m.gguf}
model=$default_model
shared=../shared/data
for part in $parts; do
    case $part in
    technical | translation | curve | cost | wikitext | ablations | beyond | bases | stories) ;;
    *)
        echo "paper_table.sh: '$part' is no part," \
            "expected technical, translation, curve, cost, wikitext, ablations, beyond, bases or stories" >&2
        exit 2
        ;;
    esac
done
if [ ! -d "$shared" ]; then
    echo "$shared is not there: expected technical-heldout.jsonl, wikitext-2 and mrag-wikipedia-v2.jsonl in it" >&2
    exit 1
fi
. cmake/setup.sh
mkdir -p "$dir"
find_tool

. examples/paper_table/prepare.sh

prepare_stories() { # prepare_stories MODEL: each has a folder of its own
    [ -s "$dir/$1/corpus.jsonl" ] || python3 examples/pretrain/experiment.py stories "$shared/tinystories-sample.txt" "$dir/$1"
}

# The translation, for another base that pretrain.sh makes; its results have a folder of their own.
prepare_base() { # prepare_base NAME
    FLASHBACK_TOOL=$flashback sh examples/pretrain.sh 5000 build/pretrain "$1"
    prepare_translation
    mkdir -p "$dir/$1"
    cp "build/pretrain/$1.csv" "$dir/$1/pretrain.csv"
    for text in corpus train test; do [ -e "$dir/$1/$text.jsonl" ] || cp "$dir/translation/$text.jsonl" "$dir/$1"; done
}

lr=2e-3
searched=corpus  # the corpus of a pair that rows and their adapters search: corpus, or strict where a pair has two
# adapter PAIR NAME LAYOUT MARKERS [OPTION ...]: the rows to come are measured with it. It is trained when one of them has to be: a row
# knows from what and how its adapter was made, so that rows which are there need no adapter.
adapter() {
    with=$dir/$1/$2
    train_text=$dir/$1/train.jsonl train_corpus=$dir/$1/$searched.jsonl examples=$dir/$1/$searched.$3.examples
    layout=$3 markers=$4
    shift 4
    case " $* " in
    *" --lora-targets "* | *" --all-params "*) ;;
    *) set -- --lora-targets q,k,v,o,gate,up,down "$@" ;;
    esac
    recipe="--layout $layout --markers $markers --steps $steps --precision bf16 --lr $lr $*"
}
no_adapter() {
    with="" recipe=""
}
no_adapter

# train_adapter: trains the adapter of the rows unless it is there.
# shellcheck disable=SC2086  # $recipe is a list of words
train_adapter() {
    ! made_of "$with" $recipe -- "$train_text" "$train_corpus" || return 0
    echo "== training: $with"
    printf '%s' "$stamp" >"$with.made_of"
    $flashback finetune --model "$model" --train "$train_text" --corpus "$train_corpus" $recipe \
        --examples-cache "$examples" --checkpoint "$with.checkpoint" --checkpoint-every 60s --log "$with.csv" --out "$with"
    rm -f "$with.checkpoint"
}

# row PAIR NAME LAYOUT MARKERS [OPTION ...]: measures it unless that was done, with the adapter if there is one. $unrelated: another corpus.
unrelated=""
# shellcheck disable=SC2086  # $recipe is a list of words
row() {
    file=$dir/$1/$2.json
    corpus=${unrelated:-$dir/$1/$searched.jsonl} test=$dir/$1/test.jsonl log=$dir/$1/$2.strides.csv
    layout=$3 markers=$4
    shift 4
    set -- --layout "$layout" --markers "$markers" "$@"
    case " $* " in
    *" --context "*) ;;
    *) set -- "$@" --context 349 --strides "$strides" ;;  # which leaves room for all that a layout puts beside it
    esac
    ! made_of "$file" "$@" ${with:+trained} $recipe -- "$test" "$corpus" ${with:+"$train_text" "$train_corpus"} || return 0
    row_stamp=$stamp
    [ -z "$with" ] || train_adapter
    echo "== measuring: $file"
    case " $recipe " in
    *" --all-params "*) set -- --model "$with" "$@" ;;
    *) set -- --model "$model" ${with:+--adapter "$with"} "$@" ;;
    esac
    $flashback ppl --text "$test" --corpus "$corpus" "$@" --log "$log" --json >"$file.part"
    printf '%s' "$row_stamp" >"$file.made_of"
    mv "$file.part" "$file"
}
# with_unrelated PAIR CORPUS: the adapters that markers have, beside passages of another corpus, which can say nothing.
with_unrelated() {
    unrelated=$2
    row "$1" aside_untuned_unrelated aside off
    for place in aside append prepend; do
        adapter "$1" "${place}_lora_markers" "$place" on
        row "$1" "${place}_unrelated" "$place" on --repeat 0
    done
    unrelated=""
    no_adapter
}
# tuned PAIR NAME LAYOUT MARKERS [OPTION OF THE TRAINING ...]: a row with an adapter of its own.
tuned() {
    adapter "$@"
    pair=$1 name=$2 layout=$3 markers=$4
    shift 4
    [ "$markers" = off ] || markers=on
    repeat=0
    while [ $# -gt 0 ]; do
        [ "$1" != --repeat ] || repeat=$2
        shift
    done
    row "$pair" "$name" "$layout" "$markers" --repeat "$repeat"
    no_adapter
}

# untuned PAIR: every layout without an adapter, without markers and with them.
untuned() {
    row "$1" none none off
    for layout in prepend aside append; do
        row "$1" "$layout" "$layout" off
        row "$1" "${layout}_markers" "$layout" on
    done
    row "$1" append_repeat append off --repeat 16
    row "$1" append_repeat_markers append on --repeat 16
    for n in 1 2 4 8; do row "$1" "append_repeat_${n}_markers" append on --repeat "$n"; done
}

# untuned_ablations PAIR: without an adapter, beside the text and in front of it.
# shellcheck disable=SC2086  # options that several rows have are lists of words
untuned_ablations() {
    some_passages="--passage-tokens 64 --strides $strides --context 230"
    row "$1" untuned_none none off $some_passages
    for n in 1 2 4; do
        row "$1" "aside_passages_$n" aside off --passages "$n" $some_passages
        [ "$n" = 1 ] || row "$1" "aside_joined_$n" aside off --passages "$n" --joined $some_passages
        row "$1" "prepend_passages_$n" prepend off --passages "$n" $some_passages
    done
    # What rounding stored passages costs, and keeping what the text saw of older ones, which it does as long as its start is held.
    for element in f16 int8; do row "$1" "aside_element_$element" aside off --passage-element "$element"; done
    held="--context 237 --hold 128 --strides $strides"
    row "$1" aside_held_exact aside off $held
    row "$1" aside_held_approximate aside off --approximate $held
    row "$1" aside_held_prepend prepend off $held
}

# costs PAIR NAME LAYOUT MARKERS [OPTION ...]: the row at several strides. The same tokens are predicted, a quarter of those of other rows.
# FLASHBACK_PAPER_STRIDES is a multiple of 16, then.
costs() {
    of=$1 name=$2
    shift 2
    case $name in
    none*) several=16 ;;  # without passages a stride is but a step
    *) several="8 16 32 64" ;;
    esac
    for n in $several; do
        row "$of" "cost_${name}_$n" "$@" --stride "$n" --context 237 --hold 128 --strides $((strides * 4 / n))
    done
}

# curve PAIR STEPS NAME LAYOUT MARKERS [OPTION OF THE TRAINING ...]: the row at another number of steps of training. The learning rate falls
# to zero in each, so every point is a run of its own.
curve() {
    of=$1 all=$steps steps=$2 name=$3
    shift 3
    tuned "$of" "curve_${name}_$steps" "$@"
    steps=$all
}

# weighted PLACE MARKERS: several passages of 64 tokens, each read by a text of its own. What these texts say is weighted by the scores of
# the passages at each token (mixture), or also by how likely each found the tokens of the stride so far (sequence); levelled: scores
# divided by 10, because those of BM25 are far apart.
# shellcheck disable=SC2086  # options that several rows have are lists of words
weighted() {
    for n in 2 4; do
        several="--passages $n --passage-tokens 64 --strides $strides --context 230"
        for fusion in mixture sequence; do
            row technical "$1_${fusion}_$n" "$1" "$2" $several --fusion "$fusion"
            [ "$1" = append ] || row technical "$1_${fusion}_${n}_levelled" "$1" "$2" $several --fusion "$fusion" --score-temperature 10
        done
    done
}

# shellcheck disable=SC2086  # options that several rows have are lists of words
for part in $parts; do
    case $part in
    technical)
        prepare_technical
        untuned technical
        for n in 4 16; do row technical "aside_seeing_$n" aside off --seeing "$n"; done
        tuned technical aside_lora_markers aside on
        tuned technical append_lora_markers append on
        tuned technical prepend_lora_markers prepend on
        tuned technical none_lora none off
        tuned technical aside_lora aside off
        tuned technical append_lora append off
        tuned technical prepend_lora prepend off
        tuned technical append_lora_fixed append fixed
        tuned technical append_lora_markers_qv append on --lora-targets q,v
        tuned technical append_repeat_lora_markers append on --repeat 16
        tuned technical append_repeat_2_lora_markers append on --repeat 2
        lr=5e-4
        tuned technical append_all append on --all-params
        lr=2e-3
        prepare_wikitext
        with_unrelated technical "$dir/wikitext/corpus.jsonl"
        ;;
    wikitext)
        prepare_wikitext
        untuned wikitext
        for n in 4 16; do row wikitext "aside_seeing_$n" aside off --seeing "$n"; done
        tuned wikitext aside_lora_markers aside on
        tuned wikitext append_lora_markers append on
        tuned wikitext prepend_lora_markers prepend on
        tuned wikitext none_lora none off
        tuned wikitext aside_lora aside off
        prepare_technical
        with_unrelated wikitext "$dir/technical/corpus.jsonl"
        ;;
    translation)
        prepare_translation
        untuned translation
        searched=strict
        for layout in prepend aside append; do row translation "strict_$layout" "$layout" off; done
        searched=corpus
        tuned translation prepend_lora_markers prepend on
        tuned translation none_lora none off
        tuned translation aside_lora_markers aside on
        tuned translation append_lora_markers append on
        tuned translation prepend_lora prepend off
        tuned translation aside_lora aside off
        tuned translation append_lora append off
        tuned translation append_repeat_lora_markers append on --repeat 16
        tuned translation append_repeat_2_lora_markers append on --repeat 2
        prepare_wikitext
        with_unrelated translation "$dir/wikitext/corpus.jsonl"
        searched=strict
        tuned translation strict_prepend_lora prepend off
        tuned translation strict_aside_lora aside off
        searched=corpus
        ;;
    curve)
        # Perplexity against what was trained on. The points at $steps are the rows of the pair.
        prepare_translation
        for n in $((steps / 4)) $((steps / 2)) $((steps * 2)) $((steps * 5)); do
            curve translation "$n" append_lora_markers append on
            curve translation "$n" none_lora none off
        done
        # In front of the text, a step takes 1.72 times as long: its 2,900 steps take as long as the 5,000 of the others.
        for n in $((steps / 4)) $((steps / 2)) $((steps * 5 / 2)) $((steps * 29 / 10)); do
            curve translation "$n" prepend_lora_markers prepend on
        done
        # The adapter that comes with the default model.
        prepare_technical
        curve technical $((steps * 5)) append_lora_markers append on
        ;;
    cost)
        # Perplexity against evaluated tokens: contexts whose start is held, so that each layout evaluates what it must.
        prepare_technical
        prepare_translation
        for pair in technical translation; do
            costs "$pair" none none off
            for layout in prepend append aside; do costs "$pair" "$layout" "$layout" on; done
            costs "$pair" append_repeat append on --repeat 16
            adapter "$pair" none_lora none off
            costs "$pair" none_lora none off
            for layout in prepend append aside; do
                adapter "$pair" "${layout}_lora_markers" "$layout" on
                costs "$pair" "${layout}_lora" "$layout" on --repeat 0
            done
            adapter "$pair" append_repeat_lora_markers append on --repeat 16
            costs "$pair" append_repeat_lora append on --repeat 16
            no_adapter
        done
        ;;
    ablations)
        prepare_technical
        adapter technical append_lora_markers append on
        # The same contexts and, but for the strides themselves, the same predicted text in each group.
        for n in 16 32 64; do
            row technical "stride_$n" append on --stride "$n" --strides $((strides * 16 / n)) --context 300
            row technical "query_$n" append on --query-tokens "$n"
        done
        # Passages of half the length, so that four of them leave room for text.
        for n in 1 2 4; do
            row technical "passages_$n" append on --passages "$n" --passage-tokens 64 --strides "$strides" --context 230
        done
        no_adapter
        untuned_ablations technical
        prepare_wikitext
        untuned_ablations wikitext
        ;;
    beyond)
        prepare_technical
        # What stood behind a passage keeps what it saw, and moves; contexts have room for the tokens that are repeated, too.
        held="--context 237 --hold 128 --strides $strides"
        for kept in exact approximate; do
            approximate=""
            [ "$kept" = exact ] || approximate=--approximate
            row technical "append_held_$kept" append off $approximate $held
            adapter technical append_lora_markers append on
            row technical "append_lora_held_$kept" append on --repeat 0 $approximate $held
            adapter technical append_repeat_lora_markers append on --repeat 16
            row technical "append_repeat_held_$kept" append on --repeat 16 $approximate $held
            no_adapter
        done
        adapter technical aside_lora_markers aside on
        row technical aside_lora_element_int8 aside on --passage-element int8
        no_adapter
        weighted aside off
        adapter technical append_lora_markers append on
        weighted append on
        no_adapter
        ;;
    bases)
        # Is it width, depth or what was read that append needs? Smaller bases, each differing by one thing from the first.
        for base in narrow narrow-shallow narrow-tenth; do
            prepare_base "$base"
            model=build/pretrain/$base.gguf
            row "$base" none none off
            for layout in prepend aside append; do row "$base" "${layout}_markers" "$layout" on; done
            tuned "$base" append_lora_markers append on
            tuned "$base" prepend_lora_markers prepend on
            tuned "$base" none_lora none off
        done
        model=$default_model
        ;;
    stories)
        # Other models that are there: both write stories for children, and know no markers.
        for stories in stories260K.gguf TinyStories-656K; do
            model=$shared/../models/$stories
            prepare_stories "$stories"
            for layout in none aside prepend append; do row "$stories" "$layout" "$layout" off; done
        done
        model=$default_model
        ;;
    esac
    python3 examples/paper_table/table.py "$dir" >"$dir/table.md.part"
    mv "$dir/table.md.part" "$dir/table.md"
    [ "$part" != curve ] || python3 examples/paper_table/curve.py "$dir" "$dir/curve.svg"
    [ "$part" != cost ] || python3 examples/paper_table/layouts.py "$dir" "$dir/layouts.svg"
done
echo "== $dir/table.md"
cat "$dir/table.md"
