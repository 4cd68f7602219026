import type { WaitOptions } from '../../base/abandon.ts';
import { invalidArgument, MpoolError } from '../../base/errors.ts';
import { GENERATION_MAX } from '../../format/log-header.ts';
import type { MlogId } from '../../format/object-id.ts';
import type { Mlog, MlogReader } from '../../pool/api.ts';
import { recordBytes } from '../../pool/user-log.ts';
import { idToWire } from '../wire-values.ts';
import type { RemoteLog } from './remote-log.ts';
import { RemoteReader } from './remote-reader.ts';
import type { Session } from './session.ts';

/** A user's handle on an open log. */
export class ClientMlog implements Mlog {
  readonly id: MlogId;
  readonly #session: Session;
  readonly #log: RemoteLog;
  readonly #compactionSemantics: boolean;
  #closed = false;

  constructor(session: Session, id: MlogId, log: RemoteLog, compactionSemantics: boolean) {
    this.#session = session;
    this.id = id;
    this.#log = log;
    this.#compactionSemantics = compactionSemantics;
    log.handleCount += 1;
  }

  get generation(): bigint {
    return this.#log.generation;
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
      return this.#log.append(bytes, options?.sync === true);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async sync(): Promise<void> {
    this.#assertWritable();
    await this.#log.sync();
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
    const asked = { minGeneration: idToWire(minGeneration) };
    this.#log.took((await this.#log.ask('log.erase', asked)).body);
  }

  startCompaction(): Promise<void> {
    return this.#mark('log.startCompaction');
  }

  endCompaction(): Promise<void> {
    return this.#mark('log.endCompaction');
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#log.handleCount -= 1;
    if (this.#log.handleCount === 0) await this.#log.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #mark(operation: 'log.startCompaction' | 'log.endCompaction'): Promise<void> {
    this.#assertWritable();
    if (!this.#compactionSemantics) {
      throw invalidArgument(`${this.#log.name} was opened without compactionSemantics`);
    }
    this.#log.took((await this.#log.ask(operation, {})).body);
  }

  #reader(): RemoteReader {
    return new RemoteReader(() => {
      this.#assertOpen();
      return this.#log;
    });
  }

  #assertOpen(): void {
    this.#session.assertOpen();
    if (!this.#closed && !this.#log.closing) return;
    throw new MpoolError('ERR_MPOOL_CLOSED', this.#log.name);
  }

  #assertWritable(): void {
    this.#assertOpen();
    if (this.#session.readOnly) throw new MpoolError('ERR_MPOOL_READ_ONLY', this.#log.name);
  }
}
