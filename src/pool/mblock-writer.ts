import { InFlight } from '../base/in-flight.ts';
import { crc32cPages } from '../base/crc32c.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES, pagesOf, roundUp } from '../base/units.ts';
import { encodeSums, mblockDigest, tablePagesOf } from '../format/checksum-table.ts';
import { printIdHalves } from '../format/object-id.ts';
import type { Media } from './media.ts';

/** One device write. Large enough for full bandwidth, small enough to copy in 100 µs. */
export const CHUNK_BYTES = MIB;
const CHUNKS_IN_FLIGHT = 4;

/**
 * Fills one mblock that is not committed: data pages in order, their checksums in memory, the table
 * at the end (docs/format.md §7).
 *
 * Invariants
 * 1. Writes get their place when they are called, one behind the other.
 * 2. `writtenBytes` is the end of the longest run of writes from the start that are all done.
 * 3. After a failed write nothing more is written: the mblock can only be aborted.
 */
export class MblockWriter {
  readonly media: Media;
  readonly pageAddress: number;
  readonly idLow: number;
  readonly idHigh: number;
  #sums: Uint32Array;
  #reservedBytes = 0;
  #writtenBytes = 0;
  #unfinished: { endBytes: number; done: boolean }[] = [];
  #idle: (() => void)[] = [];
  #sealed = false;
  #failure: MpoolError | null = null;
  /** Told of the first failure. */
  onFailure: (error: MpoolError) => void = () => {};

  constructor(media: Media, pageAddress: number, idLow: number, idHigh: number) {
    this.media = media;
    this.pageAddress = pageAddress;
    this.idLow = idLow;
    this.idHigh = idHigh;
    this.#sums = new Uint32Array(SUMS_AT_FIRST);
  }

  /** Of writes that were called and not refused, done or not. */
  get acceptedBytes(): number {
    return this.#reservedBytes;
  }
  get writtenBytes(): number {
    return this.#writtenBytes;
  }
  get failure(): MpoolError | null {
    return this.#failure;
  }

  /** @throws RangeError when it does not fit or the last write was not of whole pages */
  write(data: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const pieces = data instanceof Uint8Array ? [data] : data;
    let lengthBytes = 0;
    for (const piece of pieces) {
      if (!(piece instanceof Uint8Array))
        throw invalidArgument('data must be a Uint8Array', 'type');
      lengthBytes += piece.length;
    }
    this.#check(lengthBytes);
    if (lengthBytes === 0) return Promise.resolve();
    const startBytes = this.#reservedBytes;
    this.#reservedBytes += lengthBytes;
    this.#growSums(pagesOf(this.#reservedBytes));
    const entry = { endBytes: this.#reservedBytes, done: false };
    this.#unfinished.push(entry);
    return this.#writeChunks(pieces, startBytes, lengthBytes).then(
      () => this.#finished(entry, null),
      (error: MpoolError) => this.#finished(entry, error),
    );
  }

  /**
   * Waits for the writes and writes the table; durable with the next flush.
   * @returns what the object's record says of the content
   */
  async finish(): Promise<{ lengthBytes: number; digest: number; sums: Uint32Array }> {
    this.#sealed = true;
    await this.idle();
    if (this.#failure !== null) throw this.#failed();
    const dataPages = pagesOf(this.#writtenBytes);
    const sums = this.#sums.slice(0, dataPages);
    const table = encodeSums(sums);
    const tablePages = tablePagesOf(dataPages);
    if (tablePages > 0) {
      const { device } = this.media;
      const buffer = device.allocate(tablePages * PAGE_BYTES);
      buffer.fill(0, table.length);
      buffer.set(table);
      await this.#deviceWrite(this.pageAddress + dataPages, buffer).finally(() =>
        device.release(buffer),
      );
    }
    const digest = mblockDigest(this.idLow, this.idHigh, this.#writtenBytes, table);
    return { lengthBytes: this.#writtenBytes, digest, sums };
  }

  /** After a commit that was refused and changed nothing: writing may go on. */
  reopen(): void {
    this.#sealed = false;
  }

  /** Resolves when no write is under way. */
  idle(): Promise<void> {
    if (this.#unfinished.length === 0) return Promise.resolve();
    return new Promise((resume) => this.#idle.push(resume));
  }

  #check(lengthBytes: number): void {
    if (this.#failure !== null) throw this.#failed();
    if (this.#sealed) {
      throw new MpoolError('ERR_MPOOL_COMMITTED', `${this.#name} is being committed`);
    }
    if (this.#reservedBytes % PAGE_BYTES !== 0 && lengthBytes > 0) {
      throw invalidArgument(
        `${this.#name} ends within a page at ${this.#reservedBytes}: a write that is no multiple of ` +
          `${PAGE_BYTES} bytes must be the last`,
      );
    }
    const roomBytes = this.media.mblockCapacityBytes - this.#reservedBytes;
    if (lengthBytes > roomBytes) {
      throw invalidArgument(`${this.#name} has room for ${roomBytes} bytes, not ${lengthBytes}`);
    }
  }

  async #writeChunks(
    pieces: readonly Uint8Array[],
    startBytes: number,
    lengthBytes: number,
  ): Promise<void> {
    const source = new Gatherer(pieces);
    const inFlight = new InFlight<MpoolError>(CHUNKS_IN_FLIGHT);
    try {
      await this.#issueChunks(source, inFlight, startBytes, lengthBytes);
    } catch (error) {
      // No memory, or the data was taken away: what is under way must not outlive this write.
      await inFlight.drained().catch(() => {});
      throw error;
    }
    await inFlight.drained();
  }

  async #issueChunks(
    source: Gatherer,
    inFlight: InFlight<MpoolError>,
    startBytes: number,
    lengthBytes: number,
  ): Promise<void> {
    const { device } = this.media;
    for (let done = 0; done < lengthBytes && inFlight.error === null; done += CHUNK_BYTES) {
      const chunkBytes = Math.min(CHUNK_BYTES, lengthBytes - done);
      const whole = source.peekWhole(chunkBytes);
      const direct = whole !== null && chunkBytes % PAGE_BYTES === 0 && device.canUse(whole);
      const buffer = direct ? whole : device.allocate(roundUp(chunkBytes, PAGE_BYTES));
      if (direct) source.skip(chunkBytes);
      else {
        try {
          source.copyTo(buffer, chunkBytes);
        } catch (error) {
          device.release(buffer);
          throw error;
        }
        buffer.fill(0, chunkBytes);
      }
      if (done > 0) await inFlight.take();
      else void inFlight.take();
      const firstPage = (startBytes + done) / PAGE_BYTES;
      crc32cPages(buffer, this.#sums.subarray(firstPage, firstPage + pagesOf(chunkBytes)));
      const offsetBytes = this.pageAddress * PAGE_BYTES + startBytes + done;
      device.write(offsetBytes, buffer, 'volatile', (error) => {
        if (!direct) device.release(buffer);
        inFlight.settle(error);
      });
    }
  }

  #finished(entry: { done: boolean }, error: MpoolError | null): void {
    entry.done = true;
    if (error !== null) this.#fail(error);
    while (this.#unfinished[0]?.done === true) {
      const { endBytes } = this.#unfinished.shift()!;
      if (this.#failure === null) this.#writtenBytes = endBytes;
    }
    if (this.#unfinished.length === 0) {
      const idle = this.#idle;
      this.#idle = [];
      for (const resume of idle) resume();
    }
    if (error !== null) throw error;
    if (this.#failure !== null) throw this.#failed();
  }

  #fail(error: MpoolError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.onFailure(error);
  }

  #deviceWrite(pageAddress: number, buffer: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.media.device.write(pageAddress * PAGE_BYTES, buffer, 'volatile', (error) => {
        if (error === null) return resolve();
        this.#fail(error);
        reject(error);
      });
    });
  }

  #growSums(pages: number): void {
    if (pages <= this.#sums.length) return;
    const most = this.media.mblockCapacityBytes / PAGE_BYTES;
    const larger = new Uint32Array(Math.min(most, Math.max(pages, this.#sums.length * 4)));
    larger.set(this.#sums);
    this.#sums = larger;
  }

  get #name(): string {
    return `mblock ${printIdHalves(this.idLow, this.idHigh)}`;
  }

  #failed(): MpoolError {
    return new MpoolError('ERR_MPOOL_FAILED', `${this.#name}: abort it`, { cause: this.#failure });
  }
}

const SUMS_AT_FIRST = 16;

/** Reads on through several pieces as if they were one. */
class Gatherer {
  readonly #pieces: readonly Uint8Array[];
  #index = 0;
  #offset = 0;

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces;
  }

  /** The next bytes without a copy, or null when they span pieces. */
  peekWhole(lengthBytes: number): Uint8Array | null {
    this.#skipSpent();
    const piece = this.#pieces[this.#index];
    if (piece === undefined || piece.length - this.#offset < lengthBytes) return null;
    return piece.subarray(this.#offset, this.#offset + lengthBytes);
  }

  skip(lengthBytes: number): void {
    this.#offset += lengthBytes;
  }

  copyTo(target: Uint8Array, lengthBytes: number): void {
    let at = 0;
    while (at < lengthBytes) {
      this.#skipSpent();
      const piece = this.#pieces[this.#index]!;
      const part = piece.subarray(this.#offset, this.#offset + lengthBytes - at);
      if (part.length === 0)
        throw invalidArgument('data was taken away while it was being written');
      target.set(part, at);
      at += part.length;
      this.#offset += part.length;
    }
  }

  #skipSpent(): void {
    while (this.#offset === this.#pieces[this.#index]?.length) {
      this.#index += 1;
      this.#offset = 0;
    }
  }
}
