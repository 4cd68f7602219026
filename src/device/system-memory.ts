import { readFile } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { Serial } from '../base/serial.ts';
import { memoryGroups, pressureFolder } from './control-groups.ts';
import { GroupMemory } from './group-memory.ts';
import { KeptFile } from './kept-file.ts';
import { machineCounts, machineLevel, stalledMicros } from './memory-counters.ts';
import type { ReclaimCounts } from './memory-counters.ts';
import type { MemoryGauge, MemoryLevel, MemorySample } from './memory-gauge.ts';

export interface SystemMemoryOptions {
  /** What stands for '/', for tests. */
  root?: string | undefined;
  monotonicMs?: (() => number) | undefined;
}

/** How old what seldom changes may be: limits, counts, which group this process is in. */
const SLOW_MS = 500;
/** Over less, one stall looks like many. */
const STALL_WINDOW_MS = 2000;
const NEVER = Number.NEGATIVE_INFINITY;

/**
 * The memory of this machine, and of the control groups, of version 1 or 2, that this process is in.
 *
 * Files stay open between reads. What is missing, unreadable or makes no sense is left out. Groups are looked for
 * again when the process was moved, or a file of them fails that could be read.
 */
export class SystemMemory implements MemoryGauge {
  readonly #root: string;
  readonly #nowMs: () => number;
  readonly #serial = new Serial();
  readonly #meminfo: KeptFile;
  readonly #vmstat: KeptFile;
  readonly #cgroup: KeptFile;
  /** The process's own first, then all above it that can be seen. */
  #groups: GroupMemory[] = [];
  /** Content of /proc/self/cgroup when #groups was made; undefined: make it anew. */
  #foundBy: string | undefined;
  #pressure: KeptFile | undefined;
  #slowAtMs = NEVER;
  #stall: { atMs: number; micros: number } | undefined;
  #stalledShare: number | undefined;
  #counts: ReclaimCounts | undefined;
  #reading: Promise<MemorySample> | undefined;

  constructor(options: SystemMemoryOptions = {}) {
    this.#root = options.root ?? '/';
    this.#nowMs = options.monotonicMs ?? (() => systemClock.monotonicMs());
    this.#meminfo = this.#file('/proc/meminfo');
    this.#vmstat = this.#file('/proc/vmstat');
    this.#cgroup = this.#file('/proc/self/cgroup');
  }

  /** Calls that come while one waits or is under way share it. */
  read(heldBytes = 0): Promise<MemorySample> {
    this.#reading ??= this.#serial
      .run(() => this.#read(heldBytes))
      .finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  release(): Promise<void> {
    return this.#serial.run(async () => {
      this.#slowAtMs = NEVER;
      await Promise.all([this.#meminfo, this.#vmstat, this.#cgroup].map((file) => file.close()));
      await this.#forgetGroups();
    });
  }

  async #read(heldBytes: number): Promise<MemorySample> {
    const nowMs = this.#nowMs();
    const all = nowMs - this.#slowAtMs >= SLOW_MS;
    if (all) {
      this.#slowAtMs = nowMs;
      await this.#findGroups();
    }
    const [meminfo = ''] = await Promise.all([
      this.#meminfo.read(),
      ...this.#groups.map((group) => group.read(all)),
    ]);
    if (all) await this.#readSeldom(nowMs);
    if (this.#groups.some((group) => group.vanished)) this.#foundBy = undefined;
    const machine = machineLevel(meminfo) ?? systemLevel();
    return {
      machine,
      group: this.#nearest(machine.totalBytes, heldBytes),
      stalledShare: this.#stalledShare,
      ...this.#counts,
    };
  }

  async #findGroups(): Promise<void> {
    const cgroup = (await this.#cgroup.read()) ?? '';
    if (cgroup === this.#foundBy) return;
    await this.#forgetGroups();
    const mountinfo = await readFile(join(this.#root, '/proc/self/mountinfo'), 'utf8').catch(
      () => '',
    );
    const { version, steps } = memoryGroups(cgroup, mountinfo) ?? { version: 2, steps: [] };
    this.#groups = steps.map(
      ({ path, folder }, i) =>
        new GroupMemory({ version, path, folder: join(this.#root, folder), own: i === 0 }),
    );
    this.#pressure = await this.#findPressure(pressureFolder(cgroup, mountinfo));
    this.#foundBy = cgroup;
  }

  /** Of the process's own group rather than the one whose limit is near: others' stalls are not ours. */
  async #findPressure(folder: string | undefined): Promise<KeptFile> {
    if (folder !== undefined) {
      const own = this.#file(`${folder}/memory.pressure`);
      if ((await own.read()) !== undefined) return own;
    }
    return this.#file('/proc/pressure/memory');
  }

  async #forgetGroups(): Promise<void> {
    const groups = this.#groups;
    const pressure = this.#pressure;
    this.#groups = [];
    this.#foundBy = undefined;
    this.#pressure = undefined;
    this.#stall = undefined;
    this.#stalledShare = undefined;
    await Promise.all([pressure?.close(), ...groups.map((group) => group.close())]);
  }

  async #readSeldom(nowMs: number): Promise<void> {
    this.#measureStalls((await this.#pressure?.read()) ?? '', nowMs);
    const own = this.#groups[0];
    if (own?.counts === undefined) {
      this.#counts = machineCounts((await this.#vmstat.read()) ?? '');
    } else if (own.place.version === 2) {
      this.#counts = own.counts;
    } else {
      const reclaimedPages = this.#groups.reduce((sum, group) => sum + group.failures, 0);
      this.#counts = { ...own.counts, reclaimedPages };
    }
  }

  #measureStalls(pressure: string, nowMs: number): void {
    const micros = stalledMicros(pressure);
    if (micros === undefined) {
      this.#stall = undefined;
      this.#stalledShare = undefined;
      return;
    }
    const since = (this.#stall ??= { atMs: nowMs, micros });
    const elapsedMs = nowMs - since.atMs;
    if (elapsedMs < STALL_WINDOW_MS) return;
    this.#stall = { atMs: nowMs, micros };
    this.#stalledShare = Math.min(1, Math.max(0, micros - since.micros) / (elapsedMs * 1000));
  }

  /** The group with the least share of its limit left, others' page cache having given way. */
  #nearest(machineBytes: number, heldBytes: number): MemorySample['group'] {
    let nearest: MemorySample['group'];
    let leastShare = Number.POSITIVE_INFINITY;
    for (const group of this.#groups) {
      const level = group.levelWithin(machineBytes);
      if (level === undefined) continue;
      const leftBytes = level.freeBytes + Math.max(0, level.cacheBytes - heldBytes);
      if (leftBytes / level.totalBytes >= leastShare) continue;
      leastShare = leftBytes / level.totalBytes;
      nearest = { ...level, path: group.place.path, version: group.place.version };
    }
    return nearest;
  }

  #file(path: string): KeptFile {
    return new KeptFile(join(this.#root, path));
  }
}

/** By a system call, where there is no /proc worth the name. */
function systemLevel(): MemoryLevel {
  const totalBytes = totalmem();
  const freeBytes = Math.min(totalBytes, freemem());
  return { totalBytes, freeBytes, cacheBytes: 0, otherBytes: totalBytes - freeBytes };
}
