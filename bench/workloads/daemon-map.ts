// Maps of a client of the daemon beside those of the embedded library: pages that are in memory, and
// pages that are not.
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../../src/base/units.ts';
import type { MblockMap, Pool } from '../../src/pool/api.ts';
import { DaemonRig, type OnPool } from '../daemon-rig.ts';
import { commitObjects, idsOf } from '../mcache-pool.ts';
import type { Bench, Workload } from '../workload.ts';
import { inParallel } from '../workspace.ts';

const NAME = 'daemon-map';
const MBLOCK_BYTES = 32 * MIB;
/** More than the last-level cache has for itself: 128 MiB. */
const WARM_COUNT = 4;
const BATCH = 1024;

export const daemonMap: Workload = {
  name: NAME,
  about:
    'maps of a client of the daemon, warm and cold: raw views, getPages(); against embedded ones',
  async run(bench) {
    const options = {
      sizeBytes: bench.sizeBytes / 4,
      mblockSizeBytes: MBLOCK_BYTES,
      preparation: 'sparse',
    } as const;
    await DaemonRig.with(bench, NAME, options, (rig) => maps(bench, rig));
  },
};

async function maps(bench: Bench, rig: DaemonRig): Promise<void> {
  await rig.embedded(async (pool) => {
    const { freeUsableBytes } = await pool.usage('capacity');
    // What is free is not all in whole zones: logs share some.
    await commitObjects(pool, Math.floor(freeUsableBytes / MBLOCK_BYTES) - 1);
  });
  const { seconds } = bench;
  // What waits for no device is steady sooner.
  const brief = seconds / 3;
  const rows: [id: string, work: string, unit: string, run: OnPool<number>][] = [
    ['view', 'a byte of a resident page through a raw view', 'accesses/s', warm(brief, views)],
    ['copy', 'copying a resident page out of a raw view', 'pages/s', warm(brief, copies)],
    ['warm-1', 'getPages() of one resident page, each awaited', 'pages/s', warm(brief, pages(1))],
    ['warm-32', 'getPages() of 32 resident pages', 'pages/s', warm(brief, pages(32))],
    ['cold-1', 'cold getPages() of one page, one at a time', 'pages/s', cold(seconds, 1)],
    ['cold-32', 'cold getPages() of one page, queue depth 32', 'pages/s', cold(seconds, 32)],
  ];
  for (const [id, work, unit, run] of rows) {
    await bench.compare({
      id: `${NAME}-${id}`,
      work: `client: ${work}`,
      unit,
      ours: () => rig.client(run),
      peer: { name: 'embedded', run: () => rig.embedded(run) },
      atLeastRatio: 0.98,
    });
  }
}

/** Accesses a second to pages of the map, until then. */
type Access = (map: MblockMap, endMs: number) => number | Promise<number>;

function warm(seconds: number, access: Access): OnPool<number> {
  return async (pool) => {
    const map = await pool.map((await idsOf(pool)).slice(0, WARM_COUNT));
    for (let i = 0; i < map.objectCount; i++) {
      const offsets = Array.from({ length: pageCountOf(map) }, (_, page) => page * PAGE_BYTES);
      await map.getPages(i, offsets);
    }
    const start = performance.now();
    const count = await access(map, start + seconds * 1000);
    const rate = count / ((performance.now() - start) / 1000);
    await map.unmap();
    return rate;
  };
}

function views(map: MblockMap, endMs: number): number {
  const shown = map.ids.map((_, i) => map.view(i));
  const { object, offset } = placesOf(map);
  let sum = 0;
  const count = inBatches(endMs, (n) => (sum += shown[object(n)]![offset(n)]!));
  if (sum < 0) throw new Error('the sum keeps the accesses from being left out');
  return count;
}

function copies(map: MblockMap, endMs: number): number {
  const shown = map.ids.map((_, i) => map.view(i));
  const { object, offset } = placesOf(map);
  const into = new Uint8Array(PAGE_BYTES);
  return inBatches(endMs, (n) => {
    const at = offset(n);
    into.set(shown[object(n)]!.subarray(at, at + PAGE_BYTES));
  });
}

function pages(pageCount: number): Access {
  return async (map, endMs) => {
    const { object, offset } = placesOf(map);
    let count = 0;
    while (performance.now() < endMs) {
      const offsets = Array.from({ length: pageCount }, (_, i) => offset(count + i));
      await map.getPages(object(count), offsets);
      count += pageCount;
    }
    return count;
  };
}

let seed = 1;

function cold(seconds: number, depth: number): OnPool<number> {
  return async (pool: Pool) => {
    const map = await pool.map(await idsOf(pool));
    await map.purge();
    const prng = new SeededPrng(seed++);
    const start = performance.now();
    const endMs = start + seconds * 1000;
    let count = 0;
    await inParallel(depth, async () => {
      while (performance.now() < endMs) {
        const offset = below(prng, pageCountOf(map)) * PAGE_BYTES;
        await map.getPages(below(prng, map.objectCount), [offset]);
        count += 1;
      }
    });
    const rate = count / ((performance.now() - start) / 1000);
    await map.purge();
    await map.unmap();
    return rate;
  };
}

function inBatches(endMs: number, access: (n: number) => void): number {
  let count = 0;
  while (performance.now() < endMs) {
    for (let i = 0; i < BATCH; i++) access(count + i);
    count += BATCH;
  }
  return count;
}

function pageCountOf(map: MblockMap): number {
  return Math.floor(map.lengthBytes(0) / PAGE_BYTES);
}

interface Places {
  /** Of the access number n: any pages, in an order that no prefetcher follows. */
  object: (n: number) => number;
  offset: (n: number) => number;
}

function placesOf(map: MblockMap): Places {
  const prng = new SeededPrng(1);
  const mask = 2 ** 16 - 1;
  const pageCount = pageCountOf(map);
  const objects = Uint8Array.from({ length: mask + 1 }, () => below(prng, map.objectCount));
  const offsets = Int32Array.from({ length: mask + 1 }, () => below(prng, pageCount) * PAGE_BYTES);
  return { object: (n) => objects[n & mask]!, offset: (n) => offsets[n & mask]! };
}
