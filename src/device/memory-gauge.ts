/** How much memory there is and how hard it is to get: what the reaper decides by. */
export interface MemoryGauge {
  /**
   * Reads the system's counters; some tens of microseconds of kernel time, off the thread.
   * @param heldBytes page cache that is the caller's own: tells which group's limit is nearest, since
   *   other page cache gives way
   */
  read(heldBytes?: number): Promise<MemorySample>;
  /** Lets go of open files until the next read(). */
  release?(): Promise<void>;
}

export interface MemorySample {
  /** Of the machine. */
  machine: MemoryLevel;
  /** Of the control group whose limit is nearest, of this one and all above it; none: no limit. */
  group?: (MemoryLevel & { path: string; version: 1 | 2 }) | undefined;
  /**
   * Share of time, 0–1, in which some task of the group (or machine) waited for memory, over the last
   * seconds; undefined where the kernel does not tell (PSI is off), or not yet.
   */
  stalledShare?: number | undefined;
  /** File pages read again soon after the kernel took them, in all, since boot or since the group began. */
  refaultCount?: number | undefined;
  /**
   * Pages the kernel itself took from the group (or machine), in all. Version 1 groups do not tell: for
   * them it is how often a charge met a limit, each time of which the kernel takes at least a page.
   */
  reclaimedPages?: number | undefined;
}

export interface MemoryLevel {
  /** Of a group: its limit. */
  totalBytes: number;
  /** Not used by anything at all. */
  freeBytes: number;
  /** Page cache that could be dropped (so not tmpfs, nothing locked) and the like, whose ever it is. */
  cacheBytes: number;
  /** What is neither free nor page cache: heaps, stacks, the kernel's own. */
  otherBytes: number;
}
