/** What the kernel's texts on memory say. Pure; undefined for what they do not. */
import { KIB } from '../base/units.ts';
import type { MemoryLevel } from './memory-gauge.ts';

export interface ReclaimCounts {
  refaultCount: number | undefined;
  reclaimedPages: number | undefined;
}

/** Older kernels do not tell files from anonymous memory. */
const REFAULT_KEYS = ['workingset_refault_file', 'workingset_refault'];
const RECLAIM_KEYS = ['pgsteal_kswapd', 'pgsteal_direct', 'pgsteal_khugepaged'];

/** Of /proc/meminfo; undefined where it lacks the essential. */
export function machineLevel(meminfo: string): MemoryLevel | undefined {
  const bytesOf = (key: string): number | undefined => {
    const kib = valueOf(meminfo, `${key}:`);
    return kib === undefined ? undefined : kib * KIB;
  };
  const totalBytes = bytesOf('MemTotal');
  const freeBytes = bytesOf('MemFree');
  if (totalBytes === undefined || freeBytes === undefined || freeBytes > totalBytes)
    return undefined;
  const files = (bytesOf('Cached') ?? 0) + (bytesOf('Buffers') ?? 0) - (bytesOf('Shmem') ?? 0);
  // The kernel's own estimate of what it could give leaves out what it needs itself; before 3.14 it made none.
  const availableBytes =
    bytesOf('MemAvailable') ?? freeBytes + files + (bytesOf('SReclaimable') ?? 0);
  const cacheBytes = Math.min(Math.max(0, availableBytes - freeBytes), totalBytes - freeBytes);
  return { totalBytes, freeBytes, cacheBytes, otherBytes: totalBytes - freeBytes - cacheBytes };
}

/** Of a group's memory.stat: what reclaim could take, so neither tmpfs nor what is locked. */
export function groupCacheBytes(stat: string, version: 1 | 2): number {
  if (version === 1) {
    const of = (key: string) => valueOf(stat, `total_${key} `) ?? valueOf(stat, `${key} `) ?? 0;
    return of('inactive_file') + of('active_file');
  }
  const keys = ['inactive_file ', 'active_file ', 'slab_reclaimable '];
  return keys.reduce((sum, key) => sum + (valueOf(stat, key) ?? 0), 0);
}

/** Of a group's memory.stat. Version 1 does not tell what was reclaimed. */
export function groupCounts(stat: string, version: 1 | 2): ReclaimCounts {
  const prefix = version === 1 ? 'total_' : '';
  return {
    refaultCount: firstOf(
      stat,
      REFAULT_KEYS.map((key) => prefix + key),
    ),
    reclaimedPages: valueOf(stat, 'pgsteal ') ?? sumOf(stat, RECLAIM_KEYS),
  };
}

/** Of /proc/vmstat. */
export function machineCounts(vmstat: string): ReclaimCounts {
  return {
    refaultCount: firstOf(vmstat, REFAULT_KEYS),
    reclaimedPages: sumOf(vmstat, RECLAIM_KEYS),
  };
}

/** Of memory.pressure: microseconds in which at least one task waited, in all. */
export function stalledMicros(pressure: string): number | undefined {
  const [, total] = /^some .*\btotal=(\d+)$/m.exec(pressure) ?? [];
  return numberOf(total);
}

/** The hidden limits of all groups above, also of those that cannot be seen: version 1's memory.stat. */
export function inheritedLimitBytes(stat: string): number | undefined {
  return valueOf(stat, 'hierarchical_memory_limit ');
}

/** A file that is one number; 'max' is none. */
export function numberOf(text: string | undefined): number | undefined {
  const digits = text?.trim();
  return digits !== undefined && /^\d+$/.test(digits) ? Number(digits) : undefined;
}

function firstOf(text: string, keys: readonly string[]): number | undefined {
  for (const key of keys) {
    const value = valueOf(text, `${key} `);
    if (value !== undefined) return value;
  }
  return undefined;
}

function sumOf(text: string, keys: readonly string[]): number | undefined {
  const values = keys.flatMap((key) => valueOf(text, `${key} `) ?? []);
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0);
}

/** The number behind a key at the start of a line. */
function valueOf(text: string, key: string): number | undefined {
  let from = 0;
  if (!text.startsWith(key)) {
    from = text.indexOf(`\n${key}`) + 1;
    if (from === 0) return undefined;
  }
  const end = text.indexOf('\n', from);
  const value = text.slice(from + key.length, end < 0 ? text.length : end);
  return numberOf(value.endsWith(' kB') ? value.slice(0, -3) : value);
}
