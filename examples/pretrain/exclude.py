#!/usr/bin/python3
"""Writes heldout.json, the fingerprints of the documents that are never trained on.

    exclude.py ../shared/data/technical-heldout.jsonl >examples/pretrain/heldout.json
"""
import json
import sys

import overlap

with open(sys.argv[1], encoding='utf-8') as lines:
    json.dump(overlap.describe(map(json.loads, lines)), sys.stdout, indent=1, ensure_ascii=False)
print()
