#!/usr/bin/python3
"""Draws what the part `curve` of paper_table.sh measured: perplexity against the tokens that an adapter was trained to predict.

curve.py DIR PICTURE.svg      rows that were not measured are left out
"""
import sys

import layouts
import picture
import table

THOUSANDS_A_STEP = 16 * 16 / 1000  # 16 strides of 16 tokens


def panel(folder, pair):
    """A line for each row through its steps; the last point has its name."""
    lines = []
    for row in table.CURVE_ROWS:
        found = {steps: table.result(folder, pair, table.curve_name(row, steps)) for steps in table.CURVE_STEPS}
        there = [steps for steps in table.CURVE_STEPS if found[steps]]
        if there:
            layout = row.removesuffix('_markers').removesuffix('_lora')
            name, kind = table.COST_LAYOUTS[layout], layouts.KINDS[layout]
            lines.append([picture.Point(steps * THOUSANDS_A_STEP, found[steps]['perplexity'], name if steps == there[-1] else '', kind)
                          for steps in there])
    return [point for line in lines for point in line], lines


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, path = sys.argv[1:]
    panels = [(f'{pair}, a LoRA for each layout, with markers', *panel(folder, pair))
              for pair in layouts.PAIRS if table.has_any(folder, pair, table.CURVE)]
    if not panels:
        sys.exit(f"'{folder}' has no rows of the part curve of paper_table.sh")
    picture.write(path, 'Perplexity against training', panels, 'A dot is an adapter: 250 to 5,000 steps of 256 tokens.',
                  'thousands of tokens that were trained on')


if __name__ == '__main__':
    main()
