#!/bin/sh
# Trains the default model from scratch, from the texts of Debian packages (Debian 12): installs them, builds, makes the texts, trains
# (half an hour on two cores of a Zen 5; killed, it goes on where it was), and measures it. Run it again as often as you like.
#
# examples/pretrain.sh [STEPS [DIR [NAME]]]: the model with 5000 steps is DIR/flashback-base-5m.gguf, DIR being build/pretrain.
# NAME: another one, to see what makes the default model good: narrow (half its width), and narrow ones that differ by one thing more,
# narrow-shallow (half the layers) and narrow-tenth (passages interrupt a tenth of what it reads, not half).
# FLASHBACK_TOOL: a tool that is built already.
set -eu
cd "$(dirname "$0")/.."
steps=${1:-5000}
dir=${2:-build/pretrain}
name=${3:-flashback-base-5m}
narrow="--width 128 --heads 4 --kv-heads 2 --hidden 352"
case $name in
flashback-base-5m) shape="--layers 6 --width 256 --heads 8 --kv-heads 4 --hidden 704" parted=0.5 ;;
narrow) shape="--layers 6 $narrow" parted=0.5 ;;
narrow-shallow) shape="--layers 3 $narrow" parted=0.5 ;;
narrow-tenth) shape="--layers 6 $narrow" parted=0.1 ;;
*)
    echo "pretrain.sh: '$name' is no model, expected flashback-base-5m, narrow, narrow-shallow or narrow-tenth" >&2
    exit 2
    ;;
esac
model=$dir/$name.gguf
heldout=../shared/data/technical-heldout.jsonl
. cmake/setup.sh
find_tool
install_text_packages
mkdir -p "$dir/texts"

# How often each source is read: more often what is rare and good. None of the held-out documents is in them.
mixture="foldoc:4 jargon:4 devil:2 git:3 python:2 kjv:2 linux:2 wordnet:1 perl:1 postgresql:1 vim:1 sqlite:1 apache:1 debian:1 zsh:1"
files="" missing="" once=""
for part in $mixture; do
    source=${part%:*} times=${part#*:}
    [ -s "$dir/texts/$source.jsonl" ] || missing="$missing $source"
    once="$once $dir/texts/$source.jsonl"
    while [ "$times" -gt 0 ]; do
        files="$files $dir/texts/$source.jsonl" times=$((times - 1))
    done
done
if [ -n "$missing" ]; then
    echo "== texts: making them in $dir/texts (a minute or two)"
    # shellcheck disable=SC2086  # $missing is a list of words
    python3 examples/pretrain/texts.py --out "$dir/texts" $missing
fi
# An eighth of what is read says the same twice, and passages interrupt half of the sequences: so the model learns to use what it has read.
# shellcheck disable=SC2086  # $once is a list of words
[ -s "$dir/texts/repeats.jsonl" ] || python3 examples/pretrain/repeats.py --out "$dir/texts/repeats.jsonl" $once
files="$files $dir/texts/repeats.jsonl"
if (cd "$dir/texts" && sha256sum --check --quiet) <examples/pretrain/SHA256SUMS; then
    echo "== texts: as examples/models/README.md describes them"
else
    echo "== texts: the ones named above differ from those that examples/models/README.md describes, where the versions of the packages"
    echo "   stand"
fi

if [ -s "$model" ]; then
    echo "== training: $model is there; remove it to train anew"
else
    echo "== training: $model"
    # shellcheck disable=SC2086  # $files and $shape are lists of words
    $flashback pretrain --train $files $shape --steps "$steps" --batch 8 \
        --lr 2e-3 --warmup-ratio 0.03 --seed 1 --parted "$parted" --precision bf16 --name "$name" \
        --checkpoint "$dir/$name.checkpoint" --checkpoint-every 120s --log "$dir/$name.csv" --out "$model"
fi

if [ -f "$heldout" ]; then
    echo "== held-out texts: $heldout, joined by newlines, windows of 255 tokens, BOS in front of each"
    python3 -c 'import json, sys; print("\n".join(json.loads(line)["text"] for line in sys.stdin), end="")' <"$heldout" >"$dir/heldout.txt"
    for one in "$model" examples/models/flashback-base-5m.gguf; do
        echo "   $one"
        $flashback ppl --model "$one" --text "$dir/heldout.txt" --window 255
    done
else
    echo "== held-out texts: $heldout is not there, so the model is not measured"
fi
