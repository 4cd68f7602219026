// Goal: the house stays in order: rooms keep their walls, the core stays pure, files stay small.
// Method: every source file and document is read as text; the messages say where the rule is.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { test } from 'node:test';
import { errorTable } from '../src/base/errors.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const HERE = 'test/tidy.test.ts';
const SKIPPED = new Set(['node_modules', 'dist', 'build', '.git', 'out', 'prebuilds']);

/** What each room may import of the others. 'types' are free: they leave nothing at run time. */
const ROOMS: Record<string, { may: readonly string[]; types?: readonly string[] }> = {
  base: { may: [] },
  format: { may: ['base'] },
  native: { may: ['base'] },
  device: { may: ['base', 'native'] },
  pool: { may: ['base', 'format', 'device'] },
  mcache: { may: ['base', 'format', 'device', 'pool'] },
  daemon: { may: ['base', 'format', 'native', 'device', 'pool', 'mcache'] },
  testing: { may: ['base', 'format', 'device', 'pool', 'mcache'] },
  cli: {
    may: ['base', 'format', 'pool/parameters.ts'],
    types: ['pool', 'device', 'index.ts', 'client.ts'],
  },
  'index.ts': { may: ['base', 'format', 'device', 'pool', 'mcache'] },
  'client.ts': { may: ['base', 'format', 'device', 'pool', 'mcache', 'daemon'] },
};

/** Files of the tool that load what users import. */
const DOORS = new Map([
  ['src/cli/store.ts', 'index.ts'],
  ['src/cli/system-daemons.ts', 'client.ts'],
]);

/** Node's modules that reach outside the process, and who may use them. */
const OUTSIDE =
  /^(node:)?(fs|fs\/promises|net|http|https|http2|dgram|dns|tls|child_process|cluster|worker_threads)$/;
const MAY_REACH_OUTSIDE = new Set(['device', 'native', 'daemon', 'cli']);
/** Time and chance, which the store is handed: Clock and Prng. */
const TIME = /\b(Date\.now|new Date\(\)|performance\.now|setTimeout|setInterval|hrtime)\b/;
const CHANCE = /\b(Math\.random|randomBytes|randomUUID|randomInt|getRandomValues)\b/;
const SUPPLIERS = new Set(['src/base/clock.ts', 'src/base/prng.ts']);

interface Import {
  from: string;
  typeOnly: boolean;
}

function filesUnder(folder: string, endings: readonly string[]): string[] {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  const found: string[] = [];
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (SKIPPED.has(entry.name)) continue;
    const name = normalize(join(folder, entry.name));
    if (entry.isDirectory()) found.push(...filesUnder(name, endings));
    else if (entry.isFile() && endings.some((ending) => name.endsWith(ending))) found.push(name);
  }
  return found.toSorted();
}

function textOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

function importsOf(text: string): Import[] {
  const found: Import[] = [];
  const statement = /^(?:import|export)\s+(type\s)?[^;'"]*?from\s+'([^']+)'/gm;
  for (const [, type, from] of text.matchAll(statement)) {
    found.push({ from: from!, typeOnly: type !== undefined });
  }
  for (const [, from] of text.matchAll(/^import\s+'([^']+)'/gm)) {
    found.push({ from: from!, typeOnly: false });
  }
  for (const [, from] of text.matchAll(/\bimport\(\s*'([^']+)'/g)) {
    found.push({ from: from!, typeOnly: false });
  }
  return found;
}

function roomOf(file: string): string {
  return file.split(sep)[1]!;
}

const sources = filesUnder('src', ['.ts']);
const code = ['src', 'test', 'bench', 'examples', 'scripts', 'native']
  .flatMap((folder) => filesUnder(folder, ['.ts', '.mjs', '.js', '.cc', '.h', '.c', '.py']))
  .concat(filesUnder('.ci', ['']));
const documents = filesUnder('.', ['.md']);

test('there is something to look at', () => {
  assert.ok(sources.length > 80 && code.length > 130 && documents.length > 8);
  const found = importsOf(
    "import {\n  a,\n} from './a.ts';\nexport type * from '../b.ts';\nawait import('c');",
  );
  assert.deepEqual(found, [
    { from: './a.ts', typeOnly: false },
    { from: '../b.ts', typeOnly: true },
    { from: 'c', typeOnly: false },
  ]);
});

test('every room keeps to its walls', () => {
  for (const file of sources) {
    const room = roomOf(file);
    const walls = ROOMS[room];
    assert.ok(walls !== undefined, `${file}: room '${room}' has no row: see ROOMS in ${HERE}`);
    for (const { from, typeOnly } of importsOf(textOf(file))) {
      if (!from.startsWith('.')) continue;
      const target = relative('src', normalize(join(dirname(file), from)));
      const other = target.split(sep)[0]!;
      if (other === room) continue;
      const may = [...walls.may, ...(typeOnly ? (walls.types ?? []) : [])];
      const door = DOORS.get(file) === target;
      const fits = door || may.includes(other) || may.includes(target);
      assert.ok(fits, `${file}: ${room} must not import ${target}: see ROOMS in ${HERE}`);
    }
  }
});

test('no import goes round in a circle between files', () => {
  const next = new Map(
    sources.map((file) => [
      file,
      importsOf(textOf(file))
        .filter(({ from, typeOnly }) => from.startsWith('.') && !typeOnly)
        .map(({ from }) => normalize(join(dirname(file), from))),
    ]),
  );
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), `a circle of imports: ${[...path, file].join(' → ')}`);
    if (done.has(file)) return;
    for (const other of next.get(file) ?? []) visit(other, [...path, file]);
    done.add(file);
  };
  for (const file of sources) visit(file, []);
});

test('only device, native, daemon and cli reach outside; the core has neither time nor chance of its own', () => {
  for (const file of sources) {
    const room = roomOf(file);
    const text = textOf(file);
    for (const { from } of importsOf(text)) {
      const reaches = OUTSIDE.test(from);
      assert.ok(
        !reaches || MAY_REACH_OUTSIDE.has(room),
        `${file}: ${room} must not import ${from}`,
      );
      if (!from.startsWith('.')) assert.match(from, /^node:/, `${file}: imports ${from}`);
    }
    if (!['base', 'format', 'pool', 'mcache'].includes(room) || SUPPLIERS.has(file)) continue;
    const [found] = TIME.exec(text) ?? CHANCE.exec(text) ?? [];
    assert.equal(found, undefined, `${file}: take a Clock or a Prng instead of ${found}`);
  }
});

test('files are at most 600 lines long, lines at most 110 columns', () => {
  for (const file of code) {
    if (file.endsWith('.py')) continue;
    const lines = textOf(file).split('\n');
    assert.ok(lines.length <= 601, `${file}: ${lines.length - 1} lines`);
    // Mutants quote lines of the source, and the title of a test cannot be broken.
    if (file.startsWith('test/mutants/')) continue;
    const most = file.startsWith('test') ? 130 : 110;
    lines.forEach((line, i) => {
      const columns = Array.from(line).length;
      assert.ok(columns <= most, `${file}:${i + 1}: ${columns} columns, at most ${most}`);
    });
  }
});

test('nothing is left for later, and no test is left out without a reason', () => {
  const later = new RegExp(['TO', 'DO|FIX', 'ME|X', 'XX'].join(''));
  for (const file of [...code, ...documents]) {
    textOf(file)
      .split('\n')
      .forEach((line, i) => assert.ok(!later.test(line), `${file}:${i + 1}: ${line.trim()}`));
  }
  for (const file of filesUnder('test', ['.test.ts'])) {
    const text = textOf(file);
    const only = /\b(test|it|describe)\.(only|skip|todo)\b|\b(only|todo): true|\bskip: true/.exec(
      text,
    );
    assert.equal(only?.[0], undefined, `${file}: a test says why it is skipped`);
    assert.ok(!/\bt\.skip\(\s*\)/.test(text), `${file}: a skip says why`);
    assert.match(text, /^\/\/ \S/, `${file}: begins with its goal and method`);
  }
});

test('every document has one title, and it comes first', () => {
  for (const file of documents) {
    const text = textOf(file).replace(/^```[\s\S]*?^```/gm, '');
    const titles = text.match(/^# .+/gm) ?? [];
    assert.equal(titles.length, 1, `${file}: ${titles.length} titles`);
    assert.ok(text.startsWith('# '), `${file}: begins with its title`);
  }
});

test('links between documents lead somewhere', () => {
  for (const file of documents) {
    for (const [, target] of textOf(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)) {
      assert.ok(existsSync(join(ROOT, dirname(file), target!)), `${file}: ${target} is not there`);
    }
  }
});

test('decisions are numbered without gaps or doubles', () => {
  const numbers = filesUnder('docs/decisions', ['.md']).map((file) =>
    Number(file.split(sep).at(-1)!.slice(0, 4)),
  );
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => i + 1),
  );
});

test('every error code that the source names is in the table and the documentation', () => {
  const documented = textOf('docs/errors.md');
  const known = new Set<string>(errorTable().map(([each]) => each));
  for (const file of sources) {
    for (const [name] of textOf(file).matchAll(/\bERR_MPOOL_[A-Z_]*[A-Z]\b/g)) {
      assert.ok(known.has(name), `${file}: ${name} is not in the table`);
      assert.ok(documented.includes(`\`${name}\``), `${name} is not in docs/errors.md`);
    }
  }
});
