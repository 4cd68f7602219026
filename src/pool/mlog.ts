import type { WaitOptions } from '../base/abandon.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { GENERATION_MAX } from '../format/log-header.ts';
import { type MlogId, printObjectId } from '../format/object-id.ts';
import type { Mlog, MlogReader } from './api.ts';
import { type Log, RESOLVED } from './log.ts';
import { LogReader } from './log-reader.ts';
import type { Held, Store } from './store.ts';
import { recordBytes } from './user-log.ts';

/** One open log, however many handles share it. */
export class OpenMlog implements Held {
  readonly id: MlogId;
  readonly log: Log;
  readonly compactionSemantics: boolean;
  /** Of the generation: which markers the log has, with compaction semantics. */
  markers: 'none' | 'started' | 'ended';
  handleCount = 0;
  #closing: Promise<void> | null = null;
  readonly #forget: () => void;
  readonly #readOnly: boolean;

  constructor(
    id: MlogId,
    log: Log,
    options: {
      compactionSemantics: boolean;
      markers: 'none' | 'started' | 'ended';
      readOnly: boolean;
      forget: () => void;
    },
  ) {
    this.id = id;
    this.log = log;
    this.compactionSemantics = options.compactionSemantics;
    this.markers = options.markers;
    this.#readOnly = options.readOnly;
    this.#forget = options.forget;
  }

  get what(): string {
    return `mlog ${printObjectId(this.id)} is open`;
  }
  get closing(): boolean {
    return this.#closing !== null;
  }

  sync(): Promise<void> {
    return this.log.sync();
  }

  release(): Promise<void> {
    this.#closing ??= this.log.close({ readOnly: this.#readOnly }).finally(this.#forget);
    return this.#closing;
  }
}

/** A user's handle on an open log. */
export class StoreMlog implements Mlog {
  readonly #store: Store;
  readonly #open: OpenMlog;
  readonly #log: Log;
  #closed = false;

  constructor(store: Store, open: OpenMlog) {
    this.#store = store;
    this.#open = open;
    this.#log = open.log;
    open.handleCount += 1;
  }

  get id(): MlogId {
    return this.#open.id;
  }
  get generation(): bigint {
    return BigInt(this.#log.generation);
  }
  get capacityBytes(): number {
    return this.#log.capacityBytes;
  }
  get usedBytes(): number {
    return this.#log.usedBytes;
  }
  get recordCount(): number {
    return this.#log.recordCount;
  }

  append(record: Uint8Array | string, options?: { sync?: boolean | undefined }): Promise<void> {
    try {
      const bytes = recordBytes(record);
      this.#assertWritable();
      if (this.#open.compactionSemantics && this.#open.markers === 'none') {
        throw invalidArgument(`${this.#name} needs startCompaction() before its first record`);
      }
      const room = this.#log.append(bytes);
      return options?.sync === true ? this.#log.sync() : (room ?? RESOLVED);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  sync(): Promise<void> {
    try {
      this.#assertWritable();
      return this.#log.sync();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  reader(): MlogReader {
    this.#assertOpen();
    return this.#reader();
  }

  async *records(options?: WaitOptions): AsyncIterable<Uint8Array> {
    this.#assertOpen();
    yield* this.#reader().all(options);
  }

  async erase(minGeneration = 0n): Promise<void> {
    this.#assertWritable();
    if (typeof minGeneration !== 'bigint') {
      throw invalidArgument('a generation must be a bigint', 'type');
    }
    if (minGeneration < 0n || minGeneration > BigInt(GENERATION_MAX)) {
      throw invalidArgument(`generation ${minGeneration} is out of range`);
    }
    await this.#log.erase(Number(minGeneration), this.#store.environment.prng);
    this.#open.markers = 'none';
  }

  startCompaction(): Promise<void> {
    return this.#mark('none', 'started');
  }

  endCompaction(): Promise<void> {
    return this.#mark('started', 'ended');
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

  async #mark(from: OpenMlog['markers'], to: 'started' | 'ended'): Promise<void> {
    this.#assertWritable();
    const open = this.#open;
    if (!open.compactionSemantics) {
      throw invalidArgument(`${this.#name} was opened without compactionSemantics`);
    }
    const fits = open.markers === from && (to === 'ended' || this.#log.recordCount === 0);
    if (!fits) {
      throw invalidArgument(`${this.#name}: compaction cannot be ${to} when it is ${open.markers}`);
    }
    this.#log.appendMarker(to);
    open.markers = to;
    await this.#log.sync();
  }

  #reader(): LogReader {
    return new LogReader(
      () => {
        this.#assertOpen();
        return this.#log;
      },
      (error) => this.#store.logTrouble(this.id, this.#name, error),
    );
  }

  get #name(): string {
    return `mlog ${printObjectId(this.id)}`;
  }

  #assertOpen(): void {
    this.#store.assertOpen();
    if (this.#closed || this.#open.closing) throw new MpoolError('ERR_MPOOL_CLOSED', this.#name);
  }

  #assertWritable(): void {
    this.#assertOpen();
    if (this.#store.readOnly) throw new MpoolError('ERR_MPOOL_READ_ONLY', this.#name);
  }
}
