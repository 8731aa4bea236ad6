"""Turns the markups of documentation (reStructuredText, AsciiDoc, POD, HTML) into plain paragraphs."""
import html.parser
import re

WRAPPED = re.compile(r'''(?<![.:;\n])\n(?=[a-z("'])''')
UNDERLINE = re.compile(r'^\s*([=\-~^"\'#*+`_])\1{2,}\s*$')


def plain(text):
    """One blank line between paragraphs, no indentation; a line goes on where it was visibly wrapped."""
    lines = (re.sub(r'[ \t\u00a0\u200b]+', ' ', line).strip() for line in text.replace('\r', '').expandtabs().split('\n'))
    text = '\n'.join(line for line in lines if line not in ('*', '-', '+', '|'))
    return WRAPPED.sub(' ', re.sub(r'\n{3,}', '\n\n', text).strip())


def without_underlines(text):
    """Titles lose the line of symbols that marks them."""
    return '\n'.join('' if UNDERLINE.match(line) else line for line in text.split('\n'))


ADMONITIONS = {'note': 'Note:', 'warning': 'Warning:', 'tip': 'Tip:', 'important': 'Important:', 'caution': 'Caution:',
               'hint': 'Hint:', 'seealso': 'See also:', 'attention': 'Attention:', 'danger': 'Danger:'}


def rst(text):
    lines = []
    for line in text.replace('\r', '').expandtabs().split('\n'):
        directive = re.match(r'^\.\.(?:\s+(.*))?$', line)
        if directive:
            body = directive.group(1) or ''
            note = re.match(r'([a-z]+)::\s*(.*)$', body)
            if note and note.group(1) in ADMONITIONS:
                lines.append(ADMONITIONS[note.group(1)] + ' ' + note.group(2))
            continue
        if UNDERLINE.match(line):
            lines.append('')
        else:
            lines.append(line)
    text = '\n'.join(lines)
    text = re.sub(r':[a-z][a-z:+-]*:`([^`]*)`', lambda m: re.sub(r'\s*<[^>]*>$', '', m.group(1)).lstrip('~!'), text)
    text = text.replace('`', '')
    text = re.sub(r'\[([A-Za-z][\w-]*)\]_', r'[\1]', text)
    text = re.sub(r'\|([A-Za-z][\w ]*)\|', r'\1', text)
    text = re.sub(r'\*{1,2}([^\s*](?:[^*\n]*[^\s*])?)\*{1,2}', r'\1', text)
    return plain(text)


def asciidoc(text):
    lines = []
    for line in text.split('\n'):
        if UNDERLINE.match(line) or re.match(r'^(\[\[.*\]\]|:[\w-]+:.*|//.*|(ifdef|ifndef|endif)::.*)$', line.strip()):
            lines.append('')
        else:
            lines.append(re.sub(r'^={1,5}\s+', '', line))
    text = '\n'.join(lines).replace('`', '')
    return plain(text)


POD_ESCAPE = {'lt': '<', 'gt': '>', 'verbar': '|', 'sol': '/', 'amp': '&', 'quot': '"'}


def pod(text):
    """POD: commands become titles, formatting codes their content, links their visible part."""
    out, skip = [], False
    for block in re.split(r'\n[ \t]*\n', '\n' + text.replace('\r', '')):
        block = block.strip('\n')
        command = re.match(r'=(\w+)\s*(.*)', block, re.S)
        if command:
            name, block = command.group(1), command.group(2).strip()
            skip = name in ('begin', 'cut') or skip and not re.match(r'end|pod|head|over|item|back|encoding|for', name)
            if skip or name in ('end', 'pod', 'over', 'back', 'encoding', 'for'):
                continue
        elif skip:
            continue
        if not block.startswith((' ', '\t')):
            block = pod_codes(block)
        if out and out[-1] == '*':
            out[-1] = '* ' + block
        else:
            out.append(block)
    return plain('\n\n'.join(out))


def pod_codes(text):
    """A quoted section of a link loses its closing quotation mark: the committed model has read it so."""
    text = re.sub(r'[XZ]<[^<>]*>', '', text)
    before = None
    while before != text:
        before = text
        text = re.sub(r'[BCIFSXL]<<+\s(.*?)\s>>+', lambda m: m.group(1).replace('<', '\1').replace('>', '\2'), text, flags=re.S)
        text = re.sub(r'E<(\w+)>', lambda m: {'lt': '\1', 'gt': '\2'}.get(m.group(1), POD_ESCAPE.get(m.group(1), '')), text)
        text = re.sub(r'L<([^<>|]*)\|[^<>]*>', r'\1', text)
        text = re.sub(r'L<([^<>]*)>', lambda m: re.sub(r'^/+"?|"$', '', m.group(1)).replace('/', ' on ', 1)
                      if '://' not in m.group(1) else m.group(1), text)
        text = re.sub(r'[BCIFS]<([^<>]*)>', r'\1', text)
    return text.replace('\1', '<').replace('\2', '>')


class _Html(html.parser.HTMLParser):
    BLOCKS = {'p', 'div', 'section', 'article', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'ul', 'ol', 'dl', 'table', 'pre', 'blockquote',
              'dt', 'dd', 'center'}
    LINES = {'br', 'tr', 'li'}
    SKIPPED = {'script', 'style', 'head', 'nav', 'footer', 'form', 'select', 'button', 'svg', 'noscript', 'header'}

    def __init__(self, skipped):
        super().__init__(convert_charrefs=True)
        self.skipped = skipped
        self.out, self.stack, self.pre, self.dead = [], [], 0, 0

    VOID = {'br', 'img', 'hr', 'meta', 'link', 'input', 'col', 'area', 'base', 'wbr', 'source', 'embed', 'param', 'track'}

    def handle_starttag(self, tag, attrs):
        if tag in self.VOID:
            if tag == 'br':
                self.out.append('\2')
            return
        attributes = dict(attrs)
        dead = tag in self.SKIPPED or bool(self.skipped.search(f"{attributes.get('class') or ''} {attributes.get('id') or ''}"))
        self.stack.append((tag, dead))
        self.dead += dead
        if tag in self.BLOCKS:
            self.out.append('\1')
        elif tag in self.LINES:
            self.out.append('\2' + ('* ' if tag == 'li' else ''))
        elif tag in ('td', 'th'):
            self.out.append(' ')
        self.pre += tag == 'pre'

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        at = next((i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i][0] == tag), None)
        if at is None:
            return
        for name, dead in self.stack[at:]:
            self.dead -= dead
            self.pre -= name == 'pre'
        del self.stack[at:]
        if tag in self.BLOCKS:
            self.out.append('\1')

    def handle_data(self, data):
        if not self.dead:
            self.out.append(data if self.pre else re.sub(r'\s+', ' ', data))


def html_text(text, skipped):
    """What a page says, without the elements whose class and id match `skipped`."""
    parser = _Html(skipped)
    parser.feed(text)
    parser.close()
    joined = ''.join(parser.out)
    joined = re.sub(r' *\x01[\s\x01\x02]*', '\n\n', joined)
    joined = re.sub(' *\x02[ \x02]*', '\n', joined)
    joined = re.sub(r'(\n\* )\s+', r'\1', joined).replace('¶', '')
    return plain(joined)
