// 4 KiB random reads, verified, at several queue depths, beside fio on the same extents.
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../../src/base/units.ts';
import { pageBuffers } from '../../src/device/page-buffers.ts';
import type { Mblock, Pool } from '../../src/pool/api.ts';
import type { Fio } from '../fio.ts';
import type { Workload } from '../workload.ts';
import { inParallel, mblockRange, openPoolAt, randomBuffer } from '../workspace.ts';

const DEPTHS = [
  { depth: 1, atLeastRatio: 0.9 },
  { depth: 8, atLeastRatio: 0.95 },
  { depth: 32, atLeastRatio: 1 },
  { depth: 128, atLeastRatio: 1 },
];
const NAME = 'random-read';
const MBLOCK_BYTES = 32 * MIB;

export const randomRead: Workload = {
  name: NAME,
  about:
    '4 KiB random reads of mblocks, verified, against fio io_uring O_DIRECT on the same extents',
  async run(bench) {
    const { fio, workspace } = bench;
    if (fio === null) return;
    const path = await workspace.makePool(NAME, {
      sizeBytes: bench.sizeBytes,
      mblockSizeBytes: MBLOCK_BYTES,
      preparation: 'sparse',
    });
    let pool = await openPoolAt(path);
    await fillPool(pool);
    await pool.close();
    const range = await mblockRange(path);
    pool = await openPoolAt(path);
    const mblocks = await allMblocks(pool);
    for (const { depth, atLeastRatio } of DEPTHS) {
      const seconds = bench.seconds;
      const peer = { name: 'fio', run: () => fioReads(fio, path, range, depth, seconds) };
      await bench.compare({
        id: `${NAME}-${depth}`,
        work: `4 KiB random read, queue depth ${depth}, into reused buffers`,
        unit: 'reads/s',
        ours: () => readsInto(mblocks, depth, seconds),
        peer,
        atLeastRatio,
      });
      await bench.compare({
        id: `${NAME}-${depth}-new`,
        work: `4 KiB random read, queue depth ${depth}, a new Buffer each`,
        unit: 'reads/s',
        ours: () => readsNew(mblocks, depth, seconds),
        peer,
      });
    }
    await pool.close();
    workspace.remove(`${NAME}.mpool`);
  },
};

async function fillPool(pool: Pool): Promise<void> {
  const chunk = randomBuffer(MIB, 1);
  const { freeUsableBytes } = await pool.usage('capacity');
  // What is free is not all in whole zones: logs share some.
  for (let left = freeUsableBytes; left >= 2 * MBLOCK_BYTES; left -= MBLOCK_BYTES) {
    const mblock = await pool.mblocks.alloc();
    while (mblock.writtenBytes < mblock.capacityBytes) {
      const length = Math.min(chunk.length, mblock.capacityBytes - mblock.writtenBytes);
      await mblock.write(chunk.subarray(0, length));
    }
    await mblock.commit();
  }
  pageBuffers.release(chunk);
}

export async function allMblocks(pool: Pool): Promise<Mblock[]> {
  const mblocks: Mblock[] = [];
  for await (const { id } of pool.mblocks.list()) mblocks.push(await pool.mblocks.find(id));
  return mblocks;
}

async function fioReads(
  fio: Fio,
  path: string,
  range: { offsetBytes: number; sizeBytes: number },
  depth: number,
  seconds: number,
): Promise<number> {
  const { iops } = await fio.run({
    filename: path,
    offset: range.offsetBytes,
    size: range.sizeBytes,
    rw: 'randread',
    bs: '4k',
    direct: 1,
    ioengine: 'io_uring',
    iodepth: depth,
    runtime: `${seconds * 1000}ms`,
    time_based: 1,
    norandommap: 1,
    randrepeat: 0,
  });
  return iops;
}

let seed = 1;

export async function readsInto(
  mblocks: Mblock[],
  depth: number,
  seconds: number,
): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  const prng = new SeededPrng(seed++);
  let count = 0;
  await inParallel(depth, async () => {
    const buffer = pageBuffers.allocate(PAGE_BYTES);
    while (performance.now() < end) {
      const { mblock, offsetBytes } = somewhere(mblocks, prng);
      await mblock.readInto(offsetBytes, buffer);
      count += 1;
    }
    pageBuffers.release(buffer);
  });
  return count / ((performance.now() - start) / 1000);
}

async function readsNew(mblocks: Mblock[], depth: number, seconds: number): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  const prng = new SeededPrng(seed++);
  let count = 0;
  await inParallel(depth, async () => {
    while (performance.now() < end) {
      const { mblock, offsetBytes } = somewhere(mblocks, prng);
      await mblock.read(offsetBytes, PAGE_BYTES);
      count += 1;
    }
  });
  return count / ((performance.now() - start) / 1000);
}

function somewhere(mblocks: Mblock[], prng: SeededPrng): { mblock: Mblock; offsetBytes: number } {
  const mblock = mblocks[below(prng, mblocks.length)]!;
  const pages = mblock.writtenBytes / PAGE_BYTES;
  return { mblock, offsetBytes: below(prng, pages) * PAGE_BYTES };
}
