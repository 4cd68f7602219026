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
import { SystemHost } from './device/system-host.ts';
import { createPool } from './pool/create.ts';
import { destroyPool, refuseTakenName, renamePool } from './pool/administer.ts';
import type { CreateOptions, FoundPool, OpenOptions, Pool } from './pool/api.ts';
import { checkPoolAt, type CheckPoolOptions, dumpPoolAt } from './pool/inspect.ts';
import type { CheckReport } from './pool/check.ts';
import type { DumpEntry } from './pool/dump.ts';
import type { Environment } from './pool/environment.ts';
import { findPools, type SearchPlaces } from './pool/find-pools.ts';
import { openPool } from './pool/open.ts';

export { errorTable, isMpoolError, MpoolError } from './base/errors.ts';
export type { ErrorCode } from './base/errors.ts';
export { diagnose } from './device/doctor.ts';
export { parseObjectId, printObjectId } from './format/object-id.ts';
export type * from './pool/api.ts';
export type { CheckReport } from './pool/check.ts';
export type { DumpEntry } from './pool/dump.ts';

const environment: Environment = { host: new SystemHost(), clock: systemClock, prng: systemPrng };

/** Where pools are looked for when they are named by name or UUID. */
export interface SearchOptions {
  /** Files and directories; by default those of $MPOOL_PATH, or else the current directory. */
  searchPlaces?: readonly string[] | undefined;
  /** Block devices of the machine too; true by default. */
  blockDevices?: boolean | undefined;
}

/**
 * Makes a pool and opens it. All that can be refused is refused before the first write; after an error
 * there is no pool, and files made for it are gone.
 * @throws ERR_MPOOL_NOT_BLANK naming what a device holds, unless forced; ERR_MPOOL_EXISTS when a pool
 *   of that name is found; ERR_MPOOL_BUSY; RangeError
 */
export async function create(options: CreateOptions): Promise<Pool> {
  const { capacity, staging: stagingOptions } = options;
  const paths = [capacity?.path, stagingOptions?.path].filter((path) => path !== undefined);
  await refuseTakenName(environment, options.name, places({}), paths);
  await createPool(environment, options);
  const { engine, signal, staging } = options;
  return open(options.capacity.path, { engine, signal, stagingPath: staging?.path });
}

/**
 * Opens a pool by name, UUID, or the path of one of its devices.
 * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_BUSY naming the holder, ERR_MPOOL_VERSION, ERR_MPOOL_CORRUPT,
 *   ERR_MPOOL_NO_DEVICE, ERR_MPOOL_DEVICE_CHANGED
 */
export function open(target: string, options: OpenOptions = {}): Promise<Pool> {
  return openPool(environment, target, options, places(options));
}

/** Finds pools without claiming or changing anything. */
export function scan(
  options: { places?: readonly string[] | undefined; blockDevices?: boolean | undefined } = {},
): Promise<FoundPool[]> {
  const { blockDevices } = options;
  return findPools(environment.host, places({ searchPlaces: options.places, blockDevices }));
}

/** Erases a pool's superblocks: from then on there is no pool. Files stay. @throws ERR_MPOOL_BUSY */
export function destroy(
  target: string,
  options: SearchOptions & { force?: boolean | undefined } = {},
): Promise<void> {
  return destroyPool(environment, target, places(options), options);
}

/** Renames a pool that is open nowhere, durably, all or nothing. @throws ERR_MPOOL_EXISTS, ERR_MPOOL_BUSY */
export function rename(
  target: string,
  newName: string,
  options: SearchOptions = {},
): Promise<void> {
  return renamePool(environment, target, newName, places(options));
}

/** Verifies what is on media, read-only, without believing the store's own code. @throws ERR_MPOOL_BUSY */
export function check(
  target: string,
  options: SearchOptions & CheckPoolOptions = {},
): Promise<CheckReport> {
  return checkPoolAt(environment.host, target, places(options), options);
}

/** The structures on media, in order, read-only. */
export function dump(target: string, options: SearchOptions = {}): AsyncIterable<DumpEntry> {
  return dumpPoolAt(environment.host, target, places(options));
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

function places(options: SearchOptions): SearchPlaces {
  const named = process.env['MPOOL_PATH'];
  const byDefault = named ? named.split(delimiter).filter((place) => place !== '') : ['.'];
  return {
    places: options.searchPlaces ?? byDefault,
    blockDevices: options.blockDevices ?? true,
  };
}
