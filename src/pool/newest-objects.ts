/** Ids of mblocks, or of logs, that were committed last, in the order of their records. */
export class NewestObjects {
  readonly #high = new Uint32Array(NEWEST_OBJECTS_MAX);
  readonly #low = new Uint32Array(NEWEST_OBJECTS_MAX);
  #count = 0;

  add(idHigh: number, idLow: number): void {
    const at = this.#count % NEWEST_OBJECTS_MAX;
    this.#high[at] = idHigh;
    this.#low[at] = idLow;
    this.#count += 1;
  }

  /** The newest first; some may have been deleted since. */
  get newestFirst(): { idHigh: number; idLow: number }[] {
    const length = Math.min(this.#count, NEWEST_OBJECTS_MAX);
    return Array.from({ length }, (_, i) => {
      const at = (this.#count - 1 - i) % NEWEST_OBJECTS_MAX;
      return { idHigh: this.#high[at]!, idLow: this.#low[at]! };
    });
  }
}

/** As many as are verified after an unclean stop. */
export const NEWEST_OBJECTS_MAX = 256;
