// Goal: there is a manual page for every verb, it tells all that the verb takes, and man(1) can show it.
// Method: the pages are made in a folder of their own, read as troff, and formatted by groff where it is.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { optionsOf } from '../../src/cli/manual.ts';

const ROOT = process.cwd();
const SCRIPT = join(ROOT, 'scripts/man.mjs');
const COMPILED = fileURLToPath(new URL('../../src/cli', import.meta.url));
const VERBS = COMMANDS.filter(({ hidden }) => !hidden);
/** Requests and macros of man(7) that the pages use. */
const MACROS = new Set('\\" TH nh ad SH SS PP TP HP PD nf fi BR'.split(' '));
let folder = '';
const pages = new Map<string, string>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mpool-man-'));
  execFileSync(process.execPath, [SCRIPT, folder, COMPILED]);
  for (const name of await readdir(folder)) {
    pages.set(name, await readFile(join(folder, name), 'utf8'));
  }
});
after(() => rm(folder, { recursive: true, force: true }));

test('the pages are those that package.json installs: of the tool, its nouns and its verbs', async () => {
  const { man } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    man: string[];
  };
  const names = man.map((path) => path.replace(/^man\//, ''));
  assert.deepEqual([...pages.keys()].toSorted(), names.toSorted());
  const verbs = VERBS.map(({ name }) => `mpool-${name.replace(' ', '-')}.1`);
  const others = [
    'mpoold.8',
    'mpool.1',
    'mpool-mblock.1',
    'mpool-mlog.1',
    'mpool-mdc.1',
    'mpool-mcache.1',
  ];
  assert.deepEqual(names.toSorted(), [...verbs, ...others].toSorted());
  const list = execFileSync(process.execPath, [SCRIPT, '--list', folder, COMPILED]);
  assert.deepEqual(String(list).trim().split('\n').toSorted(), man.toSorted());
});

test('a page has all options, parameters, arguments and columns of its verb', () => {
  for (const command of VERBS) {
    const page = pages.get(`mpool-${command.name.replace(' ', '-')}.1`)!;
    const text = page.replaceAll(/\\f[BIR]/g, '').replaceAll('\\-', '-');
    const terms = new Set(text.split('\n').map((line) => line.split(/[ =]/)[0]));
    for (const option of optionsOf(command)) {
      assert.match(text, new RegExp(`^(-\\w, )?--${option}\\b`, 'm'), command.name);
    }
    const rest = [
      ...command.positionals.map(({ name }) => name),
      ...Object.keys(command.parameters),
      ...command.columns.map(({ key }) => key),
    ];
    for (const term of rest) assert.ok(terms.has(term), `${command.name}: ${term}`);
    for (const example of command.examples) {
      const plain = text.replaceAll('\\(aq', "'").replaceAll('\\(dq', '"').replaceAll('\\(ti', '~');
      assert.ok(plain.includes(`\n${example}\n`), example);
    }
  }
});

test('the pages are troff that means what it says', () => {
  for (const [name, page] of pages) {
    const [, title = ''] = page.split('\n');
    assert.match(title, /^\.TH MPOOL[A-Z\\-]* [18] "" "mpool \d+\.\d+\.\d+" "mpool manual"$/, name);
    assert.match(page, /\n\.SH NAME\nmpool[a-z\\-]* \\- [A-Za-z]/, name);
    assert.match(page, /\n\.SH SEE ALSO\n/, name);
    for (const line of page.split('\n')) {
      assert.match(line, /^[\x20-\x7e]*$/, `${name}: ${line}`);
      if (line.startsWith('.'))
        assert.ok(MACROS.has(line.slice(1).split(' ')[0]!), `${name}: ${line}`);
      assert.ok(!line.startsWith("'"), `${name}: ${line}`);
      // A bare hyphen would be shown as another sign, which no shell takes.
      if (!line.startsWith('.\\"')) assert.doesNotMatch(line, /(?<!\\)-/, `${name}: ${line}`);
      assert.equal(line.match(/\\f[BI]/g)?.length, line.match(/\\fR/g)?.length, `${name}: ${line}`);
    }
    // Every page that one refers to is there.
    for (const [, other] of page.matchAll(/^\.BR (\S+ \([18]\))/gm)) {
      const file = other!.replaceAll('\\-', '-').replace(/ \((\d)\)/, '.$1');
      assert.ok(pages.has(file), `${name}: ${other}`);
    }
  }
});

const noGroff = spawnSync('groff', ['--version']).status === 0 ? false : 'groff is not installed';

test('groff formats the pages without a warning', { skip: noGroff }, () => {
  const paths = [...pages.keys()].map((name) => join(folder, name));
  const argv = ['-man', '-Tutf8', '-ww', '-rLL=90n', ...paths];
  const { status, stdout, stderr } = spawnSync('groff', argv, { encoding: 'utf8' });
  assert.deepEqual([status, stderr], [0, '']);
  const flat = stdout.replaceAll(/\s+/g, ' ').replaceAll('’', "'");
  for (const { summary } of VERBS) assert.ok(flat.includes(summary), summary);
});
