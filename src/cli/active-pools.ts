/** Pools that are active in daemons, and which of them a word stands for. */
import { isMpoolError, MpoolError } from '../base/errors.ts';
import type { Daemon } from '../client.ts';
import type { FoundPool, MediaClass, PoolInfo } from '../pool/api.ts';
import { manageable } from './daemons.ts';
import type { Store } from './store.ts';
import { isDirectory, realPath } from './system.ts';
import { UsageError } from './usage-error.ts';

/** A pool that is active, and the daemon that has it. */
export interface ActivePool {
  readonly daemon: Daemon;
  readonly info: PoolInfo;
  readonly clientCount: number;
}

/** Of the active pools those that this user may open, by daemon and name. */
export async function activePools(daemons: readonly Daemon[]): Promise<ActivePool[]> {
  const all = await Promise.all(
    daemons.map(async (daemon) => {
      const pools = await daemon.pools().catch((error: unknown) => {
        // Who may not look at the daemon can still open a pool whose name he knows.
        if (!isMpoolError(error, 'ERR_MPOOL_ACCESS')) throw error;
        return [];
      });
      return pools.map(({ clientCount, ...info }) => ({ daemon, info, clientCount }));
    }),
  );
  return all.flat();
}

/**
 * As the library takes a target: a word with a slash, or of a file that is there, is a path; then come
 * names and UUIDs.
 */
export async function findActive(
  target: string,
  active: readonly ActivePool[],
  direct: Pick<Store, 'scan'>,
): Promise<ActivePool | undefined> {
  if (active.length === 0) return undefined;
  const path = await realPath(target);
  const there = active.find(({ info }) => info.devices.some((device) => device.path === path));
  if (there !== undefined || target.includes('/')) return there;
  if (path !== undefined && !(await isDirectory(path))) {
    const held = await direct.scan({ places: [path], blockDevices: false });
    if (held.length > 0) return undefined;
  }
  const named = active.filter(
    ({ info }) => info.name === target || info.uuid === target.toLowerCase(),
  );
  if (named.length === 0) return undefined;
  // Quick, and just what is at hand: one that lies here may be the one that is meant.
  const here = (await direct.scan({ blockDevices: false })).filter(
    (found) => found.name === target && !named.some(({ info }) => isOn(info, found)),
  );
  const paths = [...named.map(({ info }) => info), ...here].map(
    (each) => pathsOf(each).capacityPath,
  );
  if (paths.length === 1) return named[0];
  throw new UsageError(
    `'${target}' is the name of several pools: say which by path: ${paths.join(', ')}`,
  );
}

function isOn(info: PoolInfo, { devices }: FoundPool): boolean {
  return devices.some(({ path }) => info.devices.some((device) => device.path === path));
}

/** @throws ERR_MPOOL_BUSY when clients have it open */
export function refuseOpen({ info, clientCount }: ActivePool): void {
  if (clientCount === 0) return;
  const clients = `${clientCount} client${clientCount === 1 ? '' : 's'}`;
  throw new MpoolError('ERR_MPOOL_BUSY', `mpool ${info.name}: ${clients} have it open`);
}

/** @throws ERR_MPOOL_PERMISSION for who may only look at the daemon */
export async function refuseLooker({ daemon, info }: ActivePool): Promise<void> {
  if ((await manageable([daemon])).length > 0) return;
  throw new MpoolError('ERR_MPOOL_PERMISSION', `mpool ${info.name}: to manage the daemon`);
}

/**
 * @param done what wants the media for itself
 * @throws ERR_MPOOL_BUSY
 */
export function refuseActive(pool: ActivePool | undefined, done: string): void {
  if (pool === undefined) return;
  const { name } = pool.info;
  throw new MpoolError(
    'ERR_MPOOL_BUSY',
    `mpool ${name} is active: it can be ${done} after 'mpool deactivate ${name}'`,
  );
}

/** Where its devices are. */
export function pathsOf({ devices }: Pick<FoundPool, 'devices'> | PoolInfo): PoolPaths {
  const of = (wanted: MediaClass): string | undefined =>
    devices.find(({ mediaClass }) => mediaClass === wanted)?.path;
  return { capacityPath: of('capacity') ?? '', stagingPath: of('staging') };
}

interface PoolPaths {
  capacityPath: string;
  stagingPath: string | undefined;
}

export function nameTaken(name: string, path: string): MpoolError {
  return new MpoolError('ERR_MPOOL_EXISTS', `pool '${name}' is on ${path}`);
}
