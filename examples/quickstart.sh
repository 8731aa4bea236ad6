#!/bin/sh
# Installs what is needed (Debian 12), builds, and lets the default model write while it retrieves from FOLDOC, the Free On-line
# Dictionary of Computing; then measures what that costs, and what the model and its adapters gain. Run it again as often as you like.
set -eu
cd "$(dirname "$0")/.."
. cmake/setup.sh
install_flashback_packages

echo "== building build/release/bin/flashback and build/release/bin/quickstart (a few minutes the first time)"
build_with release flashback_tool flashback_quickstart

corpus=build/foldoc.jsonl
[ -s "$corpus" ] || {
    echo "== making $corpus from /usr/share/dictd/foldoc.dict.dz, in the form of the texts that the model was trained on"
    examples/pretrain/texts.py --whole --out build foldoc
}

models=examples/models
adapter=$models/flashback-adapter-5m
titles=examples/pretrain/heldout.json
echo "== running build/release/bin/quickstart $corpus $models $titles"
echo
build/release/bin/quickstart "$corpus" "$models" "$titles"

cat <<EOF

== next
   open build/reuse.html in a browser: what append reused, retrieval by retrieval
   build/release/bin/flashback generate --adapter $adapter --corpus $corpus --prompt 'A compiler is' --temperature 0.8 --top-p 0.95
      (--adapter, because untuned the model reads passages behind the text badly; without it, --layout prepend or aside)
   build/release/bin/flashback search --corpus $corpus --query 'virtual memory' --top-k 3
   build/release/bin/flashback --help
EOF
