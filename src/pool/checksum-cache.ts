/**
 * Checksum tables of mblocks lately read, by index in the object table, bounded in bytes.
 * Second chance (Corbató, 1968): a hit costs one map look-up and one store, and no reordering.
 */
export class ChecksumCache {
  readonly #limitBytes: number;
  readonly #entries = new Map<number, { sums: Uint32Array; used: boolean }>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(index: number): Uint32Array | undefined {
    const entry = this.#entries.get(index);
    if (entry === undefined) return undefined;
    entry.used = true;
    return entry.sums;
  }

  set(index: number, sums: Uint32Array): void {
    this.delete(index);
    this.#entries.set(index, { sums, used: false });
    this.#bytes += costOf(sums);
    for (const [candidate, entry] of this.#entries) {
      if (this.#bytes <= this.#limitBytes) return;
      if (candidate === index) continue;
      this.#entries.delete(candidate);
      if (entry.used) {
        entry.used = false;
        this.#entries.set(candidate, entry);
      } else {
        this.#bytes -= costOf(entry.sums);
      }
    }
  }

  /** Must be called when the object goes: its index will be another's. */
  delete(index: number): void {
    const entry = this.#entries.get(index);
    if (entry === undefined) return;
    this.#entries.delete(index);
    this.#bytes -= costOf(entry.sums);
  }
}

/** With the map's slot and the two objects: an entry of one checksum measured 278 bytes on Node 20. */
export const ENTRY_BYTES = 276;

function costOf(sums: Uint32Array): number {
  return sums.byteLength + ENTRY_BYTES;
}
