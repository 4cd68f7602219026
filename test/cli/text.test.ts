// Goal: tables, YAML, progress bars, suggestions and lines are exactly as documented.
// Method: small inputs beside the text they must give; lines also split at every possible place.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTable } from '../../src/cli/columns.ts';
import { chunksOf, gather, splitLines } from '../../src/cli/lines.ts';
import { renderProgress } from '../../src/cli/progress.ts';
import { editDistance, suggest } from '../../src/cli/suggest.ts';
import { streamInput } from '../../src/cli/system.ts';
import { toYaml } from '../../src/cli/yaml.ts';

test('columns are aligned two spaces apart, without spaces at the end', () => {
  const columns = [
    { heading: 'MPOOL', align: 'left' },
    { heading: 'TOTAL', align: 'right' },
    { heading: 'DEVICES', align: 'left' },
  ] as const;
  const rows = [
    ['mp1', '1.00t', '/dev/sdb'],
    ['a-long-name', '0.00', 'grün'],
  ];
  assert.equal(
    formatTable(columns, rows, { headings: true }),
    'MPOOL        TOTAL  DEVICES\n' +
      'mp1          1.00t  /dev/sdb\n' +
      'a-long-name   0.00  grün\n',
  );
  const bare = formatTable(columns, rows.slice(0, 1), { headings: false });
  assert.equal(bare, 'mp1  1.00t  /dev/sdb\n');
  assert.equal(formatTable(columns, [], { headings: false }), '');
});

test('YAML has the shape of the original', () => {
  const tree = {
    mpools: [
      {
        name: 'mp1',
        active: false,
        UUID: '00000000-0000-4000-8000-000000000001',
        absent: undefined,
        devices: [{ path: '/dev/sdb', media_class: 'CAPACITY' }, { path: '/a b: c' }],
        space: { total: 12, note: null },
      },
    ],
    empty: [],
    list: ['yes', 'x', '', '12', 'a: b', '0660', '- x', 'ünter'],
  };
  assert.equal(
    toYaml(tree),
    'mpools:\n' +
      '- name: mp1\n' +
      '  active: false\n' +
      '  UUID: 00000000-0000-4000-8000-000000000001\n' +
      '  devices:\n' +
      '  - path: /dev/sdb\n' +
      '    media_class: CAPACITY\n' +
      '  - path: "/a b: c"\n' +
      '  space:\n' +
      '    total: 12\n' +
      '    note: null\n' +
      'empty: []\n' +
      'list:\n- "yes"\n- x\n- ""\n- "12"\n- "a: b"\n- "0660"\n- "- x"\n- "ünter"\n',
  );
});

test('a progress bar shows part, rate and time left, and never fills the last column', () => {
  const state = { done: 12 * 2 ** 20, total: 24 * 2 ** 20, elapsedMs: 10_000, columns: 80 };
  const bar = renderProgress({ ...state, unit: 'bytes' });
  assert.equal(bar, `[${'#'.repeat(20)}${' '.repeat(20)}]  50% 12m of 24m  1.20m/s  0:10`);
  for (let columns = 0; columns < 120; columns++) {
    const text = renderProgress({ ...state, columns, unit: 'bytes' });
    assert.ok(text.length < Math.max(1, columns), `${columns}: ${text}`);
  }
  const early = renderProgress({ done: 0, total: 9, elapsedMs: 0, columns: 80, unit: 'steps' });
  assert.match(early, /^\[ {40}\] {3}0% 0 of 9 {2}0:00$/);
  const unknown = renderProgress({ ...state, total: 0, unit: 'bytes' });
  assert.equal(unknown, '12m  1.20m/s');
});

test('the nearest word is suggested, but not a far one', () => {
  assert.equal(editDistance('kitten', 'sitting'), 3);
  assert.equal(editDistance('sacn', 'scan'), 1);
  assert.equal(suggest('lst', ['list', 'set']), 'list');
  assert.equal(suggest('destory', ['destroy', 'doctor']), 'destroy');
  assert.equal(suggest('frobnicate', ['list', 'set']), undefined);
});

test('lines are the same wherever the chunks are cut', async () => {
  const bytes = Buffer.from('one\n\ntwo\r\nthree');
  for (let cut = 0; cut <= bytes.length; cut++) {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, cut);
      yield bytes.subarray(cut);
    }
    const lines: string[] = [];
    for await (const line of splitLines(chunks())) lines.push(Buffer.from(line).toString());
    assert.deepEqual(lines, ['one', '', 'two\r', 'three'], `cut at ${cut}`);
    assert.deepEqual(Buffer.from(await gather(chunks())), bytes);
  }
});

test('no input gives no line, and a last newline no empty one', async () => {
  for (const [text, count] of [
    ['', 0],
    ['\n', 1],
    ['a\n', 1],
  ] as const) {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(text);
    }
    let seen = 0;
    for await (const _ of splitLines(chunks())) seen++;
    assert.equal(seen, count, JSON.stringify(text));
  }
});

test('a stream fills buffers whole, up to its end', async () => {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 10; i++) yield Buffer.alloc(7, i);
  }
  const input = streamInput('-', chunks());
  const buffer = new Uint8Array(32);
  assert.equal(await input.read(buffer), 32);
  assert.equal(buffer[31], 4);
  assert.equal(await input.read(buffer), 32);
  assert.equal(await input.read(buffer), 6);
  assert.equal(await input.read(buffer), 0);
  const whole = streamInput('-', chunks());
  const bytes = await gather(chunksOf(whole));
  assert.equal(bytes.length, 70);
});
