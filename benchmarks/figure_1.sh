#!/bin/sh
# Figure 1 of the FlashBack paper on this machine (Debian 12): the seconds of a run against its length, with passages prepended,
# appended, and beside the text, where they are new or stored; one panel a model. Weights are random, which costs the same; retrieval is
# simulated, as the paper's is.
#
# benchmarks/figure_1.sh [SHAPE:DTYPE ...]: what `flashback bench --shape` knows, opt-6.7b:q4_0 say; by default the ones below: those of
# a billion weights take three minutes each on two cores of an AMD EPYC Zen 5. What was measured stands in
# build/figure_1/SHAPE-DTYPE-LENGTH.csv and is not measured again; the picture is figure_1.svg and figure_1.png there.
# FLASHBACK_FIGURE: another folder; FLASHBACK_TOOL: a tool that is built already.
set -eu
cd "$(dirname "$0")/.."
[ $# != 0 ] || set -- gpt2:f32 opt-125m:f32 tinyllama-1.1b:bf16 opt-1.3b:bf16
dir=${FLASHBACK_FIGURE:-build/figure_1}
. cmake/setup.sh
find_tool
install_packages gnuplot-nox fonts-dejavu-core
mkdir -p "$dir"

# window SHAPE: how many tokens the longest run has.
window() {
    case $1 in
    gpt2) echo 1024 ;;
    llama2-*) echo 4096 ;;
    *) echo 2048 ;;
    esac
}

# stem SHAPE:DTYPE: how the names of its files begin.
stem() { echo "$dir/$(echo "$1" | tr : -)"; }

# seconds FILE: those of a run of `bench --csv` with stored and new passages beside the text, appended, and prepended.
seconds() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
             { seconds[$column["layout"]] = $column["seconds"] }
             END { print seconds["aside-stored"], seconds["aside"], seconds["append"], seconds["prepend"] }' "$1"
}

for shape in "$@"; do
    longest=$(window "${shape%%:*}")
    data=$(stem "$shape").dat
    echo "# tokens, seconds with passages stored beside the text, new beside the text, appended, prepended" >"$data.part"
    for eighths in 2 4 6 7 8; do
        length=$((longest * eighths / 8))
        [ "$length" -gt 640 ] || continue  # the text that a run begins with, and a passage
        file=$(stem "$shape")-$length.csv
        if [ ! -s "$file" ] || [ "$(seconds "$file" | wc -w)" != 4 ]; then  # an older script measured two layouts
            echo "== measuring: $shape, $length tokens"
            $flashback bench --mode loop --shape "$shape" --length "$length" --layout aside-stored,aside,append,prepend --sample 4 --repetitions 1 \
                --csv "$file.part" >"${file%.csv}.log"
            mv "$file.part" "$file"
        fi
        echo "$length $(seconds "$file")" >>"$data.part"
    done
    mv "$data.part" "$data"
done

columns=$(($# < 3 ? $# : $# == 4 ? 2 : 3))
rows=$((($# + columns - 1) / columns))
plot() { # plot TERMINAL SIZE FILE
    {
        echo "set terminal $1 size $2 font 'DejaVu Sans,11' background '#ffffff'; set output '$3'"
        echo "set multiplot layout $rows,$columns"
        echo "set grid ytics lc rgb '#dddddd'; set border 3 lc rgb '#555555'; set tics nomirror; set key top left"
        echo "set xlabel 'tokens'; set ylabel 'seconds'; set yrange [0:*]; set offsets graph 0.05, graph 0.05, graph 0.1, 0"
        for shape in $shapes; do
            data=$(stem "$shape").dat
            ratios=$(tail -n 1 "$data" | awk '{ printf "%.1f and %.1f", $5 / $4, $5 / $2 }')
            echo "set title '$(echo "$shape" | tr : ' '), $ratios times'; set xtics ($(awk '!/#/ { printf "%s%s", comma, $1; comma = ", " }' "$data"))"
            echo "plot '$data' using 1:5 with linespoints lw 2 pt 5 lc rgb '#c44e52' title 'prepend', '' using 1:4 with linespoints lw 2 pt 7 lc rgb '#4c72b0' title 'append'," \
                "'' using 1:3 with linespoints lw 2 dt 2 pt 8 lc rgb '#55a868' title 'aside, new', '' using 1:2 with linespoints lw 2 pt 9 lc rgb '#55a868' title 'aside, stored'"
        done
        echo "unset multiplot"
    } | gnuplot
}
shapes=$*
plot svg "$((columns * 340)),$((rows * 280))" "$dir/figure_1.svg"
plot pngcairo "$((columns * 340)),$((rows * 280))" "$dir/figure_1.png"
echo "== $dir/figure_1.svg, $dir/figure_1.png"
