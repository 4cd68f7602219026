/**
 * What users hold: the types of the store's public door. The embedded store implements them here in
 * `pool`; a client of the daemon implements the same.
 */
import type { Readable, Writable } from 'node:stream';
import type { WaitOptions } from '../base/abandon.ts';
import type { EngineChoice } from '../device/host.ts';
import type { CheckReport } from './check-findings.ts';
import type { FeatureNames } from '../format/features.ts';
import type { MblockId, MlogId } from '../format/object-id.ts';
import type { PoolHealth, PoolProblem } from './health.ts';
import type { MapOptions, MblockMap } from './map-api.ts';

export type { MblockId, MlogId, ObjectId } from '../format/object-id.ts';
export type { WaitOptions } from '../base/abandon.ts';
export type { PoolHealth, PoolProblem, ProblemKind } from './health.ts';
export type * from './map-api.ts';

export interface MdcId {
  readonly logA: MlogId;
  readonly logB: MlogId;
}

export type MediaClass = 'capacity' | 'staging';

/** A device of a pool to be: a path, and what to do with it. */
export interface MediaClassOptions {
  /** A block device, or a file: made when it is not there (`sizeBytes` is then required). */
  path: string;
  /** Of a file to be made, or a limit on what of an existing device is used. */
  sizeBytes?: number | undefined;
  /** 1–64 MiB, a power of two; 32 MiB by default. */
  mblockSizeBytes?: number | undefined;
  /** 0–100, by default 5: the part that only allocations with `spare` may use. */
  sparePercent?: number | undefined;
  /** Discard the whole device first. */
  discard?: boolean | undefined;
}

/** What set() can change. */
export interface PoolParameters {
  uid: number;
  gid: number;
  /** Permission bits, at most 0o777. */
  mode: number;
  /** At most 63 of [A-Za-z0-9._-]. */
  label: string;
  /** A UUID by which an application knows its pools. */
  utype: string;
  /** 0–32. */
  readAheadPages: number;
  /** log2 of bytes, 27–32. */
  mappedRegionLog2: number;
  sparePercentCapacity: number;
  sparePercentStaging: number;
}

export interface CreateOptions extends Partial<PoolParameters> {
  /** 1–31 of [A-Za-z0-9._-], not starting with '-'. */
  name: string;
  capacity: MediaClassOptions;
  staging?: MediaClassOptions | undefined;
  /** Overwrite whatever the devices hold. A device in use stays refused. */
  force?: boolean | undefined;
  engine?: EngineChoice | undefined;
  signal?: AbortSignal | undefined;
}

export interface OpenOptions {
  /** Write nothing at all, and share the devices with other readers. */
  readOnly?: boolean | undefined;
  /** No other handle in this process either: BUSY for the second. */
  exclusive?: boolean | undefined;
  /** Where the staging device is, when it is not where it was last. */
  stagingPath?: string | undefined;
  /** Files and directories to look in when `target` is a name or UUID; $MPOOL_PATH by default. */
  searchPlaces?: readonly string[] | undefined;
  /** Come up without the staging device; its objects answer NO_DEVICE. Read-only. */
  force?: boolean | undefined;
  /** Parameters to change, durably, while opening. */
  parameters?: Partial<PoolParameters> | undefined;
  /** Take in what the devices grew by. */
  grow?: boolean | undefined;
  engine?: EngineChoice | undefined;
  /** Memory for checksum tables of mblocks being read; 64 MiB by default. */
  checksumCacheBytes?: number | undefined;
  /** Discard freed zones in the background; true by default. */
  discard?: boolean | undefined;
  /**
   * How much data of the newest mblocks is verified after an unclean stop, before the pool is used: 64 MiB
   * by default, none with 0, all that is known to be new with Infinity.
   */
  verifyBytes?: number | undefined;
  /** Of a device that has not answered for so long info() tells; 30,000 by default. Nothing is cut off. */
  slowDeviceMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface Pool extends AsyncDisposable {
  readonly name: string;
  readonly uuid: string;
  readonly readOnly: boolean;
  readonly mblocks: Mblocks;
  readonly mlogs: Mlogs;
  readonly mdcs: Mdcs;

  /**
   * Maps committed mblocks, of any classes and sizes, into memory: without a system call each, and with one
   * VMA a device however many. Dispose of it, or unmap() it; close() does so with what is left.
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_UNCOMMITTED, ERR_MPOOL_NO_DEVICE, ERR_MPOOL_CORRUPT;
   *   ERR_MPOOL_MAP_TOO_LARGE when a linear map is longer than 2^mappedRegionLog2; and then maps nothing
   */
  map(ids: readonly MblockId[], options?: MapOptions): Promise<MblockMap>;
  info(options?: WaitOptions): Promise<PoolInfo>;
  parameters(): Promise<PoolParameters>;
  /** Durable when it resolves; all or nothing. */
  setParameters(changes: Partial<PoolParameters>): Promise<void>;
  /** Of one class, or of all. */
  usage(mediaClass?: MediaClass): Promise<Usage>;
  devices(): Promise<DeviceInfo[]>;
  /** Adds the staging class. @throws ERR_MPOOL_EXISTS, ERR_MPOOL_NOT_BLANK … as create */
  addMediaClass(
    mediaClass: 'staging',
    options: MediaClassOptions & { force?: boolean | undefined },
  ): Promise<void>;
  /** Takes in what the devices (or files) grew by. @returns bytes gained */
  grow(): Promise<number>;
  /** Makes everything appended and written so far durable. Cannot be abandoned, like all that writes. */
  sync(): Promise<void>;
  stats(): PoolStats;
  /**
   * Waits for I/O, forced or not: memory that the kernel borrowed must not go away under it. With a signal
   * only the waiting can be abandoned: the pool is closed to all, and lets go of its devices when they
   * have answered. Idempotent: a later call waits for the same.
   * @throws ERR_MPOOL_BUSY while logs are open or uncommitted objects are held, unless forced: then
   *   logs are closed (synced) and uncommitted objects are aborted
   */
  close(options?: CloseOptions): Promise<void>;
}

export interface CloseOptions extends WaitOptions {
  force?: boolean | undefined;
}

/** A pool that is open in this process, not in the daemon. */
export interface LocalPool extends Pool {
  /**
   * Verifies superblocks, logs and every page of every committed mblock against their checksums, while the
   * pool is used: reads at a bounded rate, one at a time, and nothing waits for it. What is wrong is told in
   * the report, not thrown. Ends early, with a cursor to go on from, when the signal says so or the pool
   * closes.
   * @throws RangeError for a rate or a cursor that is none
   */
  scrub(options?: ScrubOptions): Promise<ScrubReport>;
}

export interface ScrubOptions {
  /** Of reads: 100 MiB by default, Infinity for no bound. */
  bytesPerSecond?: number | undefined;
  /** A cursor of an earlier scrub: objects before it are not read again. */
  from?: string | undefined;
  onProgress?: ((progress: ScrubProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface ScrubProgress {
  /** Of mblocks, data and checksum tables; `totalBytes` as counted at the start. */
  doneBytes: number;
  totalBytes: number;
  /** What is before it has been verified. */
  cursor: string;
}

export interface ScrubReport extends CheckReport {
  /** False when it ended early. */
  complete: boolean;
  /** Where to go on; of one that ended early. */
  cursor?: string | undefined;
}

export interface Mblocks {
  /**
   * A zone of its own, held until commit or abort (disposing aborts).
   * @throws ERR_MPOOL_NO_SPACE, ERR_MPOOL_NOT_FOUND when the pool has no such class
   */
  alloc(options?: {
    mediaClass?: MediaClass | undefined;
    /** May use the spare part, and uses it first. */
    spare?: boolean | undefined;
  }): Promise<Mblock>;
  /** @throws ERR_MPOOL_NOT_FOUND */
  find(id: MblockId, options?: WaitOptions): Promise<Mblock>;
  /**
   * Several in one durable step: all of them or none after a crash. Cannot be abandoned: who did, could
   * not know whether they are there.
   */
  commit(mblocks: readonly Mblock[]): Promise<void>;
  abort(mblocks: readonly Mblock[]): Promise<void>;
  /**
   * Several in durable steps of up to 512 that share a flush. All ids are checked first. Maps keep what they
   * have: its space comes back when the last of them is unmapped.
   * @throws ERR_MPOOL_BUSY with `refuseMapped` when one of them is mapped
   */
  delete(ids: readonly MblockId[], options?: DeleteOptions): Promise<void>;
  /** Committed ones, in the order of their ids within each MDC. */
  list(options?: ListOptions): AsyncIterable<MblockProperties>;
  /** Verified bytes of a committed mblock; as Mblock.read(). */
  read(
    id: MblockId,
    offsetBytes: number,
    lengthBytes: number,
    options?: WaitOptions,
  ): Promise<Uint8Array>;
}

export interface ListOptions extends WaitOptions {
  mediaClass?: MediaClass | undefined;
}

export interface DeleteOptions {
  /** Refuse what a map has, as the mpool of the kernel did; false by default. */
  refuseMapped?: boolean | undefined;
}

export interface MblockProperties {
  id: MblockId;
  mediaClass: MediaClass;
  committed: boolean;
  /** What can be written. */
  capacityBytes: number;
  /** What it takes of the device. */
  allocatedBytes: number;
  writtenBytes: number;
  optimalWriteSizeBytes: number;
}

export interface Mblock extends AsyncDisposable {
  readonly id: MblockId;
  readonly mediaClass: MediaClass;
  readonly capacityBytes: number;
  readonly optimalWriteSizeBytes: number;
  readonly writtenBytes: number;
  readonly committed: boolean;
  properties(): MblockProperties;

  /**
   * Appends. All or nothing: after an error `writtenBytes` is as it was, and the mblock can only be
   * aborted. Any length; one that is no multiple of 4,096 must be the last. Writes are ordered as called.
   * A client of the daemon does not wait for small ones: what fails of them, the next write and commit() say.
   * @param data borrowed until the promise settles; several pieces are one write
   */
  write(data: Uint8Array | readonly Uint8Array[]): Promise<void>;
  /** Durable and visible when it resolves, with all its data. Again: no effect. */
  commit(): Promise<void>;
  /** Gives the zone back. @throws ERR_MPOOL_COMMITTED */
  abort(): Promise<void>;
  /** Gone after a crash when it resolves; its space comes back when no read and no map uses it. */
  delete(options?: DeleteOptions): Promise<void>;
  /**
   * Bytes, verified against their checksums, bypassing the page cache. Any offset and length.
   * @throws ERR_MPOOL_CHECKSUM, ERR_MPOOL_UNCOMMITTED, ERR_MPOOL_NOT_FOUND once deleted;
   *   RangeError beyond `writtenBytes`
   */
  read(offsetBytes: number, lengthBytes: number, options?: WaitOptions): Promise<Uint8Array>;
  /**
   * The same into the caller's memory, borrowed until the promise settles; without a copy when the range is
   * of whole pages, the memory is of allocateBuffer(), and there is no signal: what is abandoned must not
   * come into memory that is no longer lent.
   */
  readInto(offsetBytes: number, into: Uint8Array, options?: WaitOptions): Promise<void>;
  /** Several ranges at once. */
  readMany(
    ranges: readonly { offsetBytes: number; lengthBytes: number }[],
    options?: WaitOptions,
  ): Promise<Uint8Array[]>;
  /** Writes what is piped in; does not commit. */
  writable(): Writable;
  readable(options?: {
    offsetBytes?: number | undefined;
    lengthBytes?: number | undefined;
  }): Readable;
}

export interface Mlogs {
  /**
   * An empty log, uncommitted: it exists for others, and after a crash, once commit() resolved.
   * @param options.capacityBytes space to take, rounded up to pages (beyond a zone, to zones); frames and
   *   the header page need a little of it
   */
  alloc(options: {
    capacityBytes: number;
    mediaClass?: MediaClass | undefined;
    spare?: boolean | undefined;
  }): Promise<MlogAllocation>;
  /**
   * Opens a committed log; opening it again gives the same log (with the same options).
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_CORRUPT when acknowledged records are damaged,
   *   ERR_MPOOL_COMPACTING with `compactionSemantics` when a compaction was not ended
   */
  open(id: MlogId, options?: OpenMlogOptions): Promise<Mlog>;
  properties(id: MlogId, options?: WaitOptions): Promise<MlogProperties>;
  /** @throws ERR_MPOOL_BUSY while open */
  delete(ids: readonly MlogId[]): Promise<void>;
  list(options?: ListOptions): AsyncIterable<MlogProperties>;
}

export interface OpenMlogOptions extends WaitOptions {
  compactionSemantics?: boolean | undefined;
  /**
   * What can be read of a damaged log, read-only: `recordCount` is of the records before the damage, and
   * readers throw ERR_MPOOL_CORRUPT when they come to it. A log that is whole is read to its end. What was
   * appended after it was opened so is not seen.
   */
  salvage?: boolean | undefined;
}

export interface MlogAllocation extends AsyncDisposable {
  readonly id: MlogId;
  readonly capacityBytes: number;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export interface MlogProperties {
  id: MlogId;
  mediaClass: MediaClass;
  committed: boolean;
  /** Of the extent, header page included. */
  allocatedBytes: number;
  /** Only of an open log. */
  generation?: bigint | undefined;
  usedBytes?: number | undefined;
}

export interface Mlog extends AsyncDisposable {
  readonly id: MlogId;
  readonly generation: bigint;
  /** Bytes of the extent that frames can use. */
  readonly capacityBytes: number;
  /** Bytes that frames use, what is still buffered included. */
  readonly usedBytes: number;
  readonly recordCount: number;

  /**
   * Appends one record of any size that fits, copied before this returns.
   * sync: resolves once it and all before it are durable; shares its flush with others in flight.
   * async (default): resolves once it is ordered; a later sync() covers it; a crash may lose it, but
   * only as part of a suffix.
   * Neither can be abandoned: the record stays ordered, and what becomes of it the next sync() tells.
   * @throws ERR_MPOOL_LOG_FULL and nothing changed; ERR_MPOOL_FAILED
   */
  append(record: Uint8Array | string, options?: { sync?: boolean | undefined }): Promise<void>;
  /** Makes all appended so far durable. */
  sync(): Promise<void>;
  /** A reader of its own at the first record; sees what is buffered too. */
  reader(): MlogReader;
  /** All records from the first. */
  records(options?: WaitOptions): AsyncIterable<Uint8Array>;
  /**
   * Empties the log in one durable step; the generation becomes at least `minGeneration`, and higher.
   * Readers start again.
   */
  erase(minGeneration?: bigint): Promise<void>;
  /** Markers, only with `compactionSemantics`: durable when resolved. */
  startCompaction(): Promise<void>;
  endCompaction(): Promise<void>;
  /**
   * Syncs. Idempotent.
   * @throws ERR_MPOOL_FAILED when something appended may be lost; the log is closed all the same
   */
  close(): Promise<void>;
}

export interface NextOptions extends WaitOptions {
  maxBytes?: number | undefined;
}

export interface MlogReader {
  /**
   * The next record, or undefined at the end (for now).
   * @throws ERR_MPOOL_TOO_LARGE beyond `maxBytes`: not consumed, nor when it is abandoned
   */
  next(options?: NextOptions): Promise<Uint8Array | undefined>;
  /**
   * Passes over the next record, which must have just that many bytes.
   * @throws ERR_MPOOL_SKIP_MISMATCH when shorter (it is passed over), ERR_MPOOL_TOO_LARGE when longer (it
   *   is not)
   */
  skip(lengthBytes: number): Promise<void>;
  /** The next record read is the first. */
  rewind(): void;
  /** Gives the reader's memory back; reading again starts at the first record. */
  close(): Promise<void>;
}

export interface Mdcs {
  alloc(options: {
    capacityBytes: number;
    mediaClass?: MediaClass | undefined;
    spare?: boolean | undefined;
  }): Promise<MdcAllocation>;
  open(id: MdcId, options?: WaitOptions): Promise<Mdc>;
  /** The pool's own MDC for its user's bootstrap. It lives as long as the pool. */
  root(options?: WaitOptions): Promise<Mdc>;
  /** @throws ERR_MPOOL_BUSY while open */
  delete(id: MdcId): Promise<void>;
  list(options?: WaitOptions): AsyncIterable<MdcProperties>;
}

export interface MdcAllocation extends AsyncDisposable {
  readonly id: MdcId;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export interface MdcProperties {
  id: MdcId;
  mediaClass: MediaClass;
  allocatedBytes: number;
  root: boolean;
}

export interface Mdc extends AsyncDisposable {
  readonly id: MdcId;
  readonly generation: bigint;
  readonly usage: { usedBytes: number; capacityBytes: number; recordCount: number };
  /** As Mlog.append(). @throws ERR_MPOOL_LOG_FULL: compact() */
  append(record: Uint8Array | string, options?: { sync?: boolean | undefined }): Promise<void>;
  sync(): Promise<void>;
  reader(): MlogReader;
  records(options?: WaitOptions): AsyncIterable<Uint8Array>;
  /**
   * From here appends go to the other log, and nothing of it counts until endCompaction(): a crash, or
   * cancelCompaction(), leaves the old content.
   */
  startCompaction(): Promise<void>;
  /** One durable write makes the new content the MDC's content, all or nothing. */
  endCompaction(): Promise<void>;
  cancelCompaction(): Promise<void>;
  /** Replaces the content by `records`, in one durable step; on an error the old content stands. */
  compact(
    records: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
  ): Promise<void>;
  /** As Mlog.close(); a compaction under way is cancelled. */
  close(): Promise<void>;
}

export interface PoolInfo {
  name: string;
  uuid: string;
  formatVersion: number;
  /** That it has, by name; one that is unknown here is 'bit 7'. */
  features: FeatureNames;
  /** Of the superblock. */
  generation: number;
  createdMs: number;
  readOnly: boolean;
  /** 'faulted': a device is missing or the pool failed; 'degraded': it has any other problem. */
  health: PoolHealth;
  /** Why it is faulted. */
  fault?: string | undefined;
  /** What is not as it should be, the worst first: at most 100 of each kind. */
  problems: PoolProblem[];
  mdcCount: number;
  parameters: PoolParameters;
  devices: DeviceInfo[];
  usage: Usage;
  rootMdc: MdcId;
  /** What was looked at when the pool was activated. */
  recovery: Recovery;
  /** What devices acknowledged and lost, as far as it was noticed; at most 1,000 of them. */
  lost: LostObject[];
  /** Of all of them. */
  lostCount: number;
}

/** After a stop that was not clean, what was committed last is verified before the pool is used. */
export interface Recovery {
  /** Something is not as closing the pool leaves it. */
  unclean: boolean;
  /** mblocks, with data and checksum table. */
  verifiedObjects: number;
  verifiedBytes: number;
  /** Logs of users, at their ends. */
  verifiedLogs: number;
  /** Objects that a device lost something of that it had acknowledged. */
  lostObjects: number;
}

/** A part of an object that a device acknowledged and lost. Reading it is refused with ERR_MPOOL_CORRUPT. */
export interface LostObject {
  /** Its id, as it is printed. */
  object: string;
  /** Of an mblock's content; of a log's extent. */
  fromBytes: number;
  toBytes: number;
  /** When it was noticed, milliseconds since 1970. */
  sinceMs: number;
}

export interface DeviceInfo {
  mediaClass: MediaClass;
  path: string;
  uuid: string;
  kind: 'file' | 'block' | 'simulated';
  engine: string;
  status: 'online' | 'missing' | 'failed';
  sectorBytes: number;
  mblockSizeBytes: number;
  sizeBytes: number;
  usage: Usage;
}

/** Bytes unless said. total = usable + spare; reserved is beside it. */
export interface Usage {
  totalBytes: number;
  usableBytes: number;
  freeUsableBytes: number;
  spareBytes: number;
  freeSpareBytes: number;
  usedBytes: number;
  /** Superblocks, and what is no whole zone. */
  reservedBytes: number;
  mblockCount: number;
  mblockAllocatedBytes: number;
  mblockWrittenBytes: number;
  /** Users' logs, the root MDC's included. */
  mlogCount: number;
  mlogAllocatedBytes: number;
  /** Logs of the pool's own MDCs. */
  metadataBytes: number;
}

export interface PoolStats {
  commits: number;
  deletes: number;
  flushes: number;
  /** Metadata frames written: commits / metadataFrames tells how well group commit shares. */
  metadataFrames: number;
  /** Of changes of metadata (commits, deletions), those that one durable step made durable together. */
  metadataGroups: GroupCounts;
  /** Of syncs of open logs. */
  syncGroups: GroupCounts;
  compactions: number;
  objectCount: number;
  objectTableBytes: number;
  checksumErrors: number;
}

/** How many operations durable steps carried: `operations / steps` is how well group commit shares. */
export interface GroupCounts {
  steps: number;
  operations: number;
  /** Steps of 1, 2, 3–4, 5–8, … 513–1,024 operations, and of more. */
  buckets: number[];
}

/** What scan() finds. */
export interface FoundPool {
  name: string;
  uuid: string;
  formatVersion: number;
  devices: { path: string; mediaClass: MediaClass; sizeBytes: number }[];
  /** False when a device that the superblock names was not found. */
  complete: boolean;
}
