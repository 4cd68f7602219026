import { abandonable } from '../base/abandon.ts';
import { MpoolError } from '../base/errors.ts';
import type { Host } from '../device/host.ts';
import { activate, type ActivateOptions } from './activate.ts';
import { SLOW_DEVICE_MS_MAX } from './device-health.ts';
import type { LocalPool, OpenOptions } from './api.ts';
import type { Environment } from './environment.ts';
import { locatePool, type PoolPaths, type SearchPlaces } from './find-pools.ts';
import { checkOptions, checkParameters, integerIn } from './parameters.ts';
import { sharePool, type SharedPool, StorePool } from './pool.ts';

/**
 * Pools active in this process, by host and capacity path: opening one again shares it.
 *
 * Invariant: an entry stands from the start of its activation until its devices are let go of, so the
 * devices are never claimed twice from here.
 */
const ACTIVE = new WeakMap<Host, Map<string, ActivePool>>();

interface ActivePool {
  shared: Promise<SharedPool>;
  readOnly: boolean;
  exclusive: boolean;
  handles: Set<StorePool>;
  /** Set while the last handle is closing. */
  closing: Promise<void> | null;
}

/**
 * Opens a pool, activating it unless it is active in this process. What another process would be refused
 * is refused here too: readers and a writer do not go together.
 * @throws ERR_MPOOL_BUSY when another process has it, or a handle here that does not go with the options
 */
export function openPool(
  environment: Environment,
  target: string,
  options: OpenOptions,
  where: SearchPlaces,
): Promise<LocalPool> {
  // One that opens after all is nobody's.
  const letGo = (pool: LocalPool): void => void pool.close({ force: true }).catch(() => {});
  const work = (): Promise<LocalPool> => openNow(environment, target, options, where);
  return abandonable('open', options?.signal, work, letGo);
}

async function openNow(
  environment: Environment,
  target: string,
  options: OpenOptions,
  where: SearchPlaces,
): Promise<LocalPool> {
  checkOptions(options ?? null);
  if (options.parameters !== undefined) checkParameters(options.parameters);
  integerIn('checksumCacheBytes', options.checksumCacheBytes, 0, Number.MAX_SAFE_INTEGER);
  checkVerifyBytes(options.verifyBytes);
  integerIn('slowDeviceMs', options.slowDeviceMs, 1, SLOW_DEVICE_MS_MAX);
  const paths = await locatePool(environment.host, target, where);
  refuseAborted(options);
  const pool = await openLocated(environment, paths, options);
  try {
    if (options.parameters !== undefined) await pool.setParameters(options.parameters);
    if (options.grow === true) await pool.grow();
    refuseAborted(options);
    return pool;
  } catch (error) {
    await pool.close({ force: true });
    throw error;
  }
}

async function openLocated(
  environment: Environment,
  paths: PoolPaths,
  options: OpenOptions,
): Promise<LocalPool> {
  let pools = ACTIVE.get(environment.host);
  if (pools === undefined) ACTIVE.set(environment.host, (pools = new Map()));
  const key = paths.capacityPath;
  let active = pools.get(key);
  while (active?.closing) {
    await active.closing.catch(() => {});
    active = pools.get(key);
  }
  if (active === undefined) {
    active = begin(environment, paths, options);
    pools.set(key, active);
    const entry = active;
    active.shared.catch(() => forget(pools, key, entry));
  } else {
    refuseUnlike(active, key, options);
  }
  const entry = active;
  // Counted before it is waited for, so that no close in between takes the pool for unused.
  const reserved = {} as StorePool;
  entry.handles.add(reserved);
  try {
    const shared = await entry.shared;
    const handle: StorePool = new StorePool(shared, (force) =>
      leave(pools, key, entry, handle, force),
    );
    entry.handles.add(handle);
    return handle;
  } finally {
    entry.handles.delete(reserved);
  }
}

function begin(environment: Environment, paths: PoolPaths, options: OpenOptions): ActivePool {
  const stagingPaths = [...paths.stagingPaths];
  if (options.stagingPath !== undefined) stagingPaths.unshift(options.stagingPath);
  const readOnly = options.readOnly === true;
  const activation: ActivateOptions = {
    capacityPath: paths.capacityPath,
    stagingPaths,
    readOnly,
    force: options.force === true,
    engine: options.engine,
    discard: options.discard !== false,
    checksumCacheBytes: options.checksumCacheBytes,
    verifyBytes: options.verifyBytes,
    slowDeviceMs: options.slowDeviceMs,
  };
  return {
    shared: activate(environment, activation).then(sharePool),
    readOnly,
    exclusive: options.exclusive === true,
    handles: new Set(),
    closing: null,
  };
}

function refuseUnlike(active: ActivePool, path: string, options: OpenOptions): void {
  const readOnly = options.readOnly === true;
  const problem = active.exclusive
    ? 'is open exclusively in this process'
    : options.exclusive === true
      ? 'is open in this process, so it cannot be opened exclusively'
      : active.readOnly !== readOnly
        ? `is open ${active.readOnly ? 'read-only' : 'for writing'} in this process`
        : undefined;
  if (problem === undefined) return;
  throw new MpoolError('ERR_MPOOL_BUSY', `the pool on ${path} ${problem}`, { path });
}

async function leave(
  pools: Map<string, ActivePool>,
  key: string,
  active: ActivePool,
  handle: StorePool,
  force: boolean,
): Promise<void> {
  const { store } = await active.shared;
  // From here to `closing` nothing is waited for: no open can come in between and get a shut store.
  if (!active.handles.has(handle)) return;
  if (active.handles.size > 1) {
    active.handles.delete(handle);
    return;
  }
  const closing = store.shutdown(force);
  if (!force && store.inUse) return closing;
  active.handles.delete(handle);
  active.closing = closing.finally(() => forget(pools, key, active));
  await active.closing;
}

function forget(pools: Map<string, ActivePool>, key: string, active: ActivePool): void {
  if (pools.get(key) === active) pools.delete(key);
}

function checkVerifyBytes(verifyBytes: number | undefined): void {
  if (verifyBytes === Number.POSITIVE_INFINITY) return;
  integerIn('verifyBytes', verifyBytes, 0, Number.MAX_SAFE_INTEGER);
}

function refuseAborted(options: OpenOptions): void {
  if (options.signal?.aborted === true) throw new MpoolError('ERR_MPOOL_ABORTED', 'open');
}
