#!/usr/bin/python3
"""Makes documents for training and retrieval from installed Debian packages, one JSON object {_id,title,text} a line.

    texts.py --out DIR [SOURCE...]            to train on: without what is held out, and its copies
    texts.py --whole --out DIR [SOURCE...]    to retrieve from, and to measure on
"""
import argparse
import json
import os
import sys

import overlap
import sources

ENTRIES = {'foldoc', 'jargon', 'devil', 'wordnet', 'gcide'}   # short documents: one copied run and the whole is out


def without_copies(source, title, text, excluded):
    """The text that may be trained on (None if there is none), and whether a part of it was cut."""
    if excluded.titled(source, title, text):
        return None, True
    copied, count = excluded.copied(text)
    if not copied:
        return text, False
    if source in ENTRIES or len(copied) * 4 > count:
        return None, True
    separator = '\n' if source == 'kjv' else '\n\n'
    kept, offset, at = [], 0, 0
    for part in text.split(separator):
        end = offset + len(part) + len(separator)
        before = at
        while at < len(copied) and copied[at] < end:
            at += 1
        if at == before:
            kept.append(part)
        offset = end
    return separator.join(kept), True


def readable(text):
    """Drops big blocks that are mostly digits and symbols; None if little but those is there."""
    def letters(part):
        return sum(map(str.isalpha, part)) / max(1, len(part) - part.count(' ') - part.count('\n'))

    text = '\n\n'.join(part for part in text.split('\n\n') if len(part) < 200 or letters(part) >= 0.55)
    return text if len(text) >= 40 and letters(text) >= 0.6 else None


def documents(source, excluded, tally):
    seen = set()
    for position, (title, text) in enumerate(sources.SOURCES[source].documents()):
        text = readable(text)
        if text is None:
            tally['unreadable'] += 1
            continue
        if text in seen:
            tally['repeated'] += 1
            continue
        seen.add(text)
        if excluded:
            text, touched = without_copies(source, title, text, excluded)
            if text is None or len(text) < 40:
                tally['held out'] += 1
                continue
            tally['cut'] += touched
        yield {'_id': f'{source}-{position}', 'title': title, 'text': text}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', required=True, help='the folder to write SOURCE.jsonl to')
    parser.add_argument('--whole', action='store_true', help='leave in what is held out from training')
    parser.add_argument('source', nargs='*', choices=[[], *sources.SOURCES], help='all where none is named')
    options = parser.parse_args()
    heldout = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'heldout.json')
    excluded = None if options.whole else overlap.Excluded(heldout)
    os.makedirs(options.out, exist_ok=True)
    print(f"{'source':12}{'documents':>10}{'characters':>12}{'held out':>10}{'cut':>6}{'repeated':>10}{'unreadable':>12}  licence")
    for source in options.source or sources.SOURCES:
        tally = {'held out': 0, 'cut': 0, 'repeated': 0, 'unreadable': 0}
        path = os.path.join(options.out, source + '.jsonl')
        count = characters = 0
        with open(path + '.part', 'w', encoding='utf-8') as out:
            for document in documents(source, excluded, tally):
                out.write(json.dumps(document, ensure_ascii=False) + '\n')
                count += 1
                characters += len(document['text'])
        os.replace(path + '.part', path)
        print(f"{source:12}{count:10}{characters:12}{tally['held out']:10}{tally['cut']:6}{tally['repeated']:10}{tally['unreadable']:12}"
              f'  {sources.SOURCES[source].licence}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
