#!/usr/bin/env python3
"""Writes the library as single headers into FOLDER: flashback_policy.hpp (core, policy and decoder), flashback.hpp
(everything) and flashback_testing.hpp (the suites for models and searches of your own, and models that cost nothing).

Usage: cmake/single_headers.py FOLDER

A source includes any of them, in place of the folder flashback/. What they need is what the targets flashback::policy and
flashback::flashback need. Every source compiles all that it uses: what FLASHBACK_COMPILED_ONCE saves is for the folder.
"""
import os
import re
import sys

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
include = re.compile(r'\s*#\s*include\s+"(flashback/[^"]+)"')
once = re.compile(r"\s*#\s*if\s+!\s*defined\(FLASHBACK_COMPILED_ONCE\)\s*$")  # never defined here, so what follows is always read


def inlined(header, done):
    """The lines of a header, each header that it includes in its place, once in all."""
    done.add(header)
    with open(os.path.join(root, "include", header), encoding="utf-8") as file:
        lines = file.read().splitlines()
    if "#pragma once" not in lines:
        sys.exit("cmake/single_headers.py: %s has no line #pragma once" % header)
    guard = "FLASHBACK_SINGLE_" + re.sub(r"\W", "_", header[len("flashback/"):-len(".hpp")]).upper()
    out = ["#if !defined(%s)  // %s" % (guard, header), "#define " + guard]
    conditions = []  # whether each #if that is open may be false
    for line in lines:
        found = include.match(line)
        if found and found[1] not in done:
            if any(conditions):
                sys.exit("cmake/single_headers.py: %s includes %s under a condition, so it may be read elsewhere first" % (header, found[1]))
            out += inlined(found[1], done)
        elif not found and line != "#pragma once":
            out.append(line)
        if re.match(r"\s*#\s*if", line):
            conditions.append(not once.match(line))
        elif re.match(r"\s*#\s*endif", line):
            conditions.pop()
    return out + ["#endif  // " + header]


def single(headers, name):
    with open(os.path.join(root, "LICENSE"), encoding="utf-8") as file:
        licence = ["// " + line if line else "//" for line in file.read().splitlines()]
    with open(os.path.join(root, "include/flashback/core/version.hpp"), encoding="utf-8") as file:
        version = re.search(r'#define FLASHBACK_VERSION "(.*)"', file.read())[1]
    done = set()
    return "\n".join(
        ["// flashback %s, %s in one file. Made by cmake/single_headers.py; do not edit." % (version, " and ".join(headers)), "//"] + licence +
        ["#pragma once", "",
         "#if defined(FLASHBACK_ISA_NAME) && !defined(FLASHBACK_SINGLE_HEADER)",
         '#error "flashback: %s comes after a header of the folder flashback/; a source includes the one or the other"' % name,
         "#elif defined(FLASHBACK_COMPILED_ONCE)",
         '#error "flashback: a single header compiles everything in each source; FLASHBACK_COMPILED_ONCE is for the folder flashback/"',
         "#endif"] +
        [line for header in headers for line in inlined(header, done)] + ["#define FLASHBACK_SINGLE_HEADER", ""])


if len(sys.argv) != 2:
    sys.exit("usage: cmake/single_headers.py FOLDER")
os.makedirs(sys.argv[1], exist_ok=True)
suites = ["flashback/testing/%s.hpp" % name for name in ("language_model_suite", "retriever_suite", "null_model")]
for headers, name in ((["flashback/policy.hpp"], "flashback_policy.hpp"), (["flashback/flashback.hpp"], "flashback.hpp"),
                      (suites, "flashback_testing.hpp")):
    with open(os.path.join(sys.argv[1], name), "w", encoding="utf-8") as file:
        file.write(single(headers, name))
