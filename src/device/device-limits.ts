import { read } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { KIB, MIB, roundDown } from '../base/units.ts';
import { binding } from '../native/binding.ts';
import { ioError } from './io-error.ts';
import { pageBuffers } from './page-buffers.ts';

/** What I/O on an open descriptor has to keep to. */
export interface DeviceLimits {
  readonly sizeBytes: number;
  /** 512 or 4096: what offsets, lengths and addresses are multiples of. */
  readonly sectorBytes: number;
  readonly optimalWriteBytes: number;
  /** False when direct I/O cannot be done with sectors of at most 4096 bytes. */
  readonly direct: boolean;
  /**
   * Whoever submits I/O to it may have to wait for other I/O. io_uring takes a FUSE file, since it can be
   * polled, for one where that is not so; but writes wait for the inode's lock, which a flush holds until
   * it is answered.
   */
  readonly mayBlock: boolean;
  /** The device itself refuses writes. */
  readonly readOnly: boolean;
}

/** FUSE_SUPER_MAGIC of linux/magic.h: also virtiofs. */
const FUSE_MAGIC = 0x65735546;
const OPTIMAL_BYTES_MIN = 4 * KIB;
const OPTIMAL_BYTES_MAX = 128 * KIB;
const SECTOR_BYTES_MIN = 512;
const SECTOR_BYTES_MAX = 4096;

/** @param direct whether the descriptor was opened with O_DIRECT */
export async function deviceLimits(
  fd: number,
  path: string,
  stats: Stats,
  direct: boolean,
): Promise<DeviceLimits> {
  return stats.isBlockDevice()
    ? blockLimits(fd, path, direct)
    : await fileLimits(fd, stats, direct);
}

function blockLimits(fd: number, path: string, direct: boolean): DeviceLimits {
  const out = new Float64Array(5);
  const result = binding.blockLimits(fd, out);
  if (result < 0) throw ioError(result, 'ioctl', path);
  const [sizeBytes = 0, logical = 0, , optimal = 0, readOnly = 0] = out;
  const possible = direct && logical <= SECTOR_BYTES_MAX;
  return {
    sizeBytes,
    sectorBytes: possible ? sectorFor(logical) : SECTOR_BYTES_MIN,
    optimalWriteBytes: optimalFor(optimal),
    direct: possible,
    mayBlock: false,
    readOnly: readOnly !== 0,
  };
}

async function fileLimits(fd: number, stats: Stats, direct: boolean): Promise<DeviceLimits> {
  const sector = direct ? await fileSector(fd, stats.size) : 0;
  return {
    sizeBytes: stats.size,
    sectorBytes: sector === 0 ? SECTOR_BYTES_MIN : sector,
    optimalWriteBytes: OPTIMAL_BYTES_MIN,
    direct: sector !== 0,
    mayBlock: (await statfs(`/proc/self/fd/${fd}`)).type === FUSE_MAGIC,
    readOnly: false,
  };
}

/** What direct I/O on a file needs; 0 when it cannot be done. */
async function fileSector(fd: number, sizeBytes: number): Promise<number> {
  const out = new Float64Array(2);
  const known = binding.directLimits(fd, out);
  if (known === 1) {
    const needed = Math.max(out[0]!, out[1]!);
    return out[1] === 0 || needed > SECTOR_BYTES_MAX ? 0 : sectorFor(needed);
  }
  // The kernel does not say (before 6.1, and some file systems): try.
  for (const sector of [SECTOR_BYTES_MIN, SECTOR_BYTES_MAX]) {
    if (await canReadDirect(fd, sector, sizeBytes)) return sector;
  }
  return 0;
}

/** Tries a read whose offset, length and address are multiples of `sector` and of nothing larger. */
async function canReadDirect(fd: number, sector: number, sizeBytes: number): Promise<boolean> {
  const buffer = pageBuffers.allocate(2 * SECTOR_BYTES_MAX);
  const offsetBytes = sizeBytes >= 2 * sector ? sector : 0;
  try {
    return await new Promise((resolve) => {
      read(fd, buffer, sector, sector, offsetBytes, (error) => resolve(error === null));
    });
  } finally {
    pageBuffers.release(buffer);
  }
}

function sectorFor(needed: number): number {
  return needed <= SECTOR_BYTES_MIN ? SECTOR_BYTES_MIN : SECTOR_BYTES_MAX;
}

function optimalFor(reported: number): number {
  if (reported === 0 || reported > 64 * MIB) return OPTIMAL_BYTES_MAX;
  const whole = roundDown(reported, OPTIMAL_BYTES_MIN);
  return Math.min(Math.max(whole, OPTIMAL_BYTES_MIN), OPTIMAL_BYTES_MAX);
}
