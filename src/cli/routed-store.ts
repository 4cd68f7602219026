/** The store through the daemon for pools that are active in one, and directly for all others. */
import { isMpoolError } from '../base/errors.ts';
import type { Pool } from '../pool/api.ts';
import {
  type ActivePool,
  activePools,
  findActive,
  nameTaken,
  pathsOf,
  refuseActive,
  refuseLooker,
} from './active-pools.ts';
import { type Daemons, manageable } from './daemons.ts';
import { poolOfDaemon } from './managed-pool.ts';
import type { Store } from './store.ts';

/**
 * @param direct the library
 * @param reaper of the maps of the daemons' pools
 */
export function routedStore(direct: Store, daemons: Daemons, reaper: Store['reaper']): Store {
  const active = async (): Promise<ActivePool[]> => activePools(await daemons.running());
  const find = async (target: string): Promise<ActivePool | undefined> =>
    findActive(target, await active(), direct);
  return {
    ...direct,
    active,
    reaper: {
      configure(options) {
        direct.reaper.configure(options);
        reaper.configure(options);
      },
    },

    async open(target, options = {}) {
      const { readOnly, signal } = options;
      const pool = await find(target);
      if (pool !== undefined) return pool.daemon.open(pool.info.name, { readOnly, signal });
      return direct.open(target, options).catch(async (error: unknown) => {
        const opened = await openUnseen(target, { readOnly, signal }, error, daemons);
        if (opened === undefined) throw error;
        return opened;
      });
    },

    async manage(target, options) {
      const pool = await find(target);
      if (pool === undefined) return direct.manage(target, options);
      const { daemon, info } = pool;
      const [managed] = await manageable([daemon]);
      if (managed !== undefined) return poolOfDaemon(managed, info.name);
      return daemon.open(info.name, { signal: options?.signal });
    },

    async create(options) {
      const [daemon] = await manageable(await daemons.running());
      if (daemon === undefined) return direct.create(options);
      await refuseTaken(options.name, direct);
      const { signal: _, ...wanted } = options;
      await daemon.create(wanted);
      return poolOfDaemon(daemon, options.name);
    },

    async destroy(target, options) {
      const pool = await find(target);
      if (pool === undefined) return direct.destroy(target, options);
      return pool.daemon.destroy(pool.info.name, { force: options?.force });
    },

    async rename(target, newName, options) {
      const taken = (await active()).find(({ info }) => info.name === newName);
      if (taken !== undefined) throw nameTaken(newName, pathsOf(taken.info).capacityPath);
      const pool = await find(target);
      if (pool === undefined) return direct.rename(target, newName, options);
      return pool.daemon.rename(pool.info.name, newName);
    },

    async upgrade(target, options) {
      refuseActive(await find(target), 'upgraded');
      return direct.upgrade(target, options);
    },

    async check(target, options) {
      refuseActive(await find(target), 'checked');
      return direct.check(target, options);
    },

    async scrub(target, options) {
      const pool = await find(target);
      if (pool === undefined) return direct.scrub(target, options);
      await refuseLooker(pool);
      return pool.daemon.scrub(pool.info.name, options);
    },

    async repair(target, options) {
      refuseActive(await find(target), 'repaired');
      return direct.repair(target, options);
    },

    async *dump(target, options) {
      refuseActive(await find(target), 'dumped');
      yield* direct.dump(target, options);
    },
  };
}

/** A pool of a daemon that does not say which pools it has. */
async function openUnseen(
  target: string,
  options: { readOnly?: boolean | undefined; signal?: AbortSignal | undefined },
  failure: unknown,
  daemons: Daemons,
): Promise<Pool | undefined> {
  const isElsewhere =
    isMpoolError(failure, 'ERR_MPOOL_NOT_FOUND') || isMpoolError(failure, 'ERR_MPOOL_ACCESS');
  if (!isElsewhere || target.includes('/')) return undefined;
  for (const daemon of await daemons.running()) {
    try {
      return await daemon.open(target, options);
    } catch (error) {
      // Of a pool that is there the refusal says more than that nothing was found elsewhere.
      if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
    }
  }
  return undefined;
}

/** The daemon looks where it was told to, not where this call does. */
async function refuseTaken(name: string, direct: Store): Promise<void> {
  const found = await direct.scan();
  const taken = found.find((pool) => pool.name === name);
  if (taken !== undefined) throw nameTaken(name, pathsOf(taken).capacityPath);
}
