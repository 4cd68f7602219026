/** A simulated machine for the reaper: sets of objects page by page, their use, and a gauge that counts. */
import type { Prng } from '../../src/base/prng.ts';
import { MIB, PAGE_BYTES } from '../../src/base/units.ts';
import type { MemoryGauge, MemoryLevel, MemorySample } from '../../src/device/memory-gauge.ts';
import { CHUNK_ROWS, CHUNK_SHIFT, IN_USE, ROW_MASK } from '../../src/mcache/resident-set.ts';
import { LEAVING, SHOWN, STALE } from '../../src/mcache/resident-set.ts';
import type { ResidentSet, RowChunk } from '../../src/mcache/resident-set.ts';
import type { SimClock } from '../../src/testing/index.ts';

const CACHED = 1;
const IN_PAGE_TABLE = 2;

export const TEMPERATURE = { cold: 0, warm: 1, hot: 2, pinned: 3 } as const;

/** What the pool's work costs in it, in milliseconds. */
const CALL_MS = 0.1;

export interface Call {
  name: 'count' | 'evict' | 'zap' | 'touched' | 'forget';
  rows: number[];
  atMs: number;
}

export class FakeSet implements ResidentSet {
  readonly chunks: RowChunk[] = [];
  rowEnd = 0;
  readonly calls: Call[] = [];
  workMs = 0;
  hits = 0;
  misses = 0;
  /** Fails all work. */
  broken = false;
  failures = 0;
  readonly #clock: SimClock;
  readonly #pages: Uint8Array[] = [];
  readonly #cached: number[] = [];

  constructor(clock: SimClock) {
    this.#clock = clock;
  }

  addRow(pageCount: number, temperature = 0, flags = 0): number {
    const row = this.rowEnd++;
    if (row >>> CHUNK_SHIFT === this.chunks.length) this.chunks.push(makeChunk());
    const chunk = this.chunkOf(row);
    chunk.flags[row & ROW_MASK] = IN_USE | flags;
    chunk.temperature[row & ROW_MASK] = temperature;
    chunk.pageCount[row & ROW_MASK] = pageCount;
    this.#pages.push(new Uint8Array(pageCount));
    this.#cached.push(0);
    return row;
  }

  chunkOf(row: number): RowChunk {
    return this.chunks[row >>> CHUNK_SHIFT]!;
  }

  flag(row: number, flags: number): void {
    this.chunkOf(row).flags[row & ROW_MASK]! |= flags;
  }

  unflag(row: number, flags: number): void {
    this.chunkOf(row).flags[row & ROW_MASK]! &= ~flags;
  }

  has(row: number, flags: number): boolean {
    return (this.chunkOf(row).flags[row & ROW_MASK]! & flags) !== 0;
  }

  /** Through the API: counted. @returns false for a miss */
  access(row: number, page: number): boolean {
    const chunk = this.chunkOf(row);
    chunk.hits[row & ROW_MASK]! += 1;
    return this.#bring(row, page, CACHED);
  }

  /** Through a view: only the page tables tell. */
  touch(row: number, page: number): boolean {
    this.flag(row, SHOWN);
    return this.#bring(row, page, CACHED | IN_PAGE_TABLE);
  }

  /** Without a use: read-ahead. */
  fill(row: number): void {
    const pages = this.#pages[row]!;
    for (let page = 0; page < pages.length; page++) this.#bring(row, page, CACHED);
  }

  #bring(row: number, page: number, bits: number): boolean {
    const pages = this.#pages[row]!;
    const hit = (pages[page]! & CACHED) !== 0;
    pages[page]! |= bits;
    if (hit) this.hits += 1;
    else {
      this.misses += 1;
      this.#cached[row]! += 1;
      this.flag(row, STALE);
    }
    return hit;
  }

  /** What is really cached. */
  cachedPages(row?: number): number {
    return row === undefined ? this.#cached.reduce((sum, n) => sum + n, 0) : this.#cached[row]!;
  }

  evictedRows(): number[] {
    return this.calls.flatMap(({ name, rows }) => (name === 'evict' ? rows : []));
  }

  async count(rows: readonly number[]): Promise<void> {
    await this.#call('count', rows);
    for (const row of rows) {
      this.chunkOf(row).residentPages[row & ROW_MASK] = this.#cached[row]!;
      this.unflag(row, STALE);
    }
  }

  async evict(rows: readonly number[]): Promise<void> {
    for (const row of rows) this.flag(row, LEAVING);
    await this.#call('evict', rows);
    for (const row of rows) this.drop(row);
    for (const row of rows) this.unflag(row, LEAVING);
  }

  drop(row: number): void {
    this.#pages[row]!.fill(0);
    this.#cached[row] = 0;
    this.chunkOf(row).residentPages[row & ROW_MASK] = 0;
  }

  async zap(rows: readonly number[]): Promise<void> {
    await this.#call('zap', rows);
    for (const row of rows) {
      const pages = this.#pages[row]!;
      for (let page = 0; page < pages.length; page++) pages[page]! &= CACHED;
    }
  }

  async touched(rows: readonly number[]): Promise<Float64Array> {
    await this.#call('touched', rows);
    return Float64Array.from(rows, (row) =>
      this.#pages[row]!.reduce((sum, bits) => sum + Number((bits & IN_PAGE_TABLE) !== 0), 0),
    );
  }

  forget(row: number): void {
    this.calls.push({ name: 'forget', rows: [row], atMs: this.#clock.monotonicMs() });
    this.chunkOf(row).flags[row & ROW_MASK] = 0;
  }

  async #call(name: Call['name'], rows: readonly number[]): Promise<void> {
    if (this.broken) {
      this.failures += 1;
      throw new Error('the set is broken');
    }
    this.calls.push({ name, rows: [...rows], atMs: this.#clock.monotonicMs() });
    await new Promise<void>((resolve) => void this.#clock.after(CALL_MS, resolve, true));
    this.workMs += CALL_MS;
  }
}

function makeChunk(): RowChunk {
  return {
    hits: new Uint32Array(CHUNK_ROWS),
    flags: new Uint8Array(CHUNK_ROWS),
    temperature: new Uint8Array(CHUNK_ROWS),
    pageCount: new Uint32Array(CHUNK_ROWS),
    residentPages: new Uint32Array(CHUNK_ROWS),
    seenHits: new Uint32Array(CHUNK_ROWS),
    idleSinceMs: new Float64Array(CHUNK_ROWS),
    hitsPerSecond: new Float32Array(CHUNK_ROWS),
  };
}

/** A machine of much memory, and a group of it with a limit. */
export class FakeMachine implements MemoryGauge {
  machineBytes = 1024 * 1024 * MIB;
  limitBytes: number | undefined;
  otherBytes = 0;
  foreignCacheBytes = 0;
  stalledShare: number | undefined;
  reads = 0;
  broken = false;
  readonly sets: FakeSet[];

  constructor(...sets: FakeSet[]) {
    this.sets = sets;
  }

  get cachedBytes(): number {
    return this.sets.reduce((sum, set) => sum + set.cachedPages(), 0) * PAGE_BYTES;
  }

  get usedBytes(): number {
    return this.otherBytes + this.foreignCacheBytes + this.cachedBytes;
  }

  async read(): Promise<MemorySample> {
    this.reads += 1;
    if (this.broken) throw new Error('the gauge is broken');
    const { limitBytes, stalledShare } = this;
    const group = limitBytes === undefined ? undefined : this.#level(limitBytes);
    return {
      machine: this.#level(this.machineBytes),
      group: group && { ...group, path: '/', version: 2 },
      stalledShare,
    };
  }

  #level(totalBytes: number): MemoryLevel {
    const cacheBytes = this.cachedBytes + this.foreignCacheBytes;
    const freeBytes = Math.max(0, totalBytes - this.usedBytes);
    return { totalBytes, freeBytes, cacheBytes, otherBytes: this.otherBytes };
  }
}

/** Rank 0 … count - 1 with probability falling as 1 / (rank + 1)^skew. */
export class Zipf {
  readonly #sums: Float64Array;

  constructor(count: number, skew: number) {
    let sum = 0;
    this.#sums = Float64Array.from({ length: count }, (_, i) => (sum += 1 / (i + 1) ** skew));
  }

  next(prng: Prng): number {
    const wanted = (prng.u32() / 2 ** 32) * this.#sums.at(-1)!;
    let low = 0;
    let high = this.#sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sums[middle]! <= wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
