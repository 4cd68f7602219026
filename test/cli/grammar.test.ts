// Goal: words become calls as the original's grammar has it, and mistakes are told, never guessed.
// Method: a few small verbs of the test's own, each sentence of the grammar tried on them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { command, type Command } from '../../src/cli/command.ts';
import { findCommand, parseCall, parseGlobal } from '../../src/cli/grammar.ts';
import { integerKind, modeKind, logSizeKind, textKind } from '../../src/cli/values.ts';

const examples: string[] = [];
async function run(): Promise<void> {}

const set = command({
  name: 'set',
  summary: 's',
  positionals: [{ name: 'POOL', meaning: 'p' }],
  parameters: {
    size: { kind: logSizeKind, meaning: 's' },
    mode: { kind: modeKind, meaning: 'm' },
    ra: { kind: integerKind(0, 32), meaning: 'r' },
    label: { kind: textKind, meaning: 'l' },
  },
  options: ['force', 'noheadings', 'noresolve'],
  examples,
  run,
});
const scan = command({
  name: 'scan',
  summary: 's',
  positionals: [{ name: 'PATH', meaning: 'p', count: 'any' }],
  examples,
  run,
});
const add = command({
  name: 'add',
  summary: 'a',
  positionals: [{ name: 'POOL', meaning: 'p' }],
  parameters: { stgdev: { kind: textKind, meaning: 's', required: true } },
  examples,
  run,
});
const put = command({
  name: 'mblock put',
  summary: 'p',
  positionals: [
    { name: 'POOL', meaning: 'p' },
    { name: 'FILE', meaning: 'f', count: 'some' },
  ],
  examples,
  run,
});
const remove = command({ name: 'mblock remove', summary: 'r', examples, run });
const mlog = command({ name: 'mlog put', summary: 'p', examples, run });
const all = [set, scan, add, put, remove, mlog];

function find(...words: string[]): string {
  const found = findCommand(words, all);
  return 'noun' in found ? `noun ${found.noun}` : found.command.name;
}

function refuses(wanted: string, body: () => unknown, errnoName = 'EINVAL'): void {
  assert.throws(body, (error: Error & { errnoName?: string }) => {
    assert.equal(error.message, wanted);
    assert.equal(error.errnoName, errnoName);
    return true;
  });
}

test('verbs are found by name and by any unique beginning', () => {
  assert.equal(find('set', 'x'), 'set');
  assert.equal(find('se'), 'set');
  assert.equal(find('a'), 'add');
  assert.equal(find('mblock', 'put'), 'mblock put');
  assert.equal(find('mb', 'r'), 'mblock remove');
  assert.equal(find('mblock'), 'noun mblock');
  assert.equal(find('mb', '-h'), 'noun mblock');
});

test('unknown and ambiguous verbs are refused, with the nearest one', () => {
  refuses("ambiguous command 's' (set or scan), use -h for help", () => find('s'));
  refuses("ambiguous command 'm' (mblock or mlog), use -h for help", () => find('m', 'put'));
  refuses("invalid command 'sacn', did you mean 'scan'? use -h for help", () => find('sacn'));
  refuses("invalid command 'foo', use -h for help", () => find('foo'));
  refuses("invalid command '', use -h for help", () => find(''));
  refuses("invalid mblock command 'putt', did you mean 'put'? use -h for help", () =>
    find('mb', 'putt'),
  );
});

function parse(verb: Command, ...argv: string[]): ReturnType<typeof parseCall> {
  return parseCall(verb, argv);
}

test('options, words and parameters mix in any order', () => {
  const call = parse(set, 'ra=8', '-fv', 'mp1', 'mode=0640', '--noh', '-v', 'size=1.5k');
  assert.deepEqual(call.words, ['mp1']);
  assert.deepEqual(call.values, { ra: 8, mode: 0o640, size: 1536 });
  assert.deepEqual([...call.options].toSorted(), ['force', 'noheadings', 'verbose']);
  assert.equal(call.verbosity, 2);
});

test('values may hold equal signs, newlines or nothing', () => {
  assert.equal((parse(set, 'p', 'label=a=b').values as { label: string }).label, 'a=b');
  assert.equal((parse(set, 'p', 'label=a\nb').values as { label: string }).label, 'a\nb');
  assert.equal((parse(set, 'p', 'label=').values as { label: string }).label, '');
});

test('a word with a slash before its equal sign is a word, and so is all after --', () => {
  assert.deepEqual(parse(scan, './a=b', '/c=d').words, ['./a=b', '/c=d']);
  assert.deepEqual(parse(put, 'p', '--', '-v', 'a=b').words, ['p', '-v', 'a=b']);
  assert.deepEqual(parse(put, 'p', '-').words, ['p', '-']);
});

test('mistakes are told with the words of the original', () => {
  refuses("'ra' may not be specified more than once", () => parse(set, 'p', 'ra=1', 'ra=1'));
  refuses(
    "unable to convert 'mode=999': Invalid argument, allowed is octal permission bits, 0 to 0777",
    () => parse(set, 'p', 'mode=999'),
  );
  const range =
    "unable to convert 'ra=33': Numerical result out of range, allowed is a whole number from 0 to 32";
  refuses(range, () => parse(set, 'p', 'ra=33'), 'ERANGE');
  refuses("'stgdev' must be specified at least once, use -h for help", () => parse(add, 'p'));
  refuses('insufficient arguments for mandatory parameters: POOL FILE, use -h for help', () =>
    parse(put),
  );
  refuses("extraneous argument 'q' detected, use -h for help", () => parse(set, 'p', 'q'));
  refuses("extraneous argument 'mod=1' detected, did you mean 'mode'? use -h for help", () =>
    parse(set, 'p', 'mod=1'),
  );
  refuses("extraneous argument 'constructor=1' detected, use -h for help", () =>
    parse(set, 'p', 'constructor=1'),
  );
});

test('options that are unknown, ambiguous or given a value are refused', () => {
  refuses('invalid option -Z, use -h for help', () => parse(set, 'p', '-Z'));
  refuses('invalid option -Z, use -h for help', () => parse(set, 'p', '-fZ'));
  refuses('invalid option --zap, use -h for help', () => parse(set, 'p', '--zap'));
  const both = 'ambiguous option --no (--noheadings or --noresolve), use -h for help';
  refuses(both, () => parse(set, 'p', '--no'));
  refuses('option --force takes no value, use -h for help', () => parse(set, 'p', '--force=1'));
});

test('help is given whatever else is wrong or missing', () => {
  const call = parse(set, '-h', 'nonsense=1', 'mode=9');
  assert.ok(call.options.has('help'));
});

test('global options end where the verb begins', () => {
  const { options, rest } = parseGlobal(['-hv', 'set', '-f']);
  assert.deepEqual(options, ['help', 'verbose']);
  assert.deepEqual(rest, ['set', '-f']);
  refuses('invalid option -x, use -h for help', () => parseGlobal(['-x', 'set']));
  assert.deepEqual(parseGlobal([]), { options: [], rest: [] });
});
