/** Sorted runs of tables: how they are written, read past the page cache, merged, and when. */
import { allocateBuffer, type MblockId, type Pool, releaseBuffer } from '../src/index.ts';
import { BLOCK_BYTES, blockCountOf, compareKeys, entriesOf, type Entry } from './table-format.ts';
import { FOOTER_BYTES, type Table, TableBuilder, tableOf } from './table-format.ts';

/** Tables whose key ranges follow one another: what one put or one compaction wrote. */
export type Run = readonly Table[];

/** Merging lets lookups go on after each chunk: so much is a millisecond of work. */
const CHUNK_BYTES = 16 * BLOCK_BYTES;
/** Fewer are not worth a compaction; more make lookups ask in more places. */
const RUNS_MERGED_MIN = 4;

/**
 * Writes entries into as many tables as they need, and makes all of them durable in one step.
 * @param sorted portions of entries, by rising key throughout
 * @throws what the pool throws, ERR_MPOOL_NO_SPACE among it; and then nothing is left of the run
 */
export async function writeRun(
  pool: Pool,
  sorted: Iterable<Entry[]> | AsyncIterable<Entry[]>,
): Promise<Run> {
  const mblocks = [await pool.mblocks.alloc()];
  // Memory that the device takes without a copy.
  const memory = allocateBuffer(mblocks[0]!.capacityBytes);
  const builder = new TableBuilder(memory);
  const tables: Table[] = [];
  const finish = async (): Promise<void> => {
    const mblock = mblocks.at(-1)!;
    const bytes = builder.finish();
    const tailAt = blockCountOf(bytes) * BLOCK_BYTES;
    await mblock.write(bytes);
    tables.push(tableOf(mblock.id, new Uint8Array(bytes.subarray(tailAt))));
  };
  try {
    for await (const entries of sorted) {
      for (const entry of entries) {
        if (builder.add(entry)) continue;
        await finish();
        mblocks.push(await pool.mblocks.alloc());
        builder.add(entry);
      }
    }
    if (builder.entryCount > 0) await finish();
    else await mblocks.pop()!.abort();
    await pool.mblocks.commit(mblocks);
    return tables;
  } catch (error) {
    // The first error is the one to tell. What cannot be given back is free once the pool is opened again.
    await pool.mblocks.abort(mblocks).catch(() => {});
    throw error;
  } finally {
    releaseBuffer(memory);
  }
}

/** What is kept in memory of a table that an earlier process wrote. @throws Error when it is none */
export async function openTable(pool: Pool, id: MblockId): Promise<Table> {
  const mblock = await pool.mblocks.find(id);
  const footer = await mblock.read(mblock.writtenBytes - FOOTER_BYTES, FOOTER_BYTES);
  const tailAt = blockCountOf(footer) * BLOCK_BYTES;
  return tableOf(id, await mblock.read(tailAt, mblock.writtenBytes - tailAt));
}

/**
 * Every entry of a run, by direct reads: a compaction reads everything once, and would otherwise push what
 * lookups need out of the page cache.
 */
export async function* readRun(pool: Pool, run: Run): AsyncGenerator<Entry[]> {
  for (const { id, firstKeys } of run) {
    const endBytes = firstKeys.length * BLOCK_BYTES;
    for (let at = 0; at < endBytes; at += CHUNK_BYTES) {
      const chunk = await pool.mblocks.read(id, at, Math.min(CHUNK_BYTES, endBytes - at));
      const entries: Entry[] = [];
      for (let block = 0; block < chunk.length; block += BLOCK_BYTES) {
        entries.push(...entriesOf(chunk.subarray(block, block + BLOCK_BYTES)));
      }
      yield entries;
    }
  }
}

/** One sequence of several, newest first: of entries with the same key the newest stays. */
export async function* merge(sources: AsyncGenerator<Entry[]>[]): AsyncGenerator<Entry[]> {
  let heads = sources.map((source) => ({ source, entries: [] as Entry[], at: 0 }));
  for (;;) {
    for (const head of heads) {
      if (head.at < head.entries.length) continue;
      const { value, done } = await head.source.next();
      head.entries = done === true ? [] : value;
      head.at = 0;
    }
    heads = heads.filter(({ entries }) => entries.length > 0);
    if (heads.length === 0) return;
    const merged: Entry[] = [];
    while (heads.every(({ at, entries }) => at < entries.length)) {
      let least = heads[0]!.entries[heads[0]!.at]!;
      for (const { entries, at } of heads) {
        if (compareKeys(entries[at]!.key, least.key) < 0) least = entries[at]!;
      }
      for (const head of heads) {
        if (compareKeys(head.entries[head.at]!.key, least.key) === 0) head.at += 1;
      }
      merged.push(least);
    }
    yield merged;
  }
}

export async function* withoutDeleted(portions: AsyncIterable<Entry[]>): AsyncGenerator<Entry[]> {
  for await (const entries of portions) yield entries.filter(({ value }) => value !== null);
}

/**
 * The newest runs, down to the last that is not much larger than all newer ones together: so an entry is
 * merged into a run of about twice the size each time, and there are but a few runs.
 * @param runs newest first
 */
export function runsToMerge(runs: readonly Run[]): readonly Run[] {
  let count = 0;
  let newerBlocks = 0;
  runs.forEach((run, i) => {
    if (blockCountIn(run) <= 1.25 * newerBlocks) count = i + 1;
    newerBlocks += blockCountIn(run);
  });
  return count < RUNS_MERGED_MIN ? [] : runs.slice(0, count);
}

export function blockCountIn(run: Run): number {
  return run.reduce((sum, { firstKeys }) => sum + firstKeys.length, 0);
}
