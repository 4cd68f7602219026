import { allocateBytes } from '../../base/allocate-bytes.ts';
import { abandonable, type WaitOptions } from '../../base/abandon.ts';
import type { Readable, Writable } from 'node:stream';
import { invalidArgument, isMpoolError, MpoolError } from '../../base/errors.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { type MblockId, printObjectId } from '../../format/object-id.ts';
import type { DeleteOptions, MediaClass, Mblock, MblockProperties } from '../../pool/api.ts';
import { mblockReadable, mblockWritable } from '../../pool/mblock-streams.ts';
import { checkArray, checkOptions, integerIn } from '../../pool/parameters.ts';
import { connectionLost } from '../channel.ts';
import { idToWire } from '../wire-values.ts';
import type { Attachment } from './attachment.ts';
import { BlockWriter } from './block-writer.ts';
import { deletedError } from './deleted-ids.ts';
import { LeasedObject } from './leased-object.ts';
import { commitMblocks, deleteMblocks } from './mblock-changes.ts';
import type { Held, Session } from './session.ts';

/** What is known of an mblock when its handle is made. */
export interface MblockFacts {
  mediaClass: MediaClass;
  capacityBytes: number;
  allocatedBytes: number;
  optimalBytes: number;
  writtenBytes: number;
}

/**
 * A handle on one mblock of a daemon's pool.
 *
 *   alloc ──► open ──commit──► committing ──► committed ──delete──► (NOT_FOUND)
 *              │  ▲                │ └── the connection ends ──► unknown ──(asked again)──► committed | lost
 *              │  └── refused: nothing changed
 *              ├──abort──► aborted
 *              └── the connection ends ──► lost
 *
 * A committed one is read by this process itself, from the device, verified here.
 */
export class ClientMblock implements Mblock, Held {
  readonly id: MblockId;
  readonly #session: Session;
  readonly #facts: MblockFacts;
  readonly #object: LeasedObject;
  #writer: BlockWriter | null = null;
  #state: 'open' | 'committing' | 'committed' | 'aborted' | 'lost' | 'unknown' = 'committed';
  #aborting: Promise<void> | null = null;
  #commitWaiters: (() => void)[] = [];

  private constructor(session: Session, id: MblockId, facts: MblockFacts) {
    this.#session = session;
    this.id = id;
    this.#object = new LeasedObject(session, id);
    this.#facts = facts;
  }

  static allocated(
    session: Session,
    attachment: Attachment,
    id: MblockId,
    facts: MblockFacts,
  ): ClientMblock {
    const mblock = new ClientMblock(session, id, facts);
    mblock.#state = 'open';
    mblock.#writer = new BlockWriter(session, attachment, id, facts.capacityBytes);
    session.held.add(mblock);
    return mblock;
  }

  /** Of an object that is leased there. */
  static leased(session: Session, attachment: Attachment, index: number): ClientMblock {
    const { table } = attachment.leases;
    const mediaClass = table.mediaClass(index) === 1 ? 'capacity' : 'staging';
    const media = attachment.media(mediaClass);
    const mblock = new ClientMblock(session, table.idAt(index) as MblockId, {
      mediaClass,
      capacityBytes: media?.capacityBytes ?? 0,
      allocatedBytes: table.pageCount(index) * PAGE_BYTES,
      optimalBytes: media?.device.optimalWriteBytes ?? PAGE_BYTES,
      writtenBytes: table.lengthBytes(index),
    });
    mblock.#object.place(attachment, index);
    return mblock;
  }

  get mediaClass(): MediaClass {
    return this.#facts.mediaClass;
  }
  get capacityBytes(): number {
    return this.#facts.capacityBytes;
  }
  get optimalWriteSizeBytes(): number {
    return this.#facts.optimalBytes;
  }
  get committed(): boolean {
    return this.#state === 'committed';
  }
  /** How its commit ended, or will end, is not known. */
  get unsettled(): boolean {
    return this.#state === 'committing' || this.#state === 'unknown';
  }
  get writtenBytes(): number {
    if (this.#writer !== null) return this.#writer.writtenBytes;
    return this.#exists ? this.#facts.writtenBytes : 0;
  }
  get what(): string {
    return `${this.#name} is not committed`;
  }

  properties(): MblockProperties {
    const exists = this.#writer !== null || this.#exists;
    return {
      id: this.id,
      mediaClass: this.mediaClass,
      committed: this.committed,
      capacityBytes: this.capacityBytes,
      allocatedBytes: exists ? this.#facts.allocatedBytes : 0,
      writtenBytes: this.writtenBytes,
      optimalWriteSizeBytes: this.optimalWriteSizeBytes,
    };
  }

  async write(data: Uint8Array | readonly Uint8Array[]): Promise<void> {
    if (!(data instanceof Uint8Array)) checkArray('data', data);
    this.#session.assertWritable();
    await this.#openWriter('write to').write(data);
  }

  async commit(): Promise<void> {
    await commitMblocks(this.#session, [this]);
  }

  async abort(): Promise<void> {
    if (this.#state !== 'aborted') {
      if (this.#state === 'lost') return;
      const writer = this.#openWriter('abort');
      this.#state = 'aborted';
      this.#aborting = this.#abort(writer);
    }
    await this.#aborting;
  }

  async #abort(writer: BlockWriter): Promise<void> {
    await writer.idle();
    this.#writer = null;
    try {
      const ids = [idToWire(this.id)];
      await this.#session.requestOn(writer.attachment, 'mblock.abort', { ids });
    } catch (error) {
      // Then the daemon gives it back by itself.
      if (!isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST')) throw error;
    } finally {
      this.#session.held.delete(this);
    }
  }

  /** @throws ERR_MPOOL_COMMITTED, ERR_MPOOL_NOT_FOUND: what abort() would */
  assertAbortable(): void {
    if (this.#state !== 'aborted' && this.#state !== 'lost') this.#openWriter('abort');
  }

  async release(): Promise<void> {
    await this.#commitEnded();
    if (this.#state === 'open' || this.#state === 'aborted') await this.abort();
  }

  lost(attachment: Attachment): boolean {
    if (this.#writer?.attachment !== attachment) return false;
    // A commit under way learns of it from its own request.
    if (this.#state === 'committing') return false;
    this.#lose();
    return true;
  }

  #lose(): void {
    if (this.#state !== 'aborted') this.#state = 'lost';
    this.#writer = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /**
   * Waits for a commit that is under way, however it ends; and asks how it did where that is not known.
   * @throws ERR_MPOOL_CONNECTION_LOST
   */
  async settleCommit(): Promise<void> {
    await this.#commitEnded();
    if (this.#state === 'unknown') await this.#learnOutcome();
  }

  async #commitEnded(): Promise<void> {
    while (this.#state === 'committing') {
      await new Promise<void>((resume) => this.#commitWaiters.push(resume));
    }
  }

  async delete(options: DeleteOptions = {}): Promise<void> {
    checkOptions(options);
    this.#session.assertWritable();
    if (this.#state === 'unknown') await this.#learnOutcome();
    this.#assertLive();
    await deleteMblocks(this.#session, [this.id], options);
  }

  read(offsetBytes: number, lengthBytes: number, options?: WaitOptions): Promise<Uint8Array> {
    return abandonable('read', options?.signal, () => this.#read(offsetBytes, lengthBytes));
  }

  async #read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    if (this.#state === 'unknown') await this.#learnOutcome();
    this.#checkRange(offsetBytes, lengthBytes);
    const into = allocateBytes(lengthBytes);
    await this.#object.read(offsetBytes, into);
    return into;
  }

  readInto(offsetBytes: number, into: Uint8Array, options?: WaitOptions): Promise<void> {
    try {
      if (!(into instanceof Uint8Array)) throw invalidArgument('into must be a Uint8Array', 'type');
      if (options?.signal !== undefined) return this.#readCopy(offsetBytes, into, options);
      if (this.#state === 'unknown') return this.#readUnknown(offsetBytes, into);
      this.#checkRange(offsetBytes, into.length);
      return this.#object.read(offsetBytes, into);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #readUnknown(offsetBytes: number, into: Uint8Array): Promise<void> {
    await this.#learnOutcome();
    await this.readInto(offsetBytes, into);
  }

  async #readCopy(offsetBytes: number, into: Uint8Array, options: WaitOptions): Promise<void> {
    into.set(await this.read(offsetBytes, into.length, options));
  }

  async readMany(
    ranges: readonly { offsetBytes: number; lengthBytes: number }[],
    options?: WaitOptions,
  ): Promise<Uint8Array[]> {
    checkArray('ranges', ranges);
    for (const range of ranges) {
      checkOptions(range ?? null);
      this.#checkRange(range.offsetBytes, range.lengthBytes);
    }
    return Promise.all(
      ranges.map((each) => this.read(each.offsetBytes, each.lengthBytes, options)),
    );
  }

  writable(): Writable {
    return mblockWritable(this);
  }

  readable(
    options: { offsetBytes?: number | undefined; lengthBytes?: number | undefined } = {},
  ): Readable {
    return mblockReadable(this, () => {
      checkOptions(options);
      const { offsetBytes = 0, lengthBytes } = options;
      const range = { offsetBytes, lengthBytes: lengthBytes ?? this.writtenBytes - offsetBytes };
      this.#checkRange(range.offsetBytes, range.lengthBytes);
      return range;
    });
  }

  /** First half of a commit. @returns what to wait for before it can be asked for, if anything */
  beginCommit(): Promise<void> | null {
    const sending = this.#openWriter('commit').seal();
    this.#state = 'committing';
    return sending;
  }

  /** @throws what beginCommit() would */
  assertCommittable(): void {
    this.#openWriter('commit');
  }

  get writer(): BlockWriter | null {
    return this.#writer;
  }

  becomeCommitted(attachment: Attachment, index: number): void {
    const { reservedBytes } = this.#writer!;
    this.#object.place(attachment, index);
    // Deleted already, it has what was written.
    this.#facts.writtenBytes = this.#object.lengthBytes ?? reservedBytes;
    this.#endCommit('committed');
  }

  /** The commit was refused: the mblock is as before it. Or nobody knows how it ended. */
  takeBackCommit(error: unknown): void {
    if (this.#state !== 'committing') return;
    this.#writer!.reopen();
    const isUnknown = isMpoolError(error, 'ERR_MPOOL_CONNECTION_LOST');
    this.#endCommit(isUnknown ? 'unknown' : 'open');
  }

  #endCommit(state: 'open' | 'committed' | 'unknown'): void {
    this.#state = state;
    if (state !== 'open') {
      this.#writer = null;
      this.#session.held.delete(this);
    }
    const waiters = this.#commitWaiters;
    this.#commitWaiters = [];
    for (const resume of waiters) resume();
  }

  /** The connection ended in the middle of a commit: whether it took place is asked on the next one. */
  async #learnOutcome(): Promise<void> {
    try {
      await this.#session.during(this.#object.lease());
    } catch (error) {
      if (isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) {
        this.#state = 'lost';
        return;
      }
      // The daemon has not noticed yet that nobody is there any more to commit it.
      throw isMpoolError(error, 'ERR_MPOOL_UNCOMMITTED') ? this.#lostError() : error;
    }
    if (this.#state !== 'unknown') return;
    this.#state = 'committed';
    this.#facts.writtenBytes = this.#object.lengthBytes ?? 0;
  }

  belongsTo(session: Session): boolean {
    return this.#session === session;
  }

  /** As far as is known here. */
  get #exists(): boolean {
    if (this.#state !== 'committed') return false;
    return !this.#session.deleted.has(this.id);
  }

  get #name(): string {
    return `mblock ${printObjectId(this.id)}`;
  }

  #openWriter(verb: string): BlockWriter {
    if (this.#state === 'open') {
      if (this.#writer!.attachment.channel.open) return this.#writer!;
      this.#lose();
      this.#session.held.delete(this);
    }
    if (this.#state === 'lost' || this.#state === 'unknown') throw this.#lostError();
    if (this.#state === 'aborted') {
      throw new MpoolError('ERR_MPOOL_NOT_FOUND', `${this.#name} (aborted)`);
    }
    this.assertNotDeleted();
    throw new MpoolError('ERR_MPOOL_COMMITTED', `cannot ${verb} ${this.#name}`);
  }

  #lostError(): MpoolError {
    return connectionLost(`${this.#name} was not committed, and is gone with the connection`);
  }

  #assertLive(): void {
    this.#session.assertOpen();
    if (this.#state !== 'committed') {
      if (this.#state === 'lost' || this.#state === 'unknown') throw this.#lostError();
      const code = this.#state === 'aborted' ? 'ERR_MPOOL_NOT_FOUND' : 'ERR_MPOOL_UNCOMMITTED';
      throw new MpoolError(code, this.#name);
    }
    this.assertNotDeleted();
  }

  /** @throws ERR_MPOOL_NOT_FOUND when it was committed, and is known to be deleted since */
  assertNotDeleted(): void {
    if (this.#state === 'committed' && !this.#exists) throw deletedError(this.id);
  }

  #checkRange(offsetBytes: number, lengthBytes: number): void {
    integerIn('offsetBytes', offsetBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    if (!this.#object.isLeased) this.#assertLive();
    const written = this.#facts.writtenBytes;
    if (offsetBytes + lengthBytes <= written) return;
    throw invalidArgument(
      `bytes ${offsetBytes} to ${offsetBytes + lengthBytes} of ${this.#name}, ` +
        `which has ${written}`,
    );
  }
}
