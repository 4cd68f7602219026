/**
 * mpool: a transactional object store for immutable objects, on block devices and plain files.
 *
 *   const pool = await create({ name: 'mp1', capacity: { path: 'mp1.mpool', sizeBytes: 2 ** 30 } });
 *   const mblock = await pool.mblocks.alloc();
 *   await mblock.write(bytes);
 *   await mblock.commit();
 */
import { delimiter } from 'node:path';
import { systemClock } from './base/clock.ts';
import { systemPrng } from './base/prng.ts';
import { pageBuffers } from './device/page-buffers.ts';
import { OverlayHost } from './device/overlay-host.ts';
import { refuseCreate } from './device/refuse-create.ts';
import { SystemHost } from './device/system-host.ts';
import { type Library, libraryOn } from './pool/library.ts';

export { errorTable, isMpoolError, MpoolError } from './base/errors.ts';
export type { ErrorCode } from './base/errors.ts';
export { diagnose } from './device/doctor.ts';
export { parseObjectId, printObjectId } from './format/object-id.ts';
export type * from './pool/api.ts';
export type { CheckReport } from './pool/check.ts';
export type { DumpEntry } from './pool/dump.ts';
export type { Library, SearchOptions } from './pool/library.ts';

const machine = { host: new SystemHost(), clock: systemClock, prng: systemPrng };
const library = libraryOn(machine, placesOfEnvironment);

function placesOfEnvironment(): readonly string[] {
  const named = process.env['MPOOL_PATH'];
  return named ? named.split(delimiter).filter((place) => place !== '') : ['.'];
}

/** See `Library` for what each does and throws. */
export const { create, open, scan, destroy, rename, check, dump } = library;

/**
 * The library for a dry run: what it does is done to media that are claimed and read as they are, but
 * written only in memory, and forgotten with it. So it refuses what `create` and the others would
 * refuse, and tells what would come of the rest; what only a write can tell (a device that fails, a
 * file system that takes no file of that size), it does not see.
 */
export function dryRun(): Library {
  return libraryOn(
    { ...machine, host: new OverlayHost(machine.host, refuseCreate) },
    placesOfEnvironment,
  );
}

/**
 * Memory that mblock reads and writes of whole pages use without a copy. Its content is unspecified.
 * It stays taken until releaseBuffer(): the collector does not give it back.
 */
export function allocateBuffer(lengthBytes: number): Uint8Array {
  return pageBuffers.allocate(lengthBytes);
}

/** Gives memory of allocateBuffer() back: nothing may look at it any more. */
export function releaseBuffer(buffer: Uint8Array): void {
  pageBuffers.release(buffer);
}
