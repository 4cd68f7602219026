// What it costs to get at pages that are in memory already.
import { closeSync, openSync, read, readSync } from 'node:fs';
import { reaper } from '../../src/index.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../../src/base/units.ts';
import type { MblockMap } from '../../src/pool/api.ts';
import { measure } from '../comparison.ts';
import { commitObjects, openForMaps } from '../mcache-pool.ts';
import type { Bench, Workload } from '../workload.ts';

const NAME = 'mcache-warm';
const MBLOCK_BYTES = 32 * MIB;
/** More than the last-level cache has for itself: 128 MiB. */
const OBJECT_COUNT = 4;
const BATCH = 1024;

export const mcacheWarm: Workload = {
  name: NAME,
  about: 'resident pages: ready(), getPages(), raw views, against fs.read of cached pages',
  async run(bench) {
    const { workspace } = bench;
    const path = await workspace.makePool(NAME, {
      sizeBytes: 8 * MBLOCK_BYTES,
      mblockSizeBytes: MBLOCK_BYTES,
      preparation: 'sparse',
    });
    const pool = await openForMaps(path);
    const { enabled } = reaper.settings;
    reaper.configure({ enabled: false });
    const map = await pool.map(await commitObjects(pool, OBJECT_COUNT));
    const fd = openSync(path, 'r');
    try {
      await makeResident(map);
      await costs(bench, map, fd);
    } finally {
      closeSync(fd);
      reaper.configure({ enabled });
      await pool.close();
      workspace.remove(`${NAME}.mpool`);
    }
  },
};

async function makeResident(map: MblockMap): Promise<void> {
  for (let i = 0; i < map.objectCount; i++) {
    const count = Math.floor(map.lengthBytes(i) / PAGE_BYTES);
    await map.getPages(
      i,
      Float64Array.from({ length: count }, (_, page) => page * PAGE_BYTES),
    );
  }
}

interface Places {
  /** Of the access number n: any pages, in an order that no prefetcher follows. */
  object: (n: number) => number;
  offset: (n: number) => number;
}

function placesOf(map: MblockMap): Places {
  const pageCount = Math.floor(map.lengthBytes(0) / PAGE_BYTES);
  const prng = new SeededPrng(1);
  const mask = 2 ** 16 - 1;
  const objects = Uint8Array.from({ length: mask + 1 }, () => below(prng, map.objectCount));
  const offsets = Int32Array.from({ length: mask + 1 }, () => below(prng, pageCount) * PAGE_BYTES);
  return { object: (n) => objects[n & mask]!, offset: (n) => offsets[n & mask]! };
}

async function costs(bench: Bench, map: MblockMap, fd: number): Promise<void> {
  const { object, offset } = placesOf(map);
  const views = map.ids.map((_, i) => map.view(i));
  const buffer = new Uint8Array(PAGE_BYTES);
  let sum = 0;
  const inTurn: [id: string, work: string, call: (n: number) => void][] = [
    ['loop', 'the loop of these measurements itself', (n) => (sum += object(n) + offset(n))],
    ['ready', 'ready() of a page', (n) => (sum += +map.ready(object(n), offset(n), 1024))],
    ['raw', 'a byte of a page through a raw view', (n) => (sum += views[object(n)]![offset(n)]!)],
    [
      'copy',
      'copying a page out of a raw view',
      (n) => buffer.set(views[object(n)]!.subarray(offset(n), offset(n) + PAGE_BYTES)),
    ],
    ['read-sync', 'fs.readSync of a cached page', (n) => readSync(fd, buffer, 0, 4096, offset(n))],
  ];
  for (const [id, work, call] of inTurn) {
    const fact = { id: `${NAME}-${id}`, work, unit: 'ns' };
    bench.add(await measure(fact, bench.runs, () => nsOf(call, bench.seconds)));
  }
  const one = (n: number): Promise<unknown> => map.getPages(object(n), [offset(n)]);
  const many = (n: number): Promise<unknown> => {
    return map.getPages(
      object(n),
      Array.from({ length: 32 }, (_, i) => offset(n * 32 + i)),
    );
  };
  const cached = (n: number): Promise<void> =>
    new Promise((resolve, reject) => {
      read(fd, buffer, 0, PAGE_BYTES, offset(n), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  await bench.compare({
    id: `${NAME}-get-pages-1`,
    work: 'getPages() of one resident page, each awaited',
    unit: 'pages/s',
    ours: async () => 1e9 / (await nsOfAwaited(one, bench.seconds)),
    peer: {
      name: 'fs.read of a cached page',
      run: async () => 1e9 / (await nsOfAwaited(cached, bench.seconds)),
    },
  });
  const perPage = async (): Promise<number> => (await nsOfAwaited(many, bench.seconds)) / 32;
  const work = 'getPages() of 32 resident pages: for each page';
  bench.add(await measure({ id: `${NAME}-get-pages-32`, work, unit: 'ns' }, bench.runs, perPage));
  if (sum < 0) throw new Error('the sum keeps the calls from being left out');
}

function nsOf(call: (n: number) => void, seconds: number): number {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < seconds * 500) {
    for (let i = 0; i < BATCH; i++) call(count + i);
    count += BATCH;
  }
  return ((performance.now() - start) * 1e6) / count;
}

async function nsOfAwaited(call: (n: number) => Promise<unknown>, seconds: number) {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < seconds * 500) {
    for (let i = 0; i < 64; i++) await call(count + i);
    count += 64;
  }
  return ((performance.now() - start) * 1e6) / count;
}
