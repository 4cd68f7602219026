// Goal: the example of sorted tables does what it says: its format holds any entries, its store answers like a map
// through puts, compactions and restarts, its program checks its answers and cleans up.
// Method: random tables against sorted arrays, a random life of a store against a Map, the program as a process.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  BLOCK_BYTES,
  blockCountOf,
  blockOffsetFor,
  entriesOf,
  type Entry,
  ENTRY_BYTES_MAX,
  findInBlock,
  type Table,
  TableBuilder,
  tableOf,
} from '../../examples/table-format.ts';
import { TableStore } from '../../examples/table-store.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { create, type MblockId, open, type Pool } from '../../src/index.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const MIB = 2 ** 20;
const ID = 0x101n as MblockId;
const DEMO = fileURLToPath(new URL('../../examples/table-demo.js', import.meta.url));

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** Builds tables of all entries, as many as they need. */
function tablesOf(entries: readonly Entry[], capacityBytes: number): Uint8Array[] {
  const builder = new TableBuilder(new Uint8Array(capacityBytes).fill(0xee));
  const tables: Uint8Array[] = [];
  for (const entry of entries) {
    if (builder.add(entry)) continue;
    tables.push(builder.finish().slice());
    assert.equal(builder.add(entry), true, 'an empty table takes any entry');
  }
  tables.push(builder.finish().slice());
  return tables;
}

function readTable(image: Uint8Array): Table {
  const table = tableOf(ID, image.subarray(blockCountOf(image) * BLOCK_BYTES));
  assert.equal(table.firstKeys.length, blockCountOf(image));
  return table;
}

function find(table: Table, image: Uint8Array, key: Uint8Array): Uint8Array | null | undefined {
  const at = blockOffsetFor(table, key);
  return at === undefined ? undefined : findInBlock(image.subarray(at, at + BLOCK_BYTES), key);
}

/** Every entry is found with its value, and read in order; keys beside it are not there. */
function checkTables(entries: readonly Entry[], capacityBytes: number): number {
  const images = tablesOf(entries, capacityBytes);
  const read: Entry[] = [];
  const keys = new Set(entries.map(({ key }) => Buffer.from(key).toString('hex')));
  for (const image of images) {
    assert.ok(image.length <= capacityBytes);
    const table = readTable(image);
    const from = read.length;
    for (let i = 0; i < table.firstKeys.length; i++) {
      read.push(...entriesOf(image.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)));
    }
    assert.equal(table.entryCount, read.length - from);
    for (const { key, value } of read.slice(from)) {
      assert.deepEqual(find(table, image, key), value);
      for (const beside of [Uint8Array.of(...key, 0), key.subarray(0, -1)]) {
        if (keys.has(Buffer.from(beside).toString('hex'))) continue;
        assert.equal(find(table, image, beside), undefined);
      }
    }
  }
  assert.deepEqual(read.map(plain), entries.map(plain));
  return images.length;
}

function plain({ key, value }: Entry): [string, string | null] {
  const hex = Buffer.from(key).toString('hex');
  return [hex, value === null ? null : Buffer.from(value).toString('hex')];
}

test('tables hold any entries', () => {
  const largest = bytes(...Array.from({ length: ENTRY_BYTES_MAX }, (_, i) => i % 251));
  const none = bytes();
  const cases: Record<string, Entry[]> = {
    'one entry': [{ key: bytes(7), value: bytes(1, 2, 3) }],
    'nothing but an empty key': [{ key: none, value: none }],
    'a deletion': [{ key: bytes(7), value: null }],
    'the longest key': [{ key: largest, value: none }],
    'the longest value': [{ key: none, value: largest }],
    'keys that begin alike': [
      { key: none, value: null },
      { key: bytes(1), value: none },
      { key: bytes(1, 0), value: bytes(0) },
      { key: bytes(1, 0, 0), value: null },
      { key: bytes(1, 0, 255), value: largest.subarray(0, 3000) },
      { key: bytes(255), value: largest.subarray(0, 3000) },
    ],
  };
  for (const [name, entries] of Object.entries(cases)) {
    assert.equal(checkTables(entries, MIB), 1, name);
  }
  const tooLarge = { key: bytes(1), value: largest };
  assert.throws(() => new TableBuilder(new Uint8Array(MIB)).add(tooLarge), RangeError);
  assert.throws(() => blockCountOf(new Uint8Array(BLOCK_BYTES)), /no table/);
});

test('an entry that does not fit a block by a byte begins the next one', () => {
  // Two entries take 2 × (4 + 2) bytes beside their content, and their count 2 more.
  const contentBytes = BLOCK_BYTES - 14;
  for (const [spareBytes, blocks] of [
    [1, 1],
    [0, 1],
    [-1, 2],
  ] as const) {
    const entries = [
      { key: bytes(1), value: new Uint8Array(1000) },
      { key: bytes(2), value: new Uint8Array(contentBytes - 1002 - spareBytes) },
    ];
    checkTables(entries, MIB);
    const [image] = tablesOf(entries, MIB);
    assert.equal(blockCountOf(image!), blocks, `${spareBytes} bytes to spare`);
  }
});

test(`random tables read back, SEED=${SEED}`, () => {
  const prng = new SeededPrng(SEED);
  const random = (length: number): Uint8Array =>
    Uint8Array.from({ length }, () => below(prng, 256));
  let tableCount = 0;
  for (let round = 0; round < 60; round++) {
    const keyBytesMax = [3, 20, 300, 2000][below(prng, 4)]!;
    const valueBytesMax = [0, 10, 400, 2000][below(prng, 4)]!;
    const byHex = new Map<string, Entry>();
    for (let i = 1 + below(prng, 400); i > 0; i--) {
      const key = random(below(prng, keyBytesMax + 1));
      const value = below(prng, 8) === 0 ? null : random(below(prng, valueBytesMax + 1));
      byHex.set(Buffer.from(key).toString('hex'), { key, value });
    }
    const entries = [...byHex.values()].toSorted((a, b) => Buffer.compare(a.key, b.key));
    // The smallest memory that takes any entry: a block, its key twice, the footer.
    const capacityBytes = 3 * BLOCK_BYTES + 16 + below(prng, 8 * BLOCK_BYTES);
    tableCount += checkTables(entries, capacityBytes);
  }
  assert.ok(tableCount > 120, `${tableCount} tables: some have to be full`);
});

function keyOf(number: number): Buffer {
  return Buffer.from(`${number % 3 === 0 ? 'a rather long beginning of a key, ' : ''}${number}`);
}

/** The store answers as the map does, for every key that there may be. */
async function checkStore(
  store: TableStore,
  expected: ReadonlyMap<number, Uint8Array>,
  keyCount: number,
): Promise<void> {
  await Promise.all(
    Array.from({ length: keyCount }, async (_, key) => {
      const answer = await store.get(keyOf(key));
      const value = expected.get(key);
      const same = answer && value ? Buffer.compare(answer, value) === 0 : answer === value;
      assert.ok(same, `key ${key} has ${answer?.length} bytes, should have ${value?.length}`);
    }),
  );
}

async function mblockIds(pool: Pool): Promise<Set<MblockId>> {
  const ids = new Set<MblockId>();
  for await (const { id } of pool.mblocks.list()) ids.add(id);
  return ids;
}

test(`a store answers like a map through a random life, SEED=${SEED}`, async (t) => {
  const folder = await emptyFolder();
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'pool');
  const capacity = { path, sizeBytes: 128 * MIB, mblockSizeBytes: MIB };
  const prng = new SeededPrng(SEED);
  await (await create({ name: `tables-${process.pid}`, capacity })).close();
  // Space that is being discarded counts as used.
  let pool = await open(path, { discard: false });
  let store = await TableStore.open(pool);
  t.after(() => pool.close({ force: true }));
  const keyCount = 700;
  const expected = new Map<number, Uint8Array>();
  await checkStore(store, expected, keyCount);
  let compactions = 0;
  for (let step = 0; step < 60; step++) {
    const batch = new Map<number, Entry>();
    for (let i = below(prng, 300); i > 0; i--) {
      const number = below(prng, keyCount);
      const value = new Uint8Array(below(prng, 2500)).fill(number + step);
      batch.set(number, { key: keyOf(number), value: below(prng, 5) === 0 ? null : value });
    }
    // Puts while runs are merged, lookups that begin in one generation and end in another.
    const compacting = below(prng, 4) === 0 ? store.compact() : undefined;
    await store.put([...batch.values()]);
    for (const [number, { value }] of batch) {
      if (value === null) expected.delete(number);
      else expected.set(number, value);
    }
    await Promise.all([compacting, checkStore(store, expected, keyCount)]);
    if (below(prng, 10) > 0) continue;
    compactions += store.stats.compactions;
    await store.close();
    // As a crash between a commit and its record would leave it.
    const orphan = await pool.mblocks.alloc();
    await orphan.write(bytes(1, 2, 3));
    await orphan.commit();
    await pool.close();
    pool = await open(path, { discard: false });
    store = await TableStore.open(pool);
    assert.ok(!(await mblockIds(pool)).has(orphan.id), 'what no record names is gone');
  }
  await checkStore(store, expected, keyCount);
  assert.ok(compactions + store.stats.compactions > 4);
  const named = store.runs.flat().map(({ id }) => id);
  assert.deepEqual(await mblockIds(pool), new Set(named), 'what was merged is gone');
  await store.close();
  const { usedBytes, mlogAllocatedBytes, metadataBytes } = await pool.usage();
  assert.equal(
    usedBytes,
    named.length * MIB + mlogAllocatedBytes + metadataBytes,
    'all space came back',
  );
});

interface Ended {
  status: number | null;
  out: string;
  err: string;
}

/** The program in a folder of its own. @param onOutput sees all of the output so far */
async function demo(
  cwd: string,
  argv: string[],
  onOutput: (child: ChildProcess, out: string) => void = () => {},
): Promise<Ended> {
  const env = { ...process.env, SEED: String(SEED) };
  const child = spawn(process.execPath, ['--enable-source-maps', DEMO, ...argv], { cwd, env });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += String(chunk);
    onOutput(child, out);
  });
  child.stderr.on('data', (chunk) => (err += String(chunk)));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, out, err };
}

function emptyFolder(): Promise<string> {
  mkdirSync('build', { recursive: true });
  return mkdtemp(resolve('build', 'tables-test-'));
}

test('the program checks its answers, ends by itself and leaves nothing', async (t) => {
  const cwd = await emptyFolder();
  t.after(() => rmSync(cwd, { recursive: true }));
  const { status, out, err } = await demo(cwd, ['6', '1']);
  assert.deepEqual([status, err], [0, ''], out);
  const answers = [...out.matchAll(/^(\w+) +([\d,]+) answers, all as they were put$/gm)];
  assert.deepEqual(
    answers.map(([, what]) => what),
    ['checked', 'reopened'],
    out,
  );
  for (const [line, , count] of answers) assert.ok(Number(count!.replaceAll(',', '')) > 100, line);
  assert.match(out, /[1-9]\d* puts, [1-9]\d* compactions, now/);
  assert.deepEqual(readdirSync(join(cwd, 'build')), []);
});

test('Ctrl-C ends the program early, its answers checked and nothing left', async (t) => {
  const cwd = await emptyFolder();
  t.after(() => rmSync(cwd, { recursive: true }));
  let signals = 0;
  const { status, out, err } = await demo(cwd, ['4', '3600'], (child, soFar) => {
    if (signals === 0 && / lookups\/s /.test(soFar)) signals += Number(child.kill('SIGINT'));
  });
  assert.deepEqual([status, err, signals], [0, '', 1], out);
  assert.match(out, /^SIGINT +\d/m);
  assert.match(out, /^checked +[1-9].*all as they were put$/m);
  assert.deepEqual(readdirSync(join(cwd, 'build')), []);
});

test('a program that cannot make sense of its arguments says so', async () => {
  const { status, out, err } = await demo('.', ['many']);
  assert.deepEqual([status, out], [2, '']);
  assert.match(err, /^usage: /);
});
