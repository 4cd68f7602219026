import { MpoolError } from '../base/errors.ts';
import type { Device } from '../device/device.ts';
import type { Host } from '../device/host.ts';
import { permittedAccess, unknownFeaturesText } from '../format/features.ts';
import type { Superblock } from '../format/superblock.ts';
import { activate } from './activate.ts';
import type { Environment } from './environment.ts';
import {
  findPools,
  findStaging,
  locatePool,
  type PoolPaths,
  type SearchPlaces,
} from './find-pools.ts';
import { checkPoolName } from './parameters.ts';
import { wipeEnds } from './prepare-device.ts';
import { eraseSuperblocks, readSuperblocks } from './superblocks.ts';

/**
 * Gives a pool another name, durably, all or nothing. It must not be open anywhere.
 * @throws ERR_MPOOL_BUSY; ERR_MPOOL_EXISTS when a pool of that name is found
 */
export async function renamePool(
  environment: Environment,
  target: string,
  newName: string,
  where: SearchPlaces,
): Promise<void> {
  checkPoolName(newName);
  const paths = await locatePool(environment.host, target, where);
  await refuseTakenName(environment, newName, where);
  const store = await activate(environment, {
    ...paths,
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: 0,
  });
  try {
    await store.updateSuperblock({ name: newName });
  } finally {
    await store.shutdown(true);
  }
}

/**
 * @param except paths of devices that are about to be overwritten
 * @throws ERR_MPOOL_EXISTS
 */
export async function refuseTakenName(
  environment: Environment,
  name: string,
  where: SearchPlaces,
  except: readonly string[] = [],
): Promise<void> {
  const { host } = environment;
  const resolve = async (path: string): Promise<string> => (await host.stat(path))?.path ?? path;
  const overwritten = new Set(await Promise.all(except.map(resolve)));
  const named = (await findPools(host, where)).filter((pool) => pool.name === name);
  const taken = await Promise.all(
    named.flatMap(({ devices }) => devices.map((d) => resolve(d.path))),
  );
  const path = taken.find((each) => !overwritten.has(each));
  if (path === undefined) return;
  throw new MpoolError('ERR_MPOOL_EXISTS', `pool '${name}' on ${path}`);
}

/**
 * Erases the superblocks of a pool: from then on there is none. Files stay. It must not be open anywhere.
 * @param options.force also a pool that cannot be activated, that a newer version made, or whose staging
 *   device is missing
 */
export async function destroyPool(
  environment: Environment,
  target: string,
  where: SearchPlaces,
  options: { force?: boolean | undefined },
): Promise<void> {
  const { host } = environment;
  const paths = await locatePool(host, target, where);
  const capacity = await host.openDevice(paths.capacityPath, { access: 'write' });
  try {
    const superblock = await superblockToErase(capacity, options.force === true);
    const staging = await openStagingOf(host, superblock, paths, options.force === true);
    try {
      // The capacity device first: a staging device alone is no pool.
      await eraseSuperblocks(capacity);
      if (staging !== undefined) await eraseSuperblocks(staging);
      // What is left of its logs would only make the next create() ask for force.
      await wipeEnds(capacity);
      if (staging !== undefined) await wipeEnds(staging);
    } finally {
      await staging?.close();
    }
  } finally {
    await capacity.close();
  }
}

/** @returns undefined when there was one that is damaged or unknown here, and force says to erase it */
async function superblockToErase(device: Device, force: boolean): Promise<Superblock | undefined> {
  const { newest, problem, detail } = await readSuperblocks(device);
  const unknown = newest !== undefined && permittedAccess(newest.features) !== 'read-write';
  if (unknown && !force) {
    const why = `${device.path}: ${unknownFeaturesText(newest.features)}, or force to destroy it`;
    throw new MpoolError('ERR_MPOOL_VERSION', why, { path: device.path });
  }
  if (newest !== undefined) return newest;
  const blank = problem === 'blank' || problem === 'none';
  if (force && !blank) return undefined;
  const code = blank
    ? 'ERR_MPOOL_NOT_FOUND'
    : problem === 'version'
      ? 'ERR_MPOOL_VERSION'
      : 'ERR_MPOOL_CORRUPT';
  throw new MpoolError(code, `${device.path} holds no pool that is whole: ${detail}`);
}

/** Claims the staging device that the pool names: no other, whatever is at its path. */
async function openStagingOf(
  host: Host,
  superblock: Superblock | undefined,
  paths: PoolPaths,
  force: boolean,
): Promise<Device | undefined> {
  if (superblock?.staging === undefined) return undefined;
  const candidates = new Set([...paths.stagingPaths, superblock.stagingPath]);
  const path = await findStaging(host, superblock, candidates);
  if (path !== undefined) return host.openDevice(path, { access: 'write' });
  if (force) return undefined;
  throw new MpoolError(
    'ERR_MPOOL_NO_DEVICE',
    `the staging device of pool ${superblock.name} is not at ${[...candidates].join(', ')}: ` +
      'force to destroy the pool without it',
  );
}
