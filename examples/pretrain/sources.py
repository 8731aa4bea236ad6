"""Where the texts come from: for each source its Debian packages, its licence, and how its files become documents."""
import collections
import glob
import gzip
import html as entities
import os
import re
import struct
import subprocess
import zlib

import clean

DOC = '/usr/share/doc/'
Source = collections.namedtuple('Source', 'packages licence documents')  # documents() yields (title, text)


def read(path):
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
        return file.read().decode('utf-8', 'replace')


def read_bytes(path):
    with open(path, 'rb') as file:
        return file.read()


def stem(path):
    return re.sub(r'(\.(gz|txt|rst|html|htm|pod|en))+$', '', os.path.basename(path))


def tree(patterns, convert, leave_out=None):
    """Every file that a pattern names and `leave_out` does not match."""
    def documents():
        found = {path for pattern in patterns for path in glob.glob(pattern, recursive=True)}
        for path in sorted(found):
            if os.path.isfile(path) and not os.path.islink(path) and not (leave_out and re.search(leave_out, path)):
                yield stem(path), convert(read(path))
    return documents


def html(*names):
    """Pages without the elements in whose class or id one of these words stands."""
    skipped = re.compile(r'\b(' + '|'.join(names) + r')\b')

    def convert(text):
        text = clean.html_text(text, skipped)
        return '' if 'The node you are looking for' in text else text
    return convert


def both(*parts):
    def documents():
        for part in parts:
            yield from part()
    return documents


BASE64 = {c: i for i, c in enumerate('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')}


def number(text):
    value = 0
    for character in text:
        value = value * 64 + BASE64[character]
    return value


def dictionary(name):
    """Entries of a dictd dictionary, once each, in the order of the file."""
    def documents():
        with gzip.open(f'/usr/share/dictd/{name}.dict.dz', 'rb') as file:
            data = file.read()
        entries = {}
        with open(f'/usr/share/dictd/{name}.index', encoding='utf-8') as index:
            for line in index:
                head, offset, length = line.rstrip('\n').split('\t')[:3]
                if not head.startswith('00'):
                    entries.setdefault((number(offset), number(length)), head)
        for (offset, length), head in sorted(entries.items()):
            text = data[offset:offset + length].decode('utf-8', 'replace').replace('{', '').replace('}', '')
            yield head.lower(), clean.plain(text)
    return documents


def wordnet():
    """Without entries that only say again what was said under a synonym."""
    told = set()
    for head, text in dictionary('wn')():
        senses = {re.sub(r'^.*?\b\d*: ', '', sense) for sense in re.split(r'\n|(?<=\]) (?=\w+ \d*:)', text.split(' [syn:')[0])}
        if not senses <= told:
            yield head, text
        told |= senses


def bible():
    """The King James Bible, sixty verses a document."""
    printed = subprocess.run(['bible', '-l99999', 'gen1:1-rev22:21'], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             check=True).stdout
    verses = [line.strip() for line in printed.split('\n') if line.strip()]
    for first in range(0, len(verses), 60):
        yield str(first), '\n'.join(verses[first:first + 60])


def king_james():
    """The verses of each chapter of the King James Bible, by book and chapter as `bible` calls them: `Ge.1`."""
    printed = subprocess.run(['bible', '-f', '-l99999', 'gen1:1-rev22:21'], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             check=True).stdout
    chapters = {}
    for name, number_of_chapter, verse in re.findall(r'^(\w+?)(\d+):\d+ (.*)', printed, re.M):
        chapters.setdefault(f'{name}.{number_of_chapter}', []).append(verse.strip())
    return chapters


def verse_text(osis):
    """What a verse says, without its notes and headings."""
    osis = re.sub(r'<(note|title)\b.*?</\1>|<(l|lg|div)\b[^>]*>', ' ', osis, flags=re.S)
    text = ' '.join(entities.unescape(re.sub(r'<[^>]*>', '', osis)).split())
    return re.sub(r' (?=[,.;:?!])', '', text)


SWORD = '/usr/share/sword/modules/texts/ztext/'


def sword(folder):
    """The verses of each chapter of a SWORD module of the kind zText in this folder, by book and chapter as OSIS calls them: `Gen.1`.

    A testament is three files: where each compressed block of it is (bzs), in which block, where in it and how long each verse is
    (bzv), and the blocks (bzz).
    """
    chapters = {}
    for testament in ('ot', 'nt'):
        blocks, verses, data = (read_bytes(os.path.join(folder, f'{testament}.{kind}')) for kind in ('bzs', 'bzv', 'bzz'))
        texts = [zlib.decompress(data[at:at + size]) for at, size, _ in struct.iter_unpack('<III', blocks)]
        chapter = None
        for block, at, size in struct.iter_unpack('<IIH', verses):
            osis = texts[block][at:at + size].decode()
            begun = re.search(r'<chapter [^>]*osisID="([^"]+)" sID', osis)
            if begun:
                chapter = chapters.setdefault(begun.group(1), [])
            elif chapter is not None and (verse := verse_text(osis)):
                chapter.append(verse)
    return chapters


def vim_help(text):
    text = re.sub(r'\*[^\s*|]+\*', '', text)                      # where a tag points to
    text = re.sub(r'\|([^\s|*]+)\|', r'\1', text)                 # a link
    text = re.sub(r' >$|^<(?=\s)|\s~$', '', text, flags=re.M)  # begin and end of an example, a heading
    return clean.plain(clean.without_underlines(text))


def numbered(*patterns):
    """Long plain texts in their numbered chapters and steps."""
    def documents():
        for path in sorted(path for pattern in patterns for path in glob.glob(pattern)):
            for i, part in enumerate(re.split(r'\n(?=\d+\. [A-Z])', clean.without_underlines(read(path)))):
                yield f'{stem(path)} {i}', clean.plain(part)
    return documents


DOCBOOK = html('navheader', 'navfooter', 'toc')
KERNEL = DOC + 'linux-doc-6.1/Documentation/'

SOURCES = {
    'foldoc': Source(['dict-foldoc'], 'GFDL-1.1+', dictionary('foldoc')),
    'jargon': Source(['dict-jargon'], 'public domain', dictionary('jargon')),
    'devil': Source(['dict-devil'], 'public domain', dictionary('devil')),
    'wordnet': Source(['dict-wn'], 'WordNet 3.0', wordnet),
    'kjv': Source(['bible-kjv', 'bible-kjv-text'], 'public domain', bible),
    'linux': Source(['linux-doc'], 'GPL-2', tree(
        [KERNEL + '**/*.rst.gz', KERNEL + '**/*.rst', KERNEL + '**/*.txt.gz', KERNEL + '**/*.txt'], clean.rst,
        r'/translations/|/devicetree/bindings/|/(index|devices)\.(rst|txt)')),
    'python': Source(['python3-doc'], 'PSF-2', tree(
        [DOC + 'python3.11/html/_sources/**/*.rst.txt'], clean.rst, '/whatsnew/changelog')),
    'git': Source(['git', 'git-doc'], 'GPL-2', tree([DOC + 'git/html/**/*.txt', DOC + 'git/RelNotes/*.txt'], clean.asciidoc)),
    'perl': Source(['perl-doc'], 'GPL-1+ or Artistic', tree(
        ['/usr/share/perl/5.*.*/**/*.pod', '/usr/lib/*/perl/5.*/**/*.pod'], clean.pod,
        r'/perl(cn|jp|ko|tw|toc|uniprops|api|intern)\.pod$')),
    'postgresql': Source(['postgresql-doc-15'], 'PostgreSQL', tree(
        [DOC + 'postgresql-doc-15/html/*.html'], DOCBOOK,
        r'/(index|bookindex|biblio|release|legalnotice|sql-keywords|features-sql|unsupported-features)[^/]*$')),
    'debian': Source(['debian-policy', 'developers-reference', 'debian-reference-en', 'debian-faq'], 'GPL-2+, GPL-2, verbatim copying', both(
        tree(['/usr/share/developers-reference/_sources/*.rst.txt'], clean.rst, '/index'),
        tree(['/usr/share/debian-reference/*.en.html'], DOCBOOK, '/(index|ap)[^/]*$'),
        numbered(DOC + 'debian-policy/[!lu]*.txt.gz', DOC + 'debian/FAQ/debian-faq.en.txt.gz'))),
    'apache': Source(['apache2-doc'], 'Apache-2.0', tree(
        [DOC + 'apache2-doc/manual/en/**/*.html'],
        html('page-header', 'menu', 'quickview', 'toplang', 'bottomlang', 'up', 'top', 'footer', 'comments_section', 'path',
             'navigation'), r'/(index|sitemap|quickreference|directives)\.html')),
    'sqlite': Source(['sqlite3-doc'], 'public domain', tree(
        [DOC + 'sqlite3/**/*.html'],
        html('nosearch', 'menu', 'mainmenu', 'submenu', 'searchmenu', 'logo', 'tagline', 'fancy_toc', 'toc_header', 'desktoponly',
             'mobileonly'),
        r'changes|releaselog|keyword_index|doclist|sitemap|toc|requirements|syntaxdiagrams|chronology|/session/|/syntax/|hlr\d+'
        r'|c3ref/[a-z]*list|docs\.html|capi3ref')),
    'vim': Source(['vim-runtime'], 'OPL-1+', tree(
        ['/usr/share/vim/vim90/doc/*.txt'], vim_help,
        r'/(version\d|todo|tags|usr_toc|help\.|quotes|index\.|hebrew|arabic|farsi|russian|sponsor|uganda)')),
    'zsh': Source(['zsh-doc'], 'Zsh', tree(
        [DOC + 'zsh-common/html/*.html'], html('header', 'nav', 'navigation', 'contents'), r'(Index|toc|index)[^/]*$')),
}
