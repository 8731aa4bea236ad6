"""Draws perplexity against tokens as SVG, for schedules.py, layouts.py and curve.py."""
import dataclasses
import html
import math
import os

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, HEAD = 640, 400, 60, 170, 34, 48, 36
# The kinds of points and lines, from one to five: blue, red, brown, green and grey.
STYLE = '''text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.label{font-size:11px}.page{fill:#fff}.axis{stroke:#555;fill:none}
.lead{stroke:#bbb;stroke-width:.5;fill:none}.one{fill:#1f62b0;stroke:#1f62b0}.two{fill:#c0392b;stroke:#c0392b}
.three{fill:#8a6100;stroke:#8a6100}.four{fill:#1b7837;stroke:#1b7837}.five{fill:#666;stroke:#666}text.label{stroke:none}
polyline{stroke-width:2}polyline.one,polyline.two,polyline.three,polyline.four,polyline.five{fill:none}
@media(prefers-color-scheme:dark){text{fill:#ddd}.page{fill:#161616}.axis{stroke:#aaa}.lead{stroke:#555}.one{fill:#74b0ff;stroke:#74b0ff}
.two{fill:#ff8f80;stroke:#ff8f80}.three{fill:#e8bb45;stroke:#e8bb45}.four{fill:#7fd08a;stroke:#7fd08a}.five{fill:#aaa;stroke:#aaa}}'''


@dataclasses.dataclass
class Point:
    """What reads so many tokens, and how well it predicts."""
    tokens: float
    perplexity: float
    name: str
    kind: str


class Panel:
    """Places of numbers in one panel; the horizontal axis is logarithmic."""

    def __init__(self, left, top, points):
        self.left, self.top = left, top
        xs, ys = [math.log(point.tokens) for point in points], [point.perplexity for point in points]
        self.xs = (min(xs), max(max(xs), min(xs) + 0.1))
        gap = max((max(ys) - min(ys)) * 0.06, 0.01)
        self.ys = (min(ys) - gap, max(ys) + gap)

    def x(self, tokens):
        share = (math.log(tokens) - self.xs[0]) / (self.xs[1] - self.xs[0])
        return self.left + LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, perplexity):
        share = (perplexity - self.ys[0]) / (self.ys[1] - self.ys[0])
        return self.top + HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def spread(places, gap, lowest):
    """Moves labels down until none stands on another, then up until the last one is not below `lowest`; in the order of the places."""
    moved, last = [], -math.inf
    for place in places:
        last = max(place, last + gap)
        moved.append(last)
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], lowest)
        lowest = moved[i] - gap
    return moved


def text(x, y, words, classes='', anchor='start'):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{html.escape(words)}</text>'


def axes(panel, right, bottom, across):
    left = panel.left + LEFT
    parts = [f'<path d="M{left},{panel.top + TOP}V{bottom}H{right}" class="axis"/>',
             text((left + right) / 2, bottom + 38, f'{across} (logarithmic)', '', 'middle'),
             text(panel.left + 8, panel.top + TOP - 6, 'perplexity')]
    tick = 1
    while tick <= 4096:
        if panel.xs[0] - 0.01 <= math.log(tick) <= panel.xs[1] + 0.01:
            parts.append(f'<path d="M{panel.x(tick):.1f},{bottom}v5" class="axis"/>')
            parts.append(text(panel.x(tick), bottom + 19, str(tick), '', 'middle'))
        tick *= 2
    for share in (0.1, 0.5, 0.9):
        value = panel.ys[0] + share * (panel.ys[1] - panel.ys[0])
        parts.append(f'<path d="M{left - 5},{panel.y(value):.1f}h5" class="axis"/>')
        parts.append(text(left - 8, panel.y(value) + 4, f'{value:.2f}', '', 'end'))
    return parts


def draw_panel(left, top, across, title, points, lines):
    panel = Panel(left, top, points)
    right, bottom = left + WIDTH - RIGHT, top + HEIGHT - BOTTOM
    parts = [text(left + LEFT, top + 18, title, 'title'), *axes(panel, right, bottom, across)]
    for line in lines:
        places = ' '.join(f'{panel.x(point.tokens):.1f},{panel.y(point.perplexity):.1f}' for point in line)
        parts.append(f'<polyline points="{places}" class="{line[0].kind}"/>' if line else '')
    by_height = sorted(points, key=lambda point: panel.y(point.perplexity))
    named = [point for point in by_height if point.name]
    labels = dict(zip(map(id, named), spread([panel.y(point.perplexity) for point in named], 13, bottom)))
    for point in by_height:
        x, y = panel.x(point.tokens), panel.y(point.perplexity)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{point.kind}"/>')
        if point.name:
            label = labels[id(point)]
            parts.append(f'<path d="M{x:.1f},{y:.1f}L{right + 8},{label:.1f}" class="lead"/>')
            parts.append(text(right + 11, label + 4, point.name, 'label ' + point.kind))
    return parts


def write(path, title, panels, legend, across='tokens evaluated for each predicted one'):
    """A panel is its title, its points, and lines through some of them; two stand side by side. `across` says what `tokens` are."""
    columns = min(len(panels), 2)
    height = HEAD + HEIGHT * math.ceil(len(panels) / columns) + 24
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * columns} {height}">', f'<style>{STYLE}</style>',
             '<rect width="100%" height="100%" class="page"/>', text(12, 24, title, 'title')]
    for i, panel in enumerate(panels):
        parts += draw_panel(WIDTH * (i % columns), HEAD + HEIGHT * (i // columns), across, *panel)
    parts.append(text(12, height - 8, legend))
    with open(path + '.part', 'w', encoding='utf-8') as file:
        file.write('\n'.join(parts) + '\n</svg>\n')
    os.replace(path + '.part', path)
