// Goal: a map gives exactly the bytes of its objects, keeps their space, and ends cleanly; every misuse gets its
// own error. Method: simulated disks, whose page cache reports space that is written while views of it exist.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mblock, MblockId, MblockMap, MediaClass, Pool } from '../../src/pool/api.ts';
import {
  A,
  allOf,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
  turns,
} from '../pool/pool-host.ts';

const PAGE = 4096;
/** Boundaries of written lengths: nothing, one byte, around a page, around several, all there is. */
const LENGTHS = [0, 1, 4095, 4096, 4097, 3 * PAGE - 1, 100_000, 255 * PAGE];

async function committed(
  pool: Pool,
  data: Uint8Array,
  mediaClass: MediaClass = 'capacity',
): Promise<Mblock> {
  const mblock = await pool.mblocks.alloc({ mediaClass });
  await mblock.write(data);
  await mblock.commit();
  return mblock;
}

async function some(pool: Pool, count: number, lengthBytes = 20_000): Promise<MblockId[]> {
  const ids: MblockId[] = [];
  for (let i = 0; i < count; i++) ids.push((await committed(pool, pattern(lengthBytes, i + 1))).id);
  return ids;
}

/** Everything that a map can say about the bytes of an object. */
async function same(map: MblockMap, index: number, data: Buffer): Promise<void> {
  assert.equal(map.lengthBytes(index), data.length);
  assert.deepEqual(Buffer.from(await map.read(index, 0, data.length)), data);
  const offsets = Array.from({ length: Math.ceil(data.length / PAGE) }, (_, i) => i * PAGE);
  const pages = await map.getPages(index, offsets);
  assert.deepEqual(Buffer.concat(pages), data);
  const view = map.view(index);
  assert.equal(view.length, data.length);
  assert.deepEqual(Buffer.from(view), data);
  assert.ok(map.ready(index, 0, data.length));
  for (const [offset, length] of [
    [0, 1],
    [4090, 12],
    [data.length - 1, 1],
    [data.length, 0],
  ] as const) {
    if (offset < 0 || offset + length > data.length) continue;
    const want = data.subarray(offset, offset + length);
    assert.deepEqual(Buffer.from(await map.read(index, offset, length)), want);
  }
}

test('a map of mixed classes and lengths gives their bytes, each up to what was written', async () => {
  const setup = await freshPool({ stagingBytes: 64 * MIB });
  const { pool } = setup;
  const contents = LENGTHS.map((length, i) => pattern(length, i + 1));
  const mblocks = await Promise.all(
    contents.map((data, i) => committed(pool, data, i % 2 === 0 ? 'capacity' : 'staging')),
  );
  await using map = await pool.map(mblocks.map(({ id }) => id));
  assert.deepEqual(
    map.ids,
    mblocks.map(({ id }) => id),
  );
  assert.equal(map.objectCount, LENGTHS.length);
  assert.equal(map.bucketBytes, undefined);
  for (const [i, data] of contents.entries()) await same(map, i, data);
  const residency = await map.residency();
  const pages = LENGTHS.map((length) => Math.ceil(length / PAGE));
  assert.deepEqual(
    residency.objects,
    pages.map((count) => ({ virtualPages: count, residentPages: count })),
  );
  assert.equal(
    residency.residentPages,
    pages.reduce((sum, count) => sum + count, 0),
  );
  await map.unmap();
  await closeClean(setup);
});

test('a linear map has every object at its bucket and zeros between', async () => {
  const setup = await freshPool({ stagingBytes: 64 * MIB });
  const { pool } = setup;
  const contents = [30_000, 1, 4096, 0, 40_001].map((length, i) => pattern(length, i + 1));
  const mblocks = await Promise.all(
    contents.map((data, i) => committed(pool, data, i === 1 ? 'staging' : 'capacity')),
  );
  const ids = mblocks.map(({ id }) => id);
  const map = await pool.map(ids, { linear: true });
  assert.equal(map.bucketBytes, 16 * PAGE, 'the least power of two that holds the largest');
  const region = map.region();
  assert.equal(region.length, 16 * PAGE * ids.length);
  const want = Buffer.alloc(region.length);
  contents.forEach((data, i) => data.copy(want, i * 16 * PAGE));
  assert.ok(want.equals(region));
  for (const [i, data] of contents.entries()) await same(map, i, data);
  await map.unmap();
  assert.equal(region.length, 0);
  await refuses(async () => map.region(), 'ERR_MPOOL_CLOSED');

  await pool.setParameters({ mappedRegionLog2: 27 });
  const large = await Promise.all([1, 2].map((i) => committed(pool, pattern(65 * PAGE, i))));
  const many = Array.from({ length: 2 ** 27 / (128 * PAGE) + 1 }, (_, i) => large[i % 2]!.id);
  await refuses(
    () => pool.map(many, { linear: true }),
    'ERR_MPOOL_MAP_TOO_LARGE',
    /mappedRegionLog2/,
  );
  await using fits = await pool.map(many.slice(1), { linear: true });
  assert.equal(fits.region().length, 2 ** 27);
  await fits.unmap();
  await closeClean(setup);
});

test('a mapped object that is deleted stays readable, and its space its own, until it is unmapped', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const data = pattern(200_000);
  const mblock = await committed(pool, data);
  const first = await pool.map([mblock.id]);
  const second = await pool.map([mblock.id, mblock.id]);
  const { usedBytes } = await pool.usage();
  await refuses(() => mblock.delete({ refuseMapped: true }), 'ERR_MPOOL_BUSY', /is mapped/);
  await refuses(() => pool.mblocks.delete([mblock.id], { refuseMapped: true }), 'ERR_MPOOL_BUSY');
  await same(first, 0, data);
  await mblock.delete();
  await refuses(() => pool.map([mblock.id]), 'ERR_MPOOL_NOT_FOUND');
  // Whatever else is written now, it is not here: the simulated cache would say so.
  const others: Mblock[] = [];
  for (;;) {
    try {
      others.push(await committed(pool, pattern(MIB - PAGE, others.length + 9)));
    } catch (error) {
      assert.equal((error as { code: string }).code, 'ERR_MPOOL_NO_SPACE');
      break;
    }
  }
  await first.purge();
  await same(first, 0, data);
  await same(second, 1, data);
  await first.unmap();
  await refuses(() => pool.mblocks.alloc(), 'ERR_MPOOL_NO_SPACE');
  await second.unmap();
  const again = await committed(pool, pattern(7));
  assert.ok((await pool.usage()).usedBytes >= usedBytes);
  await using map = await pool.map([again.id]);
  await same(map, 0, pattern(7));
  await map.unmap();
  assert.deepEqual((await allOf(pool.mblocks.list())).length, others.length + 1);
  const reopened = await reopen(setup);
  await refuses(() => reopened.pool.mblocks.find(mblock.id), 'ERR_MPOOL_NOT_FOUND');
  await closeClean(reopened);
});

test('unmap and close end every view; reads under way finish first', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const ids = await some(pool, 3);
  const map = await pool.map(ids);
  const other = await pool.map(ids);
  const view = map.view(0);
  const part = view.subarray(5, 10);
  const [page] = await map.getPages(1, [PAGE]);
  const kept = other.view(0);
  const reading = map.read(2, 0, 20_000);
  const paging = refuses(() => map.getPages(2, [0]), 'ERR_MPOOL_CLOSED');
  assert.equal(map.mapped, true);
  const unmapping = map.unmap();
  assert.equal(map.mapped, false);
  assert.deepEqual([view.length, part.length, page!.length], [0, 0, 0]);
  assert.deepEqual(Buffer.from(await reading), pattern(20_000, 3), 'a copy under way is whole');
  await paging;
  await unmapping;
  await map.unmap();
  assert.equal(kept.length, 20_000, 'another map keeps its views');
  for (const call of [
    async () => map.view(0),
    () => map.getPages(0, [0]),
    () => map.read(0, 0, 1),
    () => map.advise(0, 0, 1, 'willneed'),
    () => map.adviseAll('dontneed'),
    () => map.purge(),
    () => map.residency(),
    async () => map.setTemperature('hot'),
    async () => map.share(),
  ]) {
    await refuses(call, 'ERR_MPOOL_CLOSED');
  }
  assert.equal(map.ready(0, 0, 1), false);
  await closeClean(setup);
  assert.equal(other.mapped, false);
  assert.equal(kept.length, 0);
});

test('closing one handle ends the maps it made, not those of another', async () => {
  const setup = await freshPool();
  const second = await openHere(setup.host);
  const ids = await some(setup.pool, 1);
  const mine = (await setup.pool.map(ids)).view(0);
  const its = (await second.map(ids)).view(0);
  await second.close();
  assert.deepEqual([mine.length, its.length], [20_000, 0]);
  await closeClean(setup);
  assert.equal(mine.length, 0);
});

test('what cannot be mapped is refused, and nothing of it is mapped then', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const ids = await some(pool, 2);
  const open = await pool.mblocks.alloc();
  const log = await pool.mlogs.alloc({ capacityBytes: 65_536 });
  await log.commit();
  const wrong: [unknown, unknown, Parameters<typeof refuses>[1]][] = [
    [[...ids, open.id], {}, 'ERR_MPOOL_UNCOMMITTED'],
    [[...ids, ids[0]! + 0x10000n], {}, 'ERR_MPOOL_NOT_FOUND'],
    [[log.id], {}, 'ERR_MPOOL_INVALID_ARG'],
    [[1], {}, 'ERR_MPOOL_INVALID_ARG'],
    ['x', {}, 'ERR_MPOOL_INVALID_ARG'],
    [undefined, {}, 'ERR_MPOOL_INVALID_ARG'],
    [ids, { temperature: 'tepid' }, 'ERR_MPOOL_INVALID_ARG'],
    [ids, 7, 'ERR_MPOOL_INVALID_ARG'],
    [ids, null, 'ERR_MPOOL_INVALID_ARG'],
  ];
  for (const [what, options, code] of wrong) {
    await refuses(() => pool.map(what as MblockId[], options as object), code);
  }
  const { freeUsableBytes } = await pool.usage();
  const hole = [ids[0]!];
  hole.length = 2;
  await refuses(() => pool.map(hole), 'ERR_MPOOL_INVALID_ARG');
  await pool.mblocks.delete(ids, { refuseMapped: true });
  assert.equal((await pool.usage()).freeUsableBytes, freeUsableBytes + 2 * MIB, 'nothing is held');
  await open.abort();
  await closeClean(setup);
});

test('a map that is still being made when its handle closes is not made', async () => {
  const setup = await freshPool();
  const other = await openHere(setup.host);
  const ids = await some(setup.pool, 1);
  const making = refuses(() => other.map(ids), 'ERR_MPOOL_CLOSED');
  await other.close();
  await making;
  await setup.pool.mblocks.delete(ids, { refuseMapped: true });
  await closeClean(setup);
});

test('what a listener of the reaper throws is its own', async () => {
  const setup = await freshPool();
  const { reaper } = setup.host.environment.mcache;
  reaper.configure({ budgetBytes: MIB, ttlMs: 1 });
  let told = 0;
  reaper.on('evict', () => {
    told += 1;
    throw Object.create(null);
  });
  const ids = await some(setup.pool, 8, 250 * PAGE);
  await using map = await setup.pool.map(ids);
  for (let turn = 0; turn < 2; turn++) {
    for (const i of ids.keys()) await map.read(i, 0, 250 * PAGE);
    await untilQuiet(setup.host);
  }
  assert.ok(told >= 2, `${told}`);
  await map.unmap();
  await closeClean(setup);
});

test('a map of nothing is a map', async () => {
  const setup = await freshPool();
  for (const linear of [false, true]) {
    await using map = await setup.pool.map([], { linear });
    assert.equal(map.objectCount, 0);
    assert.deepEqual(await map.residency(), { virtualPages: 0, residentPages: 0, objects: [] });
    await map.purge();
    if (linear) assert.equal(map.region().length, 0);
  }
  await closeClean(setup);
});

test('many who miss the same page at once read it once', async () => {
  let reads = 0;
  const setup = await freshPool({
    host: {
      onOperation: ({ op, phase }) => void (reads += Number(op === 'read' && phase === 'submit')),
    },
  });
  const [id] = await some(setup.pool, 1, 10 * PAGE);
  await using map = await setup.pool.map([id!]);
  await map.read(0, 0, 1);
  await map.purge();
  reads = 0;
  const all = await Promise.all(
    Array.from({ length: 200 }, (_, i) => map.getPages(0, [(i % 2) * PAGE, 3 * PAGE])),
  );
  const want = pattern(10 * PAGE, 1);
  for (const [i, [first, second]] of all.entries()) {
    assert.ok(want.subarray((i % 2) * PAGE, ((i % 2) + 1) * PAGE).equals(first!));
    assert.ok(want.subarray(3 * PAGE, 4 * PAGE).equals(second!));
  }
  assert.equal(reads, 3);
  await map.purge();
  setup.host.addFault({ op: 'read', times: 1, effect: { kind: 'error', errno: 'EIO' } });
  const results = await Promise.allSettled([1, 2, 3].map(() => map.getPages(0, [0])));
  assert.ok(
    results.every(({ status }) => status === 'rejected'),
    'who waits hears of it',
  );
  await map.getPages(0, [0]);
  await map.unmap();
  await closeClean(setup);
});

test('wrong arguments of a map are refused before anything is read', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const [id] = await some(pool, 1, 10_000);
  await using map = await pool.map([id!]);
  const wrong: (() => unknown)[] = [
    () => map.view(1),
    () => map.view(-1),
    () => map.view(0.5),
    () => map.view('length' as unknown as number),
    () => map.ready('at' as unknown as number, 0, 0),
    () => map.lengthBytes(9),
    () => map.ready(0, 9_999, 2),
    () => map.ready(0, -1, 1),
    () => map.ready(1, 0, 1),
    () => map.getPages(0, [10_000]),
    () => map.getPages(0, [-1]),
    () => map.getPages(0, [1.5]),
    () => map.getPages(0, ['1' as unknown as number]),
    () => map.getPages(0, undefined as unknown as number[]),
    () => map.getPages(1, [0]),
    () => map.read(0, 9_999, 2),
    () => map.read(0, -1, 1),
    () => map.read(0, 0, undefined as unknown as number),
    () => map.read(2, 0, 1),
    () => map.advise(0, 0, 1, 'wish' as 'normal'),
    () => map.advise(0, 9_999, 2, 'willneed'),
    () => map.adviseAll('wish' as 'normal'),
    () => map.setTemperature('tepid' as 'cold'),
    () => map.region(),
  ];
  for (const call of wrong) await refuses(async () => call(), 'ERR_MPOOL_INVALID_ARG');
  assert.equal((await map.residency()).residentPages, 0);
  await map.unmap();
  await closeClean(setup);
});

test('ready() says what was verified and not evicted since', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const [id] = await some(pool, 1, 5 * PAGE + 100);
  const map = await pool.map([id!]);
  assert.equal(map.ready(0, 0, 1), false);
  assert.equal(map.ready(0, 0, 0), true, 'nothing is always there');
  await map.getPages(0, [2 * PAGE + 17, PAGE]);
  const readyPages = (): boolean[] =>
    [0, 1, 2, 3, 4].map((page) => map.ready(0, page * PAGE, PAGE));
  assert.deepEqual(readyPages(), [false, true, true, false, false]);
  assert.equal(map.ready(0, PAGE, 2 * PAGE), true);
  assert.equal(map.ready(0, PAGE, 2 * PAGE + 1), false);
  assert.equal(map.ready(0, PAGE - 1, 1), false);
  assert.equal((await map.residency()).residentPages, 2);
  await map.read(0, 5 * PAGE, 100);
  assert.equal(map.ready(0, 5 * PAGE + 99, 1), true);
  await map.advise(0, 2 * PAGE, 1, 'dontneed');
  assert.equal(map.ready(0, 2 * PAGE, 1), false);
  await map.adviseAll('willneed');
  await turns(20);
  assert.equal((await map.residency()).residentPages, 6);
  assert.equal(map.ready(0, 0, 1), false, 'what was only read ahead is not verified');
  await map.getPages(0, [0]);
  await map.purge();
  assert.equal(map.ready(0, 0, 1), false);
  assert.equal((await map.residency()).residentPages, 0);
  const other = await pool.map([id!], { temperature: 'pinned' });
  await other.getPages(0, [0]);
  assert.equal(map.ready(0, 0, 1), true, 'maps of an object share what is known');
  await Promise.all([map.unmap(), other.unmap()]);
  await closeClean(setup);
});

test('advised to be sequential, an object is read ahead of its reader, not past its end', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  await pool.setParameters({ readAheadPages: 8 });
  const [id] = await some(pool, 1, 40 * PAGE);
  await using map = await pool.map([id!]);
  await map.getPages(0, [0]);
  assert.equal((await map.residency()).residentPages, 1, 'unasked, nothing is read ahead');
  await map.advise(0, 0, 40 * PAGE, 'sequential');
  await map.getPages(0, [PAGE]);
  await turns(20);
  const { residentPages } = await map.residency();
  assert.ok(residentPages >= 10 && residentPages <= 18, `${residentPages}`);
  for (let page = 2; page < 40; page++) await map.getPages(0, [page * PAGE]);
  await turns(20);
  assert.equal((await map.residency()).residentPages, 40);
  await map.unmap();
  await closeClean(setup);
});

test('a damaged page is an error of getPages() and read(), and of that page alone', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const data = pattern(10 * PAGE);
  const mblock = await committed(pool, data);
  await using map = await pool.map([mblock.id]);
  const disk = await host.peek(A, 0, 64 * MIB);
  const at = Buffer.from(disk).indexOf(data.subarray(4 * PAGE, 5 * PAGE));
  assert.ok(at > 0 && at % PAGE === 0);
  host.disk(A).flipBit(at + 77, 3);
  await refuses(() => map.getPages(0, [0, 4 * PAGE]), 'ERR_MPOOL_CHECKSUM', /page 4 of mblock/);
  await refuses(() => map.read(0, 0, 10 * PAGE), 'ERR_MPOOL_CHECKSUM', new RegExp(`byte ${at} of`));
  assert.equal(map.ready(0, 4 * PAGE, 1), false);
  assert.deepEqual(
    Buffer.from(await map.read(0, 5 * PAGE, 100)),
    data.subarray(5 * PAGE, 5 * PAGE + 100),
  );
  assert.ok(pool.stats().checksumErrors >= 2);
  await map.unmap();
  await closeClean(setup);
});

test('a page that cannot be read is an error, once; the map goes on', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const [id] = await some(pool, 1, 10 * PAGE);
  await using map = await pool.map([id!]);
  host.addFault({ op: 'read', times: 1, effect: { kind: 'error', errno: 'EIO' } });
  await refuses(() => map.getPages(0, [0, PAGE]), 'ERR_MPOOL_IO');
  await same(map, 0, pattern(10 * PAGE, 1));
  await map.unmap();
  await closeClean(setup);
});

test('the hottest of its maps decides how long an object stays', async () => {
  const setup = await freshPool();
  const { pool, host } = setup;
  const ids = await some(pool, 2, 50 * PAGE);
  const cold = await pool.map(ids);
  const pinned = await pool.map([ids[0]!], { temperature: 'pinned' });
  const touch = (index: number) =>
    cold.getPages(
      index,
      Array.from({ length: 50 }, (_, i) => i * PAGE),
    );
  await Promise.all([touch(0), touch(1)]);
  const { reaper } = host.environment.mcache;
  reaper.configure({ memoryPercent: 100, budgetBytes: MIB, ttlMs: 1 });
  const filler = await some(pool, 8, 250 * PAGE);
  const pressing = await pool.map(filler, { temperature: 'hot' });
  for (const i of filler.keys()) await pressing.read(i, 0, 250 * PAGE);
  await host.clock.advance(60_000);
  await untilQuiet(host);
  const resident = async (): Promise<number[]> =>
    (await cold.residency()).objects.map(({ residentPages }) => residentPages);
  assert.deepEqual(await resident(), [50, 0], 'the pinned one stayed');
  assert.equal(cold.ready(1, 0, 1), false);
  pinned.setTemperature('cold');
  for (const i of filler.keys()) await pressing.read(i, 0, 250 * PAGE);
  await host.clock.advance(60_000);
  await untilQuiet(host);
  assert.deepEqual(await resident(), [0, 0]);
  assert.ok(reaper.stats().evictedObjects >= 2);
  await Promise.all([cold, pinned, pressing].map((map) => map.unmap()));
  await closeClean(setup);
});

/** The reaper's rounds run on the simulated clock. */
async function untilQuiet(host: { clock: { advance(ms: number): Promise<void> } }): Promise<void> {
  for (let round = 0; round < 40; round++) {
    await host.clock.advance(400);
    await turns(20);
  }
}

test('thousands of maps of a hundred thousand objects', async () => {
  const setup = await freshPool({ stagingBytes: 64 * MIB });
  const { pool } = setup;
  const ids = await some(pool, 20, 100);
  const maps: MblockMap[] = [];
  for (let i = 0; i < 2_500; i++) {
    maps.push(await pool.map(Array.from({ length: 40 }, (_, at) => ids[(i + at) % 20]!)));
  }
  assert.deepEqual(Buffer.from(maps[2_499]!.view(1)), pattern(100, (2_500 % 20) + 1));
  await Promise.all(maps.map((map) => map.unmap()));
  await pool.mblocks.delete(ids, { refuseMapped: true });
  await closeClean(setup);
});

test('a map that cannot be made holds nothing: its objects can be deleted and their space used', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const ids = await some(pool, 3);
  const { usedBytes } = await pool.usage('capacity');
  host.addFault({ op: 'map', effect: { kind: 'error' } });
  await refuses(() => pool.map(ids), 'ERR_MPOOL_IO');
  await pool.mblocks.delete(ids);
  assert.equal((await pool.usage('capacity')).usedBytes, usedBytes - 3 * MIB);
  await closeClean(setup);
});
