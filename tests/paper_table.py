#!/usr/bin/python3
"""That examples/paper_table.sh goes on where it was stopped and mixes nothing, and that its table says what was measured.

paper_table.py SOURCE_DIR TOOL
"""
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree
from contextlib import redirect_stdout
from unittest import mock

source, tool = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(source, 'examples', 'paper_table'))

import curve  # noqa: E402
import layouts  # noqa: E402
import picture  # noqa: E402
import table  # noqa: E402


def measured(folder, pair, name, nats):
    os.makedirs(os.path.join(folder, pair), exist_ok=True)
    path = os.path.join(folder, pair, name)
    with open(path + '.json', 'w', encoding='utf-8') as file:
        json.dump({'perplexity': 12.345, 'perplexity_standard_error': 0.678, 'nats_per_token': 2.5132, 'tokens': 48,
                   'retrievals': 3, 'evaluated': 999}, file)
    with open(path + '.strides.csv', 'w', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(['stride', 'at', 'nats_per_token'])
        rows.writerows([i, 16 * i, x] for i, x in enumerate(nats))


def printed(folder):
    out = io.StringIO()
    with redirect_stdout(out), mock.patch.object(sys, 'argv', ['table.py', folder]):
        table.main()
    return out.getvalue()


class Table(unittest.TestCase):
    def test_rows_that_are_there_and_no_others(self):
        with tempfile.TemporaryDirectory() as folder:
            measured(folder, 'technical', 'none', [1, 2, 3])
            text = printed(folder)
            self.assertIn('| no retrieval | 12.35 ± 0.68 | 2.5132 | 48 | 3 | 999 |', text)
            self.assertNotIn('prepend', text)
            self.assertNotIn('WikiText', text)

    def test_rows_are_compared_stride_by_stride(self):
        with tempfile.TemporaryDirectory() as folder:
            measured(folder, 'technical', 'none', [1.0, 2.0, 3.0])
            measured(folder, 'technical', 'append', [1.1, 2.2, 3.3])
            # The mean of 0.1, 0.2, 0.3 is 0.2, its standard error 0.1 / sqrt(3); e^0.2 is 1.2214.
            self.assertIn('- append against no retrieval: +22.1 ± 7.1 %', printed(folder))

    def test_rows_of_other_steps_are_compared_at_as_many_and_at_as_much_time(self):
        with tempfile.TemporaryDirectory() as folder:
            measured(folder, 'translation', 'prepend_lora_markers', [1.0, 2.0, 3.0])
            measured(folder, 'translation', 'curve_append_lora_markers_2000', [1.1, 2.2, 3.3])
            measured(folder, 'translation', 'append_lora_markers', [1.1, 2.2, 3.3])
            measured(folder, 'translation', 'none_lora', [1.0, 2.0, 3.0])
            text = printed(folder)
            for append in ('1,000', '2,000'):
                self.assertIn(f'- append + LoRA + markers, {append} steps against prepend + LoRA + markers, 1,000 steps: +22.1 ± 7.1 %', text)
            self.assertNotIn('2,000 steps against no retrieval', text)

    def test_rows_of_other_strides_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            measured(folder, 'technical', 'none', [1, 2, 3])
            measured(folder, 'technical', 'append', [1, 2])
            with self.assertRaisesRegex(SystemExit, 'not of the same strides'):
                printed(folder)


class Picture(unittest.TestCase):
    def test_a_line_for_each_layout_through_its_strides(self):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, 'technical'))
            rows = {'cost_none_16': (100, 30), 'cost_aside_16': (200, 28), 'cost_aside_8': (400, 27), 'cost_append_repeat_64': (300, 29),
                    'cost_aside_lora_32': (250, 20), 'aside': (1, 1)}
            for name, (evaluated, perplexity) in rows.items():
                with open(os.path.join(folder, 'technical', name + '.json'), 'w', encoding='utf-8') as file:
                    json.dump({'evaluated': evaluated, 'tokens': 100, 'perplexity': perplexity}, file)
            points, lines = layouts.panel(os.path.join(folder, 'technical'), False)
            self.assertEqual([(p.tokens, p.perplexity, p.name) for p in points],
                             [(1, 30, 'no retrieval'), (4, 27, 'aside'), (2, 28, ''), (3, 29, 'append, 16 tokens repeated')])
            self.assertEqual([len(line) for line in lines], [1, 2, 1])
            path = os.path.join(folder, 'layouts.svg')
            with mock.patch.object(sys, 'argv', ['layouts.py', folder, path]):
                layouts.main()
            drawn = xml.etree.ElementTree.parse(path).getroot()
            aside = next(e for e in drawn.iter() if e.tag.endswith('polyline') and e.get('class') == 'one')
            (x, y), (to_x, to_y) = (map(float, point.split(',')) for point in aside.get('points').split())
            self.assertGreater(x, to_x)  # the stride of 8 is on the right, as more tokens are evaluated,
            self.assertGreater(y, to_y)  # and below, as its perplexity is lower
            words = ' '.join(drawn.itertext())
            self.assertIn('technical, untuned', words)
            self.assertIn('technical, a LoRA', words)
            self.assertNotIn('translation', words)

    def test_a_line_for_each_row_through_its_steps(self):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, 'translation'))
            rows = {'append_lora_markers': 18, 'curve_append_lora_markers_250': 20, 'curve_append_lora_markers_5000': 16, 'none_lora': 19,
                    'curve_append_repeat_250': 1}
            for name, perplexity in rows.items():
                with open(os.path.join(folder, 'translation', name + '.json'), 'w', encoding='utf-8') as file:
                    json.dump({'perplexity': perplexity}, file)
            points, lines = curve.panel(folder, 'translation')
            self.assertEqual([(p.tokens, p.perplexity, p.name) for p in points],
                             [(256, 19, 'no retrieval'), (64, 20, ''), (256, 18, ''), (1280, 16, 'append')])
            self.assertEqual([len(line) for line in lines], [1, 3])
            path = os.path.join(folder, 'curve.svg')
            with mock.patch.object(sys, 'argv', ['curve.py', folder, path]):
                curve.main()
            words = ' '.join(xml.etree.ElementTree.parse(path).getroot().itertext())
            self.assertIn('thousands of tokens that were trained on', words)
            self.assertIn('250 to 5,000 steps', words)
            self.assertIn('translation, a LoRA for each layout', words)
            self.assertNotIn('technical', words)

    def test_labels_stand_apart_and_not_below_the_panel(self):
        self.assertEqual(picture.spread([1, 2, 30], 13, 100), [1, 14, 30])
        self.assertEqual(picture.spread([50, 95, 99], 13, 100), [50, 87, 100])
        self.assertEqual(picture.spread([], 13, 100), [])

    def test_a_folder_without_rows_is_refused(self):
        for script, part in ((layouts, 'cost'), (curve, 'curve')):
            with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, 'argv', [script.__file__, folder, 'none.svg']):
                with self.assertRaisesRegex(SystemExit, 'has no rows of the part ' + part):
                    script.main()


class Script(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        pair = os.path.join(self.folder.name, 'technical')
        os.makedirs(pair)
        for name, page in (('corpus', 'README.md'), ('train', 'CONTRIBUTING.md'), ('test', 'examples/README.md')):
            with open(os.path.join(source, page), encoding='utf-8') as file:
                paragraphs = re.split(r'\n\n+', file.read())
            with open(os.path.join(pair, name + '.jsonl'), 'w', encoding='utf-8') as file:
                for i, text in enumerate(paragraphs):
                    file.write(json.dumps({'_id': f'{name}-{i}', 'title': f'{name} {i}', 'text': text}) + '\n')

    def tearDown(self):
        self.folder.cleanup()

    def start(self, **settings):
        settings = {'FLASHBACK_PAPER_STEPS': '1', 'FLASHBACK_PAPER_STRIDES': '4', **settings}
        return subprocess.Popen(['sh', os.path.join(source, 'examples', 'paper_table.sh'), 'technical'], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True,
                                env={**os.environ, 'FLASHBACK_TOOL': tool, 'FLASHBACK_PAPER_TABLE': self.folder.name, **settings})

    def finish(self, run):
        out, errors = run.communicate()
        return run.returncode, out, errors

    @staticmethod
    def work(out):
        return re.findall('== (training|measuring): .*/(.*)', out)

    def test_a_run_that_is_killed_goes_on_and_a_finished_one_has_nothing_to_do(self):
        first = self.start()
        begun = os.path.join(self.folder.name, 'technical', 'prepend.json')
        while not os.path.exists(begun) and first.poll() is None:
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        status, out, errors = self.finish(self.start())
        self.assertEqual(status, 0, errors)
        done = self.work(out)
        self.assertEqual(len(done), len(set(done)))
        self.assertNotIn(('measuring', 'none.json'), done)
        self.assertNotIn(('measuring', 'prepend.json'), done)
        self.assertIn(('training', 'append_lora_markers'), done)
        self.assertIn(('measuring', 'append_lora_fixed.json'), done)
        for name in table.ROWS.values():
            self.assertIn(f'| {name} |', out)

        shutil.rmtree(os.path.join(self.folder.name, 'technical', 'append_lora_markers'))  # its row is there
        status, again, errors = self.finish(self.start())
        self.assertEqual(status, 0, errors)
        self.assertEqual(self.work(again), [])
        self.assertEqual(again[again.index('**'):], out[out.index('**'):])

        status, out, errors = self.finish(self.start(FLASHBACK_PAPER_STRIDES='5'))
        self.assertEqual(status, 1)
        self.assertRegex(errors, r"none.json' was made with other options, or from another model or texts, than this run has")
        self.assertEqual(self.work(out), [])


if __name__ == '__main__':
    if not os.path.isdir(os.path.join(source, '..', 'shared')):
        print('skipped: ../shared is not there')
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
