/**
 * Open-addressing hash of 64-bit ids to indices: 256 shards that grow one by one, so that no insert ever
 * moves more than a 256th of all entries. It stores no ids: `idsOf` looks them up in the table.
 *
 * Invariants:
 * 1. A slot is 0 (empty) or index + 1.
 * 2. An entry lies at or after its home slot, and no empty slot lies between (so that a search may stop
 *    at an empty slot; removal closes gaps instead of leaving tombstones).
 * 3. A shard is at most 3/4 full.
 */
import { assert } from '../base/assert.ts';

const SHARDS = 256;
const FIRST_SLOTS = 8;

/** The two halves of the id at an index. */
export interface IdColumns {
  high(index: number): number;
  low(index: number): number;
}

export class IdIndex {
  readonly #ids: IdColumns;
  readonly #seed: number;
  readonly #shards: Uint32Array[];
  readonly #counts = new Uint32Array(SHARDS);
  #bytes: number;

  /** @param seed keeps whoever makes an image from choosing ids that collide */
  constructor(ids: IdColumns, seed: number) {
    this.#seed = seed;
    this.#ids = ids;
    this.#shards = Array.from({ length: SHARDS }, () => new Uint32Array(FIRST_SLOTS));
    this.#bytes = SHARDS * FIRST_SLOTS * 4;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @returns the index, or -1 */
  find(high: number, low: number): number {
    const hash = hashOf(high, low, this.#seed);
    const shard = this.#shards[hash >>> 24]!;
    const mask = shard.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = shard[slot]!;
      if (entry === 0) return -1;
      if (this.#ids.low(entry - 1) === low && this.#ids.high(entry - 1) === high) return entry - 1;
    }
  }

  /** @returns false, and nothing changes, when the id is there */
  add(high: number, low: number, index: number): boolean {
    const hash = hashOf(high, low, this.#seed);
    const number = hash >>> 24;
    const shard = this.#shards[number]!;
    const mask = shard.length - 1;
    let slot = hash & mask;
    for (let entry = shard[slot]!; entry !== 0; entry = shard[slot]!) {
      if (this.#ids.low(entry - 1) === low && this.#ids.high(entry - 1) === high) return false;
      slot = (slot + 1) & mask;
    }
    const count = ++this.#counts[number]!;
    if (count * 4 <= shard.length * 3) shard[slot] = index + 1;
    else place(this.#growShard(number), hash, index + 1);
    return true;
  }

  remove(high: number, low: number, index: number): void {
    const hash = hashOf(high, low, this.#seed);
    const shard = this.#shards[hash >>> 24]!;
    const mask = shard.length - 1;
    let gap = hash & mask;
    while (shard[gap] !== index + 1) {
      assert(shard[gap] !== 0, 'the id is in the index');
      gap = (gap + 1) & mask;
    }
    for (let slot = (gap + 1) & mask; shard[slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.#hashAt(shard[slot]! - 1) & mask;
      // An entry may move back to the gap unless its home lies after the gap.
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      shard[gap] = shard[slot]!;
      gap = slot;
    }
    shard[gap] = 0;
    this.#counts[hash >>> 24]!--;
  }

  #growShard(number: number): Uint32Array {
    const old = this.#shards[number]!;
    const shard = new Uint32Array(old.length * 2);
    for (const entry of old) if (entry !== 0) place(shard, this.#hashAt(entry - 1), entry);
    this.#shards[number] = shard;
    this.#bytes += old.length * 4;
    return shard;
  }

  #hashAt(index: number): number {
    return hashOf(this.#ids.high(index), this.#ids.low(index), this.#seed);
  }
}

function place(shard: Uint32Array, hash: number, entry: number): void {
  const mask = shard.length - 1;
  let slot = hash & mask;
  while (shard[slot] !== 0) slot = (slot + 1) & mask;
  shard[slot] = entry;
}

/** Mixes all 64 bits (finalizer of MurmurHash3, Appleby): ids differ in few bits only. */
function hashOf(high: number, low: number, seed: number): number {
  let hash = Math.imul(low ^ seed, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 16) ^ high, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
