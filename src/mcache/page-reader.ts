import { crc32cPages } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { pageBuffers } from '../device/page-buffers.ts';
import type { MappedObject } from './mapped-object.ts';

export type Finish = (error: MpoolError | null) => void;

/** Where checksums come from, and how a mismatch is told. */
export interface ChecksumSource {
  /** Exactly one of both is given. The object stays referenced until then. */
  sums(object: MappedObject, done: (error: MpoolError | null, sums?: Uint32Array) => void): void;
  mismatch(object: MappedObject, page: number): MpoolError;
}

/** What the reaper says to those who read. */
export interface ReadGovernor {
  /** Calls back when memory allows so many pages to come; mostly at once. */
  admit(pageCount: number, proceed: () => void): void;
  /** What was admitted has come, or never will: to be told once for each. */
  arrived(pageCount: number): void;
}

/** Runs of pages longer than this are read in parts. */
const PART_PAGES = 256;
const PARTS_IN_FLIGHT = 4;
/** One part's checksums; only used between a read's completion and its comparison. */
const computed = new Uint32Array(PART_PAGES);

/**
 * Brings pages of mapped objects into the page cache, verified. The only place that marks pages ready.
 *
 * Invariant: a page is marked ready only after bytes read from the page cache matched its checksum.
 */
export class PageReader {
  readonly #source: ChecksumSource;
  readonly #governor: ReadGovernor;

  constructor(source: ChecksumSource, governor: ReadGovernor) {
    this.#source = source;
    this.#governor = governor;
  }

  /**
   * Makes the pages ready. What another call is reading already is waited for: after an eviction many miss
   * the same page at once.
   * @param pages rising; those that are ready already are left out by the caller
   */
  makeReady(object: MappedObject, pages: readonly number[], finish: Finish): void {
    const loading = (object.loading ??= new Map());
    const own = pages.filter((page) => !loading.has(page));
    let waitingFor = pages.length - own.length + (own.length > 0 ? 1 : 0);
    let failure: MpoolError | null = null;
    const settled: Finish = (error) => {
      failure ??= error;
      waitingFor -= 1;
      if (waitingFor === 0) finish(failure);
    };
    for (const page of pages) loading.get(page)?.push(settled);
    if (own.length === 0) return;
    for (const page of own) loading.set(page, []);
    this.#readRuns(object, own, (error) => {
      const others = own.flatMap((page) => loading.get(page)!);
      for (const page of own) loading.delete(page);
      for (const other of others) other(error);
      settled(error);
    });
  }

  #readRuns(object: MappedObject, pages: readonly number[], finish: Finish): void {
    const runs = runsOf(pages);
    this.#inParts(runs.length, finish, (i, settled) => {
      const { first, count } = runs[i]!;
      this.#readRun(object, first, count, undefined, settled);
    });
  }

  /** Fills `into` with bytes of the object from `offsetBytes` on; the range lies within the object. */
  readInto(object: MappedObject, offsetBytes: number, into: Uint8Array, finish: Finish): void {
    const firstPage = Math.floor(offsetBytes / PAGE_BYTES);
    const endPage = Math.ceil((offsetBytes + into.length) / PAGE_BYTES);
    const parts = Math.ceil((endPage - firstPage) / PART_PAGES);
    this.#inParts(parts, finish, (i, settled) => {
      const first = firstPage + i * PART_PAGES;
      const count = Math.min(PART_PAGES, endPage - first);
      this.#readRun(object, first, count, { offsetBytes, into }, settled);
    });
  }

  /** One after the other is admitted: what is read at once must find room at once. */
  #readRun(
    object: MappedObject,
    first: number,
    count: number,
    target: { offsetBytes: number; into: Uint8Array } | undefined,
    settled: Finish,
  ): void {
    const finish: Finish = (error) => {
      this.#governor.arrived(count);
      settled(error);
    };
    this.#governor.admit(count, () => {
      try {
        this.#source.sums(object, (error, sums) => {
          if (error !== null) finish(error);
          else this.#readPart(object, sums!, first, count, target, finish);
        });
      } catch (error) {
        // Whoever admits has others to admit.
        finish(new MpoolError('ERR_MPOOL_IO', object.mapping.path, { cause: error }));
      }
    });
  }

  #inParts(count: number, finish: Finish, start: (part: number, settled: Finish) => void): void {
    let next = 0;
    let inFlight = 0;
    let failure: MpoolError | null = null;
    const pump = (): void => {
      while (inFlight < PARTS_IN_FLIGHT && next < count) {
        inFlight += 1;
        start(next++, settled);
      }
    };
    const settled: Finish = (error) => {
      inFlight -= 1;
      failure ??= error;
      if (failure === null && next < count) return pump();
      if (inFlight === 0) finish(failure);
    };
    if (count === 0) finish(null);
    else pump();
  }

  #readPart(
    object: MappedObject,
    sums: Uint32Array,
    firstPage: number,
    pageCount: number,
    target: { offsetBytes: number; into: Uint8Array } | undefined,
    settled: Finish,
  ): void {
    let buffer: Uint8Array;
    try {
      buffer = pageBuffers.allocate(pageCount * PAGE_BYTES);
    } catch (error) {
      return settled(new MpoolError('ERR_MPOOL_IO', 'no memory for a read', { cause: error }));
    }
    const at = object.offsetBytes + firstPage * PAGE_BYTES;
    const finish: Finish = (failure) => {
      if (failure === null && target !== undefined) {
        copyPart(buffer, firstPage * PAGE_BYTES, target.offsetBytes, target.into);
      }
      pageBuffers.release(buffer);
      settled(failure);
    };
    object.mapping.read(at, buffer, (error) => {
      if (error !== null) return finish(error);
      if (this.#verify(object, sums, firstPage, buffer) < 0) return finish(null);
      this.#readAfresh(object, sums, firstPage, buffer, finish);
    });
  }

  /**
   * What does not match may be what was there before: a block device's page that somebody, not us, read
   * while it was being written stays in the page cache as it was. So what counts is read from the device.
   */
  #readAfresh(
    object: MappedObject,
    sums: Uint32Array,
    firstPage: number,
    buffer: Uint8Array,
    finish: Finish,
  ): void {
    const at = object.offsetBytes + firstPage * PAGE_BYTES;
    const read = (): void =>
      object.mapping.read(at, buffer, (error) => {
        if (error !== null) return finish(error);
        const wrong = this.#verify(object, sums, firstPage, buffer);
        finish(wrong < 0 ? null : this.#source.mismatch(object, wrong));
      });
    object.mapping.evict(Float64Array.of(at, buffer.length)).then(read, read);
  }

  /** Marks pages ready, all or none. @returns the first page that is wrong, or -1 */
  #verify(object: MappedObject, sums: Uint32Array, firstPage: number, buffer: Uint8Array): number {
    const count = buffer.length / PAGE_BYTES;
    crc32cPages(buffer, computed);
    for (let i = 0; i < count; i++) {
      if (computed[i] !== sums[firstPage + i]) return firstPage + i;
    }
    for (let i = 0; i < count; i++) object.setReady(firstPage + i);
    return -1;
  }
}

/** Copies what `buffer`, which lies at `bufferOffset` of the object, has of the wanted range. */
function copyPart(
  buffer: Uint8Array,
  bufferOffset: number,
  wantedOffset: number,
  into: Uint8Array,
): void {
  const from = Math.max(bufferOffset, wantedOffset);
  const end = Math.min(bufferOffset + buffer.length, wantedOffset + into.length);
  into.set(buffer.subarray(from - bufferOffset, end - bufferOffset), from - wantedOffset);
}

/** Neighbouring pages are read at once. */
function runsOf(pages: readonly number[]): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = [];
  let run: { first: number; count: number } | undefined;
  for (const page of pages) {
    if (run !== undefined && page === run.first + run.count && run.count < PART_PAGES) {
      run.count += 1;
    } else {
      run = { first: page, count: 1 };
      runs.push(run);
    }
  }
  return runs;
}
