import { isMpoolError, MpoolError } from '../base/errors.ts';
import { activate } from './activate.ts';
import type { Environment } from './environment.ts';
import { findPools, locatePool, type SearchPlaces } from './find-pools.ts';
import { checkPoolName } from './parameters.ts';
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

/** @throws ERR_MPOOL_EXISTS */
export async function refuseTakenName(
  environment: Environment,
  name: string,
  where: SearchPlaces,
): Promise<void> {
  const taken = (await findPools(environment.host, where)).find((pool) => pool.name === name);
  if (taken === undefined) return;
  const path = taken.devices[0]?.path;
  throw new MpoolError('ERR_MPOOL_EXISTS', `pool '${name}' on ${path}`);
}

/**
 * Erases the superblocks of a pool: from then on there is none. Files stay. It must not be open anywhere.
 * @param options.force also a pool that cannot be activated, or whose staging device is missing
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
    const { newest, problem, detail } = await readSuperblocks(capacity);
    if (
      newest === undefined &&
      (options.force !== true || problem === 'blank' || problem === 'none')
    ) {
      const code =
        problem === 'blank' || problem === 'none' ? 'ERR_MPOOL_NOT_FOUND' : 'ERR_MPOOL_CORRUPT';
      throw new MpoolError(code, `${capacity.path} holds no pool that is whole: ${detail}`);
    }
    const stagingPath = paths.stagingPaths[0] ?? newest?.stagingPath;
    const staging =
      newest?.staging !== undefined && stagingPath
        ? await host.openDevice(stagingPath, { access: 'write' }).catch((error: unknown) => {
            const missing = isMpoolError(error, 'ERR_MPOOL_NOT_FOUND');
            if (options.force === true && missing) return undefined;
            throw error;
          })
        : undefined;
    try {
      // The capacity device first: a staging device alone is no pool.
      await eraseSuperblocks(capacity);
      if (staging !== undefined) {
        const own = (await readSuperblocks(staging)).newest;
        const ours = Buffer.compare(own?.poolUuid ?? EMPTY, newest!.poolUuid) === 0;
        if (ours) await eraseSuperblocks(staging);
      }
    } finally {
      await staging?.close();
    }
  } finally {
    await capacity.close();
  }
}

const EMPTY = new Uint8Array(0);
