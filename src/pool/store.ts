import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { EngineChoice } from '../device/host.ts';
import type { Extent } from '../format/extent.ts';
import { CLASS_CAPACITY, CLASS_STAGING } from '../format/device-descriptor.ts';
import { halvesOfId, printObjectId, type ObjectType, typeOfId } from '../format/object-id.ts';
import type { Superblock } from '../format/superblock.ts';
import type { MediaClass, PoolParameters, Recovery } from './api.ts';
import type { Catalog } from './catalog.ts';
import { ChecksumCache } from './checksum-cache.ts';
import { noteEngine, watchDevice } from './device-health.ts';
import type { Environment, MappableStore, StoreMaps } from './environment.ts';
import { Health, type PoolProblem } from './health.ts';
import { LostWrites } from './lost-writes.ts';
import { MblockReader, type ReaderContext } from './mblock-reader.ts';
import type { Media } from './media.ts';
import { ObjectCounts } from './object-counts.ts';
import type { ObjectTable } from './object-table.ts';
import { fromProperties, toProperties } from './parameters.ts';
import type { PoolRecords } from './pool-records.ts';
import { nextGeneration, writeSuperblocks } from './superblocks.ts';
import type { Witnesses } from './witnesses.ts';

/** Anything that must be gone before the store can close. */
export interface Held {
  /** For the message of BUSY. */
  readonly what: string;
  /** Lets go of it: closes a log, aborts an uncommitted object. */
  release(): Promise<void>;
  /** Makes what it buffers durable. */
  sync?(): Promise<void>;
}

export interface StoreParts {
  environment: Environment;
  superblock: Superblock;
  capacity: Media;
  staging: Media | undefined;
  poolRecords: PoolRecords;
  catalog: Catalog;
  witnesses: Witnesses | undefined;
  readOnly: boolean;
  checksumCacheBytes: number;
  /** For devices that join later. */
  discard: boolean;
  engine: EngineChoice | undefined;
  /** After how long an operation is slow. */
  slowDeviceMs: number;
}

/**
 * One active pool: what all its handles share.
 *
 *   activate() ──► active ──shutdown()──► closed
 *                     │ fail(): a write or flush of the pool's own metadata failed
 *                     ▼
 *                  failed ──shutdown()──► closed        (reads go on; changes are refused)
 *
 * Invariants
 * 1. Space is owned by: a committed object (in the table), an uncommitted one (in `held`), a metadata
 *    log, or a discard under way; by just one of them.
 * 2. Space of a deleted object is given back after its deletion is durable, its last reader is done and its
 *    last map is gone.
 * 3. The first failure is kept, and every later change says it.
 */
export class Store implements ReaderContext, MappableStore {
  readonly environment: Environment;
  readonly poolRecords: PoolRecords;
  readonly catalog: Catalog;
  /** Undefined in a pool whose logs bear no witness of each other. */
  readonly witnesses: Witnesses | undefined;
  readonly cache: ChecksumCache;
  readonly reader: MblockReader;
  readonly readOnly: boolean;
  readonly capacity: Media;
  /** Open logs and uncommitted objects. */
  readonly held = new Set<Held>();
  /** Work in the background that reads the devices: each is told to end when the store closes. */
  readonly background = new Set<{ stop(): Promise<void> }>();
  readonly counts = { capacity: new ObjectCounts(), staging: new ObjectCounts() };
  readonly discard: boolean;
  readonly engine: EngineChoice | undefined;
  readonly maps: StoreMaps;
  readonly health: Health;
  readonly lostWrites: LostWrites;
  /** What was verified when the pool was opened. */
  recovery: Recovery = NOTHING_VERIFIED;
  superblock: Superblock;
  staging: Media | undefined;
  commitCount = 0;
  deleteCount = 0;
  readonly #deleting = new Set<number>();
  readonly #opening = new Set<Promise<unknown>>();
  readonly #slowDeviceMs: number;
  #failure: MpoolError | null = null;
  #closed = false;
  #closing: Promise<void> | null = null;

  /** @throws ERR_MPOOL_CORRUPT when the pool's own metadata overlap */
  static async start(parts: StoreParts): Promise<Store> {
    const store = new Store(parts);
    await store.#claimSpace();
    return store;
  }

  private constructor(parts: StoreParts) {
    this.environment = parts.environment;
    this.superblock = parts.superblock;
    this.capacity = parts.capacity;
    this.staging = parts.staging;
    this.poolRecords = parts.poolRecords;
    this.catalog = parts.catalog;
    this.witnesses = parts.witnesses;
    this.readOnly = parts.readOnly;
    this.discard = parts.discard;
    this.engine = parts.engine;
    this.#slowDeviceMs = parts.slowDeviceMs;
    this.cache = new ChecksumCache(parts.checksumCacheBytes);
    this.reader = new MblockReader(this);
    this.maps = parts.environment.mcache.mapsOf(this);
    this.health = new Health(parts.environment.clock);
    this.lostWrites = new LostWrites(this);
    this.poolRecords.log.onFailure = (error) => this.fail(error);
    this.catalog.log.onFailure = (error) => this.fail(error);
    for (const media of this.allMedia) this.watch(media);
    if (this.superblock.staging !== undefined && this.staging === undefined) {
      this.health.note('device-missing', 'the staging device is missing');
    }
  }

  get name(): string {
    return this.superblock.name;
  }
  get table(): ObjectTable {
    return this.catalog.table;
  }
  get failure(): MpoolError | null {
    return this.#failure;
  }
  get closed(): boolean {
    return this.#closed;
  }
  get parameters(): PoolParameters {
    return fromProperties(this.poolRecords.properties);
  }
  get allMedia(): Media[] {
    return this.staging === undefined ? [this.capacity] : [this.capacity, this.staging];
  }

  /** Why the pool is faulted, or undefined. */
  get fault(): string | undefined {
    return this.health.fault;
  }

  /** What is not as it should be, the worst first. */
  get problems(): PoolProblem[] {
    for (const { device } of this.allMedia) noteEngine(device, this.health);
    return this.health.problems;
  }

  fail(error: MpoolError): void {
    if (this.#failure === null) this.health.note('failed', `a write failed: ${error.message}`);
    this.#failure ??= error;
    // Of a change that failed only media knows whether it counts: no space may be given away.
    for (const media of this.allMedia) media.freeze();
  }

  assertOpen(): void {
    if (this.#closed) throw new MpoolError('ERR_MPOOL_CLOSED', `pool ${this.superblock.name}`);
  }

  /** @throws ERR_MPOOL_CLOSED once shutting down has begun, ERR_MPOOL_READ_ONLY, ERR_MPOOL_FAILED */
  assertWritable(): void {
    this.#assertStays();
    if (this.readOnly) throw new MpoolError('ERR_MPOOL_READ_ONLY', `pool ${this.superblock.name}`);
    if (this.#failure !== null) {
      throw new MpoolError('ERR_MPOOL_FAILED', `pool ${this.superblock.name}`, {
        cause: this.#failure,
      });
    }
  }

  /** A write or flush failed, and with it one object: unless the whole pool failed, which says more. */
  objectFailed(id: bigint, what: string, error: MpoolError): void {
    if (this.#failure !== null) return;
    this.health.note('object-failed', `${what}: ${error.message}`, printObjectId(id));
  }

  /** What was read of a committed object is not what was written. */
  damaged(index: number, message: string): void {
    if (this.table.isDeleted(index)) return;
    this.health.note('damaged', message, printObjectId(this.table.idAt(index)));
  }

  /** Notes what an error says of a log, when it says that it is damaged. */
  logTrouble(id: bigint, name: string, error: unknown): void {
    if (!isMpoolError(error, 'ERR_MPOOL_CHECKSUM') && !isMpoolError(error, 'ERR_MPOOL_CORRUPT'))
      return;
    this.health.note('damaged', `${name}: ${error.message}`, printObjectId(id));
  }

  /** Opens a log: what was wrong with it is over when it can be, and noted when not. */
  async openingLog<T>(id: bigint, name: string, open: () => Promise<T>): Promise<T> {
    try {
      const log = await open();
      this.health.forget(() => printObjectId(id));
      return log;
    } catch (error) {
      this.logTrouble(id, name, error);
      throw error;
    }
  }

  /** From now on what goes wrong with the device is noted. */
  watch({ device, gate }: Media): void {
    const { health, environment } = this;
    gate.onFailure = (error) => this.fail(error);
    watchDevice(device, { clock: environment.clock, health, slowMs: this.#slowDeviceMs });
  }

  media(classCode: number): Media | undefined {
    return classCode === CLASS_CAPACITY ? this.capacity : this.staging;
  }

  /** @throws ERR_MPOOL_NOT_FOUND when the pool has no such class; ERR_MPOOL_NO_DEVICE when it is missing */
  mediaOf(mediaClass: MediaClass): Media {
    const media = mediaClass === 'capacity' ? this.capacity : this.staging;
    if (media !== undefined) return media;
    if (this.superblock.staging !== undefined) {
      throw new MpoolError('ERR_MPOOL_NO_DEVICE', `media class ${mediaClass}`);
    }
    throw new MpoolError(
      'ERR_MPOOL_NOT_FOUND',
      `pool ${this.superblock.name} has no ${mediaClass}`,
    );
  }

  /** Something is open or uncommitted, or being opened: only who forces it closes the pool. */
  get inUse(): boolean {
    return this.held.size > 0 || this.#opening.size > 0;
  }

  /**
   * Opens what then is in `held`: who shuts the pool down waits for it, so that it is released with the rest.
   * @throws ERR_MPOOL_CLOSED once that has begun
   */
  async opening<T>(work: () => Promise<T>): Promise<T> {
    this.#assertStays();
    const working = work();
    this.#opening.add(working);
    try {
      return await working;
    } finally {
      this.#opening.delete(working);
    }
  }

  /** Index of a committed object, not being deleted. @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_UNCOMMITTED */
  indexOf(id: bigint): number {
    const { low, high } = halvesOfId(id);
    const index = this.table.find(high, low);
    // One that is being deleted must not be opened any more: its row goes when that is durable.
    if (index >= 0 && !this.#deleting.has(index)) return index;
    for (const held of this.held) {
      if ('id' in held && held.id === id && 'committed' in held && !held.committed) {
        throw new MpoolError('ERR_MPOOL_UNCOMMITTED', `object ${printObjectId(id)}`);
      }
    }
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `object ${printObjectId(id)}`);
  }

  /** Committed objects of one type in rising order of ids; others run in between. */
  async *objects(type: ObjectType): AsyncIterable<{ id: bigint; index: number }> {
    for (const batch of this.table.idBatches()) {
      this.assertOpen();
      for (const id of batch) {
        if (typeOfId(id) !== type) continue;
        const index = this.table.findId(id);
        if (index >= 0) yield { id, index };
      }
      await new Promise(setImmediate);
    }
  }

  /** After a commit: the table has it, now the counts do. */
  committed(indices: readonly number[]): void {
    for (const index of indices) this.#countsOf(index).add(this.table, index, 1);
    this.commitCount += indices.length;
  }

  /**
   * @throws ERR_MPOOL_NOT_FOUND when one is being deleted already, ERR_MPOOL_BUSY when one is mapped and
   *   that is refused; nothing is deleted then
   */
  async deleteObjects(indices: readonly number[], refuseMapped = false): Promise<void> {
    for (const index of indices) {
      const name = (): string => `object ${printObjectId(this.table.idAt(index))}`;
      if (this.#deleting.has(index)) throw new MpoolError('ERR_MPOOL_NOT_FOUND', name());
      if (refuseMapped && this.maps.isMapped(index)) {
        throw new MpoolError('ERR_MPOOL_BUSY', `${name()} is mapped`);
      }
    }
    for (const index of indices) this.#deleting.add(index);
    const left = new Set(indices);
    try {
      await this.catalog.delete(indices, (index) => {
        left.delete(index);
        this.#deleting.delete(index);
        this.#countsOf(index).add(this.table, index, -1);
        this.deleteCount += 1;
        this.health.forget(() => printObjectId(this.table.idAt(index)));
        this.lostWrites.forget(this.table.idLow(index), this.table.idHigh(index));
        if (this.table.markDeleted(index)) this.reclaim(index);
      });
    } finally {
      for (const index of left) this.#deleting.delete(index);
    }
  }

  /** An object is open: its space stays its own even if it is deleted meanwhile. */
  hold(index: number, held: Held): void {
    this.table.ref(index);
    this.held.add(held);
  }

  letGo(index: number, held: Held): void {
    this.held.delete(held);
    if (this.table.unref(index)) this.reclaim(index);
  }

  /** Nothing uses the deleted object any more. */
  reclaim(index: number): void {
    const { table } = this;
    const media = this.media(table.mediaClass(index));
    this.cache.delete(index);
    this.maps.reclaimed(index);
    const extent = extentOf(table, index);
    // A bad object never owned its space: another does.
    if (!table.isBad(index)) media?.free(extent);
    table.remove(index);
  }

  /** Changes the superblocks of all devices; the capacity device's decides. */
  async updateSuperblock(changes: Partial<Superblock>): Promise<void> {
    const generation = nextGeneration(this.superblock);
    const superblock = { ...this.superblock, ...changes, generation };
    try {
      for (const media of this.allMedia) {
        const descriptor = superblock[media.mediaClass]!;
        const own = { ...superblock, deviceUuid: descriptor.uuid };
        await writeSuperblocks(media.device, own);
      }
    } catch (error) {
      this.fail(error as MpoolError);
      throw error;
    }
    this.superblock = superblock;
  }

  async setParameters(changes: Partial<PoolParameters>): Promise<void> {
    const { rootMdc } = this.poolRecords.properties;
    const parameters = { ...this.parameters, ...changes };
    await this.poolRecords.setProperties(toProperties(parameters, rootMdc));
    this.capacity.space.setSparePercent(parameters.sparePercentCapacity);
    this.staging?.space.setSparePercent(parameters.sparePercentStaging);
  }

  /**
   * Lets go of the devices. Idempotent.
   * @throws ERR_MPOOL_BUSY while something is held, unless forced
   */
  shutdown(force: boolean): Promise<void> {
    if (this.#closing === null) {
      if (!force && this.inUse) {
        const [first] = this.held;
        const rest = this.held.size > 1 ? ` and ${this.held.size - 1} more` : '';
        const detail = first === undefined ? 'a log is being opened' : `${first.what}${rest}`;
        return Promise.reject(new MpoolError('ERR_MPOOL_BUSY', detail));
      }
      this.#closing = this.#shutdown();
    }
    return this.#closing;
  }

  async #shutdown(): Promise<void> {
    const errors: unknown[] = [];
    const attempt = (work: Promise<void>): Promise<void> => work.catch((e) => void errors.push(e));
    await Promise.all([...this.background].map((work) => work.stop()));
    await this.#releaseHeld(attempt);
    this.#closed = true;
    await attempt(this.maps.close());
    await this.reader.idle();
    for (const media of this.allMedia) await attempt(media.stop());
    if (!this.readOnly && this.#failure === null) {
      await attempt(this.catalog.close());
      await attempt(this.poolRecords.log.close());
    }
    for (const media of this.allMedia) await attempt(media.device.close());
    if (errors.length > 0) throw errors[0];
  }

  /** Also what comes to be held meanwhile: whoever began before goes on until it holds something. */
  async #releaseHeld(attempt: (work: Promise<void>) => Promise<void>): Promise<void> {
    const released = new Set<Held>();
    for (;;) {
      await Promise.allSettled(this.#opening);
      const left = [...this.held].filter((held) => !released.has(held));
      if (left.length === 0) return;
      for (const held of left) released.add(held);
      await Promise.all(left.map((held) => attempt(held.release())));
    }
  }

  #assertStays(): void {
    if (this.#closing !== null) throw new MpoolError('ERR_MPOOL_CLOSED', `pool ${this.name}`);
  }

  #countsOf(index: number): ObjectCounts {
    return this.table.mediaClass(index) === CLASS_STAGING
      ? this.counts.staging
      : this.counts.capacity;
  }

  /**
   * Every extent gets its one owner; an object that claims another's is bad, and not the pool. Lets others
   * run in between: there may be a million objects.
   */
  async #claimSpace(): Promise<void> {
    const { capacity, table } = this;
    const metadata: Extent[] = [this.superblock.mdc0.logA, this.superblock.mdc0.logB];
    for (const mdc of this.poolRecords.mdcs) metadata.push(mdc.logA, mdc.logB);
    for (const extent of metadata) {
      if (capacity.space.markUsed(extent)) continue;
      throw new MpoolError('ERR_MPOOL_CORRUPT', `the metadata log at page ${extent.pageAddress}`);
    }
    let count = 0;
    for (let index = table.next(-1); index >= 0; index = table.next(index)) {
      const media = this.media(table.mediaClass(index));
      if (media !== undefined && !media.space.markUsed(extentOf(table, index))) {
        table.markBad(index);
        this.damaged(index, `${printObjectId(table.idAt(index))} shares its space with another`);
      }
      this.#countsOf(index).add(table, index, 1);
      count += 1;
      if (count % OBJECTS_PER_SLICE === 0) await new Promise(setImmediate);
    }
  }
}

const NOTHING_VERIFIED: Recovery = {
  unclean: false,
  verifiedObjects: 0,
  verifiedBytes: 0,
  verifiedLogs: 0,
  lostObjects: 0,
};

/** Some milliseconds of work. */
const OBJECTS_PER_SLICE = 16384;

export function extentOf(table: ObjectTable, index: number): Extent {
  return { pageAddress: table.pageAddress(index), pageCount: table.pageCount(index) };
}
