import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { basename, resolve } from 'node:path';

/** What the figures were taken on: enough to judge them, nothing that names the owner. */
export interface Machine {
  kernel: string;
  cpu: string;
  cores: number;
  memoryGiB: number;
  node: string;
  fio: string | null;
  fileSystem: string;
  disk: string;
  /** Of the last minute, when the runs began. */
  load: number;
}

export function describeMachine(folder: string, fio: string | null): Machine {
  const { fileSystem, disk } = diskOf(folder);
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    fio,
    fileSystem,
    disk,
    load: Math.round(loadavg()[0]! * 100) / 100,
  };
}

export function commitOf(folder: string): string {
  try {
    const git = (...words: string[]): string =>
      execFileSync('git', words, { cwd: folder, encoding: 'utf8', stdio: 'pipe' }).trim();
    const changed = git('status', '--porcelain', '--', 'src', 'native') === '' ? '' : ' + changes';
    return git('rev-parse', '--short', 'HEAD') + changed;
  } catch {
    return 'unknown';
  }
}

function diskOf(folder: string): { fileSystem: string; disk: string } {
  const path = resolve(folder);
  const { dev } = statSync(path);
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , numbers, , place] = before.split(' ');
    const [type, source = ''] = after.split(' ');
    if (numbers !== `${major(dev)}:${minor(dev)}` || place === undefined) continue;
    if (!path.startsWith(place)) continue;
    return { fileSystem: type ?? 'unknown', disk: describeDisk(basename(source)) };
  }
  return { fileSystem: 'unknown', disk: 'unknown' };
}

function describeDisk(name: string): string {
  const queue = `/sys/class/block/${name}/queue`;
  if (!existsSync(queue)) return name;
  const read = (file: string): string => readFileSync(`${queue}/${file}`, 'utf8').trim();
  const scheduler = /\[(.*)\]/.exec(read('scheduler'))?.[1] ?? 'unknown';
  const fua = read('fua') === '1' ? 'FUA' : 'no FUA';
  return `${name} (${read('write_cache')}, ${fua}, scheduler ${scheduler})`;
}

/** As glibc's gnu_dev_major(). */
function major(dev: number): number {
  return Number((BigInt(dev) >> 8n) & 0xfffn);
}

function minor(dev: number): number {
  return Number((BigInt(dev) & 0xffn) | ((BigInt(dev) >> 12n) & 0xfff00n));
}
