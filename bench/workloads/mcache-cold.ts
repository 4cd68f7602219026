// Pages that are not in memory, one at a time and several at once: through a raw view, through getPages(),
// and by reading the file as anybody would.
import { closeSync, constants, openSync, read, readSync } from 'node:fs';
import { reaper } from '../../src/index.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../../src/base/units.ts';
import { pageBuffers } from '../../src/device/page-buffers.ts';
import type { MblockMap, Pool } from '../../src/pool/api.ts';
import { measure } from '../comparison.ts';
import { commitObjects, idsOf, openForMaps } from '../mcache-pool.ts';
import { spreadOf } from '../spread.ts';
import type { Bench, Workload } from '../workload.ts';
import { inParallel, mblockRange } from '../workspace.ts';

const NAME = 'mcache-cold';
const MBLOCK_BYTES = 32 * MIB;
const DEPTHS = [1, 8, 32];

export const mcacheCold: Workload = {
  name: NAME,
  about: 'cold 4 KiB accesses: raw views and getPages() against pread O_DIRECT and fs.read',
  async run(bench) {
    const { workspace } = bench;
    const path = await workspace.makePool(NAME, {
      sizeBytes: bench.sizeBytes,
      mblockSizeBytes: MBLOCK_BYTES,
      preparation: 'sparse',
    });
    let pool = await openForMaps(path);
    await fill(pool);
    await pool.close();
    const range = await mblockRange(path);
    pool = await openForMaps(path);
    const { enabled } = reaper.settings;
    reaper.configure({ enabled: false });
    const rig = makeRig(await pool.map(await idsOf(pool)), path, range);
    try {
      await rawViews(bench, rig);
      for (const depth of DEPTHS) await atDepth(bench, rig, depth);
    } finally {
      rig.close();
      reaper.configure({ enabled });
      await pool.close();
      workspace.remove(`${NAME}.mpool`);
    }
  },
};

interface Rig {
  map: MblockMap;
  /** Pages of every object that are compared. */
  pageCount: number;
  directFd: number;
  bufferedFd: number;
  prng: SeededPrng;
  /** Of a page of the file that lies among the objects' pages. */
  somewhere: () => number;
  close: () => void;
}

async function fill(pool: Pool): Promise<void> {
  const { freeUsableBytes } = await pool.usage('capacity');
  // What is free is not all in whole zones: logs share some.
  await commitObjects(pool, Math.floor(freeUsableBytes / MBLOCK_BYTES) - 1);
}

function makeRig(
  map: MblockMap,
  path: string,
  range: { offsetBytes: number; sizeBytes: number },
): Rig {
  const directFd = openSync(path, constants.O_RDONLY | constants.O_DIRECT);
  const bufferedFd = openSync(path, constants.O_RDONLY);
  const prng = new SeededPrng(1);
  return {
    map,
    pageCount: Math.floor(map.lengthBytes(0) / PAGE_BYTES),
    directFd,
    bufferedFd,
    prng,
    somewhere: () => range.offsetBytes + below(prng, range.sizeBytes / PAGE_BYTES) * PAGE_BYTES,
    close: () => {
      closeSync(directFd);
      closeSync(bufferedFd);
    },
  };
}

/** p50, as accesses a second that it would give: higher is better, as everywhere. */
function rateAtMedian(us: readonly number[]): number {
  return 1e6 / spreadOf(us).median;
}

async function rawViews(bench: Bench, rig: Rig): Promise<void> {
  const { map, pageCount, prng, directFd } = rig;
  const views = map.ids.map((_, i) => map.view(i));
  let sum = 0;
  const touch = (): void => {
    const view = views[below(prng, views.length)]!;
    sum += view[below(prng, pageCount) * PAGE_BYTES]!;
  };
  const page = pageBuffers.allocate(PAGE_BYTES);
  const pread = (): void => {
    readSync(directFd, page, 0, PAGE_BYTES, rig.somewhere());
  };
  const cold = async (access: () => void): Promise<number> => {
    await map.purge();
    return rateAtMedian(timedUs(access, bench.seconds));
  };
  await bench.compare({
    id: `${NAME}-raw`,
    work: 'cold access through a raw view, at the median',
    unit: 'accesses/s',
    ours: () => cold(touch),
    peer: { name: 'pread O_DIRECT by fs.readSync', run: () => cold(pread) },
    // At most 1.1 times as long.
    atLeastRatio: 0.91,
  });
  pageBuffers.release(page);
  if (sum < 0) throw new Error('the sum keeps the accesses from being left out');
}

function timedUs(access: () => void, seconds: number): number[] {
  const us: number[] = [];
  const end = performance.now() + seconds * 1000;
  for (let start = performance.now(); start < end; start = performance.now()) {
    access();
    us.push((performance.now() - start) * 1000);
  }
  return us;
}

type Read = (worker: number) => Promise<unknown>;

async function atDepth(bench: Bench, rig: Rig, depth: number): Promise<void> {
  const { map, pageCount, prng } = rig;
  const pages = Array.from({ length: depth }, () => pageBuffers.allocate(PAGE_BYTES));
  const getPages: Read = () => {
    return map.getPages(below(prng, map.objectCount), [below(prng, pageCount) * PAGE_BYTES]);
  };
  const buffered = fileRead(rig, rig.bufferedFd, pages);
  const direct = fileRead(rig, rig.directFd, pages);
  const run = async (one: Read): Promise<{ rate: number; p50: number }> => {
    await map.purge();
    return loaded(one, depth, bench.seconds);
  };
  for (const [name, peer] of [
    ['fs.read', buffered],
    ['fs.read O_DIRECT', direct],
  ] as const) {
    await bench.compare({
      id: `${NAME}-${depth}-${name === 'fs.read' ? 'buffered' : 'direct'}`,
      work: `cold getPages() of one page, verified, queue depth ${depth}`,
      unit: 'pages/s',
      ours: async () => (await run(getPages)).rate,
      peer: { name: `${name}, callbacks`, run: async () => (await run(peer)).rate },
    });
  }
  for (const [who, one] of [
    ['getPages()', getPages],
    ['fs.read', buffered],
    ['fs.read O_DIRECT', direct],
  ] as const) {
    const work = `cold ${who} of one page, queue depth ${depth}: p50`;
    const id = `${NAME}-${depth}-p50-${who.replaceAll(/\W+/g, '')}`;
    const p50 = async (): Promise<number> => (await run(one)).p50;
    bench.add(await measure({ id, work, unit: 'µs' }, bench.runs, p50));
  }
  for (const page of pages) pageBuffers.release(page);
}

function fileRead(rig: Rig, fd: number, pages: readonly Uint8Array[]): Read {
  return (worker) =>
    new Promise<void>((resolve, reject) => {
      read(fd, pages[worker]!, 0, PAGE_BYTES, rig.somewhere(), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
}

async function loaded(
  one: Read,
  depth: number,
  seconds: number,
): Promise<{ rate: number; p50: number }> {
  const us: number[] = [];
  const start = performance.now();
  const end = start + seconds * 1000;
  await inParallel(depth, async (worker) => {
    for (let from = performance.now(); from < end; from = performance.now()) {
      await one(worker);
      us.push((performance.now() - from) * 1000);
    }
  });
  const rate = us.length / ((performance.now() - start) / 1000);
  return { rate, p50: spreadOf(us).median };
}
