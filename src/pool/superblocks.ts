import { equalBytes } from '../base/bytes.ts';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, roundDown } from '../base/units.ts';
import { flushAsync, readAsync, writeAsync, type Device } from '../device/device.ts';
import type { Host } from '../device/host.ts';
import { HEAD_RESERVED_PAGES, TAIL_RESERVED_PAGES } from '../format/device-descriptor.ts';
import {
  decodeSuperblock,
  encodeSuperblock,
  ownDescriptor,
  SUPERBLOCK_COPY_COUNT,
  superblockOffsetBytes,
  type Superblock,
  type SuperblockDecoded,
  type SuperblockProblem,
  SUPERBLOCK_GENERATION_MAX,
} from '../format/superblock.ts';

/**
 * The four superblock copies of a device (docs/format.md §2).
 *
 * Invariants
 * 1. An update never has all copies under way: 1 and 3 are durable before 0 and 2 are touched. So
 *    at every moment a whole copy of the old or of the new superblock is on media.
 * 2. The newest whole copy counts, so the first whole new copy decides the update, and every reader
 *    after that sees it, whichever other copies a crash left behind.
 * 3. A copy that cannot be read, or is of a format unknown here, never makes an older one count
 *    silently: see `problem`.
 */

/** What was found where a copy should be. */
export interface SuperblockCopy {
  copy: number;
  offsetBytes: number;
  status: 'valid' | 'unreadable' | SuperblockProblem;
  /** For people, when it is not valid. */
  detail?: string | undefined;
  superblock?: Superblock | undefined;
  /** What the first 62 bytes say, when their checksum is right though the copy is not valid. */
  identity?: Extract<SuperblockDecoded, { ok: false }>['identity'] | undefined;
  /** The device's answer, when unreadable. */
  error?: MpoolError | undefined;
}

/**
 * Why there is no superblock to go on with: the device has none (blank: all places are zeros; none:
 * they hold something else; damaged: there was one), it is of a format unknown here, or the device
 * is smaller than it says.
 */
type SuperblocksProblem = 'blank' | 'none' | 'damaged' | 'version' | 'size';

export interface SuperblocksFound {
  /** Four by copy number; copies 2 and 3 twice when copies 0 and 1 disagree about the size. */
  copies: SuperblockCopy[];
  /** To go on with, unless there is a `problem`; with 'size' it only says what the device was. */
  newest?: Superblock | undefined;
  problem?: SuperblocksProblem | undefined;
  detail?: string | undefined;
}

/** Reads one page; rejects with MpoolError. The bytes are used before the next call. */
type ReadPage = (offsetBytes: number) => Promise<Uint8Array>;

/** Reads and judges all copies of a claimed device. Never throws for what is on media. */
export async function readSuperblocks(device: Device): Promise<SuperblocksFound> {
  const buffer = device.allocate(PAGE_BYTES);
  try {
    return await readCopies(device.sizeBytes, async (offsetBytes) => {
      await readAsync(device, offsetBytes, buffer);
      return buffer;
    });
  } finally {
    device.release(buffer);
  }
}

/**
 * The same without claiming the device, for scanning; what an active pool is writing at the moment
 * may look torn in one copy, never in all.
 * @returns undefined when nothing is at the path, or what is there cannot be a device
 */
export async function peekSuperblock(
  host: Host,
  path: string,
): Promise<SuperblocksFound | undefined> {
  const info = await host.stat(path);
  if (info === undefined || info.kind === 'other') return undefined;
  return readCopies(info.sizeBytes, (offsetBytes) => host.peek(path, offsetBytes, PAGE_BYTES));
}

/**
 * Of the superblock that comes after this one.
 * @throws ERR_MPOOL_NO_SPACE after the last: an older one would count
 */
export function nextGeneration({ name, generation }: Superblock): number {
  if (generation < SUPERBLOCK_GENERATION_MAX) return generation + 1;
  const detail = `pool ${name} can be changed no more: generation ${generation} is its last`;
  throw new MpoolError('ERR_MPOOL_NO_SPACE', detail);
}

/**
 * The superblock that counts: the highest generation among the valid copies; at one generation the
 * lowest copy number.
 * @returns the reason instead, when none may be used
 */
function chooseSuperblock(
  copies: readonly SuperblockCopy[],
): Pick<SuperblocksFound, 'newest' | 'problem' | 'detail'> {
  let newest: Superblock | undefined;
  let unknown: SuperblockCopy | undefined;
  for (const copy of copies) {
    const { superblock } = copy;
    if (superblock !== undefined && superblock.generation > (newest?.generation ?? 0)) {
      newest = superblock;
    }
    const generation = copy.identity?.generation ?? 0;
    if (copy.status === 'version' && generation >= (unknown?.identity?.generation ?? 0)) {
      unknown = copy;
    }
  }
  // An older program must not go back behind an update that a newer one decided.
  if (unknown !== undefined && (unknown.identity?.generation ?? 0) >= (newest?.generation ?? 0)) {
    return { problem: 'version', detail: unknown.detail };
  }
  if (newest !== undefined) return { newest };
  const has = (...statuses: SuperblockCopy['status'][]): boolean =>
    copies.some((copy) => statuses.includes(copy.status));
  const detail = copies.map((copy) => `copy ${copy.copy}: ${copy.detail}`).join('; ');
  // What is beyond the end of a small file says nothing of what the file is.
  const failed = copies.some((copy) => copy.error !== undefined);
  if (failed || has('checksum', 'position', 'content')) return { problem: 'damaged', detail };
  return { problem: has('magic') ? 'none' : 'blank', detail };
}

/**
 * Replaces the superblock of a device, durably, such that a crash leaves the old one or the new
 * one. Copies 1 and 3, flush, copies 0 and 2, flush. The new one counts as soon as one copy is
 * whole.
 * @param superblock with a generation above the one on media, and `deviceUuid` of this device
 * @param options.first also zeroes the rest of the reserved pages: the device held something else
 */
export async function writeSuperblocks(
  device: Device,
  superblock: Superblock,
  options: { first?: boolean | undefined } = {},
): Promise<void> {
  if (options.first === true) await zeroReservedPages(device, superblock);
  await writeCopies(device, superblock, [1, 3]);
  await writeCopies(device, superblock, [0, 2]);
}

/**
 * Brings the copies that differ to the chosen superblock, durably; writes nothing when all are
 * right.
 * @returns the copy numbers written
 */
export async function repairSuperblocks(device: Device, chosen: Superblock): Promise<number[]> {
  const wrong = await copiesUnlike(device, chosen);
  if (wrong.length === 0) return wrong;
  // The copy that was chosen may itself be in a volatile cache, left there by a process that died:
  // it has to be durable before an older whole copy is overwritten.
  await flushAsync(device);
  await writeCopies(
    device,
    chosen,
    wrong.filter((copy) => copy === 1 || copy === 3),
  );
  await writeCopies(
    device,
    chosen,
    wrong.filter((copy) => copy === 0 || copy === 2),
  );
  return wrong;
}

/**
 * Makes a device no part of any pool, durably: all other copies first, then the first sector of
 * copy 0, whose one write decides. Until then copy 0 is whole: the pool is there for us and for
 * libblkid, and the next activation repairs the others. After it there is no copy that could count,
 * and no tool sees half of one. (Copy 0 first would leave a pool that we open but libblkid calls
 * blank.) Of a pool's devices the capacity device goes first: without it there is no pool, and a
 * staging device alone is never taken for one.
 */
export async function eraseSuperblocks(device: Device): Promise<void> {
  const { copies, newest } = await readSuperblocks(device);
  const offsets = copies
    .filter(({ copy, offsetBytes, status }) => {
      if (offsetBytes === 0 || offsetBytes + PAGE_BYTES > device.sizeBytes) return false;
      // By the device's size alone the tail may not be the pool's: only what says so is erased.
      return newest !== undefined || copy < 2 || (status !== 'blank' && status !== 'magic');
    })
    .map(({ offsetBytes }) => offsetBytes);
  const zeros = device.allocate(PAGE_BYTES);
  try {
    zeros.fill(0);
    await allSettled(offsets.map((offset) => writeAsync(device, offset, zeros, 'volatile')));
    await flushAsync(device);
    await writeAsync(device, 0, zeros.subarray(0, device.sectorBytes), 'volatile');
    await flushAsync(device);
    await writeAsync(device, 0, zeros, 'volatile');
    await flushAsync(device);
  } finally {
    device.release(zeros);
  }
}

/** Copies 0 and 1 have fixed places; 2 and 3 are where the valid ones say the pool's part ends. */
async function readCopies(deviceBytes: number, read: ReadPage): Promise<SuperblocksFound> {
  const copies = [
    await readCopy(0, superblockOffsetBytes(0, deviceBytes), deviceBytes, read),
    await readCopy(1, superblockOffsetBytes(1, deviceBytes), deviceBytes, read),
  ];
  // Two sizes while an interrupted growth is undecided or unrepaired.
  const sizes = new Set<number>();
  for (const { superblock } of copies) {
    if (superblock !== undefined) sizes.add(ownDescriptor(superblock).sizeBytes);
  }
  if (sizes.size === 0) sizes.add(roundDown(deviceBytes, PAGE_BYTES));
  for (const sizeBytes of sizes) {
    for (const copy of [2, 3]) {
      const offsetBytes = superblockOffsetBytes(copy, sizeBytes);
      // oxlint-disable-next-line no-await-in-loop -- a handful of reads, one buffer
      copies.push(await readCopy(copy, offsetBytes, deviceBytes, read));
    }
  }
  const chosen = chooseSuperblock(copies);
  if (chosen.newest !== undefined) {
    const { sizeBytes } = ownDescriptor(chosen.newest);
    if (sizeBytes > deviceBytes) {
      const detail = `the pool has ${sizeBytes} bytes of it, the device ${deviceBytes}`;
      return { copies, newest: chosen.newest, problem: 'size', detail };
    }
  }
  return { copies, ...chosen };
}

async function readCopy(
  copy: number,
  offsetBytes: number,
  deviceBytes: number,
  read: ReadPage,
): Promise<SuperblockCopy> {
  if (offsetBytes < 0 || offsetBytes + PAGE_BYTES > deviceBytes) {
    return { copy, offsetBytes, status: 'unreadable', detail: 'beyond the end of the device' };
  }
  let page: Uint8Array;
  try {
    page = await read(offsetBytes);
  } catch (error) {
    if (!isMpoolError(error)) throw error;
    return { copy, offsetBytes, status: 'unreadable', detail: error.message, error };
  }
  if (page.length < PAGE_BYTES) {
    return { copy, offsetBytes, status: 'unreadable', detail: 'the file ends before' };
  }
  const decoded = decodeSuperblock(page, offsetBytes);
  if (!decoded.ok) {
    const { problem, detail, identity } = decoded;
    return { copy, offsetBytes, status: problem, detail, identity };
  }
  if (decoded.copy !== copy) {
    return { copy, offsetBytes, status: 'position', detail: `it is copy ${decoded.copy}` };
  }
  return { copy, offsetBytes, status: 'valid', superblock: decoded.superblock };
}

/** Numbers of the copies that cannot be read, or are not of this superblock. */
export async function copiesUnlike(device: Device, chosen: Superblock): Promise<number[]> {
  const { sizeBytes } = ownDescriptor(chosen);
  const buffer = device.allocate(PAGE_BYTES);
  const wrong: number[] = [];
  try {
    for (let copy = 0; copy < SUPERBLOCK_COPY_COUNT; copy++) {
      try {
        // oxlint-disable-next-line no-await-in-loop -- four reads, one buffer
        await readAsync(device, superblockOffsetBytes(copy, sizeBytes), buffer);
        if (!equalBytes(buffer, encodeSuperblock(chosen, copy))) wrong.push(copy);
      } catch (error) {
        // A sector that cannot be read is often healed by writing it.
        if (!isMpoolError(error)) throw error;
        wrong.push(copy);
      }
    }
    return wrong;
  } finally {
    device.release(buffer);
  }
}

/** Writes some copies and makes them durable. */
async function writeCopies(device: Device, superblock: Superblock, which: number[]): Promise<void> {
  if (which.length === 0) return;
  const { sizeBytes } = ownDescriptor(superblock);
  const buffer = device.allocate(which.length * PAGE_BYTES);
  try {
    const writes = which.map((copy, i) => {
      const page = buffer.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      page.set(encodeSuperblock(superblock, copy));
      return writeAsync(device, superblockOffsetBytes(copy, sizeBytes), page, 'volatile');
    });
    await allSettled(writes);
    await flushAsync(device);
  } finally {
    device.release(buffer);
  }
}

async function zeroReservedPages(device: Device, superblock: Superblock): Promise<void> {
  const { sizeBytes } = ownDescriptor(superblock);
  const headBytes = HEAD_RESERVED_PAGES * PAGE_BYTES;
  const tailBytes = TAIL_RESERVED_PAGES * PAGE_BYTES;
  const zeros = device.allocate(headBytes);
  try {
    zeros.fill(0);
    const tail = zeros.subarray(0, tailBytes);
    await allSettled([
      writeAsync(device, 0, zeros, 'volatile'),
      writeAsync(device, sizeBytes - tailBytes, tail, 'volatile'),
    ]);
    await flushAsync(device);
  } finally {
    device.release(zeros);
  }
}

/**
 * As Promise.all(), but no write is under way any more when it rejects: the buffer is lent to it.
 */
async function allSettled(writes: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(writes);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
