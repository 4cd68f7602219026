import { fstat, readFileSync, readdirSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MpoolError } from '../base/errors.ts';
import { binding, LOCK_EXCLUSIVE, LOCK_SHARED } from '../native/binding.ts';
import { ioError, systemErrno } from './io-error.ts';

const { errno: E } = constants;
/** udev takes the lock of a block device for an instant whenever a writer closes it. */
const RETRY_MS = [10, 30, 60, 100];
/** A process that was killed holds its locks until the kernel has ended its I/O: seconds, on a busy disk. */
const GONE_RETRY_MS = 100;
const GONE_RETRIES_MAX = 50;

/**
 * Claims what `fd` is open on with flock(2): alone for writing, shared for reading. The claim ends
 * with the descriptor.
 * @throws ERR_MPOOL_BUSY naming the holder
 */
export async function claim(fd: number, path: string, access: 'read' | 'write'): Promise<void> {
  const mode = access === 'write' ? LOCK_EXCLUSIVE : LOCK_SHARED;
  for (const waitMs of [...RETRY_MS, 0]) {
    const result = binding.lock(fd, mode);
    if (result === 0) return;
    if (result !== -E.EAGAIN) throw ioError(result, 'flock', path);
    if (waitMs > 0) await sleep(waitMs);
  }
  const stats = await statBig(fd);
  for (let i = 0; i < GONE_RETRIES_MAX && isGone(lockHolder(stats)); i++) {
    await sleep(GONE_RETRY_MS);
    if (binding.lock(fd, mode) === 0) return;
  }
  throw busy(path, described(lockHolder(stats)) ?? 'by another process');
}

/**
 * Opens a block device that nobody else may have open so. As the claim does it waits for a process that
 * was killed: the kernel keeps its files open until it has ended its I/O.
 * @throws ERR_MPOOL_BUSY naming the holder
 */
export async function openAlone<Open>(path: string, tryOpen: () => Promise<Open>): Promise<Open> {
  const unknown = [...RETRY_MS];
  for (let tries = 0; ; tries++) {
    try {
      return await tryOpen();
    } catch (error) {
      if (systemErrno(error) !== -E.EBUSY) throw error;
    }
    const used = blockHolder(path);
    const holder = lockHolder(await stat(path, { bigint: true }));
    let waitMs: number | undefined;
    // A lock goes a little before its file does: nobody may be there to be seen.
    if (used === undefined && holder === undefined) waitMs = unknown.shift();
    else if (isGone(holder) && tries < GONE_RETRIES_MAX) waitMs = GONE_RETRY_MS;
    if (waitMs === undefined) {
      throw busy(path, used ?? described(holder) ?? 'by another process or the kernel');
    }
    await sleep(waitMs);
  }
}

/** The process is dead or dying: what it holds is about to be free. */
function isGone(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  const [, state] = /^State:\s+(\w)/m.exec(linesOf(`/proc/${pid}/status`).join('\n')) ?? [];
  return state === undefined || state === 'Z' || state === 'X';
}

function statBig(fd: number): Promise<BigIntStats> {
  return new Promise((resolve, reject) => {
    fstat(fd, { bigint: true }, (error, stats) => (error ? reject(error) : resolve(stats)));
  });
}

function busy(path: string, how: string): MpoolError {
  return new MpoolError('ERR_MPOOL_BUSY', `${path}: held ${how}`, { syscall: 'flock', path });
}

/** Its process, from /proc/locks: "1: FLOCK ADVISORY WRITE 123 fe:00:4711 0 EOF". */
function lockHolder(stats: BigIntStats): number | undefined {
  const id = `${majorMinor(stats.dev)}:${stats.ino}`;
  for (const line of linesOf('/proc/locks')) {
    const [, kind, , , pid, file] = line.trim().split(/\s+/);
    if (kind !== 'FLOCK' || file !== id || pid === undefined || Number(pid) <= 0) continue;
    return Number(pid);
  }
  return undefined;
}

/** 'by pid 123 (node server.js)' */
function described(pid: number | undefined): string | undefined {
  if (pid === undefined) return undefined;
  const self = pid === process.pid ? ', this process' : '';
  return `by pid ${pid} (${programOf(pid)}${self})`;
}

/** 'node server.js': the thread's name in /proc/PID/comm is 'MainThread' for a current Node. */
function programOf(pid: number): string {
  const [program, script] = (linesOf(`/proc/${pid}/cmdline`)[0] ?? '').split('\0');
  if (program === undefined || program === '') return 'unknown';
  const isScript = script !== undefined && script !== '' && !script.startsWith('-');
  return isScript ? `${basename(program)} ${basename(script)}` : basename(program);
}

/** As /proc/locks prints a device number: two hexadecimal digits or more each. */
function majorMinor(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return [major, minor].map((part) => part.toString(16).padStart(2, '0')).join(':');
}

/** What the kernel itself uses a block device for. */
function blockHolder(path: string): string | undefined {
  const mount = linesOf('/proc/self/mounts').find((line) => line.split(' ')[0] === path);
  if (mount !== undefined) return `as the file system mounted at ${mount.split(' ')[1]}`;
  if (linesOf('/proc/swaps').some((line) => line.split(/\s/)[0] === path)) return 'as swap';
  const name = basename(path);
  const holders = namesIn(`/sys/class/block/${name}/holders`);
  if (holders.length > 0) return `by ${holders.join(', ')}`;
  const used = partitionsOf(name).find((part) => blockHolder(`/dev/${part}`) !== undefined);
  return used === undefined ? undefined : `through its partition ${used}`;
}

function partitionsOf(name: string): string[] {
  return namesIn(`/sys/class/block/${name}`).filter((entry) => {
    return entry.startsWith(name) && /^p?\d+$/.test(entry.slice(name.length));
  });
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
