/** Unspent time is saved up for so long. */
const SAVED_MS = 1000;

/**
 * A share of the thread pool's time that may be spent on one kind of work: it may be overdrawn, and
 * is then waited for.
 */
export class Allowance {
  leftMs = 0;
  readonly #share: number;
  #atMs = Number.NEGATIVE_INFINITY;

  constructor(share: number) {
    this.#share = share;
  }

  earn(nowMs: number): void {
    const earnedMs = (nowMs - this.#atMs) * this.#share;
    this.leftMs = Math.min(SAVED_MS * this.#share, this.leftMs + earnedMs);
    this.#atMs = nowMs;
  }
}
