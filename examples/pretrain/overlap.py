"""Which texts must stay unseen: hashes of the word shingles of the held-out documents, and their titles."""
import base64
import hashlib
import json
import re

WORDS = 13        # a run of this many words in common counts as copied
SHORT = (20, 8)   # a held-out document of fewer than 20 words is known by its runs of 8
HASH_BYTES = 5
WORD = re.compile(r'[^\W_]+')


def words(text):
    """The words in lower case, and where each one starts."""
    found = list(WORD.finditer(text))
    return [m.group().lower() for m in found], [m.start() for m in found]


def digest(run):
    return hashlib.blake2b(' '.join(run).encode(), digest_size=HASH_BYTES).digest()


def runs(sequence, length):
    return (digest(sequence[i:i + length]) for i in range(len(sequence) - length + 1))


def normalised(title):
    return ' '.join(words(title)[0])


def describe(documents):
    """What overlap.Excluded needs to know of the held-out documents (`{_id,title,text}`)."""
    long_runs, short_runs, titles = set(), set(), {}
    for document in documents:
        source = document['_id'].rsplit('-', 1)[0]
        text_words, _ = words(document['text'])
        long_runs.update(runs(text_words, WORDS))
        if len(text_words) < SHORT[0]:
            short_runs.update(runs(text_words, min(SHORT[1], len(text_words))))
        first = normalised(document['text'].split('\n')[0])
        title = document['title'] if not document['title'].isdigit() or source == 'kjv' else first
        titles.setdefault(source, set()).update({normalised(title)})

    def pack(hashes):
        return base64.b64encode(b''.join(sorted(hashes))).decode()

    return {'runs': {str(WORDS): pack(long_runs), str(SHORT[1]): pack(short_runs)},
            'titles': {source: sorted(names) for source, names in sorted(titles.items())}}


class Excluded:
    def __init__(self, path):
        with open(path, encoding='utf-8') as file:
            data = json.load(file)
        self.titles = {source: set(names) for source, names in data['titles'].items()}
        self.runs = {}
        for length, packed in data['runs'].items():
            raw = base64.b64decode(packed)
            self.runs[int(length)] = {raw[i:i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES)}

    def titled(self, source, title, text):
        names = self.titles.get(source, ())
        return normalised(title) in names or normalised(text.split('\n')[0]) in names

    def copied(self, text):
        """Start offsets of the words that belong to a run in common with a held-out document, in order."""
        sequence, starts = words(text)
        hit = set()
        for length, known in self.runs.items():
            for i, value in enumerate(runs(sequence, length)):
                if value in known:
                    hit.update(range(i, i + length))
        return [starts[i] for i in sorted(hit)], len(sequence)
