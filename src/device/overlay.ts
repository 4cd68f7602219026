/**
 * What was written over media that stay as they are.
 *
 * Invariant: a sector is in `#sectors` exactly when it was written; its bytes are never changed in
 * place, only replaced.
 */
const SECTOR_BYTES = 512;

export class Overlay {
  /** The least that the medium is long by now: of a file that was made, or grew. */
  sizeBytes: number;
  readonly #sectors = new Map<number, Uint8Array>();

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  /** @param bytes whole sectors, copied before this returns */
  write(offsetBytes: number, bytes: Uint8Array): void {
    const copy = Uint8Array.from(bytes);
    for (let at = 0; at < copy.length; at += SECTOR_BYTES) {
      this.#sectors.set((offsetBytes + at) / SECTOR_BYTES, copy.subarray(at, at + SECTOR_BYTES));
    }
  }

  /** Puts what was written over what the medium below has there: any range. */
  cover(offsetBytes: number, bytes: Uint8Array): void {
    if (this.#sectors.size === 0) return;
    const end = offsetBytes + bytes.length;
    const first = Math.floor(offsetBytes / SECTOR_BYTES);
    for (let sector = first; sector * SECTOR_BYTES < end; sector++) {
      const written = this.#sectors.get(sector);
      if (written === undefined) continue;
      const start = sector * SECTOR_BYTES;
      const from = Math.max(offsetBytes, start);
      const to = Math.min(end, start + SECTOR_BYTES);
      bytes.set(written.subarray(from - start, to - start), from - offsetBytes);
    }
  }
}
