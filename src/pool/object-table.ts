/**
 * All committed objects of a pool in typed arrays: about 40 bytes each at a million.
 *
 * One row, over columns in chunks of 8,192 rows (31 bytes):
 *
 *   id high u32, id low u32 | page address u32 + u16 | page count u32 | length in bytes u32
 *   digest u32 | references u32 | flags u8: bit 0 media class, bits 1–2 role, 3 used, 4 deleted, 5 bad
 *
 * Invariants:
 * 1. A row is unused, live or deleted. Live rows, and only they, are found by id; `count` is their
 *    number. Rows never move, so an index is good until its row is removed; then it may be given to
 *    another object: a handle keeps index and id, and asks holds().
 * 2. A row with references is never removed. A deleted row goes when its last reference goes; who
 *    drops that one learns it, gives the space back and calls remove().
 * 3. Unused rows below `#rowCount` form a list through their id-low column.
 */
import { assert } from '../base/assert.ts';
import { IdIndex } from './id-index.ts';
import { mergeSorted } from './sorted-ids.ts';

const CHUNK_SHIFT = 13;
const CHUNK_ROWS = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_ROWS - 1;
const NONE = 0xffffffff;
const PAGE_ADDRESS_LIMIT = 2 ** 48;
const CHUNK_BYTES = CHUNK_ROWS * 31;
const CHUNKS_PER_STEP = 8;
/** Which u32 of a u64 in this machine's byte order is the low one. */
const LOW_HALF = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1;

const CLASS_MASK = 0b1;
const ROLE_SHIFT = 1;
const ROLE_MASK = 0b11;
const USED = 1 << 3;
const DELETED = 1 << 4;
const BAD = 1 << 5;

export interface ObjectFields {
  /** 0 staging, 1 capacity. */
  mediaClass: number;
  /** 0 plain, 1 log A, 2 log B of a user's MDC. */
  role: number;
  /** Below 2^48. */
  pageAddress: number;
  pageCount: number;
  /** Of what was written, for an mblock. */
  lengthBytes: number;
  /** u32. */
  digest: number;
}

export class ObjectTable {
  readonly #chunks: Chunk[] = [];
  readonly #index: IdIndex;
  #rowCount = 0;
  #firstUnused = NONE;
  #count = 0;
  #deletedCount = 0;

  /** @param seed of the hash: random, unless the order of ids is one's own */
  constructor(seed = 0) {
    this.#index = new IdIndex(
      { high: (index) => this.idHigh(index), low: (i) => this.idLow(i) },
      seed,
    );
  }

  /** Live objects. */
  get count(): number {
    return this.#count;
  }

  /** Deleted objects that are still referenced. */
  get deletedCount(): number {
    return this.#deletedCount;
  }

  /** Memory of the table. */
  get bytes(): number {
    return this.#chunks.length * CHUNK_BYTES + this.#index.bytes;
  }

  /** @returns the index of the new row, or -1 and no change when there is a live object of that id */
  insert(idHigh: number, idLow: number, fields: ObjectFields): number {
    const { pageAddress, role } = fields;
    assert(pageAddress >= 0 && pageAddress < PAGE_ADDRESS_LIMIT, 'a page address has 48 bits');
    assert(role >= 0 && role <= 2, 'a role is 0, 1 or 2');
    const index = this.#firstUnused === NONE ? this.#rowCount : this.#firstUnused;
    if (!this.#index.add(idHigh, idLow, index)) return -1;
    this.#takeRow(index);
    const chunk = this.#chunks[index >>> CHUNK_SHIFT]!;
    const row = index & CHUNK_MASK;
    chunk.idHigh[row] = idHigh;
    chunk.idLow[row] = idLow;
    chunk.addressLow[row] = pageAddress;
    chunk.addressHigh[row] = pageAddress / 2 ** 32;
    chunk.pageCount[row] = fields.pageCount;
    chunk.lengthBytes[row] = fields.lengthBytes;
    chunk.digest[row] = fields.digest;
    chunk.flags[row] = USED | (fields.mediaClass & CLASS_MASK) | (role << ROLE_SHIFT);
    this.#count++;
    return index;
  }

  /** Index of the live object of that id, or -1. */
  find(idHigh: number, idLow: number): number {
    return this.#index.find(idHigh, idLow);
  }

  /** As find(), of any bigint of 64 bits. */
  findId(id: bigint): number {
    return this.#index.find(Number((id >> 32n) & 0xffffffffn), Number(id & 0xffffffffn));
  }

  /** True when the row is still that of this object, live or deleted: for a handle that kept both. */
  holds(index: number, idHigh: number, idLow: number): boolean {
    return this.#isUsed(index) && this.idLow(index) === idLow && this.idHigh(index) === idHigh;
  }

  /**
   * The object is no longer found by its id; readers that hold a reference go on.
   * @returns true when there are none: the caller gives the space back and calls remove() at once
   */
  markDeleted(index: number): boolean {
    assert(this.#isLive(index), 'a live object is deleted');
    this.#index.remove(this.idHigh(index), this.idLow(index), index);
    this.#chunks[index >>> CHUNK_SHIFT]!.flags[index & CHUNK_MASK]! |= DELETED;
    this.#count--;
    this.#deletedCount++;
    return this.references(index) === 0;
  }

  /** Forgets a row, live or deleted, that has no references. Its index may be given out again. */
  remove(index: number): void {
    assert(this.#isUsed(index), 'the row is used');
    assert(this.references(index) === 0, 'a referenced object keeps its row');
    if (!this.isDeleted(index)) this.markDeleted(index);
    this.#deletedCount--;
    const chunk = this.#chunks[index >>> CHUNK_SHIFT]!;
    const row = index & CHUNK_MASK;
    chunk.flags[row] = 0;
    chunk.idLow[row] = this.#firstUnused;
    this.#firstUnused = index;
  }

  ref(index: number): void {
    assert(this.#isUsed(index), 'the row is used');
    const { references } = this.#chunks[index >>> CHUNK_SHIFT]!;
    assert(references[index & CHUNK_MASK]! < NONE, 'fewer than 2^32 references');
    references[index & CHUNK_MASK]!++;
  }

  /** @returns true when that was the last reference of a deleted object: give its space back, remove() */
  unref(index: number): boolean {
    const { references } = this.#chunks[index >>> CHUNK_SHIFT]!;
    assert(references[index & CHUNK_MASK]! > 0, 'the object is referenced');
    const left = --references[index & CHUNK_MASK]!;
    return left === 0 && this.isDeleted(index);
  }

  idAt(index: number): bigint {
    return (BigInt(this.idHigh(index)) << 32n) | BigInt(this.idLow(index));
  }

  idHigh(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.idHigh[index & CHUNK_MASK]!;
  }

  idLow(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.idLow[index & CHUNK_MASK]!;
  }

  pageAddress(index: number): number {
    const chunk = this.#chunks[index >>> CHUNK_SHIFT]!;
    const row = index & CHUNK_MASK;
    return chunk.addressHigh[row]! * 2 ** 32 + chunk.addressLow[row]!;
  }

  pageCount(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.pageCount[index & CHUNK_MASK]!;
  }

  lengthBytes(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.lengthBytes[index & CHUNK_MASK]!;
  }

  digest(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.digest[index & CHUNK_MASK]!;
  }

  /** 0 staging, 1 capacity. */
  mediaClass(index: number): number {
    return this.#flags(index) & CLASS_MASK;
  }

  role(index: number): number {
    return (this.#flags(index) >>> ROLE_SHIFT) & ROLE_MASK;
  }

  references(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.references[index & CHUNK_MASK]!;
  }

  isDeleted(index: number): boolean {
    return (this.#flags(index) & DELETED) !== 0;
  }

  isBad(index: number): boolean {
    return (this.#flags(index) & BAD) !== 0;
  }

  /** Remembers that something on media about this object is wrong. */
  markBad(index: number): void {
    assert(this.#isUsed(index), 'the row is used');
    this.#chunks[index >>> CHUNK_SHIFT]!.flags[index & CHUNK_MASK]! |= BAD;
  }

  /** The next live row after `index`, or -1; begin with -1. Rows come and go between calls as they like. */
  next(index: number): number {
    for (let i = index + 1; i < this.#rowCount; i++) {
      if ((this.#flags(i) & (USED | DELETED)) === USED) return i;
    }
    return -1;
  }

  /** As next(), with deleted rows that are still referenced: all that own space. */
  nextOwner(index: number): number {
    for (let i = index + 1; i < this.#rowCount; i++) {
      if ((this.#flags(i) & USED) !== 0) return i;
    }
    return -1;
  }

  /**
   * Ids of live objects in rising order, of one slot (the low 8 bits) or of all, in batches of at most
   * `batchSize`; some are empty. No step looks at or sorts more than 65,536 rows, so that a caller can
   * let others in between steps. Objects that come or go meanwhile may be in it or not.
   */
  *idBatches(options: { slot?: number; batchSize?: number } = {}): Generator<BigUint64Array> {
    const { slot, batchSize = 4096 } = options;
    const sorted: BigUint64Array[] = [];
    for (let chunk = 0; chunk < this.#chunks.length; chunk += CHUNKS_PER_STEP) {
      sorted.push(this.#liveIds(chunk, slot).toSorted());
      yield new BigUint64Array(0);
    }
    yield* mergeSorted(sorted, batchSize);
  }

  #liveIds(firstChunk: number, slot: number | undefined): BigUint64Array {
    const endRow = Math.min((firstChunk + CHUNKS_PER_STEP) * CHUNK_ROWS, this.#rowCount);
    const halves = new Uint32Array(Math.max(0, endRow - firstChunk * CHUNK_ROWS) * 2);
    let length = 0;
    for (let index = firstChunk * CHUNK_ROWS; index < endRow; index++) {
      if (!this.#isLive(index)) continue;
      const low = this.idLow(index);
      if (slot !== undefined && (low & 0xff) !== slot) continue;
      halves[length + LOW_HALF] = low;
      halves[length + 1 - LOW_HALF] = this.idHigh(index);
      length += 2;
    }
    return new BigUint64Array(halves.buffer, 0, length / 2);
  }

  /** @param index the first unused row */
  #takeRow(index: number): void {
    if (index === this.#firstUnused) {
      this.#firstUnused = this.idLow(index);
      return;
    }
    this.#rowCount++;
    if (index >>> CHUNK_SHIFT === this.#chunks.length) this.#chunks.push(makeChunk());
  }

  #flags(index: number): number {
    return this.#chunks[index >>> CHUNK_SHIFT]!.flags[index & CHUNK_MASK]!;
  }

  #isUsed(index: number): boolean {
    return index >= 0 && index < this.#rowCount && (this.#flags(index) & USED) !== 0;
  }

  #isLive(index: number): boolean {
    return this.#isUsed(index) && !this.isDeleted(index);
  }
}

interface Chunk {
  idHigh: Uint32Array;
  idLow: Uint32Array;
  addressLow: Uint32Array;
  addressHigh: Uint16Array;
  pageCount: Uint32Array;
  lengthBytes: Uint32Array;
  digest: Uint32Array;
  references: Uint32Array;
  flags: Uint8Array;
}

function makeChunk(): Chunk {
  const words = () => new Uint32Array(CHUNK_ROWS);
  return {
    idHigh: words(),
    idLow: words(),
    addressLow: words(),
    addressHigh: new Uint16Array(CHUNK_ROWS),
    pageCount: words(),
    lengthBytes: words(),
    digest: words(),
    references: words(),
    flags: new Uint8Array(CHUNK_ROWS),
  };
}
