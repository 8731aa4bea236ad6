#!/usr/bin/python3
"""Writes what schedules_table.sh measured: DIR/table.md, DIR/schedules.csv and DIR/schedules.svg. Rows that were not measured are left out.

schedules.py DIR
"""
import csv
import json
import math
import os
import re
import sys

import picture

PAIRS = {
    'translation': 'The World English Bible over the King James Bible',
    'technical': 'Entries of FOLDOC over FOLDOC, Jargon File and documentation',
    'wikitext': 'WikiText-2 test over mrag-wikipedia-v2',
}
LAYOUTS = {
    'append': 'append, with the adapter and markers',
    'append_repeat': 'append, 16 tokens repeated, with the adapter and markers',
    'aside': 'aside, untuned',
}
BASE = 'stride:16'


class Row:
    """One schedule on one pair with one layout."""

    def __init__(self, path):
        with open(path, encoding='utf-8') as file:
            found = json.load(file)
        self.schedule = found['schedule']
        self.tokens = found['tokens']
        self.retrievals = found['retrievals']
        self.evaluated = found['evaluated']
        self.seconds = found['seconds']['retrieve'] + found['seconds']['evaluate']
        self.perplexity = found['perplexity']
        self.error = found['perplexity_standard_error']
        self.first = math.exp(found['first_nats_per_token'])
        self.rewound = found['rewound']
        with open(path[:-len('.json')] + '.strides.csv', encoding='utf-8') as file:
            self.strides = {int(row['at']): float(row['nats_per_token']) for row in csv.DictReader(file)}
        with open(path + '.made_of', encoding='utf-8') as file:  # as it was asked for; `schedule` has all constants
            self.name = re.search(r'--schedule (\S+)', file.read()).group(1)

    @property
    def fixed(self):
        """Whether it retrieves every so many tokens, once in each window, or never, whatever the text and the model say."""
        return self.schedule in ('never', 'once') or self.schedule.startswith('stride:')

    @property
    def per_token(self):
        return self.evaluated / self.tokens


def rows_of(folder, pair, layout):
    """All rows by what they evaluate, the cheapest first."""
    path = os.path.join(folder, pair, layout)
    if not os.path.isdir(path):
        return []
    rows = [Row(os.path.join(path, name)) for name in sorted(os.listdir(path)) if name.endswith('.json')]
    for row in rows:
        if row.strides.keys() != rows[0].strides.keys():
            sys.exit(f'{row.name} and {rows[0].name} of {path} are not of the same strides')
    return sorted(rows, key=lambda row: (row.evaluated, row.perplexity, row.schedule))


def difference(one, other):
    """The mean difference of two rows in nats, stride by stride, and its standard error: hard strides are hard for both."""
    differences = [one[at] - other[at] for at in one]
    mean = sum(differences) / len(differences)
    if len(differences) < 2:
        return mean, math.nan
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    return mean, math.sqrt(variance / len(differences))


def percent(mean, error):
    return f'{100 * math.expm1(mean):+.1f} ± {100 * math.exp(mean) * error:.1f} %'


def frontier(rows):
    """The schedules that no other beats: none predicts as well or better and evaluates as little or less."""
    best = []
    for row in rows:  # the cheapest first
        if row.rewound == 0 and (not best or row.perplexity < best[-1].perplexity):
            best.append(row)
    return best


def dominant(rows):
    """The schedule that beats every other one: it evaluates least, and none predicts better by two standard errors or more."""
    best = [row for row in rows if row.rewound == 0]
    if not best:
        return None
    cheapest = best[0]
    for row in best[1:]:
        mean, error = difference(row.strides, cheapest.strides)
        if mean < 0 and not abs(mean) < 2 * error:
            return None
    return cheapest


def at_cost(rows, cost):
    """The nats of each stride that fixed strides would have at a cost, between the two that enclose it; none outside of them."""
    fixed = [row for row in rows if row.fixed]
    for cheap, dear in zip(fixed, fixed[1:]):
        if cheap.evaluated <= cost <= dear.evaluated and cheap.evaluated < dear.evaluated:
            share = (cost - cheap.evaluated) / (dear.evaluated - cheap.evaluated)
            return {at: (1 - share) * cheap.strides[at] + share * dear.strides[at] for at in cheap.strides}
    return None


def verdict(rows):
    """What the numbers say, in sentences."""
    lines = []
    found = dominant(rows)
    if found:
        lines.append(f'**`{found.name}` dominates**: it evaluates least, and no schedule predicts better by two standard errors.')
    else:
        names = ', '.join(f'`{row.name}`' for row in frontier(rows))
        lines.append(f'**No schedule dominates.** Whatever one may spend, one of these is best: {names}.')
    better, worse = [], []
    for row in rows:
        if row.rewound > 0 or row.fixed:
            continue
        line = at_cost(rows, row.evaluated)
        if line is None:
            continue
        mean, error = difference(row.strides, line)
        if abs(mean) >= 2 * error:
            (better if mean < 0 else worse).append(f'`{row.name}` ({percent(mean, error)})')
    lines.append('Against fixed strides that evaluate as much, better by two standard errors: '
                 + (', '.join(better) or 'none') + '; worse: ' + (', '.join(worse) or 'none') + '.')
    return lines


def table(out, pair, layout, rows):
    out.write(f'### {PAIRS[pair]}: {LAYOUTS[layout]}\n\n')
    out.write(f'| schedule | retrievals | tokens evaluated | per token | seconds | perplexity | against `{BASE}` | said first |\n')
    out.write('|---|---|---|---|---|---|---|---|\n')
    base = next((row for row in rows if row.name == BASE), None)
    for row in rows:
        compared = '' if base is None or row is base else percent(*difference(row.strides, base.strides))
        first = f'{row.first:.2f}' if row.rewound > 0 else ''
        out.write(f'| `{row.name}` | {row.retrievals} | {row.evaluated} | {row.per_token:.2f} | {row.seconds:.1f} | '
                  f'{row.perplexity:.2f} ± {row.error:.2f} | {compared} | {first} |\n')
    out.write('\n')
    for line in verdict(rows):
        out.write(line + '\n\n')


def write_csv(path, all_rows):
    with open(path + '.part', 'w', encoding='utf-8', newline='') as file:
        out = csv.writer(file)
        out.writerow(['pair', 'layout', 'schedule', 'tokens', 'retrievals', 'evaluated', 'evaluated_per_token', 'seconds', 'perplexity',
                      'perplexity_standard_error', 'first_perplexity', 'rewound'])
        for (pair, layout), rows in all_rows.items():
            for row in rows:
                out.writerow([pair, layout, row.schedule, row.tokens, row.retrievals, row.evaluated, f'{row.per_token:.4f}',
                              f'{row.seconds:.3f}', f'{row.perplexity:.5f}', f'{row.error:.5f}', f'{row.first:.5f}', row.rewound])
    os.replace(path + '.part', path)


def drawn(rows):
    """The rows of one panel: fixed strides as a line."""
    points = [picture.Point(row.per_token, row.perplexity, row.name, 'one' if row.fixed else 'three' if row.rewound > 0 else 'two')
              for row in rows]
    return points, [[point for point in points if point.kind == 'one']]


def write_svg(path, all_rows):
    panels = [(f'{pair}: {LAYOUTS[layout]}', *drawn(rows)) for (pair, layout), rows in all_rows.items() if rows]
    picture.write(path, 'What schedules buy: perplexity against evaluated tokens', panels,
                  'Blue: fixed strides, once in a window, and never. Red: others. Brown: schedules that take tokens back, whose perplexity is '
                  'that of a second look.')


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    all_rows = {(pair, layout): rows_of(folder, pair, layout) for pair in PAIRS for layout in LAYOUTS}
    if not any(all_rows.values()):
        sys.exit(f"'{folder}' has no rows of schedules_table.sh")
    path = os.path.join(folder, 'table.md')
    with open(path + '.part', 'w', encoding='utf-8') as out:
        for (pair, layout), rows in all_rows.items():
            if rows:
                table(out, pair, layout, rows)
        out.write('Schedules that take tokens back are measured when they say a token for the last time, and decide that by this very token: '
                  'their perplexity is what a second look is worth, and not that of a distribution. What they said first is. They are '
                  'left out of the comparisons.\n')
    os.replace(path + '.part', path)
    write_csv(os.path.join(folder, 'schedules.csv'), all_rows)
    write_svg(os.path.join(folder, 'schedules.svg'), all_rows)


if __name__ == '__main__':
    main()
