#!/usr/bin/env python3
"""Writes tests/reference/pre_tokenizer_splits.json: how the regular expressions of the pre-tokenizers split texts.

Needs the Python module regex (Debian: python3-regex). Its Unicode may be newer than that of cmake/unicode_tables.py, so the
texts keep to characters whose class is the same in both.

Usage: tests/reference/pre_tokenizer_splits.py > tests/reference/pre_tokenizer_splits.json
"""
import itertools
import json
import random

import regex

contractions = "'s|'t|'re|'ve|'m|'ll|'d"
llama = r"(?i:%s)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
patterns = {
    "gpt-2": regex.compile(contractions + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
    "llama-bpe": regex.compile(llama % (contractions, "{1,3}")),
    "qwen2": regex.compile(llama % (contractions, "")),
}


def lengths(pattern, text):
    """The words of a text, as numbers of UTF-8 bytes."""
    words = pattern.findall(text)
    assert "".join(words) == text and "" not in words, repr(text)
    return [len(word.encode()) for word in words]


pools = {
    "letters": ["a", "Z", "the", "don", "\u00e4", "\u00df", "\u0436", "\u0416", "\u03b1", "\u05d0", "\u0e01", "\u1780",
                "\u4e2d", "\u6587", "\u3042", "\uac00", "\u0905", "\u01c5", "\u02b0", "\U0001d400", "\U00020000", "\u017f",
                "\u212a", "\u0130", "\ufb06"],
    "numbers": ["1", "23", "456", "7890", "\u0663", "\u0967", "\u00bd", "\u00b2", "\u2167", "\u3007", "\u2460", "\U0001d7ce"],
    "spaces": [" ", "  ", "   ", "\t", "\v", "\f", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f",
               "\u3000"],
    "newlines": ["\n", "\r", "\r\n", "\n\n", " \n", "\n  "],
    "contractions": ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'vE", "'Ll", "'x", "'", "''", "\u2019s",
                     "'\u017f", "' s"],
    "others": ["!", ".", "...", "-", "_", "(", '"', "#", "$", "+", "\u00bf", "\u2014", "\u3002", "\u20ac", "\U0001f600",
               "\U0001f636\u200d\U0001f32b\ufe0f", "\U0001f1e9\U0001f1ea", "\u00ad", "\u200b", "\ufeff", "\ufffd", "\ue000",
               "\u0378", "\U0010ffff", "\0", "\x1c", "\x7f", "\u180e"],
    "marks": ["\u0301", "\u0308", "\u093e", "\u17b6", "\u20e3", "\ufe0f"],
}
texts = [
    "", " ", "  ", "\n", " \n", "\n ", "\n\n \n  a", "a", " a", "  a", "   a  ",
    "\ta", "a\tb", "a \tb", "a\u00a0b", "a\u00a0\u00a0b",
    "Hello, world! It's 2024's best; we'Ll see.", "I'M 'RE'VE we're y'all's", "'s",
    "''s", " 's", "a'sb", "'rea", "'r", "'l", "'",
    "1234567", " 1234567", "12 345", "1a2b", "3.14159", "x=  1\n\ty=2\r\n\r\n", "!!!\n\n  ok", "...\r\n\r\n...", "  \n  \n  ok",
    "e\u0301te\u0301 n\u0303", "\u0301a", " \u0301a", "\u0301\u0301a", "'\u017fa", "'\u017f", "\u4e2d\u6587 \u4e2d1\u6587",
]
rng = random.Random(1)
for _ in range(400):
    kinds = rng.sample(list(pools), rng.randint(2, 5))
    text = ""
    while len(text) < rng.randint(5, 20):
        text += rng.choice(pools[rng.choice(kinds)])
    texts.append(text)
cases = [{"text": text} | {name: lengths(pattern, text) for name, pattern in patterns.items()} for text in texts]

# All texts of up to 6 of these characters, shorter ones first: FNV-1a of the lengths of their words.
alphabet = "'sRe \t\n7!"
digests = {}
for name, pattern in patterns.items():
    digest = 0xcbf29ce484222325
    for count in range(1, 7):
        for characters in itertools.product(alphabet, repeat=count):
            for length in lengths(pattern, "".join(characters)):
                digest = (digest ^ length) * 0x100000001b3 % 2**64
    digests[name] = "%016x" % digest

print('{\n"alphabet": %s,\n"digests": %s,\n"cases": [' % (json.dumps(alphabet), json.dumps(digests)))
print(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases))
print("]\n}")
