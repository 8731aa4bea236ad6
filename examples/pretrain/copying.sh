#!/bin/sh
# Trains on a model so that it copies: 800 steps over pieces of text that stand twice (examples/pretrain/experiment.py repeats).
# A quarter of an hour on two cores; killed, it goes on where it was.
#
# examples/pretrain/copying.sh [MODEL [OUT]]: by default from the default model to build/pretrain/copying.gguf. FLASHBACK_TOOL: a tool
# that is built already.
set -eu
cd "$(dirname "$0")/../.."
model=${1:-examples/models/flashback-base-5m.gguf}
out=${2:-build/pretrain/copying.gguf}
texts=build/pretrain/texts
. cmake/setup.sh
install_text_packages
find_tool
mkdir -p "$texts" "$(dirname "$out")"
for source in foldoc jargon kjv git devil linux python debian; do
    [ -s "$texts/$source.jsonl" ] || python3 examples/pretrain/texts.py --out "$texts" "$source"
done
python3 examples/pretrain/experiment.py repeats "$texts" >"$out.jsonl"
$flashback finetune --model "$model" --train "$out.jsonl" --layout none --markers off --share-history --all-params \
    --lr 1.5e-3 --beta2 0.95 --weight-decay 0.1 --warmup-ratio 0.05 --steps 800 --batch 124 --context-min 1 --context-max 495 \
    --precision bf16 --log "$out.csv" --out "$out"
