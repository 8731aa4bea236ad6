#!/usr/bin/python3
"""The commands of README.md and the guides work in a clean copy of the repository.

commands_of_pages.py SOURCE_DIR TOOL      all pages
commands_of_pages.py --notice TOOL        the same must fail for pages with commands that do not work

Blocks between ``` without a language are commands, one a line, or what a command prints. All commands of a page run in order. The tool is
not built again: TOOL stands in the PATH. Commands within a line, `flashback ...`, are often abbreviated, so only their options are checked.
"""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

PAGES = ['README.md', 'include/flashback/first_success.md', 'include/flashback/installing.md', 'examples/the_idea.md', 'examples/README.md', 'examples/passages_aside.md',
         'examples/schedules.md', 'examples/dropping_into_a_runtime.md', 'examples/llama_cpp/README.md', 'examples/retrievers.md',
         'examples/branches.md', 'examples/cli/README.md', 'examples/fine_tuning.md',
         'examples/models/README.md', 'examples/paper_table/README.md', 'benchmarks/measuring_reuse.md', 'benchmarks/README.md',
         'include/flashback/README.md', 'include/flashback/promises.md', 'include/flashback/files_and_formats.md', 'CONTRIBUTING.md']

# What is not run, and why.
LONG = {
    r'examples/quickstart\.sh': 'builds and measures: the test `quickstart` runs what it runs',
    r'tests/run\.sh': 'builds everything and runs all tests, this one too',
    r'examples/llama_cpp/run\.sh.*': 'fetches llama.cpp, or measures for minutes: the test llama_cpp_real runs its program where llama.cpp is',
    r'cmake --preset release && cmake --build --preset release': 'builds everything, as CI does without optimisation',
    r'examples/(paper_table|schedules_table|pretrain)\.sh.*': 'trains or measures for hours or minutes',
    r'flashback bench --mode (?!reuse --vary history --history 256,).*': 'measures for minutes: tests/cli runs each mode on less',
    r'flashback (convert|convert-adapter|quantize) +[A-Z].*': 'words in capitals stand for files of the reader: tests/cli converts each kind',
}
# What is made smaller, so that all options are read and everything happens, but less of it. The last ones are files that a reader has.
SMALLER = [
    (r'^(examples/pretrain/texts\.py .*--out build foldoc)$',
     r'\1 && head -n 130 build/foldoc.jsonl >build/tmp/foldoc && mv build/tmp/foldoc build/foldoc.jsonl'),
    (r'^(flashback ppl .*)--text README\.md', r'\1--text build/short.txt'),
    (r'^((?:mpirun .* )?flashback finetune .*)--train README\.md', r'\1--train build/short.txt --context-max 200'),
    (r'--max-tokens \d{3,}', '--max-tokens 24'), (r'--steps \d+', '--steps 1'), (r'--layers 6 --width 256', '--layers 1 --width 32'),
    (r'\bTEXTS\.jsonl\b', 'build/texts.jsonl'), (r'\bNEW\.gguf\b', 'build/new.gguf'), (r'\bmore\.jsonl\b', 'build/more.jsonl'),
    (r'(?<!\S)/tmp/', 'build/tmp/'),
]
COMMAND = re.compile(r'^(flashback|mpirun|cmake|mkdir|g\+\+|build/|examples/|tests/|benchmarks/)')


def commands_of(text):
    """The commands of a page, and the first lines of blocks that are none."""
    commands, others = [], []
    for block in re.findall(r'^```\n(.*?)^```$', re.sub(r'^```[a-z]+\n.*?^```$', '', text, flags=re.M | re.S), flags=re.M | re.S):
        lines = block.replace('\\\n', ' ').strip().split('\n')
        if COMMAND.match(lines[0]):
            commands += [line.strip() for line in lines if line.strip()]
        else:
            others.append(lines[0])
    for row in re.findall(r'^\| [^|`]* \| `(flashback [^`]*)` \|$', text, flags=re.M):  # "what you have, and what you type"
        commands.append(row)
    return commands, others


def without_comment(command):
    return re.sub(r'\s+#.*$', '', command)


class Checker:
    """Runs commands at the top of a copy of the repository, each once."""

    def __init__(self, root, tool):
        self.root = root
        self.failures = []
        self.done = {}
        self.helps = {}
        programs = os.path.join(root, 'build', 'programs')
        os.makedirs(programs)
        os.makedirs(os.path.join(root, 'build', 'tmp'))
        os.symlink(os.path.abspath(tool), os.path.join(programs, 'flashback'))
        self.environment = dict(os.environ, PATH=programs + os.pathsep + os.environ['PATH'],  # and mpirun may run as root, on any machine
                                OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1', OMPI_MCA_rmaps_base_oversubscribe='1')
        for name, count in (('texts', 40), ('more', 2)):
            with open(os.path.join(root, 'build', name + '.jsonl'), 'w', encoding='utf-8') as file:
                for i in range(count):
                    words = ' '.join(f'the {name} number {i} says {j}' for j in range(60))
                    file.write('{"_id": "%s%d", "title": "", "text": "%s"}\n' % (name, i, words))
        with open(os.path.join(root, 'build', 'short.txt'), 'w', encoding='utf-8') as file:
            file.write(' '.join(f'A word, number {i}, and then another.' for i in range(50)))

    def fail(self, page, sentence):
        self.failures.append(f'{page}: {sentence}')

    def run(self, page, command):
        for pattern, reason in LONG.items():
            if re.fullmatch(pattern, command):
                print(f'  not run: {command}: {reason}')
                if command.startswith('flashback '):
                    self.check_options(page, command)
                return
        for pattern, smaller in SMALLER:
            command = re.sub(pattern, smaller, command)
        if command in self.done:
            return
        if '../shared' in command and not os.path.isdir(os.path.join(self.root, '..', 'shared')):
            print(f'  not run: {command}: needs ../shared')
            return
        if command.startswith('mpirun ') and not shutil.which('mpirun'):
            print(f'  not run: {command}: needs Open MPI')
            return
        start = time.monotonic()
        with tempfile.TemporaryFile() as output:
            try:
                status = subprocess.run(['bash', '-c', command], cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL,
                                        stdout=output, stderr=subprocess.STDOUT, timeout=120, check=False).returncode
            except subprocess.TimeoutExpired:
                status = 'none within 120 s'
            output.seek(0)
            said = output.read().decode('utf-8', 'replace')
        self.done[command] = time.monotonic() - start
        print(f'  {self.done[command]:5.1f} s: {command[:140]}', flush=True)
        if status != 0:
            self.fail(page, f'exit status {status} of: {command}\n{said[-2000:]}')

    def help_of(self, name):
        if name not in self.helps:
            found = subprocess.run(['flashback', name, '--help'], env=self.environment, capture_output=True, text=True, check=False)
            self.helps[name] = found.stdout if f'Usage: flashback {name} ' in found.stdout else None
        return self.helps[name]

    def check_options(self, page, words):
        """Of a command within a line: whether there is such a command, and whether it has these options."""
        name = words.split()[1]
        if not re.fullmatch(r'[a-z-]+', name) or name.startswith('-'):
            return
        text = self.help_of(name)
        if text is None:
            self.fail(page, f'names the command `{words}`, which the tool does not have')
            return
        for option in re.findall(r'(?<!\S)--[a-z][a-z-]*', words):
            if option != '--help' and not re.search(re.escape(option) + r'(?![a-z-])', text):
                self.fail(page, f'names `{words}`, but flashback {name} has no option {option}')

    def page(self, page):
        with open(os.path.join(self.root, page), encoding='utf-8') as file:
            text = file.read()
        commands, others = commands_of(text)
        print(f'{page}: {len(commands)} commands')
        for command in commands:
            self.run(page, without_comment(command))
        for first in others:
            if re.match(r'^(\$|sudo|apt|\./|python|bench_|ctest|ninja|make|sh |bash |clang)', first):
                self.fail(page, f'has a block that begins with "{first}", of which this test does not know that it is a command')
        inline = re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)
        for words in re.findall(r'`(flashback [^`]+)`', inline):
            self.check_options(page, words)
        for script in set(re.findall(r'`((?:[.\w]+/)+\w+\.(?:sh|py))(?![\w.])', text)):
            if not os.access(os.path.join(self.root, script), os.X_OK):
                self.fail(page, f'names `{script}`, which is no file that can be executed')
        return len(commands)


def copy_of(source, target):
    """What is committed, and what was changed in files that are."""
    changed = subprocess.run(['git', '-C', source, 'stash', 'create'], capture_output=True, text=True, check=False).stdout.strip()
    archive = subprocess.Popen(['git', '-C', source, 'archive', changed or 'HEAD'], stdout=subprocess.PIPE)
    os.makedirs(target)
    subprocess.run(['tar', '-x', '-C', target], stdin=archive.stdout, check=True)
    if archive.wait() != 0:
        sys.exit(f'{source} is no repository of git, of which a clean copy could be made')


def check_all(source, tool):
    if subprocess.run(['git', '-C', source, 'rev-parse'], capture_output=True, check=False).returncode != 0:
        print('skipped: there is no repository of git to make a clean copy of')
        sys.exit(77)
    with tempfile.TemporaryDirectory() as work:
        root = os.path.join(work, 'flashback')
        copy_of(source, root)
        shared = os.path.join(source, '..', 'shared')
        if os.path.isdir(shared):
            os.symlink(os.path.realpath(shared), os.path.join(work, 'shared'))
        checker = Checker(root, tool)
        all_commands = sum(checker.page(page) for page in PAGES)
    if checker.failures:
        sys.exit('\n'.join(checker.failures))
    if all_commands < 30:
        sys.exit(f'found {all_commands} commands, expected at least 30: the pages, or the form of their blocks, have changed')
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f'{len(checker.done)} of {all_commands} commands ran, in {sum(checker.done.values()):.0f} s ({used.ru_utime + used.ru_stime:.0f} s of '
          'processors); the others are listed, or said twice')


def notice(tool):
    """Each of these pages must be refused."""
    wrong = {
        '```\nflashback tokenize --text \'one\'\nflashback tokenize --texts \'one\'\n```\n': 'exit status 2 of: flashback tokenize --texts',
        '```\nflashback tokenise --text one\n```\n': 'exit status',
        '```\nflashback generate --corpus nowhere.txt --prompt x\n```\n': 'exit status 1 of',
        '```\nexamples/no_such_script.sh\n```\n': 'exit status 127',
        '```\npython3 thing.py\n```\n': 'does not know that it is a command',
        'Use `flashback fly`.\n': 'which the tool does not have',
        'Use `examples/no_such_script.sh -x`.\n': 'no file that can be executed',
        'Use `flashback generate --sprinkle 3`.\n': 'has no option --sprinkle',
        '| a file | `flashback score --model nowhere.gguf --text x` |\n': 'exit status 1 of',
    }
    for text, words in wrong.items():
        with tempfile.TemporaryDirectory() as root:
            with open(os.path.join(root, 'page.md'), 'w', encoding='utf-8') as file:
                file.write(text)
            checker = Checker(root, tool)
            checker.page('page.md')
            if len(checker.failures) != 1 or words not in checker.failures[0]:
                sys.exit(f'expected one failure with "{words}" for\n{text}found {checker.failures}')
    print(f'{len(wrong)} wrong pages were noticed')


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if shutil.which('bash') is None:
        print('skipped: the commands are written for bash, which is not there')
        sys.exit(77)
    if sys.argv[1] == '--notice':
        notice(sys.argv[2])
    else:
        check_all(sys.argv[1], sys.argv[2])


if __name__ == '__main__':
    main()
