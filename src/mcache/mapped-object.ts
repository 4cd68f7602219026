import type { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import type { DeviceMapping } from '../device/device-mapping.ts';

export interface ObjectPlace {
  mapping: DeviceMapping;
  /** On the device, in pages. */
  pageAddress: number;
  lengthBytes: number;
  idLow: number;
  idHigh: number;
  /** Of the object's record: what its checksum table is verified against. */
  digest: number;
  tableIndex: number;
}

/** One mblock that is mapped, however many maps have it: where it lies and what is known of its pages. */
export class MappedObject {
  readonly mapping: DeviceMapping;
  readonly pageAddress: number;
  readonly lengthBytes: number;
  readonly pageCount: number;
  readonly idLow: number;
  readonly idHigh: number;
  readonly digest: number;
  /** Accesses are counted at hits[hitAt], which other threads may do too. */
  readonly hits: Uint32Array;
  readonly hitAt: number;
  /** Advised to be read in sequence; then the page up to which read-ahead has gone. */
  readAhead = false;
  readAheadEnd = 0;

  /** In the object table of its store, and its row for the reaper; -1 in another thread. */
  readonly tableIndex: number;
  row = -1;
  /** Maps that have it, by temperature. */
  #coldMaps = 0;
  #warmMaps = 0;
  #hotMaps = 0;
  #pinnedMaps = 0;
  /** Pages being made ready, and who else waits for each. */
  loading: Map<number, ((error: MpoolError | null) => void)[]> | undefined;

  constructor(place: ObjectPlace, hits: Uint32Array, hitAt: number) {
    this.mapping = place.mapping;
    this.pageAddress = place.pageAddress;
    this.lengthBytes = place.lengthBytes;
    this.pageCount = pagesOf(place.lengthBytes);
    this.idLow = place.idLow;
    this.idHigh = place.idHigh;
    this.digest = place.digest;
    this.tableIndex = place.tableIndex;
    this.hits = hits;
    this.hitAt = hitAt;
  }

  get isMapped(): boolean {
    return this.#coldMaps + this.#warmMaps + this.#hotMaps + this.#pinnedMaps > 0;
  }

  /** Code of the hottest temperature that a map gives it. */
  get temperature(): number {
    if (this.#pinnedMaps > 0) return 3;
    if (this.#hotMaps > 0) return 2;
    return this.#warmMaps > 0 ? 1 : 0;
  }

  /** One map more (or less) of that temperature has it. */
  countMap(temperature: number, change: 1 | -1): void {
    if (temperature === 0) this.#coldMaps += change;
    else if (temperature === 1) this.#warmMaps += change;
    else if (temperature === 2) this.#hotMaps += change;
    else this.#pinnedMaps += change;
  }

  get offsetBytes(): number {
    return this.pageAddress * PAGE_BYTES;
  }

  isReady(page: number): boolean {
    const at = this.pageAddress + page;
    return (this.mapping.readyBits[bytePositionOf(at)]! & (1 << (at & 7))) !== 0;
  }

  /** Its page was verified, and is in the page cache. */
  setReady(page: number): void {
    const at = this.pageAddress + page;
    Atomics.or(this.mapping.readyBits, bytePositionOf(at), 1 << (at & 7));
  }

  /**
   * Nothing is known of the pages any more, whichever thread verified them. Objects begin and end at whole
   * bytes of the bits. What is zero is only read: bits take no memory where nothing is mapped.
   */
  clearReady(firstPage = 0, pageCount = this.pageCount): void {
    const { readyBits } = this.mapping;
    const first = this.pageAddress + firstPage;
    const end = bytePositionOf(first + pageCount + 7);
    for (let i = bytePositionOf(first); i < end; i++) if (readyBits[i] !== 0) readyBits[i] = 0;
  }

  readyCount(): number {
    const first = bytePositionOf(this.pageAddress);
    const end = bytePositionOf(this.pageAddress + this.pageCount + 7);
    const bits = this.mapping.readyBits;
    let count = 0;
    for (let i = first; i < end; i++) count += BIT_COUNTS[bits[i]!]!;
    return count;
  }
}

/** Pages are numbered beyond 2^31 on large devices: no shift. */
function bytePositionOf(page: number): number {
  return Math.floor(page / 8);
}

const BIT_COUNTS = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
  return count;
});
