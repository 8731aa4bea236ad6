#!/usr/bin/python3
"""Draws the pictures of the guides: the_idea.svg and passages_aside.svg.

pictures.py FOLDER
"""
import os
import sys

REUSED, EVALUATED, PASSAGE, TEXT, PALE = '#c4c4c4', '#b85c00', '#3b78b5', '#666', '#f4f4f4'


class Picture:
    """An SVG with a title and a description for those who do not see it."""

    def __init__(self, width, height, title, description):
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            'aria-labelledby="t d" font-family="sans-serif" font-size="13" fill="#222">',
            f'<title id="t">{title}</title>',
            f'<desc id="d">{description}</desc>',
            f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="8" fill="#fff" stroke="#999"/>',
        ]

    def box(self, x, y, width, height, fill, stroke='#fff'):
        self.lines.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" stroke="{stroke}"/>')

    def triangle(self, x, y, width, height, fill):
        """The part of a square that says: up to itself."""
        self.lines.append(f'<path d="M{x} {y}v{height}h{width}z" fill="{fill}" stroke="#fff"/>')

    def line(self, path, colour='#ccc'):
        self.lines.append(f'<path d="{path}" stroke="{colour}" fill="none"/>')

    def text(self, x, y, words, size=13, bold=False, colour='#222', anchor='start'):
        weight = ' font-weight="bold"' if bold else ''
        self.lines.append(f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>{words}</text>')

    def bracket(self, x, y, width, words, colour):
        self.line(f'M{x + 1} {y}v6h{width - 2}v-6', colour)
        self.text(x + width / 2, y + 20, words, 12, colour=colour, anchor='middle')

    def save(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(self.lines + ['</svg>', '']))


def the_idea():
    """What is held, what should be held, and what follows from the two."""
    p = Picture(
        860, 356, 'The idea: keep what is the same from the start, evaluate the rest',
        'Two panels. In each, a row of boxes shows the tokens that the KV cache holds, and below it a row shows those that it should hold '
        'after a retrieval. Passages after the text: held are BOS, 64 tokens of text, passage A and new tokens. Wanted are BOS, the 64 '
        'tokens, the 16 new ones as text, and passage B. The first 65 are the same and kept; the 16 and passage B, 144 tokens, are '
        'evaluated. Passages in front of the text: held are BOS, passage A and the text; wanted are BOS, passage B and the same '
        'text, now of 80 tokens. Only BOS is the same, so passage B and all of the text, 208 tokens, are evaluated.')
    scale = 3.3
    bos, text, new, passage = 8, round(64 * scale), round(16 * scale), round(128 * scale)
    x0 = 130

    def row(y, label, boxes):
        p.text(20, y + 17, label)
        x = x0
        for width, words, colour, ink in boxes:
            p.box(x, y, width, 26, colour, '#bbb' if colour == PALE else '#fff')
            if words:
                p.text(x + width / 2, y + 17, words, 12, colour=ink, anchor='middle')
            x += width
        return x

    def panel(y, heading, held, wanted, keep, feed):
        p.text(20, y, heading, 15, bold=True)
        row(y + 14, 'is held', held)
        end = row(y + 48, 'should be held', wanted)
        kept = bos + (text if keep > 1 else 0)
        if keep > 1:
            p.bracket(x0, y + 78, kept, f'keep: {keep}', '#666')
        else:
            p.text(x0, y + 98, 'keep: 1', 12, colour='#666')
        p.bracket(x0 + kept, y + 78, end - x0 - kept, f'feed: {feed}', EVALUATED)

    head = (bos, '', TEXT, '#fff')
    panel(34, 'Passages after the text: append',
          [head, (text, '64 of text', REUSED, '#222'), (passage, 'passage A', PALE, '#222'), (new, 'new', PALE, '#222')],
          [head, (text, '64 of text', REUSED, '#222'), (new, '16', EVALUATED, '#fff'), (passage, 'passage B', EVALUATED, '#fff')], 65, 144)
    panel(194, 'Passages in front of the text: prepend',
          [head, (passage, 'passage A', PALE, '#222'), (text + new, 'text', PALE, '#222')],
          [head, (passage, 'passage B', EVALUATED, '#fff'), (text + new, '80 of text', EVALUATED, '#fff')], 1, 208)
    p.text(20, 338, 'The keys and values at a position depend on the tokens up to it alone: what is the same from the start stays valid.', 12,
           colour='#666')
    return p


def passages_aside():
    """Who sees whom, and what is evaluated at a retrieval."""
    p = Picture(
        860, 400, 'Passages aside: who sees whom, and what is evaluated at a retrieval',
        'Left, a table. Each row says what a part sees. The head, at position 0, sees itself. Passage A and passage B stand at the positions '
        '1, 2 and so on; each sees the head and itself. The text, also at the positions 1, 2 and so on up to n, sees the head and itself, '
        'but no passage. The newest token and what is generated, from position n + 1 on, see the head, both passages, the text and '
        'themselves. Right, what is evaluated at a retrieval, for a stride of 16 and a passage of 128 tokens. Prepend: the passage and the '
        'whole text. Append: 16 tokens of text and the passage, 144 in all. Aside: 16 tokens of text and the newest token, 17 in all; the '
        'passage is kept.')
    p.text(20, 32, 'Who sees whom', 15, bold=True)
    p.text(535, 32, 'Evaluated at a retrieval', 15, bold=True)
    p.text(20, 62, 'a row sees what is filled;', 12, colour='#666')
    p.text(20, 78, 'triangle: up to itself', 12, colour='#666')
    columns = [(160, 42, 'head'), (202, 78, 'passage A'), (280, 78, 'passage B'), (358, 74, 'text'), (432, 64, 'generated')]
    rows = [(96, 24, 'head', '0'), (120, 52, 'passage A', '1 … 120'), (172, 52, 'passage B', '1 … 128'), (224, 74, 'text', '1 … n'),
            (298, 64, 'generated', 'n+1 …')]
    sees = [(TEXT, []), (PASSAGE, [0]), (PASSAGE, [0]), (TEXT, [0]), (EVALUATED, [0, 1, 2, 3])]  # besides itself
    p.text(464, 70, 'newest,', anchor='middle')
    for x, width, words in columns:
        p.text(x + width / 2, 86, words, anchor='middle')
    for r, (y, height, words, positions) in enumerate(rows):
        middle = y + height // 2 + 4
        if words == 'generated':
            p.text(20, middle - 13, 'newest,')
            middle += 3
        p.text(20, middle, words)
        p.text(150, middle - (16 if words == 'generated' else 0), positions, 12, colour='#666', anchor='end')
        colour, others = sees[r]
        for c, (x, width, _) in enumerate(columns):
            p.box(x, y, width, height, colour if c in others else PALE, '#fff' if c in others else '#bbb')
            if c == r:
                p.triangle(x, y, width, height, colour)
    p.text(150, 385, 'positions', 12, colour='#666', anchor='end')
    p.line('M128 371V358m-3 4l3-4 3 4', '#666')
    p.line('M515 20V380')

    def bar(y, name, amount, boxes):
        p.text(535, y - 8, name, bold=True)
        p.text(837, y - 8, amount, anchor='end')
        x = 535
        for width, words, evaluated in boxes:
            p.box(x, y, width, 26, EVALUATED if evaluated else REUSED)
            if words:
                p.text(x + width / 2, y + 17, words, 12, colour='#fff' if evaluated else '#222', anchor='middle')
            x += width

    bar(84, 'prepend', '128 + the whole text', [(16, '', False), (70, 'passage', True), (216, 'text', True)])
    bar(184, 'append', '16 + 128 = 144', [(16, '', False), (168, 'text', False), (24, '', True), (70, 'passage', True)])
    bar(284, 'aside', '16 + 1 = 17', [(16, '', False), (168, 'text', False), (24, '', True), (7, '', True)])
    for x, y, words in ((731, 226, '16'), (728, 326, '16'), (749, 326, '1')):  # below boxes that are too narrow
        p.text(x, y, words, 12, anchor='middle')
    p.box(551, 314, 70, 22, REUSED)
    p.text(586, 329, 'passage', 12, anchor='middle')
    p.text(626, 348, 'evaluated once, when new', 12, colour='#666')
    p.box(535, 366, 14, 14, EVALUATED)
    p.text(555, 378, 'evaluated now', 12)
    p.box(680, 366, 14, 14, REUSED)
    p.text(700, 378, 'kept', 12)
    return p


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    the_idea().save(os.path.join(sys.argv[1], 'the_idea.svg'))
    passages_aside().save(os.path.join(sys.argv[1], 'passages_aside.svg'))


if __name__ == '__main__':
    main()
