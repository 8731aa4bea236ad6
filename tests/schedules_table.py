#!/usr/bin/python3
"""That the table of schedules says what was measured, and names what dominates from the numbers; and that its script mixes nothing.

schedules_table.py SOURCE_DIR TOOL
"""
import csv
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

source, tool = sys.argv[1:]
sys.argv[1:] = []
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(source, 'examples', 'paper_table'))

import schedules  # noqa: E402


def measured(folder, layout, name, evaluated, nats, rewound=0, pair='technical'):
    """A row of the script, with nats for each stride."""
    os.makedirs(os.path.join(folder, pair, layout), exist_ok=True)
    path = os.path.join(folder, pair, layout, name.replace(':', '_'))
    mean = sum(nats) / len(nats)
    with open(path + '.json', 'w', encoding='utf-8') as file:
        json.dump({'schedule': name, 'tokens': 16 * len(nats), 'retrievals': 3, 'evaluated': evaluated,
                   'seconds': {'retrieve': 1.5, 'evaluate': 2}, 'perplexity': math.exp(mean), 'perplexity_standard_error': 0.5,
                   'first_nats_per_token': mean + (0.1 if rewound else 0), 'rewound': rewound}, file)
    with open(path + '.json.made_of', 'w', encoding='utf-8') as file:
        file.write(f' --layout {layout} --schedule {name} --context 250\nabc')
    with open(path + '.strides.csv', 'w', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(['at', 'context', 'nats_per_token'])
        rows.writerows([512 + 16 * i, 250, x] for i, x in enumerate(nats))


def written(folder):
    sys.argv[1:] = [folder]
    schedules.main()
    with open(os.path.join(folder, 'table.md'), encoding='utf-8') as file:
        return file.read()


class Table(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.folder = self.place.name

    def tearDown(self):
        self.place.cleanup()

    def test_rows_by_cost_and_their_differences(self):
        measured(self.folder, 'aside', 'stride:16', 960, [1.0, 2.0, 3.0])
        measured(self.folder, 'aside', 'entropy:3', 480, [1.1, 2.2, 3.3])
        text = written(self.folder)
        # The mean of 0.1, 0.2, 0.3 is 0.2, its standard error 0.1 / sqrt(3); e^0.2 is 1.2214.
        self.assertIn('| `entropy:3` | 3 | 480 | 10.00 | 3.5 | 9.03 ± 0.50 | +22.1 ± 7.1 % |  |', text)
        self.assertIn('| `stride:16` | 3 | 960 | 20.00 | 3.5 | 7.39 ± 0.50 |  |  |', text)
        self.assertLess(text.index('| `entropy:3`'), text.index('| `stride:16`'))
        self.assertIn('**No schedule dominates.** Whatever one may spend, one of these is best: `entropy:3`, `stride:16`.', text)
        self.assertNotIn('WikiText', text)
        with open(os.path.join(self.folder, 'schedules.csv'), encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row['schedule'] for row in rows], ['entropy:3', 'stride:16'])
        self.assertEqual(rows[0]['evaluated_per_token'], '10.0000')
        picture = xml.etree.ElementTree.parse(os.path.join(self.folder, 'schedules.svg'))
        words = ' '.join(picture.getroot().itertext())
        self.assertIn('entropy:3', words)
        self.assertIn('perplexity', words)

    def test_the_one_that_evaluates_least_dominates_if_none_is_surely_better(self):
        measured(self.folder, 'aside', 'stride:16', 960, [1.0, 2.0, 3.1])
        measured(self.folder, 'aside', 'never', 480, [1.0, 2.1, 3.0])
        self.assertIn('**`never` dominates**', written(self.folder))
        measured(self.folder, 'aside', 'stride:4', 2000, [0.9, 1.99, 2.92])
        self.assertIn('**No schedule dominates.** Whatever one may spend, one of these is best: `never`, `stride:4`.',
                      written(self.folder))

    def test_against_fixed_strides_of_the_same_cost(self):
        measured(self.folder, 'append', 'never', 100, [2.0, 3.0, 2.5])
        measured(self.folder, 'append', 'stride:16', 300, [1.0, 2.0, 1.5])
        measured(self.folder, 'append', 'good', 200, [1.3, 2.31, 1.8])   # 0.2 below the line: 1.5, 2.5, 2.0
        measured(self.folder, 'append', 'bad', 250, [1.45, 2.44, 1.95])  # 0.2 above it: 1.25, 2.25, 1.75
        measured(self.folder, 'append', 'same', 201, [1.6, 2.4, 1.99])
        measured(self.folder, 'append', 'dear', 301, [0.0, 1.0, 0.5])  # beyond the line
        text = written(self.folder)
        self.assertIn('better by two standard errors: `good` (-17.9 ± 0.3 %); worse: `bad` (+21.7 ± 0.4 %).', text)

    def test_once_in_each_window_is_a_fixed_stride(self):
        measured(self.folder, 'append', 'never', 100, [2.0, 3.0, 2.5])
        measured(self.folder, 'append', 'once', 200, [1.3, 2.31, 1.8])
        measured(self.folder, 'append', 'stride:16', 300, [1.0, 2.0, 1.5])
        measured(self.folder, 'append', 'as_good', 200, [1.3, 2.3, 1.81])
        self.assertIn('better by two standard errors: none; worse: none.', written(self.folder))

    def test_what_takes_tokens_back_is_shown_and_not_compared(self):
        measured(self.folder, 'aside', 'never', 480, [1.0, 2.1, 3.0])
        measured(self.folder, 'aside', 'flare', 500, [0.1, 1.1, 2.0], rewound=7)
        text = written(self.folder)
        self.assertIn('**`never` dominates**', text)
        self.assertIn('| 3.21 |', text)  # e^(3.2 / 3 + 0.1)

    def test_rows_of_other_strides_are_refused(self):
        measured(self.folder, 'aside', 'never', 480, [1.0, 2.1, 3.0])
        measured(self.folder, 'aside', 'once', 480, [1.0, 2.1])
        with self.assertRaisesRegex(SystemExit, 'not of the same strides'):
            written(self.folder)


class Script(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        pair = os.path.join(self.place.name, 'pairs', 'technical')
        os.makedirs(pair)
        for name, page in (('corpus', 'README.md'), ('test', 'examples/README.md')):
            with open(os.path.join(source, page), encoding='utf-8') as file:
                paragraphs = re.split(r'\n\n+', file.read())
            with open(os.path.join(pair, name + '.jsonl'), 'w', encoding='utf-8') as file:
                for i, text in enumerate(paragraphs):
                    file.write(json.dumps({'_id': f'{name}-{i}', 'title': f'{name} {i}', 'text': text}) + '\n')

    def tearDown(self):
        self.place.cleanup()

    def run_script(self, schedules_asked, strides='16'):
        folder = self.place.name
        run = subprocess.run(['sh', os.path.join(source, 'examples', 'schedules_table.sh'), 'technical'], capture_output=True, text=True,
                             env={**os.environ, 'FLASHBACK_TOOL': tool, 'FLASHBACK_PAPER_TABLE': os.path.join(folder, 'pairs'),
                                  'FLASHBACK_SCHEDULES_TABLE': os.path.join(folder, 'rows'), 'FLASHBACK_SCHEDULES_STRIDES': strides,
                                  'FLASHBACK_SCHEDULES': schedules_asked}, check=False)
        return run.returncode, run.stdout, run.stderr

    def test_it_goes_on_where_it_was_and_mixes_nothing(self):
        status, out, errors = self.run_script('never stride:16')
        self.assertEqual(status, 0, errors)
        self.assertEqual(out.count('== measuring: '), 6)
        status, out, errors = self.run_script('never stride:16 any(stride:64,entropy:3) flare')
        self.assertEqual(status, 0, errors)
        self.assertEqual(out.count('== measuring: '), 6)
        for name in ('never', 'stride:16', 'any(stride:64,entropy:3)', 'flare'):
            self.assertEqual(out.count(f'\n| `{name}` | '), 3)
        self.assertIn('dominates', out)
        for name in ('schedules.csv', 'schedules.svg', 'table.md'):
            self.assertTrue(os.path.getsize(os.path.join(self.place.name, 'rows', name)) > 0)
        status, out, errors = self.run_script('never', strides='24')
        self.assertEqual(status, 1)
        self.assertIn("never.json' was made with other options, or from another model or texts, than this run has", errors)


if __name__ == '__main__':
    unittest.main()
