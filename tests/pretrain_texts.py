#!/usr/bin/python3
"""What examples/pretrain makes of markup, and that it leaves out the held-out documents.

pretrain_texts.py SOURCE_DIR [technical-heldout.jsonl]
"""
import io
import json
import os
import random
import struct
import sys
import tempfile
import unittest
import zlib
from contextlib import redirect_stdout
from unittest import mock

source, *heldout = sys.argv[1:]
folder = os.path.join(source, 'examples', 'pretrain')
sys.dont_write_bytecode = True
sys.path.insert(0, folder)

import clean  # noqa: E402
import experiment  # noqa: E402
import overlap  # noqa: E402
import repeats  # noqa: E402
import sources  # noqa: E402
import texts  # noqa: E402


class Markup(unittest.TestCase):
    def test_wrapped_lines_are_joined_and_others_are_not(self):
        self.assertEqual(clean.plain('   A program\n   that runs.\n   The end:\n   of it\n\n\n\n   Next\n\tone\n *\n'),
                         'A program that runs.\nThe end:\nof it\n\nNext one')

    def test_restructured_text(self):
        self.assertEqual(clean.rst('Title\n=====\n\n.. SPDX-License-Identifier: GPL-2.0\n.. note:: See :ref:`the other <label>`.\n\n'
                                   '``code`` and *words* in :class:`~os.PathLike` [page]_.\n'),
                         'Title\n\nNote: See the other.\n\ncode and words in os.PathLike [page].')

    def test_asciidoc(self):
        self.assertEqual(clean.asciidoc('git-x(1)\n========\n\n[[tag]]\n== NAME\n-----\n`git x` does\n\'it\'.\n// remark\n'),
                         "git-x(1)\n\nNAME\n\ngit x does 'it'.")

    def test_pod(self):
        self.assertEqual(clean.pod('=head1 NAME\n\nB<perl> - see L<perlre/Escapes> and L<the page|perl>, C<< $a->b >>, E<lt>\n\n=over\n\n'
                                   '=item *\n\nOne\n\n=back\n\n=begin html\n\n<p>\n\n=end html\n\n=cut\n\n$code;\n'),
                         'NAME\n\nperl - see perlre on Escapes and the page, $a->b, <\n\n* One')

    def test_html(self):
        self.assertEqual(sources.html('nav')('<head><title>x</title></head><div class="nav top">Home <br> <a>Next</a></div><h1>T &amp; U</h1>'
                                             '<p>One\n  line<ul><li> a<li>b</ul><script>if (a < b) {}</script><pre>x\n y</pre>'),
                         'T & U\n\nOne line\n\n* a\n* b\n\nx y')


WORDS = [f'word{i}' for i in range(100)]
OTHER = [f'other{i}' for i in range(400)]
WORDS_OF_LETTERS = [a + b for a in 'abcd' for b in 'efgh']


class Sword(unittest.TestCase):
    def test_a_verse_loses_its_notes_headings_and_marks(self):
        self.assertEqual(sources.verse_text('<title>A Psalm.</title><w lemma="strong:H1">God</w><note placement="foot">1:1 '
                                            '<b>x</b></note><w>made</w> <l level="1"/>light &amp; <w>dark</w> <note>y</note>, too.'),
                         'God made light & dark, too.')

    def test_chapters_of_both_testaments(self):
        with tempfile.TemporaryDirectory() as folder:
            for testament, book in (('ot', 'Gen'), ('nt', 'Matt')):
                parts = ['<title>Preface</title> of the book', f'<chapter n="1" osisID="{book}.1" sID="{book}.1"/>', 'One.', '', 'Two.',
                         f'<chapter eID="{book}.1"/><chapter n="2" osisID="{book}.2" sID="{book}.2"/>', 'Three.']
                texts = [''.join(parts[:5]), ''.join(parts[5:])]  # two blocks
                verses = [(block, len(''.join(parts[5 * block:i])), len(parts[i]))
                          for i in range(len(parts)) for block in (int(i >= 5),)]
                blocks = [zlib.compress(text.encode()) for text in texts]
                files = {'bzz': b''.join(blocks), 'bzv': b''.join(struct.pack('<IIH', *verse) for verse in verses),
                         'bzs': b''.join(struct.pack('<III', sum(map(len, blocks[:i])), len(blocks[i]), len(texts[i].encode()))
                                         for i in range(2))}
                for kind, data in files.items():
                    with open(os.path.join(folder, f'{testament}.{kind}'), 'wb') as file:
                        file.write(data)
            self.assertEqual(sources.sword(folder), {'Gen.1': ['One.', 'Two.'], 'Gen.2': ['Three.'],
                                                     'Matt.1': ['One.', 'Two.'], 'Matt.2': ['Three.']})


class Translation(unittest.TestCase):
    TEXT = 'in the beginning there were ten words and then two more words'  # twelve

    def left(self, verses, length):
        return experiment.without_runs(verses, experiment.known_runs(self.TEXT, length), length)

    def test_a_verse_with_a_run_is_cut_and_its_neighbours_stay(self):
        self.assertEqual(self.left(['A verse of its own.', 'And in the beginning there were ten words, and more.', 'Another.'], 8),
                         ['A verse of its own.', 'Another.'])

    def test_a_run_across_verses_cuts_both(self):
        self.assertEqual(self.left(['First.', 'There were ten words; and then two', 'more. Last part.', 'Last.'], 8), ['First.', 'Last.'])

    def test_a_shorter_run_is_no_copy(self):
        verses = ['So there were ten words, and then two more.']
        self.assertEqual(self.left(verses, 9), verses)
        self.assertEqual(self.left(verses, 8), [])


class Repeats(unittest.TestCase):
    def test_a_list_of_frequent_words_stands_two_to_four_times(self):
        found = repeats.lists(['rare ' + ' '.join(WORDS_OF_LETTERS * 2)], random.Random(2))
        for _ in range(50):
            with mock.patch.object(repeats, 'WORDS', len(WORDS_OF_LETTERS)):
                lines = next(found).split('\n')
            self.assertIn(len(lines), (2, 3, 4))
            self.assertEqual(set(lines), {lines[0]})
            self.assertIn(len(lines[0].split()), repeats.LISTS)
            self.assertLessEqual(set(lines[0].split()), set(WORDS_OF_LETTERS))

    def test_a_stretch_of_a_text_stands_twice(self):
        found = repeats.stretches([' '.join(OTHER)], random.Random(3))
        for _ in range(50):
            lines = next(found).split('\n')
            self.assertIn(len(lines), (2, 3, 5))
            self.assertEqual(lines[0], lines[{2: 1, 3: 2, 5: 2}[len(lines)]])
            self.assertEqual(lines[-1], lines[{2: 0, 3: 0, 5: 1}[len(lines)]])
            self.assertIn(' ' + lines[0] + ' ', ' ' + ' '.join(OTHER) + ' ')
            self.assertIn(len(lines[0].split()), repeats.STRETCHES)

    def test_half_of_the_characters_are_lists(self):
        with tempfile.TemporaryDirectory() as folder:
            source, out = os.path.join(folder, 'in.jsonl'), os.path.join(folder, 'out.jsonl')
            with open(source, 'w', encoding='utf-8') as file:
                file.write(json.dumps({'_id': '1', 'title': '', 'text': ' '.join(WORDS_OF_LETTERS * 20)}) + '\n')
            with mock.patch.object(sys, 'argv', ['repeats.py', '--out', out, '--characters', '20000', source]), \
                    redirect_stdout(io.StringIO()):
                repeats.main()
            with open(out, encoding='utf-8') as file:
                documents = [json.loads(line) for line in file]
            sizes = {name: sum(len(d['text']) for d in documents if d['_id'].startswith(name)) for name in ('list', 'stretch')}
            self.assertGreaterEqual(sum(sizes.values()), 20000)
            self.assertLess(abs(sizes['list'] - sizes['stretch']), 2000)


class Overlap(unittest.TestCase):
    def setUp(self):
        long = {'_id': 'linux-1', 'title': 'Long-Document', 'text': ' '.join(WORDS)}
        short = {'_id': 'wordnet-2', 'title': 'entry', 'text': 'entry n 1: a gloss of not so many words'}
        path = os.path.join(os.environ.get('TMPDIR', '/tmp'), f'heldout-{os.getpid()}.json')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(overlap.describe([long, short]), file)
        self.excluded = overlap.Excluded(path)
        os.remove(path)

    def left(self, source_name, title, text):
        return texts.without_copies(source_name, title, text, self.excluded)

    def test_another_text_stays(self):
        text = ' '.join(OTHER)
        self.assertEqual(self.left('linux', 'other', text), (text, False))

    def test_twelve_words_in_common_are_no_copy(self):
        text = ' '.join(WORDS[:12] + OTHER)
        self.assertEqual(self.left('linux', 'other', text), (text, False))

    def test_a_copied_paragraph_is_cut(self):
        first, last = ' '.join(OTHER[:200]), ' '.join(OTHER[200:])
        text = '\n\n'.join([first, 'And ' + ' '.join(WORDS[50:63]).upper() + '!', last])
        self.assertEqual(self.left('linux', 'other', text), (first + '\n\n' + last, True))

    def test_a_copy_across_paragraphs_cuts_both(self):
        text = '\n\n'.join([' '.join(OTHER[:100]), ' '.join(WORDS[:7]), ' '.join(WORDS[7:13]), ' '.join(OTHER[100:])])
        self.assertEqual(self.left('linux', 'other', text), (' '.join(OTHER[:100]) + '\n\n' + ' '.join(OTHER[100:]), True))

    def test_what_is_copied_for_the_most_part_is_out(self):
        self.assertEqual(self.left('linux', 'other', ' '.join(OTHER[:100] + WORDS)), (None, True))

    def test_a_copied_run_puts_an_entry_out(self):
        self.assertEqual(self.left('foldoc', 'other', ' '.join(OTHER + WORDS[:13])), (None, True))

    def test_a_title_puts_a_document_out(self):
        self.assertEqual(self.left('linux', 'long document', ' '.join(OTHER)), (None, True))
        self.assertFalse(self.left('git', 'long document', ' '.join(OTHER))[1])

    def test_a_short_document_is_known_by_eight_words(self):
        self.assertEqual(self.left('wordnet', 'synonym', 'synonym n 1: a gloss of not so many words'), (None, True))

    def test_whole_texts_have_what_is_held_out_too(self):
        entries = [('kept', ' '.join(OTHER[:50])), ('held out', ' '.join(WORDS)), ('kept again', ' '.join(OTHER[:50]))]
        with mock.patch.dict(sources.SOURCES, foldoc=sources.Source((), 'none', lambda: iter(entries))):
            def titles(excluded):
                tally = {'held out': 0, 'cut': 0, 'repeated': 0, 'unreadable': 0}
                return [document['title'] for document in texts.documents('foldoc', excluded, tally)], tally['held out']

            self.assertEqual(titles(self.excluded), (['kept'], 1))
            self.assertEqual(titles(None), (['kept', 'held out'], 0))

    def test_wikitext_titles(self):
        self.assertEqual(experiment.spelled("M @-@ 82 ( Michigan highway )"), 'M-82 (Michigan highway)')
        self.assertEqual(experiment.spelled("Battle of Sullivan 's Island , 1 – 2"), "Battle of Sullivan's Island, 1–2")

    def test_heldout_documents_have_names_of_their_own(self):
        path = os.path.join(os.environ.get('TMPDIR', '/tmp'), f'documents-{os.getpid()}.jsonl')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('{"_id": "foldoc-1", "title": "a", "text": "b"}\n')
        out = io.StringIO()
        with redirect_stdout(out):
            experiment.heldout(path)
        os.remove(path)
        self.assertEqual(json.loads(out.getvalue()), {'_id': 'heldout-foldoc-1', 'title': 'a', 'text': 'b'})

    @unittest.skipUnless(heldout and os.path.exists(heldout[0]), 'the held-out documents are not there')
    def test_the_fingerprints_are_those_of_the_heldout_documents(self):
        with open(heldout[0], encoding='utf-8') as lines:
            described = overlap.describe(map(json.loads, lines))
        with open(os.path.join(folder, 'heldout.json'), encoding='utf-8') as file:
            self.assertEqual(described, json.load(file))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
