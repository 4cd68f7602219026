/** Ids of the mblocks that were committed last, in the order of their records; none is allocated for. */
export class NewestMblocks {
  readonly #high = new Uint32Array(NEWEST_MBLOCKS_MAX);
  readonly #low = new Uint32Array(NEWEST_MBLOCKS_MAX);
  #count = 0;

  add(idHigh: number, idLow: number): void {
    const at = this.#count % NEWEST_MBLOCKS_MAX;
    this.#high[at] = idHigh;
    this.#low[at] = idLow;
    this.#count += 1;
  }

  /** The newest first; some may have been deleted since. */
  get newestFirst(): { idHigh: number; idLow: number }[] {
    const length = Math.min(this.#count, NEWEST_MBLOCKS_MAX);
    return Array.from({ length }, (_, i) => {
      const at = (this.#count - 1 - i) % NEWEST_MBLOCKS_MAX;
      return { idHigh: this.#high[at]!, idLow: this.#low[at]! };
    });
  }
}

/** As many as are verified after an unclean stop. */
export const NEWEST_MBLOCKS_MAX = 256;
