import type { Done } from './device.ts';

/**
 * The page cache of one device, mapped read-only into the process. One mapping serves all that is mapped of
 * a device, however much: one VMA, and no system call for one object more.
 *
 * What Device.write() wrote is seen at once, but one trap is left: on a block device, a page that was read
 * while it was being written may stay as it was until it is evicted. So no one may look at space while it
 * is written, and whoever gives it to something new evicts it first.
 *
 * Offsets are the device's. Reads and read-ahead never go beyond what was asked (MADV_RANDOM and
 * POSIX_FADV_RANDOM: with the kernel's own read-ahead, reads of a set larger than memory collapse to
 * a hundredth). All work that may block runs off the thread.
 */
export interface DeviceMapping {
  readonly path: string;
  /** Size of the device when it was mapped: what lies beyond needs another mapping. */
  readonly lengthBytes: number;
  /**
   * One bit a device page (bit p & 7 of byte p >>> 3), shared by all threads of the process, zero at
   * first: whose owner says which pages were verified since they were read. Change it with Atomics.
   */
  readonly readyBits: Uint8Array;
  /** Names the mapping to other threads of this process: see attachMapping(). */
  readonly handle: number;

  /**
   * A window on the device. A page that is not cached is read when it is touched, which blocks the thread; if
   * that fails, or the device has shrunk, the process dies of SIGBUS. A store into it dies of SIGSEGV, and
   * changes nothing. It cannot be transferred to another thread.
   * @throws ERR_MPOOL_IO when there is no memory for it
   */
  view(offsetBytes: number, lengthBytes: number): ArrayBuffer;
  /**
   * One contiguous region of `lengthBytes` in which parts of devices lie as said, and between which all is
   * zero. Costs a VMA a part. `offsetBytes` and `regionOffsetBytes` are of whole pages; a part's last page is
   * whole, whatever `lengthBytes` says. Evicting a part's pages also evicts them here.
   * @throws ERR_MPOOL_IO when there is no memory, or no VMA left (vm.max_map_count)
   */
  stitch(parts: readonly RegionPart[], lengthBytes: number): ArrayBuffer;
  /** Ends a view() or stitch(): all that looks at it has length 0 from now on. */
  detach(buffer: ArrayBuffer): void;

  /**
   * Reads through the page cache, so that the pages are resident afterwards. For any memory; without a copy for
   * that of Device.allocate(). A page that cannot be read is an error, never a signal.
   */
  read(offsetBytes: number, buffer: Uint8Array, done: Done): void;
  /** Begins to read pages into the cache; done when the kernel has the requests. */
  readAhead(ranges: PageRanges): Promise<void>;
  /** Drops the pages from the page cache and from all page tables of this process. */
  evict(ranges: PageRanges): Promise<void>;
  /** Forgets only in this process's page tables: pages that are used again show up in touched(). */
  zap(ranges: PageRanges): Promise<void>;
  /** Pages of each range that are in the page cache. */
  resident(ranges: PageRanges): Promise<Float64Array>;
  /** Pages of each range that are in this process's page tables. */
  touched(ranges: PageRanges): Promise<Float64Array>;

  /** Processor time that the work on ranges took on its thread so far, in milliseconds. */
  readonly workMs: number;

  /**
   * Waits for work in flight, then lets go. Views are to be detached before; one that was forgotten keeps its
   * memory until it is collected. Idempotent.
   */
  close(): Promise<void>;
}

/** offset, length, offset, length, … in bytes, of whole pages. Copied before the call returns. */
export type PageRanges = Float64Array;

export interface RegionPart {
  mapping: DeviceMapping;
  offsetBytes: number;
  lengthBytes: number;
  regionOffsetBytes: number;
}
