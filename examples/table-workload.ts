/** What the demonstration puts and asks for, and what answers must be. SEED fixes all of it. */
import type { Entry } from './table-format.ts';

const VALUE_BYTES_MAX = 255;
const NOISE_BYTES = 2 ** 16;
/** One of so many changes of a key deletes it. */
const DELETIONS = 16;
/** Of a key with a value of middle length, in its table. */
const ENTRY_BYTES = 145;

/** Uniform in 0 … 1: mulberry32, from the public domain. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Whole numbers below `count`, the first ones by far the likeliest, from uniform ones.
 * Source: Gray et al., Quickly Generating Billion-Record Synthetic Databases (SIGMOD 1994); YCSB uses
 * it with the same 0.99.
 */
export function zipfianBelow(count: number): (uniform: number) => number {
  const theta = 0.99;
  let zeta = 0;
  for (let i = 1; i <= count; i++) zeta += i ** -theta;
  const zeta2 = 1 + 0.5 ** theta;
  const eta = (1 - (2 / count) ** (1 - theta)) / (1 - zeta2 / zeta);
  return (uniform) => {
    if (uniform * zeta < 1) return 0;
    if (uniform * zeta < zeta2) return 1;
    return Math.floor(count * (eta * uniform - eta + 1) ** (1 / (1 - theta)));
  };
}

/**
 * A value follows from its key and how often that was put, so an answer can be checked without a copy of
 * everything. A lookup that overlaps a put may see either.
 */
export class Workload {
  readonly keyCount: number;
  checkedAnswers = 0;
  readonly #random: () => number;
  readonly #noise: Uint8Array;
  /** Of each key: the puts that were begun, and those that are done. */
  readonly #begun: Uint32Array;
  readonly #done: Uint32Array;

  constructor(seed: number, lengthBytes: number) {
    this.keyCount = Math.ceil(lengthBytes / ENTRY_BYTES);
    this.#random = randomFrom(seed);
    this.#noise = Uint8Array.from({ length: NOISE_BYTES }, () => this.#random() * 256);
    this.#begun = new Uint32Array(this.keyCount);
    this.#done = new Uint32Array(this.keyCount);
  }

  /** Any of the keys, each once. */
  someKeys(count: number): number[] {
    const keys = new Set<number>();
    while (keys.size < count) keys.add(Math.floor(this.#random() * this.keyCount));
    return [...keys];
  }

  /** Puts the next version of some keys. */
  async put(keys: readonly number[], put: (entries: Entry[]) => Promise<void>): Promise<void> {
    for (const key of keys) this.#begun[key]!++;
    await put(
      keys.map((key) => ({ key: keyOf(key), value: this.#valueOf(key, this.#begun[key]!) })),
    );
    for (const key of keys) this.#done[key]!++;
  }

  /** @throws Error when the answer is none that the key could have */
  async check(
    key: number,
    get: (key: Uint8Array) => Promise<Uint8Array | undefined>,
  ): Promise<void> {
    const oldest = this.#done[key]!;
    const answer = await get(keyOf(key));
    this.checkedAnswers += 1;
    for (let version = oldest; version <= this.#begun[key]!; version++) {
      const expected = this.#valueOf(key, version);
      if (
        expected === null ? answer === undefined : answer && Buffer.compare(answer, expected) === 0
      )
        return;
    }
    throw new Error(`${keyOf(key).toString()} has a value that was not put: ${String(answer)}`);
  }

  #valueOf(key: number, version: number): Uint8Array | null {
    let mixed = Math.imul(key + 1, 0x9e3779b1) ^ Math.imul(version, 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35) >>> 0;
    if (version === 0 || (version > 1 && mixed % DELETIONS === 0)) return null;
    const at = (mixed >>> 8) % (NOISE_BYTES - VALUE_BYTES_MAX);
    return this.#noise.subarray(at, at + ((mixed >>> 4) % (VALUE_BYTES_MAX + 1)));
  }
}

/** In the order of the numbers: what is asked for often lies together, since tables are evicted whole. */
function keyOf(number: number): Buffer {
  return Buffer.from(`key${String(number).padStart(10, '0')}`);
}
