import { close, constants as flags, fstat, open as openCallback } from 'node:fs';
import { lstat, open, readdir, realpath, stat, unlink } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { binding } from '../native/binding.ts';
import { claimBackingFile } from './backing-claim.ts';
import { claim, openAlone } from './claim.ts';
import { closeDescriptors } from './close-descriptors.ts';
import type { Device } from './device.ts';
import { deviceLimits } from './device-limits.ts';
import { DirectDevice } from './direct-device.ts';
import { chooseEngine, firstRung, wantedEngine } from './engine-ladder.ts';
import type { Host, OpenDeviceOptions, PathInfo } from './host.ts';
import { ioError, pathError, systemErrno } from './io-error.ts';
import { SystemMemory } from './system-memory.ts';

const { errno: E } = constants;
const openDescriptor = promisify(openCallback);
const closeDescriptor = promisify(close);
const statDescriptor = promisify(fstat);
/** A pool's file holds other people's data: its owner's alone, until someone widens it. */
const FILE_MODE = 0o600;

/** The machine itself. */
export class SystemHost implements Host {
  readonly memory = new SystemMemory();

  async openDevice(path: string, options: OpenDeviceOptions): Promise<Device> {
    firstRung(options.engine);
    const info = await this.stat(path);
    if (info === undefined) throw new MpoolError('ERR_MPOOL_NOT_FOUND', path, { path });
    if (info.kind === 'other') {
      throw invalidArgument(`${path} is neither a block device nor a regular file`);
    }
    const { fd, direct } = await openForIo(info, options.access);
    let backingFd: number | undefined;
    try {
      if (options.claim !== false) {
        await claim(fd, path, options.access);
        const { rdev } = await statDescriptor(fd);
        if (info.kind === 'block') backingFd = await claimBackingFile(rdev, options.access);
      }
      return await makeDevice(fd, backingFd, path, options, direct);
    } catch (error) {
      // What comes of that is not what went wrong first.
      await closeDescriptors([fd, backingFd], path).catch(() => {});
      throw pathError(error, path);
    }
  }

  async createFile(path: string, sizeBytes: number): Promise<void> {
    try {
      const file = await open(path, 'wx', FILE_MODE);
      try {
        await file.truncate(sizeBytes);
        await file.sync();
        await syncFolderOf(path);
      } catch (error) {
        await unlink(path);
        throw error;
      } finally {
        await file.close();
      }
    } catch (error) {
      throw pathError(error, path);
    }
  }

  async growFile(path: string, sizeBytes: number): Promise<void> {
    try {
      const file = await open(path, 'r+');
      try {
        if ((await file.stat()).size < sizeBytes) await file.truncate(sizeBytes);
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (error) {
      throw pathError(error, path);
    }
  }

  async removeFile(path: string): Promise<void> {
    try {
      await unlink(path);
      await syncFolderOf(path);
    } catch (error) {
      throw pathError(error, path);
    }
  }

  async stat(path: string): Promise<PathInfo | undefined> {
    try {
      const real = await realpath(path);
      const stats = await stat(real);
      if (stats.isFile()) return { path: real, kind: 'file', sizeBytes: stats.size };
      if (!stats.isBlockDevice()) return { path: real, kind: 'other', sizeBytes: 0 };
      return { path: real, kind: 'block', sizeBytes: await blockSize(real) };
    } catch (error) {
      const errno = systemErrno(error);
      if (errno === -E.ENOENT || errno === -E.ENOTDIR) return undefined;
      throw pathError(error, path);
    }
  }

  async peek(path: string, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    try {
      const file = await open(path, flags.O_RDONLY | flags.O_NONBLOCK);
      try {
        const bytes = new Uint8Array(lengthBytes);
        let length = 0;
        while (length < lengthBytes) {
          const at = offsetBytes + length;
          const { bytesRead } = await file.read(bytes, length, lengthBytes - length, at);
          if (bytesRead === 0) break;
          length += bytesRead;
        }
        return bytes.subarray(0, length);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw pathError(error, path);
    }
  }

  async candidates(places: readonly string[], blockDevices: boolean): Promise<string[]> {
    const found = new Set<string>();
    if (blockDevices) {
      for (const path of await blockDevicePaths()) {
        if (await isReadable(path)) found.add(path);
      }
    }
    for (const place of places) {
      for (const path of await filesAt(place)) {
        if (await isReadable(path)) found.add(path);
      }
    }
    return [...found];
  }
}

interface OpenDescriptor {
  fd: number;
  /** False where the file system refuses direct I/O: then everything goes through the page cache. */
  direct: boolean;
}

async function openForIo(info: PathInfo, access: 'read' | 'write'): Promise<OpenDescriptor> {
  // O_EXCL on a block device: refused while the kernel uses it (mounted, swap, part of an array).
  const exclusive = info.kind === 'block' && access === 'write' ? flags.O_EXCL : 0;
  const mode = (access === 'write' ? flags.O_RDWR : flags.O_RDONLY) | exclusive;
  const tryOpen = async (): Promise<OpenDescriptor> => {
    try {
      return { fd: await openDescriptor(info.path, mode | flags.O_DIRECT), direct: true };
    } catch (error) {
      if (systemErrno(error) !== -E.EINVAL) throw error;
      return { fd: await openDescriptor(info.path, mode), direct: false };
    }
  };
  try {
    return await (exclusive === 0 ? tryOpen() : openAlone(info.path, tryOpen));
  } catch (error) {
    throw pathError(error, info.path);
  }
}

async function makeDevice(
  fd: number,
  backingFd: number | undefined,
  path: string,
  options: OpenDeviceOptions,
  direct: boolean,
): Promise<Device> {
  const stats = await statDescriptor(fd);
  const limits = await deviceLimits(fd, path, stats, direct);
  if (direct && !limits.direct) {
    // The same open file without O_DIRECT, so that the claim stays.
    const result = binding.setDirect(fd, 0);
    if (result < 0) throw ioError(result, 'fcntl', path);
  }
  if (options.access === 'write' && limits.readOnly) {
    throw new MpoolError('ERR_MPOOL_READ_ONLY', path, { path });
  }
  return new DirectDevice({
    path,
    kind: stats.isBlockDevice() ? 'block' : 'file',
    fd,
    backingFd,
    readOnly: options.access === 'read',
    limits,
    engine: chooseEngine(options.engine, limits.direct && !limits.mayBlock),
    wanted: wantedEngine(options.engine, limits.direct && !limits.mayBlock),
    measure: () => measure(fd, path),
  });
}

async function measure(fd: number, path: string): Promise<number> {
  const stats = await statDescriptor(fd);
  return stats.isBlockDevice() ? descriptorSize(fd, path) : stats.size;
}

function descriptorSize(fd: number, path: string): number {
  const out = new Float64Array(5);
  const result = binding.blockLimits(fd, out);
  if (result < 0) throw ioError(result, 'ioctl', path);
  return out[0]!;
}

/** 0 for one that cannot be opened: an empty card reader, a loop device without a file. */
async function blockSize(path: string): Promise<number> {
  let fd: number;
  try {
    fd = await openDescriptor(path, flags.O_RDONLY | flags.O_NONBLOCK);
  } catch (error) {
    const errno = systemErrno(error);
    if (errno === -E.ENXIO || errno === -E.ENODEV || errno === -E.EACCES) return 0;
    throw error;
  }
  try {
    return descriptorSize(fd, path);
  } finally {
    await closeDescriptor(fd);
  }
}

async function syncFolderOf(path: string): Promise<void> {
  const folder = await open(dirname(resolve(path)), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function blockDevicePaths(): Promise<string[]> {
  const names = await namesIn('/sys/class/block');
  const paths: string[] = [];
  for (const name of names.toSorted()) {
    if (name.startsWith('ram')) continue;
    // sysfs spells the '/' of 'cciss/c0d0' as '!'.
    const path = join('/dev', name.replaceAll('!', '/'));
    if ((await sizeOf(path)) > 0) paths.push(path);
  }
  return paths;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return await blockSize(path);
  } catch {
    return 0;
  }
}

/** The file at a place, or the regular files directly in it. */
async function filesAt(place: string): Promise<string[]> {
  try {
    const stats = await stat(place);
    if (stats.isFile() && stats.size > 0) return [await realpath(place)];
    if (!stats.isDirectory()) return [];
  } catch {
    return [];
  }
  const files: string[] = [];
  for (const name of (await namesIn(place)).toSorted()) {
    const path = join(await realpath(place), name);
    try {
      const stats = await lstat(path);
      if (stats.isFile() && stats.size > 0) files.push(path);
    } catch {
      // Gone since it was listed.
    }
  }
  return files;
}

async function isReadable(path: string): Promise<boolean> {
  try {
    await (await open(path, flags.O_RDONLY | flags.O_NONBLOCK)).close();
    return true;
  } catch {
    return false;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}
