import type { MblockMap, Pool } from '../src/index.ts';
import { BLOCK_BYTES, blockOffsetFor, compareKeys, lastNotAfter } from './table-format.ts';
import type { Table } from './table-format.ts';
import type { Run } from './table-run.ts';

/** Where a block is mapped. */
export interface Place {
  map: MblockMap;
  index: number;
  offsetBytes: number;
}

/**
 * One list of tables, mapped. A lookup holds on to the generation it began with, also while newer ones come
 * and tables are deleted: a map keeps what it has. Unmapping ends every view at once, so it is left to the
 * last who lets go.
 */
export class Generation {
  /** Newest first. */
  readonly runs: readonly Run[];
  readonly #maps: MblockMap[] = [];
  readonly #mapped: { table: Table; map: MblockMap; index: number }[][] = [];
  /** Lookups under way, and the store while this is its newest generation. */
  #holders = 1;

  private constructor(runs: readonly Run[]) {
    this.runs = runs;
  }

  static async of(pool: Pool, runs: readonly Run[]): Promise<Generation> {
    const generation = new Generation(runs);
    try {
      // Every lookup asks the younger runs, though most keys are not there: these should stay in memory.
      // The oldest run has most of the data, and only the part of it that is in use should.
      if (runs.length > 1) await generation.#map(pool, runs.slice(0, -1), 'hot');
      if (runs.length > 0) await generation.#map(pool, runs.slice(-1), 'cold');
      return generation;
    } catch (error) {
      await generation.release();
      throw error;
    }
  }

  hold(): this {
    this.#holders += 1;
    return this;
  }

  async release(): Promise<void> {
    this.#holders -= 1;
    if (this.#holders === 0) await Promise.all(this.#maps.map((map) => map.unmap()));
  }

  /** The block of each run that may have the key: the newest that has it is right. */
  *placesOf(key: Uint8Array): Generator<Place> {
    for (const run of this.#mapped) {
      const i = lastNotAfter(run, ({ table }) => compareKeys(table.firstKeys[0]!, key));
      if (i < 0) continue;
      const { table, map, index } = run[i]!;
      const offsetBytes = blockOffsetFor(table, key);
      if (offsetBytes !== undefined) yield { map, index, offsetBytes };
    }
  }

  /** @returns undefined when touching it might block the thread, or pages that nobody verified */
  readyBlock({ map, index, offsetBytes }: Place): Uint8Array | undefined {
    if (!map.ready(index, offsetBytes, BLOCK_BYTES)) return undefined;
    return map.view(index).subarray(offsetBytes, offsetBytes + BLOCK_BYTES);
  }

  /** Waits until it is in memory. @throws ERR_MPOOL_CHECKSUM, ERR_MPOOL_IO */
  async awaitedBlock({ map, index, offsetBytes }: Place): Promise<Uint8Array> {
    const [block] = await map.getPages(index, [offsetBytes]);
    return block!;
  }

  async #map(pool: Pool, runs: readonly Run[], temperature: 'hot' | 'cold'): Promise<void> {
    const ids = runs.flat().map(({ id }) => id);
    const map = await pool.map(ids, { temperature });
    this.#maps.push(map);
    let index = 0;
    for (const run of runs) this.#mapped.push(run.map((table) => ({ table, map, index: index++ })));
  }
}
