import { invalidArgument, MpoolError } from '../../base/errors.ts';
import { MIB, PAGE_BYTES } from '../../base/units.ts';
import { COPIED_BYTES_MAX } from '../frame-writer.ts';
import { idToWire } from '../wire-values.ts';
import type { Attachment } from './attachment.ts';
import { Gatherer } from './gatherer.ts';
import type { Session } from './session.ts';

/**
 * Up to here a copy through the socket costs no more than slots: a write of 4 KiB took both processes 25 µs
 * of processor time together in its frame and 31 in a slot, of 8 KiB 26 and 24, of 32 KiB 29 and 22. And what
 * is copied into a frame need not stay as it is until the answer.
 */
const INLINE_BYTES_MAX = COPIED_BYTES_MAX;
/** So much may be on its way without anyone waiting for it: of one mblock, and of all of a pool. */
const AHEAD_BYTES_MAX = 64 * 1024;
const POOL_AHEAD_BYTES_MAX = 4 * MIB;
/** One request, as large as one write of the daemon to the device. */
const CHUNK_BYTES = MIB;

/**
 * Fills one mblock that is not committed, through the daemon.
 *
 * Invariants
 * 1. Writes get their place when they are called, one behind the other, and are sent in that order.
 * 2. `writtenBytes` is the end of the longest run of writes from the start that all resolved; after a
 *    failure, of those that the daemon has done.
 * 3. After a failed write nothing more is sent: the mblock can only be aborted.
 * 4. A small write resolves when it is copied and on its way: a round trip would cost more than the write.
 *    Its failure is that of the next write, and of commit(), without which nothing of it counts.
 */
export class BlockWriter {
  readonly #session: Session;
  readonly #attachment: Attachment;
  readonly #id: string;
  readonly #capacityBytes: number;
  #reservedBytes = 0;
  #writtenBytes = 0;
  readonly #unfinished: Entry[] = [];
  /** Of small writes that resolved and are not answered. */
  #aheadBytes = 0;
  #idle: (() => void)[] = [];
  /** While a write waits for slots: all that come later are sent after it. */
  #sending: Promise<void> | null = null;
  #sealed = false;
  #failure: Error | null = null;

  constructor(session: Session, attachment: Attachment, id: bigint, capacityBytes: number) {
    this.#session = session;
    this.#attachment = attachment;
    this.#id = idToWire(id);
    this.#capacityBytes = capacityBytes;
  }

  /** The connection that the mblock lives and dies with, as long as it is not committed. */
  get attachment(): Attachment {
    return this.#attachment;
  }
  /** Of all writes that were not refused at once. */
  get reservedBytes(): number {
    return this.#reservedBytes;
  }
  get writtenBytes(): number {
    // What is ahead counts as long as nothing else is known of it.
    let endBytes = this.#writtenBytes;
    if (this.#failure !== null) return endBytes;
    for (const entry of this.#unfinished) {
      if (!entry.ahead && !entry.done) break;
      ({ endBytes } = entry);
    }
    return endBytes;
  }

  /** @throws RangeError when it does not fit or the last write was not of whole pages */
  write(data: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const pieces = data instanceof Uint8Array ? [data] : data;
    let lengthBytes = 0;
    for (const piece of pieces) {
      if (!(piece instanceof Uint8Array))
        throw invalidArgument('data must be a Uint8Array', 'type');
      lengthBytes += piece.length;
    }
    this.#check(lengthBytes);
    if (lengthBytes === 0) return Promise.resolve();
    this.#reservedBytes += lengthBytes;
    const isSmall = this.#sending === null && lengthBytes <= INLINE_BYTES_MAX;
    const ahead =
      isSmall &&
      this.#aheadBytes + lengthBytes <= AHEAD_BYTES_MAX &&
      this.#session.aheadBytes + lengthBytes <= POOL_AHEAD_BYTES_MAX;
    const entry: Entry = { endBytes: this.#reservedBytes, done: false, ahead };
    this.#unfinished.push(entry);
    if (ahead) {
      this.#writeAhead(entry, pieces, lengthBytes);
      return Promise.resolve();
    }
    return this.#send(pieces, lengthBytes).then(
      () => this.#finished(entry, null),
      (error: Error) => this.#finished(entry, error),
    );
  }

  #writeAhead(entry: Entry, pieces: readonly Uint8Array[], lengthBytes: number): void {
    this.#aheadBytes += lengthBytes;
    this.#session.aheadBytes += lengthBytes;
    const answered = (error: Error | null): void => {
      this.#aheadBytes -= lengthBytes;
      this.#session.aheadBytes -= lengthBytes;
      this.#settle(entry, error);
    };
    // It is copied when this returns: whoever wrote it may use its memory again.
    this.#sendInline(pieces).then(
      () => answered(null),
      (error: Error) => answered(error),
    );
  }

  /**
   * Nothing can be written any more until reopen().
   * @returns what to wait for until all writes are on their way to the daemon, if anything
   * @throws ERR_MPOOL_FAILED
   */
  seal(): Promise<void> | null {
    this.assertSound();
    this.#sealed = true;
    return this.#sending;
  }

  /** @throws ERR_MPOOL_FAILED after a write that failed */
  assertSound(): void {
    if (this.#failure !== null) throw this.#failed();
  }

  /** After a commit that was refused and changed nothing: writing may go on. */
  reopen(): void {
    this.#sealed = false;
  }

  /** Resolves when no write is under way. */
  idle(): Promise<void> {
    if (this.#unfinished.length === 0) return Promise.resolve();
    return new Promise((resume) => this.#idle.push(resume));
  }

  #check(lengthBytes: number): void {
    if (this.#failure !== null) throw this.#failed();
    if (this.#sealed) {
      throw new MpoolError('ERR_MPOOL_COMMITTED', `${this.#name} is being committed`);
    }
    if (this.#reservedBytes % PAGE_BYTES !== 0 && lengthBytes > 0) {
      throw invalidArgument(
        `${this.#name} ends within a page at ${this.#reservedBytes}: a write that is no multiple of ` +
          `${PAGE_BYTES} bytes must be the last`,
      );
    }
    const roomBytes = this.#capacityBytes - this.#reservedBytes;
    if (lengthBytes > roomBytes) {
      throw invalidArgument(`${this.#name} has room for ${roomBytes} bytes, not ${lengthBytes}`);
    }
  }

  #send(pieces: readonly Uint8Array[], lengthBytes: number): Promise<unknown> {
    if (this.#sending === null && lengthBytes <= INLINE_BYTES_MAX) return this.#sendInline(pieces);
    const answers: Promise<unknown>[] = [];
    const sending = this.#sendAfter(this.#sending, pieces, lengthBytes, answers);
    const sent = sending
      .catch((error: Error) => void (this.#failure ??= error))
      .finally(() => {
        if (this.#sending === sent) this.#sending = null;
      });
    this.#sending = sent;
    return sending.then(
      () => Promise.all(answers),
      async (error: unknown) => {
        // What is under way must not outlive this write: the data is only borrowed.
        await Promise.allSettled(answers);
        throw error;
      },
    );
  }

  async #sendAfter(
    before: Promise<void> | null,
    pieces: readonly Uint8Array[],
    lengthBytes: number,
    answers: Promise<unknown>[],
  ): Promise<void> {
    if (before !== null) await before;
    if (this.#failure !== null) throw this.#failed();
    if (lengthBytes <= INLINE_BYTES_MAX) {
      answers.push(this.#sendInline(pieces));
      return;
    }
    const source = new Gatherer(pieces);
    for (let left = lengthBytes; left > 0 && this.#failure === null; left -= CHUNK_BYTES) {
      const { answer } = await this.#sendChunk(source, Math.min(left, CHUNK_BYTES));
      // Its failure is this write's, as soon as it is known; here it only stops the next chunk.
      answer.catch((error: Error) => (this.#failure ??= error));
      answers.push(answer);
    }
  }

  /** Resolves once the chunk is on its way. */
  async #sendChunk(source: Gatherer, lengthBytes: number): Promise<{ answer: Promise<unknown> }> {
    const slots = this.#attachment.slots!;
    const { slotBytes } = slots;
    const taken = await slots.take(Math.ceil(lengthBytes / slotBytes));
    try {
      const ranges = taken.map((slot, i) => {
        const partBytes = Math.min(slotBytes, lengthBytes - i * slotBytes);
        source.copyTo(slots.bytes(slot), partBytes);
        return { slot, lengthBytes: partBytes };
      });
      const body = { id: this.#id, slots: ranges };
      const answer = this.#session.requestOn(this.#attachment, 'mblock.write', body);
      // The daemon begins with it while the next one is copied.
      this.#attachment.channel.flush();
      return { answer: answer.finally(() => slots.release(taken)) };
    } catch (error) {
      slots.release(taken);
      throw error;
    }
  }

  #sendInline(pieces: readonly Uint8Array[]): Promise<unknown> {
    return this.#session.requestOn(this.#attachment, 'mblock.write', { id: this.#id }, pieces);
  }

  #finished(entry: Entry, error: Error | null): void {
    const first = this.#failure;
    this.#settle(entry, error);
    if (error !== null && (first === null || first === error)) throw error;
    if (this.#failure !== null) throw this.#failed();
  }

  #settle(entry: Entry, error: Error | null): void {
    entry.done = true;
    if (error !== null) this.#failure ??= error;
    while (this.#unfinished[0]?.done === true) {
      const { endBytes } = this.#unfinished.shift()!;
      if (this.#failure === null) this.#writtenBytes = endBytes;
    }
    if (this.#unfinished.length > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resume of idle) resume();
  }

  get #name(): string {
    return `mblock ${this.#id}`;
  }

  #failed(): MpoolError {
    return new MpoolError('ERR_MPOOL_FAILED', `${this.#name}: abort it`, { cause: this.#failure });
  }
}

interface Entry {
  readonly endBytes: number;
  done: boolean;
  /** Whoever wrote it does not wait. */
  readonly ahead: boolean;
}
