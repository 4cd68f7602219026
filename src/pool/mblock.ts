import { allocateBytes } from '../base/allocate-bytes.ts';
import { abandonable, type WaitOptions } from '../base/abandon.ts';
import type { Readable, Writable } from 'node:stream';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { CLASS_CAPACITY } from '../format/device-descriptor.ts';
import { idFromHalves, type MblockId, printObjectId } from '../format/object-id.ts';
import type { ObjectRecord } from '../format/records.ts';
import type { DeleteOptions, MediaClass, Mblock, MblockProperties } from './api.ts';
import { mblockReadable, mblockWritable } from './mblock-streams.ts';
import { MblockWriter } from './mblock-writer.ts';
import type { Media } from './media.ts';
import { checkArray, checkOptions, integerIn } from './parameters.ts';
import type { Held, Store } from './store.ts';

/**
 * A handle on one mblock.
 *
 *   alloc ──► open ──commit──► committing ──► committed ──delete──► (NOT_FOUND)
 *              │  ▲                │
 *              │  └── refused: no space for metadata, nothing changed
 *              └──abort──► aborted
 */
export class StoreMblock implements Mblock, Held {
  readonly id: MblockId;
  readonly #store: Store;
  readonly #media: { mediaClass: MediaClass; capacityBytes: number; optimalBytes: number };
  #writer: MblockWriter | null;
  #state: 'open' | 'committing' | 'committed' | 'aborted';
  #aborting: Promise<void> | null = null;
  #commitWaiters: (() => void)[] = [];
  /** In the table, once committed. */
  #index = -1;
  readonly #low: number;
  readonly #high: number;

  private constructor(store: Store, low: number, high: number, media: Media | MediaClass) {
    this.#store = store;
    this.#low = low;
    this.#high = high;
    this.id = idFromHalves(low, high) as MblockId;
    this.#writer = null;
    this.#state = 'committed';
    this.#media =
      typeof media === 'string'
        ? { mediaClass: media, capacityBytes: 0, optimalBytes: PAGE_BYTES }
        : {
            mediaClass: media.mediaClass,
            capacityBytes: media.mblockCapacityBytes,
            optimalBytes: media.device.optimalWriteBytes,
          };
  }

  static allocated(
    store: Store,
    media: Media,
    pageAddress: number,
    id: { low: number; high: number },
  ): StoreMblock {
    const mblock = new StoreMblock(store, id.low, id.high, media);
    mblock.#state = 'open';
    const writer = new MblockWriter(media, pageAddress, id.low, id.high);
    writer.onFailure = (error) =>
      store.objectFailed(mblock.id, `mblock ${printObjectId(mblock.id)}: abort it`, error);
    mblock.#writer = writer;
    store.held.add(mblock);
    return mblock;
  }

  static found(store: Store, index: number): StoreMblock {
    const { table } = store;
    const code = table.mediaClass(index);
    const name = code === CLASS_CAPACITY ? 'capacity' : 'staging';
    const media = store.media(code) ?? name;
    const mblock = new StoreMblock(store, table.idLow(index), table.idHigh(index), media);
    mblock.#index = index;
    return mblock;
  }

  get mediaClass(): MediaClass {
    return this.#media.mediaClass;
  }
  get capacityBytes(): number {
    return this.#media.capacityBytes;
  }
  get optimalWriteSizeBytes(): number {
    return this.#media.optimalBytes;
  }
  get committed(): boolean {
    return this.#state === 'committed';
  }
  get committing(): boolean {
    return this.#state === 'committing';
  }
  get writtenBytes(): number {
    if (this.#writer !== null) return this.#writer.writtenBytes;
    return this.#exists ? this.#store.table.lengthBytes(this.#index) : 0;
  }
  /** Of writes that were called and not refused, done or not. */
  get acceptedBytes(): number {
    return this.#writer === null ? this.writtenBytes : this.#writer.acceptedBytes;
  }
  get what(): string {
    return `mblock ${printObjectId(this.id)} is not committed`;
  }

  properties(): MblockProperties {
    const { table } = this.#store;
    const pages =
      this.#writer?.media.mblockPages ?? (this.#exists ? table.pageCount(this.#index) : 0);
    return {
      id: this.id,
      mediaClass: this.mediaClass,
      committed: this.committed,
      capacityBytes: this.capacityBytes,
      allocatedBytes: pages * PAGE_BYTES,
      writtenBytes: this.writtenBytes,
      optimalWriteSizeBytes: this.optimalWriteSizeBytes,
    };
  }

  async write(data: Uint8Array | readonly Uint8Array[]): Promise<void> {
    if (!(data instanceof Uint8Array)) checkArray('data', data);
    this.#store.assertWritable();
    await this.#openWriter('write to').write(data);
  }

  async commit(): Promise<void> {
    await commitMblocks(this.#store, [this]);
  }

  async abort(): Promise<void> {
    if (this.#state !== 'aborted') {
      const writer = this.#openWriter('abort');
      this.#state = 'aborted';
      this.#aborting = this.#abort(writer);
    }
    await this.#aborting;
  }

  async #abort(writer: MblockWriter): Promise<void> {
    await writer.idle();
    this.#writer = null;
    writer.media.free({ pageAddress: writer.pageAddress, pageCount: writer.media.mblockPages });
    this.#store.held.delete(this);
    this.#store.health.forget(() => printObjectId(this.id));
  }

  /** @throws ERR_MPOOL_COMMITTED, ERR_MPOOL_NOT_FOUND: what abort() would */
  assertAbortable(): void {
    if (this.#state !== 'aborted') this.#openWriter('abort');
  }

  async release(): Promise<void> {
    await this.settleCommit();
    if (this.#state === 'open' || this.#state === 'aborted') await this.abort();
  }

  /** Waits for a commit that is under way, however it ends. */
  async settleCommit(): Promise<void> {
    while (this.#state === 'committing') {
      await new Promise<void>((resume) => this.#commitWaiters.push(resume));
    }
  }

  async delete(options: DeleteOptions = {}): Promise<void> {
    checkOptions(options);
    this.#store.assertWritable();
    await this.#store.deleteObjects([this.#liveIndex()], options.refuseMapped === true);
  }

  read(offsetBytes: number, lengthBytes: number, options?: WaitOptions): Promise<Uint8Array> {
    return abandonable('read', options?.signal, () => this.#read(offsetBytes, lengthBytes));
  }

  async #read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const index = this.#checkRange(offsetBytes, lengthBytes);
    const into = allocateBytes(lengthBytes);
    await this.#store.reader.readInto(index, offsetBytes, into);
    return into;
  }

  readInto(offsetBytes: number, into: Uint8Array, options?: WaitOptions): Promise<void> {
    try {
      if (!(into instanceof Uint8Array)) throw invalidArgument('into must be a Uint8Array', 'type');
      if (options?.signal !== undefined) return this.#readCopy(offsetBytes, into, options);
      const index = this.#checkRange(offsetBytes, into.length);
      return this.#store.reader.readInto(index, offsetBytes, into);
    } catch (error) {
      return Promise.reject(error);
    }
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  /** First half of a commit: the data and their checksums are on the device. */
  async prepareCommit(): Promise<ObjectRecord & { sums: Uint32Array }> {
    const writer = this.#openWriter('commit');
    this.#state = 'committing';
    const content = await writer.finish().catch((error: unknown) => {
      this.takeBackCommit();
      throw error;
    });
    return {
      mediaClass: writer.media.mediaClass === 'capacity' ? 1 : 0,
      role: 0,
      idLow: this.#low,
      idHigh: this.#high,
      pageAddress: writer.pageAddress,
      pageCount: writer.media.mblockPages,
      ...content,
    };
  }

  becomeCommitted(index: number): void {
    this.#index = index;
    this.#writer = null;
    this.#store.held.delete(this);
    this.#endCommit('committed');
  }

  /** The commit was refused: the mblock is as before it. */
  takeBackCommit(): void {
    if (this.#state !== 'committing') return;
    this.#writer!.reopen();
    this.#endCommit('open');
  }

  #endCommit(state: 'open' | 'committed'): void {
    this.#state = state;
    const waiters = this.#commitWaiters;
    this.#commitWaiters = [];
    for (const resume of waiters) resume();
  }

  get mediaOfWriter(): Media | undefined {
    return this.#writer?.media;
  }

  belongsTo(store: Store): boolean {
    return this.#store === store;
  }

  get #exists(): boolean {
    return this.#index >= 0 && this.#store.table.holds(this.#index, this.#high, this.#low);
  }

  #openWriter(verb: string): MblockWriter {
    if (this.#state === 'open') return this.#writer!;
    const name = `mblock ${printObjectId(this.id)}`;
    if (this.#state === 'aborted') throw new MpoolError('ERR_MPOOL_NOT_FOUND', `${name} (aborted)`);
    this.assertNotDeleted();
    throw new MpoolError('ERR_MPOOL_COMMITTED', `cannot ${verb} ${name}`);
  }

  #liveIndex(): number {
    this.#store.assertOpen();
    if (this.#state !== 'committed') {
      const code = this.#state === 'aborted' ? 'ERR_MPOOL_NOT_FOUND' : 'ERR_MPOOL_UNCOMMITTED';
      throw new MpoolError(code, `mblock ${printObjectId(this.id)}`);
    }
    this.assertNotDeleted();
    return this.#index;
  }

  /** @throws ERR_MPOOL_NOT_FOUND when it was committed, and deleted since */
  assertNotDeleted(): void {
    if (this.#state !== 'committed') return;
    if (this.#exists && !this.#store.table.isDeleted(this.#index)) return;
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `mblock ${printObjectId(this.id)} (deleted)`);
  }

  #checkRange(offsetBytes: number, lengthBytes: number): number {
    integerIn('offsetBytes', offsetBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    integerIn('lengthBytes', lengthBytes ?? NaN, 0, Number.MAX_SAFE_INTEGER);
    const index = this.#liveIndex();
    const written = this.#store.table.lengthBytes(index);
    if (offsetBytes + lengthBytes <= written) return index;
    throw invalidArgument(
      `bytes ${offsetBytes} to ${offsetBytes + lengthBytes} of mblock ${printObjectId(this.id)}, ` +
        `which has ${written}`,
    );
  }
}

/**
 * Makes mblocks exist in one durable step; those committed already stay so. One that another commit is busy
 * with is waited for: it is then committed, or left to this one.
 */
export async function commitMblocks(store: Store, mblocks: readonly StoreMblock[]): Promise<void> {
  store.assertWritable();
  while (mblocks.some((mblock) => mblock.committing)) {
    await Promise.all(mblocks.map((mblock) => mblock.settleCommit()));
    store.assertWritable();
  }
  for (const mblock of mblocks) mblock.assertNotDeleted();
  const open = [...new Set(mblocks)].filter((mblock) => !mblock.committed);
  const stages = open.map((mblock) => mblock.mediaOfWriter);
  const prepared = await Promise.allSettled(open.map((mblock) => mblock.prepareCommit()));
  try {
    const records = prepared.map((result) => {
      if (result.status === 'rejected') throw result.reason as Error;
      return result.value;
    });
    if (records.length === 0) return;
    const media = new Set(stages.filter((each) => each !== undefined));
    // Data must be durable before the record that makes it visible is written.
    await Promise.all([...media].map((each) => each.gate.flush()));
    const indices = await store.catalog.commit(records);
    open.forEach((mblock, i) => {
      mblock.becomeCommitted(indices[i]!);
      store.cache.set(indices[i]!, records[i]!.sums);
    });
    store.committed(indices);
  } catch (error) {
    open.forEach((mblock, i) => {
      if (prepared[i]!.status === 'fulfilled') mblock.takeBackCommit();
    });
    throw error;
  }
}
