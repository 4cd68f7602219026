import { abandonable, type WaitOptions } from '../base/abandon.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { CHUNK_HEADER_BYTES, ChunkKind, chunkKind, chunkLengthBytes } from '../format/log-frame.ts';
import type { MlogReader, NextOptions } from './api.ts';
import { FIRST_POSITION, FrameCursor, type Frame, type FramePosition } from './frame-cursor.ts';
import type { Log } from './log.ts';
import { checkOptions, integerIn } from './parameters.ts';

/**
 * Reads the records of an open log one by one, from media, verified; what is still buffered is written
 * first (not flushed), so a reader sees all that was appended before it asked.
 *
 * Invariant: a record is either given whole, or not consumed: `#peeked` holds it until it is taken.
 */
export class LogReader implements MlogReader {
  readonly #log: () => Log;
  readonly #onDamage: (error: unknown) => void;
  #source: Log | null = null;
  #generation = 0;
  #cursor: FrameCursor | null = null;
  #cursorLog: Log | null = null;
  #position: FramePosition = FIRST_POSITION;
  /** Up to where `#cursor` may read: what was written when it was made. */
  #limitBytes = 0;
  #frame: Frame | null = null;
  #at = 0;
  /** Pieces of a record whose last one has not been seen yet. */
  #pieces: Uint8Array[] | null = null;
  #peeked: Uint8Array | null = null;
  /** One call at a time: calls made meanwhile wait for their turn. */
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * @param log asked each time, since the active log of an MDC changes
   * @param onDamage told of each error that it gives for what it read
   */
  constructor(log: () => Log, onDamage: (error: unknown) => void = () => {}) {
    this.#log = log;
    this.#onDamage = onDamage;
  }

  next(options: NextOptions = {}): Promise<Uint8Array | undefined> {
    return abandonable('next', options?.signal, () => this.#next(options));
  }

  #next(options: NextOptions): Promise<Uint8Array | undefined> {
    return this.#inTurn(async () => {
      checkOptions(options);
      const { maxBytes } = options;
      integerIn('maxBytes', maxBytes, 0, Number.MAX_SAFE_INTEGER);
      const record = await this.#peek();
      if (record === undefined) return undefined;
      // Nobody waits for it any more: it is the next one's.
      if (options.signal?.aborted === true) return undefined;
      if (maxBytes !== undefined && record.length > maxBytes) {
        throw new MpoolError(
          'ERR_MPOOL_TOO_LARGE',
          `the next record has ${record.length} bytes, the buffer ${maxBytes}`,
        );
      }
      this.#peeked = null;
      return record;
    });
  }

  skip(lengthBytes: number): Promise<void> {
    return this.#inTurn(async () => {
      integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
      const record = await this.#peek();
      const found = record?.length ?? 0;
      if (found > lengthBytes) {
        throw new MpoolError(
          'ERR_MPOOL_TOO_LARGE',
          `the next record has ${found} bytes, not ${lengthBytes}`,
        );
      }
      this.#peeked = null;
      if (record === undefined || found < lengthBytes) {
        const what = record === undefined ? 'there is no next record' : `it has ${found} bytes`;
        throw new MpoolError('ERR_MPOOL_SKIP_MISMATCH', `${lengthBytes} bytes to skip, ${what}`);
      }
    });
  }

  rewind(): void {
    this.#source = null;
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#restart());
  }

  /** All records from here on; closes the reader at the end. */
  async *all(options: WaitOptions = {}): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const record = await this.next(options);
        if (record === undefined) return;
        yield record;
      }
    } finally {
      const closing = this.close();
      if (options.signal?.aborted === true) closing.catch(() => {});
      else await closing;
    }
  }

  async #restart(): Promise<void> {
    this.#frame = null;
    this.#pieces = null;
    this.#peeked = null;
    this.#position = FIRST_POSITION;
    await this.#release();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #peek(): Promise<Uint8Array | undefined> {
    const log = this.#log();
    if (log !== this.#source || log.generation !== this.#generation) {
      await this.#restart();
      this.#source = log;
      this.#generation = log.generation;
    }
    if (this.#peeked !== null) return this.#peeked;
    for (;;) {
      const record = this.#parse();
      if (record !== undefined) return (this.#peeked = record);
      try {
        if (!(await this.#nextFrame(log))) return undefined;
      } catch (error) {
        // Erased or compacted, and written to again, while it was being read: not damage.
        const now = this.#log();
        if (now !== log || now.generation !== this.#generation) return this.#peek();
        this.#onDamage(error);
        throw error;
      }
    }
  }

  /** The next whole record of the frame at hand. */
  #parse(): Uint8Array | undefined {
    const frame = this.#frame;
    if (frame === null) return undefined;
    while (this.#at < frame.payloadEnd) {
      const word = frame.view.getUint32(this.#at, true);
      const start = this.#at + CHUNK_HEADER_BYTES;
      const end = start + chunkLengthBytes(word);
      const kind = chunkKind(word);
      this.#at = end;
      if (kind === ChunkKind.whole) {
        this.#pieces = null;
        return frame.bytes.slice(start, end);
      }
      if (kind === ChunkKind.first) this.#pieces = [];
      else if (kind === ChunkKind.compactionStart || kind === ChunkKind.compactionEnd) continue;
      this.#pieces?.push(frame.bytes.slice(start, end));
      if (kind === ChunkKind.last && this.#pieces !== null) {
        const record = Buffer.concat(this.#pieces);
        this.#pieces = null;
        return record;
      }
    }
    return undefined;
  }

  async #nextFrame(log: Log): Promise<boolean> {
    this.#frame = null;
    await log.settle();
    if (this.#position.offsetBytes >= log.writtenBytes) {
      await this.#release();
      log.assertComplete();
      return false;
    }
    if (this.#cursor === null || this.#position.offsetBytes >= this.#limitBytes) {
      await this.#release();
      this.#limitBytes = log.writtenBytes;
      this.#cursorLog = log;
      log.readers.add(this);
      this.#cursor = new FrameCursor(log.place, log.header, {
        from: this.#position,
        endBytes: this.#limitBytes,
      });
    }
    const frame = await this.#cursor.next();
    if (frame === undefined) {
      const at = log.place.extent.pageAddress * PAGE_BYTES + this.#position.offsetBytes;
      throw new MpoolError('ERR_MPOOL_CHECKSUM', `the log frame at byte ${at}`, {
        path: log.place.device.path,
      });
    }
    this.#position = this.#cursor.position;
    this.#frame = frame;
    this.#at = frame.payloadStart;
    return true;
  }

  async #release(): Promise<void> {
    const cursor = this.#cursor;
    this.#cursor = null;
    this.#cursorLog?.readers.delete(this);
    await cursor?.close();
  }
}
