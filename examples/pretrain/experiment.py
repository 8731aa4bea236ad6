#!/usr/bin/python3
"""Makes the corpora and texts of the experiment (see examples/paper_table.sh), `{_id,title,text}` a line.

    experiment.py technical TEXTS OUT       from what texts.py wrote to TEXTS: OUT/corpus.jsonl and OUT/train.jsonl
    experiment.py heldout HELDOUT.jsonl     the held-out documents under names that no document of the corpus has, on standard output
    experiment.py wikitext wiki.test.raw    an article a line, on standard output
    experiment.py translation OUT           the World English Bible as OUT/test.jsonl and OUT/train.jsonl, the King James Bible without
                                            what both say alike as OUT/corpus.jsonl, and without more of it as OUT/strict.jsonl
    experiment.py stories STORIES.txt OUT   every third story to OUT/test.jsonl, the others to OUT/corpus.jsonl
"""
import argparse
import hashlib
import json
import os
import re
import sys

import overlap
import sources

CORPUS = ('foldoc', 'jargon', 'linux', 'python', 'git', 'perl', 'postgresql', 'debian', 'apache', 'sqlite')
# Of which documents one in so many is trained on: a mixture like that of the held-out documents.
TRAIN = {'foldoc': 4, 'jargon': 4, 'linux': 25, 'python': 25, 'git': 20}


def lines(path):
    with open(path, encoding='utf-8') as file:
        for line in file:
            yield json.loads(line)


def chosen(document, one_in):
    return int.from_bytes(hashlib.blake2b(document['text'].encode(), digest_size=8).digest(), 'big') % one_in == 0


def known_runs(text, length):
    return set(overlap.runs(overlap.words(text)[0], length))


def write(path, documents):
    with open(path + '.part', 'w', encoding='utf-8') as out:
        for document in documents:
            out.write(json.dumps(document, ensure_ascii=False) + '\n')
    os.replace(path + '.part', path)
    print(f"{path}: {len(documents)} documents, {sum(len(d['text']) for d in documents)} characters")


def technical(texts, out):
    """The corpus is everything; trained on are documents that it holds but once.

    The held-out documents and copies from them are in neither. A document that trains is looked up in the same corpus with itself
    forbidden; it must have no copy there either, or training would show copies that evaluation never shows.
    """
    corpus = [document for source in CORPUS for document in lines(os.path.join(texts, source + '.jsonl'))]
    candidates, wanted = {}, {}
    for document in corpus:
        source = document['_id'].split('-')[0]
        if source in TRAIN and chosen(document, TRAIN[source]):
            candidates[document['_id']] = document
            for run in known_runs(document['text'], overlap.WORDS):
                wanted.setdefault(run, set()).add(document['_id'])
    shared = dict.fromkeys(candidates, 0)
    for document in corpus:
        for run in known_runs(document['text'], overlap.WORDS):
            for owner in wanted.get(run, ()):
                if owner != document['_id']:
                    wanted[run] = wanted[run] - {owner}   # counted once
                    shared[owner] += 1
    train = [d for name, d in candidates.items() if shared[name] * 50 <= len(overlap.words(d['text'])[0])]
    print(f'{len(candidates) - len(train)} of {len(candidates)} documents are not trained on: another holds more than 2 % of them')
    os.makedirs(out, exist_ok=True)
    write(os.path.join(out, 'corpus.jsonl'), corpus)
    write(os.path.join(out, 'train.jsonl'), train)


def heldout(path):
    """Both number their documents by source: `foldoc-144` is one entry here and another one in the corpus."""
    for document in lines(path):
        print(json.dumps({**document, '_id': 'heldout-' + document['_id']}, ensure_ascii=False))


DEUTEROCANON = {'Tob', 'Jdt', 'EsthGr', 'DanGr', 'Wis', 'Sir', 'Bar', '1Macc', '2Macc', '3Macc', '4Macc', '1Esd', '2Esd', 'PrMan', 'AddPs'}
TEST = 20     # of the chapters, one in so many is measured on
STRICT = 8    # a run of this many words in common counts as copied, in the strict corpus and between what trains and what is measured


def without_runs(verses, known, length):
    """The verses no word of which belongs to a run of `length` words that is known."""
    sequence, starts = overlap.words('\n'.join(verses))
    copied = set()
    for i, run in enumerate(overlap.runs(sequence, length)):
        if run in known:
            copied.update(starts[i:i + length])
    kept, end = [], 0
    for verse in verses:
        begin, end = end, end + len(verse) + 1
        if not any(begin <= start < end for start in copied):
            kept.append(verse)
    return kept


def translation(out):
    """A chapter is a document, a verse a line; both Bibles name a chapter alike but for the prefix of the translation.

    A verse is cut from a corpus if one of its words belongs to a run that stands anywhere in the text, trained on or measured, too.
    """
    text = {name: verses for name, verses in sources.sword(sources.SWORD + 'engWEB2015eb').items()
            if name.split('.')[0] not in DEUTEROCANON}
    searched = list(sources.king_james().values())
    if len(text) != len(searched):
        sys.exit(f'the World English Bible has {len(text)} chapters, the King James Bible {len(searched)}, expected as many')
    documents = [{'_id': 'web-' + name, 'title': '', 'text': '\n'.join(verses)} for name, verses in text.items()]
    test = [document for document in documents if chosen(document, TEST)]
    rest = [document for document in documents if not chosen(document, TEST)]
    measured = set().union(*(known_runs(document['text'], STRICT) for document in test))
    train = [document for document in rest if not known_runs(document['text'], STRICT) & measured]
    print(f'{len(rest) - len(train)} of {len(rest)} chapters are not trained on: they share a run of {STRICT} words with a measured one')
    os.makedirs(out, exist_ok=True)
    write(os.path.join(out, 'test.jsonl'), test)
    write(os.path.join(out, 'train.jsonl'), train)
    for name, length in (('strict', STRICT), ('corpus', overlap.WORDS)):
        known = set().union(*(known_runs(document['text'], length) for document in documents))
        kept = [without_runs(verses, known, length) for verses in searched]
        before, after = sum(map(len, searched)), sum(map(len, kept))
        print(f'{before - after} of {before} verses are not in the corpus: they share a run of {length} words with the text')
        write(os.path.join(out, name + '.jsonl'), [{'_id': 'kjv-' + chapter, 'title': '', 'text': '\n'.join(verses)}
                                                   for chapter, verses in zip(text, kept) if verses])


HEADING = re.compile(r'^ = ([^=].*?) = $')


def spelled(title):
    """As Wikipedia spells it: `M @-@ 82 ( Michigan highway )` is `M-82 (Michigan highway)`."""
    title = re.sub(r' @(.)@ ', r'\1', title)
    title = re.sub(r" (['’]s?\b|'t\b|[,.:;!?)])", r'\1', title)
    return re.sub(r'(\() ', r'\1', title).replace(' – ', '–')


def wikitext(path):
    """Articles whose texts, joined by newlines, are the file: a level-1 heading between two blank lines begins one."""
    with open(path, encoding='utf-8') as file:
        rows = file.read().split('\n')
    starts = [i for i in range(1, len(rows) - 1) if HEADING.match(rows[i]) and not rows[i - 1].strip() and not rows[i + 1].strip()]
    for begin, end in zip([0, *(i - 1 for i in starts[1:])], [*(i - 1 for i in starts[1:]), len(rows)]):
        title = spelled(next(HEADING.match(row).group(1) for row in rows[begin:end] if HEADING.match(row)))
        print(json.dumps({'_id': title, 'title': title, 'text': '\n'.join(rows[begin:end])}, ensure_ascii=False))


def stories(path, out):
    """A story begins with a paragraph that says so; one that begins otherwise hangs on the story before it."""
    with open(path, encoding='utf-8') as file:
        paragraphs = file.read().split('\n\n')
    starts = [i for i, paragraph in enumerate(paragraphs) if paragraph.startswith('Once upon a time')]
    documents = [{'_id': f'story-{number}', 'title': '', 'text': '\n\n'.join(paragraphs[begin:end])}
                 for number, (begin, end) in enumerate(zip([0, *starts], [*starts, len(paragraphs)])) if begin < end]
    os.makedirs(out, exist_ok=True)
    write(os.path.join(out, 'test.jsonl'), documents[::3])
    write(os.path.join(out, 'corpus.jsonl'), [document for i, document in enumerate(documents) if i % 3 > 0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser('technical', help='the retrieval corpus and the training texts from Debian packages')
    one.add_argument('texts', help='the folder that texts.py wrote')
    one.add_argument('out', help='the folder to write to')
    one.set_defaults(run=lambda o: technical(o.texts, o.out))
    one = commands.add_parser('heldout', help='the held-out documents by names of their own')
    one.add_argument('documents', help='technical-heldout.jsonl')
    one.set_defaults(run=lambda o: heldout(o.documents))
    one = commands.add_parser('wikitext', help='WikiText as articles')
    one.add_argument('raw', help='wiki.valid.raw or wiki.test.raw')
    one.set_defaults(run=lambda o: wikitext(o.raw))
    one = commands.add_parser('translation', help='a translation of the Bible over another')
    one.add_argument('out', help='the folder to write to')
    one.set_defaults(run=lambda o: translation(o.out))
    one = commands.add_parser('stories', help='a text of stories, cut into what is read and what is searched')
    one.add_argument('text', help='tinystories-sample.txt')
    one.add_argument('out', help='the folder to write to')
    one.set_defaults(run=lambda o: stories(o.text, o.out))
    options = parser.parse_args()
    options.run(options)


if __name__ == '__main__':
    sys.exit(main())
