import type { WaitOptions } from '../../base/abandon.ts';
import { invalidArgument, MpoolError } from '../../base/errors.ts';
import type { Mdc, MdcId, MlogReader } from '../../pool/api.ts';
import { recordBytes } from '../../pool/user-log.ts';
import type { OpenMdc } from './open-mdc.ts';
import { RemoteReader } from './remote-reader.ts';
import type { Session } from './session.ts';

/** A user's handle on an open MDC. */
export class ClientMdc implements Mdc {
  readonly #session: Session;
  readonly #open: OpenMdc;
  #closed = false;

  constructor(session: Session, open: OpenMdc) {
    this.#session = session;
    this.#open = open;
    open.log.handleCount += 1;
  }

  get id(): MdcId {
    return this.#open.id;
  }
  get generation(): bigint {
    return this.#open.log.generation;
  }
  get usage(): Mdc['usage'] {
    const { usedBytes, capacityBytes, recordCount } = this.#open.log;
    return { usedBytes, capacityBytes, recordCount };
  }

  append(record: Uint8Array | string, options?: { sync?: boolean | undefined }): Promise<void> {
    try {
      const bytes = recordBytes(record);
      this.#assertWritable();
      return this.#open.log.append(bytes, options?.sync === true);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async sync(): Promise<void> {
    this.#assertWritable();
    await this.#open.log.sync();
  }

  reader(): MlogReader {
    this.#assertOpen();
    return this.#reader();
  }

  async *records(options?: WaitOptions): AsyncIterable<Uint8Array> {
    this.#assertOpen();
    yield* this.#reader().all(options);
  }

  async startCompaction(): Promise<void> {
    this.#assertWritable();
    await this.#open.start();
  }

  async endCompaction(): Promise<void> {
    this.#assertWritable();
    await this.#open.end();
  }

  async cancelCompaction(): Promise<void> {
    this.#assertWritable();
    await this.#open.cancel();
  }

  async compact(
    records: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
  ): Promise<void> {
    if (!isIterable(records)) throw invalidArgument('records must be iterable', 'type');
    this.#assertWritable();
    await this.#open.startWhole();
    try {
      await this.#appendAll(records);
      await this.endCompaction();
    } catch (error) {
      await this.#open.abandon();
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#open.log.handleCount -= 1;
    if (this.#open.log.handleCount === 0) await this.#open.log.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** So many are on their way to the daemon at a time that no round trip is waited for. */
  async #appendAll(
    records: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
  ): Promise<void> {
    let appends: Promise<void>[] = [];
    let bytes = 0;
    for await (const record of records) {
      const append = this.append(record);
      // Its failure is thrown below.
      append.catch(() => {});
      appends.push(append);
      bytes += record.length;
      if (appends.length < COMPACT_RECORDS && bytes < COMPACT_BYTES) continue;
      await Promise.all(appends);
      appends = [];
      bytes = 0;
    }
    await Promise.all(appends);
  }

  /** Readers see the content that counts: not that of a compaction under way. */
  #reader(): RemoteReader {
    return new RemoteReader(() => {
      this.#assertOpen();
      return this.#open.log;
    });
  }

  #assertOpen(): void {
    this.#session.assertOpen();
    if (!this.#closed && !this.#open.log.closing) return;
    throw new MpoolError('ERR_MPOOL_CLOSED', this.#open.log.name);
  }

  #assertWritable(): void {
    this.#assertOpen();
    if (this.#session.readOnly) throw new MpoolError('ERR_MPOOL_READ_ONLY', this.#open.log.name);
  }
}

const COMPACT_RECORDS = 1024;
const COMPACT_BYTES = 2 ** 18;

function isIterable(records: unknown): boolean {
  if (typeof records !== 'object' || records === null) return false;
  return Symbol.iterator in records || Symbol.asyncIterator in records;
}
