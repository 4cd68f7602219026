import assert from 'node:assert/strict';
import type { Mblock, MblockId, MblockMap } from '../../src/pool/api.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { codeOf, committed, type Contract, MIB, PAGE, some, titled } from './contract.ts';

/** Boundaries of written lengths: nothing, one byte, around a page, around several, all there is. */
const LENGTHS = [0, 1, 4095, 4096, 4097, 3 * PAGE - 1, 100_000, 255 * PAGE];

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

/** Maps give exactly the bytes of their objects, keep their space, and end cleanly. */
export function mapsContract(contract: Contract): void {
  const fresh: typeof contract.fresh = (...options) => contract.fresh(...options);
  const it = titled(contract);

  it('a map of mixed classes and lengths gives their bytes', async (t) => {
    const { pool } = await fresh(t, { stagingBytes: 64 * MIB });
    const ids: MblockId[] = [];
    const contents = LENGTHS.map((length, i) => pattern(length, i + 1));
    for (const [i, data] of contents.entries()) {
      const mblock = await pool.mblocks.alloc({ mediaClass: i % 2 === 0 ? 'capacity' : 'staging' });
      await mblock.write(data);
      await mblock.commit();
      ids.push(mblock.id);
    }
    await using map = await pool.map(ids);
    assert.deepEqual(map.ids, ids);
    assert.equal(map.objectCount, LENGTHS.length);
    assert.equal(map.bucketBytes, undefined);
    for (const [i, data] of contents.entries()) await same(map, i, data);
    const residency = await map.residency();
    const pages = LENGTHS.map((length) => Math.ceil(length / PAGE));
    assert.deepEqual(
      residency.objects.map(({ virtualPages }) => virtualPages),
      pages,
    );
    assert.ok(residency.residentPages <= residency.virtualPages);
    await map.unmap();
  });

  it('a linear map has every object at its bucket and zeros between', async (t) => {
    const { pool } = await fresh(t, { stagingBytes: 64 * MIB });
    const contents = [30_000, 1, 4096, 0, 40_001].map((length, i) => pattern(length, i + 1));
    const ids: MblockId[] = [];
    for (const data of contents) ids.push((await committed(pool, data)).id);
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
    const large = await some(pool, 2, 65 * PAGE);
    const many = Array.from({ length: 2 ** 27 / (128 * PAGE) + 1 }, (_, i) => large[i % 2]!);
    const call = (): Promise<MblockMap> => pool.map(many, { linear: true });
    await refuses(call, 'ERR_MPOOL_MAP_TOO_LARGE', /mappedRegionLog2/);
    await using fits = await pool.map(many.slice(1), { linear: true });
    assert.equal(fits.region().length, 2 ** 27);
    await fits.unmap();
    await pool.mblocks.delete(large, { refuseMapped: true });
  });

  it('a mapped object that is deleted stays readable until it is unmapped', async (t) => {
    const { pool } = await fresh(t);
    const data = pattern(200_000);
    const mblock = await committed(pool, data);
    const first = await pool.map([mblock.id]);
    const second = await pool.map([mblock.id, mblock.id]);
    await refuses(() => mblock.delete({ refuseMapped: true }), 'ERR_MPOOL_BUSY', /is mapped/);
    const { mblocks } = pool;
    await refuses(() => mblocks.delete([mblock.id], { refuseMapped: true }), 'ERR_MPOOL_BUSY');
    await same(first, 0, data);
    await mblock.delete();
    await refuses(() => pool.map([mblock.id]), 'ERR_MPOOL_NOT_FOUND');
    await refuses(() => mblock.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
    const others: Mblock[] = [];
    for (;;) {
      try {
        others.push(await committed(pool, pattern(MIB - PAGE, others.length + 9)));
      } catch (error) {
        assert.equal(codeOf(error), 'ERR_MPOOL_NO_SPACE');
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
    await using map = await pool.map([again.id]);
    await same(map, 0, pattern(7));
    await map.unmap();
  });

  it('unmap and close end every view; reads under way finish first', async (t) => {
    const { pool } = await fresh(t);
    const ids = await some(pool, 3, 20_000);
    const map = await pool.map(ids);
    const other = await pool.map(ids);
    const view = map.view(0);
    const part = view.subarray(5, 10);
    const [page] = await map.getPages(1, [PAGE]);
    const kept = other.view(0);
    const reading = map.read(2, 0, 20_000);
    assert.equal(map.mapped, true);
    const unmapping = map.unmap();
    assert.equal(map.mapped, false);
    assert.deepEqual([view.length, part.length, page!.length], [0, 0, 0]);
    assert.deepEqual(Buffer.from(await reading), pattern(20_000, 3), 'a copy under way is whole');
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
    await pool.close();
    assert.equal(other.mapped, false);
    assert.equal(kept.length, 0);
  });

  it('closing one handle ends the maps it made, not those of another', async (t) => {
    const setup = await fresh(t);
    const second = await setup.open();
    const ids = await some(setup.pool, 1, 20_000);
    const mine = (await setup.pool.map(ids)).view(0);
    const its = (await second.map(ids)).view(0);
    assert.ok(pattern(20_000, 1).equals(its));
    await refuses(
      () => setup.pool.mblocks.delete(ids, { refuseMapped: true }),
      'ERR_MPOOL_BUSY',
      /mapped/,
    );
    await second.close();
    assert.deepEqual([mine.length, its.length], [20_000, 0]);
    await setup.pool.close();
    assert.equal(mine.length, 0);
  });

  it('what cannot be mapped is refused, and nothing of it is mapped then', async (t) => {
    const { pool } = await fresh(t);
    const ids = await some(pool, 2, 20_000);
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
    await pool.mblocks.delete(ids, { refuseMapped: true });
    await open.abort();
  });

  it('a map of nothing is a map', async (t) => {
    const { pool } = await fresh(t);
    await using map = await pool.map([]);
    assert.equal(map.objectCount, 0);
    await map.unmap();
  });

  it('mapped and unmapped again and again, deletions that respect maps know at once', async (t) => {
    const { pool } = await fresh(t);
    const ids = await some(pool, 10, 10_000);
    for (let round = 0; round < 20; round++) {
      const maps = await Promise.all([pool.map(ids), pool.map(ids.slice(3)), pool.map([ids[0]!])]);
      for (const map of maps) assert.equal(map.view(0).length, 10_000);
      const refused = pool.mblocks.delete([ids[3]!], { refuseMapped: true });
      await assert.rejects(refused, { code: 'ERR_MPOOL_BUSY' });
      await Promise.all(maps.map((map) => map.unmap()));
    }
    await pool.mblocks.delete(ids, { refuseMapped: true });
    assert.equal((await pool.usage()).mblockCount, 0);
  });

  it('arguments of maps are checked', async (t) => {
    const { pool } = await fresh(t);
    const ids = await some(pool, 2, 10_000);
    await using map = await pool.map(ids);
    for (const call of [
      () => map.view(2),
      () => map.view(-1),
      () => map.lengthBytes(NaN),
      () => map.ready(0, 0, 10_001),
      () => map.getPages(0, [10_000]),
      () => map.getPages(0, ['1' as unknown as number]),
      () => map.read(0, 9_999, 2),
      () => map.read(0, -1, 1),
      () => map.advise(0, 0, 1, 'wish' as 'normal'),
      () => map.adviseAll('wish' as 'normal'),
      () => map.setTemperature('tepid' as 'cold'),
      () => map.region(),
    ]) {
      await refuses(async () => call(), 'ERR_MPOOL_INVALID_ARG');
    }
    assert.equal(map.temperature, 'cold');
    map.setTemperature('hot');
    assert.equal(map.temperature, 'hot');
    await map.unmap();
  });

  it('ready() says what was verified and not evicted since', async (t) => {
    const { pool } = await fresh(t);
    const [id] = await some(pool, 1, 5 * PAGE + 100);
    const map = await pool.map([id!]);
    assert.equal(map.ready(0, 0, 1), false);
    assert.equal(map.ready(0, 0, 0), true, 'nothing is always there');
    await map.getPages(0, [2 * PAGE + 17, PAGE]);
    const readyPages = (): boolean[] =>
      [0, 1, 2, 3, 4].map((page) => map.ready(0, page * PAGE, PAGE));
    assert.deepEqual(readyPages(), [false, true, true, false, false]);
    await map.purge();
    assert.deepEqual(readyPages(), [false, false, false, false, false]);
    const other = await pool.map([id!], { temperature: 'pinned' });
    await other.getPages(0, [0]);
    assert.equal(map.ready(0, 0, 1), true, 'maps of an object share what is known');
    await Promise.all([map.unmap(), other.unmap()]);
  });

  it('maps of very many objects', async (t) => {
    const { pool } = await fresh(t, { sizeBytes: 8192 * MIB });
    const mblocks = await Promise.all(Array.from({ length: 6000 }, () => pool.mblocks.alloc()));
    await Promise.all(mblocks.map((mblock, i) => mblock.write(pattern(10, i))));
    await pool.mblocks.commit(mblocks);
    const ids = mblocks.map(({ id }) => id);
    await using map = await pool.map(ids);
    for (const i of [0, 1, 2999, 5999]) assert.ok(pattern(10, i).equals(map.view(i)));
    const more = await Promise.all(
      Array.from({ length: 50 }, (_, i) => pool.map(ids.slice(i * 100))),
    );
    assert.ok(pattern(10, 4900).equals(more[49]!.view(0)));
    await Promise.all(more.map((each) => each.unmap()));
    await map.unmap();
    await pool.mblocks.delete(ids, { refuseMapped: true });
    assert.equal((await pool.usage()).mblockCount, 0);
  });
}
