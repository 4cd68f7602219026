import { isMpoolError } from '../../base/errors.ts';
import { Serial } from '../../base/serial.ts';
import type { MlogReader } from '../../pool/api.ts';

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

/** What is read: a reader of an open log, and that log's generation now. */
interface Source {
  reader: MlogReader;
  generation: () => bigint;
}

/**
 * A client's place in a log, read on in batches.
 *
 * Invariants
 * 1. Calls have their effect in the order in which they came, so that batches that are asked for before the
 *    first came hold the records in order.
 * 2. All records of a batch are of one generation.
 */
export class LogReading {
  readonly #source: Source;
  readonly #turn = new Serial();
  /** What is left of a record too long for one answer. */
  #rest: { bytes: Uint8Array; generation: bigint } | undefined;

  constructor(source: Source) {
    this.#source = source;
  }

  /**
   * Records of at most `maxBytes` in all, one at least; none at the end. A longer one comes in parts.
   * @throws ERR_MPOOL_TOO_LARGE when the next record has more than `maxRecordBytes`: it is not consumed
   */
  read(options: ReadOptions): Promise<RecordBatch> {
    return this.#turn.run(async () => {
      await options.room();
      return this.#rest === undefined ? this.#read(options) : this.#readRest(options.maxBytes);
    });
  }

  skip(lengthBytes: number): Promise<void> {
    return this.#turn.run(() => {
      this.#rest = undefined;
      return this.#source.reader.skip(lengthBytes);
    });
  }

  rewind(): Promise<void> {
    return this.#turn.run(async () => {
      this.#rest = undefined;
      this.#source.reader.rewind();
    });
  }

  close(): Promise<void> {
    return this.#turn.run(() => {
      this.#rest = undefined;
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
          reader.rewind();
          break;
        }
        if (record === undefined) return batch;
        this.#take(batch, record, roomBytes);
        roomBytes -= record.length;
      }
      if (batch.lengths.length > 0) return batch;
    }
  }

  #readRest(maxBytes: number): RecordBatch {
    const { bytes, generation } = this.#rest!;
    const batch = emptyBatch(generation);
    this.#take(batch, bytes, maxBytes);
    return batch;
  }

  /** @returns undefined at the end, or when the next record goes into another batch */
  async #next(
    batch: RecordBatch,
    roomBytes: number,
    maxRecordBytes: number | undefined,
  ): Promise<Uint8Array | undefined> {
    const { reader } = this.#source;
    if (batch.lengths.length === 0) return reader.next({ maxBytes: maxRecordBytes });
    try {
      return await reader.next({ maxBytes: Math.min(roomBytes, maxRecordBytes ?? Infinity) });
    } catch (error) {
      // Not consumed; what is wrong with it is told when it is the first of a batch.
      if (isMpoolError(error)) return undefined;
      throw error;
    }
  }

  #take(batch: RecordBatch, record: Uint8Array, roomBytes: number): void {
    const { generation } = batch;
    const part = record.length > roomBytes ? record.subarray(0, roomBytes) : record;
    batch.lengths.push(part.length);
    batch.payload.push(part);
    batch.restBytes = record.length - part.length;
    this.#rest =
      batch.restBytes === 0 ? undefined : { bytes: record.subarray(part.length), generation };
  }
}

function emptyBatch(generation: bigint): RecordBatch {
  return { lengths: [], payload: [], restBytes: 0, generation };
}
