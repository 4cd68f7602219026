import { errorFromWire } from '../wire-values.ts';
import type { RefusedRecord } from '../protocol.ts';

/** Of one request, besides its JSON: records that are longer go through shared memory. */
export const BATCH_BYTES_MAX = 64 * 1024;
const RECORDS_MAX = 8192;
const BUFFER_BYTES_MIN = 1024;

interface Waiter {
  sync: boolean;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Records appended to one log in one turn: they travel together, and those that ask for it share a flush. */
export class AppendBatch {
  readonly lengths: number[] = [];
  readonly #waiters: Waiter[] = [];
  #buffer = Buffer.alloc(0);
  #usedBytes = 0;
  #syncCount = 0;

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#usedBytes);
  }
  /** At least one record asked to be made durable. */
  get anySync(): boolean {
    return this.#syncCount > 0;
  }
  get allSync(): boolean {
    return this.#syncCount === this.#waiters.length;
  }

  hasRoom(lengthBytes: number): boolean {
    return this.#usedBytes + lengthBytes <= BATCH_BYTES_MAX && this.lengths.length < RECORDS_MAX;
  }

  /** Copies the record. @returns what settles with it */
  add(record: Uint8Array, sync: boolean): Promise<void> {
    const endBytes = this.#usedBytes + record.length;
    if (endBytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(BUFFER_BYTES_MIN, 2 * endBytes));
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(record, this.#usedBytes);
    this.#usedBytes = endBytes;
    this.lengths.push(record.length);
    if (sync) this.#syncCount += 1;
    return new Promise((resolve, reject) => this.#waiters.push({ sync, resolve, reject }));
  }

  /**
   * They are ordered, but for those refused.
   * @param durable settles when the others are; only those that asked wait for it
   */
  ordered(refused: readonly RefusedRecord[], durable: Promise<unknown> | undefined): void {
    for (const { index, count, error } of refused) {
      for (const { reject } of this.#waiters.slice(index, index + count)) {
        reject(errorFromWire({ ...error }));
      }
    }
    for (const { sync, resolve, reject } of this.#waiters) {
      // Of one that is rejected already this does nothing.
      if (sync && durable !== undefined) durable.then(resolve, reject);
      else resolve();
    }
  }

  failed(error: Error): void {
    for (const { reject } of this.#waiters) reject(error);
  }
}
