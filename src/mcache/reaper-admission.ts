import { PAGE_BYTES } from '../base/units.ts';

/**
 * How many pages may be read before the reaper must look again. A fast device fills what is left between two
 * rounds; then readers wait for the next one, and the kernel need not reclaim.
 *
 * Invariants
 * 1. Between two rounds at most half of what is left before a limit is admitted, and what was
 *    evicted; less what was admitted before and has not come yet.
 * 2. Whoever waits is admitted in order, and at least one by each round: nobody waits for ever.
 */
export class Admission {
  #credit = Number.POSITIVE_INFINITY;
  /** Ever; between them lies what may be on its way. */
  #admittedPages = 0;
  #arrivedPages = 0;
  #waiting: { pageCount: number; proceed: () => void }[] = [];

  get waiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** @returns a function that says how many pages may have come since now */
  sinceNow(): () => number {
    const arrivedBefore = this.#arrivedPages;
    return () => this.#admittedPages - arrivedBefore;
  }

  /** @returns false when `proceed` has to wait for the next round */
  admit(pageCount: number, proceed: () => void): boolean {
    if (this.#credit < pageCount || this.waiting) {
      this.#waiting.push({ pageCount, proceed });
      return false;
    }
    this.#take(pageCount);
    proceed();
    return true;
  }

  /** Pages that were admitted have come, or never will. */
  arrived(pageCount: number): void {
    this.#arrivedPages += pageCount;
  }

  /** So many of the pages that are only wished for. */
  allow(wanted: number, least: number): number {
    const allowed = Math.min(wanted, Math.max(least, Math.floor(this.#credit)));
    this.#credit = Math.max(0, this.#credit - allowed);
    return allowed;
  }

  /** A round is over. @param headroomBytes before a limit is reached; undefined when there is none */
  renew(headroomBytes: number | undefined, evictedPages: number): void {
    this.#credit =
      headroomBytes === undefined
        ? Number.POSITIVE_INFINITY
        : headroomBytes / 2 / PAGE_BYTES +
          evictedPages -
          (this.#admittedPages - this.#arrivedPages);
    const admitted = this.#waiting;
    this.#waiting = [];
    for (const [i, { pageCount, proceed }] of admitted.entries()) {
      if (i > 0 && this.#credit < pageCount) {
        this.#waiting = [...admitted.slice(i), ...this.#waiting];
        return;
      }
      this.#take(pageCount);
      proceed();
    }
  }

  #take(pageCount: number): void {
    this.#credit -= pageCount;
    this.#admittedPages += pageCount;
  }
}
