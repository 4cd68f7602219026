/** Pools for the benchmarks of maps, through the public door: as users open them. */
import { open } from '../src/index.ts';
import { MIB } from '../src/base/units.ts';
import { pageBuffers } from '../src/device/page-buffers.ts';
import type { Mblock, MblockId, Pool } from '../src/pool/api.ts';
import { randomBuffer } from './workspace.ts';

/** Objects are committed so many at a time. */
const BATCH = 512;
const CHUNK_BYTES = MIB;

/** Without discards: they would make holes where the next run writes. */
export function openForMaps(path: string): Promise<Pool> {
  return open(path, { discard: false });
}

/**
 * Commits mblocks of random bytes, in the order of their ids.
 * @param lengthBytes of each: as many as fit by default
 */
export async function commitObjects(
  pool: Pool,
  count: number,
  lengthBytes = Infinity,
): Promise<MblockId[]> {
  const chunk = randomBuffer(CHUNK_BYTES, 1);
  const ids: MblockId[] = [];
  while (ids.length < count) {
    const batch: Mblock[] = [];
    while (batch.length < BATCH && ids.length + batch.length < count) {
      const mblock = await pool.mblocks.alloc();
      const end = Math.min(lengthBytes, mblock.capacityBytes);
      while (mblock.writtenBytes < end) {
        const length = Math.min(chunk.length, end - mblock.writtenBytes);
        await mblock.write(chunk.subarray(0, length));
      }
      batch.push(mblock);
    }
    await pool.mblocks.commit(batch);
    ids.push(...batch.map(({ id }) => id));
  }
  pageBuffers.release(chunk);
  return ids;
}

export async function idsOf(pool: Pool): Promise<MblockId[]> {
  const ids: MblockId[] = [];
  for await (const { id } of pool.mblocks.list()) ids.push(id);
  return ids;
}
