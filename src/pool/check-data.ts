import { crc32cPages } from '../base/crc32c.ts';
import { MIB, PAGE_BYTES, pagesOf } from '../base/units.ts';
import { readAsync } from '../device/device.ts';
import { decodeSums, mblockDigest, SUM_BYTES, tablePagesOf } from '../format/checksum-table.ts';
import type { ObjectRecord } from '../format/records.ts';
import { zeroBetween } from '../format/u64.ts';
import type { CheckLocation, Findings } from './check-findings.ts';
import { ioMessage, type CheckedDevice } from './check-logs.ts';

const READ_BYTES = MIB;

/**
 * Verifies an mblock: its checksum table against the digest of its record, and, when asked, each
 * page against the table.
 */
export class MblockCheck {
  readonly #on: CheckedDevice;
  readonly #findings: Findings;
  readonly #object: ObjectRecord;
  readonly #buffer: Uint8Array;
  readonly #dataPages: number;
  /** Reads that failed: they tell nothing of what is there. */
  ioErrorCount = 0;
  readonly #onPages: ((nextPage: number) => void) | undefined;

  /**
   * @param buffer at least READ_BYTES of the device's memory, its own while it works
   * @param onPages all pages below this one have been looked at
   */
  constructor(
    on: CheckedDevice,
    object: ObjectRecord,
    findings: Findings,
    buffer: Uint8Array,
    onPages?: (nextPage: number) => void,
  ) {
    this.#onPages = onPages;
    this.#on = on;
    this.#object = object;
    this.#findings = findings;
    this.#buffer = buffer;
    this.#dataPages = pagesOf(object.lengthBytes);
  }

  static allocate({ device }: CheckedDevice): Uint8Array {
    return device.allocate(READ_BYTES);
  }

  /** @param fromPage the first page of data to verify */
  async run(withData: boolean, fromPage = 0): Promise<void> {
    this.#findings.counts.mblocks += 1;
    const { idLow, idHigh, lengthBytes, digest } = this.#object;
    const sums = this.#dataPages === 1 ? await this.#onlyPageSums() : await this.#tableSums();
    if (sums === undefined) return;
    if (mblockDigest(idLow, idHigh, lengthBytes, sums) !== digest) {
      const message =
        this.#dataPages === 1
          ? 'its page is not what its record says'
          : 'its checksum table is not what its record says';
      this.#bad('mblock', this.#dataPages === 1 ? 0 : this.#dataPages, message);
    }
    if (!withData || this.#dataPages <= 1) return;
    await this.#pages(decodeSums(sums, this.#dataPages), fromPage);
  }

  /** The table's bytes without padding, or undefined when they cannot be read. */
  async #tableSums(): Promise<Uint8Array | undefined> {
    const tableBytes = tablePagesOf(this.#dataPages) * PAGE_BYTES;
    const usedBytes = this.#dataPages * SUM_BYTES;
    const table = new Uint8Array(tableBytes);
    for (let at = 0; at < tableBytes; at += READ_BYTES) {
      const part = this.#buffer.subarray(0, Math.min(READ_BYTES, tableBytes - at));
      // oxlint-disable-next-line no-await-in-loop -- one buffer
      if (!(await this.#read(this.#dataPages + at / PAGE_BYTES, part, 'mblock'))) return undefined;
      table.set(part, at);
    }
    if (!zeroBetween(table, usedBytes, tableBytes)) {
      this.#bad('mblock', this.#dataPages, 'the padding of its checksum table is not zero');
    }
    this.#findings.counts.bytes += tableBytes;
    return table.subarray(0, usedBytes);
  }

  /** The checksum of a single page is stored nowhere: the digest covers it. */
  async #onlyPageSums(): Promise<Uint8Array | undefined> {
    const page = this.#buffer.subarray(0, PAGE_BYTES);
    if (!(await this.#read(0, page, 'page'))) return undefined;
    const sums = new Uint32Array(1);
    crc32cPages(page, sums);
    this.#countPages(1);
    this.#checkPadding(page);
    const bytes = new Uint8Array(SUM_BYTES);
    new DataView(bytes.buffer).setUint32(0, sums[0]!, true);
    return bytes;
  }

  async #pages(sums: Uint32Array, fromPage: number): Promise<void> {
    const pagesPerRead = READ_BYTES / PAGE_BYTES;
    for (let page = fromPage; page < this.#dataPages; page += pagesPerRead) {
      const count = Math.min(pagesPerRead, this.#dataPages - page);
      const part = this.#buffer.subarray(0, count * PAGE_BYTES);
      // oxlint-disable-next-line no-await-in-loop -- one buffer
      if (await this.#read(page, part, undefined)) this.#verify(page, part, sums);
      // oxlint-disable-next-line no-await-in-loop -- one buffer
      else await this.#oneByOne(page, count, sums);
      this.#onPages?.(page + count);
    }
  }

  /** After a read error: which of the pages cannot be read, and whether the others are right. */
  async #oneByOne(first: number, count: number, sums: Uint32Array): Promise<void> {
    const buffer = this.#buffer.subarray(0, PAGE_BYTES);
    for (let page = first; page < first + count; page++) {
      // oxlint-disable-next-line no-await-in-loop -- one buffer
      if (await this.#read(page, buffer, 'page')) this.#verify(page, buffer, sums);
    }
  }

  #verify(first: number, bytes: Uint8Array, sums: Uint32Array): void {
    const count = bytes.length / PAGE_BYTES;
    const found = new Uint32Array(count);
    crc32cPages(bytes, found);
    this.#countPages(count);
    for (let i = 0; i < count; i++) {
      if (found[i] === sums[first + i]) continue;
      this.#bad('page', first + i, `page ${first + i} is not what its checksum says`);
    }
    if (first + count === this.#dataPages) this.#checkPadding(bytes.subarray(-PAGE_BYTES));
  }

  #checkPadding(lastPage: Uint8Array): void {
    const used = this.#object.lengthBytes - (this.#dataPages - 1) * PAGE_BYTES;
    if (zeroBetween(lastPage, used, PAGE_BYTES)) return;
    this.#bad('page', this.#dataPages - 1, 'the padding of the last page is not zero');
  }

  /** @returns whether it was read; when not, a finding unless `structure` is undefined */
  async #read(
    page: number,
    into: Uint8Array,
    structure: 'mblock' | 'page' | undefined,
  ): Promise<boolean> {
    try {
      await readAsync(this.#on.device, this.#locate(page).offsetBytes, into);
      return true;
    } catch (error) {
      const message = ioMessage(error);
      this.ioErrorCount += 1;
      if (structure !== undefined) this.#bad(structure, page, message);
      return false;
    }
  }

  #countPages(count: number): void {
    this.#findings.counts.pages += count;
    this.#findings.counts.bytes += count * PAGE_BYTES;
  }

  #bad(structure: 'mblock' | 'page', page: number, message: string): void {
    this.#findings.add('error', structure, this.#locate(page), message, this.#object);
  }

  #locate(page: number): CheckLocation {
    const offsetBytes = (this.#object.pageAddress + page) * PAGE_BYTES;
    return { device: this.#on.device.path, offsetBytes };
  }
}
