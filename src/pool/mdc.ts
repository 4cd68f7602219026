import type { WaitOptions } from '../base/abandon.ts';
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
 *   idle ──startCompaction──► compacting ──endCompaction──► ending ──► idle, new content
 *                                 └──────cancelCompaction──► idle, old content
 *
 * Invariants
 * 1. Appends go to `target` while compacting, else to the pair's active log; nothing of a target counts
 *    before commit().
 * 2. While ending nothing is appended anywhere: appends wait until it is known which log goes on.
 */
export class OpenMdc implements Held {
  readonly id: MdcId;
  readonly pair: LogPair;
  handleCount = 0;
  #target: Log | null = null;
  #ending: Promise<void> | null = null;
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
  /** What is appended to. */
  get current(): Log {
    return this.#target ?? this.pair.active;
  }

  append(record: Uint8Array, sync: boolean): Promise<void> {
    if (this.#ending !== null) {
      const copy = Uint8Array.from(record);
      return this.#ending.then(() => this.append(copy, sync));
    }
    const room = this.current.append(record);
    return sync ? this.sync() : (room ?? RESOLVED);
  }

  /** Of both logs: what was appended before a compaction counts until that ends. */
  sync(): Promise<void> {
    const { active } = this.pair;
    if (this.#target === null) return active.sync();
    return Promise.all([active.sync(), this.#target.sync()]).then(() => {});
  }

  start(): void {
    if (this.#target !== null) throw invalidArgument(`${this.name} is being compacted already`);
    this.#target = this.pair.begin();
  }

  async end(): Promise<void> {
    const target = this.#target;
    if (target === null || this.#ending !== null) {
      throw invalidArgument(`${this.name}: endCompaction() without startCompaction()`);
    }
    const old = this.pair.active;
    const committing = this.pair.commit(target);
    // Whoever waits for the end learns from its own next step how it went.
    const ending = committing.catch(() => {}).finally(() => (this.#ending = null));
    this.#ending = ending;
    await committing;
    this.#target = null;
    // They hold memory of a log that no one will close any more.
    await Promise.all([...old.readers].map((reader) => reader.close()));
    // What was appended meanwhile comes before what is appended after this.
    await ending;
  }

  async cancel(): Promise<void> {
    await this.#ending;
    const target = this.#target;
    if (target === null) return;
    this.#target = null;
    await target.drop();
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
      const bytes = recordBytes(record);
      this.#assertWritable();
      return this.#open.append(bytes, options?.sync === true);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async sync(): Promise<void> {
    this.#assertWritable();
    await this.#open.sync();
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
    this.#open.start();
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
    else if (!this.#store.readOnly) await this.#open.sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Readers see the content that counts: not that of a compaction under way. */
  #reader(): LogReader {
    const { id, name, pair } = this.#open;
    return new LogReader(
      () => {
        this.#assertOpen();
        return pair.active;
      },
      (error) => this.#store.logTrouble(id.logA, name, error),
    );
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

function isIterable(records: unknown): boolean {
  if (typeof records !== 'object' || records === null) return false;
  return Symbol.iterator in records || Symbol.asyncIterator in records;
}
