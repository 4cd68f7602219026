/** The store of dry runs, where pools may be active in a daemon. */
import {
  type ActivePool,
  activePools,
  findActive,
  nameTaken,
  pathsOf,
  refuseOpen,
} from './active-pools.ts';
import type { Daemons } from './daemons.ts';
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
  return {
    ...direct,
    active,

    async open(target, options = {}) {
      const pool = await find(target);
      if (pool === undefined) return direct.open(target, options);
      const { capacityPath, stagingPath } = pathsOf(pool.info);
      return (await unclaimed()).open(capacityPath, { ...options, stagingPath });
    },

    async destroy(target, options) {
      const pool = await find(target);
      if (pool === undefined) return direct.destroy(target, options);
      refuseOpen(pool);
      return (await unclaimed()).destroy(pathsOf(pool.info).capacityPath, options);
    },

    async rename(target, newName, options) {
      const taken = (await active()).find(({ info }) => info.name === newName);
      if (taken !== undefined) throw nameTaken(newName, pathsOf(taken.info).capacityPath);
      const pool = await find(target);
      if (pool === undefined) return direct.rename(target, newName, options);
      refuseOpen(pool);
      return (await unclaimed()).rename(pathsOf(pool.info).capacityPath, newName, options);
    },
  };
}
