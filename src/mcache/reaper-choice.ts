/** Whom to evict: a score for each row, and the best of all rows of all pools. Pure. */
import { TEMPERATURE_PINNED, UNMAPPED } from './resident-set.ts';

/** Memory of past use fades to a third in so long. */
export const RATE_WINDOW_MS = 10_000;
/** Nothing is known to be used less than once in a window. */
const LEAST_PER_SECOND = 1000 / RATE_WINDOW_MS;
/** By temperature: so many times slower does idleness count. */
const PATIENCE = [1, 10, 100] as const;
/** Fewer pages, or a smaller part of an object, are hardly worth a visit while there are others. */
const FEW_PAGES = 32;
const SMALL_PART = 1 / 8;
/** Beyond all scores of time and pages: rows of no map go before all others. */
const FIRST = 2 ** 80;
/** In an emergency cold and warm rows may go however recently used, hot ones from here on. */
const EMERGENCY_HOT_IDLE_MS = 2500;
/** Of the time-to-live: as long is let alone what was just used or read ahead, however seldom it is. */
const GRACE_PART = 0.25;

export interface Selection {
  nowMs: number;
  /** Of cold rows. */
  ttlMs: number;
  emergency: boolean;
  /** Resident pages and all pages of the mean row that has any: what weights are of. */
  meanPages: number;
}

/**
 * How gladly a row is evicted: its idleness, as milliseconds of a mean cold row; 0: never.
 *
 * Idleness is the time since the last use, or the time between uses at the past rate if that is longer: the first
 * alone takes what happened to be used just now for what always is. It weighs more the more pages come free, and the
 * more the uses spread over: of two rows that are used alike often, each page of the larger one is used less.
 * Compared with plain recency in test/mcache/reaper-policy.test.ts.
 */
export function scoreOf(
  flags: number,
  temperature: number,
  residentPages: number,
  pageCount: number,
  idleMs: number,
  hitsPerSecond: number,
  meanPages: number,
): number {
  const gapMs = 1000 / (hitsPerSecond + LEAST_PER_SECOND);
  const worth = Math.min(1, residentPages / Math.min(FEW_PAGES, pageCount * SMALL_PART));
  const score = ((Math.max(idleMs, gapMs) * (residentPages + pageCount)) / meanPages) * worth;
  if ((flags & UNMAPPED) !== 0) return FIRST * (1 + score);
  return temperature >= TEMPERATURE_PINNED ? 0 : score / PATIENCE[temperature]!;
}

/** Whether a row with that score may be evicted now. @param ttlMs the selection's, or less to look ahead */
export function isRipe(
  score: number,
  temperature: number,
  idleMs: number,
  selection: Selection,
  ttlMs: number,
): boolean {
  // Of no map.
  if (score >= FIRST) return true;
  if (selection.emergency) return score > 0 && (temperature < 2 || idleMs >= EMERGENCY_HOT_IDLE_MS);
  return score >= ttlMs && idleMs >= ttlMs * GRACE_PART * PATIENCE[temperature]!;
}

/** The rows with the highest scores of all that were offered, at most `capacity` of them. */
export class Ranking {
  readonly #capacity: number;
  readonly #scores: Float64Array;
  readonly #owners: Uint32Array;
  readonly #rows: Uint32Array;
  /** A heap with the lowest of them at index 0. */
  #count = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#scores = new Float64Array(capacity);
    this.#owners = new Uint32Array(capacity);
    this.#rows = new Uint32Array(capacity);
  }

  clear(): void {
    this.#count = 0;
  }

  offer(score: number, owner: number, row: number): void {
    if (this.#count < this.#capacity) this.#rise(this.#count++, score, owner, row);
    else if (score > this.#scores[0]!) this.#sink(score, owner, row);
  }

  /** Lowest first. */
  sorted(): { owner: number; row: number }[] {
    const order = Array.from({ length: this.#count }, (_, i) => i);
    order.sort((a, b) => this.#scores[a]! - this.#scores[b]!);
    return order.map((i) => ({ owner: this.#owners[i]!, row: this.#rows[i]! }));
  }

  #rise(from: number, score: number, owner: number, row: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#scores[parent]! <= score) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, score, owner, row);
  }

  #sink(score: number, owner: number, row: number): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#count) break;
      if (child + 1 < this.#count && this.#scores[child + 1]! < this.#scores[child]!) child += 1;
      if (this.#scores[child]! >= score) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, score, owner, row);
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#scores[from]!, this.#owners[from]!, this.#rows[from]!);
  }

  #put(at: number, score: number, owner: number, row: number): void {
    this.#scores[at] = score;
    this.#owners[at] = owner;
    this.#rows[at] = row;
  }
}
