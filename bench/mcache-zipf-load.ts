/** Which value is read next: zipfian over all values, as YCSB draws them, and where each lies. */
import type { Prng } from '../src/base/prng.ts';
import { KIB } from '../src/base/units.ts';

export const VALUE_BYTES = KIB;
/** Of YCSB. */
const THETA = 0.99;
/** Coprime to any number of values that is not a multiple of it: neighbours in rank lie far apart. */
const STEP = 1_000_003;

/**
 * Where heat is.
 * 'object': ranks go to the objects in turn, so that some objects are hot and most are cold, as tables of
 * a log-structured merge tree are; within an object they are scattered. 'even': scattered over all.
 */
export type Heat = 'object' | 'even';

/** Ranks from 0, the most popular: the generator of Gray and others (SIGMOD 1994), which YCSB uses. */
export class Zipf {
  readonly #count: number;
  readonly #zeta: number;
  readonly #eta: number;
  readonly #second: number;

  constructor(count: number) {
    let zeta = 0;
    for (let rank = 1; rank <= count; rank++) zeta += rank ** -THETA;
    this.#count = count;
    this.#zeta = zeta;
    this.#second = 1 + 0.5 ** THETA;
    this.#eta = (1 - (2 / count) ** (1 - THETA)) / (1 - this.#second / zeta);
  }

  next(prng: Prng): number {
    const u = prng.u32() / 2 ** 32;
    const scaled = u * this.#zeta;
    if (scaled < 1) return 0;
    if (scaled < this.#second) return 1;
    const rank = Math.floor(this.#count * (this.#eta * u - this.#eta + 1) ** (1 / (1 - THETA)));
    return Math.min(rank, this.#count - 1);
  }
}

/** Where values lie: in objects of the same length, whose popularity is shuffled. */
export class Placement {
  readonly valueCount: number;
  readonly #perObject: number;
  readonly #heat: Heat;
  readonly #order: Uint32Array;

  constructor(objectCount: number, objectBytes: number, heat: Heat, prng: Prng) {
    this.#perObject = Math.floor(objectBytes / VALUE_BYTES);
    this.valueCount = objectCount * this.#perObject;
    this.#heat = heat;
    this.#order = Uint32Array.from({ length: objectCount }, (_, i) => i);
    for (let i = objectCount - 1; i > 0; i--) {
      const j = prng.u32() % (i + 1);
      const swapped = this.#order[i]!;
      this.#order[i] = this.#order[j]!;
      this.#order[j] = swapped;
    }
  }

  objectOf(rank: number): number {
    if (this.#heat === 'object') return this.#order[Math.floor(rank / this.#perObject)]!;
    return Math.floor(((rank * STEP) % this.valueCount) / this.#perObject);
  }

  offsetOf(rank: number): number {
    const place = (rank * STEP) % (this.#heat === 'object' ? this.#perObject : this.valueCount);
    return (place % this.#perObject) * VALUE_BYTES;
  }
}
