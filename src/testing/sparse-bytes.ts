import { PAGE_BYTES } from '../base/units.ts';

/**
 * Bytes of which most are zero. Pages are never changed in place, only replaced, so that a copy of the
 * whole shares them: cloning costs a map, not the bytes.
 */
export class SparseBytes {
  readonly #pages: Map<number, Uint8Array>;

  constructor(pages: Map<number, Uint8Array> = new Map()) {
    this.#pages = pages;
  }

  clone(): SparseBytes {
    return new SparseBytes(new Map(this.#pages));
  }

  read(offsetBytes: number, into: Uint8Array): void {
    forEachPage(offsetBytes, into.length, (page, inPage, start, length) => {
      const bytes = this.#pages.get(page);
      const part = into.subarray(start, start + length);
      if (bytes === undefined) part.fill(0);
      else part.set(bytes.subarray(inPage, inPage + length));
    });
  }

  /** @param bytes handed over: whole pages of it are kept as they are */
  write(offsetBytes: number, bytes: Uint8Array): void {
    forEachPage(offsetBytes, bytes.length, (page, inPage, start, length) => {
      this.#put(page, inPage, bytes.subarray(start, start + length));
    });
  }

  fill(offsetBytes: number, lengthBytes: number, value: number): void {
    if (value === 0 && lengthBytes / PAGE_BYTES > this.#pages.size) {
      return this.#clearSparsely(offsetBytes, lengthBytes);
    }
    forEachPage(offsetBytes, lengthBytes, (page, inPage, _start, length) => {
      if (value === 0 && length === PAGE_BYTES) this.#pages.delete(page);
      else this.#put(page, inPage, new Uint8Array(length).fill(value));
    });
  }

  /** As they were in `other`. */
  copyPages(other: SparseBytes, offsetBytes: number, lengthBytes: number): void {
    const known = other.#pages.size + this.#pages.size;
    if (lengthBytes / PAGE_BYTES > known)
      return this.#copySparsely(other, offsetBytes, lengthBytes);
    forEachPage(offsetBytes, lengthBytes, (page) => {
      const bytes = other.#pages.get(page);
      if (bytes === undefined) this.#pages.delete(page);
      else this.#pages.set(page, bytes);
    });
  }

  #put(page: number, inPage: number, part: Uint8Array): void {
    if (part.length === PAGE_BYTES) {
      this.#pages.set(page, part);
      return;
    }
    const old = this.#pages.get(page);
    const bytes = old === undefined ? new Uint8Array(PAGE_BYTES) : Uint8Array.from(old);
    bytes.set(part, inPage);
    this.#pages.set(page, bytes);
  }

  #copySparsely(other: SparseBytes, offsetBytes: number, lengthBytes: number): void {
    const first = Math.floor(offsetBytes / PAGE_BYTES);
    const end = Math.ceil((offsetBytes + lengthBytes) / PAGE_BYTES);
    const inRange = (page: number): boolean => page >= first && page < end;
    for (const page of this.#pages.keys()) if (inRange(page)) this.#pages.delete(page);
    for (const [page, bytes] of other.#pages) if (inRange(page)) this.#pages.set(page, bytes);
  }

  #clearSparsely(offsetBytes: number, lengthBytes: number): void {
    const end = offsetBytes + lengthBytes;
    for (const page of this.#pages.keys()) {
      const from = Math.max(offsetBytes, page * PAGE_BYTES);
      const to = Math.min(end, (page + 1) * PAGE_BYTES);
      if (from >= to) continue;
      if (to - from === PAGE_BYTES) this.#pages.delete(page);
      else this.#put(page, from % PAGE_BYTES, new Uint8Array(to - from));
    }
  }
}

/** @param visit (page, offset in the page, offset in the range, length) for each page touched */
function forEachPage(
  offsetBytes: number,
  lengthBytes: number,
  visit: (page: number, inPage: number, start: number, length: number) => void,
): void {
  for (let start = 0; start < lengthBytes;) {
    const at = offsetBytes + start;
    const inPage = at % PAGE_BYTES;
    const length = Math.min(PAGE_BYTES - inPage, lengthBytes - start);
    visit(Math.floor(at / PAGE_BYTES), inPage, start, length);
    start += length;
  }
}
