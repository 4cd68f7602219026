// Sequential writes and reads of mblocks in 1 MiB chunks, queue depth 4, beside fio on the same extents.
import { MIB } from '../../src/base/units.ts';
import { pageBuffers } from '../../src/device/page-buffers.ts';
import type { Mblock, MblockId, Pool } from '../../src/pool/api.ts';
import { type Fio, hasHugePages } from '../fio.ts';
import type { Bench, Workload } from '../workload.ts';
import { inParallel, mblockRange, openPoolAt, randomBuffer } from '../workspace.ts';

const NAME = 'bulk';
const DEPTH = 4;

export const bulk: Workload = {
  name: NAME,
  about: 'mblock write and read in 1 MiB chunks at queue depth 4, checksums on, against fio',
  async run(bench) {
    const { fio, workspace } = bench;
    if (fio === null) return;
    const path = await workspace.makePool(NAME, {
      sizeBytes: bench.sizeBytes,
      preparation: 'written',
    });
    let pool = await openPoolAt(path);
    const { freeUsableBytes } = await pool.usage('capacity');
    // What is free is not all in whole zones: logs share some.
    const mblockCount = Math.floor(Math.min(freeUsableBytes, 2048 * MIB) / (32 * MIB)) - 1;
    await pool.mblocks.delete((await writeAll(pool, mblockCount)).ids);
    const probe = await writeAll(pool, mblockCount);
    await pool.close();
    const range = await mblockRange(path);
    pool = await openPoolAt(path);
    await reads(bench, fio, pool, path, range, probe.ids);
    await pool.mblocks.delete(probe.ids);
    await writes(bench, fio, pool, path, range, mblockCount);
    await pool.close();
    workspace.remove(`${NAME}.mpool`);
  },
};

interface Range {
  offsetBytes: number;
  sizeBytes: number;
}

async function reads(
  bench: Bench,
  fio: Fio,
  pool: Pool,
  path: string,
  range: Range,
  ids: readonly MblockId[],
): Promise<void> {
  const mblocks = await Promise.all(ids.map((id) => pool.mblocks.find(id)));
  for (const memory of memories(bench)) {
    await bench.compare({
      id: `${NAME}-read${memory === 'huge' ? '-huge' : ''}`,
      work: 'mblock read, 1 MiB chunks, queue depth 4',
      unit: 'MiB/s',
      ours: () => readAll(mblocks),
      peer: { name: PEER[memory], run: () => fioBulk(fio, path, range, 'read', memory) },
      atLeastRatio: memory === 'small' ? 0.95 : undefined,
    });
  }
}

async function writes(
  bench: Bench,
  fio: Fio,
  pool: Pool,
  path: string,
  range: Range,
  mblockCount: number,
): Promise<void> {
  for (const memory of memories(bench)) {
    await bench.compare({
      id: `${NAME}-write${memory === 'huge' ? '-huge' : ''}`,
      work: 'mblock write and commit, 1 MiB chunks, queue depth 4',
      unit: 'MiB/s',
      ours: async () => {
        const { ids, mibps } = await writeAll(pool, mblockCount);
        await pool.mblocks.delete(ids);
        return mibps;
      },
      peer: { name: PEER[memory], run: () => fioBulk(fio, path, range, 'write', memory) },
      atLeastRatio: memory === 'small' ? 0.95 : undefined,
    });
  }
  await bench.compare({
    id: `${NAME}-write-heap`,
    work: 'the same from ordinary Buffers, which are copied',
    unit: 'MiB/s',
    ours: async () => {
      const { ids, mibps } = await writeAll(pool, mblockCount, true);
      await pool.mblocks.delete(ids);
      return mibps;
    },
    peer: { name: PEER.small, run: () => fioBulk(fio, path, range, 'write', 'small') },
  });
}

type Memory = 'small' | 'huge';

/** Our buffers lie on huge pages; fio's do where the machine has some set aside. */
function memories(bench: Bench): readonly Memory[] {
  if (hasHugePages((DEPTH + 1) * 2 * MIB)) return ['small', 'huge'];
  bench.note('no huge pages are set aside (sysctl vm.nr_hugepages): fio only with ordinary ones');
  return ['small'];
}

const PEER = { small: 'fio', huge: 'fio, huge pages' };

async function fioBulk(
  fio: Fio,
  path: string,
  range: Range,
  direction: 'read' | 'write',
  memory: Memory,
): Promise<number> {
  const { mibps } = await fio.run({
    filename: path,
    offset: range.offsetBytes,
    size: range.sizeBytes,
    rw: direction,
    bs: '1m',
    direct: 1,
    ioengine: 'io_uring',
    iodepth: DEPTH,
    overwrite: 1,
    // A commit flushes too.
    ...(direction === 'write' ? { end_fsync: 1 } : {}),
    ...(memory === 'huge' ? { mem: 'mmaphuge' } : {}),
  });
  return mibps;
}

/** Four chunks in flight; each mblock is committed when it is full, while the next ones are written. */
export async function writeAll(
  pool: Pool,
  mblockCount: number,
  fromHeap = false,
): Promise<{ ids: MblockId[]; mibps: number }> {
  const source = randomBuffer(MIB, 2);
  const chunk = fromHeap ? Buffer.from(source) : source;
  const ids: MblockId[] = [];
  const start = performance.now();
  let bytes = 0;
  let commits: Promise<void>[] = [];
  for (let i = 0; i < mblockCount; i++) {
    const mblock = await pool.mblocks.alloc();
    await writeMblock(mblock, chunk);
    bytes += mblock.writtenBytes;
    ids.push(mblock.id);
    commits.push(mblock.commit());
    if (commits.length === DEPTH) {
      await Promise.all(commits);
      commits = [];
    }
  }
  await Promise.all(commits);
  const seconds = (performance.now() - start) / 1000;
  pageBuffers.release(source);
  return { ids, mibps: bytes / MIB / seconds };
}

async function writeMblock(mblock: Mblock, chunk: Uint8Array): Promise<void> {
  const { capacityBytes } = mblock;
  let reserved = 0;
  await inParallel(DEPTH, async () => {
    while (reserved < capacityBytes) {
      const length = Math.min(chunk.length, capacityBytes - reserved);
      reserved += length;
      await mblock.write(chunk.subarray(0, length));
    }
  });
}

export async function readAll(mblocks: readonly Mblock[]): Promise<number> {
  const start = performance.now();
  let bytes = 0;
  let next = 0;
  let offsetBytes = 0;
  await inParallel(DEPTH, async () => {
    const buffer = pageBuffers.allocate(MIB);
    while (next < mblocks.length) {
      const mblock = mblocks[next]!;
      const from = offsetBytes;
      const length = Math.min(MIB, mblock.writtenBytes - from);
      offsetBytes += length;
      if (offsetBytes === mblock.writtenBytes) {
        next += 1;
        offsetBytes = 0;
      }
      await mblock.readInto(from, buffer.subarray(0, length));
      bytes += length;
    }
    pageBuffers.release(buffer);
  });
  return bytes / MIB / ((performance.now() - start) / 1000);
}
