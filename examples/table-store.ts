import { type Mdc, type MblockId, parseObjectId, type Pool, printObjectId } from '../src/index.ts';
import { compareKeys, type Entry, findInBlock, type Table } from './table-format.ts';
import { Generation } from './table-generation.ts';
import { blockCountIn, merge, openTable, readRun, type Run } from './table-run.ts';
import { runsToMerge, withoutDeleted, writeRun } from './table-run.ts';

/** The list is written anew when it has grown to so many changes. */
const MANIFEST_RECORDS_MAX = 32;

/** A record of the manifest: `add` takes the place of `remove`, or else is the newest run. */
interface Change<T> {
  add: readonly T[];
  remove: readonly T[];
}

/** Keys and values in sorted tables, of which newer ones hide older ones. */
export class TableStore {
  readonly stats = {
    lookups: 0,
    readyBlocks: 0,
    awaitedBlocks: 0,
    puts: 0,
    compactions: 0,
    compactedBlocks: 0,
  };
  readonly #pool: Pool;
  /** The root MDC: which tables there are. */
  readonly #manifest: Mdc;
  #current: Generation;
  #changing: Promise<void> = Promise.resolve();

  private constructor(pool: Pool, manifest: Mdc, current: Generation) {
    this.#pool = pool;
    this.#manifest = manifest;
    this.#current = current;
  }

  static async open(pool: Pool): Promise<TableStore> {
    const manifest = await pool.mdcs.root();
    let runs: MblockId[][] = [];
    for await (const record of manifest.records()) {
      const { add, remove } = JSON.parse(Buffer.from(record).toString()) as Change<string>;
      const idOf = (text: string): MblockId => parseObjectId(text) as MblockId;
      runs = changed(runs, { add: add.map(idOf), remove: remove.map(idOf) });
    }
    const named = new Set(runs.flat());
    const unnamed: MblockId[] = [];
    // A crash between a commit and its record, or a record and the deletion, leaves tables nobody knows.
    for await (const { id } of pool.mblocks.list()) if (!named.has(id)) unnamed.push(id);
    if (!pool.readOnly) await pool.mblocks.delete(unnamed);
    const tables = await Promise.all(
      runs.map((run) => Promise.all(run.map((id) => openTable(pool, id)))),
    );
    return new TableStore(pool, manifest, await Generation.of(pool, tables));
  }

  get runs(): readonly Run[] {
    return this.#current.runs;
  }

  /** @returns a copy: a view would end with its map */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const generation = this.#current.hold();
    this.stats.lookups += 1;
    try {
      for (const place of generation.placesOf(key)) {
        let block = generation.readyBlock(place);
        if (block === undefined) {
          this.stats.awaitedBlocks += 1;
          block = await generation.awaitedBlock(place);
        } else this.stats.readyBlocks += 1;
        const value = findInBlock(block, key);
        if (value !== undefined) return value === null ? undefined : new Uint8Array(value);
      }
      return undefined;
    } finally {
      await generation.release();
    }
  }

  /**
   * All of them durably, or none; each key once. Of puts under way together, the one that is done last is
   * the newest.
   */
  async put(entries: readonly Entry[]): Promise<void> {
    const sorted = entries.toSorted((a, b) => compareKeys(a.key, b.key));
    await this.#change(await writeRun(this.#pool, [sorted]), []);
    this.stats.puts += 1;
  }

  /** Merges runs into one when there are several of a size; one call at a time. @returns whether it did */
  async compact(): Promise<boolean> {
    const merged = runsToMerge(this.runs);
    if (merged.length === 0) return false;
    const entries = merge(merged.map((run) => readRun(this.#pool, run)));
    // What is deleted must hide older entries, as long as there may be any.
    const oldest = merged.at(-1) === this.runs.at(-1);
    const run = await writeRun(this.#pool, oldest ? withoutDeleted(entries) : entries);
    await this.#change(run, merged.flat());
    // Only now that no list names them. Lookups of older generations still read them in peace.
    await this.#pool.mblocks.delete(merged.flat().map(({ id }) => id));
    this.stats.compactions += 1;
    this.stats.compactedBlocks += merged.reduce((sum, each) => sum + blockCountIn(each), 0);
    return true;
  }

  /** Lookups must be done. */
  async close(): Promise<void> {
    await this.#changing;
    await this.#current.release();
    await this.#manifest.close();
  }

  #change(add: readonly Table[], remove: readonly Table[]): Promise<void> {
    const done = this.#changing.then(() => this.#changeNow({ add, remove }));
    this.#changing = done.catch(() => {});
    return done;
  }

  async #changeNow(change: Change<Table>): Promise<void> {
    const former = this.#current;
    // Mapped before the old one is unmapped: what both have stays in memory.
    const next = await Generation.of(this.#pool, changed(former.runs, change));
    try {
      const { recordCount, usedBytes, capacityBytes } = this.#manifest.usage;
      if (recordCount >= MANIFEST_RECORDS_MAX || usedBytes > capacityBytes / 2) {
        const runs = former.runs.toReversed();
        await this.#manifest.compact(runs.map((add) => recordOf({ add, remove: [] })));
      }
      await this.#manifest.append(recordOf(change), { sync: true });
    } catch (error) {
      // Nobody knows whether the record will be there after a crash: the tables stay, for open() to judge.
      await next.release();
      throw error;
    }
    this.#current = next;
    await former.release();
  }
}

function changed<T>(runs: readonly (readonly T[])[], { add, remove }: Change<T>): T[][] {
  const kept = runs.filter((run) => !remove.includes(run[0]!)).map((run) => [...run]);
  const at = runs.findIndex((run) => remove.includes(run[0]!));
  if (add.length > 0) kept.splice(Math.max(at, 0), 0, [...add]);
  return kept;
}

function recordOf({ add, remove }: Change<Table>): string {
  const nameOf = ({ id }: Table): string => printObjectId(id);
  return JSON.stringify({ add: add.map(nameOf), remove: remove.map(nameOf) });
}
