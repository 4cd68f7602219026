// Goal: the shells complete what the tool knows, and nothing else.
// Method: the scripts are loaded into real shells, which are asked what they would complete a line to: bash
// with the words broken as it breaks them, fish by `complete -C`, zsh with its completion builtins replaced
// by ones that print. Shells that are not installed are skipped.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMMON_OPTIONS, optionOf } from '../../src/cli/command.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { loadStore } from '../../src/cli/store.ts';
import { runTool } from './fake.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
let folder = '';

before(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'mpool-complete-')));
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'work/dir one'), { recursive: true });
  await writeFile(
    join(folder, 'bin/mpool'),
    `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`,
  );
  await chmod(join(folder, 'bin/mpool'), 0o755);
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { status, out } = await runTool(['completion', shell]);
    assert.equal(status, 0);
    await writeFile(join(folder, shell), out);
  }
  process.chdir(join(folder, 'work'));
  await writeFile('data.bin', 'x');
  const store = await loadStore();
  for (const name of ['apple', 'apricot']) {
    const argv = ['create', name, `${name}.pool`, 'size=8m'];
    assert.equal((await runTool(argv, store, { places: ['.'] })).status, 0);
  }
});
after(async () => {
  process.chdir(tmpdir());
  await rm(folder, { recursive: true, force: true });
});

function runShell(shell: string, argv: readonly string[], input = ''): string {
  const path = `${join(folder, 'bin')}${delimiter}${process.env['PATH']}`;
  const env: NodeJS.ProcessEnv = { ...process.env, PATH: path, HOME: folder, LC_ALL: 'C.UTF-8' };
  delete env['MPOOL_PATH'];
  const options = { cwd: join(folder, 'work'), env, input, encoding: 'utf8' } as const;
  const { status, stdout, stderr, error } = spawnSync(shell, argv, options);
  assert.deepEqual([error, stderr, status], [undefined, '', 0], shell);
  return stdout;
}

function without(shell: string): string | false {
  return spawnSync(shell, ['-c', ':']).status === 0 ? false : `${shell} is not installed`;
}

/** What the shell offers for each line, sorted; the cursor is at its end. */
type Asker = (lines: readonly string[]) => string[][];

function answers(output: string, count: number): string[][] {
  const blocks = output.split('----\n').slice(0, -1);
  assert.equal(blocks.length, count);
  return blocks.map((block) =>
    block
      .split('\n')
      .filter((line) => line !== '')
      .toSorted(),
  );
}

/** As readline does before it calls the function: words end at blanks, and '=' is one of its own. */
const BASH = `
source "$1"
[[ $2 == whole ]] && COMP_WORDBREAKS=\${COMP_WORDBREAKS//=}
while IFS= read -r COMP_LINE; do
  COMP_POINT=\${#COMP_LINE} COMP_WORDS=()
  text=$COMP_LINE
  if [[ $2 != whole ]]; then text=\${COMP_LINE//=/ = }; fi
  read -ra COMP_WORDS <<< "$text"
  if [[ $COMP_LINE == *' ' ]]; then COMP_WORDS+=(''); fi
  COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _mpool mpool "\${COMP_WORDS[COMP_CWORD]}" ''
  printf '%s\\n' "\${COMPREPLY[@]}" ----
done`;

const askBash =
  (mode: 'broken' | 'whole'): Asker =>
  (lines) =>
    answers(
      runShell('bash', ['-c', BASH, 'bash', join(folder, 'bash'), mode], `${lines.join('\n')}\n`),
      lines.length,
    );

const askFish: Asker = (lines) => {
  const script = `source ${join(folder, 'fish')}
while read -l line
  complete -C "$line" | string replace -r '\\t.*' ''
  echo ----
end`;
  return answers(runShell('fish', ['-c', script], `${lines.join('\n')}\n`), lines.length);
};

/** What the builtins of zsh's completion would be told, one candidate a line. */
const ZSH = `
compset() {
  local rest=\${PREFIX##\${~2}}
  [[ $rest == $PREFIX ]] && return 1
  BEFORE+=\${PREFIX[1,$(( $#PREFIX - $#rest ))]} PREFIX=$rest
}
offer() { local each; for each; [[ $each == $PREFIX* ]] && print -r -- $BEFORE$each$SUFFIX }
_describe() {
  local SUFFIX
  [[ $1 == -o ]] && shift
  [[ $1 == -t ]] && shift 2
  [[ $3 == -S && $4 == = ]] && SUFFIX=$4
  offer \${(P)2//(#m)?*/\${MATCH%%:*}}
}
compadd() { if [[ $1 == -a ]]; then offer \${(P)2}; else shift; offer "$@"; fi }
_wanted() { shift 3; "$@" }
_call_program() { shift; eval "$@" }
_files() { offer *(N) }
_users() { offer root }
_groups() { offer root }
setopt extended_glob
source $1
while IFS= read -r line; do
  words=(\${(s: :)line}); [[ $line == *' ' ]] && words+=('')
  CURRENT=$#words PREFIX=$words[-1] BEFORE=
  _mpool
  print -- ----
done`;

const askZsh: Asker = (lines) => {
  const argv = ['-f', '-c', ZSH, 'zsh', join(folder, 'zsh')];
  return answers(runShell('zsh', argv, `${lines.join('\n')}\n`), lines.length);
};

const VERBS = COMMANDS.filter(({ hidden }) => !hidden);
const FIRST = [...new Set(VERBS.map(({ name }) => name.split(' ')[0]!))].toSorted();
const CREATE = Object.keys(COMMANDS.find(({ name }) => name === 'create')!.parameters);
const LIST = COMMANDS.find(({ name }) => name === 'list')!.columns.map(({ key }) => key);
const FILES = ['apple.pool', 'apricot.pool', 'data.bin'];

/** What every shell must offer; 'dir one' is written by each in its own way, so lines avoid it. */
const CASES: [line: string, offered: readonly string[]][] = [
  ['mpool ', FIRST],
  ['mpool cr', ['create']],
  ['mpool -v l', ['list']],
  ['mpool nothing x', []],
  ['mpool mblock ', ['delete', 'list', 'props', 'put', 'read']],
  ['mpool mb p', ['props', 'put']],
  ['mpool mlog ap', ['append']],
  ['mpool completion ', ['bash', 'fish', 'zsh']],
  ['mpool comple', ['completion']],
  // Pools by name, files beside them, again and again where there may be several.
  ['mpool set ap', ['apple', 'apple.pool', 'apricot', 'apricot.pool']],
  ['mpool list apple apr', ['apricot', 'apricot.pool']],
  ['mpool rename apple a', []],
  ['mpool mblock put apple da', ['data.bin']],
  ['mpool mb put apple data.bin da', ['data.bin']],
  ['mpool create x ap', ['apple.pool', 'apricot.pool']],
  ['mpool destroy -f -- ap', ['apple', 'apple.pool', 'apricot', 'apricot.pool']],
  // Parameters, also after one that was given.
  ['mpool create x data.bin ', CREATE.map((name) => `${name}=`)],
  ['mpool create x data.bin size=4g cap', ['capsz=']],
  ['mpool create x data.bin vma=3', ['vma=30', 'vma=31', 'vma=32']],
  ['mpool create x data.bin class=', []],
  ['mpool mlog list apple class=c', ['class=capacity']],
  ['mpool add apple stgdev=da', ['stgdev=data.bin']],
  ['mpool create x data.bin uid=roo', ['uid=root']],
  ['mpool create -- x data.bin cap', []],
  // Options, and columns.
  ['mpool -', ['--help', '--verbose', '--version', '-V', '-h', '-v']],
  ['mpool mdc compact --', ['--dry-run', '--help', '--json', '--raw', '--verbose', '--version']],
  ['mpool list --no', ['--noheadings', '--noresolve', '--nosuffix']],
  ['mpool list -- -', []],
  ['mpool list -o ', [...LIST, 'all', 'help']],
  ['mpool list -O ', LIST],
  ['mpool list -Ho na', ['name']],
  ['mpool list -o name,us', ['name,used']],
  ['mpool list -o +ca', ['+capacity', '+capdev']],
  ['mpool list --sort name,-us', ['name,-used']],
  ['mpool list -o name ap', ['apple', 'apple.pool', 'apricot', 'apricot.pool']],
  ['mpool list --sort=-na', ['--sort=-name']],
  ['mpool list --output=name,he', ['--output=name,health', '--output=name,help']],
  ['mpool create x data.bin -o cap', ['capsz=']],
];

function check(ask: Asker, expected: (line: string, offered: readonly string[]) => string[]): void {
  const lines = CASES.map(([line]) => line);
  for (const [i, found] of ask(lines).entries()) {
    const [line, offered] = CASES[i]!;
    assert.deepEqual(found, expected(line, offered).toSorted(), line);
  }
}

/** Every option and parameter of every verb. */
function checkVerbs(ask: Asker): void {
  const lines = VERBS.map(({ name }) => `mpool ${name} -`);
  for (const [i, found] of ask(lines).entries()) {
    const options = [...VERBS[i]!.options, ...COMMON_OPTIONS].flatMap((name) => {
      const { short } = optionOf(name);
      return short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`];
    });
    assert.deepEqual(found, options.toSorted(), lines[i]);
  }
  const places = VERBS.map(({ name, positionals }) => {
    return `mpool ${name} ${positionals.map(() => 'x ').join('')}`;
  });
  for (const [i, found] of ask(places).entries()) {
    const offered = found.filter((word) => word.endsWith('='));
    const parameters = Object.keys(VERBS[i]!.parameters).map((name) => `${name}=`);
    assert.deepEqual(offered, parameters.toSorted(), places[i]);
  }
}

test(
  'bash completes, whether or not it breaks words at the equal sign',
  { skip: without('bash') },
  () => {
    runShell('bash', ['-n', join(folder, 'bash')]);
    // bash itself puts the candidate in place of what follows the last '='.
    check(askBash('broken'), (line, offered) => {
      const word = line.slice(line.lastIndexOf(' ') + 1);
      const kept = word.slice(0, word.lastIndexOf('=') + 1);
      return offered.map((each) => each.slice(kept.length));
    });
    check(askBash('whole'), (_line, offered) => [...offered]);
    checkVerbs(askBash('broken'));
  },
);

test('fish completes', { skip: without('fish') }, () => {
  runShell('fish', ['-n', join(folder, 'fish')]);
  check(askFish, (_line, offered) => [...offered]);
  checkVerbs(askFish);
});

test('zsh completes', { skip: without('zsh') }, () => {
  runShell('zsh', ['-n', join(folder, 'zsh')]);
  check(askZsh, (_line, offered) => [...offered]);
  checkVerbs(askZsh);
});

test(
  'a directory or a file with a blank is completed whole by bash',
  { skip: without('bash') },
  () => {
    assert.deepEqual(askBash('broken')(['mpool scan d', 'mpool create x d']), [
      ['data.bin', 'dir one'],
      ['data.bin', 'dir one'],
    ]);
    assert.ok(FILES.every((name) => askBash('broken')(['mpool scan '])[0]!.includes(name)));
  },
);

test('the list of pools is names only, and quiet whatever is wrong', async () => {
  const store = await loadStore();
  const found = await runTool(['complete-pools'], store, { places: ['.'] });
  assert.deepEqual(found, { status: 0, out: 'apple\napricot\n', err: '' });
  const broken = { scan: () => Promise.reject(new Error('unreadable')) };
  assert.deepEqual(await runTool(['complete-pools'], broken), { status: 0, out: '', err: '' });
  // It is for scripts: neither in the help, nor in the way of a shortened verb.
  assert.doesNotMatch((await runTool(['-hv'])).out, /complete-pools/);
  assert.match((await runTool(['compl', 'zsh'])).out, /^#compdef mpool\n/);
});

test('an unknown shell is refused with the one that may be meant', async () => {
  const told =
    "mpool: completion: no shell 'fishh', did you mean 'fish'? bash, zsh and fish are known (EINVAL)\n";
  assert.deepEqual(await runTool(['completion', 'fishh']), { status: 2, out: '', err: told });
  assert.equal((await runTool(['completion'])).status, 2);
  const { out } = await runTool(['completion', '--json', 'fish']);
  assert.equal(JSON.parse(out).shell, 'fish');
});
