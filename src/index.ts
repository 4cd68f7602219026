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
import { announceRecall, listenForRecalls } from './device/share-recall.ts';
import { attachMapping } from './device/system-mapping.ts';
import * as threadShare from './device/thread-share.ts';
import { SystemHost } from './device/system-host.ts';
import { attachMap as attachMapOn } from './mcache/attached-map.ts';
import { mcacheOn } from './mcache/mcache.ts';
import type { MblockMap, SharedMap } from './pool/api.ts';
import { type Library, libraryOn } from './pool/library.ts';

export { errorTable, isMpoolError, MpoolError } from './base/errors.ts';
export type { ErrorCode } from './base/errors.ts';
export { diagnose } from './device/doctor.ts';
export { parseObjectId, printObjectId } from './format/object-id.ts';
export type * from './pool/api.ts';
export type { CheckFinding, CheckReport } from './pool/check-findings.ts';
export type { DumpEntry } from './pool/dump.ts';
export type { RepairOptions, RepairReport, RepairStep } from './pool/repair.ts';
export type { Library, SearchOptions } from './pool/library.ts';
export type { UpgradeReport } from './pool/upgrade.ts';

const host = new SystemHost();
const mcache = mcacheOn({
  clock: systemClock,
  gauge: host.memory,
  shares: { ...threadShare, announceRecall },
});

const machine = { host, clock: systemClock, prng: systemPrng, mcache };
const library = libraryOn(machine, placesOfEnvironment);

function placesOfEnvironment(): readonly string[] {
  const named = process.env['MPOOL_PATH'];
  return named ? named.split(delimiter).filter((place) => place !== '') : ['.'];
}

/** See `Library` for what each does and throws. */
export const { create, open, scan, destroy, rename, upgrade, check, scrub, repair, dump, reaper } =
  library;

/**
 * The library for a dry run: what it does is done to media that are claimed and read as they are, but
 * written only in memory, and forgotten with it. So it refuses what `create` and the others would
 * refuse, and tells what would come of the rest; what only a write can tell (a device that fails, a
 * file system that takes no file of that size), it does not see. It makes no maps: ERR_MPOOL_PERMISSION.
 *
 * @param options.claim false: pools that other processes have open can be tried too, as they are on media
 *   at the moment; what comes of it is only likely then
 */
export function dryRun(options: { claim?: boolean | undefined } = {}): Library {
  const overlay = new OverlayHost(host, refuseCreate, { claims: options.claim !== false });
  return libraryOn({ ...machine, host: overlay }, placesOfEnvironment);
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

/**
 * A map of another thread of this process, from what its share() gave: the same memory, and the same
 * safety. It ends with its own unmap() or this thread, or when its owner unmaps, who waits for that.
 * @throws ERR_MPOOL_CLOSED when the owner has unmapped it
 */
export function attachMap(shared: SharedMap): MblockMap {
  const environment = { attachMapping, listenForRecalls, ...threadShare };
  return attachMapOn(environment, shared);
}
