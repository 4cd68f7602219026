import { GIB, PAGE_BYTES } from '../base/units.ts';
import type { MemoryGauge, MemoryLevel, MemorySample } from '../device/memory-gauge.ts';
import type { SimPageCache } from './sim-page-cache.ts';

/** Memory of a simulated machine or control group, but for what the simulation caches by itself. */
export interface SimLevel {
  /** Of a group: its limit. */
  totalBytes: number;
  /** Neither free nor page cache. */
  otherBytes: number;
  /** Page cache of others. */
  foreignCacheBytes: number;
}

/**
 * The memory of a simulated machine: levels may be set at any time. When what devices' mappings cache does
 * not fit any more, the oldest pages go, as a kernel would see to, and are counted as reclaimed.
 */
export class SimMemory implements MemoryGauge {
  machine: SimLevel = { totalBytes: 16 * GIB, otherBytes: GIB, foreignCacheBytes: 0 };
  group: (SimLevel & { path: string; version: 1 | 2 }) | undefined;
  stalledShare: number | undefined;
  /** Called when somebody asks for pages to be evicted; what the machine reclaims by itself is not told. */
  onEvict: ((path: string, offsetBytes: number, lengthBytes: number) => void) | undefined;
  readonly #caches: SimPageCache[] = [];

  /** What mappings hold in the page cache. */
  get cachedBytes(): number {
    return this.#sum((cache) => cache.pageCount) * PAGE_BYTES;
  }

  /** Sets what others have of the machine, so that so much is free now. */
  leaveFree(freeBytes: number): void {
    const { totalBytes, foreignCacheBytes } = this.machine;
    this.machine.otherBytes = totalBytes - foreignCacheBytes - this.cachedBytes - freeBytes;
  }

  async read(): Promise<MemorySample> {
    const { group } = this;
    return {
      machine: this.#sampleOf(this.machine),
      group: group && { ...this.#sampleOf(group), path: group.path, version: group.version },
      stalledShare: this.stalledShare,
      refaultCount: this.#sum((cache) => cache.refaultCount),
      reclaimedPages: this.#sum((cache) => cache.reclaimedPages),
    };
  }

  add(cache: SimPageCache): void {
    this.#caches.push(cache);
  }

  /** Pages came into a cache. */
  makeRoom(): void {
    const levels = this.group === undefined ? [this.machine] : [this.machine, this.group];
    const rooms = levels.map((each) => each.totalBytes - each.otherBytes - each.foreignCacheBytes);
    const excess = Math.ceil((this.cachedBytes - Math.min(...rooms)) / PAGE_BYTES);
    let left = Math.max(0, excess);
    for (const cache of this.#caches) left -= cache.reclaim(left);
  }

  #sampleOf({ totalBytes, otherBytes, foreignCacheBytes }: SimLevel): MemoryLevel {
    const cacheBytes = foreignCacheBytes + this.cachedBytes;
    const freeBytes = Math.max(0, totalBytes - otherBytes - cacheBytes);
    return { totalBytes, freeBytes, cacheBytes, otherBytes };
  }

  #sum(of: (cache: SimPageCache) => number): number {
    return this.#caches.reduce((sum, cache) => sum + of(cache), 0);
  }
}
