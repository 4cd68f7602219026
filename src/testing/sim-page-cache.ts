/**
 * The page cache of one simulated disk.
 *
 * Invariants:
 * 1. A cached page holds what the disk gave when it was read, faults included, until it leaves: by
 *    evict(), by a direct write or discard of it (before and after, as the kernel does), or because
 *    memory is short.
 * 2. A page that is touched (in page tables) is cached.
 * 3. A window shows of each page what the cache holds, or held last, or else what the disk had.
 */
import type { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import type { FaultEffect } from './faults.ts';
import type { FaultyDisk } from './faulty-disk.ts';

/** What a window shows of pages that cannot be read: where a real one would end the process. */
const UNREADABLE = 0xbd;

/** A part of the disk that somebody looks at: its space must not be used for anything else. */
export interface Use {
  what: 'view' | 'read';
  offsetBytes: number;
  lengthBytes: number;
}

/** Bytes that mirror a part of the disk. */
export interface Window extends Use {
  bytes: Uint8Array;
}

/** Pages by number: from `first`, before `end`. */
export interface PageSpan {
  first: number;
  end: number;
}

export class SimPageCache {
  readonly #medium: FaultyDisk;
  /** In the order in which they came. */
  readonly #pages = new Map<number, Uint8Array>();
  readonly #touched = new Set<number>();
  /** Taken away by reclaim(), and not read again since. */
  readonly #reclaimed = new Set<number>();
  #reclaimedPages = 0;
  #sizeBytes = 0;
  #refaultCount = 0;
  readonly #uses = new Set<Use>();
  readonly #windows = new Set<Window>();
  /** Of mappings of a length: whoever maps the same shares them. */
  readonly #readyBits = new Map<number, { bits: Uint8Array; users: number }>();

  constructor(medium: FaultyDisk) {
    this.#medium = medium;
  }

  get pageCount(): number {
    return this.#pages.size;
  }

  /** Pages that reclaim() took, in all. */
  get reclaimedPages(): number {
    return this.#reclaimedPages;
  }

  /** Pages of these that were read again. */
  get refaultCount(): number {
    return this.#refaultCount;
  }

  /** From the first page of a range that is not cached to the last; undefined when all are. */
  missing(offsetBytes: number, lengthBytes: number): PageSpan | undefined {
    this.#truncate();
    const { first, end } = pagesIn(offsetBytes, lengthBytes);
    let from = first;
    let to = end;
    while (from < to && this.#pages.has(from)) from++;
    while (to > from && this.#pages.has(to - 1)) to--;
    return from < to ? { first: from, end: to } : undefined;
  }

  /** Reads the pages of a span that are not cached, all or none. */
  load({ first, end }: PageSpan, effect: FaultEffect | undefined): MpoolError | null {
    const offsetBytes = first * PAGE_BYTES;
    const bytes = new Uint8Array((end - first) * PAGE_BYTES);
    // A file's last page may be a part of one.
    const { sizeBytes } = this.#medium.disk;
    const isWhole = end > pagesOf(sizeBytes);
    const length = isWhole ? bytes.length : Math.min(bytes.length, sizeBytes - offsetBytes);
    const error = this.#medium.read(offsetBytes, bytes.subarray(0, length), effect);
    if (error !== null) return error;
    const came: number[] = [];
    for (let page = first; page < end; page++) {
      if (this.#pages.has(page)) continue;
      const start = (page - first) * PAGE_BYTES;
      this.#pages.set(page, bytes.slice(start, start + PAGE_BYTES));
      if (this.#reclaimed.delete(page)) this.#refaultCount++;
      came.push(page);
    }
    for (const window of this.#windows) this.#show(window, came);
    return null;
  }

  /** Copies from the cache, in which the whole range is. */
  copy(offsetBytes: number, into: Uint8Array): void {
    for (let start = 0; start < into.length;) {
      const inPage = (offsetBytes + start) % PAGE_BYTES;
      const page = this.#pages.get(Math.floor((offsetBytes + start) / PAGE_BYTES))!;
      const part = page.subarray(inPage, inPage + into.length - start);
      into.set(part, start);
      start += part.length;
    }
  }

  /** Drops pages from the cache and all page tables. */
  drop(offsetBytes: number, lengthBytes: number): void {
    for (const page of this.#known(offsetBytes, lengthBytes)) {
      this.#pages.delete(page);
      this.#touched.delete(page);
    }
  }

  /** Drops the pages that came first, as the kernel does when memory is short. @returns how many */
  reclaim(most: number): number {
    const pages = [...this.#pages.keys()].slice(0, most);
    for (const page of pages) {
      this.drop(page * PAGE_BYTES, PAGE_BYTES);
      this.#reclaimed.add(page);
    }
    this.#reclaimedPages += pages.length;
    return pages.length;
  }

  /** A program used them. All are cached. */
  touch(offsetBytes: number, lengthBytes: number): void {
    for (const page of this.#known(offsetBytes, lengthBytes)) this.#touched.add(page);
  }

  zap(offsetBytes: number, lengthBytes: number): void {
    for (const page of this.#known(offsetBytes, lengthBytes)) this.#touched.delete(page);
  }

  residentPages(offsetBytes: number, lengthBytes: number): number {
    return this.#known(offsetBytes, lengthBytes).length;
  }

  touchedPages(offsetBytes: number, lengthBytes: number): number {
    const pages = this.#known(offsetBytes, lengthBytes);
    return pages.filter((page) => this.#touched.has(page)).length;
  }

  /** What is in use of a range; undefined when nothing is. */
  useOf(offsetBytes: number, lengthBytes: number): Use | undefined {
    const { first, end } = pagesIn(offsetBytes, lengthBytes);
    for (const use of this.#uses) {
      const pages = pagesIn(use.offsetBytes, use.lengthBytes);
      if (pages.first < end && first < pages.end) return use;
    }
    return undefined;
  }

  hold(use: Use): void {
    this.#uses.add(use);
  }

  letGo(use: Use): void {
    this.#uses.delete(use);
  }

  openWindow(window: Window): void {
    const { offsetBytes, lengthBytes, bytes } = window;
    const { disk } = this.#medium;
    const length = Math.min(lengthBytes, Math.max(0, disk.sizeBytes - offsetBytes));
    disk.read(offsetBytes, bytes.subarray(0, length));
    const { first, end } = pagesIn(offsetBytes, lengthBytes);
    for (let page = first; page < end; page++) {
      const start = page * PAGE_BYTES - offsetBytes;
      const isReadable = !disk.gone && disk.isReadable(page * PAGE_BYTES, PAGE_BYTES);
      if (!isReadable) bytes.fill(UNREADABLE, start, Math.min(start + PAGE_BYTES, bytes.length));
    }
    this.#show(window, this.#known(offsetBytes, lengthBytes));
    this.#uses.add(window);
    this.#windows.add(window);
  }

  closeWindow(window: Window): void {
    this.#uses.delete(window);
    this.#windows.delete(window);
  }

  shareReadyBits(lengthBytes: number): Uint8Array {
    const bits = new Uint8Array(Math.ceil(pagesOf(lengthBytes) / 8));
    const shared = this.#readyBits.get(lengthBytes) ?? { bits, users: 0 };
    shared.users++;
    this.#readyBits.set(lengthBytes, shared);
    return shared.bits;
  }

  releaseReadyBits(lengthBytes: number): void {
    const shared = this.#readyBits.get(lengthBytes)!;
    if (--shared.users === 0) this.#readyBits.delete(lengthBytes);
  }

  /** When the disk has shrunk, what lay beyond its end is gone here too. */
  #truncate(): void {
    const { sizeBytes } = this.#medium.disk;
    if (sizeBytes < this.#sizeBytes) {
      const end = pagesOf(sizeBytes) * PAGE_BYTES;
      this.drop(end, Number.MAX_SAFE_INTEGER - end);
    }
    this.#sizeBytes = sizeBytes;
  }

  /** Pages of a range that are cached, rising. */
  #known(offsetBytes: number, lengthBytes: number): number[] {
    const { first, end } = pagesIn(offsetBytes, lengthBytes);
    if (end - first > this.#pages.size) {
      const known = [...this.#pages.keys()].filter((page) => page >= first && page < end);
      return known.toSorted((a, b) => a - b);
    }
    const known: number[] = [];
    for (let page = first; page < end; page++) if (this.#pages.has(page)) known.push(page);
    return known;
  }

  #show(window: Window, pages: readonly number[]): void {
    const { first, end } = pagesIn(window.offsetBytes, window.lengthBytes);
    for (const page of pages) {
      if (page < first || page >= end) continue;
      const start = page * PAGE_BYTES - window.offsetBytes;
      const length = Math.min(PAGE_BYTES, window.bytes.length - start);
      window.bytes.set(this.#pages.get(page)!.subarray(0, length), start);
    }
  }
}

export function pagesIn(offsetBytes: number, lengthBytes: number): PageSpan {
  const end = Math.ceil((offsetBytes + lengthBytes) / PAGE_BYTES);
  return { first: Math.floor(offsetBytes / PAGE_BYTES), end: lengthBytes > 0 ? end : 0 };
}
