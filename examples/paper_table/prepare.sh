# shellcheck shell=sh disable=SC2154
# The pairs of a text and a corpus that the tables are measured on, and how a result is known; their scripts source it. They set $dir, where
# the pairs are made, $shared, the folder of the held-out texts, and $model.

# experiment FILE ARGUMENT ...: what experiment.py says, all of it or no file, unless the file is there.
experiment() {
    [ ! -s "$1" ] || return 0
    file=$1
    shift
    python3 examples/pretrain/experiment.py "$@" >"$file.part"
    mv "$file.part" "$file"
}

texts=build/pretrain/texts
prepare_technical() {
    mkdir -p "$dir/technical"
    experiment "$dir/technical/test.jsonl" heldout "$shared/technical-heldout.jsonl"
    [ ! -s "$dir/technical/corpus.jsonl" ] || return 0
    echo "== texts: making those of the technical pair in $dir/technical"
    install_text_packages
    mkdir -p "$texts"
    for source in foldoc jargon linux python git perl postgresql debian apache sqlite; do
        [ -s "$texts/$source.jsonl" ] || python3 examples/pretrain/texts.py --out "$texts" "$source"
    done
    python3 examples/pretrain/experiment.py technical "$texts" "$dir/technical"
}
prepare_wikitext() {
    mkdir -p "$dir/wikitext"
    experiment "$dir/wikitext/test.jsonl" wikitext "$shared/wikitext-2/wiki.test.raw"
    experiment "$dir/wikitext/train.jsonl" wikitext "$shared/wikitext-2/wiki.valid.raw"
    [ -s "$dir/wikitext/corpus.jsonl" ] || cp "$shared/mrag-wikipedia-v2.jsonl" "$dir/wikitext/corpus.jsonl"
}
prepare_translation() {
    [ ! -s "$dir/translation/corpus.jsonl" ] || return 0
    install_packages python3 bible-kjv bible-kjv-text sword-text-web
    python3 examples/pretrain/experiment.py translation "$dir/translation"
}

# made_of RESULT OPTION ... -- FILE ...: true if RESULT is there and was made with these options from these files; if it was made
# otherwise, that is the end.
made_of() {
    result=$1
    shift
    stamp=""
    while [ "$1" != -- ]; do stamp="$stamp $1" && shift; done
    shift
    files=$model
    [ ! -d "$model" ] || files=$model/model.safetensors
    stamp="$stamp
$(sha256sum "$files" "$@" | cut -d ' ' -f 1)"
    if [ -e "$result.made_of" ] && [ "$(cat "$result.made_of")" != "$stamp" ]; then
        echo "'$result' was made with other options, or from another model or texts, than this run has: remove it and '$result.made_of'" \
            "to make it anew" >&2
        exit 1
    fi
    [ -e "$result.made_of" ] && [ -e "$result" ]
}
