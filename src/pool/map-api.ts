/** Maps: collections of committed mblocks in memory. What users hold; `mcache` implements it. */
import type { WaitOptions } from '../base/abandon.ts';
import type { MblockId } from '../format/object-id.ts';

/**
 * How soon an object may be evicted once it is no longer used: after 1, 10 or 100 times the reaper's
 * time-to-live, or never.
 */
export type Temperature = 'cold' | 'warm' | 'hot' | 'pinned';

export type Advice = 'normal' | 'random' | 'sequential' | 'willneed' | 'dontneed';

export interface MapOptions extends WaitOptions {
  /** 'cold' by default. An object in several maps has the hottest of their temperatures. */
  temperature?: Temperature | undefined;
  /**
   * Also lay the objects out in one contiguous region: object i at i × bucketBytes, zeros between. It is at
   * most 2^mappedRegionLog2 bytes long (a parameter of the pool), and costs a VMA an object.
   */
  linear?: boolean | undefined;
}

/**
 * A collection of mblocks, by index in the order of the ids that map() was given.
 *
 * It references its objects: one that is deleted meanwhile stays readable here, and its space is used
 * again only when the last map of it is gone.
 */
export interface MblockMap extends AsyncDisposable {
  readonly ids: readonly MblockId[];
  readonly objectCount: number;
  /** False once unmap() was called or the pool closed. */
  readonly mapped: boolean;
  readonly temperature: Temperature;
  /** From now on. */
  setTemperature(temperature: Temperature): void;
  /** What was written into the object. */
  lengthBytes(index: number): number;

  /**
   * All bytes of an object, without a copy; of length 0 after unmap(). Touching a page that is not resident
   * blocks the thread while it is read, unverified; and an I/O error there kills the process
   * (SIGBUS). A store into it kills the process (SIGSEGV) and changes nothing. A server should ask ready()
   * or getPages() first.
   * @throws ERR_MPOOL_CLOSED after unmap()
   */
  view(index: number): Uint8Array;
  /**
   * True when the pages of the range were verified by getPages() or read() and not evicted since, as far as
   * is known: touching them in view() does not block. Counts as an access. Costs about 10 ns a call.
   */
  ready(index: number, offsetBytes: number, lengthBytes: number): boolean;
  /**
   * Makes pages resident off the event loop and verifies them.
   * @param offsets byte offsets in the object; each stands for the page of 4,096 bytes it lies in
   * @returns views of those pages, in order, the object's last one as long as what was written
   * @throws ERR_MPOOL_CHECKSUM, ERR_MPOOL_IO, ERR_MPOOL_CLOSED; RangeError beyond the written length
   */
  getPages(index: number, offsets: ArrayLike<number>, options?: WaitOptions): Promise<Uint8Array[]>;
  /**
   * A copy of any range, verified, through the page cache: never a signal, whatever happens to the device.
   * @throws as getPages()
   */
  read(
    index: number,
    offsetBytes: number,
    lengthBytes: number,
    options?: WaitOptions,
  ): Promise<Uint8Array>;
  /**
   * willneed: begin to read the range, less of it while memory is short; dontneed: evict it; sequential:
   * getPages() and read() of the object read ahead; random, normal: they do not.
   */
  advise(index: number, offsetBytes: number, lengthBytes: number, advice: Advice): Promise<void>;
  /** The same for all of every object. */
  adviseAll(advice: Advice): Promise<void>;
  /** Evicts all pages of all its objects, pinned ones too. They stay mapped. */
  purge(): Promise<void>;
  /** Counts pages anew. */
  residency(): Promise<MapResidency>;

  /** Of a linear map: where object i begins is i × it. */
  readonly bucketBytes: number | undefined;
  /** Of a linear map: the whole region. @throws ERR_MPOOL_CLOSED; RangeError when it is not linear */
  region(): Uint8Array;

  /** What attachMap() needs in a worker thread of this process: to be posted there. */
  share(): SharedMap;
  /**
   * Every view has length 0 when this returns, in this thread; workers that attached let go, and then the
   * objects are released, when the promise resolves. Reads in flight are waited for. Idempotent.
   */
  unmap(): Promise<void>;
}

export interface MapResidency {
  virtualPages: number;
  residentPages: number;
  objects: { virtualPages: number; residentPages: number }[];
}

/** Plain data, to be cloned into worker threads of the same process; good while the map is mapped. */
export interface SharedMap {
  readonly kind: 'mpool.map';
  readonly [key: string]: unknown;
}

/** Keeps what is mapped from filling the memory: one of it serves all pools of a thread. */
export interface Reaper {
  readonly settings: Readonly<ReaperSettings>;
  /** At once. What is named with undefined is set to its default. @throws RangeError */
  configure(changes: { [Name in keyof ReaperSettings]?: ReaperSettings[Name] | undefined }): void;
  stats(): ReaperStats;
  /** 'pressure': it rose above or fell to 0, or doubled or halved; 'evict': objects were evicted. */
  on(event: 'pressure', listener: (stats: ReaperStats) => void): this;
  on(event: 'evict', listener: (eviction: Eviction) => void): this;
  off(event: 'pressure' | 'evict', listener: (...args: never[]) => void): this;
}

export interface ReaperSettings {
  /** True by default. Off, nothing is evicted but by the kernel. */
  enabled: boolean;
  /**
   * 5–100: the share of memory (what is free, and what is mapped and resident) that mapped objects may take
   * before eviction begins; 100 never. By default by the size of the memory, see docs/mcache.md.
   */
  memoryPercent: number;
  /** Above what multiple of the low watermark of free memory eviction ends: 1–2, by default 1.03. */
  highWatermarkFactor: number;
  /** An object not used for so long may be evicted, when there is little pressure; less the more there is. */
  ttlMs: number;
  /** At most so much resident, whatever is free; undefined for no such limit. */
  budgetBytes: number | undefined;
}

export interface Eviction {
  objectCount: number;
  pageCount: number;
}

export interface ReaperStats {
  /** 0: enough memory; 1: none is free. */
  pressure: number;
  /** What presses most. */
  limit: 'machine' | 'group' | 'budget';
  /** Of the memory that the limit counts. */
  freePercent: number;
  /** As shortened by the pressure, of cold objects. */
  ttlMs: number;
  /** Pages at their last count, by temperature; `unmapped`: still cached, but of no map any more. */
  residentPages: Record<Temperature | 'unmapped', number>;
  objectCount: number;
  evictedObjects: number;
  evictedPages: number;
  /** Objects that were used again within a minute of their eviction. */
  refaultedObjects: number;
  /** Reads held up by a millisecond or more, and for how long in all, because memory was nearly gone. */
  delayedReads: number;
  delayedMs: number;
  /** Read-ahead cut short for want of memory. */
  shortenedReadAheads: number;
  rounds: number;
  /** What it took of its thread, and of the thread pool. */
  threadMs: number;
  poolMs: number;
  /** What the kernel itself reclaimed and read again, where it tells: should stay still. */
  kernelReclaimedPages: number | undefined;
  kernelRefaults: number | undefined;
}
