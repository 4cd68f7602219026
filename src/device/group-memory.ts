import { KeptFile } from './kept-file.ts';
import { groupCacheBytes, groupCounts, inheritedLimitBytes, numberOf } from './memory-counters.ts';
import type { ReclaimCounts } from './memory-counters.ts';
import type { MemoryLevel } from './memory-gauge.ts';

/** A limit above it means none: version 1 says so with the largest multiple of a page below 2^63. */
const NO_LIMIT_BYTES = 2 ** 60;
const { POSITIVE_INFINITY } = Number;

export interface GroupPlace {
  version: 1 | 2;
  /** As the kernel spells it. */
  path: string;
  folder: string;
  /** The process is in it, not only below it. */
  own: boolean;
}

/** The memory files of one control group, and what they said last. */
export class GroupMemory {
  readonly place: GroupPlace;
  /** Of the own group: pages of it, whichever group's limit they were taken for. */
  counts: ReclaimCounts | undefined;
  /** Version 1: how often a charge met the limit. */
  failures = 0;
  readonly #usage: KeptFile;
  readonly #stat: KeptFile;
  readonly #limits: KeptFile[];
  readonly #failures: KeptFile | undefined;
  readonly #hierarchy: KeptFile | undefined;
  #limitBytes = POSITIVE_INFINITY;
  #usageBytes: number | undefined;
  #cacheBytes = 0;

  constructor(place: GroupPlace) {
    const file = (name: string): KeptFile => new KeptFile(`${place.folder}/${name}`);
    const isFirst = place.version === 1;
    this.place = place;
    this.#usage = file(isFirst ? 'memory.usage_in_bytes' : 'memory.current');
    this.#stat = file('memory.stat');
    // Above `high` the kernel reclaims and slows its tasks down, so that is where the memory ends.
    this.#limits = (isFirst ? ['memory.limit_in_bytes'] : ['memory.max', 'memory.high']).map(file);
    this.#failures = isFirst ? file('memory.failcnt') : undefined;
    this.#hierarchy = isFirst && !place.own ? file('memory.use_hierarchy') : undefined;
  }

  /** The group is no more, or the process may no longer look into it. */
  get vanished(): boolean {
    return this.#usage.vanished;
  }

  /** @param all also what changes seldom: limits and counts */
  async read(all: boolean): Promise<void> {
    if (all) await this.#readLimits();
    if (!all && this.#limitBytes >= NO_LIMIT_BYTES) return;
    const [usage, stat = ''] = await Promise.all([this.#usage.read(), this.#stat.read()]);
    this.#usageBytes = numberOf(usage);
    this.#cacheBytes = groupCacheBytes(stat, this.place.version);
    if (all) this.counts = stat === '' ? undefined : groupCounts(stat, this.place.version);
    const inheritedBytes = this.place.own ? inheritedLimitBytes(stat) : undefined;
    this.#limitBytes = Math.min(this.#limitBytes, inheritedBytes ?? POSITIVE_INFINITY);
  }

  /** Undefined without a limit; one of no less than the machine has is none. */
  levelWithin(machineBytes: number): MemoryLevel | undefined {
    const totalBytes = this.#limitBytes;
    const usageBytes = this.#usageBytes;
    if (usageBytes === undefined || totalBytes === 0) return undefined;
    if (totalBytes >= Math.min(NO_LIMIT_BYTES, machineBytes)) return undefined;
    const cacheBytes = Math.min(usageBytes, this.#cacheBytes);
    const freeBytes = Math.max(0, totalBytes - usageBytes);
    return { totalBytes, freeBytes, cacheBytes, otherBytes: usageBytes - cacheBytes };
  }

  async close(): Promise<void> {
    const files = [this.#usage, this.#stat, ...this.#limits];
    if (this.#failures !== undefined) files.push(this.#failures);
    if (this.#hierarchy !== undefined) files.push(this.#hierarchy);
    await Promise.all(files.map((file) => file.close()));
  }

  async #readLimits(): Promise<void> {
    const [failures, hierarchy, ...limits] = await Promise.all([
      this.#failures?.read(),
      this.#hierarchy?.read(),
      ...this.#limits.map((file) => file.read()),
    ]);
    this.failures = numberOf(failures) ?? 0;
    const bytes = limits.map((text) => numberOf(text) ?? POSITIVE_INFINITY);
    // Without hierarchy a group does not count, nor limit, those below it.
    this.#limitBytes = hierarchy?.trim() === '0' ? POSITIVE_INFINITY : Math.min(...bytes);
  }
}
