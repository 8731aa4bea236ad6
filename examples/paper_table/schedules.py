#!/usr/bin/python3
"""Writes what schedules_table.sh measured: DIR/table.md, DIR/schedules.csv and DIR/schedules.svg. Rows that were not measured are left out.

schedules.py DIR
"""
import csv
import html
import json
import math
import os
import re
import sys

PAIRS = {
    'technical': 'Entries of FOLDOC over FOLDOC, Jargon File and documentation',
    'wikitext': 'WikiText-2 test over mrag-wikipedia-v2',
}
LAYOUTS = {
    'append': 'passages after the text, with the adapter and markers',
    'aside': 'passages beside the text, untuned',
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
    fixed = [row for row in rows if row.schedule == 'never' or row.schedule.startswith('stride:')]
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
        if row.rewound > 0 or row.schedule == 'never' or row.schedule.startswith('stride:'):
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


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, HEAD = 620, 400, 60, 150, 34, 48, 36


class Panel:
    """Places of numbers in one panel; the horizontal axis is logarithmic."""

    def __init__(self, left, top, rows):
        self.left, self.top = left, top
        xs, ys = [math.log(row.per_token) for row in rows], [row.perplexity for row in rows]
        self.xs = (min(xs), max(max(xs), min(xs) + 0.1))
        gap = max((max(ys) - min(ys)) * 0.06, 0.01)
        self.ys = (min(ys) - gap, max(ys) + gap)

    def x(self, per_token):
        share = (math.log(per_token) - self.xs[0]) / (self.xs[1] - self.xs[0])
        return self.left + LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, perplexity):
        share = (perplexity - self.ys[0]) / (self.ys[1] - self.ys[0])
        return self.top + HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def spread(places, gap):
    """Moves labels down until none stands on another; in the order of the places."""
    moved, last = [], -math.inf
    for place in places:
        last = max(place, last + gap)
        moved.append(last)
    return moved


def text(x, y, words, classes='', anchor='start'):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{html.escape(words)}</text>'


def draw_panel(left, top, title, rows):
    panel = Panel(left, top, rows)
    right, bottom = left + WIDTH - RIGHT, top + HEIGHT - BOTTOM
    parts = [text(left + LEFT, top + 18, title, 'title'),
             f'<path d="M{left + LEFT},{top + TOP}V{bottom}H{right}" class="axis"/>',
             text((left + LEFT + right) / 2, bottom + 38, 'tokens evaluated for each predicted one (logarithmic)', '', 'middle'),
             text(left + 8, top + TOP - 6, 'perplexity')]
    tick = 1
    while tick <= 4096:
        if panel.xs[0] - 0.01 <= math.log(tick) <= panel.xs[1] + 0.01:
            parts.append(f'<path d="M{panel.x(tick):.1f},{bottom}v5" class="axis"/>')
            parts.append(text(panel.x(tick), bottom + 19, str(tick), '', 'middle'))
        tick *= 2
    for share in (0.1, 0.5, 0.9):
        value = panel.ys[0] + share * (panel.ys[1] - panel.ys[0])
        parts.append(f'<path d="M{left + LEFT - 5},{panel.y(value):.1f}h5" class="axis"/>')
        parts.append(text(left + LEFT - 8, panel.y(value) + 4, f'{value:.2f}', '', 'end'))
    fixed = [row for row in rows if row.schedule == 'never' or row.schedule.startswith('stride:')]
    points = ' '.join(f'{panel.x(row.per_token):.1f},{panel.y(row.perplexity):.1f}' for row in fixed)
    parts.append(f'<polyline points="{points}" class="fixed"/>')
    by_height = sorted(rows, key=lambda row: panel.y(row.perplexity))
    for row, label in zip(by_height, spread([panel.y(row.perplexity) for row in by_height], 13)):
        kind = 'fixed' if row in fixed else 'again' if row.rewound > 0 else 'doubt'
        x, y = panel.x(row.per_token), panel.y(row.perplexity)
        parts.append(f'<path d="M{x:.1f},{y:.1f}L{right + 8},{label:.1f}" class="lead"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{kind}"/>')
        parts.append(text(right + 11, label + 4, row.name, 'label ' + kind))
    return parts


STYLE = '''text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.label{font-size:11px}.page{fill:#fff}.axis{stroke:#555;fill:none}
.lead{stroke:#bbb;stroke-width:.5;fill:none}circle.fixed{fill:#1f62b0}circle.doubt{fill:#c0392b}circle.again{fill:#8a6100}
text.fixed{fill:#1f62b0}text.doubt{fill:#c0392b}text.again{fill:#8a6100}polyline.fixed{fill:none;stroke:#1f62b0;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#ddd}.page{fill:#161616}.axis{stroke:#aaa}.lead{stroke:#555}circle.fixed{fill:#74b0ff}
circle.doubt{fill:#ff8f80}circle.again{fill:#e8bb45}text.fixed{fill:#74b0ff}text.doubt{fill:#ff8f80}text.again{fill:#e8bb45}
polyline.fixed{stroke:#74b0ff}}'''


def write_svg(path, all_rows):
    shown = {key: rows for key, rows in all_rows.items() if rows}
    columns = min(len(shown), 2)
    height = HEAD + HEIGHT * math.ceil(len(shown) / columns) + 24
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * columns} {height}">', f'<style>{STYLE}</style>',
             f'<rect width="100%" height="100%" class="page"/>', text(12, 24, 'What schedules buy: perplexity against evaluated tokens',
                                                                     'title')]
    for i, ((pair, layout), rows) in enumerate(shown.items()):
        parts += draw_panel(WIDTH * (i % columns), HEAD + HEIGHT * (i // columns), f'{pair}: {LAYOUTS[layout]}', rows)
    parts.append(text(12, height - 8, 'Blue: fixed strides. Red: schedules that look at the model. Brown: schedules that take tokens back, '
                                      'whose perplexity is that of a second look.'))
    with open(path + '.part', 'w', encoding='utf-8') as file:
        file.write('\n'.join(parts) + '\n</svg>\n')
    os.replace(path + '.part', path)


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
