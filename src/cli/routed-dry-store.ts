/** The store of dry runs, where pools may be active in a daemon. */
import {
  type ActivePool,
  activePools,
  findActive,
  nameTaken,
  pathsOf,
  refuseActive,
  refuseLooker,
  refuseOpen,
} from './active-pools.ts';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import { type Daemons, manageable } from './daemons.ts';
import type { Store } from './store.ts';

/**
 * What would be asked of a daemon is tried on what the media of its pool hold at
 * the moment.
 * @param direct writes nothing
 * @param unclaimed the same of devices that others have
 */
export function routedDryStore(
  direct: Store,
  unclaimed: () => Promise<Store>,
  daemons: Daemons,
): Store {
  const active = async (): Promise<ActivePool[]> => activePools(await daemons.running());
  const find = async (target: string): Promise<ActivePool | undefined> =>
    findActive(target, await active(), direct);
  const open: Store['open'] = async (target, options = {}) => {
    const pool = await find(target);
    if (pool === undefined) return direct.open(target, options);
    const { capacityPath, stagingPath } = pathsOf(pool.info);
    const opening = (await unclaimed()).open(capacityPath, { ...options, stagingPath });
    return opening.catch((error: unknown) => {
      if (!isMpoolError(error, 'ERR_MPOOL_ACCESS')) throw error;
      const why = `${capacityPath}: a dry run of an active pool reads its device`;
      throw new MpoolError('ERR_MPOOL_ACCESS', why, { path: capacityPath });
    });
  };
  return {
    ...direct,
    active,

    open,
    manage: open,

    async upgrade(target, options) {
      refuseActive(await find(target), 'upgraded');
      return direct.upgrade(target, options);
    },

    async repair(target, options) {
      refuseActive(await find(target), 'repaired');
      return direct.repair(target, options);
    },

    async create(options) {
      const [daemon] = await manageable(await daemons.running());
      daemon?.checkName(options.name);
      const taken = (await active()).find(({ info }) => info.name === options.name);
      if (taken !== undefined) throw nameTaken(options.name, pathsOf(taken.info).capacityPath);
      return direct.create(options);
    },

    async destroy(target, options) {
      const pool = await find(target);
      if (pool === undefined) return direct.destroy(target, options);
      await refuseLooker(pool);
      refuseOpen(pool);
      return (await unclaimed()).destroy(pathsOf(pool.info).capacityPath, options);
    },

    async rename(target, newName, options) {
      const taken = (await active()).find(({ info }) => info.name === newName);
      if (taken !== undefined) throw nameTaken(newName, pathsOf(taken.info).capacityPath);
      const pool = await find(target);
      if (pool === undefined) return direct.rename(target, newName, options);
      await refuseLooker(pool);
      pool.daemon.checkName(newName);
      refuseOpen(pool);
      return (await unclaimed()).rename(pathsOf(pool.info).capacityPath, newName, options);
    },
  };
}
