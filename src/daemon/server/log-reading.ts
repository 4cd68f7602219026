import { isMpoolError, MpoolError } from '../../base/errors.ts';
import { Serial } from '../../base/serial.ts';
import type { MlogReader } from '../../pool/api.ts';
import type { UserAccount } from './user-accounts.ts';

/** Records of one answer: empty ones take no bytes of it. */
const RECORDS_MAX = 16_384;

export interface RecordBatch {
  lengths: number[];
  payload: Uint8Array[];
  /** Of the last record: still to come. */
  restBytes: number;
  /** Of the log's content that all of them are of. */
  generation: bigint;
}

export interface ReadOptions {
  maxBytes: number;
  maxRecordBytes: number | undefined;
  /** Resolves when the client has taken so much that it can be sent. */
  room: () => Promise<void>;
}

/** What is read: a reader of an open log, that log's generation now, and whose memory it takes. */
interface Source {
  reader: MlogReader;
  generation: () => bigint;
  account: UserAccount;
}

/** A record that the client has not, or only up to `givenBytes`. */
interface Held {
  bytes: Uint8Array;
  givenBytes: number;
  generation: bigint;
}

/**
 * A client's place in a log, read on in batches.
 *
 * Invariants
 * 1. Calls have their effect in the order in which they came, so that batches that are asked for before the
 *    first came hold the records in order.
 * 2. All records of a batch are of one generation.
 * 3. What is read of media and not given to the client is `#held`, and counts as its user's.
 */
export class LogReading {
  readonly #source: Source;
  readonly #turn = new Serial();
  #held: Held | undefined;

  constructor(source: Source) {
    this.#source = source;
  }

  /**
   * Records of at most `maxBytes` in all, one at least; none at the end. A longer one comes in parts.
   * @throws ERR_MPOOL_TOO_LARGE when the next record has more than `maxRecordBytes`: it is not consumed;
   *   ERR_MPOOL_LIMIT
   */
  read(options: ReadOptions): Promise<RecordBatch> {
    return this.#turn.run(async () => {
      await options.room();
      const { account } = this.#source;
      if (this.#held !== undefined && this.#held.givenBytes > 0) {
        return this.#readRest(this.#held, options.maxBytes);
      }
      if (this.#held === undefined) account.refuseMore('recordBytes', 1);
      return account.reading(() => this.#read(options));
    });
  }

  skip(lengthBytes: number): Promise<void> {
    return this.#turn.run(async () => {
      const { reader } = this.#source;
      const next = this.#heldNext();
      this.#hold(undefined);
      if (next === undefined) return reader.skip(lengthBytes);
      const found = next.bytes.length;
      if (found > lengthBytes) {
        this.#hold(next);
        throw tooLarge(found, lengthBytes);
      }
      if (found === lengthBytes) return;
      const what = `${lengthBytes} bytes to skip, it has ${found} bytes`;
      throw new MpoolError('ERR_MPOOL_SKIP_MISMATCH', what);
    });
  }

  rewind(): Promise<void> {
    return this.#turn.run(async () => {
      this.#hold(undefined);
      this.#source.reader.rewind();
    });
  }

  close(): Promise<void> {
    return this.#turn.run(() => {
      this.#hold(undefined);
      return this.#source.reader.close();
    });
  }

  async #read(options: ReadOptions): Promise<RecordBatch> {
    const { reader, generation } = this.#source;
    for (;;) {
      const batch = emptyBatch(generation());
      let roomBytes = options.maxBytes;
      while (roomBytes > 0 && batch.lengths.length < RECORDS_MAX) {
        const record = await this.#next(batch, roomBytes, options.maxRecordBytes);
        // Erased or compacted meanwhile: of which content the record is cannot be told.
        if (generation() !== batch.generation) {
          this.#hold(undefined);
          reader.rewind();
          break;
        }
        if (record === undefined) return batch;
        this.#take(
          batch,
          { bytes: record, givenBytes: 0, generation: batch.generation },
          roomBytes,
        );
        roomBytes -= record.length;
      }
      if (batch.lengths.length > 0) return batch;
    }
  }

  #readRest(held: Held, maxBytes: number): RecordBatch {
    const batch = emptyBatch(held.generation);
    this.#take(batch, held, maxBytes);
    return batch;
  }

  /** @returns undefined at the end, or when the next record goes into another batch */
  async #next(
    batch: RecordBatch,
    roomBytes: number,
    maxRecordBytes = Infinity,
  ): Promise<Uint8Array | undefined> {
    const isFirst = batch.lengths.length === 0;
    let record = this.#heldNext()?.bytes;
    this.#hold(undefined);
    try {
      record ??= await this.#source.reader.next();
    } catch (error) {
      // Not consumed; what is wrong with it is told when it is the first of a batch.
      if (!isFirst && isMpoolError(error)) return undefined;
      throw error;
    }
    if (record === undefined) return undefined;
    const most = isFirst ? maxRecordBytes : Math.min(roomBytes, maxRecordBytes);
    if (record.length <= most) return record;
    this.#hold({ bytes: record, givenBytes: 0, generation: batch.generation });
    if (isFirst) throw tooLarge(record.length, maxRecordBytes);
    return undefined;
  }

  /** The record that comes next, where it was read already and still is what comes next. */
  #heldNext(): Held | undefined {
    const held = this.#held;
    if (held === undefined || held.givenBytes > 0) return undefined;
    return held.generation === this.#source.generation() ? held : undefined;
  }

  #hold(held: Held | undefined): void {
    const { account } = this.#source;
    const more = (held?.bytes.length ?? 0) - (this.#held?.bytes.length ?? 0);
    if (more !== 0) account.add('recordBytes', more);
    this.#held = held;
  }

  #take(batch: RecordBatch, record: Held, roomBytes: number): void {
    const { bytes, givenBytes, generation } = record;
    const endBytes = Math.min(bytes.length, givenBytes + roomBytes);
    const part = bytes.subarray(givenBytes, endBytes);
    batch.lengths.push(part.length);
    batch.payload.push(part);
    batch.restBytes = bytes.length - endBytes;
    this.#hold(batch.restBytes === 0 ? undefined : { bytes, givenBytes: endBytes, generation });
  }
}

function emptyBatch(generation: bigint): RecordBatch {
  return { lengths: [], payload: [], restBytes: 0, generation };
}

function tooLarge(lengthBytes: number, mostBytes: number): MpoolError {
  const detail = `the next record has ${lengthBytes} bytes, the buffer ${mostBytes}`;
  return new MpoolError('ERR_MPOOL_TOO_LARGE', detail);
}
