// Goal: metadata that contradicts itself under right checksums does no harm: it is refused, or only the objects that
//   it is about are, and nothing that is right is written over or given away.
// Method: pools made of structures, with records of MDC 0 and MDC 1 that overlap, lie, or are numbers at an edge; each is
//   opened, read, filled and emptied, and what was right before is right after.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../src/base/bytes.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, type Prng, SeededPrng } from '../../src/base/prng.ts';
import {
  idFromHalves,
  idHigh,
  idLow,
  isMblockId,
  isMlogId,
  type MblockId,
} from '../../src/format/object-id.ts';
import {
  encodeDeletionRecord,
  encodeIdCheckpoint,
  encodeMdcRecord,
  encodeObjectRecord,
  type ObjectRecord,
} from '../../src/format/records.ts';
import type { Pool } from '../../src/pool/api.ts';
import { openPool } from '../../src/pool/open.ts';
import { PAGES, PoolImage, type PoolImageChanges, SIZES } from '../pool/pool-image.ts';
import { seeds, withSeed } from './long.ts';
import { assertTyped, CAPACITY, inspect, WHERE } from './memory.ts';

const CONTENTS = new Map<number, Buffer>();

/** What an mblock of the image holds. */
function contentOf(uniquifier: number, lengthBytes: number): Buffer {
  let content = CONTENTS.get(uniquifier);
  if (content === undefined) {
    const prng = new SeededPrng(uniquifier);
    content = Buffer.from(Uint8Array.from({ length: lengthBytes }, () => prng.u32()));
    CONTENTS.set(uniquifier, content);
  }
  return content;
}

const MBLOCKS: readonly [uniquifier: number, lengthBytes: number][] = [
  [4, SIZES.large],
  [5, SIZES.small],
  [6, 0],
  [7, SIZES.staged],
];

function idOf(uniquifier: number): MblockId {
  return idFromHalves(idLow(uniquifier, 1, 1), idHigh(uniquifier)) as MblockId;
}

function open(image: PoolImage, readOnly = false): Promise<Pool> {
  return openPool(image.host.environment, CAPACITY, { readOnly, discard: false }, WHERE);
}

/** Those mblocks of the image that can be read; they have their bytes, or the read is refused. */
async function readable(pool: Pool): Promise<number[]> {
  const right: number[] = [];
  for (const [uniquifier, lengthBytes] of MBLOCKS) {
    try {
      const bytes = await pool.mblocks.read(idOf(uniquifier), 0, lengthBytes);
      assert.ok(contentOf(uniquifier, lengthBytes).equals(bytes), `other bytes in ${uniquifier}`);
      right.push(uniquifier);
    } catch (error) {
      const isShorter = isMpoolError(error, 'ERR_MPOOL_INVALID_ARG');
      if (!isShorter && !(error instanceof RangeError)) assertTyped(error);
    }
  }
  return right;
}

/** Deletes what is not of the image, and some that is damaged, then takes all space there is. */
async function useUp(pool: Pool, right: readonly number[]): Promise<void> {
  const kept = new Set(right.map((uniquifier) => idOf(uniquifier)));
  const gone: MblockId[] = [];
  for await (const { id } of pool.mblocks.list()) if (!kept.has(id)) gone.push(id);
  for (const id of gone) await pool.mblocks.delete([id]).catch(assertTyped);
  for (const mediaClass of ['capacity', 'staging'] as const) {
    for (let filled = 0; filled < 40; filled++) {
      try {
        const mblock = await pool.mblocks.alloc({ mediaClass, spare: true });
        await mblock.write(Buffer.alloc(mblock.capacityBytes, 0xee));
        await mblock.commit();
      } catch (error) {
        assertTyped(error);
        break;
      }
    }
  }
}

/** @returns whether it opened for writing */
async function survives(changes: PoolImageChanges): Promise<boolean> {
  const image = new PoolImage(changes);
  const { host } = image;
  await inspect(host);
  let before: number[] | undefined;
  for (const readOnly of [true, false]) {
    let pool: Pool;
    try {
      pool = await open(image, readOnly);
    } catch (error) {
      assertTyped(error);
      assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
      continue;
    }
    const right = await readable(pool);
    if (before !== undefined) assert.deepEqual(right, before, 'read-only and writing see the same');
    before = right;
    if (!readOnly) {
      await useUp(pool, right);
      assert.deepEqual(await readable(pool), right, 'what was right still is');
    }
    await pool.close({ force: true }).catch(assertTyped);
    assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
    if (readOnly) continue;
    const again = await open(image);
    assert.deepEqual(await readable(again), right, 'and is after it was opened again');
    await again.close({ force: true });
    return true;
  }
  return false;
}

function mblockRecord(
  uniquifier: number,
  pageAddress: number,
  changes: Partial<ObjectRecord> = {},
) {
  return encodeObjectRecord({
    mediaClass: 1,
    role: 0,
    digest: 0,
    idLow: idLow(uniquifier, 1, 1),
    idHigh: idHigh(uniquifier),
    pageAddress,
    pageCount: 256,
    lengthBytes: 0,
    ...changes,
  });
}

test('an object in the space of another is refused, and its deletion frees nothing', async () => {
  for (const entries of [
    [mblockRecord(20, PAGES.large)],
    [mblockRecord(20, PAGES.small), mblockRecord(21, PAGES.small)],
    [mblockRecord(20, 0)],
    [mblockRecord(20, 256 * 15)],
    [mblockRecord(20, 256 * 16)],
    [mblockRecord(20, 2 ** 40)],
    [mblockRecord(20, PAGES.large + 1)],
    [mblockRecord(20, 256, { pageCount: 512 })],
    [mblockRecord(20, PAGES.rootA, { idLow: idLow(20, 2, 1), pageCount: 16 })],
    [mblockRecord(20, PAGES.mdc1B, { idLow: idLow(20, 2, 1), pageCount: 32 })],
    [mblockRecord(20, PAGES.staged, { mediaClass: 0 })],
  ]) {
    const image = new PoolImage({ entries });
    const pool = await open(image);
    const { usedBytes } = await pool.usage('capacity');
    for await (const { id } of pool.mblocks.list()) {
      if (id < idOf(20)) continue;
      const bytes = pool.mblocks.read(id, 0, 0);
      await bytes.catch(assertTyped);
      await pool.mblocks.delete([id]);
    }
    assert.equal((await pool.usage('capacity')).usedBytes, usedBytes, 'no space came free');
    await pool.close();
    assert.ok(await survives({ entries }), 'the rest of the pool is of use');
  }
});

test('a bad object is neither read nor mapped', async () => {
  const image = new PoolImage({
    entries: [mblockRecord(20, PAGES.large, { lengthBytes: SIZES.large })],
  });
  const pool = await open(image);
  const id = idOf(20);
  const isCorrupt = (error: unknown): boolean => isMpoolError(error, 'ERR_MPOOL_CORRUPT');
  await assert.rejects(pool.mblocks.read(id, 0, 100), isCorrupt);
  await assert.rejects(pool.map([id]), isCorrupt);
  await assert.rejects(pool.map([idOf(4), id]), isCorrupt);
  assert.deepEqual(await readable(pool), [4, 5, 6, 7]);
  await pool.close();
});

test('metadata logs that lie where none can are corruption, and nothing is written', async () => {
  const extents = [
    { pageAddress: 0, pageCount: 16 },
    { pageAddress: 16, pageCount: 32 },
    { pageAddress: 4096 - 16, pageCount: 16 },
    { pageAddress: 4096, pageCount: 16 },
    { pageAddress: 2 ** 40, pageCount: 16 },
    { pageAddress: 250, pageCount: 16 },
    { pageAddress: 256, pageCount: 300 },
    { pageAddress: PAGES.mdc0A, pageCount: 16 },
  ];
  for (const extent of extents) {
    for (const [logA, logB] of [
      [extent, { pageAddress: PAGES.mdc1B, pageCount: 32 }],
      [{ pageAddress: PAGES.mdc1A, pageCount: 32 }, extent],
    ] as const) {
      const image = new PoolImage({ poolRecords: [encodeMdcRecord({ slot: 1, logA, logB })] });
      const before = image.host.operationCount;
      const disk = image.host.disk(CAPACITY);
      const content = Buffer.from(disk.bytes(0, disk.sizeBytes));
      await assert.rejects(
        open(image),
        (error) => isMpoolError(error, 'ERR_MPOOL_CORRUPT'),
        `${extent.pageCount} pages at ${extent.pageAddress}`,
      );
      const { host } = image;
      // But for the flush that comes before anything is believed, and a header that no frame was made under
      // yet: that is written as it is.
      assert.ok(host.operationCount - before <= 4, `${host.operationCount - before} operations`);
      assert.ok(content.equals(disk.bytes(0, disk.sizeBytes)), 'nothing is changed');
      assert.equal(host.liveBufferCount, 0);
      await inspect(host);
    }
  }
});

test('records of MDC 1 with numbers at an edge', async (t) => {
  let [images, opened] = [0, 0];
  for (const seed of seeds(60)) {
    await withSeed(seed, async () => {
      const prng = new SeededPrng(seed);
      const entries = Array.from({ length: 1 + below(prng, 3) }, () => randomEntry(prng));
      images += 1;
      if (await survives({ entries })) opened += 1;
    });
  }
  t.diagnostic(`${images} images, ${opened} opened`);
  assert.ok(opened > 0 && opened < images);
});

const EDGES = [0, 1, 255, 256, 257, 4095, 4096, 2 ** 31, 2 ** 32 - 1];

function randomEntry(prng: Prng): Uint8Array {
  const kind = below(prng, 4);
  if (kind === 0) return encodeIdCheckpoint(below(prng, 2) === 0 ? below(prng, 200) : 2 ** 52);
  if (kind === 1)
    return encodeDeletionRecord(idLow(1 + below(prng, 9), (1 + below(prng, 2)) as 1 | 2, 1), 0);
  const type = chance(prng, 0.6) ? 1 : 2;
  const entry = mblockRecord(20 + below(prng, 9), 256 * (1 + below(prng, 18)), {
    idLow: idLow(20 + below(prng, 9), type, 1),
    pageCount: type === 1 ? 256 : 16,
    mediaClass: chance(prng, 0.8) ? 1 : 0,
  });
  const view = viewOf(entry);
  for (let n = below(prng, 3); n > 0; n--) {
    const edge = EDGES[below(prng, EDGES.length)]!;
    const at = [2, 3, 4, 8, 12, 16, 20, 24, 28, 32][below(prng, 10)]!;
    if (at < 4) view.setUint8(at, edge & 0xff);
    else view.setUint32(at, edge, true);
  }
  return entry;
}

test('ids of every kind are refused or found, never misread', async () => {
  const image = new PoolImage();
  const pool = await open(image, true);
  for (const seed of seeds(40)) {
    const prng = new SeededPrng(seed);
    for (let i = 0; i < 50; i++) {
      const id =
        (BigInt(prng.u32()) << 32n) | BigInt(chance(prng, 0.5) ? prng.u32() : below(prng, 2 ** 17));
      if (isMblockId(id)) await pool.mblocks.read(id, 0, 0).catch(assertTyped);
      else await assert.rejects(pool.mblocks.read(id as MblockId, 0, 0), TypeError);
      if (!isMlogId(id)) await assert.rejects(pool.mlogs.open(id as never), TypeError);
    }
  }
  await pool.close();
});
