// Goal: a dump names every structure in order, at its place, and goes on after damage.
// Method: the pool of test/pool/pool-image.ts, whole and damaged.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dumpPool, type DumpEntry, type DumpOptions } from '../../src/pool/dump.ts';
import { CAPACITY, PAGES, PoolImage, STAGING } from './pool-image.ts';

const PAGE = 4096;

async function dump(image: PoolImage, options: DumpOptions = {}): Promise<DumpEntry[]> {
  const before = image.host.operationCount;
  const entries = await image.use(async (devices) => {
    const all: DumpEntry[] = [];
    for await (const entry of dumpPool(devices, options)) all.push(entry);
    return all;
  });
  assert.equal(image.host.operationCount, before, 'a dump writes nothing');
  assert.equal(image.host.liveBufferCount, 0, 'every buffer is given back');
  return entries;
}

/** Structures in order, repeated ones as 'name × n'. */
function outline(entries: readonly DumpEntry[]): string[] {
  const runs: [string, number][] = [];
  for (const { structure } of entries) {
    const last = runs.at(-1);
    if (last?.[0] === structure) last[1] += 1;
    else runs.push([structure, 1]);
  }
  return runs.map(([name, count]) => (count === 1 ? name : `${name} × ${count}`));
}

test('structures come in the order of the format, each at its place', async () => {
  const entries = await dump(new PoolImage());
  const spare = ['log header', 'end of log'];
  assert.deepEqual(outline(entries), [
    'superblock × 8',
    'log header',
    'frame',
    'pool record',
    'mdc record',
    'end of log',
    ...spare,
    'log header',
    'frame',
    'end of log',
    'log header',
    'frame',
    'id checkpoint record',
    'frame',
    'object record × 7',
    'frame',
    'object record',
    'frame',
    'deletion record',
    'end of log',
    'log header',
    'frame',
    'end of log',
    ...spare,
    'log header',
    'frame × 3',
    'end of log',
  ]);
  assert.ok(entries.slice(0, 4).every(({ device }) => device === CAPACITY));
  assert.ok(entries.slice(4, 8).every(({ device }) => device === STAGING));
  assert.equal(entries[8]?.offsetBytes, PAGES.mdc0A * PAGE);
  assert.equal(entries[9]?.offsetBytes, (PAGES.mdc0A + 1) * PAGE);
});

test('fields are words and numbers that JSON holds', async () => {
  const entries = await dump(new PoolImage());
  assert.deepEqual(JSON.parse(JSON.stringify(entries)), entries);
  const [first] = entries;
  assert.equal(first?.fields['name'], 'pool-1');
  assert.equal(first.fields['poolUuid'], '10111213-1415-1617-1819-1a1b1c1d1e1f');
  const object = entries.find(({ fields }) => fields['objectId'] === '0x4101');
  assert.deepEqual(object?.fields, {
    objectId: '0x4101',
    uniquifier: 4,
    type: 'mblock',
    mediaClass: 'capacity',
    role: 'plain',
    pageAddress: PAGES.large,
    pageCount: 256,
    lengthBytes: 8292,
    digest: object?.fields['digest'] ?? '',
  });
});

test('structures can be selected, and users’ logs left out', async () => {
  const image = new PoolImage();
  const objects = await dump(image, { structures: ['object record', 'deletion record'] });
  assert.deepEqual(outline(objects), ['object record × 8', 'deletion record']);
  const own = await dump(image, { userLogs: false });
  assert.equal(own.filter(({ structure }) => structure === 'log header').length, 4);
});

test('a damaged pool is dumped as far as it can be read', async () => {
  const image = new PoolImage({ entries: [Uint8Array.of(9, 9, 9)] });
  const disk = image.host.disk(CAPACITY);
  disk.flipBit(0);
  disk.failSectors(PAGES.mdc0B * PAGE, 512);
  disk.flipBit(PAGES.rootA * PAGE + 9);
  disk.failSectors((PAGES.plain + 1) * PAGE + 512, 512);
  const entries = await dump(image);
  assert.equal(entries[0]?.fields['status'], 'magic');
  const problems = entries.filter(({ fields }) => 'problem' in fields);
  assert.deepEqual(
    problems.map(({ structure }) => structure),
    ['superblock', 'log header', 'log header'],
  );
  assert.ok(entries.some(({ structure }) => structure === 'unknown record'));
  assert.match(String(entries.at(-1)?.fields['why']), /failed/);
});

test('what holds no pool gives its superblock places and ends', async () => {
  const image = new PoolImage();
  image.host.disk(CAPACITY).poke(0, { fill: 0, lengthBytes: 16 * 2 ** 20 });
  const entries = await dump(image);
  assert.deepEqual(outline(entries), ['superblock × 8']);
});
