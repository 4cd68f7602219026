/**
 * What one session leases, by index in the object table: how many times, and how many of these for maps.
 * A hash table over typed arrays, 12 bytes a place: there may be a million leases in each of many sessions.
 *
 * Invariants
 *  1. A place is free (key 0) or holds index + 1, at or after the place that its hash says, with
 *     no free place
 *     in between.
 *  2. At most three quarters of the places are taken.
 */
import { assert } from '../../base/assert.ts';

const PLACES_AT_FIRST = 16;

export class LeaseSet {
  #keys = new Uint32Array(PLACES_AT_FIRST);
  #counts = new Uint32Array(PLACES_AT_FIRST);
  #mapped = new Uint32Array(PLACES_AT_FIRST);
  #size = 0;
  #mappedSize = 0;

  /** Objects. */
  get size(): number {
    return this.#size;
  }
  /** Of them, those with a lease for maps. */
  get mappedSize(): number {
    return this.#mappedSize;
  }

  has(index: number): boolean {
    return this.#keys[this.#placeOf(index)] !== 0;
  }

  isMapped(index: number): boolean {
    return this.#mapped[this.#placeOf(index)] !== 0;
  }

  /** How many leases, and how many of them for maps. */
  countsOf(index: number): { count: number; mapped: number } {
    const place = this.#placeOf(index);
    return { count: this.#counts[place]!, mapped: this.#mapped[place]! };
  }

  /** @returns true for the first lease of that object */
  add(index: number, mapped: boolean): boolean {
    let place = this.#placeOf(index);
    const first = this.#keys[place] === 0;
    if (first) {
      if ((this.#size + 1) * 4 > this.#keys.length * 3) {
        this.#grow();
        place = this.#placeOf(index);
      }
      this.#keys[place] = index + 1;
      this.#size += 1;
    }
    assert(this.#counts[place]! < 0xffffffff, 'fewer than 2^32 leases');
    this.#counts[place]!++;
    if (mapped && this.#mapped[place]!++ === 0) this.#mappedSize += 1;
    return first;
  }

  /** @returns true for the last lease of that object: it is forgotten */
  remove(index: number, mapped: boolean): boolean {
    const place = this.#placeOf(index);
    assert(this.#counts[place]! > 0, 'what is released is leased');
    assert(!mapped || this.#mapped[place]! > 0, 'what is released was leased for maps');
    this.#counts[place]!--;
    if (mapped && --this.#mapped[place]! === 0) this.#mappedSize -= 1;
    if (this.#counts[place]! > 0) return false;
    this.#size -= 1;
    this.#close(place);
    return true;
  }

  *indices(): Generator<number> {
    for (const key of this.#keys) if (key !== 0) yield key - 1;
  }

  /** Place of the object, or the free one where it would be. */
  #placeOf(index: number): number {
    const mask = this.#keys.length - 1;
    let place = hash(index) & mask;
    while (this.#keys[place] !== 0 && this.#keys[place] !== index + 1) place = (place + 1) & mask;
    return place;
  }

  /** Frees a place, moving up what would no longer be found. */
  #close(hole: number): void {
    const mask = this.#keys.length - 1;
    for (let place = (hole + 1) & mask; this.#keys[place] !== 0; place = (place + 1) & mask) {
      const home = hash(this.#keys[place]! - 1) & mask;
      if (((place - home) & mask) < ((place - hole) & mask)) continue;
      this.#keys[hole] = this.#keys[place]!;
      this.#counts[hole] = this.#counts[place]!;
      this.#mapped[hole] = this.#mapped[place]!;
      hole = place;
    }
    this.#keys[hole] = 0;
    this.#counts[hole] = 0;
    this.#mapped[hole] = 0;
  }

  #grow(): void {
    const [keys, counts, mapped] = [this.#keys, this.#counts, this.#mapped];
    this.#keys = new Uint32Array(keys.length * 2);
    this.#counts = new Uint32Array(keys.length * 2);
    this.#mapped = new Uint32Array(keys.length * 2);
    keys.forEach((key, from) => {
      if (key === 0) return;
      const place = this.#placeOf(key - 1);
      this.#keys[place] = key;
      this.#counts[place] = counts[from]!;
      this.#mapped[place] = mapped[from]!;
    });
  }
}

/** Fibonacci hashing: rows that follow each other come far apart. */
function hash(index: number): number {
  const product = Math.imul(index, 0x9e3779b1);
  return (product ^ (product >>> 15)) >>> 0;
}
