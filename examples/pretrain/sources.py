"""Where the texts come from: Debian packages, and how each one's files become documents."""
import glob
import gzip
import os
import re
import subprocess

import clean

DOC = '/usr/share/doc/'


def read(path):
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
        return file.read().decode('utf-8', 'replace')


def files(*patterns):
    return sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)})


def stem(path):
    return re.sub(r'(\.(gz|txt|rst|html|pod|adoc|1|2|3|4|5|7|8))+$', '', os.path.basename(path))


BASE64 = {c: i for i, c in enumerate('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')}


def number(text):
    value = 0
    for character in text:
        value = value * 64 + BASE64[character]
    return value


def dictionary(name):
    """Entries of a dictd dictionary, once each, in the order of the file."""
    data = gzip.open(f'/usr/share/dictd/{name}.dict.dz', 'rb').read()
    entries = {}
    with open(f'/usr/share/dictd/{name}.index', encoding='utf-8') as index:
        for line in index:
            head, offset, length = line.rstrip('\n').split('\t')[:3]
            if not head.startswith('00'):
                entries.setdefault((number(offset), number(length)), head)
    for (offset, length), head in sorted(entries.items()):
        text = data[offset:offset + length].decode('utf-8', 'replace').replace('{', '').replace('}', '')
        yield head.lower(), clean.plain(text)


def foldoc():
    return dictionary('foldoc')


def jargon():
    return dictionary('jargon')


def devil():
    return dictionary('devil')


def wordnet():
    """An entry whose senses have all been told under a synonym is left out: it would say them again."""
    told = set()
    for head, text in dictionary('wn'):
        glosses = {re.sub(r'^.*?\b\d*: ', '', g) for g in re.split(r'\n|(?<=\]) (?=\w+ \d*:)', text.split(' [syn:')[0])}
        if not glosses <= told:
            yield head, text
        told |= glosses


def gcide():
    seen = set()
    for head, text in dictionary('gcide'):
        if '[WordNet' in text and '[1913 Webster]' not in text:
            continue
        text = re.sub(r'\n?\[(1913 Webster|Webster 1913 Suppl\.|WordNet 1\.5|PJC|[\w. +]*\bPJC)\]', '', text)
        text = re.sub(r' \\[^\\\n]*\\', '', text, count=1)
        text = re.sub(r' \([^()\n]*\[[^()\n]*\)', '', text, count=1)
        text = clean.plain(text)
        if text not in seen and len(text) > 60:
            seen.add(text)
            yield head, text


def bible():
    """The King James Bible, sixty verses a document."""
    out = subprocess.run(['bible', '-l99999', 'gen1:1-rev22:21'], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    verses = [line.strip() for line in out.split('\n') if line.strip()]
    for first in range(0, len(verses), 60):
        yield str(first), '\n'.join(verses[first:first + 60])


def linux():
    root = DOC + 'linux-doc-6.1/Documentation/'
    for path in files(root + '**/*.rst.gz', root + '**/*.txt.gz', root + '**/*.rst', root + '**/*.txt'):
        if '/translations/' not in path and '/devicetree/bindings/' not in path and stem(path) not in ('index', 'devices'):
            yield stem(path), clean.rst(re.sub(r'^\.\. SPDX.*\n', '', read(path)))


def python():
    for path in files(DOC + 'python3.11/html/_sources/**/*.rst.txt'):
        if '/whatsnew/changelog' not in path:
            yield stem(path), clean.rst(read(path))


def git():
    for path in files(DOC + 'git/html/**/*.txt', DOC + 'git/RelNotes/*.txt'):
        yield stem(path), clean.asciidoc(read(path))


def perl():
    for path in files('/usr/share/perl/5.*.*/**/*.pod', '/usr/lib/*/perl/5.*/**/*.pod'):
        if not re.search(r'/perl(cn|jp|ko|tw|toc|uniprops|api|intern)\.pod$', path) and not os.path.islink(path):
            yield stem(path), clean.pod(read(path))


def postgresql():
    for path in files(DOC + 'postgresql-doc-15/html/*.html'):
        if not re.match(r'(index|bookindex|biblio|release|legalnotice|sql-keywords|features-sql|unsupported-features)', stem(path)):
            yield stem(path), clean.html_text(read(path), r'\b(navheader|navfooter|toc)\b')


def apache():
    for path in files(DOC + 'apache2-doc/manual/en/**/*.html'):
        if stem(path) not in ('index', 'sitemap', 'quickreference', 'directives'):
            yield stem(path), clean.html_text(read(path), r'\b(page-header|menu|quickview|toplang|bottomlang|up|top|footer|comments_section|path|navigation)\b')


def sqlite():
    for path in files(DOC + 'sqlite3/**/*.html'):
        if not re.search(r'(changes|releaselog|keyword_index|doclist|sitemap|toc|requirements|syntaxdiagrams|chronology|/session/|/syntax/|hlr\d+|c3ref/[a-z]*list|docs\.html|capi3ref)', path):
            text = clean.html_text(read(path), r'\b(nosearch|menu|mainmenu|submenu|searchmenu|logo|tagline|fancy_toc|toc_header|desktoponly|mobileonly)\b')
            yield stem(path), text


def vim():
    for path in files('/usr/share/vim/vim90/doc/*.txt'):
        if not re.match(r'(version\d|todo|tags|usr_toc|help$|quotes|index$|hebrew|arabic|farsi|russian|sponsor|uganda)', stem(path)):
            text = re.sub(r'\*[^\s*|]+\*', '', read(path))
            text = re.sub(r'\|([^\s|*]+)\|', r'\1', text)
            text = re.sub(r'^(.*) >$', r'\1', text, flags=re.M)
            text = re.sub(r'^<(?=\s)', '', text, flags=re.M)
            text = clean.plain(clean.without_underlines(re.sub(r'\s~$', '', text, flags=re.M)))
            yield stem(path), text


def zsh():
    for path in files(DOC + 'zsh-common/html/*.html'):
        if not re.search(r'(Index|toc|index)', stem(path)):
            text = clean.html_text(read(path), r'\b(header|nav|navigation|contents)\b')
            if 'The node you are looking for' not in text:
                yield stem(path), text


def debian():
    for path in files('/usr/share/developers-reference/_sources/*.rst.txt'):
        if stem(path) != 'index':
            yield 'developers-reference ' + stem(path), clean.rst(read(path))
    for path in files('/usr/share/debian-reference/*.en.html'):
        if not re.match(r'(index|ap)', stem(path)):
            yield 'debian-reference ' + stem(path), clean.html_text(read(path), r'\b(navheader|navfooter|toc)\b')
    for path in files(DOC + 'debian-policy/*.txt.gz', DOC + 'debian/FAQ/debian-faq.en.txt.gz'):
        if not stem(path).startswith(('upgrading', 'libc6')):
            text = clean.without_underlines(read(path))
            for part, chapter in enumerate(re.split(r'\n(?=\d+\. [A-Z])', text)):
                yield f'{stem(path)} {part}', clean.plain(chapter)


SOURCES = {'foldoc': (foldoc, ['dict-foldoc']), 'jargon': (jargon, ['dict-jargon']), 'devil': (devil, ['dict-devil']),
           'wordnet': (wordnet, ['dict-wn']), 'gcide': (gcide, ['dict-gcide']), 'kjv': (bible, ['bible-kjv', 'bible-kjv-text']),
           'linux': (linux, ['linux-doc']), 'python': (python, ['python3-doc']), 'git': (git, ['git-doc']),
           'perl': (perl, ['perl-doc']), 'postgresql': (postgresql, ['postgresql-doc-15']), 'apache': (apache, ['apache2-doc']),
           'sqlite': (sqlite, ['sqlite3-doc']), 'vim': (vim, ['vim-runtime']), 'zsh': (zsh, ['zsh-doc']),
           'debian': (debian, ['debian-policy', 'developers-reference', 'debian-reference-en', 'debian-faq'])}
