import { ObjectTable } from '../../pool/object-table.ts';
import type { ObjectFields } from '../../pool/object-table.ts';

const USED = 1;
const MAPPED = 2;
const WAS_MAPPED = 4;
const ROWS_AT_FIRST = 1024;

/**
 * The objects that this client may read by itself: a row is a lease. What else is known of a row is here, by
 * its index.
 */
export class LeaseTable extends ObjectTable {
  #marks = new Uint8Array(ROWS_AT_FIRST);
  /** Told when a reference of an object that was leased for maps went. */
  readonly #onMappedUnref: (index: number) => void;

  constructor(onMappedUnref: (index: number) => void) {
    super();
    this.#onMappedUnref = onMappedUnref;
  }

  override insert(idHigh: number, idLow: number, fields: ObjectFields): number {
    const index = super.insert(idHigh, idLow, fields);
    if (index >= this.#marks.length) {
      const larger = new Uint8Array(this.#marks.length * 2);
      larger.set(this.#marks);
      this.#marks = larger;
    }
    if (index >= 0) this.#marks[index] = USED;
    return index;
  }

  override unref(index: number): boolean {
    const gone = super.unref(index);
    if (!gone && (this.#marks[index]! & MAPPED) !== 0) this.#onMappedUnref(index);
    return gone;
  }

  /** It was read: not the next to be given up. */
  touch(index: number): void {
    this.#marks[index]! |= USED;
  }

  /** @returns whether it was touched since the last call */
  takeTouch(index: number): boolean {
    const touched = (this.#marks[index]! & USED) !== 0;
    this.#marks[index]! &= ~USED;
    return touched;
  }

  isMapped(index: number): boolean {
    return (this.#marks[index]! & MAPPED) !== 0;
  }

  /** Since it was leased. */
  wasMapped(index: number): boolean {
    return (this.#marks[index]! & WAS_MAPPED) !== 0;
  }

  setMapped(index: number, mapped: boolean): void {
    if (mapped) this.#marks[index]! |= MAPPED | WAS_MAPPED;
    else this.#marks[index]! &= ~MAPPED;
  }
}
