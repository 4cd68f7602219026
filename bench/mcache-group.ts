/** A memory control group for a benchmark's process: of version 1 or 2, whichever the machine has. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class MemoryGroup {
  readonly folder: string;
  readonly version: 1 | 2;

  private constructor(folder: string, version: 1 | 2) {
    this.folder = folder;
    this.version = version;
  }

  /** @throws Error that says what is missing, as an ordinary user above all */
  static create(name: string, limitBytes: number): MemoryGroup {
    const { folder, version } = findController();
    const group = new MemoryGroup(join(folder, name), version);
    if (existsSync(group.folder)) rmdirSync(group.folder);
    mkdirSync(group.folder);
    group.#write(version === 1 ? 'memory.limit_in_bytes' : 'memory.max', limitBytes);
    if (version === 2 && existsSync(join(group.folder, 'memory.swap.max'))) {
      group.#write('memory.swap.max', 0);
    }
    return group;
  }

  get usedBytes(): number {
    return Number(this.#read(this.version === 1 ? 'memory.usage_in_bytes' : 'memory.current'));
  }

  /** Counters of memory.stat, and how often the limit was reached. */
  counters(): { majorFaults: number; cacheBytes: number; limitHits: number } {
    const stat = this.#read('memory.stat');
    const of = (name: string): number =>
      Number(new RegExp(`^${name} (\\d+)`, 'm').exec(stat)?.[1] ?? 0);
    const isFirst = this.version === 1;
    const events = isFirst ? '' : this.#read('memory.events');
    const limitHits = isFirst
      ? Number(this.#read('memory.failcnt'))
      : Number(/^max (\d+)/m.exec(events)?.[1] ?? 0);
    return {
      majorFaults: of('pgmajfault'),
      cacheBytes: isFirst ? of('total_cache') : of('file'),
      limitHits,
    };
  }

  /** Its processes have ended. */
  remove(): void {
    rmdirSync(this.folder);
  }

  #read(file: string): string {
    return readFileSync(join(this.folder, file), 'utf8');
  }

  #write(file: string, value: number): void {
    writeFileSync(join(this.folder, file), String(value));
  }
}

function findController(): { folder: string; version: 1 | 2 } {
  for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const [, folder = '', type, options = ''] = line.split(' ');
    if (type === 'cgroup' && options.split(',').includes('memory')) return { folder, version: 1 };
    if (type !== 'cgroup2') continue;
    const controllers = readFileSync(join(folder, 'cgroup.controllers'), 'utf8').trim();
    if (!controllers.split(' ').includes('memory')) continue;
    writeFileSync(join(folder, 'cgroup.subtree_control'), '+memory');
    return { folder, version: 2 };
  }
  throw new Error('this machine has no memory controller: mount one of version 1 or 2');
}
