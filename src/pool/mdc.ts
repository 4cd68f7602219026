import { invalidArgument, MpoolError } from '../base/errors.ts';
import { printObjectId } from '../format/object-id.ts';
import type { Mdc, MdcId, MlogReader } from './api.ts';
import { type Log, RESOLVED } from './log.ts';
import type { LogPair } from './log-pair.ts';
import { LogReader } from './log-reader.ts';
import type { Held, Store } from './store.ts';
import { recordBytes } from './user-log.ts';

/**
 * One open MDC, however many handles share it.
 *
 *   idle ──startCompaction──► compacting ──endCompaction──► idle, new content
 *                                 └──────cancelCompaction──► idle, old content
 *
 * Invariant: appends go to `target` while compacting, else to the pair's active log; nothing of a target
 * counts before commit().
 */
export class OpenMdc implements Held {
  readonly id: MdcId;
  readonly pair: LogPair;
  target: Log | null = null;
  handleCount = 0;
  /** Set while endCompaction() decides: what is appended meanwhile waits for it. */
  ending: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  readonly #forget: () => void;
  readonly #readOnly: boolean;

  constructor(id: MdcId, pair: LogPair, readOnly: boolean, forget: () => void) {
    this.id = id;
    this.pair = pair;
    this.#readOnly = readOnly;
    this.#forget = forget;
  }

  get name(): string {
    return `MDC ${printObjectId(this.id.logA)}`;
  }
  get what(): string {
    return `${this.name} is open`;
  }
  get closing(): boolean {
    return this.#closing !== null;
  }
  get current(): Log {
    return this.target ?? this.pair.active;
  }

  start(): void {
    if (this.target !== null) throw invalidArgument(`${this.name} is being compacted already`);
    this.target = this.pair.begin();
  }

  async end(): Promise<void> {
    const { target } = this;
    if (target === null || this.ending !== null) {
      throw invalidArgument(`${this.name}: endCompaction() without startCompaction()`);
    }
    this.ending = this.pair.commit(target);
    try {
      await this.ending;
      this.target = null;
    } finally {
      this.ending = null;
    }
  }

  async cancel(): Promise<void> {
    const { target } = this;
    if (target === null) return;
    this.target = null;
    await target.settle();
    target.drop();
  }

  sync(): Promise<void> {
    return this.current.sync();
  }

  release(): Promise<void> {
    this.#closing ??= this.#close().finally(this.#forget);
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.cancel();
    await this.pair.active.close({ readOnly: this.#readOnly });
  }
}

/** A user's handle on an open MDC. */
export class StoreMdc implements Mdc {
  readonly #store: Store;
  readonly #open: OpenMdc;
  #closed = false;

  constructor(store: Store, open: OpenMdc) {
    this.#store = store;
    this.#open = open;
    open.handleCount += 1;
  }

  get id(): MdcId {
    return this.#open.id;
  }
  get generation(): bigint {
    return BigInt(this.#open.pair.active.generation);
  }
  get usage(): Mdc['usage'] {
    const { usedBytes, capacityBytes, recordCount } = this.#open.current;
    return { usedBytes, capacityBytes, recordCount };
  }

  append(record: Uint8Array | string, options?: { sync?: boolean | undefined }): Promise<void> {
    try {
      this.#assertWritable();
      const { ending, current: log } = this.#open;
      if (ending !== null) {
        const copy = Uint8Array.from(recordBytes(record));
        return ending.then(() => this.append(copy, options));
      }
      const room = log.append(recordBytes(record));
      return options?.sync === true ? log.sync() : (room ?? RESOLVED);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  async sync(): Promise<void> {
    this.#assertWritable();
    await this.#open.current.sync();
  }

  reader(): MlogReader {
    this.#assertOpen();
    return this.#reader();
  }

  async *records(): AsyncIterable<Uint8Array> {
    this.#assertOpen();
    yield* this.#reader();
  }

  async startCompaction(): Promise<void> {
    this.#assertWritable();
    this.#open.start();
  }

  async endCompaction(): Promise<void> {
    this.#assertWritable();
    await this.#open.end();
  }

  async cancelCompaction(): Promise<void> {
    this.#assertOpen();
    await this.#open.cancel();
  }

  async compact(
    records: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
  ): Promise<void> {
    await this.startCompaction();
    try {
      for await (const record of records) await this.append(record);
      await this.endCompaction();
    } catch (error) {
      await this.#open.cancel();
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#open.handleCount -= 1;
    if (this.#open.handleCount === 0) await this.#open.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Readers see the content that counts: not that of a compaction under way. */
  #reader(): LogReader {
    return new LogReader(() => {
      this.#assertOpen();
      return this.#open.pair.active;
    });
  }

  #assertOpen(): void {
    this.#store.assertOpen();
    if (!this.#closed && !this.#open.closing) return;
    throw new MpoolError('ERR_MPOOL_CLOSED', this.#open.name);
  }

  #assertWritable(): void {
    this.#assertOpen();
    if (this.#store.readOnly) throw new MpoolError('ERR_MPOOL_READ_ONLY', this.#open.name);
  }
}
