import { equalBytes, formatUuid, parseUuid } from '../base/bytes.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import type { Host } from '../device/host.ts';
import { FORMAT_VERSION, type Superblock } from '../format/superblock.ts';
import type { FoundPool } from './api.ts';
import { peekSuperblock, type SuperblocksFound } from './superblocks.ts';

export interface SearchPlaces {
  /** Files, and directories whose files are looked at. */
  places: readonly string[];
  blockDevices: boolean;
}

/** Where the devices of one pool are. */
export interface PoolPaths {
  capacityPath: string;
  stagingPaths: string[];
}

/** All pools in the given places, without claiming or changing anything. */
export async function findPools(host: Host, where: SearchPlaces): Promise<FoundPool[]> {
  const pools = new Map<string, FoundPool & { superblock: Superblock }>();
  for (const { path, superblock } of await findDevices(host, where)) {
    const uuid = formatUuid(superblock.poolUuid);
    let pool = pools.get(uuid);
    if (pool === undefined) {
      const { name } = superblock;
      pool = {
        name,
        uuid,
        formatVersion: FORMAT_VERSION,
        devices: [],
        complete: false,
        superblock,
      };
      pools.set(uuid, pool);
    }
    if (superblock.generation > pool.superblock.generation) {
      pool.superblock = superblock;
      pool.name = superblock.name;
    }
    const mediaClass = isCapacity(superblock) ? 'capacity' : 'staging';
    const { sizeBytes } = superblock[mediaClass]!;
    pool.devices.push({ path, mediaClass, sizeBytes });
  }
  const found = [...pools.values()].map(({ superblock, ...pool }) => {
    const has = (mediaClass: string): boolean =>
      pool.devices.some((device) => device.mediaClass === mediaClass);
    const complete = has('capacity') && (superblock.staging === undefined || has('staging'));
    return { ...pool, complete };
  });
  return found
    .flatMap(separateCopies)
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** A pool that was copied, or is seen through a file and its loop device, is there twice. */
function separateCopies(pool: FoundPool): FoundPool[] {
  const capacity = pool.devices.filter(({ mediaClass }) => mediaClass === 'capacity');
  if (capacity.length < 2) return [pool];
  const staging = pool.devices.filter(({ mediaClass }) => mediaClass === 'staging');
  return capacity.map((device) => ({ ...pool, devices: [device, ...staging] }));
}

/**
 * The devices of the pool that is meant: by path of one of its devices, by UUID, or by name.
 * @throws ERR_MPOOL_NOT_FOUND; ERR_MPOOL_VERSION when only a pool of another version has the name;
 *   RangeError when the name is that of several pools
 */
export async function locatePool(
  host: Host,
  target: string,
  where: SearchPlaces,
): Promise<PoolPaths> {
  if (typeof target !== 'string' || target === '') {
    throw invalidArgument('a pool is named by name, UUID or path', 'type');
  }
  const info = await host.stat(target);
  if (info?.kind === 'file' || info?.kind === 'block') {
    const found = await peekSuperblock(host, info.path);
    if (found?.newest !== undefined && !isCapacity(found.newest)) {
      return capacityOf(host, info.path, found.newest, where);
    }
    const mayBeName = found?.newest === undefined && !target.includes('/');
    const named = mayBeName ? await byName(host, target, where) : undefined;
    // Nothing found: activating the path says best what is wrong with it.
    if (named !== undefined) return named;
    return { capacityPath: info.path, stagingPaths: await stagingOf(host, found?.newest, where) };
  }
  const named = target.includes('/') ? undefined : await byName(host, target, where);
  if (named !== undefined) return named;
  const looked = [...where.places, ...(where.blockDevices ? ['block devices'] : [])].join(', ');
  const detail = target.includes('/')
    ? target
    : `pool '${target}' (looked in ${looked || 'nothing'})`;
  throw new MpoolError('ERR_MPOOL_NOT_FOUND', detail, { path: target });
}

/**
 * The first of the paths at which the pool's own staging device is. Looked at without claiming: a hint in
 * a superblock may name anything by now.
 */
export async function findStaging(
  host: Host,
  capacity: Superblock,
  paths: Iterable<string>,
): Promise<string | undefined> {
  const wanted = capacity.staging;
  for (const path of paths) {
    if (wanted === undefined || path === '') continue;
    const found = await peekSuperblock(host, path).catch(() => undefined);
    const own = found?.newest;
    if (own === undefined || !equalBytes(own.poolUuid, capacity.poolUuid)) continue;
    if (equalBytes(own.deviceUuid, wanted.uuid)) return path;
  }
  return undefined;
}

/** Where the staging device is now, when it is not where it was last: it must not stop a pool. */
async function stagingOf(
  host: Host,
  capacity: Superblock | undefined,
  where: SearchPlaces,
): Promise<string[]> {
  if (capacity?.staging === undefined) return [];
  if ((await findStaging(host, capacity, [capacity.stagingPath])) !== undefined) return [];
  const found = await findDevices(host, where);
  const { poolUuid } = capacity;
  return found
    .filter(
      (each) => !isCapacity(each.superblock) && equalBytes(each.superblock.poolUuid, poolUuid),
    )
    .map(({ path }) => path);
}

async function byName(
  host: Host,
  target: string,
  where: SearchPlaces,
): Promise<PoolPaths | undefined> {
  const uuid = parseUuid(target);
  const isMeant = ({ name, poolUuid }: Pick<Superblock, 'name' | 'poolUuid'>): boolean =>
    uuid === undefined ? name === target : equalBytes(poolUuid, uuid);
  let unknown: MpoolError | undefined;
  const devices = await findDevices(host, where, (path, { problem, detail, copies }) => {
    if (problem !== 'version') return;
    if (!copies.some(({ identity }) => identity !== undefined && isMeant(identity))) return;
    unknown ??= new MpoolError('ERR_MPOOL_VERSION', `${path}: ${detail}`, { path });
  });
  const meant = devices.filter(({ superblock }) => isMeant(superblock));
  // It is there, and only another version can say more of it.
  if (meant.length === 0 && unknown !== undefined) throw unknown;
  const capacity = meant.filter(({ superblock }) => isCapacity(superblock));
  if (capacity.length > 1) {
    const paths = capacity.map(({ path }) => path).join(', ');
    throw invalidArgument(`'${target}' is the name of several pools: say which by path: ${paths}`);
  }
  if (capacity[0] === undefined) {
    const [staging] = meant;
    if (staging === undefined) return undefined;
    return capacityOf(host, staging.path, staging.superblock, where);
  }
  const stagingPaths = meant
    .filter(({ superblock }) => !isCapacity(superblock))
    .map(({ path }) => path);
  return { capacityPath: capacity[0].path, stagingPaths };
}

async function capacityOf(
  host: Host,
  stagingPath: string,
  staging: Superblock,
  where: SearchPlaces,
): Promise<PoolPaths> {
  const ours = (superblock: Superblock | undefined): boolean =>
    superblock !== undefined &&
    isCapacity(superblock) &&
    equalBytes(superblock.poolUuid, staging.poolUuid);
  const hint = staging.capacityPath;
  if (hint !== '' && ours((await peekSuperblock(host, hint).catch(() => undefined))?.newest)) {
    return { capacityPath: hint, stagingPaths: [stagingPath] };
  }
  const found = (await findDevices(host, where)).find(({ superblock }) => ours(superblock));
  if (found !== undefined) return { capacityPath: found.path, stagingPaths: [stagingPath] };
  throw new MpoolError(
    'ERR_MPOOL_NO_DEVICE',
    `${stagingPath} is the staging device of pool ${staging.name}, whose capacity device was at ${hint}`,
  );
}

async function findDevices(
  host: Host,
  where: SearchPlaces,
  onOther?: (path: string, found: SuperblocksFound) => void,
): Promise<{ path: string; superblock: Superblock }[]> {
  const found: { path: string; superblock: Superblock }[] = [];
  for (const path of await host.candidates(where.places, where.blockDevices)) {
    // Unreadable, or gone since: not a pool that can be found.
    const superblocks = await peekSuperblock(host, path).catch(() => undefined);
    if (superblocks?.newest !== undefined) found.push({ path, superblock: superblocks.newest });
    else if (superblocks !== undefined) onOther?.(path, superblocks);
  }
  return found;
}

function isCapacity(superblock: Superblock): boolean {
  return equalBytes(superblock.deviceUuid, superblock.capacity.uuid);
}
