#!/usr/bin/python3
"""Writes what paper_table.sh measured as tables of Markdown: table.py DIR. Rows that were not measured yet are left out."""
import csv
import json
import math
import os
import sys

ROWS = {
    'none': 'no retrieval',
    'none_lora': 'no retrieval + LoRA',
    'aside': 'aside',
    'aside_seeing_4': 'aside, seen by the newest 4 tokens',
    'aside_seeing_16': 'aside, seen by the newest 16 tokens',
    'aside_markers': 'aside + markers',
    'aside_untuned_unrelated': 'aside, unrelated passages',
    'aside_lora': 'aside + LoRA',
    'aside_lora_markers': 'aside + LoRA + markers',
    'aside_unrelated': 'aside + LoRA + markers, unrelated passages',
    'prepend': 'prepend',
    'prepend_markers': 'prepend + markers',
    'prepend_lora': 'prepend + LoRA',
    'prepend_lora_markers': 'prepend + LoRA + markers',
    'append': 'append',
    'append_markers': 'append + markers',
    'append_lora': 'append + LoRA',
    'append_lora_markers': 'append + LoRA + markers',
    'append_lora_fixed': 'append + LoRA + fixed markers',
    'append_lora_markers_qv': 'append + LoRA on q and v + markers',
    'append_all': 'append + all parameters, markers too',
    'prepend_unrelated': 'prepend + LoRA + markers, unrelated passages',
    'append_unrelated': 'append + LoRA + markers, unrelated passages',
    'append_repeat': 'append, 16 tokens repeated',
    'append_repeat_1_markers': 'append, 1 token repeated + markers',
    'append_repeat_2_markers': 'append, 2 tokens repeated + markers',
    'append_repeat_4_markers': 'append, 4 tokens repeated + markers',
    'append_repeat_8_markers': 'append, 8 tokens repeated + markers',
    'append_repeat_markers': 'append, 16 tokens repeated + markers',
    'append_repeat_2_lora_markers': 'append, 2 tokens repeated + LoRA + markers',
    'append_repeat_lora_markers': 'append, 16 tokens repeated + LoRA + markers',
}
PAIRS = {
    'technical': 'Entries of FOLDOC (the first strides of technical-heldout) over FOLDOC, Jargon File and documentation',
    'wikitext': 'WikiText-2 test over mrag-wikipedia-v2',
    'translation': 'The World English Bible over the King James Bible without runs of 13 words of the text',
    'narrow': 'The translation with another base: half as wide (128)',
    'narrow-shallow': 'The translation with another base: half as wide, with half the layers (3)',
    'narrow-tenth': 'The translation with another base: half as wide, and passages interrupted a tenth of what it has read, not half',
    'stories260K.gguf': 'Another model, stories260K: stories for children over other such stories',
    'TinyStories-656K': 'Another model, TinyStories-656K: the same',
}
COMPARED = (
    ('aside', 'none'), ('prepend', 'none'), ('aside', 'prepend'), ('aside_seeing_4', 'prepend'), ('aside_seeing_16', 'prepend'),
    ('aside_untuned_unrelated', 'aside'), ('aside_lora', 'prepend_lora'), ('aside_lora_markers', 'prepend_lora_markers'),
    ('aside_lora_markers', 'append_lora_markers'), ('aside_lora_markers', 'none_lora'), ('aside_lora', 'none_lora'),
    ('aside', 'append_lora_markers'), ('aside_unrelated', 'aside_lora_markers'),
    ('append', 'none'), ('append_markers', 'append'), ('append_markers', 'none'), ('append_markers', 'prepend_markers'),
    ('prepend_markers', 'none'), ('aside_markers', 'none'), ('aside_markers', 'prepend_markers'),
    *((f'append_repeat_{n}_markers', 'prepend_markers') for n in (1, 2, 4, 8)), ('append_repeat_markers', 'prepend_markers'), ('append_repeat_markers', 'none'),
    ('append_lora_markers', 'append_markers'), ('append_lora_markers', 'prepend_lora_markers'), ('append_lora_markers', 'none_lora'),
    ('prepend_lora_markers', 'none_lora'), ('prepend_lora', 'none_lora'), ('append_repeat', 'none'), ('append_repeat', 'prepend'),
    ('append_repeat_2_lora_markers', 'none_lora'), ('append_repeat_2_lora_markers', 'prepend_lora_markers'),
    ('append_repeat_lora_markers', 'none_lora'), ('append_repeat_lora_markers', 'prepend_lora_markers'), ('none_lora', 'none'),
    ('append_lora_markers', 'append_lora'), ('append_lora_markers', 'append_lora_fixed'), ('append_all', 'append_lora_markers'),
    ('append_all', 'none_lora'), ('prepend_unrelated', 'prepend_lora_markers'), ('append_unrelated', 'append_lora_markers'),
    ('aside_untuned_unrelated', 'none'), *((f'{place}_unrelated', 'none_lora') for place in ('aside', 'prepend', 'append')),
)
STRICT = {
    'none': 'no retrieval', 'none_lora': 'no retrieval + LoRA',
    'strict_aside': 'aside', 'strict_aside_lora': 'aside + LoRA',
    'strict_prepend': 'prepend', 'strict_prepend_lora': 'prepend + LoRA', 'strict_append': 'append',
}
STRICT_COMPARED = (
    ('strict_prepend', 'none'), ('strict_aside', 'none'), ('strict_aside', 'strict_prepend'), ('strict_append', 'none'),
    ('strict_prepend_lora', 'none_lora'), ('strict_aside_lora', 'none_lora'), ('strict_aside_lora', 'strict_prepend_lora'),
)
# Several passages, each in a text of its own, by the end of the row's name: what these texts say is weighted.
WEIGHTED = {f'{fusion}_{n}{ending}': f'{n} texts, weighted by {by}{levelled}'
            for n in (2, 4)
            for fusion, by in (('mixture', 'scores'), ('sequence', 'scores and by what each foresaw'))
            for ending, levelled in (('', ''), ('_levelled', ', levelled'))}


def weighted(place, one_text):
    """The rows of a place, and what they are compared with: the best passage alone, and as many that are read by one text."""
    rows = {f'{place}_{end}': f'{place}, {text}' for end, text in WEIGHTED.items()}
    pairs = [(row, f'{one_text}_{n}') for row in rows for n in (1, row.split('_')[2])]
    pairs += [(row, row.replace('sequence', 'mixture')) for row in rows if 'sequence' in row]
    return rows, tuple(pairs)


# Tables by title: rows, and what is compared.
ABLATIONS = {
    'Stride, with the adapter of append + LoRA + markers': ({f'stride_{n}': f'a retrieval every {n} tokens' for n in (16, 32, 64)}, ()),
    'Query, with the adapter of append + LoRA + markers': ({f'query_{n}': f'a query of {n} tokens' for n in (16, 32, 64)}, ()),
    'Passages, with the adapter of append + LoRA + markers': (
        {'passages_1': '1 passage of 64 tokens', 'passages_2': '2 passages of 64 tokens', 'passages_4': '4 passages of 64 tokens'}
        | weighted('append', 'passages')[0], weighted('append', 'passages')[1]),
    'Passages of 64 tokens, untuned, contexts of 230': (
        {'untuned_none': 'no retrieval',
         'aside_passages_1': 'aside, 1', 'aside_passages_2': 'aside, 2, each a block', 'aside_passages_4': 'aside, 4, each a block',
         'aside_joined_2': 'aside, 2 in one block', 'aside_joined_4': 'aside, 4 in one block',
         'prepend_passages_1': 'prepend, 1', 'prepend_passages_2': 'prepend, 2', 'prepend_passages_4': 'prepend, 4'}
        | weighted('aside', 'aside_passages')[0],
        (('aside_passages_1', 'untuned_none'), ('aside_passages_1', 'prepend_passages_1'), ('aside_passages_2', 'prepend_passages_2'),
         ('aside_passages_4', 'prepend_passages_4'), ('aside_joined_2', 'prepend_passages_2'), ('aside_joined_4', 'prepend_passages_4'),
         ('aside_passages_2', 'aside_passages_1'), ('aside_passages_4', 'aside_passages_1'), ('prepend_passages_4', 'prepend_passages_1'))
        + weighted('aside', 'aside_passages')[1]),
    'Stored passages, rounded': (
        {'aside': 'aside, as evaluated', 'aside_element_f16': 'aside, f16', 'aside_element_int8': 'aside, int8',
         'aside_lora_markers': 'aside + LoRA + markers, as evaluated', 'aside_lora_element_int8': 'aside + LoRA + markers, int8'},
        (('aside_element_f16', 'aside'), ('aside_element_int8', 'aside'), ('aside_lora_element_int8', 'aside_lora_markers'))),
    'What the text keeps, untuned, contexts of 237 to 349 tokens whose start is held for 128': (
        {'aside_held_exact': 'aside, exact', 'aside_held_approximate': 'aside, approximate', 'aside_held_prepend': 'prepend'},
        (('aside_held_approximate', 'aside_held_exact'), ('aside_held_exact', 'aside_held_prepend'))),
    'A stride that is evaluated once, and moves when its passage leaves, contexts of 237 to 349 tokens whose start is held for 128': (
        {f'append_{tuned}held_{kept}': f'append{text}, {kept}'
         for tuned, text in (('', ''), ('lora_', ' + LoRA + markers'), ('repeat_', ', 16 tokens repeated + LoRA + markers'))
         for kept in ('exact', 'approximate')},
        tuple((f'append_{tuned}held_approximate', f'append_{tuned}held_exact') for tuned in ('', 'lora_', 'repeat_'))),
}
# The part cost: each layout at several strides, with contexts whose start is held.
COST_LAYOUTS = {'none': 'no retrieval', 'prepend': 'prepend', 'aside': 'aside', 'append': 'append', 'append_repeat': 'append, 16 tokens repeated'}
COSTS = {f'cost_{layout}{tuned}_{n}': text + how if layout == 'none' else f'{text} + markers{how}, every {n} tokens'
         for tuned, how in (('', ''), ('_lora', ' + LoRA')) for layout, text in COST_LAYOUTS.items()
         for n in (8, 16, 32, 64) if n == 16 or layout != 'none'}
# The part curve: rows of the pair by steps of training; those of 1,000 steps have no number in their names.
CURVE_ROWS = {row: ROWS[row] for row in ('none_lora', 'prepend_lora_markers', 'aside_lora_markers', 'append_lora_markers',
                                         'append_repeat_lora_markers')}
CURVE_STEPS = (250, 500, 1000, 2000, 2500, 2900, 5000)


def curve_name(row, steps):
    return row if steps == 1000 else f'curve_{row}_{steps}'


CURVE = {curve_name(row, steps): f'{text}, {steps:,} steps' for row, text in CURVE_ROWS.items() for steps in CURVE_STEPS}
# Steps of a row and those of another: as many, and about as long, because a step of prepend takes 1.72 times as long.
AS_MANY = tuple((steps, steps) for steps in CURVE_STEPS)
AS_LONG = ((500, 250), (1000, 500), (2000, 1000), (5000, 2500), (5000, 2900))
CURVE_COMPARED = tuple(
    (curve_name(row, steps), curve_name(other, others))
    for row in ('append_lora_markers', 'append_repeat_lora_markers', 'aside_lora_markers')
    for other, pairs in (('prepend_lora_markers', AS_MANY + AS_LONG), ('none_lora', AS_MANY)) for steps, others in pairs)
CURVE_COMPARED += tuple((curve_name('append_lora_markers', 5000), other)
                        for other in ('append_lora_markers', 'prepend_lora_markers', 'none_lora', 'none', 'append_markers'))
# A step without passages takes 0.28 of the time of one with passages in front: this control trains 1.4 times as long.
CURVE_COMPARED += ((curve_name('prepend_lora_markers', 1000), curve_name('none_lora', 5000)),)


def result(folder, pair, name):
    path = os.path.join(folder, pair, name + '.json')
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def has_any(folder, pair, names):
    """Whether one of these rows was measured that does not stand in the table of the pair."""
    return any(result(folder, pair, name) for name in names if name not in ROWS)


def cells(found):
    return (f"{found['perplexity']:.2f} ± {found['perplexity_standard_error']:.2f} | {found['nats_per_token']:.4f} | "
            f"{found['tokens']} | {found['retrievals']} | {found['evaluated']}")


def table(title, rows):
    rows = [(name, found) for name, found in rows if found]
    if not rows:
        return
    print(f"**{title}**\n")
    print('| | perplexity | nats a token | tokens scored | retrievals | tokens evaluated |\n|---|---|---|---|---|---|')
    for name, found in rows:
        print(f'| {name} | {cells(found)} |')
    print()


def strides(folder, pair, name):
    """The nats of each stride by where it begins."""
    with open(os.path.join(folder, pair, name + '.strides.csv'), encoding='utf-8') as file:
        return {int(row['at']): float(row['nats_per_token']) for row in csv.DictReader(file)}


def compared(folder, pair, names, pairs):
    """By how much the perplexity of one row differs from another's, stride by stride: hard strides are hard for both."""
    there = [(one, other) for one, other in pairs if result(folder, pair, one) and result(folder, pair, other)]
    for one, other in there:
        first, second = strides(folder, pair, one), strides(folder, pair, other)
        if first.keys() != second.keys():
            sys.exit(f'{one} and {other} of {folder}/{pair} are not of the same strides')
        differences = [first[at] - second[at] for at in first]
        mean = sum(differences) / len(differences)
        variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
        error = math.sqrt(variance / len(differences))
        ratio, of_ratio = 100 * math.expm1(mean), 100 * math.exp(mean) * error
        print(f'- {names[one]} against {names[other]}: {ratio:+.1f} ± {of_ratio:.1f} %')
    if there:
        print()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    for pair, title in PAIRS.items():
        table(title, [(text, result(folder, pair, name)) for name, text in ROWS.items()])
        compared(folder, pair, ROWS, COMPARED)
        if result(folder, pair, 'strict_prepend'):
            table(title.replace('13', '8'), [(text, result(folder, pair, name)) for name, text in STRICT.items()])
            compared(folder, pair, STRICT, STRICT_COMPARED)
    for pair in ('translation', 'technical'):
        if has_any(folder, pair, CURVE):
            table(f'Perplexity against steps of training, of 256 predicted tokens each, {pair}',
                  [(text, result(folder, pair, name)) for name, text in CURVE.items()])
            compared(folder, pair, {**ROWS, **CURVE}, CURVE_COMPARED)
    for pair in ('translation', 'technical'):
        table(f'What each layout costs at several strides, contexts of 237 tokens whose start is held for 128, {pair}',
              [(text, result(folder, pair, name)) for name, text in COSTS.items()])
    for pair, place in (('technical', ''), ('wikitext', ', WikiText-2')):
        for title, (names, pairs) in ABLATIONS.items():
            if has_any(folder, pair, names):
                table(title + place, [(text, result(folder, pair, name)) for name, text in names.items()])
                compared(folder, pair, names, pairs)


if __name__ == '__main__':
    main()
