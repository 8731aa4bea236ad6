#!/usr/bin/python3
"""Draws what the part `curve` of paper_table.sh measured: perplexity against the tokens that an adapter was trained to predict.

curve.py DIR PICTURE.svg      rows that were not measured are left out
"""
import sys

import picture
import table

THOUSANDS_A_STEP = 16 * 16 / 1000  # 16 strides of 16 tokens
PAIRS = ('translation', 'technical')
KINDS = {'none_lora': 'five', 'prepend_lora_markers': 'three', 'append_lora_markers': 'two', 'append_repeat_lora_markers': 'four',
         'aside_lora_markers': 'one'}


def panel(folder, pair):
    """A line for each row through its steps; the last point has its name."""
    lines = []
    for row, name in table.CURVE_ROWS.items():
        found = {steps: table.result(folder, pair, table.curve_name(row, steps)) for steps in table.CURVE_STEPS}
        there = [steps for steps in table.CURVE_STEPS if found[steps]]
        if there:
            short = name.removesuffix(' + markers').removesuffix(' + LoRA')
            lines.append([picture.Point(steps * THOUSANDS_A_STEP, found[steps]['perplexity'], short if steps == there[-1] else '',
                                        KINDS[row]) for steps in there])
    return [point for line in lines for point in line], lines


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, path = sys.argv[1:]
    panels = [(f'{pair}, a LoRA for each layout, with markers', *panel(folder, pair)) for pair in PAIRS if table.has_curve(folder, pair)]
    if not panels:
        sys.exit(f"'{folder}' has no rows of the part curve of paper_table.sh")
    picture.write(path, 'Perplexity against training', panels, 'A dot is an adapter: 250 to 5,000 steps of 256 tokens.',
                  'thousands of tokens that were trained on')


if __name__ == '__main__':
    main()
