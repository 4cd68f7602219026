// Goal: -o and --sort choose and order the columns of every table, and tell what they do not know.
// Method: the choice itself on a small table; then whole calls on fake pools, and every verb's columns.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseColumns } from '../../src/cli/column-choice.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { column, reportColumns, sizeColumn } from '../../src/cli/report-columns.ts';
import { sortRows } from '../../src/cli/report.ts';
import type { Store } from '../../src/cli/store.ts';
import { MpoolError } from '../../src/base/errors.ts';
import { fakeFound, fakeInfo, fakePool, fakeUsage, runTool } from './fake.ts';

interface Fruit {
  name: string;
  grams?: number;
}
const FRUITS = reportColumns<Fruit>({
  always: [
    column('name', 'FRUIT', 'what it is', ({ name }) => name),
    sizeColumn('weight', 'WEIGHT', 'what it weighs', ({ grams }) => grams),
  ],
  verbose: [column('letter', 'LETTER', 'its first', ({ name }) => name[0]!)],
  asked: [column('length', '>LENGTH', 'of its name', ({ name }) => name.length)],
});

function choose(
  output: readonly string[],
  sort: readonly string[] = [],
  verbose = false,
): ReturnType<typeof chooseColumns> {
  return chooseColumns(FRUITS, { output, sort, verbose });
}

test('-o names columns, adds to the usual ones with +, and goes on where the last one ended', () => {
  const cases: [string[], boolean, string][] = [
    [[], false, 'name weight'],
    [[], true, 'name weight letter'],
    [['length,name'], true, 'length name'],
    [['+length'], false, 'name weight length'],
    [['+letter,length'], true, 'name weight letter length'],
    [['name', '+length'], false, 'name length'],
    [['name', 'length'], false, 'name length'],
    [['+length', 'letter'], false, 'name weight length letter'],
    [['length,all'], false, 'length name weight letter'],
    [['name,name'], false, 'name'],
  ];
  for (const [output, verbose, shown] of cases) {
    assert.equal(choose(output, [], verbose).shown.join(' '), shown, output.join(' | '));
  }
  assert.equal(choose(['name,help']).help, true);
  assert.equal(choose(['+help']).help, true);
});

test('a column that is not there is refused, with the one that may be meant', () => {
  const rest = 'use -o help for the columns';
  const cases: [string, string][] = [
    ['wieght', `no column 'wieght', did you mean 'weight'? ${rest}`],
    ['FRUIT', `no column 'FRUIT', did you mean 'name'? ${rest}`],
    ['zzz', `no column 'zzz', ${rest}`],
    ['name,', `no column '', ${rest}`],
    ['+', `no column '', ${rest}`],
    ['-name', `no column '-name', did you mean 'name'? ${rest}`],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => choose([text]), { name: 'UsageError', message }, text);
  }
  const message = `no column 'nmae', did you mean 'name'? ${rest}`;
  assert.throws(() => choose([], ['-nmae']), { name: 'UsageError', message });
  assert.throws(() => choose([], ['all']), /no column 'all'/);
});

test('rows are sorted by several columns, unknown values last both ways, equal ones as they came', () => {
  const rows: Fruit[] = [
    { name: 'fig', grams: 50 },
    { name: 'date' },
    { name: 'apple', grams: 9 },
    { name: 'ash' },
    { name: 'kiwi', grams: 50 },
  ];
  const sorted = (...sort: string[]): string =>
    sortRows({ columns: choose([], sort) }, FRUITS, rows)
      .map(({ name }) => name)
      .join(' ');
  assert.equal(sorted(), 'fig date apple ash kiwi');
  assert.equal(sorted('weight'), 'apple fig kiwi date ash');
  assert.equal(sorted('-weight'), 'fig kiwi apple date ash');
  assert.equal(sorted('-weight,-name'), 'kiwi fig apple date ash');
  assert.equal(sorted('letter', '+length'), 'ash apple date fig kiwi');
});

const [small, large, held] = ['b-small', 'a-large', 'held'].map(fakeFound) as [
  ReturnType<typeof fakeFound>,
  ReturnType<typeof fakeFound>,
  ReturnType<typeof fakeFound>,
];
const store: Partial<Store> = {
  scan: async () => [large, small, held],
  async open(target) {
    if (target.endsWith('held')) throw new MpoolError('ERR_MPOOL_BUSY', target);
    const isSmall = target.endsWith('small');
    const usage = fakeUsage(isSmall ? 2 ** 30 : 2 ** 40, 2 ** 29);
    return fakePool({ ...fakeInfo(isSmall ? small : large), usage });
  },
};

test('list shows the columns asked for, in their order, with -H, -p and -N', async () => {
  const { status, out } = await runTool(['list', '-o', 'used,name', '-O', '-avail'], store);
  assert.equal(status, 0);
  assert.equal(out, 'USED  MPOOL\n512m  a-large\n512m  b-small\n   -  held\n');
  const plain = await runTool(['l', '-HpNo', 'name,gid,total', '--sort=total'], store);
  assert.equal(
    plain.out,
    'b-small  4000000     1073741824\na-large  4000000  1099511627776\n' +
      'held           -              -\n',
  );
  const added = await runTool(['list', '--outp=+uuid,created', 'b-small'], store);
  const [headings = '', row = ''] = added.out.split('\n');
  assert.match(headings, /^MPOOL .* HEALTH {2}UUID +CREATED$/);
  assert.ok(row.endsWith(`optimal  ${small.uuid}  1970-01-01T00:00:00Z`), row);
});

test('get and scan choose their columns, too', async () => {
  const get = await runTool(['get', '-o', 'uuid,mode', '-O', '-name'], store);
  assert.equal(get.out, `UUID${' '.repeat(34)}MODE\n${small.uuid}  0640\n${large.uuid}  0640\n`);
  const scan = await runTool(['scan', '-Ho', 'capdev,stgdev', '--so', '-name'], store);
  assert.equal(scan.out, '/pools/held     -\n/pools/b-small  -\n/pools/a-large  -\n');
});

test('JSON and YAML stay whole, in the order of --sort', async () => {
  const plain = JSON.parse((await runTool(['list', '--json'], store)).out);
  const chosen = await runTool(['list', '--json', '-o', 'name', '-O', '-name'], store);
  assert.deepEqual(JSON.parse(chosen.out).pools, [plain.pools[2], plain.pools[1], plain.pools[0]]);
  const yaml = await runTool(['scan', '-Y', '-o', 'uuid', '-O', '-name'], store);
  assert.deepEqual(yaml.out.match(/name: .*/g), ['name: held', 'name: b-small', 'name: a-large']);
  const wrong = await runTool(['list', '--json', '-o', 'nmae'], store);
  assert.deepEqual([wrong.status, wrong.out], [2, '']);
});

test('a wrong column is a mistake in usage, told before any pool is looked at', async () => {
  const { status, out, err } = await runTool(['list', '--sort', 'usde', 'mp1']);
  assert.deepEqual([status, out], [2, '']);
  const told = "no column 'usde', did you mean 'used'? use -o help for the columns (EINVAL)";
  assert.equal(err, `mpool: list: ${told}\n`);
  const empty = await runTool(['list', '-o']);
  assert.match(empty.err, /^mpool: list: option --output needs a value: COLUMNS, /);
  assert.equal((await runTool(['list', '--sort='])).status, 2);
  assert.match((await runTool(['create', '-o', 'x'])).err, /invalid option -o/);
});

test('every table has columns that are told by -o help, and can be sorted by', async () => {
  const tables = COMMANDS.filter(({ columns }) => columns.length > 0);
  assert.deepEqual(
    tables.map(({ name }) => name),
    [
      'scan',
      'list',
      'get',
      'status',
      'clients',
      'mblock list',
      'mblock props',
      'mlog list',
      'mdc list',
      'mcache residency',
      'mcache reaper',
    ],
  );
  for (const { name, columns } of tables) {
    const keys = columns.map(({ key }) => key);
    assert.equal(new Set(keys).size, keys.length, `${name}: ${keys.join()}`);
    for (const { key, heading, meaning } of columns) {
      assert.match(key, /^[a-z]+$/);
      assert.match(heading, /^[A-Z]+$/);
      assert.ok(meaning !== '' && !['all', 'help'].includes(key), `${name} ${key}`);
    }
    // No pool is named: the list of columns is of the verb, not of a pool.
    const help = await runTool([...name.split(' '), '-o', 'help']);
    assert.deepEqual([help.status, help.err], [0, '']);
    assert.match(help.out, /^COLUMN +SHOWN +MEANING\n/);
    for (const key of keys) assert.match(help.out, new RegExp(`^${key} `, 'm'));
    const json = await runTool([...name.split(' '), '--json', '-o', 'help']);
    assert.deepEqual(
      JSON.parse(json.out).columns.map(({ key }: { key: string }) => key),
      keys,
    );
  }
});
