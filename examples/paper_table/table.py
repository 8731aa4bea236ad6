#!/usr/bin/python3
"""Writes what paper_table.sh measured as tables of Markdown: table.py DIR. Rows that were not measured yet are left out."""
import json
import math
import os
import sys

ROWS = {
    'none': 'no retrieval',
    'none_lora': 'no retrieval + LoRA',
    'prepend': 'prepend',
    'prepend_lora': 'prepend + LoRA',
    'prepend_lora_markers': 'prepend + LoRA + markers',
    'append': 'append',
    'append_lora': 'append + LoRA',
    'append_lora_markers': 'append + LoRA + markers',
    'append_lora_fixed': 'append + LoRA + fixed markers',
}
PAIRS = {
    'technical': 'Technical documentation (technical-heldout over FOLDOC, Jargon File and documentation)',
    'wikitext': 'WikiText-2 test over mrag-wikipedia-v2',
}
GROUPS = {'stride': (16, 32, 64), 'query': (16, 32, 64), 'passages': (1, 2, 4)}


def result(folder, pair, name):
    path = os.path.join(folder, pair, name + '.json')
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as file:
        return json.load(file)


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


def compared(folder, pair):
    """By how much one row differs from another: a number of nats, as a percentage of perplexity."""
    for one, other in (('append_lora_markers', 'prepend_lora_markers'), ('append_lora_markers', 'none_lora'),
                       ('append', 'none'), ('append_lora_markers', 'append_lora_fixed')):
        a, b = result(folder, pair, one), result(folder, pair, other)
        if a and b:
            ratio = 100 * (math.exp(a['nats_per_token'] - b['nats_per_token']) - 1)
            print(f'- {ROWS[one]} against {ROWS[other]}: {ratio:+.1f} %')
    print()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    for pair, title in PAIRS.items():
        table(title, [(text, result(folder, pair, name)) for name, text in ROWS.items()])
        compared(folder, pair)
    for group, values in GROUPS.items():
        table(f'Ablation: {group}, with the adapter of append + LoRA + markers',
              [(f'{group} {n}', result(folder, 'technical', f'{group}_{n}')) for n in values])


main()
