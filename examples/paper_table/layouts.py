#!/usr/bin/python3
"""Draws what the part `cost` of paper_table.sh measured: perplexity against evaluated tokens for every layout, a line through its strides.

layouts.py DIR PICTURE.svg      pairs and rows that were not measured are left out
"""
import json
import os
import re
import sys

import picture
import table

PAIRS = ('translation', 'technical')
KINDS = {'none': 'five', 'prepend': 'three', 'append': 'two', 'append_repeat': 'four', 'aside': 'one'}
ROW = re.compile(r'cost_(?P<layout>.+?)(?P<tuned>_lora)?_(?P<stride>[0-9]+)\.json')


def panel(folder, tuned):
    """A point for each row; the one with the smallest stride has the name of its layout."""
    found = {layout: {} for layout in table.COST_LAYOUTS}
    for name in os.listdir(folder):
        row = ROW.fullmatch(name)
        if row and bool(row['tuned']) == tuned:
            with open(os.path.join(folder, name), encoding='utf-8') as file:
                found[row['layout']][int(row['stride'])] = json.load(file)
    lines = []
    for layout, rows in found.items():
        name, kind = table.COST_LAYOUTS[layout], KINDS[layout]
        lines.append([picture.Point(rows[stride]['evaluated'] / rows[stride]['tokens'], rows[stride]['perplexity'],
                                    name if stride == min(rows) else '', kind) for stride in sorted(rows)])
    return [point for line in lines for point in line], [line for line in lines if line]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, path = sys.argv[1:]
    panels = []
    for pair in PAIRS:
        if os.path.isdir(os.path.join(folder, pair)):
            panels += [(f'{pair}, {how}', *panel(os.path.join(folder, pair), tuned))
                       for how, tuned in (('untuned, with markers', False), ('a LoRA for each layout, with markers', True))]
    panels = [one for one in panels if one[1]]
    if not panels:
        sys.exit(f"'{folder}' has no rows of the part cost of paper_table.sh")
    picture.write(path, 'Perplexity against evaluated tokens', panels,
                  'A dot is a stride: 8 tokens (with the name of its layout), 16, 32 and 64; without retrieval there is one.')


if __name__ == '__main__':
    main()
