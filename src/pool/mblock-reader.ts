import { crc32cPages } from '../base/crc32c.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, pagesOf } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import { decodeSums, encodeSums, mblockDigest, tablePagesOf } from '../format/checksum-table.ts';
import { printIdHalves } from '../format/object-id.ts';
import type { ChecksumCache } from './checksum-cache.ts';
import type { Media } from './media.ts';
import { CHUNK_BYTES } from './mblock-writer.ts';
import type { ObjectTable } from './object-table.ts';

type Finish = (error: MpoolError | null) => void;

/** What the reader needs of the store. */
export interface ReaderContext {
  readonly table: ObjectTable;
  readonly cache: ChecksumCache;
  /** @returns undefined when the class has no device at present */
  media(classCode: number): Media | undefined;
  /** The last reference of a deleted object went. */
  reclaim(index: number): void;
  /** What was read of an object is not what was written. */
  damaged(index: number, message: string): void;
}

const CHUNKS_IN_FLIGHT = 4;

/**
 * Verified reads of committed mblocks, past the page cache.
 *
 * Invariants
 * 1. No byte leaves here whose page's checksum did not match the table, nor a table whose digest did not
 *    match the object's record.
 * 2. The object is referenced from before the first device read until after the last: its space is
 *    nobody else's meanwhile.
 */
export class MblockReader {
  readonly #context: ReaderContext;
  readonly #loading = new Map<number, ((error: MpoolError | null) => void)[]>();
  #underWay = 0;
  readonly #idleWaiters: (() => void)[] = [];
  checksumErrorCount = 0;

  constructor(context: ReaderContext) {
    this.#context = context;
  }

  /** Fills `into` from `offsetBytes` on; the range must lie within what was written. */
  readInto(index: number, offsetBytes: number, into: Uint8Array): Promise<void> {
    const { table, cache } = this.#context;
    if (into.length === 0) return Promise.resolve();
    table.ref(index);
    this.#underWay += 1;
    return new Promise((resolve, reject) => {
      const finish: Finish = (error) => {
        if (table.unref(index)) this.#context.reclaim(index);
        this.#underWay -= 1;
        if (this.#underWay === 0) for (const resume of this.#idleWaiters.splice(0)) resume();
        if (error === null) resolve();
        else reject(error);
      };
      const media = this.#context.media(table.mediaClass(index));
      const refusal = this.#refusal(index, media);
      if (refusal !== null || media === undefined) return finish(refusal);
      const sums = cache.get(index);
      if (sums !== undefined) return this.#read(media, index, sums, offsetBytes, into, finish);
      this.#loadSums(media, index, (error) => {
        if (error !== null) return finish(error);
        this.#read(media, index, cache.get(index)!, offsetBytes, into, finish);
      });
    });
  }

  /** The object's checksums, verified; whoever asks holds a reference until `done`. */
  checksums(index: number, done: (error: MpoolError | null, sums?: Uint32Array) => void): void {
    const { table, cache } = this.#context;
    const sums = cache.get(index);
    if (sums !== undefined) return done(null, sums);
    const media = this.#context.media(table.mediaClass(index));
    const refusal = this.#refusal(index, media);
    if (refusal !== null || media === undefined) return done(refusal);
    this.#loadSums(media, index, (error) => {
      if (error === null) done(null, cache.get(index));
      else done(error);
    });
  }

  /** A page of the object, read by whoever, is not what was written: counted. */
  mismatch(index: number, page: number): MpoolError {
    this.checksumErrorCount += 1;
    const { table } = this.#context;
    const path = this.#context.media(table.mediaClass(index))?.device.path ?? '-';
    const at = (table.pageAddress(index) + page) * PAGE_BYTES;
    return this.#damage(index, `page ${page} of ${this.#name(index)}, byte ${at} of ${path}`, path);
  }

  /** Resolves when no read is under way: each may still need the device several times. */
  idle(): Promise<void> {
    if (this.#underWay === 0) return Promise.resolve();
    return new Promise((resume) => this.#idleWaiters.push(resume));
  }

  #refusal(index: number, media: Media | undefined): MpoolError | null {
    if (media === undefined) return new MpoolError('ERR_MPOOL_NO_DEVICE', this.#name(index));
    if (!this.#context.table.isBad(index)) return null;
    return new MpoolError(
      'ERR_MPOOL_CORRUPT',
      `${this.#name(index)} shares its space with another object`,
    );
  }

  #read(
    media: Media,
    index: number,
    sums: Uint32Array,
    offsetBytes: number,
    into: Uint8Array,
    finish: Finish,
  ): void {
    const lead = offsetBytes % PAGE_BYTES;
    if (lead + into.length <= CHUNK_BYTES) {
      return this.#chunk(media, index, sums, offsetBytes, into, finish);
    }
    let next = 0;
    let inFlight = 0;
    let failure: MpoolError | null = null;
    const pump = (): void => {
      while (inFlight < CHUNKS_IN_FLIGHT && next < into.length) {
        const from = offsetBytes + next;
        // The first chunk ends at a chunk boundary of the object, so that all others are aligned.
        const length = Math.min(CHUNK_BYTES - (from % CHUNK_BYTES), into.length - next);
        const part = into.subarray(next, next + length);
        next += length;
        inFlight += 1;
        this.#chunk(media, index, sums, from, part, settled);
      }
    };
    const settled = (error: MpoolError | null): void => {
      inFlight -= 1;
      failure ??= error;
      if (failure === null && next < into.length) return pump();
      if (inFlight === 0) finish(failure);
    };
    pump();
  }

  #chunk(
    media: Media,
    index: number,
    sums: Uint32Array,
    offsetBytes: number,
    into: Uint8Array,
    finish: Finish,
  ): void {
    const { device } = media;
    const lead = offsetBytes % PAGE_BYTES;
    const pages = pagesOf(lead + into.length);
    const firstPage = (offsetBytes - lead) / PAGE_BYTES;
    const direct = lead === 0 && into.length === pages * PAGE_BYTES && device.canUse(into);
    const buffer = direct ? into : allocateOr(device, pages * PAGE_BYTES, finish);
    if (buffer === null) return;
    const at = (this.#context.table.pageAddress(index) + firstPage) * PAGE_BYTES;
    device.read(at, buffer, (error) => {
      const failure = error ?? this.#verify(index, sums, firstPage, buffer);
      if (!direct) {
        if (failure === null) into.set(buffer.subarray(lead, lead + into.length));
        device.release(buffer);
      }
      finish(failure);
    });
  }

  #verify(
    index: number,
    sums: Uint32Array,
    firstPage: number,
    buffer: Uint8Array,
  ): MpoolError | null {
    const pages = buffer.length / PAGE_BYTES;
    crc32cPages(buffer, scratch);
    for (let i = 0; i < pages; i++) {
      if (scratch[i] !== sums[firstPage + i]) return this.mismatch(index, firstPage + i);
    }
    return null;
  }

  /** Brings the checksum table into the cache, once however many wait for it. */
  #loadSums(media: Media, index: number, finish: Finish): void {
    const waiting = this.#loading.get(index);
    if (waiting !== undefined) {
      waiting.push(finish);
      return;
    }
    const { table, cache } = this.#context;
    const dataPages = pagesOf(table.lengthBytes(index));
    const tablePages = tablePagesOf(dataPages);
    // A single page has no table: the digest covers its checksum.
    const single = tablePages === 0;
    const buffer = allocateOr(media.device, Math.max(1, tablePages) * PAGE_BYTES, finish);
    if (buffer === null) return;
    this.#loading.set(index, [finish]);
    const page = table.pageAddress(index) + (single ? 0 : dataPages);
    media.device.read(page * PAGE_BYTES, buffer, (error) => {
      let failure: MpoolError | null = error;
      if (error === null) {
        const sums = single ? sumOf(buffer) : decodeSums(buffer, dataPages);
        const right = this.#digestOf(index, encodeSums(sums)) === table.digest(index);
        if (right) cache.set(index, sums);
        else failure = this.#badTable(media, index, single, page);
      }
      media.device.release(buffer);
      const finishers = this.#loading.get(index)!;
      this.#loading.delete(index);
      for (const each of finishers) each(failure);
    });
  }

  #digestOf(index: number, sums: Uint8Array): number {
    const { table } = this.#context;
    return mblockDigest(table.idLow(index), table.idHigh(index), table.lengthBytes(index), sums);
  }

  #badTable(media: Media, index: number, single: boolean, page: number): MpoolError {
    this.checksumErrorCount += 1;
    const what = single ? 'page 0' : 'the checksum table';
    const { path } = media.device;
    const at = page * PAGE_BYTES;
    return this.#damage(index, `${what} of ${this.#name(index)}, byte ${at} of ${path}`, path);
  }

  #damage(index: number, where: string, path: string): MpoolError {
    const error = new MpoolError('ERR_MPOOL_CHECKSUM', where, { path });
    this.#context.damaged(index, error.message);
    return error;
  }

  #name(index: number): string {
    const { table } = this.#context;
    return `mblock ${printIdHalves(table.idLow(index), table.idHigh(index))}`;
  }
}

/** One chunk's checksums; only used between a read's completion and its comparison. */
const scratch = new Uint32Array(CHUNK_BYTES / PAGE_BYTES + 1);

/** Memory for a read; null when there is none, and then `finish` has been told. */
function allocateOr(device: Device, lengthBytes: number, finish: Finish): Uint8Array | null {
  try {
    return device.allocate(lengthBytes);
  } catch (error) {
    finish(new MpoolError('ERR_MPOOL_IO', 'no memory for a read', { cause: error }));
    return null;
  }
}

function sumOf(page: Uint8Array): Uint32Array {
  const sums = new Uint32Array(1);
  crc32cPages(page, sums);
  return sums;
}
