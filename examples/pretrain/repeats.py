#!/usr/bin/python3
"""Makes texts that say the same twice, from files that texts.py wrote: a model that reads them learns to copy, which is how it uses a passage.

    repeats.py --out OUT [--characters N] FILE...       OUT is `{_id,title,text}` a line

Half of the characters are lists of words drawn at random; each list stands two to four times. Nothing but copying predicts it the second time,
so a model learns it early. The other half are stretches of the files; the first of a document stands twice, with none, one or two others in
between.
"""
import argparse
import collections
import itertools
import json
import os
import random
import re

WORDS = 6000                                # the most frequent words, from which lists are drawn
LISTS = (6, 10, 16, 24, 40, 60)             # words of a list
STRETCHES = (12, 20, 30, 45, 60, 80, 100)   # words of a stretch
ORDERS = ('AA', 'ABA', 'ABACB')             # how stretches stand


def lists(texts, draw):
    """Without end: a list of words of the texts, again and again."""
    counts = collections.Counter()
    for text in texts:
        counts.update(re.findall(r'[A-Za-z][a-z]+', text))
    words = [word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:WORDS]]
    while True:
        one = ' '.join(draw.choice(words) for _ in range(draw.choice(LISTS)))
        yield '\n'.join([one] * draw.choice((2, 3, 4)))


def stretches(texts, draw):
    """Without end: stretches of the texts in one of the orders."""
    while True:
        order = draw.choice(ORDERS)
        parts = {}
        while len(parts) < len(set(order)):
            words = list(re.finditer(r'\S+\s*', draw.choice(texts)))
            count = draw.choice(STRETCHES)
            if len(words) >= count:
                first = draw.randrange(len(words) - count + 1)
                parts['ABC'[len(parts)]] = ''.join(word.group() for word in words[first:first + count]).strip()
        yield '\n'.join(parts[letter] for letter in order)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', required=True, help='the file to write')
    parser.add_argument('--characters', type=int, default=20_000_000, help='how much to write')
    parser.add_argument('file', nargs='+', help='what texts.py wrote')
    options = parser.parse_args()
    texts = []
    for path in sorted(options.file):
        with open(path, encoding='utf-8') as file:
            texts += [json.loads(line)['text'] for line in file]
    draw = random.Random(1)
    sources = {'list': lists(texts, draw), 'stretch': stretches(texts, draw)}
    written = dict.fromkeys(sources, 0)
    with open(options.out + '.part', 'w', encoding='utf-8') as out:
        for number in itertools.count():
            if sum(written.values()) >= options.characters:
                break
            name = min(written, key=written.get)
            text = next(sources[name])
            written[name] += len(text)
            out.write(json.dumps({'_id': f'{name}-{number}', 'title': '', 'text': text}, ensure_ascii=False) + '\n')
    os.replace(options.out + '.part', options.out)
    print(f"{options.out}: {number} documents, {written['list']} characters of lists and {written['stretch']} of stretches")


if __name__ == '__main__':
    main()
