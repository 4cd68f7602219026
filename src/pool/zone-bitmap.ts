import { assert } from '../base/assert.ts';

/**
 * One bit a zone, in two levels, so that the next set bit among a million is at most a thousand words
 * away. 132 KiB for a million zones.
 *
 * Invariants:
 * 1. Bit w of the summary is set just when word w has a set bit.
 * 2. `count` is the number of set bits; no bit at or beyond `length` is set.
 */
export class ZoneBitmap {
  #words: Uint32Array;
  #summary: Uint32Array;
  #length: number;
  #count = 0;

  constructor(length: number) {
    this.#length = length;
    this.#words = new Uint32Array(Math.ceil(length / 32));
    this.#summary = new Uint32Array(Math.ceil(length / 1024));
  }

  get length(): number {
    return this.#length;
  }

  get count(): number {
    return this.#count;
  }

  has(index: number): boolean {
    return (((this.#words[index >>> 5] ?? 0) >>> (index & 31)) & 1) === 1;
  }

  set(index: number): void {
    assert(index < this.#length && !this.has(index), 'the bit is in range and clear');
    const word = index >>> 5;
    this.#words[word]! |= 1 << (index & 31);
    this.#summary[word >>> 5]! |= 1 << (word & 31);
    this.#count++;
  }

  clear(index: number): void {
    assert(this.has(index), 'the bit is set');
    const word = index >>> 5;
    this.#words[word]! &= ~(1 << (index & 31));
    if (this.#words[word] === 0) this.#summary[word >>> 5]! &= ~(1 << (word & 31));
    this.#count--;
  }

  /** The first set bit at or after `from`, or -1. */
  nextSet(from: number): number {
    const word = from >>> 5;
    const rest = (this.#words[word] ?? 0) & (-1 << (from & 31));
    if (rest !== 0) return word * 32 + lowestBit(rest);
    const next = this.#nextWord(word + 1);
    return next < 0 ? -1 : next * 32 + lowestBit(this.#words[next]!);
  }

  /** The first of `runLength` set bits in a row, or -1. */
  findRun(runLength: number): number {
    let start = this.nextSet(0);
    while (start >= 0) {
      const end = this.#nextClear(start, start + runLength);
      if (end - start >= runLength) return start;
      start = this.nextSet(end);
    }
    return -1;
  }

  /** Adds clear bits at the end. */
  grow(length: number): void {
    assert(length >= this.#length, 'a bitmap never shrinks');
    const grown = new ZoneBitmap(length);
    grown.#words.set(this.#words);
    grown.#summary.set(this.#summary);
    this.#words = grown.#words;
    this.#summary = grown.#summary;
    this.#length = length;
  }

  /** The first word at or after `from` with a set bit, or -1. */
  #nextWord(from: number): number {
    let group = from >>> 5;
    let bits = (this.#summary[group] ?? 0) & (-1 << (from & 31));
    while (bits === 0) {
      if (++group >= this.#summary.length) return -1;
      bits = this.#summary[group]!;
    }
    return group * 32 + lowestBit(bits);
  }

  /** The first clear bit at or after `from`, at most `limit`. */
  #nextClear(from: number, limit: number): number {
    let index = from;
    while (index < limit) {
      const clear = ~(this.#words[index >>> 5] ?? 0) & (-1 << (index & 31));
      if (clear !== 0) return Math.min(limit, (index & ~31) + lowestBit(clear));
      index = (index & ~31) + 32;
    }
    return limit;
  }
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
